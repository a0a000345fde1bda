//! Several filters: who hears what, when, of which message, and what comes of it.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::chain::{Chain, Event, Task};
use super::super::changes::Changes;
use super::super::codec::{Options, Response};
use super::super::machine::{Failure, Verdict};
use super::super::macros::Facts;
use super::super::settings::{OnFailure, Settings};
use super::super::stage::Stages;
use super::super::testing::Filter;
use crate::mail::{
    Edit, Envelope, ForwardPath, HeaderSection, MailParameters, Mailbox, MessageView, Recipient, Reply, ReversePath,
};

const CONTENT: &[u8] =
    b"From: a@one.test\r\nSubject: one\r\n two\r\nnonsense\r\nSubject: 2\r\n\r\nline 1\r\nline 2\r\n";

fn recipient(text: &str) -> Recipient {
    Recipient::new(ForwardPath(Mailbox::parse(text, false).expect("an address")))
}

fn envelope() -> Envelope {
    Envelope {
        reverse_path: ReversePath::Mailbox(Mailbox::parse("a@one.test", false).expect("an address")),
        mail: MailParameters { size: Some(80), ..MailParameters::default() },
        recipients: vec![recipient("b@two.test"), recipient("c@two.test")],
    }
}

fn facts() -> Facts<'static> {
    Facts { helo: Some("client.test"), ..Facts::new("mx.test") }
}

/// A chain with its filters in memory; one that is `None` cannot be reached.
struct Session {
    chain: Chain,
    filters: Vec<Option<Filter>>,
    writes: usize,
}

impl Session {
    fn new(filters: Vec<(Settings, Option<Filter>)>) -> Session {
        let (settings, filters): (Vec<_>, Vec<_>) = filters.into_iter().unzip();
        Session { chain: Chain::new(settings), filters, writes: 0 }
    }

    /// Filters that are asked about everything.
    fn of(filters: Vec<Filter>) -> Session {
        let settings = Settings { stages: Stages::ALL, ..Settings::default() };
        Session::new(filters.into_iter().map(|filter| (settings, Some(filter))).collect())
    }

    fn run(&mut self, event: Event<'_>, envelope: Option<&Envelope>) -> (Verdict, Changes) {
        let mut run = self.chain.run(event, facts(), envelope);
        let (mut out, mut inbox): (Vec<u8>, Vec<u8>) = (Vec::new(), Vec::new());
        loop {
            out.clear();
            match run.next(&mut out) {
                Task::Open { milter, .. } if self.filters[milter].is_some() => run.opened(),
                Task::Open { .. } => run.failed(Failure::Unreachable),
                Task::Write { milter, .. } => {
                    self.writes += 1;
                    let answer = self.filters[milter].as_mut().expect("open").hear(&out);
                    inbox.extend(answer);
                }
                Task::Read { milter, .. } => {
                    inbox.extend(self.filters[milter].as_mut().expect("open").hear(&out));
                    match inbox.is_empty() {
                        true => run.failed(Failure::TimedOut),
                        false => run.input(&std::mem::take(&mut inbox)),
                    }
                }
                Task::Done(verdict) => return (verdict, run.into_changes()),
            }
        }
    }

    /// A transaction up to the verdict about its content.
    fn transaction(&mut self) -> (Verdict, Changes) {
        let mut so_far = Envelope { recipients: Vec::new(), ..envelope() };
        let (verdict, changes) = self.run(Event::Mail, Some(&so_far));
        if verdict != Verdict::Pass {
            return (verdict, changes);
        }
        for recipient in &envelope().recipients {
            if self.run(Event::Rcpt { recipient, refused: None }, Some(&so_far)).0 == Verdict::Pass {
                so_far.recipients.push(recipient.clone());
            }
        }
        let (verdict, changes) = self.run(Event::Data, Some(&so_far));
        if verdict != Verdict::Pass { (verdict, changes) } else { self.message(&so_far) }
    }

    fn message(&mut self, envelope: &Envelope) -> (Verdict, Changes) {
        let content = Bytes::from_static(CONTENT);
        let (header, at) = HeaderSection::split(&content);
        let body = [content.slice(at..at + 4), content.slice(at + 4..)];
        let view = MessageView { trace: b"Received: us\r\n", header: &header, body: &body, has_separator: true };
        self.run(Event::Message(view), Some(envelope))
    }

    fn session(&mut self) -> (Verdict, Changes) {
        for event in [Event::Connect, Event::Helo] {
            let (verdict, changes) = self.run(event, None);
            if verdict != Verdict::Pass {
                return (verdict, changes);
            }
        }
        self.transaction()
    }

    fn log(&self, milter: usize) -> String {
        self.filters[milter].as_ref().map(|filter| filter.log.join("\n")).unwrap_or_default()
    }
}

