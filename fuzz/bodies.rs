//! What the fuzz targets do with an input: plain functions that panic when something does not hold.
//!
//! Included by the targets of cargo-fuzz and by `tests/fuzz_corpus.rs`. A new target is a function
//! here, a row in [`TARGETS`], a file in `fuzz_targets/`, a `[[bin]]` and a folder in `corpus/`.

#[path = "sieve.rs"]
mod sieve;

use std::rc::Rc;

use posthaste::base::WallTime;
use posthaste::config;
use posthaste::expr::keywords::Mechanism;
use posthaste::expr::{
    Answer, Answers, Branch, Environment, Expr, ExprFault, Names, Place, Scalar, Scope, Source, Stop, Target, Value,
    Variable, VariableSet,
};
use posthaste::mail::downgrade::{Refusal, Rewriter, Survey, convert};
use posthaste::mail::{
    ContentFacts, Edit, Envelope, ForwardPath, HeaderSection, MailParameters, MessageView, Recipient, Reply,
    ReversePath,
};
use posthaste::milter;
use posthaste::schema::{self, Document, FaultKind};
use posthaste::smtp::command::{Command, Verb};
use posthaste::smtp::content::{BareLineEnds, ContentScanner};
use posthaste::smtp::extensions::{Extensions, PeerExtensions};
use posthaste::smtp::line::{BareLf, LineSplitter, Step};
use posthaste::smtp::proxy::{self, Proxy};
use posthaste::smtp::reply::{self, ReplyError, ReplyParser};
use posthaste::smtp::server::{
    Answer as Ruled, Client, Offers, Protocol, Question, Rules, Server, Step as Next, TlsFacts, words,
};
use posthaste::smtp::stuff::Stuffer;

/// What is done with an input.
pub type Body = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Body)] = &[
    ("command", command),
    ("configuration", configuration),
    ("content", content),
    ("downgrade", downgrade),
    ("expression", expression),
    ("milter_packet", milter_packet),
    ("milter_session", milter_session),
    ("proxy", proxy_header),
    ("record", spool_record),
    ("reply", replies),
    ("session", session),
    ("sieve_run", sieve::run),
    ("sieve_source", sieve::source),
];

/// Runs the target of that name.
pub fn run(name: &str, input: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(known, _)| *known == name).expect("a row in TARGETS");
    body(input);
}

/// The payload of a spool frame: bytes that passed a checksum may still be anything after a bug of ours.
fn spool_record(input: &[u8]) {
    let Some(records) = posthaste::spool::decode_payload(input) else { return };
    // What was decoded is no larger than what it came from allows.
    assert!(records.len() <= input.len());
    for record in &records {
        if let posthaste::spool::Record::Message(message) = record {
            assert!(message.envelope.recipients.len() <= input.len());
            assert!(message.trace.len() + message.header.len() <= input.len());
        }
    }
}

/// A message for a next hop that takes 7-bit alone: it is refused, or it is clean, of the size that was foretold, the
/// same in whatever pieces it comes, and needs no further conversion.
fn downgrade(input: &[u8]) {
    let whole = convert(input, "us.test");
    assert_eq!(whole, converted_in_pieces(input, 1 + input.len() % 37));
    let Ok(out) = whole else { return };
    assert!(out.iter().all(|b| b.is_ascii() && *b != 0));
    let lines: Vec<&[u8]> = out.split(|b| *b == b'\n').collect();
    let (last, ended) = lines.split_last().expect("one at least");
    assert!(ended.iter().all(|line| line.ends_with(b"\r") && line.len() <= 999));
    assert!(last.len() <= 998 && lines.iter().all(|line| !line.strip_suffix(b"\r").unwrap_or(line).contains(&b'\r')));
    assert_eq!(convert(&out, "us.test").as_ref(), Ok(&out));
}

fn converted_in_pieces(input: &[u8], size: usize) -> Result<Vec<u8>, Refusal> {
    let mut survey = Survey::new("us.test");
    input.chunks(size).try_for_each(|piece| survey.push(piece))?;
    let conversion = survey.finish()?;
    let mut rewriter = Rewriter::new(conversion.clone());
    let mut out = Vec::new();
    for piece in input.chunks(size) {
        out.extend(rewriter.push(piece)?);
    }
    out.extend(rewriter.finish()?);
    assert_eq!(conversion.size_bytes(), out.len() as u64);
    assert!(conversion.has_changes() || out == input);
    Ok(out)
}

