//! Bounds of a session, and what the envelope's parameters make of a message: limits, deadlines, holds, priority.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, PATIENCE, Server, Sink, eventually, free_port};
use crate::receiving::walk;
use crate::relay::relay_to;

/// A server with these changes to its limits.
fn limited(more: &str) -> Server {
    Server::start(&format!(
        "[session]\n{more}\n[directory.local]\ntype = 'memory'\ndomains = ['b.test']\naccept-all = true\n\
         [queue.route.local]\ntype = 'local'\npath = '@DIR@/mail'\n"
    ))
}

#[test]
fn recipients_and_messages_are_limited_as_announced() {
    let server = limited("trusted-networks = []\nrcpt.max-recipients = 100\ndata.limits.messages = 2");
    let mut client = Client::connect(server.port);
    let ehlo = client.ok("EHLO x.test", 250);
    assert!(ehlo.contains("LIMITS") && ehlo.contains("RCPTMAX=100") && ehlo.contains("MAILMAX=2"), "{ehlo}");
    for _ in 0..2 {
        client.ok("MAIL FROM:<a@b.test>", 250);
        for n in 0..100 {
            client.ok(&format!("RCPT TO:<{n}@b.test>"), 250);
        }
        let rows: &[(&[u8], &str)] =
            &[(b"RCPT TO:<one-more@b.test>", "452 4.5.3"), (b"DATA", "354"), (b"a: b\r\n\r\nx\r\n.", "250")];
        walk(&mut client, rows);
    }
    walk(&mut client, &[(b"MAIL FROM:<a@b.test>", "452 4.4.5"), (b"QUIT", "221")]);
}

#[test]
fn errors_and_idle_commands_are_limited() {
    let server = limited(
        "trusted-networks = []\nerrors.total = 3\nerrors.idle-commands = 4\nrcpt.errors.total = 2\nrcpt.errors.wait = '0s'",
    );
    let ends = |rows: &[(&[u8], &str)]| {
        let mut client = Client::greeted(server.port);
        walk(&mut client, rows);
        assert_eq!(client.rest(), b"", "the session goes on after {rows:?}");
    };
    ends(&[(b"A", "500"), (b"B", "500"), (b"C", "421")]);
    // EHLO was one already.
    ends(&[(b"NOOP", "250"), (b"RSET", "250"), (b"NOOP", "250"), (b"NOOP", "421")]);
    ends(&[(b"MAIL FROM:<a@b.test>", "250"), (b"RCPT TO:<a@x.test>", "550"), (b"RCPT TO:<b@x.test>", "421")]);
}

