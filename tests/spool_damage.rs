//! Damage on disk is detected, named, and costs the damaged message only.
#![allow(clippy::unwrap_used)]

mod common;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use posthaste::base::{MessageId, ShardId};
use posthaste::spool::sim::{Crash, SimDisk};
use posthaste::spool::{
    Body, CommitError, Damage, DamageKind, Durability, OpenError, ReadError, Record, RecoveryEvent, Settings, Spool,
    offline,
};

use common::{body, content, deferred, delivered, message};

fn settings() -> Settings {
    Settings {
        path: PathBuf::from("/spool"),
        segment_size: 256 << 10,
        bulk_segment_size: 1 << 20,
        memory_budget: 16 << 20,
        free_space_min: 0,
        reserve: 1,
        ..Settings::default()
    }
}

async fn open(disk: &SimDisk) -> (Spool<SimDisk>, Vec<MessageId>, Vec<Damage>) {
    let (spool, mut recovery) = Spool::open(disk.clone(), settings(), ShardId(0), 1).await.expect("opens");
    let (mut found, mut damage) = (Vec::new(), Vec::new());
    while let Some(event) = recovery.next().await {
        match event {
            RecoveryEvent::Messages(batch) => found.extend(batch.iter().map(|message| message.id)),
            RecoveryEvent::Damaged(one) => damage.push(one),
            RecoveryEvent::Complete(_) => {}
            RecoveryEvent::Failed(_, error) => panic!("{error}"),
        }
    }
    found.sort();
    (spool, found, damage)
}

fn mail(id: MessageId, seed: u64) -> Record {
    Record::Message(message(id, 1, "example.test", body(seed, 60)))
}

const LOG: &str = "/spool/stream-00/log-00000001";

/// Three messages, each in a frame of its own, in one batch; where the second begins and ends.
fn three(disk: &SimDisk) -> ([MessageId; 3], std::ops::Range<usize>) {
    let ids = disk
        .run(async {
            let (spool, _, _) = open(disk).await;
            let ids = [spool.new_id(), spool.new_id(), spool.new_id()];
            let commits = ids.map(|id| spool.commit(vec![mail(id, id.sequence)], Durability::Durable));
            for commit in commits {
                commit.await.expect("committed");
            }
            ids
        })
        .expect("no crash");
    let bytes = disk.read_file(Path::new(LOG));
    let tag = &bytes[48..56];
    let frames: Vec<usize> = (8192..bytes.len() - 8).step_by(8).filter(|&at| &bytes[at..at + 8] == tag).collect();
    assert_eq!(frames.len(), 3);
    let payload = u32::from_le_bytes(bytes[frames[1] + 12..frames[1] + 16].try_into().unwrap()) as usize;
    (ids, frames[1]..frames[1] + 64 + payload)
}

#[test]
fn every_flipped_byte_of_a_record_is_detected_and_costs_that_message_only() {
    let disk = SimDisk::new(1, 64 << 20);
    let (ids, second) = three(&disk);
    let good = disk.read_file(Path::new(LOG));
    for at in second.clone() {
        let disk = SimDisk::new(1, 64 << 20);
        assert_eq!(three(&disk), (ids, second.clone()), "the same seed, the same disk");
        let disk = disk.restart(Crash::PowerLoss);
        disk.corrupt(Path::new(LOG), at as u64, &[good[at] ^ 0x20]);
        disk.run(async {
            let report = offline::check(&disk, Path::new("/spool")).await.expect("reads");
            assert_eq!(report.damage.len(), 1, "byte {at}: {report}");
            let (spool, found, damage) = open(&disk).await;
            assert_eq!(found, vec![ids[0], ids[2]], "byte {at}");
            assert_eq!((damage.len(), damage[0].offset), (1, second.start as u64), "byte {at}: {damage:?}");
            if at >= second.start + 64 {
                assert_eq!(damage[0].message, Some(ids[1]), "a good header names its message");
            }
            assert!(matches!(spool.read(ids[1]).await, Err(ReadError::NotFound(_))));
            for id in [ids[0], ids[2]] {
                assert_eq!(spool.read(id).await.expect("the others are whole").message.body, body(id.sequence, 60));
            }
        })
        .expect("no crash");
    }
}

