//! One core's stages, built and joined; and the closed set of messages between shards.

pub mod query;
