//! A seeded simulation over virtual time: several shards, scripted next hops, commits that fail, restarts, steps of
//! the wall clock, an operator. It checks P3, P4, P5, P9, P12 and P15 of HARDENING as far as this room answers for them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::base::{MessageId, Monotonic, Now, RecipientIndex, ShardId, StreamId, WallTime};
use crate::limits::{Item, KeyMaker, Limits};
use crate::mail::{Outcome, Scope, Status, StatusRecord};
use crate::queue::{ArrivalRecipient, RecipientSet};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

struct UnderWay {
    shard: usize,
    attempt: Attempt<Rc<u64>>,
    ends: Monotonic,
}

struct World {
    random: Random,
    mono: u64,
    wall: u64,
    settings: Rc<Settings>,
    shards: Vec<(Scheduler<Rc<u64>>, Limits)>,
    network: BTreeMap<(u64, u64), (usize, usize, Vec<Item>)>,
    sent: u64,
    disk: BTreeMap<MessageId, Disk>,
    sequence: u64,
    under_way: Vec<UnderWay>,
    busy: HashSet<(MessageId, u32)>,
    /// Open connections per lane, and of each shard the idle ones with the time at which they close.
    open: HashMap<String, u32>,
    idle: Vec<(usize, Rc<LaneSpec>, Monotonic)>,
    tried: HashSet<(MessageId, u32)>,
    failed_domains: HashSet<&'static str>,
    sick_until: Vec<Option<Monotonic>>,
    faults: bool,
    delivered: HashMap<(MessageId, u32), u32>,
    crashes: u32,
    specs: HashMap<&'static str, Rc<LaneSpec>>,
}

const DOMAINS: &[&str] = &["good.test", "flaky.test", "down.test", "refuses.test", "small.test", "tempfail.test"];
impl World {
    fn new(seed: u64, shards: u16) -> World {
        let settings = Rc::new(settings());
        let mut world = World {
            random: Random(seed),
            mono: 1_000_000,
            wall: 1_800_000_000_000,
            settings,
            shards: Vec::new(),
            network: BTreeMap::new(),
            sent: 0,
            disk: BTreeMap::new(),
            sequence: 0,
            under_way: Vec::new(),
            busy: HashSet::new(),
            open: HashMap::new(),
            idle: Vec::new(),
            tried: HashSet::new(),
            failed_domains: HashSet::new(),
            sick_until: vec![None; usize::from(shards)],
            faults: true,
            delivered: HashMap::new(),
            crashes: 0,
            specs: DOMAINS.iter().map(|d| (*d, Rc::new(spec(d)))).collect(),
        };
        world.start(shards);
        world
    }

    fn now(&self) -> Now {
        Now { mono: Monotonic(self.mono), wall: WallTime(self.wall) }
    }

    fn start(&mut self, shards: u16) {
        let keys = KeyMaker::new(self.random.next());
        let seed = self.random.next();
        self.shards = (0..shards)
            .map(|s| (Scheduler::new(self.settings.clone(), keys.clone(), seed), Limits::new(ShardId(s), shards)))
            .collect();
        let now = self.now();
        for (&id, disk) in &mut self.disk {
            let recipients: Vec<_> = (0..disk.status.len())
                .filter_map(|r| {
                    let mut waits = ArrivalRecipient::new(RecipientIndex(r as u32), disk.domains[r]);
                    match &disk.status[r] {
                        None => disk.due[r] = i64::MIN,
                        Some(Status::Deferred { until, attempts, delay_notices, last }) => {
                            (waits.due, waits.attempts, waits.delay_notices) =
                                (Some(*until), *attempts, *delay_notices);
                            waits.last_error = last.kind;
                            disk.due[r] = now.micros_of(*until);
                        }
                        Some(_) => return None,
                    }
                    Some(waits)
                })
                .collect();
            let arrival = arrival(id, disk, &recipients, None);
            let home = id.stream.0 as usize;
            assert_eq!(self.shards[home].0.insert(arrival.clone(), now), !recipients.is_empty());
            assert!(!self.shards[home].0.insert(arrival, now), "a second copy changes nothing");
        }
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.network.clear();
        self.under_way.clear();
        self.busy.clear();
        self.open.clear();
        self.idle.clear();
        self.tried.clear();
        self.failed_domains.clear();
        self.sick_until.fill(None);
        self.mono = 1_000_000 + self.random.below(1_000_000); // the monotonic clock is another one now
        self.start(self.shards.len() as u16);
    }

