//! Frames (`docs/spool-format.md` 4.3): the unit of atomicity, and the walk that finds them again.

use memchr::memmem;

use crate::base::limits::BATCH_ALIGNMENT;
use crate::base::{MessageId, StreamId};

use super::message::Record;
use super::record::put_record;

/// Bytes of a frame header.
pub const FRAME_HEADER_BYTES: usize = 64;
/// Frames begin on this boundary.
pub const FRAME_ALIGNMENT: usize = 8;
/// Flag: a copy made by compaction (or written again after a failure): it supersedes older ones.
pub const FLAG_COPY: u16 = 1;
/// Flag, beside [`FLAG_COPY`]: written again because the first writing failed. Nobody was told of it yet.
pub const FLAG_AGAIN: u16 = 2;

/// What makes frames of one incarnation of a segment its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The secret tag that each frame header begins with.
    pub tag: [u8; 8],
    /// The secret seed of every checksum.
    pub seed: u32,
    /// The epoch of the segment.
    pub epoch: u64,
}

impl Seal {
    /// From the salt of a segment header.
    pub fn new(salt: &[u8; 16], epoch: u64) -> Seal {
        let mut tag = [0; 8];
        tag.copy_from_slice(&salt[..8]);
        Seal { tag, seed: crc32c::crc32c(salt), epoch }
    }

    /// CRC32C of `bytes`, seeded.
    pub fn checksum(&self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.seed, bytes)
    }
}

/// Position in the history of a stream: later is higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Order {
    /// The start in which it was written.
    pub start: u32,
    /// Its number among the frames of that start.
    pub sequence: u64,
}

/// A frame header that verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the payload.
    pub payload_length: u32,
    /// Its checksum.
    pub payload_checksum: u32,
    /// Records in it.
    pub records: u16,
    /// [`FLAG_COPY`].
    pub flags: u16,
    /// When in the stream's history.
    pub order: Order,
    /// Start of the message it holds or speaks of first.
    pub subject_start: u32,
    /// Sequence of that message.
    pub subject_sequence: u64,
    /// What lies before this offset in the segment was synced when the frame was written.
    pub stable: u64,
}

impl FrameHeader {
    /// Bytes from its start to the next frame.
    pub fn total(&self) -> u64 {
        (FRAME_HEADER_BYTES as u64 + u64::from(self.payload_length)).next_multiple_of(FRAME_ALIGNMENT as u64)
    }

    /// A copy.
    pub fn is_copy(&self) -> bool {
        self.flags & FLAG_COPY != 0
    }

    /// What it says is news: a message that compaction moved is none.
    pub fn is_news(&self) -> bool {
        !self.is_copy() || self.flags & FLAG_AGAIN != 0
    }

    /// The message it holds or speaks of first.
    pub fn subject(&self, stream: StreamId) -> MessageId {
        MessageId { stream, start: self.subject_start, sequence: self.subject_sequence }
    }

    fn encode(&self, seal: &Seal) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        out[..8].copy_from_slice(&seal.tag);
        out[12..16].copy_from_slice(&self.payload_length.to_le_bytes());
        out[16..20].copy_from_slice(&self.payload_checksum.to_le_bytes());
        out[20..22].copy_from_slice(&self.records.to_le_bytes());
        out[22..24].copy_from_slice(&self.flags.to_le_bytes());
        out[24..32].copy_from_slice(&seal.epoch.to_le_bytes());
        out[32..36].copy_from_slice(&self.order.start.to_le_bytes());
        out[36..40].copy_from_slice(&self.subject_start.to_le_bytes());
        out[40..48].copy_from_slice(&self.order.sequence.to_le_bytes());
        out[48..56].copy_from_slice(&self.subject_sequence.to_le_bytes());
        out[56..64].copy_from_slice(&self.stable.to_le_bytes());
        let checksum = seal.checksum(&out[12..]);
        out[8..12].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads and verifies a header.
    pub fn decode(bytes: &[u8], seal: &Seal) -> Option<FrameHeader> {
        let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.get(..FRAME_HEADER_BYTES)?.try_into().ok()?;
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[..8] != seal.tag || u32_at(8) != seal.checksum(&bytes[12..]) || u64_at(24) != seal.epoch {
            return None;
        }
        Some(FrameHeader {
            payload_length: u32_at(12),
            payload_checksum: u32_at(16),
            records: u16::from_le_bytes([bytes[20], bytes[21]]),
            flags: u16::from_le_bytes([bytes[22], bytes[23]]),
            order: Order { start: u32_at(32), sequence: u64_at(40) },
            subject_start: u32_at(36),
            subject_sequence: u64_at(48),
            stable: u64_at(56),
        })
    }
}

