//! What arrives from other shards and from the control plane, in the order in which it was sent.

use std::rc::Rc;

use posthaste_rt::mesh::Receiver;
use posthaste_rt::task;

use super::doors::Doors;
use super::lending;
use super::message::{Message, Update};
use super::operator;
use super::routing::Ways;
use super::state::{InForce, Shard};
use super::tick;
use crate::lookup::ShardLookups;
use crate::observe;

/// Messages taken at a time.
const BATCH: usize = 256;

/// Runs until the shard is told to stop; again after that until it has stopped, because what it has lent comes back,
/// and what it is offered goes back. `false` when nobody can tell it anything any more.
pub async fn run(shard: &Rc<Shard>, doors: &Doors, receiver: &mut Receiver<Message>) -> bool {
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.receive(&mut batch, BATCH).await {
        let mut stops = false;
        for message in batch.drain(..) {
            match message {
                Message::Limits(from, items) => {
                    let now = shard.now().mono;
                    shard.limits.borrow_mut().receive(from, items, now);
                    shard.work.ring();
                }
                Message::Socket(handover) => doors.take(handover),
                Message::Offer(offer) => lending::take(shard, offer),
                Message::Returned(returned) => lending::returned(shard, *returned),
                Message::CloseIdle(home, lane) => lending::close_idle(shard, home, &lane, false),
                Message::ForgetIdle(home, lane) => lending::close_idle(shard, home, &lane, true),
                Message::IdleClosed(away, lane) => {
                    shard.connection_closed(&lane, Some(away));
                    shard.work.ring();
                }
                Message::Load(from, sessions) => doors.loads().hear(from, sessions),
                Message::Query(query, sender) => {
                    let shard = shard.clone();
                    task::spawn(async move {
                        let _ = sender.send(operator::answer(shard, *query).await); // an asker that left needs none
                    });
                }
                Message::Snapshot(sender) => {
                    tick::gauges(shard, doors);
                    let _ = sender.send(observe::snapshot()); // as above
                }
                Message::Configure(update, sender) => {
                    configure(shard, doors, *update);
                    let _ = sender.send(()); // as above
                }
                Message::Stop => stops = true,
            }
        }
        if stops {
            return true;
        }
    }
    false
}

/// Puts a configuration in force: sessions take it over between transactions, attempts when they are routed.
fn configure(shard: &Rc<Shard>, doors: &Doors, update: Update) {
    let Update { active, opened, closed } = update;
    if let Some(tracer) = active.config.observe.tracers.iter().find(|tracer| tracer.enable) {
        observe::log::configure(tracer.format, tracer.level, shard.id.0);
    }
    let lookups = Rc::new(ShardLookups::new(active.config.lookups.clone(), shard.memory.clone()));
    shard.scheduler.borrow_mut().reload(Rc::new(active.config.scheduler.clone()));
    *shard.ways.borrow_mut() = Ways::new(active.config.clone());
    *shard.in_force.borrow_mut() = InForce { active, lookups };
    doors.reload(shard, opened, &closed);
    shard.work.ring();
}
