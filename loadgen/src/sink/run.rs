//! Starts the shards of a sink, follows them, ends them.

use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use posthaste_rt::net::{BoundSocket, Listener, SocketOptions, bind};
use posthaste_rt::shard::{self, JoinHandle};
use posthaste_rt::signal::Signals;
use posthaste_rt::{clock, task, time};

use super::clients::Clients;
use super::driver::{Context, serve};
use super::machine::Shard;
use super::options::{Options, TlsUse};
use super::tally::{Part, Tally, merge};
use crate::host::{self, CpuTime, Stop};
use crate::ledger;
use crate::random::Random;
use crate::summary::{Cost, SinkCounts};
use crate::values::grouped;
use crate::{table, tls};

/// How often a shard says how far it is.
const TICK: Duration = Duration::from_millis(100);
/// Connections asked for at preflight.
const CONNECTIONS: usize = 4_096;

/// How far a shard is: messages taken since it started.
#[derive(Debug, Clone, Copy)]
struct Tick {
    shard: usize,
    messages: u64,
}

/// A running sink.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, the ports real.
    pub addresses: Vec<SocketAddr>,
    shards: Vec<JoinHandle<(Part, CpuTime)>>,
    stop: Stop,
    ticks: Receiver<Tick>,
    messages: Vec<u64>,
    ledger: Option<ledger::Writer>,
    started_us: u64,
    rate: Vec<u64>,
}

/// Starts a sink on threads of its own, on processors from `cpu_index` on.
pub fn start(options: &Options, cpu_index: usize) -> anyhow::Result<Running> {
    let threads = options.threads.max(1);
    host::prepare(threads, CONNECTIONS)?;
    let profile = options.profile()?;
    let tls = match options.tls_use() {
        TlsUse::Never => None,
        _ => {
            let files = options.identity().map(|(cert, key)| (cert.as_path(), key.as_path()));
            Some(tls::server(files, options.hostname())?)
        }
    };
    let limits = options.client_limits();
    let clients = (!limits.is_unlimited()).then(|| Arc::new(Mutex::new(Clients::new(limits))));
    let ledger = options.ledger.as_ref().map(|path| ledger::Writer::create(path, ledger::SINK_HEAD)).transpose()?;
    let (addresses, mut sockets) = bind_all(&options.listen, threads)?;
    let (tick_to, ticks) = mpsc::channel();
    let (stop, started_us) = (Stop::default(), clock::now());
    let mut shards = Vec::new();
    for index in 0..threads {
        let own = Own {
            index,
            sockets: sockets.pop().unwrap_or_default(),
            chunks: ledger.as_ref().map(ledger::Writer::chunks),
            ticks: tick_to.clone(),
            stop: stop.clone(),
        };
        let (profile, behaviour, tls, clients) = (profile.clone(), options.behaviour(), tls.clone(), clients.clone());
        let (random, remember) = (Random::part(options.seed(), index as u64), options.remember / threads);
        let (has_ledger, is_implicit) = (ledger.is_some(), options.tls_use() == TlsUse::Implicit);
        let make = move || {
            let tally = Tally::new(has_ledger, remember);
            let shard = Shard { profile: Rc::new(profile), behaviour, random, tally, clients, started_us };
            run_shard(own, Context::new(shard, tls, is_implicit))
        };
        shards.push(shard::spawn(host::cpu_of(cpu_index + index), &format!("sink{index}"), make)?);
    }
    let messages = vec![0; threads];
    Ok(Running { addresses, shards, stop, ticks, messages, ledger, started_us, rate: Vec::new() })
}

/// One socket per address for each thread; a port 0 becomes the same real one for all.
fn bind_all(wanted: &[SocketAddr], threads: usize) -> anyhow::Result<(Vec<SocketAddr>, Vec<Vec<BoundSocket>>)> {
    let options = SocketOptions { backlog: 4096, ..SocketOptions::default() };
    let (mut addresses, mut sockets) = (Vec::new(), Vec::new());
    sockets.resize_with(threads, Vec::new);
    for address in wanted {
        let mut address = *address;
        for own in &mut sockets {
            let socket = bind(address, &options).with_context(|| {
                format!("cannot listen on {address}: is another sink running, or is it not our address?")
            })?;
            address = socket.local_addr();
            own.push(socket);
        }
        addresses.push(address);
    }
    Ok((addresses, sockets))
}

/// What belongs to one shard.
struct Own {
    index: usize,
    sockets: Vec<BoundSocket>,
    chunks: Option<Sender<Vec<u8>>>,
    ticks: Sender<Tick>,
    stop: Stop,
}

