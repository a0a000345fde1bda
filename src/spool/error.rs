//! What can go wrong, whose fault it is, and whether to try again.

use std::io;
use std::path::PathBuf;

use crate::base::{MessageId, StreamId};
use crate::mail::Reply;

/// Whether a stream takes mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Mail is accepted, outcomes are recorded.
    #[default]
    Ready,
    /// Only the reserve is left: new mail gets 452, delivery goes on.
    Full,
    /// Writing failed: 421 to new sessions, 451 to mail in flight, delivery pauses. It probes its way back.
    Sick,
}

/// Why a commit did not happen. Nothing of it will reappear, save after a crash while sick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Only the reserve is left on the disk. Try later.
    #[error("the spool is full")]
    Full,
    /// The memory budget is used up. Try later.
    #[error("too much waits to be written")]
    Busy,
    /// Writing or syncing failed. Try later.
    #[error("the spool cannot write")]
    Sick,
    /// One frame cannot hold it. The sender's fault, permanent.
    #[error("the message with its envelope is too large for one frame")]
    TooLarge,
    /// The records name more than one stream, or one that is not open here, or a message has no recipient, or
    /// there are no records, or a stream fact is too large or one too many. The caller's fault.
    #[error("records of one commit must name one stream of this spool, and a message a recipient")]
    Invalid,
    /// The stream is being closed. Try later.
    #[error("the spool is shutting down")]
    Closing,
}

impl CommitError {
    /// What the client is told.
    pub fn reply(self) -> Reply {
        match self {
            CommitError::Full | CommitError::Busy => Reply::new(452, (4, 3, 1), "Insufficient system storage"),
            CommitError::TooLarge => Reply::new(552, (5, 3, 4), "Message too large"),
            CommitError::Sick | CommitError::Invalid => {
                Reply::new(451, (4, 3, 0), "Local storage error, try again later")
            }
            CommitError::Closing => Reply::new(421, (4, 3, 2), "Service is shutting down"),
        }
    }
}

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not queued here: final, never accepted, or not recovered yet.
    #[error("message {0} is not in this spool")]
    NotFound(MessageId),
    /// What is on disk is not what was written. The message is quarantined; it must not be sent.
    #[error("message {0} is damaged on disk")]
    Damaged(MessageId),
    /// The disk did not answer. Try later.
    #[error("reading message {0}: {1}")]
    Io(MessageId, io::Error),
}

/// Why a spool could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Written by a newer release.
    #[error("{path}: spool format {found} is newer than the format {known} of this release; use the release that wrote it", path = path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The disk.
    #[error("{path}: {error}", path = path.display())]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// Another process owns the stream.
    #[error("stream {0} is locked by another process")]
    Locked(StreamId),
    /// The settings cannot work.
    #[error("spool settings: {0}")]
    Settings(&'static str),
}

/// A place on disk that does not verify: it is skipped, named, and blocks nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file's name inside the spool's directory.
    pub file: String,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// How many bytes were passed over.
    pub length: u64,
    /// The message it held or spoke of, when its header still says so.
    pub message: Option<MessageId>,
    /// What it is.
    pub kind: DamageKind,
}

/// What kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DamageKind {
    /// In the last batch of a segment that was being written: a crash does that, nothing was acknowledged.
    Torn,
    /// A frame's header does not verify.
    Header,
    /// A frame's payload does not verify, or cannot be decoded.
    Payload,
    /// A segment's header does not verify though it has content.
    Segment,
    /// An extent does not verify, or its segment is gone.
    Extent,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            DamageKind::Torn => "torn batch, never acknowledged",
            DamageKind::Header => "a frame header does not verify",
            DamageKind::Payload => "a frame does not verify",
            DamageKind::Segment => "a segment header does not verify",
            DamageKind::Extent => "content does not verify",
        };
        write!(f, "{}: {what}: {} bytes at {}", self.file, self.length, self.offset)?;
        match self.message {
            Some(id) => write!(f, ", message {id}"),
            None => Ok(()),
        }
    }
}
