//! One attempt: a message and some of its recipients in, an outcome for each out.
//!
//! ```text
//! route -> mx (hosts, addresses) -> TLS strategy -> connect or reuse -> transact -> outcome
//!   \-> maildir -> outcome
//! ```
//!
//! Each arrow is a file with a function that returns a value; [`Delivery::attempt`] only sequences them.
//! Takes: a [`Job`] (envelope, recipients, next hop, settings) and its [`Content`]. Gives a [`Report`].
//!
//! Invariants:
//! - Every recipient of a job is in its report exactly once.
//! - Another host is tried only while no content went out for that recipient, and a transaction is
//!   repeated on a new connection only when nothing of it was answered: no duplicates of our making.
//! - Content that does not verify never reaches the end of its data: the connection is closed before.
//! - Content leaves as it was stored, or, for a host that does not take it so, converted to 7-bit as a whole (`convert`).
//! - Clear text is used only where the strategy allows it; credentials never leave in it.
//!
//! Must never be added: when to try again (`scheduler`), what a session is (`session`), a record in the spool.

mod connect;
mod content;
mod convert;
mod link;
mod local;
mod maildir;
pub mod mx;
mod outcome;
mod pool;
mod random;
pub mod route;
pub mod settings;
#[cfg(test)]
mod tests;
mod transact;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use compact_str::CompactString;
use posthaste_rt::bridge::ControlHandle;
use posthaste_rt::{clock, task, time};
use smallvec::{SmallVec, smallvec};

pub use content::{Content, ContentError, MemoryContent};
pub use outcome::{RecipientOutcome, Report};
pub use random::Random;
pub use route::NextHop;
pub use settings::Settings;

use connect::{Dial, Hosts};
use convert::Offer;
use link::Link;
use outcome::Open;
use pool::{Key, Pool, Security, Taken};

use crate::base::{MessageId, Monotonic, RecipientIndex, WallTime};
use crate::dns::Resolver;
use crate::lookup::Lookups;
use crate::mail::{ContentFacts, Diagnostic, Envelope, ErrorKind, Outcome, Reply, Scope};
use crate::observe::{self, Counter, Gauge, Timing};
use crate::queue::LaneKey;
pub use crate::smtp::client::Owed;
use crate::smtp::client::{Protocol, Refusal, StartTls};
use crate::smtp::extensions::PeerExtensions;
use crate::tls::client::{ClientTls, Verify};

/// How often idle connections are looked at.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// One attempt to be made.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// The message.
    pub message: MessageId,
    /// Its envelope, as committed.
    pub envelope: &'a Envelope,
    /// What is known of its content.
    pub facts: &'a ContentFacts,
    /// When it was accepted.
    pub accepted_at: WallTime,
    /// The recipients of this attempt; all have this next hop.
    pub recipients: &'a [RecipientIndex],
    /// The lane of the attempt.
    pub lane: &'a LaneKey,
    /// The lane has an idle connection that this attempt counts on: no other is opened beside it.
    pub reuse: bool,
    /// Where they go.
    pub next_hop: &'a NextHop,
    /// How connections are made.
    pub connection: &'a settings::Connection,
    /// The TLS strategy.
    pub tls: &'a settings::Tls,
    /// Who has a mailbox here.
    pub lookups: &'a Lookups,
    /// The snapshot all of this comes from.
    pub settings: &'a Settings,
}

/// A shard's way out. Cheap to clone.
#[derive(Clone)]
pub struct Delivery(Rc<Inner>);

type IdleClosed = Rc<dyn Fn(&LaneKey)>;

struct Inner {
    hostname: CompactString,
    resolver: Resolver,
    tls: ClientTls,
    control: ControlHandle,
    random: RefCell<Random>,
    hosts: RefCell<Hosts>,
    pool: RefCell<Pool<Box<Link>>>,
    is_reaping: std::cell::Cell<bool>,
    idle_closed: RefCell<Option<IdleClosed>>,
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery").field("idle_connections", &self.idle_connections()).finish_non_exhaustive()
    }
}

impl Delivery {
    /// This shard's delivery. `hostname` is what we say in EHLO unless a connection says otherwise.
    pub fn new(hostname: &str, resolver: Resolver, tls: ClientTls, control: ControlHandle, seed: u64) -> Delivery {
        Delivery(Rc::new(Inner {
            hostname: hostname.into(),
            resolver,
            tls,
            control,
            random: RefCell::new(Random::new(seed)),
            hosts: RefCell::default(),
            pool: RefCell::default(),
            is_reaping: std::cell::Cell::new(false),
            idle_closed: RefCell::default(),
        }))
    }

    /// Another way out like this one, with connections of its own.
    pub fn apart(&self, seed: u64) -> Delivery {
        let Inner { hostname, resolver, tls, control, .. } = &*self.0;
        Delivery::new(hostname, resolver.clone(), tls.clone(), control.clone(), seed)
    }

