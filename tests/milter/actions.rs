//! The machine against a program on libmilter that uses every action and logs every callback.

use posthaste::mail::Reply;
use posthaste::milter::{Event, Facts, Failure, Offer, OnFailure, PathFacts, Settings, Stages, TlsFacts, Verdict};

use crate::driver::{Mail, Outcome, Session, transaction};
use crate::peers::{Filter, eventually, has_pymilter};

pub fn facts() -> Facts<'static> {
    Facts {
        local: Some(([127, 0, 0, 1], 25).into()),
        remote: Some(([127, 0, 0, 1], 4711).into()),
        client_name: Some("localhost"),
        client_ptr: Some("localhost"),
        helo: Some("client.test"),
        queue_id: "Q1",
        mail: PathFacts { address: "", host: "one.test", mailer: "smtp" },
        ..Facts::new("mx.test")
    }
}

pub fn everything() -> Settings {
    Settings { stages: Stages::ALL, ..Settings::default() }
}

pub fn greeted(filters: &[(u16, Settings)]) -> Session {
    let mut session = Session::new(filters);
    for event in [Event::Connect, Event::Helo] {
        let verdict = session.run(event, facts(), None).0;
        assert_eq!(verdict, Verdict::Pass, "{:?}", session.chain());
    }
    session
}

/// One mail through one filter of these modes: what became of it, and what the filter was told.
fn one(modes: &[&str], settings: Settings, mail: &Mail) -> (Outcome, Vec<String>) {
    let filter = Filter::start(modes);
    let mut session = greeted(&[(filter.port, settings)]);
    let outcome = transaction(&mut session, facts(), mail);
    session.run(Event::Quit, facts(), None);
    drop(session);
    (outcome, filter.story())
}

/// Every change there is, in an order that lets each see the others.
pub const EVERY_CHANGE: &str = r#"[["addheader","X-Added","one"],["addheader","X-Folded","one\n\ttwo"],["addheader","X-First","top",1],["addheader","X-Third","third",3],["addheader","X-Late","late",99],["chgheader","Subject",2,"changed"],["chgheader","Subject",1,""],["chgheader","X-Gone",1,""],["chgheader","X-New",1,"was not there"],["chgheader","X-Gone",7,""],["addrcpt","<d@two.test>"],["addrcpt","<e@two.test>","NOTIFY=NEVER"],["delrcpt","<b@two.test>"],["chgfrom","<new@one.test>"],["progress"],["replacebody","replaced\r\n"],["replacebody","in two\r\n"]]"#;

pub fn with_every_change() -> Mail {
    Mail::new(&format!("Subject: first\nX-Gone: 1\nSubject: second\n folded\nX-Do: {EVERY_CHANGE}"), "body\n.dot\n")
}

