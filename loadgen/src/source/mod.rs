//! The source: sends messages at a chosen rate, or as fast as replies come, and measures.
//!
//! Takes: options. Gives: a ledger of what was acknowledged and a [`crate::summary::Summary`].
//! [`schedule`], [`search`], [`sizes`], [`content`], [`recipients`], [`reply`], [`wire`] and
//! [`proxy`] are pure; [`link`] is a connection, [`session`] talks, [`shard`] holds what the sessions of a thread share,
//! [`run`] starts and follows them.
//!
//! Invariants: in the open loop a message's time begins when it was due, whether or not a session was
//! free; what is sent depends on the seed, not on the server; every run is bounded in time and count.
//! Must never be added: a send time that waits for a reply and is called open loop.

pub mod content;
pub mod find_max;
pub mod link;
pub mod options;
pub mod probe;
pub mod proxy;
pub mod recipients;
pub mod reply;
pub mod run;
pub mod schedule;
pub mod search;
pub mod session;
pub mod settings;
pub mod shard;
pub mod sizes;
pub mod stats;
pub mod wire;