/// The facts that fuzzed expressions ask for.
struct Facts(Answers);

impl Scope for Facts {
    fn variable(&self, variable: Variable) -> Value<'_> {
        match variable {
            Variable::RemoteIp => Value::Ip([10, 0, 0, 20].into()),
            Variable::LocalPort => Value::Integer(25),
            Variable::QueueAge => Value::Integer(i64::MAX),
            Variable::Recipients | Variable::Headers => Value::texts(["a@example.org", "Name: value", ""]),
            Variable::Rcpt => Value::text("j\u{f6}rg.doe+tag@example.org"),
            _ => Value::EMPTY,
        }
    }

    fn answers(&self) -> Option<&Answers> {
        Some(&self.0)
    }
}

/// One expression, and the lines of the input as branches: each compiles or has faults with a place in its
/// text; what compiles evaluates to a value or a reason, the same each time, after a bounded number of questions.
fn expression(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let whole = Source::from(text);
    one_expression(&whole, false);
    one_expression(&whole, None::<u32>);
    one_expression(&whole, std::time::Duration::ZERO);
    one_expression(&whole, Vec::<Mechanism>::new());
    let lines: Vec<_> = text.lines().map(Scalar::Text).collect();
    let mut branches: Vec<_> = lines
        .chunks(2)
        .map(|pair| Branch { if_: pair.first().cloned(), then: pair.get(1).cloned(), else_: None })
        .collect();
    branches.push(Branch { else_: Some(Scalar::Bool(false)), ..Branch::default() });
    one_expression(&Source::Branches(branches), Some(0u64));
}

fn one_expression<T: Target>(source: &Source<'_>, fallback: T) {
    let environment = Environment {
        variables: VariableSet::of(Variable::ALL),
        config: &|key| (key == "server.hostname").then_some(Value::text("mx.example.org")),
        directories: Names::Any,
        stores: Names::Any,
        may_wait: true,
        locals: &|_| None,
    };
    let expr = match Expr::compile(source, fallback, &environment) {
        Ok(expr) => expr,
        Err(faults) => return faults.iter().for_each(|fault| in_its_text(source, fault)),
    };
    let mut facts = Facts(Answers::new());
    for questions in 0.. {
        let question = match expr.eval(&facts) {
            Err(Stop::Pending(question)) => question,
            outcome => return assert_eq!(outcome.is_ok(), expr.eval(&facts).is_ok()),
        };
        assert!(expr.may_wait() && questions < 10_000, "asked {questions} times");
        let answer = if questions % 3 == 2 { Answer::Failed } else { Answer::Records(vec!["192.0.2.1".into()]) };
        facts.0.add(question, answer);
    }
}

fn in_its_text(source: &Source<'_>, fault: &ExprFault) {
    let value = match (source, fault.place) {
        (Source::Value(value), Place::Value) => Some(value),
        (Source::Branches(branches), Place::If(i)) => branches[i].if_.as_ref(),
        (Source::Branches(branches), Place::Then(i)) => branches[i].then.as_ref(),
        (Source::Branches(branches), Place::Else(i)) => branches[i].else_.as_ref(),
        _ => None,
    };
    let text = if let Some(Scalar::Text(text)) = value { text } else { "" };
    assert!(text.get(fault.span.start as usize..fault.span.end as usize).is_some(), "{fault:?}");
}

/// A stream of commands: cut anywhere it gives the same lines, and every line a command or a reply.
fn command(input: &[u8]) {
    for bare_lf in [BareLf::Refuse, BareLf::Accept] {
        let whole = lines(input, input.len(), bare_lf);
        let cut = input.first().map_or(0, |&b| usize::from(b)) % (input.len() + 1);
        assert_eq!(whole, lines(input, cut, bare_lf), "cut at {cut}");
        for line in whole.iter().flatten() {
            one_command(line);
        }
    }
}

