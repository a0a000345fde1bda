//! Starts the threads of a source, follows them, makes the summary.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::bail;
use hdrhistogram::Histogram;
use posthaste_rt::signal::Signals;
use posthaste_rt::{clock, shard as rt_shard};

use super::content::Library;
use super::options::{Options, Plan};
use super::probe::{self, Greeting};
use super::settings::{Load, Settings, TlsUse};
use super::shard::{self, Assignment, Ended, News};
use super::stats::{Counts, Second, Stats};
use super::{find_max, schedule};
use crate::host::{self, CpuTime, Stop};
use crate::ledger;
use crate::process::span::Span;
use crate::process::watch;
use crate::summary::{Cost, Run, Sample, Summary, Totals};
use crate::values::{grouped, micros};
use crate::{report, table, tls};

/// A source that has seen its server and can run.
#[derive(Debug)]
pub struct Runner {
    /// How sessions talk.
    pub settings: Arc<Settings>,
    /// What the server said of itself.
    pub greeting: Greeting,
    library: Arc<Library>,
    ledger: Option<ledger::Writer>,
    cpu_index: usize,
    is_quiet: bool,
}

/// What one run found.
#[derive(Debug)]
pub struct Found {
    /// Everything that was counted.
    pub stats: Stats,
    /// By seconds.
    pub samples: Vec<Sample>,
    /// CPU of the threads in the measured span.
    pub cpu: CpuTime,
    /// Length of the measured span.
    pub measured_s: f64,
    /// When it started, on the clock.
    pub started_us: u64,
    /// Ctrl-C came.
    pub is_interrupted: bool,
}

impl Found {
    /// Messages acknowledged per second of the measured span.
    pub fn rate(&self) -> f64 {
        if self.measured_s > 0.0 { self.stats.ended.acknowledged as f64 / self.measured_s } else { 0.0 }
    }
}

impl Runner {
    /// Looks at the server, chooses the extensions, makes the content. Threads run on processors from `cpu_index` on.
    pub fn prepare(plan: &Plan, output: &super::options::OutputOptions, cpu_index: usize) -> anyhow::Result<Self> {
        let mut settings = plan.settings.clone();
        host::prepare(settings.threads, settings.sessions + settings.idle)?;
        let seen = settings.clone();
        let greeting = match probe_on_shard(Arc::new(seen), cpu_index)? {
            Ok(greeting) => greeting,
            Err(failure) => return Err(probe::explain(&failure, &settings)),
        };
        settings.features = probe::choose(plan.wanted, &greeting, &settings.server_words)?;
        let library = library_of(&settings, settings.sizes.most());
        let head = format!("{} run={:016x}", ledger::SOURCE_HEAD, settings.run);
        let ledger = output.ledger.as_ref().map(|path| ledger::Writer::create(path, &head)).transpose()?;
        let (settings, library) = (Arc::new(settings), Arc::new(library));
        Ok(Runner { settings, greeting, library, ledger, cpu_index, is_quiet: output.quiet })
    }

    /// Runs one load.
    pub fn run(&self, load: Load, signals: &mut Signals) -> anyhow::Result<Found> {
        let (news_to, news) = mpsc::channel();
        // All threads start by the same clock; the first sends when all are there.
        let (stop, started_us) = (Stop::default(), clock::now() + 50_000);
        let parts = self.settings.threads;
        let mut shards = Vec::new();
        for part in 0..parts {
            let given = Assignment {
                settings: self.settings.clone(),
                library: self.library.clone(),
                load,
                part,
                parts,
                tls: tls_of(&self.settings)?,
                stop: stop.clone(),
                started_us,
                chunks: self.ledger.as_ref().map(ledger::Writer::chunks),
                news: news_to.clone(),
            };
            let cpu = host::cpu_of(self.cpu_index + part);
            shards.push(rt_shard::spawn(cpu, &format!("source{part}"), move || shard::run(given))?);
        }
        let mut follow = Follow::new(parts, load, self.is_quiet);
        let is_interrupted = follow.until_end(&news, &stop, signals);
        let (mut stats, mut cpu, mut measured_us) = (Stats::default(), CpuTime::default(), 0);
        for shard in shards {
            let ended: Ended = shard.join()?;
            stats.add(&ended.stats);
            cpu = cpu + ended.cpu;
            measured_us = measured_us.max(ended.measured_us);
        }
        let measured_s = measured_us as f64 / 1e6;
        Ok(Found { stats, samples: follow.samples(), cpu, measured_s, started_us, is_interrupted })
    }

