//! Writes the header section of a letter.

use super::super::mime::compose::{self, PLAIN};
use super::super::mime::words;
use super::Origin;
use crate::mail::trace;

/// Octets of message ids in References; the oldest in the middle go first.
const REFERENCES_BYTES_MAX: usize = 4096;
/// Characters of a subject.
const SUBJECT_CHARACTERS_MAX: usize = 256;

/// A letter that is being written.
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Date and Message-ID.
    pub fn new(origin: &Origin<'_>) -> Writer {
        let mut out = Vec::with_capacity(1024);
        trace::write_date(&mut out, origin.now);
        trace::write_message_id(&mut out, origin.id, origin.hostname);
        Writer { out }
    }

    /// A field; controls in its value become spaces, long text is folded.
    pub fn field(&mut self, name: &str, value: &str) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        let encoded = words::text(value);
        self.folded(&encoded, name.len() + 2);
    }

    /// A field of addresses: phrases become encoded words.
    pub fn addresses(&mut self, name: &str, value: &str) {
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
        let encoded = words::mailbox(value);
        self.folded(&encoded, name.len() + 2);
    }

    pub fn subject(&mut self, subject: &str) {
        let mut short: String = subject.chars().take(SUBJECT_CHARACTERS_MAX).collect();
        if subject.chars().count() > SUBJECT_CHARACTERS_MAX {
            short.pop();
            short.push('…');
        }
        self.field("Subject", &short);
    }

    /// In-Reply-To and References (RFC 5322 §3.6.4).
    pub fn thread(&mut self, origin: &Origin<'_>) {
        let Some(id) = origin.values("message-id").next().filter(|id| is_id(id)) else { return };
        self.field("In-Reply-To", &id);
        let before = origin.values("references").next();
        let before = before.or_else(|| origin.values("in-reply-to").next().filter(|ids| ids.matches('<').count() == 1));
        let mut ids: Vec<String> = Vec::new();
        ids.extend(
            before.iter().flat_map(|ids| ids.split_ascii_whitespace()).filter(|id| is_id(id)).map(str::to_owned),
        );
        ids.push(id);
        while ids.len() > 2 && ids.iter().map(|id| id.len() + 1).sum::<usize>() > REFERENCES_BYTES_MAX {
            ids.remove(1);
        }
        self.field("References", &ids.join(" "));
    }

    /// Folds at spaces, so that lines are short where they can be.
    fn folded(&mut self, value: &str, column: usize) {
        let mut column = column;
        for (i, word) in value.split(' ').enumerate() {
            let length = word.find("\r\n").unwrap_or(word.len());
            if i > 0 {
                if column + 1 + length > 78 && !word.is_empty() {
                    self.out.extend_from_slice(b"\r\n");
                    column = 0;
                }
                self.out.push(b' ');
                column += 1;
            }
            self.out.extend_from_slice(word.as_bytes());
            column = match word.rfind("\r\n") {
                Some(at) => word.len() - at - 2,
                None => column + word.len(),
            };
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// Ends the section with what its body is, and adds the body.
    pub fn text(mut self, text: &[u8]) -> Vec<u8> {
        let encoded = compose::encoded(text);
        self.field("MIME-Version", "1.0");
        self.field("Content-Type", PLAIN);
        self.field("Content-Transfer-Encoding", encoded.encoding);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(&encoded.octets);
        self.finish()
    }

    /// Ends the section with the MIME entity that a script spells out: its fields that belong to a body.
    pub fn entity(mut self, entity: &[u8]) -> Vec<u8> {
        let entity = bytes::Bytes::from(compose::with_crlf(entity));
        let (header, at) = crate::mail::HeaderSection::split(&entity);
        self.field("MIME-Version", "1.0");
        let is_mime = |name: &[u8]| name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"));
        let plain = |raw: &[u8]| raw.iter().all(|b| b.is_ascii() && *b != 0);
        for field in header.fields().filter(|field| is_mime(field.name) && plain(field.raw)) {
            self.out.extend_from_slice(field.raw);
        }
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(entity.get(at..).unwrap_or(&[]));
        self.finish()
    }

    /// Raw octets behind the section.
    pub fn raw(mut self, octets: &[u8]) -> Vec<u8> {
        self.out.extend_from_slice(octets);
        self.finish()
    }

    fn finish(mut self) -> Vec<u8> {
        if !self.out.ends_with(b"\r\n") {
            self.out.extend_from_slice(b"\r\n");
        }
        self.out
    }
}

/// `<left@right>`, printable.
fn is_id(id: &str) -> bool {
    id.len() <= 998 && id.starts_with('<') && id.ends_with('>') && id.bytes().all(|b| (33..=126).contains(&b))
}
