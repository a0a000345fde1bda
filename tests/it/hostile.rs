//! What the hostile client gets: its own session ended, nobody else's hurt (HARDENING.md part 3).

use std::io::Write;
use std::time::{Duration, Instant};

use crate::harness::{Client, Server, Sink, eventually};
use crate::relay::relay_to;

/// Resident memory of a process in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("our child");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("Linux");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// The same once it stands still: a server that has just started still makes its segments.
pub fn settled_kib(pid: u32) -> u64 {
    let mut last = resident_kib(pid);
    crate::harness::eventually("the server's memory stands still", || {
        std::thread::sleep(Duration::from_millis(150));
        let now = resident_kib(pid);
        now.abs_diff(std::mem::replace(&mut last, now)) < 128
    });
    last
}

/// Another client is served promptly while the hostile one does its thing.
fn others_are_served(server: &Server) {
    let start = Instant::now();
    Client::greeted(server.port).ok("NOOP", 250);
    assert!(start.elapsed() < Duration::from_secs(5), "another client waited {:?}", start.elapsed());
}

/// End-of-data look-alikes, all of which must not end the data (HARDENING.md 3.1).
const LOOK_ALIKES: &[&[u8]] = &[
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\n.\r",
    b"\r.\r",
    b"\r.\n",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n. \r\n",
    b"\r\n.\t\r\n",
    b"\x0b\n.\r\n",
    b"\xc2\x85.\xc2\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
];

#[test]
fn no_spelling_of_end_of_data_smuggles_a_second_message() {
    let sink = Sink::start(&["PIPELINING", "CHUNKING", "8BITMIME"]);
    let server = Server::start(&relay_to(sink.port, ""));
    let mut accepted = 0;
    for look_alike in LOOK_ALIKES {
        let mut client = Client::greeted(server.port);
        client.ok("MAIL FROM:<a@one.test> BODY=8BITMIME", 250);
        client.ok("RCPT TO:<b@two.test>", 250);
        client.ok("DATA", 354);
        let mut bytes = b"Subject: x\r\n\r\nfirst".to_vec();
        bytes.extend_from_slice(look_alike);
        bytes.extend_from_slice(b"MAIL FROM:<evil@one.test>\r\nRCPT TO:<victim@two.test>\r\nDATA\r\n");
        bytes.extend_from_slice(b"Subject: smuggled\r\n\r\nsecond\r\n.\r\n");
        let middle = bytes.len() / 2;
        client.send(&bytes[..middle]);
        client.send(&bytes[middle..]);
        let reply = client.reply();
        accepted += usize::from(reply.starts_with("250"));
        if !reply.is_empty() {
            let _ = client.try_send(b"QUIT\r\n"); // it may be closed already
            let after = client.reply();
            assert!(after.is_empty() || after.starts_with("221"), "{look_alike:?}: {reply} then {after}");
        }
    }
    server.drained();
    assert_eq!(server.metric("posthaste_session_messages_accepted_total") as usize, accepted);
    let victims = sink.arrived().iter().filter(|m| m.rcpt.iter().any(|r| r.contains("victim"))).count();
    assert_eq!(victims, 0, "a smuggled message arrived");
    let mail = sink.arrived().iter().filter(|m| !m.mail.starts_with("FROM:<>")).count();
    assert!(mail <= accepted, "{mail} arrived of {accepted} accepted"); // what cannot be sent on is reported
}

#[test]
fn a_line_without_end_costs_no_memory() {
    let sink = Sink::start(&[]);
    let server = Server::start(&relay_to(sink.port, ""));
    let flood = |greeting: bool| {
        let mut client = Client::connect(server.port);
        if greeting {
            client.ok("EHLO client.test", 250);
        }
        let chunk = vec![b'A'; 1 << 16];
        for _ in 0..1024 {
            if !client.try_send(&chunk) {
                break;
            }
        }
    };
    // The first round pays for what a server needs once: buffers, tables, the segments made at its start.
    flood(false);
    let before = settled_kib(server.pid());
    for greeting in [false, true] {
        flood(greeting);
    }
    let grown = resident_kib(server.pid()).saturating_sub(before);
    assert!(grown < 4096, "64 MiB without a line end cost {grown} KiB");
    others_are_served(&server);
}

#[test]
fn a_flood_of_commands_from_a_client_that_does_not_read_is_bounded() {
    let sink = Sink::start(&[]);
    let server = Server::start(&relay_to(sink.port, ""));
    let before = settled_kib(server.pid());
    let client = Client::greeted(server.port);
    client.stream().set_write_timeout(Some(Duration::from_millis(500))).expect("an option");
    let flood = b"NOOP\r\n".repeat(10_000);
    let mut stream = client.stream();
    for _ in 0..100 {
        if stream.write_all(&flood).is_err() {
            break; // the server stopped reading, or closed: both are fine
        }
    }
    let grown = resident_kib(server.pid()).saturating_sub(before);
    assert!(grown < 8192, "a million pipelined commands cost {grown} KiB");
    others_are_served(&server);
}

