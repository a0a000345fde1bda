//! The scheduler: from due to attempt.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;
use smallvec::SmallVec;

use super::complete::Completion;
use super::lane::{Health, LaneSpec, LaneState, Plan};
use super::schedule::jitter;
use super::settings::Settings;
use crate::base::limits::{
    CANDIDATES_PER_CALL, LANE_DEFERRALS_PER_TURN, LANE_MEMORY, LANES_FORGOTTEN_PER_CALL, LANES_MAX, LENT_BYTES_MAX,
};
use crate::base::{MessageId, Monotonic, Now, ShardId};
use crate::limits::{Ask, KeyMaker, Limit, LimitKey, Limits, Patience, Permit, Recall, Request, Ticket, Verdict};
use crate::mail::{Diagnostic, Outcome};
use crate::queue::{
    Arrival, Candidate, DueMessage, FlowId, GroupId, LaneId, LaneKey, Queue, RecipientSet, Scope, WaitingFor,
};

/// An attempt under way on this shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AttemptId(pub(super) usize);

/// One transaction to be tried: all its limits are taken.
#[derive(Debug, Clone)]
pub struct Attempt<C> {
    /// Names it in [`Scheduler::complete`].
    pub id: AttemptId,
    /// The lane.
    pub lane: Rc<LaneSpec>,
    /// What was placed.
    pub plan: Rc<Plan>,
    /// The message.
    pub message: MessageId,
    /// The recipients to be tried.
    pub recipients: RecipientSet,
    /// Attempts made before this one.
    pub attempts: u32,
    /// The content, if it is still in memory.
    pub content: Option<C>,
    /// The lane has an idle connection, and this attempt counts on it: a new one must not be opened beside it.
    pub reuse: bool,
    /// The other shard on which that connection is: the attempt is to be lent to it.
    pub away: Option<ShardId>,
}

/// An idle connection that is to be closed, and reported closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Its lane.
    pub lane: Rc<LaneSpec>,
    /// The other shard that has it.
    pub away: Option<ShardId>,
}

/// Where recipients of a due message go.
#[derive(Debug, Clone)]
pub enum Destination {
    /// Into a lane.
    Lane(Rc<LaneSpec>),
    /// Nowhere: evaluating the route gave an outcome (null MX, no route, a name that does not resolve).
    Outcome(Box<Outcome>),
}

/// Recipients of one due group that have the same result.
#[derive(Debug, Clone)]
pub struct Routed {
    /// Their group.
    pub group: GroupId,
    /// Which of its recipients.
    pub recipients: RecipientSet,
    /// Their schedule and limits.
    pub plan: Rc<Plan>,
    /// Where they go.
    pub to: Destination,
    /// What the record says about the last attempt; goes into the report if they have expired.
    pub last: Option<Diagnostic>,
}

/// Why no attempts are made at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Outcomes could not be recorded.
    SpoolSick,
    /// An operator stopped the queue.
    Operator,
    /// The process is shutting down.
    Shutdown,
}

pub(super) struct InFlight {
    pub group: GroupId,
    pub lane: LaneId,
    pub permit: Permit,
    pub connection: Permit,
    pub plan: Rc<Plan>,
    pub lent: Option<ShardId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Flow(FlowId),
    Lane(LaneId),
}

/// The queue of one shard with everything that decides when. `C` is the content that is retained for a while.
pub struct Scheduler<C> {
    pub(super) queue: Queue<C, Plan>,
    pub(super) keys: KeyMaker,
    pub(super) settings: Rc<Settings>,
    pub(super) lanes: Vec<Option<LaneState>>,
    pub(super) in_flight: Slab<InFlight>,
    pub(super) timers: BTreeSet<(Monotonic, Timer)>,
    pub(super) unrecorded: VecDeque<Completion>,
    pub(super) paused: Option<Pause>,
    preferred: VecDeque<FlowId>,
    resting: VecDeque<LaneId>,
    connections: HashMap<LimitKey, LaneId, FixedState>,
    closings: Vec<Closing>,
    given_back: Vec<C>,
    hand: usize,
    plans: HashMap<CompactString, Rc<Plan>, FixedState>,
}

impl<C: Clone> Scheduler<C> {
    /// A scheduler with an empty queue. `seed` is random per process; `keys` are the same on all shards.
    pub fn new(settings: Rc<Settings>, keys: KeyMaker, seed: u64) -> Scheduler<C> {
        Scheduler {
            queue: Queue::new(seed),
            keys,
            settings,
            lanes: Vec::new(),
            in_flight: Slab::new(),
            timers: BTreeSet::new(),
            unrecorded: VecDeque::new(),
            paused: None,
            preferred: VecDeque::new(),
            resting: VecDeque::new(),
            connections: HashMap::with_hasher(FixedState::with_seed(seed)),
            closings: Vec::new(),
            given_back: Vec::new(),
            hand: 0,
            plans: HashMap::default(),
        }
    }

