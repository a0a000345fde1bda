//! Events for other programs: every change of state as a JSON line, told at least once.
//!
//! ```text
//! spool (record committed) -> Feed (behind a durable cursor) -> render -> writer (file) -> Feed::shipped
//! ```
//!
//! Takes committed records; gives lines and the certainty that they are written. `docs/events.md` is the contract with
//! consumers. Invariants: an event is acknowledged to the spool only when its consumer has it on stable storage; its
//! id is the same however often it is told. Other ways out (webhooks, brokers) are further targets behind the
//! same feed. Must never be added: anything that mail waits for.

pub mod file;
pub mod known;
pub mod names;
pub mod render;
pub mod settings;

pub use file::{Sink, Writers};
pub use settings::{Settings, Target};
