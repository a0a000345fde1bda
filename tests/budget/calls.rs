//! What the server asks of the kernel: system calls, and what it submits to io_uring, counted by strace.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::book;
use crate::harness::{eventually, peer};
use crate::traffic::{Kind, Scene};

/// Whether strace is here and may trace; says so when not.
fn can_trace() -> bool {
    if !peer("strace") {
        return false;
    }
    let probe = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let may = probe.is_ok_and(|status| status.success());
    if !may {
        eprintln!("SKIPPED: this environment does not let strace trace; system calls were not counted");
    }
    may
}

/// What was called in a span of time.
#[derive(Debug, Default)]
struct Calls {
    /// All system calls of all threads.
    all: f64,
    /// Entries submitted by `io_uring_enter`.
    submissions: f64,
    by_name: BTreeMap<String, u32>,
}

impl Calls {
    /// What was called most, per message.
    fn most(&self, messages: f64) -> String {
        let mut all: Vec<_> = self.by_name.iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let shown = all.iter().take(8).map(|(name, count)| format!("{name} {:.2}", f64::from(**count) / messages));
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// Reads what `strace -f -ttt` wrote: `PID SECONDS name(…) = result`, or the two halves of a call that waited.
fn calls(log: &str, from: f64, to: f64) -> Calls {
    let mut calls = Calls::default();
    for line in log.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(at) = words.nth(1).and_then(|word| word.parse::<f64>().ok()) else { continue };
        let Some(what) = words.next().filter(|_| (from..to).contains(&at)) else { continue };
        let is_resumed = what == "<...";
        if !is_resumed && !what.starts_with(['+', '-']) {
            calls.all += 1.0;
            let name = what.split('(').next().unwrap_or_default();
            *calls.by_name.entry(name.to_owned()).or_default() += 1;
        }
        let is_enter = what.starts_with("io_uring_enter(") || (is_resumed && line.contains("io_uring_enter resumed"));
        if is_enter && let Some((_, result)) = line.rsplit_once(" = ") {
            calls.submissions += result.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0.0f64).max(0.0);
        }
    }
    calls
}

#[test]
fn a_trace_is_read_as_it_is_meant() {
    let log = "7 1.5 read(3, \"io_uring_enter(\", 9) = 9\n\
               7 2.0 io_uring_enter(5, 3, 1, IORING_ENTER_GETEVENTS, NULL, 8 <unfinished ...>\n\
               8 2.1 io_uring_enter(6, 2, 0, 0, NULL, 8) = 2\n\
               7 2.2 <... io_uring_enter resumed>) = 3\n\
               8 2.3 io_uring_enter(6, 1, 1, 0, NULL, 8) = -1 EINTR (Interrupted system call)\n\
               8 2.4 --- SIGURG {si_signo=SIGURG} ---\n\
               8 9.0 close(3) = 0\n";
    let found = calls(log, 1.9, 3.0);
    assert_eq!((found.all, found.submissions), (3.0, 5.0), "{found:?}");
    assert_eq!(calls(log, 0.0, 10.0).all, 5.0);
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// The calls per message while `each` messages come in by each session.
fn measured(kind: Kind, sessions: usize, each: usize, folder: &Path) -> (f64, f64) {
    let path = folder.join(format!("{}-{sessions}", kind.name()));
    let file = path.display().to_string();
    // -D: the tracer steps aside, so that the server is our child.
    let mut scene = Scene::start_under(kind, 1, sessions, 1024, &["strace", "-D", "-f", "-ttt", "-o", &file]);
    scene.settled();
    let from = now();
    let messages = scene.send(each);
    let to = now();
    let end = format!("{} ", scene.server.pid());
    scene.server.stop();
    let mut log = String::new();
    eventually("strace has written everything", || {
        log = fs::read_to_string(&path).unwrap_or_default();
        let last = |line: &&str| line.starts_with(&end) && line.contains("+++ exited");
        log.lines().rev().take(200).any(|line| last(&line))
    });
    let calls = calls(&log, from, to);
    println!("{} by {sessions}: {}", kind.name(), calls.most(messages));
    (calls.all / messages, calls.submissions / messages)
}

#[test]
fn the_kernel_is_asked_seldom() {
    if !can_trace() {
        return;
    }
    let _alone = book::alone();
    let folder = tempfile::tempdir().expect("a folder");
    let mut faults = Vec::new();
    for (kind, sessions, each) in [
        (Kind::Accept, 1, 200),
        (Kind::Accept, 50, 10),
        (Kind::Relay, 1, 200),
        (Kind::Relay, 50, 10),
        (Kind::Told, 50, 10),
    ] {
        let (all, submissions) = measured(kind, sessions, each, folder.path());
        let name = format!("{}.sessions-{sessions}", kind.name());
        faults.push(book::check(&format!("syscalls.{name}"), "system calls per message", all));
        let what = "io_uring submissions per message";
        faults.push(book::check(&format!("submissions.{name}"), what, submissions));
    }
    book::settle(faults);
}
