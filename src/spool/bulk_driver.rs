//! Content beyond the small bound: written to bulk segments while it arrives, read back verified.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;

use crate::base::MessageId;
use crate::base::limits::EXTENT_BYTES_MAX;

use super::bulk::{BulkPin, segments_of};
use super::error::{CommitError, Damage, DamageKind, Health, ReadError};
use super::message::{Body, Extent, Extents};
use super::segment::SegmentKind;
use super::storage::{Storage, StorageFile};
use super::stream::Stream;
use super::wait::Answer;

/// Who waits for a sync of which bulk segment, and which are being synced.
#[derive(Debug, Default)]
pub(super) struct BulkSync {
    waiting: RefCell<HashMap<u32, Vec<Rc<Answer<bool>>>>>,
    running: RefCell<HashSet<u32>>,
}

/// Writes the body of one message to bulk segments. Dropped before [`BulkWriter::finish`], it leaves nothing.
pub struct BulkWriter<S: Storage> {
    stream: Rc<Stream<S>>,
    buffer: Vec<u8>,
    extents: Vec<Extent>,
    pin: BulkPin,
}

impl<S: Storage> BulkWriter<S> {
    pub(super) fn new(stream: Rc<Stream<S>>) -> Self {
        let pin = BulkPin::new(&stream.bulk, &[]);
        BulkWriter { stream, buffer: Vec::new(), extents: Vec::new(), pin }
    }

    /// Octets taken so far.
    pub fn size_bytes(&self) -> u64 {
        self.extents.iter().map(|extent| u64::from(extent.length)).sum::<u64>() + self.buffer.len() as u64
    }

