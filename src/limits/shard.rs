//! One shard's limits: what sessions and the scheduler ask, and what other shards say.

use std::collections::BTreeSet;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::key::LimitKey;
use super::lease::{Lease, Waiter};
use super::message::Item;
use super::meter::{Limit, ns, slack_ns};
use super::owned::{OwnedTable, Reserved, Waiting, Who};
use super::request::{Ask, Patience, Permit, Request, Ticket, Verdict};
use crate::base::limits::{
    LEASE_AMOUNT_MAX, LEASE_KEPT, LEASE_UNUSED, LEASES_MAX, LIMIT_KEYS_MAX, LIMIT_WAITERS_MAX, REFUSAL_VALID,
};
use crate::base::{Monotonic, Rank, ShardId};

/// The least that a deadline lies ahead: a turn never waits for itself.
const MOMENT: Duration = Duration::from_micros(1);

enum Found {
    Owned(u32),
    Reserved(u32),
    Leased,
    Again,
}

struct Short {
    until: Option<Monotonic>,
    refused: bool,
}

impl Short {
    fn wait(until: Option<Monotonic>) -> Short {
        Short { until, refused: false }
    }

    fn refused(until: Option<Monotonic>) -> Short {
        Short { until, refused: true }
    }
}

/// A concurrency limit that others wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recall {
    /// The limit's key.
    pub key: LimitKey,
    /// The best of those who wait.
    pub rank: Rank,
}

/// The limits of one shard. See the room's front door.
#[derive(Debug)]
pub struct Limits {
    shard: ShardId,
    shards: u16,
    owned: OwnedTable,
    leases: HashMap<LimitKey, Lease, FixedState>,
    alarms: BTreeSet<(Monotonic, LimitKey)>,
    outbox: Vec<Vec<Item>>,
    woken: Vec<Ticket>,
    recalled: Vec<Recall>,
}

impl Limits {
    /// The limits of `shard` among `shards`.
    pub fn new(shard: ShardId, shards: u16) -> Limits {
        Limits::with_keys_max(shard, shards, LIMIT_KEYS_MAX)
    }

    /// The same with a lower cap on the keys it owns.
    pub fn with_keys_max(shard: ShardId, shards: u16, keys_max: usize) -> Limits {
        let shards = shards.max(1);
        Limits {
            shard,
            shards,
            owned: OwnedTable::new(keys_max),
            leases: HashMap::default(),
            alarms: BTreeSet::new(),
            outbox: (0..shards).map(|_| Vec::new()).collect(),
            woken: Vec::new(),
            recalled: Vec::new(),
        }
    }

    /// Takes all limits of `request`, or none. What has to be asked of other shards is in the outbox afterwards.
    pub fn acquire(&mut self, request: &Request<'_>, now: Monotonic) -> Verdict {
        self.owned.next_epoch();
        let mut found: SmallVec<[Found; 8]> = SmallVec::new();
        let mut short: Option<(usize, Short)> = None;
        for (i, ask) in request.asks.iter().enumerate() {
            if request.asks[..i].iter().any(|earlier| earlier.key == ask.key) {
                found.push(Found::Again);
                continue;
            }
            match self.look(ask, request, now) {
                Ok(place) => found.push(place),
                Err(why) => {
                    found.push(Found::Again);
                    if short.as_ref().is_none_or(|(_, first)| why.refused && !first.refused) {
                        short = Some((i, why));
                    }
                }
            }
        }
        match short {
            None => Verdict::Granted(self.take(request.asks, &found, request.ticket, now)),
            Some((ask, Short { until, refused: true })) => Verdict::Refused { ask, until },
            Some((ask, Short { until, refused: false })) => {
                self.keep(request, &found, now);
                Verdict::Wait { ask, until }
            }
        }
    }

    /// Gives back what `permit` holds.
    pub fn release(&mut self, permit: Permit, now: Monotonic) {
        for key in permit.keys {
            if key.owner(self.shards) == self.shard {
                if let Some(slot) = self.owned.find(key) {
                    self.owned.at(slot).give_back_here(true);
                    self.serve(slot, now);
                }
            } else if let Some(lease) = self.leases.get_mut(&key) {
                lease.give_back(now);
                if lease.recalled {
                    self.send_back(key, false, now);
                } else {
                    self.arm_lease(key, now);
                }
            }
        }
    }

