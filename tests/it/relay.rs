//! Mail in, mail out: what arrives at the next hop, what becomes of refusals.

use crate::harness::{Client, Server, Sink, eventually};

/// A relay for everybody on loopback with one next hop.
pub fn relay_to(port: u16, more: &str) -> String {
    format!(
        r#"
[session.rcpt]
relay = true
[queue.strategy]
route = "'sink'"
schedule = "'quick'"
[queue.schedule.quick]
queue-name = "quick"
retry = ["1s"]
expire = "1h"
[queue.virtual.quick]
threads-per-node = 50
[queue.route.sink]
type = "relay"
address = "127.0.0.1"
port = {port}
protocol = "smtp"
tls.implicit = false
{more}
"#
    )
}

const ALL: &[&str] = &["PIPELINING", "8BITMIME", "CHUNKING", "SMTPUTF8", "DSN", "SIZE 0", "ENHANCEDSTATUSCODES"];

#[test]
fn a_message_arrives_as_it_was_sent() {
    for extensions in [ALL, &["8BITMIME"], &[]] {
        let sink = Sink::start(extensions);
        let server = Server::start(&relay_to(sink.port, ""));
        let mut client = Client::greeted(server.port);
        let content = "Subject: hello\r\nX-Folded: a\r\n b\r\n\r\n.dot\r\n..two dots\r\nend without empty line";
        let stuffed = content.replace("\r\n.", "\r\n..");
        let reply = client.mail("a@one.test", &["b@two.test", "c@two.test"], &stuffed);
        assert!(reply.starts_with("250 2.0.0"), "{reply}");
        eventually("the message arrives", || sink.count() == 1);
        let message = &sink.arrived()[0];
        assert_eq!(message.rcpt.len(), 2, "both recipients travel together: {:?}", message.rcpt);
        assert!(message.mail.starts_with("FROM:<a@one.test>"), "{}", message.mail);
        let text = String::from_utf8(message.content.clone()).expect("ASCII");
        assert!(text.starts_with("Received: from client.test"), "{text}");
        assert!(text.ends_with(&format!("{content}\r\n")), "{extensions:?}: {text}");
        server.drained();
    }
}

#[test]
fn connections_are_reused() {
    let sink = Sink::start(ALL);
    let server = Server::start(&relay_to(sink.port, ""));
    let mut client = Client::greeted(server.port);
    for _ in 0..20 {
        let reply = client.mail("a@one.test", &["b@two.test"], "Subject: x\r\n\r\nbody");
        assert!(reply.starts_with("250"), "{reply}");
        server.drained();
    }
    assert_eq!(sink.count(), 20);
    assert!(sink.connections() < 6, "{} connections for 20 messages in a row", sink.connections());
}

#[test]
fn a_temporary_refusal_is_tried_again() {
    let tries = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = tries.clone();
    let sink = Sink::scripted(ALL, move |command| {
        let first = command == "." && counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 2;
        first.then(|| "451 4.7.1 come back".into())
    });
    let server = Server::start(&relay_to(sink.port, ""));
    let reply = Client::greeted(server.port).mail("a@one.test", &["b@two.test"], "Subject: x\r\n\r\nbody");
    assert!(reply.starts_with("250"), "{reply}");
    eventually("the message arrives in the end", || sink.count() == 1);
    server.drained();
    assert_eq!(tries.load(std::sync::atomic::Ordering::SeqCst), 3);
}

#[test]
fn each_recipient_has_its_own_outcome_and_the_sender_learns_of_failures() {
    let sink = Sink::scripted(ALL, |command| {
        if command.contains("bad@two.test") { Some("550 5.1.1 no such\u{7} user".into()) } else { None }
    });
    let server = Server::start(&relay_to(sink.port, ""));
    let reply =
        Client::greeted(server.port).mail("a@one.test", &["good@two.test", "bad@two.test"], "Subject: x\r\n\r\nbody");
    assert!(reply.starts_with("250"), "{reply}");
    eventually("message and report arrive", || sink.count() == 2);
    server.drained();
    let arrived = sink.arrived();
    let report = arrived.iter().find(|m| m.mail.starts_with("FROM:<>")).expect("a report with the null reverse-path");
    let text = String::from_utf8_lossy(&report.content);
    assert!(report.rcpt[0].starts_with("TO:<a@one.test>"), "{:?}", report.rcpt);
    for part in ["multipart/report", "Final-Recipient: rfc822;", "bad@two.test", "Action: failed", "Status: 5.1.1"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains('\u{7}'), "control characters of the remote do not travel");
    assert!(!text.contains("good@two.test") || !text.contains("Final-Recipient: rfc822; good@two.test"));
}

