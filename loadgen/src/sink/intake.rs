//! Content as it arrives: the end of data, dots taken off, our field found, the rest hashed. Pure.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use crate::hash::ContentHash;
use crate::marker::Marker;

/// CR LF and a dot: everything that a reader of DATA must look at.
static DOT_LINE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\r\n."));
/// Bytes kept of a header line that came in pieces; our field is shorter.
const LINE_KEPT: usize = 128;

/// Reads content after DATA (RFC 5321 §4.5.2): only CR LF . CR LF ends it, a bare LF is content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DotReader {
    /// At the start of a line.
    #[default]
    LineStart,
    /// Within a line.
    Middle,
    /// After a CR.
    Cr,
    /// After a dot at the start of a line.
    Dot,
    /// After that dot and a CR.
    DotCr,
}

impl DotReader {
    /// Gives the content in `bytes` to `each`, piece by piece; the count of bytes up to and with the
    /// end of data where it is among them.
    pub fn read(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8])) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match (*self, byte) {
                (DotReader::Middle, _) => {
                    let rest = &bytes[at..];
                    match DOT_LINE.find(rest) {
                        Some(found) => {
                            each(&rest[..found + 2]);
                            at += found + 3;
                            *self = DotReader::Dot;
                        }
                        None => {
                            each(rest);
                            *self = DotReader::after(rest);
                            return None;
                        }
                    }
                    continue;
                }
                (DotReader::LineStart, b'.') => *self = DotReader::Dot,
                (DotReader::Cr, b'\n') => {
                    each(b"\n");
                    *self = DotReader::LineStart;
                }
                (DotReader::Dot, b'\r') => *self = DotReader::DotCr,
                (DotReader::DotCr, b'\n') => return Some(at + 1),
                (DotReader::DotCr, _) => {
                    each(b"\r");
                    *self = DotReader::Middle;
                    continue;
                }
                // A byte that means nothing here is content like any other.
                (DotReader::LineStart | DotReader::Cr | DotReader::Dot, _) => {
                    *self = DotReader::Middle;
                    continue;
                }
            }
            at += 1;
        }
        None
    }

    fn after(bytes: &[u8]) -> DotReader {
        match bytes {
            [.., b'\r', b'\n'] => DotReader::LineStart,
            [.., b'\r'] => DotReader::Cr,
            _ => DotReader::Middle,
        }
    }
}

/// What was found in a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Our field, and the hash of what follows it.
    Ours {
        /// What the field says.
        marker: Marker,
        /// The hash matches.
        is_intact: bool,
    },
    /// A message without our field in its header section that quotes one: a report, where the
    /// reverse-path is null.
    Quoting(Marker),
    /// Nothing of ours.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Header,
    Hashed,
    Body,
}

/// One content on its way.
#[derive(Debug)]
pub struct Intake {
    part: Part,
    hash: ContentHash,
    marker: Option<Marker>,
    line: Vec<u8>,
    size: u64,
}

impl Default for Intake {
    fn default() -> Self {
        Intake { part: Part::Header, hash: ContentHash::default(), marker: None, line: Vec::new(), size: 0 }
    }
}

impl Intake {
    /// Makes it ready for the next content, keeping its memory.
    pub fn reset(&mut self) {
        self.line.clear();
        let line = std::mem::take(&mut self.line);
        *self = Intake { line, ..Intake::default() };
    }

    /// Bytes taken.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes more content.
    pub fn push(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() && self.part != Part::Hashed {
            // Behind the header section only a quoted field is looked for, and only until it is found.
            if self.part == Part::Body && self.marker.is_some() {
                return;
            }
            rest = self.push_line(rest);
        }
        self.hash.update(rest);
    }

