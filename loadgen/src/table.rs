//! Tables for people, and JSON for programs, of what a run found.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::summary::{AuditCounts, Cost, ServerUse, SinkCounts, Summary, Versioned};
use crate::values::{grouped, micros};

/// `value` as JSON, with the version of the format.
pub fn json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&Versioned::from(value))?)
}

/// Writes `value` as JSON to `path`; `-` is standard output.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let text = json(value)?;
    if path == Path::new("-") {
        return writeln!(std::io::stdout(), "{text}").context("standard output");
    }
    std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
}

/// Two columns.
fn row(out: &mut String, name: &str, value: impl AsRef<str>) {
    let _ = writeln!(out, "  {name:<24} {}", value.as_ref()); // a String takes everything
}

fn cost(out: &mut String, who: &str, cost: &Cost) {
    let words = format!(
        "{:.1} us per message (user {:.2} s, system {:.2} s, threads {:.0} % busy)",
        cost.us_per_message,
        cost.user_s,
        cost.system_s,
        cost.busy * 100.0
    );
    row(out, &format!("CPU of the {who}"), words);
}

/// What a sink counted.
pub fn sink(counts: &SinkCounts) -> String {
    let mut out = String::from("sink\n");
    row(&mut out, "connections", grouped(counts.connections));
    if counts.tls_handshakes > 0 {
        let words = format!("{}, {} resumed", grouped(counts.tls_handshakes), grouped(counts.tls_resumed));
        row(&mut out, "TLS handshakes", words);
    }
    let words = format!("{} for {} recipients", grouped(counts.messages), grouped(counts.recipients));
    row(&mut out, "messages", words);
    row(&mut out, "bytes of content", grouped(counts.content_bytes));
    let words = format!("{} first, {} further", grouped(counts.first), grouped(counts.further));
    row(&mut out, "arrivals", words);
    for (name, count) in [
        ("altered", counts.altered),
        ("without our field", counts.unmarked),
        ("returned in reports", counts.returned),
        ("dropped on purpose", counts.dropped),
    ] {
        if count > 0 {
            row(&mut out, name, grouped(count));
        }
    }
    cost(&mut out, "sink", &counts.cost);
    out
}

/// What an audit found.
pub fn audit(counts: &AuditCounts) -> String {
    let mut out = String::from("audit (per recipient)\n");
    row(&mut out, "acknowledged", grouped(counts.acknowledged));
    row(&mut out, "arrived once, unaltered", grouped(counts.intact));
    row(&mut out, "LOST", grouped(counts.lost));
    row(&mut out, "DOUBLED", grouped(counts.doubled));
    row(&mut out, "ALTERED", grouped(counts.altered));
    row(&mut out, "returned to the sender", grouped(counts.returned));
    row(&mut out, "arrived, no reply seen", grouped(counts.unacknowledged));
    out
}

/// The whole of a run.
pub fn summary(summary: &Summary) -> String {
    let mut out = String::new();
    run(&mut out, summary);
    totals(&mut out, summary);
    latencies(&mut out, summary);
    counts(&mut out, summary);
    if let Some(used) = &summary.server {
        server(&mut out, used);
    }
    if let Some(counts) = &summary.sink {
        out.push_str(&sink(counts));
    }
    if let Some(counts) = &summary.audit {
        out.push_str(&audit(counts));
    }
    out
}

fn run(out: &mut String, summary: &Summary) {
    let run = &summary.run;
    let _ = writeln!(out, "run {} against {}: {}", run.id, run.server, run.banner);
    let target = run.target_rate.map(|rate| format!(", {rate:.0} messages/s intended")).unwrap_or_default();
    row(out, "load", format!("{}, {}{target}", run.mode, run.arrivals));
    row(
        out,
        "connections",
        format!("{} sessions on {} threads; {}", run.sessions, run.threads, run.options.join("; ")),
    );
    row(out, "content", &run.sizes);
    row(out, "measured", format!("{:.1} s after {:.1} s of warm-up", run.measured_s, run.warm_up_s));
    if !summary.search.is_empty() {
        let _ = writeln!(out, "search");
        for step in &summary.search {
            let word = if step.is_met { "met".to_owned() } else { format!("missed: {}", step.reason) };
            let name = format!("{:.0}/s", step.rate);
            row(out, &name, format!("achieved {:.0}/s, p99 {}, {word}", step.achieved, micros(step.p99_us)));
        }
    }
}

