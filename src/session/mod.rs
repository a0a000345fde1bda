//! One connection from its first octet to its last: octets to the machine, its questions to policy, its
//! messages to the spool.
//!
//! ```text
//!   connection ──read──▶ Server (pure) ──Ask──▶ policy, limits      one task per session
//!       ▲                    │     └──Commit──▶ spool ──later──┐
//!       └──write── replies ◀─┘ ◀───────────────────────────────┘
//! ```
//!
//! Takes: an accepted [`Link`], a [`Profile`](services::Profile), the shard's [`Services`]. Gives: nothing but what it
//! hands to the services; when the future ends, the connection is closed.
//!
//! What holds here:
//! - a session holds a receive buffer only while it has octets to use; octets are reserved in the shard's budget first;
//! - replies keep the order of their commands over all pending commits, and one that is ready does not wait;
//! - every wait has a bound: silence, a command line, content, the session, a peer that does not read;
//! - a panic ends its session and is counted; the machine decides what is said, never this room.
//!
//! Must never be added: parsing, a decision about mail, a lock, delivery.

mod assemble;
mod commits;
mod crew;
mod driver;
mod judge;
mod pace;
mod pool;
mod reading;
pub mod services;
pub mod settings;
#[cfg(test)]
mod tests;

pub use crew::{Crew, Member};
pub use driver::{Link, serve};
pub use services::{Bulk, Current, Floor, Profile, Services};
pub use settings::Settings;
