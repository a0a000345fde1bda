//! Content that comes in pieces, as lines: the same lines whatever the pieces are.

use memchr::memchr2;

use super::Refusal;
use crate::base::limits::DOWNGRADE_LINE_BYTES;

/// How a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It does not end yet, or the content ends here.
    Open,
    /// CRLF: the only line end there is (RFC 5322 §2.3).
    CrLf,
    /// An LF that no CR precedes.
    Lf,
    /// A CR that no LF follows.
    Cr,
}

impl End {
    pub(super) fn octets(self) -> &'static [u8] {
        match self {
            End::Open => b"",
            End::CrLf => b"\r\n",
            End::Lf => b"\n",
            End::Cr => b"\r",
        }
    }

    pub(super) fn is_bare(self) -> bool {
        matches!(self, End::Lf | End::Cr)
    }
}

/// A line, or a part of one that has [`DOWNGRADE_LINE_BYTES`] octets or more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment<'a> {
    /// Without the line end.
    pub(super) text: &'a [u8],
    pub(super) end: End,
    /// It starts the content, or a line end of any kind precedes it.
    pub(super) starts_line: bool,
    /// Nothing follows.
    pub(super) is_last: bool,
}

/// Cuts pieces into lines. What is held back is less than a line's block.
#[derive(Debug)]
pub(super) struct Lines {
    held: Vec<u8>,
    starts_line: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Lines { held: Vec::new(), starts_line: true }
    }
}

impl Lines {
    pub(super) fn push(
        &mut self,
        piece: &[u8],
        mut give: impl FnMut(Fragment<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.held.extend_from_slice(piece);
        self.cut(false, &mut give)
    }

    /// The content ends. The last fragment is told as such, and may be empty.
    pub(super) fn finish(&mut self, mut give: impl FnMut(Fragment<'_>) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.cut(true, &mut give)?;
        let held = std::mem::take(&mut self.held);
        give(Fragment { text: &held, end: End::Open, starts_line: self.starts_line, is_last: true })
    }

    fn cut(
        &mut self,
        is_last: bool,
        give: &mut impl FnMut(Fragment<'_>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut rest = self.held.as_slice();
        while let Some((text, end)) = next(rest, is_last) {
            give(Fragment { text, end, starts_line: self.starts_line, is_last: false })?;
            self.starts_line = end != End::Open;
            rest = rest.get(text.len() + end.octets().len()..).unwrap_or_default();
        }
        let done = self.held.len() - rest.len();
        self.held.drain(..done);
        Ok(())
    }
}

/// The next line, or the next block of a long one; nothing when it takes more octets to tell.
fn next(rest: &[u8], is_last: bool) -> Option<(&[u8], End)> {
    let block = rest.get(..DOWNGRADE_LINE_BYTES).unwrap_or(rest);
    let Some(at) = memchr2(b'\r', b'\n', block) else {
        return (block.len() == DOWNGRADE_LINE_BYTES).then_some((block, End::Open));
    };
    let end = match (block.get(at), rest.get(at + 1)) {
        (Some(b'\n'), _) => End::Lf,
        (_, Some(b'\n')) => End::CrLf,
        (_, None) if !is_last => return None,
        _ => End::Cr,
    };
    Some((rest.get(..at)?, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pieces: &[&[u8]]) -> Vec<(Vec<u8>, End, bool, bool)> {
        let (mut lines, mut all) = (Lines::default(), Vec::new());
        let mut keep = |f: Fragment<'_>| {
            all.push((f.text.to_vec(), f.end, f.starts_line, f.is_last));
            Ok(())
        };
        pieces.iter().for_each(|piece| lines.push(piece, &mut keep).expect("taken"));
        lines.finish(&mut keep).expect("taken");
        all
    }

    #[test]
    fn every_line_end_is_told() {
        let found: Vec<_> =
            cut(&[b"a\r", b"\nb\nc\rd\r\r\n\r"]).into_iter().map(|(text, end, ..)| (text, end)).collect();
        let line = |text: &[u8], end| (text.to_vec(), end);
        let expected = [
            line(b"a", End::CrLf),
            line(b"b", End::Lf),
            line(b"c", End::Cr),
            line(b"d", End::Cr),
            line(b"", End::CrLf),
            line(b"", End::Cr),
            line(b"", End::Open),
        ];
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            content in prop::collection::vec(prop::sample::select(b"ab\r\n".to_vec()), 0..60),
            long in 0usize..3000,
            size in 1usize..50,
        ) {
            let content = [content.clone(), vec![b'x'; long], content].concat();
            let pieces: Vec<&[u8]> = content.chunks(size).collect();
            let found = cut(&pieces);
            prop_assert_eq!(&found, &cut(&[&content]));
            let joined: Vec<u8> = found.iter().flat_map(|(text, end, ..)| [text, end.octets()].concat()).collect();
            prop_assert_eq!(joined, content);
        }
    }
}
