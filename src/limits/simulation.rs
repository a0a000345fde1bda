//! Several shards over virtual time with messages delayed and reordered: the promises of the room.

use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::base::{Monotonic, Rate, ShardId};
use std::time::Duration;

struct Worker {
    shard: usize,
    asks: Vec<Ask>,
    since: Option<Monotonic>,
    retry_at: Option<Monotonic>,
    permit: Option<Permit>,
    until: Monotonic,
    left: u32,
    served: u32,
    priority: i8,
    patience: Patience,
}

struct World {
    random: u64,
    now: Monotonic,
    shards: Vec<Limits>,
    /// (arrival, tie) -> (from, to, items)
    network: BTreeMap<(u64, u64), (usize, usize, Vec<Item>)>,
    reorders: bool,
    sent: u64,
    last_arrival: HashMap<(usize, usize), u64>,
    workers: Vec<Worker>,
    in_use: HashMap<LimitKey, u32>,
    taken: HashMap<LimitKey, Vec<u64>>,
    waited_max_us: u64,
}

impl World {
    fn new(seed: u64, shards: u16, reorders: bool) -> World {
        World {
            random: seed,
            now: Monotonic(1_000_000),
            shards: (0..shards).map(|s| Limits::new(ShardId(s), shards)).collect(),
            network: BTreeMap::new(),
            reorders,
            sent: 0,
            last_arrival: HashMap::new(),
            workers: Vec::new(),
            in_use: HashMap::new(),
            taken: HashMap::new(),
            waited_max_us: 0,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        // SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    fn worker(&mut self, asks: Vec<Ask>, left: u32, patience: Patience) {
        let shard = self.workers.len() % self.shards.len();
        let priority = self.below(3) as i8 - 1;
        let (now, until) = (self.now, self.now);
        self.workers.push(Worker {
            shard,
            asks,
            since: None,
            retry_at: Some(now),
            permit: None,
            until,
            left,
            served: 0,
            priority,
            patience,
        });
    }

    fn attempt(&mut self, n: usize) {
        let now = self.now;
        let w = &mut self.workers[n];
        if w.permit.is_some() || w.left == 0 {
            return;
        }
        let since = *w.since.get_or_insert(now);
        let request = Request {
            asks: &w.asks,
            ticket: Ticket::outbound(n as u64),
            since,
            priority: w.priority,
            want: 1,
            patience: w.patience,
        };
        match self.shards[w.shard].acquire(&request, now) {
            Verdict::Granted(permit) => {
                for ask in &w.asks {
                    match ask.limit {
                        Limit::Concurrency(max) => {
                            let used = self.in_use.entry(ask.key).or_default();
                            *used += 1;
                            assert!(*used <= max, "{used} of {max}");
                        }
                        Limit::Bucket(_) | Limit::Paced(_) => self.taken.entry(ask.key).or_default().push(now.0),
                    }
                }
                self.waited_max_us = self.waited_max_us.max(now.0 - since.0);
                (w.permit, w.since, w.retry_at) = (Some(permit), None, None);
                w.left -= 1;
                w.served += 1;
                let hold = self.below(30_000) + 100;
                self.workers[n].until = Monotonic(now.0 + hold);
            }
            Verdict::Wait { until, .. } => w.retry_at = until,
            Verdict::Refused { .. } => {
                assert_eq!(w.patience, Patience::Refuse);
                w.since = None;
                let pause = self.below(40_000) + 1000;
                self.workers[n].retry_at = Some(Monotonic(now.0 + pause));
            }
        }
    }

    fn finish(&mut self, n: usize) {
        let w = &mut self.workers[n];
        let Some(permit) = w.permit.take() else { return };
        for ask in &w.asks {
            if let Limit::Concurrency(_) = ask.limit {
                *self.in_use.entry(ask.key).or_default() -= 1;
            }
        }
        w.retry_at = Some(self.now);
        self.shards[w.shard].release(permit, self.now);
    }

    /// One step of virtual time for everybody; time moves to what comes next.
    fn step(&mut self) -> bool {
        let now = self.now;
        while let Some((&at, _)) = self.network.first_key_value()
            && at.0 <= now.0
            && let Some((_, (from, to, items))) = self.network.pop_first()
        {
            self.shards[to].receive(ShardId(from as u16), items, now);
        }
        for s in 0..self.shards.len() {
            self.shards[s].turn(now);
            let woken: Vec<Ticket> = self.shards[s].woken().collect();
            for ticket in woken {
                self.attempt(ticket.as_outbound().expect("ours") as usize);
            }
            self.shards[s].recalled().for_each(drop);
        }
        for n in 0..self.workers.len() {
            if self.workers[n].permit.is_some() && self.workers[n].until <= now {
                self.finish(n);
            }
            if self.workers[n].retry_at.is_some_and(|at| at <= now) {
                self.attempt(n);
            }
        }
        for from in 0..self.shards.len() {
            let batches: Vec<_> = self.shards[from].outbox().collect();
            for (to, items) in batches {
                self.post(from, usize::from(to.0), items);
            }
        }
        let next = self.next();
        if let Some(next) = next {
            self.now = Monotonic(next.max(now.0 + 1));
        }
        next.is_some()
    }

    fn post(&mut self, from: usize, to: usize, items: Vec<Item>) {
        let mut at = self.now.0 + 5 + self.below(2000);
        if !self.reorders {
            let last = self.last_arrival.entry((from, to)).or_default();
            at = at.max(*last);
            *last = at;
        }
        self.sent += 1;
        self.network.insert((at, self.sent), (from, to, items));
    }

    fn next(&self) -> Option<u64> {
        let network = self.network.first_key_value().map(|((at, _), _)| *at);
        let shards = self.shards.iter().map(|s| s.next_deadline()).filter(|&at| at != Monotonic::FAR).map(|at| at.0);
        let workers = self.workers.iter().filter_map(|w| match (&w.permit, w.left, w.retry_at) {
            (Some(_), ..) => Some(w.until.0),
            (None, 0, _) => None,
            (None, _, at) => at.map(|at| at.0),
        });
        network.into_iter().chain(shards).chain(workers).min()
    }

    fn run(&mut self) {
        let mut steps = 0u64;
        while self.step() {
            steps += 1;
            assert!(steps < 60_000, "never comes to rest: {:?} {:?}", self.now, self.shards);
        }
        for (n, w) in self.workers.iter().enumerate() {
            assert_eq!(w.left, 0, "worker {n} on shard {} starved after {}", w.shard, w.served);
        }
        for shard in &self.shards {
            assert!(shard.is_quiet(), "something was not returned: {shard:?}");
        }
    }

    fn check_rate(&self, key: LimitKey, count: u64, period_us: u64, burst: u64) {
        let taken = &self.taken[&key];
        for (i, &from) in taken.iter().enumerate() {
            for (j, &at) in taken.iter().enumerate().skip(i) {
                let allowed = burst + (at - from) * count / period_us;
                let used = (j - i + 1) as u64;
                assert!(used <= allowed, "{used} in {} us where {allowed} are allowed", at - from);
            }
        }
    }
}

fn key(n: u64) -> LimitKey {
    KeyMaker::new(99).limit("test").number(n).finish()
}

fn concurrency(n: u64, max: u32) -> Ask {
    Ask { key: key(n), limit: Limit::Concurrency(max) }
}

fn each_seed(check: impl Fn(u64, u16, bool)) {
    for seed in 0..60u64 {
        let shards = [1, 2, 3, 5, 16][(seed % 5) as usize];
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(seed, shards, seed % 2 == 1)));
        if let Err(panic) = outcome {
            eprintln!("failing seed: {seed} ({shards} shards)");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn concurrency_is_exact_and_nobody_starves() {
    each_seed(|seed, shards, reorders| {
        let mut world = World::new(seed, shards, reorders);
        for n in 0..20 {
            let patience = if n % 5 == 4 { Patience::Refuse } else { Patience::Queue };
            world.worker(vec![concurrency(n % 3, 1 + (n % 3) as u32)], 8, patience);
        }
        world.run();
    });
}

#[test]
fn attempts_take_several_limits_at_once_and_nobody_starves() {
    each_seed(|seed, shards, reorders| {
        let mut world = World::new(seed, shards, reorders);
        for n in 0..18u64 {
            let asks = vec![concurrency(0, 4), concurrency(1 + n % 3, 1), concurrency(10 + n % 2, 2)];
            world.worker(asks, 6, Patience::Queue);
        }
        world.run();
    });
}

#[test]
fn a_bucket_is_exact_over_all_shards() {
    each_seed(|seed, shards, reorders| {
        let mut world = World::new(seed, shards, reorders);
        let rate = Rate::new(20, Duration::from_millis(500));
        for _ in 0..12 {
            world.worker(vec![Ask { key: key(5), limit: Limit::Bucket(rate) }], 10, Patience::Refuse);
        }
        world.run();
        world.check_rate(key(5), 20, 500_000, 21);
    });
}

#[test]
fn departures_are_smooth_over_all_shards() {
    each_seed(|seed, shards, reorders| {
        let mut world = World::new(seed, shards, reorders);
        let rate = Rate::new(7, Duration::from_secs(1));
        for _ in 0..8 {
            world.worker(vec![Ask { key: key(6), limit: Limit::Paced(rate) }], 7, Patience::Queue);
        }
        let start = world.now.0;
        world.run();
        world.check_rate(key(6), 7, 1_000_000, 2);
        let taken = &world.taken[&key(6)];
        let span = taken.iter().max().expect("taken") - start;
        // 56 departures at 7 a second take 7.86 s; what lapses with a slow message costs a little.
        assert!((7_700_000..11_000_000).contains(&span), "{span} us");
    });
}

#[test]
fn an_idle_lease_is_recalled_before_anyone_is_refused() {
    let shards = 4;
    let ask = (0..).map(|n| concurrency(n, 8)).find(|a| a.key.owner(shards) == ShardId(0)).expect("one");
    let mut world = World::new(1, shards, false);
    let now = world.now;
    let request = |ticket| Request {
        asks: std::slice::from_ref(&ask),
        ticket: Ticket::inbound(ticket),
        since: now,
        priority: 0,
        want: 8,
        patience: Patience::Refuse,
    };
    // Shard 1 is granted all eight and uses none of them.
    assert!(matches!(world.shards[1].acquire(&request(1), now), Verdict::Wait { .. }));
    let pass = |world: &mut World, from: usize, to: usize| {
        let sent: Vec<_> = world.shards[from].outbox().collect();
        for (target, items) in sent {
            assert_eq!(usize::from(target.0), to);
            world.shards[to].receive(ShardId(from as u16), items, now);
        }
    };
    pass(&mut world, 1, 0);
    pass(&mut world, 0, 1);
    // Shard 2 asks: the owner has none left, and recalls.
    assert!(matches!(world.shards[2].acquire(&request(2), now), Verdict::Wait { .. }));
    pass(&mut world, 2, 0);
    pass(&mut world, 0, 1);
    pass(&mut world, 1, 0);
    pass(&mut world, 0, 2);
    assert_eq!(world.shards[2].woken().collect::<Vec<_>>(), [Ticket::inbound(2)]);
    let Verdict::Granted(permit) = world.shards[2].acquire(&request(2), now) else { panic!("recalled") };
    world.shards[2].release(permit, now);
}

#[test]
fn the_second_taken_under_a_lease_sends_nothing() {
    let shards = 2;
    let ask = (0..).map(|n| concurrency(n, 1000)).find(|a| a.key.owner(shards) == ShardId(0)).expect("one");
    let now = Monotonic(5_000_000);
    let (mut owner, mut holder) = (Limits::new(ShardId(0), shards), Limits::new(ShardId(1), shards));
    let request = Request::inbound(std::slice::from_ref(&ask), Ticket::inbound(1), now);
    assert!(matches!(holder.acquire(&request, now), Verdict::Wait { ask: 0, until: None }));
    for (_, items) in holder.outbox().collect::<Vec<_>>() {
        owner.receive(ShardId(1), items, now);
    }
    for (_, items) in owner.outbox().collect::<Vec<_>>() {
        holder.receive(ShardId(0), items, now);
    }
    for _ in 0..10 {
        let Verdict::Granted(permit) = holder.acquire(&request, now) else { panic!("a lease is held") };
        assert!(!holder.has_outgoing());
        holder.release(permit, now);
        assert!(!holder.has_outgoing());
    }
    // What was never used returns by itself after 50 ms; what was is kept while it is used now and then.
    let mut at = now + Duration::from_millis(51);
    assert!(holder.next_deadline() <= at);
    holder.turn(at);
    let sent: Vec<Item> = holder.outbox().flat_map(|(_, items)| items).collect();
    assert_eq!(sent, [Item::Return { key: ask.key, unused: 63, spent: 0, recalled: false }]);
    owner.receive(ShardId(1), sent, at);
    for _ in 0..30 {
        at = at + Duration::from_millis(700);
        holder.turn(at);
        let Verdict::Granted(permit) = holder.acquire(&request, at) else { panic!("it is kept") };
        holder.release(permit, at);
        assert!(!holder.has_outgoing());
    }
    // Not used for a second, it goes home as well.
    at = at + Duration::from_millis(1001);
    assert!(holder.next_deadline() <= at);
    holder.turn(at);
    for (_, items) in holder.outbox().collect::<Vec<_>>() {
        owner.receive(ShardId(1), items, at);
    }
    assert!(holder.is_quiet() && owner.is_quiet());
}

/// Whoever looks, is told to wait and comes back with a ticket has one place in the line, not two: the first of two
/// would be given what the second waits for, and the second refused.
#[test]
fn a_look_without_a_ticket_takes_no_place_in_the_line() {
    let ask = (0..).map(|n| concurrency(n, 2)).find(|a| a.key.owner(2) == ShardId(0)).expect("one");
    let now = Monotonic(5_000_000);
    let mut world = World::new(1, 2, false);
    let look = Request::inbound(std::slice::from_ref(&ask), Ticket::NONE, now);
    let wait = Request { ticket: Ticket::inbound(1), ..look };
    let pass = |world: &mut World, from: usize| {
        for (to, items) in world.shards[from].outbox().collect::<Vec<_>>() {
            world.shards[usize::from(to.0)].receive(ShardId(from as u16), items, now);
        }
    };
    let mut held = Vec::new();
    for shard in [1, 0] {
        for request in [&look, &wait] {
            assert!(shard == 0 || matches!(world.shards[shard].acquire(request, now), Verdict::Wait { .. }));
        }
        pass(&mut world, 1);
        pass(&mut world, 0);
        let woken: Vec<_> = world.shards[shard].woken().collect();
        assert!(woken.is_empty() || woken == [Ticket::inbound(1)], "{woken:?}");
        let Verdict::Granted(permit) = world.shards[shard].acquire(&wait, now) else { panic!("two may be held") };
        held.push(permit);
    }
    assert!(!world.shards[1].has_outgoing(), "nothing more is asked for");
    for (shard, permit) in [1, 0].into_iter().zip(held) {
        world.shards[shard].release(permit, now);
    }
}
