//! The sink's own ceiling: a source in this process, on other threads, sends as fast as replies come.

use posthaste_rt::signal::Signals;

use super::options::{Options, TlsUse};
use super::run;
use crate::source::options::Options as SourceOptions;
use crate::source::run::execute;
use crate::summary::{SinkCounts, Summary};
use crate::table;
use crate::values::grouped;

/// How long is measured.
const TIME: &str = "5s";

/// Prints the ceiling: with DATA and in groups, as most clients send.
pub fn command(options: &Options, signals: &mut Signals) -> anyhow::Result<()> {
    let mut options = options.clone();
    options.listen = vec![([127, 0, 0, 1], 0).into()];
    let sink = run::start(&options, 0)?;
    let server = sink.addresses[0].to_string();
    let threads = options.threads.to_string();
    let mut words = vec![server.as_str(), "--time", TIME, "--warm-up", "1s", "--threads", threads.as_str()];
    match options.tls_use() {
        TlsUse::Never => {}
        TlsUse::Offered => words.extend(["--tls", "starttls"]),
        TlsUse::Implicit => words.extend(["--tls", "implicit"]),
    }
    if options.lmtp {
        words.push("--lmtp");
    }
    if options.quiet {
        words.push("--quiet");
    }
    let summary = execute(&SourceOptions::from_words(&words)?, options.threads, signals)?;
    let counts = sink.finish()?;
    if let Some(path) = &options.json {
        table::write_json(path, &Summary { sink: Some(counts.clone()), ..summary.clone() })?;
    }
    print!("{}", words_of(&summary, &counts));
    Ok(())
}

fn words_of(summary: &Summary, counts: &SinkCounts) -> String {
    let of = |us: f64| grouped((1e6 / us.max(0.001)) as u64);
    let (sink_us, source_us) = (counts.cost.us_per_message, summary.generator.us_per_message);
    format!(
        "self-test: {} of {}, {} sessions, connections reused, sink and source on the same machine\n  \
         together          {} messages/s\n  \
         sink              {sink_us:.1} us of CPU per message: a core of its own takes {} messages/s\n  \
         source            {source_us:.1} us of CPU per message: a core of its own sends {} messages/s\n  \
         checked           {} messages, {} altered, {} doubled\n",
        summary.run.sizes,
        summary.run.options.join(", "),
        summary.run.sessions,
        grouped(summary.totals.rate as u64),
        of(sink_us),
        of(source_us),
        grouped(counts.messages),
        counts.altered,
        counts.further,
    )
}
