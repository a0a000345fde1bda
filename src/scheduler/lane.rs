//! What the scheduler knows of a lane and of a placed group.

use std::rc::Rc;

use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::time::Duration;

use super::settings::Schedule;
use crate::base::limits::{
    LANE_BACK_OFF_MAX, LANE_BACK_OFF_MIN, LANE_DOUBTS_MAX, LANE_FAILURES_MIN, TRANSACTION_RECIPIENTS_MAX,
};
use crate::base::{Monotonic, Rank, ShardId};
use crate::limits::{Ask, Permit};
use crate::mail::Diagnostic;
use crate::queue::LaneKey;

/// A limit with its name for people: `queue.limiter.outbound.2 [rcpt_domain=example.org]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedAsk {
    /// The limit.
    pub ask: Ask,
    /// Its name and key.
    pub name: Rc<str>,
}

/// A lane as the driver evaluated it. The newest that is placed with a key counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSpec {
    /// The lane.
    pub key: LaneKey,
    /// Connections that may be open in it at the same time, over all shards.
    pub connections_max: u32,
    /// Further limits that all of the lane share (by MX, by address, by source).
    pub limits: Vec<NamedAsk>,
}

/// What holds for a placed group until its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its schedule.
    pub schedule: Rc<Schedule>,
    /// Limits of its own (by sender), beyond those of the lane.
    pub limits: Vec<NamedAsk>,
    flow: u64,
}

impl Plan {
    /// A plan; share it between groups that have the same.
    pub fn new(schedule: Rc<Schedule>, limits: Vec<NamedAsk>) -> Plan {
        // What shares its limits stands in one flow, so that a short limit stops exactly those it concerns.
        let flow = limits.iter().fold(0, |flow, limit| FixedState::with_seed(flow).hash_one(limit.ask.key));
        Plan { schedule, limits, flow }
    }

    pub(super) fn flow(&self) -> u64 {
        self.flow
    }
}

/// How a next hop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// Attempts go as limits allow.
    Runs,
    /// It rests until then.
    Rests(Monotonic),
    /// Its rest is over: one attempt decides.
    Probes,
}

/// What an idle connection holds, and where it is.
pub(super) struct Idle {
    pub permit: Permit,
    /// The shard to which an attempt was lent that left it there; `None` for this shard.
    pub away: Option<ShardId>,
}

pub(super) struct LaneState {
    pub spec: Rc<LaneSpec>,
    /// The virtual queue's and the lane's limits; the second is that of connections.
    pub asks: Vec<Ask>,
    /// What idle connections hold; one each.
    pub idle: Vec<Idle>,
    pub in_flight: u32,
    /// A connection is wanted back by others who have waited thus, and none was idle: the first that ends its message
    /// goes, unless somebody here has waited longer.
    pub recalled: Option<Rank>,
    pub health: Health,
    pub failures: u32,
    /// Attempts in a row that came to nothing but words about the system behind the next hop.
    pub doubts: u32,
    pub has_worked: bool,
    pub recipients_max: usize,
    pub trouble: Option<Rc<Diagnostic>>,
    pub forget_at: Option<Monotonic>,
}

impl LaneState {
    pub fn new(spec: Rc<LaneSpec>, asks: Vec<Ask>) -> LaneState {
        LaneState {
            spec,
            asks,
            idle: Vec::new(),
            in_flight: 0,
            recalled: None,
            health: Health::Runs,
            failures: 0,
            doubts: 0,
            has_worked: false,
            recipients_max: TRANSACTION_RECIPIENTS_MAX,
            trouble: None,
            forget_at: None,
        }
    }

    /// The idle connection that the next attempt counts on: one that is here, else one on another shard, if the
    /// attempt can go there.
    pub fn idle_for(&self, may_leave: bool) -> Option<usize> {
        let here = self.idle.iter().rposition(|idle| idle.away.is_none());
        here.or_else(|| self.idle.len().checked_sub(1).filter(|_| may_leave))
    }

    /// The next hop answered.
    pub fn works(&mut self) {
        self.health = Health::Runs;
        self.failures = 0;
        self.doubts = 0;
        self.has_worked = true;
        self.trouble = None;
    }

    /// The next hop answered, but only to put recipients off for the sake of a system. Says whether that is one time
    /// too many, or fits what is known of this next hop already: then it is the next hop's own trouble.
    pub fn is_doubted_too_often(&mut self) -> bool {
        self.doubts = self.doubts.saturating_add(1);
        self.failures > 0 || self.doubts >= LANE_DOUBTS_MAX
    }

    /// The next hop failed as a whole; gives how long it is to rest, if it is. What began before it rests says
    /// nothing new.
    pub fn fails(&mut self, why: &Diagnostic) -> Option<Duration> {
        if matches!(self.health, Health::Rests(_)) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        self.trouble = Some(Rc::new(why.clone()));
        let least = if self.has_worked { LANE_FAILURES_MIN } else { 1 };
        let doublings = self.failures.checked_sub(least)?;
        Some((LANE_BACK_OFF_MIN * (1 << doublings.min(8))).min(LANE_BACK_OFF_MAX))
    }
}
