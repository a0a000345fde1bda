//! How a message goes to this peer: by DATA or BDAT, with which parameters, or not at all.
//!
//! Decided by the recorded [`ContentFacts`] and the peer's extensions alone; the content is not looked at.

use super::commands::Said;
use crate::base::{RecipientIndex, WallTime};
use crate::mail::{BodyType, ContentFacts, DeliverByMode, Envelope, Recipient, Reply, Text};
use crate::smtp::extensions::PeerExtensions;

/// One message for one peer.
#[derive(Debug, Clone, Copy)]
pub struct Transaction<'a> {
    /// The envelope as it was committed.
    pub envelope: &'a Envelope,
    /// Which of its recipients go here. An index that is not in the envelope is left out.
    pub recipients: &'a [RecipientIndex],
    /// What is known of the content.
    pub content: &'a ContentFacts,
    /// Octets that will be sent: trace, header section, separator and body, before dot-stuffing.
    pub size_bytes: u64,
    /// Now, for what is left of BY.
    pub now: WallTime,
}

impl<'a> Transaction<'a> {
    /// The recipients that are in the envelope.
    pub(super) fn recipients(&self) -> impl Iterator<Item = (RecipientIndex, &'a Recipient)> + use<'a> {
        let envelope = self.envelope;
        self.recipients.iter().filter_map(move |&i| Some((i, envelope.recipients.get(i.0 as usize)?)))
    }
}

/// How the content travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transfer {
    /// DATA, with dot-stuffing when there is something to stuff.
    Data { stuffed: bool },
    /// One BDAT LAST.
    Chunk,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) transfer: Transfer,
    pub(super) said: Said,
}

/// Decides, or says why this peer cannot have this message. The replies are ours, not the peer's.
pub(super) fn plan(tx: &Transaction<'_>, peer: &PeerExtensions, is_secure: bool) -> Result<Plan, Reply> {
    let mail = &tx.envelope.mail;
    size_fits(tx, peer)?;
    let body = body_type(tx, peer)?;
    let smtputf8 = needs_smtputf8(tx);
    if smtputf8 && !peer.smtputf8 {
        return Err(refusal(553, (5, 6, 7), "the next hop does not take internationalised addresses (SMTPUTF8)"));
    }
    if mail.requiretls && !(is_secure && peer.requiretls) {
        return Err(refusal(550, (5, 7, 30), "REQUIRETLS was asked for and the next hop does not support it"));
    }
    let by_seconds = deliver_by(tx, peer)?;
    let transfer = if peer.chunking { Transfer::Chunk } else { Transfer::Data { stuffed: tx.content.has_leading_dot } };
    let said = Said {
        size: peer.size.then_some(tx.size_bytes),
        body,
        smtputf8,
        requiretls: mail.requiretls,
        dsn: peer.dsn,
        priority: peer.mt_priority,
        by_seconds,
    };
    Ok(Plan { transfer, said })
}

fn refusal(code: u16, status: (u8, u16, u16), text: impl Into<Text>) -> Reply {
    Reply::new(code, status, text)
}

/// RFC 1870 §6.1: a message over the announced limit is not sent.
fn size_fits(tx: &Transaction<'_>, peer: &PeerExtensions) -> Result<(), Reply> {
    match peer.size_bytes_max {
        Some(limit) if tx.size_bytes > limit => {
            let text = format!("message of {} octets exceeds the next hop's limit of {limit}", tx.size_bytes);
            Err(refusal(552, (5, 3, 4), text))
        }
        _ => Ok(()),
    }
}

/// BODY as the content needs it. What the peer cannot take as it is fails with 5.6.3, unless the caller converts it.
fn body_type(tx: &Transaction<'_>, peer: &PeerExtensions) -> Result<BodyType, Reply> {
    match untaken(tx, peer) {
        Some(why) => Err(refusal(554, (5, 6, 3), why)),
        None if is_binary(tx) => Ok(BodyType::BinaryMime),
        None if tx.content.has_8bit_body || tx.content.has_8bit_header => Ok(BodyType::EightBitMime),
        None => Ok(BodyType::SevenBit),
    }
}

/// What of the content this peer does not take, in words.
pub(super) fn untaken(tx: &Transaction<'_>, peer: &PeerExtensions) -> Option<&'static str> {
    let is_8bit = tx.content.has_8bit_body || tx.content.has_8bit_header;
    match is_binary(tx) {
        true if !(peer.binary_mime && peer.chunking) => {
            Some("the content is binary and the next hop does not take BINARYMIME")
        }
        false if is_8bit && !peer.eight_bit_mime => {
            Some("the content is 8-bit and the next hop does not take 8BITMIME")
        }
        _ => None,
    }
}

/// It must not go by DATA: it has what DATA has no word for, or lines that it does not promise to take.
fn is_binary(tx: &Transaction<'_>) -> bool {
    let facts = tx.content;
    let has_long_lines = facts.longest_line_bytes > 998 && tx.envelope.mail.body == BodyType::BinaryMime;
    facts.has_bare_cr || facts.has_bare_lf || facts.has_nul || has_long_lines
}

/// RFC 6531 §3.2, §3.6: only a message with a non-ASCII address, or with raw UTF-8 in its header section
/// that was submitted as such, needs SMTPUTF8 at the next hop.
fn needs_smtputf8(tx: &Transaction<'_>) -> bool {
    let sender_is_ascii = tx.envelope.reverse_path.as_str().is_ascii();
    !sender_is_ascii
        || (tx.envelope.mail.smtputf8 && tx.content.has_8bit_header)
        || tx.recipients().any(|(_, recipient)| !recipient.path.as_str().is_ascii())
}

/// What is left of BY, in seconds (RFC 2852 §4.1.4). Mode R never goes where it would not be kept.
fn deliver_by(tx: &Transaction<'_>, peer: &PeerExtensions) -> Result<Option<i64>, Reply> {
    let Some(by) = tx.envelope.mail.deliver_by else { return Ok(None) };
    let left = by.deadline.unix_seconds().saturating_sub(tx.now.unix_seconds());
    let returns = by.mode == DeliverByMode::Return;
    match peer.deliver_by_s_min {
        _ if returns && left <= 0 => Err(refusal(554, (5, 4, 7), "the time for delivery (BY) is over")),
        Some(min) if returns && left < i64::from(min) => {
            Err(refusal(554, (5, 4, 7), "the next hop cannot deliver within the time that is left (BY)"))
        }
        None if returns => Err(refusal(554, (5, 3, 3), "the next hop does not support DELIVERBY")),
        Some(_) => Ok(Some(left)),
        None => Ok(None),
    }
}
