//! The pipeline as a site would use it: verdicts by facts, relaying in every spelling, limits last.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::base::{Rate, WallTime};
use crate::expr::{Environment, Expr, Source, Stage};
use crate::limits::KeyMaker;
use crate::lookup::{
    Class, DirectorySettings, Lookups, Memory, PrincipalSettings, Settings as LookupSettings, ShardLookups,
};
use crate::mail::{ContentFacts, MailParameters, Recipient, Reply, ReversePath};
use crate::smtp::command::Command;
use crate::smtp::server::{Client, Counts, Gathered, Protocol, Question, Transaction, Verdict};

const NOW: WallTime = WallTime(1_795_386_600_000);

fn lookups() -> ShardLookups {
    let principal = |name: &str, email: &[&str]| PrincipalSettings {
        name: name.into(),
        class: Class::Individual,
        description: "".into(),
        secret: vec![],
        email: email.iter().map(|e| (*e).into()).collect(),
        email_list: vec!["team@ours.test".into()],
        member_of: vec![],
        quota: 0,
    };
    let directory = DirectorySettings {
        id: "d".into(),
        domains: vec!["ours.test".into()],
        accept_all: false,
        principals: vec![principal("joe", &["joe@ours.test"]), principal("ann", &["ann@ours.test", "a%b@ours.test"])],
    };
    let settings = LookupSettings { directories: vec![directory], default_directory: "d".into(), lists: vec![] };
    let lookups = Lookups::build(&settings).expect("a sound directory");
    ShardLookups::new(Arc::new(lookups), Rc::new(Memory::default()))
}

fn client(remote: &str) -> Client {
    let remote: SocketAddr = remote.parse().expect("an address");
    let local: SocketAddr = "192.0.2.2:25".parse().expect("an address");
    Client::new(Rc::from("smtp"), Protocol::Smtp, remote, local)
}

fn transaction(from: &str) -> Transaction {
    Transaction::new(ReversePath::parse(from, true).expect("a path"), MailParameters::default())
}

/// Judges one question with these settings.
fn ruled(settings: &Settings, client: &Client, question: Question<'_>, content: Option<&Gathered>) -> Ruling {
    let (lookups, keys) = (lookups(), KeyMaker::new(7));
    let site =
        Site { settings, lookups: &lookups, keys: &keys, listener: Listener::default(), pressure: None, now: NOW };
    let subject = Subject {
        question,
        client,
        counts: Counts::default(),
        content,
        id: "00-0001-0000002a",
        hostname: "mx.ours.test",
    };
    match judge(&site, &subject, &mut Found::default()) {
        Judgement::Ruled(ruling) => ruling,
        Judgement::Wait(question) => panic!("{question:?} was asked"),
    }
}

/// The code that RCPT gets; the machine's own refusals included.
fn rcpt_code(settings: &Settings, client: &Client, line: &[u8]) -> u16 {
    let recipient = match Command::parse(line) {
        Ok(Command::Rcpt(rcpt)) => match rcpt.check_smtputf8(false) {
            Ok(()) => Recipient::new(rcpt.forward_path()),
            Err(error) => return error.reply().code,
        },
        Ok(other) => panic!("{other:?}"),
        Err(error) => return error.reply().code,
    };
    let transaction = transaction("<a@remote.test>");
    match ruled(settings, client, Question::Rcpt(&transaction, &recipient), None).answer.verdict {
        Verdict::Accept => 250,
        Verdict::Refuse(reply) | Verdict::Close(reply) => reply.code,
        Verdict::Discard => 0,
    }
}

/// HARDENING 3.3: sixteen forms of nmap and the classics. S is our host, R another, IP an address of ours.
#[test]
fn no_spelling_opens_the_relay() {
    let settings = Settings::default();
    let client = client("127.0.0.2:4000");
    for path in [
        "<t@R>",
        "<t%R@[IP]>",
        "<t%R@S>",
        "<\"t@R\">",
        "<\"t%R\">",
        "<t@R@[IP]>",
        "<\"t@R\"@[IP]>",
        "<t@R@S>",
        "<@[IP]:t@R>",
        "<@S:t@R>",
        "<R!t>",
        "<R!t@[IP]>",
        "<R!t@S>",
        "<t@R.>",
        "<t@R@S.>",
        "<t%R%S@S>",
        "<\"t%R\"@S>",
        "<t@[IPv6:::1]%R>",
        "<@S,@x:t@R>",
        "<R!S!t>",
        "t@R",
        "<t@R(@S)>",
        "<+t=R@S>",
        "<postmaster@R>",
        "<\"t@R\"@S>",
        "<nonlocal!@S>",
        "<t@R%S>",
        "<t@S@R>",
        "<@R>",
        "<t@>",
    ] {
        let line = path.replace("IPv6", "\u{1}").replace("IP", "192.0.2.2").replace('\u{1}', "IPv6");
        let line = line.replace('R', "remote.test").replace('S', "ours.test");
        let line = format!("RCPT TO:{line}");
        let code = rcpt_code(&settings, &client, line.as_bytes());
        assert!(code == 550 || code == 501, "{line}: {code}");
    }
    for line in [&b"RCPT TO:<t@r\xc3\xa9mote.test>"[..], b"RCPT TO:<t@remote.test\0@ours.test>"] {
        let code = rcpt_code(&settings, &client, line);
        assert!((500..600).contains(&code), "{code}");
    }
}

