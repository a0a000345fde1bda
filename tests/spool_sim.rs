//! The spool against a disk that fails in every way: nothing acknowledged is lost, nothing refused
//! reappears, no final recipient comes back, and what is read is what was written. Every fourth story is followed by
//! one of a disk without room ([`full`]).
//!
//! Breaks that were made on purpose, and what says so within the stories of one run:
//!
//! | break | what says so |
//! |---|---|
//! | a segment is closed without its sync | acknowledged and lost; a final recipient came back |
//! | a segment whose messages changed while they were copied is given up for ever | `full`: mail is never taken again |
//! | nothing is compacted | `full`: an outcome waits for ever |
//!
//! `POSTHASTE_SEEDS=n` sets how many stories are told, `POSTHASTE_SEED=n` tells one again.
#![allow(clippy::unwrap_used, clippy::await_holding_refcell_ref)]

mod common;
#[path = "spool_sim/full.rs"]
mod full;
#[path = "spool_sim/model.rs"]
mod model;
#[path = "spool_sim/shipper.rs"]
mod shipper;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use posthaste::base::{MessageId, ShardId, WallTime};
use posthaste::spool::sim::{Crash, Faults, Random, SimDisk};
use posthaste::spool::storage::Storage;
use posthaste::spool::{
    Body, CommitError, Durability, Feed, Gap, Health, Record, Recovery, RecoveryEvent, Settings, Shipper, Spool,
};

use common::{content, deferred, delivered, message};
use model::{Change, Model};

const WORKERS: usize = 6;
const LIVES: u64 = 4;

fn settings(backlog: u64) -> Settings {
    Settings {
        shippers: vec![Shipper { name: "log".into(), backlog }],
        path: PathBuf::from("/spool"),
        segment_size: 256 << 10,
        bulk_segment_size: 1 << 20,
        memory_budget: 16 << 20,
        free_space_min: 512 << 10,
        reserve: 2,
        spare_max: 4,
        ..Settings::default()
    }
}

/// A word on where a story is, when one is told again.
fn note(what: impl FnOnce() -> String) {
    if std::env::var_os("POSTHASTE_SEED").is_some() {
        eprintln!("{}", what());
    }
}

struct Story {
    random: RefCell<Random>,
    model: RefCell<Model>,
    /// What is kept for the shipper.
    backlog: u64,
    /// The disk was small in one of the lives.
    was_small: Cell<bool>,
}

impl Story {
    fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}

async fn open_all(disk: &SimDisk, shards: u16, backlog: u64) -> Vec<(Spool<SimDisk>, Recovery)> {
    let mut spools = Vec::new();
    for shard in 0..shards {
        let mut tries = 0;
        loop {
            match Spool::open(disk.clone(), settings(backlog), ShardId(shard), shards).await {
                Ok(opened) => break spools.push(opened),
                Err(error) if tries > 200 => panic!("{error}"),
                Err(_) => tries += 1, // a failing disk: the operator tries again
            }
            disk.sleep(Duration::from_millis(100)).await;
        }
    }
    spools
}

/// Reads all that recovery reports and holds it against the model.
async fn recover(story: &Story, spools: Vec<(Spool<SimDisk>, Recovery)>, corrupted: bool) -> Vec<Spool<SimDisk>> {
    let mut found = Vec::new();
    let mut out = Vec::new();
    for (spool, mut recovery) in spools {
        while let Some(event) = recovery.next().await {
            match event {
                RecoveryEvent::Messages(batch) => found.extend(batch),
                RecoveryEvent::Damaged(damage) => {
                    note(|| format!("{damage:?}"));
                    let torn = damage.kind == posthaste::spool::DamageKind::Torn;
                    assert!(torn || corrupted || story.model.borrow().has_failed, "{damage:?}");
                }
                RecoveryEvent::Complete(_) => {}
                RecoveryEvent::Failed(stream, error) => panic!("stream {stream}: {error}"),
            }
        }
        out.push(spool);
    }
    story.model.borrow_mut().recovered(&found);
    out
}

fn owner(spools: &[Spool<SimDisk>], id: MessageId) -> &Spool<SimDisk> {
    let owns =
        |spool: &&Spool<SimDisk>| id.stream.0 as usize % spools.len() == spool.stream().0 as usize % spools.len();
    spools.iter().find(owns).expect("streams are dealt out")
}