/// The lines of a stream that arrives in two reads; none for a fault.
fn lines(input: &[u8], cut: usize, bare_lf: BareLf) -> Vec<Option<Vec<u8>>> {
    let mut splitter = LineSplitter::new(bare_lf);
    let (mut found, mut held) = (Vec::new(), Vec::new());
    for read in [&input[..cut], &input[cut..]] {
        held.extend_from_slice(read);
        loop {
            let consumed = match splitter.next(&held) {
                Step::Line { text, consumed } => {
                    found.push(Some(text.to_vec()));
                    consumed
                }
                Step::Fault { consumed, .. } => {
                    found.push(None);
                    consumed
                }
                Step::More { consumed } => {
                    held.drain(..consumed);
                    break;
                }
            };
            held.drain(..consumed);
        }
    }
    found
}

fn one_command(line: &[u8]) {
    let now = WallTime(1_795_386_600_000);
    match Command::parse(line) {
        Err(e) => one_line(&e.reply()),
        Ok(command) => {
            assert_eq!(Verb::of(line), Some(command.verb()));
            match command {
                Command::Mail(mail) => {
                    let path = mail.reverse_path();
                    let printed = format!("<{}>", path.as_str());
                    assert_eq!(ReversePath::parse(&printed, mail.arguments.smtputf8), Ok(path));
                    let parameters = mail.arguments.to_parameters(now);
                    let texts = [&parameters.envid, &parameters.solicit];
                    assert!(!texts.into_iter().flatten().any(|text| text.chars().any(char::is_control)));
                    if let Err(e) = Extensions::default().check_mail(&mail.arguments, true, now) {
                        one_line(&e.reply());
                    }
                }
                Command::Rcpt(rcpt) => {
                    let path = rcpt.forward_path();
                    assert_eq!(ForwardPath::parse(&format!("<{}>", path.as_str()), true), Ok(path));
                    if let Some(original) = rcpt.arguments.original {
                        assert!(!original.to_original().address.chars().any(char::is_control));
                    }
                }
                Command::Xclient(arguments) => assert!(arguments.attributes().count() > 0),
                _ => {}
            }
        }
    }
}

