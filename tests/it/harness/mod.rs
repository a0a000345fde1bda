//! What the integration tests share: a running server, a plain client, a sink. None of it uses the
//! server's own parser, so that it sees the server's faults.

pub mod client;
pub mod server;
pub mod sink;

pub use client::Client;
pub use server::Server;
pub use sink::Sink;

use std::net::TcpListener;
use std::time::{Duration, Instant};

/// Patience for facts that must come: long enough for a busy machine, a bound all the same.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Waits until `fact` holds; fails the test with `what` when it does not within [`PATIENCE`].
pub fn eventually(what: &str, mut fact: impl FnMut() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < PATIENCE, "did not come true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
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
