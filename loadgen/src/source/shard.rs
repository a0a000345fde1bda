//! What the sessions of one thread share: due times, counts, the ledger's next chunk.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use posthaste_rt::{clock, task, time};
use rustls::ClientConfig;

use super::content::Library;
use super::schedule::Schedule;
use super::session;
use super::settings::{Load, Settings};
use super::stats::{Outcome, Second, Span, Stats};
use crate::host::{CpuTime, LOOK, Stop};
use crate::ledger::{self, CHUNK_BYTES};
use crate::random::Random;

/// How long messages under way may take after the last was begun.
pub const DRAIN: Duration = Duration::from_secs(30);
/// The same after Ctrl-C.
const DRAIN_STOPPED: Duration = Duration::from_secs(2);
const SECOND_US: u64 = 1_000_000;

/// A message that is due.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    /// Its number in the run.
    pub number: u64,
    /// When it was due, on the clock.
    pub due_us: u64,
    /// Its time counts.
    pub is_measured: bool,
}

/// What a thread says while it runs.
#[derive(Debug)]
pub enum News {
    /// A second has passed on thread `.0`.
    Second(usize, Second),
    /// A thread has ended, well or not.
    Ended,
}

/// Says that the thread has ended, however it does. (That the channel is closed says nothing: a connection that is
/// still open when its shard ends keeps its end of it.)
struct Farewell(Sender<News>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.0.send(News::Ended); // whoever follows may be gone
    }
}

/// What a thread is given.
#[derive(Debug)]
pub struct Assignment {
    /// How sessions talk.
    pub settings: Arc<Settings>,
    /// What they send.
    pub library: Arc<Library>,
    /// How much and when.
    pub load: Load,
    /// Which thread of how many.
    pub part: usize,
    /// Threads.
    pub parts: usize,
    /// TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// The end, from outside.
    pub stop: Stop,
    /// When the run starts, on the clock.
    pub started_us: u64,
    /// The ledger.
    pub chunks: Option<Sender<Vec<u8>>>,
    /// Each second goes here, and the end.
    pub news: Sender<News>,
}

/// What a thread gives back.
#[derive(Debug)]
pub struct Ended {
    /// What it saw.
    pub stats: Stats,
    /// CPU time in the measured span.
    pub cpu: CpuTime,
    /// How long that span was, microseconds.
    pub measured_us: u64,
}

/// The shared state of a thread.
#[derive(Debug)]
pub struct Shard {
    /// What was given.
    pub given: Assignment,
    /// What was seen.
    pub stats: RefCell<Stats>,
    /// Chance.
    pub random: RefCell<Random>,
    schedule: RefCell<Option<Schedule>>,
    taken: Cell<u64>,
    own_messages: Option<u64>,
    next_connect_us: Cell<u64>,
    connects: Cell<usize>,
    chunk: RefCell<Vec<u8>>,
    live: Cell<usize>,
    active: Cell<usize>,
    last_end_us: Cell<u64>,
}

/// The share of part `part` of `all` things.
pub fn share(all: u64, part: usize, parts: usize) -> u64 {
    all / parts as u64 + u64::from((part as u64) < all % parts as u64)
}

impl Shard {
    /// Ready to run its part.
    pub fn new(given: Assignment) -> Rc<Self> {
        let (part, parts, load) = (given.part, given.parts, given.load);
        let seed = given.settings.seed ^ load.first_number;
        let schedule = load
            .open
            .map(|(arrivals, rate)| Schedule::new(arrivals, rate, part as u64, parts as u64, seed, load.end_us));
        let own_messages = load.messages.map(|all| share(all, part, parts));
        Rc::new(Shard {
            stats: RefCell::default(),
            random: RefCell::new(Random::part(seed.wrapping_add(1), part as u64)),
            schedule: RefCell::new(schedule),
            taken: Cell::new(0),
            own_messages,
            next_connect_us: Cell::new(0),
            connects: Cell::new(part),
            chunk: RefCell::default(),
            live: Cell::new(0),
            active: Cell::new(0),
            last_end_us: Cell::new(0),
            given,
        })
    }

    fn since_start(&self) -> u64 {
        clock::now().saturating_sub(self.given.started_us)
    }

    fn is_over(&self) -> bool {
        self.given.stop.is_thrown() || self.since_start() >= self.given.load.end_us
    }

    /// The next message, when it is due; `None` when the run is over.
    pub async fn next_slot(&self) -> Option<Slot> {
        if self.is_over() || self.own_messages.is_some_and(|most| self.taken.get() >= most) {
            return None;
        }
        let due = match &mut *self.schedule.borrow_mut() {
            Some(schedule) => Some(schedule.next()?),
            None => None,
        };
        let place = self.taken.replace(self.taken.get() + 1);
        let number = self.given.load.first_number + place * self.given.parts as u64 + self.given.part as u64;
        if due.is_none() && place > 0 && !self.given.settings.pause.is_zero() {
            time::sleep(self.given.settings.pause).await;
        }
        let due = due.unwrap_or_else(|| self.since_start());
        let early = due.saturating_sub(self.since_start());
        if early > 0 {
            time::sleep(Duration::from_micros(early)).await;
            if self.given.stop.is_thrown() {
                return None;
            }
        }
        let is_measured = due >= self.given.load.warm_up_us;
        if is_measured && early > 0 {
            self.stats.borrow_mut().span(Span::Late, self.since_start().saturating_sub(due));
        }
        Some(Slot { number, due_us: self.given.started_us + due, is_measured })
    }

