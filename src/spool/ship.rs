//! The shippers of one stream: their cursors on disk, what is kept for them, what is read back for them.
//!
//! Reading is the shipper's own task; writing cursors and giving up what lies too far behind is upkeep's, which
//! recycles: what a cursor gives up is on disk before the segment is.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::StreamId;

use super::cursor::{Cursor, EventId, Gap, Place};
use super::error::{Damage, DamageKind, OpenError};
use super::frame::{Found, FrameHeader, Walk};
use super::index::{Index, Phase};
use super::message::Record;
use super::record::decode_all;
use super::segment::{DATA_OFFSET, ENDS_MAX, SLOT_BYTES, SegmentKind};
use super::settings::Shipper;
use super::storage::{Storage, StorageFile};
use super::stream::{Stream, bump, write_all};
use super::wait::{Bell, yield_now};

/// How long what was shipped may be ahead of its cursor on disk: so much is told again after a crash.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Pause after a cursor could not be written.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes read back at once.
const WINDOW_BYTES: u64 = 1 << 20;
/// Frames decoded before others get their turn.
const FRAMES_PER_TURN: usize = 64;
/// Cursor files are called this and the shipper's name.
const FILE_PREFIX: &str = "cursor-";

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its identity, however often it is told.
    pub id: EventId,
    /// What.
    pub record: Record,
}

/// What a shipper is told at once: acknowledge it by `Feed::shipped` when the consumer has it for good.
#[derive(Debug)]
pub struct Chunk {
    /// The stream it happened in.
    pub stream: StreamId,
    /// What is missing before these events; empty in general.
    pub gap: Gap,
    /// The events, in the order in which they were committed.
    pub events: Vec<Event>,
    /// All before this place is told with it.
    pub(super) to: Place,
    /// What of the gap the cursor knows of.
    pub(super) owed: Gap,
}

impl Chunk {
    /// The identity of the gap: it grows until it is told.
    pub fn gap_id(&self) -> String {
        format!("g{}-{:016x}-{:08x}", self.stream, self.to.epoch, self.to.offset)
    }
}

/// The shippers of one stream.
pub(super) struct Shipping<S: Storage> {
    shippers: RefCell<Vec<One<S>>>,
    /// Rung when there is something to tell; shared by the streams of a shard.
    bell: Rc<Bell>,
    /// Where every segment ends is known.
    is_readable: Cell<bool>,
}

struct One<S: Storage> {
    settings: Shipper,
    cursor: Cursor,
    /// `None` while it cannot be made.
    file: Option<S::File>,
    path: PathBuf,
    save_after: Duration,
    /// Its cursor cannot be written: then what is kept is what memory says.
    is_failing: bool,
    /// Places that do not verify in a segment that a crash closed: damage, if something later was acknowledged.
    suspects: Vec<(Place, u64)>,
}

/// The frames of one window.
struct Window {
    place: Place,
    number: u32,
    walk: Walk,
    end: u64,
    /// All up to the end was synced.
    is_exact: bool,
}

fn shipper_of(file: &str) -> Option<&str> {
    file.strip_prefix(FILE_PREFIX)
}

/// It is the file of a cursor.
pub(super) fn is_cursor(file: &str) -> bool {
    shipper_of(file).is_some()
}

impl<S: Storage> Shipping<S> {
    /// Reads the cursors; a shipper without one begins now. `files` are the names in `dir`. What a shipper did that
    /// is not configured any more is forgotten: it would begin anew.
    pub(super) async fn open(
        storage: &S,
        dir: &Path,
        files: &[String],
        shippers: &[Shipper],
        start: u32,
        bell: Rc<Bell>,
    ) -> Result<Shipping<S>, OpenError> {
        let mut is_changed = false;
        for name in files.iter().filter_map(|name| shipper_of(name)) {
            if shippers.iter().all(|shipper| shipper.name != name) {
                let path = dir.join(format!("{FILE_PREFIX}{name}"));
                storage.delete(&path).await.map_err(|error| OpenError::Io { path, error })?;
                is_changed = true;
            }
        }
        if is_changed {
            let failed = |error| OpenError::Io { path: dir.to_owned(), error };
            storage.sync_dir(dir).await.map_err(failed)?; // before anything is recycled that it speaks of
        }
        let mut opened = Vec::with_capacity(shippers.len());
        for settings in shippers {
            let name = format!("{FILE_PREFIX}{}", settings.name);
            let path = dir.join(&name);
            let (cursor, file) = match files.contains(&name) {
                true => match read_cursor(storage, &path, start).await {
                    Ok((cursor, file)) => (cursor, Some(file)),
                    // Events never stop mail: what cannot be read is told again from the beginning.
                    Err(_) => (Cursor::decode(&[], start), None),
                },
                false => (Cursor::new(Place { epoch: u64::from(start) << 32, offset: 0 }), None),
            };
            let (settings, suspects) = (settings.clone(), Vec::new());
            let (save_after, is_failing) = (Duration::ZERO, false);
            opened.push(One { settings, cursor, file, path, save_after, is_failing, suspects });
        }
        Ok(Shipping { shippers: RefCell::new(opened), bell, is_readable: Cell::new(false) })
    }

