//! The sink: an SMTP or LMTP server that takes everything, checks it, and can play a difficult provider.
//!
//! Takes: options. Gives: a ledger of every arrival, and counts. [`machine`], [`intake`],
//! [`behaviour`] and [`clients`] are pure; [`driver`] moves bytes; [`run`] starts and ends the shards.
//!
//! Invariants: what the machine answers depends on the bytes, the settings, a seed and the time that is
//! passed in; a message is counted and in the ledger's buffer before its reply is.
//! Must never be added: a parser shared with the server under test.

pub mod behaviour;
pub mod clients;
pub mod command;
pub mod driver;
pub mod intake;
pub mod machine;
pub mod options;
pub mod run;
pub mod self_test;
pub mod tally;