fn one_line(reply: &Reply) {
    let mut wire = Vec::new();
    reply.write_to(&mut wire);
    assert!(reply.is_permanent() && wire.ends_with(b"\r\n"));
    assert!(!wire[..wire.len() - 2].iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
}

/// Content of DATA: ends where the definition says, says the same however it is cut, and survives
/// being stuffed and read again.
fn content(input: &[u8]) {
    let Some((&seed, input)) = input.split_first() else { return };
    let policy = [BareLineEnds::Reject, BareLineEnds::Normalize, BareLineEnds::Allow][usize::from(seed) % 3];
    let cut = usize::from(seed) * 7 % (input.len() + 1);
    let whole = scan(input, input.len(), policy);
    assert_eq!(whole, scan(input, cut, policy), "cut at {cut}");

    let lined = [b"\r\n", input].concat();
    let end = lined.windows(5).position(|window| window == b"\r\n.\r\n").map(|at| at + 3);
    assert_eq!(whole.end, end, "only CRLF . CRLF ends content");
    if end.is_none() || whole.facts.has_bare_cr || whole.facts.has_bare_lf {
        return;
    }
    let (mut wire, mut stuffer) = (Vec::new(), Stuffer::new());
    stuffer.push(&whole.content, |slice| wire.extend_from_slice(slice));
    wire.extend_from_slice(stuffer.end());
    let again = scan(&wire, wire.len(), BareLineEnds::Reject);
    assert_eq!(again.end, Some(wire.len()));
    assert_eq!(again.content, whole.content);
    assert_eq!(again.facts, whole.facts);
}

#[derive(Debug, PartialEq, Eq)]
struct Scanned {
    content: Vec<u8>,
    end: Option<usize>,
    facts: ContentFacts,
}

fn scan(input: &[u8], cut: usize, policy: BareLineEnds) -> Scanned {
    let mut scanner = ContentScanner::new(policy);
    let (mut content, mut end) = (Vec::new(), None);
    let first = scanner.scan(&input[..cut], |slice| content.extend_from_slice(slice));
    if first.is_end {
        end = Some(first.consumed);
    } else {
        let second = scanner.scan(&input[first.consumed..], |slice| content.extend_from_slice(slice));
        if second.is_end {
            end = Some(first.consumed + second.consumed);
        }
    }
    let facts = scanner.finish(|slice| content.extend_from_slice(slice));
    Scanned { content, end, facts }
}

/// What a load balancer says: more octets change no decision.
fn proxy_header(input: &[u8]) {
    let cut = input.last().map_or(0, |&b| usize::from(b)) % (input.len() + 1);
    match (proxy::parse(&input[..cut]), proxy::parse(input)) {
        (Proxy::More, _) => {}
        (early, late) => assert_eq!(early, late, "cut at {cut}"),
    }
}

/// Replies of a peer: the same however they are cut, harmless, and printed as they were read.
fn replies(input: &[u8]) {
    let cut = input.first().map_or(0, |&b| usize::from(b)) % (input.len() + 1);
    let whole = read_replies(input, input.len());
    assert_eq!(whole, read_replies(input, cut), "cut at {cut}");
    for reply in &whole.0 {
        assert!((200..600).contains(&reply.code));
        assert!(!reply.text.chars().any(|c| c.is_control() && c != '\n'));
        let _ = PeerExtensions::parse(reply);
        let mut wire = Vec::new();
        reply.write_to(&mut wire);
        let printed = read_replies(&wire, wire.len());
        assert_eq!((printed.0.len(), printed.1), (1, None), "what we print is one reply");
        assert_eq!(printed.0[0].code, reply.code);
    }
}

fn read_replies(input: &[u8], cut: usize) -> (Vec<Reply>, Option<ReplyError>) {
    let mut parser = ReplyParser::new();
    let (mut found, mut held) = (Vec::new(), Vec::new());
    for read in [&input[..cut], &input[cut..]] {
        held.extend_from_slice(read);
        loop {
            match parser.parse(&held) {
                Ok(reply::Step::Reply { reply, consumed }) => {
                    found.push(reply);
                    held.drain(..consumed);
                }
                Ok(reply::Step::More { consumed }) => {
                    held.drain(..consumed);
                    break;
                }
                Err(e) => return (found, Some(e)),
            }
        }
    }
    (found, None)
}

/// A configuration: refused with faults that have a place, or accepted and printed as TOML. A secret is in no print.
fn configuration(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match config::load_text("fuzz.toml", &text, &Nowhere) {
        Ok(loaded) => {
            let (_, faults) = Document::parse("shown", &loaded.show());
            assert_eq!(faults, [], "what is shown is TOML");
            assert!(loaded.diff(&loaded).is_empty());
            assert!(!loaded.warnings(false).contains(SECRET) && !loaded.show().contains(SECRET));
        }
        Err(refused) => {
            assert!(refused.count() > 0);
            let lines = text.lines().count() + 1;
            for fault in refused.json() {
                assert!(fault.line.is_some() || fault.kind != FaultKind::Unknown || fault.key.is_empty());
                assert!(fault.line.is_none_or(|line| (1..=lines).contains(&line)));
            }
            assert!(!refused.to_string().contains(SECRET));
        }
    }
}

const SECRET: &str = "from outside";

/// Every variable is a secret, and there are no files.
struct Nowhere;

impl schema::Environment for Nowhere {
    fn variable(&self, _: &str) -> Option<String> {
        Some(SECRET.to_owned())
    }
    fn file(&self, _: &str) -> Result<String, String> {
        Err("no such file".to_owned())
    }
}

/// The server machine: the first octet picks a state and a protocol, the second a cut, the rest is said in
/// that state. How it is cut changes nothing, replies are lines with codes, and every message had recipients.
fn session(input: &[u8]) {
    let [state, cut, rest @ ..] = input else { return };
    let hello = if state & 0x80 == 0 { "EHLO c.test\r\n" } else { "LHLO c.test\r\n" };
    let leads = [
        "",
        hello,
        &format!("{hello}MAIL FROM:<a@b.test>\r\n"),
        &format!("{hello}MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"),
        &format!("{hello}MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nBDAT 3\r\nA:1"),
        &format!("{hello}MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"),
        &format!("{hello}BDAT 40\r\n"),
    ];
    let protocol = if state & 0x80 == 0 { Protocol::Smtp } else { Protocol::Lmtp };
    let mut whole = leads[usize::from(state & 0x7f) % leads.len()].as_bytes().to_vec();
    whole.extend_from_slice(rest);
    let (first, second) = whole.split_at(usize::from(*cut).min(whole.len()));
    let at_once = Dialogue::of(protocol, &[&whole]);
    // What was said in clear behind STARTTLS is thrown away, so there the cut does matter.
    if at_once.handshakes == 0 {
        assert_eq!(at_once, Dialogue::of(protocol, &[first, second]));
    }
    for line in at_once.said.split_inclusive("\r\n") {
        assert!(line.ends_with("\r\n") && line.as_bytes()[..3].iter().all(u8::is_ascii_digit), "{line:?}");
    }
}

/// What a session came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dialogue {
    said: String,
    messages: Vec<(usize, Vec<u8>)>,
    handshakes: usize,
    is_over: bool,
}