    /// There may be something to tell.
    pub(super) fn ring(&self) {
        if !self.shippers.borrow().is_empty() {
            self.bell.ring();
        }
    }

    /// Everything before this place is told, for good, to all.
    fn told_to_all(&self) -> Place {
        let one = |one: &One<S>| if one.is_failing { one.cursor.now().place } else { one.cursor.saved() };
        self.shippers.borrow().iter().map(one).min().unwrap_or(Place::END)
    }

    fn place(&self, shipper: usize) -> Place {
        self.shippers.borrow().get(shipper).map_or(Place::END, |one| one.cursor.now().place)
    }

    fn is_active(&self) -> bool {
        !self.shippers.borrow().is_empty()
    }
}

async fn read_cursor<S: Storage>(storage: &S, path: &Path, start: u32) -> io::Result<(Cursor, S::File)> {
    let file = storage.open(path).await?;
    // As for segments: what a former process failed to sync looks written and is not.
    file.sync().await?;
    file.forget_cache().await?;
    let bytes = file.read_at(0, 2 * SLOT_BYTES).await?;
    if bytes.len() < 2 * SLOT_BYTES {
        return Err(io::ErrorKind::UnexpectedEof.into()); // a crash while it was made
    }
    Ok((Cursor::decode(&bytes, start), file))
}

impl<S: Storage> Stream<S> {
    /// Recovery knows where every segment ends: shippers may read.
    pub(super) fn let_shippers_read(&self) {
        self.shipping.is_readable.set(true);
        self.shipping.ring();
    }

    /// Tells the index what is kept. To be called whenever a cursor on disk has moved.
    pub(super) fn keep_for_shippers(&self) {
        let place = self.shipping.told_to_all();
        self.log.borrow_mut().index.keep_from(place);
    }

    /// Bytes that shippers were not told yet, each counted for itself.
    pub(super) fn lag_bytes_of_all(&self) -> u64 {
        let count = self.shipping.shippers.borrow().len();
        (0..count).map(|shipper| self.lag_bytes(shipper)).sum()
    }

    /// Bytes that a shipper was not told yet.
    pub(super) fn lag_bytes(&self, shipper: usize) -> u64 {
        self.log.borrow().index.bytes_behind(self.shipping.place(shipper))
    }

    /// The consumer has what is in the chunk.
    pub(super) fn shipped(&self, shipper: usize, chunk: &Chunk) {
        if let Some(one) = self.shipping.shippers.borrow_mut().get_mut(shipper) {
            one.cursor.advance(chunk.to, chunk.owed);
        }
        if self.needs_saving().is_some() {
            self.chores.ring();
        }
    }

    /// The shipper whose cursor is to be written now.
    fn needs_saving(&self) -> Option<usize> {
        let (now, is_over) = (self.storage.now(), self.is_closing.get());
        let log = self.log.borrow();
        let kept = log.index.kept_for_shippers();
        // A segment waits for nothing but this.
        let frees = |cursor: &Cursor| {
            let (saved, now) = (cursor.saved(), cursor.now().place);
            kept.iter().any(|(_, segment)| saved.is_before_end_of(segment) && !now.is_before_end_of(segment))
        };
        let is_due = |one: &One<S>| {
            let is_time = now >= one.save_after || (!one.is_failing && (is_over || frees(&one.cursor)));
            one.cursor.is_dirty() && is_time
        };
        self.shipping.shippers.borrow().iter().position(is_due)
    }

    /// Writes a cursor, or gives up what lies too far behind; false when there is nothing to do.
    pub(super) async fn tend_cursors(&self) -> bool {
        if !self.shipping.is_active() {
            return false;
        }
        if let Some(shipper) = self.needs_saving() {
            self.save_cursor(shipper).await;
            return true;
        }
        self.is_recovered.get() && self.give_up()
    }

