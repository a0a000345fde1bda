//! The shard's handle: commits, reads, recovery.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::base::{MessageId, ShardId, StreamId};

use super::bulk::BulkPin;
use super::bulk_driver::{BodyReader, BulkWriter};
use super::disk::Disk;
use super::error::{CommitError, Damage, Health, OpenError, ReadError};
use super::facts::Key;
use super::feed::Feed;
use super::message::{Body, Message, Record, Recovered, Stored};
use super::open::{Old, Opened, open};
use super::pending::{Committing, Submitted, Waiter};
use super::read::{Span, footer, gather};
use super::recover::Merge;
use super::segment::SegmentKind;
use super::settings::{Durability, Settings};
use super::storage::{Storage, StorageFile};
use super::stream::{Observer, Stream};
use super::wait::{Bell, Pipe, yield_now};

/// Messages in one batch of recovery.
const RECOVERY_BATCH: usize = 512;
/// Batches of recovery that wait for the queue.
const RECOVERY_BACKLOG: usize = 8;
/// How often a stream that another process has is tried again.
const LOCK_PAUSE: Duration = Duration::from_secs(1);
/// Times a read is tried again because the message moved meanwhile.
const READ_TRIES: usize = 4;

/// Smaller segments cannot work at all; a configuration is held to [`Settings::SEGMENT_SIZE_MIN`].
const SEGMENT_BYTES_LEAST: u64 = 128 << 10;

/// A shard's spool: one stream that takes mail, and those that only drain. Cheap to clone.
pub struct Spool<S: Storage = Disk> {
    inner: Rc<Inner<S>>,
}

impl<S: Storage> Clone for Spool<S> {
    fn clone(&self) -> Self {
        Spool { inner: self.inner.clone() }
    }
}

pub(super) struct Inner<S: Storage> {
    pub(super) settings: Rc<Settings>,
    pub(super) accepting: Rc<Stream<S>>,
    streams: RefCell<BTreeMap<StreamId, Rc<Stream<S>>>>,
    observer: Rc<RefCell<Option<Observer>>>,
    events: Rc<Pipe<RecoveryEvent>>,
    recovering: Cell<usize>,
    pub(super) is_closing: Cell<bool>,
    /// Rung when there is something to tell to shippers.
    pub(super) told: Rc<Bell>,
}

/// What recovery reports while mail is already taken.
#[derive(Debug)]
pub enum RecoveryEvent {
    /// Undelivered messages, in no order.
    Messages(Vec<Recovered>),
    /// Something on disk that does not verify; it was passed over.
    Damaged(Damage),
    /// All of this stream was reported.
    Complete(StreamId),
    /// A stream could not be opened; its mail waits for the next start.
    Failed(StreamId, OpenError),
}

/// The reports of recovery. Dropped early, the rest is not reported, but the spool works.
pub struct Recovery {
    events: Rc<Pipe<RecoveryEvent>>,
}

impl Recovery {
    /// The next report; `None` when all streams are complete.
    pub async fn next(&mut self) -> Option<RecoveryEvent> {
        self.events.receive().await
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        self.events.abandon();
    }
}

/// What a shard's streams did since they were opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames committed.
    pub frames: u64,
    /// Batches written.
    pub batches: u64,
    /// Syncs of log, header and bulk.
    pub syncs: u64,
    /// Bytes written, padding and footers included, zeroing not.
    pub bytes: u64,
    /// Writes, syncs and chores that failed.
    pub failures: u64,
    /// Segments recycled.
    pub recycled: u64,
    /// Segments compacted.
    pub compacted: u64,
    /// Segments given up before a shipper was told what is in them.
    pub given_up: u64,
    /// Bytes in them that were not told.
    pub given_up_bytes: u64,
    /// Undelivered messages on disk.
    pub messages: u64,
    /// Log segments in use and ready.
    pub segments: u64,
    /// Log segments that are ready.
    pub ready: u64,
    /// Bytes handed to the writer and not yet stable.
    pub pending: u64,
}

/// The streams in a spool directory, and the directory of each.
pub(super) async fn stream_dirs<S: Storage>(
    storage: &S,
    path: &Path,
) -> Result<BTreeMap<StreamId, PathBuf>, OpenError> {
    let io = |error| OpenError::Io { path: path.to_owned(), error };
    let names = storage.list(path).await.map_err(io)?;
    let id = |name: &str| {
        let digits = name.strip_prefix("stream-")?;
        let number = u32::from_str_radix(digits, 16).ok()?;
        (StreamId(number).to_string() == digits).then_some(StreamId(number))
    };
    Ok(names.iter().filter_map(|name| Some((id(name)?, path.join(name)))).collect())
}

