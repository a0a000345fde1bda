//! The lease table: a message's three limits taken and released, over ever more keys.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

mod work;

fn leases(c: &mut Criterion) {
    let mut group = c.benchmark_group("leases");
    for count in [100usize, 10_000, 100_000] {
        let mut leases = work::Leases::new(count);
        group.bench_function(BenchmarkId::new("take and release three", count), |b| {
            b.iter(|| leases.take_and_release());
        });
    }
    group.finish();
}

criterion_group!(benches, leases);
criterion_main!(benches);
