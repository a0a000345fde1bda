//! What a mail filter costs us: a transaction with its content to one that answers nothing before the end of message,
//! one that answers everything, and one whose connection is used for its second and later messages.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use posthaste::mail::{Envelope, ForwardPath, HeaderSection, MailParameters, MessageView, Recipient, ReversePath};
use posthaste::milter::codec::Decoder;
use posthaste::milter::{Chain, Event, Facts, Settings, Stages, Task, Verdict};

const CONTINUE: &[u8] = b"\0\0\0\x01c";

/// An answer to the negotiation with these steps.
fn options(steps: u32) -> Vec<u8> {
    [b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff", &steps.to_be_bytes()[..]].concat()
}

/// Runs an event against a filter that says CONTINUE to everything; gives the octets that were written.
fn run(chain: &mut Chain, event: Event<'_>, envelope: &Envelope, options: &[u8], out: &mut Vec<u8>) -> usize {
    let facts = Facts { helo: Some("client.test"), queue_id: "ABCDEF", ..Facts::new("mx.test") };
    let is_new = chain.connection(0).is_some_and(|connection| connection.is_new());
    let mut run = chain.run(event, facts, Some(envelope));
    let (mut is_first, mut written) = (is_new, 0);
    loop {
        out.clear();
        let task = run.next(out);
        written += out.len();
        match task {
            Task::Open { .. } => run.opened(),
            Task::Write { .. } => {}
            Task::Read { .. } => run.input(if std::mem::take(&mut is_first) { options } else { CONTINUE }),
            Task::Done(verdict) => {
                assert_eq!(verdict, Verdict::Pass);
                return written;
            }
        }
    }
}

fn transactions(c: &mut Criterion) {
    let fields: String = (0..20).map(|n| format!("X-Field-{n}: a value of some length, {n}\r\n")).collect();
    let content = Bytes::from(format!("{fields}\r\n{}", "0123456789abcdef0123456789abcdef\r\n".repeat(290)));
    let (header, at) = HeaderSection::split(&content);
    let body = [content.slice(at..)];
    let recipient = Recipient::new(ForwardPath::parse("<b@two.test>", false).expect("an address"));
    let envelope = Envelope {
        reverse_path: ReversePath::Null,
        mail: MailParameters::default(),
        recipients: vec![recipient.clone()],
    };
    let mut group = c.benchmark_group("milter");
    group.throughput(Throughput::Bytes(content.len() as u64));
    for (name, steps) in [("transaction_10k_answered", 0), ("transaction_10k_unanswered", 0xf_f080)] {
        let mut chain = Chain::new([Settings { stages: Stages::ALL, ..Settings::default() }]);
        let (options, mut out) = (options(steps), Vec::new());
        run(&mut chain, Event::Connect, &envelope, &options, &mut out);
        run(&mut chain, Event::Helo, &envelope, &options, &mut out);
        group.bench_function(name, |b| {
            b.iter(|| {
                let view = MessageView { trace: b"", header: &header, body: &body, has_separator: true };
                let rcpt = Event::Rcpt { recipient: &recipient, refused: None };
                for event in [Event::Mail, rcpt, Event::Data, Event::Message(view)] {
                    black_box(run(&mut chain, event, &envelope, &options, &mut out));
                }
            })
        });
    }
    group.finish();
}

fn answers(c: &mut Criterion) {
    let field = b"\0\0\0\x10hX-Name\0a value\0";
    let stream: Vec<u8> = (0..100).flat_map(|_| [&field[..], CONTINUE].concat()).collect();
    let mut group = c.benchmark_group("milter");
    group.throughput(Throughput::Elements(200));
    group.bench_function("decode_200_answers", |b| {
        b.iter(|| {
            let mut decoder = Decoder::default();
            decoder.push(black_box(&stream));
            let mut count = 0;
            while let Some(response) = decoder.next(1 << 20).expect("sound packets") {
                black_box(response);
                count += 1;
            }
            assert_eq!(count, 200);
        })
    });
    group.finish();
}

criterion_group!(benches, transactions, answers);
criterion_main!(benches);
