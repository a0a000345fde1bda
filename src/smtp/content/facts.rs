//! The facts of content, recorded while it streams by.

use memchr::{memchr, memrchr};

use crate::base::limits::{HEADER_FIELD_BYTES_MAX, HEADER_SECTION_BYTES_MAX, TEXT_LINE_BYTES_MAX};
use crate::mail::ContentFacts;

/// What one pass over a block found. Each is exact; the first octet is judged with the one before it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Survey {
    pub has_dot_after_lf: bool,
    has_bare_cr: bool,
    has_bare_lf: bool,
    has_nul: bool,
    has_8bit: bool,
}

impl Survey {
    /// Looks at every octet and its successor. A CR at the very end is not judged: its LF may come.
    pub fn of(block: &[u8], after_cr: bool) -> Survey {
        let Some((&first, after_first)) = block.split_first() else { return Survey::default() };
        let (mut bare_cr, mut bare_lf, mut dot, mut nul, mut high) = (0u8, 0u8, 0u8, 0u8, 0u8);
        // Element-wise and without branches, so that the compiler makes vector code of it.
        for (&a, &b) in block.iter().zip(after_first) {
            let (a_is_cr, b_is_lf) = (a == b'\r', b == b'\n');
            bare_cr |= u8::from(a_is_cr & !b_is_lf);
            bare_lf |= u8::from(!a_is_cr & b_is_lf);
            dot |= u8::from((a == b'\n') & (b == b'.'));
            nul |= u8::from(b == 0);
            high |= b;
        }
        Survey {
            has_dot_after_lf: dot != 0,
            has_bare_cr: bare_cr != 0 || (after_cr && first != b'\n'),
            has_bare_lf: bare_lf != 0 || (!after_cr && first == b'\n'),
            has_nul: nul != 0 || first == 0,
            has_8bit: (high | first) >= 0x80,
        }
    }

    pub fn has_bare(&self) -> bool {
        self.has_bare_cr | self.has_bare_lf
    }

    pub fn is_clean_but_for_dots(&self) -> bool {
        !(self.has_bare() | self.has_nul | self.has_8bit)
    }
}

/// Where the name of the field at hand stands against `Received`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldName {
    /// So many letters agree.
    Matching(u8),
    /// All agree; white space or the colon follows.
    Matched,
    /// Another field, or past the colon.
    Other,
}

const RECEIVED: &[u8; 8] = b"received";

/// Lines of at most so many octets, their line end not counted, are not measured.
const LINE_BYTES_FREE: u64 = TEXT_LINE_BYTES_MAX as u64 - 2;

/// Records [`ContentFacts`] over content that comes in pieces of any size.
#[derive(Debug, Clone)]
pub struct FactScanner {
    facts: ContentFacts,
    /// Octets of the line at hand so far, a CR at its end included.
    line_bytes: u64,
    last: u8,
    field: FieldName,
    in_body: bool,
    /// Octets of the field at hand so far, all its lines.
    field_bytes: u32,
    is_header_too_long: bool,
    is_field_too_long: bool,
}

impl Default for FactScanner {
    fn default() -> Self {
        FactScanner::new()
    }
}

impl FactScanner {
    /// A scanner at the start of the content.
    pub fn new() -> Self {
        FactScanner {
            facts: ContentFacts::default(),
            line_bytes: 0,
            last: b'\n',
            field: FieldName::Matching(0),
            in_body: false,
            field_bytes: 0,
            is_header_too_long: false,
            is_field_too_long: false,
        }
    }

    /// Takes the next piece of the content.
    pub fn scan(&mut self, piece: &[u8]) {
        let after_cr = self.last == b'\r';
        self.scan_surveyed(piece, Survey::of(piece, after_cr));
    }

    /// Takes the next piece with what is already known about it.
    pub(super) fn scan_surveyed(&mut self, piece: &[u8], survey: Survey) {
        let Some((&first, &last)) = piece.first().zip(piece.last()) else { return };
        let facts = &mut self.facts;
        facts.size_bytes += piece.len() as u64;
        facts.has_bare_cr |= survey.has_bare_cr;
        facts.has_bare_lf |= survey.has_bare_lf;
        facts.has_nul |= survey.has_nul;
        facts.has_leading_dot |= survey.has_dot_after_lf || (first == b'.' && self.last == b'\n');
        let after_cr = piece.len().checked_sub(2).map_or(self.last, |i| piece.get(i).copied().unwrap_or(0)) == b'\r';
        facts.ends_with_crlf = last == b'\n' && after_cr;
        let body = if self.in_body { piece } else { self.scan_header(piece, survey.has_8bit) };
        self.scan_lines(body);
        if self.in_body && !body.is_empty() {
            let is_all = body.len() == piece.len();
            self.facts.has_8bit_body |= survey.has_8bit && (is_all || !body.is_ascii());
        }
        self.last = last;
    }

