//! Compaction: live messages of a segment are written again, each with its state as one frame, so that
//! the segment can be recycled.

use std::io;
use std::rc::Rc;

use bytes::Bytes;

use crate::base::MessageId;

use super::cursor::Place;
use super::error::{CommitError, Damage, DamageKind, Health};
use super::facts::Key;
use super::index::{Mark, Phase, Segment};
use super::message::Record;
use super::pending::{Class, Waiter};
use super::read::{Span, frame, walk};
use super::record::decode_all;
use super::segment::{ENDS_MAX, SegmentKind, file_name};
use super::storage::Storage;
use super::stream::{Stream, bump};
use super::victim::victim;

/// Fewer closed segments than this are never compacted for their garbage.
const CLOSED_MIN: u64 = 4;
/// Bytes of copies under way at a time.
const COPIES_BYTES_MAX: usize = 1 << 20;

/// What came of emptying a segment.
struct Emptied {
    /// There was a segment to write it to.
    has_room: bool,
    /// Some copy was dropped, because its message changed meanwhile.
    has_changed: bool,
}

/// A message that must move.
struct Live {
    key: Key,
    offset: u64,
    length: u32,
    marks: Vec<Mark>,
    hold: (Mark, bool),
}

impl<S: Storage> Stream<S> {
    /// Empties one segment if that is worth it; false when there is nothing to do.
    pub(super) async fn compact_one(self: &Rc<Self>) -> io::Result<bool> {
        if self.log.borrow().health() == Health::Sick {
            return Ok(false);
        }
        let Some(victim) = self.victim() else { return Ok(false) };
        let before = self.left_in(victim);
        bump(&self.counts.compacted, 1);
        self.pin(victim, true);
        let result = self.empty(victim).await;
        self.pin(victim, false);
        let emptied = result?;
        if !emptied.has_room || self.log.borrow().health() == Health::Sick {
            return Ok(false);
        }
        // What changed while it was copied is copied next time; what is damaged stays.
        if !emptied.has_changed && self.left_in(victim) == before {
            self.stuck.borrow_mut().insert(victim);
        }
        Ok(true)
    }

    fn left_in(&self, number: u32) -> (u32, u32) {
        let log = self.log.borrow();
        log.index.segments().get(&number).map_or((0, 0), |segment| (segment.live_messages, segment.facts))
    }

    pub(super) fn pin(&self, number: u32, add: bool) {
        if let Some(segment) = self.log.borrow_mut().index.segment_mut(number) {
            segment.pins = if add { segment.pins + 1 } else { segment.pins.saturating_sub(1) };
        }
        if !add {
            self.chores.ring();
        }
    }

    fn victim(&self) -> Option<u32> {
        let log = self.log.borrow();
        let size = self.settings.segment_size;
        let closed: Vec<_> = log.index.segments().iter().filter(|(_, s)| s.phase != Phase::Active).collect();
        // A header can name only so many ends: segments without a footer must go before that.
        let endless = closed.iter().filter(|(_, s)| s.phase == Phase::Closed && s.pins == 0);
        if endless.clone().count() > ENDS_MAX / 4 {
            let stuck = self.stuck.borrow();
            let oldest =
                endless.filter(|(n, s)| s.live_messages > 0 && !stuck.contains(n)).min_by_key(|(_, s)| s.seal.epoch);
            return oldest.map(|(number, _)| **number);
        }
        // What cannot be freed now, and what waits for that, is no reason to move anything else.
        let stuck = self.stuck.borrow();
        let is_movable = |(n, s): &(&u32, &Segment)| {
            let is_free = s.pins == 0 && !log.index.is_unshipped(s);
            let is_kept = |older: &u32| log.index.segments().get(older).is_some_and(|s| log.index.is_unshipped(s));
            is_free && !stuck.contains(n) && !s.refs.keys().any(|older| stuck.contains(older) || is_kept(older))
        };
        let movable: Vec<_> = closed.iter().copied().filter(is_movable).collect();
        let count = movable.len() as u64;
        let live: u64 = movable.iter().map(|(_, s)| s.live_bytes).sum();
        let used: u64 = movable.iter().map(|(_, s)| s.used()).sum();
        let dead_percent = 100 - (live * 100 / used.max(1)).min(100);
        let is_wasteful =
            count >= CLOSED_MIN && used > 0 && dead_percent > u64::from(self.settings.garbage_percent_max);
        let is_needed = log.is_starved() && log.ready() <= self.settings.reserve as usize;
        if !is_wasteful && !is_needed {
            return None;
        }
        // What shippers need is not moved for tidiness; for lack of space it is, and then given up.
        let unshipped = if is_needed { Place::END } else { log.index.unshipped_from() };
        victim(log.index.segments(), size, &stuck, is_wasteful, unshipped)
    }

    /// Writes all that is live in `victim` again, as far as there is a segment to write it to.
    async fn empty(self: &Rc<Self>, victim: u32) -> io::Result<Emptied> {
        let live = self.live_messages(victim).await?;
        let mut waiting: Vec<Waiter> = Vec::new();
        let mut bytes = 0;
        let mut emptied = Emptied { has_room: true, has_changed: false };
        for message in live {
            let Some(records) = self.copy_of(victim, &message).await? else { continue };
            let class = Class::Copy { key: message.key, from: victim, marks: message.marks, hold: message.hold };
            let Some(waiter) = self.log.borrow_mut().submit_copy(records, class) else { break };
            waiting.push(waiter);
            bytes += message.length as usize;
            if bytes > COPIES_BYTES_MAX {
                bytes = 0;
                self.wait_for(&mut waiting, &mut emptied).await;
                if !emptied.has_room {
                    return Ok(emptied);
                }
            }
        }
        waiting.extend(self.move_facts(victim));
        self.wait_for(&mut waiting, &mut emptied).await;
        Ok(emptied)
    }

