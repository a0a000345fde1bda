//! The writer of one stream as a pure machine: what waits, what goes into the next batch, which
//! segment, who is answered, what happens after a failure. The driver only performs the [`Step`]s.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use crate::base::MessageId;
use crate::base::limits::{
    BATCH_ALIGNMENT, BATCH_BYTES_MAX, FACT_KEY_BYTES_MAX, FACT_VALUE_BYTES_MAX, FRAME_BYTES_MAX,
};

use super::error::{CommitError, Health};
use super::facts::{Change, Key, StatusFact};
use super::frame::{FLAG_AGAIN, FLAG_COPY, Order, Seal, put_frame};
use super::index::{Index, Phase, Segment};
use super::message::{Body, Record};
use super::pending::{Class, Frame, LogSettings, Settled, Step, Submitted, Waiter, footer_bound, frame_bound};
use super::segment::{DATA_OFFSET, SLOT_BYTES, SegmentHeader, SegmentKind, SegmentState};
use super::settings::Durability;
use super::volatile::{Taken, Volatile};
use super::wait::Answer;

/// A frame in a batch.
#[derive(Debug)]
struct Placed {
    frame: Frame,
    segment: u32,
    offset: u64,
    length: u32,
    order: Order,
    /// Its messages are in the index (mode `process`, before the sync).
    is_indexed: bool,
}

#[derive(Debug)]
struct Active {
    number: u32,
    seal: Seal,
    /// Where the next batch begins.
    position: u64,
    /// Up to here all is synced.
    stable: u64,
    /// What a footer would take at most.
    footer_bytes: u64,
}

#[derive(Debug)]
struct Sick {
    attempts: u32,
}

/// Bytes that may be unsynced in mode `process` before a sync is due under load.
const UNSYNCED_BYTES_MAX: u64 = 2 * BATCH_BYTES_MAX as u64;

/// What is said of one recipient at most: its status, and its share of a report.
const OUTCOME_BYTES_MAX: usize = 4096;

/// The writer's state.
#[derive(Debug)]
pub struct Log {
    settings: LogSettings,
    /// Where everything is.
    pub index: Index,
    volatile: Volatile,
    active: Option<Active>,
    ready: VecDeque<u32>,
    first: VecDeque<Frame>,
    waiting: VecDeque<Frame>,
    /// How many of these are mail.
    waiting_mail: usize,
    waiting_bytes: u64,
    in_flight: Vec<Placed>,
    unsynced: Vec<Placed>,
    next_order: u64,
    next_id: u64,
    next_epoch: u32,
    sync_due: bool,
    sick: Option<Sick>,
    is_starved: bool,
    is_exhausted: bool,
    is_closing: bool,
    /// The writer is gone.
    is_retired: bool,
}

impl Log {
    /// A log without segments: mail waits until one is ready.
    pub fn new(settings: LogSettings, index: Index) -> Log {
        Log {
            settings,
            index,
            volatile: Volatile::default(),
            active: None,
            ready: VecDeque::new(),
            first: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_mail: 0,
            waiting_bytes: 0,
            in_flight: Vec::new(),
            unsynced: Vec::new(),
            next_order: 1,
            next_id: 1,
            next_epoch: 1,
            sync_due: false,
            sick: None,
            is_starved: false,
            is_exhausted: false,
            is_closing: false,
            is_retired: false,
        }
    }

    /// The stream's constants.
    pub fn settings(&self) -> &LogSettings {
        &self.settings
    }

    /// An id that was never given out.
    pub fn new_id(&mut self) -> MessageId {
        let sequence = self.next_id;
        self.next_id += 1;
        MessageId { stream: self.settings.stream, start: self.settings.start, sequence }
    }

    /// An epoch that was never used.
    pub fn new_epoch(&mut self) -> u64 {
        let epoch = u64::from(self.settings.start) << 32 | u64::from(self.next_epoch);
        self.next_epoch += 1;
        epoch
    }

    /// Whether mail is taken.
    pub fn health(&self) -> Health {
        let short = self.ready.len() < self.settings.reserve || self.is_exhausted;
        match &self.sick {
            Some(_) => Health::Sick,
            None if self.is_starved && short => Health::Full,
            None => Health::Ready,
        }
    }

