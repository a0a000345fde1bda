//! Where every undelivered message is, and what each segment is still needed for. Pure.
//!
//! Only what is on stable storage enters here: a segment is recycled on the word of this table.
//! Liveness points from newer epochs to older ones only, so the oldest segment can always be freed.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use bytes::Bytes;
use compact_str::CompactString;

use crate::base::limits::FACTS_MAX;

use super::bulk::BulkTable;
use super::cursor::Place;
use super::facts::{Change, Key, StatusFact};
use super::frame::{Order, Seal};
use super::segment::{DATA_OFFSET, End};

/// Where the frame of a recipient's last status begins, and whether it is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    segment: u32,
    /// Offset in units of eight bytes, doubled; the lowest bit says final. `u32::MAX` for no status.
    packed: u32,
}

impl Mark {
    /// No status yet.
    pub const NONE: Mark = Mark { segment: 0, packed: u32::MAX };

    fn new(segment: u32, offset: u64, is_final: bool) -> Mark {
        Mark { segment, packed: ((offset / 8) as u32) << 1 | u32::from(is_final) }
    }

    /// Segment and offset of the frame.
    pub fn place(self) -> Option<(u32, u64)> {
        (self != Mark::NONE).then_some((self.segment, u64::from(self.packed >> 1) * 8))
    }

    /// Nothing will be tried again.
    pub fn is_final(self) -> bool {
        self != Mark::NONE && self.packed & 1 == 1
    }
}

/// One undelivered message. Small: there may be millions.
#[derive(Debug)]
pub struct Entry {
    segment: u32,
    offset_units: u32,
    length: u32,
    /// Recipients that are not final.
    pending: u32,
    /// The mark of the only recipient.
    first: Mark,
    /// Several recipients, a hold or bulk segments.
    extra: Option<Box<Extra>>,
}

#[derive(Debug)]
struct Extra {
    marks: Box<[Mark]>,
    hold: Mark,
    is_held: bool,
    bulk: Box<[u32]>,
}

impl Entry {
    fn new(segment: u32, offset: u64, length: u32, recipients: u32, bulk: &[u32]) -> Entry {
        let plain = recipients == 1 && bulk.is_empty();
        let marks = if recipients == 1 { Box::default() } else { vec![Mark::NONE; recipients as usize].into() };
        let extra = (!plain).then(|| Box::new(Extra { marks, hold: Mark::NONE, is_held: false, bulk: bulk.into() }));
        Entry { segment, offset_units: (offset / 8) as u32, length, pending: recipients, first: Mark::NONE, extra }
    }

    /// The segment that holds its newest copy.
    pub fn segment(&self) -> u32 {
        self.segment
    }

    /// Where its frame begins.
    pub fn offset(&self) -> u64 {
        u64::from(self.offset_units) * 8
    }

    /// Bytes of its frame.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The marks of its recipients.
    pub fn marks(&self) -> &[Mark] {
        match &self.extra {
            Some(extra) if !extra.marks.is_empty() => &extra.marks,
            _ => std::slice::from_ref(&self.first),
        }
    }

    /// The mark of its last hold or release, and whether it is held.
    pub fn hold(&self) -> (Mark, bool) {
        self.extra.as_ref().map_or((Mark::NONE, false), |extra| (extra.hold, extra.is_held))
    }

    fn bulk(&self) -> &[u32] {
        self.extra.as_ref().map_or(&[], |extra| &extra.bulk)
    }

    fn mark_mut(&mut self, recipient: u32) -> Option<&mut Mark> {
        if recipient == StatusFact::HOLD {
            let empty =
                || Box::new(Extra { marks: Box::default(), hold: Mark::NONE, is_held: false, bulk: Box::default() });
            return Some(&mut self.extra.get_or_insert_with(empty).hold);
        }
        match &mut self.extra {
            Some(extra) if !extra.marks.is_empty() => extra.marks.get_mut(recipient as usize),
            _ if recipient == 0 => Some(&mut self.first),
            _ => None,
        }
    }
}

