//! Enqueue and dequeue of the queue's index at ten thousand, a hundred thousand and a million messages: the cost per
//! message is to be flat. `cargo bench --bench queue`.

use std::rc::Rc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use posthaste::base::{MessageId, Monotonic, Now, RecipientIndex, StreamId, WallTime};
use posthaste::mail::ErrorKind;
use posthaste::queue::{Arrival, ArrivalRecipient, LaneKey, Queue};

/// Messages that one measured batch enqueues, or takes through a lane and puts off.
const BATCH: u64 = 1000;

type Index = Queue<Rc<()>, ()>;

fn now(seconds: u64) -> Now {
    Now { mono: Monotonic((10 + seconds) * 1_000_000), wall: WallTime(1_800_000_000_000 + seconds * 1000) }
}

fn insert(queue: &mut Index, n: u64, due: Option<WallTime>, at: Now) {
    let domain = format!("domain{}.example", n % 5000);
    let recipient = ArrivalRecipient { due, ..ArrivalRecipient::new(RecipientIndex(0), &domain) };
    queue.insert(
        Arrival {
            id: MessageId { stream: StreamId(0), start: 1, sequence: n },
            received_at: at.wall,
            size_bytes: 1024,
            priority: 0,
            hold_until: None,
            deliver_by: None,
            is_held: false,
            reverse_path: "sender@example.org",
            tenant: "",
            recipients_total: 1,
            content: None,
            recipients: &[recipient],
        },
        at,
    );
}

/// A queue of `count` messages that wait, spread over the next three hours.
fn filled(count: u64) -> Index {
    let mut queue = Index::new(7);
    for n in 0..count {
        let due = now(3600 + n * 7919 % 10_800).wall;
        insert(&mut queue, n, Some(due), now(0));
    }
    queue
}

/// Takes `BATCH` due messages through a lane and forgets them: what a delivered message costs.
fn dequeue(queue: &mut Index, plan: &Rc<()>, key: &LaneKey, at: Now) {
    for _ in 0..BATCH {
        let Some(due) = queue.next_due(at) else { return };
        let lane = queue.lane(key);
        queue.make_ready(due.groups[0].group, lane, 0, plan.clone(), false, at);
        let Some(candidate) = queue.candidate() else { return };
        let group = queue.take(&candidate, 100, at);
        queue.record(group, at);
        queue.finish(group);
    }
}

/// The same for a deferral.
fn defer(queue: &mut Index, plan: &Rc<()>, key: &LaneKey, at: Now) {
    for _ in 0..BATCH {
        let Some(due) = queue.next_due(at) else { return };
        let lane = queue.lane(key);
        queue.make_ready(due.groups[0].group, lane, 0, plan.clone(), false, at);
        let Some(candidate) = queue.candidate() else { return };
        let group = queue.take(&candidate, 100, at);
        queue.record(group, at);
        queue.note_status(group, 1, 0, ErrorKind::Connection);
        queue.put_off(group, at.micros() + Duration::from_secs(7200).as_micros() as i64, at);
    }
}

fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(BATCH)).sample_size(20).measurement_time(Duration::from_secs(3));
    let plan = Rc::new(());
    let key = LaneKey { queue: "remote".into(), next_hop: "a.test".into(), source: None, tls: "default".into() };
    for count in [10_000u64, 100_000, 1_000_000] {
        let mut index = filled(count);
        let mut next = count;
        println!("{count} messages: {} bytes each", index.resident_bytes() as u64 / count);
        group.bench_with_input(BenchmarkId::new("enqueue and dequeue", count), &count, |bencher, _| {
            bencher.iter(|| {
                for _ in 0..BATCH {
                    insert(&mut index, next, None, now(0));
                    next += 1;
                }
                dequeue(&mut index, &plan, &key, now(0));
            });
        });
        group.bench_with_input(BenchmarkId::new("enqueue, defer, come due, dequeue", count), &count, |bencher, _| {
            let mut seconds = 0;
            bencher.iter_batched(
                || (),
                |()| {
                    for _ in 0..BATCH {
                        insert(&mut index, next, None, now(seconds));
                        next += 1;
                    }
                    defer(&mut index, &plan, &key, now(seconds));
                    seconds += 1;
                    while !index.turn(now(seconds)) {}
                    dequeue(&mut index, &plan, &key, now(seconds));
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, queue);
criterion_main!(benches);