    /// Ready segments.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The active segment is nearly used up, and no more than the reserve is ready to follow it.
    pub fn wants_segment_soon(&self) -> bool {
        let is_half_used = self.active.as_ref().is_none_or(|active| active.position > self.settings.segment_size / 2);
        is_half_used && self.ready.len() <= self.settings.reserve
    }

    /// Bytes of the frames that wait to be written, and of those that are written and not yet stable.
    pub fn pending_bytes(&self) -> u64 {
        self.waiting_bytes + self.active.as_ref().map_or(0, |active| active.position - active.stable)
    }

    /// Messages that are in memory only.
    pub fn volatile(&self) -> &Volatile {
        &self.volatile
    }

    /// Nothing waits and nothing is under way.
    pub fn is_drained(&self) -> bool {
        self.first.is_empty() && self.waiting.is_empty() && self.in_flight.is_empty() && self.unsynced.is_empty()
    }

    /// The state in words.
    pub fn describe(&self) -> String {
        let mut text = format!(
            "{:?}, {} waiting, {} ready{}{}",
            self.health(),
            self.first.len() + self.waiting.len(),
            self.ready.len(),
            if self.is_starved { ", no space" } else { "" },
            if self.active.is_none() { ", no active segment" } else { "" },
        );
        for (number, s) in self.index.segments() {
            text.push_str(&format!(
                "\n  log {number:08x} {:?}: {} bytes, {} live messages of {} bytes, kept for {:?}, {} facts, {} readers",
                s.phase, s.end, s.live_messages, s.live_bytes, s.refs, s.facts, s.pins
            ));
        }
        text
    }

    /// No more commits.
    pub fn close(&mut self) {
        self.is_closing = true;
        self.sync_due = true;
    }

    /// What was written without a sync is to be synced now.
    pub fn request_sync(&mut self) {
        self.sync_due = !self.unsynced.is_empty();
    }

    /// A segment was made ready. Its header on disk says so.
    pub fn add_ready(&mut self, number: u32) {
        self.ready.push_back(number);
        self.is_exhausted &= self.ready.len() <= self.settings.reserve;
    }

    /// A ready segment that is to be deleted.
    pub fn take_surplus(&mut self, spare_max: usize) -> Option<u32> {
        (self.ready.len() > self.settings.reserve + spare_max).then(|| self.ready.pop_back()).flatten()
    }

    /// No segment can be made for lack of space, or one can again.
    pub fn set_starved(&mut self, is_starved: bool) {
        self.is_starved = is_starved;
    }

    /// Nothing can be made for lack of space.
    pub fn is_starved(&self) -> bool {
        self.is_starved
    }

    /// Hands records to the writer, for good.
    pub fn submit(
        &mut self,
        mut records: Vec<Record>,
        durability: Durability,
        now: Duration,
    ) -> Result<Submitted, CommitError> {
        if self.is_retired {
            return Err(CommitError::Closing);
        }
        self.check(&records)?;
        let mut told = 0;
        let is_mail = records.iter().all(|record| matches!(record, Record::Message(_)));
        if is_mail {
            self.admit()?;
            let in_memory = durability == Durability::Memory
                && !self.settings.is_told // an event is told of what is on disk
                && self.volatile.bytes() < self.settings.memory_budget / 2
                && self.may_leave_memory(&records)
                && records.iter().all(|r| matches!(r, Record::Message(m) if matches!(m.body, Body::Memory(_))));
            if in_memory {
                records.iter().for_each(|record| self.volatile.insert(record));
                return Ok(Submitted::Now(records));
            }
        } else {
            match self.volatile.take_statuses(records) {
                Taken::Done(records) => return Ok(Submitted::Now(records)),
                Taken::ToDisk { all, told: known } => (records, told) = (all, known),
            }
        }
        let durability = if durability == Durability::Memory { Durability::Process } else { durability };
        let bound = frame_bound(&records);
        if bound > self.frame_bytes_max() || records.len() > usize::from(u16::MAX) {
            return Err(CommitError::TooLarge);
        }
        if is_mail && self.waiting_bytes + bound as u64 > self.settings.memory_budget {
            return Err(CommitError::Busy);
        }
        records.iter().take(told).for_each(|record| self.volatile.leave(record));
        let waiter = Rc::new(Answer::default());
        let class = if is_mail { Class::Mail } else { Class::Upkeep };
        let (answer, since) = (Some(waiter.clone()), Some(now));
        self.push(Frame { records, class, durability, bound, waiter: answer, is_copy: false, told, since });
        Ok(Submitted::Waiting(waiter))
    }

