//! Delivery status notifications (RFC 3461, RFC 3464, RFC 6533).
//!
//! One notification tells everything that is to be told about one message at one moment, for all its
//! recipients together. Nothing is told about a message with the null reverse-path, and nothing about
//! a recipient whose NOTIFY does not ask for it.
//!
//! What remote hosts said is reduced to printable text before it is written (CVE-2020-8794: a reply of
//! several lines must not become fields).
//!
//! A notification about a message with REQUIRETLS requires TLS itself (RFC 8689 §5): it tells who wrote to whom. On a way
//! back without TLS it is lost, as the RFC warns senders. All but a whole message that is returned is US-ASCII.

mod fields;
mod returned;
mod text;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use compact_str::CompactString;
use memchr::memmem;

use super::Settings;
use crate::base::{MessageId, RecipientIndex, WallTime};
use crate::mail::{
    BodyType, ContentFacts, Diagnostic, EnhancedStatus, Envelope, ForwardPath, MailParameters, Notify, Received,
    Recipient, ReversePath, Source, quoted_printable,
};
use crate::smtp::content::FactScanner;

/// What happened to a recipient (RFC 3464 §2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It never will arrive.
    Failed,
    /// It has not arrived yet; attempts go on.
    Delayed,
    /// It is in the recipient's mailbox, or a next hop of LMTP took it.
    Delivered,
    /// A next hop took it that does not report successes itself (RFC 3461 §5.2.2).
    Relayed,
    /// It was replaced by other recipients.
    Expanded,
}

impl Action {
    /// The word in the Action field.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Delivered => "delivered",
            Action::Relayed => "relayed",
            Action::Expanded => "expanded",
        }
    }

    /// Whether that recipient wants to hear of it (RFC 3461 §4.1).
    pub fn is_wanted_by(self, recipient: &Recipient) -> bool {
        let notify = recipient.notify_effective();
        match self {
            Action::Failed => notify.failure,
            Action::Delayed => notify.delay,
            Action::Delivered | Action::Relayed | Action::Expanded => notify.success,
        }
    }
}

/// What is to be told about one recipient.
#[derive(Debug, Clone, Copy)]
pub struct RecipientReport<'a> {
    /// Which of the message's recipients.
    pub index: RecipientIndex,
    /// The recipient as the envelope has it.
    pub recipient: &'a Recipient,
    /// What happened.
    pub action: Action,
    /// Why, in the words of the last attempt.
    pub diagnostic: Option<&'a Diagnostic>,
    /// The status, where the diagnostic's own is not the right one (5.4.7 when the time is over).
    pub status: Option<EnhancedStatus>,
    /// When it was last tried.
    pub last_attempt: Option<WallTime>,
    /// Until when it will be tried, for delays.
    pub will_retry_until: Option<WallTime>,
}

/// The message that is reported on.
#[derive(Debug, Clone, Copy)]
pub struct Original<'a> {
    /// Its id.
    pub id: MessageId,
    /// Its envelope; the recipients in it are not looked at.
    pub envelope: &'a Envelope,
    /// When it arrived and what it was.
    pub received: &'a Received,
    /// The trace fields that we added.
    pub trace: &'a [u8],
    /// Its header section.
    pub header: &'a [u8],
    /// Its body, if it is at hand; without it the header section alone is returned. Only worth reading
    /// when [`wants_body`] says so.
    pub body: Option<&'a [Bytes]>,
}

/// A notification: a message with its envelope, ready for the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Null reverse-path, one recipient: the reverse-path of the original.
    pub envelope: Envelope,
    /// The header section.
    pub header: Bytes,
    /// The body, in pieces; an empty line separates it from the header section.
    pub body: Vec<Bytes>,
    /// The facts of the content.
    pub facts: ContentFacts,
}

impl Report {
    /// The circumstances of its making, for the spool.
    pub fn received(&self, at: WallTime) -> Received {
        Received {
            at,
            source: Source::Dsn,
            listener: CompactString::default(),
            remote_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            local_port: 0,
            helo: CompactString::default(),
            authenticated_as: None,
            content: self.facts,
        }
    }
}

/// Whether a notification about failures of this message would return its body (RFC 3461 §4.3):
/// reading it from the spool is of use only then.
pub fn wants_body(envelope: &Envelope, facts: &ContentFacts, settings: &Settings) -> bool {
    returned::is_whole_wanted(envelope, facts, settings)
}

