//! SIGKILL under load, again and again: what was acknowledged arrives, and only what was in flight arrives twice.
//!
//! `POSTHASTE_CRASH_ROUNDS` sets the number of kills (default 5); the moments come from a seed that
//! is printed, and `POSTHASTE_SEED` replays it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::{Client, Server, Sink, eventually};
use crate::relay::relay_to;

const SESSIONS: usize = 8;

pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Sends mail until told to stop; every acknowledged id goes into the ledger.
pub fn load(port: u16, worker: usize, stop: &AtomicBool, next: &AtomicUsize, ledger: &Mutex<HashSet<String>>) {
    while !stop.load(Ordering::SeqCst) {
        let attempt = std::panic::catch_unwind(|| {
            let mut client = Client::greeted(port);
            while !stop.load(Ordering::SeqCst) {
                let id = format!("m{}", next.fetch_add(1, Ordering::SeqCst));
                let body = "x".repeat(1 + (id.len() * 37) % 900);
                let reply =
                    client.mail("a@one.test", &["b@two.test"], &format!("Message-ID: <{id}@w{worker}>\r\n\r\n{body}"));
                if !reply.starts_with("250") {
                    return;
                }
                ledger.lock().expect("no panic holds it").insert(id);
            }
        });
        if attempt.is_err() {
            std::thread::sleep(Duration::from_millis(10)); // the server is down: expected
        }
    }
}

/// The ids of [`load`] that arrived, and how often.
pub fn ids_of(sink: &Sink) -> HashMap<String, usize> {
    let mut arrivals: HashMap<String, usize> = HashMap::new();
    for message in sink.arrived() {
        let text = String::from_utf8_lossy(&message.content).into_owned();
        let id = text.split("Message-ID: <").nth(1).and_then(|t| t.split('@').next()).expect("our id").to_owned();
        *arrivals.entry(id).or_default() += 1;
    }
    arrivals
}

#[test]
fn acknowledged_mail_survives_kills_under_load() {
    let rounds = number("POSTHASTE_CRASH_ROUNDS", 5);
    let mut seed = number("POSTHASTE_SEED", u64::from(std::process::id()) + 1);
    println!("POSTHASTE_SEED={seed} POSTHASTE_CRASH_ROUNDS={rounds}");
    let sink = Sink::start(&["PIPELINING", "8BITMIME", "CHUNKING", "SIZE 0"]);
    let mut server = Server::start(&relay_to(sink.port, ""));
    let ledger = Arc::new(Mutex::new(HashSet::new()));
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {})); // workers panic whenever the server dies under them
    let workers: Vec<_> = (0..SESSIONS)
        .map(|worker| {
            let (stop, next, ledger, port) = (stop.clone(), next.clone(), ledger.clone(), server.port);
            std::thread::spawn(move || load(port, worker, &stop, &next, &ledger))
        })
        .collect();
    for round in 0..rounds {
        let goal = ledger.lock().expect("no panic holds it").len() + 50 + (random(&mut seed) % 400) as usize;
        eventually("mail is acknowledged", || ledger.lock().expect("no panic holds it").len() >= goal);
        std::thread::sleep(Duration::from_micros(random(&mut seed) % 5000));
        server.kill();
        if round + 1 == rounds {
            stop.store(true, Ordering::SeqCst);
        }
        server.launch(&[]);
    }
    stop.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.join().expect("workers catch their panics");
    }
    std::panic::set_hook(hook);
    server.drained();

    let arrivals = ids_of(&sink);
    let ledger = ledger.lock().expect("no panic holds it");
    let lost: Vec<_> = ledger.iter().filter(|id| !arrivals.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged messages were lost: {lost:?}", lost.len(), ledger.len());
    // What can be in flight at a kill is bounded by the connections that deliver: 50 per shard and lane at most.
    let doubled = arrivals.values().filter(|n| **n > 1).count();
    println!("{} acknowledged, {} arrived, {doubled} of them more than once", ledger.len(), arrivals.len());
    assert!(doubled <= rounds as usize * 2 * 50, "{doubled} duplicates after {rounds} kills");
}
