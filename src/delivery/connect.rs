//! A host's address in, a connection that is ready for a transaction out; or why there is none.
//!
//! Opportunistic TLS is tried, and when the handshake fails the same address is tried in the clear, once;
//! the host is remembered for a while, so that not every message pays for its broken TLS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use compact_str::{CompactString, format_compact};
use hashbrown::HashMap;
use posthaste_rt::net::{self, Connection};
use posthaste_rt::{clock, tls};

use super::link::{Link, Pause};
use super::pool::{Key, Security};
use super::settings;
use crate::base::Monotonic;
use crate::mail::{Diagnostic, ErrorKind, Outcome, Reply, Scope};
use crate::observe::{self, Counter, Timing};
use crate::smtp::client::{Client, Options, Refusal, StartTls, Step};
use crate::smtp::extensions::PeerExtensions;
use crate::tls::client::{ClientTls, server_name};

/// Content up to this leaves in the same flight as MAIL and RCPT.
const CONTENT_AHEAD_BYTES_MAX: u64 = 64 * 1024;
/// How long a host whose TLS is broken is spoken to in the clear (where that is allowed).
const TLS_BROKEN_FOR: Duration = Duration::from_secs(3600);
/// Hosts remembered by one shard.
const HOSTS_MAX: usize = 65_536;

/// How a connection is to be made.
#[derive(Debug, Clone)]
pub(super) struct Dial<'a> {
    pub(super) key: Key,
    pub(super) connection: &'a settings::Connection,
    pub(super) tls_timeout: Duration,
}

/// What was learnt of an address.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    peer: PeerExtensions,
    tls_broken_until: Monotonic,
}

/// What this shard learnt of the hosts it spoke to. Bounded; forgotten whole when full.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    known: HashMap<SocketAddr, Memory, foldhash::fast::RandomState>,
}

impl Hosts {
    fn entry(&mut self, address: SocketAddr) -> &mut Memory {
        if self.known.len() >= HOSTS_MAX && !self.known.contains_key(&address) {
            self.known.clear();
        }
        self.known.entry(address).or_default()
    }

    /// Opportunistic TLS is not tried with a host where it just failed.
    pub(super) fn effective(&self, address: SocketAddr, security: Security, now: Monotonic) -> Security {
        let is_broken = self.known.get(&address).is_some_and(|memory| memory.tls_broken_until > now);
        match security.starttls {
            StartTls::Optional if is_broken => Security { starttls: StartTls::Disable, ..security },
            _ => security,
        }
    }

    fn tls_broke(&mut self, address: SocketAddr, now: Monotonic) {
        self.entry(address).tls_broken_until = now + TLS_BROKEN_FOR;
    }

    fn learn(&mut self, address: SocketAddr, peer: PeerExtensions) {
        self.entry(address).peer = peer;
    }

    /// What a host offered when we last spoke to it.
    pub(super) fn offered(&self, address: SocketAddr) -> Option<PeerExtensions> {
        self.known.get(&address).map(|memory| memory.peer)
    }
}

fn now() -> Monotonic {
    Monotonic(clock::now())
}

/// Opens a connection. `hosts` is borrowed only between awaits.
pub(super) async fn open(
    mut dial: Dial<'_>,
    tls: &ClientTls,
    hosts: &std::cell::RefCell<Hosts>,
) -> Result<Box<Link>, Box<Refusal>> {
    let started = now();
    let address = dial.key.address;
    let opened = match try_open(&dial, tls).await {
        Err(refusal) if refusal.tls_failed && dial.key.security.starttls == StartTls::Optional => {
            hosts.borrow_mut().tls_broke(address, now());
            dial.key.security.starttls = StartTls::Disable;
            try_open(&dial, tls).await
        }
        other => other,
    };
    match opened {
        Ok(mut link) => {
            hosts.borrow_mut().learn(address, *link.client().peer());
            observe::count(Counter::AttemptConnections);
            observe::record_micros(Timing::Connect, now().0.saturating_sub(started.0));
            Ok(link)
        }
        Err(refusal) => {
            observe::count(Counter::AttemptConnectionsFailed);
            Err(refusal)
        }
    }
}

