//! The index itself: messages, their groups, and the moves between states.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use smallvec::SmallVec;

use super::arena::Arena;
use super::entry::{
    Arrival, ArrivalRecipient, Domains, Entry, Extra, Group, GroupId, GroupState, GroupView, Groups, chain,
    sender_domain, unchain,
};
use super::lanes::{Candidate, FlowId, LaneId, LaneKey, Lanes, WaitingFor};
use super::names::Names;
use super::recipients::RecipientSet;
use super::ring::{Links, List, NIL};
use super::wheel::{Wheel, tick_of};
use crate::base::limits::{LANES_MAX, ROUTED_GROUPS_MAX};
use crate::base::{MessageId, Monotonic, Now, Rank, WallTime};
use crate::mail::{DeliverBy, ErrorKind};

/// Parts of the id table: each grows by itself, so that no growth copies everything at once.
const PARTS: usize = 256;
/// Steps of the timer in one call.
const TIMER_STEPS: usize = 4096;
/// Priorities, -9 to 9.
const PRIORITIES: usize = 19;

/// The undelivered recipients of one shard. `C` is the content that is retained for a while (an `Rc`), `P` what the
/// scheduler notes about a placed group. See the room's front door.
pub struct Queue<C, P> {
    pub(super) entries: Arena<Entry<C>>,
    pub(super) groups: Groups<P>,
    by_id: Box<[HashTable<u32>]>,
    hasher: FixedState,
    pub(super) names: Names,
    wheel: Wheel,
    due: [List; PRIORITIES],
    due_count: usize,
    pub(super) held_until: BTreeSet<(WallTime, u32)>,
    pub(super) extras: HashMap<u32, Extra, FixedState>,
    /// Ready lists. The scheduler moves groups only through the queue.
    pub(super) lanes: Lanes,
    fired: Vec<u32>,
}

/// A message whose groups have become due, to be routed together from one read of its record.
#[derive(Debug, Clone)]
pub struct DueMessage<C> {
    /// The message.
    pub id: MessageId,
    /// Its content, if it is still in memory.
    pub content: Option<C>,
    /// When it was accepted.
    pub received_at: WallTime,
    /// How long ago that is, not moved by steps of the wall clock.
    pub age: Duration,
    /// Octets.
    pub size_bytes: u64,
    /// MT-PRIORITY.
    pub priority: i8,
    /// Recipients of the message in all.
    pub recipients_total: u32,
    /// What is due.
    pub groups: SmallVec<[DueGroup; 1]>,
}

/// A due group: its recipients have the same history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueGroup {
    /// The group.
    pub group: GroupId,
    /// Its recipients.
    pub recipients: RecipientSet,
    /// Attempts made (`retry_num`).
    pub attempts: u32,
    /// Delay notices sent (`notify_num`).
    pub delay_notices: u32,
    /// What went wrong last (`last_error`).
    pub last_error: ErrorKind,
}

impl<C: Clone, P> Queue<C, P> {
    /// An empty queue; `seed` is random per process.
    pub fn new(seed: u64) -> Queue<C, P> {
        Queue {
            entries: Arena::default(),
            groups: Groups(Arena::default()),
            by_id: (0..PARTS).map(|_| HashTable::new()).collect(),
            hasher: FixedState::with_seed(seed),
            names: Names::new(seed),
            wheel: Wheel::default(),
            due: [List::default(); PRIORITIES],
            due_count: 0,
            held_until: BTreeSet::new(),
            extras: HashMap::with_hasher(FixedState::with_seed(seed)),
            lanes: Lanes::new(seed),
            fired: Vec::new(),
        }
    }

    /// Messages in the queue.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// Groups whose time has come and that wait to be routed.
    pub fn due_count(&self) -> usize {
        self.due_count
    }

    /// Groups in ready lists.
    pub fn ready_count(&self) -> usize {
        self.lanes.ready()
    }

    /// Lanes that exist.
    pub fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    /// Bytes that the index occupies, lanes apart.
    pub fn resident_bytes(&self) -> usize {
        let heap: usize =
            (0..self.groups.0.end()).filter_map(|at| self.groups.0.find(at)).map(|g| g.recipients.heap_bytes()).sum();
        let ids: usize = self.by_id.iter().map(|part| part.allocation_size() + size_of::<HashTable<u32>>()).sum();
        self.entries.bytes() + self.groups.0.bytes() + ids + self.names.bytes() + heap + size_of::<Wheel>()
    }