/// Makes the notification, or nothing when there is nothing to tell or nobody to tell it.
///
/// `hostname` is ours. Reports that their recipients' NOTIFY does not ask for are left out.
pub fn notification(
    original: &Original<'_>,
    reports: &[RecipientReport<'_>],
    settings: &Settings,
    hostname: &str,
    now: WallTime,
) -> Option<Report> {
    let ReversePath::Mailbox(sender) = &original.envelope.reverse_path else { return None };
    let wanted: Vec<_> = reports.iter().filter(|r| r.action.is_wanted_by(r.recipient)).copied().collect();
    let first = wanted.first()?;
    let is_global = original.envelope.mail.smtputf8 && has_non_ascii_address(original, &wanted);
    let returned = returned::choose(original, &wanted, settings);
    let boundary = boundary(original, now, &returned);

    let mut header = Vec::with_capacity(800);
    write_from(&mut header, settings, hostname);
    let _ = write!(header, "To: <{sender}>\r\nSubject: {}\r\n", text::subject(&wanted));
    let _ = write!(header, "Date: {}\r\n", now.rfc5322());
    let id = format!("{}.{}.{}", original.id, first.index.0, now.0);
    crate::mail::trace::write_message_id(&mut header, &id, hostname);
    header.extend_from_slice(b"Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
    let kind = if is_global { "global-delivery-status" } else { "delivery-status" };
    // RFC 6533 §6: the report-type parameter stays the same for both.
    let _ =
        write!(header, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n");

    let mut front = Vec::with_capacity(4096);
    front.extend_from_slice(b"This is a delivery status notification in MIME format.\r\n");
    write_part(&mut front, &boundary, "text/plain", &text::explanation(&wanted, hostname));
    write_part(
        &mut front,
        &boundary,
        &format!("message/{kind}"),
        &fields::write(original, &wanted, hostname, is_global),
    );
    let body = returned.into_pieces(front, &boundary);

    let mut facts = FactScanner::new();
    for piece in [&header[..], b"\r\n"].into_iter().chain(body.iter().map(|piece| &piece[..])) {
        facts.scan(piece);
    }
    let facts = facts.finish();
    let mail = MailParameters {
        smtputf8: !sender.is_ascii(),
        requiretls: original.envelope.mail.requiretls,
        body: if facts.has_8bit_body { BodyType::EightBitMime } else { BodyType::SevenBit },
        ..MailParameters::default()
    };
    let mut recipient = Recipient::new(ForwardPath(sender.clone()));
    recipient.notify = Some(Notify::NEVER);
    let envelope = Envelope { reverse_path: ReversePath::Null, mail, recipients: vec![recipient] };
    Some(Report { envelope, header: header.into(), body, facts })
}

fn has_non_ascii_address(original: &Original<'_>, reports: &[RecipientReport<'_>]) -> bool {
    let is_ascii = |r: &RecipientReport<'_>| {
        r.recipient.path.mailbox().is_ascii() && r.recipient.original.as_ref().is_none_or(|o| o.address.is_ascii())
    };
    !reports.iter().all(is_ascii) || original.envelope.reverse_path.mailbox().is_some_and(|m| !m.is_ascii())
}

/// A boundary that the returned octets do not contain, of at most 70 octets (RFC 2046 §5.1.1).
fn boundary(original: &Original<'_>, now: WallTime, returned: &returned::Returned<'_>) -> String {
    const BOUNDARY_BYTES_MAX: usize = 70;
    let mut boundary = format!("=_{}.{:x}", original.id, now.0);
    while boundary.len() < BOUNDARY_BYTES_MAX
        && returned.pieces().any(|piece| memmem::find(piece, boundary.as_bytes()).is_some())
    {
        boundary.push('=');
    }
    boundary
}

fn write_from(out: &mut Vec<u8>, settings: &Settings, hostname: &str) {
    out.extend_from_slice(b"From: \"");
    for c in settings.from_name.chars() {
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            ' '..='~' => out.push(c as u8),
            _ => out.push(b'?'),
        }
    }
    out.extend_from_slice(b"\" <");
    if settings.from_address.is_empty() {
        let _ = write!(out, "MAILER-DAEMON@{hostname}");
    } else {
        let is_safe = |b: &u8| matches!(b, b'!'..=b'~') && !matches!(b, b'<' | b'>');
        out.extend(settings.from_address.bytes().filter(is_safe));
    }
    out.extend_from_slice(b">\r\n");
}

/// Writes a part of UTF-8 text, encoded when it is not US-ASCII.
fn write_part(out: &mut Vec<u8>, boundary: &str, kind: &str, text: &str) {
    let is_text = kind.starts_with("text/");
    let _ = write!(out, "\r\n--{boundary}\r\nContent-Type: {kind}");
    if is_text {
        out.extend_from_slice(if text.is_ascii() { b"; charset=us-ascii" } else { b"; charset=utf-8" });
    }
    if text.is_ascii() {
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(text.as_bytes());
    } else {
        out.extend_from_slice(b"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n");
        quoted_printable::encode_into(out, text.as_bytes());
    }
}

#[cfg(test)]
mod tests;