impl<S: Storage> Spool<S> {
    /// Opens the streams of shard `shard` of `shards`, and takes mail as soon as this returns (mail waits
    /// while the first segments of a new stream are made). Streams of a former number of shards are dealt out
    /// and drained; one that another process still has is taken when it is free.
    pub async fn open(
        storage: S,
        settings: Settings,
        shard: ShardId,
        shards: u16,
    ) -> Result<(Spool<S>, Recovery), OpenError> {
        check(&settings)?;
        let settings = Rc::new(settings);
        let path = settings.path.clone();
        storage.create_dir(&path).await.map_err(|error| OpenError::Io { path, error })?;
        let known = stream_dirs(&storage, &settings.path).await?;
        let (shard, shards) = (u32::from(shard.0), u32::from(shards.max(1)));
        let observer: Rc<RefCell<Option<Observer>>> = Rc::default();
        let told: Rc<Bell> = Rc::default();
        // The first stream that is ours by number and free: mail must be taken even while an old process drains.
        let mut number = shard;
        let (opened, dir) = loop {
            let id = StreamId(number);
            let dir = settings.path.join(format!("stream-{id}"));
            match open(storage.clone(), &dir, id, settings.clone(), observer.clone(), told.clone()).await {
                Ok(opened) => break (opened, dir),
                Err(OpenError::Locked(_)) => number += shards,
                Err(error) => return Err(error),
            }
        };
        let path = settings.path.clone();
        storage.sync_dir(&path).await.map_err(|error| OpenError::Io { path, error })?;
        let accepting = opened.stream.clone();
        let inner = Rc::new(Inner {
            settings: settings.clone(),
            accepting: accepting.clone(),
            streams: RefCell::new(BTreeMap::from([(accepting.id, accepting)])),
            observer,
            events: Pipe::new(RECOVERY_BACKLOG),
            recovering: Cell::new(0),
            is_closing: Cell::new(false),
            told,
        });
        let others = known.into_iter().filter(|(id, other)| id.0 % shards == shard && *other != dir);
        inner.begin();
        storage.spawn(inner.clone().recover(opened));
        for (id, dir) in others {
            inner.begin();
            storage.spawn(inner.clone().drain(storage.clone(), id, dir));
        }
        let recovery = Recovery { events: inner.events.clone() };
        Ok((Spool { inner }, recovery))
    }

    /// The stream that takes mail.
    pub fn stream(&self) -> StreamId {
        self.inner.accepting.id
    }

    /// An id for new mail. What is never committed leaves a gap, which is fine.
    pub fn new_id(&self) -> MessageId {
        self.inner.accepting.log.borrow_mut().new_id()
    }

    /// An id for mail that a message of `stream` causes (a DSN): the same commit must hold both, so it is of
    /// the same stream. `None` when that stream is not open here.
    pub fn new_id_in(&self, stream: StreamId) -> Option<MessageId> {
        self.inner.get(stream).map(|stream| stream.log.borrow_mut().new_id())
    }

    /// Who is told of every record once it is committed, before its waiter, and also when the waiter is gone.
    pub fn set_observer(&self, observer: Observer) {
        *self.inner.observer.borrow_mut() = Some(observer);
    }

    /// Commits records together or not at all. They are the writer's from this call on, whatever becomes of
    /// the future. Records that hold a status, a hold, a release or a fact are never refused for lack of space or a
    /// failing disk: the answer waits until they are written.
    pub fn commit(&self, records: Vec<Record>, durability: Durability) -> Committing {
        Committing::new(self.inner.submit(records, durability))
    }

    /// A writer for a body beyond the small bound, in the stream that takes mail.
    pub fn bulk(&self) -> BulkWriter<S> {
        BulkWriter::new(self.inner.accepting.clone())
    }

    /// Reads an undelivered message with the state of its recipients. Verified.
    pub async fn read(&self, id: MessageId) -> Result<Stored, ReadError> {
        let stream = self.inner.get(id.stream).ok_or(ReadError::NotFound(id))?;
        stream.read(id).await
    }

