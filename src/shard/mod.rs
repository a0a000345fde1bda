//! One core's stages, built and joined; and the closed set of messages between shards.
//!
//! ```text
//!   listeners -> sessions -> spool.commit -> observer -> scheduler -> outbound -> delivery
//!                                 ^                                       |
//!                                 +------------ recording <---------------+
//!   inbox: leases, sockets, questions, configuration, stop
//! ```
//!
//! Takes a [`Plan`]; runs until it is told to stop. Invariants: everything a shard owns stays on its thread; a
//! record is committed before the index changes; what is committed is queued, by the spool's observer, even when its
//! 250 never left. Must never be added: logic that a stage could own.

pub mod arrival;
pub mod balance;
pub mod claims;
mod doors;
pub mod frame;
mod inbound;
mod inbox;
mod lending;
mod message;
mod operator;
mod outbound;
pub mod query;
mod recording;
mod recovery;
mod routing;
mod shipping;
mod state;
mod tick;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use posthaste_rt::bridge::ControlHandle;
use posthaste_rt::mesh::{Address, Outbox, Receiver};
use posthaste_rt::sync::{Bell, Switch};
use posthaste_rt::{clock, task, time};

pub use message::{Active, Handover, Message, Opened, Update};

use crate::base::ShardId;
use crate::delivery::{Delivery, Random};
use crate::dns::{Resolver, Upstream};
use crate::events;
use crate::limits::{KeyMaker, Limits};
use crate::lookup::{Memory, ShardLookups};
use crate::observe::log::{self, Level};
use crate::observe::writer::LogSender;
use crate::observe::{self, Event};
use crate::scheduler::{Pause, Scheduler};
use crate::spool::{self, Disk, Durability, Record, Spool};
use crate::tls::client::ClientTls;
use doors::Doors;
use lending::Lending;
use routing::Ways;
use state::{InForce, Retained, Shard};

/// Answers of the DNS that one shard keeps.
const DNS_CACHE_ENTRIES: usize = 16_384;
/// How long sessions may take to finish their transactions at a stop.
const SESSIONS_WITHIN: Duration = Duration::from_secs(20);
/// How long attempts may take to end at a stop; what is cut then may arrive twice.
const ATTEMPTS_WITHIN: Duration = Duration::from_secs(15);

/// What a shard is built from.
pub struct Plan {
    /// Which.
    pub id: ShardId,
    /// Of how many.
    pub shards: u16,
    /// The configuration in force.
    pub active: Arc<Active>,
    /// Its listening sockets.
    pub sockets: Vec<Opened>,
    /// Where messages for it arrive.
    pub receiver: Receiver<Message>,
    /// All shards, itself included.
    pub addresses: Vec<Address<Message>>,
    /// The control plane.
    pub control: ControlHandle,
    /// The DNS behind the caches.
    pub dns: Arc<Upstream>,
    /// Trust anchors for next hops.
    pub client_tls: ClientTls,
    /// Names limits: the same on all shards.
    pub keys: KeyMaker,
    /// Random, another one for each shard.
    pub seed: u64,
    /// Where log lines go.
    pub log: LogSender,
    /// Who is told of events, and where they go.
    pub events: Vec<(events::Settings, events::Sink)>,
}

/// Runs one shard until it is told to stop.
///
/// # Errors
/// The spool cannot be opened, in words.
pub async fn run(plan: Plan) -> Result<(), String> {
    let config = plan.active.config.clone();
    if let Some(tracer) = config.observe.tracers.iter().find(|tracer| tracer.enable) {
        observe::log::configure(tracer.format, tracer.level, plan.id.0);
    }
    let opened = Spool::open(Disk, config.spool.clone(), plan.id, plan.shards).await;
    let (spool, recovery) = opened.map_err(|error| format!("shard {}: spool: {error}", plan.id))?;
    let shard = build(&plan, spool);
    observe_commits(&shard);
    observe_closed_connections(&shard);
    observe::gauge_set(observe::Gauge::RecoveryPending, 1); // until all of it is in the queue, whoever asks before that
    let stopped = Switch::default();
    task::spawn_critical(recovery::run(shard.clone(), recovery));
    shipping::start(&shard, plan.events);
    task::spawn_critical(outbound::run(shard.clone(), stopped.clone()));
    let doors = Rc::new(Doors::open(&shard, plan.shards, plan.keys.clone(), plan.sockets));
    task::spawn_critical(tick::run(shard.clone(), doors.clone(), plan.log.clone(), stopped.clone()));
    let mut receiver = plan.receiver;
    inbox::run(&shard, &doors, &mut receiver).await;
    shard.lending.close();
    shard.scheduler.borrow_mut().close_away();
    shard.work.ring();
    listen_on(&shard, &doors, receiver);
    stop(shard, &doors, stopped).await;
    tick::flush_all(&plan.log);
    Ok(())
}