    fn id_hash(&self, id: MessageId) -> u64 {
        self.hasher.hash_one(id)
    }

    pub(super) fn find(&self, id: MessageId) -> Option<u32> {
        let hash = self.id_hash(id);
        self.by_id[(hash >> 56) as usize].find(hash, |&at| self.entries.get(at).id == id).copied()
    }

    /// The message is queued.
    pub fn contains(&self, id: MessageId) -> bool {
        self.find(id).is_some()
    }

    /// Enters a committed message. A second copy of one id is the same message and changes nothing (`false`).
    pub fn insert(&mut self, arrival: Arrival<'_, C>, now: Now) -> bool {
        if self.contains(arrival.id) || arrival.recipients.is_empty() {
            return false;
        }
        let message = self.enter_message(&arrival, now);
        let mut order: SmallVec<[&ArrivalRecipient<'_>; 8]> = arrival.recipients.iter().collect();
        let state = |r: &ArrivalRecipient<'_>| (r.due, r.attempts, r.delay_notices, r.last_error as u8);
        order.sort_by_key(|r| (state(r), r.index));
        for alike in order.chunk_by(|a, b| state(a) == state(b)) {
            let due = alike[0].due.map_or(now.micros(), |at| now.micros_of(at));
            let group = self.groups.0.insert(Group {
                recipients: alike.iter().map(|r| r.index).collect(),
                since: due,
                plan: None,
                links: Links::default(),
                message,
                siblings: Links::default(),
                place: 0,
                attempts: u16::try_from(alike[0].attempts).unwrap_or(u16::MAX),
                delay_notices: u8::try_from(alike[0].delay_notices).unwrap_or(u8::MAX),
                state: GroupState::Routing,
                last_error: alike[0].last_error,
                attempted_since_start: false,
            });
            let mut head = self.entries.get(message).groups;
            chain(&mut self.groups, &mut head, group);
            self.entries.get_mut(message).groups = head;
            self.settle(group, due, now);
        }
        true
    }

    fn enter_message(&mut self, arrival: &Arrival<'_, C>, now: Now) -> u32 {
        let domain = sender_domain(arrival.reverse_path);
        let tenant = if arrival.tenant.is_empty() { &domain[..] } else { arrival.tenant };
        let first = arrival.recipients[0].domain;
        let domains = if arrival.recipients.iter().all(|r| r.domain == first) {
            Domains::All(self.names.enter(first))
        } else {
            let mut each: Vec<_> = arrival.recipients.iter().map(|r| (r.index.0, self.names.enter(r.domain))).collect();
            each.sort_unstable_by_key(|&(index, _)| index);
            Domains::Each(each.into())
        };
        let deliver_by = arrival.deliver_by.map(|by| (by, now.micros_of(by.deadline)));
        let has_extra = arrival.hold_until.is_some() || deliver_by.is_some();
        let age = i64::try_from(now.wall.since(arrival.received_at).as_micros()).unwrap_or(i64::MAX);
        let message = self.entries.insert(Entry {
            id: arrival.id,
            received_at: arrival.received_at,
            born: now.micros().saturating_sub(age),
            size_bytes: arrival.size_bytes,
            content: arrival.content.clone(),
            domains,
            groups: NIL,
            sender_domain: self.names.enter(&domain),
            tenant: self.names.enter(tenant),
            sender_hash: self.sender_hash(arrival.reverse_path),
            recipients_total: arrival.recipients_total,
            priority: arrival.priority.clamp(-9, 9),
            is_held: arrival.is_held,
            has_extra,
        });
        if has_extra {
            self.extras.insert(message, Extra { hold_until: arrival.hold_until, deliver_by });
        }
        let hash = self.id_hash(arrival.id);
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.by_id[(hash >> 56) as usize].insert_unique(hash, message, |&at| hasher.hash_one(entries.get(at).id));
        message
    }

    pub(super) fn sender_hash(&self, reverse_path: &str) -> u32 {
        let mut hash = self.hasher.build_hasher();
        for piece in reverse_path.as_bytes().chunks(64) {
            let mut lower = [0; 64];
            let lower = &mut lower[..piece.len()];
            lower.copy_from_slice(piece);
            lower.make_ascii_lowercase();
            hash.write(lower);
        }
        hash.finish() as u32
    }

    /// Puts a group that nobody has in a list where it belongs: held, waiting for `due`, or due.
    pub(super) fn settle(&mut self, group: u32, due: i64, now: Now) {
        let message = self.groups.0.get(group).message;
        let entry = self.entries.get(message);
        let (held, priority, has_extra) = (entry.is_held, entry.priority, entry.has_extra);
        let hold_until = if has_extra { self.extras.get(&message).and_then(|extra| extra.hold_until) } else { None };
        let g = self.groups.0.get_mut(group);
        (g.since, g.plan) = (due, None);
        if held {
            g.state = GroupState::Held;
        } else if let Some(until) = hold_until.filter(|&until| until > now.wall) {
            g.state = GroupState::HeldUntil;
            self.held_until.insert((until, group));
        } else if due > now.micros() {
            g.state = GroupState::Waiting;
            let place = self.wheel.set(&mut self.groups, group, tick_of(due));
            self.groups.0.get_mut(group).place = u32::from(place);
        } else {
            g.state = GroupState::Due;
            self.due_count += 1;
            self.due[(priority + 9) as usize].push_back(&mut self.groups, group);
        }
    }

    /// Takes a group out of the list it is in. It must not be under way.
    pub(super) fn detach(&mut self, group: u32) {
        let g = self.groups.0.get(group);
        let (place, message) = (g.place, g.message);
        match g.state {
            GroupState::Due => {
                self.due_count -= 1;
                let priority = self.entries.get(message).priority;
                self.due[(priority + 9) as usize].unlink(&mut self.groups, group);
            }
            GroupState::Waiting => self.wheel.clear(&mut self.groups, group, place as u16),
            GroupState::Ready => self.lanes.pull(&mut self.groups, group, place),
            GroupState::HeldUntil => {
                if let Some(until) = self.extras.get(&message).and_then(|extra| extra.hold_until) {
                    self.held_until.remove(&(until, group));
                }
            }
            GroupState::Held => {}
            state => debug_assert!(false, "{state:?} belongs to another"),
        }
    }

    /// Moves what has become due into the due lists, in bounded steps; `false` when there is more to do at once.
    pub fn turn(&mut self, now: Now) -> bool {
        while let Some(&(until, group)) = self.held_until.first()
            && until <= now.wall
        {
            self.held_until.pop_first();
            let due = self.groups.0.get(group).since;
            self.settle(group, due, now);
        }
        let tick = now.mono.0 / crate::base::limits::TIMER_TICK.as_micros() as u64;
        let mut fired = std::mem::take(&mut self.fired);
        let tick_and_place = |groups: &mut Groups<P>, at: u32, place: Option<u16>| {
            let group = groups.0.get_mut(at);
            if let Some(place) = place {
                group.place = u32::from(place);
            }
            tick_of(group.since)
        };
        let all = self.wheel.advance(&mut self.groups, tick, TIMER_STEPS, tick_and_place, &mut fired);
        for group in fired.drain(..) {
            let due = self.groups.0.get(group).since;
            self.settle(group, due, now);
        }
        self.fired = fired;
        all
    }

    /// When [`Queue::turn`] has something to do.
    pub fn next_deadline(&self, now: Now) -> Monotonic {
        let timer = self.wheel.next_micros().map_or(Monotonic::FAR, Monotonic);
        let hold = self.held_until.first().map_or(Monotonic::FAR, |&(until, _)| now.mono + until.since(now.wall));
        timer.min(hold)
    }

    /// Hands out the due message that goes first, with all its groups that are due, to be routed.
    /// Nothing while there are as many lanes as there may be.
    pub fn next_due(&mut self, now: Now) -> Option<DueMessage<C>> {
        if self.lanes.len() >= LANES_MAX {
            return None;
        }
        let heads = self.due.iter().enumerate().filter(|(_, list)| !list.is_empty());
        let first =
            heads.min_by_key(|(p, list)| Rank::from_micros(self.groups.0.get(list.head).since, *p as i8 - 9))?;
        let first = first.1.head;
        let message = self.groups.0.get(first).message;
        let mut groups = SmallVec::new();
        groups.push(self.hand_out(first, now));
        let mut sibling = self.entries.get(message).groups;
        for _ in 0..ROUTED_GROUPS_MAX {
            if sibling == NIL {
                break;
            }
            let next = self.groups.0.get(sibling).siblings.next;
            if self.groups.0.get(sibling).state == GroupState::Due {
                groups.push(self.hand_out(sibling, now));
            }
            sibling = next;
        }
        let entry = self.entries.get(message);
        Some(DueMessage {
            id: entry.id,
            content: entry.content.clone(),
            received_at: entry.received_at,
            age: age(entry.born, now),
            size_bytes: entry.size_bytes,
            priority: entry.priority,
            recipients_total: entry.recipients_total,
            groups,
        })
    }

    fn hand_out(&mut self, group: u32, now: Now) -> DueGroup {
        self.detach(group);
        let g = self.groups.0.get_mut(group);
        (g.state, g.since) = (GroupState::Routing, now.micros());
        DueGroup {
            group: GroupId(group),
            recipients: g.recipients.clone(),
            attempts: u32::from(g.attempts),
            delay_notices: u32::from(g.delay_notices),
            last_error: g.last_error,
        }
    }

    /// What may be seen of a group that exists.
    pub fn view(&self, group: GroupId) -> Option<GroupView<'_, P>> {
        let g = self.groups.0.find(group.0)?;
        let entry = self.entries.get(g.message);
        Some(GroupView {
            message: entry.id,
            recipients: &g.recipients,
            state: g.state,
            since: g.since,
            attempts: u32::from(g.attempts),
            delay_notices: u32::from(g.delay_notices),
            last_error: g.last_error,
            attempted_since_start: g.attempted_since_start,
            plan: g.plan.as_ref(),
            priority: entry.priority,
            size_bytes: entry.size_bytes,
        })
    }