async fn run_shard(own: Own, context: Rc<Context>) -> (Part, CpuTime) {
    let before = CpuTime::of_this_thread();
    for socket in own.sockets {
        let context = context.clone();
        task::spawn(async move {
            let listener = Listener::from_bound(socket);
            let each = |accepted| task::spawn(serve(accepted, context.clone()));
            if let Err(error) = listener.serve(each).await {
                eprintln!("sink: a listener ended: {error}");
            }
        });
    }
    while !own.stop.is_thrown() {
        time::sleep(TICK).await;
        hand_over(&context, own.chunks.as_ref());
        let messages = context.shard.borrow().tally.messages;
        let _ = own.ticks.send(Tick { shard: own.index, messages }); // whoever follows may be gone
    }
    hand_over(&context, own.chunks.as_ref());
    let spent = CpuTime::of_this_thread().since(before);
    // Sessions that are still there end with their shard; what they take now is nobody's.
    let tally = std::mem::replace(&mut context.shard.borrow_mut().tally, Tally::new(false, 0));
    (tally.finish(), spent)
}

/// Gives the ledger's lines away: often enough that little is lost with the process.
fn hand_over(context: &Context, chunks: Option<&Sender<Vec<u8>>>) {
    let Some(chunks) = chunks else { return };
    if let Some(chunk) = context.shard.borrow_mut().tally.take_chunk() {
        let _ = chunks.send(chunk); // the writer tells of its error when it is finished
    }
}

impl Running {
    /// Messages taken until now; keeps the rate by seconds.
    pub fn messages(&mut self) -> u64 {
        while let Ok(tick) = self.ticks.try_recv() {
            self.messages[tick.shard] = tick.messages;
        }
        self.messages.iter().sum()
    }

    /// Notes the rate of the second that ends now.
    fn note_second(&mut self) {
        let all = self.messages();
        let before: u64 = self.rate.iter().sum();
        self.rate.push(all.saturating_sub(before));
    }

    /// Ends it and gives what it counted.
    pub fn finish(mut self) -> anyhow::Result<SinkCounts> {
        self.stop.throw();
        let elapsed_s = (clock::now() - self.started_us) as f64 / 1e6;
        let threads = self.shards.len();
        let (mut parts, mut spent) = (Vec::new(), CpuTime::default());
        for shard in self.shards.drain(..) {
            let (part, cpu) = shard.join()?;
            parts.push(part);
            spent = spent + cpu;
        }
        if let Some(ledger) = self.ledger.take() {
            ledger.finish()?;
        }
        let mut counts = merge(parts);
        counts.rate = std::mem::take(&mut self.rate);
        counts.cost = Cost {
            user_s: spent.user_s,
            system_s: spent.system_s,
            us_per_message: spent.total_s() * 1e6 / counts.messages.max(1) as f64,
            busy: spent.total_s() / (elapsed_s * threads as f64),
        };
        Ok(counts)
    }
}

/// `posthaste-loadgen sink`.
pub fn command(options: &Options, signals: &mut Signals) -> anyhow::Result<()> {
    let mut running = start(options, 0)?;
    let kind = if options.lmtp { "LMTP" } else { "SMTP" };
    for address in &running.addresses {
        println!("sink: listening on {address} ({kind})");
    }
    std::io::stdout().flush()?;
    follow(&mut running, options, signals);
    let counts = running.finish()?;
    if let Some(path) = &options.json {
        table::write_json(path, &counts)?;
    }
    if !options.quiet {
        print!("{}", table::sink(&counts));
    }
    Ok(())
}

/// Waits for the end, and prints a line for every second in which something arrived.
fn follow(running: &mut Running, options: &Options, signals: &mut Signals) {
    let started = clock::now();
    let (mut last_second, mut last_message, mut before) = (started, started, 0);
    while !host::interrupted(signals, Duration::from_millis(100)) {
        let (now, messages) = (clock::now(), running.messages());
        if messages > before {
            (last_message, before) = (now, messages);
        }
        if now - last_second >= 1_000_000 {
            last_second += 1_000_000;
            running.note_second();
            let rate = running.rate.last().copied().unwrap_or_default();
            if !options.quiet && rate > 0 {
                let seconds = (now - started) / 1_000_000;
                println!("sink: {seconds:>5} s  {:>9} messages/s  {:>12} in all", grouped(rate), grouped(messages));
            }
        }
        let is_over = options.time.is_some_and(|span| now - started >= span.micros())
            || options.messages.is_some_and(|most| messages >= most)
            || options.idle_exit.is_some_and(|span| messages > 0 && now - last_message >= span.micros());
        if is_over {
            return;
        }
    }
}
