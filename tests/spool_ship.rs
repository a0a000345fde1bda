//! Shippers of the spool, one promise at a time: what is given up is counted whatever moment a crash chooses, damage is
//! a gap, and a shipper that is not configured holds nothing.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use posthaste::base::{MessageId, ShardId};
use posthaste::spool::sim::{Crash, SimDisk};
use posthaste::spool::storage::Storage;
use posthaste::spool::{Durability, Feed, Gap, Health, Record, Settings, Shipper, Spool};

use common::{body, delivered, message};

const SEGMENT: u64 = 256 << 10;

fn settings(backlog: Option<u64>) -> Settings {
    Settings {
        path: PathBuf::from("/spool"),
        segment_size: SEGMENT,
        bulk_segment_size: 1 << 20,
        memory_budget: 16 << 20,
        free_space_min: 0,
        reserve: 2,
        spare_max: 2,
        shippers: backlog.map(|backlog| Shipper { name: "log".into(), backlog }).into_iter().collect(),
        ..Settings::default()
    }
}

async fn open(disk: &SimDisk, settings: Settings, shards: u16) -> Vec<Spool<SimDisk>> {
    let mut spools = Vec::new();
    for shard in 0..shards {
        let (spool, mut recovery) = Spool::open(disk.clone(), settings.clone(), ShardId(shard), shards).await.unwrap();
        while recovery.next().await.is_some() {}
        spools.push(spool);
    }
    spools
}

/// Mail that is accepted and delivered at once.
async fn pass_through(spool: &Spool<SimDisk>, count: u64) -> BTreeSet<MessageId> {
    let mut ids = BTreeSet::new();
    for seed in 0..count {
        let id = spool.new_id();
        let mail = Record::Message(message(id, 1, "example.test", body(seed, 4000)));
        spool.commit(vec![mail], Durability::Durable).await.unwrap();
        spool.commit(vec![delivered(id, 0)], Durability::Durable).await.unwrap();
        ids.insert(id);
    }
    ids
}

#[derive(Debug, Default)]
struct Told {
    accepted: BTreeSet<MessageId>,
    finals: BTreeSet<MessageId>,
    gap: Gap,
}

/// Everything that is there to be told.
async fn take_all(feed: &mut Feed<SimDisk>, told: &mut Told) {
    while feed.lag_bytes() > 0 {
        let chunk = feed.next().await.expect("the spool is open");
        told.gap.add(chunk.gap);
        for event in &chunk.events {
            let id = event.record.message_id().expect("about a message");
            let is_new = matches!(event.record, Record::Message(_));
            if is_new {
                told.accepted.insert(id)
            } else {
                told.finals.insert(id)
            };
        }
        feed.shipped(&chunk);
    }
}

#[test]
fn a_shipper_that_stays_away_holds_its_backlog_and_no_more() {
    let disk = SimDisk::new(1, 1 << 30);
    disk.run(async {
        let spool = open(&disk, settings(Some(4 * SEGMENT)), 1).await.remove(0);
        let mut feed = spool.feed("log").unwrap();
        pass_through(&spool, 1000).await; // forty segments
        disk.sleep(Duration::from_secs(2)).await;
        let segments = spool.statistics().segments;
        assert!((6..=16).contains(&segments), "four kept, four ready, one active: {}", spool.describe());
        assert!(spool.statistics().given_up > 10 && spool.health() == Health::Ready);
        let recent = pass_through(&spool, 10).await;
        let mut told = Told::default();
        take_all(&mut feed, &mut told).await;
        assert_eq!(told.gap.causes, Gap::BACKLOG);
        assert!(recent.is_subset(&told.accepted) && recent.is_subset(&told.finals));
        let missing = 1010 - told.accepted.len() as u64;
        assert!(missing > 0 && told.gap.events_max() >= 2 * missing, "{missing} missing: {:?}", told.gap);
        assert_eq!((told.gap.segments as u64, told.gap.bytes), {
            let statistics = spool.statistics();
            (statistics.given_up, statistics.given_up_bytes)
        });
        disk.sleep(Duration::from_secs(2)).await;
        assert!(spool.statistics().segments <= 8, "what is told is not kept: {}", spool.describe());
    });
}

#[test]
fn a_full_disk_gives_up_events_before_it_refuses_mail() {
    let disk = SimDisk::new(2, 9 * SEGMENT + (64 << 10));
    disk.run(async {
        let spool = open(&disk, settings(Some(1 << 40)), 1).await.remove(0);
        let mut feed = spool.feed("log").unwrap();
        let ids = pass_through(&spool, 1000).await; // unwraps: not one is refused
        let mut told = Told::default();
        take_all(&mut feed, &mut told).await;
        assert_eq!(told.gap.causes, Gap::SPACE);
        assert!(told.accepted.len() < ids.len());
    });
}

/// A crash at every disk operation: then either all is told, or a gap says that it is not.
#[test]
fn what_is_given_up_is_counted_whenever_a_crash_comes() {
    let mut gaps = 0;
    for operations in (20..1500).step_by(7) {
        let disk = SimDisk::new(operations, 1 << 30);
        disk.crash_in(Some(operations));
        let (committed, mut told) = (std::cell::RefCell::new(BTreeSet::new()), Told::default());
        disk.run(async {
            let spool = open(&disk, settings(Some(0)), 1).await.remove(0);
            loop {
                let ids = pass_through(&spool, 1).await;
                committed.borrow_mut().extend(ids);
            }
        });
        let crash = if operations % 2 == 0 { Crash::PowerLoss } else { Crash::Kill };
        let disk = disk.restart(crash);
        disk.run(async {
            let spool = open(&disk, settings(Some(1 << 30)), 1).await.remove(0);
            take_all(&mut spool.feed("log").unwrap(), &mut told).await;
        });
        let committed = committed.into_inner();
        let is_whole = committed.is_subset(&told.accepted) && committed.is_subset(&told.finals);
        assert!(is_whole || !told.gap.is_empty(), "events are missing and no gap says so: {operations}");
        assert!(told.gap.causes & !Gap::BACKLOG == 0, "{:?}", told.gap);
        gaps += u64::from(!told.gap.is_empty());
    }
    assert!(gaps > 20, "the backlog was passed in {gaps} stories only");
}

