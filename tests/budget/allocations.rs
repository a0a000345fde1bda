//! Heap allocations of the whole server per message, in steady state.
//!
//! The server runs as a process of its own, which is this test binary again with an allocator that counts:
//! [`serves_where_it_is_asked_to`] is its door. So nothing of ours is counted, and everything of the server's is.

use std::alloc::System;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use clap::Parser;
use posthaste::cli::{Cli, Command, commands};
use posthaste_rt::signal::Signals;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::book;
use crate::harness::PATIENCE;
use crate::traffic::{Kind, Scene};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Names the socket at which the counting server tells its count.
const SOCKET: &str = "POSTHASTE_BUDGET_SERVE";

/// Runs the server with the arguments after `--` when it is asked to by the environment; else there is nothing to do.
#[test]
fn serves_where_it_is_asked_to() {
    let Some(socket) = std::env::var_os(SOCKET) else { return };
    let arguments: Vec<_> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let Command::Run(run) = Cli::parse_from(arguments).command else { panic!("only run is served") };
    let signals = Signals::block().expect("a thread of its own");
    let listener = UnixListener::bind(socket).expect("a socket");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let stats = ALLOCATOR.stats();
            let _ = stream.write_all(&(stats.allocations as u64 + stats.reallocations as u64).to_le_bytes());
        }
    });
    let loaded = commands::load(run.config.as_deref()).expect("readable").expect("sound");
    posthaste::server::run(&run, loaded, signals).expect("it runs");
}

fn count(socket: &Path) -> f64 {
    let mut stream = UnixStream::connect(socket).expect("the counting server");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes).expect("a count");
    u64::from_le_bytes(bytes) as f64
}

#[test]
fn a_message_allocates_little_from_end_to_end() {
    let _alone = book::alone();
    let folder = tempfile::tempdir().expect("a folder");
    let own = std::env::current_exe().expect("this binary").display().to_string();
    book::settle([(Kind::Accept, 1024), (Kind::Relay, 1024), (Kind::Relay, 10 * 1024), (Kind::Told, 1024)].map(
        |(kind, size)| {
            let socket = folder.path().join(format!("{}-{size}", kind.name()));
            let serve = format!("{SOCKET}={}", socket.display());
            let door =
                ["env", &serve, &own, "--exact", "allocations::serves_where_it_is_asked_to", "--nocapture", "--"];
            let mut scene = Scene::start_under(kind, 1, 50, size, &door);
            scene.send(10); // buffers, pools and tables have grown
            scene.settled();
            let before = count(&socket);
            let messages = scene.send(20);
            let made = (count(&socket) - before) / messages;
            let name = format!("allocations.{}.{}-kb", kind.name(), size / 1024);
            book::check(&name, "heap allocations per message, whole server", made)
        },
    ));
}

/// The counter counts: a thousand boxes are at least a thousand allocations.
#[test]
fn the_allocator_counts() {
    let before = ALLOCATOR.stats();
    let boxes: Vec<Box<u64>> = (0..1000).map(Box::new).collect();
    let after = ALLOCATOR.stats();
    assert!(after.allocations - before.allocations > 1000, "{} boxes, {before:?}, {after:?}", boxes.len());
}