    /// Hands a compacted copy to the writer; `None` while it would only be dropped.
    pub fn submit_copy(&mut self, records: Vec<Record>, class: Class) -> Option<Waiter> {
        let bound = frame_bound(&records);
        if self.is_closing || self.sick.is_some() || bound as u64 > self.settings.segment_size / 2 {
            return None;
        }
        let waiter = Rc::new(Answer::default());
        self.waiting_bytes += bound as u64;
        let (durability, told) = (Durability::Durable, records.len());
        let is_copy = matches!(class, Class::Copy { .. });
        let (answer, since) = (Some(waiter.clone()), None);
        self.first.push_back(Frame { records, class, durability, bound, waiter: answer, is_copy, told, since });
        Some(waiter)
    }

    /// A message leaves memory in one frame with what is then said of its recipients and with the report about them,
    /// which may quote it; outcomes are never refused, so that frame must be one.
    fn may_leave_memory(&self, records: &[Record]) -> bool {
        let of = |record: &Record| if let Record::Message(m) = record { m.envelope.recipients.len() } else { 0 };
        let recipients: usize = records.iter().map(of).sum();
        2 * frame_bound(records) + recipients * OUTCOME_BYTES_MAX <= self.frame_bytes_max()
    }

    /// A quarter of a segment, or the general limit: a frame always fits in an empty segment.
    fn frame_bytes_max(&self) -> usize {
        FRAME_BYTES_MAX.min((self.settings.segment_size / 4) as usize)
    }

    fn push(&mut self, frame: Frame) {
        self.waiting_bytes += frame.bound as u64;
        self.waiting_mail += usize::from(frame.class == Class::Mail);
        self.waiting.push_back(frame);
    }

    fn check(&self, records: &[Record]) -> Result<(), CommitError> {
        let ours = |record: &Record| match record {
            Record::Message(message) => {
                message.id.stream == self.settings.stream && !message.envelope.recipients.is_empty()
            }
            Record::Fact { key, value } => {
                key.len() <= FACT_KEY_BYTES_MAX && value.len() <= FACT_VALUE_BYTES_MAX && self.index.has_fact_room(key)
            }
            other => other.message_id().is_none_or(|id| id.stream == self.settings.stream),
        };
        let known = |record: &Record| record.message_id().is_none_or(|id| Key::new(id).is_some());
        if records.is_empty() || !records.iter().all(|record| ours(record) && known(record)) {
            return Err(CommitError::Invalid);
        }
        Ok(())
    }

    /// Whether new mail is taken at all.
    fn admit(&self) -> Result<(), CommitError> {
        match self.health() {
            _ if self.is_closing => Err(CommitError::Closing),
            Health::Sick => Err(CommitError::Sick),
            Health::Full => Err(CommitError::Full),
            Health::Ready => Ok(()),
        }
    }

    /// What to do next. Frames that are refused on the way go into `settled`.
    pub fn next(&mut self, settled: &mut Settled) -> Step {
        debug_assert!(self.in_flight.is_empty(), "one batch at a time");
        if let Some(sick) = &self.sick {
            return match self.ready.front() {
                Some(segment) => Step::Activate { segment: *segment, attempts: sick.attempts },
                None => Step::Idle,
            };
        }
        let unsynced_bytes = self.active.as_ref().map_or(0, |active| active.position - active.stable);
        if !self.unsynced.is_empty() && (self.sync_due || unsynced_bytes > UNSYNCED_BYTES_MAX || self.has_copy_first())
        {
            return self.sync_step();
        }
        self.batch(settled)
    }