#[test]
fn the_directory_decides_for_its_own() {
    let settings = Settings::default();
    let client = client("192.0.2.9:4000");
    for (path, code) in [
        ("<joe@ours.test>", 250),
        ("<JOE@Ours.TEST>", 250),
        ("<\"joe\"@ours.test>", 250),
        ("<joe+tag@ours.test>", 250),
        ("<postmaster>", 250),
        ("<postmaster@ours.test>", 250),
        ("<a%b@ours.test>", 250), // literal: somebody has that address
        ("<c%b@ours.test>", 550),
        ("<nobody@ours.test>", 550),
        ("<@relay.test:joe@ours.test>", 250),
    ] {
        assert_eq!(rcpt_code(&settings, &client, format!("RCPT TO:{path}").as_bytes()), code, "{path}");
    }
}

#[test]
fn relaying_is_for_those_the_setting_names() {
    let mut settings = Settings::default();
    let environment = Environment::at(Stage::RCPT);
    settings.rcpt.relay = Expr::parse("remote_ip == '192.0.2.9'", false, &environment).expect("it compiles");
    assert_eq!(rcpt_code(&settings, &client("192.0.2.9:1"), b"RCPT TO:<t@remote.test>"), 250);
    assert_eq!(rcpt_code(&settings, &client("192.0.2.8:1"), b"RCPT TO:<t@remote.test>"), 550);
    settings.rcpt.directory = Expr::constant(None);
    assert_eq!(rcpt_code(&settings, &client("192.0.2.8:1"), b"RCPT TO:<joe@ours.test>"), 550);
}

#[test]
fn rewriting_is_seen_by_the_checks_behind_it() {
    let mut settings = Settings::default();
    let environment = Environment::at(Stage::RCPT);
    let text = "if_then(rcpt_domain == 'old.test', 'joe@ours.test', false)";
    settings.rcpt.rewrite = Expr::parse(text, None, &environment).expect("it compiles");
    let (transaction, client) = (transaction("<>"), client("192.0.2.9:1"));
    let old = Recipient::new(crate::mail::ForwardPath::parse("<x@old.test>", false).expect("a path"));
    let ruling = ruled(&settings, &client, Question::Rcpt(&transaction, &old), None);
    assert_eq!(ruling.answer.verdict, Verdict::Accept);
    assert_eq!(ruling.answer.forward_path.expect("it is rewritten").as_str(), "joe@ours.test");
}

#[test]
fn a_blocked_address_is_closed_and_loopback_never() {
    let settings = Settings {
        blocked: vec!["192.0.2.0/24".parse().expect("a network"), "127.0.0.0/8".parse().expect("a network")],
        allowed: vec!["192.0.2.7/32".parse().expect("a network")],
        ..Settings::default()
    };
    for (remote, is_closed) in
        [("192.0.2.6:1", true), ("192.0.2.7:1", false), ("127.0.0.1:1", false), ("[::ffff:192.0.2.6]:1", true)]
    {
        let ruling = ruled(&settings, &client(remote), Question::Connect, None);
        assert_eq!(matches!(ruling.answer.verdict, Verdict::Close(_)), is_closed, "{remote}");
    }
}

#[test]
fn ehlo_needs_a_full_name_on_port_25() {
    let settings = Settings::default();
    let mut client = client("192.0.2.9:1");
    for (name, is_refused) in [("host", true), ("host.test", false), ("[192.0.2.1]", false), ("1.2.3.4", true)] {
        let ruling = ruled(&settings, &client, Question::Ehlo(name), None);
        assert_eq!(matches!(ruling.answer.verdict, Verdict::Refuse(_)), is_refused, "{name}");
    }
    client.local.set_port(587);
    let ruling = ruled(&settings, &client, Question::Ehlo("host"), None);
    assert_eq!(ruling.answer.verdict, Verdict::Accept);
    let offers = ruling.answer.offers.expect("an offer");
    assert!(!offers.extensions.dsn && !offers.extensions.vrfy && offers.extensions.chunking);
    client.authenticated_as = Some("joe".into());
    let offers = ruled(&settings, &client, Question::Ehlo("host"), None).answer.offers.expect("an offer");
    assert!(offers.extensions.dsn && offers.extensions.mt_priority.is_some());
    assert_eq!(offers.extensions.future_release_max, Some(Duration::from_secs(7 * 86_400)));
}

