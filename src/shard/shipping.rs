//! Events on their way out: one task for each who is told reads the shard's feed, renders, hands the lines over, and
//! acknowledges what is written. Mail never waits for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_rt::{clock, task, time};

use super::state::Shard;
use crate::base::{MessageId, WallTime};
use crate::events::known::{About, Known};
use crate::events::names::{Choice, of};
use crate::events::{Settings, Sink, render};
use crate::observe::log::{self, Level};
use crate::observe::{self, Counter, Event, Gauge};
use crate::spool::{self, Chunk, Feed, Message, Record};

/// Events that come within this time of each other share a sync of their file.
const GATHER: Duration = Duration::from_millis(20);
/// First pause after events could not be written; it doubles up to the last.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(15);
/// How long a stop waits for events to be written.
const FINISH_WITHIN: Duration = Duration::from_secs(3);

/// What the shard knows for those who are told.
pub struct Told {
    /// For each the time of the oldest event that is not written, as far as that is known.
    since: Vec<Rc<Cell<Option<WallTime>>>>,
    /// Whom statuses are about.
    known: RefCell<Known>,
}

impl Told {
    /// With so many who are told.
    pub fn new(shippers: usize) -> Told {
        Told { since: (0..shippers).map(|_| Rc::default()).collect(), known: RefCell::default() }
    }

    /// A status of this message is about to be committed: it may be the last, and then the spool forgets the message.
    pub fn remember(&self, message: &Message) {
        if !self.since.is_empty() {
            self.known.borrow_mut().learn(message);
        }
    }
}

/// Starts a task for each who is told.
pub fn start(shard: &Rc<Shard>, told: Vec<(Settings, Sink)>) {
    for ((settings, sink), since) in told.into_iter().zip(&shard.told.since) {
        let (shard, since) = (shard.clone(), since.clone());
        task::spawn(async move {
            // What cannot be rendered must not silence the rest for ever: after a panic the feed begins at its cursor.
            while let Some(feed) = shard.spool.feed(&settings.id) {
                let shipper = Shipper { shard: &shard, settings: &settings, sink: &sink, since: &since };
                if task::catch(shipper.run(feed)).await.is_ok() {
                    return;
                }
                time::sleep(RETRY_MAX).await;
            }
        });
    }
}

/// Sets the gauges of lateness; nothing to do where nobody is told.
pub fn gauges(shard: &Rc<Shard>) {
    let told = &shard.told.since;
    if told.is_empty() {
        return;
    }
    let now = shard.now().wall;
    let late = told.iter().filter_map(|since| since.get()).map(|since| now.since(since).as_secs()).max();
    observe::gauge_set(Gauge::EventsLagSeconds, late.unwrap_or(0) as i64);
    observe::gauge_set(Gauge::EventsLagBytes, shard.spool.lag_bytes() as i64);
}

/// Gives what happened last the time to be written, where it can be; the rest is told after the next start.
pub async fn finish(shard: &Shard) {
    if shard.told.since.is_empty() {
        return;
    }
    let end = clock::now() + FINISH_WITHIN.as_micros() as u64;
    while shard.spool.lag_bytes() > 0 && clock::now() < end {
        time::sleep(GATHER).await;
    }
}

struct Shipper<'a> {
    shard: &'a Rc<Shard>,
    settings: &'a Settings,
    sink: &'a Sink,
    /// The time of the oldest event that is not written, as far as that is known.
    since: &'a Cell<Option<WallTime>>,
}

impl Shipper<'_> {
    async fn run(self, mut feed: Feed) {
        while let Some(chunk) = feed.next().await {
            let oldest = chunk.events.first().and_then(at);
            self.since.set(Some(oldest.unwrap_or_else(|| self.shard.now().wall)));
            let (lines, count) = self.render(&chunk).await;
            if !lines.is_empty() {
                self.put(lines.into()).await;
            }
            feed.shipped(&chunk);
            observe::add(Counter::EventsShipped, count);
            self.since.set(None);
            time::sleep(GATHER).await;
        }
    }

    /// The lines of a chunk, and how many they are.
    async fn render(&self, chunk: &Chunk) -> (Vec<u8>, u64) {
        let choice: &Choice = &self.settings.events;
        let (mut lines, mut count) = (Vec::new(), 0);
        if !chunk.gap.is_empty() {
            render::gap(&mut lines, chunk.gap_id(), chunk.stream, chunk.gap, self.shard.now().wall);
            count += 1;
        }
        for event in &chunk.events {
            task::yield_if_needed().await;
            if let Record::Message(message) = &event.record {
                self.shard.told.remember(message);
            }
            if !of(&event.record).is_some_and(|event| choice.has(event)) {
                continue;
            }
            let about = match &event.record {
                Record::Status(status) => self.about(status.message).await,
                _ => None,
            };
            render::event(&mut lines, event, about.as_deref());
            count += 1;
        }
        (lines, count)
    }

    /// Whom a status is about: remembered, or read while it is still queued.
    async fn about(&self, id: MessageId) -> Option<Rc<About>> {
        let known = self.shard.told.known.borrow().get(id);
        if known.is_some() {
            return known;
        }
        let stored = self.shard.spool.read(id).await.ok()?;
        Some(self.shard.told.known.borrow_mut().learn(&stored.message))
    }

    /// Writes lines, however long it takes; that it fails is said once, and when it works again.
    async fn put(&self, lines: Bytes) {
        let mut pause = RETRY;
        while let Err(reason) = self.sink.put(lines.clone()).await {
            observe::count(Counter::EventsFailures);
            if pause == RETRY {
                self.say(Level::Error, &reason);
            }
            time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
        if pause != RETRY {
            self.say(Level::Info, "written again");
        }
    }

    fn say(&self, level: Level, what: &str) {
        log::event(self.shard.now().wall, level, Event::EventsFile, |line| {
            line.text("events", &self.settings.id).text("what", what);
        });
    }
}

/// When it happened.
fn at(event: &spool::Event) -> Option<WallTime> {
    match &event.record {
        Record::Message(message) => Some(message.received.at),
        Record::Status(status) => Some(status.at),
        Record::Hold { at, .. } | Record::Release { at, .. } => Some(*at),
        Record::Fact { .. } => None,
    }
}
