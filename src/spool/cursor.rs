//! How far a shipper has told what happened (`docs/spool-format.md` 4.6 and 6). Pure.
//!
//! A cursor is a place in the history of one stream: all before it was told, or is counted in its gap. What was
//! told in memory runs ahead of what is on disk; a crash goes back to the latter, and what lies between is told again.

use crate::base::StreamId;

use super::frame::{FRAME_HEADER_BYTES, Order};
use super::index::Segment;
use super::segment::{DATA_OFFSET, FORMAT_VERSION, SLOT_BYTES};

const MAGIC: &[u8; 8] = b"PHCURSR1";
/// Bytes of a slot that mean something.
const SLOT_END: usize = 64;
/// The smallest frame that holds an event: a header and a release.
const EVENT_FRAME_BYTES_MIN: u64 = FRAME_HEADER_BYTES as u64 + 24;

/// A place in the history of a stream: epochs rise from segment to segment, offsets inside one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The segment's epoch: its number may be given out again, its epoch never.
    pub epoch: u64,
    /// Where in it, in bytes.
    pub offset: u64,
}

impl Place {
    /// After everything: nobody is to be told anything.
    pub const END: Place = Place { epoch: u64::MAX, offset: u64::MAX };

    /// Frames of `segment` lie behind this place.
    pub fn is_before_end_of(self, segment: &Segment) -> bool {
        self.unshipped_of(segment) > 0
    }

    /// Bytes of `segment` that lie behind this place.
    pub fn unshipped_of(self, segment: &Segment) -> u64 {
        let from = match self.epoch.cmp(&segment.seal.epoch) {
            std::cmp::Ordering::Greater => segment.end,
            std::cmp::Ordering::Equal => self.offset.max(DATA_OFFSET),
            std::cmp::Ordering::Less => DATA_OFFSET,
        };
        segment.end.saturating_sub(from)
    }
}

/// What is not told: counted, never silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gap {
    /// Segments that were released before they were told, or that hold damage.
    pub segments: u32,
    /// Bytes of frames in them that were not told.
    pub bytes: u64,
    /// Why: any of the `Gap` constants.
    pub causes: u8,
}

impl Gap {
    /// The shipper was behind by more than its backlog.
    pub const BACKLOG: u8 = 1;
    /// The disk was full: mail went before events.
    pub const SPACE: u8 = 2;
    /// Frames that do not verify.
    pub const DAMAGE: u8 = 4;

    /// Nothing is missing.
    pub fn is_empty(&self) -> bool {
        *self == Gap::default()
    }

    /// Takes in another one.
    pub fn add(&mut self, other: Gap) {
        self.segments = self.segments.saturating_add(other.segments);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.causes |= other.causes;
    }

    /// Takes out what was told of it; what came since stays.
    fn take(&mut self, told: Gap) {
        self.segments = self.segments.saturating_sub(told.segments);
        self.bytes = self.bytes.saturating_sub(told.bytes);
        if self.segments == 0 && self.bytes == 0 {
            self.causes = 0;
        }
    }

    /// No more events than this are missing.
    pub fn events_max(&self) -> u64 {
        self.bytes.div_ceil(EVENT_FRAME_BYTES_MIN)
    }
}

/// The identity of an event: its frame in the history of its stream, and its place in the frame. The same however
/// often it is told; a consumer that keeps the highest drops repeats by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The stream.
    pub stream: StreamId,
    /// The start of the stream in which it was written.
    pub start: u32,
    /// Its frame among those of that start.
    pub sequence: u64,
    /// Its record in the frame.
    pub index: u32,
}

impl EventId {
    /// Of a record in a frame.
    pub fn new(stream: StreamId, order: Order, index: u32) -> EventId {
        EventId { stream, start: order.start, sequence: order.sequence, index }
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "e{}-{:04x}-{:08x}-{:02x}", self.stream, self.start, self.sequence, self.index)
    }
}

/// What a cursor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// All before it was told or is in the gap.
    pub place: Place,
    /// What is missing before it and was not told to be missing yet.
    pub gap: Gap,
}

