//! Settings of logs and metrics: `[tracer.<id>]` and `[metrics.prometheus]`.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::log::{Format, Level};
use crate::schema::{FaultKind, Section};

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

const LEVELS: &[(&str, Level)] = &[
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Debug),
];
const FORMATS: &[(&str, Format)] = &[("text", Format::Text), ("json", Format::Json)];

/// The tracer types of the vocabulary; those after the first three are not served yet.
const TYPES: &[(&str, &str)] = &[
    ("stdout", "stdout"),
    ("console", "console"),
    ("log", "log"),
    ("journal", "journal"),
    ("open-telemetry", "open-telemetry"),
];

impl Settings {
    /// Reads `[tracer.<id>]` and `[metrics]` of the whole file.
    pub fn read(root: &Section<'_>) -> Settings {
        let default = Settings::default();
        let is_set = root.has("tracer");
        let tracers =
            root.named("tracer", "A destination of log lines. Without any, lines go to standard output.", Tracer::read);
        let prometheus = root.table("metrics", "Measurements.", |s| {
            s.not_yet("open-telemetry", "metrics are scraped, not pushed, in this release");
            s.not_yet("history", "no history of metrics in this release");
            s.not_yet("alerts", "no alerts in this release");
            s.not_yet("disabled-events", "no event is disabled in this release");
            s.table("prometheus", "The scrape for Prometheus.", Prometheus::read)
        });
        let tracers =
            if is_set { tracers.into_iter().filter_map(|(_, tracer)| tracer).collect() } else { default.tracers };
        Settings { tracers, prometheus }
    }
}

impl Tracer {
    /// Reads `[tracer.<id>]`; `None` for a type that is not served yet, which is a warning.
    fn read(s: &Section<'_>, id: &str) -> Option<Tracer> {
        let default = Tracer::default();
        let kind = s
            .choice("type", TYPES)
            .doc("Where lines go: stdout (or console), or log for files. journal and open-telemetry are named and not served yet.")
            .example("\"stdout\"")
            .restart()
            .required();
        let path =
            s.key("path").doc("For type log: the directory of the file.").restart().default(PathBuf::from("./var/log"));
        let prefix = s
            .key("prefix")
            .doc("For type log: the name of the file before .log.")
            .restart()
            .default("posthaste".to_owned());
        let tracer = Tracer {
            id: id.to_owned(),
            enable: s.key("enable").doc("Whether this destination is used.").restart().default(default.enable),
            target: if kind == "log" { Target::File { path, prefix } } else { Target::Stdout },
            level: s
                .choice("level", LEVELS)
                .doc("The least important level that is written. trace is the same as debug.")
                .restart()
                .default(default.level),
            format: s
                .choice("format", FORMATS)
                .doc("One JSON object a line, or text for people.")
                .restart()
                .default(default.format),
        };
        for name in ["rotate", "ansi", "multiline", "lossy", "buffered", "disabled-events"] {
            s.not_yet(name, "files are reopened on SIGHUP; the other switches of tracers have no effect");
        }
        for name in ["transport", "endpoint", "headers", "timeout", "throttle"] {
            s.not_yet(name, "OpenTelemetry is not served yet");
        }
        if matches!(kind, "journal" | "open-telemetry") {
            let title = format!("tracer `{id}` of type {kind} is not served yet");
            s.report(s.fault_at("type", FaultKind::NotYet, title).label("this destination gets no lines"));
            return None;
        }
        Some(tracer)
    }
}

impl Prometheus {
    fn read(s: &Section<'_>) -> Prometheus {
        let default = Prometheus::default();
        s.not_yet("auth", "the scrape has no password; keep it on loopback");
        Prometheus {
            enable: s.key("enable").doc("Whether metrics are served.").restart().default(default.enable),
            bind: s
                .key("bind")
                .doc("Where GET /metrics answers. Keep it on loopback unless something else protects it.")
                .restart()
                .default(default.bind),
        }
    }
}
