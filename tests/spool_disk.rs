//! The spool on a real disk and a real shard.
#![allow(clippy::unwrap_used)]

mod common;

use std::future::Future;
use std::path::Path;

use posthaste::base::{MessageId, ShardId, WallTime};
use posthaste::spool::{
    CommitError, Disk, Durability, Health, OpenError, Record, Recovered, Recovery, RecoveryEvent, Settings, Spool,
};
use posthaste_rt::shard;

use common::{body, content, deferred, delivered, message};

fn on_shard<T: Send + 'static, F: Future<Output = T> + 'static>(build: impl FnOnce() -> F + Send + 'static) -> T {
    shard::spawn(shard::cpus()[0], "spool", build).expect("a shard starts").join().expect("and ends")
}

fn settings(path: &Path) -> Settings {
    Settings {
        path: path.to_owned(),
        segment_size: 8 << 20,
        bulk_segment_size: 8 << 20,
        memory_budget: 16 << 20,
        free_space_min: 0,
        reserve: 1,
        ..Settings::default()
    }
}

async fn open(path: &Path, shard: u16, shards: u16) -> (Spool, Recovery) {
    Spool::open(Disk, settings(path), ShardId(shard), shards).await.expect("opens")
}

async fn recovered(mut recovery: Recovery) -> Vec<Recovered> {
    let mut all = Vec::new();
    while let Some(event) = recovery.next().await {
        match event {
            RecoveryEvent::Messages(batch) => all.extend(batch),
            RecoveryEvent::Complete(_) => {}
            other => panic!("{other:?}"),
        }
    }
    all.sort_by_key(|r| r.id);
    all
}

async fn commit_one(spool: &Spool, seed: u64, recipients: u32) -> MessageId {
    let id = spool.new_id();
    let record = Record::Message(message(id, recipients, "example.test", body(seed, 3000)));
    spool.commit(vec![record], Durability::Durable).await.expect("committed");
    id
}

#[test]
fn what_was_committed_is_there_after_a_restart_with_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    on_shard(move || async move {
        let (spool, recovery) = open(&path, 0, 1).await;
        assert!(recovered(recovery).await.is_empty());
        assert_eq!(spool.health(), Health::Ready);
        let (a, b, c) =
            (commit_one(&spool, 1, 1).await, commit_one(&spool, 2, 2).await, commit_one(&spool, 3, 1).await);
        spool.commit(vec![delivered(a, 0)], Durability::Durable).await.expect("recorded");
        spool.commit(vec![delivered(b, 0), deferred(b, 1, 777, 3)], Durability::Durable).await.expect("recorded");
        let hold = Record::Hold { message: c, at: WallTime(1) };
        spool.commit(vec![hold], Durability::Process).await.expect("recorded");
        let stored = spool.read(b).await.expect("readable");
        assert_eq!(stored.statuses.iter().flatten().count(), 2);
        assert!(spool.read(a).await.is_err(), "a is final");
        spool.close().await;

        for round in 0..2 {
            let (spool, recovery) = open(&path, 0, 1).await;
            let all = recovered(recovery).await;
            assert_eq!(all.iter().map(|r| r.id).collect::<Vec<_>>(), vec![b, c], "round {round}");
            let waiting = &all[0].recipients[..];
            assert_eq!((waiting.len(), waiting[0].index.0, waiting[0].attempts), (1, 1, 3));
            assert_eq!(waiting[0].due, Some(WallTime(777)));
            assert_eq!(&*waiting[0].domain, "example.test");
            assert_eq!(all[0].recipients_total, 2);
            assert!(all[1].is_held);
            let stored = spool.read(b).await.expect("readable");
            assert_eq!(stored.message.body, body(2, 3000));
            if round == 0 {
                // No clean shutdown: the tail is walked at the next start, not read from a footer.
                drop(spool);
                return_lock(&path).await;
            } else {
                spool.close().await;
            }
        }
    });
}

/// The tasks of a dropped spool live on in this shard: a copy of the directory stands in for a crash.
async fn return_lock(path: &Path) {
    let copy = path.join("copy");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(path.join("stream-00")).unwrap() {
        let entry = entry.unwrap();
        std::fs::rename(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    std::fs::remove_dir(path.join("stream-00")).unwrap();
    std::fs::create_dir(path.join("stream-00")).unwrap();
    for entry in std::fs::read_dir(&copy).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "lock" {
            std::fs::copy(entry.path(), path.join("stream-00").join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn bulk_bodies_come_back_verified() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    on_shard(move || async move {
        let (spool, _recovery) = open(&path, 0, 1).await;
        let big = content(9, 3_000_001);
        let mut writer = spool.bulk();
        for piece in big.chunks(70_000) {
            writer.write(piece).await.expect("written");
        }
        let extents = writer.finish().await.expect("synced");
        let id = spool.new_id();
        let record = Record::Message(message(id, 1, "example.test", posthaste::spool::Body::Bulk(extents)));
        spool.commit(vec![record], Durability::Durable).await.expect("committed");
        let stored = spool.read(id).await.expect("readable");
        let mut reader = spool.body(&stored.message);
        let mut read = Vec::new();
        while let Some(piece) = reader.next().await.expect("verified") {
            read.extend_from_slice(&piece);
        }
        assert_eq!(read, big);
        spool.close().await;
    });
}

#[test]
fn streams_of_a_former_number_of_shards_drain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    on_shard(move || async move {
        let (first, _r1) = open(&path, 0, 2).await;
        let (second, _r2) = open(&path, 1, 2).await;
        let (a, b) = (commit_one(&first, 1, 1).await, commit_one(&second, 2, 1).await);
        assert_eq!((a.stream.0, b.stream.0), (0, 1));
        first.close().await;
        second.close().await;
        let (spool, recovery) = open(&path, 0, 1).await;
        let all = recovered(recovery).await;
        assert_eq!(all.iter().map(|r| r.id).collect::<Vec<_>>(), vec![a, b]);
        let dsn = spool.new_id_in(b.stream).expect("open here");
        let records = vec![delivered(b, 0), Record::Message(message(dsn, 1, "origin.test", body(3, 100)))];
        spool.commit(records, Durability::Durable).await.expect("one frame");
        assert!(spool.read(dsn).await.is_ok());
        let mixed = vec![delivered(a, 0), delivered(b, 0)];
        assert_eq!(spool.commit(mixed, Durability::Durable).await, Err(CommitError::Invalid));
        spool.close().await;
    });
}

#[test]
fn a_stream_that_another_owner_has_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    on_shard(move || async move {
        let (first, _r1) = open(&path, 0, 1).await;
        let (second, _r2) = open(&path, 0, 1).await;
        assert_ne!(first.stream(), second.stream());
        let bad = Settings { reserve: 0, ..settings(&path) };
        assert!(matches!(Spool::open(Disk, bad, ShardId(0), 1).await, Err(OpenError::Settings(_))));
    });
}
