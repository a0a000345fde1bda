//! What the integration tests share: a running server, a plain client, a sink. None of it uses the
//! server's own parser, so that it sees the server's faults.

pub mod client;
pub mod dns;
pub mod server;
pub mod sink;

pub use client::Client;
pub use dns::Dns;
pub use server::Server;
pub use sink::Sink;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Patience for facts that must come: long enough for a busy machine, a bound all the same.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody listens on now, and that no other test of this process is given. Not one of those the
/// kernel hands out by itself: two servers with SO_REUSEPORT would share it, or a client would have it.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (start.wrapping_add(step) % u32::from(PORTS)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// How many ports the tests choose from.
const PORTS: u16 = 20_000;

/// Waits until `fact` holds; fails the test with `what` when it does not within [`PATIENCE`].
pub fn eventually(what: &str, fact: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, fact);
}

/// As [`eventually`], for what may take longer.
pub fn eventually_within(patience: Duration, what: &str, mut fact: impl FnMut() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < patience, "did not come true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether this may do what only root may; says so when it may not.
pub fn root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: this check needs root and did not run");
    }
    is_root
}

/// Whether a program of another package is here. In CI its absence fails; elsewhere the test says so and passes.
pub fn peer(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/lib/dovecot", "/usr/libexec/dovecot"].map(std::path::PathBuf::from);
    let found = std::env::split_paths(&path).chain(more).any(|folder| folder.join(program).exists());
    assert!(found || std::env::var_os("POSTHASTE_REQUIRE_PEERS").is_none(), "{program} is required here and absent");
    if !found {
        eprintln!("SKIPPED: {program} is not installed; this check against a real peer did not run");
    }
    found
}