    /// Everything in one value.
    pub fn summary(&self, load: &Load, found: &Found) -> Summary {
        let measured = &found.stats.measured;
        let totals = Totals {
            begun: measured.begun,
            acknowledged: measured.acknowledged,
            tempfailed: measured.tempfailed,
            rejected: measured.rejected,
            failed: measured.failed,
            unsent: found.stats.unsent,
            recipients: measured.recipients,
            content_bytes: measured.content_bytes,
            connections: found.stats.connections,
            tls_handshakes: found.stats.tls_handshakes,
            tls_resumed: found.stats.tls_resumed,
            acknowledged_in_all: found.stats.all.acknowledged,
            rate: found.rate(),
        };
        let threads_s = found.measured_s * self.settings.threads as f64;
        let generator = Cost {
            user_s: found.cpu.user_s,
            system_s: found.cpu.system_s,
            us_per_message: found.cpu.total_s() * 1e6 / found.stats.ended.acknowledged.max(1) as f64,
            busy: if threads_s > 0.0 { found.cpu.total_s() / threads_s } else { 0.0 },
        };
        Summary {
            run: self.describe(load, found),
            totals,
            samples: found.samples.clone(),
            phases: found.stats.phases(),
            replies: found.stats.replies(),
            errors: found.stats.errors.clone(),
            generator,
            ..Summary::default()
        }
    }

    fn describe(&self, load: &Load, found: &Found) -> Run {
        let settings = &self.settings;
        let (mode, arrivals) = match load.open {
            None => ("closed loop", "as fast as replies come".to_owned()),
            Some((schedule::Arrivals::Constant, _)) => ("open loop", "constant".to_owned()),
            Some((schedule::Arrivals::Poisson, _)) => ("open loop", "Poisson".to_owned()),
            Some((schedule::Arrivals::Bursts(size), _)) => ("open loop", format!("bursts of {size}")),
        };
        Run {
            id: format!("{:016x}", settings.run),
            generator: concat!("posthaste-loadgen ", env!("CARGO_PKG_VERSION")).into(),
            command: std::env::args().collect::<Vec<_>>().join(" "),
            started_ms: clock::wall_ms().saturating_sub((found.measured_s * 1e3) as u64 + load.warm_up_us / 1000),
            server: settings.server_words.clone(),
            banner: self.greeting.banner.clone(),
            extensions: self.greeting.extensions.clone(),
            mode: mode.into(),
            arrivals,
            target_rate: load.open.map(|(_, rate)| rate),
            sessions: settings.sessions,
            threads: settings.threads,
            sizes: settings.sizes.words(),
            options: option_words(settings),
            warm_up_s: load.warm_up_us as f64 / 1e6,
            measured_s: found.measured_s,
            clock_us: found.started_us,
        }
    }

    /// Ends the ledger.
    pub fn finish(self) -> anyhow::Result<()> {
        self.ledger.map_or(Ok(()), ledger::Writer::finish)
    }
}

fn library_of(settings: &Settings, size_max: usize) -> Library {
    let date = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S +0000");
    Library::new(settings.run, settings.body, size_max, &settings.sender, &date.to_string(), settings.seed)
}

fn tls_of(settings: &Settings) -> anyhow::Result<Option<Arc<rustls::ClientConfig>>> {
    if settings.tls.usage == TlsUse::None {
        return Ok(None);
    }
    let choice = tls::ClientChoice {
        resumes: settings.tls.resumes,
        anchors: settings.tls.anchors.as_deref(),
        version: settings.tls.version.as_deref(),
    };
    tls::client(choice).map(Some)
}

fn probe_on_shard(settings: Arc<Settings>, cpu_index: usize) -> anyhow::Result<Result<Greeting, super::link::Failure>> {
    let (news, _unheard) = mpsc::channel();
    let load = Load { open: None, warm_up_us: 0, end_us: 0, messages: None, first_number: 0 };
    let given = Assignment {
        tls: tls_of(&settings)?,
        library: Arc::new(library_of(&settings, 0)),
        settings,
        load,
        part: 0,
        parts: 1,
        stop: Stop::default(),
        started_us: clock::now(),
        chunks: None,
        news,
    };
    let probing = rt_shard::spawn(host::cpu_of(cpu_index), "probe", move || async move {
        probe::greet(&shard::Shard::new(given)).await
    })?;
    Ok(probing.join()?)
}

fn option_words(settings: &Settings) -> Vec<String> {
    let mut words = vec![if settings.is_lmtp { "LMTP".to_owned() } else { "SMTP".to_owned() }];
    words.push(settings.features.words());
    words.push(match settings.per_connection {
        None => "connections reused".into(),
        Some(1) => "one message per connection".into(),
        Some(n) => format!("{n} messages per connection"),
    });
    let resumption = if settings.tls.resumes { "resumption" } else { "full handshakes" };
    match settings.tls.usage {
        TlsUse::None => {}
        TlsUse::Starttls => words.push(format!("STARTTLS with {resumption}")),
        TlsUse::Implicit => words.push(format!("implicit TLS with {resumption}")),
    }
    if let Some(credentials) = &settings.credentials {
        words.push(format!("AUTH {:?}", credentials.mechanism).to_uppercase());
    }
    if let Some((version, _)) = settings.proxy {
        words.push(format!("PROXY {version:?}").to_lowercase());
    }
    if settings.recipients > 1 {
        words.push(format!("{} recipients each", settings.recipients));
    }
    if settings.idle > 0 {
        words.push(format!("{} idle connections besides", settings.idle));
    }
    words
}