async fn new_mail(story: &Story, spool: &Spool<SimDisk>) {
    let (id, seed) = (spool.new_id(), story.below(u64::MAX));
    let recipients = 1 + story.below(4) as u32;
    let is_bulk = story.one_in(12);
    let length = if is_bulk { 260_000 + story.below(200_000) } else { story.below(9000) } as usize;
    let durability = if story.one_in(4) { Durability::Process } else { Durability::Durable };
    let content = content(seed, length);
    let body = if is_bulk {
        let mut writer = spool.bulk();
        for piece in content.chunks(60_000) {
            if writer.write(piece).await.is_err() {
                return;
            }
        }
        match writer.finish().await {
            Ok(extents) => Body::Bulk(extents),
            Err(_) => return,
        }
    } else if length == 0 {
        Body::Memory(Vec::new())
    } else {
        Body::Memory(vec![content.slice(..length / 2), content.slice(length / 2..)])
    };
    story.model.borrow_mut().submitted(id, seed, length, recipients);
    let commit = spool.commit(vec![Record::Message(message(id, recipients, "example.test", body))], durability);
    if story.one_in(10) {
        return; // the client went away: the record is the writer's
    }
    let result = commit.await;
    story.model.borrow_mut().answered(id, durability, result, spool.health() != Health::Sick);
}

/// Something happens to recipients of a queued message, perhaps with a DSN in the same frame.
async fn outcome(story: &Story, spools: &[Spool<SimDisk>]) {
    let picked = {
        let below = story.below(u64::MAX);
        story.model.borrow_mut().pick(below)
    };
    let Some((id, pending)) = picked else { return };
    let spool = owner(spools, id);
    let mut records = Vec::new();
    let mut changes = Vec::new();
    for recipient in pending {
        let roll = story.below(10);
        let attempts = 1 + story.below(1000) as u32;
        match roll {
            0..5 => {
                changes.push((recipient, Change::Final));
                records.push(delivered(id, recipient));
            }
            5..8 => {
                changes.push((recipient, Change::Deferred(attempts)));
                records.push(deferred(id, recipient, 1_000 + u64::from(attempts), attempts));
            }
            _ => {}
        }
    }
    if story.one_in(8) {
        let held = story.one_in(2);
        changes.push((u32::MAX, Change::Held(held)));
        let at = WallTime(1);
        records.push(if held { Record::Hold { message: id, at } } else { Record::Release { message: id, at } });
    }
    let dsn = if story.one_in(5) && !records.is_empty() { spool.new_id_in(id.stream) } else { None };
    let durability = if story.one_in(6) { Durability::Process } else { Durability::Durable };
    if let Some(dsn) = dsn {
        let seed = story.below(u64::MAX);
        story.model.borrow_mut().submitted(dsn, seed, 300, 1);
        records.push(Record::Message(message(dsn, 1, "origin.test", common::body(seed, 300))));
    }
    if records.is_empty() {
        return story.model.borrow_mut().let_go(id);
    }
    story.model.borrow_mut().attempted(id, &changes);
    let result = spool.commit(records, durability).await;
    assert!(matches!(result, Ok(()) | Err(CommitError::Closing)), "outcomes are never refused: {result:?}");
    if result.is_ok() {
        let is_well = spool.health_of(id.stream) != Health::Sick;
        story.model.borrow_mut().happened(id, &changes, durability, dsn, is_well);
    }
}

/// What is read back is what was written, and its state is what was said.
async fn read_back(story: &Story, spools: &[Spool<SimDisk>], may_fail: bool) {
    let picked = {
        let below = story.below(u64::MAX);
        story.model.borrow().any_settled(below)
    };
    let Some((id, seed, length)) = picked else { return };
    let spool = owner(spools, id);
    let stored = match spool.read(id).await {
        Ok(stored) => stored,
        Err(error) => {
            assert!(may_fail || !story.model.borrow().is_settled(id), "{error}");
            return;
        }
    };
    let mut reader = spool.body(&stored.message);
    let mut read = Vec::new();
    loop {
        match reader.next().await {
            Ok(Some(piece)) => read.extend_from_slice(&piece),
            Ok(None) => break,
            Err(error) => {
                assert!(may_fail, "{error}");
                return;
            }
        }
    }
    assert!(read == content(seed, length), "the body of {id} is another one");
}

