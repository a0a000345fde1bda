//! What the server used while a run went: CPU, memory, context switches, bytes, flushes, once a second.
//!
//! Takes: a process id, or the port whose listener it is; a path or a metrics page for flushes. Gives: a
//! [`crate::summary::ServerUse`] on the run's own time. [`proc`] and [`span`] are pure; [`find`], [`family`] and [`scrape`]
//! read the machine; [`watch`] is the thread.
//!
//! Invariants: all children count, also those that ended; what cannot be seen is absent or noted, never zero; a look costs
//! about a millisecond. Must never be added: a signal to the process, or a trace of it.

pub mod family;
pub mod find;
pub mod proc;
pub mod scrape;
pub mod span;
pub mod watch;