    /// A copy that was dropped is tried again, unless it was for lack of a segment.
    async fn wait_for(&self, waiting: &mut Vec<Waiter>, emptied: &mut Emptied) {
        self.work.ring();
        for waiter in waiting.drain(..) {
            match waiter.wait().await {
                Err(CommitError::Full) => emptied.has_room = false,
                Err(_) => emptied.has_changed = true,
                Ok(()) => {}
            }
        }
    }

    /// The messages whose newest copy is in `victim`, by a walk through it.
    async fn live_messages(&self, victim: u32) -> io::Result<Vec<Live>> {
        let (seal, limit) = match self.log.borrow().index.segments().get(&victim) {
            Some(segment) => (segment.seal, segment.end),
            None => return Ok(Vec::new()),
        };
        let file = self.file(SegmentKind::Log, victim).ok_or(io::ErrorKind::NotFound)?;
        let span = Span { stream: self.id, number: victim, seal: &seal, limit, is_exact: false, may_be_torn: true };
        let mut live = Vec::new();
        walk(&file, &span, |header, offset, payload| {
            let log = self.log.borrow();
            for raw in super::record::Records::new(payload, self.id).flatten() {
                if raw.kind != super::record::kind::MESSAGE {
                    continue;
                }
                let Some(key) = raw.message_id().ok().flatten().and_then(Key::new) else { continue };
                let Some(entry) = log.index.get(key) else { continue };
                if entry.segment() == victim && entry.offset() == offset {
                    let (marks, hold) = (entry.marks().to_vec(), entry.hold());
                    live.push(Live { key, offset, length: header.total() as u32, marks, hold });
                }
            }
            true
        })
        .await?;
        Ok(live)
    }

    /// The message and its merged state, as it is written again.
    async fn copy_of(&self, victim: u32, live: &Live) -> io::Result<Option<Vec<Record>>> {
        let id = live.key.id(self.id);
        let is_message = |record: &Record| matches!(record, Record::Message(m) if m.id == id);
        let Some(message) = self.find(victim, live.offset, live.length as usize, is_message).await? else {
            self.damaged(victim, live.offset, u64::from(live.length), id);
            return Ok(None);
        };
        let mut records = vec![message];
        for (recipient, mark) in live.marks.iter().enumerate() {
            let Some((segment, offset)) = mark.place() else { continue };
            let is_status = |record: &Record| matches!(record, Record::Status(s) if s.message == id && s.recipient.0 as usize == recipient);
            match self.find(segment, offset, 0, is_status).await? {
                Some(status) => records.push(status),
                None => {
                    self.damaged(segment, offset, 0, id);
                    return Ok(None);
                }
            }
        }
        if let Some((segment, offset)) = live.hold.0.place() {
            let is_hold = |record: &Record| match record {
                Record::Hold { message, .. } | Record::Release { message, .. } => *message == id,
                _ => false,
            };
            match self.find(segment, offset, 0, is_hold).await? {
                Some(hold) => records.push(hold),
                None => {
                    self.damaged(segment, offset, 0, id);
                    return Ok(None);
                }
            }
        }
        Ok(Some(records))
    }

    /// The last record of the frame at that place that `is_it`.
    pub(super) async fn find(
        &self,
        segment: u32,
        offset: u64,
        length: usize,
        is_it: impl Fn(&Record) -> bool,
    ) -> io::Result<Option<Record>> {
        let Some(payload) = self.payload(segment, offset, length).await? else { return Ok(None) };
        let records = decode_all(&payload, self.id).unwrap_or_default();
        Ok(records.into_iter().rev().find(is_it))
    }

    /// The verified payload of a frame; `None` when there is none at that place.
    pub(super) async fn payload(&self, segment: u32, offset: u64, length: usize) -> io::Result<Option<Bytes>> {
        let Some(seal) = self.sealed(segment) else { return Ok(None) };
        let Some(file) = self.file(SegmentKind::Log, segment) else { return Ok(None) };
        self.pin(segment, true);
        let read = frame(&file, &seal, offset, length).await;
        self.pin(segment, false);
        Ok(read?.map(|(_, payload)| payload))
    }

    /// Takes note that what stands there about a message is not what was written.
    pub(super) fn damaged(&self, segment: u32, offset: u64, length: u64, message: MessageId) {
        let file = self.file_of(SegmentKind::Log, segment);
        let damage = Damage { file, offset, length, message: Some(message), kind: DamageKind::Payload };
        self.damage.borrow_mut().note(damage);
    }

    /// A segment's file as it is called in words about damage.
    pub(super) fn file_of(&self, kind: SegmentKind, number: u32) -> String {
        format!("stream-{}/{}", self.id, file_name(kind, number))
    }

    /// Stream facts whose last value is in `victim` are said again.
    fn move_facts(&self, victim: u32) -> Vec<Waiter> {
        let mut log = self.log.borrow_mut();
        let here = log.index.facts().filter(|(_, _, segment)| *segment == victim);
        let here: Vec<_> = here.map(|(key, value, _)| (key.clone(), value.clone())).collect();
        let again = |(key, value): (compact_str::CompactString, Bytes)| {
            let record = Record::Fact { key: key.clone(), value };
            log.submit_copy(vec![record], Class::Fact { key, from: victim })
        };
        here.into_iter().filter_map(again).collect()
    }
}
