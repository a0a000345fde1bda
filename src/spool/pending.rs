//! What waits to be written, and what the writer says about it: the values between [`super::log`] and its driver.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use compact_str::CompactString;

use crate::base::StreamId;

use super::error::CommitError;
use super::facts::Key;
use super::frame::FRAME_HEADER_BYTES;
use super::index::Mark;
use super::message::Record;
use super::record::record_bound;
use super::settings::Durability;
use super::wait::Answer;

/// Records of one commit on their way to disk.
#[derive(Debug)]
pub struct Frame {
    /// What happens together.
    pub records: Vec<Record>,
    /// Who may be refused, and how.
    pub class: Class,
    /// When the waiter is answered.
    pub durability: Durability,
    /// Upper bound of its bytes.
    pub bound: usize,
    /// Who waits; `None` once answered.
    pub waiter: Option<Waiter>,
    /// It supersedes what was written about its messages before.
    pub is_copy: bool,
    /// Records at the front that observers know already.
    pub told: usize,
    /// When it was handed over, by the storage's clock; copies wait for nobody.
    pub since: Option<Duration>,
}

/// What a submission came to.
#[derive(Debug)]
pub enum Submitted {
    /// It is committed, in memory only: observers are to be told.
    Now(Vec<Record>),
    /// The writer has it.
    Waiting(Waiter),
}

/// Who waits for a commit.
pub type Waiter = Rc<Answer<Result<(), CommitError>>>;

/// A commit under way. The records are the writer's: dropping this withdraws nothing.
#[derive(Debug)]
pub struct Committing(Result<Option<Waiter>, CommitError>);

impl Committing {
    pub(super) fn new(submitted: Result<Option<Waiter>, CommitError>) -> Committing {
        Committing(submitted)
    }
}

impl Future for Committing {
    type Output = Result<(), CommitError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.0 {
            Ok(Some(waiter)) => waiter.poll(cx),
            Ok(None) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(*error)),
        }
    }
}

/// What happens to a frame when it cannot be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// New mail: refused when full or sick.
    Mail,
    /// Outcomes and what goes with them: never refused, written first after a failure.
    Upkeep,
    /// A compacted copy, made from this state of the message: dropped when that changed, or on a failure.
    Copy {
        /// The message.
        key: Key,
        /// The segment it was read from.
        from: u32,
        /// The marks as they were.
        marks: Vec<Mark>,
        /// The hold as it was.
        hold: (Mark, bool),
    },
    /// A stream fact said again, because its segment is to be recycled: dropped when it was said anew since, or like a copy.
    Fact {
        /// Its name.
        key: CompactString,
        /// The segment that says it.
        from: u32,
    },
}

impl Class {
    /// Compaction made it and waits for it: nothing else waits, and it may be dropped.
    pub fn is_copy(&self) -> bool {
        matches!(self, Class::Copy { .. } | Class::Fact { .. })
    }
}

/// What the driver has to do next.
#[derive(Debug)]
pub enum Step {
    /// Write this at that place, report by `Log::written`; when `sync`, sync then and report by `Log::synced`.
    Write {
        /// The segment.
        segment: u32,
        /// Where.
        offset: u64,
        /// What.
        buffer: Vec<u8>,
        /// A waiter needs the sync, or there is too much that was not synced.
        sync: bool,
    },
    /// Sync the segment, report by `Log::synced`.
    Sync {
        /// The segment.
        segment: u32,
    },
    /// Write and sync the header of that ready segment, report by `Log::activated`.
    Activate {
        /// The segment.
        segment: u32,
        /// How often this failed in a row: pause before.
        attempts: u32,
    },
    /// Nothing to do until a commit, a ready segment or a request to sync.
    Idle,
}

/// What became of frames: the driver tells observers and waiters.
#[derive(Debug, Default)]
pub struct Settled {
    /// Committed, in order.
    pub committed: Vec<Frame>,
    /// Refused.
    pub refused: Vec<(Frame, CommitError)>,
}

impl Frame {
    /// What observers and the waiter are told now; the rest stays, to be synced.
    pub fn take_told(&mut self) -> Frame {
        Frame {
            records: self.records.clone(),
            class: self.class.clone(),
            durability: self.durability,
            bound: self.bound,
            waiter: self.waiter.take(),
            is_copy: self.is_copy,
            told: self.told,
            since: self.since.take(),
        }
    }
}

/// Facts about the stream that do not change while it is open.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// The stream.
    pub stream: StreamId,
    /// Its start counter.
    pub start: u32,
    /// Bytes of a segment.
    pub segment_size: u64,
    /// Ready segments that new mail may not use.
    pub reserve: usize,
    /// Bytes that may wait.
    pub memory_budget: u64,
    /// There are shippers: all that happens goes to disk, because the record is the event.
    pub is_told: bool,
}

/// An upper bound of a frame with these records, alignment included.
pub fn frame_bound(records: &[Record]) -> usize {
    (FRAME_HEADER_BYTES + records.iter().map(record_bound).sum::<usize>()).next_multiple_of(8)
}

/// What these records may take in a footer.
pub fn footer_bound(records: &[Record]) -> u64 {
    let one = |record: &Record| match record {
        // Most mail is final before its segment closes: its share is an estimate, and a footer that does not fit is left out.
        Record::Message(message) => 32 + 8 * message.envelope.recipients.len(),
        Record::Fact { key, value } => key.len() + value.len() + 24,
        _ => 16,
    };
    records.iter().map(one).sum::<usize>() as u64
}
