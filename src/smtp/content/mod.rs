//! Content on its way in: where it ends, what it is, and what of it is kept.
//!
//! Only CRLF "." CRLF ends the content of DATA, and the octets before the first line count as the end
//! of a line, so that "." CRLF alone is an empty message. No other spelling ends it: what a sender
//! believes to have smuggled behind `LF . LF` is content, and its bare LF is refused, normalized or
//! kept by the listener's [`BareLineEnds`].
//!
//! [`ContentScanner`] works on any division of the input and keeps none of it: at most the two octets
//! `.` CR at the end of a buffer are left to be shown again. Content leaves as slices of the input
//! ([`ContentScanner::scan`], one copy by the caller), or stays where it is, dots squeezed out
//! ([`ContentScanner::scan_in_place`], no copy but behind a removed dot). Chunks of BDAT go through
//! the same scanner without the dot rule, counted by [`ChunkCounter`]. In the same pass
//! [`ContentFacts`] are recorded; they describe what is kept, so after unstuffing and normalizing,
//! save that a normalized line end still counts as bare in [`ContentScanner::had_bare_line_ends`].

mod facts;
mod normalize;

pub use facts::FactScanner;
pub use normalize::Normalizer;

use memchr::memchr_iter;

use crate::mail::{ContentFacts, Reply};
use facts::Survey;

/// What a CR without LF, or an LF without CR, means in content: a setting of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BareLineEnds {
    /// The message is refused when it has ended: 521 5.5.2, and the connection closes.
    #[default]
    Reject,
    /// Each becomes CRLF.
    Normalize,
    /// Kept as they are; such a message never leaves by DATA.
    Allow,
}

/// Why content is refused although it ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentFault {
    /// A bare CR or LF where [`BareLineEnds::Reject`] holds.
    BareLineEnd,
    /// The header section is longer than [`HEADER_SECTION_BYTES_MAX`](crate::base::limits::HEADER_SECTION_BYTES_MAX).
    HeaderTooLong,
    /// A field of it is longer than [`HEADER_FIELD_BYTES_MAX`](crate::base::limits::HEADER_FIELD_BYTES_MAX).
    FieldTooLong,
}

impl ContentFault {
    /// What the sender is told at the end of the content.
    pub fn reply(self) -> Reply {
        match self {
            ContentFault::BareLineEnd => Reply::new(521, (5, 5, 2), "Bare CR or LF in message, lines end with CR LF"),
            ContentFault::HeaderTooLong => Reply::new(552, (5, 3, 4), "Header section too long"),
            ContentFault::FieldTooLong => Reply::new(552, (5, 3, 4), "Header field too long"),
        }
    }

    /// The connection closes after the reply: the sender may read its own stream differently than we do.
    pub fn must_close(self) -> bool {
        self == ContentFault::BareLineEnd
    }
}

/// How far a scan came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Octets of the input that are used up. The rest (at most two octets unless `is_end`) is shown
    /// again in front of what comes next.
    pub consumed: usize,
    /// The content has ended; what follows `consumed` is commands again.
    pub is_end: bool,
}

/// How far a scan in place came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InPlace {
    /// The front of the buffer up to here is content.
    pub kept: usize,
    /// As in [`Progress::consumed`], from the front of the buffer; what lies between `kept` and
    /// `consumed` is of no use any more.
    pub consumed: usize,
    /// As in [`Progress::is_end`].
    pub is_end: bool,
}

/// Scans the content of one message.
#[derive(Debug, Clone)]
pub struct ContentScanner {
    policy: BareLineEnds,
    facts: FactScanner,
    normalizer: Normalizer,
    /// The last two octets of the input were CRLF, or nothing came yet: a dot here is not content.
    at_line_start: bool,
    /// The last octet of the input was CR.
    after_cr: bool,
    had_bare: bool,
    /// Octets of the next block: smaller where stuffed dots are dense, so that no octet is looked at often.
    block_bytes: usize,
}

/// Input is looked at in blocks that stay in the first-level cache while several passes go over them.
const BLOCK_BYTES: usize = 4096;
/// The smallest block.
const BLOCK_BYTES_MIN: usize = 64;

/// What comes next in the input.
enum Event {
    /// So many octets are content.
    Content(usize, Survey),
    /// One dot that is not content.
    Dot,
    /// CRLF "." CRLF is complete: three octets are used up.
    End,
    /// The rest cannot be judged yet.
    Wait,
}

impl ContentScanner {
    /// A scanner at the start of a message.
    pub fn new(policy: BareLineEnds) -> Self {
        ContentScanner {
            policy,
            facts: FactScanner::new(),
            normalizer: Normalizer::new(),
            at_line_start: true,
            after_cr: false,
            had_bare: false,
            block_bytes: BLOCK_BYTES,
        }
    }