#[test]
fn damage_while_running_is_never_sent() {
    let disk = SimDisk::new(2, 64 << 20);
    disk.run(async {
        let (spool, _, _) = open(&disk).await;
        let small = spool.new_id();
        spool.commit(vec![mail(small, 1)], Durability::Durable).await.expect("committed");
        disk.corrupt(Path::new(LOG), 8192 + 200, b"?");
        assert!(matches!(spool.read(small).await, Err(ReadError::Damaged(_))));
        assert_eq!(spool.take_damage().len(), 1);

        let mut writer = spool.bulk();
        writer.write(&content(3, 600_000)).await.expect("written");
        let extents = writer.finish().await.expect("synced");
        let last = extents.as_slice()[2];
        let big = spool.new_id();
        let record = Record::Message(message(big, 1, "example.test", Body::Bulk(extents)));
        spool.commit(vec![record], Durability::Durable).await.expect("committed");
        let path = PathBuf::from(format!("/spool/stream-00/bulk-{:08x}", last.segment));
        disk.corrupt(&path, last.offset + 9, b"?");
        let stored = spool.read(big).await.expect("the record is whole");
        let mut reader = spool.body(&stored.message);
        assert!(reader.next().await.expect("verified").is_some());
        assert!(reader.next().await.expect("verified").is_some());
        assert!(matches!(reader.next().await, Err(ReadError::Damaged(_))));
    })
    .expect("no crash");
    let disk = disk.restart(Crash::Kill);
    disk.run(async {
        let report = offline::check(&disk, Path::new("/spool")).await.expect("reads");
        let kinds: Vec<_> = report.damage.iter().map(|damage| damage.kind).collect();
        assert!(kinds.contains(&DamageKind::Extent), "{report}");
        assert!(!report.is_sound());
    });
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let disk = SimDisk::new(3, 64 << 20);
    three(&disk);
    let disk = disk.restart(Crash::PowerLoss);
    disk.corrupt(Path::new(LOG), 12, &[9]);
    disk.corrupt(Path::new(LOG), 4096 + 12, &[9]);
    disk.run(async {
        let opened = Spool::open(disk.clone(), settings(), ShardId(0), 1).await;
        let Err(OpenError::NewerFormat { path, found: 9, known: 1 }) = opened else { panic!("opened") };
        assert_eq!(path, Path::new(LOG));
    })
    .expect("no crash");
}

#[test]
fn memory_mode_touches_the_disk_at_the_first_deferral_only() {
    let disk = SimDisk::new(4, 64 << 20);
    let (kept, told) = disk
        .run(async {
            let (spool, _, _) = open(&disk).await;
            let told = Rc::new(Cell::new(0));
            let counter = told.clone();
            spool.set_observer(Rc::new(move |_: &Record| counter.set(counter.get() + 1)));
            let before = spool.statistics().bytes;
            let (gone, kept) = (spool.new_id(), spool.new_id());
            for id in [gone, kept] {
                spool.commit(vec![mail(id, 5)], Durability::Memory).await.expect("taken");
                assert!(spool.read(id).await.is_ok());
            }
            spool.commit(vec![delivered(gone, 0)], Durability::Memory).await.expect("recorded");
            assert_eq!(spool.statistics().bytes, before, "nothing was written");
            assert!(spool.read(gone).await.is_err());
            spool.commit(vec![deferred(kept, 0, 99, 1)], Durability::Durable).await.expect("recorded");
            assert!(spool.statistics().bytes > before);
            (kept, told.get())
        })
        .expect("no crash");
    assert_eq!(told, 4, "each record once");
    let disk = disk.restart(Crash::PowerLoss);
    disk.run(async {
        let (spool, found, _) = open(&disk).await;
        assert_eq!(found, vec![kept]);
        assert_eq!(spool.read(kept).await.expect("readable").statuses.len(), 1);
    });
}

#[test]
fn what_is_said_while_a_message_goes_from_memory_to_disk_is_said_on_disk() {
    let disk = SimDisk::new(6, 64 << 20);
    let id = disk
        .run(async {
            let (spool, _, _) = open(&disk).await;
            let id = spool.new_id();
            let record = Record::Message(message(id, 3, "example.test", body(5, 60)));
            spool.commit(vec![record], Durability::Memory).await.expect("taken");
            // The writer has the message from the first deferral on, and is not done with it yet.
            let first = spool.commit(vec![deferred(id, 0, 99, 1)], Durability::Durable);
            let ended = spool.commit(vec![delivered(id, 1)], Durability::Durable);
            assert!(spool.in_memory_only().is_empty(), "it need not be written out once more");
            let release = Record::Release { message: id, at: posthaste::base::WallTime(1) };
            let more = spool.commit(vec![release], Durability::Process);
            for commit in [first, ended, more] {
                commit.await.expect("recorded");
            }
            spool.close().await;
            id
        })
        .expect("no crash");
    let disk = disk.restart(Crash::Kill);
    disk.run(async {
        let (spool, found, _) = open(&disk).await;
        assert_eq!(found, vec![id]);
        let statuses = spool.read(id).await.expect("readable").statuses;
        let said: Vec<_> = statuses.iter().map(|status| status.as_ref().map(|status| status.is_final())).collect();
        assert_eq!(said, vec![Some(false), Some(true), None], "deferred, delivered, not tried");
    })
    .expect("no crash");
}

#[test]
fn full_refuses_mail_and_records_outcomes() {
    let disk = SimDisk::new(5, 1 << 20);
    disk.run(async {
        let (spool, _, _) = open(&disk).await;
        let mut taken = Vec::new();
        let refused = loop {
            let id = spool.new_id();
            let record = Record::Message(message(id, 1, "example.test", body(1, 20_000)));
            match spool.commit(vec![record], Durability::Durable).await {
                Ok(()) => taken.push(id),
                Err(error) => break error,
            }
            assert!(taken.len() < 1000, "the disk is full some time");
        };
        assert_eq!(refused, CommitError::Full);
        assert_eq!(refused.reply().code, 452);
        for id in taken {
            spool.commit(vec![delivered(id, 0)], Durability::Durable).await.expect("delivery goes on");
        }
        for _ in 0..100 {
            let id = spool.new_id();
            if spool.commit(vec![mail(id, 1)], Durability::Durable).await.is_ok() {
                return;
            }
            posthaste::spool::storage::Storage::sleep(&disk, std::time::Duration::from_millis(100)).await;
        }
        panic!("service resumes by itself: {}", spool.describe());
    })
    .expect("no crash");
}
