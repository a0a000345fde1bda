//! The whole server as a story that a seed tells: clients bring mail to several shards, next hops take it or not,
//! and the process ends anywhere, on a disk that keeps any part of what it was not made to keep.
//!
//! Nothing here is a model of the product: `smtp::server`, the spool with its recovery, queue, scheduler, limits,
//! `smtp::client`, the frame of a completion and the DSN are the product's; what is scripted are clients, next hops,
//! the disk ([`posthaste::spool::sim`]), the network between shards, and time. [`ledger`] knows what the outside
//! world knows, and holds the promises P1 to P9, P12, P13 and P15 (DESIGN.md part 1) against it, each
//! durability mode with what it says it keeps.
//!
//! Each check was shown to bite by a break made on purpose, most within ten seeds; the worst took 25:
//!
//! | promise | break | what says so |
//! |---|---|---|
//! | P1 | 250 before the sync; a failed sync taken for success; the directory of a new segment not synced | mail that waited is gone after a power cut |
//! | P2 | recovery forgets a recipient | one that waited is gone |
//! | P3 | a status of a completion, or a removal, is not written; compaction copies without the state | a recipient stands as nobody said, or ends never |
//! | P4, P5 | recovery takes the oldest status; a final recipient is put off; in mode `memory` a final status stays in memory while its message goes to disk | delivered, and queued again |
//! | P6 | a frame that was refused while the stream was sick is written when it is well | refused, and there |
//! | P7 | dots are not doubled | the next hop has another content |
//! | P9 | no report when several are due at once; a next hop's first LMTP reply counts for all | who is told what; delivered without a next hop |
//! | P12 | due times are forgotten at a restart, or by a deferral; HOLDFOR is forgotten | tried early |
//! | P13 | the checksum of a payload is not looked at | a damaged message is sent |
//! | P15 | HOLDFOR counts as delay; BY;R ends before its time | expired before its time |
//! | P1, P4 | recovery ends where the last frame says that all was synced | what was said last is unsaid |
//! | P2, P4 | an attempt that another shard made is made here as well | delivered, and tried again |
//! | limits | a connection that was left on another shard gives its place back, or is not closed when that shard refuses | more connections than the lane may have |
//! | holds | a restart forgets them; the queue takes no notice of one | not held, and was said to be; held and tried |
//!
//! What is written behind an end that no synced header names yet (a sync failed, and the process died before another
//! segment was begun) may be missing in one life and there in the next, as long as nothing durable was said in its
//! stream between them: nobody was told either way.
//!
//! What it does not prove: that delivery goes on while the disk is full (`spool_sim`, `spool_damage`, tests/it), hostile clients
//! (tests/it), and what the drivers do between these rooms (tests/it, tests/it/crash).
//!
//! `POSTHASTE_SEEDS=n` sets how many stories are told (from `POSTHASTE_FIRST`), `POSTHASTE_SEED=n` tells one again.
#![allow(clippy::unwrap_used, clippy::await_holding_refcell_ref)]

#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/ledger.rs"]
mod ledger;
#[path = "simulation/lending.rs"]
mod lending;
#[path = "simulation/node.rs"]
mod node;
#[path = "simulation/operator.rs"]
mod operator;
#[path = "simulation/peer.rs"]
mod peer;
#[path = "simulation/story.rs"]
mod story;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use posthaste::base::ShardId;
use posthaste::spool::sim::{Crash, Faults, SimDisk};
use posthaste::spool::storage::Storage as _;
use posthaste::spool::{Settings, Spool};

use ledger::Loss;
use node::{Fleet, Node};
use operator::{Action, operator};
use story::{Story, note};

const LIVES: u64 = 3;
const SPACE: u64 = 64 << 20;
/// What at least one of many stories must have had, or nothing was proven about it.
const WANTED: [&str; 22] = [
    "acknowledged",
    "refused",
    "full",
    "duplicates",
    "reports",
    "delivered",
    "failed",
    "expired",
    "removed",
    "holds",
    "releases",
    "retries",
    "given up",
    "damage",
    "damaged reads",
    "stops",
    "kills",
    "power cuts",
    "taken",
    "lent",
    "handed back",
    "takers died",
];

