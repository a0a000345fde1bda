//! Events for other programs: nothing that was acknowledged is missing from the file, whatever happened to us or to it.
//!
//! `POSTHASTE_CRASH_ROUNDS` sets the number of kills (default 5).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::crash::number;
use crate::harness::{Client, Server, Sink, eventually, free_port, root};
use crate::relay::relay_to;

const TO_FILE: &str = "[events.log]\ntype = \"file\"\npath = \"@DIR@/told/events.json\"\n";

/// A relay whose events go to a file in the folder `told`, which is there if asked for.
fn told(port: u16, more: &str, is_there: bool) -> Server {
    let mut server = Server::prepare(&(relay_to(port, "") + TO_FILE + more));
    if is_there {
        fs::create_dir(server.path("told")).expect("ours");
    }
    server.launch(&[]);
    server
}

fn id_of(reply: &str) -> String {
    let id = reply.split_whitespace().find(|word| word.matches('-').count() == 2);
    id.unwrap_or_else(|| panic!("no id in {reply}")).trim_end_matches('.').to_owned()
}

/// What a file says: a line that a crash cut short is said again whole, so only `cut` of them may be no JSON.
fn read(path: &Path, cut: usize) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let lines: Vec<Option<Value>> = whole.lines().map(|line| serde_json::from_str(line).ok()).collect();
    let bad = lines.iter().filter(|line| line.is_none()).count();
    assert!(bad <= cut, "{bad} lines are no JSON");
    lines.into_iter().flatten().collect()
}

fn word(event: &Value, key: &str) -> String {
    event[key].as_str().unwrap_or_else(|| panic!("no {key} in {event}")).to_owned()
}

const FINAL: &[&str] =
    &["attempt.delivered", "attempt.failed", "queue.expired", "queue.removed", "queue.discarded", "queue.expanded"];

/// The distinct events by message and recipient, and those by which messages were accepted.
#[derive(Default)]
struct Heard {
    accepted: BTreeMap<String, BTreeSet<String>>,
    finals: BTreeMap<(String, u64), BTreeSet<String>>,
}

fn heard(events: &[Value]) -> Heard {
    let mut heard = Heard::default();
    let mut known: BTreeMap<String, &Value> = BTreeMap::new();
    for event in events {
        let (id, name) = (word(event, "id"), word(event, "event"));
        let before = known.insert(id.clone(), event);
        let same = |before: &Value| (&before["event"], &before["message"]) == (&event["event"], &event["message"]);
        assert!(before.is_none_or(same), "{id} is two events");
        if name == "tx.accepted" {
            heard.accepted.entry(word(event, "message")).or_default().insert(id);
        } else if FINAL.contains(&name.as_str()) {
            let recipient = event["recipient"].as_u64().expect("a number");
            heard.finals.entry((word(event, "message"), recipient)).or_default().insert(id);
        }
    }
    heard
}

fn load(port: u16, stop: &AtomicBool, ledger: &Mutex<HashSet<String>>) {
    while !stop.load(Ordering::SeqCst) {
        let attempt = std::panic::catch_unwind(|| {
            let mut client = Client::greeted(port);
            while !stop.load(Ordering::SeqCst) {
                let reply = client.mail("a@one.test", &["b@two.test", "c@two.test"], "Subject: x\r\n\r\nbody");
                if !reply.starts_with("250") {
                    return;
                }
                ledger.lock().expect("no panic holds it").insert(id_of(&reply));
            }
        });
        if attempt.is_err() {
            std::thread::sleep(Duration::from_millis(10)); // the server is down: expected
        }
    }
}

