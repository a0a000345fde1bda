//! The page around the charts: header, verdict, tables, and the numbers themselves as JSON. Pure.
//!
//! Well-formed as XML too, so that any parser can read it back; no script that runs, nothing fetched.

use std::fmt::Write as _;

use super::charts::{Figure, figures};
use super::svg::escape;
use super::words::{bytes, count, short};
use crate::summary::{Cost, ServerSpan, ServerUse, SinkCounts, Summary};
use crate::values::{grouped, micros};

const STYLE: &str = include_str!("style.css");
/// Share of its threads' time above which the generator is said to be the limit.
const BUSY: f64 = 0.9;

/// Rows of names and values.
type Rows = Vec<(String, String)>;

/// The whole page. `json` is the same summary, as it is written to files.
pub fn html(summary: &Summary, json: &str) -> String {
    let mut out = String::with_capacity(64 * 1024 + json.len());
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&title(summary))
    );
    header(&mut out, summary);
    verdicts(&mut out, summary);
    tiles(&mut out, summary);
    out.push_str("<h2>Over time, and by percentile</h2>\n<div class=\"figures\">\n");
    figures(summary).iter().for_each(|figure| draw(&mut out, figure));
    out.push_str("</div>\n");
    latencies(&mut out, summary);
    search(&mut out, summary);
    out.push_str("<h2>Counts</h2>\n<div class=\"tables\">\n");
    for (heading, rows) in tables(summary) {
        table(&mut out, heading, &rows);
    }
    out.push_str("</div>\n");
    let _ = write!(
        out,
        "<p class=\"note\">All of this as data: the JSON in the element <code>#summary</code> of this page.</p>\n</main>\n\
         <script type=\"application/json\" id=\"summary\">{}</script>\n</body>\n</html>\n",
        inert(json)
    );
    out
}

/// JSON that neither ends a script element nor disturbs an XML parser.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

fn title(summary: &Summary) -> String {
    format!("Load on {}", summary.run.server)
}