    /// Hears what another shard sent.
    pub fn receive(&mut self, from: ShardId, items: impl IntoIterator<Item = Item>, now: Monotonic) {
        for item in items {
            match item {
                Item::Ask { key, limit, want, rank, queues } => {
                    self.hear_ask(Ask { key, limit }, Waiting { who: Who::Shard(from.0), rank, want, queues }, now);
                }
                Item::Grant { key, amount, departs_ns } => self.hear_grant(key, amount, departs_ns, now),
                Item::Refuse { key, retry_after } => self.hear_refuse(key, retry_after, now),
                Item::Recall { key, rank } => self.hear_recall(key, rank, now),
                Item::Return { key, unused, spent, recalled } => {
                    self.hear_return(from, key, (unused, spent), recalled, now);
                }
            }
        }
    }

    /// Does what the time asks for: unused leases return, departures come, refills are handed out.
    pub fn turn(&mut self, now: Monotonic) {
        while let Some(&(at, key)) = self.alarms.first()
            && at <= now
        {
            self.alarms.pop_first();
            if let Some(slot) = self.owned.find(key) {
                self.expire_reserved(slot, at, now);
                self.serve(slot, now);
            }
            self.expire_lease(key, at, now);
        }
    }

    /// When [`Limits::turn`] has something to do; [`Monotonic::FAR`] if never.
    pub fn next_deadline(&self) -> Monotonic {
        self.alarms.first().map_or(Monotonic::FAR, |&(at, _)| at)
    }

    /// Takes what is to be sent: one batch per shard that has one. Call once per turn of the loop.
    pub fn outbox(&mut self) -> impl Iterator<Item = (ShardId, Vec<Item>)> {
        let full = self.outbox.iter_mut().enumerate().filter(|(_, items)| !items.is_empty());
        full.map(|(shard, items)| (ShardId(shard as u16), std::mem::take(items)))
    }

    /// Something is to be sent.
    pub fn has_outgoing(&self) -> bool {
        self.outbox.iter().any(|items| !items.is_empty())
    }

