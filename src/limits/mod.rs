//! Limits that hold over all shards without a lock: every key has an owner, others hold leases.
//!
//! Takes asks (a key and its limit), `now`, and the messages of other shards; gives verdicts, permits,
//! tickets to wake and messages to send. One [`Limits`] per shard; a key hashes to the shard that owns it.
//!
//! Invariants:
//! * **Only the owner refuses**, and before it does it has recalled unused leases.
//! * What is granted never exceeds the limit, over all shards, whatever messages are delayed or reordered:
//!   a grant leaves the owner's stock before it is sent and comes back only by a return.
//! * An attempt takes all its limits in one step or none; nothing here waits.
//! * Unused leases return by themselves: what was not used lately after [`LEASE_UNUSED`](crate::base::limits::LEASE_UNUSED),
//!   the rest after [`LEASE_REMEMBERED`](crate::base::limits::LEASE_REMEMBERED) without use (decision 0004).
//! * Tables are bounded; what is evicted is idle.
//! * On the owner and under a lease, taking a limit allocates nothing and sends nothing.
//!
//! Must never be added: a clock, an await, a lock, or knowledge of what is being limited.

mod key;
mod lease;
mod message;
mod meter;
mod owned;
mod request;
pub mod settings;
mod shard;
#[cfg(test)]
mod simulation;

pub use key::{KeyBuilder, KeyMaker, LimitKey};
pub use message::Item;
pub use meter::Limit;
pub use request::{Ask, Patience, Permit, Request, Ticket, Verdict};
pub use shard::{Limits, Recall};
