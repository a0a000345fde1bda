//! Bare CR and bare LF become CRLF.

use memchr::memchr2;

/// Turns every line end into CRLF. Works on any division of the input.
#[derive(Debug, Clone, Copy, Default)]
pub struct Normalizer {
    after_cr: bool,
}

impl Normalizer {
    /// A normalizer at the start of its input.
    pub fn new() -> Self {
        Normalizer::default()
    }

    /// The last octet was a CR whose LF has not been seen.
    pub fn is_after_cr(&self) -> bool {
        self.after_cr
    }

    /// Gives `input` on as slices, with what is missing in between.
    pub fn push(&mut self, input: &[u8], mut emit: impl FnMut(&[u8])) {
        if input.is_empty() {
            return;
        }
        let mut rest = input;
        if self.after_cr {
            self.after_cr = false;
            emit(b"\n");
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(at) = memchr2(b'\r', b'\n', rest) {
            let (text, end) = rest.split_at(at);
            match end {
                [b'\r', b'\n', tail @ ..] => {
                    emit_all(&mut emit, rest.get(..at + 2).unwrap_or_default());
                    rest = tail;
                }
                [b'\r'] => {
                    emit_all(&mut emit, rest);
                    self.after_cr = true;
                    return;
                }
                [_, tail @ ..] => {
                    emit_all(&mut emit, text);
                    emit(b"\r\n");
                    rest = tail;
                }
                [] => break,
            }
        }
        emit_all(&mut emit, rest);
    }

    /// Takes note of input that needs no change and was given on by the caller.
    pub fn skip(&mut self, input: &[u8]) {
        self.after_cr = input.last().map_or(self.after_cr, |&b| b == b'\r');
    }

    /// Completes a CR at the very end.
    pub fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        if std::mem::take(&mut self.after_cr) {
            emit(b"\n");
        }
    }
}

fn emit_all(emit: &mut impl FnMut(&[u8]), piece: &[u8]) {
    if !piece.is_empty() {
        emit(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(input: &[u8], cut: usize) -> Vec<u8> {
        let (mut out, mut normalizer) = (Vec::new(), Normalizer::new());
        let (a, b) = input.split_at(cut.min(input.len()));
        for piece in [a, b] {
            normalizer.push(piece, |p| out.extend_from_slice(p));
        }
        normalizer.finish(|p| out.extend_from_slice(p));
        out
    }

    #[test]
    fn every_line_end_becomes_crlf() {
        assert_eq!(run(b"a\nb\rc\r\nd\r\r\n\n\r", 0), b"a\r\nb\r\nc\r\nd\r\n\r\n\r\n\r\n");
    }

    proptest! {
        #[test]
        fn the_result_is_clean_and_the_cut_does_not_matter(
            input in prop::collection::vec(prop::sample::select(b"a.\r\n".to_vec()), 0..20), cut in 0usize..20,
        ) {
            let out = run(&input, cut);
            prop_assert_eq!(&out, &run(&input, 0));
            let text = String::from_utf8(out).expect("ASCII");
            prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
            let strip = |t: &str| t.replace(['\r', '\n'], "");
            prop_assert_eq!(strip(&text), strip(&String::from_utf8(input).expect("ASCII")));
        }
    }
}
