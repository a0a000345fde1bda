//! Bulk segments: who uses them. Pure: the table only counts; the driver writes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::message::Extent;
use super::segment::{DATA_OFFSET, SLOT_BYTES};

/// What is known of the bulk segments of one stream.
#[derive(Debug, Default)]
pub struct BulkTable {
    segments: BTreeMap<u32, BulkSegment>,
}

/// One bulk segment.
#[derive(Debug)]
pub struct BulkSegment {
    /// Its epoch.
    pub epoch: u64,
    /// The seed of its checksums.
    pub seed: u32,
    /// Bytes taken, from the start of the file.
    pub position: u64,
    /// No more extents go in: full, failed, or of an earlier start.
    pub is_closed: bool,
    /// A write or a sync failed in it: extents that were not synced are lost.
    pub is_failed: bool,
    /// Extents that queued messages name.
    pub live: u32,
    /// Writers and readers that hold it.
    pub pins: u32,
}

impl BulkSegment {
    /// One that is only read: of an earlier start.
    pub fn closed(epoch: u64, seed: u32, size: u64) -> BulkSegment {
        BulkSegment { epoch, seed, position: size, is_closed: true, is_failed: false, live: 0, pins: 0 }
    }

    /// One that takes extents.
    pub fn open(epoch: u64, seed: u32) -> BulkSegment {
        BulkSegment { epoch, seed, position: DATA_OFFSET, is_closed: false, is_failed: false, live: 0, pins: 0 }
    }
}

/// Keeps bulk segments from being recycled while it lives.
#[derive(Debug)]
pub struct BulkPin {
    table: Rc<RefCell<BulkTable>>,
    segments: Vec<u32>,
}

impl BulkTable {
    /// Adds a segment, or replaces what was known of it.
    pub fn insert(&mut self, number: u32, segment: BulkSegment) {
        self.segments.insert(number, segment);
    }

    /// Forgets a segment.
    pub fn remove(&mut self, number: u32) {
        self.segments.remove(&number);
    }

    /// One segment.
    pub fn get(&self, number: u32) -> Option<&BulkSegment> {
        self.segments.get(&number)
    }

    /// One segment, to change.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut BulkSegment> {
        self.segments.get_mut(&number)
    }

    /// All segments by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &BulkSegment)> {
        self.segments.iter().map(|(number, segment)| (*number, segment))
    }

    /// A queued message names these extents from now on.
    pub fn add_live(&mut self, numbers: &[u32]) {
        for number in numbers {
            if let Some(segment) = self.segments.get_mut(number) {
                segment.live += 1;
            }
        }
    }

    /// It no longer does.
    pub fn remove_live(&mut self, numbers: &[u32]) {
        for number in numbers {
            if let Some(segment) = self.segments.get_mut(number) {
                segment.live = segment.live.saturating_sub(1);
            }
        }
    }

    /// Room for `length` bytes in an open segment of `size` bytes: its number and where. Segments that are full are closed.
    pub fn allocate(&mut self, length: u64, size: u64) -> Option<(u32, u64)> {
        for (number, segment) in self.segments.iter_mut().filter(|(_, segment)| !segment.is_closed) {
            if segment.position + length <= size {
                let at = segment.position;
                segment.position = (at + length).next_multiple_of(SLOT_BYTES as u64);
                return Some((*number, at));
            }
            segment.is_closed = true;
        }
        None
    }

    /// A write or a sync failed in it: nothing goes in any more, and what was not synced is lost.
    pub fn fail(&mut self, number: u32) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.is_closed = true;
            segment.is_failed = true;
        }
    }

    /// Segments that nobody needs: closed, no live extent, no pin.
    pub fn recyclable(&self) -> Vec<u32> {
        let free = |s: &BulkSegment| s.is_closed && s.live == 0 && s.pins == 0;
        self.iter().filter(|(_, s)| free(s)).map(|(number, _)| number).collect()
    }
}

impl BulkPin {
    /// Pins the segments of `extents`.
    pub fn new(table: &Rc<RefCell<BulkTable>>, extents: &[Extent]) -> BulkPin {
        let mut pin = BulkPin { table: table.clone(), segments: Vec::new() };
        for extent in extents {
            pin.add(extent.segment);
        }
        pin
    }

    /// Pins one more segment.
    pub fn add(&mut self, number: u32) {
        if self.segments.contains(&number) {
            return;
        }
        if let Some(segment) = self.table.borrow_mut().get_mut(number) {
            segment.pins += 1;
            self.segments.push(number);
        }
    }
}

impl Drop for BulkPin {
    fn drop(&mut self) {
        let mut table = self.table.borrow_mut();
        for number in &self.segments {
            if let Some(segment) = table.get_mut(*number) {
                segment.pins = segment.pins.saturating_sub(1);
            }
        }
    }
}

/// The numbers of the segments that `extents` lie in, each once, in order of first use.
pub fn segments_of(extents: &[Extent]) -> Vec<u32> {
    let mut numbers = Vec::new();
    for extent in extents {
        if !numbers.contains(&extent.segment) {
            numbers.push(extent.segment);
        }
    }
    numbers
}
