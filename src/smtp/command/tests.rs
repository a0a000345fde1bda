use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::base::WallTime;
use crate::mail::{BodyType, DeliverByMode, Notify, Ret};
use crate::smtp::extensions::{Extensions, PriorityProfile};
use std::time::Duration;

const NOW: WallTime = WallTime(1_795_386_600_000); // 2026-11-22T22:30:00Z

/// Everything is offered.
fn all() -> Extensions {
    Extensions {
        dsn: true,
        requiretls: true,
        no_soliciting: Some("".into()),
        future_release_max: Some(Duration::from_secs(604_800)),
        deliver_by_max: Some(Duration::from_secs(1_296_000)),
        mt_priority: Some(PriorityProfile::Mixer),
        size_bytes_max: 1000,
        ..Extensions::default()
    }
}

/// The reply to a line on a listener that offers `extensions`, as code and status; or `ok`.
fn judge_with(line: &[u8], extensions: &Extensions, is_tls: bool) -> String {
    let parsed = Command::parse(line).and_then(|command| {
        match &command {
            Command::Mail(mail) => extensions.check_mail(&mail.arguments, is_tls, NOW)?,
            Command::Rcpt(rcpt) => {
                extensions.check_rcpt(&rcpt.arguments)?;
                rcpt.check_smtputf8(false)?;
            }
            _ => {}
        }
        Ok(())
    });
    match parsed {
        Ok(()) => "ok".into(),
        Err(e) => {
            let reply = e.reply();
            format!("{} {}", reply.code, reply.status.map(|s| s.to_string()).unwrap_or_default())
        }
    }
}

fn judge(line: impl AsRef<[u8]>) -> String {
    judge_with(line.as_ref(), &all(), true)
}

fn mail_arguments(parameters: &str) -> MailArguments<'static> {
    let line = format!("MAIL FROM:<a@b.test> {parameters}").leak();
    match Command::parse(line.as_bytes()) {
        Ok(Command::Mail(mail)) => mail.arguments,
        other => panic!("{line}: {other:?}"),
    }
}

