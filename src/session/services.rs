//! What a session needs of the rest of its shard. The shard implements it; tests do too.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use ipnet::IpNet;
use posthaste_rt::net::{Connection, Stream};
use posthaste_rt::tls::{self, HandshakeError};
use posthaste_rt::{clock, time};

use crate::base::MessageId;
use crate::base::budget::Budget;
use crate::expr;
use crate::limits::{Ask, KeyMaker};
use crate::lookup::ShardLookups;
use crate::policy;
use crate::session::crew::Crew;
use crate::session::pace::Bounds;
use crate::session::pool::Pool;
use crate::session::settings::Settings;
use crate::smtp::content::BareLineEnds;
use crate::smtp::server::{Offers, Protocol};
use crate::spool::{CommitError, Durability, Extents, Health, Message};

/// What a session asks of its shard.
pub trait Services: 'static {
    /// Limits that are held; they are released when it is dropped.
    type Permit: 'static;
    /// A writer for bodies beyond the small bound.
    type Bulk: Bulk;
    /// A commit under way.
    type Commit: Future<Output = Result<(), CommitError>> + Unpin + 'static;

    /// An id for new mail.
    fn new_id(&self) -> MessageId;
    /// Commits a message. It is the writer's from this call on, whatever becomes of the future.
    fn commit(&self, message: Rc<Message>, durability: Durability) -> Self::Commit;
    /// A new writer for a body.
    fn bulk(&self) -> Self::Bulk;
    /// Whether mail is taken.
    fn health(&self) -> Health;
    /// Takes all of these limits together, or none of them.
    fn take(&self, asks: &[Ask]) -> impl Future<Output = Option<Self::Permit>>;
    /// Asks the DNS on behalf of an expression.
    fn resolve(&self, question: expr::Question) -> impl Future<Output = expr::Answer>;
}

/// A body on its way to bulk segments.
pub trait Bulk: 'static {
    /// Takes the next octets.
    fn write(&mut self, octets: &[u8]) -> impl Future<Output = Result<(), CommitError>>;
    /// Ends it. What is dropped before was never there.
    fn finish(self) -> impl Future<Output = Result<Extents, CommitError>>;
}

/// What a listener's sessions go by: one immutable value per configuration and shard.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The listener's id.
    pub listener: Rc<str>,
    /// What it speaks.
    pub protocol: Protocol,
    /// `greeting`.
    pub greeting: Option<CompactString>,
    /// `max-connections-per-ip`; zero for no limit.
    pub connections_per_ip_max: u32,
    /// `max-connections`: at once, over all shards.
    pub connections_max: u32,
    /// `proxy.trusted-networks`: who begins with a PROXY header.
    pub proxy_trusted: Vec<IpNet>,
    /// `tls.implicit`: TLS before the first octet of SMTP.
    pub tls_implicit: bool,
    /// `bare-newlines`.
    pub bare_line_ends: BareLineEnds,
    /// What a 250 promises.
    pub durability: Durability,
    /// Who may say XCLIENT.
    pub xclient_trusted: Vec<IpNet>,
    /// TLS, where it can be spoken.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The longest handshake.
    pub tls_timeout: Duration,
    /// What policy goes by.
    pub policy: Rc<policy::Settings>,
    /// What the driver goes by.
    pub session: Rc<Settings>,
    /// Directories, lists and counters.
    pub lookups: ShardLookups,
    /// Names limits.
    pub keys: KeyMaker,
}

/// The profile in force. A reload puts another in its place; a session takes it over between transactions.
#[derive(Debug, Clone)]
pub struct Current(Rc<RefCell<Rc<Profile>>>);

impl Current {
    /// A profile that is in force from now on.
    pub fn new(profile: Profile) -> Current {
        Current(Rc::new(RefCell::new(Rc::new(profile))))
    }

    /// The profile in force.
    pub fn profile(&self) -> Rc<Profile> {
        self.0.borrow().clone()
    }

    /// Puts another in its place.
    pub fn replace(&self, profile: Profile) {
        *self.0.borrow_mut() = Rc::new(profile);
    }
}

/// What the sessions of one shard share among themselves. Clones share it.
#[derive(Debug, Clone)]
pub struct Floor(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: Pool,
    crew: Crew,
    handshakes: posthaste_rt::sync::Permits,
    offers: Latest<Offers>,
    bounds: Latest<Bounds>,
}

/// The latest of values that are the same for nearly all sessions: those that are equal share one.
#[derive(Debug)]
struct Latest<T>(RefCell<Option<Rc<T>>>);

impl<T: PartialEq> Latest<T> {
    fn share(&self, value: Rc<T>) -> Rc<T> {
        let mut latest = self.0.borrow_mut();
        match &*latest {
            Some(same) if **same == *value => same.clone(),
            _ => latest.insert(value).clone(),
        }
    }
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Latest(RefCell::new(None))
    }
}

/// TLS handshakes of one shard at once: each costs the better part of a millisecond of its core.
const HANDSHAKES_MAX: usize = 32;
/// How long one handshake keeps its turn: well beyond what it computes, well below what a stalled peer could hurt.
const HANDSHAKE_TURN: Duration = Duration::from_millis(100);

impl Floor {
    /// A floor with that budget for receive buffers and content before its commit.
    pub fn new(budget: Budget) -> Floor {
        Floor(Rc::new(Shared {
            pool: Pool::new(budget),
            crew: Crew::default(),
            handshakes: posthaste_rt::sync::Permits::new(HANDSHAKES_MAX),
            offers: Latest::default(),
            bounds: Latest::default(),
        }))
    }

    /// The receive buffers.
    pub(super) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// What a client is offered, kept once for all to whom the same is offered.
    pub(super) fn share_offers(&self, offers: Rc<Offers>) -> Rc<Offers> {
        self.0.offers.share(offers)
    }

    /// Bounds, kept once for all sessions for which the same hold.
    pub(super) fn share_bounds(&self, bounds: Bounds) -> Rc<Bounds> {
        self.0.bounds.share(Rc::new(bounds))
    }

    /// The sessions.
    pub fn crew(&self) -> &Crew {
        &self.0.crew
    }

    /// Negotiates TLS as the server: a shard does so many at once and no more. A turn is for computing, not
    /// for waiting: a peer that says nothing has none, and one that stalls half-way loses it and goes on
    /// without, so that silent connections keep nobody from TLS.
    pub async fn handshake(
        &self,
        mut stream: Stream,
        config: Arc<rustls::ServerConfig>,
        timeout: Duration,
    ) -> Result<Connection, HandshakeError> {
        let since = clock::now();
        stream.set_read_timeout(Some(timeout));
        stream.readable().await?;
        let turn = self.0.handshakes.acquire().await;
        stream.set_read_timeout(None);
        let waited = Duration::from_micros(clock::now().saturating_sub(since));
        let mut handshake = Box::pin(tls::accept(stream, config, timeout.saturating_sub(waited)));
        match time::timeout(HANDSHAKE_TURN, &mut handshake).await {
            Ok(done) => done,
            Err(_) => {
                drop(turn);
                handshake.await
            }
        }
    }

    /// The budget.
    pub fn budget(&self) -> &Budget {
        self.0.pool.budget()
    }
}
