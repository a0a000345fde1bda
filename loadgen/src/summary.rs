//! What a run found, as plain data: the one value that the table, the JSON and the HTML report are made from.
//!
//! Written by `source` (and `demo`), read by [`crate::table`] and the report. Every time is in
//! microseconds of the generator's clock, every span from the *intended* send time where it says so.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Version of everything written as JSON. Fields may be added within a version; what is there keeps its name, type and unit.
pub const SCHEMA: u32 = 1;

/// A value as it is written: with the version.
#[derive(Debug, Serialize)]
pub struct Versioned<'a, T> {
    schema: u32,
    #[serde(flatten)]
    value: &'a T,
}

impl<'a, T> From<&'a T> for Versioned<'a, T> {
    fn from(value: &'a T) -> Self {
        Versioned { schema: SCHEMA, value }
    }
}

/// Longest latency told apart: ten minutes.
pub const LATENCY_US_MAX: u64 = 600_000_000;

/// A run and what it found.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summary {
    /// What was asked for.
    pub run: Run,
    /// What came of it as a whole.
    pub totals: Totals,
    /// One entry per second, warm-up included.
    pub samples: Vec<Sample>,
    /// Latencies by phase in the order of a session, warm-up excluded; phases that did not occur are absent.
    pub phases: Vec<Phase>,
    /// Replies by phase and code, as `MAIL 250`, warm-up included.
    pub replies: BTreeMap<String, u64>,
    /// What failed without a reply, as `content: the server closed the connection`.
    pub errors: BTreeMap<String, u64>,
    /// What the generator itself cost.
    pub generator: Cost,
    /// What the sink counted, where it ran in the same process or its file was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<SinkCounts>,
    /// What the server's process was seen to use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerUse>,
    /// Steps of the search for the highest rate, in order; empty without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<SearchStep>,
    /// What the audit found, where one was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditCounts>,
}

/// What was asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Run {
    /// Unique, in hexadecimal; the first part of every message's id.
    pub id: String,
    /// Name and version of the generator.
    pub generator: String,
    /// The command line.
    pub command: String,
    /// Wall clock at the start, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// Where the messages went.
    pub server: String,
    /// First line of the server's greeting.
    pub banner: String,
    /// Its EHLO keywords.
    pub extensions: Vec<String>,
    /// `open loop` or `closed loop`.
    pub mode: String,
    /// How the send times were chosen: `constant`, `Poisson`, `bursts of 50`, `as fast as replies come`.
    pub arrivals: String,
    /// Messages per second intended, in the open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_rate: Option<f64>,
    /// Connections at once.
    pub sessions: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// `1000 bytes`, `lognormal, median 10240, sigma 1.2`.
    pub sizes: String,
    /// The rest in words: TLS, AUTH, extensions in use, reuse of connections, domains.
    pub options: Vec<String>,
    /// Seconds that were discarded at the start.
    pub warm_up_s: f64,
    /// Seconds that were measured.
    pub measured_s: f64,
    /// The generator's clock at the start, for what else is laid over the run's time; not written.
    #[serde(skip)]
    pub clock_us: u64,
}

/// What came of a run, warm-up excluded unless said otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Messages begun whose intended time lies in the measured span.
    pub begun: u64,
    /// Messages the server took (2xx to the content; with LMTP, for one recipient at least).
    pub acknowledged: u64,
    /// Messages refused with a 4xx reply.
    pub tempfailed: u64,
    /// Messages refused with a 5xx reply.
    pub rejected: u64,
    /// Messages that ended without a reply.
    pub failed: u64,
    /// Messages due in the measured span that no session was free to begin (open loop), or that did not end.
    pub unsent: u64,
    /// Recipients acknowledged.
    pub recipients: u64,
    /// Bytes of content acknowledged.
    pub content_bytes: u64,
    /// Connections opened, warm-up included.
    pub connections: u64,
    /// TLS handshakes made, warm-up included.
    pub tls_handshakes: u64,
    /// Those of them that resumed an earlier session.
    pub tls_resumed: u64,
    /// Messages acknowledged in all, warm-up included: the lines of the ledger.
    pub acknowledged_in_all: u64,
    /// Messages acknowledged per second of the measured span.
    pub rate: f64,
}