async fn worker(story: Rc<Story>, spools: Rc<Vec<Spool<SimDisk>>>, actions: u64, may_fail: bool) {
    for _ in 0..actions {
        let spool = &spools[story.below(spools.len() as u64) as usize];
        match story.below(10) {
            0..4 => new_mail(&story, spool).await,
            4..9 => outcome(&story, &spools).await,
            _ => read_back(&story, &spools, may_fail).await,
        }
    }
}

/// How the consumer of events is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consumer {
    Quick,
    /// It takes its time, and does not always say that it has what it has.
    Slow,
    /// It takes nothing.
    Gone,
}

/// Ships until the spool is closed or the process ends.
async fn ship(story: Rc<Story>, disk: SimDisk, mut feed: Feed<SimDisk>, consumer: Consumer) {
    while consumer != Consumer::Gone
        && let Some(chunk) = feed.next().await
    {
        let pause = if consumer == Consumer::Slow { 3_000_000 } else { 20_000 };
        disk.sleep(Duration::from_micros(story.below(pause))).await;
        if story.one_in(12) {
            continue; // it did not take it
        }
        story.model.borrow_mut().seen.take(&chunk);
        disk.sleep(Duration::from_micros(story.below(pause))).await;
        if !story.one_in(12) {
            feed.shipped(&chunk);
        }
    }
}

