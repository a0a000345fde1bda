//! From arguments to running shards, and back down in order.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use posthaste_rt::bridge::ControlPlane;
use posthaste_rt::mesh::{self, Address};
use posthaste_rt::preflight::Needs;
use posthaste_rt::privileges::{self, Identity};
use posthaste_rt::signal::{Signal, Signals};
use posthaste_rt::{clock, preflight, shard as executor};

use super::banner::banner;
use super::fleet::Fleet;
use super::reload::{Reloader, activate};
use crate::base::{ShardId, WallTime};
use crate::cli::RunArgs;
use crate::config::Loaded;
use crate::control::{self, Ask};
use crate::events::{self, Writers};
use crate::limits::KeyMaker;
use crate::listener;
use crate::observe::log::Level;
use crate::observe::writer::LogWriter;
use crate::observe::{self, Event};
use crate::shard::query::Answer;
use crate::shard::{self, Message, Opened, Plan};
use crate::tls::client::ClientTls;
use crate::tls::identity::Tickets;

/// Threads of the control plane.
const CONTROL_WORKERS: usize = 1;
/// Descriptors beyond connections: segments, sockets to next hops, the control plane's own.
const DESCRIPTORS_BESIDES: u64 = 4096;
/// How long the whole stop may take; what is under way then is cut.
const STOP_WITHIN: Duration = Duration::from_secs(45);

/// Runs the server until a signal ends it.
///
/// # Errors
/// What keeps it from starting, in words for the operator.
pub fn run(args: &RunArgs, loaded: Loaded, mut signals: Signals) -> Result<ExitCode> {
    privileges::harden().context("preparing the process")?;
    let config = loaded.config.clone();
    let shards = args.shards.or(config.server.shards).unwrap_or_else(|| executor::cpus().len().min(64) as u16).max(1);
    let connections: u64 = config.listeners.iter().map(|l| u64::from(l.max_connections)).sum();
    let needs = Needs { shards: usize::from(shards), descriptors: connections + DESCRIPTORS_BESIDES };
    let capabilities = preflight(needs).context("this machine cannot run posthaste as it is")?;
    for warning in &capabilities.warnings {
        eprintln!("posthaste: {warning}");
    }

    let tickets = Tickets::new().map_err(|error| anyhow!("making keys for TLS tickets: {error}"))?;
    let active = Arc::new(activate(&config, &tickets).map_err(|words| anyhow!("{words}"))?);
    let mut sockets = bind_listeners(&loaded, usize::from(shards))?;
    let control_socket = control::socket::bind(&config.control.socket)
        .with_context(|| format!("control socket {}", config.control.socket.display()))?;
    let scrape = match config.observe.prometheus.enable {
        true => Some(std::net::TcpListener::bind(config.observe.prometheus.bind).with_context(|| {
            format!("metrics.prometheus.bind: cannot listen on {}", config.observe.prometheus.bind)
        })?),
        false => None,
    };
    make_private(&config.spool.path).context("spool.path")?;
    drop_privileges(&loaded)?;

    // From here on threads start.
    let tracer = config.observe.tracers.iter().find(|tracer| tracer.enable);
    let log = LogWriter::start(tracer)
        .with_context(|| format!("opening the log{}", tracer.map(log_place).unwrap_or_default()))?;
    let (writers, faults) = Writers::start(&config.events).context("starting the writers of events")?;
    let writers = Arc::new(writers);
    for fault in &faults {
        eprintln!("posthaste: {fault}");
    }
    configure_log(&loaded, 0);
    let plane = ControlPlane::start(CONTROL_WORKERS).context("starting the control plane")?;
    let dns = crate::dns::Upstream::new(&config.dns, plane.handle()).context("resolver")?;

    let client_tls = ClientTls::system().map_err(|error| anyhow!("preparing TLS for next hops: {error}"))?;
    let seed = random_seed();

    let cpus = executor::cpus();
    let (addresses, receivers): (Vec<Address<Message>>, Vec<_>) = (0..shards).map(|_| mesh::channel()).unzip();
    let reloader =
        Arc::new(Reloader::new(args.config.clone(), tickets, addresses.clone(), loaded.clone(), writers.clone()));
    let mut running = Running::default();
    for (index, receiver) in receivers.into_iter().enumerate() {
        let plan = Plan {
            id: ShardId(index as u16),
            shards,
            active: active.clone(),
            sockets: std::mem::take(&mut sockets[index]),
            receiver,
            addresses: addresses.clone(),
            control: plane.handle(),
            dns: dns.clone(),
            client_tls: client_tls.clone(),
            keys: KeyMaker::new(seed),
            seed: seed.wrapping_add(index as u64 + 1),
            log: log.sender(),
            events: told(&config.events, &writers),
        };
        let cpu = cpus[index % cpus.len()];
        let handle = executor::spawn(cpu, &format!("shard-{index}"), move || shard::run(plan));
        running.enter(handle.map_err(|error| anyhow!("{error}"))?);
    }
    let fleet: Arc<dyn Ask> = Arc::new(Fleet { shards: addresses.clone(), reloader: reloader.clone() });
    serve_control(&plane, &loaded, control_socket, scrape, &fleet);
    eprint!("{}", banner(&config, shards, args.config.is_none()));
    say(&log, Level::Info, Event::ServerStart, &format!("{shards} shards, kernel {}", capabilities.kernel));

    wait_for_the_end(&mut signals, &running, &plane, &reloader, &log)?;
    for address in &addresses {
        let _ = address.try_send(Message::Stop); // a shard that is gone has stopped
    }
    let failed = running.join_within(STOP_WITHIN);
    say(&log, Level::Info, Event::ServerStop, if failed.is_empty() { "in order" } else { "not in order" });
    plane.shutdown(Duration::from_secs(1));
    let _ = std::fs::remove_file(&config.control.socket); // the next start replaces it otherwise
    drop(log);
    for words in &failed {
        eprintln!("posthaste: {words}");
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who is told of events, with a way to each.
fn told(settings: &[events::Settings], writers: &Writers) -> Vec<(events::Settings, events::Sink)> {
    settings.iter().filter_map(|one| Some((one.clone(), writers.sink(&one.id)?))).collect()
}

fn bind_listeners(loaded: &Loaded, shards: usize) -> Result<Vec<Vec<Opened>>> {
    let mut sockets: Vec<Vec<Opened>> = (0..shards).map(|_| Vec::new()).collect();
    let mut faults = Vec::new();
    for listener in &loaded.config.listeners {
        for address in &listener.bind {
            match listener::bind(listener, *address, shards) {
                Ok(bound) => {
                    for (shard, socket) in bound.into_iter().enumerate() {
                        sockets[shard].push(Opened { listener: listener.id.clone(), socket });
                    }
                }
                Err(error) => faults.push(error.to_string()),
            }
        }
    }
    if faults.is_empty() { Ok(sockets) } else { Err(anyhow!("{}", faults.join("\n"))) }
}

/// Makes the directory, readable by its owner only; a link in its place is refused.
fn make_private(path: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| path.display().to_string())?;
    let found = std::fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
    if !found.is_dir() {
        return Err(anyhow!("{} is not a directory (links are not followed)", path.display()));
    }
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let private = std::fs::Permissions::from_mode(mode & 0o700);
        std::fs::set_permissions(path, private).with_context(|| format!("making {} private", path.display()))?;
        eprintln!("posthaste: {} had mode {mode:04o}; it is its owner's alone now", path.display());
    }
    Ok(())
}