#[test]
fn every_cut_of_the_connection_before_the_250_delivers_nothing() {
    let sink = Sink::start(&["CHUNKING"]);
    let server = Server::start(&relay_to(sink.port, ""));
    let session =
        b"EHLO c.test\r\nMAIL FROM:<a@one.test>\r\nRCPT TO:<b@two.test>\r\nDATA\r\nSubject: x\r\n\r\nbody\r\n.";
    let chunked = b"EHLO c.test\r\nMAIL FROM:<a@one.test>\r\nRCPT TO:<b@two.test>\r\nBDAT 10\r\n0123456789BDAT 10 LAST\r\n01234567";
    for script in [&session[..], &chunked[..]] {
        for cut in 0..script.len() {
            let mut client = Client::connect(server.port);
            client.send(&script[..cut]);
        }
    }
    others_are_served(&server);
    eventually("the cut sessions are gone", || server.metric("posthaste_session_connections_open") <= 1.0);
    assert_eq!(server.metric("posthaste_session_messages_accepted_total"), 0.0);
    assert_eq!(sink.count(), 0);
}

#[test]
fn the_wrong_protocol_is_shown_the_door() {
    let sink = Sink::start(&[]);
    let server = Server::start(&relay_to(sink.port, ""));
    for line in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /x HTTP/1.1\r\n",
        "\x16\x03\x01\x02\x00\x01\x00",
        "CONNECT a:25\r\n",
    ] {
        let mut client = Client::connect(server.port);
        client.send(line.as_bytes());
        client.send(b"\r\nMAIL FROM:<a@one.test>\r\nRCPT TO:<b@two.test>\r\nDATA\r\n\r\n.\r\nQUIT\r\n");
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(!answer.contains("354"), "{line:?}: {answer}");
    }
    assert_eq!(server.metric("posthaste_session_messages_accepted_total"), 0.0);
}

#[test]
fn idle_sessions_are_cheap() {
    let sink = Sink::start(&[]);
    let server = Server::start(&relay_to(sink.port, ""));
    let warm: Vec<Client> = (0..50).map(|_| Client::greeted(server.port)).collect();
    drop(warm);
    eventually("the warm-up is gone", || server.metric("posthaste_session_connections_open") <= 1.0);
    let before = settled_kib(server.pid());
    let idle: Vec<Client> = (0..1000).map(|_| Client::greeted(server.port)).collect();
    let grown = resident_kib(server.pid()).saturating_sub(before);
    println!("{} KiB for {} idle sessions", grown, idle.len());
    assert!(grown < 6 * 1000, "1000 idle sessions cost {grown} KiB");
    others_are_served(&server);
}

#[test]
fn starttls_discards_what_came_before_it() {
    let sink = Sink::start(&[]);
    let server = Server::start(&relay_to(sink.port, ""));
    let mut client = Client::greeted(server.port);
    client.send(b"STARTTLS\r\nMAIL FROM:<evil@one.test>\r\n");
    let reply = client.reply();
    assert!(reply.starts_with("220") || reply.starts_with("5"), "{reply}");
    let rest = String::from_utf8_lossy(&client_rest_after_shutdown(client)).into_owned();
    assert!(!rest.contains("250"), "the plaintext command was answered: {rest}");
}

fn client_rest_after_shutdown(mut client: Client) -> Vec<u8> {
    let _ = client.stream().shutdown(std::net::Shutdown::Write); // it may be closed already
    client.rest()
}

/// Recipients that name another host in one way or another; none of them is ours (HARDENING.md 3.3). R is the
/// other host, S is us.
const RELAY_FORMS: &[&[u8]] = &[
    b"<t@R>",
    b"<t%R@[127.0.0.1]>",
    b"<t%R@S>",
    b"<\"t@R\">",
    b"<\"t%R\">",
    b"<t@R@[127.0.0.1]>",
    b"<\"t@R\"@[127.0.0.1]>",
    b"<\"t@R\"@S>",
    b"<t@R@S>",
    b"<@[127.0.0.1]:t@R>",
    b"<@S:t@R>",
    b"<R!t>",
    b"<R!t@[127.0.0.1]>",
    b"<R!t@S>",
    b"<t@R.>",
    b"<t@R@S.>",
    b"<t%R%S@S>",
    b"<\"t%R\"@S>",
    b"<t@[IPv6:::1]%R>",
    b"<@S,@x:t@R>",
    b"<R!S!t>",
    b"t@R",
    b"<t@r\xc3\xa9mote.test>",
    b"<t@R\0@S>",
    b"<t@R(@S)>",
    b"<+t=R@S>",
    b"<postmaster@R>",
    b"<nonlocal!@S>",
    b"<c@[127.0.0.1]>",
    b"<c@S",
    b"<<c@S>>",
    b"<${run{\\x2Fbin\\x2Fsh}}@S>",
];

