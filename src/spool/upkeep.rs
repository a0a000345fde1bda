//! What is done in the background: footers, recycling, making segments ready, compaction.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::bulk::BulkSegment;
use super::footer;
use super::index::Phase;
use super::read::{Span, gather};
use super::segment::{SegmentHeader, SegmentKind, SegmentState};
use super::storage::{Storage, StorageFile};
use super::stream::{Stream, bump, write_all};

/// While mail is being stored, a segment is made ahead at a quarter of the disk's speed: pauses of so many times what
/// a stride took.
const POLITE: u32 = 3;
/// Mail is being stored when the last batch is younger than this.
const BUSY: Duration = Duration::from_millis(100);
/// Pause after something failed.
const PAUSE: Duration = Duration::from_millis(200);
/// Ready segments that are made ahead, beyond the reserve.
const AHEAD: usize = 2;
/// Ready bulk segments kept before files are deleted.
const BULK_SPARE_MAX: usize = 2;

impl<S: Storage> Stream<S> {
    pub(super) async fn upkeep_loop(self: Rc<Self>) {
        loop {
            let seen = self.chores.rings();
            match self.chore().await {
                Ok(true) => {}
                Ok(false) if self.is_closing.get() => {
                    if self.is_written_out.get() && self.unsealed().is_none() {
                        self.save_cursors().await;
                        break;
                    }
                    self.chores.wait(seen).await;
                }
                Ok(false) => self.chores.wait(seen).await,
                Err(_) => {
                    bump(&self.counts.failures, 1);
                    if self.is_closing.get() {
                        break;
                    }
                    self.storage.sleep(PAUSE).await;
                }
            }
        }
        self.lock.take();
        self.is_over.give(());
    }

    /// Does one thing that is to be done; false when there is none.
    async fn chore(self: &Rc<Self>) -> io::Result<bool> {
        if let Some(number) = self.unsealed() {
            return self.seal(number).await.map(|()| true);
        }
        if self.is_written_out.get() {
            return Ok(false);
        }
        if self.tend_cursors().await {
            return Ok(true);
        }
        let recyclable = self.log.borrow().index.recyclable().filter(|_| self.is_recovered.get());
        if let Some(number) = recyclable {
            return self.recycle(number).await.map(|()| true);
        }
        let recyclable = self.bulk.borrow().recyclable().first().copied().filter(|_| self.is_recovered.get());
        if let Some(number) = recyclable {
            return self.recycle_bulk(number).await.map(|()| true);
        }
        let wanted = self.log.borrow().ready() < self.settings.reserve as usize + AHEAD;
        if wanted && self.make_log().await? {
            return Ok(true);
        }
        if self.bulk_wanted.get() && self.open_bulk().await? {
            return Ok(true);
        }
        if self.delete_surplus().await? {
            return Ok(true);
        }
        if self.is_recovered.get() && self.compact_one().await? {
            return Ok(true);
        }
        Ok(false)
    }

    fn unsealed(&self) -> Option<u32> {
        let log = self.log.borrow();
        log.index.segments().iter().find(|(_, s)| s.phase == Phase::Unsealed).map(|(number, _)| *number)
    }

    /// Writes the footer of a segment that was closed healthily.
    async fn seal(&self, number: u32) -> io::Result<()> {
        let (seal, end) = match self.log.borrow().index.segments().get(&number) {
            Some(segment) => (segment.seal, segment.end),
            None => return Ok(()),
        };
        let file = self.file(SegmentKind::Log, number).ok_or(io::ErrorKind::NotFound)?;
        let result = self.write_footer(&file, number, &seal, end).await;
        // A footer that cannot be written is not tried again: the segment stays closed, its end stays named.
        let phase = if matches!(result, Ok(true)) { Phase::Sealed } else { Phase::Closed };
        if let Some(segment) = self.log.borrow_mut().index.segment_mut(number) {
            segment.phase = phase;
        }
        result.map(|_| ())
    }

    async fn write_footer(&self, file: &S::File, number: u32, seal: &super::frame::Seal, end: u64) -> io::Result<bool> {
        let span = Span { stream: self.id, number, seal, limit: end, is_exact: true, may_be_torn: false };
        let mut walked = gather(file, &span, |key| self.log.borrow().index.get(key).is_none()).await?;
        if !walked.damage.is_empty() {
            // Frames stay readable one by one; a footer would hide the damage.
            self.damage.borrow_mut().note_all(walked.damage);
            return Ok(false);
        }
        walked.facts.prune();
        let (trailer, bytes) = footer::encode(&walked.facts, end, seal);
        let at = self.settings.segment_size - footer::TRAILER_BYTES as u64;
        if trailer.offset + trailer.length > at {
            return Ok(false);
        }
        bump(&self.counts.bytes, bytes.len() as u64 + footer::TRAILER_BYTES as u64);
        bump(&self.counts.syncs, 1);
        write_all(file, bytes, trailer.offset).await?;
        write_all(file, trailer.encode(seal), at).await?;
        file.sync().await?;
        Ok(true)
    }