    /// Makes the attempt.
    pub async fn attempt<C: Content>(&self, job: &Job<'_>, content: &mut C) -> Report {
        let started = clock::now();
        observe::count(Counter::Attempts);
        observe::gauge_add(Gauge::AttemptsOpen, 1);
        let _open = OnDrop(|| observe::gauge_add(Gauge::AttemptsOpen, -1));
        let report = match job.next_hop {
            NextHop::Local { route, .. } => Box::pin(transact::store(&self.0, job, route, content)).await,
            NextHop::Mx { .. } | NextHop::Relay { .. } => self.send(job, content).await,
        };
        observe::record_micros(Timing::Attempt, clock::now().saturating_sub(started));
        report
    }

    /// Connections that wait for another message.
    pub fn idle_connections(&self) -> usize {
        self.0.pool.borrow().len()
    }

    /// Connections of one lane that wait for another message.
    pub fn idle_in(&self, lane: &LaneKey) -> usize {
        self.0.pool.borrow().len_of(lane)
    }

    /// Closes one idle connection of a lane, whose place is wanted; says whether there was one.
    pub fn close_idle(&self, lane: &LaneKey) -> bool {
        let link = self.0.pool.borrow_mut().take_oldest(lane);
        let had_one = link.is_some();
        link.into_iter().for_each(|link| task::spawn(link.quit()));
        had_one
    }

    /// Closes all idle connections: we are leaving.
    pub fn close_all_idle(&self) {
        let links = self.0.pool.borrow_mut().drain();
        links.into_iter().for_each(|link| task::spawn(link.quit()));
    }

    /// Who is told when an idle connection was closed because it waited too long (and in no other case), so that
    /// its place in the lane is free.
    pub fn on_idle_closed(&self, observer: impl Fn(&LaneKey) + 'static) {
        *self.0.idle_closed.borrow_mut() = Some(Rc::new(observer));
    }

    /// What a host offered when this shard last spoke to it.
    pub fn offered(&self, address: SocketAddr) -> Option<PeerExtensions> {
        self.0.hosts.borrow().offered(address)
    }

    /// By SMTP or LMTP: host after host, address after address, until every recipient has its outcome.
    async fn send<C: Content>(&self, job: &Job<'_>, content: &mut C) -> Report {
        let mut report = Report { has_idle: job.reuse, ..Report::default() };
        let mut open = Open::new(job.recipients);
        let mut offer = Offer::new(content);
        let hosts = match job.next_hop {
            NextHop::Relay { route, .. } => Ok(smallvec![mx::Host::of(&route.address)]),
            _ => Box::pin(self.hosts_of(job)).await,
        };
        match hosts {
            Err(outcome) => open.note_all(&outcome),
            Ok(hosts) => {
                for host in hosts {
                    self.try_host(job, &host, &mut offer, &mut open, &mut report).await;
                    if open.is_empty() || report.content_failed {
                        break;
                    }
                }
            }
        }
        open.finish(no_host, &mut report);
        report
    }

    async fn hosts_of(&self, job: &Job<'_>) -> Result<SmallVec<[mx::Host; 1]>, Outcome> {
        match job.next_hop {
            NextHop::Mx { route, domain, .. } => {
                let mut random = self.fork_random();
                mx::hosts(&self.0.resolver, domain, route, &job.settings.own, &mut random).await.map(SmallVec::from_vec)
            }
            NextHop::Relay { route, .. } => Ok(smallvec![mx::Host::of(&route.address)]),
            NextHop::Local { .. } => Ok(SmallVec::new()),
        }
    }

    async fn addresses_of(&self, job: &Job<'_>, name: &str) -> Result<SmallVec<[IpAddr; 1]>, Outcome> {
        let (lookup, max) = match job.next_hop {
            NextHop::Mx { route, .. } => (route.ip_lookup, route.multihomed_max),
            NextHop::Relay { route, .. } => (route.ip_lookup, RELAY_ADDRESSES_MAX),
            NextHop::Local { .. } => return Ok(SmallVec::new()),
        };
        let mut random = self.fork_random();
        let addresses = match mx::localhost(name, lookup) {
            Some(addresses) => addresses,
            None => mx::addresses(&self.0.resolver, name, lookup, max, &mut random).await?,
        };
        Ok(SmallVec::from_vec(addresses))
    }

    async fn try_host<C: Content>(
        &self,
        job: &Job<'_>,
        host: &mx::Host,
        offer: &mut Offer<'_, C>,
        open: &mut Open,
        report: &mut Report,
    ) {
        let found = match host {
            mx::Host::Address(ip) => Ok(smallvec![*ip]),
            mx::Host::Name(name) => Box::pin(self.addresses_of(job, name)).await,
        };
        let addresses = match found {
            Ok(addresses) => addresses,
            Err(outcome) => return open.note_all(&outcome),
        };
        for address in addresses {
            let refused = match job.next_hop {
                NextHop::Mx { route, .. } => mx::refused(address, route, &job.settings.own, &host.name()),
                _ => None,
            };
            if let Some(outcome) = refused {
                open.note_all(&outcome);
                continue;
            }
            let dial = self.dial(job, host, address);
            transact::at_address(self, job, dial, offer, open, report).await;
            if open.is_empty() || report.content_failed {
                return;
            }
        }
    }

