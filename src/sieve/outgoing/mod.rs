//! The messages that actions imply: the answer of `vacation`, the notification of `notify`, the refusal of
//! `reject`.
//!
//! * **Takes** an action and its [`Origin`]: the message that caused it, on whose behalf, the time, an id.
//! * **Gives** a [`Letter`] for the host to put into its queue, or why nothing must be sent ([`Silence`]).
//! * **Invariants**: every letter says that a machine wrote it (RFC 3834) and none answers another machine
//!   or a mailing list; nothing from the message or the script can add a field to a letter; the content is
//!   US-ASCII in lines of CRLF, but for a MIME entity that a script spells out itself.
//! * **RFCs**: 5230 (yes; the period is the host's), 5436 (yes, but no Received fields of the message: the
//!   rule on Auto-Submitted ends circles), 5429 (yes: a reply, or a disposition notification of RFC 8098).
//! * **Must never be added**: queues, a clock, memory of what was answered before: how often a sender is
//!   answered is the host's to know (RFC 5230 §4.2).

mod notice;
mod refusal;
mod vacation;
mod write;

use std::ops::ControlFlow;

use bytes::Bytes;

use super::address;
use super::decode::field_value;
use super::program::AddressPart;
use crate::base::WallTime;
use crate::mail::{Envelope, HeaderSection, MailParameters, Mailbox, Recipient, ReversePath};

pub use notice::notification;
pub use refusal::{refusal, reply};
pub use vacation::vacation;

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// From whom and to whom.
    pub envelope: Envelope,
    /// Header section, empty line, body.
    pub content: Bytes,
}

/// What a letter comes from.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The header section of the message that the script ran for.
    pub header: &'a HeaderSection,
    /// Its envelope.
    pub envelope: &'a Envelope,
    /// On whose behalf the script ran: the recipient, as a rule.
    pub owner: &'a Mailbox,
    /// Who answers for this host: the sender of notifications.
    pub postmaster: &'a Mailbox,
    /// The name of this host.
    pub hostname: &'a str,
    /// An id that no other letter has.
    pub id: &'a str,
    /// The time.
    pub now: WallTime,
}

/// Why there is no letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Silence {
    /// The message came from nobody: `MAIL FROM:<>`.
    #[error("the reverse-path is null")]
    NullSender,
    /// The sender is a program by its name (RFC 5230 §4.6).
    #[error("the sender is a program")]
    SystemSender,
    /// The sender is the owner.
    #[error("the sender is the owner")]
    OwnAddress,
    /// A machine wrote the message (RFC 3834 §2).
    #[error("the message was submitted automatically")]
    AutoSubmitted,
    /// It came over a mailing list, or to many.
    #[error("the message went to a list or in bulk")]
    Bulk,
    /// The owner is not among those to whom it is addressed (RFC 5230 §4.5).
    #[error("the message is not addressed to the owner")]
    NotAddressed,
    /// The method or its recipients cannot be served.
    #[error("the method of notification is not served")]
    Method,
    /// `ereject`: refused by a reply, or by a delivery status notification (RFC 5429 §2.1).
    #[error("an ereject sends no message of its own")]
    Ereject,
}

impl Origin<'_> {
    /// The values of a field, decoded.
    fn values(&self, name: &'static str) -> impl Iterator<Item = String> {
        self.header.named(name).map(|field| String::from_utf8_lossy(&field_value(field.value)).into_owned())
    }

    /// A machine wrote the message: Auto-Submitted says something else than "no" (RFC 3834 §5).
    fn is_automatic(&self) -> bool {
        self.values("auto-submitted").any(|value| {
            let word = value.split([';', ' ', '(']).next().unwrap_or("").trim();
            !word.eq_ignore_ascii_case("no")
        })
    }

    /// One of these addresses stands in one of these fields; case does not count.
    fn is_addressed_to(&self, fields: &[&'static str], addresses: &[String]) -> bool {
        fields.iter().flat_map(|name| self.header.named(name)).any(|field| {
            let visit = address::each(field.value, |found| {
                let text = found.part(AddressPart::All, b"").unwrap_or(&[]);
                match addresses.iter().any(|address| address.as_bytes().eq_ignore_ascii_case(text)) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            visit.is_break()
        })
    }

    /// A letter to these from that reverse-path.
    fn letter(&self, reverse_path: ReversePath, to: Vec<Recipient>, content: Vec<u8>) -> Letter {
        let envelope = Envelope { reverse_path, mail: MailParameters::default(), recipients: to };
        Letter { envelope, content: Bytes::from(content) }
    }
}

#[cfg(test)]
mod tests;