impl Dialogue {
    fn of(protocol: Protocol, pieces: &[&[u8]]) -> Dialogue {
        let address = "192.0.2.1:25".parse().expect("an address");
        let mut server = Server::new(Client::new("fuzz".into(), protocol, address, address), Rules::default());
        let mut dialogue = Dialogue::default();
        dialogue.run(&mut server);
        for mut octets in pieces.iter().copied() {
            while !octets.is_empty() && !dialogue.is_over {
                let expected = server.expected_bytes();
                let intake = server.intake();
                if intake.space().is_empty() {
                    let size = intake.next_capacity(expected).expect("a full buffer grows or is being used");
                    intake.lend(vec![0; size]);
                }
                let space = intake.space();
                let n = space.len().min(octets.len());
                space[..n].copy_from_slice(&octets[..n]);
                intake.received(n);
                octets = &octets[n..];
                dialogue.run(&mut server);
            }
        }
        dialogue.said = String::from_utf8(server.replies().take_ready()).expect("replies are text");
        dialogue
    }

    fn run(&mut self, server: &mut Server) {
        let now = WallTime(1_795_386_600_000);
        loop {
            match server.step(now) {
                Next::Read => return,
                Next::Close => {
                    self.is_over = true;
                    return;
                }
                Next::Ask(_) => {
                    let mut answer = Ruled::accept();
                    if let Some(Question::Ehlo(_)) = server.question() {
                        let mut offers = Offers::default();
                        offers.extensions.starttls = server.client().tls.is_none();
                        answer.offers = Some(Rc::new(offers));
                    }
                    server.answer(answer, now);
                }
                Next::Commit(ticket) => {
                    let message = server.take_message().expect("a message goes with its commit");
                    assert!(!message.transaction.envelope.recipients.is_empty());
                    let content = [&message.content.header[..], &message.content.body].concat();
                    self.messages.push((message.transaction.envelope.recipients.len(), content));
                    server.committed(ticket, &words::queued(1));
                }
                Next::StartTls => {
                    self.handshakes += 1;
                    server.tls_started(TlsFacts::default());
                }
                Next::Spill(_) | Next::Wait(_) => {}
            }
        }
    }
}

/// What a filter sends, as packets: how it is cut changes nothing, and what was read is no longer than what came.
fn milter_packet(input: &[u8]) {
    let whole = responses(input, input.len());
    let cut = input.first().map_or(0, |&b| usize::from(b)) % (input.len() + 1);
    assert_eq!(whole, responses(input, cut), "cut at {cut}");
}

fn responses(input: &[u8], cut: usize) -> (Vec<milter::codec::Response>, Option<milter::codec::PacketFault>) {
    let (mut decoder, mut found) = (milter::codec::Decoder::default(), Vec::new());
    let (first, second) = input.split_at(cut);
    for piece in [first, second] {
        decoder.push(piece);
        loop {
            match decoder.next(10_000) {
                Ok(Some(response)) => found.push(response),
                Ok(None) => break,
                Err(fault) => return (found, Some(fault)),
            }
        }
    }
    assert!(decoder.pending_bytes() <= input.len() && found.len() * 5 <= input.len());
    (found, None)
}