    fn accept(&mut self) {
        let home = self.random.below(self.shards.len() as u64) as usize;
        self.sequence += 1;
        let id = MessageId { stream: StreamId(home as u32), start: 1, sequence: self.sequence };
        let count = 1 + self.random.below(6) as usize;
        let domains: Vec<_> = (0..count).map(|_| DOMAINS[self.random.below(DOMAINS.len() as u64) as usize]).collect();
        let disk = Disk {
            received_at: WallTime(self.wall),
            priority: self.random.below(19) as i8 - 9,
            status: vec![None; count],
            due: vec![i64::MIN; count],
            domains,
            is_held: false,
        };
        let recipients: Vec<_> =
            disk.domains.iter().enumerate().map(|(r, d)| ArrivalRecipient::new(RecipientIndex(r as u32), d)).collect();
        let arrival = arrival(id, &disk, &recipients, Some(Rc::new(self.sequence)));
        let now = self.now();
        assert!(self.shards[home].0.insert(arrival, now));
        self.disk.insert(id, disk);
    }

    fn turn(&mut self, s: usize) {
        let now = self.now();
        let random = self.random.next();
        let (scheduler, limits) = &mut self.shards[s];
        limits.turn(now.mono);
        for ticket in limits.woken().collect::<Vec<_>>() {
            scheduler.wake(ticket);
        }
        for key in limits.recalled().collect::<Vec<_>>() {
            scheduler.recall(key);
        }
        while !scheduler.turn(random, now) {}
        for lane in scheduler.closings().collect::<Vec<_>>() {
            if let Some(at) = self.idle.iter().position(|(shard, l, _)| *shard == s && l.key == lane.lane.key) {
                self.close_idle(at);
            }
        }
        self.recover_sick(s);
        while let Some(due) = self.shards[s].0.next_due(now) {
            self.route(s, &due);
        }
        loop {
            let (scheduler, limits) = &mut self.shards[s];
            let Some(attempt) = scheduler.next_attempt(limits, now) else { break };
            self.begin(s, attempt);
        }
    }

    fn close_idle(&mut self, at: usize) {
        let (shard, lane, _) = self.idle.swap_remove(at);
        *self.open.get_mut(&*lane.key.next_hop).expect("open") -= 1;
        let now = self.now();
        let (scheduler, limits) = &mut self.shards[shard];
        scheduler.connection_closed(&lane.key, None, limits, now);
    }

    fn route(&mut self, s: usize, due: &crate::queue::DueMessage<Rc<u64>>) {
        let now = self.now();
        let disk = &self.disk[&due.id];
        assert!(!disk.is_held, "a held message is not routed");
        let mut routed = Vec::new();
        for group in &due.groups {
            let mut by_domain: BTreeMap<&str, Vec<RecipientIndex>> = BTreeMap::new();
            for r in group.recipients.iter() {
                assert!(disk.due[r.0 as usize] <= now.micros(), "routed before its time");
                by_domain.entry(disk.domains[r.0 as usize]).or_default().push(r);
            }
            for (domain, recipients) in by_domain {
                let to = if domain == "refuses.test" && self.random.one_in(2) {
                    Destination::Outcome(Box::new(Outcome::Failed(diagnostic(Scope::Recipient, 556))))
                } else {
                    Destination::Lane(self.specs[domain].clone())
                };
                let plan = self.shards[s].0.plan("remote");
                routed.push(Routed {
                    group: group.group,
                    recipients: recipients.into_iter().collect(),
                    plan,
                    to,
                    last: None,
                });
            }
        }
        let random = self.random.next();
        let outcomes: Vec<_> = routed.iter().filter(|r| matches!(r.to, Destination::Outcome(_))).cloned().collect();
        for routed in outcomes {
            self.tried.extend(routed.recipients.iter().map(|r| (due.id, r.0)));
        }
        if let Some(completion) = self.shards[s].0.route(due, routed, random, now) {
            self.commit(s, completion);
        }
    }