    /// Takes up to the end of a line and looks at it when it is whole.
    fn push_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.keep(bytes);
            return &[];
        };
        let (line, rest) = bytes.split_at(end + 1);
        if self.line.is_empty() {
            self.look_at(line);
        } else {
            self.keep(line);
            let whole = std::mem::take(&mut self.line);
            self.look_at(&whole);
            self.line = whole;
            self.line.clear();
        }
        rest
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LINE_KEPT.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn look_at(&mut self, line: &[u8]) {
        if self.part == Part::Header && matches!(line, b"\r\n" | b"\n") {
            self.part = Part::Body;
            return;
        }
        self.marker = Marker::parse_line(line);
        if self.marker.is_some() && self.part == Part::Header {
            self.part = Part::Hashed;
        }
    }

    /// The content has ended.
    pub fn finish(&self) -> Found {
        match (self.marker, self.part) {
            (Some(marker), Part::Hashed) => Found::Ours { marker, is_intact: self.hash.finish() == marker.hash },
            (Some(marker), _) => Found::Quoting(marker),
            (None, _) => Found::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `wire` cut in pieces of `step`; the content and what was left behind its end.
    fn undot(wire: &[u8], step: usize) -> Option<(Vec<u8>, usize)> {
        let (mut reader, mut content, mut before) = (DotReader::default(), Vec::new(), 0);
        for piece in wire.chunks(step) {
            if let Some(count) = reader.read(piece, |bytes| content.extend_from_slice(bytes)) {
                return Some((content, wire.len() - before - count));
            }
            before += piece.len();
        }
        None
    }

    #[test]
    fn dots_come_off_and_only_crlf_dot_crlf_ends() {
        let cases: [(&[u8], &[u8]); 8] = [
            (b".\r\n", b""),
            (b"a\r\n.\r\n", b"a\r\n"),
            (b"..a\r\n...\r\n.\r\n", b".a\r\n..\r\n"),
            (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\r\n"),
            (b"a\r\n.\rb\r\n.\r\n", b"a\r\n\rb\r\n"),
            (b"a\r.\r\n.\r\n", b"a\r.\r\n"),
            (b"\r\n\r\n.\r\n", b"\r\n\r\n"),
            (b"a\r\r\n.b\r\n.\r\n", b"a\r\r\nb\r\n"),
        ];
        for (wire, content) in cases {
            for step in 1..=wire.len() {
                let found = undot(wire, step).unwrap_or_else(|| panic!("no end of {wire:?} by {step}"));
                assert_eq!(found.0, content, "{wire:?} by {step}");
                assert_eq!(found.1, 0, "{wire:?} by {step}");
            }
        }
        assert_eq!(undot(b"a\n.\n", 9), None);
        assert_eq!(undot(b"a\r\n.\r\nMAIL", 99), Some((b"a\r\n".to_vec(), 4)));
    }

    fn message(rest: &[u8], claimed: &[u8]) -> Vec<u8> {
        let mut hash = ContentHash::default();
        hash.update(claimed);
        let mut value = [0; crate::marker::VALUE_LENGTH];
        Marker { run: 1, number: 2, hash: hash.finish() }.write(&mut value);
        [b"Received: x\r\n y\r\nX-Loadgen-Id: ".as_slice(), &value, b"\r\n", rest].concat()
    }

    fn look(content: &[u8], step: usize) -> Found {
        let mut intake = Intake::default();
        content.chunks(step).for_each(|piece| intake.push(piece));
        assert_eq!(intake.size(), content.len() as u64);
        intake.finish()
    }

    #[test]
    fn our_field_is_found_and_the_rest_checked_however_it_is_cut() {
        let rest = b"Subject: s\r\n\r\nbody\r\n";
        let (good, bad) = (message(rest, rest), message(b"Subject: s\r\n\r\nb0dy\r\n", rest));
        for step in 1..good.len() {
            assert!(matches!(look(&good, step), Found::Ours { is_intact: true, .. }), "by {step}");
            assert!(matches!(look(&bad, step), Found::Ours { is_intact: false, .. }), "by {step}");
        }
    }

    #[test]
    fn a_quoted_field_is_told_from_our_own_and_from_nothing() {
        let quoted = [b"Subject: failed\r\n\r\nyour mail:\r\n".as_slice(), &message(b"\r\n", b"\r\n")].concat();
        assert!(matches!(look(&quoted, 10), Found::Quoting(Marker { number: 2, .. })));
        assert_eq!(look(b"Subject: s\r\n\r\nhello\r\n", 7), Found::Nothing);
    }
}