/// Appends a frame with `records` to a batch. What lies before `stable` in the segment is synced.
pub fn put_frame(out: &mut Vec<u8>, records: &[Record], flags: u16, order: Order, stable: u64, seal: &Seal) {
    let header_at = out.len();
    out.resize(header_at + FRAME_HEADER_BYTES, 0);
    let payload_at = out.len();
    records.iter().for_each(|record| put_record(out, record));
    let subject = records.iter().find_map(Record::message_id);
    let header = FrameHeader {
        payload_length: (out.len() - payload_at) as u32,
        payload_checksum: seal.checksum(&out[payload_at..]),
        records: records.len() as u16,
        flags,
        order,
        subject_start: subject.map_or(0, |id| id.start),
        subject_sequence: subject.map_or(0, |id| id.sequence),
        stable,
    };
    out[header_at..payload_at].copy_from_slice(&header.encode(seal));
    out.resize(out.len().next_multiple_of(FRAME_ALIGNMENT), 0);
}

/// What a walk meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A whole frame; the payload is at `payload` in the window.
    Frame {
        /// Where it begins in the segment.
        offset: u64,
        /// Its header.
        header: FrameHeader,
        /// Its payload, as a range of the window.
        payload: std::ops::Range<usize>,
    },
    /// A header that verifies, with a payload that does not.
    BadPayload {
        /// Where it begins in the segment.
        offset: u64,
        /// Its header.
        header: FrameHeader,
    },
    /// Bytes that are no frame and not the padding of a batch.
    Gap {
        /// Where they begin in the segment.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The window ends before the next frame does: continue from there.
    More {
        /// Where in the segment the next window must begin.
        from: u64,
    },
    /// Nothing more up to the limit.
    End,
}

/// Walks the frames in windows of a segment.
#[derive(Debug)]
pub struct Walk {
    seal: Seal,
    /// Where in the segment the walk is.
    at: u64,
    /// Frames end before this.
    limit: u64,
    /// The limit is where acknowledged frames ended: what is missing before it is damage.
    is_exact: bool,
    /// Bytes that are no frame: where they begin, and the first of them that is not zero.
    gap: Option<(u64, Option<u64>)>,
}

impl Walk {
    /// Walks from `at` (a batch boundary) to `limit`, which `is_exact` when frames are known to reach it.
    pub fn new(seal: Seal, at: u64, limit: u64, is_exact: bool) -> Walk {
        Walk { seal, at, limit, is_exact, gap: None }
    }

    /// Where the next window should begin.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next thing in `window`, which begins at `base` in the segment, at or before [`Walk::position`].
    ///
    /// A window is `last` when it reaches the limit, or as far as the file does.
    pub fn next(&mut self, window: &[u8], base: u64, last: bool) -> Found {
        let end = window.len().min((self.limit - base) as usize);
        loop {
            let in_window = (self.at - base) as usize;
            let rest = match window.get(in_window..end) {
                Some(rest) if rest.len() >= FRAME_HEADER_BYTES => rest,
                Some(rest) if last => return self.finish(rest),
                None if last => return self.finish(&[]),
                _ => return Found::More { from: self.at },
            };
            match FrameHeader::decode(rest, &self.seal) {
                Some(header) => match self.close_gap() {
                    Some(gap) => return gap,
                    None => return self.frame(rest, in_window, header, last),
                },
                None if last => match self.skip(rest) {
                    true => {}
                    false => return self.finish(&[]),
                },
                None => {
                    if !self.skip(rest) && window.len() - ((self.at - base) as usize) < FRAME_HEADER_BYTES {
                        return Found::More { from: self.at };
                    }
                }
            }
        }
    }

    fn frame(&mut self, rest: &[u8], in_window: usize, header: FrameHeader, last: bool) -> Found {
        let (offset, end) = (self.at, FRAME_HEADER_BYTES + header.payload_length as usize);
        let Some(payload) = rest.get(FRAME_HEADER_BYTES..end) else {
            if !last {
                return Found::More { from: self.at };
            }
            self.at = self.limit;
            return Found::BadPayload { offset, header };
        };
        self.at = (self.at + header.total()).min(self.limit);
        if self.seal.checksum(payload) != header.payload_checksum {
            return Found::BadPayload { offset, header };
        }
        Found::Frame { offset, header, payload: in_window + FRAME_HEADER_BYTES..in_window + end }
    }

    /// No header here: goes to the next one that verifies (true), or as far as one might begin (false).
    fn skip(&mut self, rest: &[u8]) -> bool {
        let mut candidates = memmem::find_iter(rest, &self.seal.tag);
        let is_header = |i: usize| i > 0 && i.is_multiple_of(FRAME_ALIGNMENT);
        let next = candidates.find(|&i| is_header(i) && FrameHeader::decode(&rest[i..], &self.seal).is_some());
        let keep = rest.len() - (FRAME_HEADER_BYTES - 1).min(rest.len());
        let length = next.unwrap_or(keep.next_multiple_of(FRAME_ALIGNMENT).min(rest.len()));
        let (start, nonzero) = self.gap.unwrap_or((self.at, None));
        let first = || first_nonzero(&rest[..length]).map(|i| self.at + i as u64);
        self.gap = Some((start, nonzero.or_else(first)));
        self.at += length as u64;
        next.is_some()
    }

    /// A header follows a gap: it is damage, unless it is the padding of a batch.
    fn close_gap(&mut self) -> Option<Found> {
        let (start, nonzero) = self.gap.take()?;
        self.damaged(start, nonzero, self.at)
    }

