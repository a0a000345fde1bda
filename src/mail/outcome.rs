//! What became of a recipient: values that delivery returns and the spool keeps.

use compact_str::CompactString;

use super::reply::{EnhancedStatus, Reply};
use crate::base::{MessageId, RecipientIndex, WallTime};

/// `last_error` of the expression language: what kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum ErrorKind {
    /// Nothing did.
    #[default]
    None,
    /// Name resolution.
    Dns,
    /// The next hop answered what ends the attempt.
    UnexpectedReply,
    /// Connecting, or the connection broke.
    Connection,
    /// TLS negotiation or certificate.
    Tls,
    /// A rate limit of ours.
    Rate,
    /// A concurrency limit of ours.
    Concurrency,
    /// Our own disk.
    Io,
}

impl ErrorKind {
    /// As expressions and events spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::None => "none",
            ErrorKind::Dns => "dns",
            ErrorKind::UnexpectedReply => "unexpected-reply",
            ErrorKind::Connection => "connection",
            ErrorKind::Tls => "tls",
            ErrorKind::Rate => "rate",
            ErrorKind::Concurrency => "concurrency",
            ErrorKind::Io => "io",
        }
    }
}

/// How far a failure reaches: whom else it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This recipient only.
    Recipient,
    /// Every recipient of this message at this next hop.
    Message,
    /// This host; another MX may do better.
    Host,
    /// Everything in this lane.
    Lane,
    /// Everything from this source address.
    Source,
}

/// Why, for people, DSNs and `queue why`: classified once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind.
    pub kind: ErrorKind,
    /// How far it reaches.
    pub scope: Scope,
    /// The host that answered or did not, as `name [address]`; empty when no host was reached.
    pub remote: CompactString,
    /// What the remote host replied, or what we say on our own behalf (then `is_remote` is false).
    pub reply: Reply,
    /// The reply is the remote's own words.
    pub is_remote: bool,
}

impl Diagnostic {
    /// A diagnostic of our own, with a code and text we chose.
    pub fn local(kind: ErrorKind, scope: Scope, reply: Reply) -> Self {
        Diagnostic { kind, scope, remote: CompactString::default(), reply, is_remote: false }
    }

    /// Its status is one of the mail system or of the network (RFC 3463 §3.4, §3.5).
    pub fn is_of_system(&self) -> bool {
        self.reply.status.is_some_and(|status| matches!(status.subject, 3 | 4))
    }

    /// The status for DSNs and logs: the reply's own, or a general one of the reply's class.
    pub fn status(&self) -> EnhancedStatus {
        let class = match self.reply.code {
            200..400 => 2,
            400..500 => 4,
            _ => 5,
        };
        self.reply.status.unwrap_or(EnhancedStatus::new(class, 0, 0))
    }
}

/// The result of one attempt for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took responsibility.
    Delivered(Diagnostic),
    /// It may succeed later.
    Deferred(Diagnostic),
    /// It never will.
    Failed(Diagnostic),
}

impl Outcome {
    /// Why, or what the next hop said.
    pub fn diagnostic(&self) -> &Diagnostic {
        match self {
            Outcome::Delivered(diagnostic) | Outcome::Deferred(diagnostic) | Outcome::Failed(diagnostic) => diagnostic,
        }
    }

    /// The diagnostic alone.
    pub fn into_diagnostic(self) -> Diagnostic {
        match self {
            Outcome::Delivered(diagnostic) | Outcome::Deferred(diagnostic) | Outcome::Failed(diagnostic) => diagnostic,
        }
    }
}

/// The state of a recipient as the spool keeps it. A recipient without one is queued and untried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Tried (or put off) and due again.
    Deferred {
        /// Next attempt, wall time.
        until: WallTime,
        /// Attempts made so far.
        attempts: u32,
        /// A delay DSN has been sent for that many thresholds of the schedule.
        delay_notices: u32,
        /// Why it was put off.
        last: Diagnostic,
    },
    /// Final: the next hop took it.
    Delivered {
        /// Attempts made, this one included.
        attempts: u32,
        /// What the next hop said.
        last: Diagnostic,
    },
    /// Final: permanent failure.
    Failed {
        /// Attempts made, this one included.
        attempts: u32,
        /// Why.
        last: Diagnostic,
    },
    /// Final: the schedule ended.
    Expired {
        /// Attempts made.
        attempts: u32,
        /// The last reason.
        last: Diagnostic,
    },
    /// Final: an operator removed it.
    Removed,
    /// Final: a rule discarded it.
    Discarded,
    /// Final: replaced by other messages.
    Expanded {
        /// The messages that took its place.
        into: Vec<MessageId>,
    },
}

impl Status {
    /// Nothing will ever be tried again.
    pub fn is_final(&self) -> bool {
        !matches!(self, Status::Deferred { .. })
    }
}

/// A change of one recipient's state: the record that is written, and the event that is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRecord {
    /// The message.
    pub message: MessageId,
    /// Which of its recipients.
    pub recipient: RecipientIndex,
    /// When it changed.
    pub at: WallTime,
    /// What it is now.
    pub status: Status,
}
