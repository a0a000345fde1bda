//! Command lines out of a stream (RFC 5321 §2.3.8, §4.1.1): only CRLF ends a line.
//!
//! A bare LF in a command is a fault by default, so that no intermediary and we can disagree on where
//! a command ends. A line that is too long is swallowed without being kept.

use memchr::memchr;

use crate::base::limits::COMMAND_LINE_BYTES_MAX;

/// What an LF that no CR precedes means in a command line: a setting of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareLf {
    /// A fault: 500 5.5.2, and the connection closes.
    #[default]
    Refuse,
    /// A line end, for old clients in trusted networks.
    Accept,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFault {
    /// An LF that no CR precedes.
    BareLf,
    /// More than [`COMMAND_LINE_BYTES_MAX`] octets; all of them have been swallowed.
    TooLong,
}

/// What the splitter found at the front of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A line without its line end, and the octets it took with it.
    Line {
        /// The text of the line.
        text: &'a [u8],
        /// Octets of the buffer that are used up.
        consumed: usize,
    },
    /// A line that is none, and the octets it took.
    Fault {
        /// What is wrong with it.
        fault: LineFault,
        /// Octets of the buffer that are used up.
        consumed: usize,
    },
    /// No line end yet: drop `consumed` octets and call again with what is left and more.
    More {
        /// Octets of the buffer that are used up: none, or all of them while a line too long is swallowed.
        consumed: usize,
    },
}

/// Splits a stream into lines. Holds no octet itself.
#[derive(Debug, Clone, Copy)]
pub struct LineSplitter {
    bare_lf: BareLf,
    line_bytes_max: u32,
    is_swallowing: bool,
}

impl Default for LineSplitter {
    /// For commands, with a bare LF refused.
    fn default() -> Self {
        LineSplitter::new(BareLf::Refuse)
    }
}

impl LineSplitter {
    /// A splitter for commands: lines of at most [`COMMAND_LINE_BYTES_MAX`] octets with their line end.
    pub fn new(bare_lf: BareLf) -> Self {
        LineSplitter::with_limit(bare_lf, COMMAND_LINE_BYTES_MAX)
    }

    /// A splitter for longer lines, as an AUTH exchange has them (RFC 4954 §4: 12,288 octets).
    pub fn with_limit(bare_lf: BareLf, line_bytes_max: usize) -> Self {
        LineSplitter { bare_lf, line_bytes_max: line_bytes_max as u32, is_swallowing: false }
    }

    /// Finds the next line at the front of `buffer`, which begins where the last step ended.
    #[inline]
    pub fn next<'a>(&mut self, buffer: &'a [u8]) -> Step<'a> {
        let limit = self.line_bytes_max as usize;
        let Some(lf) = line_feed(buffer) else {
            if self.is_swallowing || buffer.len() >= limit {
                self.is_swallowing = true;
                return Step::More { consumed: buffer.len() };
            }
            return Step::More { consumed: 0 };
        };
        let consumed = lf + 1;
        if self.is_swallowing || consumed > limit {
            self.is_swallowing = false;
            return Step::Fault { fault: LineFault::TooLong, consumed };
        }
        let text = buffer.get(..lf).unwrap_or_default();
        match (text.strip_suffix(b"\r"), self.bare_lf) {
            (Some(text), _) => Step::Line { text, consumed },
            (None, BareLf::Accept) => Step::Line { text, consumed },
            (None, BareLf::Refuse) => Step::Fault { fault: LineFault::BareLf, consumed },
        }
    }
}

/// Where the first LF is. The commands without arguments are short: a look at the first eight octets finds theirs for
/// less than a call of [`memchr`] costs.
#[inline]
fn line_feed(buffer: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    if let Some(head) = buffer.first_chunk::<8>() {
        // An octet becomes zero where an LF is; the lowest zero gets its high bit set (higher ones may be wrong).
        let differs = u64::from_le_bytes(*head) ^ (ONES * 0x0a);
        let zeros = differs.wrapping_sub(ONES) & !differs & (ONES * 0x80);
        if zeros != 0 {
            return Some(zeros.trailing_zeros() as usize / 8);
        }
    }
    memchr(b'\n', buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `input` in pieces; lines as text, faults as words.
    fn run(input: &[u8], cuts: &[usize], splitter: &mut LineSplitter) -> (Vec<String>, usize) {
        let (mut seen, mut held, mut held_max) = (Vec::new(), Vec::new(), 0);
        let mut at = 0;
        for end in cuts.iter().copied().chain([input.len()]) {
            let end = end.clamp(at, input.len());
            held.extend_from_slice(&input[at..end]);
            at = end;
            loop {
                match splitter.next(&held) {
                    Step::Line { text, consumed } => {
                        seen.push(String::from_utf8_lossy(text).into_owned());
                        held.drain(..consumed);
                    }
                    Step::Fault { fault, consumed } => {
                        seen.push(format!("{fault:?}"));
                        held.drain(..consumed);
                    }
                    Step::More { consumed } => {
                        held.drain(..consumed);
                        break;
                    }
                }
            }
            held_max = held_max.max(held.len());
        }
        (seen, held_max)
    }

    #[test]
    fn only_crlf_ends_a_line() {
        let input = b"a\r\nb\nc\rd\r\n\r\ne";
        let strict = run(input, &[], &mut LineSplitter::new(BareLf::Refuse)).0;
        assert_eq!(strict, ["a", "BareLf", "c\rd", ""]);
        let lenient = run(input, &[], &mut LineSplitter::new(BareLf::Accept)).0;
        assert_eq!(lenient, ["a", "b", "c\rd", ""]);
    }

    #[test]
    fn a_line_too_long_is_swallowed_not_kept() {
        let mut input = vec![b'x'; 100_000];
        input.extend_from_slice(b"\r\nNOOP\r\n");
        let cuts: Vec<usize> = (0..input.len()).step_by(1000).collect();
        let (seen, held_max) = run(&input, &cuts, &mut LineSplitter::new(BareLf::Refuse));
        assert_eq!(seen, ["TooLong", "NOOP"]);
        assert!(held_max < COMMAND_LINE_BYTES_MAX, "{held_max}");
    }

    #[test]
    fn the_longest_line_counts_its_line_end() {
        for (text_bytes, fits) in [(COMMAND_LINE_BYTES_MAX - 2, true), (COMMAND_LINE_BYTES_MAX - 1, false)] {
            let mut input = vec![b'x'; text_bytes];
            input.extend_from_slice(b"\r\n");
            let step = LineSplitter::new(BareLf::Refuse).next(&input);
            assert_eq!(matches!(step, Step::Line { .. }), fits);
        }
    }

    proptest! {
        #[test]
        fn how_it_is_cut_changes_nothing(
            input in prop::collection::vec(prop::sample::select(b"ab\r\n\n".to_vec()), 0..60),
            cuts in prop::collection::vec(0usize..60, 0..6),
        ) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let small = || LineSplitter::with_limit(BareLf::Refuse, 8);
            prop_assert_eq!(run(&input, &cuts, &mut small()).0, run(&input, &[], &mut small()).0);
        }
    }
}
