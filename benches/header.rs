//! The header section: found in the content, its fields indexed, one looked up.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

mod work;

fn header(c: &mut Criterion) {
    let mut group = c.benchmark_group("header");
    let content = Bytes::from(work::content(10 * 1024));
    group.throughput(Throughput::Bytes(work::HEADER.len() as u64));
    group.bench_function("14 fields", |b| b.iter(|| work::scan_header(black_box(&content))));
    let received = "Received: from a.example by b.example; Sun, 22 Nov 2026 22:30:00 +0000\r\n";
    let many = Bytes::from([received.repeat(100).as_bytes(), &content].concat());
    group.throughput(Throughput::Bytes((received.len() * 100 + work::HEADER.len()) as u64));
    group.bench_function("114 fields", |b| b.iter(|| work::scan_header(black_box(&many))));
    group.finish();
}

criterion_group!(benches, header);
criterion_main!(benches);