/// A filter that changes things at the end of a message.
fn changing(changes: Vec<Response>) -> Filter {
    at('E', changes)
}

/// A filter that says something at one command.
fn at(command: char, answers: Vec<Response>) -> Filter {
    Filter::new(move |code, _| if code == command { answers.clone() } else { Vec::new() })
}

fn quiet() -> Filter {
    Filter::new(|_, _| Vec::new())
}

fn add(name: &'static str) -> Response {
    Response::AddHeader { name: name.into(), value: "v".into() }
}

const ALL: &str = "C localhost\\x00U\nH client.test\\x00\nM <a@one.test>\\x00SIZE=80\\x00\nR <b@two.test>\\x00\nR <c@two.test>\\x00\nT \n\
    L From\\x00a@one.test\\x00\nL Subject\\x00one\\n two\\x00\nL Subject\\x002\\x00\nN \nB line 1\\r\\nline 2\\r\\n\nE ";

#[test]
fn every_filter_hears_everything_once() {
    let mut session = Session::of(vec![quiet(), quiet()]);
    assert_eq!(session.session().0, Verdict::Pass);
    assert_eq!(session.log(0), ALL);
    assert_eq!(session.log(1), ALL);
}

#[test]
fn a_filter_of_the_data_stage_is_told_what_came_before_when_it_is_asked() {
    let mut session = Session::new(vec![(Settings::default(), Some(quiet()))]);
    session.run(Event::Connect, None);
    session.run(Event::Helo, None);
    session.run(Event::Mail, Some(&envelope()));
    assert!(session.log(0).is_empty() && session.chain.connection(0).expect("there").is_new());
    assert_eq!(session.message(&envelope()).0, Verdict::Pass);
    assert_eq!(session.log(0), ALL);
    // The next message says neither CONNECT nor HELO again; after STARTTLS there is another EHLO.
    session.transaction();
    assert_eq!(session.log(0).matches("C localhost").count(), 1);
    assert_eq!(session.log(0).matches("H client").count(), 1);
    assert_eq!(session.log(0).matches("M <a@one.test>").count(), 2);
    session.run(Event::Helo, None);
    session.transaction();
    assert_eq!(session.log(0).matches("H client").count(), 2);
    assert_eq!(session.log(0).matches("T ").count(), 3);
}

#[test]
fn the_second_filter_sees_what_the_first_one_left() {
    let changes = vec![
        Response::ChangeHeader { index: 2, name: "Subject".into(), value: "new".into() },
        Response::ChangeHeader { index: 1, name: "From".into(), value: "".into() },
        Response::ReplaceBody("other".into()),
        Response::AddRecipient { path: "<d@two.test>".into(), parameters: None },
        Response::DeleteRecipient("<b@TWO.test>".into()),
        Response::ChangeFrom { path: "<>".into(), parameters: None },
    ];
    let second = vec![Response::ReplaceBody("final".into()), add("X-Second")];
    let data = Settings::default();
    let mut session = Session::new(vec![(data, Some(changing(changes))), (data, Some(changing(second)))]);
    session.run(Event::Connect, None);
    session.run(Event::Helo, None);
    let (verdict, changes) = session.message(&envelope());
    assert_eq!(verdict, Verdict::Pass);
    let told = "M <>\\x00SIZE=80\\x00\nR <c@two.test>\\x00\nR <d@two.test>\\x00\nT \n\
        L Subject\\x00one\\n two\\x00\nL Subject\\x00new\\x00\nN \nB other\nE ";
    assert!(session.log(1).ends_with(told), "{}", session.log(1));
    // What is left to apply: one body, and the header section as both left it.
    let bodies: Vec<_> = changes.edits.iter().filter(|edit| matches!(edit, Edit::ReplaceBody(_))).collect();
    assert_eq!(bodies, [&Edit::ReplaceBody(vec!["final".into()])]);
    let (header, _) = HeaderSection::split(&Bytes::from_static(CONTENT));
    let after = header.apply(&changes.edits);
    assert_eq!(&after.raw()[..], b"Subject: one\r\n two\r\nnonsense\r\nSubject: new\r\nX-Second: v\r\n");
    let mut envelope = envelope();
    changes.edits.iter().for_each(|edit| edit.apply_to_envelope(&mut envelope));
    assert!(envelope.reverse_path.is_null());
    let left: Vec<_> = envelope.recipients.iter().map(|recipient| recipient.path.as_str()).collect();
    assert_eq!(left, ["c@two.test", "d@two.test"]);
}