#[test]
fn every_change_is_made() {
    if !has_pymilter() {
        return;
    }
    let (outcome, _) = one(&[], everything(), &with_every_change());
    let delivered = outcome.delivered.expect("delivered");
    assert_eq!(delivered.from, "new@one.test");
    assert_eq!(delivered.to, ["c@two.test", "d@two.test", "e@two.test"]);
    let (header, body) = delivered.content.split_once("\r\n\r\n").expect("a separator");
    assert_eq!(body, "replaced\r\nin two\r\n");
    let header: Vec<_> = header.lines().filter(|line| !line.starts_with("X-Do:")).collect();
    let expected = "X-First: top\nFrom: a@one.test\nX-Third: third\nTo: b@two.test\n\
        Date: Mon, 23 Nov 2026 00:00:00 +0000\nMessage-Id: <1@one.test>\nSubject: changed\n\
        X-Added: one\nX-Folded: one\n\ttwo\nX-Late: late\nX-New: was not there";
    assert_eq!(header.join("\n"), expected);
    let quarantined = Mail::new(r#"X-Do: [["quarantine","looks bad"]]"#, "body\n");
    assert_eq!(one(&[], everything(), &quarantined).0.quarantine.as_deref(), Some("looks bad"));
}

#[test]
fn every_callback_is_called_with_what_it_needs() {
    if !has_pymilter() {
        return;
    }
    let mail = Mail { size: Some(123), ..Mail::new("Subject: two\n lines\nX-Tab:\tx", "body\n") };
    let filter = Filter::start(&[]);
    let mut session = greeted(&[(filter.port, everything())]);
    session.run(Event::Unknown(b"XYZZY 1"), facts(), None);
    for _ in 0..2 {
        assert!(transaction(&mut session, facts(), &mail).delivered.is_some());
    }
    session.run(Event::Mail, facts(), Some(&mail.envelope()));
    session.run(Event::Abort, facts(), None);
    session.run(Event::Quit, facts(), None);
    drop(session);
    eventually("the abort is logged", || filter.story().last().is_some_and(|last| last.starts_with("abort")));
    let message = "mail [\"<a@one.test>\",\"SIZE=123\"]\nrcpt [\"<b@two.test>\"]\nrcpt [\"<c@two.test>\"]\ndata []\n\
        header [\"From\",\"a@one.test\"]\nheader [\"To\",\"b@two.test\"]\n\
        header [\"Date\",\"Mon, 23 Nov 2026 00:00:00 +0000\"]\nheader [\"Message-Id\",\"<1@one.test>\"]\n\
        header [\"Subject\",\"two\\n lines\"]\nheader [\"X-Tab\",\"\\tx\"]\neoh []\nbody [\"body\\r\\n\"]\neom []";
    let expected = format!(
        "connect [\"localhost\",\"127.0.0.1\"]\nhelo [\"client.test\"]\nunknown [\"XYZZY 1\"]\n{message}\n{message}\n\
         mail [\"<a@one.test>\",\"SIZE=123\"]\nabort []"
    );
    assert_eq!(filter.story().join("\n"), expected);
    let callbacks = filter.callbacks();
    let symbol = |event: &str, name: &str| {
        let callback = callbacks.iter().find(|callback| callback.event == event).expect("called");
        callback.symbol(name).map(str::to_owned)
    };
    for (event, name, value) in [
        ("connect", "j", "mx.test"),
        ("connect", "_", "localhost [127.0.0.1]"),
        ("connect", "{client_addr}", "127.0.0.1"),
        ("connect", "{client_port}", "4711"),
        ("connect", "{daemon_port}", "25"),
        ("mail", "i", "Q1"),
        ("mail", "{mail_addr}", "a@one.test"),
        ("mail", "{mail_host}", "one.test"),
        ("rcpt", "{rcpt_addr}", "b@two.test"),
        ("eom", "i", "Q1"),
    ] {
        assert_eq!(symbol(event, name).as_deref(), Some(value), "{name} at {event}");
    }
    assert_eq!(symbol("helo", "{tls_version}"), None);
}

#[test]
fn every_verdict_at_every_stage() {
    if !has_pymilter() {
        return;
    }
    let filter = Filter::start(&[]);
    let reply = |command: &str, text: &str| (command.to_owned(), text.to_owned());
    let rejected = "550 5.7.1 Command rejected";
    let deferred = "451 4.7.1 Service unavailable - try again later";
    let lines = "550 5.7.0 one / two 100% / three";
    for (from, command) in [
        ("do.mail.VERB", "mail"),
        ("do.data.VERB", "data"),
        ("do.header.VERB", "content"),
        ("do.eoh.VERB", "content"),
        ("do.body.VERB", "content"),
    ] {
        let mut session = greeted(&[(filter.port, everything())]);
        for (verb, text) in [
            ("reject", rejected),
            ("tempfail", deferred),
            ("reply", "554 5.7.1 not here"),
            ("lines", lines),
            ("bare", "451 4.7.1 later"),
        ] {
            let from: &'static str = format!("{}@one.test", from.replace("VERB", verb)).leak();
            let outcome = transaction(&mut session, facts(), &Mail { from, ..Mail::new("X: 1", "body\n") });
            assert_eq!(outcome, Outcome { refused: vec![reply(command, text)], ..Outcome::default() }, "{from}");
        }
        for verb in ["accept", "continue"] {
            let from: &'static str = format!("{}@one.test", from.replace("VERB", verb)).leak();
            let outcome = transaction(&mut session, facts(), &Mail { from, ..Mail::new("X: 1", "body\n") });
            assert!(outcome.delivered.is_some() && outcome.refused.is_empty(), "{from}: {outcome:?}");
        }
        let from: &'static str = format!("{}@one.test", from.replace("VERB", "discard")).leak();
        let outcome = transaction(&mut session, facts(), &Mail { from, ..Mail::new("X: 1", "body\n") });
        assert_eq!(outcome, Outcome { is_discarded: true, ..Outcome::default() }, "{from}");
        assert_eq!(session.chain().connection(0).and_then(|c| c.failure()), None);
    }
    for (verb, text) in [("reject", rejected), ("tempfail", deferred), ("lines", lines)] {
        let mut session = greeted(&[(filter.port, everything())]);
        let to: &'static str = format!("do.rcpt.{verb}@two.test").leak();
        let outcome =
            transaction(&mut session, facts(), &Mail { to: vec![to, "c@two.test"], ..Mail::new("X: 1", "b\n") });
        assert_eq!(outcome.refused, [reply("rcpt", text)]);
        assert_eq!(outcome.delivered.expect("for the other one").to, ["c@two.test"]);
        let outcome =
            transaction(&mut session, facts(), &Mail { ..Mail::new(&format!("X-Verdict: {verb}"), "body\n") });
        assert_eq!(outcome.refused, [reply("content", text)]);
    }
    let mut session = Session::new(&[(filter.port, everything())]);
    session.run(Event::Connect, facts(), None);
    let facts = Facts { helo: Some("do.helo.reply"), ..facts() };
    let refusal = Verdict::Refuse(Reply::new(554, (5, 7, 1), "not here"));
    assert_eq!(session.run(Event::Helo, facts, None).0, refusal);
    assert_eq!(session.run(Event::Mail, facts, Some(&Mail::new("", "").envelope())).0, refusal);
    let mut session = greeted(&[(filter.port, everything())]);
    let from = "do.data.bye@one.test";
    let outcome = transaction(&mut session, facts, &Mail { from, ..Mail::new("X: 1", "body\n") });
    assert_eq!(outcome.refused, [reply("data", "421 4.7.0 closing")]);
}

#[test]
fn skip_ends_the_body() {
    if !has_pymilter() {
        return;
    }
    let body = "0123456789abcdef\n".repeat(10_000);
    let mail = Mail { from: "do.body.skip@one.test", ..Mail::new("X: 1", &body) };
    let (outcome, story) = one(&[], everything(), &mail);
    assert!(outcome.delivered.is_some());
    assert_eq!(story.iter().filter(|line| line.starts_with("body")).count(), 1);
    let (_, story) = one(&[], everything(), &Mail::new("X: 1", &body));
    let chunks: Vec<_> = story.iter().filter(|line| line.starts_with("body")).map(String::len).collect();
    assert_eq!(chunks.len(), 3, "180000 octets in packets of 65535");
}

#[test]
fn modes_of_the_negotiation_hold() {
    if !has_pymilter() {
        return;
    }
    let mail = Mail::new("X-Do: [[\"addheader\",\"X-A\",\"b\"]]\nX-Tab:\tx\nX-None:y", "body\n");
    let (outcome, story) = one(&["quiet", "leadspc"], everything(), &mail);
    assert!(outcome.delivered.expect("delivered").content.contains("\r\nX-A: b\r\n"));
    for line in ["header [\"From\",\" a@one.test\"]", "header [\"X-Tab\",\"\\tx\"]", "header [\"X-None\",\"y\"]"] {
        assert!(story.iter().any(|told| told == line), "{line} in {story:?}");
    }
    assert_eq!(story.iter().filter(|line| line.starts_with("eom")).count(), 1);

    let filter = Filter::start(&["symbols", "rcptrej"]);
    let mut session = greeted(&[(filter.port, everything())]);
    let tls = TlsFacts { version: "TLSv1.3", cipher: "X", cipher_bits: Some(256), ..TlsFacts::default() };
    let facts = Facts { tls: Some(tls), ..facts() };
    let refused = Reply::new(550, (5, 1, 1), "no such user");
    session.run(Event::Helo, facts, None);
    session.run(Event::Mail, facts, Some(&mail.envelope()));
    let event = Event::Rcpt { recipient: &mail.envelope().recipients[0], refused: Some(&refused) };
    assert_eq!(session.run(event, facts, Some(&mail.envelope())).0, Verdict::Pass);
    session.run(Event::Abort, facts, None);
    assert!(transaction(&mut session, facts, &mail).delivered.is_some());
    let callbacks = filter.callbacks();
    let of = |event: &str| callbacks.iter().rfind(|callback| callback.event == event).expect("called");
    assert_eq!(of("mail").symbol("{mail_addr}"), Some("a@one.test"));
    assert_eq!(of("mail").symbol("{mail_host}"), None, "it did not choose that one");
    assert_eq!(of("eom").symbol("{tls_version}"), Some("TLSv1.3"));
    let refused = callbacks.iter().find(|callback| callback.event == "rcpt").expect("told");
    assert_eq!(refused.symbol("{rcpt_mailer}"), Some("error"));
    assert_eq!(refused.symbol("{rcpt_host}"), Some("5.1.1"));
    assert_eq!(refused.symbol("{rcpt_addr}"), Some("no such user"));
}

#[test]
fn version_2_is_spoken() {
    if !has_pymilter() {
        return;
    }
    let settings = Settings { offer: Offer::VERSION_2, ..everything() };
    let change = r#"X-Do: [["addheader","X-A","b"],["addrcpt","<d@two.test>"],["replacebody","new\r\n"]]"#;
    // libmilter's filters need what they were written for: this one chooses only what version 2 has.
    let (outcome, story) = one(&["v2"], settings, &Mail::new(change, "body\n"));
    let delivered = outcome.delivered.expect("delivered");
    assert!(delivered.content.ends_with("X-A: b\r\n\r\nnew\r\n"), "{}", delivered.content);
    assert_eq!(delivered.to, ["b@two.test", "c@two.test", "d@two.test"]);
    assert!(!story.iter().any(|line| line.starts_with("data")), "DATA came with version 4");
}

#[test]
fn the_second_filter_sees_what_the_first_one_did() {
    if !has_pymilter() {
        return;
    }
    let (first, second) = (Filter::start(&[]), Filter::start(&["quiet"]));
    let live = everything();
    for settings in [live, Settings::default()] {
        let mut session = greeted(&[(first.port, live), (second.port, settings)]);
        let mail = Mail { says_data: false, ..with_every_change() };
        assert!(transaction(&mut session, facts(), &mail).delivered.is_some());
        let story = second.story();
        let last = story.iter().rposition(|line| line.starts_with("data")).expect("told");
        let told = story[last..].join("\n");
        assert!(told.contains("header [\"X-First\",\"top\"]\nheader [\"From\""), "{told}");
        assert!(told.contains("header [\"Subject\",\"changed\"]") && !told.contains("X-Gone\",\"1"), "{told}");
        assert!(told.contains("body [\"replaced\\r\\nin two\\r\\n\"]"), "{told}");
    }
    // One that hears of the envelope only with the content hears of it as the first one left it.
    let story = second.story();
    let from = story.iter().rposition(|line| line.starts_with("mail")).expect("told");
    let envelope: Vec<_> = story[from..].iter().take_while(|line| !line.starts_with("data")).collect();
    let expected = [
        "mail [\"<new@one.test>\"]",
        "rcpt [\"<c@two.test>\"]",
        "rcpt [\"<d@two.test>\"]",
        "rcpt [\"<e@two.test>\",\"NOTIFY=NEVER\"]",
    ];
    assert_eq!(envelope, expected.iter().collect::<Vec<_>>());
}

#[test]
fn a_filter_that_dies_is_the_configured_result() {
    if !has_pymilter() {
        return;
    }
    for on_failure in [OnFailure::Accept, OnFailure::TempFail, OnFailure::Reject] {
        let mut filter = Filter::start(&[]);
        let mut session = greeted(&[(filter.port, Settings { on_failure, ..everything() })]);
        filter.peer.kill();
        let outcome = transaction(&mut session, facts(), &Mail::new("X: 1", "body\n"));
        match on_failure.reply() {
            None => assert!(outcome.delivered.is_some()),
            Some(reply) => assert_eq!(outcome.refused, [("mail".to_owned(), reply.to_string())]),
        }
        assert_eq!(session.chain().connection(0).and_then(|c| c.failure()), Some(&Failure::Closed));
        let mut session = Session::new(&[(filter.port, Settings { on_failure, ..everything() })]);
        let verdict = session.run(Event::Connect, facts(), None).0;
        assert_eq!(verdict, on_failure.reply().map_or(Verdict::Pass, Verdict::Refuse));
    }
}
