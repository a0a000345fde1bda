//! Extension vectors that no public suite covers: HARDENING part 2, row by row.

use std::rc::Rc;

use super::*;

/// The reply to `line` after `lead`.
fn answer_to(lead: &str, line: &[u8]) -> String {
    let mut run = Run::smtp();
    run.feed(lead.as_bytes());
    let mut input = line.to_vec();
    input.extend_from_slice(b"\r\n");
    run.feed(&input);
    run.finish().last().to_owned()
}

fn check_mail(line: &str, expected: &str) {
    let said = answer_to("EHLO c.test\r\n", line.as_bytes());
    assert!(said.starts_with(expected), "{line}: {said}, expected {expected}");
}

fn check_rcpt(line: &str, expected: &str) {
    let said = answer_to("EHLO c.test\r\nMAIL FROM:<a@b.test>\r\n", line.as_bytes());
    assert!(said.starts_with(expected), "{line}: {said}, expected {expected}");
}

#[test]
fn parameters_need_the_extended_greeting() {
    for hello in ["HELO c.test\r\n", "EHLO c.test\r\nHELO c.test\r\n"] {
        for line in ["MAIL FROM:<a@b.test> SIZE=1", "MAIL FROM:<a@b.test> BODY=7BIT", "MAIL FROM:<a@b.test> SMTPUTF8"] {
            let said = answer_to(hello, line.as_bytes());
            assert!(said.starts_with("555 5.5.4"), "{line}: {said}");
        }
        assert!(answer_to(hello, b"MAIL FROM:<a@b.test>").starts_with("250"));
        let lead = format!("{hello}MAIL FROM:<a@b.test>\r\n");
        assert!(answer_to(&lead, b"RCPT TO:<c@d.test> NOTIFY=NEVER").starts_with("555 5.5.4"));
        assert!(answer_to(&lead, b"RCPT TO:<c@d.test>").starts_with("250"));
    }
}

#[test]
fn parameters_of_mail() {
    for (parameters, expected) in [
        ("FOO=1", "555 5.5.4"),
        ("SIZE=1 SIZE=2", "501 5.5.4"),
        ("SIZE=", "501 5.5.4"),
        ("SIZE=-1", "501 5.5.4"),
        ("SIZE=123456789012345678901", "501 5.5.4"),
        ("SIZE=1000001", "552 5.3.4"),
        ("SIZE=1000000", "250 2.1.0"),
        ("BODY=8BITMIME", "250"),
        ("BODY=BINARYMIME", "250"),
        ("BODY=9BIT", "501"),
        ("SMTPUTF8=1", "501"),
        ("SMTPUTF8", "250"),
        ("RET=ALL", "501"),
        ("RET=HDRS RET=FULL", "501"),
        ("RET=HDRS", "250"),
        ("ENVID=a+2Bb", "250"),
        ("ENVID=a+zz", "501"),
        ("ENVID=+0D+0A", "501 5.5.4"),
        ("AUTH=<>", "250"),
        ("AUTH=a+40b.test", "250"),
        ("AUTH=a+0AX-Bad:+20y", "501"),
        ("MT-PRIORITY=-9", "250"),
        ("MT-PRIORITY=9", "250"),
        ("MT-PRIORITY=10", "501"),
        ("MT-PRIORITY=+3", "501"),
        ("HOLDFOR=1", "250"),
        ("HOLDFOR=604800", "250"),
        ("HOLDFOR=0", "501 5.5.4"),
        ("HOLDFOR=604801", "501 5.5.4"),
        ("HOLDUNTIL=2026-11-23T22:30:00Z", "250"),
        ("HOLDUNTIL=2020-01-01T00:00:00Z", "501 5.5.4"),
        ("HOLDUNTIL=tomorrow", "501 5.5.4"),
        ("HOLDFOR=1 HOLDUNTIL=2026-11-23T22:30:00Z", "501 5.5.4"),
        ("BY=120;R", "250"),
        ("BY=-1;R", "501"),
        ("BY=0;R", "501"),
        ("BY=60;NT", "250"),
        ("BY=1234567890;N", "501"),
        ("REQUIRETLS", "530 5.7.10"),
    ] {
        check_mail(&format!("MAIL FROM:<a@b.test> {parameters}"), expected);
    }
    check_mail(&format!("MAIL FROM:<a@b.test> ENVID={}", "x".repeat(101)), "501");
}

#[test]
fn parameters_of_rcpt() {
    for (parameters, expected) in [
        ("NOTIFY=NEVER,FAILURE", "501"),
        ("NOTIFY=", "501"),
        ("NOTIFY=SUCCESS,FAILURE,DELAY", "250"),
        ("ORCPT=rfc822", "501"),
        ("ORCPT=rfc822;x+0Ay", "501"),
        ("ORCPT=rfc822;c+40d.test", "250"),
        ("MT-PRIORITY=3", "555"),
        ("FOO", "555 5.5.4"),
    ] {
        check_rcpt(&format!("RCPT TO:<c@d.test> {parameters}"), expected);
    }
}