fn settings() -> Settings {
    Settings {
        path: PathBuf::from("/spool"),
        segment_size: 128 << 10,
        bulk_segment_size: 1 << 20,
        memory_budget: 16 << 20,
        free_space_min: 512 << 10,
        reserve: 2,
        spare_max: 4,
        ..Settings::default()
    }
}

/// What a life is like.
#[derive(Debug, Clone, Copy)]
struct Life {
    shards: u16,
    faults: Faults,
    /// Bytes that the disk has left once the process runs.
    space: Option<u64>,
    span: Duration,
    clients: u64,
    /// Somebody is at the operator's socket.
    has_operator: bool,
    /// It is stopped in order, if it lives that long.
    is_stopped: bool,
    is_last: bool,
}

/// One life of the process.
async fn life(story: Rc<Story>, life: Life) {
    let Life { shards, faults, span, clients, .. } = life;
    let disk = story.disk.borrow().clone();
    let fleet = Fleet::new(disk.now());
    let seed = story.next();
    let mut recoveries = Vec::new();
    for shard in 0..shards {
        let opened = Spool::open(disk.clone(), settings(), ShardId(shard), shards).await;
        let (spool, recovery) = opened.expect("a disk that works");
        let node = Node::start(&story, &fleet, spool, ShardId(shard), shards, seed);
        disk.spawn(node.clone().run());
        recoveries.push((node, recovery));
    }
    let nodes = fleet.nodes.borrow().clone();
    let is_lopsided = story.one_in(2);
    for _ in 0..clients {
        let at = if is_lopsided { 0 } else { story.below(u64::from(shards)) as usize };
        let node = nodes[at].clone();
        let wait = Duration::from_millis(story.below(if story.one_in(2) { 50 } else { 4000 }));
        disk.spawn(async move {
            node.disk.sleep(wait).await;
            client::bring(node).await;
        });
    }
    let (mut found, mut is_damaged) = (0, false);
    for (node, recovery) in recoveries {
        let (part, damaged) = node.recover(recovery).await;
        found += part;
        is_damaged |= damaged;
    }
    note(|| format!("recovered {} messages", found));
    story.ledger.borrow_mut().recovered(is_damaged);
    disk.set_faults(faults);
    disk.set_space(life.space.map_or(SPACE, |left| disk.used() + left));
    if life.has_operator {
        disk.spawn(operator(story.clone(), nodes.clone()));
    }
    disk.sleep(span).await;
    disk.set_faults(Faults::default());
    disk.set_space(SPACE);
    if life.is_last {
        finish(&story, &disk, &nodes).await;
    }
    if life.is_stopped {
        for node in &nodes {
            node.stop().await;
        }
    }
}

/// In a world that is kind, all that is queued ends within the longest schedule.
async fn finish(story: &Rc<Story>, disk: &SimDisk, nodes: &[Rc<Node>]) {
    story.be_kind();
    disk.sleep(Duration::from_secs(4)).await; // the operator's last word
    for node in nodes {
        let held: Vec<_> = story.ledger.borrow().mails.keys().copied().collect();
        for id in held.into_iter().filter(|id| node.scheduler.borrow().queue().is_held(*id)) {
            node.operate(id, Action::Release).await;
        }
    }
    for _ in 0..240 {
        let damaged = story.ledger.borrow().damaged();
        for node in nodes {
            for id in damaged.iter().filter(|id| node.scheduler.borrow().queue().contains(**id)).collect::<Vec<_>>() {
                node.operate(*id, Action::Remove).await; // what is damaged stays until somebody removes it
            }
        }
        if nodes.iter().all(|node| node.scheduler.borrow().queue().is_empty()) {
            break;
        }
        disk.sleep(Duration::from_secs(10)).await;
    }
    for node in nodes {
        note(|| node.describe());
    }
    story.ledger.borrow_mut().closed();
}

