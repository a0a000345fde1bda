//! A backlog on one shard: others make some of its attempts, and each message arrives exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::crash::ids_of;
use crate::harness::{Client, Server, Sink, eventually};
use crate::relay::relay_to;

const MESSAGES: usize = 500;

/// A next hop that takes its time over each message, and for ever while the gate is shut.
fn slow_sink() -> (Sink, Arc<AtomicBool>) {
    let gate = Arc::new(AtomicBool::new(false));
    let is_open = gate.clone();
    let sink = Sink::scripted(&["PIPELINING", "8BITMIME"], move |command| {
        if command == "." {
            std::thread::sleep(Duration::from_millis(10));
            while !is_open.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        None
    });
    (sink, gate)
}

/// Four shards, and a backlog that came in over one connection: all of it is one shard's.
fn backlog(sink: &Sink, lines: usize) -> Server {
    let mut server = Server::prepare(&relay_to(sink.port, ""));
    server.launch(&["--shards", "4"]);
    let mut client = Client::greeted(server.port);
    for n in 0..MESSAGES {
        let body = "a line of some length, again and again\r\n".repeat(lines);
        let reply = client.mail("a@one.test", &["b@two.test"], &format!("Message-ID: <m{n}@w0>\r\n\r\n{body}"));
        assert!(reply.starts_with("250"), "{reply}");
    }
    server
}

fn all_arrived_once(sink: &Sink) {
    let arrivals = ids_of(sink);
    assert_eq!(arrivals.len(), MESSAGES, "each arrives");
    let doubled: Vec<_> = arrivals.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
}

fn taken(server: &Server) -> f64 {
    server.metric("posthaste_lending_taken_total")
}

#[test]
fn idle_shards_take_part_and_each_message_arrives_once() {
    let (sink, gate) = slow_sink();
    let server = backlog(&sink, 20);
    gate.store(true, Ordering::SeqCst);
    eventually("others take part", || taken(&server) > 0.0);
    server.drained();
    all_arrived_once(&sink);
    let metric = |name: &str| server.metric(&format!("posthaste_lending_{name}_total"));
    println!("offered {}, taken {}, returned {}", metric("offered"), metric("taken"), metric("returned"));
    assert_eq!(metric("offered"), metric("taken") + metric("returned"), "every offer is answered");
    assert!(sink.connections() < MESSAGES / 2, "{} connections: they are kept where they are", sink.connections());
}

#[test]
fn why_says_that_an_attempt_is_lent_and_it_is_not_removed() {
    let (sink, gate) = slow_sink();
    let server = backlog(&sink, 1);
    gate.store(true, Ordering::SeqCst);
    eventually("others take part", || taken(&server) > 10.0);
    gate.store(false, Ordering::SeqCst);
    let mut lent = String::new();
    eventually("some attempt is said to be lent", || {
        let list = server.command(&["queue", "list", "--limit", "60"]); // what waits longest is under way
        let ids = list.lines().filter_map(|line| line.split_whitespace().next());
        let is_lent = |id: &&str| {
            let output = server.command_output(&["queue", "why", id]);
            String::from_utf8_lossy(&output.stdout).contains("the attempt under way, lent to shard ")
        };
        let found = ids.into_iter().find(is_lent);
        lent = found.unwrap_or_default().to_owned();
        found.is_some()
    });
    let text = server.command(&["queue", "remove", &lent]);
    assert!(text.contains("not removed while it is attempted") && text.contains("lent to shard "), "{text}");
    gate.store(true, Ordering::SeqCst);
    server.drained();
    all_arrived_once(&sink);
}

#[test]
fn a_stop_waits_for_what_is_lent() {
    let (sink, gate) = slow_sink();
    let mut server = backlog(&sink, 20);
    gate.store(true, Ordering::SeqCst);
    eventually("others take part", || taken(&server) > 10.0);
    server.stop();
    let at_the_stop = sink.count();
    server.launch(&["--shards", "4"]);
    eventually("each arrives", || sink.count() >= MESSAGES);
    server.drained();
    println!("{at_the_stop} had arrived when it stopped");
    all_arrived_once(&sink);
}

#[test]
fn a_kill_loses_nothing_that_is_lent() {
    let (sink, gate) = slow_sink();
    let mut server = backlog(&sink, 20);
    gate.store(true, Ordering::SeqCst);
    eventually("others take part", || taken(&server) > 10.0);
    server.kill();
    server.launch(&["--shards", "3"]);
    eventually("each arrives", || ids_of(&sink).len() == MESSAGES);
    server.drained();
    let arrivals = ids_of(&sink);
    // How many depends on the disk: what was in flight, and what had arrived and was not yet recorded.
    let doubled = arrivals.values().filter(|times| **times > 1).count();
    println!("{doubled} arrived again");
    assert!(arrivals.values().all(|times| *times <= 2), "one kill, one repetition");
}