async fn try_open(dial: &Dial<'_>, tls: &ClientTls) -> Result<Box<Link>, Box<Refusal>> {
    let key = &dial.key;
    let remote = format_compact!("{} [{}]", key.name, key.address.ip());
    let stream = match net::connect(key.address, key.source, dial.connection.connect_timeout).await {
        Ok(stream) => stream,
        Err(error) => {
            let text = format!("cannot connect to port {}: {error}", key.address.port());
            return Err(refusal(ErrorKind::Connection, (4, 4, 1), remote, text));
        }
    };
    let mut connection = Connection::from(stream);
    if key.security.implicit {
        connection = handshake(connection, dial, tls, &remote).await?;
    }
    let (client, mut step) = Client::new(options(key, remote.clone()));
    let mut link = Link::new(connection, client, key.clone(), now());
    let mut out = Vec::with_capacity(256);
    loop {
        match link.greet(step, &mut out, &dial.connection.timeouts).await {
            Pause::Over(Step::Ready) => return Ok(link),
            Pause::Over(Step::Refused(refusal)) => return Err(refusal),
            Pause::Over(_) => {
                let text = "the connection ended before it began".to_owned();
                return Err(refusal(ErrorKind::Connection, (4, 4, 2), remote, text));
            }
            Pause::Handshake => {
                let (stream, mut client, key, opened) = link.into_parts();
                let Some(stream) = stream else {
                    let text = "STARTTLS inside TLS".to_owned();
                    return Err(refusal(ErrorKind::Tls, (4, 7, 5), remote, text));
                };
                let secured = handshake(Connection::from(stream), dial, tls, &remote).await?;
                step = client.secured(&mut out);
                link = Link::new(secured, client, key, opened);
            }
        }
    }
}

fn options(key: &Key, remote: CompactString) -> Options {
    Options {
        protocol: key.protocol,
        hello: key.hello.clone(),
        starttls: key.security.starttls,
        implicit_tls: key.security.implicit,
        credentials: key.credentials.clone(),
        remote,
        content_ahead_bytes_max: CONTENT_AHEAD_BYTES_MAX,
    }
}

async fn handshake(
    connection: Connection,
    dial: &Dial<'_>,
    tls: &ClientTls,
    remote: &str,
) -> Result<Connection, Box<Refusal>> {
    let key = &dial.key;
    let failed = |text: String| {
        observe::count(Counter::TlsOutboundFailed);
        let mut refused = refusal(ErrorKind::Tls, (4, 7, 5), remote.into(), text);
        refused.tls_failed = true;
        refused
    };
    let Some(stream) = connection.into_plain() else { return Err(failed("TLS inside TLS".to_owned())) };
    let name = server_name(&key.name, key.address.ip());
    match tls::connect(stream, name, tls.config(key.security.verify), dial.tls_timeout).await {
        Ok(connection) => {
            observe::count(Counter::TlsOutbound);
            Ok(connection)
        }
        Err(error) => Err(failed(format!("TLS handshake failed: {error}"))),
    }
}

fn refusal(kind: ErrorKind, status: (u8, u16, u16), remote: CompactString, text: String) -> Box<Refusal> {
    let reply = Reply::new(451, status, text);
    let diagnostic = Diagnostic { kind, scope: Scope::Host, remote, reply, is_remote: false };
    Box::new(Refusal { outcome: Outcome::Deferred(diagnostic), tls_failed: false })
}

/// One of the configured source addresses of the peer's family; the system's choice when there is none.
pub(super) fn source(
    connection: &settings::Connection,
    peer: IpAddr,
    random: &mut super::random::Random,
) -> Option<IpAddr> {
    let same_family = |ip: &&IpAddr| ip.is_ipv4() == peer.is_ipv4();
    let count = connection.source_ips.iter().filter(same_family).count();
    connection.source_ips.iter().filter(same_family).nth(random.below(count)).copied()
}