/// A bit of a message rots, wherever it is on the disk.
fn damage(story: &Story, disk: &SimDisk) {
    let roll = story.next();
    let Some(mark) = story.ledger.borrow_mut().damage(roll) else { return };
    note(|| format!("damage to {}", String::from_utf8_lossy(&mark)));
    for path in disk.files() {
        let bytes = disk.read_file(&path);
        for at in memchr::memmem::find_iter(&bytes, &mark) {
            let at = at + story.below(mark.len() as u64) as usize;
            disk.corrupt(&path, at as u64, &[bytes[at] ^ 1 << story.below(8)]);
        }
    }
}

fn tell(seed: u64) -> BTreeMap<&'static str, u64> {
    let story = Rc::new(Story::new(seed, SimDisk::new(seed ^ 0xd15c, SPACE)));
    for n in 0..=LIVES {
        let is_last = n == LIVES;
        let faults = match story.below(5) {
            0 if !is_last => Faults { write_error: 60, short_write: 90, sync_error: 40, read_error: 30 },
            1 if !is_last => Faults { sync_error: 25, ..Faults::default() },
            _ => Faults::default(),
        };
        let crash = if story.one_in(4) { Crash::Kill } else { Crash::PowerLoss };
        let operations = 20 + story.below(900);
        let life_of = Life {
            shards: 1 + story.below(3) as u16,
            faults,
            space: (!is_last && story.one_in(4)).then(|| story.below(1 << 20)),
            span: Duration::from_secs([1, 4, 20, 80][story.below(4) as usize]),
            clients: if is_last { 2 } else { 2 + story.below(8) },
            has_operator: story.one_in(3),
            is_stopped: is_last || story.one_in(2),
            is_last,
        };
        let disk = story.disk.borrow().clone();
        disk.crash_in((!is_last && !story.one_in(5)).then_some(operations));
        note(|| format!("life {n}: {life_of:?}, then {crash:?} within {operations} operations"));
        let ended = disk.run(life(story.clone(), life_of));
        disk.set_faults(Faults::default());
        disk.set_space(SPACE);
        let is_in_order = ended.is_some() && life_of.is_stopped;
        let has_failed = faults.sync_error > 0 || faults.write_error > 0;
        let loss = match crash {
            _ if is_in_order => Loss::Nothing,
            Crash::Kill if !has_failed => Loss::Memory,
            Crash::Kill | Crash::PowerLoss => Loss::Cache,
        };
        story.ledger.borrow_mut().ended(loss);
        story.open.borrow_mut().clear();
        note(|| format!("ended: {ended:?} at {:?}, lost: {loss:?}", disk.now()));
        let disk = disk.restart(crash);
        if !is_last && story.one_in(10) {
            damage(&story, &disk);
        }
        *story.disk.borrow_mut() = disk;
    }
    story.ledger.borrow().counts.clone()
}

/// Tells one story; says which one, and how to hear it again, when it fails.
fn told(seed: u64) -> BTreeMap<&'static str, u64> {
    std::panic::catch_unwind(|| tell(seed)).unwrap_or_else(|_| {
        panic!("seed {seed} failed; tell it again: POSTHASTE_SEED={seed} cargo test --test simulation -- --nocapture")
    })
}

#[test]
fn the_promises_hold() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("POSTHASTE_SEED") {
        println!("{:?}", tell(seed));
        return;
    }
    let seeds = number("POSTHASTE_SEEDS").unwrap_or(300);
    let first = number("POSTHASTE_FIRST").unwrap_or(0);
    // A story has one thread; as many are told at once as there are cores.
    let next = AtomicU64::new(first);
    let teller = || {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return sums;
            }
            told(seed).into_iter().for_each(|(key, count)| *sums.entry(key).or_default() += count);
        }
    };
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let sums = std::thread::scope(|scope| {
        let tellers: Vec<_> = (0..cores).map(|_| scope.spawn(teller)).collect();
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        for teller in tellers {
            let part = teller.join().expect("a story failed");
            part.into_iter().for_each(|(key, count)| *sums.entry(key).or_default() += count);
        }
        sums
    });
    println!("{seeds} stories: {sums:?}");
    if seeds >= 50 {
        for what in WANTED {
            assert!(sums.contains_key(what), "no story had one `{what}`: {sums:?}");
        }
    }
}
