//! What one shard owns: everything is here once, and nothing of it leaves the thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use posthaste_rt::clock;
use posthaste_rt::mesh::Outbox;
use posthaste_rt::sync::Bell;

use super::message::{Active, Message};
use super::routing::Ways;
use crate::base::{MessageId, Monotonic, Now, ShardId, WallTime};
use crate::delivery::{Delivery, Random};
use crate::dns::Resolver;
use crate::limits::Limits;
use crate::lookup::{Memory, ShardLookups};
use crate::observe::log::{self, Level};
use crate::observe::{self, Counter, Event};
use crate::queue::LaneKey;
use crate::scheduler::Scheduler;
use crate::spool::{self, Damage, ReadError, Spool};

/// Content of queued mail that a shard keeps in memory for the first attempt.
const RETAINED_BYTES_MAX: u64 = 64 << 20;

/// One core's stages.
pub struct Shard {
    /// Which.
    pub id: ShardId,
    /// Accepted mail.
    pub spool: Spool,
    /// When and in which order.
    pub scheduler: RefCell<Scheduler<Rc<spool::Message>>>,
    /// Leases of limits.
    pub limits: RefCell<Limits>,
    /// Where mail goes.
    pub ways: RefCell<Ways>,
    /// How it goes.
    pub delivery: Delivery,
    /// Attempts that others make for this shard, and this one for others.
    pub lending: super::lending::Lending,
    /// Names.
    pub resolver: Resolver,
    /// Rung when the scheduler may have something to do.
    pub work: Bell,
    /// Content that is kept for the first attempt.
    pub retained: Retained,
    /// Sessions that wait for a limit's owner.
    pub inbound_waiters: super::inbound::Waiters,
    /// Records being read for routing.
    pub reads_under_way: Cell<usize>,
    /// Who is told of events, and whom those are about.
    pub told: super::shipping::Told,
    /// The spool was sick when it was last looked at.
    pub is_sick: Cell<bool>,
    pub(super) others: Vec<Option<Outbox<Message>>>,
    pub(super) memory: Rc<Memory>,
    pub(super) in_force: RefCell<InForce>,
    pub(super) random: RefCell<Random>,
}

/// The configuration in force on this shard, with what the shard made from it.
pub struct InForce {
    /// For all shards.
    pub active: Arc<Active>,
    /// Directories and lists, with this shard's counters.
    pub lookups: Rc<ShardLookups>,
}

impl Shard {
    /// Both clocks, read now.
    pub fn now(&self) -> Now {
        Now { mono: Monotonic(clock::now()), wall: WallTime(clock::wall_ms()) }
    }

    /// The configuration in force; a transaction or an attempt keeps its own to its end.
    pub fn active(&self) -> Arc<Active> {
        self.in_force.borrow().active.clone()
    }

    /// The directories and lists in force.
    pub fn lookups(&self) -> Rc<ShardLookups> {
        self.in_force.borrow().lookups.clone()
    }

    /// A random number, for spreading.
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// Sends what the limits have for other shards.
    pub fn send_limits(&self) {
        let mut limits = self.limits.borrow_mut();
        if !limits.has_outgoing() {
            return;
        }
        for (to, items) in limits.outbox() {
            if let Some(Some(outbox)) = self.others.get(usize::from(to.0)) {
                observe::count(Counter::MeshMessages);
                let _ = outbox.send(Message::Limits(self.id, items)); // a shard that is gone holds no lease
            }
        }
    }

    /// An idle connection of a lane was closed, here or on another shard: its place is free.
    pub fn connection_closed(&self, lane: &LaneKey, away: Option<ShardId>) {
        let now = self.now();
        self.scheduler.borrow_mut().connection_closed(lane, away, &mut self.limits.borrow_mut(), now);
        self.send_limits();
    }

    /// A message could not be read back. What is damaged is held: it is damaged at the next attempt as well, and the
    /// operator finds it in the queue and may remove it. The spool says where it is damaged, once.
    pub fn unreadable(&self, id: MessageId, error: &ReadError) {
        match error {
            ReadError::NotFound(_) => {} // finished meanwhile
            ReadError::Damaged(_) => {
                self.scheduler.borrow_mut().hold(id);
            }
            ReadError::Io(..) => log::event(self.now().wall, Level::Error, Event::SpoolUnreadable, |line| {
                line.show("id", id).show("reason", error);
            }),
        }
    }

    /// Counts and tells a damaged place.
    pub(super) fn damaged(&self, damage: &Damage) {
        observe::count(Counter::SpoolQuarantined);
        log::event(self.now().wall, Level::Error, Event::SpoolQuarantine, |line| {
            if let Some(id) = damage.message {
                line.show("id", id);
            }
            line.show("what", damage);
        });
    }

    /// Keeps content for the first attempt while there is room; the oldest goes first.
    pub fn retain(&self, id: MessageId, size_bytes: u64) {
        self.retained.enter(id, size_bytes);
        while let Some((id, size)) = self.retained.oldest_over(RETAINED_BYTES_MAX) {
            if self.scheduler.borrow_mut().drop_content(id).is_some() {
                self.retained.release(size);
            }
        }
    }
}

/// How much content is kept in memory, and whose.
#[derive(Default)]
pub struct Retained {
    bytes: Cell<u64>,
    order: RefCell<VecDeque<(MessageId, u64)>>,
}

/// Entries of messages that are done, before the list is looked through.
const STALE_MAX: usize = 65_536;

impl Retained {
    fn enter(&self, id: MessageId, size: u64) {
        self.bytes.set(self.bytes.get() + size);
        let mut order = self.order.borrow_mut();
        order.push_back((id, size));
        if order.len() > STALE_MAX {
            order.pop_front(); // done long ago, or it stays until it is done
        }
    }

    /// Content of that size is gone.
    pub fn release(&self, size: u64) {
        self.bytes.set(self.bytes.get().saturating_sub(size));
    }

    fn oldest_over(&self, most: u64) -> Option<(MessageId, u64)> {
        if self.bytes.get() <= most {
            return None;
        }
        self.order.borrow_mut().pop_front()
    }
}
