//! Sieve: mail filtering scripts (RFC 5228).
//!
//! A [`Compiler`] turns text into a [`Program`], or tells every fault with line and column. A [`Machine`]
//! runs it for one message, step by step: it stops with a [`Question`] when it needs what only the host
//! knows, and ends with [`Actions`].
//!
//! * **Takes** the text of a script; a [`MessageView`](crate::mail::MessageView), an
//!   [`Envelope`](crate::mail::Envelope), [`Limits`]; answers.
//! * **Gives** a program that shards share, faults and warnings, questions, actions in their order.
//! * **Invariants**: no panic whatever the script and the message; every run ends (limits have names);
//!   regular expressions take linear time; an operation that asks has changed nothing yet.
//! * **Must never be added**: I/O, a clock, knowledge of mailboxes, lists or queues: those are questions.

mod action;
mod address;
mod ast;
mod bind;
mod capability;
mod comparator;
mod compile;
mod date;
mod decode;
mod expressions;
mod fault;
mod glob;
mod lexer;
mod limits;
mod machine;
mod matching;
mod mime;
mod notify;
pub mod outgoing;
mod parse;
mod program;
mod question;
mod signature;
mod signatures;

pub use action::{
    Action, Actions, FileInto, Importance, Keep, Notification, Redirect, RedirectBy, RedirectDeadline, Reject, Vacation,
};
pub use capability::{Capability, CapabilitySet};
pub use compile::{Compiled, Compiler};
pub use fault::{Fault, Severity};
pub use limits::{AboveMime, Limit, Limits};
pub use machine::{Machine, RunError, RunErrorKind, Step};
pub use notify::Mailto;
pub use program::{EnvelopePart, Program, ScoreKind};
pub use question::{Answer, HostQuestion, HostValue, Included, Octets, Question};
pub use signature::{Kind, Positional, Signature, Tag};

#[cfg(test)]
mod tests;
