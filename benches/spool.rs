//! Spool append on the real disk: how long `n` messages take that are handed over together, at several sizes of the
//! group commit. Run: `cargo bench --bench spool`. The disk's flush decides; compare ratios inside one run.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use posthaste::base::{RecipientIndex, ShardId, WallTime};
use posthaste::mail::{
    ContentFacts, Diagnostic, Envelope, ErrorKind, ForwardPath, MailParameters, Received, Recipient, Reply,
    ReversePath, Scope, Source, Status, StatusRecord,
};
use posthaste::spool::{Body, Disk, Durability, Message, Record, Settings, Spool};
use posthaste_rt::shard;

fn message(spool: &Spool, body: &Bytes) -> Message {
    let recipient = ForwardPath::parse("<recipient@example.test>", false).expect("an address");
    Message {
        id: spool.new_id(),
        envelope: Envelope {
            reverse_path: ReversePath::parse("<sender@example.test>", false).expect("an address"),
            mail: MailParameters::default(),
            recipients: vec![Recipient::new(recipient)],
        },
        received: Received {
            at: WallTime(1_795_386_600_000),
            source: Source::Unauthenticated,
            listener: "smtp".into(),
            remote_ip: [127, 0, 0, 1].into(),
            local_port: 25,
            helo: "client.test".into(),
            authenticated_as: None,
            content: ContentFacts { size_bytes: body.len() as u64, has_separator: true, ..ContentFacts::default() },
        },
        trace: Bytes::from_static(b"Received: from client.test by mx.test; Sun, 22 Nov 2026 22:30:00 +0000\r\n"),
        header: Bytes::from_static(b"Subject: bench\r\n"),
        has_separator: true,
        body: Body::Memory(vec![body.clone()]),
    }
}

/// Commits `together` messages at a time, `rounds` times, each followed by their final statuses; the time of the commits.
async fn rounds(spool: &Spool, together: usize, rounds: u64, body: &Bytes) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        let messages: Vec<Rc<Message>> = (0..together).map(|_| Rc::new(message(spool, body))).collect();
        let start = Instant::now();
        let commits: Vec<_> = messages
            .iter()
            .map(|message| spool.commit(vec![Record::Message(message.clone())], Durability::Durable))
            .collect();
        for commit in commits {
            commit.await.expect("committed");
        }
        spent += start.elapsed();
        let last = Diagnostic::local(ErrorKind::None, Scope::Recipient, Reply::new(250, (2, 0, 0), "ok"));
        let finals = messages.iter().map(|message| {
            Record::Status(Box::new(StatusRecord {
                message: message.id,
                recipient: RecipientIndex(0),
                at: message.received.at,
                status: Status::Delivered { attempts: 1, last: last.clone() },
            }))
        });
        for record in finals {
            spool.commit(vec![record], Durability::Process).await.expect("committed");
        }
    }
    spent
}

fn measured(together: usize, count: u64, size: usize) -> Duration {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    let run = move || async move {
        let settings = Settings { path, ..Settings::default() };
        let (spool, _recovery) = Spool::open(Disk, settings, ShardId(0), 1).await.expect("opens");
        let body = Bytes::from(vec![b'x'; size]);
        rounds(&spool, together, 3, &body).await; // warm: segments are ready
        let spent = rounds(&spool, together, count, &body).await;
        spool.close().await;
        spent
    };
    shard::spawn(shard::cpus()[0], "bench", run).expect("a shard").join().expect("ends")
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("spool append, durable, 1 KiB");
    group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    for together in [1usize, 16, 128] {
        group.throughput(Throughput::Elements(together as u64));
        group.bench_function(BenchmarkId::from_parameter(together), |b| {
            b.iter_custom(|iterations| measured(together, iterations, 1024));
        });
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
