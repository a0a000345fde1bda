//! When and in which order: what is due, who goes next, and what follows from an outcome.
//!
//! Takes due messages with their routes, limits, outcomes and `now`; gives attempts that hold all their limits, and
//! completions: the status records of one frame with what is to be reported. The driver in `shard/` does the awaiting:
//!
//! ```text
//! turn, next_due -> (driver reads the record, evaluates route, schedule, lane) -> route
//!   -> next_attempt -> (driver delivers) -> complete -> Completion
//!   -> (driver commits its records and the DSN in one frame) -> applied | not_applied
//! ```
//!
//! Invariants:
//! * A status is recorded before the index changes. Until then its recipients are not attempted; if the commit fails
//!   the completion stays in memory and is written first.
//! * An attempt has taken all its limits in one step, or there is no attempt.
//! * Nothing expires without an attempt since start.
//! * A failure of the next hop puts off what else is ready for it, instead of trying each.
//!
//! Must never be added: I/O, a clock, routing or resolving, the text of a report.

mod attempt;
mod complete;
mod lane;
mod schedule;
pub mod settings;
#[cfg(test)]
mod tests;
mod why;

pub use attempt::{Attempt, AttemptId, Closing, Destination, Pause, Routed, Scheduler};
pub use complete::{Completion, Connection, Notice, NoticeKind, OwedReports, Report};
pub use lane::{LaneSpec, NamedAsk, Plan};
pub use settings::{End, Schedule, Settings};
pub use why::{Waits, Why};
