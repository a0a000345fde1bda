//! What a script asks its host, and what the host answers.

use std::sync::Arc;

use compact_str::CompactString;

use super::program::{Program, ScoreKind};
use crate::base::WallTime;

/// Octets of a script or message: UTF-8 as a rule, anything as an exception.
pub type Octets = Vec<u8>;

/// A question. The machine stands still until it has its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Is one of the values in one of the lists? (RFC 6134 §2.2) Answer: [`Answer::Text`] with the first value that is.
    InList {
        /// The names of the lists.
        lists: Vec<Octets>,
        /// The values.
        values: Vec<Octets>,
    },
    /// Do all of these lists exist? (RFC 6134 §2.3) Answer: [`Answer::Bool`].
    ListsExist(Vec<Octets>),
    /// The addresses of a list, for `redirect :list`. Answer: [`Answer::Values`].
    ListMembers(Octets),
    /// Was this identifier seen within the time? (RFC 7352) The host remembers it once the run ends well.
    /// Answer: [`Answer::Bool`].
    Duplicate {
        /// What identifies the message.
        id: Octets,
        /// Keeps apart what different tests remember.
        handle: Octets,
        /// How long it is remembered, in seconds.
        seconds: u64,
        /// The time starts anew with every duplicate.
        is_last: bool,
    },
    /// A script by its name (RFC 6609). Answer: [`Answer::Script`].
    Script {
        /// The name.
        name: CompactString,
        /// `:global` instead of `:personal`.
        is_global: bool,
    },
    /// Do all these mailboxes exist and take mail? (RFC 5490 §3.1) Answer: [`Answer::Bool`].
    MailboxesExist(Vec<Octets>),
    /// Do mailboxes of all these ids exist? (RFC 9042 §5) Answer: [`Answer::Bool`].
    MailboxIdsExist(Vec<Octets>),
    /// Have mailboxes these special-use attributes? (RFC 8579 §4) Answer: [`Answer::Bool`].
    SpecialUseExists {
        /// The mailbox that must have all of them, or each has one somewhere.
        mailbox: Option<Octets>,
        /// The attributes.
        attributes: Vec<Octets>,
    },
    /// What time is it? Answer: [`Answer::Time`]. Asked once in a run.
    Time,
    /// An item of the environment (RFC 5183), its name in lower case. Answer: [`Answer::Text`].
    Environment(CompactString),
    /// The score of the message (RFC 5235). Answer: [`Answer::Text`] with the number; nothing for "not tested".
    Score(ScoreKind),
    /// A capability of a notification method (RFC 5435 §5). Answer: [`Answer::Text`].
    NotifyCapability {
        /// The URI.
        method: Octets,
        /// The capability, for instance `online`.
        capability: Octets,
    },
    /// The login or mailbox that authenticated (`envelope "auth"`). Answer: [`Answer::Text`].
    Authenticated,
    /// What an expression asks the DNS (`dns_query`). Answer: [`Answer::Values`].
    Dns(crate::expr::Question),
    /// A command or test that the host added to the language. Answer: [`Answer::Bool`], or
    /// [`Answer::Values`] where the engine does the matching.
    Host(HostQuestion),
}

/// A call of what the host added to the language, with its arguments evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostQuestion {
    /// The command or test.
    pub name: &'static str,
    /// The tags that stand there and their values.
    pub tags: Vec<(&'static str, Option<HostValue>)>,
    /// The positional arguments; without the keys where the engine does the matching.
    pub arguments: Vec<HostValue>,
}

/// An evaluated argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostValue {
    /// A number.
    Number(u64),
    /// A string.
    Text(Octets),
    /// A string list.
    List(Vec<Octets>),
}

impl HostQuestion {
    /// The tag stands there.
    pub fn has(&self, tag: &str) -> bool {
        self.tags.iter().any(|(name, _)| *name == tag)
    }

    /// The value of a tag.
    pub fn tag(&self, tag: &str) -> Option<&HostValue> {
        self.tags.iter().find(|(name, _)| *name == tag).and_then(|(_, value)| value.as_ref())
    }
}

/// The answer to a [`Question`]; which kind, the question says. Another kind counts as a failure.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Yes or no.
    Bool(bool),
    /// A text, or nothing.
    Text(Option<Octets>),
    /// Several texts.
    Values(Vec<Octets>),
    /// A compiled script.
    Script(Included),
    /// The time and the host's offset from UTC in minutes.
    Time {
        /// The time.
        now: WallTime,
        /// East is positive.
        offset_minutes: i32,
    },
    /// The host could not find out: the run ends with an error.
    Failed(CompactString),
}

/// What became of a script that is to be included.
#[derive(Debug, Clone)]
pub enum Included {
    /// It is there.
    Found(Arc<Program>),
    /// There is none of that name.
    Missing,
    /// There is one, and it does not compile.
    Broken,
}