fn drop_privileges(loaded: &Loaded) -> Result<()> {
    let server = &loaded.config.server;
    match (&server.run_as_user, privileges::is_root()) {
        (Some(user), true) => {
            let identity = Identity::lookup(user, server.run_as_group.as_deref()).context("server.run-as")?;
            let owner = match &server.run_as_group {
                Some(group) => format!("{user}:{group}"),
                None => format!("{user}:"),
            };
            only_of(&loaded.config.spool.path, identity.uid, user, &owner)?;
            for path in [&loaded.config.spool.path, &loaded.config.control.socket] {
                let path: &PathBuf = path;
                std::os::unix::fs::chown(path, Some(identity.uid), Some(identity.gid))
                    .with_context(|| format!("giving {} to {user}", path.display()))?;
            }
            privileges::drop_to(&identity).context("dropping privileges")
        }
        (None, true) => {
            eprintln!(
                "posthaste: running as root; set server.run-as.user so that it binds and then drops its privileges"
            );
            Ok(())
        }
        (_, false) => Ok(()),
    }
}

/// Refuses a spool that holds what is not `user`'s, as a server makes that ran as somebody else. It is not given over
/// here: root that changes owners in a directory of somebody else's follows whatever link was put there.
fn only_of(spool: &Path, uid: u32, user: &str, owner: &str) -> Result<()> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let mut folders = vec![spool.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry.with_context(|| folder.display().to_string())?.path();
            let found = std::fs::symlink_metadata(&path).with_context(|| path.display().to_string())?;
            let is_socket = found.file_type().is_socket(); // the control socket may be in here, bound just now
            if found.uid() != uid && !is_socket {
                return Err(anyhow!(
                    "spool.path: {} belongs to user {}, and server.run-as.user is {user}; give it over: \
                     chown -R {owner} {}",
                    path.display(),
                    found.uid(),
                    spool.display()
                ));
            }
            if found.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// For hash tables and spreading: nothing secret depends on it, but nobody outside should guess it.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// Where a tracer writes, for an error.
fn log_place(tracer: &observe::settings::Tracer) -> String {
    match &tracer.target {
        observe::settings::Target::File { path, prefix } => {
            format!(" {} (as the user the server runs as)", path.join(format!("{prefix}.log")).display())
        }
        observe::settings::Target::Stdout => String::new(),
    }
}

fn configure_log(loaded: &Loaded, shard: u16) {
    if let Some(tracer) = loaded.config.observe.tracers.iter().find(|tracer| tracer.enable) {
        observe::log::configure(tracer.format, tracer.level, shard);
    }
}

fn serve_control(
    plane: &ControlPlane,
    loaded: &Loaded,
    socket: std::os::unix::net::UnixListener,
    scrape: Option<std::net::TcpListener>,
    fleet: &Arc<dyn Ask>,
) {
    let (settings, ask) = (loaded.config.control.clone(), fleet.clone());
    plane.handle().spawn_detached(async move {
        if let Err(error) = control::socket::serve(socket, settings, ask).await {
            eprintln!("posthaste: control socket: {error}");
        }
    });
    if let Some(listener) = scrape {
        let ask = fleet.clone();
        plane.handle().spawn_detached(async move {
            if let Err(error) = control::metrics::serve(listener, ask).await {
                eprintln!("posthaste: metrics: {error}");
            }
        });
    }
}

/// Returns when the process is to end.
fn wait_for_the_end(
    signals: &mut Signals,
    running: &Running,
    plane: &ControlPlane,
    reloader: &Arc<Reloader>,
    log: &LogWriter,
) -> Result<()> {
    loop {
        match signals.wait_blocking(None)? {
            Some(Signal::Terminate | Signal::Interrupt) => return Ok(()),
            Some(Signal::Hangup) => {
                log.reopen();
                match plane.block_on(reloader.reload()) {
                    Answer::Reloaded { changes } if changes.is_empty() => {
                        say(log, Level::Info, Event::ServerReload, "nothing changed");
                    }
                    Answer::Reloaded { changes } => {
                        say(log, Level::Info, Event::ServerReload, &changes.join("; "));
                    }
                    Answer::Refused { reason } => {
                        eprintln!("posthaste: reload refused, nothing was changed:\n{reason}");
                        say(log, Level::Error, Event::ServerReload, &format!("refused: {reason}"));
                    }
                    _ => {}
                }
            }
            // A shard that ends unasked says so by this signal: half a server is none.
            Some(Signal::User1) if running.has_ended() => return Ok(()),
            Some(Signal::User1) | None => {}
        }
    }
}

/// One line in the log from the main thread.
fn say(log: &LogWriter, level: Level, event: Event, what: &str) {
    observe::event(WallTime(clock::wall_ms()), level, event, |line| {
        line.text("what", what);
    });
    if let Some(lines) = observe::log::take() {
        let _ = log.sender().send(lines); // a writer that is behind loses this line only
    }
}

/// The shards, each watched by a thread that waits for its end.
struct Running {
    names: Vec<String>,
    has_ended: Arc<AtomicBool>,
    sender: mpsc::Sender<Ended>,
    receiver: mpsc::Receiver<Ended>,
}

/// The name of a shard, and what it ended with.
type Ended = (String, Result<(), String>);

impl Default for Running {
    fn default() -> Running {
        let (sender, receiver) = mpsc::channel();
        Running { names: Vec::new(), has_ended: Arc::default(), sender, receiver }
    }
}

impl Running {
    /// Watches one more. Its end is told to the main thread by SIGUSR1, which it waits for anyway.
    fn enter(&mut self, handle: executor::JoinHandle<Result<(), String>>) {
        self.names.push(handle.name().to_owned());
        let (sender, has_ended) = (self.sender.clone(), self.has_ended.clone());
        std::thread::spawn(move || {
            let name = handle.name().to_owned();
            let outcome = handle.join().map_err(|error| error.to_string()).flatten();
            let _ = sender.send((name, outcome)); // nobody waits any more: the process is ending
            has_ended.store(true, Ordering::Release);
            posthaste_rt::signal::wake_main();
        });
    }

    /// A shard has ended. Before the stop that is a failure of the whole.
    fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Waits for all shards; the words of those that ended badly or not at all.
    fn join_within(self, within: Duration) -> Vec<String> {
        let Running { mut names, receiver, sender, .. } = self;
        drop(sender);
        let end = Instant::now() + within;
        let mut failed = Vec::new();
        while let Ok((name, outcome)) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            names.retain(|waiting| *waiting != name);
            failed.extend(outcome.err());
            if names.is_empty() {
                break;
            }
        }
        let cut = names.into_iter().map(|name| format!("{name} did not end within {} s and is cut", within.as_secs()));
        failed.extend(cut);
        failed
    }
}