/// One life of the process: open, recover, work; it ends by a crash, by a shutdown, or just so.
async fn life(story: Rc<Story>, disk: SimDisk, shards: u16, faults: Faults) {
    let opened = open_all(&disk, shards, story.backlog).await;
    let consumer = match story.below(6) {
        0 => Consumer::Gone,
        1 => Consumer::Slow,
        _ => Consumer::Quick,
    };
    for (spool, _) in &opened {
        let feed = spool.feed("log").expect("the settings name it");
        disk.spawn(ship(story.clone(), disk.clone(), feed, consumer));
    }
    // Mail is taken while older streams still recover.
    let early: Vec<_> = opened.iter().map(|(spool, _)| spool.clone()).collect();
    if story.one_in(2) {
        new_mail(&story, &early[0]).await;
    }
    drop(early);
    let spools = Rc::new(recover(&story, opened, false).await);
    note(|| "recovered".into());
    disk.set_faults(faults);
    let may_fail = faults.read_error > 0 || faults.sync_error > 0 || faults.write_error > 0;
    let done = Rc::new(RefCell::new(0));
    for _ in 0..WORKERS {
        let (story, spools, done) = (story.clone(), spools.clone(), done.clone());
        let actions = 10 + story.below(60);
        disk.spawn(async move {
            worker(story, spools, actions, may_fail).await;
            *done.borrow_mut() += 1;
        });
    }
    for tick in 0..10_000 {
        if *done.borrow() == WORKERS {
            break;
        }
        if tick % 500 == 499 {
            note(|| spools.iter().map(Spool::describe).collect());
        }
        if tick == 2000 {
            // Full and failing at once: every failure closed a segment. Somebody makes room, and it goes on.
            disk.set_faults(Faults::default());
            disk.set_space(64 << 20);
        }
        disk.sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(*done.borrow(), WORKERS, "workers hang: {}", spools.iter().map(Spool::describe).collect::<String>());
    disk.set_faults(Faults::default());
    disk.set_space(64 << 20);
    wait_until_well(&disk, &spools).await;
    assert!(spools.iter().all(|spool| spool.health() != Health::Sick), "service resumes by itself");
    note(|| "worked".into());
    if story.one_in(2) {
        for spool in spools.iter() {
            spool.clone().close().await;
        }
    }
}

async fn wait_until_well(disk: &SimDisk, spools: &[Spool<SimDisk>]) {
    for _ in 0..1000 {
        if spools.iter().all(|spool| spool.health() != Health::Sick) {
            return;
        }
        disk.sleep(Duration::from_millis(100)).await;
    }
}

fn tell(seed: u64) {
    if seed.is_multiple_of(4) {
        full::tell(seed);
    }
    let mut random = Random::new(seed);
    // Most stories keep all that is not told, some a single segment.
    let backlog = if random.one_in(4) { 0 } else { 1 << 30 };
    let (model, random) = (RefCell::new(Model::default()), RefCell::new(random));
    let story = Rc::new(Story { random, model, backlog, was_small: Cell::new(false) });
    let mut disk = SimDisk::new(seed ^ 0xd15c, 64 << 20);
    for _ in 0..LIVES {
        let faults = match story.below(4) {
            0 => Faults { write_error: 60, short_write: 90, sync_error: 40, read_error: 0 },
            1 => Faults { sync_error: 25, ..Faults::default() },
            _ => Faults::default(),
        };
        disk.set_faults(Faults::default());
        // A small disk is full soon, and must still work.
        let is_small = story.one_in(3);
        story.was_small.set(story.was_small.get() || is_small);
        disk.set_space(if is_small { (3 << 20) + story.below(4 << 20) } else { 64 << 20 });
        let crash = if story.one_in(4) { Crash::Kill } else { Crash::PowerLoss };
        let operations = 20 + story.below(1500);
        disk.crash_in((!story.one_in(4)).then_some(operations));
        let shards = 1 + story.below(3) as u16;
        note(|| format!("life: {shards} shards, {faults:?}, then {crash:?} within {operations} operations"));
        story.model.borrow_mut().begin(faults.sync_error > 0 || faults.write_error > 0);
        let ended = disk.run(life(story.clone(), disk.clone(), shards, faults));
        let crash = if ended.is_some() { Crash::Kill } else { crash };
        story.model.borrow_mut().ended(crash);
        disk = disk.restart(crash);
    }
    // The last word: a quiet disk, and all that is owed is there.
    disk.set_faults(Faults::default());
    disk.set_space(256 << 20);
    story.model.borrow_mut().begin(false);
    disk.run(async {
        let spools = recover(&story, open_all(&disk, 1, story.backlog).await, false).await;
        for _ in 0..30 {
            read_back(&story, &spools, false).await;
        }
        ship_all(&story, &disk, &spools).await;
    });
    check_events(&story);
}

/// All that is there to be told.
async fn ship_all(story: &Rc<Story>, disk: &SimDisk, spools: &[Spool<SimDisk>]) {
    let feeds: Vec<_> = spools.iter().filter_map(|spool| spool.feed("log")).collect();
    for spool in spools {
        let feed = spool.feed("log").expect("the settings name it");
        disk.spawn(ship(story.clone(), disk.clone(), feed, Consumer::Quick));
    }
    for _ in 0..10_000 {
        if feeds.iter().all(|feed| feed.lag_bytes() == 0) {
            return;
        }
        disk.sleep(Duration::from_millis(50)).await;
    }
    panic!("shipping hangs: {}", spools.iter().map(Spool::describe).collect::<String>());
}

/// What the consumer was told against what happened.
fn check_events(story: &Story) {
    let model = story.model.borrow();
    let gaps = &model.seen.gaps;
    note(|| format!("{} events, {} repeats, gaps: {gaps:?}", model.seen.len(), model.seen.repeats));
    for gap in gaps {
        assert_eq!(gap.causes & Gap::DAMAGE, 0, "nothing that was acknowledged is damaged: {gap:?}");
        assert!(gap.causes & Gap::BACKLOG == 0 || story.backlog == 0, "the backlog was never passed: {gap:?}");
        assert!(gap.causes & Gap::SPACE == 0 || story.was_small.get() || model.has_failed, "there is space: {gap:?}");
    }
    model.told(!gaps.is_empty());
}

#[test]
fn promises_hold_on_a_disk_that_does_not() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("POSTHASTE_SEED") {
        return tell(seed);
    }
    let (next, seeds) = (AtomicU64::new(0), number("POSTHASTE_SEEDS").unwrap_or(200));
    let teller = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            let told = std::panic::catch_unwind(|| tell(seed));
            assert!(told.is_ok(), "seed {seed} failed; replay it with POSTHASTE_SEED={seed}");
        }
    };
    // A story has one thread; as many are told at once as there are cores.
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let tellers: Vec<_> = (0..cores).map(|_| scope.spawn(teller)).collect();
        tellers.into_iter().for_each(|teller| teller.join().expect("a story failed"));
    });
}