#[test]
fn nobody_is_told_when_nobody_wants_to_know() {
    let sink = Sink::scripted(ALL, |command| command.starts_with("RCPT").then(|| "550 5.1.1 no".into()));
    let server = Server::start(&relay_to(sink.port, ""));
    let mut client = Client::greeted(server.port);
    assert!(client.mail("", &["b@two.test"], "Subject: x\r\n\r\nbody").starts_with("250"));
    server.drained();
    assert_eq!(sink.count(), 0);
    assert_eq!(server.metric("posthaste_delivery_recipients_failed_total"), 1.0);
    assert_eq!(server.metric("posthaste_report_notifications_total"), 0.0);
    assert_eq!(server.metric("posthaste_report_notifications_suppressed_total"), 1.0);
    eventually("it is said", || server.events("report.suppressed") == 1);
}

#[test]
fn large_and_binary_content_is_not_touched() {
    let sink = Sink::start(&["PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME", "SIZE 0"]);
    let server = Server::start(&relay_to(sink.port, ""));
    let mut client = Client::greeted(server.port);
    let mut content = b"Subject: large\r\n\r\n".to_vec();
    let mut x = 1u32;
    while content.len() < 3_000_000 {
        x = x.wrapping_mul(1664525).wrapping_add(1013904223);
        content.push((x >> 24) as u8);
    }
    client.ok("MAIL FROM:<a@one.test> BODY=BINARYMIME", 250);
    client.ok("RCPT TO:<b@two.test>", 250);
    let (first, second) = content.split_at(1_000_003);
    client.send(format!("BDAT {}\r\n", first.len()).as_bytes());
    client.send(first);
    assert!(client.reply().starts_with("250"));
    client.send(format!("BDAT {} LAST\r\n", second.len()).as_bytes());
    client.send(second);
    let reply = client.reply();
    assert!(reply.starts_with("250"), "{reply}");
    eventually("it arrives", || sink.count() == 1);
    let arrived = &sink.arrived()[0];
    assert!(arrived.mail.contains("BODY=BINARYMIME"), "{}", arrived.mail);
    assert!(arrived.content.ends_with(&content), "the octets differ");
    server.drained();
}

#[test]
fn mail_survives_a_restart_with_its_state() {
    let down = crate::harness::free_port();
    let mut server = Server::start(&relay_to(down, ""));
    let mut client = Client::greeted(server.port);
    for n in 0..25 {
        assert!(client.mail("a@one.test", &[&format!("b{n}@two.test")], "Subject: x\r\n\r\nbody").starts_with("250"));
    }
    // The first failures put the whole lane off: not every message is tried at a host that is down.
    eventually("the next hop was tried", || server.metric("posthaste_delivery_recipients_deferred_total") >= 1.0);
    server.stop();
    server.launch(&[]);
    eventually("all are queued again", || server.metric("posthaste_queue_recipients") == 25.0);
    let listing = server.command(&["queue", "list", "--json", "-n", "100"]);
    assert!(listing.contains("b24@two.test"), "{listing}");
    let listener = std::net::TcpListener::bind(("127.0.0.1", down)).expect("still free");
    let sink = Sink::on(listener, ALL, |_| None);
    server.command(&["queue", "retry", "--all"]); // its next hop rests after the failures: say that it is back
    server.drained();
    let mut recipients: Vec<String> = sink.arrived().into_iter().flat_map(|m| m.rcpt).collect();
    recipients.sort();
    recipients.dedup();
    assert_eq!((recipients.len(), sink.count()), (25, 25));
}