/// A mail filter that is sound up to its n-th answer and says the rest of the input from there on: the first octet is n,
/// the next three its protocol steps, the fifth how its octets are cut. Whole packets go to it, a message is passed,
/// refused or dropped, and what is passed is a message still.
fn milter_session(input: &[u8]) {
    let [sound, s0, s1, s2, cut, rest @ ..] = input else { return };
    let steps = [0, s2 & 0x1f, *s1, *s0];
    let agreed = [b"\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff", &steps[..]].concat();
    let mut said = rest.chunks(usize::from(*cut) + 1);
    let settings = milter::Settings { stages: milter::Stages::ALL, ..milter::Settings::default() };
    let mut chain = milter::Chain::new([settings]);
    let facts = milter::Facts { helo: Some("client.test"), ..milter::Facts::new("mx.test") };
    let recipient = Recipient::new(ForwardPath::parse("<b@two.test>", false).expect("an address"));
    let envelope = Envelope {
        reverse_path: ReversePath::Null,
        mail: MailParameters::default(),
        recipients: vec![recipient.clone()],
    };
    let content = bytes::Bytes::from_static(b"From: a@one.test\r\nSubject: one\r\n\r\nbody\r\n");
    let (header, at) = HeaderSection::split(&content);
    let body = [content.slice(at..)];
    let view = MessageView { trace: b"", header: &header, body: &body, has_separator: true };
    let mut reads = 0;
    for event in [
        milter::Event::Connect,
        milter::Event::Helo,
        milter::Event::Mail,
        milter::Event::Rcpt { recipient: &recipient, refused: None },
        milter::Event::Data,
        milter::Event::Message(view),
        milter::Event::Quit,
    ] {
        let mut run = chain.run(event, facts, Some(&envelope));
        let mut out = Vec::new();
        let verdict = loop {
            out.clear();
            let task = run.next(&mut out);
            whole_packets(&out);
            match task {
                milter::Task::Open { .. } => run.opened(),
                milter::Task::Write { .. } => {}
                milter::Task::Read { .. } => {
                    let answer: &[u8] = match reads {
                        0 if *sound > 0 => &agreed,
                        _ if reads < *sound => b"\0\0\0\x01c",
                        _ => said.next().unwrap_or_default(),
                    };
                    reads = reads.saturating_add(1);
                    if answer.is_empty() { run.failed(milter::Failure::Closed) } else { run.input(answer) }
                }
                milter::Task::Done(verdict) => break verdict,
            }
        };
        let changes = run.into_changes();
        match verdict {
            milter::Verdict::Pass => is_still_a_message(&header, changes, envelope.clone()),
            milter::Verdict::Refuse(reply) | milter::Verdict::Close(reply) => {
                assert!(reply.is_transient() || reply.is_permanent());
                assert_eq!(changes, milter::Changes::default());
            }
            milter::Verdict::Discard => assert_eq!(changes, milter::Changes::default()),
        }
    }
}

fn whole_packets(mut out: &[u8]) {
    while let Some((length, rest)) = out.split_first_chunk::<4>() {
        out = rest.get(u32::from_be_bytes(*length) as usize..).expect("a whole packet");
    }
    assert!(out.is_empty());
}

fn is_still_a_message(header: &HeaderSection, changes: milter::Changes, mut envelope: Envelope) {
    let after = header.apply(&changes.edits);
    assert!(!after.raw().windows(4).any(|four| four == b"\r\n\r\n") && !after.raw().starts_with(b"\r\n"));
    assert!(after.is_empty() || after.raw().ends_with(b"\r\n"));
    assert!(after.fields().all(|field| !field.name.is_empty() && !field.raw.contains(&0)));
    for edit in &changes.edits {
        edit.apply_to_envelope(&mut envelope);
        if let Edit::ReplaceBody(pieces) = edit {
            let body = pieces.concat();
            let is_bare = |at: usize| at == 0 || body[at - 1] != b'\r';
            assert!(!body.iter().enumerate().any(|(at, b)| *b == b'\n' && is_bare(at)), "a bare LF");
        }
    }
    let all =
        envelope.recipients.iter().map(|recipient| recipient.path.as_str()).chain([envelope.reverse_path.as_str()]);
    assert!(!all.collect::<String>().contains(|c: char| c.is_ascii_control()));
    assert!(!changes.quarantine.unwrap_or_default().contains(|c: char| c.is_ascii_control()));
}