    /// How long ago the message of `group` was accepted, or released at the time its sender named (RFC 4865: what is
    /// held is not late), and its DELIVERBY deadline in monotonic microseconds.
    pub fn age_and_deadline(&self, group: GroupId, now: Now) -> (Duration, Option<(DeliverBy, i64)>) {
        let message = self.groups.0.get(group.0).message;
        let entry = self.entries.get(message);
        let extra = if entry.has_extra { self.extras.get(&message) } else { None };
        let released = extra.and_then(|extra| extra.hold_until).map(|until| now.micros_of(until));
        let born = released.map_or(entry.born, |released| entry.born.max(released));
        (age(born, now), extra.and_then(|extra| extra.deliver_by))
    }

    /// The content of a group's message, if it is still in memory.
    pub fn content(&self, group: GroupId) -> Option<&C> {
        self.entries.get(self.groups.0.get(group.0).message).content.as_ref()
    }

    /// Lets go of the content of a message: it is on disk.
    pub fn drop_content(&mut self, id: MessageId) -> Option<C> {
        let message = self.find(id)?;
        self.entries.get_mut(message).content.take()
    }

    /// Lets go of the content of a group's message: it is on disk.
    pub fn take_content(&mut self, group: GroupId) -> Option<C> {
        self.entries.get_mut(self.groups.0.get(group.0).message).content.take()
    }

