//! One connection: every state with every answer, every way to fail, and what is written.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::arguments::Arguments;
use super::super::codec::{Options, Response};
use super::super::machine::{Connection, Failure, Step, Verdict};
use super::super::macros::Facts;
use super::super::negotiate::{Actions, Offer, Steps};
use super::super::settings::{OnFailure, Settings};
use super::super::stage::Stage;
use super::super::testing::{commands, encode, packet};
use crate::mail::Edit;

fn facts() -> Facts<'static> {
    Facts { helo: Some("client.test"), ..Facts::new("mx.test") }
}

fn arguments(path: &'static str) -> Arguments<'static> {
    [path.into()].into_iter().collect()
}

fn options(steps: Steps) -> Vec<u8> {
    encode(&Response::Options(Options { version: 6, actions: 0xff, steps: steps.0, symbols: Vec::new() }))
}

/// Tells a stage to a connection.
fn tell(connection: &mut Connection, stage: Stage, out: &mut Vec<u8>) -> Step {
    let facts = facts();
    match stage {
        Stage::Options => connection.open(out),
        Stage::Connect => connection.connect(&facts, out),
        Stage::Helo => connection.helo(&facts, out),
        Stage::Mail => connection.mail(&arguments("<a@one.test>"), &facts, out),
        Stage::Rcpt => connection.rcpt(&arguments("<b@two.test>"), false, &facts, out),
        Stage::Data => connection.data(&facts, out),
        Stage::Header => connection.header(b"Subject", b" x", out),
        Stage::EndOfHeader => connection.end_of_header(&facts, out),
        Stage::Body => connection.body([&b"body\r\n"[..]].into_iter(), out).1,
        Stage::EndOfMessage => connection.end_of_message(&facts, out),
        Stage::Unknown => connection.unknown(b"XYZZY", out),
    }
}

/// A connection that waits for the answer to a stage, everything before it answered.
fn waiting_at(stage: Stage, settings: Settings, steps: Steps) -> Connection {
    let mut connection = Connection::new(settings);
    let before = Stage::all().take_while(|before| *before != stage && stage != Stage::Unknown);
    let before: Vec<_> = if stage == Stage::Unknown { vec![Stage::Options] } else { before.collect() };
    for before in before {
        let step = tell(&mut connection, before, &mut Vec::new());
        assert!(matches!(step, Step::Read(_)), "{before:?}: {step:?}");
        let answer = if before == Stage::Options { options(steps) } else { encode(&Response::Continue) };
        assert_eq!(connection.input(&answer), Step::Done(Verdict::Pass), "{before:?}");
    }
    assert!(matches!(tell(&mut connection, stage, &mut Vec::new()), Step::Read(_)), "{stage:?}");
    connection
}

fn responses() -> Vec<(&'static str, Response)> {
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    let field = |name, value| (text(name), text(value));
    let (name, value) = field("X", "y");
    vec![
        ("OPTNEG", Response::Options(Options { version: 6, actions: 0, steps: 0, symbols: Vec::new() })),
        ("CONTINUE", Response::Continue),
        ("ACCEPT", Response::Accept),
        ("REJECT", Response::Reject),
        ("TEMPFAIL", Response::TempFail),
        ("DISCARD", Response::Discard),
        ("SKIP", Response::Skip),
        ("PROGRESS", Response::Progress),
        ("SHUTDOWN", Response::Shutdown),
        ("CONN_FAIL", Response::ConnectionFailure),
        ("REPLYCODE 550", Response::ReplyCode(text("550 5.7.1 no"))),
        ("REPLYCODE 421", Response::ReplyCode(text("421 4.7.0 bye"))),
        ("REPLYCODE 250", Response::ReplyCode(text("250 2.0.0 yes"))),
        ("ADDHEADER", Response::AddHeader { name: name.clone(), value: value.clone() }),
        ("INSHEADER", Response::InsertHeader { index: 1, name: name.clone(), value: value.clone() }),
        ("CHGHEADER", Response::ChangeHeader { index: 1, name, value }),
        ("REPLBODY", Response::ReplaceBody(text("new"))),
        ("CHGFROM", Response::ChangeFrom { path: text("<c@one.test>"), parameters: None }),
        ("ADDRCPT", Response::AddRecipient { path: text("<d@two.test>"), parameters: None }),
        ("ADDRCPT_PAR", Response::AddRecipient { path: text("<d@two.test>"), parameters: Some(text("NOTIFY=NEVER")) }),
        ("DELRCPT", Response::DeleteRecipient(text("<b@two.test>"))),
        ("QUARANTINE", Response::Quarantine(text("why"))),
    ]
}

fn shown(step: &Step) -> String {
    match step {
        Step::Read(_) => "reads on, the time starts anew".into(),
        Step::More => "reads on".into(),
        Step::Done(Verdict::Pass) => "pass".into(),
        Step::Done(Verdict::Refuse(reply)) => format!("refuse {reply}"),
        Step::Done(Verdict::Close(reply)) => format!("close {reply}"),
        Step::Done(Verdict::Discard) => "discard".into(),
    }
}

#[test]
fn every_state_with_every_response() {
    let mut table = String::new();
    for stage in Stage::all() {
        for (name, response) in responses() {
            let mut connection = waiting_at(stage, Settings::default(), Steps::SKIP);
            let step = connection.input(&encode(&response));
            let state = match (connection.failure(), connection.is_live(), connection.is_in_transaction()) {
                (Some(failure), ..) => format!("failed: {failure}"),
                (None, false, _) => "asked no more in this session".into(),
                (None, true, true) => "in transaction".into(),
                (None, true, false) => "no transaction".into(),
            };
            table.push_str(&format!("{stage:?} {name}: {} | {state}\n", shown(&step)));
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn every_failure_in_every_state_is_the_configured_result() {
    let broken: &[&[u8]] =
        &[b"\0\0\0\0", b"\xff\xff\xff\xffb", b"\0\0\0\x01?", &packet(b'h', b"X"), &packet(b'c', b"x")];
    for on_failure in [OnFailure::Accept, OnFailure::TempFail, OnFailure::Reject] {
        let expected = Step::Done(on_failure.reply().map_or(Verdict::Pass, Verdict::Refuse));
        let settings = Settings { on_failure, ..Settings::default() };
        for stage in Stage::all() {
            for failure in [Failure::Closed, Failure::TimedOut] {
                let mut connection = waiting_at(stage, settings, Steps::NONE);
                assert_eq!(connection.fail(failure.clone()), expected, "{stage:?}");
                assert_eq!(connection.failure(), Some(&failure));
                stays_silent(connection, &expected);
            }
            for octets in broken {
                let mut connection = waiting_at(stage, settings, Steps::NONE);
                assert_eq!(connection.input(octets), expected, "{stage:?} {}", octets.escape_ascii());
                stays_silent(connection, &expected);
            }
        }
        assert_eq!(Connection::new(settings).fail(Failure::Unreachable), expected);
    }
}

/// After a failure nothing is written any more, and every event has the same end.
fn stays_silent(mut connection: Connection, expected: &Step) {
    let mut out = Vec::new();
    for stage in Stage::all() {
        assert_eq!(&tell(&mut connection, stage, &mut out), expected, "{stage:?}");
        assert_eq!(&connection.input(b"\0\0\0\x01c"), expected);
    }
    connection.abort(&mut out);
    connection.quit(&mut out);
    assert!(out.is_empty());
    assert_eq!(connection.take_changes().edits, []);
}

#[test]
fn changes_before_a_failure_are_not_made() {
    let mut connection = waiting_at(Stage::EndOfMessage, Settings::default(), Steps::NONE);
    assert_eq!(connection.input(&encode(&responses()[13].1)), Step::More);
    connection.fail(Failure::Closed);
    assert_eq!(connection.take_changes(), Default::default());
    let mut connection = waiting_at(Stage::EndOfMessage, Settings::default(), Steps::NONE);
    connection.input(&[encode(&responses()[13].1), encode(&Response::Reject)].concat());
    assert_eq!(connection.take_changes(), Default::default());
}

#[test]
fn a_session_has_several_messages_on_one_connection() {
    let mut connection = Connection::new(Settings::default());
    let (mut out, mut codes) = (Vec::new(), String::new());
    let mut say = |connection: &mut Connection, stage: Stage, answer: Vec<u8>| {
        tell(connection, stage, &mut out);
        codes.extend(commands(&out).iter().map(|(code, _)| *code).filter(|code| *code != 'D'));
        out.clear();
        connection.input(&answer)
    };
    let proceed = || encode(&Response::Continue);
    say(&mut connection, Stage::Options, options(Steps::NONE));
    say(&mut connection, Stage::Connect, proceed());
    say(&mut connection, Stage::Helo, proceed());
    for _ in 0..2 {
        for stage in [Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Header, Stage::EndOfHeader, Stage::Body] {
            assert_eq!(say(&mut connection, stage, proceed()), Step::Done(Verdict::Pass));
        }
        let changed = [encode(&responses()[16].1), encode(&Response::Accept)].concat();
        assert_eq!(say(&mut connection, Stage::EndOfMessage, changed), Step::Done(Verdict::Pass));
        assert_eq!(connection.take_changes().edits, [Edit::ReplaceBody(vec!["new".into()])]);
    }
    // A transaction that is left open is aborted before the next one.
    say(&mut connection, Stage::Mail, proceed());
    say(&mut connection, Stage::Mail, proceed());
    let (mut last, _) = (Vec::new(), connection.abort(&mut out));
    connection.abort(&mut out);
    connection.quit(&mut out);
    last.append(&mut out);
    codes.extend(commands(&last).iter().map(|(code, _)| *code));
    assert_eq!(codes, "OCHMRTLNBEMRTLNBEMAMAQ");
}

#[test]
fn what_a_filter_does_not_want_is_not_sent_and_what_it_does_not_answer_not_awaited() {
    let unseen = [
        (Stage::Connect, Steps::NO_CONNECT),
        (Stage::Helo, Steps::NO_HELO),
        (Stage::Mail, Steps::NO_MAIL),
        (Stage::Rcpt, Steps::NO_RCPT),
        (Stage::Data, Steps::NO_DATA),
        (Stage::Header, Steps::NO_HEADERS),
        (Stage::EndOfHeader, Steps::NO_END_OF_HEADER),
        (Stage::Body, Steps::NO_BODY),
        (Stage::Unknown, Steps::NO_UNKNOWN),
    ];
    let unanswered = [
        (Stage::Connect, Steps::NO_REPLY_CONNECT),
        (Stage::Helo, Steps::NO_REPLY_HELO),
        (Stage::Mail, Steps::NO_REPLY_MAIL),
        (Stage::Rcpt, Steps::NO_REPLY_RCPT),
        (Stage::Data, Steps::NO_REPLY_DATA),
        (Stage::Header, Steps::NO_REPLY_HEADER),
        (Stage::EndOfHeader, Steps::NO_REPLY_END_OF_HEADER),
        (Stage::Body, Steps::NO_REPLY_BODY),
        (Stage::Unknown, Steps::NO_REPLY_UNKNOWN),
    ];
    for (rows, is_sent) in [(unseen, false), (unanswered, true)] {
        for (stage, flag) in rows {
            let mut connection = waiting_at(Stage::Options, Settings::default(), Steps::NONE);
            connection.input(&options(flag));
            for other in Stage::all().skip(1) {
                let mut out = Vec::new();
                let step = tell(&mut connection, other, &mut out);
                let is_it = other == stage;
                assert_eq!(step == Step::Done(Verdict::Pass), is_it, "{stage:?} {other:?}");
                assert_eq!(out.is_empty(), is_it && !is_sent, "{stage:?} {other:?}");
                if !is_it {
                    connection.input(&encode(&Response::Continue));
                }
            }
        }
    }
}

#[test]
fn version_2_hears_nothing_of_what_came_later() {
    let mut connection = waiting_at(Stage::Options, Settings::default(), Steps::NONE);
    connection.input(&encode(&Response::Options(Options { version: 2, actions: 1, steps: 0, symbols: Vec::new() })));
    let mut out = Vec::new();
    tell(&mut connection, Stage::Mail, &mut out);
    connection.input(&encode(&Response::Continue));
    out.clear();
    assert_eq!(tell(&mut connection, Stage::Data, &mut out), Step::Done(Verdict::Pass));
    assert_eq!(tell(&mut connection, Stage::Unknown, &mut out), Step::Done(Verdict::Pass));
    assert!(out.is_empty());
}

#[test]
fn skip_ends_a_kind_of_step_for_one_message() {
    let mut connection = waiting_at(Stage::Body, Settings::default(), Steps::SKIP);
    assert_eq!(connection.input(&encode(&Response::Skip)), Step::Done(Verdict::Pass));
    let mut out = Vec::new();
    assert_eq!(connection.body([&b"more"[..]].into_iter(), &mut out), (0, Step::Done(Verdict::Pass)));
    assert!(out.is_empty());
    assert!(matches!(tell(&mut connection, Stage::EndOfMessage, &mut out), Step::Read(_)));
    connection.input(&encode(&Response::Continue));
    for stage in [Stage::Mail, Stage::Body] {
        assert!(matches!(tell(&mut connection, stage, &mut out), Step::Read(_)));
        connection.input(&encode(&Response::Continue));
    }
}

#[test]
fn progress_starts_the_time_anew_but_not_for_ever() {
    let mut connection = waiting_at(Stage::EndOfMessage, Settings::default(), Steps::NONE);
    let progress = encode(&Response::Progress);
    assert_eq!(connection.input(&progress[..3]), Step::More);
    assert_eq!(connection.input(&progress[3..]), Step::Read(Duration::from_secs(60)));
    let flood: Vec<u8> = progress.iter().copied().cycle().take(progress.len() * 2000).collect();
    assert!(matches!(connection.input(&flood), Step::Done(Verdict::Refuse(_))));
    assert_eq!(connection.failure(), Some(&Failure::EndlessProgress));
}

#[test]
fn deadlines_follow_the_stage() {
    let seconds = |stage| {
        let mut connection = Connection::new(Settings::default());
        let mut within = Duration::ZERO;
        for before in Stage::all() {
            if let Step::Read(time) = tell(&mut connection, before, &mut Vec::new()) {
                within = time;
            }
            if before == stage {
                break;
            }
            connection.input(&if before == Stage::Options {
                options(Steps::NONE)
            } else {
                encode(&Response::Continue)
            });
        }
        within.as_secs()
    };
    assert_eq!((seconds(Stage::Options), seconds(Stage::Rcpt), seconds(Stage::Header)), (30, 30, 60));
}

#[test]
fn a_filter_does_only_what_it_was_offered() {
    let offer = Offer { actions: Actions::ADD_HEADERS, ..Offer::default() };
    let settings = Settings { offer, ..Settings::default() };
    for (name, change) in responses().into_iter().filter(|(_, response)| response.is_change()) {
        let mut connection = Connection::new(settings);
        tell(&mut connection, Stage::Options, &mut Vec::new());
        let agreed = Options { version: 6, actions: 1, steps: 0, symbols: Vec::new() };
        connection.input(&encode(&Response::Options(agreed)));
        for stage in [Stage::Mail, Stage::Rcpt] {
            tell(&mut connection, stage, &mut Vec::new());
            connection.input(&encode(&Response::Continue));
        }
        tell(&mut connection, Stage::EndOfMessage, &mut Vec::new());
        let step = connection.input(&encode(&change));
        assert_eq!(step == Step::More, matches!(name, "ADDHEADER" | "INSHEADER"), "{name}");
    }
}

#[test]
fn an_answer_has_a_size() {
    let settings = Settings { response_bytes_max: 1000, ..Settings::default() };
    let mut connection = waiting_at(Stage::EndOfMessage, settings, Steps::NONE);
    let piece = encode(&Response::ReplaceBody(vec![b'x'; 495].into()));
    assert_eq!(connection.input(&piece), Step::More);
    assert_eq!(connection.input(&piece), Step::More);
    assert!(matches!(connection.input(&piece), Step::Done(Verdict::Refuse(_))));
    assert!(matches!(connection.failure(), Some(Failure::Packet(_))));
}

#[test]
fn what_comes_unasked_ends_the_connection() {
    let mut connection = waiting_at(Stage::Helo, Settings::default(), Steps::NONE);
    let twice = [encode(&Response::Continue), encode(&Response::Continue)].concat();
    assert_eq!(connection.input(&twice), Step::Done(Verdict::Pass));
    assert!(matches!(tell(&mut connection, Stage::Mail, &mut Vec::new()), Step::Done(Verdict::Refuse(_))));
    assert!(matches!(connection.failure(), Some(Failure::OutOfOrder { stage: None, .. })));
}

#[test]
fn an_event_while_an_answer_is_awaited_ends_the_connection() {
    let mut connection = waiting_at(Stage::Rcpt, Settings::default(), Steps::NONE);
    let mut out = Vec::new();
    assert!(matches!(tell(&mut connection, Stage::Data, &mut out), Step::Done(Verdict::Refuse(_))));
    assert_eq!(connection.failure(), Some(&Failure::Abandoned));
    let mut connection = waiting_at(Stage::Rcpt, Settings::default(), Steps::NONE);
    connection.abort(&mut out);
    assert_eq!(connection.failure(), Some(&Failure::Abandoned));
    let mut connection = waiting_at(Stage::Rcpt, Settings::default(), Steps::NONE);
    connection.quit(&mut out);
    assert!(out.is_empty(), "a filter that is asked something is just left");
}

#[test]
fn values_go_with_or_without_their_space() {
    for (steps, expected) in [(Steps::NONE, "X\0a\n\tb\0"), (Steps::HEADER_LEADING_SPACE, "X\0 a\n\tb\0")] {
        let mut connection = waiting_at(Stage::Header, Settings::default(), steps);
        connection.input(&encode(&Response::Continue));
        let mut out = Vec::new();
        connection.header(b"X", b" a\r\n\tb", &mut out);
        assert_eq!(commands(&out)[0].1, expected.as_bytes());
    }
    let mut connection = waiting_at(Stage::Header, Settings::default(), Steps::NONE);
    connection.input(&encode(&Response::Continue));
    let mut out = Vec::new();
    connection.header(b"X", &[b'v'; 100_000], &mut out);
    assert_eq!(commands(&out)[0].1.len(), 65_535, "libmilter takes no larger packet");
}

#[test]
fn refused_recipients_go_to_those_who_asked() {
    for (steps, is_told) in [(Steps::NONE, false), (Steps::REJECTED_RCPT, true)] {
        let mut connection = waiting_at(Stage::Mail, Settings::default(), steps);
        connection.input(&encode(&Response::Continue));
        let mut out = Vec::new();
        connection.rcpt(&arguments("<no@two.test>"), true, &facts(), &mut out);
        assert_eq!(!out.is_empty(), is_told);
    }
}

proptest! {
    /// Whatever a filter says, whenever: whole packets are written, nothing after a failure, and no panic.
    #[test]
    fn a_filter_may_say_anything(
        script in prop::collection::vec((0usize..14, prop::collection::vec(0usize..22, 0..3), prop::collection::vec(any::<u8>(), 0..6)), 0..40),
        steps in any::<u32>(),
    ) {
        let (stages, responses) = (Stage::all().collect::<Vec<_>>(), responses());
        let mut connection = waiting_at(Stage::Options, Settings::default(), Steps::NONE);
        connection.input(&options(Steps(steps & Steps::ALL.0)));
        for (event, answers, garbage) in script {
            let mut out = Vec::new();
            let was_failed = connection.failure().is_some();
            match event {
                11 => connection.abort(&mut out),
                12 => connection.quit(&mut out),
                13 => drop(connection.fail(Failure::TimedOut)),
                stage => drop(tell(&mut connection, stages[stage], &mut out)),
            }
            commands(&out);
            prop_assert!(out.is_empty() || !was_failed);
            answers.iter().for_each(|answer| drop(connection.input(&encode(&responses[*answer].1))));
            if event % 4 == 0 {
                connection.input(&garbage);
            }
            connection.take_changes();
        }
    }
}
