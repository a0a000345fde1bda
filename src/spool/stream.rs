//! One open stream: the writer that performs the steps of [`Log`], and what the other drivers share.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use crate::base::StreamId;
use crate::observe::{self, Timing};

use super::bulk::BulkTable;
use super::bulk_driver::BulkSync;
use super::cadence::Cadence;
use super::damage::DamageLog;
use super::frame::Seal;
use super::log::Log;
use super::message::Record;
use super::pending::{Settled, Step};
use super::segment::{SLOT_BYTES, SegmentHeader, SegmentKind, SegmentState, file_name};
use super::settings::Settings;
use super::ship::Shipping;
use super::storage::{Storage, StorageFile};
use super::wait::{Answer, Bell};

/// How often what was written without a sync is synced, and upkeep looks for what is dead.
const TICK: Duration = Duration::from_millis(200);
/// First pause before a failed segment header is tried again; it doubles up to 64 times this.
const PROBE_PAUSE: Duration = Duration::from_millis(50);

/// Told of every record once it is committed, before the waiter is.
pub type Observer = Rc<dyn Fn(&Record)>;

/// What the tasks of one stream share.
pub(super) struct Stream<S: Storage> {
    pub(super) id: StreamId,
    pub(super) storage: S,
    pub(super) dir: PathBuf,
    pub(super) settings: Rc<Settings>,
    pub(super) log: RefCell<Log>,
    pub(super) bulk: Rc<RefCell<BulkTable>>,
    pub(super) bulk_sync: BulkSync,
    pub(super) files: RefCell<HashMap<(SegmentKind, u32), S::File>>,
    pub(super) next_number: Cell<u32>,
    pub(super) observer: Rc<RefCell<Option<Observer>>>,
    /// Something for the writer.
    pub(super) work: Bell,
    /// Something for upkeep.
    pub(super) chores: Bell,
    /// Something that waiters for bulk segments look at.
    pub(super) bulk_changed: Bell,
    pub(super) bulk_wanted: Cell<bool>,
    pub(super) bulk_ready: RefCell<Vec<u32>>,
    /// All segments of earlier starts are merged: recycling and compaction may run.
    pub(super) is_recovered: Cell<bool>,
    pub(super) is_closing: Cell<bool>,
    /// Segments that compaction could not empty: something in them is damaged.
    pub(super) stuck: RefCell<BTreeSet<u32>>,
    /// The writer is done for good.
    pub(super) is_written_out: Cell<bool>,
    pub(super) is_over: Answer<()>,
    pub(super) damage: RefCell<DamageLog>,
    pub(super) counts: Counts,
    pub(super) cadence: RefCell<Cadence>,
    /// When the last batch was written.
    pub(super) batch_at: Cell<Duration>,
    pub(super) lock: RefCell<Option<S::Lock>>,
    /// Who is told what happens.
    pub(super) shipping: Shipping<S>,
}

/// What the stream did, for benchmarks and metrics.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) frames: Cell<u64>,
    pub(super) batches: Cell<u64>,
    pub(super) syncs: Cell<u64>,
    pub(super) bytes: Cell<u64>,
    pub(super) failures: Cell<u64>,
    pub(super) recycled: Cell<u64>,
    pub(super) compacted: Cell<u64>,
    pub(super) given_up: Cell<u64>,
    pub(super) given_up_bytes: Cell<u64>,
}

pub(super) fn bump(count: &Cell<u64>, by: u64) {
    count.set(count.get() + by);
}

impl<S: Storage> Stream<S> {
    /// Starts the writer and the clockwork.
    pub(super) fn run(self: &Rc<Self>) {
        self.storage.spawn(self.clone().write_loop());
        self.storage.spawn(self.clone().tick_loop());
        self.storage.spawn(self.clone().upkeep_loop());
    }

    async fn write_loop(self: Rc<Self>) {
        loop {
            self.gather().await;
            let seen = self.work.rings();
            let mut settled = Settled::default();
            let step = self.log.borrow_mut().next(&mut settled);
            self.settle(settled);
            match step {
                Step::Write { segment, offset, buffer, sync } => self.write(segment, offset, buffer, sync).await,
                Step::Sync { segment } => self.sync(segment).await,
                Step::Activate { segment, attempts } => self.activate(segment, attempts).await,
                Step::Idle if self.is_closing.get() && self.log.borrow().is_drained() => break,
                Step::Idle => self.work.wait(seen).await,
            }
        }
        self.log.borrow_mut().retire();
        self.is_written_out.set(true);
        self.chores.ring();
    }

    /// Lets frames gather where the last batch had company, and outcomes until there is mail.
    async fn gather(&self) {
        if self.is_closing.get() {
            return;
        }
        if self.log.borrow().has_only_outcomes() {
            let enough = self.storage.sleep(Cadence::OUTCOMES);
            futures_lite::future::or(enough, self.mail_or_end()).await;
        }
        let span = self.cadence.borrow().gathering();
        if let Some(span) = span
            && self.log.borrow().has_waiting_mail()
        {
            self.storage.sleep(span).await;
        }
    }

    async fn mail_or_end(&self) {
        loop {
            let seen = self.work.rings();
            if !self.log.borrow().has_only_outcomes() || self.is_closing.get() {
                return;
            }
            self.work.wait(seen).await;
        }
    }

