//! `posthaste-loadgen demo`: relay, sink and source on loopback, in one command.
//!
//! Starts the relay as a child with a configuration of its own in a folder of its own, sends through it to a sink in this
//! process, audits, and ends all it started, whatever happens in between.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use posthaste_rt::clock;
use posthaste_rt::signal::Signals;

use crate::audit::command as audit;
use crate::host;
use crate::process::span::Span as RunSpan;
use crate::process::watch::{self, WatchOptions};
use crate::report;
use crate::sink::options::Options as SinkOptions;
use crate::sink::run::{self as sink_run, Running};
use crate::source::options::Options as SourceOptions;
use crate::source::run::execute;
use crate::table;
use crate::values::Span;

/// The relay has this long to listen.
const START: Duration = Duration::from_secs(60);
/// And this long to end in order.
const END: Duration = Duration::from_secs(30);
/// What is still queued has this long to arrive.
const DRAIN_US: u64 = 60_000_000;
const CONFIGURATION: &str = include_str!("demo.toml");

/// Start the relay, a sink and a source on loopback for a minute, and look at the numbers
///
/// Needs the posthaste binary (cargo build --release) and no root. Everything it starts ends with it.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The relay's binary; without it, the one beside this program, then the one in PATH
    #[arg(long, value_name = "PATH")]
    posthaste: Option<PathBuf>,

    /// How long to measure
    #[arg(long, short = 't', value_name = "TIME", default_value = "60s")]
    time: String,

    /// Messages per second, sent at random times (Poisson)
    #[arg(long, value_name = "PER_SECOND", default_value = "1000")]
    rate: String,

    /// Search the highest rate that keeps a p99 of 50 ms instead
    #[arg(long)]
    find_max: bool,

    /// Size of the content
    #[arg(long, value_name = "SIZE", default_value = "10K")]
    size: String,

    /// Write the result as JSON to this file (summary.json in the folder)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the result as one HTML page to this file (report.html in the folder)
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Where ledgers, logs and the results go
    #[arg(long, value_name = "FOLDER", default_value = "var/loadgen-demo")]
    folder: PathBuf,
}

/// The relay, ended when it goes out of scope.
struct Relay {
    child: Child,
    port: u16,
    metrics_port: u16,
}

impl Drop for Relay {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill(); // it may just have ended
            let _ = self.child.wait();
        }
    }
}

impl Relay {
    fn start(binary: &Path, folder: &Path, sink_port: u16) -> anyhow::Result<Self> {
        // Free now; nobody else on this machine is expected to take it within the next moment.
        let (smtp, metrics) = (TcpListener::bind(("127.0.0.1", 0))?, TcpListener::bind(("127.0.0.1", 0))?);
        let (port, metrics_port) = (smtp.local_addr()?.port(), metrics.local_addr()?.port());
        drop((smtp, metrics));
        let configuration = CONFIGURATION
            .replace("@PORT@", &port.to_string())
            .replace("@METRICS@", &metrics_port.to_string())
            .replace("@SINK@", &sink_port.to_string())
            .replace("@FOLDER@", &folder.to_string_lossy());
        let path = folder.join("posthaste.toml");
        fs::write(&path, configuration).with_context(|| format!("cannot write {}", path.display()))?;
        let log = File::create(folder.join("posthaste.out"))?;
        let mut command = Command::new(binary);
        command.arg("run").arg("-c").arg(&path).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Its own group: Ctrl-C is ours, and we end it in order.
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("cannot start {}", binary.display()))?;
        let mut relay = Relay { child, port, metrics_port };
        relay.wait_until_it_listens(folder)?;
        Ok(relay)
    }

    fn wait_until_it_listens(&mut self, folder: &Path) -> anyhow::Result<()> {
        let started = clock::now();
        while clock::now() - started < START.as_micros() as u64 {
            if let Some(status) = self.child.try_wait()? {
                let said = fs::read_to_string(folder.join("posthaste.out")).unwrap_or_default();
                bail!("the relay ended at once ({status}); it said:\n{said}");
            }
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the relay does not listen after {} s; see {}/posthaste.out", START.as_secs(), folder.display())
    }

    fn end(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id())?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        let started = clock::now();
        while clock::now() - started < END.as_micros() as u64 {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    eprintln!("demo: the relay ended with {status}");
                }
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("demo: the relay does not end in order and is killed");
        Ok(())
    }
}

