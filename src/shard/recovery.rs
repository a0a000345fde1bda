//! What recovery finds goes into the queue, in batches, while new mail is already taken.

use std::rc::Rc;

use posthaste_rt::task;

use super::arrival;
use super::state::Shard;
use crate::observe::log::{self, Level};
use crate::observe::{self, Event, Gauge};
use crate::spool::{Recovered, Recovery, RecoveryEvent};

/// Runs until all streams of this shard are recovered.
pub async fn run(shard: Rc<Shard>, mut recovery: Recovery) {
    let mut messages = 0u64;
    while let Some(event) = recovery.next().await {
        match event {
            RecoveryEvent::Messages(batch) => {
                messages += batch.len() as u64;
                batch.iter().for_each(|one| enter(&shard, one));
                shard.work.ring();
                task::yield_if_needed().await;
            }
            RecoveryEvent::Damaged(damage) => shard.damaged(&damage),
            RecoveryEvent::Complete(stream) => {
                say(
                    &shard,
                    Level::Info,
                    Event::SpoolRecovery,
                    &format!("stream {stream}: complete, {messages} messages so far"),
                );
            }
            RecoveryEvent::Failed(stream, error) => {
                say(&shard, Level::Error, Event::SpoolRecovery, &format!("stream {stream}: {error}"));
            }
        }
    }
    observe::gauge_set(Gauge::RecoveryPending, 0); // all that was found is in the queue
}

fn enter(shard: &Rc<Shard>, recovered: &Recovered) {
    if arrival::of_recovered(recovered, |one| shard.scheduler.borrow_mut().insert(one, shard.now())) {
        observe::gauge_add(Gauge::QueueRecipients, recovered.recipients.len() as i64);
    }
}

fn say(shard: &Rc<Shard>, level: Level, event: Event, what: &str) {
    log::event(shard.now().wall, level, event, |line| {
        line.text("what", what);
    });
}