    async fn write(&self, segment: u32, offset: u64, buffer: Vec<u8>, sync: bool) {
        let (length, frames, start) = (buffer.len(), self.log.borrow().in_flight(), self.storage.now());
        self.batch_at.set(start);
        bump(&self.counts.batches, 1);
        bump(&self.counts.bytes, length as u64);
        let Some(file) = self.file(SegmentKind::Log, segment) else { return self.fail() };
        match file.write_at(buffer, offset).await {
            Ok(written) if written == length => {
                let mut settled = Settled::default();
                self.log.borrow_mut().written(&mut settled);
                self.settle(settled);
                if sync {
                    self.sync(segment).await;
                }
                self.cadence.borrow_mut().stored(frames, self.storage.now().saturating_sub(start));
            }
            _ => self.fail(),
        }
    }

    async fn sync(&self, segment: u32) {
        bump(&self.counts.syncs, 1);
        let Some(file) = self.file(SegmentKind::Log, segment) else { return self.fail() };
        let began = self.storage.now();
        match file.sync().await {
            Ok(()) => {
                observe::record_micros(Timing::Sync, micros(self.storage.now().saturating_sub(began)));
                let mut settled = Settled::default();
                self.log.borrow_mut().synced(&mut settled);
                self.settle(settled);
                self.shipping.ring();
            }
            Err(_) => self.fail(),
        }
    }

    fn fail(&self) {
        bump(&self.counts.failures, 1);
        let mut settled = Settled::default();
        self.log.borrow_mut().failed(&mut settled);
        self.settle(settled);
        self.bulk_changed.ring();
    }

    async fn activate(&self, segment: u32, attempts: u32) {
        if attempts > 0 {
            self.storage.sleep(PROBE_PAUSE * 2u32.pow(attempts.min(6))).await;
        }
        let header = self.log.borrow_mut().activation(segment, self.salt());
        let is_ok = self.write_header(&header).await.is_ok();
        if !is_ok {
            bump(&self.counts.failures, 1);
        }
        let mut settled = Settled::default();
        self.log.borrow_mut().activated(&header, is_ok, &mut settled);
        self.settle(settled);
        self.chores.ring();
        self.bulk_changed.ring();
    }

    /// Tells observers and waiters what became of frames.
    fn settle(&self, settled: Settled) {
        if settled.committed.is_empty() && settled.refused.is_empty() {
            return;
        }
        bump(&self.counts.frames, settled.committed.len() as u64);
        let (observer, now) = (self.observer.borrow().clone(), self.storage.now());
        for frame in settled.committed {
            if let Some(since) = frame.since {
                observe::record_micros(Timing::Commit, micros(now.saturating_sub(since)));
            }
            if let Some(observer) = &observer {
                frame.records.iter().skip(frame.told).for_each(|record| observer(record));
            }
            if let Some(waiter) = frame.waiter {
                waiter.give(Ok(()));
            }
        }
        for (frame, error) in settled.refused {
            if let Some(waiter) = frame.waiter {
                waiter.give(Err(error));
            }
        }
    }

    async fn tick_loop(self: Rc<Self>) {
        while !self.is_written_out.get() {
            self.storage.sleep(TICK).await;
            self.log.borrow_mut().request_sync();
            self.work.ring();
            self.chores.ring();
        }
    }

    /// The open file of a segment.
    pub(super) fn file(&self, kind: SegmentKind, number: u32) -> Option<S::File> {
        self.files.borrow().get(&(kind, number)).cloned()
    }

    /// Its path.
    pub(super) fn path(&self, kind: SegmentKind, number: u32) -> PathBuf {
        self.dir.join(file_name(kind, number))
    }

    /// Sixteen bytes that nobody can guess.
    pub(super) fn salt(&self) -> [u8; 16] {
        let mut salt = [0; 16];
        self.storage.fill_random(&mut salt);
        salt
    }

    /// Writes both slots of a header, each synced before the other is touched: one of them always verifies.
    pub(super) async fn write_header(&self, header: &SegmentHeader) -> io::Result<()> {
        let file = self.file(header.kind, header.number).ok_or(io::ErrorKind::NotFound)?;
        bump(&self.counts.syncs, 2);
        let mut first = header.encode();
        let second = first.split_off(SLOT_BYTES);
        write_all(&file, first, 0).await?;
        file.sync().await?;
        write_all(&file, second, SLOT_BYTES as u64).await?;
        file.sync().await
    }

    /// A header of a bulk segment.
    pub(super) fn bulk_header(&self, number: u32, state: SegmentState) -> SegmentHeader {
        let mut log = self.log.borrow_mut();
        let (stream, start, epoch) = (self.id, log.settings().start, log.new_epoch());
        let (size, salt) = (self.settings.bulk_segment_size, self.salt());
        SegmentHeader { state, kind: SegmentKind::Bulk, stream, number, start, epoch, size, salt, ends: Vec::new() }
    }

    /// The seal and the end of a log segment that counts.
    pub(super) fn sealed(&self, number: u32) -> Option<Seal> {
        self.log.borrow().index.segments().get(&number).map(|segment| segment.seal)
    }
}

/// For a histogram.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Writes all of it; short is an error.
pub(super) async fn write_all<F: StorageFile>(file: &F, bytes: Vec<u8>, offset: u64) -> io::Result<()> {
    let length = bytes.len();
    match file.write_at(bytes, offset).await? {
        written if written == length => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}