#[test]
fn a_refusal_ends_the_event_and_the_transaction_of_all() {
    let mut session = Session::of(vec![changing(vec![add("X-Lost")]), at('E', vec![Response::Reject]), quiet()]);
    let (verdict, changes) = session.session();
    assert!(matches!(verdict, Verdict::Refuse(reply) if reply.code == 550));
    assert_eq!(changes, Changes::default());
    assert!(session.log(2).ends_with("T \nA "), "the third one is told that it is over: {}", session.log(2));
    assert!(session.log(0).ends_with("E ") && session.log(1).ends_with("E "));
    assert!(matches!(session.transaction().0, Verdict::Refuse(_)));
    assert_eq!(session.log(1).matches("C localhost").count(), 1);
}

#[test]
fn a_refused_recipient_is_refused_alone() {
    let refusing = |code: char, data: &[u8]| match (code, data) {
        ('R', b"<b@two.test>\0") => vec![Response::ReplyCode("550 5.1.1 not b".into())],
        _ => Vec::new(),
    };
    let mut session = Session::of(vec![Filter::new(refusing), quiet()]);
    assert_eq!(session.session().0, Verdict::Pass);
    assert!(session.log(0).contains("R <b@two.test>") && !session.log(1).contains("R <b@two.test>"));
    assert!(session.log(1).contains("R <c@two.test>"));
    // A filter that hears of recipients only with the content refuses all of it.
    let mut session = Session::new(vec![(Settings::default(), Some(Filter::new(refusing)))]);
    assert!(matches!(session.session().0, Verdict::Refuse(reply) if reply.text == "not b"));
}

#[test]
fn our_own_refusals_are_told_to_those_who_asked() {
    let mut session = Session::of(vec![
        quiet(),
        Filter::new(|code, _| if code == 'R' { vec![Response::Reject] } else { Vec::new() }).with_steps(0x800),
    ]);
    session.run(Event::Connect, None);
    session.run(Event::Mail, Some(&envelope()));
    let reply = Reply::new(550, (5, 1, 1), "no such user");
    let recipient = recipient("nobody@two.test");
    let event = Event::Rcpt { recipient: &recipient, refused: Some(&reply) };
    assert_eq!(session.run(event, Some(&envelope())).0, Verdict::Pass);
    assert!(!session.log(0).contains("nobody") && session.log(1).contains("R <nobody@two.test>"));
}

#[test]
fn accept_excuses_one_filter_and_nobody_else() {
    let mut session = Session::of(vec![at('M', vec![Response::Accept]), at('C', vec![Response::Accept]), quiet()]);
    assert_eq!(session.session().0, Verdict::Pass);
    assert!(session.log(0).ends_with("M <a@one.test>\\x00SIZE=80\\x00"));
    assert_eq!(session.log(1), "C localhost\\x00U");
    assert_eq!(session.log(2), ALL);
    assert_eq!(session.transaction().0, Verdict::Pass);
    assert_eq!(session.log(0).matches("M <a").count(), 2, "the next message is a new question");
}

#[test]
fn discard_is_said_once_the_content_is_here() {
    for command in ['M', 'R', 'T', 'L', 'N', 'B', 'E'] {
        let mut session = Session::of(vec![at(command, vec![Response::Discard]), quiet()]);
        assert_eq!(session.session(), (Verdict::Discard, Changes::default()), "{command}");
        assert!(!session.log(1).contains("E "), "nobody is asked about what is dropped");
        session.run(Event::Quit, None);
        assert!(session.log(1).ends_with("Q "));
    }
    let mut session = Session::of(vec![at('M', vec![Response::Discard]), quiet()]);
    session.run(Event::Connect, None);
    session.run(Event::Mail, Some(&envelope()));
    session.run(Event::Abort, None);
    session.run(Event::Quit, None);
    assert_eq!(session.log(1), "C localhost\\x00U\nQ ");
}

#[test]
fn a_refused_client_stays_refused() {
    let mut session = Session::of(vec![at('H', vec![Response::ReplyCode("554 5.7.1 go away".into())])]);
    assert_eq!(session.run(Event::Connect, None).0, Verdict::Pass);
    for event in [Event::Helo, Event::Mail, Event::Data] {
        assert!(matches!(session.run(event, Some(&envelope())).0, Verdict::Refuse(reply) if reply.code == 554));
    }
    session.run(Event::Quit, None);
    assert_eq!(session.log(0), "C localhost\\x00U\nH client.test\\x00\nQ ");
}

#[test]
fn a_filter_that_cannot_be_reached_is_the_configured_result() {
    for on_failure in [OnFailure::Accept, OnFailure::TempFail, OnFailure::Reject] {
        let settings = Settings { on_failure, ..Settings::default() };
        let mut session =
            Session::new(vec![(settings, None), (Settings::default(), Some(changing(vec![add("X-Second")])))]);
        let (verdict, changes) = session.session();
        match on_failure.reply() {
            None => assert_eq!((verdict, changes.edits.len()), (Verdict::Pass, 1)),
            Some(reply) => assert_eq!((verdict, changes.edits.len()), (Verdict::Refuse(reply), 0)),
        }
        assert_eq!(session.chain.connection(0).and_then(|c| c.failure()), Some(&Failure::Unreachable));
    }
}