    /// Splits `recipients` off a group that is under way; gives the group that has exactly them.
    pub fn split(&mut self, group: GroupId, recipients: &RecipientSet) -> GroupId {
        let g = self.groups.0.get_mut(group.0);
        debug_assert!(g.state.is_under_way());
        let rest = g.recipients.without(recipients);
        if rest.is_empty() {
            return group;
        }
        let part = Group {
            recipients: g.recipients.common(recipients),
            since: g.since,
            plan: g.plan.clone(),
            links: Links::default(),
            message: g.message,
            siblings: Links::default(),
            place: 0,
            attempts: g.attempts,
            delay_notices: g.delay_notices,
            state: g.state,
            last_error: g.last_error,
            attempted_since_start: g.attempted_since_start,
        };
        debug_assert!(!part.recipients.is_empty());
        g.recipients = rest;
        let message = part.message;
        let at = self.groups.0.insert(part);
        let mut head = self.entries.get(message).groups;
        chain(&mut self.groups, &mut head, at);
        self.entries.get_mut(message).groups = head;
        GroupId(at)
    }

    /// The lane of `key`, made if need be.
    pub fn lane(&mut self, key: &LaneKey) -> LaneId {
        self.lanes.lane(key)
    }

    /// Makes a group that is under way ready in `lane`, among what has the same `flow` number there (tenant and limits).
    pub fn make_ready(&mut self, group: GroupId, lane: LaneId, flow: u64, plan: Rc<P>, front: bool, now: Now) {
        let g = self.groups.0.get_mut(group.0);
        debug_assert!(g.state.is_under_way());
        let message = g.message;
        let entry = self.entries.get(message);
        if entry.is_held {
            return self.settle(group.0, now.micros(), now);
        }
        g.state = GroupState::Ready;
        g.plan = Some(plan);
        if !front {
            g.since = now.micros();
        }
        let (tenant, priority) = (entry.tenant, entry.priority);
        let key = flow ^ (u64::from(tenant.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let flow = self.lanes.push(&mut self.groups, group.0, lane, priority, key, front);
        self.groups.0.get_mut(group.0).place = flow;
    }

    /// Who goes next, if anyone may.
    pub fn candidate(&self) -> Option<Candidate> {
        self.lanes.candidate(&self.groups)
    }

    /// The first of a flow, if nothing keeps it.
    pub fn candidate_of(&self, flow: FlowId) -> Option<Candidate> {
        self.lanes.candidate_of(&self.groups, flow)
    }

    /// Takes a candidate under way, at most `recipients_max` of its recipients; the rest stays first in its flow.
    pub fn take(&mut self, candidate: &Candidate, recipients_max: usize, now: Now) -> GroupId {
        let group = candidate.group;
        let since = self.groups.0.get(group.0).since;
        let flow = self.lanes.number_of(candidate.flow); // the flow may be gone with its last
        self.lanes.take(&mut self.groups, candidate);
        let g = self.groups.0.get_mut(group.0);
        (g.state, g.since) = (GroupState::Attempt, since);
        let mut taken = group;
        if g.recipients.len() > recipients_max.max(1)
            && let Some(plan) = g.plan.clone()
        {
            let (now_ones, later) = g.recipients.split_at(recipients_max.max(1));
            let rest = self.split(group, &later);
            taken = group;
            debug_assert_eq!(self.groups.0.get(group.0).recipients, now_ones);
            let r = self.groups.0.get_mut(rest.0);
            r.state = GroupState::Ready;
            r.plan = Some(plan);
            let flow = self.lanes.push(&mut self.groups, rest.0, candidate.lane, candidate.priority, flow, true);
            self.groups.0.get_mut(rest.0).place = flow;
        }
        self.groups.0.get_mut(taken.0).since = now.micros();
        taken
    }

    /// A limit is short: the flow, its lane or its queue stands still until [`Queue::wake`].
    pub fn stop(&mut self, flow: FlowId, why: WaitingFor) {
        self.lanes.stop(flow, why);
    }

    /// What stood still for `flow` goes on.
    pub fn wake(&mut self, flow: FlowId) -> bool {
        self.lanes.wake(flow)
    }

    /// The flow for which all of a lane stands still.
    pub fn waiting_in(&self, lane: LaneId) -> Option<FlowId> {
        self.lanes.waiting_in(lane)
    }

    /// The rank of the best that is ready in a lane.
    pub fn best_in(&self, lane: LaneId) -> Option<Rank> {
        self.lanes.best_in(&self.groups, lane)
    }

    /// Stops a lane, or lets it go on.
    pub fn back_off(&mut self, lane: LaneId, backs_off: bool) {
        self.lanes.back_off(lane, backs_off);
    }

    /// Groups ready in a lane.
    pub fn ready_in(&self, lane: LaneId) -> usize {
        self.lanes.ready_in(lane)
    }

    /// The key of a lane.
    pub fn lane_key(&self, lane: LaneId) -> &Rc<LaneKey> {
        self.lanes.key(lane)
    }

    /// The lane of a key, if it exists.
    pub fn find_lane(&self, key: &LaneKey) -> Option<LaneId> {
        self.lanes.find(key)
    }

    /// All lanes with how much is ready in each.
    pub fn lanes(&self) -> impl Iterator<Item = (LaneId, &Rc<LaneKey>, usize)> {
        self.lanes.iter()
    }

    /// Forgets a lane in which nothing is ready.
    pub fn drop_lane(&mut self, lane: LaneId) {
        self.lanes.drop_lane(lane);
    }

    /// The lane in which a ready group stands, and what keeps it there: a limit that is short for a flow.
    pub fn readiness(&self, group: GroupId) -> Option<(LaneId, Option<(FlowId, WaitingFor)>)> {
        let g = self.groups.0.find(group.0).filter(|g| g.state == GroupState::Ready)?;
        let flow = FlowId(g.place);
        Some((self.lanes.lane_of(flow), self.lanes.waiting_for(flow)))
    }

    /// The first group of a flow.
    pub fn head_of(&self, flow: FlowId) -> Option<GroupId> {
        self.lanes.head_of(flow)
    }

    /// Until when the sender wants a group held.
    pub fn held_until(&self, group: GroupId) -> Option<WallTime> {
        self.extras.get(&self.groups.0.find(group.0)?.message)?.hold_until
    }

    /// Takes one ready group out of a lane, to be put off.
    pub fn take_from_lane(&mut self, lane: LaneId, now: Now) -> Option<GroupId> {
        let (group, _) = self.lanes.first_ready(lane)?;
        self.detach(group);
        let g = self.groups.0.get_mut(group);
        (g.state, g.since) = (GroupState::Routing, now.micros());
        Some(GroupId(group))
    }

    /// Marks a group that is under way as waiting for its record.
    pub fn record(&mut self, group: GroupId, now: Now) {
        let g = self.groups.0.get_mut(group.0);
        debug_assert!(g.state.is_under_way());
        (g.state, g.since) = (GroupState::Recording, now.micros());
    }

    /// Notes that a group was tried, or its lane was.
    pub fn note_attempt(&mut self, group: GroupId) {
        self.groups.0.get_mut(group.0).attempted_since_start = true;
    }

    /// Sets what is on disk about a group now.
    pub fn note_status(&mut self, group: GroupId, attempts: u32, delay_notices: u32, last_error: ErrorKind) {
        let g = self.groups.0.get_mut(group.0);
        g.attempts = u16::try_from(attempts).unwrap_or(u16::MAX);
        g.delay_notices = u8::try_from(delay_notices).unwrap_or(u8::MAX);
        g.last_error = last_error;
    }

    /// Puts a group that is under way off until `due` (monotonic microseconds).
    pub fn put_off(&mut self, group: GroupId, due: i64, now: Now) {
        debug_assert!(self.groups.0.get(group.0).state.is_under_way());
        self.settle(group.0, due, now);
    }

    /// Forgets a group that is under way: its recipients are final. Gives the content with the last of them.
    pub fn finish(&mut self, group: GroupId) -> Option<C> {
        debug_assert!(self.groups.0.get(group.0).state.is_under_way());
        let message = self.groups.0.get(group.0).message;
        let mut head = self.entries.get(message).groups;
        unchain(&mut self.groups, &mut head, group.0);
        self.groups.0.remove(group.0);
        self.entries.get_mut(message).groups = head;
        if head == NIL { self.forget(message) } else { None }
    }

    fn forget(&mut self, message: u32) -> Option<C> {
        let id = self.entries.get(message).id;
        let hash = self.id_hash(id);
        if let Ok(found) = self.by_id[(hash >> 56) as usize].find_entry(hash, |&at| at == message) {
            found.remove();
        }
        self.extras.remove(&message);
        let entry = self.entries.remove(message);
        for name in entry.domains.names().chain([entry.sender_domain, entry.tenant]) {
            self.names.leave(name);
        }
        entry.content
    }

    /// The groups of a message.
    pub fn groups_of(&self, id: MessageId) -> impl Iterator<Item = GroupId> {
        let mut at = self.find(id).map_or(NIL, |message| self.entries.get(message).groups);
        std::iter::from_fn(move || {
            let group = (at != NIL).then_some(at)?;
            at = self.groups.0.get(group).siblings.next;
            Some(GroupId(group))
        })
    }
}

fn age(born: i64, now: Now) -> Duration {
    Duration::from_micros(u64::try_from(now.micros().saturating_sub(born)).unwrap_or(0))
}