#[test]
fn every_message_is_told_across_kills_under_load() {
    let rounds = number("POSTHASTE_CRASH_ROUNDS", 5);
    let sink = Sink::start(&["PIPELINING", "8BITMIME", "CHUNKING"]);
    let mut server = told(sink.port, "", true);
    let (stop, ledger) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(HashSet::new())));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {})); // workers panic whenever the server dies under them
    let workers: Vec<_> = (0..6)
        .map(|_| {
            let (stop, ledger, port) = (stop.clone(), ledger.clone(), server.port);
            std::thread::spawn(move || load(port, &stop, &ledger))
        })
        .collect();
    let acknowledged = || ledger.lock().expect("no panic holds it").len();
    for round in 0..rounds {
        let goal = acknowledged() + 60 + 40 * round as usize;
        eventually("mail is acknowledged", || acknowledged() >= goal);
        server.kill();
        if round + 1 == rounds {
            stop.store(true, Ordering::SeqCst);
        }
        server.launch(&[]);
    }
    stop.store(true, Ordering::SeqCst);
    workers.into_iter().for_each(|worker| worker.join().expect("workers catch their panics"));
    std::panic::set_hook(hook);
    server.drained();
    eventually("all is told", || server.metric("posthaste_events_lag_bytes") == 0.0);

    let path = server.path("told/events.json");
    let events = read(&path, rounds as usize * 2);
    let heard = heard(&events);
    let ledger = ledger.lock().expect("no panic holds it");
    for id in ledger.iter() {
        assert_eq!(heard.accepted.get(id).map(BTreeSet::len), Some(1), "{id} was acknowledged");
    }
    for (id, times) in &heard.accepted {
        assert_eq!(times.len(), 1, "{id} was accepted once");
        for recipient in 0..2 {
            let finals = heard.finals.get(&(id.clone(), recipient));
            assert_eq!(finals.map(BTreeSet::len), Some(1), "{id} recipient {recipient}: one final event: {finals:?}");
        }
    }
    let repeats = events.len() - events.iter().map(|event| word(event, "id")).collect::<BTreeSet<_>>().len();
    println!("{} acknowledged, {} events, {repeats} of them again", ledger.len(), events.len());
    assert!(events.iter().all(|event| word(event, "event") != "events.gap"), "nothing was given up");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(path).expect("written").permissions().mode() & 0o777, 0o640);
    server.stop();
}

/// Mail flows, and it is said that events cannot be written; once they can, all are.
fn mail_flows_without(server: &mut Server, sink: &Sink, make_room: impl FnOnce(&Server), mails: usize) {
    let mut client = Client::greeted(server.port);
    let mut ids = BTreeSet::new();
    for _ in 0..mails {
        let reply = client.mail("a@one.test", &["b@two.test"], "Subject: x\r\n\r\nbody");
        assert!(reply.starts_with("250"), "{reply}");
        ids.insert(id_of(&reply));
    }
    eventually("mail arrives", || sink.count() == mails);
    eventually("it is counted", || server.metric("posthaste_events_failures_total") >= 1.0);
    eventually("it is behind", || server.metric("posthaste_events_lag_bytes") > 0.0);
    eventually("it is late", || server.metric("posthaste_events_lag_seconds") >= 1.0);
    eventually("it is said", || server.events("events.file") >= 1);
    assert!(server.command(&["stats"]).contains("events_failures"));
    make_room(server);
    eventually("all is told", || server.metric("posthaste_events_lag_bytes") == 0.0);
    let heard = heard(&read(&server.path("told/events.json"), 0));
    assert_eq!(heard.accepted.keys().cloned().collect::<BTreeSet<_>>(), ids);
    assert_eq!(heard.finals.len(), mails);
    eventually("that it works again is said", || server.events("events.file") >= 2);
    server.stop();
}

#[test]
fn a_missing_directory_stops_no_mail() {
    let sink = Sink::start(&["PIPELINING"]);
    let mut server = told(sink.port, "", false);
    assert!(server.output().contains("events.log"), "it is said at start: {}", server.output());
    mail_flows_without(&mut server, &sink, |server| fs::create_dir(server.path("told")).expect("ours"), 20);
}

#[test]
fn a_full_disk_under_the_events_stops_no_mail() {
    if !root() {
        return;
    }
    let sink = Sink::start(&["PIPELINING"]);
    let mut server = Server::prepare(&(relay_to(sink.port, "") + TO_FILE));
    let folder = server.path("told");
    fs::create_dir(&folder).expect("ours");
    let folder = folder.display().to_string();
    let mount = |options: &str| {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs", &folder]).status();
        status.is_ok_and(|status| status.success())
    };
    if !mount("size=16k") {
        eprintln!("SKIPPED: no tmpfs can be mounted here; a full disk under the events was not tried");
        return;
    }
    server.launch(&[]);
    let make_room = |_: &Server| assert!(mount("remount,size=16m"));
    mail_flows_without(&mut server, &sink, make_room, 100);
    assert!(Command::new("umount").arg(&folder).status().is_ok_and(|status| status.success()));
}

