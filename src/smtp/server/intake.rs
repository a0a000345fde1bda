//! The receive buffer: command lines are read from it in place, and content is gathered in it.
//!
//! ```text
//!   buffer  [ … | content gathered | … | unread | free ]
//!                                        start    end
//! ```
//!
//! Content up to a bound stays in this one buffer, contiguous and unstuffed, and leaves as [`Bytes`]
//! without a copy when it fills a good part of the buffer (a small message is copied out: 1 KiB costs
//! less to copy than 16 KiB cost to keep). An idle session gives the buffer back and holds none.

use std::ops::Range;

use bytes::Bytes;

use crate::base::limits::{INLINE_CONTENT_BYTES_MAX, RECEIVE_BUFFER_BYTES};

/// The largest the buffer grows: the inline content and room to see that there is more.
pub const INTAKE_BYTES_MAX: usize = INLINE_CONTENT_BYTES_MAX + RECEIVE_BUFFER_BYTES;

/// The receive buffer of one session; every octet of `buf` is initialised.
#[derive(Debug, Default)]
pub struct Intake {
    buf: Vec<u8>,
    content: Option<Range<usize>>,
    start: usize,
    end: usize,
}

impl Intake {
    /// A buffer is there.
    pub fn has_buffer(&self) -> bool {
        !self.buf.is_empty()
    }

    /// Octets of the buffer.
    pub fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// Gives the intake a buffer; all of its length is used. What an earlier one held moves over.
    pub fn lend(&mut self, mut buf: Vec<u8>) {
        let keep = self.kept();
        if buf.len() < keep.len() {
            buf.resize(keep.len(), 0);
        }
        buf[..keep.len()].copy_from_slice(&self.buf[keep.clone()]);
        self.buf = buf;
        self.rebase(keep.start);
    }

    /// Takes the buffer away from a session that has nothing in it.
    pub fn reclaim(&mut self) -> Option<Vec<u8>> {
        if self.buf.is_empty() || self.start < self.end || self.content.is_some() {
            return None;
        }
        (self.start, self.end) = (0, 0);
        Some(std::mem::take(&mut self.buf))
    }

    /// Takes the buffer away and keeps what is unread in one of its exact size: half a command line of a
    /// slow client must not hold a whole buffer. Nothing while content is gathered.
    pub fn park(&mut self) -> Option<Vec<u8>> {
        if self.start == self.end || self.content.is_some() || self.end - self.start == self.buf.len() {
            return self.reclaim();
        }
        let rest = self.unread().to_vec();
        (self.start, self.end) = (0, rest.len());
        Some(std::mem::replace(&mut self.buf, rest))
    }

    /// Takes a buffer over whose first `octets` have just been received, behind what is unread.
    pub fn accept(&mut self, mut buf: Vec<u8>, octets: usize) {
        let octets = octets.min(buf.len());
        let before = self.end - self.start;
        if before > 0 {
            if before + octets > buf.len() {
                buf.resize(before + octets, 0);
            }
            buf.copy_within(..octets, before);
            buf[..before].copy_from_slice(&self.buf[self.start..self.end]);
        }
        self.buf = buf;
        (self.start, self.end) = (0, before + octets);
    }

    /// Content is being gathered: octets have to be read into [`Intake::space`].
    pub fn is_gathering(&self) -> bool {
        self.content.is_some()
    }