/// What a log segment that is not ready is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Batches are appended.
    Active,
    /// Closed for ever after a failure or a start: it never gets a footer.
    Closed,
    /// Closed healthily: its footer is to be written.
    Unsealed,
    /// Its footer is on disk.
    Sealed,
}

/// A log segment whose content counts.
#[derive(Debug)]
pub struct Segment {
    /// What makes its frames its own.
    pub seal: Seal,
    /// What it is in the middle of.
    pub phase: Phase,
    /// Where its frames end.
    pub end: u64,
    /// Messages in it that are not final.
    pub live_messages: u32,
    /// Bytes of their frames.
    pub live_bytes: u64,
    /// Older segments, and how many live statuses (or superseding copies) about messages held there are here.
    pub refs: BTreeMap<u32, u32>,
    /// Stream facts whose last value is here.
    pub facts: u32,
    /// Readers.
    pub pins: u32,
}

impl Segment {
    /// An empty one.
    pub fn new(seal: Seal, phase: Phase, end: u64) -> Segment {
        Segment { seal, phase, end, live_messages: 0, live_bytes: 0, refs: BTreeMap::new(), facts: 0, pins: 0 }
    }

    /// Bytes of frames and padding in it.
    pub fn used(&self) -> u64 {
        self.end.saturating_sub(DATA_OFFSET)
    }

    /// Nothing in it is needed any more.
    pub fn is_recyclable(&self) -> bool {
        self.is_unused() && self.refs.is_empty() && self.pins == 0
    }

    /// Nothing in it is needed for its own sake.
    fn is_unused(&self) -> bool {
        self.phase != Phase::Active && self.live_messages == 0 && self.facts == 0
    }
}

/// What became of a status that was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// Recipients of the message still wait.
    Queued,
    /// It was the last one.
    MessageFinal,
    /// No such undelivered message or recipient, or it was final already.
    Ignored,
}

/// The index of one stream.
#[derive(Debug)]
pub struct Index {
    entries: HashMap<Key, Entry, foldhash::fast::RandomState>,
    segments: BTreeMap<u32, Segment>,
    facts: BTreeMap<CompactString, (Bytes, u32, Order)>,
    bulk: Rc<RefCell<BulkTable>>,
    /// What lies behind this place is kept for shippers.
    unshipped_from: Place,
}

impl Index {
    /// An empty one.
    pub fn new(bulk: Rc<RefCell<BulkTable>>) -> Index {
        Index {
            entries: HashMap::default(),
            segments: BTreeMap::new(),
            facts: BTreeMap::new(),
            bulk,
            unshipped_from: Place::END,
        }
    }

    /// An undelivered message.
    pub fn get(&self, key: Key) -> Option<&Entry> {
        self.entries.get(&key)
    }

    /// Undelivered messages.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Segments whose content counts, by number.
    pub fn segments(&self) -> &BTreeMap<u32, Segment> {
        &self.segments
    }

    /// One of them.
    pub fn segment_mut(&mut self, number: u32) -> Option<&mut Segment> {
        self.segments.get_mut(&number)
    }

    /// A segment begins to count.
    pub fn add_segment(&mut self, number: u32, segment: Segment) {
        self.segments.insert(number, segment);
    }

