//! The spool: accepted mail on stable storage, and all that is ever said about it.
//!
//! Takes messages and status records; gives acknowledgements that mean what they say, messages read
//! back and verified, and at start the queue's facts. `docs/spool-format.md` is the contract with the disk.
//!
//! ```text
//! commit -> [waiting frames] -> batch -> one write, one sync -> observer, waiters
//!                                 |
//!                segments: ready -> active -> closed -> sealed -> ready (recycled)
//! ```
//!
//! Invariants:
//! * What is acknowledged `durable` was synced; nothing that failed to sync is ever acknowledged or read.
//! * A record handed to the spool belongs to the writer: dropping the caller's future withdraws nothing.
//! * All records about a message go to the stream that holds it.
//! * A status is on disk for as long as a copy of its message is.
//! * A page that holds acknowledged bytes is never written again.
//! * What a shipper was not told is kept for it, or counted as a gap; mail never waits for a shipper.
//!
//! Must never be added: a lock, a clock that is read, policy about when mail is due, and any I/O that
//! does not go through [`storage::Storage`].

mod bulk;
mod bulk_driver;
mod cadence;
mod codec;
mod compact;
mod cursor;
mod damage;
pub mod disk;
mod error;
mod facts;
mod feed;
mod footer;
mod frame;
mod handle;
mod index;
mod log;
mod message;
pub mod offline;
mod open;
mod pending;
mod read;
mod record;
mod record_status;
mod recover;
mod segment;
pub mod settings;
mod ship;
pub mod sim;
pub mod storage;
mod stream;
mod upkeep;
mod victim;
mod volatile;
mod wait;

pub use bulk_driver::{BodyReader, BulkWriter};
pub use cursor::{EventId, Gap};
pub use disk::Disk;
pub use error::{CommitError, Damage, DamageKind, Health, OpenError, ReadError};
pub use feed::Feed;
pub use handle::{Recovery, RecoveryEvent, Spool, Statistics};
pub use message::{Body, Extent, Extents, Message, Record, Recovered, RecoveredRecipient, Stored};
pub use pending::Committing;
pub use settings::{Durability, Settings, Shipper};
pub use ship::{Chunk, Event};
pub use stream::Observer;

/// The payload of a frame that holds these records, as the writer makes it. For tools and benchmarks.
pub fn encode_payload(records: &[Record]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.iter().map(record::record_bound).sum());
    records.iter().for_each(|record| record::put_record(&mut out, record));
    out
}

/// What the payload of a frame says; `None` when it does not decode. For tools and fuzzing: recovery reads frames itself.
pub fn decode_payload(payload: &[u8]) -> Option<Vec<Record>> {
    record::decode_all(&bytes::Bytes::copy_from_slice(payload), crate::base::StreamId(0)).ok()
}