fn totals(out: &mut String, summary: &Summary) {
    let totals = &summary.totals;
    let _ = writeln!(out, "result");
    row(out, "acknowledged", format!("{} messages, {:.1} per second", grouped(totals.acknowledged), totals.rate));
    for (name, count) in [
        ("refused for now (4xx)", totals.tempfailed),
        ("refused for good (5xx)", totals.rejected),
        ("failed without a reply", totals.failed),
        ("due but never begun", totals.unsent),
    ] {
        if count > 0 {
            row(out, name, grouped(count));
        }
    }
    let mut words = format!("{} opened", grouped(totals.connections));
    if totals.tls_handshakes > 0 {
        let _ = write!(words, ", {} TLS, {} resumed", grouped(totals.tls_handshakes), grouped(totals.tls_resumed));
    }
    row(out, "connections", words);
    cost(out, "generator", &summary.generator);
    if summary.generator.busy > 0.9 {
        row(out, "", "The generator itself was the limit: give it more --threads, or another machine.");
    }
}

fn latencies(out: &mut String, summary: &Summary) {
    let _ = writeln!(
        out,
        "latency     {:>11} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "count", "p50", "p90", "p99", "p99.9", "max"
    );
    for phase in &summary.phases {
        let h = &phase.latency.0;
        let at = |quantile| micros(h.value_at_quantile(quantile));
        let _ = writeln!(
            out,
            "{:<11} {:>11} {:>10} {:>10} {:>10} {:>10} {:>10}",
            phase.name,
            grouped(h.len()),
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            micros(h.max())
        );
    }
    if summary.run.target_rate.is_some() {
        let _ = writeln!(out, "end to end is from the intended send time: a late start counts as the server's.");
        warn_of_lateness(out, summary);
    } else {
        let _ = writeln!(out, "closed loop: each session waits for its reply, so a slow server is asked less often.");
    }
}

fn server(out: &mut String, used: &ServerUse) {
    let _ = writeln!(out, "server (process {}, {})", used.pid, used.name);
    for (span, when) in [(&used.measured, "while measured"), (&used.whole, "until the last look")] {
        let Some(span) = span else { continue };
        let each = |value: u64| value as f64 / span.messages.max(1) as f64;
        let cpu = format!("{:.1} us of CPU per message", span.cpu_us_per_message);
        row(out, when, format!("{cpu} (user {:.2} s, system {:.2} s)", span.user_s, span.system_s));
        let (voluntary, involuntary) = (each(span.switches_voluntary), each(span.switches_involuntary));
        let mut words = format!("{voluntary:.2} voluntary and {involuntary:.2} involuntary switches");
        if let Some(written) = span.written_bytes {
            let _ = write!(words, ", {:.0} bytes written", each(written));
        }
        match (span.flushes, span.device_flushes) {
            (Some(flushes), _) => drop(write!(words, ", {:.3} flushes", each(flushes))),
            (None, Some(flushes)) => drop(write!(words, ", {:.3} flushes of the disk", each(flushes))),
            (None, None) => {}
        }
        row(out, "", format!("per message {words}"));
    }
    used.notes.iter().for_each(|note| row(out, "", note));
}

/// Where the generator lacked CPU the figures are worse than the server, and say so.
fn warn_of_lateness(out: &mut String, summary: &Summary) {
    let p99 = |name: &str| {
        let phase = summary.phases.iter().find(|phase| phase.name == name);
        phase.map_or(0, |phase| phase.latency.0.value_at_quantile(0.99))
    };
    let (late, all) = (p99("woken late"), p99("end to end"));
    if all > 0 && late > all / 4 {
        let (late, all) = (micros(late), micros(all));
        let _ = writeln!(
            out,
            "The generator itself woke late (p99 {late}, of {all} end to end): it lacks CPU, the server is better than this."
        );
    }
}

fn counts(out: &mut String, summary: &Summary) {
    let refusals: Vec<_> = summary.replies.iter().filter(|(reply, _)| is_refusal(reply)).collect();
    if !refusals.is_empty() {
        let _ = writeln!(out, "refusals");
        refusals.into_iter().for_each(|(reply, count)| row(out, reply, grouped(*count)));
    }
    if !summary.errors.is_empty() {
        let _ = writeln!(out, "errors");
        summary.errors.iter().for_each(|(error, count)| {
            let _ = writeln!(out, "  {:>12}  {error}", grouped(*count));
        });
    }
}

/// `RCPT 451` and the like.
fn is_refusal(reply: &str) -> bool {
    reply.rsplit(' ').next().is_some_and(|code| code.starts_with(['4', '5']))
}
