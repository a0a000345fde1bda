//! Reports: messages that tell what became of messages. They re-enter through the spool like any
//! other mail.
//!
//! Takes envelopes, outcomes and times; gives whole messages with their envelopes. Pure: must never
//! be added I/O, a clock, or a decision about when to report (that is the scheduler's).

pub mod dsn;
pub mod settings;

pub use settings::Settings;