    async fn save_cursor(&self, shipper: usize) {
        let written = self.write_cursor(shipper).await;
        if written.is_err() {
            bump(&self.counts.failures, 1);
        }
        let now = self.storage.now();
        if let Some(one) = self.shipping.shippers.borrow_mut().get_mut(shipper) {
            one.is_failing = written.is_err();
            one.save_after = now + if written.is_ok() { SAVE_EVERY } else { RETRY };
        }
        self.keep_for_shippers();
    }

    async fn write_cursor(&self, shipper: usize) -> io::Result<()> {
        let (encoded, file, path) = match self.shipping.shippers.borrow().get(shipper) {
            Some(one) => (one.cursor.encode(self.id), one.file.clone(), one.path.clone()),
            None => return Ok(()),
        };
        let (slot, at, position) = encoded;
        let file = match file {
            Some(file) => file,
            None => {
                let _ = self.storage.delete(&path).await; // left by a crash, or it cannot be read
                let file = self.storage.create_zeroed(&path, 2 * SLOT_BYTES as u64, |_| Duration::ZERO).await?;
                self.storage.sync_dir(&self.dir).await?;
                file
            }
        };
        write_all(&file, slot, at).await?;
        bump(&self.counts.syncs, 1);
        file.sync().await?;
        if let Some(one) = self.shipping.shippers.borrow_mut().get_mut(shipper) {
            one.cursor.saved_as(position);
            one.file = Some(file);
        }
        Ok(())
    }

    /// Writes all cursors, at the end.
    pub(super) async fn save_cursors(&self) {
        let count = self.shipping.shippers.borrow().len();
        for shipper in 0..count {
            let is_dirty = self.shipping.shippers.borrow().get(shipper).is_some_and(|one| one.cursor.is_dirty());
            if is_dirty {
                self.save_cursor(shipper).await;
            }
        }
    }

    /// Passes over the oldest segment that is kept for nothing but a shipper, where it lags by more than its backlog or
    /// mail needs the space. What is lost is counted.
    fn give_up(&self) -> bool {
        let log = self.log.borrow();
        let kept = log.index.kept_for_shippers();
        let cause = match self.is_pressed(&log.index) || log.is_starved() && log.ready() <= log.settings().reserve {
            true => Some(Gap::SPACE),
            false => None,
        };
        let mut is_given_up = false;
        for one in self.shipping.shippers.borrow_mut().iter_mut() {
            let place = one.cursor.now().place;
            let behind = || kept.iter().filter(|(_, segment)| place.is_before_end_of(segment));
            let allowed = (one.settings.backlog / self.settings.segment_size).max(1);
            let is_over = (behind().count() as u64 > allowed).then_some(Gap::BACKLOG);
            let (Some(causes), Some((_, oldest))) = (cause.or(is_over), behind().next()) else { continue };
            let mut lost = Gap { causes, ..Gap::default() };
            for segment in log.index.segments().values().filter(|s| s.seal.epoch <= oldest.seal.epoch) {
                let bytes = place.unshipped_of(segment);
                lost.segments += u32::from(bytes > 0);
                lost.bytes += bytes;
            }
            bump(&self.counts.given_up, u64::from(lost.segments));
            bump(&self.counts.given_up_bytes, lost.bytes);
            one.cursor.jump(Place { epoch: oldest.seal.epoch, offset: oldest.end }, lost);
            is_given_up = true;
        }
        drop(log);
        if is_given_up {
            self.shipping.ring();
        }
        is_given_up
    }

    /// A header can name only so many ends: closed segments without a footer must go before that.
    fn is_pressed(&self, index: &Index) -> bool {
        index.segments().values().filter(|segment| segment.phase == Phase::Closed).count() > ENDS_MAX / 4
    }

    /// What is to be told next; `None` when all was told.
    pub(super) async fn next_chunk(&self, shipper: usize) -> io::Result<Option<Chunk>> {
        if !self.shipping.is_readable.get() {
            return Ok(None);
        }
        let mut size = WINDOW_BYTES;
        loop {
            let Some((place, owed)) =
                self.shipping.shippers.borrow().get(shipper).map(|one| (one.cursor.now().place, one.cursor.now().gap))
            else {
                return Ok(None);
            };
            if !owed.is_empty() {
                return Ok(Some(Chunk { stream: self.id, gap: owed, events: Vec::new(), to: place, owed }));
            }
            let Some(mut window) = self.window(place) else { return Ok(None) };
            let length = size.min(window.end - window.place.offset);
            let Some(file) = self.file(SegmentKind::Log, window.number) else { return Ok(None) };
            self.pin(window.number, true);
            let read = file.read_at(window.place.offset, length as usize).await;
            self.pin(window.number, false);
            match self.decode(shipper, &mut window, Bytes::from(read?)).await {
                // A frame or damage longer than the window.
                None => size = size.saturating_mul(2),
                // Copies and facts only: nothing to tell.
                Some(chunk) if chunk.events.is_empty() && chunk.gap.is_empty() => {
                    self.shipped(shipper, &chunk);
                    size = WINDOW_BYTES;
                }
                chunk => return Ok(chunk),
            }
        }
    }