    /// Waits until another connection may be opened; which one it is, over all threads by turns.
    pub async fn may_connect(&self) -> usize {
        if let Some(rate) = self.given.settings.connect_rate {
            let gap = (self.given.parts as f64 / rate * 1e6) as u64;
            let now = clock::now();
            let at = self.next_connect_us.get().max(now);
            self.next_connect_us.set(at + gap);
            if at > now {
                time::sleep(Duration::from_micros(at - now)).await;
            }
        }
        self.connects.replace(self.connects.get() + self.given.parts)
    }

    /// A message is begun.
    pub fn begin(&self, slot: &Slot) {
        self.active.set(self.active.get() + 1);
        let mut stats = self.stats.borrow_mut();
        stats.begin(slot.is_measured);
        if slot.is_measured && self.given.load.open.is_some() {
            stats.span(Span::Waiting, clock::now().saturating_sub(slot.due_us));
        }
    }

    /// A message has ended.
    pub fn end(&self, slot: &Slot, outcome: Outcome, size: usize) {
        self.active.set(self.active.get() - 1);
        let now = clock::now();
        self.last_end_us.set(now);
        let since = now.saturating_sub(self.given.started_us);
        let is_inside = (self.given.load.warm_up_us..self.given.load.end_us).contains(&since);
        let us = now.saturating_sub(slot.due_us);
        self.stats.borrow_mut().end(outcome, size, us, slot.is_measured, is_inside);
    }

    /// Writes down what was acknowledged, or what is uncertain.
    pub fn write_down(&self, number: u64, keys: &[u64], is_acknowledged: bool) {
        let Some(chunks) = &self.given.chunks else { return };
        let mut chunk = self.chunk.borrow_mut();
        match is_acknowledged {
            true => ledger::push_acknowledged(&mut chunk, number, keys),
            false => ledger::push_uncertain(&mut chunk, number, keys),
        }
        if chunk.len() >= CHUNK_BYTES {
            let _ = chunks.send(std::mem::take(&mut chunk)); // the writer tells of its error when it is finished
        }
    }

    fn flush_ledger(&self) {
        let chunk = self.chunk.take();
        if let Some(chunks) = self.given.chunks.as_ref().filter(|_| !chunk.is_empty()) {
            let _ = chunks.send(chunk); // as above
        }
    }

    /// The rest of the schedule: due while the run lasted, and never begun.
    fn count_unsent(&self) -> u64 {
        let until = self.since_start().min(self.given.load.end_us);
        let left = self.own_messages.map_or(u64::MAX, |most| most.saturating_sub(self.taken.get()));
        let mut schedule = self.schedule.borrow_mut();
        let Some(schedule) = schedule.as_mut() else { return 0 };
        schedule.take(usize::try_from(left).unwrap_or(usize::MAX)).take_while(|due| *due < until).count() as u64
    }
}

/// Runs one thread's part to its end.
pub async fn run(given: Assignment) -> Ended {
    let _farewell = Farewell(given.news.clone());
    let shard = Shard::new(given);
    let settings = shard.given.settings.clone();
    let (part, parts) = (shard.given.part, shard.given.parts);
    let (sessions, idle) = (share(settings.sessions as u64, part, parts), share(settings.idle as u64, part, parts));
    shard.live.set(sessions as usize);
    for _ in 0..idle {
        task::spawn(session::idle(shard.clone()));
    }
    for _ in 0..sessions {
        let own = shard.clone();
        task::spawn(async move {
            session::run(&own).await;
            own.live.set(own.live.get() - 1);
        });
    }
    follow(&shard).await
}

/// Reports each second, takes the CPU time at the edges of the measured span, waits for the end.
async fn follow(shard: &Rc<Shard>) -> Ended {
    let load = shard.given.load;
    let (mut next_second, mut before, mut cpu) = (SECOND_US, None, None);
    let mut stopped_at = None;
    loop {
        time::sleep(LOOK).await;
        let since = shard.since_start();
        if before.is_none() && since >= load.warm_up_us {
            before = Some(CpuTime::of_this_thread());
        }
        if cpu.is_none() && since >= load.end_us {
            cpu = before.map(|before| CpuTime::of_this_thread().since(before));
        }
        if since >= next_second {
            next_second += SECOND_US;
            let second = shard.stats.borrow_mut().take_second();
            let _ = shard.given.news.send(News::Second(shard.given.part, second)); // whoever follows may be gone
            shard.flush_ledger();
        }
        if shard.given.stop.is_thrown() {
            stopped_at.get_or_insert(since);
        }
        let drain_until = match stopped_at {
            Some(at) => at + DRAIN_STOPPED.as_micros() as u64,
            None => load.end_us + DRAIN.as_micros() as u64,
        };
        let is_idle = shard.active.get() == 0 && (stopped_at.is_some() || since > load.end_us + SECOND_US);
        if shard.live.get() == 0 || is_idle || since >= drain_until {
            break;
        }
    }
    let cpu = cpu.or_else(|| before.map(|before| CpuTime::of_this_thread().since(before))).unwrap_or_default();
    finish(shard, cpu)
}

fn finish(shard: &Rc<Shard>, cpu: CpuTime) -> Ended {
    let load = shard.given.load;
    let second = shard.stats.borrow_mut().take_second();
    let _ = shard.given.news.send(News::Second(shard.given.part, second)); // as above
    let last_end = shard.last_end_us.get().saturating_sub(shard.given.started_us);
    let mut stats = shard.stats.take();
    stats.unsent = shard.count_unsent();
    if shard.active.get() > 0 {
        let count = shard.active.get() as u64;
        stats.measured.failed += count;
        stats.all.failed += count;
        stats.errors.insert("still under way when the run was ended".into(), count);
    }
    shard.flush_ledger();
    // Where a count ended the run, the span ended with the last message.
    let measured_us = last_end.min(load.end_us).saturating_sub(load.warm_up_us);
    Ended { stats, cpu, measured_us }
}
