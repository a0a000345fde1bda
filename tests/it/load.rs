//! Much of one kind at once, or one that is very slow or very large: what it costs, and that others do not pay.

use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::harness::{Client, Server, Sink, eventually, eventually_within, free_port};
use crate::hostile::{resident_kib, settled_kib};
use crate::relay::relay_to;

/// Goes as far as the 354.
fn to_content(client: &mut Client) {
    client.ok("MAIL FROM:<a@one.test>", 250);
    client.ok("RCPT TO:<b@two.test>", 250);
    client.ok("DATA", 354);
}

#[test]
fn content_that_comes_too_slowly_is_cut_off() {
    let sink = Sink::start(&["PIPELINING"]);
    let rate = "[session]\ntrusted-networks = []\n[session.data]\nmin-rate = 1000\nmin-rate-after = \"1s\"";
    let server = Server::start(&relay_to(sink.port, rate));
    let mut slow = Client::greeted(server.port);
    to_content(&mut slow);
    let mut stream = slow.stream().try_clone().expect("a handle");
    let start = Instant::now();
    let drip = std::thread::spawn(move || {
        // A hundred octets in a second, never idle; the server's end of it ends this.
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let mut quick = Client::greeted(server.port);
    assert!(quick.mail("a@one.test", &["b@two.test"], "Subject: x\r\n\r\nbody").starts_with("250"));
    let reply = slow.reply();
    assert_eq!(reply, "421 4.4.2 Transfer too slow, disconnecting.");
    assert!(start.elapsed() >= Duration::from_secs(1), "not before its grace is over");
    assert_eq!(slow.rest(), b"");
    drop(slow);
    drip.join().expect("it ends");
    eventually("the other's arrives", || sink.count() == 1);
    assert_eq!(server.metric("posthaste_session_messages_accepted_total"), 1.0);
}

#[test]
fn a_listener_holds_so_many_connections() {
    let port = free_port();
    let listener = format!("[server.listener.few]\nbind = '127.0.0.1:{port}'\nprotocol = 'smtp'\nmax-connections = 5");
    let sink = Sink::start(&["PIPELINING"]);
    let server = Server::start(&relay_to(sink.port, &listener));
    let mut held: Vec<Client> = (0..5).map(|_| Client::greeted(port)).collect();
    for _ in 0..5 {
        let mut more = Client::connect_silent(port);
        assert_eq!(more.reply(), "421 4.7.0 Too many connections, try again later.");
        assert_eq!(more.rest(), b"");
    }
    held.iter_mut().for_each(|client| drop(client.ok("NOOP", 250)));
    Client::greeted(server.port).ok("NOOP", 250); // another listener has its own places
    held.pop();
    eventually("the place is free again", || Client::connect_silent(port).reply().starts_with("220"));
}

#[test]
fn a_session_transfers_so_much() {
    let sink = Sink::start(&["PIPELINING"]);
    let quota = "[session]\ntrusted-networks = []\ntransfer-limit = 100000";
    let server = Server::start(&relay_to(sink.port, quota));
    let body = format!("Subject: x\r\n\r\n{}", format!("{}\r\n", "x".repeat(70)).repeat(850)); // some 61 KB
    let mut client = Client::greeted(server.port);
    assert!(client.mail("a@one.test", &["b@two.test"], &body).starts_with("250"));
    to_content(&mut client);
    client.send(body.as_bytes());
    assert_eq!(client.reply(), "452 4.7.28 Session exceeded transfer quota.");
    assert_eq!(client.rest(), b"");
    eventually("what was whole arrives", || sink.count() == 1);
    server.drained();
    assert_eq!(server.metric("posthaste_session_messages_accepted_total"), 1.0);
    assert!(
        Client::greeted(server.port).mail("a@one.test", &["b@two.test"], &body).starts_with("250"),
        "a new session"
    );
}

/// How many sockets this process may have for a test, raised as far as it goes.
fn sockets_max(wanted: usize) -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard); // lower is asked below
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    // The server needs as many, and some; other tests of this process run beside this one.
    wanted.min(usize::try_from(soft).unwrap_or(usize::MAX).saturating_sub(1500))
}