fn find_binary(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        if !path.is_file() {
            bail!("there is no {}", path.display());
        }
        return Ok(path.to_owned());
    }
    let beside = std::env::current_exe()?.with_file_name("posthaste");
    if beside.is_file() {
        return Ok(beside);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("posthaste")).find(|path| path.is_file());
    in_path.with_context(|| {
        format!(
            "no relay found: {} is not there. Build it (cargo build --release) or say --posthaste PATH",
            beside.display()
        )
    })
}

/// Waits until what was acknowledged has arrived, for a bounded time.
fn drain(sink: &mut Running, expected: u64, signals: &mut Signals) {
    let started = clock::now();
    while sink.messages() < expected && clock::now() - started < DRAIN_US {
        if host::interrupted(signals, Duration::from_millis(50)) {
            return;
        }
    }
}

/// Whether the audit is clean.
pub fn command(options: &Options, signals: &mut Signals) -> anyhow::Result<bool> {
    options.time.parse::<Span>().map_err(anyhow::Error::msg)?;
    let binary = find_binary(options.posthaste.as_deref())?;
    let folder = fresh_folder(&options.folder)?;
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (source_ledger, sink_ledger) = (path("source.ledger"), path("sink.ledger"));

    let sink_options = SinkOptions::from_words(&["--listen", "127.0.0.1:0", "--ledger", &sink_ledger])?;
    let mut sink = sink_run::start(&sink_options, 0)?;
    let relay = Relay::start(&binary, &folder, sink.addresses[0].port())?;
    println!("demo: {} (process {}) listens on 127.0.0.1:{}", binary.display(), relay.child.id(), relay.port);
    println!("demo: source -> relay (stored before 250) -> sink, all on this machine; Ctrl-C ends it");
    let server = format!("127.0.0.1:{}", relay.port);
    // Watched from here, so that the relaying of what is queued at the end counts too.
    let watch = WatchOptions::of(relay.child.id(), &format!("http://127.0.0.1:{}", relay.metrics_port))?;
    let watch = watch::start(&watch, ([127, 0, 0, 1].into(), relay.port))?;
    let mut words = vec![
        server.as_str(),
        "--no-watch",
        "--time",
        &options.time,
        "--size",
        &options.size,
        "--ledger",
        &source_ledger,
    ];
    match options.find_max {
        true => words.push("--find-max"),
        false => words.extend(["--rate", &options.rate]),
    }
    let mut summary = execute(&SourceOptions::from_words(&words)?, 1, signals)?;
    drain(&mut sink, summary.totals.acknowledged_in_all, signals);
    summary.server = watch.map(|watch| watch.finish(&RunSpan::of(&summary)));
    relay.end()?;
    summary.sink = Some(sink.finish()?);
    let audit_options = audit::Options::of(&source_ledger, &sink_ledger);
    let verdict = audit::make(&audit_options)?;
    summary.audit = Some(verdict.counts.clone());
    print!("{}", table::summary(&summary));
    let json = options.json.clone().unwrap_or_else(|| folder.join("summary.json"));
    let page = options.report.clone().unwrap_or_else(|| folder.join("report.html"));
    table::write_json(&json, &summary)?;
    report::write(&page, &summary)?;
    let _ = fs::remove_dir_all(folder.join("spool")); // the rest of the folder is for the reader
    println!(
        "demo: results in {} and {}, ledgers and the relay's log in {}",
        page.display(),
        json.display(),
        folder.display()
    );
    Ok(verdict.is_clean())
}

fn fresh_folder(wanted: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(wanted).with_context(|| format!("cannot make the folder {}", wanted.display()))?;
    let folder = fs::canonicalize(wanted)?;
    let spool = folder.join("spool");
    if spool.exists() {
        // Only ever a spool of an earlier demo: nothing else writes here.
        fs::remove_dir_all(&spool).with_context(|| format!("cannot remove {}", spool.display()))?;
    }
    Ok(folder)
}