/// The cursor of one shipper in one stream.
#[derive(Debug)]
pub struct Cursor {
    /// As of now, in memory.
    now: Position,
    /// As a crash would find it.
    saved: Position,
    /// Counts the slots written: the higher one counts.
    count: u64,
    /// Nothing of it is on disk.
    is_new: bool,
}

impl Cursor {
    /// One that begins at `place`, not on disk yet.
    pub fn new(place: Place) -> Cursor {
        let position = Position { place, gap: Gap::default() };
        Cursor { now: position, saved: position, count: 0, is_new: true }
    }

    /// From its file. One that does not verify begins at the beginning: everything that is still there is told
    /// again, and what is not there any more was told. So does one that is ahead of everything written before `start`.
    pub fn decode(file: &[u8], start: u32) -> Cursor {
        let found = file.chunks(SLOT_BYTES).take(2).filter_map(decode_slot).max_by_key(|(count, _)| *count);
        let (count, position) = found.unwrap_or_default();
        let is_ahead = position.place.epoch >= u64::from(start) << 32;
        let position = if is_ahead { Position::default() } else { position };
        Cursor { now: position, saved: position, count, is_new: found.is_none() || is_ahead }
    }

    /// As of now.
    pub fn now(&self) -> Position {
        self.now
    }

    /// Where a crash would go back to: what lies behind is still needed.
    pub fn saved(&self) -> Place {
        self.saved.place
    }

    /// The file is behind.
    pub fn is_dirty(&self) -> bool {
        self.is_new || self.now != self.saved
    }

    /// All up to there was told, and `gap` was told to be missing.
    pub fn advance(&mut self, to: Place, gap: Gap) {
        self.now.place = self.now.place.max(to);
        self.now.gap.take(gap);
    }

    /// What lies before `to` is given up.
    pub fn jump(&mut self, to: Place, lost: Gap) {
        self.now.place = self.now.place.max(to);
        self.now.gap.add(lost);
    }

    /// The slot to be written next, where in the file, and what it says.
    pub fn encode(&self, stream: StreamId) -> (Vec<u8>, u64, Position) {
        let count = self.count + 1;
        let Position { place, gap } = self.now;
        let mut slot = vec![0u8; SLOT_BYTES];
        slot[..8].copy_from_slice(MAGIC);
        slot[12..16].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        slot[16..20].copy_from_slice(&stream.0.to_le_bytes());
        slot[20..24].copy_from_slice(&gap.segments.to_le_bytes());
        slot[24..32].copy_from_slice(&count.to_le_bytes());
        slot[32..40].copy_from_slice(&place.epoch.to_le_bytes());
        slot[40..48].copy_from_slice(&place.offset.to_le_bytes());
        slot[48..56].copy_from_slice(&gap.bytes.to_le_bytes());
        slot[56] = gap.causes;
        let checksum = crc32c::crc32c(&slot[12..SLOT_END]);
        slot[8..12].copy_from_slice(&checksum.to_le_bytes());
        (slot, (count % 2) * SLOT_BYTES as u64, self.now)
    }

    /// The slot was written and synced.
    pub fn saved_as(&mut self, position: Position) {
        self.count += 1;
        self.saved = position;
        self.is_new = false;
    }
}

