//! What has to be done every now and then: log lines handed over, gauges set, the spool's counts taken over,
//! outcomes written that could not be before.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use posthaste_rt::sync::Switch;
use posthaste_rt::{memory, task, time};

use super::doors::{self, Doors};
use super::message::Message;
use super::recording::record;
use super::shipping;
use super::state::Shard;
use crate::observe::log::{self, Level};
use crate::observe::writer::LogSender;
use crate::observe::{self, Counter, Event, Gauge};
use crate::spool::{Health, Statistics};

const INTERVAL: Duration = Duration::from_millis(50);
/// Turns without work after which a shard gives freed memory back: a second.
const QUIET_TURNS: u32 = 20;

/// Runs until the shard has stopped.
pub async fn run(shard: Rc<Shard>, doors: Rc<Doors>, log: LogSender, stopped: Switch) {
    let (seen, health) = (Cell::default(), Cell::new(Health::Ready));
    let mut quiet = Quiet::default();
    while !stopped.is_thrown() {
        time::sleep(INTERVAL).await;
        flush(&log);
        counts(&shard, &seen);
        gauges(&shard, &doors);
        shard.lending.tick();
        tell_load(&shard, &doors);
        watch(&shard, &health);
        write_unrecorded(&shard).await;
        if quiet.has_begun(work(&shard)) {
            memory::give_back();
        }
    }
}

/// A number that changes with everything that is done here.
fn work(shard: &Rc<Shard>) -> u64 {
    let counters = [Counter::LinksAccepted, Counter::LinksClosed, Counter::Commands, Counter::Attempts];
    let counted: u64 = counters.into_iter().map(observe::counted).sum();
    let recovering = u64::from(!shard.spool.is_recovered());
    counted + shard.spool.statistics().frames + shard.scheduler.borrow().queue().len() as u64 + recovering
}

/// Notices that a shard which had work has none any more.
#[derive(Debug, Default)]
struct Quiet {
    last: u64,
    turns: u32,
}

impl Quiet {
    /// Told a number that changes with the work done; true once when it has stood still for long enough.
    fn has_begun(&mut self, work: u64) -> bool {
        self.turns = if work == self.last { self.turns.saturating_add(1) } else { 0 };
        self.last = work;
        self.turns == QUIET_TURNS
    }
}

/// Hands lines over; what the writer cannot take stays.
fn flush(sender: &LogSender) {
    if let Some(back) = log::take().and_then(|lines| sender.send(lines)) {
        log::give_back(back);
    }
}

/// The last lines of a shard that ends.
pub fn flush_all(sender: &LogSender) {
    flush(sender);
}

/// What the spool did since it was last asked, and the panics.
fn counts(shard: &Rc<Shard>, seen: &Cell<(Statistics, u64)>) {
    let (now, panics) = (shard.spool.statistics(), task::panics_caught());
    let (before, panics_before) = seen.replace((now, panics));
    observe::add(Counter::TaskPanics, panics.saturating_sub(panics_before));
    let pairs = [
        (Counter::SpoolBatches, now.batches, before.batches),
        (Counter::SpoolSyncs, now.syncs, before.syncs),
        (Counter::SpoolBytes, now.bytes, before.bytes),
        (Counter::SpoolRecords, now.frames, before.frames),
        (Counter::SpoolErrors, now.failures, before.failures),
        (Counter::SpoolRecycled, now.recycled, before.recycled),
        (Counter::SpoolCompactions, now.compacted, before.compacted),
        (Counter::EventsGaps, now.given_up, before.given_up),
        (Counter::EventsGapBytes, now.given_up_bytes, before.given_up_bytes),
    ];
    for (counter, now, before) in pairs {
        observe::add(counter, now.saturating_sub(before));
    }
    if now.given_up > before.given_up {
        log::event(shard.now().wall, Level::Error, Event::EventsGap, |line| {
            line.number("segments", now.given_up - before.given_up);
            line.number("bytes", now.given_up_bytes - before.given_up_bytes);
        });
    }
}

/// Sets the gauges to what holds now.
pub fn gauges(shard: &Rc<Shard>, doors: &Doors) {
    shipping::gauges(shard);
    doors::gauges(doors);
    let scheduler = shard.scheduler.borrow();
    let queue = scheduler.queue();
    observe::gauge_set(Gauge::QueueMessages, queue.len() as i64);
    observe::gauge_set(Gauge::QueueReady, queue.ready_count() as i64);
    observe::gauge_set(Gauge::LanesOpen, queue.lane_count() as i64);
    let spool = shard.spool.statistics();
    observe::gauge_set(Gauge::SpoolSegments, (spool.segments - spool.ready) as i64);
    observe::gauge_set(Gauge::SpoolSegmentsReady, spool.ready as i64);
    observe::gauge_set(Gauge::SpoolBytesPending, spool.pending as i64);
}

/// Tells the other shards how many sessions are here, when that has changed.
fn tell_load(shard: &Rc<Shard>, doors: &Doors) {
    let Some(sessions) = doors.loads().news(doors.sessions()) else { return };
    for outbox in shard.others.iter().flatten() {
        observe::count(Counter::MeshMessages);
        let _ = outbox.send(Message::Load(shard.id, sessions)); // a shard that is gone takes no connections
    }
}

/// Says when the spool's health changes.
fn watch(shard: &Rc<Shard>, last: &Cell<Health>) {
    let health = shard.spool.health();
    let (level, number) = match health {
        Health::Ready => (Level::Info, 0),
        Health::Full => (Level::Warn, 1),
        Health::Sick => (Level::Error, 2),
    };
    observe::gauge_set(Gauge::SpoolHealth, number);
    if health != last.replace(health) {
        shard.work.ring();
        log::event(shard.now().wall, level, Event::SpoolHealth, |line| {
            line.text(
                "health",
                match health {
                    Health::Ready => "ready",
                    Health::Full => "full",
                    Health::Sick => "sick",
                },
            );
        });
    }
    for damage in shard.spool.take_damage() {
        shard.damaged(&damage);
    }
}

/// Outcomes whose record failed are written before anything else is tried.
async fn write_unrecorded(shard: &Rc<Shard>) {
    if shard.spool.health() == Health::Sick {
        return;
    }
    let waiting = shard.scheduler.borrow().unrecorded_count();
    for _ in 0..waiting {
        let Some(completion) = shard.scheduler.borrow_mut().unrecorded() else { return };
        let message = shard.spool.read(completion.message).await.ok().map(|stored| stored.message);
        record(shard, message.as_ref(), completion).await;
    }
    let _none_left = shard.scheduler.borrow_mut().unrecorded();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_begins_once_after_work_has_stood_still() {
        let mut quiet = Quiet::default();
        let mut begun = |work| (0..3 * QUIET_TURNS).filter(|_| quiet.has_begun(work)).count();
        assert_eq!((begun(7), begun(7), begun(8)), (1, 0, 1));
        assert_eq!((0..100).filter(|work| quiet.has_begun(100 + work)).count(), 0, "there is always something");
    }
}
