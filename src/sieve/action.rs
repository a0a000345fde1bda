//! What a script wants done, as values in its order. The host does it.

use compact_str::CompactString;

use crate::mail::{Edit, ForwardPath, Notify, Ret};

use super::program::EnvelopePart;

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actions {
    /// In the order of the script; each acts on the message with the edits before it. An implicit keep
    /// stands at the end (RFC 5228 §2.10.2).
    pub list: Vec<Action>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The message goes on its way.
    Keep(Keep),
    /// The message vanishes silently. Only where nothing else took it.
    Discard,
    /// The message is refused (RFC 5429).
    Reject(Reject),
    /// A copy to another address (RFC 5228 §4.2).
    Redirect(Redirect),
    /// Into a mailbox (RFC 5228 §4.1).
    FileInto(FileInto),
    /// A notification (RFC 5435).
    Notify(Notification),
    /// An answer to the sender (RFC 5230).
    Vacation(Vacation),
    /// The message changes for what follows.
    Edit(Edit),
    /// The envelope changes: `set "envelope.notify" "NEVER"`.
    SetEnvelope {
        /// What changes; `to` stands for every recipient.
        part: EnvelopePart,
        /// The new value as the script gives it.
        value: String,
    },
}

/// The default action.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keep {
    /// Nothing cancelled it; no command asked for it.
    pub is_implicit: bool,
    /// The flags (RFC 5232).
    pub flags: Vec<CompactString>,
}

/// How and why a message is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The reason; lines end with CRLF. It may start with a reply code of its own.
    pub reason: String,
    /// By a reply only, never by a message to the sender (RFC 5429 §2.1).
    pub is_ereject: bool,
}

/// Where a message is redirected to, and with which parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The address.
    pub to: ForwardPath,
    /// `:copy`: the implicit keep stays.
    pub is_copy: bool,
    /// `:notify` (RFC 6009 §3).
    pub notify: Option<Notify>,
    /// `:ret`.
    pub ret: Option<Ret>,
    /// The deadline (RFC 6009 §4).
    pub deliver_by: Option<RedirectBy>,
}

/// The deadline of a redirected message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectBy {
    /// The deadline.
    pub when: RedirectDeadline,
    /// `:bymode "return"` instead of "notify".
    pub is_return: bool,
    /// `:bytrace`.
    pub is_trace: bool,
}

/// When a redirected message must have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectDeadline {
    /// Seconds from now.
    InSeconds(u64),
    /// Seconds since the epoch.
    AtUnixSeconds(i64),
}

/// A mailbox to store into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInto {
    /// Its name.
    pub mailbox: String,
    /// `:copy`: the implicit keep stays.
    pub is_copy: bool,
    /// `:create` (RFC 5490 §3.2).
    pub is_create: bool,
    /// The flags (RFC 5232).
    pub flags: Vec<CompactString>,
    /// `:mailboxid` (RFC 9042 §4): taken before the name where it exists.
    pub mailbox_id: Option<String>,
    /// `:specialuse` (RFC 8579 §3).
    pub special_use: Option<String>,
}

/// How urgent a notification is (RFC 5435 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Importance {
    /// "1".
    High,
    /// "2".
    #[default]
    Normal,
    /// "3".
    Low,
}

/// A notification to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The URI of the method, for instance `mailto:…`.
    pub method: String,
    /// `:from`.
    pub from: Option<String>,
    /// `:importance`.
    pub importance: Importance,
    /// `:options`.
    pub options: Vec<String>,
    /// `:message`.
    pub message: Option<String>,
}

/// An answer to the sender. That it is due (to whom, how often) is decided when it is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vacation {
    /// The text, or with `is_mime` a MIME entity.
    pub reason: Vec<u8>,
    /// `:days` or `:seconds`, in seconds.
    pub period_s: Option<u64>,
    /// `:subject`.
    pub subject: Option<String>,
    /// `:from`.
    pub from: Option<String>,
    /// `:addresses`: the owner's other ones.
    pub addresses: Vec<String>,
    /// `:mime`.
    pub is_mime: bool,
    /// `:handle`, or what stands for it: what tells this response from others.
    pub handle: Vec<u8>,
}

impl Actions {
    /// The edits of the message, in their order.
    pub fn edits(&self) -> impl Iterator<Item = &Edit> {
        self.list.iter().filter_map(|action| match action {
            Action::Edit(edit) => Some(edit),
            _ => None,
        })
    }

    /// The message is kept, explicitly or implicitly.
    pub fn is_kept(&self) -> bool {
        self.list.iter().any(|action| matches!(action, Action::Keep(_)))
    }

    /// Why the message is refused, if it is.
    pub fn rejection(&self) -> Option<&Reject> {
        self.list.iter().find_map(|action| match action {
            Action::Reject(reject) => Some(reject),
            _ => None,
        })
    }
}