fn rcpt_arguments(parameters: &str) -> RcptArguments<'static> {
    let line = format!("RCPT TO:<a@b.test> {parameters}").leak();
    match Command::parse(line.as_bytes()) {
        Ok(Command::Rcpt(rcpt)) => rcpt.arguments,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn verbs_in_any_case() {
    for (line, verb) in [
        ("EHLO a.b", Verb::Ehlo),
        ("mail from:<>", Verb::Mail),
        ("Rcpt tO:<a@b>", Verb::Rcpt),
        ("StartTLS", Verb::StartTls),
        ("xclient ADDR=1.2.3.4", Verb::Xclient),
        ("noop", Verb::Noop),
        ("LHLO a", Verb::Lhlo),
        ("BDAT 0 last", Verb::Bdat),
        ("data \t ", Verb::Data),
    ] {
        assert_eq!(Command::parse(line.as_bytes()).map(|c| c.verb()), Ok(verb), "{line}");
        assert_eq!(Verb::of(line.as_bytes()), Some(verb));
    }
    for verb in [Verb::Turn, Verb::Etrn, Verb::Atrn, Verb::Burl, Verb::Send, Verb::Soml, Verb::Saml, Verb::Xforward] {
        let line = format!("{} x", verb.as_str());
        assert_eq!(Command::parse(line.as_bytes()), Ok(Command::NotImplemented(verb)));
    }
}

#[test]
fn verbs_end_where_they_end() {
    for line in ["", "MAI", "MAILFROM:<>", "DATAX", "START", "STARTTLSX", "XCLI", "QUITx", "mail:", "NOOP\0", "EHLOa"] {
        assert_eq!(Command::parse(line.as_bytes()), Err(CommandError::UnknownVerb), "{line}");
    }
    // Octets that differ from a letter in bit 5 alone are no letters.
    assert_eq!(Command::parse(b"\x4d\x41\x49\x0c"), Err(CommandError::UnknownVerb));
}

#[test]
fn other_protocols_are_not_talked_to() {
    for line in
        [&b"GET / HTTP/1.1"[..], b"post /x HTTP/1.1", b"CONNECT a:25 HTTP/1.1", b"\x16\x03\x01", b" NOOP", b"{}"]
    {
        let e = Command::parse(line).expect_err("no command");
        assert_eq!(e, CommandError::WrongProtocol);
        assert!(e.must_close());
    }
}

#[test]
fn arguments_where_none_belong() {
    for (line, expected) in [
        ("NOOP x", "ok"),
        ("HELP x", "ok"),
        ("RSET x", "501 5.5.2"),
        ("QUIT x", "501 5.5.2"),
        ("DATA x", "501 5.5.2"),
        ("STARTTLS x", "501 5.5.2"),
        ("VRFY", "501 5.5.2"),
        ("VRFY a@b", "ok"),
        ("EXPN \x07", "501 5.5.2"),
        ("WHATISTHIS", "500 5.5.1"),
    ] {
        assert_eq!(judge(line), expected, "{line}");
    }
}

#[test]
fn greetings() {
    for (line, expected) in [
        ("EHLO [127.0.0.1]", "ok"),
        ("EHLO [IPv6:::1]", "ok"),
        ("EHLO localhost", "ok"),
        ("EHLO my_host.example ", "ok"),
        ("EHLO b\u{fc}cher.example", "ok"),
        ("EHLO a b", "501 5.5.2"),
        ("EHLO", "501 5.5.2"),
        ("HELO", "501 5.5.2"),
        ("EHLO [1.2.3]", "501 5.5.2"),
        ("EHLO \x1b]0;x\x07", "501 5.5.2"),
        ("EHLO %s%n", "501 5.5.2"),
    ] {
        assert_eq!(judge(line), expected, "{line}");
    }
    assert_eq!(Command::parse(b"EHLO  mx.example "), Ok(Command::Ehlo("mx.example")));
    assert_eq!(judge(b"EHLO \xff"), "501 5.5.2");
}

#[test]
fn paths() {
    for (line, expected) in [
        ("MAIL FROM:<>", "ok"),
        ("MAIL FROM: <a@b>", "ok"),
        ("MAIL  from:<a@b> ", "ok"),
        ("MAIL FROM:<\"a > b\"@c> SIZE=1", "ok"),
        ("MAIL FROM:<\"a\\\"> b\"@c> SIZE=1", "ok"),
        ("MAIL FROM:<@x.y,@z:a@b>", "ok"),
        ("MAIL FROM:", "501 5.5.2"),
        ("MAIL", "501 5.5.2"),
        ("MAIL TO:<a@b>", "501 5.5.2"),
        ("MAIL LALA: <>", "501 5.5.2"),
        ("MAIL FROM:<a@b>SIZE=1", "501 5.5.2"),
        ("MAIL FROM:<a@b", "501 5.5.2"),
        ("MAIL FROM:<\"a@b>", "501 5.5.2"),
        ("MAIL FROM:a@b", "501 5.1.7"),
        ("MAIL FROM:<pepe>", "501 5.1.7"),
        ("MAIL FROM:<;sleep 66;>", "501 5.1.7"),
        ("MAIL FROM:<;for i in 0 1 2 3;do read r;done;sh;exit 0;>", "501 5.1.7"),
        ("MAIL FROM:<a@b\0>", "501 5.1.7"),
        ("MAIL FROM:<\"x'/**/UNION/**/SELECT/**/X'00'--\"@a.test>", "ok"),
        ("RCPT TO:<Postmaster>", "ok"),
        ("RCPT TO:<a%b@c.test>", "ok"),
        ("RCPT TO:<b!a@c.test>", "ok"),
        ("RCPT TO:<>", "501 5.1.3"),
        ("RCPT TO:a@b", "501 5.1.3"),
        ("RCPT TO:<a@b@c>", "501 5.1.3"),
        ("RCPT TO:<a@b.>", "501 5.1.3"),
        ("RCPT TO:<a@b\0@c>", "501 5.1.3"),
        ("RCPT TO:<a@b(@c)>", "501 5.1.3"),
        ("RCPT TO:<a@[IPv6:::1]%b>", "501 5.1.3"),
        ("RCPT TO:<${run{\\x2Fbin\\x2Fsh}}@S>", "501 5.1.3"),
        ("RCPT FROM:<a@b>", "501 5.5.2"),
    ] {
        assert_eq!(judge(line), expected, "{line:?}");
    }
}

#[test]
fn addresses_beyond_ascii_need_smtputf8() {
    for (line, expected) in [
        (&b"MAIL FROM:<j\xc3\xb6rg@b.test>"[..], "550 5.6.7"),
        (b"MAIL FROM:<j\xc3\xb6rg@b.test> SMTPUTF8", "ok"),
        (b"MAIL FROM:<a@b.test> SMTPUTF8=1", "501 5.5.4"),
        (b"MAIL FROM:<a@b.test> SMTPUTF8 SMTPUTF8", "501 5.5.4"),
        (b"MAIL FROM:<j\xffrg@b.test> SMTPUTF8", "501 5.1.7"),
        (b"MAIL FROM:<a\xc0\xaf@b.test> SMTPUTF8", "501 5.1.7"),
        (b"RCPT TO:<j\xc3\xb6rg@b.test>", "553 5.6.7"),
        (b"RCPT TO:<t@r\xc3\xa9mote.test>", "553 5.6.7"),
        (b"RCPT TO:<a\xff@b.test>", "501 5.1.3"),
    ] {
        assert_eq!(judge(line), expected, "{:?}", String::from_utf8_lossy(line));
    }
}

/// HARDENING part 2, as far as a parser can tell.
#[test]
fn extension_vectors() {
    for (parameters, expected) in [
        ("FOO=1", "555 5.5.4"),
        ("FOO", "555 5.5.4"),
        ("=1", "501 5.5.2"),
        ("SIZE=1 SIZE=2", "501 5.5.4"),
        ("SIZE=", "501 5.5.4"),
        ("SIZE", "501 5.5.4"),
        ("SIZE=-1", "501 5.5.4"),
        ("SIZE=123456789012345678901", "501 5.5.4"),
        ("SIZE=99999999999999999999", "501 5.5.4"),
        ("SIZE=1000", "ok"),
        ("SIZE=1001", "552 5.3.4"),
        ("BODY=8BITMIME", "ok"),
        ("body=binarymime", "ok"),
        ("BODY=9BIT", "501 5.5.4"),
        ("RET=ALL", "501 5.5.4"),
        ("RET=HDRS RET=FULL", "501 5.5.4"),
        ("RET=full", "ok"),
        ("ENVID=a+2Bb", "ok"),
        ("ENVID=a+zz", "501 5.5.4"),
        ("ENVID=+0D+0A", "501 5.5.4"),
        ("AUTH=<>", "ok"),
        ("AUTH=a+40b.test", "ok"),
        ("AUTH=a+0AX-Bad:+20y", "501 5.5.4"),
        ("AUTH=nobody", "501 5.5.4"),
        ("MT-PRIORITY=-9", "ok"),
        ("MT-PRIORITY=9", "ok"),
        ("MT-PRIORITY=10", "501 5.5.4"),
        ("MT-PRIORITY=+3", "501 5.5.4"),
        ("MT-PRIORITY=-0", "501 5.5.4"),
        ("HOLDFOR=1", "ok"),
        ("HOLDFOR=604800", "ok"),
        ("HOLDFOR=604801", "501 5.5.4"),
        ("HOLDFOR=0", "501 5.5.4"),
        ("HOLDUNTIL=2026-11-23T22:30:00Z", "ok"),
        ("HOLDUNTIL=2026-11-23T22:30:00.5+02:00", "ok"),
        ("HOLDUNTIL=2026-11-22T22:30:00Z", "501 5.5.4"),
        ("HOLDUNTIL=2027-11-22T22:30:00Z", "501 5.5.4"),
        ("HOLDUNTIL=2026-11-23T22:30:00", "501 5.5.4"),
        ("HOLDUNTIL=2026-11-23", "501 5.5.4"),
        ("HOLDUNTIL=tomorrow", "501 5.5.4"),
        ("HOLDUNTIL=2026-13-23T22:30:00Z", "501 5.5.4"),
        ("HOLDFOR=1 HOLDUNTIL=2026-11-23T22:30:00Z", "501 5.5.4"),
        ("BY=120;R", "ok"),
        ("BY=-1;R", "501 5.5.4"),
        ("BY=0;R", "501 5.5.4"),
        ("BY=60;NT", "ok"),
        ("BY=-60;N", "ok"),
        ("BY=1234567890;N", "501 5.5.4"),
        ("BY=1296001;R", "501 5.5.4"),
        ("BY=60;X", "501 5.5.4"),
        ("BY=60", "501 5.5.4"),
        ("SOLICIT=net.example:ADV,org.example:x", "ok"),
        ("SOLICIT=,", "501 5.5.4"),
        ("REQUIRETLS", "ok"),
        ("REQUIRETLS=1", "501 5.5.4"),
        ("NOTIFY=NEVER", "555 5.5.4"),
        ("SIZE=1\x01", "501 5.5.2"),
    ] {
        assert_eq!(judge(format!("MAIL FROM:<a@b.test> {parameters}")), expected, "{parameters:?}");
    }
    for (parameters, expected) in [
        ("NOTIFY=NEVER", "ok"),
        ("NOTIFY=success,Failure,DELAY", "ok"),
        ("NOTIFY=NEVER,FAILURE", "501 5.5.4"),
        ("NOTIFY=", "501 5.5.4"),
        ("NOTIFY=DELAY NOTIFY=DELAY", "501 5.5.4"),
        ("ORCPT=rfc822;a+2Bb@c.test", "ok"),
        ("ORCPT=rfc822", "501 5.5.4"),
        ("ORCPT=rfc822;", "501 5.5.4"),
        ("ORCPT=;a", "501 5.5.4"),
        ("ORCPT=rfc822;x+0Ay", "501 5.5.4"),
        ("ORCPT=utf-8;\\x{F6}@b.test", "ok"),
        ("ORCPT=utf-8;\\x{A}", "501 5.5.4"),
        ("ORCPT=utf-8;\u{f6}@b.test", "501 5.5.4"), // as it is only with SMTPUTF8
        ("MT-PRIORITY=3", "555 5.5.4"),
        ("RRVS=2014-04-03T23:01:00Z;R", "555 5.5.4"),
    ] {
        assert_eq!(judge(format!("RCPT TO:<a@b.test> {parameters}")), expected, "{parameters:?}");
    }
    assert_eq!(judge(format!("MAIL FROM:<a@b> ENVID={}", "x".repeat(100))), "ok");
    assert_eq!(judge(format!("MAIL FROM:<a@b> ENVID={}", "x".repeat(101))), "501 5.5.4");
    assert_eq!(judge(format!("RCPT TO:<a@b> ORCPT=rfc822;{}", "x".repeat(500))), "501 5.5.4");
}

#[test]
fn what_is_not_offered_is_not_recognized() {
    let none = Extensions {
        eight_bit_mime: false,
        chunking: false,
        smtputf8: false,
        size_bytes_max: 0,
        ..Extensions::default()
    };
    for parameters in [
        "BODY=8BITMIME",
        "BODY=BINARYMIME",
        "SMTPUTF8",
        "RET=FULL",
        "ENVID=x",
        "HOLDFOR=1",
        "BY=60;R",
        "MT-PRIORITY=1",
        "SOLICIT=x",
        "REQUIRETLS",
    ] {
        let line = format!("MAIL FROM:<a@b.test> {parameters}");
        assert_eq!(judge_with(line.as_bytes(), &none, true), "555 5.5.4", "{parameters}");
    }
    assert_eq!(judge_with(b"RCPT TO:<a@b> NOTIFY=NEVER", &none, true), "555 5.5.4");
    assert_eq!(judge_with(b"MAIL FROM:<a@b> SIZE=99999999999", &none, true), "ok");
    assert_eq!(judge_with(b"MAIL FROM:<a@b> REQUIRETLS", &all(), false), "530 5.7.10");
    let no_chunking = Extensions { chunking: false, ..all() };
    assert_eq!(judge_with(b"MAIL FROM:<a@b> BODY=BINARYMIME", &no_chunking, true), "555 5.5.4");
}

#[test]
fn values_are_what_was_said() {
    let arguments = mail_arguments(
        "SIZE=500 BODY=8BITMIME RET=HDRS ENVID=Q+2B1 SMTPUTF8 REQUIRETLS HOLDFOR=60 BY=-30;NT MT-PRIORITY=-3 \
         AUTH=a+40b.test SOLICIT=x,y",
    );
    let AuthParameter::Mailbox(auth) = arguments.auth.expect("AUTH") else { panic!("a mailbox") };
    assert_eq!(auth.decode(), "a@b.test");
    let parameters = arguments.to_parameters(NOW);
    assert_eq!(parameters.size, Some(500));
    assert_eq!(parameters.body, BodyType::EightBitMime);
    assert_eq!(parameters.ret, Some(Ret::Headers));
    assert_eq!(parameters.envid.as_deref(), Some("Q+1"));
    assert!(parameters.smtputf8 && parameters.requiretls);
    assert_eq!(parameters.hold_until, Some(WallTime(NOW.0 + 60_000)));
    let by = parameters.deliver_by.expect("BY");
    assert_eq!((by.deadline, by.mode, by.trace), (WallTime(NOW.0 - 30_000), DeliverByMode::Notify, true));
    assert_eq!((parameters.priority, parameters.solicit.as_deref()), (-3, Some("x,y")));
    assert!(mail_arguments("").is_empty() && !arguments.is_empty());

    let arguments = rcpt_arguments("NOTIFY=SUCCESS,DELAY ORCPT=RFC822;a+2Bb@c.test");
    assert_eq!(arguments.notify, Some(Notify { success: true, failure: false, delay: true }));
    let original = arguments.original.expect("ORCPT").to_original();
    assert_eq!((&*original.kind, &*original.address), ("rfc822", "a+b@c.test"));
    let original = rcpt_arguments("ORCPT=utf-8;\\x{F6}@b").original.expect("ORCPT").to_original();
    assert_eq!((&*original.kind, &*original.address), ("utf-8", "\u{f6}@b"));
}

#[test]
fn chunks() {
    let chunk = |size_bytes, is_last| Ok(Command::Bdat { size_bytes, is_last });
    assert_eq!(Command::parse(b"BDAT 10"), chunk(10, false));
    assert_eq!(Command::parse(b"BDAT 0 LAST"), chunk(0, true));
    assert_eq!(Command::parse(b"bdat 18446744073709551615 last "), chunk(u64::MAX, true));
    for line in ["BDAT", "BDAT x", "BDAT -1", "BDAT 18446744073709551616 LAST", "BDAT 10 LASTX", "BDAT 10 LAST x"] {
        let e = Command::parse(line.as_bytes()).expect_err(line);
        assert_eq!((e.reply().code, e.must_close()), (501, true), "{line}");
    }
}

#[test]
fn auth_is_left_raw() {
    let initial_response = Some(&b"AGE="[..]);
    assert_eq!(Command::parse(b"AUTH PLAIN AGE="), Ok(Command::Auth { mechanism: "PLAIN", initial_response }));
    let none = Command::Auth { mechanism: "scram-sha-256", initial_response: None };
    assert_eq!(Command::parse(b"AUTH scram-sha-256"), Ok(none));
    for line in ["AUTH", "AUTH PL@IN", "AUTH A-MECHANISM-OF-TOO-MANY-LETTERS", "AUTH PLAIN a b"] {
        assert_eq!(judge(line), "501 5.5.2", "{line}");
    }
}

#[test]
fn xclient_attributes() {
    let Ok(Command::Xclient(arguments)) = Command::parse(
        b"XCLIENT addr=IPV6:2001:db8::1 PORT=25 NAME=[UNAVAILABLE] HELO=a+2Bb PROTO=ESMTP DESTADDR=1.2.3.4",
    ) else {
        panic!("XCLIENT")
    };
    let attributes: Vec<_> = arguments.attributes().collect();
    let ip: IpAddr = "2001:db8::1".parse().expect("an address");
    assert_eq!(attributes[0], XclientAttribute::Address(Some(ip)));
    assert_eq!(attributes[1], XclientAttribute::Port(Some(25)));
    assert_eq!(attributes[2], XclientAttribute::Name(None));
    assert!(matches!(attributes[3], XclientAttribute::Helo(Some(text)) if text.decode() == "a+b"));
    assert_eq!(attributes[4], XclientAttribute::IsEsmtp(true));
    assert_eq!(attributes[5], XclientAttribute::DestinationAddress(Some(IpAddr::from([1, 2, 3, 4]))));
    for (line, expected) in [
        ("XCLIENT", "501 5.5.2"),
        ("XCLIENT ADDR", "501 5.5.4"),
        ("XCLIENT ADDR=x", "501 5.5.4"),
        ("XCLIENT PORT=70000", "501 5.5.4"),
        ("XCLIENT FOO=1", "501 5.5.4"),
        ("XCLIENT NAME=+0D+0A", "501 5.5.4"),
        ("XCLIENT PROTO=[UNAVAILABLE]", "501 5.5.4"),
    ] {
        assert_eq!(judge(line), expected, "{line}");
    }
}

/// A MAIL line from parts, printed the way a client would.
fn mail_line() -> impl Strategy<Value = (String, Option<u64>, Option<i8>, bool)> {
    (
        "[a-z0-9]{1,10}(\\.[a-z0-9]{1,5}){0,2}",
        "[a-z0-9]{1,10}(\\.[a-z]{2,5}){0,2}",
        prop::option::of(any::<u64>()),
        prop::option::of(-9i8..=9),
        any::<bool>(),
    )
        .prop_map(|(local, domain, size, priority, smtputf8)| {
            let mut line = format!("MAIL FROM:<{local}@{domain}>");
            line.extend(size.map(|n| format!(" SIZE={n}")));
            line.extend(priority.map(|n| format!(" MT-PRIORITY={n}")));
            line.push_str(if smtputf8 { " SMTPUTF8" } else { "" });
            (line, size, priority, smtputf8)
        })
}

proptest! {
    #[test]
    fn what_is_printed_is_parsed((line, size, priority, smtputf8) in mail_line()) {
        let Ok(Command::Mail(mail)) = Command::parse(line.as_bytes()) else { panic!("{line}") };
        let path = mail.path.expect("a mailbox");
        let start = format!("MAIL FROM:<{}>", path.as_str());
        prop_assert!(line.starts_with(&start));
        prop_assert_eq!((mail.arguments.size, mail.arguments.priority, mail.arguments.smtputf8), (size, priority, smtputf8));
        let owned = mail.reverse_path();
        prop_assert_eq!(owned.as_str(), path.as_str());
    }

    #[test]
    fn never_panics_and_always_answers(verb in 0usize..12, tail in prop::collection::vec(any::<u8>(), 0..80)) {
        let verbs = ["MAIL FROM:<", "RCPT TO:<a@b> ", "MAIL FROM:<> ", "BDAT ", "AUTH ", "EHLO ", "XCLIENT ", "VRFY ", "", "RCPT TO:", "STARTTLS", "MAIL FROM:<\""];
        let line = [verbs[verb].as_bytes(), &tail].concat();
        match Command::parse(&line) {
            Ok(command) => prop_assert_eq!(Some(command.verb()), Verb::of(&line)),
            Err(e) => prop_assert!((500..560).contains(&e.reply().code)),
        }
    }
}