    /// Scans content of DATA; `keep` gets what is to be stored, in order, as slices.
    pub fn scan(&mut self, input: &[u8], mut keep: impl FnMut(&[u8])) -> Progress {
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            match self.next(rest) {
                Event::Content(n, survey) => {
                    self.take(rest.get(..n).unwrap_or_default(), survey, &mut keep);
                    at += n;
                }
                Event::Dot => at += 1,
                Event::End => return Progress { consumed: at + 3, is_end: true },
                Event::Wait => return Progress { consumed: at, is_end: false },
            }
        }
    }

    /// Scans content of DATA and squeezes the removed dots out of the buffer itself.
    ///
    /// A bare line end cannot be normalized in place, there is no room: with [`BareLineEnds::Normalize`]
    /// it is then refused like with [`BareLineEnds::Reject`]; use [`ContentScanner::scan`] there.
    pub fn scan_in_place(&mut self, buffer: &mut [u8]) -> InPlace {
        let (mut at, mut kept) = (0, 0);
        loop {
            let rest = buffer.get(at..).unwrap_or_default();
            match self.next(rest) {
                Event::Content(n, survey) => {
                    self.had_bare |= survey.has_bare();
                    if self.policy == BareLineEnds::Normalize && self.had_bare {
                        self.policy = BareLineEnds::Reject;
                    }
                    self.facts.scan_surveyed(rest.get(..n).unwrap_or_default(), survey);
                    if kept != at {
                        buffer.copy_within(at..at + n, kept);
                    }
                    at += n;
                    kept += n;
                }
                Event::Dot => at += 1,
                Event::End => return InPlace { kept, consumed: at + 3, is_end: true },
                Event::Wait => return InPlace { kept, consumed: at, is_end: false },
            }
        }
    }

    /// Scans octets of a BDAT chunk: all of them are content. The caller counts them ([`ChunkCounter`]).
    pub fn scan_chunk(&mut self, input: &[u8], mut keep: impl FnMut(&[u8])) {
        for block in input.chunks(BLOCK_BYTES) {
            let survey = Survey::of(block, self.after_cr);
            self.after_cr = block.last() == Some(&b'\r');
            self.take(block, survey, &mut keep);
        }
    }

    /// Ends the content: after `is_end`, or after the last chunk. `keep` gets what a normalized line end
    /// still lacks, so this comes before the content is stored.
    pub fn finish(&mut self, mut keep: impl FnMut(&[u8])) -> ContentFacts {
        self.had_bare |= self.after_cr;
        if self.policy == BareLineEnds::Normalize {
            let facts = &mut self.facts;
            self.normalizer.finish(|piece| {
                facts.scan(piece);
                keep(piece);
            });
        }
        self.facts.finish()
    }

    /// Why the content is to be refused, as far as it is known by now. Once there is a fault, what is
    /// scanned need not be kept any more.
    pub fn fault(&self) -> Option<ContentFault> {
        if self.facts.is_header_too_long() {
            Some(ContentFault::HeaderTooLong)
        } else if self.facts.is_field_too_long() {
            Some(ContentFault::FieldTooLong)
        } else if self.policy == BareLineEnds::Reject && self.had_bare {
            Some(ContentFault::BareLineEnd)
        } else {
            None
        }
    }

    /// A bare CR or LF came in, whatever became of it.
    pub fn had_bare_line_ends(&self) -> bool {
        self.had_bare
    }

    /// Octets kept so far.
    pub fn size_bytes(&self) -> u64 {
        self.facts.size_bytes()
    }

    fn take(&mut self, content: &[u8], survey: Survey, keep: &mut impl FnMut(&[u8])) {
        self.had_bare |= survey.has_bare();
        if self.policy != BareLineEnds::Normalize {
            self.facts.scan_surveyed(content, survey);
            keep(content);
        } else if survey.has_bare() || self.normalizer.is_after_cr() {
            let facts = &mut self.facts;
            self.normalizer.push(content, |piece| {
                facts.scan(piece);
                keep(piece);
            });
        } else {
            self.normalizer.skip(content);
            self.facts.scan_surveyed(content, survey);
            keep(content);
        }
    }

    /// Decides what stands at the front of `rest`.
    fn next(&mut self, rest: &[u8]) -> Event {
        if self.at_line_start {
            match rest {
                [] | [b'.'] | [b'.', b'\r'] => return Event::Wait,
                [b'.', b'\r', b'\n', ..] => return Event::End,
                [b'.', ..] => {
                    self.at_line_start = false;
                    return Event::Dot;
                }
                _ => {}
            }
        }
        let block = rest.get(..self.block_bytes).unwrap_or(rest);
        let Some((last, before)) = block.split_last() else { return Event::Wait };
        let mut survey = Survey::of(block, self.after_cr);
        let mut content = block;
        if survey.has_dot_after_lf
            && let Some(end) = dot_line(block, self.after_cr)
        {
            content = block.get(..end).unwrap_or(block);
            // Most content is clean, and a part of clean content is clean: it is not looked at again.
            survey =
                if survey.is_clean_but_for_dots() { Survey::default() } else { Survey::of(content, self.after_cr) };
            self.at_line_start = true;
            self.block_bytes = (end * 2).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES);
        } else {
            self.block_bytes = (self.block_bytes * 2).min(BLOCK_BYTES);
            let after_cr = before.last().map_or(self.after_cr, |&b| b == b'\r');
            self.at_line_start = *last == b'\n' && after_cr;
        }
        self.after_cr = content.last() == Some(&b'\r');
        Event::Content(content.len(), survey)
    }
}

/// Where the first line that starts with a dot starts, if a CRLF inside `block` ends the one before.
fn dot_line(block: &[u8], after_cr: bool) -> Option<usize> {
    memchr_iter(b'.', block).find(|&dot| match block.get(..dot) {
        Some([.., b'\r', b'\n']) => true,
        Some([b'\n']) => after_cr,
        _ => false,
    })
}

/// Counts the octets of a BDAT chunk (RFC 3030 §2): exactly so many are not commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkCounter {
    remaining: u64,
}

impl ChunkCounter {
    /// A chunk of so many octets.
    pub fn new(size_bytes: u64) -> Self {
        ChunkCounter { remaining: size_bytes }
    }

    /// How many of `available` octets belong to the chunk; they count as taken.
    pub fn take(&mut self, available: usize) -> usize {
        let taken = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(available);
        self.remaining -= taken as u64;
        taken
    }

    /// Octets still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The chunk is complete.
    pub fn is_complete(&self) -> bool {
        self.remaining == 0
    }
}

#[cfg(test)]
pub(in crate::smtp) mod lookalikes;
#[cfg(test)]
mod tests;
