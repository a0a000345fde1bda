//! The queue's timers: set, fired, set again, fired again, while ever more messages wait.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

mod work;

const BATCH: usize = 1000;

fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20);
    for count in [10_000u64, 100_000, 1_000_000] {
        let mut timers = work::Timers::new(count);
        group.bench_function(BenchmarkId::new("set and fire twice", count), |b| {
            b.iter(|| timers.set_and_fire(BATCH));
        });
    }
    group.finish();
}

criterion_group!(benches, timers);
criterion_main!(benches);