fn header(out: &mut String, summary: &Summary) {
    let run = &summary.run;
    let started = i64::try_from(run.started_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let started = started.map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).unwrap_or_default();
    let target = run.target_rate.map(|rate| format!(" at {} messages/s", count(rate))).unwrap_or_default();
    let _ = write!(
        out,
        "<h1>{}</h1>\n<p class=\"soft\">{}</p>\n\
         <p>{}{target}, {}; {} sessions on {} thread{}; {}; {}. Measured {} s after {} s of warm-up.</p>\n\
         <p class=\"note\">{started}, run {}, {}</p>\n<p class=\"note\"><code>{}</code></p>\n",
        escape(&title(summary)),
        escape(&run.banner),
        escape(&capital(&run.mode)),
        escape(&run.arrivals),
        run.sessions,
        run.threads,
        if run.threads == 1 { "" } else { "s" },
        escape(&run.sizes),
        escape(&run.options.join(", ")),
        short(run.measured_s),
        short(run.warm_up_s),
        escape(&run.id),
        escape(&run.generator),
        escape(&run.command),
    );
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn verdict(out: &mut String, class: &str, word: &str, text: &str) {
    let (word, text) = (escape(word), escape(text));
    let _ = writeln!(out, "<div class=\"verdict {class}\"><b>{word}</b><span>{text}</span></div>");
}

fn verdicts(out: &mut String, summary: &Summary) {
    match &summary.audit {
        None => verdict(out, "none", "No audit", "whether all that was acknowledged arrived was not checked"),
        Some(audit) => {
            let is_clean = audit.lost + audit.doubled + audit.altered == 0;
            let text = format!(
                "{} acknowledged, {} arrived once and unaltered; {} lost, {} doubled, {} altered, {} returned",
                grouped(audit.acknowledged),
                grouped(audit.intact),
                grouped(audit.lost),
                grouped(audit.doubled),
                grouped(audit.altered),
                grouped(audit.returned)
            );
            let (class, word) = if is_clean { ("good", "Audit: clean") } else { ("failed", "Audit: FAILED") };
            verdict(out, class, word, &text);
        }
    }
    let totals = &summary.totals;
    if totals.unsent > 0 {
        let text = format!("{} messages were due and never begun: the rate was not sustained", grouped(totals.unsent));
        verdict(out, "warn", "Behind", &text);
    }
    if summary.generator.busy > BUSY {
        let text = format!(
            "its threads were busy for {:.0} % of the time: give it more, or another machine",
            summary.generator.busy * 100.0
        );
        verdict(out, "warn", "The generator was the limit", &text);
    }
}

fn tile(out: &mut String, value: &str, what: &str) {
    let (value, what) = (escape(value), escape(what));
    let _ = writeln!(
        out,
        "<div class=\"tile\"><span class=\"value\">{value}</span><span class=\"what\">{what}</span></div>"
    );
}

fn tiles(out: &mut String, summary: &Summary) {
    out.push_str("<div class=\"tiles\">\n");
    let totals = &summary.totals;
    tile(out, &format!("{}/s", grouped(totals.rate.round() as u64)), "messages acknowledged");
    if let Some(phase) = summary.phases.iter().find(|phase| phase.name == "end to end") {
        for (quantile, what) in [(0.5, "median, end to end"), (0.99, "99th percentile"), (0.999, "99.9th percentile")] {
            tile(out, &micros(phase.latency.0.value_at_quantile(quantile)), what);
        }
    }
    tile(out, &grouped(totals.tempfailed + totals.rejected + totals.failed), "refused or failed");
    if let Some(span) = summary.server.as_ref().and_then(|server| server.measured.as_ref()) {
        tile(out, &format!("{} us", short(span.cpu_us_per_message)), "server CPU per message");
        if let Some(flushes) = span.flushes.or(span.device_flushes) {
            let what = if span.flushes.is_some() { "flushes per message" } else { "disk flushes per message" };
            tile(out, &short(flushes as f64 / span.messages.max(1) as f64), what);
        }
        tile(out, &bytes(span.resident_bytes_max as f64), "most resident memory");
    }
    out.push_str("</div>\n");
}

fn draw(out: &mut String, figure: &Figure) {
    let class = if figure.is_wide { " class=\"wide\"" } else { "" };
    let _ = write!(out, "<figure{class}>\n<figcaption><h3>{}</h3>", escape(figure.heading));
    if !figure.note.is_empty() {
        let _ = write!(out, "<span class=\"note\">{}</span>", escape(&figure.note));
    }
    if !figure.legend.is_empty() {
        out.push_str("<span class=\"legend\">");
        for (class, is_dashed, name) in &figure.legend {
            let dashed = if *is_dashed { " dashed" } else { "" };
            let _ = write!(out, "<span><i class=\"{class}{dashed}\"></i>{}</span>", escape(name));
        }
        out.push_str("</span>");
    }
    let _ = write!(out, "</figcaption>\n{}</figure>\n", figure.chart.svg());
}

fn latencies(out: &mut String, summary: &Summary) {
    if summary.phases.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Latency</h2>\n<div class=\"card\">\n<table id=\"latency\">\n<thead><tr><th>phase</th><th class=\"number\">count</th>",
    );
    let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];
    for name in quantiles.iter().map(|(name, _)| *name).chain(["longest"]) {
        let _ = write!(out, "<th class=\"number\">{name}</th>");
    }
    out.push_str("<th>from when to when</th></tr></thead>\n<tbody>\n");
    for phase in &summary.phases {
        let latency = &phase.latency.0;
        let _ = write!(out, "<tr><th>{}</th><td class=\"number\">{}</td>", escape(&phase.name), grouped(latency.len()));
        let values = quantiles.iter().map(|(_, quantile)| latency.value_at_quantile(*quantile));
        for value in values.chain([latency.max()]) {
            let _ = write!(out, "<td class=\"number\">{}</td>", micros(value));
        }
        let _ = writeln!(out, "<td class=\"note\">{}</td></tr>", escape(&phase.meaning));
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn search(out: &mut String, summary: &Summary) {
    if summary.search.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Search for the highest rate</h2>\n<div class=\"card\">\n<table id=\"search\">\n<thead><tr><th class=\"number\">intended</th>\
         <th class=\"number\">achieved</th><th class=\"number\">p99</th><th>verdict</th></tr></thead>\n<tbody>\n",
    );
    for step in &summary.search {
        let (class, word) = if step.is_met { ("met", "met") } else { ("missed", step.reason.as_str()) };
        let _ = writeln!(
            out,
            "<tr><td class=\"number\">{:.0}/s</td><td class=\"number\">{:.0}/s</td><td class=\"number\">{}</td><td class=\"{class}\">{}</td></tr>",
            step.rate,
            step.achieved,
            micros(step.p99_us),
            escape(word)
        );
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn table(out: &mut String, heading: &str, rows: &Rows) {
    let _ = write!(out, "<div class=\"card\">\n<h3>{}</h3>\n<table>\n<tbody>\n", escape(heading));
    for (name, value) in rows {
        let _ = writeln!(out, "<tr><th>{}</th><td class=\"number\">{}</td></tr>", escape(name), escape(value));
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
}

fn row(rows: &mut Rows, name: &str, value: impl Into<String>) {
    rows.push((name.to_owned(), value.into()));
}

/// Only where it says something.
fn row_some(rows: &mut Rows, name: &str, value: u64) {
    if value > 0 {
        row(rows, name, grouped(value));
    }
}

fn tables(summary: &Summary) -> Vec<(&'static str, Rows)> {
    let mut all = vec![("Result", result(summary))];
    if let Some(server) = &summary.server {
        all.push(("Server", server_rows(server)));
    }
    if let Some(sink) = &summary.sink {
        all.push(("Sink", sink_rows(sink)));
    }
    if let Some(audit) = &summary.audit {
        let mut rows = Rows::new();
        for (name, value) in [
            ("acknowledged", audit.acknowledged),
            ("arrived once, unaltered", audit.intact),
            ("lost", audit.lost),
            ("doubled", audit.doubled),
            ("altered", audit.altered),
            ("returned to the sender", audit.returned),
            ("arrived, no reply seen", audit.unacknowledged),
        ] {
            row(&mut rows, name, grouped(value));
        }
        all.push(("Audit, per recipient", rows));
    }
    let counts = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.iter().map(|(name, count)| (name.clone(), grouped(*count))).collect::<Rows>()
    };
    for (heading, map) in [("Replies", &summary.replies), ("Errors without a reply", &summary.errors)] {
        if !map.is_empty() {
            all.push((heading, counts(map)));
        }
    }
    all
}

fn result(summary: &Summary) -> Rows {
    let (mut rows, totals) = (Rows::new(), &summary.totals);
    row(&mut rows, "begun", grouped(totals.begun));
    row(&mut rows, "acknowledged", grouped(totals.acknowledged));
    row(&mut rows, "per second", format!("{:.1}", totals.rate));
    row_some(&mut rows, "refused for now (4xx)", totals.tempfailed);
    row_some(&mut rows, "refused for good (5xx)", totals.rejected);
    row_some(&mut rows, "failed without a reply", totals.failed);
    row_some(&mut rows, "due, never begun", totals.unsent);
    row(&mut rows, "recipients", grouped(totals.recipients));
    row(&mut rows, "content", bytes(totals.content_bytes as f64));
    row(&mut rows, "connections", grouped(totals.connections));
    row_some(&mut rows, "TLS handshakes", totals.tls_handshakes);
    row_some(&mut rows, "resumed", totals.tls_resumed);
    row(&mut rows, "acknowledged in all, with warm-up", grouped(totals.acknowledged_in_all));
    cost(&mut rows, "generator", &summary.generator);
    rows
}

fn cost(rows: &mut Rows, who: &str, cost: &Cost) {
    let words = format!("{} us per message, {:.0} % busy", short(cost.us_per_message), cost.busy * 100.0);
    row(rows, &format!("CPU of the {who}"), words);
}

fn server_rows(server: &ServerUse) -> Rows {
    let mut rows = Rows::new();
    row(&mut rows, "process", format!("{} ({})", server.name, server.pid));
    if let Some(disk) = &server.disk {
        row(&mut rows, "disk", disk);
    }
    for (span, when) in [(&server.measured, "measured"), (&server.whole, "until the last look")] {
        if let Some(span) = span {
            span_rows(&mut rows, span, when);
        }
    }
    server.notes.iter().for_each(|note| row(&mut rows, "note", note));
    rows
}

fn span_rows(rows: &mut Rows, span: &ServerSpan, when: &str) {
    let each = |value: u64| short(value as f64 / span.messages.max(1) as f64);
    row(rows, when, format!("{} messages in {:.1} s", grouped(span.messages), span.seconds));
    row(rows, "CPU, user and system", format!("{:.2} s and {:.2} s", span.user_s, span.system_s));
    row(rows, "CPU per message", format!("{} us", short(span.cpu_us_per_message)));
    row(rows, "most resident memory", bytes(span.resident_bytes_max as f64));
    let (voluntary, involuntary) = (each(span.switches_voluntary), each(span.switches_involuntary));
    row(rows, "context switches per message", format!("{voluntary} voluntary, {involuntary} involuntary"));
    if let Some(written) = span.written_bytes {
        row(rows, "bytes written per message", format!("{} B", each(written)));
    }
    if let Some(flushes) = span.flushes {
        row(rows, "flushes per message", each(flushes));
    }
    if let Some(flushes) = span.device_flushes {
        row(rows, "flushes of the disk per message", each(flushes));
    }
    if let Some(written) = span.device_written_bytes {
        row(rows, "bytes written by the disk per message", format!("{} B", each(written)));
    }
}

fn sink_rows(sink: &SinkCounts) -> Rows {
    let mut rows = Rows::new();
    row(&mut rows, "connections", grouped(sink.connections));
    row_some(&mut rows, "TLS handshakes", sink.tls_handshakes);
    row(&mut rows, "messages", grouped(sink.messages));
    row(&mut rows, "recipients", grouped(sink.recipients));
    row(&mut rows, "content", bytes(sink.content_bytes as f64));
    row(&mut rows, "first arrivals", grouped(sink.first));
    row(&mut rows, "further arrivals", grouped(sink.further));
    row(&mut rows, "altered", grouped(sink.altered));
    row_some(&mut rows, "without our field", sink.unmarked);
    row_some(&mut rows, "returned in reports", sink.returned);
    row_some(&mut rows, "dropped on purpose", sink.dropped);
    cost(&mut rows, "sink", &sink.cost);
    rows
}