    /// The zeros that fill up a batch are no damage; what follows them, up to `end`, is.
    fn damaged(&self, start: u64, nonzero: Option<u64>, end: u64) -> Option<Found> {
        let boundary = start.next_multiple_of(BATCH_ALIGNMENT as u64);
        let offset = if nonzero.is_none_or(|at| at >= boundary) { boundary } else { start };
        (offset < end).then(|| Found::Gap { offset, length: end - offset })
    }

    fn finish(&mut self, rest: &[u8]) -> Found {
        let (start, nonzero) = self.gap.take().unwrap_or((self.at, None));
        let first = || first_nonzero(rest).map(|i| self.at + i as u64);
        let found = self.damaged(start, nonzero.or_else(first), self.limit);
        self.at = self.limit;
        found.filter(|_| self.is_exact).unwrap_or(Found::End)
    }
}

/// Where the first byte is that is not zero: by comparison of pages, because there may be a whole segment of zeros.
fn first_nonzero(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; BATCH_ALIGNMENT] = [0; BATCH_ALIGNMENT];
    let page = bytes.chunks(BATCH_ALIGNMENT).position(|page| page != &ZEROS[..page.len()])?;
    let start = page * BATCH_ALIGNMENT;
    bytes[start..].iter().position(|&b| b != 0).map(|i| start + i)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::WallTime;

    fn seal() -> Seal {
        Seal::new(b"0123456789abcdef", 7)
    }

    fn hold(sequence: u64) -> Record {
        Record::Hold { message: MessageId { stream: StreamId(0), start: 1, sequence }, at: WallTime(9) }
    }

    /// Three frames, a batch boundary, one more.
    fn two_batches() -> Vec<u8> {
        let mut out = Vec::new();
        for n in 0..3 {
            put_frame(&mut out, &[hold(n)], 0, Order { start: 1, sequence: n }, 0, &seal());
        }
        out.resize(BATCH_ALIGNMENT, 0);
        put_frame(&mut out, &[hold(3)], 0, Order { start: 1, sequence: 3 }, BATCH_ALIGNMENT as u64, &seal());
        out.resize(BATCH_ALIGNMENT * 2, 0);
        out
    }

    fn walk(bytes: &[u8], window: usize, is_exact: bool) -> (Vec<u64>, Vec<Found>) {
        let limit = bytes.len() as u64;
        let mut walk = Walk::new(seal(), 0, limit, is_exact);
        let (mut frames, mut others) = (Vec::new(), Vec::new());
        let mut size = window;
        loop {
            let base = walk.position();
            let end = (base as usize + size).min(bytes.len());
            let (slice, last) = (&bytes[base as usize..end], end == bytes.len());
            loop {
                match walk.next(slice, base, last) {
                    Found::Frame { header, .. } => frames.push(header.order.sequence),
                    Found::More { from } => {
                        size = if from == base { size * 2 } else { window };
                        break;
                    }
                    Found::End => return (frames, others),
                    other => others.push(other),
                }
            }
        }
    }

    #[test]
    fn a_walk_finds_what_was_put_with_any_window() {
        for window in [8, 64, 100, 1000, 4096, 5000, 10_000] {
            assert_eq!(walk(&two_batches(), window, true), (vec![0, 1, 2, 3], vec![]), "window {window}");
        }
    }

    #[test]
    fn every_flipped_byte_costs_its_frame_only() {
        let good = two_batches();
        let total = FrameHeader::decode(&good, &seal()).expect("first frame").total() as usize;
        for at in 0..total {
            let mut bytes = good.clone();
            bytes[at] ^= 0x40;
            let (frames, others) = walk(&bytes, 600, true);
            let payload_end =
                FRAME_HEADER_BYTES + FrameHeader::decode(&good, &seal()).expect("first").payload_length as usize;
            if at >= payload_end {
                continue; // padding between frames carries nothing
            }
            assert_eq!(frames, vec![1, 2, 3], "byte {at}");
            assert_eq!(others.len(), 1, "byte {at}: {others:?}");
        }
    }

    #[test]
    fn a_flipped_byte_in_any_frame_is_reported_when_the_end_is_known() {
        let good = two_batches();
        let used = |at: usize| good[at] != 0;
        for at in (0..good.len()).filter(|&at| used(at)) {
            let mut bytes = good.clone();
            bytes[at] ^= 0x01;
            let (frames, others) = walk(&bytes, 4096, true);
            assert_eq!((frames.len(), others.len()), (3, 1), "byte {at}");
        }
    }

    #[test]
    fn stale_frames_of_another_epoch_are_nothing() {
        let old = Seal::new(b"fedcba9876543210", 6);
        let mut bytes = two_batches();
        put_frame(&mut bytes, &[hold(9)], 0, Order { start: 1, sequence: 9 }, 0, &old);
        bytes.resize(BATCH_ALIGNMENT * 3, 0);
        assert_eq!(walk(&bytes, 4096, false).0, vec![0, 1, 2, 3]);
    }
}