/// One second of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the start, at the end of this second.
    pub at_s: f64,
    /// It belongs to the warm-up.
    pub is_warm_up: bool,
    /// Messages begun.
    pub begun: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Messages refused with 4xx or 5xx.
    pub refused: u64,
    /// Messages that ended without a reply.
    pub failed: u64,
    /// Connections open at its end.
    pub connections: u64,
    /// Median end-to-end latency of what was acknowledged in it.
    pub p50_us: u64,
    /// 99th percentile of the same.
    pub p99_us: u64,
    /// The longest of them.
    pub max_us: u64,
}

/// The latencies of one phase.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Phase {
    /// `waiting`, `woken late`, `connect`, `banner`, `EHLO`, `TLS`, `AUTH`, `MAIL`, `RCPT`, `DATA`, `content`, `final reply`, `end to end`.
    pub name: String,
    /// From when to when.
    pub meaning: String,
    /// The latencies in microseconds.
    pub latency: Latency,
}

/// A histogram of microseconds; as JSON its percentiles and its buckets.
#[derive(Debug, Clone)]
pub struct Latency(pub Histogram<u64>);

/// A new histogram of latencies: 1 microsecond to [`LATENCY_US_MAX`], three digits.
pub fn histogram() -> Histogram<u64> {
    // The bounds are constants that the constructor takes.
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).unwrap_or_else(|_| unreachable!("constant bounds"))
}

#[derive(Serialize, Deserialize)]
struct LatencyText {
    count: u64,
    min_us: u64,
    mean_us: f64,
    p50_us: u64,
    p90_us: u64,
    p99_us: u64,
    p999_us: u64,
    p9999_us: u64,
    max_us: u64,
    /// Pairs of a value and how often it was seen.
    buckets: Vec<(u64, u64)>,
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let h = &self.0;
        let text = LatencyText {
            count: h.len(),
            min_us: if h.is_empty() { 0 } else { h.min() },
            mean_us: if h.is_empty() { 0.0 } else { h.mean() },
            p50_us: h.value_at_quantile(0.5),
            p90_us: h.value_at_quantile(0.9),
            p99_us: h.value_at_quantile(0.99),
            p999_us: h.value_at_quantile(0.999),
            p9999_us: h.value_at_quantile(0.9999),
            max_us: h.max(),
            buckets: h.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect(),
        };
        text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = LatencyText::deserialize(deserializer)?;
        let mut latencies = histogram();
        for (value, count) in text.buckets {
            latencies.saturating_record_n(value, count);
        }
        Ok(Latency(latencies))
    }
}

/// What a part of the generator cost, over the measured span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU seconds in user space, of its threads.
    pub user_s: f64,
    /// CPU seconds in the kernel.
    pub system_s: f64,
    /// Microseconds of CPU per message.
    pub us_per_message: f64,
    /// Share of its threads' time that was busy; near 1 the generator itself was the limit.
    pub busy: f64,
}

/// What a sink counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkCounts {
    /// Connections accepted.
    pub connections: u64,
    /// TLS handshakes made.
    pub tls_handshakes: u64,
    /// Those of them that resumed an earlier session.
    pub tls_resumed: u64,
    /// Messages taken.
    pub messages: u64,
    /// Recipients of these messages.
    pub recipients: u64,
    /// Bytes of content.
    pub content_bytes: u64,
    /// First arrivals of a message for a recipient.
    pub first: u64,
    /// Further arrivals of the same message for the same recipient.
    pub further: u64,
    /// Messages whose hash did not match.
    pub altered: u64,
    /// Messages without our field.
    pub unmarked: u64,
    /// Messages with a null reverse-path that quote one of ours: reports of failed delivery.
    pub returned: u64,
    /// Replies given by phase and code, as `RCPT 451`.
    pub replies: BTreeMap<String, u64>,
    /// Connections dropped on purpose.
    pub dropped: u64,
    /// CPU of the sink.
    pub cost: Cost,
    /// Messages per second, by second since the start.
    pub rate: Vec<u64>,
}

