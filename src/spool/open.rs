//! Opening a stream: the lock, the start counter, the headers, the end of the segment that was active.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::base::StreamId;

use super::bulk::{BulkSegment, BulkTable};
use super::bulk_driver::BulkSync;
use super::damage::DamageLog;
use super::error::{Damage, DamageKind, OpenError};
use super::facts::{START_MAX, SegmentFacts};
use super::index::{Index, Phase, Segment};
use super::log::Log;
use super::pending::LogSettings;
use super::read::{Span, Walked, footer, gather, repair_header};
use super::segment::{
    DATA_OFFSET, FORMAT_VERSION, HeaderFault, SLOT_BYTES, SegmentHeader, SegmentKind, SegmentState, decode_starts,
    encode_start, parse_file_name,
};
use super::settings::Settings;
use super::ship::Shipping;
use super::storage::{Storage, StorageFile};
use super::stream::{Counts, Observer, Stream, write_all};
use super::wait::{Answer, Bell};

/// A segment of an earlier start whose facts are still to be merged.
pub(super) struct Old {
    pub(super) number: u32,
    pub(super) epoch: u64,
    /// Its facts, when opening read them already.
    pub(super) facts: Option<SegmentFacts>,
    /// Where its frames end, when that is known.
    pub(super) end: Option<u64>,
}

/// A stream that takes mail, and what is left to recover in it, newest first.
pub(super) struct Opened<S: Storage> {
    pub(super) stream: Rc<Stream<S>>,
    pub(super) old: Vec<Old>,
}

struct Found<S: Storage> {
    files: HashMap<(SegmentKind, u32), S::File>,
    headers: Vec<SegmentHeader>,
    /// Log segments whose header is not valid: zeroed again by upkeep.
    raw: Vec<u32>,
    /// Files of cursors.
    cursors: Vec<String>,
    next_number: u32,
    damage: DamageLog,
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> OpenError + '_ {
    move |error| OpenError::Io { path: path.to_owned(), error }
}

/// Opens the stream in `dir`. `Locked` when another process has it.
pub(super) async fn open<S: Storage>(
    storage: S,
    dir: &Path,
    id: StreamId,
    settings: Rc<Settings>,
    observer: Rc<RefCell<Option<Observer>>>,
    told: Rc<Bell>,
) -> Result<Opened<S>, OpenError> {
    storage.create_dir(dir).await.map_err(io_error(dir))?;
    let lock_path = dir.join("lock");
    let lock = storage.lock(&lock_path).await.map_err(io_error(&lock_path))?.ok_or(OpenError::Locked(id))?;
    let mut found = find::<S>(&storage, dir).await?;
    let start = count_start(&storage, dir, id, &found.headers).await?;
    let shipping = Shipping::open(&storage, dir, &found.cursors, &settings.shippers, start, told).await?;

    let bulk = Rc::new(RefCell::new(BulkTable::default()));
    let log_settings = LogSettings {
        stream: id,
        start,
        segment_size: settings.segment_size,
        reserve: settings.reserve as usize,
        memory_budget: settings.memory_budget,
        is_told: !settings.shippers.is_empty(),
    };
    let mut log = Log::new(log_settings, Index::new(bulk.clone()));
    let (mut bulk_ready, mut in_use) = (Vec::new(), Vec::new());
    for header in std::mem::take(&mut found.headers) {
        // A segment of another size is not reused; what is in it drains.
        let fits = header.size
            == if header.kind == SegmentKind::Log { settings.segment_size } else { settings.bulk_segment_size };
        match (header.kind, header.state) {
            (SegmentKind::Log, SegmentState::Ready) if fits => log.add_ready(header.number),
            (SegmentKind::Bulk, SegmentState::Ready) if fits => bulk_ready.push(header.number),
            (_, SegmentState::Ready) => {}
            (SegmentKind::Log, SegmentState::InUse) => in_use.push(header),
            (SegmentKind::Bulk, SegmentState::InUse) => {
                let seal = header.seal();
                bulk.borrow_mut().insert(header.number, BulkSegment::closed(seal.epoch, seal.seed, header.size));
            }
        }
    }
    in_use.sort_by_key(|header| std::cmp::Reverse(header.epoch));
    let old = close_tail::<S>(dir, id, &mut found, &mut log, &in_use).await?;
    let stream = Stream {
        id,
        storage,
        dir: dir.to_owned(),
        settings,
        log: RefCell::new(log),
        bulk,
        bulk_sync: BulkSync::default(),
        files: RefCell::new(found.files),
        next_number: Cell::new(found.next_number),
        observer,
        work: Bell::default(),
        chores: Bell::default(),
        bulk_changed: Bell::default(),
        bulk_wanted: Cell::new(false),
        cadence: RefCell::default(),
        batch_at: Cell::default(),
        bulk_ready: RefCell::new(bulk_ready),
        is_recovered: Cell::new(false),
        is_closing: Cell::new(false),
        is_written_out: Cell::new(false),
        stuck: RefCell::default(),
        is_over: Answer::default(),
        damage: RefCell::new(found.damage),
        counts: Counts::default(),
        lock: RefCell::new(Some(lock)),
        shipping,
    };
    stream.keep_for_shippers();
    stream.save_cursors().await; // one that could not be written is tried again by upkeep
    Ok(Opened { stream: Rc::new(stream), old })
}

