//! A thread that looks at the server once a second while a run goes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use posthaste_rt::clock;

use super::family::Family;
use super::find::{self, Disk};
use super::scrape::{self, Url};
use super::span::{Seen, Span, Timed};
use crate::summary::ServerUse;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);
/// Looks after which the disk is no longer searched for.
const DISK_TRIES: usize = 5;
/// Most looks kept: a day.
const LOOKS_MAX: usize = 86_400;

/// Which process is watched, and how.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Watching the server")]
pub struct WatchOptions {
    /// Watch this process and its children (the listener of the port, where it is on this machine and ours to see)
    #[arg(long, value_name = "PID")]
    watch_pid: Option<u32>,

    /// Read flushes from the server's metrics, e.g. http://127.0.0.1:9090/metrics
    #[arg(long, value_name = "URL")]
    watch_metrics: Option<Url>,

    /// The metric that counts flushes: the end of its name is enough
    #[arg(long, value_name = "NAME", default_value = "spool_syncs_total")]
    watch_flush_metric: String,

    /// Count flushes and bytes of the disk that holds this path (that of the files the process writes)
    #[arg(long, value_name = "PATH")]
    watch_disk: Option<PathBuf>,

    /// Watch nothing
    #[arg(long, conflicts_with_all = ["watch_pid", "watch_metrics", "watch_disk"])]
    no_watch: bool,
}

impl WatchOptions {
    /// Of a process that the caller started, with the disk of the files that it writes.
    pub fn of(pid: u32, metrics: &str) -> anyhow::Result<Self> {
        let metrics = metrics.parse().map_err(anyhow::Error::msg)?;
        let metric = "spool_syncs_total".to_owned();
        Ok(WatchOptions {
            watch_pid: Some(pid),
            watch_metrics: Some(metrics),
            watch_flush_metric: metric,
            ..WatchOptions::default()
        })
    }

    /// The process, where there is one to watch.
    fn pid(&self, server: (IpAddr, u16)) -> anyhow::Result<Option<u32>> {
        if let Some(pid) = self.watch_pid {
            find::stat(pid).ok_or_else(|| anyhow!("--watch-pid {pid}: there is no such process"))?;
            return Ok(Some(pid));
        }
        // Loopback is surely this machine; elsewhere the same port may be another server's.
        let found = server.0.is_loopback().then(|| find::listener(server.1)).flatten();
        Ok(found.filter(|pid| *pid != std::process::id()))
    }
}

/// A thread that watches; it ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    stop: Sender<()>,
    thread: JoinHandle<Looks>,
}

/// What the thread gives back.
#[derive(Debug, Default)]
struct Looks {
    seen: Vec<Timed>,
    notes: BTreeSet<String>,
    name: String,
    disk: Option<String>,
}

/// What the thread needs.
#[derive(Debug)]
struct Watcher {
    family: Family,
    pid: u32,
    disk: Option<Disk>,
    metrics: Option<Url>,
    flush_metric: String,
    looks: Looks,
}

/// Starts to watch the server at `server`; `None` where there is nothing to see and nothing was demanded.
pub fn start(options: &WatchOptions, server: (IpAddr, u16)) -> anyhow::Result<Option<Watch>> {
    if options.no_watch {
        return Ok(None);
    }
    let Some(pid) = options.pid(server)? else {
        if options.watch_metrics.is_some() || options.watch_disk.is_some() {
            eprintln!("warning: no process listens on port {} that we may see: give --watch-pid", server.1);
        }
        return Ok(None);
    };
    let disk = match &options.watch_disk {
        Some(path) => {
            let disk = Disk::of_path(path);
            Some(disk.with_context(|| format!("--watch-disk {}: no block device is behind it", path.display()))?)
        }
        None => None,
    };
    let Some(family) = Family::of(pid) else { return Ok(None) };
    let name = find::stat(pid).map(|stat| stat.name).unwrap_or_default();
    let (metrics, flush_metric) = (options.watch_metrics.clone(), options.watch_flush_metric.clone());
    let looks = Looks { name, ..Looks::default() };
    let mut watcher = Watcher { family, pid, disk, metrics, flush_metric, looks };
    watcher.look();
    let (stop, stopped) = mpsc::channel();
    let thread = thread::Builder::new().name("watch".into()).spawn(move || watcher.run(&stopped))?;
    Ok(Some(Watch { pid, stop, thread }))
}

impl Watcher {
    fn run(mut self, stopped: &Receiver<()>) -> Looks {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(PERIOD) {
            if self.looks.seen.len() < LOOKS_MAX && !self.look() {
                self.looks.notes.insert("the process ended while it was watched".into());
                return self.looks;
            }
        }
        self.look();
        self.looks
    }

    /// Whether there was something to see.
    fn look(&mut self) -> bool {
        let Some(look) = self.family.look() else { return false };
        let at_us = clock::now(); // what follows may take its time
        if look.written_bytes.is_none() {
            self.looks.notes.insert("bytes of the process are hidden: /proc/PID/io needs the same user or root".into());
        }
        if self.disk.is_none() && self.looks.seen.len() < DISK_TRIES {
            self.disk = Disk::of_process(self.pid);
        }
        let disk = self.disk.as_ref().and_then(Disk::counts);
        self.looks.disk = self.disk.as_ref().map(|disk| disk.name.clone());
        let seen = Seen {
            look,
            flushes: self.flushes(),
            device_written_bytes: disk.map(|(written, _)| written),
            device_flushes: disk.and_then(|(_, flushes)| flushes),
        };
        self.looks.seen.push(Timed { at_us, seen });
        true
    }

    fn flushes(&mut self) -> Option<u64> {
        let url = self.metrics.as_ref()?;
        match scrape::counter(url, &self.flush_metric) {
            Ok(count) => Some(count),
            Err(error) => {
                self.looks.notes.insert(format!("metrics: {error}"));
                None
            }
        }
    }
}

impl Watch {
    /// Ends it. The samples are those of the run that started at `run.started_us` on the clock.
    pub fn finish(self, run: &Span) -> ServerUse {
        drop(self.stop);
        let Ok(looks) = self.thread.join() else { return ServerUse { pid: self.pid, ..ServerUse::default() } };
        ServerUse {
            pid: self.pid,
            name: looks.name,
            disk: looks.disk,
            notes: looks.notes.into_iter().collect(),
            measured: run.measured(&looks.seen),
            whole: run.whole(&looks.seen),
            samples: run.samples(&looks.seen),
        }
    }
}
