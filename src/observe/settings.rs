//! Settings of logs and metrics: `[tracer.<id>]` and `[metrics.prometheus]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::log::{Format, Level};

/// Where log lines go and how metrics are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The tracers, by id. None at all means no log.
    pub tracers: Vec<Tracer>,
    /// `metrics.prometheus.*`.
    pub prometheus: Prometheus,
}

/// `tracer.<id>`: one destination of the log stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracer {
    /// Its id.
    pub id: String,
    /// `.enable`: it is used.
    pub enable: bool,
    /// `.type` (`stdout`, `log`) and for `log` `.path` and `.prefix`.
    pub target: Target,
    /// `.level`: the least important level that is written.
    pub level: Level,
    /// `.format` (ours): `json` or `text`.
    pub format: Format,
}

/// Where a tracer writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `stdout` or `console`.
    Stdout,
    /// `log`: a file in `path`, named `prefix.log`, reopened on SIGHUP so that it can be rotated.
    File {
        /// The directory.
        path: PathBuf,
        /// The name before `.log`.
        prefix: String,
    },
}

/// `metrics.prometheus`: the scrape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prometheus {
    /// `.enable`: whether it is served.
    pub enable: bool,
    /// `.bind` (ours): where `GET /metrics` answers. Loopback unless you protect it otherwise.
    pub bind: SocketAddr,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { tracers: vec![Tracer::default()], prometheus: Prometheus::default() }
    }
}

impl Default for Tracer {
    fn default() -> Self {
        Tracer { id: "stdout".into(), enable: true, target: Target::Stdout, level: Level::Info, format: Format::Text }
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Prometheus { enable: true, bind: SocketAddr::from(([127, 0, 0, 1], 9425)) }
    }
}