    /// Takes the tickets that may ask again.
    pub fn woken(&mut self) -> std::vec::Drain<'_, Ticket> {
        self.woken.drain(..)
    }

    /// Takes the concurrency limits that other shards wait for: idle connections under them are to be closed, and
    /// one in use when its message ends, unless what waits here goes first.
    pub fn recalled(&mut self) -> std::vec::Drain<'_, Recall> {
        self.recalled.drain(..)
    }

    /// Keys that this shard owns, and keys of which it holds something: for gauges.
    pub fn sizes(&self) -> (usize, usize) {
        (self.owned.len(), self.leases.len())
    }

    fn look(&mut self, ask: &Ask, request: &Request<'_>, now: Monotonic) -> Result<Found, Short> {
        if ask.key.owner(self.shards) == self.shard {
            self.look_owned(ask, request, now)
        } else {
            self.look_leased(ask, request, now)
        }
    }

    fn look_owned(&mut self, ask: &Ask, request: &Request<'_>, now: Monotonic) -> Result<Found, Short> {
        let Some(slot) = self.owned.enter(ask.key, ask.limit, now) else {
            return Err(Short::refused(Some(now + REFUSAL_VALID)));
        };
        let rank = Rank::new(request.since, request.priority);
        let owned = self.owned.at(slot);
        let mine = owned.contest.as_ref().and_then(|c| c.reserved.iter().find(|r| r.ticket == request.ticket));
        if let Some(mine) = mine {
            return if mine.departs_ns <= ns(now) {
                Ok(Found::Reserved(slot))
            } else {
                Err(Short::wait(Some(super::meter::monotonic(mine.departs_ns))))
            };
        }
        if owned.available(0, now) > 0 && owned.best_waiting().is_none_or(|best| rank <= best) {
            return Ok(Found::Owned(slot));
        }
        let until = owned.available_at(now);
        if self.shards == 1 && until.is_some() {
            return Err(Short { until, refused: request.patience == Patience::Refuse });
        }
        if request.ticket == Ticket::NONE {
            return Err(Short::wait(None));
        }
        let queues = request.patience == Patience::Queue;
        let waiting = Waiting { who: Who::Here(request.ticket), rank, want: 1, queues };
        if self.wait(slot, waiting, now) { Err(Short::wait(until)) } else { Err(Short::refused(until)) }
    }

    fn look_leased(&mut self, ask: &Ask, request: &Request<'_>, now: Monotonic) -> Result<Found, Short> {
        if self.leases.len() >= LEASES_MAX && !self.leases.contains_key(&ask.key) {
            return Err(Short::refused(Some(now + REFUSAL_VALID)));
        }
        let rank = Rank::new(request.since, request.priority);
        let lease = self.leases.entry(ask.key).or_insert_with(|| Lease::new(ask.limit, now));
        if lease.limit != ask.limit && lease.limit.same_kind(ask.limit) {
            lease.limit = ask.limit;
        }
        lease.lapse(now);
        match lease.ready_at() {
            Some(at) if at <= now => return Ok(Found::Leased),
            Some(at) => return Err(Short::wait(Some(at))),
            None => {}
        }
        if let Some((valid, until)) = lease.refused
            && valid > now
            && request.patience == Patience::Refuse
        {
            return Err(Short::refused(until));
        }
        if request.ticket == Ticket::NONE {
            return Err(Short::wait(None));
        }
        if lease.waiters.len() >= LIMIT_WAITERS_MAX {
            return Err(Short::refused(Some(now + REFUSAL_VALID)));
        }
        lease.waiters.retain(|w| w.ticket != request.ticket);
        lease.waiters.push(Waiter { ticket: request.ticket, rank, patience: request.patience });
        self.ask_owner(ask.key, request.want);
        Err(Short::wait(None))
    }

    /// Sends one ask for all who wait here, unless one is under way.
    fn ask_owner(&mut self, key: LimitKey, want: u32) {
        let Some(lease) = self.leases.get_mut(&key) else { return };
        let Some(rank) = lease.waiters.iter().map(|w| w.rank).min() else { return };
        if lease.asked {
            return;
        }
        lease.asked = true;
        let spent = std::mem::take(&mut lease.spent); // reported first, so that it is not counted against us
        let queues = lease.waiters.iter().any(|w| w.patience == Patience::Queue);
        let want = want.max(lease.waiters.len() as u32).min(LEASE_AMOUNT_MAX);
        let ask = Item::Ask { key, limit: lease.limit, want, rank, queues };
        if spent > 0 {
            self.send(key.owner(self.shards), Item::Return { key, unused: 0, spent, recalled: false });
        }
        self.send(key.owner(self.shards), ask);
    }

    fn take(&mut self, asks: &[Ask], found: &[Found], ticket: Ticket, now: Monotonic) -> Permit {
        let mut permit = Permit::default();
        for (ask, place) in asks.iter().zip(found) {
            match *place {
                Found::Again => continue,
                Found::Owned(slot) => {
                    let owned = self.owned.at(slot);
                    owned.take_here(now);
                    if let Some(contest) = &mut owned.contest {
                        contest.waiting.retain(|w| w.who != Who::Here(ticket));
                    }
                }
                Found::Reserved(slot) => self.owned.at(slot).contest().reserved.retain(|r| r.ticket != ticket),
                Found::Leased => {
                    if let Some(lease) = self.leases.get_mut(&ask.key) {
                        lease.take(now);
                        lease.kept = None;
                        lease.waiters.retain(|w| w.ticket != ticket);
                    }
                }
            }
            if let Limit::Concurrency(_) = ask.limit {
                permit.keys.push(ask.key);
            }
        }
        permit
    }

    /// Keeps what was found for one who still waits for the rest, for a while: the best of all who wait
    /// thus collects all its limits.
    fn keep(&mut self, request: &Request<'_>, found: &[Found], now: Monotonic) {
        if self.shards == 1 || request.patience == Patience::Refuse {
            return;
        }
        let rank = Rank::new(request.since, request.priority);
        for (ask, place) in request.asks.iter().zip(found) {
            match *place {
                Found::Leased => {
                    if let Some(lease) = self.leases.get_mut(&ask.key)
                        && lease.kept.is_none_or(|(best, until)| rank < best || until <= now)
                    {
                        lease.kept = Some((rank, now + LEASE_KEPT));
                    }
                }
                Found::Owned(slot) if matches!(ask.limit, Limit::Concurrency(_)) => {
                    self.reserve(slot, request.ticket, now + LEASE_KEPT, now);
                }
                Found::Owned(_) | Found::Reserved(_) | Found::Again => {}
            }
        }
    }

    /// Queues `waiting`, recalling what others hold unused; `false` if that is a refusal.
    fn wait(&mut self, slot: u32, waiting: Waiting, now: Monotonic) -> bool {
        let recalling = self.recall(slot, &waiting, now);
        let owned = self.owned.at(slot);
        if !waiting.queues && !recalling {
            owned.settle(now, REFUSAL_VALID);
            return false;
        }
        let contest = owned.contest();
        contest.waiting.retain(|w| w.who != waiting.who);
        if contest.waiting.len() >= LIMIT_WAITERS_MAX {
            return false;
        }
        contest.waiting.push(waiting);
        self.arm_owned(slot, now);
        true
    }

    /// Asks the holders for what they do not use; says whether an answer is outstanding.
    fn recall(&mut self, slot: u32, waiting: &Waiting, now: Monotonic) -> bool {
        let owned = self.owned.at(slot);
        let (key, rank) = (owned.key, waiting.rank);
        let concurrency = matches!(owned.limit, Limit::Concurrency(_));
        let recent = owned.contest.as_ref().and_then(|c| c.recalled_at).is_some_and(|at| now.since(at) < REFUSAL_VALID);
        if !recent {
            let holders: SmallVec<[u16; 8]> =
                owned.out.iter().map(|&(s, _)| s).filter(|&s| waiting.who != Who::Shard(s) || concurrency).collect();
            // What waits here would take an idle connection without asking.
            if concurrency && waiting.queues && matches!(waiting.who, Who::Shard(_)) {
                self.recalled.push(Recall { key, rank });
            }
            if !holders.is_empty() || waiting.queues {
                let contest = self.owned.at(slot).contest();
                contest.recalled_at = Some(now);
                let fresh: SmallVec<[u16; 8]> =
                    holders.into_iter().filter(|s| !contest.recalling.contains(s)).collect();
                contest.recalling.extend(fresh.iter().copied());
                for shard in fresh {
                    self.send(ShardId(shard), Item::Recall { key, rank });
                }
            }
        }
        self.owned.at(slot).contest.as_ref().is_some_and(|c| !c.recalling.is_empty())
    }

    /// Gives what there is to those who wait, best first; refuses those who wait for recalls in vain.
    fn serve(&mut self, slot: u32, now: Monotonic) {
        loop {
            let owned = self.owned.at(slot);
            let (key, available) = (owned.key, owned.available(slack_ns(), now));
            let Some(contest) = owned.contest.as_mut().filter(|c| !c.waiting.is_empty()) else { break };
            if available == 0 {
                break;
            }
            let best = (0..contest.waiting.len()).min_by_key(|&i| contest.waiting[i].rank).unwrap_or(0);
            let waiting = contest.waiting.swap_remove(best);
            match waiting.who {
                Who::Here(ticket) => {
                    self.reserve(slot, ticket, now + LEASE_UNUSED, now);
                    self.woken.push(ticket);
                }
                Who::Shard(shard) => self.grant(slot, key, shard, waiting.want.clamp(1, available), now),
            }
        }
        self.refuse_in_vain(slot, now);
        self.arm_owned(slot, now);
        self.owned.at(slot).settle(now, REFUSAL_VALID);
    }

    fn refuse_in_vain(&mut self, slot: u32, now: Monotonic) {
        let owned = self.owned.at(slot);
        let (key, until) = (owned.key, owned.available_at(now));
        let Some(contest) = owned.contest.as_mut().filter(|c| c.recalling.is_empty()) else { return };
        let vain: SmallVec<[Who; 8]> = contest.waiting.extract_if(.., |w| !w.queues).map(|w| w.who).collect();
        for who in vain {
            match who {
                Who::Here(ticket) => self.woken.push(ticket), // it asks again and is refused: the recall is recent
                Who::Shard(shard) => {
                    let retry_after = until.map(|at| at.since(now));
                    self.send(ShardId(shard), Item::Refuse { key, retry_after });
                }
            }
        }
    }

    fn grant(&mut self, slot: u32, key: LimitKey, shard: u16, amount: u32, now: Monotonic) {
        let departs_ns = self.owned.at(slot).lease_out(shard, amount, now);
        self.send(ShardId(shard), Item::Grant { key, amount, departs_ns });
    }

    fn reserve(&mut self, slot: u32, ticket: Ticket, expires: Monotonic, now: Monotonic) {
        let owned = self.owned.at(slot);
        let departs_ns = owned.take_here(now);
        let expires = expires.max(super::meter::monotonic(departs_ns) + LEASE_UNUSED);
        owned.contest().reserved.push(Reserved { ticket, expires, departs_ns });
        self.arm_owned(slot, now);
    }

    fn expire_reserved(&mut self, slot: u32, at: Monotonic, now: Monotonic) {
        let owned = self.owned.at(slot);
        let Some(contest) = &mut owned.contest else { return };
        if contest.alarm == Some(at) {
            contest.alarm = None;
        }
        let before = contest.reserved.len();
        contest.reserved.retain(|r| r.expires > now);
        let expired = before - contest.reserved.len();
        for _ in 0..expired {
            owned.give_back_here(false);
        }
    }

    /// Sets the alarm of an owned key to what comes first: a reservation's end, or a departure or refill.
    fn arm_owned(&mut self, slot: u32, now: Monotonic) {
        let owned = self.owned.at(slot);
        let Some(contest) = &owned.contest else { return };
        let mut next = contest.reserved.iter().map(|r| r.expires).min();
        if !contest.waiting.is_empty() {
            let ahead = crate::base::limits::PACE_SLACK;
            let by_time = match owned.limit {
                Limit::Paced(_) => owned.available_at(now).map(|at| (at - ahead).max(now)),
                _ => owned.available_at(now),
            };
            next = [next, by_time].into_iter().flatten().min();
        }
        if let Some(at) = contest.recalled_at
            && contest.waiting.is_empty()
            && contest.reserved.is_empty()
            && now.since(at) <= REFUSAL_VALID
        {
            next = Some(at + REFUSAL_VALID + MOMENT); // to forget the contest
        }
        let next = next.map(|at| at.max(now + MOMENT));
        let (key, old) = (owned.key, contest.alarm);
        if old != next {
            owned.contest().alarm = next;
            self.move_alarm(key, old, next);
        }
    }

    fn hear_ask(&mut self, ask: Ask, waiting: Waiting, now: Monotonic) {
        self.owned.next_epoch();
        let Who::Shard(shard) = waiting.who else { return };
        let Some(slot) = self.owned.enter(ask.key, ask.limit, now) else {
            return self.send(ShardId(shard), Item::Refuse { key: ask.key, retry_after: Some(REFUSAL_VALID) });
        };
        let owned = self.owned.at(slot);
        let available = owned.available(slack_ns(), now);
        if available > 0 && owned.best_waiting().is_none_or(|best| waiting.rank <= best) {
            let amount = self.amount(&ask, waiting.want, available);
            return self.grant(slot, ask.key, shard, amount, now);
        }
        if !self.wait(slot, waiting, now) {
            let retry_after = self.owned.at(slot).available_at(now).map(|at| at.since(now));
            self.send(ShardId(shard), Item::Refuse { key: ask.key, retry_after });
        }
    }

    /// What is asked for, or more where there is plenty: the next ones are then taken without asking.
    fn amount(&self, ask: &Ask, want: u32, available: u32) -> u32 {
        let share = match ask.limit {
            Limit::Paced(_) => available,
            Limit::Concurrency(_) | Limit::Bucket(_) => available / (4 * u32::from(self.shards)),
        };
        share.max(want).clamp(1, available.min(LEASE_AMOUNT_MAX))
    }

    fn hear_return(
        &mut self,
        from: ShardId,
        key: LimitKey,
        (unused, spent): (u32, u32),
        recalled: bool,
        now: Monotonic,
    ) {
        let Some(slot) = self.owned.find(key) else { return };
        let owned = self.owned.at(slot);
        owned.returned(from.0, unused, spent);
        if recalled && let Some(contest) = &mut owned.contest {
            contest.recalling.retain(|s| *s != from.0);
        }
        self.serve(slot, now);
    }

    fn hear_grant(&mut self, key: LimitKey, amount: u32, departs_ns: u64, now: Monotonic) {
        let Some(lease) = self.leases.get_mut(&key) else {
            debug_assert!(false, "a grant that nobody asked for");
            return self.send(key.owner(self.shards), Item::Return { key, unused: amount, spent: 0, recalled: false });
        };
        lease.asked = false;
        lease.recalled = false;
        lease.refused = None;
        lease.idle_since = now;
        lease.lapse(now);
        if lease.unused == 0 {
            lease.departs_ns = departs_ns;
        }
        lease.unused = lease.unused.saturating_add(amount);
        let woken: SmallVec<[Ticket; 8]> = lease.take_waiters(amount as usize, |_| true).collect();
        self.woken.extend(woken);
        self.ask_owner(key, 1); // for those who still wait
        self.arm_lease(key, now);
    }

    fn hear_refuse(&mut self, key: LimitKey, retry_after: Option<Duration>, now: Monotonic) {
        let Some(lease) = self.leases.get_mut(&key) else { return };
        lease.asked = false;
        let until = retry_after.map(|after| now + after);
        let valid = until.map_or(now + REFUSAL_VALID, |at| at.min(now + REFUSAL_VALID)).max(now + MOMENT);
        lease.refused = Some((valid, until));
        let woken: SmallVec<[Ticket; 8]> = lease.take_waiters(usize::MAX, |_| true).collect();
        self.woken.extend(woken);
        self.arm_lease(key, now);
    }

    fn hear_recall(&mut self, key: LimitKey, rank: Rank, now: Monotonic) {
        let Some(lease) = self.leases.get_mut(&key) else {
            let nothing = Item::Return { key, unused: 0, spent: 0, recalled: true };
            return self.send(key.owner(self.shards), nothing);
        };
        if let Limit::Concurrency(_) = lease.limit {
            lease.recalled = true;
            // Its own ask comes back to the one who holds, too.
            if lease.waiters.iter().all(|w| w.rank != rank) {
                self.recalled.push(Recall { key, rank });
            }
        }
        if lease.kept.is_some_and(|(best, until)| until > now && best < rank) {
            let nothing = Item::Return { key, unused: 0, spent: 0, recalled: true };
            return self.send(key.owner(self.shards), nothing);
        }
        self.send_back(key, true, now);
    }

    /// Returns what is unused, and reports what is spent.
    fn send_back(&mut self, key: LimitKey, recalled: bool, now: Monotonic) {
        self.send_back_some(key, u32::MAX, recalled, now);
    }

    /// Returns at most so many of those that are unused, and reports what is spent.
    fn send_back_some(&mut self, key: LimitKey, most: u32, recalled: bool, now: Monotonic) {
        let Some(lease) = self.leases.get_mut(&key) else { return };
        let (unused, spent) = match lease.limit {
            Limit::Paced(_) => (0, 0), // departures lapse
            _ => (lease.unused.min(most), std::mem::take(&mut lease.spent)),
        };
        lease.unused -= unused;
        lease.kept = None;
        if unused > 0 || spent > 0 || recalled {
            self.send(key.owner(self.shards), Item::Return { key, unused, spent, recalled });
        }
        self.drop_lease_if_over(key, now);
    }

    fn expire_lease(&mut self, key: LimitKey, at: Monotonic, now: Monotonic) {
        let Some(lease) = self.leases.get_mut(&key) else { return };
        if lease.alarm == Some(at) {
            lease.alarm = None;
        }
        lease.refused = lease.refused.filter(|&(valid, _)| valid > now);
        lease.lapse(now);
        if lease.expires() <= now {
            let expired = lease.expired(now);
            self.send_back_some(key, expired, false, now);
        }
        self.arm_lease(key, now);
        self.drop_lease_if_over(key, now);
    }

    fn arm_lease(&mut self, key: LimitKey, now: Monotonic) {
        let Some(lease) = self.leases.get_mut(&key) else { return };
        let paced = lease.departs_ns / 1000 + LEASE_UNUSED.as_micros() as u64 + 2;
        let next = match lease.limit {
            Limit::Paced(_) if lease.unused > 0 => Some(Monotonic(paced).max(lease.expires())),
            _ if lease.unused > 0 || lease.spent > 0 => Some(lease.expires()),
            _ => lease.refused.map(|(valid, _)| valid),
        };
        if let Some(next) = next {
            let (next, old) = (next.max(now + MOMENT), lease.alarm);
            if old.is_some_and(|at| at <= next) {
                return; // it fires no later than needed, and is set again then
            }
            lease.alarm = Some(next);
            self.move_alarm(key, old, Some(next));
        }
    }

    fn drop_lease_if_over(&mut self, key: LimitKey, now: Monotonic) {
        if self.leases.get(&key).is_some_and(|lease| lease.is_over(now))
            && let Some(lease) = self.leases.remove(&key)
        {
            self.move_alarm(key, lease.alarm, None);
        }
    }

    fn move_alarm(&mut self, key: LimitKey, old: Option<Monotonic>, new: Option<Monotonic>) {
        if let Some(old) = old {
            self.alarms.remove(&(old, key));
        }
        if let Some(new) = new {
            self.alarms.insert((new, key));
        }
    }

    fn send(&mut self, to: ShardId, item: Item) {
        self.outbox[usize::from(to.0)].push(item);
    }

    #[cfg(test)]
    pub(super) fn is_quiet(&self) -> bool {
        self.leases.is_empty()
            && !self.has_outgoing()
            && self.owned.iter().all(|o| o.out.is_empty() && o.in_use_here() == 0 && o.contest.is_none())
    }
}
