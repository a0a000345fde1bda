//! The process: from arguments to running shards, and from a signal to their end.
//!
//! ```text
//! load -> preflight -> bind -> drop privileges -> control plane -> shards -> signals -> stop
//! ```
//!
//! Takes a configuration; gives an exit status. Everything that needs root happens before privileges
//! are dropped, everything that starts a thread after. Must never be added: anything a message waits for.

mod banner;
mod fleet;
mod reload;
mod start;

pub use start::run;