    /// Reads a message's body, wherever it is.
    pub fn body(&self, message: &Message) -> BodyReader<S> {
        BodyReader::new(self.inner.get(message.id.stream), message.id, message.body.clone())
    }

    /// Whether mail is taken.
    pub fn health(&self) -> Health {
        self.inner.accepting.log.borrow().health()
    }

    /// Whether outcomes about messages of `stream` can be recorded: delivery pauses while it is sick.
    pub fn health_of(&self, stream: StreamId) -> Health {
        self.inner.get(stream).map_or(Health::Sick, |stream| stream.log.borrow().health())
    }

    /// A stream fact of the stream that takes mail. Complete once recovery is.
    pub fn fact(&self, key: &str) -> Option<Bytes> {
        let log = self.inner.accepting.log.borrow();
        log.index
            .facts()
            .find(|(known, value, _)| *known == key && !value.is_empty())
            .map(|(_, value, _)| value.clone())
    }

    /// What happens, for the shipper of that name; `None` when the settings do not name it.
    pub fn feed(&self, shipper: &str) -> Option<Feed<S>> {
        Feed::new(self.inner.clone(), shipper)
    }

    /// Bytes of the log that shippers were not told yet, each counted for itself.
    pub fn lag_bytes(&self) -> u64 {
        self.inner.all().iter().map(|stream| stream.lag_bytes_of_all()).sum()
    }

    /// All streams of this shard were recovered.
    pub fn is_recovered(&self) -> bool {
        self.inner.recovering.get() == 0
    }

    /// Messages in memory only (mode `memory`, not deferred yet). Any record about one that is not final brings it to disk.
    pub fn in_memory_only(&self) -> Vec<MessageId> {
        self.inner.all().iter().flat_map(|stream| stream.log.borrow().volatile().ids().collect::<Vec<_>>()).collect()
    }

    /// Damage that was met since the last call, other than by recovery, which reports its own.
    pub fn take_damage(&self) -> Vec<Damage> {
        self.inner.all().iter().flat_map(|stream| stream.damage.borrow_mut().take()).collect()
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        let mut sum = Statistics::default();
        for stream in self.inner.all() {
            let (counts, log) = (&stream.counts, stream.log.borrow());
            sum.frames += counts.frames.get();
            sum.batches += counts.batches.get();
            sum.syncs += counts.syncs.get();
            sum.bytes += counts.bytes.get();
            sum.failures += counts.failures.get();
            sum.recycled += counts.recycled.get();
            sum.compacted += counts.compacted.get();
            sum.given_up += counts.given_up.get();
            sum.given_up_bytes += counts.given_up_bytes.get();
            sum.messages += log.index.len() as u64;
            sum.segments += (log.index.segments().len() + log.ready()) as u64;
            sum.ready += log.ready() as u64;
            sum.pending += log.pending_bytes();
        }
        sum
    }

    /// The filesystem rewrites blocks elsewhere: recycling segments gains nothing there. To be named at start.
    pub async fn is_copy_on_write(&self) -> bool {
        self.inner.accepting.storage.is_copy_on_write(&self.inner.settings.path).await
    }

    /// The state of each stream in words, for people: health, segments and what keeps them.
    pub fn describe(&self) -> String {
        self.inner
            .all()
            .iter()
            .map(|stream| format!("stream {}: {}\n", stream.id, stream.log.borrow().describe()))
            .collect()
    }

    /// Takes no more commits, writes what waits, seals the active segments, and gives the streams up.
    pub async fn close(self) {
        self.inner.is_closing.set(true);
        self.inner.told.ring();
        for stream in self.inner.all() {
            stream.log.borrow_mut().close();
            stream.is_closing.set(true);
            stream.work.ring();
            stream.chores.ring();
            stream.bulk_changed.ring();
            stream.is_over.wait().await;
        }
    }
}

fn check(settings: &Settings) -> Result<(), OpenError> {
    let bounds = SEGMENT_BYTES_LEAST..=Settings::SEGMENT_SIZE_MAX;
    let aligned = |size: u64| size.is_multiple_of(4096);
    let both = [settings.segment_size, settings.bulk_segment_size];
    if !both.iter().all(|size| bounds.contains(size) && aligned(*size)) {
        return Err(OpenError::Settings("segment sizes must be 128 KiB to 4 GiB and multiples of 4096"));
    }
    if settings.reserve == 0 {
        return Err(OpenError::Settings("the reserve must be at least one segment"));
    }
    if settings.memory_budget < Settings::MEMORY_BUDGET_MIN {
        return Err(OpenError::Settings("the memory budget must be at least 16 MiB"));
    }
    Ok(())
}

