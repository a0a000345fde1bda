//! What goes into the spool and what comes back.

use std::rc::Rc;

use bytes::Bytes;
use compact_str::CompactString;

use crate::base::{MessageId, RecipientIndex, WallTime};
use crate::mail::{DeliverBy, Envelope, ErrorKind, Received, Status, StatusRecord};

use super::bulk::BulkPin;

/// A message as it is committed and as it is read back.
///
/// On the wire: trace prefix, header section, the empty line if there is one, body. Share it in an
/// [`Rc`]: the pieces are shared slices, and while anyone keeps it nothing is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its id, from `Spool::new_id`.
    pub id: MessageId,
    /// Reverse-path, parameters, recipients.
    pub envelope: Envelope,
    /// How it came.
    pub received: Received,
    /// The fields that we prepended, each with its CRLF.
    pub trace: Bytes,
    /// The header section as edited, without the empty line.
    pub header: Bytes,
    /// The empty line stands between header section and body. A message without it has no body.
    pub has_separator: bool,
    /// What follows the empty line, unstuffed.
    pub body: Body,
}

/// The body of a message: in memory, or in bulk segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Pieces in order; at most 256 KiB in all.
    Memory(Vec<Bytes>),
    /// On disk, synced, read piece by piece through `Spool::body`.
    Bulk(Extents),
}

/// Content in bulk segments. While a clone of it lives, its segments are not recycled.
#[derive(Debug, Clone, Default)]
pub struct Extents {
    pub(super) list: Rc<[Extent]>,
    pub(super) pin: Option<Rc<BulkPin>>,
}

/// One piece of content in a bulk segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The bulk segment's number.
    pub segment: u32,
    /// The epoch of that segment when the extent was written.
    pub epoch: u64,
    /// Where in the segment, in bytes.
    pub offset: u64,
    /// How many bytes, at most 256 KiB.
    pub length: u32,
    /// CRC32C of the bytes, seeded with that segment's salt.
    pub checksum: u32,
}

impl PartialEq for Extents {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Extents {}

impl Extents {
    /// Octets in all.
    pub fn size_bytes(&self) -> u64 {
        self.list.iter().map(|extent| u64::from(extent.length)).sum()
    }

    /// The extents in order.
    pub fn as_slice(&self) -> &[Extent] {
        &self.list
    }
}

impl Body {
    /// Octets of the body.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Body::Memory(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
            Body::Bulk(extents) => extents.size_bytes(),
        }
    }
}

impl Message {
    /// Octets on the wire before stuffing: trace, header section, empty line, body.
    pub fn size_bytes(&self) -> u64 {
        let separator = if self.has_separator { 2 } else { 0 };
        (self.trace.len() + self.header.len() + separator) as u64 + self.body.size_bytes()
    }
}

/// What can be said to a stream. The records of one commit happen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A message with all its recipients.
    Message(Rc<Message>),
    /// A change of one recipient's state.
    Status(Box<StatusRecord>),
    /// No attempt for any recipient of this message until a release.
    Hold {
        /// The message.
        message: MessageId,
        /// When it was held.
        at: WallTime,
    },
    /// The hold is over.
    Release {
        /// The message.
        message: MessageId,
        /// When it was released.
        at: WallTime,
    },
    /// A fact of the stream: the last value of a key counts.
    Fact {
        /// The key, at most 64 octets.
        key: CompactString,
        /// The value, at most 4096 octets; empty forgets the key.
        value: Bytes,
    },
}

impl Record {
    /// The message it is about.
    pub fn message_id(&self) -> Option<MessageId> {
        match self {
            Record::Message(message) => Some(message.id),
            Record::Status(status) => Some(status.message),
            Record::Hold { message, .. } | Record::Release { message, .. } => Some(*message),
            Record::Fact { .. } => None,
        }
    }
}

/// One undelivered message as recovery reports it: what the queue needs to know when it is due.
///
/// It comes from footers, not from the message; the rest is read when an attempt is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The message.
    pub id: MessageId,
    /// When it was accepted: expiry counts from here.
    pub received_at: WallTime,
    /// Octets on the wire.
    pub size_bytes: u64,
    /// MT-PRIORITY.
    pub priority: i8,
    /// HOLDFOR or HOLDUNTIL.
    pub hold_until: Option<WallTime>,
    /// DELIVERBY.
    pub deliver_by: Option<DeliverBy>,
    /// An operator holds it.
    pub is_held: bool,
    /// The reverse-path without brackets; empty for null. Shared among the messages of one segment.
    pub reverse_path: Rc<str>,
    /// The authenticated identity (the tenant's key); empty when there was none.
    pub authenticated_as: Rc<str>,
    /// Recipients of the message in all, the final ones included.
    pub recipients_total: u32,
    /// The recipients that are not final.
    pub recipients: smallvec::SmallVec<[RecoveredRecipient; 1]>,
}

/// One recipient that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredRecipient {
    /// Which.
    pub index: RecipientIndex,
    /// The key of its domain (A-labels, lower case). Shared among the messages of one segment.
    pub domain: Rc<str>,
    /// When it is due; `None` when it was never tried or put off.
    pub due: Option<WallTime>,
    /// Attempts made.
    pub attempts: u32,
    /// Delay DSNs sent.
    pub delay_notices: u32,
    /// The kind of the last error.
    pub last_error: ErrorKind,
}

/// A message read back, with the state of its recipients.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The message.
    pub message: Rc<Message>,
    /// The last status of each recipient, by index; `None` for one that was never tried.
    pub statuses: Vec<Option<Status>>,
    /// An operator holds it.
    pub is_held: bool,
}