    fn begin(&mut self, s: usize, attempt: Attempt<Rc<u64>>) {
        let domain: &str = &attempt.lane.key.next_hop;
        let disk = &self.disk[&attempt.message];
        for r in attempt.recipients.iter() {
            assert!(self.busy.insert((attempt.message, r.0)), "two attempts of one recipient");
            assert_eq!(disk.domains[r.0 as usize], domain);
            assert!(disk.status[r.0 as usize].as_ref().is_none_or(|s| !s.is_final()), "an attempt of what is final");
            assert!(disk.due[r.0 as usize] <= self.mono as i64, "an attempt before its time");
            self.tried.insert((attempt.message, r.0));
        }
        if domain == "small.test" {
            assert!(attempt.recipients.len() <= 6);
        }
        if let Some(at) =
            attempt.reuse.then(|| self.idle.iter().position(|(shard, l, _)| *shard == s && l.key == attempt.lane.key))
        {
            self.idle.swap_remove(at.expect("a connection to reuse"));
        } else {
            let open = self.open.entry(domain.to_owned()).or_default();
            *open += 1;
            assert!(*open <= LANE_CONNECTIONS, "{open} connections to {domain}");
        }
        assert!(self.under_way.len() < THREADS as usize, "more attempts than threads");
        let ends = Monotonic(self.mono + 1000 + self.random.below(8_000_000));
        self.under_way.push(UnderWay { shard: s, attempt, ends });
    }

    fn outcome(&mut self, domain: &str) -> Outcome {
        let late = !self.faults;
        match domain {
            "flaky.test" if self.random.one_in(2) => Outcome::Deferred(diagnostic(Scope::Recipient, 451)),
            "flaky.test" if self.random.one_in(9) => Outcome::Deferred(diagnostic(Scope::Host, 421)),
            "down.test" if !late || self.random.one_in(3) => Outcome::Deferred(diagnostic(Scope::Host, 421)),
            "tempfail.test" => Outcome::Deferred(diagnostic(Scope::Message, 451)),
            "refuses.test" => Outcome::Failed(diagnostic(Scope::Recipient, 550)),
            _ => Outcome::Delivered(diagnostic(Scope::Recipient, 250)),
        }
    }

    fn end(&mut self, at: usize) {
        let now = self.now();
        let UnderWay { shard, attempt, .. } = self.under_way.swap_remove(at);
        let domain = self.specs.keys().copied().find(|d| *d == attempt.lane.key.next_hop).expect("known");
        let mut outcomes = Vec::new();
        let host = self.outcome(domain);
        let reaches_all = matches!(&host, Outcome::Deferred(d) if d.scope == Scope::Host);
        let few = domain == "small.test";
        let died = self.random.one_in(40);
        for r in attempt.recipients.iter().take(if few { 2 } else { usize::MAX }) {
            let outcome = if reaches_all { host.clone() } else { self.outcome(domain) };
            if !died && matches!(outcome, Outcome::Delivered(_)) {
                *self.delivered.entry((attempt.message, r.0)).or_default() += 1;
            }
            outcomes.push((r, outcome));
        }
        if outcomes.iter().any(|(_, o)| matches!(o, Outcome::Deferred(d) if d.scope == Scope::Host)) {
            self.failed_domains.insert(domain);
        }
        for r in attempt.recipients.iter() {
            self.busy.remove(&(attempt.message, r.0));
        }
        let connection =
            if reaches_all || died || self.random.one_in(4) { Connection::Closed } else { Connection::Kept };
        match connection {
            Connection::Closed => *self.open.get_mut(domain).expect("open") -= 1,
            Connection::Kept | Connection::Away(_) => {
                self.idle.push((shard, attempt.lane.clone(), now.mono + Duration::from_millis(500)));
            }
        }
        let random = self.random.next();
        let (scheduler, limits) = &mut self.shards[shard];
        let completion = if died {
            scheduler.abandon(attempt.id, limits, random, now)
        } else {
            let report = Report { outcomes, connection, recipients_max: few.then_some(2) };
            scheduler.complete(attempt.id, report, limits, random, now)
        };
        if let Some(completion) = completion {
            self.commit(shard, completion);
        }
    }

    fn commit(&mut self, s: usize, completion: Completion) {
        let fails = self.sick_until[s].is_some() || (self.faults && self.random.one_in(30));
        if fails {
            let until = Monotonic(self.mono + self.random.below(20_000_000));
            self.sick_until[s].get_or_insert(until);
            return self.shards[s].0.not_applied(completion);
        }
        self.write(s, completion);
    }

    fn recover_sick(&mut self, s: usize) {
        if self.sick_until[s].is_some_and(|until| until.0 <= self.mono) {
            self.sick_until[s] = None;
            while let Some(completion) = self.shards[s].0.unrecorded() {
                self.write(s, completion);
            }
        }
    }