#[test]
fn two_thousand_slow_sockets_hurt_nobody() {
    let count = sockets_max(2000);
    if count < 2000 {
        eprintln!("SKIPPED: RLIMIT_NOFILE leaves room for {count} of 2000 slow sockets");
        return;
    }
    let sink = Sink::start(&["PIPELINING"]);
    let server = Server::start(&relay_to(sink.port, ""));
    drop((0..50).map(|_| Client::greeted(server.port)).collect::<Vec<_>>());
    eventually("the warm-up is gone", || server.metric("posthaste_session_connections_open") <= 1.0);
    let before = settled_kib(server.pid());
    // Half of them stop within a command, half within content.
    let mut slow: Vec<Client> = (0..count)
        .map(|n| {
            let mut client = Client::greeted(server.port);
            if n % 2 == 0 {
                client.send(b"MAIL FROM:<a@one");
            } else {
                to_content(&mut client);
                client.send(b"Subject: slow\r\n\r\n");
            }
            client
        })
        .collect();
    let mut most = 0;
    let mut quick = Client::greeted(server.port);
    for _ in 0..10 {
        slow.iter_mut().for_each(|client| client.send(b"x"));
        let reply = quick.mail("q@one.test", &["q@two.test"], "Subject: quick\r\n\r\nbody");
        assert!(reply.starts_with("250"), "{reply}");
        most = most.max(resident_kib(server.pid()));
    }
    eventually("the quick one's mail goes through", || sink.count() == 10);
    assert!(server.metric("posthaste_session_connections_open") >= count as f64, "nobody was cut");
    let grown = most.saturating_sub(before);
    println!("{grown} KiB for {count} slow sockets");
    assert!(grown < 16 * count as u64, "{count} slow sockets cost {grown} KiB");
    // They are served, too, when they make up their minds.
    for (n, client) in slow.iter_mut().enumerate().take(4) {
        let (rest, reply) = if n % 2 == 0 { (">\r\n", "555") } else { ("\r\n.\r\n", "250") };
        let rest = if n % 2 == 0 { ".test> FOO=1\r\n" } else { rest };
        client.send(rest.as_bytes());
        let said = client.reply();
        assert!(said.starts_with(reply), "{said}");
    }
}

#[test]
fn one_very_large_message_streams_in_and_out() {
    const MIB: usize = 64;
    let sink = Sink::start(&["PIPELINING", "CHUNKING", "8BITMIME", "SIZE 0"]);
    let server = Server::start(&relay_to(sink.port, ""));
    let line = [&[b'x'; 62][..], b"\r\n"].concat();
    let block = line.repeat((1 << 20) / line.len());
    let before = settled_kib(server.pid());
    let port = server.port;
    let sender = std::thread::spawn(move || {
        let mut client = Client::greeted(port);
        to_content(&mut client);
        client.send(b"Subject: very large\r\n\r\n");
        (0..MIB).for_each(|_| client.send(&block));
        client.ok(".", 250);
    });
    let mut most = 0;
    eventually_within(Duration::from_secs(300), "it came in and went out", || {
        most = most.max(resident_kib(server.pid()));
        sink.count() == 1
    });
    sender.join().expect("accepted");
    server.drained();
    let content = sink.arrived().remove(0).content;
    let body =
        content.windows(4).position(|window| window == b"\r\n\r\n").map(|at| &content[at + 4..]).expect("a body");
    assert!(body.len() == MIB << 20 && body.chunks(line.len()).all(|part| part == line), "{} octets", body.len());
    let grown = most.saturating_sub(before);
    println!("{MIB} MiB through: {grown} KiB more");
    assert!(grown < 24 * 1024, "{MIB} MiB cost {grown} KiB of memory");
}