    /// Declares a segment's content dead, on disk, and keeps it ready.
    async fn recycle(&self, number: u32) -> io::Result<()> {
        let header = self.ready_header(number);
        self.write_header(&header).await?;
        let mut log = self.log.borrow_mut();
        log.index.recycled(number);
        log.add_ready(number);
        log.set_starved(false);
        drop(log);
        self.damage.borrow_mut().forget(&self.file_of(SegmentKind::Log, number));
        self.stuck.borrow_mut().remove(&number); // what could not move is gone, and the number names a new segment
        bump(&self.counts.recycled, 1);
        self.work.ring();
        Ok(())
    }

    fn ready_header(&self, number: u32) -> SegmentHeader {
        let salt = self.salt();
        self.log.borrow_mut().header(number, SegmentState::Ready, salt, Vec::new())
    }

    async fn recycle_bulk(&self, number: u32) -> io::Result<()> {
        let header = self.bulk_header(number, SegmentState::Ready);
        self.write_header(&header).await?;
        self.bulk.borrow_mut().remove(number);
        self.bulk_ready.borrow_mut().push(number);
        self.damage.borrow_mut().forget(&self.file_of(SegmentKind::Bulk, number));
        self.log.borrow_mut().set_starved(false);
        self.bulk_changed.ring();
        Ok(())
    }

    /// There is room on the filesystem for `size` bytes more.
    async fn has_space(&self, size: u64) -> bool {
        let free = self.storage.free_space(&self.dir).await.unwrap_or(0);
        // A stream without any segment to write to cannot free one either: then the minimum gives way.
        let is_stuck = self.log.borrow().ready() == 0;
        free >= size.saturating_add(if is_stuck { 0 } else { self.settings.free_space_min })
    }

    /// Makes one log segment; false when there is no space for it.
    async fn make_log(&self) -> io::Result<bool> {
        let is_ready = self.make(SegmentKind::Log, self.settings.segment_size).await?;
        let Some(number) = is_ready else {
            self.starve(true);
            return Ok(false);
        };
        let header = self.ready_header(number);
        self.write_header(&header).await?;
        self.log.borrow_mut().add_ready(number);
        self.starve(false);
        Ok(true)
    }

    /// Takes bulk content into one more segment; false when there is no space for it.
    async fn open_bulk(&self) -> io::Result<bool> {
        let ready = self.bulk_ready.borrow_mut().pop();
        let number = match ready {
            Some(number) => number,
            None => match self.make(SegmentKind::Bulk, self.settings.bulk_segment_size).await? {
                Some(number) => number,
                None => {
                    self.bulk_wanted.set(false);
                    self.starve(true);
                    return Ok(false);
                }
            },
        };
        let header = self.bulk_header(number, SegmentState::InUse);
        if let Err(error) = self.write_header(&header).await {
            self.bulk_ready.borrow_mut().insert(0, number);
            return Err(error);
        }
        let seal = header.seal();
        self.bulk.borrow_mut().insert(number, BulkSegment::open(seal.epoch, seal.seed));
        self.bulk_wanted.set(false);
        self.bulk_changed.ring();
        Ok(true)
    }

    fn starve(&self, is_starved: bool) {
        self.log.borrow_mut().set_starved(is_starved);
        self.work.ring();
        self.bulk_changed.ring();
    }

    /// Creates and zeroes a file; `None` when the disk is full: the only place where that can come up.
    async fn make(&self, kind: SegmentKind, size: u64) -> io::Result<Option<u32>> {
        if !self.has_space(size).await {
            return Ok(None);
        }
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let path = self.path(kind, number);
        let made = self.storage.create_zeroed(&path, size, |took| self.pace(kind, took)).await;
        match made {
            Ok(file) => {
                self.storage.sync_dir(&self.dir).await?;
                self.files.borrow_mut().insert((kind, number), file);
                Ok(Some(number))
            }
            Err(error) => {
                let _ = self.storage.delete(&path).await; // a raw file that stays is deleted at the next start
                if error.kind() == io::ErrorKind::StorageFull { Ok(None) } else { Err(error) }
            }
        }
    }

    /// How long the making of a segment pauses after a stride that took so long: batches come first while there are
    /// any, unless they will soon wait for this very segment.
    fn pace(&self, kind: SegmentKind, took: Duration) -> Duration {
        let is_busy = self.storage.now().saturating_sub(self.batch_at.get()) < BUSY;
        let is_wanted = kind == SegmentKind::Bulk || self.log.borrow().wants_segment_soon();
        if is_busy && !is_wanted { took * POLITE } else { Duration::ZERO }
    }

    /// Deletes what is ready beyond what is kept.
    async fn delete_surplus(&self) -> io::Result<bool> {
        let spare = self.settings.spare_max.max(AHEAD as u32) as usize;
        let log = self.log.borrow_mut().take_surplus(spare).map(|number| (SegmentKind::Log, number));
        let bulk = || {
            let mut ready = self.bulk_ready.borrow_mut();
            (ready.len() > BULK_SPARE_MAX).then(|| ready.pop()).flatten().map(|number| (SegmentKind::Bulk, number))
        };
        let Some((kind, number)) = log.or_else(bulk) else { return Ok(false) };
        self.files.borrow_mut().remove(&(kind, number));
        self.storage.delete(&self.path(kind, number)).await?;
        self.storage.sync_dir(&self.dir).await?;
        Ok(true)
    }
}