fn decode_slot(slot: &[u8]) -> Option<(u64, Position)> {
    let u32_at = |at: usize| slot.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let u64_at = |at: usize| slot.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let is_intact = slot.get(..8)? == MAGIC && u32_at(8)? == crc32c::crc32c(slot.get(12..SLOT_END)?);
    if !is_intact || u32_at(12)? != FORMAT_VERSION {
        return None;
    }
    let place = Place { epoch: u64_at(32)?, offset: u64_at(40)? };
    let gap = Gap { segments: u32_at(20)?, bytes: u64_at(48)?, causes: *slot.get(56)? };
    Some((u64_at(24)?, Position { place, gap }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::frame::Seal;
    use crate::spool::index::Phase;
    use proptest::prelude::*;

    fn place(epoch: u64, offset: u64) -> Place {
        Place { epoch, offset }
    }

    /// Saves as the driver does, into a file of two slots.
    fn save(cursor: &mut Cursor, file: &mut [u8]) {
        let (slot, at, position) = cursor.encode(StreamId(3));
        file[at as usize..at as usize + SLOT_BYTES].copy_from_slice(&slot);
        cursor.saved_as(position);
    }

    proptest! {
        /// However a slot is torn, the cursor goes back to the last one saved, or has the new one.
        #[test]
        fn a_torn_slot_costs_repeats_only(steps in prop::collection::vec((1u64..9, 0u64..9000), 1..8), torn in 0usize..SLOT_BYTES) {
            let mut file = vec![0u8; 2 * SLOT_BYTES];
            let mut cursor = Cursor::new(place(1, 0));
            save(&mut cursor, &mut file);
            for (epoch, offset) in steps {
                cursor.advance(place(epoch, offset), Gap::default());
                save(&mut cursor, &mut file);
            }
            let before = cursor.saved();
            cursor.jump(place(before.epoch + 1, 5), Gap { segments: 1, bytes: 70, causes: Gap::BACKLOG });
            let (slot, at, position) = cursor.encode(StreamId(3));
            file[at as usize..at as usize + torn].copy_from_slice(&slot[..torn]);
            let found = Cursor::decode(&file, 1);
            prop_assert!(found.now().place == before || found.now() == position, "{:?}", found);
        }

        #[test]
        fn any_bytes_are_a_cursor(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
            prop_assert_eq!(Cursor::decode(&bytes, 9).now(), Position::default());
        }

        /// What is told of a gap is taken out of it and nothing else, in whatever order it grows.
        #[test]
        fn a_gap_is_told_once(lost in prop::collection::vec((0u32..4, 1u64..1000), 1..10)) {
            let mut cursor = Cursor::new(Place::default());
            let (mut sum, mut told) = (Gap::default(), Gap::default());
            for (n, (segments, bytes)) in lost.into_iter().enumerate() {
                let reported = cursor.now().gap;
                let gap = Gap { segments, bytes, causes: Gap::SPACE };
                cursor.jump(place(n as u64 + 1, 0), gap);
                sum.add(gap);
                cursor.advance(Place::default(), reported);
                told.add(reported);
            }
            told.add(cursor.now().gap);
            prop_assert_eq!((told.segments, told.bytes), (sum.segments, sum.bytes));
        }
    }

    #[test]
    fn a_cursor_from_the_future_begins_again() {
        let mut file = vec![0u8; 2 * SLOT_BYTES];
        let mut cursor = Cursor::new(place(5 << 32 | 7, 4096));
        save(&mut cursor, &mut file);
        assert_eq!(Cursor::decode(&file, 6).now().place, place(5 << 32 | 7, 4096));
        assert_eq!(Cursor::decode(&file, 5).now().place, Place::default(), "the stream was put back from a copy");
    }

    #[test]
    fn a_segment_is_needed_until_its_end_was_told() {
        let seal = Seal::new(&[1; 16], 7);
        let segment = Segment::new(seal, Phase::Sealed, DATA_OFFSET + 100);
        assert_eq!(place(6, 1 << 40).unshipped_of(&segment), 100);
        assert_eq!(place(7, 0).unshipped_of(&segment), 100);
        assert_eq!(place(7, DATA_OFFSET + 60).unshipped_of(&segment), 40);
        assert!(!place(7, DATA_OFFSET + 100).is_before_end_of(&segment));
        assert!(!place(8, 0).is_before_end_of(&segment));
        assert!(!place(0, 0).is_before_end_of(&Segment::new(seal, Phase::Active, DATA_OFFSET)), "it is empty");
        assert!(!Place::END.is_before_end_of(&segment));
    }

    #[test]
    fn ids_sort_as_they_happened() {
        let id = |sequence, index| EventId { stream: StreamId(1), start: 2, sequence, index };
        assert_eq!(id(42, 1).to_string(), "e01-0002-0000002a-01");
        assert!(id(42, 1).to_string() < id(42, 2).to_string() && id(42, 2).to_string() < id(43, 0).to_string());
    }
}
