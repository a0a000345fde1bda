//! Who goes next: lanes with ready lists, by priority that ages, in turn among lanes and among tenants.
//!
//! ```text
//! virtual queue -> per priority: a ring of lanes -> of each: a ring of flows -> of each: first in, first out
//! ```
//!
//! A flow is what is treated alike inside a lane: one tenant, one priority, the same limits. The priority that goes
//! next is the one whose oldest has the best [`Rank`]; inside it lanes take turns, and inside a lane its flows do.
//! All steps cost the same however much is ready (there are at most nineteen priorities).

use std::rc::Rc;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use slab::Slab;
use smallvec::SmallVec;
use std::net::IpAddr;

use super::entry::{GroupId, Groups};
use super::ring::{Linked, Links, List, NIL, join, leave};
use crate::base::{Monotonic, Rank};

/// What recipients have in common that travel together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LaneKey {
    /// The virtual queue.
    pub queue: CompactString,
    /// The next hop: a relay's route id and address, an MX site, a domain.
    pub next_hop: CompactString,
    /// The source address, where one is chosen.
    pub source: Option<IpAddr>,
    /// The TLS strategy.
    pub tls: CompactString,
}

/// A lane; valid while anything is ready, under way or noted in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u32);

/// What is treated alike inside a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u32);

/// How much stands still when a limit is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The whole virtual queue.
    Queue,
    /// One lane.
    Lane,
    /// One flow of a lane.
    Flow,
}

/// Why the first of a flow does not go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingFor {
    /// What stands still.
    pub scope: Scope,
    /// Index of the limit that is short among those that were asked for.
    pub limit: usize,
    /// Until when, if time alone decides.
    pub until: Option<Monotonic>,
}

/// Who may go next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The group.
    pub group: GroupId,
    /// Its lane.
    pub lane: LaneId,
    /// Its flow.
    pub flow: FlowId,
    /// Since when it is ready.
    pub since: Monotonic,
    /// Its priority.
    pub priority: i8,
}

struct VirtualQueue {
    name: CompactString,
    /// Per priority that has any: the level whose turn is next.
    rings: SmallVec<[(i8, u32); 2]>,
    waiting: Option<FlowId>,
    ready: usize,
}

struct Lane {
    key: Rc<LaneKey>,
    queue: u32,
    levels: SmallVec<[u32; 1]>,
    ready: usize,
    waiting: Option<FlowId>,
    backs_off: bool,
}

impl Lane {
    fn runs(&self) -> bool {
        self.waiting.is_none() && !self.backs_off
    }
}

/// The flows of one priority in one lane.
struct Level {
    links: Links,
    lane: u32,
    priority: i8,
    /// In its virtual queue's ring: the lane runs and a flow does.
    in_ring: bool,
    flows: u32,
    flows_all: u32,
}

struct Flow {
    links: Links,
    level: u32,
    key: u64,
    ready: List,
    in_ring: bool,
    waiting: Option<WaitingFor>,
}

struct Levels(Slab<Level>);
struct Flows(Slab<Flow>);

impl Linked for Levels {
    fn links(&mut self, at: u32) -> &mut Links {
        &mut self.0[at as usize].links
    }
}

impl Linked for Flows {
    fn links(&mut self, at: u32) -> &mut Links {
        &mut self.0[at as usize].links
    }
}

pub(super) struct Lanes {
    queues: Vec<VirtualQueue>,
    turn: usize,
    lanes: Slab<Lane>,
    by_key: HashMap<Rc<LaneKey>, u32, FixedState>,
    levels: Levels,
    flows: Flows,
    by_flow: HashMap<(u32, u64), u32, FixedState>,
}