/// Opens every segment file and reads its header.
async fn find<S: Storage>(storage: &S, dir: &Path) -> Result<Found<S>, OpenError> {
    let mut found = Found {
        files: HashMap::new(),
        headers: Vec::new(),
        raw: Vec::new(),
        cursors: Vec::new(),
        next_number: 1,
        damage: DamageLog::default(),
    };
    let mut names = storage.list(dir).await.map_err(io_error(dir))?;
    names.sort();
    for name in names {
        let Some((kind, number)) = parse_file_name(&name) else {
            if super::ship::is_cursor(&name) {
                found.cursors.push(name);
            }
            continue;
        };
        let path = dir.join(&name);
        found.next_number = found.next_number.max(number.saturating_add(1));
        let file = storage.open(&path).await.map_err(io_error(&path))?;
        // Whatever a former process wrote and did not sync, or failed to: from here on the disk is the truth.
        file.sync().await.map_err(io_error(&path))?;
        file.forget_cache().await.map_err(io_error(&path))?;
        match repair_header(&file).await.map_err(io_error(&path))? {
            Ok(header) if header.number == number && header.kind == kind => found.headers.push(header),
            Err(HeaderFault::Newer(version)) => {
                return Err(OpenError::NewerFormat { path, found: version, known: FORMAT_VERSION });
            }
            Err(HeaderFault::Invalid { blank: true }) => {
                // Raw: a crash while it was made. Its number is not used again; the file goes.
                storage.delete(&path).await.map_err(io_error(&path))?;
                found.raw.push(number);
                continue;
            }
            Ok(_) | Err(HeaderFault::Invalid { blank: false }) => {
                // Never touched again by itself: a person may still get something out of it.
                let length = file.size().await.unwrap_or(0);
                found.damage.note(Damage { file: name, offset: 0, length, message: None, kind: DamageKind::Segment });
                continue;
            }
        }
        found.files.insert((kind, number), file);
    }
    Ok(found)
}

/// Counts this opening, durably.
async fn count_start<S: Storage>(
    storage: &S,
    dir: &Path,
    id: StreamId,
    headers: &[SegmentHeader],
) -> Result<u32, OpenError> {
    let path = dir.join("start");
    let names = storage.list(dir).await.map_err(io_error(dir))?;
    let is_new = !names.iter().any(|name| name == "start");
    let file = match is_new {
        true => storage.create_zeroed(&path, 2 * SLOT_BYTES as u64, |_| Duration::ZERO).await,
        false => storage.open(&path).await,
    }
    .map_err(io_error(&path))?;
    let bytes = file.read_at(0, 2 * SLOT_BYTES).await.map_err(io_error(&path))?;
    let slots = match decode_starts(&bytes) {
        Ok(slots) => slots,
        Err(HeaderFault::Newer(found)) => {
            return Err(OpenError::NewerFormat { path, found, known: FORMAT_VERSION });
        }
        Err(HeaderFault::Invalid { .. }) => [0, 0],
    };
    let highest = headers.iter().map(|header| header.start).chain(slots).max().unwrap_or(0);
    let start = highest + 1;
    if start > START_MAX {
        return Err(OpenError::Settings("the stream was opened too often: its start counter is used up"));
    }
    let slot = if slots[0] <= slots[1] { 0 } else { SLOT_BYTES as u64 };
    write_all(&file, encode_start(id, start), slot).await.map_err(io_error(&path))?;
    file.sync().await.map_err(io_error(&path))?;
    storage.sync_dir(dir).await.map_err(io_error(dir))?;
    Ok(start)
}

/// Puts the segments in use into the index, and finds where the one that was active ends.
async fn close_tail<S: Storage>(
    dir: &Path,
    id: StreamId,
    found: &mut Found<S>,
    log: &mut Log,
    in_use: &[SegmentHeader],
) -> Result<Vec<Old>, OpenError> {
    let mut old = Vec::new();
    for (i, header) in in_use.iter().enumerate() {
        let (number, seal) = (header.number, header.seal());
        let named = in_use.iter().flat_map(|h| &h.ends).find(|end| end.number == number && end.epoch == header.epoch);
        let mut entry = Old { number, epoch: header.epoch, facts: None, end: named.map(|end| end.offset) };
        let mut segment = Segment::new(seal, if named.is_some() { Phase::Closed } else { Phase::Sealed }, header.size);
        segment.end = entry.end.unwrap_or(header.size);
        let file = found.files.get(&(SegmentKind::Log, number)).cloned();
        if let (0, None, Some(file)) = (i, named, file) {
            let path = dir.join(super::segment::file_name(SegmentKind::Log, number));
            let (end, facts, is_sealed) = tail(&file, id, header).await.map_err(io_error(&path))?;
            segment.end = end;
            segment.phase = if is_sealed { Phase::Sealed } else { Phase::Closed };
            entry.end = Some(end);
            entry.facts = Some(facts.facts);
            found.damage.note_all(facts.damage);
        }
        log.index.add_segment(number, segment);
        old.push(entry);
    }
    Ok(old)
}

/// The newest segment: sealed at a clean shutdown, or to be walked, synced and closed.
async fn tail<F: StorageFile>(file: &F, id: StreamId, header: &SegmentHeader) -> io::Result<(u64, Walked, bool)> {
    let seal = header.seal();
    if let Some((trailer, facts)) = footer(file, &seal, header.size).await? {
        return Ok((trailer.end, Walked { facts, ..Walked::default() }, true));
    }
    let span =
        Span { stream: id, number: header.number, seal: &seal, limit: header.size, is_exact: false, may_be_torn: true };
    let walked = gather(file, &span, |_| false).await?;
    let end = walked.end.next_multiple_of(SLOT_BYTES as u64).max(DATA_OFFSET);
    Ok((end, walked, false))
}