#[test]
fn limits_are_taken_last_and_not_by_the_trusted() {
    let environment = Environment::at(Stage::RCPT);
    let limiter = |keys: Vec<LimiterKey>, applies: &str| {
        let rate = Rate::new(5, Duration::from_secs(1));
        InboundLimiter::compile("0".into(), keys, &Source::from(applies), rate, &environment).expect("it compiles")
    };
    assert_eq!(limiter(vec![LimiterKey::RemoteIp], "true").phase(), crate::smtp::server::Phase::Connect);
    assert_eq!(limiter(vec![LimiterKey::RemoteIp], "sender_domain = 'x'").phase(), crate::smtp::server::Phase::Mail);
    assert_eq!(limiter(vec![LimiterKey::Rcpt], "true").phase(), crate::smtp::server::Phase::Rcpt);
    let settings =
        Settings { limiters: vec![limiter(vec![LimiterKey::SenderDomain], "sender != ''")], ..Settings::default() };
    let (mut client, from) = (client("192.0.2.9:1"), transaction("<a@remote.test>"));
    assert_eq!(ruled(&settings, &client, Question::Mail(&from), None).asks.len(), 1);
    assert_eq!(ruled(&settings, &client, Question::Mail(&transaction("<>")), None).asks.len(), 0);
    let refusing = Settings {
        mail: settings::Mail { is_allowed: Expr::constant(false), ..settings.mail.clone() },
        ..settings.clone()
    };
    let refused = ruled(&refusing, &client, Question::Mail(&from), None);
    assert!(matches!(refused.answer.verdict, Verdict::Refuse(Reply { code: 550, .. })) && refused.asks.is_empty());
    client.is_trusted = true;
    assert_eq!(ruled(&settings, &client, Question::Mail(&from), None).asks.len(), 0);
}

#[test]
fn an_answer_of_the_dns_is_waited_for() {
    let mut settings = Settings::default();
    let environment = Environment::at(Stage::MAIL);
    settings.mail.is_allowed =
        Expr::parse("!is_empty(dns_query(sender_domain, 'mx'))", true, &environment).expect("it compiles");
    let (lookups, keys, client, from) = (lookups(), KeyMaker::new(7), client("192.0.2.9:1"), transaction("<a@x.test>"));
    let site = Site {
        settings: &settings,
        lookups: &lookups,
        keys: &keys,
        listener: Listener::default(),
        pressure: None,
        now: NOW,
    };
    let subject = Subject {
        question: Question::Mail(&from),
        client: &client,
        counts: Counts::default(),
        content: None,
        id: "",
        hostname: "mx.ours.test",
    };
    let mut found = Found::default();
    let Judgement::Wait(question) = judge(&site, &subject, &mut found) else { panic!("it must wait") };
    assert_eq!(question.name, "x.test");
    found.add(question, crate::expr::Answer::Records(vec![]));
    let Judgement::Ruled(ruling) = judge(&site, &subject, &mut found) else { panic!("it is known") };
    assert!(matches!(ruling.answer.verdict, Verdict::Refuse(Reply { code: 550, .. })));
}

fn gathered(header: &'static str, received_fields: u16) -> Gathered {
    Gathered {
        facts: ContentFacts { received_fields, ..ContentFacts::default() },
        header: header.as_bytes().into(),
        body: "".into(),
        spilled_bytes: 0,
    }
}

#[test]
fn a_looping_message_is_refused_for_good() {
    let (client, from) = (client("192.0.2.9:1"), transaction("<>"));
    let ruling = ruled(&Settings::default(), &client, Question::Content(&from), Some(&gathered("", 101)));
    let Verdict::Refuse(reply) = ruling.answer.verdict else { panic!("it is refused") };
    assert_eq!((reply.code, reply.status.map(|s| s.to_string())), (554, Some("5.4.6".to_owned())));
    let ruling = ruled(&Settings::default(), &client, Question::Content(&from), Some(&gathered("", 100)));
    assert_eq!(ruling.answer.verdict, Verdict::Accept);
}

#[test]
fn trace_fields_as_the_settings_say() {
    let mut settings = Settings::default();
    settings.data.add_return_path = Expr::constant(true);
    let mut client = client("192.0.2.9:1");
    client.helo = Some("c.test".into());
    let from = transaction("<a@remote.test>");
    let ruling = ruled(&settings, &client, Question::Content(&from), Some(&gathered("Subject: x\r\n", 0)));
    insta::assert_snapshot!(String::from_utf8_lossy(&ruling.trace));
    let complete = gathered("date: x\r\nMessage-Id: <y@z>\r\n", 0);
    let ruling = ruled(&Settings::default(), &client, Question::Content(&from), Some(&complete));
    assert!(!String::from_utf8_lossy(&ruling.trace).contains("Message-ID"));
}
