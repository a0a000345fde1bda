//! Posthaste: a mail transfer agent for relays that move a lot of mail.
//!
//! ```text
//! kernel (SO_REUSEPORT picks a shard; every shard binds every listener)
//!   -> listener   accept, connection limits, PROXY header, implicit TLS
//!   -> session    drives the pure SMTP server machine: bytes in, replies out, questions to policy
//!   -> policy     a table of checks per phase
//!   -> spool      one append to this shard's stream, group commit, then the 250
//!   -> queue      this shard's index of undelivered recipients
//!   -> scheduler  what is due, what its limits allow
//!   -> delivery   route, resolve, TLS policy, connect or reuse, pure SMTP client machine
//!   -> scheduler  the outcome of each recipient
//!   -> spool      a status record: delivered, deferred until T, failed
//!   -> report     a DSN re-enters through the spool like any other mail
//! ```
//!
//! Inbound and outbound never import each other: the spool is the waist. Imports point downwards
//! in the list of `ARCHITECTURE.md`; `tests/structure.rs` fails on an arrow that points up.

pub mod base;
pub mod cli;
pub mod config;
pub mod control;
pub mod delivery;
pub mod dns;
pub mod events;
pub mod expr;
pub mod limits;
pub mod listener;
pub mod lookup;
pub mod mail;
pub mod milter;
pub mod observe;
pub mod policy;
pub mod queue;
pub mod report;
pub mod scheduler;
pub mod schema;
pub mod server;
pub mod session;
pub mod shard;
pub mod sieve;
pub mod smtp;
pub mod spool;
pub mod tls;
