//! The audit: whatever got 250 arrived, once, unaltered.
//!
//! Takes: ledgers of sources and sinks, and Maildirs. Gives: counts, a bounded list of what is wrong, and an exit status
//! that says so. [`compare`] is pure; [`maildir`] reads a tree; [`command`] is the command line.
//!
//! Invariants: nothing that the server acknowledged is left out of the comparison; a ledger without its end is an error
//! unless it is allowed by name.
//! Must never be added: a tolerance.

pub mod command;
pub mod compare;
pub mod maildir;