    fn dial<'a>(&self, job: &Job<'a>, host: &mx::Host, ip: IpAddr) -> Dial<'a> {
        let source = connect::source(job.connection, ip, &mut self.0.random.borrow_mut());
        let (port, protocol, credentials, security) = match job.next_hop {
            NextHop::Relay { route, .. } => {
                (route.port, route.protocol, route.credentials.clone(), relay_security(route, job.tls))
            }
            NextHop::Mx { route, .. } => (route.port, Protocol::Smtp, None, mx_security(job.tls)),
            NextHop::Local { .. } => (0, Protocol::Smtp, None, mx_security(job.tls)),
        };
        let address = SocketAddr::new(ip, port);
        let source_name = source.and_then(|ip| job.settings.source_names.get(&ip));
        let hello = source_name.or(job.connection.ehlo_hostname.as_ref()).unwrap_or(&self.0.hostname).clone();
        let security = self.0.hosts.borrow().effective(address, security, Monotonic(clock::now()));
        let key = Key { address, name: host.name(), source, protocol, hello, security, credentials };
        Dial { key, connection: job.connection, tls_timeout: job.tls.timeout }
    }

    /// An idle connection to that peer that is still alive. The attempt holds one place: what idles elsewhere in
    /// the lane is closed, so that a new connection can take its place.
    async fn reuse(&self, job: &Job<'_>, key: &Key, report: &mut Report) -> Option<Box<Link>> {
        if !std::mem::take(&mut report.has_idle) {
            return None;
        }
        let taken = self.0.pool.borrow_mut().take(job.lane, key)?;
        match taken {
            Taken::Other(link) => task::spawn(link.quit()),
            Taken::Fits(mut link) => {
                if !link.is_stale().await {
                    observe::count(Counter::AttemptConnectionsReused);
                    return Some(link);
                }
            }
        }
        None
    }

    async fn open(&self, dial: Dial<'_>) -> Result<Box<Link>, Box<Refusal>> {
        Box::pin(connect::open(dial, &self.0.tls, &self.0.hosts)).await // not carried while a transaction waits
    }

    /// Keeps a connection for the next message, or takes leave; says whether it is kept.
    fn park(&self, link: Box<Link>, job: &Job<'_>) -> bool {
        let settings = &job.settings.pool;
        let now = Monotonic(clock::now());
        let is_used_up = !link.is_ready()
            || link.transactions() >= settings.transactions_max.max(1)
            || now.since(link.opened) >= settings.lifetime_max;
        let turned_away = match is_used_up {
            true => Some(link),
            false => self.0.pool.borrow_mut().put(job.lane, link.key.clone(), link, now, settings),
        };
        let is_kept = turned_away.is_none();
        turned_away.into_iter().for_each(|link| task::spawn(link.quit()));
        if is_kept {
            self.keep_reaping(settings.idle);
        }
        is_kept
    }

    /// One task per shard closes what idles too long; it ends when nothing does.
    fn keep_reaping(&self, idle_max: Duration) {
        if self.0.is_reaping.replace(true) {
            return;
        }
        let weak = Rc::downgrade(&self.0);
        task::spawn(async move {
            loop {
                time::sleep(REAP_INTERVAL).await;
                let Some(inner) = weak.upgrade() else { return };
                let gone = inner.pool.borrow_mut().expired(Monotonic(clock::now()), idle_max);
                let observer = inner.idle_closed.borrow().clone();
                for (lane, link) in gone {
                    task::spawn(link.quit());
                    observer.iter().for_each(|tell| tell(&lane));
                }
                if inner.pool.borrow().len() == 0 {
                    inner.is_reaping.set(false);
                    return;
                }
            }
        });
    }

    /// Random choices across an await: the generator itself stays on the shard.
    fn fork_random(&self) -> Random {
        Random::new(self.0.random.borrow_mut().next_u64())
    }
}

/// Addresses of a relay that are tried.
const RELAY_ADDRESSES_MAX: usize = 4;

fn relay_security(route: &settings::RelayRoute, tls: &settings::Tls) -> Security {
    let verify = |must: bool| if must && !route.allow_invalid_certs { Verify::Name } else { Verify::Nothing };
    if route.implicit_tls {
        return Security { implicit: true, starttls: StartTls::Disable, verify: verify(true) };
    }
    // Credentials are worth as much as the certificate they are sent to.
    let must = tls.starttls == StartTls::Require || route.credentials.is_some();
    let starttls = if route.credentials.is_some() { StartTls::Require } else { tls.starttls };
    Security { implicit: false, starttls, verify: verify(must && !tls.allow_invalid_certs) }
}

fn mx_security(tls: &settings::Tls) -> Security {
    let must = tls.starttls == StartTls::Require && !tls.allow_invalid_certs;
    let verify = if must { Verify::Name } else { Verify::Nothing };
    Security { implicit: false, starttls: tls.starttls, verify }
}

/// There was a list of hosts, and nothing came of any of it.
fn no_host() -> Outcome {
    let reply = Reply::new(451, (4, 4, 4), "there is no host to try");
    Outcome::Deferred(Diagnostic::local(ErrorKind::Dns, Scope::Lane, reply))
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
