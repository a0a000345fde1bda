//! Instructions of the pure cores, counted by callgrind: the same number on every machine with the same processor
//! features, however busy it is.
//!
//! The cores run in a process of its own, which is this test binary again under valgrind; [`runs_where_it_is_asked_to`]
//! is its door. What they do is defined in `benches/work/`, which criterion times. The figures depend on the profile:
//! the dev build's stand under `instructions.dev`, the optimised build's under `instructions.optimized`
//! (`cargo test --profile bench --test budget`).

use std::fs;
use std::process::{Command, Stdio};

use crate::book;
use crate::harness::peer;

#[path = "../../benches/work/mod.rs"]
mod work;

/// Set for the process under valgrind.
const ASKED: &str = "POSTHASTE_BUDGET_CORES";
/// Repetitions of each: what happens once (tables that grow) weighs little.
const TIMES: usize = 50;
const WAITING: u64 = 5_000;
const RECOVERED: u64 = 100;

/// What is measured: each is a function of its own that nothing inlines, for callgrind to find.
mod measured {
    use super::{TIMES, work};

    macro_rules! measured {
        ($($name:ident ( $($argument:ident : $kind:ty),* ) $body:block)*) => {
            $(#[inline(never)] pub fn $name($($argument: $kind),*) { $body })*
        };
    }

    measured! {
        command_parse(stream: &[u8]) {
            for _ in 0..TIMES { assert_eq!(work::parse_commands(std::hint::black_box(stream)), 3) }
        }
        content_scan(contents: &mut [Vec<u8>]) {
            for content in contents { work::scan_content(content); }
        }
        header_scan(content: &bytes::Bytes) {
            for _ in 0..TIMES { work::scan_header(std::hint::black_box(content)); }
        }
        record_encode(records: &[posthaste::spool::Record]) {
            for _ in 0..TIMES { std::hint::black_box(posthaste::spool::encode_payload(records)); }
        }
        record_decode(payload: &[u8]) {
            for _ in 0..TIMES { assert!(posthaste::spool::decode_payload(payload).is_some()) }
        }
        recovery(disk: &posthaste::spool::sim::SimDisk) {
            assert_eq!(work::recover(disk), (super::RECOVERED / 2) as usize);
        }
        expression(condition: &posthaste::expr::Expr<bool>, session: &work::Session) {
            for _ in 0..TIMES { assert!(condition.eval(session).is_ok_and(|is| is)) }
        }
        leases(leases: &mut work::Leases) {
            for _ in 0..TIMES { leases.take_and_release() }
        }
        timers(timers: &mut work::Timers) {
            timers.set_and_fire(TIMES)
        }
    }
}

/// The names above, what one repetition is, and how many there are.
const CORES: [(&str, &str, u64); 9] = [
    ("command_parse", "a pipelined transaction parsed", TIMES as u64),
    ("content_scan", "10 KB of content scanned", TIMES as u64),
    ("header_scan", "a header section of 14 fields indexed", TIMES as u64),
    ("record_encode", "a message of 1 KB and its status encoded", TIMES as u64),
    ("record_decode", "the same decoded", TIMES as u64),
    ("recovery", "a message recovered from the simulated disk", RECOVERED),
    ("expression", "an expression of three comparisons and a look-up", TIMES as u64),
    ("leases", "three limits taken and released", TIMES as u64),
    ("timers", "a message's timer set and fired twice", TIMES as u64),
];

/// Does all the work once when it is asked to by the environment; else there is nothing to do.
#[test]
fn runs_where_it_is_asked_to() {
    if std::env::var_os(ASKED).is_none() {
        return;
    }
    measured::command_parse(work::TRANSACTION);
    measured::content_scan(&mut vec![work::content(10 * 1024); TIMES]);
    measured::header_scan(&work::content(1024).into());
    let records = work::records();
    measured::record_encode(&records);
    measured::record_decode(&posthaste::spool::encode_payload(&records));
    measured::recovery(&work::crashed_spool(RECOVERED));
    measured::expression(&work::condition(), &work::Session::new());
    let mut leases = work::Leases::new(TIMES);
    leases.take_and_release();
    measured::leases(&mut leases);
    measured::timers(&mut work::Timers::new(WAITING));
}

/// The instructions of a function and of all that it calls, from what callgrind wrote: `fn=(id) name` begins a
/// function, a line that begins with a position ends in a cost, of its own or (after `calls=`) of a function it called.
fn instructions(profile: &str, function: &str) -> Option<u64> {
    let (mut id, mut is_inside, mut sum) = (None, false, None);
    for line in profile.lines() {
        if let Some(rest) = line.strip_prefix("fn=").or(line.strip_prefix("cfn=")) {
            let (number, name) = rest.split_once(' ').unwrap_or((rest, ""));
            if name == function {
                id = Some(number);
            }
            if line.starts_with("fn=") {
                is_inside = id == Some(number);
            }
        } else if is_inside && line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c)) {
            let cost: u64 = line.rsplit(' ').next()?.parse().ok()?;
            sum = Some(sum.unwrap_or(0) + cost);
        }
    }
    sum
}

#[test]
fn a_profile_is_read_as_it_is_meant() {
    let profile =
        "fl=(1) a.rs\nfn=(7) a::b\n10 5\n+1 3\ncfn=(8) a::c\ncalls=2 20\n* 100\n\nfn=(8)\n20 100\n\nfn=(7)\n-2 1\n";
    assert_eq!(instructions(profile, "a::b"), Some(109));
    assert_eq!(instructions(profile, "a::c"), Some(100));
    assert_eq!(instructions(profile, "a::d"), None);
}

#[test]
fn the_cores_take_no_more_instructions() {
    if !peer("valgrind") {
        return;
    }
    let _alone = book::alone();
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", folder.path().join("out").display()));
    command.arg(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "cores::runs_where_it_is_asked_to", "--test-threads=1"]).env(ASKED, "1");
    let output = command.stdin(Stdio::null()).output().expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    let counted = fs::read_to_string(folder.path().join("out")).expect("callgrind wrote it");
    let profile = if cfg!(debug_assertions) { "dev" } else { "optimized" };
    book::settle(CORES.map(|(name, what, times)| {
        let function = format!("budget::cores::measured::{name}");
        let all =
            instructions(&counted, &function).unwrap_or_else(|| panic!("callgrind says nothing of {name}\n{said}"));
        let what = format!("instructions for {what}");
        book::check(&format!("instructions.{profile}.{name}"), &what, all as f64 / times as f64)
    }));
}