    /// Takes a piece. Waits for the disk when an extent is full.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), CommitError> {
        let mut rest = piece;
        while !rest.is_empty() {
            if self.buffer.capacity() == 0 {
                self.buffer.reserve_exact(EXTENT_BYTES_MAX);
            }
            let (now, later) = rest.split_at(rest.len().min(EXTENT_BYTES_MAX - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            rest = later;
            if self.buffer.len() == EXTENT_BYTES_MAX {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Writes the rest and syncs: what comes back may be named by a message.
    pub async fn finish(mut self) -> Result<Extents, CommitError> {
        self.flush().await?;
        for number in segments_of(&self.extents) {
            if !self.stream.sync_bulk(number).await {
                return Err(CommitError::Sick);
            }
        }
        Ok(Extents { list: self.extents.into(), pin: Some(Rc::new(self.pin)) })
    }

    async fn flush(&mut self) -> Result<(), CommitError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let length = self.buffer.len();
        let (segment, offset) = self.stream.allocate_bulk(length as u64).await?;
        self.pin.add(segment);
        let known = self.stream.bulk.borrow().get(segment).map(|known| (known.epoch, known.seed));
        let (Some((epoch, seed)), Some(file)) = (known, self.stream.file(SegmentKind::Bulk, segment)) else {
            return Err(CommitError::Sick);
        };
        let buffer = std::mem::take(&mut self.buffer);
        let checksum = crc32c::crc32c_append(seed, &buffer);
        let written = file.write_at(buffer, offset).await;
        super::stream::bump(&self.stream.counts.bytes, length as u64);
        if !matches!(written, Ok(count) if count == length) {
            self.stream.bulk.borrow_mut().fail(segment);
            return Err(CommitError::Sick);
        }
        self.extents.push(Extent { segment, epoch, offset, length: length as u32, checksum });
        Ok(())
    }
}

impl<S: Storage> Stream<S> {
    /// Room in a bulk segment; waits while one is made.
    async fn allocate_bulk(&self, length: u64) -> Result<(u32, u64), CommitError> {
        loop {
            let seen = self.bulk_changed.rings();
            if let Some(place) = self.bulk.borrow_mut().allocate(length, self.settings.bulk_segment_size) {
                return Ok(place);
            }
            let (health, is_starved) = {
                let log = self.log.borrow();
                (log.health(), log.is_starved())
            };
            match health {
                _ if self.is_closing.get() => return Err(CommitError::Closing),
                Health::Sick => return Err(CommitError::Sick),
                _ if is_starved => return Err(CommitError::Full),
                _ => {}
            }
            self.bulk_wanted.set(true);
            self.chores.ring();
            self.bulk_changed.wait(seen).await;
        }
    }

    /// Syncs a bulk segment; those who ask while a sync runs share the next one.
    async fn sync_bulk(self: &Rc<Self>, number: u32) -> bool {
        let answer = Rc::new(Answer::default());
        self.bulk_sync.waiting.borrow_mut().entry(number).or_default().push(answer.clone());
        if self.bulk_sync.running.borrow_mut().insert(number) {
            // A task of its own: the session that started it may go away, the others still wait.
            self.storage.spawn(self.clone().sync_bulk_loop(number));
        }
        answer.wait().await
    }

    async fn sync_bulk_loop(self: Rc<Self>, number: u32) {
        loop {
            let Some(waiting) = self.bulk_sync.waiting.borrow_mut().remove(&number) else { break };
            let is_failed = self.bulk.borrow().get(number).is_none_or(|segment| segment.is_failed);
            let file = self.file(SegmentKind::Bulk, number).filter(|_| !is_failed);
            super::stream::bump(&self.counts.syncs, 1);
            let is_ok = match file {
                Some(file) => file.sync().await.is_ok(),
                None => false,
            };
            if !is_ok {
                self.bulk.borrow_mut().fail(number);
            }
            waiting.iter().for_each(|answer| answer.give(is_ok));
        }
        self.bulk_sync.running.borrow_mut().remove(&number);
    }
}

/// Reads a body piece by piece. While it lives, what it reads is not recycled.
pub struct BodyReader<S: Storage> {
    stream: Option<Rc<Stream<S>>>,
    id: MessageId,
    body: Body,
    next: usize,
}

impl<S: Storage> BodyReader<S> {
    pub(super) fn new(stream: Option<Rc<Stream<S>>>, id: MessageId, body: Body) -> Self {
        BodyReader { stream, id, body, next: 0 }
    }

    /// The next piece, verified; `None` at the end. After an error nothing more may be sent of this message.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        let at = self.next;
        self.next += 1;
        let extent = match &self.body {
            Body::Memory(pieces) => return Ok(pieces.get(at).cloned()),
            Body::Bulk(extents) => extents.list.get(at).copied(),
        };
        match (extent, &self.stream) {
            (None, _) => Ok(None),
            (Some(extent), Some(stream)) => stream.read_extent(self.id, &extent).await.map(Some),
            (Some(_), None) => Err(ReadError::NotFound(self.id)),
        }
    }
}

impl<S: Storage> Stream<S> {
    async fn read_extent(&self, id: MessageId, extent: &Extent) -> Result<Bytes, ReadError> {
        let read = self.read_verified(id, extent).await;
        if matches!(read, Err(ReadError::Damaged(_))) {
            let file = self.file_of(SegmentKind::Bulk, extent.segment);
            let (offset, length) = (extent.offset, u64::from(extent.length));
            let damage = Damage { file, offset, length, message: Some(id), kind: DamageKind::Extent };
            self.damage.borrow_mut().note(damage);
        }
        read
    }

    async fn read_verified(&self, id: MessageId, extent: &Extent) -> Result<Bytes, ReadError> {
        let known = self.bulk.borrow().get(extent.segment).map(|segment| (segment.epoch, segment.seed));
        let Some((_, seed)) = known.filter(|(epoch, _)| *epoch == extent.epoch) else {
            return Err(ReadError::Damaged(id));
        };
        let file = self.file(SegmentKind::Bulk, extent.segment).ok_or(ReadError::Damaged(id))?;
        let length = (extent.length as usize).min(EXTENT_BYTES_MAX);
        let bytes = file.read_at(extent.offset, length).await.map_err(|error| ReadError::Io(id, error))?;
        if bytes.len() != extent.length as usize || crc32c::crc32c_append(seed, &bytes) != extent.checksum {
            return Err(ReadError::Damaged(id));
        }
        Ok(Bytes::from(bytes))
    }
}
