//! Counts per message that do not depend on the machine's mood, held against `benches/budget.toml`.
//!
//! Everything is measured on the real server (dev build, `--shards 1` and `2`): syncs, bytes written, messages
//! between shards, system calls and io_uring submissions (by strace), heap allocations (by a counting allocator);
//! and the instructions of the pure cores (by callgrind). A count above its budget fails and says how to record anew:
//! `POSTHASTE_RECORD_BUDGET=1 cargo test --test budget`.
#![allow(clippy::unwrap_used)]

mod allocations;
mod book;
mod calls;
mod cores;
mod counts;
#[path = "../it/harness/mod.rs"]
#[allow(dead_code, unused_imports)] // shared with the integration tests, which use all of it
mod harness;
mod traffic;