    /// Mail waits to be written.
    pub fn has_waiting_mail(&self) -> bool {
        self.waiting_mail > 0
    }

    /// Outcomes wait to be written, and nothing else.
    pub fn has_only_outcomes(&self) -> bool {
        !self.waiting.is_empty() && self.waiting_mail == 0 && self.first.is_empty()
    }

    /// Frames of the batch that is being written.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    fn has_copy_first(&self) -> bool {
        self.first.front().is_some_and(|frame| frame.class.is_copy())
    }

    fn sync_step(&self) -> Step {
        self.active.as_ref().map_or(Step::Idle, |active| Step::Sync { segment: active.number })
    }

    /// The frames that are ready now, as far as they fit.
    fn batch(&mut self, settled: &mut Settled) -> Step {
        let mut buffer: Vec<u8> = Vec::new();
        let mut sync = false;
        while let Some(frame) = self.first.front().or(self.waiting.front()) {
            let room = self.active.as_ref().map_or(0, |active| active.room(self.settings.segment_size));
            let wanted = (buffer.len() + frame.bound) as u64;
            let (is_mail, is_current) = (frame.class == Class::Mail, self.is_current(frame));
            let is_copy = frame.class.is_copy();
            let is_durable = frame.durability == Durability::Durable;
            if !buffer.is_empty() && (wanted > room || wanted > BATCH_BYTES_MAX as u64) {
                break;
            }
            if wanted > room {
                match self.segment_step(is_mail, is_copy) {
                    Some(Step::Idle) if self.refuse_copies(settled) => {}
                    Some(step) => return step,
                    None => self.refuse_next(settled, CommitError::Full),
                }
                continue;
            }
            if !is_current {
                self.refuse_next(settled, CommitError::Invalid);
                continue;
            }
            if buffer.is_empty() {
                buffer.reserve(self.batch_bytes(room));
            }
            sync |= is_durable;
            self.place_next(&mut buffer);
        }
        let Some(active) = self.active.as_mut().filter(|_| !buffer.is_empty()) else { return Step::Idle };
        buffer.resize(buffer.len().next_multiple_of(BATCH_ALIGNMENT), 0);
        let offset = active.position;
        active.position += buffer.len() as u64;
        Step::Write { segment: active.number, offset, buffer, sync }
    }

    /// Bytes that the next batch will take, so that its buffer is allocated once.
    fn batch_bytes(&self, room: u64) -> usize {
        let limit = (BATCH_BYTES_MAX as u64).min(room) as usize;
        (self.waiting_bytes as usize).min(limit).next_multiple_of(BATCH_ALIGNMENT)
    }

    /// The active segment has no room for the next frame.
    fn segment_step(&mut self, is_mail: bool, is_copy: bool) -> Option<Step> {
        if !self.unsynced.is_empty() {
            return Some(self.sync_step());
        }
        // The last one is for compaction, which gives one back.
        let needed = match (is_mail, is_copy || self.active.is_none()) {
            (true, _) => self.settings.reserve,
            (false, false) => self.settings.reserve.min(2) - 1,
            (false, true) => 0,
        };
        if self.ready.len() > needed {
            return self.ready.front().map(|segment| Step::Activate { segment: *segment, attempts: 0 });
        }
        self.is_exhausted |= is_mail;
        // Mail waits while a segment is being made; it is refused when none can be.
        (!is_mail || !self.is_starved).then_some(Step::Idle)
    }

    fn pop_next(&mut self) -> Option<Frame> {
        let frame = self.first.pop_front().or_else(|| {
            let frame = self.waiting.pop_front()?;
            self.waiting_mail -= usize::from(frame.class == Class::Mail);
            Some(frame)
        })?;
        self.waiting_bytes -= frame.bound as u64;
        Some(frame)
    }

    /// Compaction does not wait for a segment: it is upkeep's, as the making of segments is. True when there was a copy.
    fn refuse_copies(&mut self, settled: &mut Settled) -> bool {
        let (copies, others) = self.first.drain(..).partition::<Vec<_>, _>(|frame| frame.class.is_copy());
        self.first.extend(others);
        self.waiting_bytes -= copies.iter().map(|frame| frame.bound as u64).sum::<u64>();
        let refused = !copies.is_empty();
        settled.refused.extend(copies.into_iter().map(|frame| (frame, CommitError::Full)));
        refused
    }

    fn refuse_next(&mut self, settled: &mut Settled, error: CommitError) {
        settled.refused.extend(self.pop_next().map(|frame| (frame, error)));
    }

    /// A copy is written only when it still says what holds.
    fn is_current(&self, frame: &Frame) -> bool {
        match &frame.class {
            Class::Mail | Class::Upkeep => true,
            Class::Fact { key, from } => self.index.facts().any(|(known, _, at)| known == key && at == *from),
            Class::Copy { key, from, marks, hold } => self
                .index
                .get(*key)
                .is_some_and(|entry| entry.segment() == *from && entry.marks() == &marks[..] && entry.hold() == *hold),
        }
    }

    fn place_next(&mut self, buffer: &mut Vec<u8>) {
        let Some(frame) = self.pop_next() else { return };
        let Some(active) = &mut self.active else { return };
        let order = Order { start: self.settings.start, sequence: self.next_order };
        self.next_order += 1;
        let begin = buffer.len();
        let flags = match (frame.is_copy, frame.class.is_copy()) {
            (false, _) => 0,
            (true, true) => FLAG_COPY,
            (true, false) => FLAG_COPY | FLAG_AGAIN,
        };
        put_frame(buffer, &frame.records, flags, order, active.stable, &active.seal);
        debug_assert!(buffer.len() - begin <= frame.bound, "the bound holds");
        active.footer_bytes += footer_bound(&frame.records);
        let (offset, length) = (active.position + begin as u64, (buffer.len() - begin) as u32);
        self.in_flight.push(Placed { frame, segment: active.number, offset, length, order, is_indexed: false });
    }

    /// The batch was written whole: waiters of mode `process` are answered now.
    pub fn written(&mut self, settled: &mut Settled) {
        let mut batch = std::mem::take(&mut self.in_flight);
        for placed in batch.iter_mut().filter(|placed| placed.frame.durability == Durability::Process) {
            if placed.frame.waiter.is_some() {
                settled.committed.push(placed.frame.take_told());
            }
            self.index_messages(placed);
        }
        self.unsynced.append(&mut batch);
    }

    /// All that was written is on stable storage.
    pub fn synced(&mut self, settled: &mut Settled) {
        self.sync_due = false;
        if let Some(active) = &mut self.active {
            active.stable = active.position;
            if let Some(segment) = self.index.segment_mut(active.number) {
                segment.end = active.position;
            }
        }
        for mut placed in std::mem::take(&mut self.unsynced) {
            self.index_messages(&mut placed);
            self.apply(&placed);
            if placed.frame.waiter.is_some() {
                settled.committed.push(placed.frame);
            }
        }
    }

    fn index_messages(&mut self, placed: &mut Placed) {
        if std::mem::replace(&mut placed.is_indexed, true) {
            return;
        }
        for record in &placed.frame.records {
            let Record::Message(message) = record else { continue };
            let Some(key) = Key::new(message.id) else { continue };
            let bulk = match &message.body {
                Body::Bulk(extents) => super::bulk::segments_of(&extents.list),
                Body::Memory(_) => Vec::new(),
            };
            let recipients = message.envelope.recipients.len() as u32;
            self.index.message(key, (placed.segment, placed.offset, placed.length), recipients, &bulk);
            self.volatile.remove(message.id);
        }
    }

    fn apply(&mut self, placed: &Placed) {
        let place = (placed.segment, placed.offset);
        for record in &placed.frame.records {
            let (id, recipient, change) = match record {
                Record::Message(_) => continue,
                Record::Fact { key, value } => {
                    self.index.fact(key, value, placed.segment, placed.order);
                    continue;
                }
                Record::Status(status) => (status.message, status.recipient.0, Change::of(&status.status)),
                Record::Hold { message, .. } => (*message, StatusFact::HOLD, Change::Held),
                Record::Release { message, .. } => (*message, StatusFact::HOLD, Change::Released),
            };
            if let Some(key) = Key::new(id) {
                self.index.status(key, recipient, change, place);
            }
        }
    }

    /// A write came short or failed, or a sync failed: the active segment is closed for ever at its last
    /// stable offset. Mail is refused; what must not be lost waits to be written first.
    pub fn failed(&mut self, settled: &mut Settled) {
        if let Some(active) = self.active.take()
            && let Some(segment) = self.index.segment_mut(active.number)
        {
            segment.phase = Phase::Closed;
            segment.end = active.stable;
        }
        self.sick = Some(Sick { attempts: 1 });
        self.waiting_mail = 0;
        let lost = std::mem::take(&mut self.unsynced).into_iter().chain(std::mem::take(&mut self.in_flight));
        let lost: Vec<Frame> = lost
            .map(|placed| {
                let mut frame = placed.frame;
                self.waiting_bytes += frame.bound as u64;
                // Indexed, so acknowledged: the copy that failed may be found by a reader until this one supersedes it.
                frame.is_copy |= placed.is_indexed;
                frame
            })
            .collect();
        let all = lost.into_iter().chain(self.first.drain(..)).chain(self.waiting.drain(..)).collect::<Vec<_>>();
        for frame in all {
            let is_kept = frame.class == Class::Upkeep || frame.waiter.is_none();
            if is_kept {
                self.first.push_back(frame);
            } else {
                self.waiting_bytes -= frame.bound as u64;
                settled.refused.push((frame, CommitError::Sick));
            }
        }
    }

    /// The header that makes a ready segment the active one.
    pub fn activation(&mut self, segment: u32, salt: [u8; 16]) -> SegmentHeader {
        let mut ends = self.index.ends();
        if let Some(active) = &self.active {
            // It is about to be closed; until its footer is on disk its end is named.
            ends.push(super::segment::End { number: active.number, epoch: active.seal.epoch, offset: active.stable });
        }
        self.header(segment, SegmentState::InUse, salt, ends)
    }

    /// A header for a log segment of this stream, with a new epoch.
    pub fn header(
        &mut self,
        number: u32,
        state: SegmentState,
        salt: [u8; 16],
        ends: Vec<super::segment::End>,
    ) -> SegmentHeader {
        let LogSettings { stream, start, segment_size, .. } = self.settings;
        let epoch = self.new_epoch();
        SegmentHeader { state, kind: SegmentKind::Log, stream, number, start, epoch, size: segment_size, salt, ends }
    }

    /// The header was written and synced, or that failed.
    pub fn activated(&mut self, header: &SegmentHeader, is_ok: bool, settled: &mut Settled) {
        self.ready.retain(|number| *number != header.number);
        if !is_ok {
            // Nothing in it counts; another one may do better, and it may be tried again with a new epoch.
            self.ready.push_back(header.number);
            match &mut self.sick {
                Some(sick) => sick.attempts = sick.attempts.saturating_add(1),
                None => self.failed(settled),
            }
            return;
        }
        if let Some(old) = self.active.take()
            && let Some(segment) = self.index.segment_mut(old.number)
        {
            segment.phase = Phase::Unsealed;
            segment.end = old.stable;
        }
        self.sick = None;
        let (number, seal) = (header.number, header.seal());
        self.index.add_segment(number, Segment::new(seal, Phase::Active, DATA_OFFSET));
        self.active = Some(Active { number, seal, position: DATA_OFFSET, stable: DATA_OFFSET, footer_bytes: 0 });
    }

    /// Closes the active segment at a shutdown, so that it gets its footer.
    pub fn retire(&mut self) -> Option<u32> {
        self.is_retired = true;
        let active = self.active.take()?;
        let segment = self.index.segment_mut(active.number)?;
        segment.phase = Phase::Unsealed;
        segment.end = active.stable;
        Some(active.number)
    }
}

impl Active {
    fn room(&self, segment_size: u64) -> u64 {
        // The trailer, the padding of the batch, and the footer of what is in it so far.
        let taken = self.position + self.footer_bytes + 2 * SLOT_BYTES as u64 + BATCH_ALIGNMENT as u64;
        segment_size.saturating_sub(taken)
    }
}

#[cfg(test)]
mod tests;