fn build(plan: &Plan, spool: Spool) -> Rc<Shard> {
    let config = &plan.active.config;
    let resolver = Resolver::new(plan.dns.clone(), DNS_CACHE_ENTRIES);
    let mut random = Random::new(plan.seed);
    let delivery = Delivery::new(
        &config.server.hostname,
        resolver.clone(),
        plan.client_tls.clone(),
        plan.control.clone(),
        random.next_u64(),
    );
    let others = plan.addresses.iter().enumerate();
    let others =
        others.map(|(i, address)| (i != usize::from(plan.id.0)).then(|| Outbox::new(address.clone()))).collect();
    let memory = Rc::new(Memory::default());
    let lookups = Rc::new(ShardLookups::new(config.lookups.clone(), memory.clone()));
    Rc::new(Shard {
        id: plan.id,
        spool,
        scheduler: RefCell::new(Scheduler::new(
            Rc::new(config.scheduler.clone()),
            plan.keys.clone(),
            random.next_u64(),
        )),
        limits: RefCell::new(Limits::new(plan.id, plan.shards)),
        ways: RefCell::new(Ways::new(config.clone())),
        delivery,
        resolver,
        lending: Lending::new(plan.id, plan.shards, plan.addresses[usize::from(plan.id.0)].clone()),
        work: Bell::default(),
        retained: Retained::default(),
        inbound_waiters: inbound::Waiters::default(),
        reads_under_way: Cell::new(0),
        told: shipping::Told::new(plan.events.len()),
        is_sick: Cell::new(false),
        others,
        memory,
        in_force: RefCell::new(InForce { active: plan.active.clone(), lookups }),
        random: RefCell::new(random),
    })
}

/// What is committed is queued, also when nobody waits for its 250 any more.
fn observe_commits(shard: &Rc<Shard>) {
    let weak = Rc::downgrade(shard);
    shard.spool.set_observer(Rc::new(move |record| {
        let (Some(shard), Record::Message(message)) = (weak.upgrade(), record) else { return };
        enter(&shard, message);
    }));
}

/// An idle connection that was closed for waiting too long frees its place in the lane.
fn observe_closed_connections(shard: &Rc<Shard>) {
    let weak = Rc::downgrade(shard);
    shard.delivery.on_idle_closed(move |lane| {
        if let Some(shard) = weak.upgrade() {
            shard.connection_closed(lane, None);
            shard.work.ring();
        }
    });
}

/// Enters a message that was just committed into the queue.
fn enter(shard: &Rc<Shard>, message: &Rc<spool::Message>) {
    let recipients = message.envelope.recipients.len();
    observe::add(observe::Counter::QueueEntered, recipients as u64);
    shard.lending.entered(recipients as u64);
    let is_new = arrival::of_message(message, |one| shard.scheduler.borrow_mut().insert(one, shard.now()));
    if is_new {
        observe::gauge_add(observe::Gauge::QueueRecipients, recipients as i64);
        shard.retain(message.id, message.size_bytes());
    }
    shard.work.ring();
}

/// What others have to say while this shard stops.
fn listen_on(shard: &Rc<Shard>, doors: &Rc<Doors>, mut receiver: Receiver<Message>) {
    let (shard, doors) = (shard.clone(), doors.clone());
    task::spawn_critical(async move { while inbox::run(&shard, &doors, &mut receiver).await {} });
}

/// Sessions finish their transactions, attempts end, everything is written.
async fn stop(shard: Rc<Shard>, doors: &Doors, stopped: Switch) {
    doors.close_all();
    let _ = time::timeout(SESSIONS_WITHIN, doors.sessions_gone()).await; // the rest is cut: nothing of it was promised
    shard.scheduler.borrow_mut().pause(Some(Pause::Shutdown));
    let end = clock::now() + ATTEMPTS_WITHIN.as_micros() as u64;
    while shard.scheduler.borrow().attempts_under_way() + shard.lending.guests() > 0 && clock::now() < end {
        time::sleep(Duration::from_millis(5)).await;
    }
    let cut = shard.scheduler.borrow().attempts_under_way();
    observe::add(observe::Counter::ShutdownCuts, cut as u64);
    shard.delivery.close_all_idle();
    shard.lending.close_all_idle();
    write_out(&shard).await;
    shipping::finish(&shard).await;
    stopped.throw();
    shard.work.ring();
    shard.spool.clone().close().await;
}

/// What is in memory only goes to disk: mode `memory` gives up what a crash takes, not what a stop in order can keep.
async fn write_out(shard: &Shard) {
    let at = shard.now().wall;
    for message in shard.spool.in_memory_only() {
        // Not being held is no news; that there is a record about it brings the message along.
        let written = shard.spool.commit(vec![Record::Release { message, at }], Durability::Process).await;
        if let Err(error) = written {
            log::event(at, Level::Error, Event::ServerWarning, |line| {
                line.show("id", message).show("lost", error);
            });
        }
    }
}