impl<S: Storage> Inner<S> {
    pub(super) fn get(&self, id: StreamId) -> Option<Rc<Stream<S>>> {
        if self.accepting.id == id {
            return Some(self.accepting.clone());
        }
        self.streams.borrow().get(&id).cloned()
    }

    pub(super) fn all(&self) -> Vec<Rc<Stream<S>>> {
        self.streams.borrow().values().cloned().collect()
    }

    fn submit(&self, records: Vec<Record>, durability: Durability) -> Result<Option<Waiter>, CommitError> {
        let stream = match records.iter().find_map(Record::message_id) {
            Some(id) => self.get(id.stream).ok_or(CommitError::Invalid)?,
            None => self.accepting.clone(),
        };
        let submitted = stream.log.borrow_mut().submit(records, durability, stream.storage.now())?;
        match submitted {
            Submitted::Waiting(waiter) => {
                stream.work.ring();
                Ok(Some(waiter))
            }
            Submitted::Now(records) => {
                let observer = self.observer.borrow().clone();
                if let Some(observer) = observer {
                    records.iter().for_each(|record| observer(record));
                }
                Ok(None)
            }
        }
    }

    fn begin(&self) {
        self.events.join();
        self.recovering.set(self.recovering.get() + 1);
    }

    fn end(&self) {
        self.recovering.set(self.recovering.get() - 1);
        self.events.leave();
    }

    /// Opens a stream that only drains, as soon as it is free.
    async fn drain(self: Rc<Self>, storage: S, id: StreamId, dir: PathBuf) {
        loop {
            match open(storage.clone(), &dir, id, self.settings.clone(), self.observer.clone(), self.told.clone()).await
            {
                Ok(opened) => {
                    self.streams.borrow_mut().insert(id, opened.stream.clone());
                    return self.recover(opened).await;
                }
                Err(OpenError::Locked(_)) if !self.is_closing.get() => storage.sleep(LOCK_PAUSE).await,
                Err(error) => {
                    self.events.send(RecoveryEvent::Failed(id, error)).await;
                    return self.end();
                }
            }
        }
    }

    /// Runs the stream and reports what is in its old segments, newest first.
    async fn recover(self: Rc<Self>, opened: Opened<S>) {
        let Opened { stream, old } = opened;
        stream.run();
        let mut merge = Merge::new(stream.id);
        let mut is_complete = true;
        for segment in old {
            is_complete &= self.recover_segment(&stream, &mut merge, segment).await;
        }
        let met = stream.damage.borrow_mut().take();
        for damage in met {
            self.events.send(RecoveryEvent::Damaged(damage)).await;
        }
        // A segment that could not be read may hold what others speak of: then nothing is recycled in this start.
        stream.is_recovered.set(is_complete);
        stream.let_shippers_read();
        stream.chores.ring();
        self.events.send(RecoveryEvent::Complete(stream.id)).await;
        self.end();
    }

    async fn recover_segment(&self, stream: &Rc<Stream<S>>, merge: &mut Merge, old: Old) -> bool {
        let number = old.number;
        let facts = match old.facts {
            Some(facts) => facts,
            None => match stream.load_facts(&old).await {
                Ok(facts) => facts,
                Err(_) => return false,
            },
        };
        let mut part = merge.begin(&mut stream.log.borrow_mut().index, number, facts);
        loop {
            let advanced = merge.advance(&mut stream.log.borrow_mut().index, &mut part, RECOVERY_BATCH);
            match advanced {
                None => return true,
                Some(batch) if batch.is_empty() => yield_now().await,
                Some(batch) => self.events.send(RecoveryEvent::Messages(batch)).await,
            }
            yield_now().await;
        }
    }
}