#[test]
fn addresses_need_smtputf8() {
    check_mail("MAIL FROM:<j\u{f6}rg@b.test>", "550 5.6.7");
    check_mail("MAIL FROM:<j\u{f6}rg@b.test> SMTPUTF8", "250");
    check_rcpt("RCPT TO:<j\u{f6}rg@b.test>", "553 5.6.7");
    for bad in [&b"\xff"[..], b"\xc0\xaf"] {
        let line = [b"MAIL FROM:<".as_slice(), bad, b"@b.test> SMTPUTF8"].concat();
        assert!(answer_to("EHLO c.test\r\n", &line).starts_with("501"));
    }
}

#[test]
fn hostile_paths_are_literal_or_refused() {
    for line in [
        "MAIL FROM:<;sleep 66;>",
        "MAIL FROM:<;for i in 0 1 2 3;do read r;done;sh;exit 0;>",
        "MAIL FROM:<a@b",
        "MAIL FROM:<a@b>x",
        "MAIL FROM:",
        "MAIL",
    ] {
        check_mail(line, "501");
    }
    check_mail("MAIL FROM:<\"x'/**/UNION/**/SELECT/**/X'00'--\"@a.test>", "250");
    check_rcpt("RCPT TO:<${run{\\x2Fbin\\x2Fsh...}}@s.test>", "501");
    check_rcpt("RCPT TO:<>", "501");
    check_rcpt("RCPT TO:<Postmaster>", "250");
}

#[test]
fn commands_of_the_table() {
    for (line, expected) in [
        ("VRFY a", "252"),
        ("EXPN a", "502"),
        ("HELP", "214"),
        ("NOOP x", "250"),
        ("RSET x", "501"),
        ("QUIT x", "501"),
        ("TURN", "502"),
        ("XCLIENT NAME=x", "550"),
        ("EHLO [127.0.0.1]", "250"),
        ("EHLO [IPv6:::1]", "250"),
        ("EHLO a b", "501"),
        ("EHLO", "501"),
        ("AUTH PLAIN", "503 5.5.1"),
        ("ETRN ' OR 1--", "502"),
    ] {
        check_mail(line, expected);
    }
}

#[test]
fn ehlo_resets_a_transaction_and_a_refused_one_does_not() {
    let run = Run::smtp().all(b"HELO c.test\r\nMAIL FROM:<a@b.test>\r\nEHLO c.test\r\nRCPT TO:<c@d.test>\r\nMAIL FROM:<a@b.test>\r\nEHLO a b\r\nRCPT TO:<c@d.test>\r\n");
    assert_eq!(run.codes(), [250, 250, 250, 503, 250, 501, 250]);
}

#[test]
fn limits_of_recipients_and_messages() {
    fn limited(question: Question<'_>, server: &Server) -> Answer {
        let mut answer = lenient(question, server);
        if let Some(offers) = answer.offers.as_mut().map(Rc::make_mut) {
            offers.extensions.rcpt_max = 2;
            offers.extensions.mail_max = 1;
        }
        answer
    }
    let input = "EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<e@d.test>\r\nRCPT TO:<f@d.test>\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<>\r\n";
    let run = Run::new(Protocol::Smtp, limited).all(input.as_bytes());
    assert!(run.said.contains("LIMITS MAILMAX=1 RCPTMAX=2"));
    assert_eq!(run.codes(), [250, 250, 250, 250, 452, 354, 250, 452]);
    assert_eq!(run.messages[0].0.len(), 2);
}

#[test]
fn binarymime_needs_chunking() {
    fn without(question: Question<'_>, server: &Server) -> Answer {
        let mut answer = lenient(question, server);
        if let Some(offers) = answer.offers.as_mut().map(Rc::make_mut) {
            offers.extensions.chunking = false;
        }
        answer
    }
    let input = b"EHLO c.test\r\nMAIL FROM:<> BODY=BINARYMIME\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nBDAT 3 LAST\r\nabcNOOP\r\n";
    let run = Run::new(Protocol::Smtp, without).all(input);
    assert!(!run.said.contains("BINARYMIME") && !run.said.contains("CHUNKING"));
    assert_eq!(run.codes(), [250, 555, 250, 250, 502, 250]);
}

#[test]
fn a_trusted_proxy_changes_who_the_client_is() {
    let mut run = Run::smtp();
    run.server.client_mut().may_xclient = true;
    run.feed(b"EHLO proxy.test\r\nXCLIENT ADDR=198.51.100.7 PORT=99 NAME=real.test LOGIN=joe\r\nMAIL FROM:<>\r\nEHLO c.test\r\n");
    let client = run.server.client();
    assert_eq!(client.remote.to_string(), "198.51.100.7:99");
    assert_eq!(client.peer.to_string(), "192.0.2.1");
    assert_eq!(client.ptr.as_deref(), Some("real.test"));
    assert_eq!(client.authenticated_as.as_deref(), Some("joe"));
    assert_eq!(run.finish().codes(), [250, 220, 503, 250]);
}