#[test]
fn cursors_go_where_their_streams_go() {
    let disk = SimDisk::new(3, 1 << 30);
    let mut ids = BTreeSet::new();
    disk.run(async {
        for spool in open(&disk, settings(Some(1 << 30)), 3).await {
            ids.extend(pass_through(&spool, 50).await);
            spool.close().await;
        }
    });
    let disk = disk.restart(Crash::Kill);
    disk.run(async {
        let spool = open(&disk, settings(Some(1 << 30)), 1).await.remove(0);
        let mut told = Told::default();
        take_all(&mut spool.feed("log").unwrap(), &mut told).await;
        assert_eq!((&told.accepted, &told.finals), (&ids, &ids));
        spool.close().await;
    });
    let disk = disk.restart(Crash::Kill);
    disk.run(async {
        let mut told = Told::default();
        for spool in open(&disk, settings(Some(1 << 30)), 2).await {
            take_all(&mut spool.feed("log").unwrap(), &mut told).await;
        }
        assert!(told.accepted.is_empty() && told.gap.is_empty(), "told once, and the cursors were saved: {told:?}");
    });
}

#[test]
fn who_is_not_configured_holds_nothing_and_begins_anew() {
    let disk = SimDisk::new(4, 1 << 30);
    disk.run(async {
        let spool = open(&disk, settings(Some(1 << 30)), 1).await.remove(0);
        pass_through(&spool, 200).await;
        assert!(spool.statistics().segments > 10, "{}", spool.describe());
        spool.close().await;
    });
    let disk = disk.restart(Crash::Kill);
    disk.run(async {
        let spool = open(&disk, settings(None), 1).await.remove(0);
        assert!(spool.feed("log").is_none() && spool.lag_bytes() == 0);
        pass_through(&spool, 10).await;
        disk.sleep(Duration::from_secs(2)).await;
        assert!(spool.statistics().segments <= 8, "{}", spool.describe());
        assert!(!disk.files().iter().any(|path| path.display().to_string().contains("cursor-")));
        spool.close().await;
    });
    let disk = disk.restart(Crash::Kill);
    disk.run(async {
        let spool = open(&disk, settings(Some(0)), 1).await.remove(0);
        let ids = pass_through(&spool, 10).await;
        let mut told = Told::default();
        take_all(&mut spool.feed("log").unwrap(), &mut told).await;
        assert_eq!((told.accepted, told.gap), (ids, Gap::default()));
    });
}

/// A byte of each frame in turn is another one than was written.
#[test]
fn damage_is_a_gap_and_the_rest_is_told() {
    let disk = SimDisk::new(5, 1 << 30);
    let log = PathBuf::from("/spool/stream-00/log-00000001");
    disk.run(async {
        let spool = open(&disk, settings(Some(1 << 30)), 1).await.remove(0);
        let ids = pass_through(&spool, 10).await;
        let mut feed = spool.feed("log").unwrap();
        let segment = disk.read_file(&log);
        let used = segment.iter().skip(8192).rposition(|byte| *byte != 0).unwrap();
        assert!(used > 40_000, "it is the active segment");
        let middle = 8192 + 4096 * 5 + 70; // in the payload of some frame
        disk.corrupt(&log, middle, &[segment[middle as usize] ^ 1]);
        let mut told = Told::default();
        take_all(&mut feed, &mut told).await;
        assert_eq!((told.gap.segments, told.gap.causes), (0, Gap::DAMAGE));
        assert_eq!(told.accepted.len() + told.finals.len(), 2 * ids.len() - 1, "one frame is missing");
        assert!(told.gap.events_max() >= 1 && told.gap.bytes < 8192, "{:?}", told.gap);
        assert_eq!(spool.take_damage().len(), 1, "the operator hears of it");
    });
}

/// A cursor that cannot be believed costs repeats, not events.
#[test]
fn a_damaged_cursor_begins_at_the_beginning() {
    let disk = SimDisk::new(6, 1 << 30);
    let mut ids = BTreeSet::new();
    disk.run(async {
        let spool = open(&disk, settings(Some(1 << 30)), 1).await.remove(0);
        ids = pass_through(&spool, 5).await;
        take_all(&mut spool.feed("log").unwrap(), &mut Told::default()).await;
        spool.close().await;
    });
    let disk = disk.restart(Crash::Kill);
    let cursor = PathBuf::from("/spool/stream-00/cursor-log");
    for slot in [0, 4096] {
        disk.corrupt(&cursor, slot + 35, &[0x77]);
    }
    disk.run(async {
        let spool = open(&disk, settings(Some(1 << 30)), 1).await.remove(0);
        let mut told = Told::default();
        take_all(&mut spool.feed("log").unwrap(), &mut told).await;
        assert_eq!((&told.accepted, told.gap), (&ids, Gap::default()));
    });
}