impl Lanes {
    pub fn new(seed: u64) -> Lanes {
        Lanes {
            queues: Vec::new(),
            turn: 0,
            lanes: Slab::new(),
            by_key: HashMap::with_hasher(FixedState::with_seed(seed)),
            levels: Levels(Slab::new()),
            flows: Flows(Slab::new()),
            by_flow: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    pub fn ready(&self) -> usize {
        self.queues.iter().map(|q| q.ready).sum()
    }

    pub fn ready_in(&self, lane: LaneId) -> usize {
        self.lanes.get(lane.0 as usize).map_or(0, |lane| lane.ready)
    }

    pub fn key(&self, lane: LaneId) -> &Rc<LaneKey> {
        &self.lanes[lane.0 as usize].key
    }

    pub fn find(&self, key: &LaneKey) -> Option<LaneId> {
        self.by_key.get(key).map(|&at| LaneId(at))
    }

    pub fn iter(&self) -> impl Iterator<Item = (LaneId, &Rc<LaneKey>, usize)> {
        self.lanes.iter().map(|(at, lane)| (LaneId(at as u32), &lane.key, lane.ready))
    }

    pub fn lane(&mut self, key: &LaneKey) -> LaneId {
        if let Some(lane) = self.find(key) {
            return lane;
        }
        let queue = match self.queues.iter().position(|q| q.name == key.queue) {
            Some(at) => at,
            None => {
                let name = key.queue.clone();
                self.queues.push(VirtualQueue { name, rings: SmallVec::new(), waiting: None, ready: 0 });
                self.queues.len() - 1
            }
        };
        let key = Rc::new(key.clone());
        let lane = Lane {
            key: key.clone(),
            queue: queue as u32,
            levels: SmallVec::new(),
            ready: 0,
            waiting: None,
            backs_off: false,
        };
        let at = self.lanes.insert(lane) as u32;
        self.by_key.insert(key, at);
        LaneId(at)
    }

    /// Forgets a lane in which nothing is ready.
    pub fn drop_lane(&mut self, lane: LaneId) {
        if let Some(gone) = self.lanes.try_remove(lane.0 as usize) {
            debug_assert!(gone.ready == 0 && gone.levels.is_empty());
            self.by_key.remove(&gone.key);
        }
    }

    fn level(&mut self, lane: u32, priority: i8) -> u32 {
        let found =
            self.lanes[lane as usize].levels.iter().copied().find(|&l| self.levels.0[l as usize].priority == priority);
        found.unwrap_or_else(|| {
            let level = Level { links: Links::default(), lane, priority, in_ring: false, flows: NIL, flows_all: 0 };
            let at = self.levels.0.insert(level) as u32;
            self.lanes[lane as usize].levels.push(at);
            at
        })
    }

    /// Makes a group ready at the end of its flow, or at the front of it.
    pub fn push<P>(
        &mut self,
        groups: &mut Groups<P>,
        group: u32,
        lane: LaneId,
        priority: i8,
        key: u64,
        front: bool,
    ) -> u32 {
        let level = self.level(lane.0, priority);
        let flow = *self.by_flow.entry((level, key)).or_insert_with(|| {
            self.levels.0[level as usize].flows_all += 1;
            let flow =
                Flow { links: Links::default(), level, key, ready: List::default(), in_ring: false, waiting: None };
            self.flows.0.insert(flow) as u32
        });
        let list = &mut self.flows.0[flow as usize].ready;
        if front {
            list.push_front(groups, group)
        } else {
            list.push_back(groups, group)
        }
        self.lanes[lane.0 as usize].ready += 1;
        let queue = self.lanes[lane.0 as usize].queue;
        self.queues[queue as usize].ready += 1;
        self.enter_rings(flow);
        flow
    }

    /// Takes a group out of its flow, wherever in it it stands.
    pub fn pull<P>(&mut self, groups: &mut Groups<P>, group: u32, flow: u32) {
        self.flows.0[flow as usize].ready.unlink(groups, group);
        let lane = self.lane_of(FlowId(flow));
        let lane = &mut self.lanes[lane.0 as usize];
        lane.ready -= 1;
        self.queues[lane.queue as usize].ready -= 1;
        if self.flows.0[flow as usize].ready.is_empty() {
            self.drop_flow(flow);
        }
    }

    pub fn lane_of(&self, flow: FlowId) -> LaneId {
        LaneId(self.levels.0[self.flows.0[flow.0 as usize].level as usize].lane)
    }

    pub fn head_of(&self, flow: FlowId) -> Option<GroupId> {
        self.flows.0.get(flow.0 as usize).map(|f| GroupId(f.ready.head))
    }

    pub fn number_of(&self, flow: FlowId) -> u64 {
        self.flows.0.get(flow.0 as usize).map_or(0, |f| f.key)
    }

    fn enter_rings(&mut self, flow: u32) {
        let f = &self.flows.0[flow as usize];
        if !f.in_ring && f.waiting.is_none_or(|w| w.scope != Scope::Flow) {
            let level = f.level as usize;
            self.flows.0[flow as usize].in_ring = true;
            let mut head = self.levels.0[level].flows;
            join(&mut head, &mut self.flows, flow);
            self.levels.0[level].flows = head;
        }
        self.enter_queue_ring(self.flows.0[flow as usize].level);
    }

    fn enter_queue_ring(&mut self, level: u32) {
        let l = &self.levels.0[level as usize];
        let lane = &self.lanes[l.lane as usize];
        if l.in_ring || l.flows == NIL || !lane.runs() {
            return;
        }
        let (queue, priority) = (lane.queue as usize, l.priority);
        self.levels.0[level as usize].in_ring = true;
        let rings = &mut self.queues[queue].rings;
        let at = rings.iter().position(|&(p, _)| p == priority).unwrap_or_else(|| {
            rings.push((priority, NIL));
            rings.len() - 1
        });
        join(&mut rings[at].1, &mut self.levels, level);
    }

    fn leave_queue_ring(&mut self, level: u32) {
        let l = &mut self.levels.0[level as usize];
        if !std::mem::take(&mut l.in_ring) {
            return;
        }
        let (queue, priority) = (self.lanes[l.lane as usize].queue as usize, l.priority);
        let rings = &mut self.queues[queue].rings;
        if let Some(at) = rings.iter().position(|&(p, _)| p == priority) {
            leave(&mut rings[at].1, &mut self.levels, level);
            if rings[at].1 == NIL {
                rings.swap_remove(at);
            }
        }
    }

    fn leave_flow_ring(&mut self, flow: u32) {
        let f = &mut self.flows.0[flow as usize];
        if !std::mem::take(&mut f.in_ring) {
            return;
        }
        let level = f.level;
        let mut head = self.levels.0[level as usize].flows;
        leave(&mut head, &mut self.flows, flow);
        self.levels.0[level as usize].flows = head;
        if head == NIL {
            self.leave_queue_ring(level);
        }
    }

    fn drop_flow(&mut self, flow: u32) {
        self.wake(FlowId(flow)); // nothing may stand still for what is gone
        self.leave_flow_ring(flow);
        let gone = self.flows.0.remove(flow as usize);
        self.by_flow.remove(&(gone.level, gone.key));
        let level = &mut self.levels.0[gone.level as usize];
        level.flows_all -= 1;
        if level.flows_all == 0 {
            let lane = level.lane as usize;
            self.levels.0.remove(gone.level as usize);
            self.lanes[lane].levels.retain(|l| *l != gone.level);
        }
    }

    /// The first of a flow, if its lane runs.
    pub fn candidate_of<P>(&self, groups: &Groups<P>, flow: FlowId) -> Option<Candidate> {
        let f = self.flows.0.get(flow.0 as usize)?;
        let level = &self.levels.0[f.level as usize];
        let runs =
            f.in_ring && level.in_ring && self.queues[self.lanes[level.lane as usize].queue as usize].waiting.is_none();
        runs.then(|| self.head(groups, flow.0))
    }

    fn head<P>(&self, groups: &Groups<P>, flow: u32) -> Candidate {
        let f = &self.flows.0[flow as usize];
        let level = &self.levels.0[f.level as usize];
        let since = Monotonic(u64::try_from(groups.0.get(f.ready.head).since).unwrap_or(0));
        let (lane, priority) = (LaneId(level.lane), level.priority);
        Candidate { group: GroupId(f.ready.head), lane, flow: FlowId(flow), since, priority }
    }

    /// Who goes next: of the next virtual queue that has any, the best priority, the next lane, the next flow.
    pub fn candidate<P>(&self, groups: &Groups<P>) -> Option<Candidate> {
        let count = self.queues.len();
        (0..count).find_map(|n| {
            let queue = &self.queues[(self.turn + n) % count];
            if queue.waiting.is_some() {
                return None;
            }
            let heads = queue.rings.iter().map(|&(_, level)| self.head(groups, self.levels.0[level as usize].flows));
            heads.min_by_key(|c| Rank::new(c.since, c.priority))
        })
    }

    /// Takes a candidate: it leaves its ready list, and the turn passes to the next of each ring.
    pub fn take<P>(&mut self, groups: &mut Groups<P>, candidate: &Candidate) {
        let flow = candidate.flow.0;
        let level = self.flows.0[flow as usize].level;
        let queue = self.lanes[candidate.lane.0 as usize].queue as usize;
        self.turn = (queue + 1) % self.queues.len();
        if self.flows.0[flow as usize].in_ring {
            self.levels.0[level as usize].flows = self.flows.0[flow as usize].links.next;
        }
        if self.levels.0[level as usize].in_ring {
            let next = self.levels.0[level as usize].links.next;
            if let Some(ring) = self.queues[queue].rings.iter_mut().find(|(p, _)| *p == candidate.priority) {
                ring.1 = next;
            }
        }
        self.pull(groups, candidate.group.0, flow);
    }

    /// A limit is short for the first of `flow`: it stands still, or its lane or queue does with it.
    pub fn stop(&mut self, flow: FlowId, why: WaitingFor) {
        self.flows.0[flow.0 as usize].waiting = Some(why);
        let lane = self.lane_of(flow);
        match why.scope {
            Scope::Flow => self.leave_flow_ring(flow.0),
            Scope::Lane => {
                self.lanes[lane.0 as usize].waiting = Some(flow);
                self.leave_queue_rings(lane);
            }
            Scope::Queue => {
                let queue = self.lanes[lane.0 as usize].queue;
                self.queues[queue as usize].waiting = Some(flow);
            }
        }
    }

    /// The flow for which all of this lane stands still.
    pub fn waiting_in(&self, lane: LaneId) -> Option<FlowId> {
        self.lanes.get(lane.0 as usize)?.waiting
    }

    /// What stood still for `flow` goes on; says whether anything did.
    pub fn wake(&mut self, flow: FlowId) -> bool {
        let Some(why) = self.flows.0.get_mut(flow.0 as usize).and_then(|f| f.waiting.take()) else { return false };
        let lane = self.lane_of(flow);
        match why.scope {
            Scope::Flow => self.enter_rings(flow.0),
            Scope::Lane => {
                self.lanes[lane.0 as usize].waiting = None;
                self.enter_queue_rings(lane);
            }
            Scope::Queue => {
                let queue = self.lanes[lane.0 as usize].queue;
                self.queues[queue as usize].waiting = None;
            }
        }
        true
    }

    /// Stops or lets go a lane whose next hop is in trouble.
    pub fn back_off(&mut self, lane: LaneId, backs_off: bool) {
        self.lanes[lane.0 as usize].backs_off = backs_off;
        if backs_off { self.leave_queue_rings(lane) } else { self.enter_queue_rings(lane) }
    }

    fn leave_queue_rings(&mut self, lane: LaneId) {
        for level in self.lanes[lane.0 as usize].levels.clone() {
            self.leave_queue_ring(level);
        }
    }

    fn enter_queue_rings(&mut self, lane: LaneId) {
        for level in self.lanes[lane.0 as usize].levels.clone() {
            self.enter_queue_ring(level);
        }
    }

    /// Why the group of `flow` does not go: its own wait, or the one that its lane or queue stands still for.
    pub fn waiting_for(&self, flow: FlowId) -> Option<(FlowId, WaitingFor)> {
        let own = self.flows.0.get(flow.0 as usize)?;
        let lane = &self.lanes[self.levels.0[own.level as usize].lane as usize];
        let queue = &self.queues[lane.queue as usize];
        let who = own.waiting.map(|_| flow).or(lane.waiting).or(queue.waiting)?;
        Some((who, self.flows.0.get(who.0 as usize)?.waiting?))
    }

    /// The rank of the best that is ready in a lane: of each priority the one whose turn it is, and the one for
    /// which the lane stands still.
    pub fn best_in<P>(&self, groups: &Groups<P>, lane: LaneId) -> Option<Rank> {
        let lane = self.lanes.get(lane.0 as usize)?;
        let turns = lane.levels.iter().map(|&level| self.levels.0[level as usize].flows).filter(|&flow| flow != NIL);
        let waits = lane.waiting.map(|flow| flow.0);
        let heads = turns.chain(waits).map(|flow| self.head(groups, flow));
        heads.map(|head| Rank::new(head.since, head.priority)).min()
    }

    /// The first that is ready in a lane, whether it runs or not.
    pub fn first_ready(&self, lane: LaneId) -> Option<(u32, u32)> {
        let lane = self.lanes.get(lane.0 as usize)?;
        for &level in &lane.levels {
            // A flow that stands still is in no ring: find it by the groups themselves.
            let flow = self.levels.0[level as usize].flows;
            if flow != NIL {
                return Some((self.flows.0[flow as usize].ready.head, flow));
            }
        }
        let level = *lane.levels.first()?;
        let flow = self.flows.0.iter().find(|(_, f)| f.level == level)?;
        Some((flow.1.ready.head, flow.0 as u32))
    }
}
