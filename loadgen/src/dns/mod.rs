//! A small authoritative name server for the domains of a benchmark.
//!
//! Takes: records (one line each, or whole mail domains by a wildcard), delays, shares of failures, a seed. Gives: answers by
//! UDP and TCP, and counts of what was asked. [`zone`], [`behaviour`] and [`answer`] are pure; [`server`] holds the sockets.
//!
//! Invariants: an answer of ours is never answered; nothing is looked up elsewhere; equal seeds and equal questions in equal
//! order have equal fates. Must never be added: recursion, signing, transfer of zones, or code of the server under test.

pub mod answer;
pub mod behaviour;
pub mod command;
pub mod server;
pub mod zone;
