//! Sieve: mail filtering scripts (RFC 5228).
//!
//! A [`Compiler`] turns text into a [`Program`], or tells every fault with line and column. A [`Machine`]
//! runs it for one message, step by step: it stops with a [`Question`] when it needs what only the host
//! knows, and ends with [`Actions`].
//!
//! * **Takes** the text of a script; a [`MessageView`](crate::mail::MessageView), an
//!   [`Envelope`](crate::mail::Envelope), [`Limits`]; answers.
//! * **Gives** a program that shards share, faults and warnings, questions, actions in their order.
//! * **Invariants**: no panic whatever the script and the message; every run ends ([`Limit`]s have names);
//!   regular expressions take linear time; an operation that asks has changed nothing yet.
//! * **Must never be added**: I/O, a clock, knowledge of mailboxes, lists or queues: those are questions.
//!
//! # A script, a message, its actions
//!
//! ```
//! use bytes::Bytes;
//! use posthaste::mail::{Envelope, HeaderSection, MailParameters, MessageView, ReversePath};
//! use posthaste::sieve::{Action, Compiler, Limits, Machine, Step};
//!
//! let compiled = Compiler::new()
//!     .compile(r#"require "fileinto"; if header :contains "list-id" "<dev." { fileinto "dev"; }"#)
//!     .expect("a sound script");
//!
//! let content = Bytes::from_static(b"List-Id: Developers <dev.example.org>\r\n\r\nHello.\r\n");
//! let (header, body) = HeaderSection::split(&content);
//! let body = [content.slice(body..)];
//! let message = MessageView { trace: b"", header: &header, body: &body, has_separator: true };
//! let envelope =
//!     Envelope { reverse_path: ReversePath::Null, mail: MailParameters::default(), recipients: vec![] };
//!
//! let mut machine = Machine::new(&compiled.program, &message, &envelope, Limits::default());
//! match machine.run() {
//!     Step::Done(actions) => {
//!         assert!(matches!(&actions.list[..], [Action::FileInto(into)] if into.mailbox == "dev"));
//!     }
//!     Step::Ask(question) => unreachable!("this script asks nothing: {question:?}"),
//!     Step::Failed(error) => unreachable!("{error}"),
//! }
//! ```
//!
//! A program is immutable and `Send + Sync`. One that is used by several shards is best cloned for each:
//! a clone has its own match caches, and the shards share nothing.
//!
//! # Faults
//!
//! A script is read to its end whatever is wrong with it. What follows from a fault is not told again.
//!
//! ```
//! # use posthaste::sieve::Compiler;
//! let faults = Compiler::new().compile("keep\nif header :is \"a\" { stop; }").expect_err("two faults");
//! let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
//! assert_eq!(told, [
//!     "line 1, column 1: error: missing semicolon behind the keep command",
//! ]);
//! let faults = Compiler::new().compile("keep 1;\nif header :is \"a\" { stop; }").expect_err("two faults");
//! assert_eq!(faults.len(), 2);
//! ```
//!
//! What cannot mean what it says compiles with warnings: a test that is always true or false, commands
//! behind `stop`, `:matches` without a wildcard, a name that no header field can have, an extension that is
//! required and never used.
//!
//! # Questions
//!
//! [`Question`] is the whole of what a script may want from its host: the time, lists, duplicates, scripts
//! to include, mailboxes, scores, the environment, DNS. Each says which [`Answer`] it takes. The host that
//! cannot find out answers [`Answer::Failed`], which ends the run: the message is kept. What an
//! administrator does not serve is switched off with [`Compiler::with_capabilities`]; then scripts that
//! require it do not compile, and `ihave` is false.
//!
//! A host may also add commands and tests of its own:
//!
//! ```
//! use posthaste::mail::{Envelope, HeaderSection, MailParameters, MessageView, ReversePath};
//! use posthaste::sieve::{Action, Answer, Compiler, HostValue, Kind, Limits, Machine, Question, Signature, Step};
//!
//! let greylisted = Signature::host_test("greylisted").with("key", Kind::Text);
//! let script = r#"if greylisted "10.0.0.1" { discard; }"#;
//! let program = Compiler::new().with_host(greylisted).compile(script).expect("a sound script").program;
//! # let header = HeaderSection::default();
//! # let message = MessageView { trace: b"", header: &header, body: &[], has_separator: true };
//! # let envelope = Envelope { reverse_path: ReversePath::Null, mail: MailParameters::default(), recipients: vec![] };
//! let mut machine = Machine::new(&program, &message, &envelope, Limits::default());
//! let Step::Ask(Question::Host(call)) = machine.run() else { panic!("it asks the host") };
//! assert_eq!((call.name, &call.arguments[..]), ("greylisted", &[HostValue::Text(b"10.0.0.1".to_vec())][..]));
//! machine.answer(Answer::Bool(true));
//! let Step::Done(actions) = machine.run() else { panic!("it is done") };
//! assert_eq!(actions.list, [Action::Discard]);
//! ```
//!
//! # Actions
//!
//! In the order of the script. An implicit keep stands last where nothing cancelled it; a message that
//! nothing took has [`Action::Discard`]. Header edits are [`Edit`](crate::mail::Edit)s: each action acts on
//! the message with the edits before it, and tests see them at once. The same mailbox or address is
//! delivered to once (RFC 5228 §2.10.3); `reject` with a delivery is an error (RFC 5429 §2.1).
//!
//! The messages that `vacation`, `notify` and `reject` imply are built by [`outgoing`].
//!
//! # How it works
//!
//! `lexer` → `parse` (a tree of calls, `ast`) → `bind` (each call against its row in `signatures`) →
//! `compile` (one way for each verb) → `program` (a flat list of operations with jumps) → `machine`.
//! Header values are read through the view and borrowed unless they are folded or encoded; nothing is
//! parsed that no test asks for. An operation without its answer stops before it has changed anything, and
//! runs again from its start when the answer is there: so no half-done test is kept anywhere.
//!
//! To add a command: a row in `signatures`, its variant of `Verb` and of `Command` or `Test`, a function
//! that lowers it in `compile`, one that runs it in `machine`.
//!
//! # What is implemented
//!
//! | document | extension | |
//! |---|---|---|
//! | RFC 5228 | base, `fileinto`, `envelope`, `encoded-character` | yes |
//! | RFC 3894 | `copy` | yes |
//! | RFC 4790, 5051 | comparators `i;octet`, `i;ascii-casemap`, `i;ascii-numeric` | yes |
//! | RFC 5051 | `i;unicode-casemap` | partial: simple case mapping, no decomposition |
//! | RFC 5173 | `body` | yes |
//! | RFC 5183 | `environment` | yes; the items are the host's |
//! | RFC 5229 | `variables` | yes; `${0}` to `${32}` |
//! | RFC 5230, 6131 | `vacation`, `vacation-seconds` | yes |
//! | RFC 5231 | `relational` | yes |
//! | RFC 5232 | `imap4flags` | yes |
//! | RFC 5233 | `subaddress` | yes |
//! | RFC 5235 | `spamtest`, `spamtestplus`, `virustest` | yes; the scores are the host's |
//! | RFC 5260 | `date`, `index` | yes |
//! | RFC 5293 | `editheader` | yes; `Received` and `Auto-Submitted` stay |
//! | RFC 5429 | `reject`, `ereject` | yes |
//! | RFC 5435, 5436 | `enotify` | `mailto` only |
//! | RFC 5463 | `ihave` | yes |
//! | RFC 5490 | `mailbox` | yes; `mboxmetadata`, `servermetadata`: no |
//! | RFC 5703 | `mime`, `foreverypart`, `replace`, `enclose`, `extracttext` | yes; `enclose` partial: `mime/mod.rs` says how |
//! | RFC 6558 | `convert` | partial: text/html to text/plain |
//! | RFC 6009 | `envelope-dsn`, `envelope-deliverby`, `redirect-dsn`, `redirect-deliverby` | yes |
//! | RFC 6134 | `extlists` | yes; the lists are the host's |
//! | RFC 6609 | `include` | yes; at run time, [`Program::includes`] tells them beforehand |
//! | RFC 6785, 5437, 8580 | `imapsieve`, XMPP, `fcc` | no: nothing for an MTA |
//! | RFC 7352 | `duplicate` | yes; the memory is the host's |
//! | RFC 8579, 9042 | `special-use`, `mailboxid` | yes |
//! | draft-ietf-sieve-regex | `regex` | partial: the syntax of Rust's `regex`, no back references, the first alternative and not the longest |
//! | ours | `vnd.posthaste.expressions`, `vnd.posthaste.while` | `eval`, `let`, `while`; also by the names `vnd.stalwart.…` |
//!
//! Where this engine decides what the documents leave open: numbers have 64 bits; line ends in strings are
//! CRLF; an address that breaks the grammar matches as a whole under `:all` and under no other part; a text
//! made of variables that is larger than [`Limits::variable_bytes`] is an error, but `set` cuts it; `?` is
//! one octet except under `i;unicode-casemap`; addresses to send to are US-ASCII.

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