    /// The queue, to look at.
    pub fn queue(&self) -> &Queue<C, Plan> {
        &self.queue
    }

    /// Takes a new configuration; what is ready keeps its lane and plan until it is due again.
    pub fn reload(&mut self, settings: Rc<Settings>) {
        self.settings = settings;
        self.plans.clear();
    }

    /// The plan of schedule `id` for what has no limits of its own; shared. An id that is not configured stands for
    /// the default schedule, so that mail which was queued under one that is gone still leaves.
    pub fn plan(&mut self, id: &str) -> Rc<Plan> {
        if let Some(plan) = self.plans.get(id) {
            return plan.clone();
        }
        let schedule = self.settings.schedules.get(id).cloned().unwrap_or_default();
        let plan = Rc::new(Plan::new(Rc::new(schedule), Vec::new()));
        if self.settings.schedules.contains_key(id) {
            self.plans.insert(id.into(), plan.clone()); // bounded by the configuration
        }
        plan
    }

    /// Connections that a lane of a virtual queue may have, as configured: for [`LaneSpec::connections_max`].
    pub fn connections_max(&self, queue: &str) -> u32 {
        self.settings.queues.get(queue).copied().unwrap_or_default().lane_connections_max.max(1)
    }

    /// Stops all attempts, or lets them go on. What is under way ends.
    pub fn pause(&mut self, why: Option<Pause>) {
        self.paused = why;
    }

    /// Enters a committed message; `false` for one that is there already.
    pub fn insert(&mut self, arrival: Arrival<'_, C>, now: Now) -> bool {
        self.queue.insert(arrival, now)
    }

    /// Holds a message.
    pub fn hold(&mut self, id: MessageId) -> bool {
        self.leaving_lanes(id, |queue| queue.hold(id))
    }

    /// Ends the hold of a message.
    pub fn release(&mut self, id: MessageId, now: Now) -> bool {
        self.queue.release(id, now)
    }

    /// Makes due now what is put off; says how many groups.
    pub fn retry(&mut self, id: MessageId, now: Now) -> usize {
        self.leaving_lanes(id, |queue| queue.retry(id, now))
    }

    /// Does something to a message that may take it out of its lanes, and forgets those that it leaves empty.
    pub(super) fn leaving_lanes<T>(&mut self, id: MessageId, act: impl FnOnce(&mut Queue<C, Plan>) -> T) -> T {
        let lanes: SmallVec<[LaneId; 8]> =
            self.queue.groups_of(id).filter_map(|group| self.queue.readiness(group)).map(|(lane, _)| lane).collect();
        let result = act(&mut self.queue);
        lanes.into_iter().for_each(|lane| self.drop_lane_if_idle(lane));
        result
    }

    /// Ends the rest of every lane that rests: an operator says that its next hop is back. One attempt decides.
    pub fn end_rests(&mut self, now: Now) {
        for at in 0..self.lanes.len() {
            let lane = LaneId(at as u32);
            let Some(state) = self.lane_state(lane).filter(|state| matches!(state.health, Health::Rests(_))) else {
                continue;
            };
            state.health = Health::Rests(now.mono);
            self.lane_timer(lane, now);
        }
    }

    /// Lets go of the content of a message: the caller's window is full.
    pub fn drop_content(&mut self, id: MessageId) -> Option<C> {
        self.queue.drop_content(id)
    }

    /// Does what the time asks for; `false` when there is more to do at once. `random` spreads what is put off.
    pub fn turn(&mut self, random: u64, now: Now) -> bool {
        while let Some(&(at, timer)) = self.timers.first()
            && at <= now.mono
        {
            self.timers.pop_first();
            match timer {
                Timer::Flow(flow) => self.wake_flow(flow),
                Timer::Lane(lane) => self.lane_timer(lane, now),
            }
        }
        self.put_off_resting(random, now);
        self.queue.turn(now) && self.resting.is_empty()
    }

    /// When [`Scheduler::turn`] has something to do next.
    pub fn next_deadline(&self, now: Now) -> Monotonic {
        if !self.resting.is_empty() {
            return now.mono;
        }
        let timer = self.timers.first().map_or(Monotonic::FAR, |&(at, _)| at);
        timer.min(self.queue.next_deadline(now))
    }

