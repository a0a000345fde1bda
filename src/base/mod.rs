//! The words every room uses: identifiers, clocks and the limits that bound everything.
//!
//! Takes nothing and knows nothing of mail. Must never grow: I/O, a clock that is read here
//! (time is always passed in), or a type that only one room needs.

pub mod budget;
pub mod ids;
pub mod limits;
pub mod rank;
pub mod rate;
pub mod time;

pub use budget::{Budget, Reservation};
pub use ids::{MessageId, RecipientIndex, RecipientKey, ShardId, StreamId};
pub use rank::Rank;
pub use rate::Rate;
pub use time::{Monotonic, Now, WallTime};
