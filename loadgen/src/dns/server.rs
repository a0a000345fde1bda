//! Sockets and threads of the name server: one thread for datagrams, one for answers that wait, one per connection.
//!
//! Blocking on purpose: answering takes microseconds, and this needs nothing of the runtime.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::answer::{Answer, Responder, Way};
use crate::host::{LOOK, Stop};
use crate::random::Random;

/// Connections at once; more are closed at once.
const CONNECTIONS_MAX: usize = 256;
/// A silent connection is left after this time (RFC 7766 §6.2.3 leaves it to us).
const PATIENCE: Duration = Duration::from_secs(10);
/// Datagrams waiting for their time; more are dropped, as a full queue does.
const WAITING_MAX: usize = 100_000;
/// Tries to find a port that is free for both kinds of socket.
const PORT_TRIES: usize = 50;

/// What was asked and answered.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Counts {
    /// Questions in all.
    pub questions: u64,
    /// Those of them that came over TCP.
    pub tcp: u64,
    /// By type and outcome, as `MX NOERROR`.
    pub outcomes: BTreeMap<String, u64>,
}

impl Counts {
    fn note(&mut self, way: Way, answer: &Answer) {
        self.questions += 1;
        self.tcp += u64::from(way == Way::Tcp);
        *self.outcomes.entry(format!("{} {}", answer.kind, answer.outcome)).or_default() += 1;
    }
}

/// What all threads share.
#[derive(Debug)]
struct Shared {
    responder: Responder,
    counts: Mutex<Counts>,
    stop: Stop,
    connections: AtomicUsize,
    seed: u64,
}

impl Shared {
    fn answer(&self, bytes: &[u8], way: Way, random: &mut Random) -> Option<Answer> {
        let answer = self.responder.answer(bytes, way, random)?;
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).note(way, &answer);
        Some(answer)
    }
}

