//! Pipelined command streams: split into lines and parsed in place.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posthaste::smtp::command::Command;
use posthaste::smtp::line::{BareLf, LineSplitter, Step};

/// Splits and parses everything; how many commands that were.
fn run(stream: &[u8]) -> usize {
    let (mut splitter, mut rest, mut commands) = (LineSplitter::new(BareLf::Refuse), stream, 0);
    while let Step::Line { text, consumed } = splitter.next(rest) {
        commands += usize::from(black_box(Command::parse(text)).is_ok());
        rest = &rest[consumed..];
    }
    commands
}

fn command(c: &mut Criterion) {
    let mut group = c.benchmark_group("command");
    let one = "MAIL FROM:<newsletter-bounces@mailing.example.com> SIZE=14230 BODY=8BITMIME\r\n\
               RCPT TO:<someone.with.a.name@customer.example.net>\r\nDATA\r\n";
    let many: String = (0..100).map(|i| format!("RCPT TO:<subscriber{i:05}@customer.example.net>\r\n")).collect();
    let dsn = "MAIL FROM:<bounces+12345@mailing.example.com> RET=HDRS ENVID=20261122.1234567 SIZE=14230 SMTPUTF8\r\n\
               RCPT TO:<someone@customer.example.net> NOTIFY=FAILURE,DELAY ORCPT=rfc822;someone@customer.example.net\r\n";
    for (name, stream) in [
        ("transactions", one.repeat(50)),
        ("recipients", many),
        ("parameters", dsn.repeat(50)),
        ("noop", "NOOP\r\n".repeat(500)),
    ] {
        let expected = stream.matches("\r\n").count();
        assert_eq!(run(stream.as_bytes()), expected, "{name}: every line is a command");
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(name, |b| b.iter(|| run(black_box(stream.as_bytes()))));
    }
    group.finish();
}

criterion_group!(benches, command);
criterion_main!(benches);
