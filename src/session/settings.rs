//! `[session]` as far as the driver needs it: time, octets, memory.

use std::time::Duration;

use crate::expr::Expr;

/// How long and how much. A client in `session.trusted-networks` meets neither `duration` nor `transfer-limit`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `session.timeout` E: the longest silence, and the longest time for one command line.
    pub timeout: Expr<Duration>,
    /// `session.duration` E: the longest session; unset for no limit.
    pub duration: Expr<Option<Duration>>,
    /// `session.transfer-limit` E: octets received in one session; unset for no limit.
    pub transfer_limit: Expr<Option<u64>>,
    /// `session.data.timeout` (ours): the longest time for the content of one message.
    pub content_timeout: Duration,
    /// `session.data.min-rate` (ours): octets per second that content comes with on average, after
    /// `content_grace`; zero for no bound.
    pub content_rate_min: u32,
    /// `session.data.min-rate-after` (ours): how long content may come as it likes before its rate is looked at.
    pub content_grace: Duration,
    /// `session.memory-budget` (ours): octets that the sessions of one shard hold: receive buffers and
    /// content before its commit.
    pub memory_budget: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            timeout: Expr::constant(Duration::from_secs(300)),
            duration: Expr::constant(Some(Duration::from_secs(600))),
            transfer_limit: Expr::constant(Some(262_144_000)),
            content_timeout: Duration::from_secs(3600),
            content_rate_min: 128,
            content_grace: Duration::from_secs(30),
            memory_budget: 256 << 20,
        }
    }
}