    fn write(&mut self, s: usize, completion: Completion) {
        let now = self.now();
        for record in &completion.records {
            self.write_record(record, now);
        }
        let about: BTreeSet<u32> = completion.records.iter().map(|r| r.recipient.0).collect();
        assert_eq!(about.len(), completion.records.len(), "one record per recipient");
        for notice in &completion.notices {
            let status = self.disk[&completion.message].status[notice.recipient.0 as usize].as_ref();
            let fits = match notice.kind {
                NoticeKind::Delivered => matches!(status, Some(Status::Delivered { .. })),
                NoticeKind::Failed => matches!(status, Some(Status::Failed { .. })),
                NoticeKind::Expired => matches!(status, Some(Status::Expired { .. })),
                NoticeKind::Delayed => matches!(status, Some(Status::Deferred { delay_notices: 1, .. })),
            };
            assert!(fits, "{notice:?} of {status:?}");
        }
        let finals = completion.records.iter().filter(|r| r.status.is_final());
        let removed = finals.clone().filter(|r| matches!(r.status, Status::Removed)).count();
        let told = completion.notices.iter().filter(|n| n.kind != NoticeKind::Delayed).count();
        assert_eq!(finals.count() - removed, told, "every end is told once");
        self.shards[s].0.applied(completion, now);
    }

    fn write_record(&mut self, record: &StatusRecord, now: Now) {
        let disk = self.disk.get_mut(&record.message).expect("a message");
        let r = record.recipient.0 as usize;
        let old = disk.status[r].replace(record.status.clone());
        assert!(old.is_none_or(|old| !old.is_final()), "a second end of {} {r}", record.message);
        let key = (record.message, record.recipient.0);
        match &record.status {
            Status::Deferred { until, .. } if record.at == now.wall => disk.due[r] = now.micros_of(*until),
            Status::Deferred { .. } => disk.due[r] = i64::MIN, // written late, perhaps after a step of the clock
            Status::Expired { attempts, .. } => {
                let lane_failed = self.failed_domains.contains(disk.domains[r]);
                assert!(self.tried.contains(&key) || lane_failed, "expired without an attempt since start");
                assert!(*attempts > 0 || lane_failed);
            }
            _ => {}
        }
    }

    /// Conservation: what is not final is in the queue exactly once, what is final is not.
    fn check_conservation(&self) {
        let mut queued = 0;
        for (&id, disk) in &self.disk {
            let scheduler = &self.shards[id.stream.0 as usize].0;
            let mut seen = vec![0u32; disk.status.len()];
            for why in scheduler.why(id, self.now()) {
                for r in why.recipients.iter() {
                    seen[r.0 as usize] += 1;
                }
            }
            for (r, &times) in seen.iter().enumerate() {
                let is_final = disk.status[r].as_ref().is_some_and(Status::is_final);
                assert_eq!(times, u32::from(!is_final), "{id} recipient {r}: {:?}", disk.status[r]);
            }
            queued += usize::from(seen.contains(&1));
        }
        assert_eq!(queued, self.shards.iter().map(|(s, _)| s.queue().len()).sum::<usize>());
    }

    fn operate(&mut self) {
        let Some(&id) = self.disk.keys().nth(self.random.below(self.disk.len() as u64) as usize) else { return };
        let now = self.now();
        let home = id.stream.0 as usize;
        let queued = self.shards[home].0.queue().contains(id);
        let disk = self.disk.get_mut(&id).expect("chosen");
        match self.random.below(5) {
            0 if queued => {
                disk.is_held = true;
                assert!(self.shards[home].0.hold(id));
            }
            1 | 2 => {
                disk.is_held = false;
                assert_eq!(self.shards[home].0.release(id, now), queued);
            }
            3 => {
                disk.due.fill(i64::MIN);
                self.shards[home].0.retry(id, now);
            }
            _ => {
                let some: RecipientSet = [RecipientIndex(0), RecipientIndex(2)].into_iter().collect();
                let only = self.random.one_in(2).then_some(some);
                if let Some(completion) = self.shards[home].0.remove(id, only.as_ref(), now) {
                    self.commit(home, completion);
                }
            }
        }
    }

    fn post(&mut self) {
        for from in 0..self.shards.len() {
            for (to, items) in self.shards[from].1.outbox().collect::<Vec<_>>() {
                self.sent += 1;
                let at = self.mono + 10 + self.random.below(800);
                self.network.insert((at, self.sent), (from, usize::from(to.0), items));
            }
        }
    }