    /// A message is on disk. One that was there before moves: this copy supersedes it.
    pub fn message(&mut self, key: Key, place: (u32, u64, u32), recipients: u32, bulk: &[u32]) {
        let (segment, offset, length) = place;
        let entry = Entry::new(segment, offset, length, recipients, bulk);
        match self.entries.insert(key, entry) {
            Some(old) => {
                self.leave(&old);
                self.add_ref(segment, old.segment);
            }
            None => self.bulk.borrow_mut().add_live(bulk),
        }
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.live_messages += 1;
            segment.live_bytes += u64::from(length);
        }
    }

    fn leave(&mut self, entry: &Entry) {
        if let Some(segment) = self.segments.get_mut(&entry.segment) {
            segment.live_messages -= 1;
            segment.live_bytes -= u64::from(entry.length);
        }
    }

    /// Segment `newer` is needed until `older` is recycled.
    pub fn add_ref(&mut self, newer: u32, older: u32) {
        if newer != older
            && self.segments.contains_key(&older)
            && let Some(segment) = self.segments.get_mut(&newer)
        {
            *segment.refs.entry(older).or_default() += 1;
        }
    }

    fn remove_ref(&mut self, newer: u32, older: u32) {
        let Some(segment) = self.segments.get_mut(&newer) else { return };
        if let Some(count) = segment.refs.get_mut(&older) {
            *count -= 1;
            if *count == 0 {
                segment.refs.remove(&older);
            }
        }
    }

    /// A status, hold or release is on disk, in the frame at `place`.
    pub fn status(&mut self, key: Key, recipient: u32, change: Change, place: (u32, u64)) -> Applied {
        let (segment, offset) = place;
        let Some(entry) = self.entries.get_mut(&key) else { return Applied::Ignored };
        let holder = entry.segment;
        let Some(mark) = entry.mark_mut(recipient) else { return Applied::Ignored };
        if mark.is_final() {
            return Applied::Ignored;
        }
        let is_final = change == Change::Final;
        let old = std::mem::replace(mark, Mark::new(segment, offset, is_final));
        if let (Change::Held | Change::Released, Some(extra)) = (change, &mut entry.extra) {
            extra.is_held = change == Change::Held;
        }
        entry.pending -= u32::from(is_final);
        let is_over = entry.pending == 0;
        if let Some((old_segment, _)) = old.place() {
            self.remove_ref(old_segment, holder);
        }
        self.add_ref(segment, holder);
        if !is_over {
            return Applied::Queued;
        }
        if let Some(entry) = self.entries.remove(&key) {
            self.leave(&entry);
            self.bulk.borrow_mut().remove_live(entry.bulk());
        }
        Applied::MessageFinal
    }

    /// A stream fact is on disk.
    pub fn fact(&mut self, key: &CompactString, value: &Bytes, segment: u32, order: Order) {
        if self.facts.get(key).is_some_and(|(_, _, known)| *known > order) {
            return;
        }
        if let Some((_, old, _)) = self.facts.insert(key.clone(), (value.clone(), segment, order))
            && let Some(old) = self.segments.get_mut(&old)
        {
            old.facts -= 1;
        }
        // A forgotten key is remembered as long as its segment: an older value must not come back.
        if let Some(segment) = self.segments.get_mut(&segment) {
            segment.facts += 1;
        }
    }

    /// The stream facts: key, value, segment.
    pub fn facts(&self) -> impl Iterator<Item = (&CompactString, &Bytes, u32)> {
        self.facts.iter().map(|(key, (value, segment, _))| (key, value, *segment))
    }

    /// There is room for a fact of this key.
    pub fn has_fact_room(&self, key: &str) -> bool {
        self.facts.len() < FACTS_MAX || self.facts.contains_key(key)
    }

    /// A segment was recycled, on disk: what was needed only for its sake is needed no more.
    pub fn recycled(&mut self, number: u32) {
        self.segments.remove(&number);
        for segment in self.segments.values_mut() {
            segment.refs.remove(&number);
        }
    }

    /// Segments in which nothing is needed any more.
    pub fn recyclable(&self) -> Option<u32> {
        let is_free = |segment: &Segment| segment.is_recyclable() && !self.is_unshipped(segment);
        self.segments.iter().find(|(_, segment)| is_free(segment)).map(|(number, _)| *number)
    }

    /// What lies behind that place is kept for shippers; [`Place::END`] when there is none.
    pub fn keep_from(&mut self, place: Place) {
        self.unshipped_from = place;
    }

    /// The place given to [`Index::keep_from`].
    pub fn unshipped_from(&self) -> Place {
        self.unshipped_from
    }

    /// Something in the segment is kept for a shipper.
    pub fn is_unshipped(&self, segment: &Segment) -> bool {
        self.unshipped_from.is_before_end_of(segment)
    }

    /// Segments that nothing but shippers keeps, oldest first: dead ones, and those that only wait for such.
    pub fn kept_for_shippers(&self) -> Vec<(u32, &Segment)> {
        if self.unshipped_from == Place::END {
            return Vec::new();
        }
        let mut by_age: Vec<_> = self.segments.iter().map(|(number, segment)| (*number, segment)).collect();
        by_age.sort_unstable_by_key(|(_, segment)| segment.seal.epoch);
        let mut dead = BTreeSet::new();
        by_age.retain(|(number, segment)| {
            let is_dead = segment.is_unused() && segment.refs.keys().all(|older| dead.contains(older));
            is_dead && dead.insert(*number) && self.is_unshipped(segment)
        });
        by_age
    }

    /// Bytes behind a place.
    pub fn bytes_behind(&self, place: Place) -> u64 {
        self.segments.values().map(|segment| place.unshipped_of(segment)).sum()
    }

    /// The oldest segment with frames behind a place.
    pub fn next_behind(&self, place: Place) -> Option<(u32, &Segment)> {
        let behind = self.segments.iter().filter(|(_, segment)| place.is_before_end_of(segment));
        behind.min_by_key(|(_, segment)| segment.seal.epoch).map(|(number, segment)| (*number, segment))
    }

    /// The ends that the next header must name: of closed segments without a footer on disk.
    pub fn ends(&self) -> Vec<End> {
        let unsealed = |s: &Segment| matches!(s.phase, Phase::Closed | Phase::Unsealed);
        self.segments
            .iter()
            .filter(|(_, segment)| unsealed(segment))
            .map(|(number, segment)| End { number: *number, epoch: segment.seal.epoch, offset: segment.end })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are given out again: they say nothing about age.
    fn index(segments: &[(u32, u64, u32, &[u32])]) -> Index {
        let mut index = Index::new(Rc::default());
        for (number, epoch, live, refs) in segments {
            let phase = if *epoch == 9 { Phase::Active } else { Phase::Sealed };
            let mut segment = Segment::new(Seal::new(&[1; 16], *epoch), phase, DATA_OFFSET + 100);
            segment.live_messages = *live;
            segment.refs = refs.iter().map(|older| (*older, 1)).collect();
            index.add_segment(*number, segment);
        }
        index
    }

    fn kept(index: &Index) -> Vec<u32> {
        index.kept_for_shippers().into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn what_only_a_shipper_keeps_is_found_through_what_waits_for_it() {
        // Oldest first: 7 is dead, 3 only speaks of 7, 5 is live, 4 speaks of 5, 1 is being written.
        let mut index = index(&[(7, 2, 0, &[]), (3, 4, 0, &[7]), (5, 5, 1, &[]), (4, 6, 0, &[5, 3]), (1, 9, 0, &[])]);
        assert_eq!((kept(&index), index.recyclable()), (vec![], Some(7)), "nobody is told");
        index.keep_from(Place { epoch: 2, offset: DATA_OFFSET + 60 });
        assert_eq!((kept(&index), index.recyclable()), (vec![7, 3], None));
        assert_eq!(index.bytes_behind(Place { epoch: 2, offset: DATA_OFFSET + 60 }), 440);
        index.keep_from(Place { epoch: 2, offset: DATA_OFFSET + 100 });
        assert_eq!((kept(&index), index.recyclable()), (vec![3], Some(7)));
        index.recycled(7);
        assert_eq!((kept(&index), index.recyclable()), (vec![3], None));
        let next = index.next_behind(Place { epoch: 2, offset: DATA_OFFSET + 100 });
        assert_eq!(
            next.map(|(number, _)| number),
            Some(3),
            "a place in what is recycled is before what is older than it"
        );
    }
}
