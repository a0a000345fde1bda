//! The part that returns the message, or its header section (RFC 3461 §4.3, RFC 3462 §2).

use std::io::Write as _;

use bytes::Bytes;

use super::{Action, Original, RecipientReport};
use crate::base::limits::TEXT_LINE_BYTES_MAX;
use crate::mail::{ContentFacts, Envelope, Ret, quoted_printable};
use crate::report::Settings;

/// What is returned.
pub enum Returned<'a> {
    /// The header section, cut at the end of a line.
    Header {
        /// As it stands: our trace fields, then the section.
        raw: [&'a [u8]; 2],
    },
    /// The whole message.
    Whole {
        /// Our trace fields, then the header section.
        raw: [&'a [u8]; 2],
        /// The body.
        body: &'a [Bytes],
    },
}

/// RET=FULL, and the message is small enough and such that it survives being returned as it is.
pub fn is_whole_wanted(envelope: &Envelope, facts: &ContentFacts, settings: &Settings) -> bool {
    let is_clean = !facts.has_bare_cr && !facts.has_bare_lf && !facts.has_nul;
    envelope.mail.ret == Some(Ret::Full)
        && facts.size_bytes <= settings.returned_bytes_max as u64
        && is_clean
        && (!facts.has_8bit_header || envelope.mail.smtputf8)
        && (facts.longest_line_bytes as usize) < TEXT_LINE_BYTES_MAX - 1
}

/// The whole message goes back only with failures (RFC 3461 §4.3).
pub fn choose<'a>(original: &Original<'a>, reports: &[RecipientReport<'_>], settings: &Settings) -> Returned<'a> {
    let facts = &original.received.content;
    let has_failure = reports.iter().any(|r| r.action == Action::Failed);
    match original.body {
        Some(body) if has_failure && is_whole_wanted(original.envelope, facts, settings) => {
            Returned::Whole { raw: [original.trace, original.header], body }
        }
        _ => {
            let trace = lines_within(original.trace, settings.returned_bytes_max);
            let header = lines_within(original.header, settings.returned_bytes_max - trace.len());
            Returned::Header { raw: [trace, header] }
        }
    }
}

/// The text holds characters beyond US-ASCII, our own trace fields included: a type of RFC 6533 §3 is its own.
fn is_global(text: &[u8]) -> bool {
    !text.is_ascii() && std::str::from_utf8(text).is_ok()
}

/// As many whole lines as fit.
fn lines_within(text: &[u8], bytes_max: usize) -> &[u8] {
    match text.get(..bytes_max) {
        None => text,
        Some(front) => {
            let end = memchr::memrchr(b'\n', front).map_or(0, |i| i + 1);
            front.get(..end).unwrap_or_default()
        }
    }
}

impl Returned<'_> {
    /// The octets that will be between boundaries.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (raw, body): (_, &[Bytes]) = match self {
            Returned::Header { raw, .. } => (raw, &[]),
            Returned::Whole { raw, body, .. } => (raw, body),
        };
        raw.iter().copied().chain(body.iter().map(|piece| &piece[..]))
    }

    /// Writes the part behind `front`, and the last boundary: the body of the notification.
    pub fn into_pieces(self, mut front: Vec<u8>, boundary: &str) -> Vec<Bytes> {
        let close = format!("\r\n--{boundary}--\r\n");
        let _ = write!(front, "\r\n--{boundary}\r\nContent-Type: ");
        match self {
            Returned::Header { raw } => {
                let text = raw.concat();
                let kind: &[u8] =
                    if is_global(&text) { b"message/global-headers\r\n" } else { b"text/rfc822-headers\r\n" };
                front.extend_from_slice(kind);
                if is_plain(&text) {
                    front.extend_from_slice(b"\r\n");
                    front.extend_from_slice(&text);
                } else {
                    front.extend_from_slice(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n");
                    quoted_printable::encode_into(&mut front, &text);
                }
                front.extend_from_slice(close.as_bytes());
                vec![front.into()]
            }
            Returned::Whole { raw, body } => {
                let header = raw.concat();
                let is_global = is_global(&header);
                let kind: &[u8] = if is_global { b"message/global\r\n" } else { b"message/rfc822\r\n" };
                front.extend_from_slice(kind);
                let is_8bit = is_global || body.iter().any(|piece| !piece.is_ascii());
                if is_8bit {
                    front.extend_from_slice(b"Content-Transfer-Encoding: 8bit\r\n");
                }
                front.extend_from_slice(b"\r\n");
                front.extend_from_slice(&header);
                front.extend_from_slice(b"\r\n");
                let mut pieces = vec![front.into()];
                pieces.extend(body.iter().cloned());
                pieces.push(close.into());
                pieces
            }
        }
    }
}

/// US-ASCII text in lines of a length that every host takes.
fn is_plain(text: &[u8]) -> bool {
    text.split_inclusive(|&b| b == b'\n').all(|line| {
        let is_ended = line.ends_with(b"\r\n");
        let inner = line.strip_suffix(b"\r\n").unwrap_or(line);
        is_ended && inner.len() < TEXT_LINE_BYTES_MAX - 1 && inner.iter().all(|&b| matches!(b, b'\t' | b' '..=b'~'))
    })
}