#[test]
fn no_spelling_of_a_recipient_makes_an_open_relay() {
    let server = Server::start(
        "[session]\nrcpt.errors.total = 1000\nerrors.total = 1000\nerrors.idle-commands = 1000\n\
         [directory.local]\ntype = 'memory'\ndomains = ['s.test']\n\
         [[directory.local.principals]]\nname = 'c'\nemail = ['c@s.test', 'postmaster@s.test']\n",
    );
    let mut taken = Vec::new();
    for from in ["<>", "<a@r.test>", "<a@s.test>", "<a@[127.0.0.2]>"] {
        let mut client = Client::greeted(server.port);
        for form in RELAY_FORMS {
            client.ok(&format!("MAIL FROM:{from}"), 250);
            let mut line = b"RCPT TO:".to_vec();
            for octet in *form {
                match octet {
                    b'R' => line.extend_from_slice(b"r.test"),
                    b'S' => line.extend_from_slice(b"s.test"),
                    octet => line.push(*octet),
                }
            }
            line.extend_from_slice(b"\r\n");
            client.send(&line);
            let reply = client.reply();
            if !reply.starts_with('5') {
                taken.push(format!("{from} {} -> {reply}", line.escape_ascii()));
            }
            client.ok("RSET", 250);
        }
        // Ours in its odder spellings is ours.
        client.ok(&format!("MAIL FROM:{from}"), 250);
        for ours in ["<c@s.test>", "<@s.test:c@s.test>", "<\"c\"@S.TEST>", "<c+tag@s.test>", "<Postmaster>"] {
            client.ok(&format!("RCPT TO:{ours}"), 250);
        }
    }
    assert!(taken.is_empty(), "{}", taken.join("\n"));
    assert_eq!(server.metric("posthaste_queue_recipients"), 0.0);
}

#[test]
fn what_a_client_says_is_one_line_in_the_log() {
    let sink = Sink::start(&["SMTPUTF8", "8BITMIME"]);
    let server = Server::start(&relay_to(sink.port, ""));
    let mut client = Client::connect(server.port);
    client.send(b"EHLO \x1b]0;x\x07\r\n");
    assert!(client.reply().starts_with("501"));
    client.ok("EHLO %s%n.test", 501);
    client.ok("EHLO client.test", 250);
    let from = "\"\u{202e}%s%n{{7*7}}\"@one.test";
    client.ok(&format!("MAIL FROM:<{from}> SMTPUTF8"), 250);
    client.ok("RCPT TO:<b@two.test>", 250);
    client.ok("DATA", 354);
    client.ok("__proto__: 1\r\n\r\nx\r\n.", 250);
    eventually("the message arrives", || sink.count() == 1);
    server.drained();
    let log = std::fs::read_to_string(server.path("mail.log")).expect("a log");
    for line in log.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn a_large_message_costs_no_memory_and_holds_nobody_up() {
    let server = Server::start(&relay_to(crate::harness::free_port(), "")); // the next hop is not there: it stays
    let line = [&[b'x'; 998][..], b"\r\n"].concat();
    let block = line.repeat(256);
    let before = settled_kib(server.pid());
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let (port, block) = (server.port, block.clone());
            std::thread::spawn(move || {
                let mut client = Client::greeted(port);
                client.ok("MAIL FROM:<a@one.test>", 250);
                client.ok("RCPT TO:<b@two.test>", 250);
                client.ok("DATA", 354);
                client.send(b"Subject: large\r\n\r\n");
                for _ in 0..50 {
                    client.send(&block);
                }
                client.ok(".", 250);
            })
        })
        .collect();
    let mut most = 0;
    while !senders.iter().all(std::thread::JoinHandle::is_finished) {
        others_are_served(&server);
        most = most.max(resident_kib(server.pid()));
    }
    for sender in senders {
        sender.join().expect("accepted");
    }
    assert_eq!(server.metric("posthaste_session_messages_accepted_total"), 8.0);
    let grown = most.saturating_sub(before);
    println!("8 messages of 13 MB at once: {grown} KiB");
    assert!(grown < 48 * 1024, "8 messages of 13 MB cost {grown} KiB");
}