    /// One moment of virtual time; then to the next that matters, at most `far` microseconds ahead.
    fn step(&mut self, far: u64) {
        while let Some(entry) = self.network.first_entry()
            && entry.key().0 <= self.mono
        {
            let (from, to, items) = entry.remove();
            self.shards[to].1.receive(ShardId(from as u16), items, Monotonic(self.mono));
        }
        while let Some(at) = self.idle.iter().position(|(.., closes)| closes.0 <= self.mono) {
            self.close_idle(at);
        }
        while let Some(at) = self.under_way.iter().position(|u| u.ends.0 <= self.mono) {
            self.end(at);
        }
        for s in 0..self.shards.len() {
            self.turn(s);
        }
        self.post();
        let now = self.now();
        let shards = self.shards.iter().flat_map(|(s, l)| [s.next_deadline(now).0, l.next_deadline().0]);
        let network = self.network.first_key_value().map(|((at, _), _)| *at);
        let ends = self.under_way.iter().map(|u| u.ends.0).chain(self.idle.iter().map(|(.., closes)| closes.0));
        let sick = self.sick_until.iter().flatten().map(|until| until.0);
        let next = shards.chain(network).chain(ends).chain(sick).min().unwrap_or(u64::MAX);
        if next == u64::MAX && self.is_done() {
            return;
        }
        assert!(next < u64::MAX || far < u64::MAX, "stuck: {:#?}", self.stuck());
        let ahead = next.saturating_sub(self.mono).clamp(1, far);
        self.mono += ahead;
        self.wall += ahead / 1000;
    }

    fn stuck(&self) -> Vec<Why> {
        let now = self.now();
        let homes = self.disk.keys().map(|&id| (id, &self.shards[id.stream.0 as usize].0));
        homes.flat_map(|(id, scheduler)| scheduler.why(id, now)).collect()
    }

    fn is_done(&self) -> bool {
        self.shards.iter().all(|(s, _)| s.queue().is_empty()) && self.under_way.is_empty()
    }
}

fn simulate(seed: u64) {
    let shards = [1, 1, 2, 3][(seed % 4) as usize];
    let mut world = World::new(seed, shards);
    for n in 0..700u64 {
        if world.sequence < 40 && world.random.one_in(5) {
            world.accept();
        }
        if world.random.one_in(60) {
            world.operate();
        }
        if world.random.one_in(250) {
            world.crash();
        }
        if world.random.one_in(100) {
            let step = world.random.below(20 * 86_400_000) as i64 - 10 * 86_400_000;
            world.wall = (world.wall as i64 + step) as u64; // the wall clock is set
        }
        world.step(60_000_000);
        if n % 50 == 0 {
            world.check_conservation();
        }
    }
    // The faults end; everything comes to an end by itself.
    world.faults = false;
    for id in world.disk.keys().copied().collect::<Vec<_>>() {
        let now = world.now();
        world.disk.get_mut(&id).expect("listed").is_held = false;
        world.shards[id.stream.0 as usize].0.release(id, now);
    }
    let mut steps = 0;
    while !world.is_done() {
        world.step(u64::MAX);
        steps += 1;
        if steps % 5000 == 0 {
            world.check_conservation();
        }
        assert!(steps < 60_000, "never ends: {:#?}", world.stuck());
    }
    world.check_conservation();
    for (&id, disk) in &world.disk {
        for (r, status) in disk.status.iter().enumerate() {
            let status = status.as_ref().filter(|s| s.is_final()).expect("an end");
            let times = world.delivered.get(&(id, r as u32)).copied().unwrap_or(0);
            if world.crashes == 0 {
                let once = u32::from(matches!(status, Status::Delivered { .. }));
                assert_eq!(times, once, "{id} {r}: delivered {times} times, {status:?}");
            }
        }
    }
    for _ in 0..2000 {
        world.step(u64::MAX / 4);
        if world.shards.iter().all(|(s, _)| s.queue().lane_count() == 0) && world.network.is_empty() {
            break;
        }
    }
    assert!(world.shards.iter().all(|(s, _)| s.queue().lane_count() == 0), "a lane is never forgotten");
}

#[test]
fn every_recipient_ends_once_whatever_happens() {
    // More with `POSTHASTE_SIM_SEEDS`; one alone with `POSTHASTE_SIM_SEED`.
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("POSTHASTE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("POSTHASTE_SIM_SEEDS").unwrap_or(100),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| simulate(seed));
        if let Err(panic) = outcome {
            eprintln!("failing seed: {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
