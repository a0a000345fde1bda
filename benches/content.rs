//! The end-of-data scanner over content in cache: octets per second, with everything it records.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use posthaste::smtp::content::{BareLineEnds, ContentScanner, FactScanner};

/// A message of so many octets in lines of so many, terminator included.
fn message(bytes: usize, line_bytes: usize) -> Vec<u8> {
    let mut content = b"Received: from a.example by b.example; Sun, 22 Nov 2026 22:30:00 +0000\r\n\
        From: <a@example.org>\r\nTo: <b@example.net>\r\nSubject: throughput\r\n\r\n"
        .to_vec();
    let mut number = 0usize;
    while content.len() < bytes {
        // Lengths vary as those of prose do; a dot now and then, not in front.
        let length = line_bytes - (number * 7) % (line_bytes / 2);
        content.extend((0..length).map(|i| if i % 60 == 59 { b'.' } else { b'a' + ((i + number) % 26) as u8 }));
        content.extend_from_slice(b"\r\n");
        number += 1;
    }
    content.extend_from_slice(b".\r\n");
    content
}

fn content(c: &mut Criterion) {
    let mut group = c.benchmark_group("content");
    for (name, bytes, line_bytes) in [
        ("4 KiB, prose", 4 << 10, 78),
        ("16 KiB, prose", 16 << 10, 78),
        ("16 KiB, long lines", 16 << 10, 900),
        ("256 KiB, prose", 256 << 10, 78),
    ] {
        let mut input = message(bytes, line_bytes);
        group.throughput(Throughput::Bytes(input.len() as u64));
        group.bench_function(BenchmarkId::new("slices", name), |b| {
            b.iter(|| {
                let mut scanner = ContentScanner::new(BareLineEnds::Reject);
                let mut kept = 0;
                let progress = scanner.scan(black_box(&input), |piece| kept += piece.len());
                assert!(progress.is_end);
                black_box((kept, scanner.finish(|_| {})))
            });
        });
        group.bench_function(BenchmarkId::new("in place", name), |b| {
            b.iter(|| {
                let mut scanner = ContentScanner::new(BareLineEnds::Reject);
                let end = scanner.scan_in_place(black_box(&mut input));
                assert!(end.is_end);
                black_box((end.kept, scanner.finish(|_| {})))
            });
        });
        group.bench_function(BenchmarkId::new("facts alone", name), |b| {
            b.iter(|| {
                let mut scanner = FactScanner::new();
                scanner.scan(black_box(&input));
                black_box(scanner.finish())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, content);
criterion_main!(benches);