#[test]
fn time_is_limited() {
    let server = limited("trusted-networks = []\ntimeout = '1s'\nduration = '3s'\ndata.timeout = '1s'");
    let start = Instant::now();
    let mut silent = Client::greeted(server.port);
    let mut half_a_line = Client::greeted(server.port);
    half_a_line.send(b"NOO");
    let mut content = Client::greeted(server.port);
    walk(&mut content, &[(b"MAIL FROM:<a@b.test>", "250"), (b"RCPT TO:<c@b.test>", "250"), (b"DATA", "354")]);
    content.send(b"x");
    for client in [&mut silent, &mut half_a_line, &mut content] {
        let reply = client.reply();
        assert!(reply.starts_with("421 4.4.2"), "{reply}");
        assert_eq!(client.rest(), b"");
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    // A client that is never idle has an end all the same.
    let mut busy = Client::greeted(server.port);
    let last = loop {
        let reply = busy.ask("NOOP");
        if !reply.starts_with("250") {
            break reply;
        }
        std::thread::sleep(Duration::from_millis(100)); // its pace, within its hundred idle commands
    };
    assert!(last.starts_with("421 4.3.2"), "{last}");
    assert_eq!(server.metric("posthaste_session_messages_accepted_total"), 0.0);
}

#[test]
fn connections_and_rates_of_one_address_are_limited() {
    let proxied = free_port();
    let server = limited(&format!(
        "trusted-networks = []\n[[queue.limiter.inbound]]\nkey = ['sender']\nrate = '2/1h'\n\
         [server.listener.proxied]\nbind = '127.0.0.1:{proxied}'\nprotocol = 'smtp'\nmax-connections-per-ip = 2\n\
         proxy.trusted-networks = ['127.0.0.1']"
    ));
    let from = |address: &str| {
        let mut client = Client::connect_silent(proxied);
        client.send(format!("PROXY TCP4 {address} 192.0.2.200 11 25\r\n").as_bytes());
        let greeting = client.reply();
        (client, greeting)
    };
    let first = from("192.0.2.1");
    let second = from("192.0.2.1");
    let third = from("192.0.2.1");
    assert!(first.1.starts_with("220") && second.1.starts_with("220"), "{} {}", first.1, second.1);
    assert!(third.1.starts_with("421"), "{}", third.1);
    assert!(from("192.0.2.2").1.starts_with("220"));
    drop(first);
    eventually("the place is free again", || from("192.0.2.1").1.starts_with("220"));

    let mut client = Client::greeted(server.port);
    walk(
        &mut client,
        &[
            (b"MAIL FROM:<a@b.test>", "250"),
            (b"RSET", "250"),
            (b"MAIL FROM:<a@b.test>", "250"),
            (b"RSET", "250"),
            (b"MAIL FROM:<a@b.test>", "452 4.4.5"),
            (b"MAIL FROM:<other@b.test>", "250"),
        ],
    );
}

#[test]
fn a_hold_is_honoured_over_a_restart() {
    let sink = Sink::start(&[]);
    let mut server = Server::start(&relay_to(sink.port, "[session.extensions]\nfuture-release = '1h'"));
    let mut client = Client::greeted(server.port);
    let start = Instant::now();
    walk(
        &mut client,
        &[(b"MAIL FROM:<a@one.test> HOLDFOR=3", "250"), (b"RCPT TO:<b@two.test>", "250"), (b"DATA", "354")],
    );
    client.send(b"a: b\r\n\r\nx\r\n.\r\n");
    assert!(client.reply().starts_with("250"));
    server.kill();
    server.launch(&[]);
    eventually("the message arrives", || sink.count() == 1);
    assert!(start.elapsed() >= Duration::from_millis(2900), "it came after {:?}", start.elapsed());
}

#[test]
fn a_message_that_is_not_there_in_time_returns() {
    let sink =
        Sink::scripted(&["DELIVERBY"], |command| command.contains("<b@two.test>").then(|| "451 4.2.0 not now".into()));
    let server = Server::start(&relay_to(sink.port, "[session.extensions]\ndeliver-by = '1h'"));
    let mut client = Client::greeted(server.port);
    walk(&mut client, &[(b"MAIL FROM:<a@one.test> BY=1;R", "250"), (b"RCPT TO:<b@two.test>", "250"), (b"DATA", "354")]);
    client.send(b"a: b\r\n\r\nx\r\n.\r\n");
    assert!(client.reply().starts_with("250"));
    eventually("the report arrives", || sink.count() == 1);
    let report = sink.arrived().remove(0);
    assert!(report.mail.starts_with("FROM:<>") && report.rcpt[0].contains("a@one.test"), "{report:?}");
    let text = String::from_utf8_lossy(&report.content).into_owned();
    assert!(text.contains("Status: 5.4.7"), "{text}");
    server.drained();
}

#[test]
fn priority_orders_what_waits() {
    let is_open = Arc::new(AtomicBool::new(false));
    let gate = is_open.clone();
    let sink = Sink::scripted(&[], move |command| {
        let start = Instant::now();
        while command == "." && !gate.load(Ordering::Acquire) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    });
    let config = relay_to(sink.port, "[session.extensions]\nmt-priority = 'mixer'\n[global]\nthread-pool = 1");
    let server =
        Server::start(&config.replace("threads-per-node = 50", "threads-per-node = 1\nconnections-per-lane = 1"));
    let mut client = Client::greeted(server.port);
    for (name, priority) in [("first", 0), ("next", -9), ("low", -4), ("normal", 0), ("high", 4), ("highest", 9)] {
        client.ok(&format!("MAIL FROM:<{name}@one.test> MT-PRIORITY={priority}"), 250);
        walk(&mut client, &[(b"RCPT TO:<b@two.test>", "250"), (b"DATA", "354"), (b"a: b\r\n\r\nx\r\n.", "250")]);
        // One is under way and the next in line stands at the limit already; the others are ordered.
        if name == "first" {
            eventually("the first is under way", || sink.connections() == 1);
        }
    }
    is_open.store(true, Ordering::Release);
    eventually("all have arrived", || sink.count() == 6);
    let arrived = sink.arrived();
    let order: Vec<&str> = arrived.iter().map(|m| m.mail[6..].split('@').next().unwrap_or_default()).collect();
    assert_eq!(order, ["first", "next", "highest", "high", "normal", "low"]);
}
