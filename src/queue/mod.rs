//! The index of one shard's undelivered recipients: what is queued, when it is due, in which lane it is ready.
//!
//! Takes committed messages (new, or recovered in bulk), `now`, and what the scheduler decides about groups of
//! recipients; gives what is due, who is next in which lane, and answers about what is queued.
//!
//! A message's recipients travel in *groups*: those with the same state, deferred together, are one timer entry.
//!
//! ```text
//! insert -> Waiting --time--> Due -> Routing -> Ready -> Attempt -> Recording -> (gone)
//!              ^               ^        |         |                     |
//!              +---------------|--------+---------+---------------------+   put off
//!                     Held <---+ an operator's hold, from any state that is not under way
//! ```
//!
//! Invariants:
//! * A recipient is in exactly one group; a group is in exactly one state and one list.
//! * What is in Routing, Attempt or Recording belongs to whoever took it: nobody else moves or removes it. Hence
//!   never two attempts of one recipient, and never an attempt of a recipient whose outcome is not yet recorded.
//! * Deadlines are monotonic; a step of the wall clock moves none (the holds of RFC 4865 excepted).
//! * Enqueue and dequeue cost the same at ten thousand and a million messages; a message costs at most 200 bytes.
//!
//! Must never be added: I/O, a clock, SMTP, what a schedule or a route is, and anything that has to be read from disk.

mod arena;
mod entry;
mod index;
mod lanes;
mod list;
mod names;
mod operate;
mod recipients;
mod ring;
#[cfg(test)]
mod tests;
mod wheel;

pub use entry::{Arrival, ArrivalRecipient, GroupId, GroupState, GroupView};
pub use index::{DueGroup, DueMessage, Queue};
pub use lanes::{Candidate, FlowId, LaneId, LaneKey, Scope, WaitingFor};
pub use list::{Cursor, Filter, Page, Summary};
pub use recipients::RecipientSet;
