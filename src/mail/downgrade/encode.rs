//! What is done with octets on their way: each a machine that takes pieces.

use data_encoding::BASE64;

use super::lines::{End, Fragment};
use super::walk::LINE_BYTES_MAX;
use crate::mail::quoted_printable;

/// What is done with one entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Keep,
    /// Its field says 7bit from now on; nothing else.
    Relabel,
    /// Its content becomes quoted-printable; `has_8bit` if it has octets above 127.
    Quote { has_8bit: bool },
    /// Its content becomes base64; `has_8bit` as above.
    Base64 { has_8bit: bool },
    /// It is base64, and gets lines as they should be.
    Rewrap,
}

/// Encodes one content.
#[derive(Debug)]
pub(super) enum Encoder {
    Keep,
    Quote(quoted_printable::Encoder),
    Base64(Base64),
    Rewrap(Wrap),
}

impl Encoder {
    pub(super) fn of(action: Action) -> Encoder {
        match action {
            Action::Keep | Action::Relabel => Encoder::Keep,
            Action::Quote { .. } => Encoder::Quote(quoted_printable::Encoder::default()),
            Action::Base64 { .. } => Encoder::Base64(Base64::default()),
            Action::Rewrap => Encoder::Rewrap(Wrap::default()),
        }
    }

    pub(super) fn content(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match self {
            Encoder::Keep => out.extend_from_slice(octets),
            Encoder::Quote(encoder) => encoder.octets(octets, out),
            Encoder::Base64(encoder) => encoder.push(octets, out),
            Encoder::Rewrap(wrap) => wrap.push(octets, out),
        }
    }

    pub(super) fn line_end(&mut self, end: End, out: &mut Vec<u8>) {
        match (&mut *self, end) {
            (Encoder::Quote(encoder), End::CrLf) => encoder.line_end(out),
            (Encoder::Rewrap(_), _) => {}
            _ => self.content(end.octets(), out),
        }
    }

    /// The content is over. When the message is too, it ends with a line end that is no part of the content.
    pub(super) fn finish(&mut self, is_last: bool, out: &mut Vec<u8>) {
        match self {
            Encoder::Keep => {}
            Encoder::Quote(encoder) if is_last => encoder.close_line(out),
            Encoder::Quote(encoder) => encoder.finish(out),
            Encoder::Base64(encoder) => encoder.finish(is_last, out),
            Encoder::Rewrap(wrap) => wrap.finish(is_last, out),
        }
    }
}

/// Octets as lines of at most 76 (RFC 2045 §6.8).
#[derive(Debug, Default)]
pub(super) struct Wrap {
    column: usize,
}

impl Wrap {
    fn push(&mut self, mut text: &[u8], out: &mut Vec<u8>) {
        const COLUMNS: usize = 76;
        while !text.is_empty() {
            if self.column == COLUMNS {
                out.extend_from_slice(b"\r\n");
                self.column = 0;
            }
            let (line, rest) = text.split_at(text.len().min(COLUMNS - self.column));
            out.extend_from_slice(line);
            self.column += line.len();
            text = rest;
        }
    }

    fn finish(&mut self, is_last: bool, out: &mut Vec<u8>) {
        if is_last && self.column > 0 {
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Base64 in lines (RFC 2045 §6.8).
#[derive(Debug, Default)]
pub(super) struct Base64 {
    /// Fewer than three octets.
    held: Vec<u8>,
    wrap: Wrap,
}

impl Base64 {
    fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(octets);
        let whole = self.held.len() / 3 * 3;
        self.write(whole, out);
    }

    fn finish(&mut self, is_last: bool, out: &mut Vec<u8>) {
        self.write(self.held.len(), out);
        self.wrap.finish(is_last, out);
    }

    fn write(&mut self, count: usize, out: &mut Vec<u8>) {
        let mut line = [0; 76];
        for octets in self.held.get(..count).unwrap_or_default().chunks(57) {
            if let Some(line) = line.get_mut(..BASE64.encode_len(octets.len())) {
                BASE64.encode_mut(octets, line);
                self.wrap.push(line, out);
            }
        }
        self.held.drain(..count);
    }
}

/// Makes lines 7-bit that readers skip: octets above 127 are written as `=E4`, long lines are cut.
#[derive(Debug, Default)]
pub(super) struct Filler {
    column: usize,
}

impl Filler {
    /// Whether the line had to be changed.
    pub(super) fn push(&mut self, fragment: &Fragment<'_>, out: &mut Vec<u8>) -> bool {
        let is_clean = |b: &u8| b.is_ascii() && *b != 0;
        let is_kept = fragment.text.iter().all(is_clean)
            && !fragment.end.is_bare()
            && self.column + fragment.text.len() <= LINE_BYTES_MAX;
        if is_kept {
            out.extend_from_slice(fragment.text);
            self.column += fragment.text.len();
        } else {
            for (at, octet) in fragment.text.iter().enumerate() {
                // Nothing that is made here may look like a delimiter.
                let is_hyphen = at == 0 && *octet == b'-';
                self.put(*octet, is_clean(octet) && !is_hyphen, out);
            }
            fragment.end.octets().iter().filter(|_| fragment.end.is_bare()).for_each(|b| self.put(*b, false, out));
        }
        if fragment.end == End::CrLf {
            out.extend_from_slice(b"\r\n");
            self.column = 0;
        }
        !is_kept
    }

    fn put(&mut self, octet: u8, is_plain: bool, out: &mut Vec<u8>) {
        if self.column + 3 > LINE_BYTES_MAX {
            out.extend_from_slice(b"\r\n ");
            self.column = 1;
        }
        match is_plain {
            true => out.push(octet),
            false => out.extend_from_slice(format!("={octet:02X}").as_bytes()),
        }
        self.column += if is_plain { 1 } else { 3 };
    }
}
