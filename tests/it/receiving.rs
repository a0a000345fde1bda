//! What the receiving side says, line by line: the extension vectors of HARDENING.md part 2, chunks (3.5),
//! proxies, TLS. Tables of what is sent and how the reply begins.

use crate::harness::{Client, Server, Sink, eventually, free_port, peer};
use crate::relay::relay_to;

/// Everything is offered; mail for two domains is kept, and nothing is delivered until a test says where.
const OFFERING: &str = r#"
[session]
trusted-networks = []
[session.rcpt]
directory = "'local'"
relay = false
max-recipients = 100
errors.total = 1000
errors.wait = "0s"
[session.errors]
total = 1000
idle-commands = 1000
[session.extensions]
future-release = "7d"
deliver-by = "15d"
mt-priority = "mixer"
vrfy = true
[session.data.limits]
size = 1000000
[directory.local]
type = "memory"
domains = ["s.test", "b.test"]
[[directory.local.principals]]
name = "c"
email = ["c@b.test", "d@b.test", "e@b.test", "c@s.test", "postmaster@s.test", "c@xn--rmote-bsa.test"]
[queue.route.local]
type = "local"
path = "@DIR@/mail"
"#;

fn offering() -> Server {
    Server::start(OFFERING)
}

/// Sends each line and compares the beginning of its reply; all faults at once.
pub fn walk(client: &mut Client, rows: &[(&[u8], &str)]) {
    let mut faults = Vec::new();
    for (line, expected) in rows {
        client.send(line);
        client.send(b"\r\n");
        let reply = client.reply();
        if !reply.starts_with(expected) {
            faults.push(format!("{} -> {reply}, expected {expected}", line.escape_ascii()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn parameters_of_mail() {
    let (longest, too_long) = (format!("ENVID={}", "x".repeat(100)), format!("ENVID={}", "x".repeat(101)));
    let rows: &[(&str, &str)] = &[
        ("FOO=1", "555 5.5.4"),
        ("SOLICIT=a:b", "555 5.5.4"),
        ("NOTIFY=NEVER", "555 5.5.4"),
        ("RRVS=2014-04-03T23:01:00Z;R", "555 5.5.4"),
        ("=1", "501 5.5.2"),
        ("SIZE=1 SIZE=2", "501 5.5.4"),
        ("SIZE=", "501 5.5.4"),
        ("SIZE=-1", "501 5.5.4"),
        ("SIZE=1=2", "501 5.5.4"),
        ("SIZE=123456789012345678901", "501 5.5.4"),
        ("SIZE=1000000", "250"),
        ("SIZE=1000001", "552 5.3.4"),
        ("BODY=7BIT", "250"),
        ("BODY=8BITMIME", "250"),
        ("BODY=BINARYMIME", "250"),
        ("BODY=8BITMIME BODY=7BIT", "501 5.5.4"),
        ("BODY=FOO", "501 5.5.4"),
        ("SMTPUTF8", "250"),
        ("SMTPUTF8=1", "501 5.5.4"),
        ("SMTPUTF8 SMTPUTF8", "501 5.5.4"),
        ("RET=HDRS", "250"),
        ("RET=FULL", "250"),
        ("RET=ALL", "501 5.5.4"),
        ("RET=HDRS RET=FULL", "501 5.5.4"),
        (&longest, "250"),
        (&too_long, "501 5.5.4"),
        ("ENVID=a+2Bb", "250"),
        ("ENVID=a+zz", "501 5.5.4"),
        ("ENVID=", "501 5.5.4"),
        ("ENVID=+0D+0A", "501 5.5.4"),
        ("ENVID=a+00", "501 5.5.4"),
        ("AUTH=<>", "250"),
        ("AUTH=a+40b.test", "250"),
        ("AUTH=", "501 5.5.4"),
        ("AUTH=a+0AX-Bad:+20y", "501 5.5.4"),
        ("MT-PRIORITY=-9", "250"),
        ("MT-PRIORITY=0", "250"),
        ("MT-PRIORITY=9", "250"),
        ("MT-PRIORITY=10", "501 5.5.4"),
        ("MT-PRIORITY=-10", "501 5.5.4"),
        ("MT-PRIORITY=+3", "501 5.5.4"),
        ("HOLDFOR=1", "250"),
        ("HOLDFOR=604800", "250"),
        ("HOLDFOR=604801", "501 5.5.4"),
        ("HOLDFOR=0", "501 5.5.4"),
        ("HOLDUNTIL=2020-01-01T00:00:00Z", "501 5.5.4"),
        ("HOLDUNTIL=2999-01-01T00:00:00Z", "501 5.5.4"),
        ("HOLDUNTIL=2999-01-01 00:00:00", "501 5.5.4"),
        ("HOLDUNTIL=tomorrow", "501 5.5.4"),
        ("HOLDFOR=10 HOLDUNTIL=2020-01-01T00:00:00Z", "501 5.5.4"),
        ("BY=120;R", "250"),
        ("BY=60;RT", "250"),
        ("BY=-1;R", "501 5.5.4"),
        ("BY=0;R", "501 5.5.4"),
        ("BY=60;NT", "250"),
        ("BY=-60;N", "250"),
        ("BY=60", "501 5.5.4"),
        ("BY=60;X", "501 5.5.4"),
        ("BY=1296001;R", "501 5.5.4"),
        ("BY=1234567890;N", "501 5.5.4"),
        ("REQUIRETLS", "530 5.7.10"), // in clear it is not even offered
        ("REQUIRETLS=1", "501 5.5.4"),
    ];
    let server = offering();
    let mut client = Client::connect(server.port);
    let ehlo = client.ok("EHLO x.test", 250);
    assert!(!ehlo.contains("REQUIRETLS") && ehlo.contains("FUTURERELEASE 604800 2"), "{ehlo}");
    for (parameters, expected) in rows {
        walk(&mut client, &[(format!("MAIL FROM:<a@b.test> {parameters}").as_bytes(), expected), (b"RSET", "250")]);
    }
}

#[test]
fn parameters_of_rcpt() {
    let rows: &[(&str, &[u8], &str)] = &[
        ("", b"NOTIFY=NEVER,FAILURE", "501 5.5.4"),
        ("", b"NOTIFY=", "501 5.5.4"),
        ("", b"NOTIFY=FOO", "501 5.5.4"),
        ("", b"NOTIFY=NEVER", "250"),
        ("", b"NOTIFY=SUCCESS,FAILURE,DELAY", "250"),
        ("", b"ORCPT=rfc822", "501 5.5.4"),
        ("", b"ORCPT=rfc822;", "501 5.5.4"),
        ("", b"ORCPT=;x", "501 5.5.4"),
        ("", b"ORCPT=rfc822;x@y", "250"),
        ("", b"ORCPT=rfc822;x+0Ay", "501 5.5.4"),
        ("", b"ORCPT=utf-8;x\\x{F6}@y", "250"), // RFC 6533 §3: the encoded form is for sessions without SMTPUTF8
        (" SMTPUTF8", b"ORCPT=utf-8;j\xc3\xb6rg@y", "250"),
        (" SMTPUTF8", b"ORCPT=utf-8;\xff", "501 5.5.4"),
        ("", b"FOO=1", "555 5.5.4"),
        ("", b"SIZE=1", "555 5.5.4"),
        ("", b"MT-PRIORITY=3", "555 5.5.4"),
    ];
    let server = offering();
    let mut client = Client::greeted(server.port);
    for (mail, parameter, expected) in rows {
        let rcpt = [b"RCPT TO:<c@b.test> ", *parameter].concat();
        walk(
            &mut client,
            &[(format!("MAIL FROM:<a@b.test>{mail}").as_bytes(), "250"), (&rcpt, expected), (b"RSET", "250")],
        );
    }
}

#[test]
fn addresses_beyond_ascii() {
    let server = offering();
    let mut client = Client::greeted(server.port);
    walk(
        &mut client,
        &[
            (b"MAIL FROM:<j\xc3\xb6rg@b.test>", "550 5.6.7"),
            (b"MAIL FROM:<a@r\xc3\xa9mote.test>", "550 5.6.7"),
            (b"MAIL FROM:<j\xff@b.test> SMTPUTF8", "501"),
            (b"MAIL FROM:<j\xc0\xaf@b.test> SMTPUTF8", "501"),
            (b"MAIL FROM:<j@\xff.test> SMTPUTF8", "501"),
            (b"MAIL FROM:<a@b.test>", "250"),
            (b"RCPT TO:<j\xc3\xb6rg@b.test>", "553 5.6.7"),
            (b"RSET", "250"),
            (b"MAIL FROM:<j\xc3\xb6rg@b.test> SMTPUTF8", "250"),
            // One mailbox in four spellings of its domain: NFC, NFD, A-label, A-label in capitals.
            (b"RCPT TO:<c@r\xc3\xa9mote.test>", "250"),
            (b"RCPT TO:<c@re\xcc\x81mote.test>", "250"),
            (b"RCPT TO:<c@xn--rmote-bsa.test>", "250"),
            (b"RCPT TO:<c@XN--RMOTE-BSA.TEST>", "250"),
            (b"RSET", "250"),
        ],
    );
}

#[test]
fn commands_and_their_order() {
    let server = offering();
    let mut client = Client::connect(server.port);
    walk(
        &mut client,
        &[
            (b"STARTTLS", "503 5.5.1"),
            (b"MAIL FROM:<a@b.test>", "503 5.5.1"),
            (b"RCPT TO:<c@b.test>", "503 5.5.1"),
            (b"EHLO", "501"),
            (b"EHLO a b", "501"),
            (b"EHLO [1.2.3", "501"),
            (b"EHLO [::1]", "501"),
            (b"EHLO \x1b]0;x\x07", "501"),
            (b"HELO", "501"),
            (b"LHLO x.test", "500 5.5.1"),
            (b"EHLO [127.0.0.1]", "250-"),
            (b"EHLO [IPv6:::1]", "250-"),
            (b"HELO x.test", "250 "),
            (b"VRFY c@b.test", "250 2.1.5"),
            (b"VRFY", "501"),
            (b"EXPN list", "502 5.5.1"),
            (b"HELP", "214"),
            (b"HELP MAIL", "214"),
            (b"NOOP x", "250"),
            (b"RSET x", "501"),
            (b"QUIT x", "501"),
            (b"DATA x", "501"),
            (b"STARTTLS x", "501"),
            (b"TURN", "502"),
            (b"ETRN x", "502"),
            (b"ETRN #x'/**/UNION/**/SELECT/**/1--", "502"),
            (b"SEND FROM:<a@b.test>", "502"),
            (b"XCLIENT ADDR=192.0.2.1", "550 5.7.0"),
            (b"XFORWARD NAME=x", "502"),
            (b"AUTH PLAIN", "503"),
            (b"GARBAGE", "500"),
            (b"", "500"),
            (b"MAIL", "501"),
            (b"MAIL FROM:", "501"),
            (b"MAIL TO:<a@b.test>", "501"),
            (b"MAIL FROM:a@b.test", "501"),
            (b"MAIL FROM:<;sleep 66;>", "501"), // CVE-2020-7247
            (b"MAIL FROM:<;for i in 0 1 2 3;do read r;done;sh;exit 0;>", "501"),
            (b"MAIL FROM:<\"x'/**/UNION/**/SELECT/**/X'00'--\"@a.test>", "250"),
            (b"MAIL FROM:<x@y.test>", "503 5.5.1"),
            (b"STARTTLS", "503 5.5.1"),
            (b"DATA", "503 5.5.1"),
            (b"RCPT TO:<c@b.test>", "250"),
            (b"EHLO z.test", "250-"), // as RSET
            (b"RCPT TO:<c@b.test>", "503"),
            (b"MAIL FROM:<x@y.test> BODY=BINARYMIME", "250"),
            (b"RCPT TO:<c@b.test>", "250"),
            (b"DATA", "503 5.5.1"),
            (b"QUIT", "221"),
        ],
    );
}

#[test]
fn lengths_of_addresses_and_lines() {
    let address = |local: usize, domain: usize| {
        let labels = "d".repeat(50) + "." + &"d".repeat(50) + "." + &"d".repeat(50) + "." + &"d".repeat(50) + ".test";
        format!("MAIL FROM:<{}@{}>", "l".repeat(local), &labels[labels.len() - domain..])
    };
    let server = offering();
    let mut client = Client::greeted(server.port);
    for (line, expected) in [
        (address(64, 20), "250"),
        (address(65, 20), "501"),
        (address(49, 204), "250"), // 256 with the angle brackets
        (address(51, 204), "501"),
        (format!("NOOP {}", "x".repeat(4000)), "250"),
        (format!("NOOP {}", "x".repeat(5000)), "500 5.5.2"),
    ] {
        client.send(b"RSET\r\n");
        client.reply();
        walk(&mut client, &[(line.as_bytes(), expected)]);
    }
    assert_eq!(client.rest(), b"", "after a line without end the session ends");
}

/// Opens a transaction with one recipient.
fn transaction(client: &mut Client) {
    walk(client, &[(b"RSET", "250"), (b"MAIL FROM:<a@s.test>", "250"), (b"RCPT TO:<c@s.test>", "250")]);
}

#[test]
fn chunks_that_cannot_be_counted_end_the_session() {
    let server = offering();
    for line in [
        "BDAT",
        "BDAT x",
        "BDAT -1",
        "BDAT +5",
        "BDAT 18446744073709551616 LAST",
        "BDAT 99999999999999999999999",
        "BDAT 10 LASTX",
        "BDAT 1 LAST x",
    ] {
        let mut client = Client::greeted(server.port);
        transaction(&mut client);
        client.send(format!("{line}\r\nNOOP\r\n").as_bytes());
        let (reply, rest) = (client.reply(), client.rest());
        assert!(reply.starts_with("501"), "{line}: {reply}");
        assert_eq!(rest, b"", "{line}: what followed was taken for commands");
    }
}

#[test]
fn after_every_fault_of_chunks_the_next_command_is_found() {
    let big = vec![b'x'; 1_000_001];
    let with = |command: &str, chunk: &[u8]| [command.as_bytes(), b"\r\n", chunk].concat();
    let server = offering();
    let mut client = Client::greeted(server.port);
    // What is sent in one go, and what is said to it.
    let rows: Vec<(bool, Vec<u8>, &[&str])> = vec![
        (false, with("BDAT 12", b"NOOP\r\nDATA\r\nNOOP\r\n"), &["503", "250"]),
        (
            false,
            b"MAIL FROM:<a@s.test>\r\nBDAT 6 LAST\r\nDATA\r\nNOOP\r\nRSET\r\n".to_vec(),
            &["250", "503", "250", "250"],
        ),
        (true, with("BDAT 0 LAST", b"BDAT 0 LAST\r\n"), &["250 2.0.0", "503"]),
        (
            true,
            with("BDAT 4", b"a:b\rDATA\r\nRCPT TO:<d@s.test>\r\nMAIL FROM:<>\r\nRSET\r\nDATA\r\n"),
            &["250", "503", "503", "503", "250", "503"],
        ),
        (true, with("BDAT 2", b"x:BDAT 1000000\r\n"), &["250"]),
        (
            false,
            [&big[..1_000_000], b"NOOP\r\nBDAT 3 LAST\r\nabcNOOP\r\n"].concat(),
            &["552 5.3.4", "250", "503", "250"],
        ),
        (true, [b"BDAT 1000001 LAST\r\n", &big[..], b"NOOP\r\n"].concat(), &["552 5.3.4", "250"]),
        (true, with("BDAT 12 LAST", b"a: b\r\n\r\nx.\r\nNOOP\r\n"), &["250 2.0.0", "250 2.0.0"]),
    ];
    for (opens, sent, replies) in rows {
        if opens {
            transaction(&mut client);
        }
        client.send(&sent);
        for expected in replies {
            let reply = client.reply();
            let shown = sent[..sent.len().min(60)].escape_ascii().to_string();
            assert!(reply.starts_with(expected), "{shown} -> {reply}, expected {expected}");
        }
    }
    // Binary content, byte for byte.
    walk(&mut client, &[(b"MAIL FROM:<a@s.test> BODY=BINARYMIME", "250"), (b"RCPT TO:<c@s.test>", "250")]);
    client.send(b"BDAT 11 LAST\r\n\r\nab\0\n\r.\r\n.NOOP\r\n");
    assert!(client.reply().starts_with("250 2.0.0 Message"));
    assert!(client.reply().starts_with("250"));
}

#[test]
fn a_hundred_recipients_and_data_in_one_write() {
    let server = offering();
    let mut client = Client::greeted(server.port);
    let sent = ["MAIL FROM:<a@s.test>\r\n", &"RCPT TO:<c@s.test>\r\n".repeat(100), "DATA\r\n"].concat();
    client.send(sent.as_bytes());
    let replies: Vec<String> = (0..102).map(|_| client.reply()).collect();
    assert!(replies[..101].iter().all(|reply| reply.starts_with("250")), "{replies:?}");
    assert!(replies[101].starts_with("354"), "{replies:?}");
    client.send(b"x: y\r\n\r\nz\r\n.\r\nRSET\r\nNOOP\r\n");
    assert!(client.reply().starts_with("250 2.0.0 Message queued"));
    assert!(client.reply().starts_with("250 2.0.0 OK"));
    assert!(client.reply().starts_with("250 2.0.0 OK"));
}

#[test]
fn content_that_is_refused_leaves_the_session_in_step() {
    let received = "Received: from x by y; z\r\n";
    let rows: Vec<(String, &str)> = vec![
        (format!("{}\r\nx\r\n", received.repeat(101)), "554 5.4.6"),
        (format!("{}\r\nx\r\n", received.repeat(100)), "250"),
        (
            format!("a: b\r\n\r\n{}", "x".repeat(98).as_str().to_owned() + "\r\n").repeat(1)
                + &("x".repeat(98) + "\r\n").repeat(10_000),
            "552 5.3.4",
        ),
        ("__proto__: 1\r\n\r\nx\r\n".into(), "250"),
        (String::new(), "250"),
    ];
    let server = offering();
    let mut client = Client::greeted(server.port);
    for (content, expected) in rows {
        transaction(&mut client);
        client.ok("DATA", 354);
        client.send(content.as_bytes());
        client.send(b".\r\nNOOP\r\n");
        let reply = client.reply();
        assert!(reply.starts_with(expected), "{} octets -> {reply}, expected {expected}", content.len());
        assert!(client.reply().starts_with("250 2.0.0 OK"));
    }
}

#[test]
fn lmtp_answers_each_recipient() {
    let server = offering();
    let mut client = Client::connect(server.lmtp_port);
    walk(
        &mut client,
        &[
            (b"EHLO x.test", "500 5.5.1"),
            (b"HELO x.test", "500 5.5.1"),
            (b"LHLO x.test", "250-"),
            (b"MAIL FROM:<a@s.test>", "250"),
            (b"RCPT TO:<c@s.test>", "250"),
            (b"RCPT TO:<bad@s.test>", "550"),
            (b"RCPT TO:<d@b.test>", "250"),
            (b"RCPT TO:<e@b.test>", "250"),
            (b"DATA", "354"),
        ],
    );
    client.send(b"a: b\r\n\r\nx\r\n.\r\nNOOP x\r\n");
    for expected in ["250 2.0.0 Message", "250 2.0.0 Message", "250 2.0.0 Message", "250 2.0.0 OK"] {
        let reply = client.reply();
        assert!(reply.starts_with(expected), "{reply}, expected {expected}");
    }
    walk(&mut client, &[(b"MAIL FROM:<a@s.test>", "250"), (b"RCPT TO:<bad@s.test>", "550"), (b"DATA", "503")]);
}

#[test]
fn proxies_are_believed_where_they_are_trusted() {
    let trusted = free_port();
    let server = Server::start(&format!(
        "{OFFERING}\n[server.listener.proxied]\nbind = '127.0.0.1:{trusted}'\nprotocol = 'smtp'\n\
         proxy.trusted-networks = ['127.0.0.1']\nxclient.trusted-networks = ['127.0.0.1']\n"
    ));
    let v2 = |command: u8, family: u8, payload: &[u8]| {
        let signature = b"\r\n\r\n\0\r\nQUIT\n";
        [&signature[..], &[command, family], &(payload.len() as u16).to_be_bytes(), payload].concat()
    };
    let addresses = [192, 0, 2, 1, 192, 0, 2, 2, 0, 11, 0, 25];
    let good: Vec<(Vec<u8>, &str)> = vec![
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 11 25\r\n".to_vec(), "[192.0.2.1]"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 11 25\r\n".to_vec(), "[IPv6:2001:db8::1]"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "[127.0.0.1]"),
        (v2(0x21, 0x11, &addresses), "[192.0.2.1]"),
        (v2(0x20, 0, &[]), "[127.0.0.1]"),
        (v2(0x21, 0x11, &[&addresses[..], b"\x04\0\x05hello"].concat()), "[192.0.2.1]"),
    ];
    for (at, (header, seen_as)) in good.iter().enumerate() {
        let mut client = Client::connect_silent(trusted);
        client.send(header);
        assert!(client.reply().starts_with("220"), "{}", header.escape_ascii());
        client.ok("EHLO x.test", 250);
        let mark = format!("mark-{at}");
        let content = format!("X-Mark: {mark}\r\n\r\nx");
        assert!(client.mail("a@b.test", &["c@b.test"], &content).starts_with("250"));
        let mail = delivered(&server, &mark);
        assert!(mail.contains(seen_as), "{}: {mail}", header.escape_ascii());
    }
    let mut bad: Vec<Vec<u8>> = vec![
        v2(0x21, 0x11, &[&addresses[..], b"\x04\xff\xffhello"].concat()),
        v2(0x21, 0x11, b"abcd"),
        v2(0x31, 0x11, &addresses),
        v2(0x21, 0x11, &[0; 65535]),
    ];
    for line in [
        "PROXY TCP4 192.0.2.1 192.0.2.2 11\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 11 99999\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 11 25\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 11 25\r\n",
        "EHLO x.test\r\n",
    ] {
        bad.push(line.into());
    }
    bad.push(format!("PROXY {}\r\n", "x".repeat(200)).into_bytes());
    for header in bad {
        let mut client = Client::connect_silent(trusted);
        let _ = client.try_send(&header); // it may be reset before all of it is sent
        assert_eq!(client.rest(), b"", "{}", header[..header.len().min(60)].escape_ascii());
    }
    // From anybody else a header is a command like any other, and not a good one.
    let mut client = Client::connect(server.port);
    walk(&mut client, &[(b"PROXY TCP4 192.0.2.1 192.0.2.2 11 25", "500")]);

    let mut client = Client::connect_silent(trusted);
    client.send(b"PROXY UNKNOWN\r\n");
    assert!(client.reply().starts_with("220"));
    walk(
        &mut client,
        &[
            (b"EHLO front.test", "250-"),
            (b"XCLIENT", "501"),
            (b"XCLIENT ADDR=bogus", "501"),
            (b"XCLIENT FOO=x", "501"),
            (b"XCLIENT NAME=a+0Db", "501"),
            (b"XCLIENT ADDR=192.0.2.9 NAME=foo.test HELO=h.test", "220"),
            (b"MAIL FROM:<a@b.test>", "503"),
            (b"EHLO y.test", "250-"),
            (b"MAIL FROM:<a@b.test>", "250"),
            (b"XCLIENT ADDR=192.0.2.1", "503"),
            (b"RCPT TO:<c@b.test>", "250"),
            (b"DATA", "354"),
            (b"X-Mark: xclient\r\n\r\nx\r\n.", "250"),
        ],
    );
    let mail = delivered(&server, "xclient");
    assert!(mail.contains("foo.test [192.0.2.9]"), "{mail}");
}

/// The delivered message with this mark.
fn delivered(server: &Server, mark: &str) -> String {
    let mut found = None;
    let mark = format!("X-Mark: {mark}\r\n").replace("\r\n", "");
    eventually("the message is delivered", || {
        let files = crate::harness::server::files_below(&server.path("mail"));
        let new = files.iter().filter(|path| path.parent().is_some_and(|folder| folder.ends_with("new")));
        found = new.filter_map(|path| std::fs::read_to_string(path).ok()).find(|text| text.contains(&mark));
        found.is_some()
    });
    found.unwrap_or_default()
}

#[test]
fn the_listener_examples_work_as_they_stand() {
    let [smtp, submissions, lmtp] = [free_port(), free_port(), free_port()];
    // As at the top of the feature list, save for the ports.
    let server = Server::start(&format!(
        r#"
[server.listener."smtp25"]
bind = "[::]:{smtp}"
protocol = "smtp"
greeting = "Welcome!"
[server.listener."submissions"]
bind = ["[::]:{submissions}"]
protocol = "smtp"
tls.implicit = true
[server.listener."lmtp24"]
bind = ["[::]:{lmtp}"]
protocol = "lmtp"
"#
    ));
    let mut client = Client::connect_silent(smtp); // over IPv4: [::] is both
    let greeting = client.reply();
    assert_eq!(greeting, "220 mx.posthaste.test Welcome!");
    assert!(client.ask("EHLO x.test").contains("STARTTLS"));
    assert!(Client::connect(lmtp).ask("LHLO x.test").starts_with("250-"));
    let mut clear = Client::connect_silent(submissions);
    clear.send(b"EHLO x.test\r\n");
    assert_eq!(clear.rest().first(), Some(&0x15), "an alert, not a greeting");
    drop(server);
}

#[test]
fn tls_with_a_client_of_another_make() {
    if !peer("python3") {
        return;
    }
    let sink = Sink::start(&["PIPELINING"]);
    let implicit = free_port();
    let server = Server::start(&relay_to(
        sink.port,
        &format!("[server.listener.tls]\nbind = '127.0.0.1:{implicit}'\nprotocol = 'smtp'\ntls.implicit = true"),
    ));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/tls.py");
    let output = std::process::Command::new("python3")
        .arg(script)
        .args([server.port.to_string(), implicit.to_string()])
        .output()
        .expect("python3 runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // The script's message required TLS, which this next hop lacks: it does not go on in clear, and neither does the report
    // about it (RFC 8689 section 5). An operator can see both.
    server.drained();
    assert_eq!(sink.count(), 0);
    assert_eq!(server.metric("posthaste_report_notifications_total"), 1.0);
    eventually("it is said", || server.events("attempt.failed") == 2 && server.events("report.suppressed") == 1);
    assert_eq!(server.metric("posthaste_session_messages_accepted_total"), 1.0);
}