/// Gathers the seconds of all threads and prints a line for each.
struct Follow {
    parts: Vec<Vec<Second>>,
    load: Load,
    printed: usize,
    is_quiet: bool,
    in_all: u64,
    failed: u64,
}

impl Follow {
    fn new(parts: usize, load: Load, is_quiet: bool) -> Self {
        Follow { parts: vec![Vec::new(); parts], load, printed: 0, is_quiet, in_all: 0, failed: 0 }
    }

    /// Until every thread has ended; Ctrl-C ends them. Whether that came.
    fn until_end(&mut self, news: &Receiver<News>, stop: &Stop, signals: &mut Signals) -> bool {
        let mut running = self.parts.len();
        while running > 0 {
            match news.recv_timeout(Duration::from_millis(50)) {
                Ok(News::Second(part, second)) => self.parts[part].push(second),
                Ok(News::Ended) => running -= 1,
                Err(_) => {}
            }
            self.print_whole_seconds();
            if host::interrupted(signals, Duration::ZERO) {
                stop.throw();
            }
        }
        stop.is_thrown()
    }

    fn print_whole_seconds(&mut self) {
        while self.parts.iter().all(|part| part.len() > self.printed) {
            let (sample, latency) = self.sample(self.printed);
            self.printed += 1;
            self.in_all += sample.acknowledged;
            self.failed += sample.refused + sample.failed;
            if self.is_quiet || self.is_afterwards(&sample) {
                continue;
            }
            let warm = if sample.is_warm_up { "  (warm-up)" } else { "" };
            let failed = match self.failed {
                0 => String::new(),
                failed => format!("  {} refused or failed", grouped(failed)),
            };
            eprintln!(
                "source: {:>4.0} s  {:>8}/s  p50 {:>9}  p99 {:>9}  max {:>9}  {:>10} in all{failed}{warm}",
                sample.at_s,
                grouped(sample.acknowledged),
                micros(latency.value_at_quantile(0.5)),
                micros(sample.p99_us),
                micros(sample.max_us),
                grouped(self.in_all),
            );
        }
    }

    fn sample(&self, place: usize) -> (Sample, Histogram<u64>) {
        let (mut counts, mut connections) = (Counts::default(), 0);
        let mut latency = super::stats::coarse();
        for second in self.parts.iter().filter_map(|part| part.get(place)) {
            counts.add(&second.counts);
            connections += second.connections;
            let _ = latency.add(&second.latency); // equal bounds: it cannot fail
        }
        let sample = Sample {
            at_s: (place + 1) as f64,
            is_warm_up: (place as u64 + 1) * 1_000_000 <= self.load.warm_up_us,
            begun: counts.begun,
            acknowledged: counts.acknowledged,
            refused: counts.tempfailed + counts.rejected,
            failed: counts.failed,
            connections,
            p50_us: latency.value_at_quantile(0.5),
            p99_us: latency.value_at_quantile(0.99),
            max_us: latency.max(),
        };
        (sample, latency)
    }

    /// Nothing happened in it, and nothing was to: the threads were only waiting for farewells.
    fn is_afterwards(&self, sample: &Sample) -> bool {
        let is_empty = sample.begun + sample.acknowledged + sample.refused + sample.failed == 0;
        is_empty && (sample.at_s - 1.0) * 1e6 >= self.load.end_us as f64
    }

    /// All seconds; the last may be a part of one.
    fn samples(&self) -> Vec<Sample> {
        let count = self.parts.iter().map(Vec::len).max().unwrap_or_default();
        (0..count).map(|place| self.sample(place).0).filter(|sample| !self.is_afterwards(sample)).collect()
    }
}

/// Prepares and runs what was asked for; gives the summary. Used by the command and by `demo`.
pub fn execute(options: &Options, cpu_index: usize, signals: &mut Signals) -> anyhow::Result<Summary> {
    let plan = options.resolve()?;
    let runner = Runner::prepare(&plan, &options.output, cpu_index)?;
    let server = plan.settings.servers.first().map(|address| (address.ip(), address.port()));
    let watch = server.map(|server| watch::start(&options.watch, server)).transpose()?.flatten();
    let mut summary = match plan.goal {
        Some(goal) => find_max::search(&runner, &plan, goal, signals)?,
        None => {
            let found = runner.run(plan.load, signals)?;
            runner.summary(&plan.load, &found)
        }
    };
    runner.finish()?;
    summary.server = watch.map(|watch| watch.finish(&Span::of(&summary)));
    Ok(summary)
}

/// `posthaste-loadgen source`.
pub fn command(options: &Options, signals: &mut Signals) -> anyhow::Result<()> {
    let summary = execute(options, 0, signals)?;
    if let Some(path) = &options.output.json {
        table::write_json(path, &summary)?;
    }
    if let Some(path) = &options.output.report {
        report::write(path, &summary)?;
    }
    if options.output.json.as_deref() != Some(std::path::Path::new("-")) {
        print!("{}", table::summary(&summary));
    }
    if summary.totals.acknowledged_in_all == 0 {
        bail!("no message was acknowledged");
    }
    Ok(())
}