    /// Goes over the header section line by line; gives what is left for the body.
    fn scan_header<'p>(&mut self, piece: &'p [u8], has_8bit: bool) -> &'p [u8] {
        let mut rest = piece;
        let mut before = self.last;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest).map_or(rest.len(), |i| i + 1);
            let (line, tail) = rest.split_at(end);
            if before == b'\n' && !line.starts_with(b" ") && !line.starts_with(b"\t") {
                self.field_bytes = 0;
            }
            if let [text @ .., b'\n'] = line {
                let ends_with_cr = text.last().map_or(before, |&b| b) == b'\r';
                let text_bytes = self.line_bytes + text.len() as u64 - u64::from(ends_with_cr);
                if text_bytes == 0 {
                    self.facts.has_separator = true;
                    self.in_body = true;
                    self.line_bytes = 0;
                    // The CR of the separator came with an earlier piece: it was counted then.
                    let counted = u32::from(text.is_empty() && ends_with_cr);
                    self.facts.header_bytes = self.facts.header_bytes.saturating_sub(counted);
                    return tail;
                }
                self.field(text);
                self.end_line(text_bytes);
            } else {
                self.field(line);
                self.line_bytes += line.len() as u64;
            }
            if has_8bit {
                self.facts.has_8bit_header |= !line.is_ascii();
            }
            let line_bytes = u32::try_from(line.len()).unwrap_or(u32::MAX);
            self.facts.header_bytes = self.facts.header_bytes.saturating_add(line_bytes);
            self.field_bytes = self.field_bytes.saturating_add(line_bytes);
            self.is_field_too_long |= self.field_bytes as usize > HEADER_FIELD_BYTES_MAX;
            if self.facts.header_bytes as usize > HEADER_SECTION_BYTES_MAX {
                self.is_header_too_long = true;
                self.in_body = true; // it is refused: the rest is only counted
                return tail;
            }
            before = line.last().copied().unwrap_or(before);
            rest = tail;
        }
        rest
    }

    /// Follows the name of the field at hand through `text`, a part of its line.
    fn field(&mut self, text: &[u8]) {
        for &b in text {
            self.field = match self.field {
                FieldName::Other => return,
                FieldName::Matched if b == b':' => {
                    self.facts.received_fields = self.facts.received_fields.saturating_add(1);
                    FieldName::Other
                }
                FieldName::Matched if b == b' ' || b == b'\t' => FieldName::Matched,
                FieldName::Matching(n) if RECEIVED.get(usize::from(n)) == Some(&b.to_ascii_lowercase()) => {
                    if usize::from(n) + 1 == RECEIVED.len() {
                        FieldName::Matched
                    } else {
                        FieldName::Matching(n + 1)
                    }
                }
                _ => FieldName::Other,
            };
        }
    }

    fn end_line(&mut self, text_bytes: u64) {
        self.note_line(text_bytes);
        self.line_bytes = 0;
        self.field = FieldName::Matching(0);
    }

    fn note_line(&mut self, text_bytes: u64) {
        if text_bytes > LINE_BYTES_FREE {
            let bytes = u32::try_from(text_bytes).unwrap_or(u32::MAX);
            self.facts.longest_line_bytes = self.facts.longest_line_bytes.max(bytes);
        }
    }

    /// Measures the long lines of the body.
    ///
    /// Lines that cannot beat the longest one so far are not looked at: from the start of a line we jump
    /// to the last line end within reach of the record, and search only when there is none.
    fn scan_lines(&mut self, body: &[u8]) {
        let mut rest = body;
        while !rest.is_empty() {
            let record = u64::from(self.facts.longest_line_bytes).max(LINE_BYTES_FREE);
            let reach = record.saturating_sub(self.line_bytes) as usize;
            let window = rest.get(..reach.saturating_add(1)).unwrap_or(rest);
            let end = match memrchr(b'\n', window) {
                Some(end) => end,
                None => match memchr(b'\n', rest.get(window.len()..).unwrap_or_default()) {
                    Some(i) => window.len() + i,
                    None => {
                        self.line_bytes += rest.len() as u64;
                        return;
                    }
                },
            };
            if end >= reach {
                let (text, _) = rest.split_at(end);
                let ends_with_cr = match text.last() {
                    Some(&b) => b == b'\r',
                    None => self.line_bytes > 0 && self.last == b'\r',
                };
                self.note_line(self.line_bytes + end as u64 - u64::from(ends_with_cr));
            }
            self.line_bytes = 0;
            rest = rest.get(end + 1..).unwrap_or_default();
        }
    }

    /// The header section is over its bound: the message is to be refused.
    pub fn is_header_too_long(&self) -> bool {
        self.is_header_too_long
    }

    /// A field of the header section is over its bound: the message is to be refused.
    pub fn is_field_too_long(&self) -> bool {
        self.is_field_too_long
    }

    /// Octets so far.
    pub fn size_bytes(&self) -> u64 {
        self.facts.size_bytes
    }

    /// The facts of what has been scanned, as of a message that ends here.
    pub fn finish(&self) -> ContentFacts {
        let mut end = self.clone();
        end.note_line(end.line_bytes);
        end.facts.has_bare_cr |= end.last == b'\r';
        end.facts.ends_with_crlf |= end.facts.size_bytes == 0;
        end.facts
    }
}