    /// Hands out the next due message, to be routed. Each must be given back by [`Scheduler::route`].
    pub fn next_due(&mut self, now: Now) -> Option<DueMessage<C>> {
        if self.paused.is_some() {
            return None;
        }
        if self.queue.lane_count() >= LANES_MAX {
            self.forget_idle_lanes();
        }
        self.queue.next_due(now)
    }

    /// Forgets the trouble of some lanes in which nothing is going on: too many next hops fail to remember them all.
    fn forget_idle_lanes(&mut self) {
        for _ in 0..LANES_FORGOTTEN_PER_CALL.min(self.lanes.len()) {
            self.hand = (self.hand + 1) % self.lanes.len();
            let lane = LaneId(self.hand as u32);
            if self.queue.ready_in(lane) == 0
                && let Some(state) = self.lane_state(lane)
            {
                state.failures = 0;
                self.drop_lane_if_idle(lane);
            }
        }
    }

    /// A ticket that [`Limits`] woke.
    pub fn wake(&mut self, ticket: Ticket) {
        if let Some(flow) = ticket.as_outbound() {
            self.wake_flow(FlowId(flow as u32));
        }
    }

    pub(super) fn wake_flow(&mut self, flow: FlowId) {
        if self.queue.wake(flow) {
            self.preferred.push_back(flow);
        }
    }

    /// What [`Limits`] wants back: a connection under that key is to be closed, an idle one at once, or the first
    /// that ends its message when nothing goes before those who wait.
    pub fn recall(&mut self, recall: Recall) {
        let Some(&lane) = self.connections.get(&recall.key) else { return };
        match self.lane_state(lane) {
            Some(state) if state.idle.is_empty() && state.in_flight > 0 => {
                state.recalled = Some(state.recalled.map_or(recall.rank, |best| best.min(recall.rank)));
            }
            Some(state) if !state.idle.is_empty() => self.close_one(lane),
            _ => {}
        }
    }

    /// One idle connection of the lane is to be closed.
    pub(super) fn close_one(&mut self, lane: LaneId) {
        if let Some(state) = self.lanes.get(lane.0 as usize).and_then(Option::as_ref) {
            let away = state.idle_for(true).and_then(|at| state.idle[at].away);
            self.closings.push(Closing { lane: state.spec.clone(), away });
        }
    }

    /// All idle connections that are on other shards are to be closed: nothing is lent any more.
    pub fn close_away(&mut self) {
        for state in self.lanes.iter().flatten() {
            let away = state.idle.iter().filter(|idle| idle.away.is_some());
            self.closings.extend(away.map(|idle| Closing { lane: state.spec.clone(), away: idle.away }));
        }
    }