impl<S: Storage> Stream<S> {
    /// The facts of an old segment: from its footer, or by a walk through its frames.
    async fn load_facts(&self, old: &Old) -> std::io::Result<super::facts::SegmentFacts> {
        let file = self.file(SegmentKind::Log, old.number).ok_or(std::io::ErrorKind::NotFound)?;
        let (seal, limit) = match self.log.borrow().index.segments().get(&old.number) {
            Some(segment) => (segment.seal, segment.end),
            None => return Err(std::io::ErrorKind::NotFound.into()),
        };
        debug_assert_eq!(seal.epoch, old.epoch);
        let size = file.size().await?;
        if let Some((trailer, facts)) = footer(&file, &seal, size).await? {
            if let Some(segment) = self.log.borrow_mut().index.segment_mut(old.number) {
                segment.end = trailer.end;
                segment.phase = super::index::Phase::Sealed;
            }
            return Ok(facts);
        }
        let is_exact = old.end.is_some();
        let span = Span { stream: self.id, number: old.number, seal: &seal, limit, is_exact, may_be_torn: is_exact };
        let walked = gather(&file, &span, |_| false).await?;
        self.damage.borrow_mut().note_all(walked.damage);
        if let (false, Some(segment)) = (is_exact, self.log.borrow_mut().index.segment_mut(old.number)) {
            // No footer and no named end: one of them was lost. The end is where the frames end.
            segment.end = walked.end.next_multiple_of(4096);
            segment.phase = super::index::Phase::Closed;
        }
        Ok(walked.facts)
    }

    async fn read(self: &Rc<Self>, id: MessageId) -> Result<Stored, ReadError> {
        if let Some((message, finals)) = self.log.borrow().volatile().get(id) {
            let mut statuses = vec![None; message.envelope.recipients.len()];
            for status in finals {
                if let Some(slot) = statuses.get_mut(status.recipient.0 as usize) {
                    *slot = Some(status.status.clone());
                }
            }
            return Ok(Stored { message: message.clone(), statuses, is_held: false });
        }
        let key = Key::new(id).ok_or(ReadError::NotFound(id))?;
        for _ in 0..READ_TRIES {
            let place = match self.log.borrow().index.get(key) {
                Some(entry) => (entry.segment(), entry.offset(), entry.length(), entry.marks().to_vec(), entry.hold()),
                None => return Err(ReadError::NotFound(id)),
            };
            match self.read_at(id, &place).await {
                Ok(Some(stored)) => return Ok(stored),
                Err(error) => return Err(ReadError::Io(id, error)),
                // Not there: moved by compaction since, or damaged.
                Ok(None) if self.log.borrow().index.get(key).is_some_and(|e| e.segment() == place.0) => {
                    self.damaged(place.0, place.1, u64::from(place.2), id);
                    return Err(ReadError::Damaged(id));
                }
                Ok(None) => {}
            }
        }
        Err(ReadError::Damaged(id))
    }

    /// A status was not where it was looked for: damaged, unless it has moved since.
    fn status_missing(&self, id: MessageId, recipient: usize, place: (u32, u64)) {
        let is_there = Key::new(id).is_some_and(|key| {
            let log = self.log.borrow();
            let mark = log.index.get(key).and_then(|entry| entry.marks().get(recipient).and_then(|mark| mark.place()));
            mark == Some(place)
        });
        if is_there {
            self.damaged(place.0, place.1, 0, id);
        }
    }

    async fn read_at(
        self: &Rc<Self>,
        id: MessageId,
        place: &(u32, u64, u32, Vec<super::index::Mark>, (super::index::Mark, bool)),
    ) -> std::io::Result<Option<Stored>> {
        let (segment, offset, length, marks, (_, is_held)) = place;
        let is_message = |record: &Record| matches!(record, Record::Message(m) if m.id == id);
        let found = self.find(*segment, *offset, *length as usize, is_message).await?;
        let Some(Record::Message(mut message)) = found else { return Ok(None) };
        if let Some(Message { body: Body::Bulk(extents), .. }) = Rc::get_mut(&mut message) {
            extents.pin = Some(Rc::new(BulkPin::new(&self.bulk, &extents.list)));
        }
        let mut statuses = vec![None; message.envelope.recipients.len()];
        for (recipient, (slot, mark)) in statuses.iter_mut().zip(marks).enumerate() {
            let Some((segment, offset)) = mark.place() else { continue };
            let is_status = |record: &Record| matches!(record, Record::Status(s) if s.message == id && s.recipient.0 as usize == recipient);
            // A status whose frame was damaged since is unknown; the index still says what it meant.
            match self.find(segment, offset, 0, is_status).await? {
                Some(Record::Status(status)) => *slot = Some(status.status),
                _ => self.status_missing(id, recipient, (segment, offset)),
            }
        }
        Ok(Some(Stored { message, statuses, is_held: *is_held }))
    }
}
