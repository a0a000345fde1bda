//! Content on its way out by DATA: dots stuffed, the end of data behind it (RFC 5321 §4.5.2).
//!
//! Works on the pieces of a message and yields slices of them: nothing is joined or copied. A dot is
//! stuffed behind every LF, so that no reader, however it takes a bare LF, sees an end that is not
//! ours. Bare CR and LF do not belong here: such content goes by BDAT or through
//! [`Normalizer`](super::content::Normalizer) first.

use memchr::memmem;

/// Stuffs dots into content that comes in pieces of any size.
#[derive(Debug, Clone, Copy)]
pub struct Stuffer {
    last: [u8; 2],
}

impl Default for Stuffer {
    fn default() -> Self {
        Stuffer::new()
    }
}

impl Stuffer {
    /// A stuffer in front of the content.
    pub fn new() -> Self {
        Stuffer { last: *b"\r\n" }
    }

    /// Gives a piece on as slices, with the dots that are missing in between.
    pub fn push<'p>(&mut self, piece: &'p [u8], mut emit: impl FnMut(&'p [u8])) {
        if self.last[1] == b'\n' && piece.first() == Some(&b'.') {
            emit(b".");
        }
        let mut start = 0;
        for at in memmem::find_iter(piece, b"\n.") {
            emit(piece.get(start..=at).unwrap_or_default());
            emit(b".");
            start = at + 1;
        }
        match piece.get(start..) {
            None | Some([]) => {}
            Some(rest) => emit(rest),
        }
        match piece {
            [] => {}
            [only] => self.last = [self.last[1], *only],
            [.., a, b] => self.last = [*a, *b],
        }
    }

    /// What ends the data, given what was pushed: a CRLF that is missing is added, none is doubled.
    pub fn end(&self) -> &'static [u8] {
        end_of_data(self.last == *b"\r\n")
    }
}

/// What ends the data behind content that needs no stuffing, by
/// [`ContentFacts::ends_with_crlf`](crate::mail::ContentFacts::ends_with_crlf).
pub fn end_of_data(ends_with_crlf: bool) -> &'static [u8] {
    if ends_with_crlf { b".\r\n" } else { b"\r\n.\r\n" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::content::{BareLineEnds, ContentScanner};
    use proptest::prelude::*;

    fn stuffed(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut out, mut stuffer) = (Vec::new(), Stuffer::new());
        for piece in pieces {
            stuffer.push(piece, |slice| out.extend_from_slice(slice));
        }
        out.extend_from_slice(stuffer.end());
        out
    }

    #[test]
    fn every_leading_dot_gets_one() {
        assert_eq!(stuffed(&[b".a\r\n", b"..\r\nb.\r\n", b"."]), b"..a\r\n...\r\nb.\r\n..\r\n.\r\n");
        assert_eq!(stuffed(&[b"a\r", b"\n", b".b\r\n"]), b"a\r\n..b\r\n.\r\n");
    }

    #[test]
    fn the_end_adds_only_what_is_missing() {
        assert_eq!(stuffed(&[]), b".\r\n");
        assert_eq!(stuffed(&[b"a"]), b"a\r\n.\r\n");
        assert_eq!(stuffed(&[b"a\r\n"]), b"a\r\n.\r\n");
        assert_eq!(stuffed(&[b"a\r\n", b""]), b"a\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn a_scanner_gets_back_what_was_stuffed(
            tokens in prop::collection::vec(prop::sample::select(vec![&b"."[..], b"\r\n", b"a", b"..", b"\r\n."]), 0..30),
            cut in 0usize..40,
        ) {
            let content = tokens.concat();
            let (a, b) = content.split_at(cut.min(content.len()));
            let wire = [&stuffed(&[a, b])[..], b"QUIT\r\n"].concat();
            let mut back = Vec::new();
            let mut scanner = ContentScanner::new(BareLineEnds::Reject);
            let progress = scanner.scan(&wire, |slice| back.extend_from_slice(slice));
            prop_assert!(progress.is_end);
            prop_assert_eq!(&wire[progress.consumed..], b"QUIT\r\n");
            let expected = if content.is_empty() || content.ends_with(b"\r\n") { content } else { [&content[..], b"\r\n"].concat() };
            prop_assert_eq!(back, expected);
        }

        #[test]
        fn no_reader_sees_an_early_end(content in prop::collection::vec(prop::sample::select(b".\r\n\na".to_vec()), 0..40)) {
            let wire = stuffed(&[&content]);
            let end = wire.len() - 3;
            for lenient_end in [&b"\n.\n"[..], b"\n.\r\n"] {
                let first = memmem::find(&wire, lenient_end);
                prop_assert!(first.is_none_or(|at| at + 1 == end));
            }
        }
    }
}