    /// Where the next octets from the peer belong; empty when the buffer is full or absent.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            let floor = self.content.as_ref().map_or(0, |content| content.end);
            (self.start, self.end) = (floor, floor);
        }
        if self.end == self.buf.len() {
            self.compact();
        }
        &mut self.buf[self.end..]
    }

    /// That many octets of [`Intake::space`] have been filled.
    pub fn received(&mut self, octets: usize) {
        self.end = (self.end + octets).min(self.buf.len());
    }

    /// What was received and not yet used.
    pub fn unread(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// The same, for a scanner that works in place.
    pub fn unread_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.end]
    }

    /// That many octets of [`Intake::unread`] have been used.
    pub fn consume(&mut self, octets: usize) {
        self.start = (self.start + octets).min(self.end);
    }

    /// Everything unread is thrown away (STARTTLS, closing).
    pub fn discard_unread(&mut self) {
        self.start = self.end;
    }

    /// Content begins at the first unread octet.
    pub fn begin_content(&mut self) {
        self.content = Some(self.start..self.start);
    }

    /// Of the next `used` unread octets, the first `kept` are content (a scanner has moved them there).
    pub fn gather(&mut self, kept: usize, used: usize) {
        let used = used.min(self.end - self.start);
        let kept = kept.min(used);
        if let Some(content) = &mut self.content {
            if content.start == content.end {
                *content = self.start..self.start + kept;
            } else {
                if content.end != self.start {
                    self.buf.copy_within(self.start..self.start + kept, content.end);
                }
                content.end += kept;
            }
        }
        self.start += used;
    }

    /// The content gathered so far.
    pub fn content(&self) -> &[u8] {
        self.content.clone().map_or(&[], |content| &self.buf[content])
    }

    /// Forgets the content (it was refused, or the transaction is gone).
    pub fn drop_content(&mut self) {
        self.content = None;
    }

    /// Takes the content out; what is unread stays.
    ///
    /// The buffer itself goes along when the content fills at least a quarter of it, and a new one
    /// is needed before the next read.
    pub fn take_content(&mut self) -> Bytes {
        let Some(content) = self.content.take() else { return Bytes::new() };
        if content.len() * 4 < self.buf.len() {
            return Bytes::copy_from_slice(&self.buf[content]);
        }
        let rest = self.buf[self.start..self.end].to_vec();
        let bytes = Bytes::from(std::mem::replace(&mut self.buf, rest));
        (self.start, self.end) = (0, self.buf.len());
        bytes.slice(content)
    }

    /// The size the buffer wants next, when [`Intake::space`] is empty: `None` at the bound.
    ///
    /// `expected` is what the client said it would send, if it did.
    pub fn next_capacity(&self, expected: Option<u64>) -> Option<usize> {
        if self.content.is_none() {
            return (self.buf.len() < RECEIVE_BUFFER_BYTES).then_some(RECEIVE_BUFFER_BYTES);
        }
        let hinted = expected.and_then(|size| usize::try_from(size).ok()).unwrap_or(0).saturating_add(1024);
        let next = (self.buf.len() * 2).max(hinted).clamp(RECEIVE_BUFFER_BYTES, INTAKE_BYTES_MAX);
        (next > self.buf.len()).then_some(next)
    }

    /// What must survive a change of buffer: content and unread octets, with what lies between.
    fn kept(&self) -> Range<usize> {
        match &self.content {
            Some(content) if content.start != content.end => content.start..self.end.max(content.end),
            _ => self.start..self.end,
        }
    }

    fn rebase(&mut self, by: usize) {
        if self.content.as_ref().is_some_and(|content| content.start == content.end) {
            self.content = Some(0..0);
        } else if let Some(content) = &mut self.content {
            *content = content.start - by..content.end - by;
        }
        self.start -= by;
        self.end -= by;
    }

    /// Moves content and unread octets to the front, and the unread ones up to the content.
    fn compact(&mut self) {
        let keep = self.kept();
        if keep.start > 0 {
            self.buf.copy_within(keep.clone(), 0);
            self.rebase(keep.start);
        }
        let floor = self.content.as_ref().map_or(0, |content| content.end);
        if self.start > floor {
            self.buf.copy_within(self.start..self.end, floor);
            self.end -= self.start - floor;
            self.start = floor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(intake: &mut Intake, mut octets: &[u8]) {
        while !octets.is_empty() {
            if intake.space().is_empty() {
                let size = intake.next_capacity(None).expect("there is room to grow");
                intake.lend(vec![0; size]);
            }
            let n = intake.space().len().min(octets.len());
            intake.space()[..n].copy_from_slice(&octets[..n]);
            intake.received(n);
            octets = &octets[n..];
        }
    }

    #[test]
    fn small_content_is_copied_and_large_content_takes_the_buffer() {
        for (size, moves) in [(1000, false), (9000, true)] {
            let mut intake = Intake::default();
            put(&mut intake, b"DATA\r\n");
            intake.consume(6);
            intake.begin_content();
            put(&mut intake, &vec![b'x'; size]);
            intake.gather(size, size);
            put(&mut intake, b"QUIT\r\n");
            assert_eq!(intake.take_content(), vec![b'x'; size]);
            assert_eq!(intake.unread(), b"QUIT\r\n");
            assert_eq!(intake.capacity() < RECEIVE_BUFFER_BYTES, moves);
        }
    }

    #[test]
    fn an_idle_session_holds_no_buffer() {
        let mut intake = Intake::default();
        put(&mut intake, b"NOOP\r\n");
        assert_eq!(intake.reclaim(), None);
        intake.consume(6);
        assert!(intake.reclaim().is_some());
        assert!(!intake.has_buffer());
        assert!(intake.space().is_empty());
    }

    #[test]
    fn a_parked_line_goes_on_in_the_next_buffer() {
        let mut intake = Intake::default();
        put(&mut intake, b"NOOP\r\nMAIL FR");
        intake.consume(6);
        assert_eq!(intake.park().map(|buf| buf.len()), Some(RECEIVE_BUFFER_BYTES));
        assert_eq!((intake.unread(), intake.capacity()), (&b"MAIL FR"[..], 7));
        assert_eq!(intake.park(), None);
        let mut next = vec![0; 16];
        next[..4].copy_from_slice(b"OM:<");
        intake.accept(next, 4);
        assert_eq!(intake.unread(), b"MAIL FROM:<");
        let mut full = vec![b'x'; 16];
        full[15] = b'y';
        intake.accept(full, 16);
        assert_eq!(intake.unread(), b"MAIL FROM:<xxxxxxxxxxxxxxxy");
    }

    proptest! {
        /// Chunks with command lines between them gather to the content, however they arrive.
        #[test]
        fn content_is_contiguous(chunks in prop::collection::vec((0usize..9000, 0usize..40), 1..12)) {
            let mut intake = Intake::default();
            let mut expected = Vec::new();
            for (i, (size, gap)) in chunks.iter().enumerate() {
                let line = vec![b'c'; *gap];
                put(&mut intake, &line);
                intake.consume(line.len());
                if i == 0 {
                    intake.begin_content();
                }
                let chunk: Vec<u8> = (0..*size).map(|n| (n + i) as u8).collect();
                put(&mut intake, &chunk);
                prop_assert_eq!(intake.unread(), &chunk[..]);
                let used = chunk.len();
                let kept = used - used.min(i);
                intake.gather(kept, used);
                expected.extend_from_slice(&chunk[..kept]);
                prop_assert_eq!(intake.content(), &expected[..]);
            }
            put(&mut intake, b"rest");
            prop_assert_eq!(intake.take_content(), expected);
            prop_assert_eq!(intake.unread(), b"rest");
        }
    }
}