/// What a server's process was seen to use.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// Its process id, of the parent where it is several.
    pub pid: u32,
    /// Its command, as far as the kernel keeps it.
    pub name: String,
    /// The disk whose counters are in the samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// What could not be seen, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What the measured span took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<ServerSpan>,
    /// What the run took from its start to the last look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<ServerSpan>,
    /// What was read, in order.
    pub samples: Vec<ServerSample>,
}

/// What a server's processes used over a span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSpan {
    /// Length of the span.
    pub seconds: f64,
    /// Messages acknowledged in it.
    pub messages: u64,
    /// CPU seconds in user space.
    pub user_s: f64,
    /// CPU seconds in the kernel.
    pub system_s: f64,
    /// Microseconds of CPU per message.
    pub cpu_us_per_message: f64,
    /// Most resident bytes seen in it.
    pub resident_bytes_max: u64,
    /// Voluntary context switches.
    pub switches_voluntary: u64,
    /// Involuntary context switches.
    pub switches_involuntary: u64,
    /// Bytes the processes wrote to storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Flushes by the server's own count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flushes: Option<u64>,
    /// Bytes written to the disk, by everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_written_bytes: Option<u64>,
    /// Flushes of the disk, by everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_flushes: Option<u64>,
}

/// One look at a server's processes, ended children included; counters are since the start of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerSample {
    /// Seconds since the start of the run.
    pub at_s: f64,
    /// CPU seconds in user space.
    pub user_s: f64,
    /// CPU seconds in the kernel.
    pub system_s: f64,
    /// Resident bytes now; what processes share is counted for each.
    pub resident_bytes: u64,
    /// Processes now.
    pub processes: u64,
    /// Threads now.
    pub threads: u64,
    /// Voluntary context switches.
    pub switches_voluntary: u64,
    /// Involuntary context switches.
    pub switches_involuntary: u64,
    /// Bytes written to storage, where that may be seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Bytes read from storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Flushes by the server's own count, where its metrics are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flushes: Option<u64>,
    /// Bytes written to the disk, by everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_written_bytes: Option<u64>,
    /// Flushes of the disk, by everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_flushes: Option<u64>,
}

/// One step of the search for the highest rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SearchStep {
    /// Messages per second asked for.
    pub rate: f64,
    /// Messages per second acknowledged.
    pub achieved: f64,
    /// 99th percentile from the intended send time.
    pub p99_us: u64,
    /// The goal was met.
    pub is_met: bool,
    /// Why it was not.
    pub reason: String,
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditCounts {
    /// Recipients of messages that were acknowledged.
    pub acknowledged: u64,
    /// Those that arrived once and unaltered.
    pub intact: u64,
    /// Acknowledged, never arrived.
    pub lost: u64,
    /// Arrived more than once.
    pub doubled: u64,
    /// Arrived with other content.
    pub altered: u64,
    /// Returned to the sender in a report.
    pub returned: u64,
    /// Arrived without an acknowledgement, which is allowed: the reply was lost.
    pub unacknowledged: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_survives_json() {
        let mut latency = histogram();
        (1..=1000).for_each(|us| latency.saturating_record(us * 10));
        let phase = Phase { name: "MAIL".into(), meaning: "m".into(), latency: Latency(latency) };
        let summary = Summary { phases: vec![phase], samples: vec![Sample::default()], ..Summary::default() };
        let text = serde_json::to_string(&summary).expect("serializes");
        let back: Summary = serde_json::from_str(&text).expect("reads");
        let (before, after) = (&summary.phases[0].latency.0, &back.phases[0].latency.0);
        assert_eq!(before.len(), after.len());
        assert_eq!(before.value_at_quantile(0.99), after.value_at_quantile(0.99));
        assert_eq!(text, serde_json::to_string(&back).expect("serializes"));
    }
}