#[test]
fn a_filter_that_breaks_or_falls_silent_at_any_command_spoils_nothing() {
    let nonsense = Response::Options(Options { version: 6, actions: 0, steps: 0, symbols: Vec::new() });
    let broken = [vec![add("X-Half"), nonsense], vec![Response::Progress]]; // after the second nothing comes any more
    for (command, answer) in "CHMRTLNBE".chars().flat_map(|command| broken.clone().map(|answer| (command, answer))) {
        let settings = Settings { stages: Stages::ALL, on_failure: OnFailure::Accept, ..Settings::default() };
        let second = changing(vec![add("X-Second")]);
        let mut session = Session::new(vec![(settings, Some(at(command, answer))), (settings, Some(second))]);
        let (verdict, changes) = session.session();
        assert_eq!(verdict, Verdict::Pass, "{command}");
        assert_eq!(changes.edits, [Edit::AppendField { name: "X-Second".into(), value: "v".into() }], "{command}");
        assert!(session.chain.connection(0).and_then(|c| c.failure()).is_some());
        assert_eq!(session.log(1), ALL);
    }
}

#[test]
fn a_header_section_that_grows_too_long_is_a_failure() {
    let long = Response::AddHeader { name: "X".into(), value: vec![b'v'; 200_000].into() };
    let mut session = Session::of(vec![changing(vec![long.clone()]), changing(vec![long])]);
    assert!(matches!(session.session().0, Verdict::Refuse(reply) if reply.code == 451));
}

#[test]
fn what_is_not_answered_is_written_together() {
    let mut session = Session::of(vec![quiet().with_steps(0xf_f080)]);
    assert_eq!(session.session().0, Verdict::Pass);
    assert_eq!(session.log(0), ALL);
    assert!(session.writes <= 6, "one write per event, none per field: {}", session.writes);
}

#[test]
fn quit_and_abort_reach_those_who_are_there() {
    let settings = Settings { stages: Stages::ALL, on_failure: OnFailure::Accept, ..Settings::default() };
    let mut session = Session::new(vec![
        (settings, Some(quiet())),
        (settings, None),
        (Settings::default(), Some(quiet())),
        (settings, Some(quiet())),
    ]);
    session.run(Event::Connect, None);
    session.run(Event::Mail, Some(&envelope()));
    session.run(Event::Abort, None);
    session.run(Event::Unknown(b"XYZZY 1"), None);
    session.run(Event::Quit, None);
    for milter in [0, 3] {
        assert_eq!(
            session.log(milter),
            "C localhost\\x00U\nH client.test\\x00\nM <a@one.test>\\x00SIZE=80\\x00\nA \nU XYZZY 1\\x00\nQ "
        );
    }
    assert_eq!(session.log(2), "");
}

fn header_change() -> impl Strategy<Value = Response> {
    let name = prop::sample::select(vec!["From", "Subject", "X-A", "subject"]);
    let value = prop::sample::select(vec!["", "v", "two\n lines"]);
    (0u32..5, name, value, 0..3).prop_map(|(index, name, value, kind)| match kind {
        0 => Response::AddHeader { name: name.into(), value: value.into() },
        1 => Response::InsertHeader { index, name: name.into(), value: value.into() },
        _ => Response::ChangeHeader { index, name: name.into(), value: value.into() },
    })
}

proptest! {
    /// The edits of all filters, applied at once, are the edits of each, applied to what those before it left; and
    /// that is what the next one hears.
    #[test]
    fn edits_compose(each in prop::collection::vec(prop::collection::vec(header_change(), 0..5), 1..4)) {
        let mut filters: Vec<_> = each.into_iter().map(changing).collect();
        filters.push(quiet());
        let mut session = Session::of(filters);
        let (verdict, changes) = session.session();
        prop_assert_eq!(verdict, Verdict::Pass);
        let (header, _) = HeaderSection::split(&Bytes::from_static(CONTENT));
        let after = header.apply(&changes.edits);
        let expected: Vec<_> = after.fields().filter(|field| !field.name.is_empty()).map(|field| {
            let value = String::from_utf8_lossy(field.value).replace("\r\n", "\n");
            let value = value.strip_prefix(' ').unwrap_or(&value);
            format!("L {}\\x00{}\\x00", field.name.escape_ascii(), value.as_bytes().escape_ascii())
        }).collect();
        let last = session.chain.len() - 1;
        let heard: Vec<_> = session.log(last).lines().filter(|line| line.starts_with("L ")).map(str::to_owned).collect();
        prop_assert_eq!(heard, expected);
    }
}