#[test]
fn a_file_that_is_moved_away_is_made_anew_and_nothing_is_lost() {
    let sink = Sink::start(&["PIPELINING"]);
    let mut server = told(sink.port, "", true);
    let (path, mut files, mut mails) = (server.path("told/events.json"), Vec::new(), 0);
    for signal in [None, Some(Signal::SIGHUP), None] {
        for _ in 0..5 {
            let reply = Client::greeted(server.port).mail("a@one.test", &["b@two.test"], "Subject: x\r\n\r\nbody");
            assert!(reply.starts_with("250"), "{reply}");
            mails += 1;
        }
        eventually("they are told", || server.metric("posthaste_delivery_recipients_delivered_total") == mails as f64);
        let moved = server.path(&format!("told/events.{}", files.len()));
        fs::rename(&path, &moved).expect("it is there");
        files.push(moved);
        if let Some(signal) = signal {
            server.signal(signal);
        }
    }
    eventually("all is told", || server.metric("posthaste_events_lag_bytes") == 0.0);
    server.stop();
    files.push(path);
    let events: Vec<Value> = files.iter().flat_map(|file| read(file, 0)).collect();
    let heard = heard(&events);
    assert_eq!((heard.accepted.len(), heard.finals.len()), (mails, mails));
}

#[test]
fn each_event_says_what_happened_to_whom() {
    let port = free_port();
    let mut server = told(port, "", true);
    let reply =
        Client::greeted(server.port).mail("a@one.test", &["b@two.test", "c@two.test"], "Subject: x\r\n\r\nbody");
    let id = id_of(&reply);
    eventually("it was tried", || server.metric("posthaste_delivery_recipients_deferred_total") >= 2.0);
    server.command(&["queue", "hold", &id]);
    server.command(&["queue", "release", &id]);
    server.command(&["queue", "hold", &id]);
    server.command(&["queue", "remove", &id]);
    server.drained();
    eventually("all is told", || server.metric("posthaste_events_lag_bytes") == 0.0);
    let events = read(&server.path("told/events.json"), 0);
    let of = |name: &str| events.iter().filter(|event| event["event"] == name).collect::<Vec<_>>();
    let accepted = of("tx.accepted");
    assert_eq!((accepted.len(), word(accepted[0], "from").as_str()), (1, "a@one.test"));
    assert_eq!(accepted[0]["to"], serde_json::json!(["b@two.test", "c@two.test"]));
    assert_eq!((word(accepted[0], "client").as_str(), word(accepted[0], "listener").as_str()), ("127.0.0.1", "smtp"));
    let deferred = of("attempt.deferred");
    assert_eq!(word(deferred[0], "to"), "b@two.test");
    assert_eq!(word(deferred[0], "error"), "connection");
    assert!(deferred[0]["attempts"] == 1 && deferred[0]["next"].is_string(), "{}", deferred[0]);
    assert_eq!((of("queue.held").len(), of("queue.released").len()), (2, 1));
    let removed = of("queue.removed");
    assert_eq!(removed.iter().map(|event| word(event, "to")).collect::<Vec<_>>(), ["b@two.test", "c@two.test"]);
    assert!(events.iter().all(|event| event["message"] == id.as_str() && event["time"].is_string()));
    let mut ids: Vec<String> = events.iter().map(|event| word(event, "id")).collect();
    let told = ids.clone();
    ids.sort();
    assert_eq!(ids, told, "told in the order in which they happened");
    server.stop();
}

#[test]
fn only_what_is_chosen_is_told() {
    let sink = Sink::start(&["PIPELINING"]);
    let mut server = told(sink.port, "events = [\"attempt.d*\"]\n", true);
    let reply = Client::greeted(server.port).mail("a@one.test", &["b@two.test"], "Subject: x\r\n\r\nbody");
    server.drained();
    eventually("all is told", || server.metric("posthaste_events_lag_bytes") == 0.0);
    let events = read(&server.path("told/events.json"), 0);
    let told: Vec<_> = events.iter().map(|event| (word(event, "event"), word(event, "message"))).collect();
    assert_eq!(told, [("attempt.delivered".to_owned(), id_of(&reply))]);
    assert_eq!((word(&events[0], "from"), word(&events[0], "to")), ("a@one.test".into(), "b@two.test".into()));
    server.stop();
}