/// A running name server.
#[derive(Debug)]
pub struct Running {
    /// Where it listens, by UDP and TCP; the ports are real.
    pub addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Listens on all of `listen` and answers until [`Running::finish`].
pub fn start(listen: &[SocketAddr], responder: Responder, seed: u64) -> anyhow::Result<Running> {
    let shared = Arc::new(Shared {
        responder,
        counts: Mutex::default(),
        stop: Stop::default(),
        connections: AtomicUsize::new(0),
        seed,
    });
    let (mut addresses, mut threads) = (Vec::new(), Vec::new());
    for (place, wanted) in listen.iter().enumerate() {
        let (datagrams, listener) = bind(*wanted).with_context(|| {
            format!("cannot listen on {wanted}: is another name server running, or is it not our address?")
        })?;
        addresses.push(datagrams.local_addr()?);
        let datagrams = Arc::new(datagrams);
        let (late_to, late) = mpsc::channel();
        let (own, socket) = (shared.clone(), datagrams.clone());
        threads.push(named("dns-late", move || send_late(&own.stop, &socket, &late))?);
        let own = shared.clone();
        threads.push(named("dns-udp", move || serve_datagrams(&own, &datagrams, place as u64, &late_to))?);
        let own = shared.clone();
        threads.push(named("dns-tcp", move || accept(&own, &listener))?);
    }
    Ok(Running { addresses, shared, threads })
}

fn named(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(run)
}

/// Both kinds on one port, which may be any where 0 is asked for.
fn bind(wanted: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..if wanted.port() == 0 { PORT_TRIES } else { 1 } {
        let datagrams = UdpSocket::bind(wanted)?;
        datagrams.set_read_timeout(Some(LOOK))?;
        match TcpListener::bind(datagrams.local_addr()?) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                return Ok((datagrams, listener));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// An answer that waits for its time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Late {
    due: Instant,
    to: SocketAddr,
    bytes: Vec<u8>,
}

fn serve_datagrams(shared: &Shared, socket: &UdpSocket, place: u64, late: &Sender<Late>) {
    let mut random = Random::part(shared.seed, place);
    let mut buffer = [0; 4096];
    while !shared.stop.is_thrown() {
        // A timeout is how the end is noticed; other errors are those of single datagrams (ICMP).
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        let question = buffer.get(..length).unwrap_or_default();
        let Some(answer) = shared.answer(question, Way::Udp, &mut random) else { continue };
        let Some(bytes) = answer.bytes else { continue };
        if answer.delay.is_zero() {
            let _ = socket.send_to(&bytes, from); // the client may be gone; it would ask again
        } else {
            let _ = late.send(Late { due: Instant::now() + answer.delay, to: from, bytes }); // as above
        }
    }
}

fn send_late(stop: &Stop, socket: &UdpSocket, late: &Receiver<Late>) {
    let mut waiting: BinaryHeap<Reverse<Late>> = BinaryHeap::new();
    while !stop.is_thrown() {
        let now = Instant::now();
        while waiting.peek().is_some_and(|next| next.0.due <= now) {
            if let Some(Reverse(next)) = waiting.pop() {
                let _ = socket.send_to(&next.bytes, next.to); // as above
            }
        }
        let pause = waiting.peek().map_or(LOOK, |next| next.0.due.saturating_duration_since(now).min(LOOK));
        match late.recv_timeout(pause) {
            Ok(next) if waiting.len() < WAITING_MAX => waiting.push(Reverse(next)),
            Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) if waiting.is_empty() => return,
            Err(mpsc::RecvTimeoutError::Disconnected) => thread::sleep(pause),
        }
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    let mut place = 1 << 32;
    while !shared.stop.is_thrown() {
        let Ok((stream, _)) = listener.accept() else {
            thread::sleep(LOOK / 4);
            continue;
        };
        place += 1;
        if shared.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let own = shared.clone();
        let begun = named("dns-client", move || {
            let _ = converse(&own, stream, place); // the client went away
            own.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if begun.is_err() {
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Questions of a connection, one after the other (RFC 7766 §6.2.1 lets the client send several).
fn converse(shared: &Shared, mut stream: TcpStream, place: u64) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut random = Random::part(shared.seed, place);
    while !shared.stop.is_thrown() {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        let Some(answer) = shared.answer(&question, Way::Tcp, &mut random) else { return Ok(()) };
        thread::sleep(answer.delay);
        let Some(bytes) = answer.bytes else { continue };
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat())?;
    }
    Ok(())
}

impl Running {
    /// What was asked until now.
    pub fn counts(&self) -> Counts {
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it. Connections that wait for a question end with the process.
    pub fn finish(self) -> Counts {
        self.shared.stop.throw();
        for thread in self.threads {
            if thread.join().is_err() {
                eprintln!("dns: a thread panicked");
            }
        }
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::behaviour::Behaviour;
    use crate::dns::zone::{Broken, Zones};
    use hickory_resolver::TokioResolver;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::rr::RecordType;

    fn running(behaviour: Behaviour) -> Running {
        let mut zones = Zones::new(60);
        zones
            .add_mail_domain("test", 2, &["127.0.0.1".parse().expect("v4"), "::1".parse().expect("v6")])
            .expect("taken");
        zones.add_line("_25._tcp.mx1.test TLSA 3 1 1 aabbccdd").expect("taken");
        zones.add_line("mail.test CNAME mx1.test").expect("taken");
        for number in 0..40 {
            zones.add_line(&format!("large.test TXT \"{number:0>100}\"")).expect("taken");
        }
        let responder = Responder { zones, behaviour, is_authentic: false };
        start(&["127.0.0.1:0".parse().expect("an address")], responder, 1).expect("starts")
    }

    /// An independent client: it falls back to TCP by itself.
    fn resolver(server: SocketAddr) -> TokioResolver {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        let servers = vec![NameServerConfig::new(server.ip(), true, connections.into())];
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut options = ResolverOpts::default();
        (options.timeout, options.attempts) = (Duration::from_secs(20), 1);
        let provider = TokioRuntimeProvider::default();
        TokioResolver::builder_with_config(config, provider).with_options(options).build().expect("builds")
    }

    fn with_resolver<F: Future>(server: &Running, ask: impl FnOnce(TokioResolver) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let address = server.addresses[0];
        runtime.block_on(async move { ask(resolver(address)).await })
    }

    fn values(found: &hickory_resolver::lookup::Lookup) -> Vec<String> {
        found.answers().iter().map(|record| record.data.to_string()).collect()
    }

    #[test]
    fn a_resolver_finds_what_a_sender_of_mail_asks_for() {
        let server = running(Behaviour::default());
        with_resolver(&server, |resolver| async move {
            let hosts = resolver.lookup("d9.test.", RecordType::MX).await.expect("MX");
            assert_eq!(values(&hosts), ["10 mx1.test.", "20 mx2.test."]);
            let v4 = resolver.lookup("mx1.test.", RecordType::A).await.expect("A");
            assert_eq!(values(&v4), ["127.0.0.1"]);
            let v6 = resolver.lookup("mx2.test.", RecordType::AAAA).await.expect("AAAA");
            assert_eq!(values(&v6), ["::1"]);
            let pin = resolver.lookup("_25._tcp.mx1.test.", RecordType::TLSA).await.expect("TLSA");
            assert_eq!(values(&pin), ["3 1 1 aabbccdd"]);
            let alias = resolver.lookup("mail.test.", RecordType::A).await.expect("A behind an alias");
            assert!(values(&alias).contains(&"127.0.0.1".to_owned()));
            let none = resolver.lookup("_25._tcp.mx2.test.", RecordType::TLSA).await.expect_err("no such name");
            assert!(none.is_nx_domain(), "{none}");
            let nothing = resolver.lookup("mx2.test.", RecordType::A).await.expect_err("no data");
            assert!(nothing.is_no_records_found() && !nothing.is_nx_domain(), "{nothing}");
        });
        let counts = server.finish();
        assert_eq!((counts.outcomes["MX NOERROR"], counts.outcomes["A NODATA"]), (1, 1));
    }

    #[test]
    fn what_does_not_fit_a_datagram_is_asked_again_by_tcp() {
        let server = running(Behaviour::default());
        with_resolver(&server, |resolver| async move {
            let text = resolver.lookup("large.test.", RecordType::TXT).await.expect("TXT");
            assert_eq!(values(&text).len(), 40);
        });
        let counts = server.finish();
        assert_eq!((counts.tcp, counts.outcomes["TXT truncated"], counts.outcomes["TXT NOERROR"]), (1, 1, 1));
    }

    #[test]
    fn failures_and_delays_reach_the_client() {
        let mut behaviour = Behaviour::default();
        behaviour.failures.push((Broken::ServerFailure, "mx=100%".parse().expect("a share")));
        behaviour.delays.push("a=50ms".parse().expect("a wait"));
        let server = running(behaviour);
        let before = Instant::now();
        with_resolver(&server, |resolver| async move {
            let failure = resolver.lookup("d1.test.", RecordType::MX).await.expect_err("SERVFAIL");
            assert!(!failure.is_nx_domain(), "{failure}");
            resolver.lookup("mx1.test.", RecordType::A).await.expect("late, but there");
        });
        assert!(before.elapsed() >= Duration::from_millis(50), "a lower bound holds on the slowest machine");
        assert!(server.finish().outcomes["MX SERVFAIL"] >= 1);
    }
}