    /// Content of messages that were put off with their lane: until they are due they take no memory.
    pub fn given_back(&mut self) -> std::vec::Drain<'_, C> {
        self.given_back.drain(..)
    }

    /// Takes the idle connections that are to be closed.
    pub fn closings(&mut self) -> std::vec::Drain<'_, Closing> {
        self.closings.drain(..)
    }

    /// An idle connection of a lane was closed, here or on another shard.
    pub fn connection_closed(&mut self, lane: &LaneKey, away: Option<ShardId>, limits: &mut Limits, now: Now) {
        let Some(id) = self.queue.find_lane(lane) else { return };
        if let Some(state) = self.lane_state(id)
            && let Some(at) = state.idle.iter().rposition(|idle| idle.away == away)
        {
            let closed = state.idle.swap_remove(at);
            limits.release(closed.permit, now.mono);
        }
        self.drop_lane_if_idle(id);
    }

    /// The next attempt, with all its limits taken, if there is one.
    pub fn next_attempt(&mut self, limits: &mut Limits, now: Now) -> Option<Attempt<C>> {
        if self.paused.is_some() {
            return None;
        }
        for _ in 0..CANDIDATES_PER_CALL {
            let candidate = self.next_candidate()?;
            match self.try_candidate(&candidate, limits, now) {
                Ok(attempt) => return Some(attempt),
                Err(why) => {
                    if let Some(until) = why.until {
                        self.timers.insert((until, Timer::Flow(candidate.flow)));
                    }
                    self.queue.stop(candidate.flow, why);
                }
            }
        }
        None
    }

    /// Something is ready and nothing is known to keep it.
    pub fn has_candidate(&self) -> bool {
        self.paused.is_none() && self.queue.candidate().is_some()
    }

    fn next_candidate(&mut self) -> Option<Candidate> {
        while let Some(flow) = self.preferred.pop_front() {
            if let Some(candidate) = self.queue.candidate_of(flow) {
                return Some(candidate);
            }
        }
        self.queue.candidate()
    }

    fn try_candidate(
        &mut self,
        candidate: &Candidate,
        limits: &mut Limits,
        now: Now,
    ) -> Result<Attempt<C>, WaitingFor> {
        let view = self.queue.view(candidate.group).expect("what is ready is there");
        let plan = view.plan.cloned().expect("what is ready has a plan");
        let may_leave = view.size_bytes <= LENT_BYTES_MAX;
        let want = self.queue.ready_in(candidate.lane).min(8) as u32;
        let state = self.lane_state(candidate.lane).expect("a lane with something ready has a state");
        let idle = state.idle_for(may_leave);
        let (reuse, is_blocked) = (idle.is_some(), idle.is_none() && !state.idle.is_empty());
        let mut asks: SmallVec<[Ask; 8]> = SmallVec::new();
        asks.extend(state.asks.iter().enumerate().filter(|&(i, _)| !(reuse && i == 1)).map(|(_, ask)| *ask));
        let own = asks.len();
        asks.extend(plan.limits.iter().map(|limit| limit.ask));
        let ticket = Ticket::outbound(u64::from(candidate.flow.0));
        let request = Request {
            asks: &asks,
            ticket,
            since: candidate.since,
            priority: candidate.priority,
            want,
            patience: Patience::Queue,
        };
        let (ask, until) = match limits.acquire(&request, now.mono) {
            Verdict::Granted(permit) => return Ok(self.start(candidate, plan, permit, idle, now)),
            Verdict::Wait { ask, until } => (ask, until),
            Verdict::Refused { ask, until } => (ask, Some(until.unwrap_or(now.mono + Duration::from_secs(1)))),
        };
        if is_blocked && ask == 1 {
            self.close_one(candidate.lane); // what idles elsewhere is of no use to a message that stays here
        }
        let scope = match ask {
            0 => Scope::Queue,
            ask if ask < own => Scope::Lane,
            _ => Scope::Flow,
        };
        // Counted as if the connection had been asked for, so that `why` finds the name.
        let limit = if reuse && ask > 0 { ask + 1 } else { ask };
        Err(WaitingFor { scope, limit, until })
    }

    fn start(
        &mut self,
        candidate: &Candidate,
        plan: Rc<Plan>,
        mut permit: Permit,
        idle: Option<usize>,
        now: Now,
    ) -> Attempt<C> {
        let state = self.lane_state(candidate.lane).expect("a lane with something ready has a state");
        let idle = idle.map(|at| state.idle.remove(at));
        let (reuse, away) = (idle.is_some(), idle.as_ref().and_then(|idle| idle.away));
        let connection = idle.map_or_else(|| permit.split(state.asks[1].key), |idle| idle.permit);
        state.in_flight += 1;
        let (spec, recipients_max, probes) = (state.spec.clone(), state.recipients_max, state.health == Health::Probes);
        let group = self.queue.take(candidate, recipients_max, now);
        if probes {
            self.queue.back_off(candidate.lane, true); // one at a time until it works
        }
        let flight = InFlight { group, lane: candidate.lane, permit, connection, plan: plan.clone(), lent: None };
        let id = AttemptId(self.in_flight.insert(flight));
        let view = self.queue.view(group).expect("just taken");
        Attempt {
            id,
            lane: spec,
            plan,
            message: view.message,
            recipients: view.recipients.clone(),
            attempts: view.attempts,
            content: self.queue.content(group).cloned(),
            reuse,
            away,
        }
    }

    /// An attempt under way is made by another shard, or is back here.
    pub fn lend(&mut self, attempt: AttemptId, to: Option<ShardId>) {
        if let Some(flight) = self.in_flight.get_mut(attempt.0) {
            flight.lent = to;
        }
    }

    pub(super) fn lane_state(&mut self, lane: LaneId) -> Option<&mut LaneState> {
        self.lanes.get_mut(lane.0 as usize)?.as_mut()
    }

    /// The lane of `spec`, with its limits as they are configured now.
    pub(super) fn enter_lane(&mut self, spec: &Rc<LaneSpec>) -> LaneId {
        let lane = self.queue.lane(&spec.key);
        let at = lane.0 as usize;
        if self.lanes.len() <= at {
            self.lanes.resize_with(at + 1, || None);
        }
        match &mut self.lanes[at] {
            Some(state) if Rc::ptr_eq(&state.spec, spec) || state.spec == *spec => {}
            slot => {
                let asks = lane_asks(&self.keys, &self.settings, spec);
                self.connections.insert(asks[1].key, lane);
                match slot {
                    Some(state) => (state.spec, state.asks) = (spec.clone(), asks),
                    None => *slot = Some(LaneState::new(spec.clone(), asks)),
                }
            }
        }
        lane
    }

    pub(super) fn drop_lane_if_idle(&mut self, lane: LaneId) {
        if self.queue.ready_in(lane) > 0 {
            return;
        }
        let Some(slot) = self.lanes.get_mut(lane.0 as usize) else { return };
        let idle = slot.as_ref().is_some_and(|s| s.in_flight == 0 && s.idle.is_empty() && s.failures == 0);
        if idle && let Some(state) = slot.take() {
            self.connections.remove(&state.asks[1].key);
            self.queue.drop_lane(lane);
        }
    }

    /// A lane's next hop failed: it rests, and what is ready in it is put off.
    pub(super) fn rest(&mut self, lane: LaneId, span: Duration, now: Now) {
        let until = now.mono + span;
        if let Some(state) = self.lane_state(lane) {
            state.health = Health::Rests(until);
            state.forget_at = None;
        }
        self.queue.back_off(lane, true);
        self.timers.insert((until, Timer::Lane(lane)));
        self.resting.push_back(lane);
    }

    fn lane_timer(&mut self, lane: LaneId, now: Now) {
        let ready = self.queue.ready_in(lane);
        let Some(state) = self.lane_state(lane) else { return };
        match (state.health, state.forget_at) {
            (Health::Rests(until), _) if until <= now.mono => {
                state.health = Health::Probes;
                self.queue.back_off(lane, false);
                self.remember(lane, now);
            }
            (Health::Probes | Health::Runs, Some(at)) if at <= now.mono => {
                if ready > 0 || state.in_flight > 0 {
                    return self.remember(lane, now); // its next attempt decides
                }
                state.failures = 0;
                state.forget_at = None;
                state.health = Health::Runs;
                self.drop_lane_if_idle(lane);
            }
            _ => {} // a later rest has its own timer
        }
    }

    /// Remembers the trouble of a lane for a while.
    pub(super) fn remember(&mut self, lane: LaneId, now: Now) {
        let at = now.mono + LANE_MEMORY;
        if let Some(state) = self.lane_state(lane) {
            state.forget_at = Some(at);
            self.timers.insert((at, Timer::Lane(lane)));
        }
    }

    /// Puts off what is ready in lanes that rest, a bounded number per turn.
    fn put_off_resting(&mut self, random: u64, now: Now) {
        let mut budget = LANE_DEFERRALS_PER_TURN;
        while let Some(&lane) = self.resting.front() {
            let until = match self.lane_state(lane).map(|state| state.health) {
                Some(Health::Rests(until)) if until > now.mono => until,
                _ => {
                    self.resting.pop_front();
                    continue;
                }
            };
            while budget > 0 {
                let Some(group) = self.queue.take_from_lane(lane, now) else { break };
                budget -= 1;
                let spread = random.wrapping_add(budget as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                self.put_off_until(group, until, spread, now);
            }
            if budget == 0 {
                return;
            }
            self.resting.pop_front();
        }
    }

    /// Puts a group off with its lane, and a little beyond, so that not all come at once. The lane was tried for it.
    pub(super) fn put_off_until(&mut self, group: GroupId, until: Monotonic, random: u64, now: Now) {
        let due = until + jitter(until.since(now.mono) / 4 + Duration::from_secs(1), random);
        self.queue.note_attempt(group);
        self.given_back.extend(self.queue.take_content(group));
        self.queue.put_off(group, i64::try_from(due.0).unwrap_or(i64::MAX), now);
    }
}

/// The virtual queue's limit, the lane's connections, and what else its spec names, broadest first.
fn lane_asks(keys: &KeyMaker, settings: &Settings, spec: &LaneSpec) -> Vec<Ask> {
    let key = &spec.key;
    let threads = settings.queues.get(&key.queue).copied().unwrap_or_default().attempts_max;
    let queue = Ask { key: keys.limit("queue.virtual").text(&key.queue).finish(), limit: Limit::Concurrency(threads) };
    let mut lane = keys.limit("lane").text(&key.queue).text(&key.next_hop).text(&key.tls);
    if let Some(source) = key.source {
        lane = lane.address(source);
    }
    let connections = Ask { key: lane.finish(), limit: Limit::Concurrency(spec.connections_max.max(1)) };
    [queue, connections].into_iter().chain(spec.limits.iter().map(|limit| limit.ask)).collect()
}