    /// What was synced and does not verify: the operator hears of it as of any damage.
    fn note_damage(&self, segment: u32, offset: u64, length: u64) {
        let (file, kind) = (self.file_of(SegmentKind::Log, segment), DamageKind::Payload);
        self.damage.borrow_mut().note(Damage { file, offset, length, message: None, kind });
    }

    fn window(&self, place: Place) -> Option<Window> {
        let log = self.log.borrow();
        let (number, segment) = log.index.next_behind(place)?;
        let is_here = place.epoch == segment.seal.epoch;
        let offset = if is_here { place.offset.max(DATA_OFFSET) } else { DATA_OFFSET };
        let is_of_this_start = segment.seal.epoch >> 32 == u64::from(log.settings().start);
        Some(Window {
            place: Place { epoch: segment.seal.epoch, offset },
            number,
            walk: Walk::new(segment.seal, offset, segment.end, true),
            end: segment.end,
            is_exact: segment.phase != Phase::Closed || is_of_this_start,
        })
    }

    /// The news among the frames of a window; `None` when not one frame is whole in it.
    async fn decode(&self, shipper: usize, window: &mut Window, bytes: Bytes) -> Option<Chunk> {
        let base = window.place.offset;
        let last = base + bytes.len() as u64 >= window.end;
        let mut suspects = match self.shipping.shippers.borrow_mut().get_mut(shipper) {
            Some(one) => std::mem::take(&mut one.suspects),
            None => return None,
        };
        suspects.retain(|(place, _)| place.epoch == window.place.epoch);
        let (mut events, mut lost, mut to, mut frames) = (Vec::new(), 0, base, 0);
        loop {
            let (offset, length) = match window.walk.next(&bytes, base, last) {
                Found::Frame { offset, header, payload } => {
                    to = offset + header.total();
                    let proven = |(place, _): &(Place, u64)| place.offset < header.stable;
                    lost += suspects.iter().filter(|one| proven(one)).map(|(_, length)| length).sum::<u64>();
                    suspects.retain(|one| !proven(one));
                    frames += 1;
                    if frames % FRAMES_PER_TURN == 0 {
                        yield_now().await;
                    }
                    match self.news(&header, &bytes.slice(payload), &mut events) {
                        true => continue,
                        false => (offset, header.total()),
                    }
                }
                Found::BadPayload { offset, header } => {
                    to = (offset + header.total()).min(window.end);
                    (offset, to - offset)
                }
                Found::Gap { offset, length } => {
                    to = offset + length;
                    (offset, length)
                }
                Found::More { .. } => break,
                Found::End => {
                    to = window.end;
                    break;
                }
            };
            match window.is_exact {
                true => {
                    lost += length;
                    self.note_damage(window.number, offset, length);
                }
                false => suspects.push((Place { epoch: window.place.epoch, offset }, length)),
            }
        }
        if let Some(one) = self.shipping.shippers.borrow_mut().get_mut(shipper) {
            one.suspects = suspects;
        }
        if to == base {
            return None;
        }
        let causes = if lost > 0 { Gap::DAMAGE } else { 0 };
        let gap = Gap { segments: 0, bytes: lost, causes };
        let to = Place { epoch: window.place.epoch, offset: to };
        Some(Chunk { stream: self.id, gap, events, to, owed: Gap::default() })
    }

    /// Takes the news out of a frame; false when it cannot be decoded.
    fn news(&self, header: &FrameHeader, payload: &Bytes, events: &mut Vec<Event>) -> bool {
        if !header.is_news() {
            return true;
        }
        let Ok(records) = decode_all(payload, self.id) else { return false };
        for (index, record) in (0..).zip(records) {
            if !matches!(record, Record::Fact { .. }) {
                events.push(Event { id: EventId::new(self.id, header.order, index), record });
            }
        }
        true
    }
}
