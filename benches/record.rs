//! Records of the spool: encoded as the writer does, decoded as a reader does, and recovery of a stream from the
//! simulated disk (no device in it: what recovery itself costs).

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use posthaste::spool::{decode_payload, encode_payload};

mod work;

fn record(c: &mut Criterion) {
    let mut group = c.benchmark_group("record");
    let records = work::records();
    let payload = encode_payload(&records);
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("encode, 1 KB message and status", |b| b.iter(|| encode_payload(black_box(&records))));
    group.bench_function("decode, 1 KB message and status", |b| {
        b.iter(|| decode_payload(black_box(&payload)).is_some())
    });
    group.finish();

    let mut group = c.benchmark_group("recovery");
    group.sample_size(10);
    for count in [1_000u64, 10_000] {
        let disk = work::crashed_spool(count);
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| assert_eq!(work::recover(black_box(&disk)), (count / 2) as usize));
        });
    }
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
