//! What a script costs: a dozen tests on header and envelope of a 10 KB message are to take 20 microseconds
//! at most; scripts of other kinds beside it, and what compiling costs.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use posthaste::base::WallTime;
use posthaste::mail::{
    Envelope, ForwardPath, HeaderSection, MailParameters, Mailbox, MessageView, Recipient, ReversePath,
};
use posthaste::sieve::{Answer, Compiler, Limits, Machine, Program, Question, Step};

/// What an administrator writes: lists, spam marks, sizes, addresses.
const TYPICAL: &str = r#"
require ["fileinto", "envelope", "reject", "subaddress", "copy"];
if anyof (header :contains "x-spam-flag" "yes", header :contains "subject" ["viagra", "lottery", "casino"]) {
    discard;
} elsif header :contains "list-id" ["<announce.example.org>", "<users.example.org>"] {
    fileinto "lists";
} elsif address :domain "from" ["partner.example", "supplier.example"] {
    fileinto "partners";
} elsif envelope :localpart "from" ["mailer-daemon", "bounce"] {
    fileinto "bounces";
} elsif envelope :detail "to" "orders" {
    fileinto "orders";
} elsif header :matches "subject" ["*[ticket ???????]*", "Re: *ticket*"] {
    fileinto "tickets";
} elsif exists ["x-mailer", "x-priority", "x-bulk"] {
    fileinto "bulk";
} elsif size :over 5M {
    reject "551 5.2.3 Too large";
} elsif address :is :localpart "to" ["info", "sales", "office"] {
    fileinto "office";
} elsif not header :contains "message-id" "@" {
    discard;
} elsif header :is "auto-submitted" "auto-generated" {
    fileinto "robots";
} elsif envelope :domain "from" "newsletter.example" {
    redirect :copy "archive@example.org";
}
"#;

const VARIABLES: &str = r#"
require ["variables", "fileinto", "relational", "comparator-i;ascii-numeric"];
if header :matches "subject" "*invoice *: *" { set :lower "number" "${2}"; set :upperfirst "what" "${3}"; }
if header :value "ge" :comparator "i;ascii-numeric" "x-score" "5" { set "where" "junk"; } else { set "where" "in"; }
fileinto "${where}/${number}/${what}";
"#;

const REGEX: &str = r#"
require ["regex", "variables"];
if header :regex "subject" "([a-z]+) ([0-9]{4}-[0-9]+)" { set "a" "${2}"; }
if header :regex ["from", "to", "cc"] "(x{3}|y{4})@(.+)\\.example" { discard; }
"#;

const EDIT: &str = r#"
require ["editheader", "date", "relational"];
deleteheader "x-mailer";
addheader "X-Filtered" "yes";
if currentdate :value "ge" "hour" "18" { addheader :last "X-Late" "yes"; }
"#;

const NOTHING: &str = "keep;";

struct Mail {
    header: HeaderSection,
    body: Vec<Bytes>,
    envelope: Envelope,
}

/// 10 KB with 26 fields, as a message from a few hops away has them.
fn mail() -> Mail {
    let mut text = String::new();
    for i in 0..6 {
        text.push_str(&format!(
            "Received: from relay{i}.example.net (relay{i}.example.net [192.0.2.{i}])\r\n\tby mx.example.org with \
             ESMTPS id 4XyZ{i};\r\n\tMon, 23 Nov 2026 10:0{i}:00 +0000\r\n"
        ));
    }
    text.push_str("DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=s1;\r\n\tbh=");
    text.push_str(&"A".repeat(44));
    text.push_str(";\r\n\tb=");
    text.push_str(&"B".repeat(344));
    text.push_str(
        "\r\nFrom: \"Jane Doe, Accounts\" <jane.doe@customers.example.net>\r\nTo: Bob <bob+work@example.org>, \
         alice@example.org\r\nCc: team: carol@example.org, dave@example.org;\r\nSubject: Re: your invoice \
         2026-1234: thank you\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\nMessage-ID: \
         <4f2c.12@customers.example.net>\r\nIn-Reply-To: <1@example.org>\r\nReferences: <0@example.org> \
         <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: 8bit\r\nX-Mailer: Sender 1.0\r\nX-Score: 3\r\n",
    );
    for i in 0..8 {
        text.push_str(&format!("X-Field-{i}: a value that nobody asks for, number {i}\r\n"));
    }
    let header = HeaderSection::parse(text.clone().into());
    let body = vec![Bytes::from("lorem ipsum dolor sit amet\r\n".repeat((10_240 - text.len()) / 28))];
    let mailbox = |text| Mailbox::parse(text, false).expect("an address");
    let envelope = Envelope {
        reverse_path: ReversePath::Mailbox(mailbox("jane.doe@customers.example.net")),
        mail: MailParameters::default(),
        recipients: vec![
            Recipient::new(ForwardPath(mailbox("bob+work@example.org"))),
            Recipient::new(ForwardPath(mailbox("alice@example.org"))),
        ],
    };
    Mail { header, body, envelope }
}

fn compiled(script: &str) -> Program {
    Compiler::new().compile(script).expect("compiles").program
}

fn run(program: &Program, mail: &Mail) -> usize {
    let view = MessageView { trace: b"", header: &mail.header, body: &mail.body, has_separator: true };
    let mut machine = Machine::new(program, &view, &mail.envelope, Limits::default());
    loop {
        match machine.run() {
            Step::Done(actions) => return actions.list.len(),
            Step::Failed(error) => panic!("{error}"),
            Step::Ask(Question::Time) => {
                machine.answer(Answer::Time { now: WallTime(1_795_400_000_000), offset_minutes: 60 });
            }
            Step::Ask(question) => panic!("{question:?}"),
        }
    }
}

fn scripts(c: &mut Criterion) {
    let mail = mail();
    let mut group = c.benchmark_group("sieve");
    for (name, script) in [
        ("typical_12_tests", TYPICAL),
        ("variables", VARIABLES),
        ("regex", REGEX),
        ("edit", EDIT),
        ("nothing", NOTHING),
    ] {
        let program = compiled(script);
        group.bench_function(name, |b| b.iter(|| run(black_box(&program), black_box(&mail))));
    }
    group.bench_function("compile_typical", |b| b.iter(|| compiled(black_box(TYPICAL))));
    group.finish();
}

criterion_group!(benches, scripts);
criterion_main!(benches);
