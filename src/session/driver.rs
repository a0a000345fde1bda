//! The session's loop: step, do what the step says, step again.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::rc::Rc;

use compact_str::CompactString;
use posthaste_rt::net::{Connection, Stream};
use posthaste_rt::{clock, time};

use crate::base::limits::{REPLY_BACKLOG_BYTES_MAX, SESSION_COMMITS_MAX};
use crate::base::{Monotonic, Reservation, WallTime};
use crate::mail::Reply;
use crate::observe::{Counter, Event, Gauge, Level, Timing, add, count, event, gauge_add, record_micros};
use crate::policy::is_in;
use crate::session::assemble::{self, Wishes};
use crate::session::commits::{Commit, Commits};
use crate::session::crew::Member;
use crate::session::pace::{Bounds, Overdue, Pace};
use crate::session::services::{Bulk, Current, Floor, Profile, Services};
use crate::smtp::server::{Client, Message, Rules, Server, Step, Ticket, TlsFacts, words};
use crate::spool::{CommitError, Extents};

/// A connection that was accepted, with what the listener learnt about it.
#[derive(Debug)]
pub struct Link {
    /// The connection; TLS already where it is implicit.
    pub connection: Connection,
    /// The client's address, after PROXY.
    pub remote: SocketAddr,
    /// Where it connected to, after PROXY.
    pub local: SocketAddr,
    /// TLS that a trusted proxy ended for us.
    pub proxied_tls: Option<Box<TlsFacts>>,
}

/// Why a session is over.
#[derive(Debug)]
pub(super) enum End {
    /// The machine said so.
    Closed,
    /// The peer is gone, or does not read.
    Broken,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        End::Broken
    }
}

/// Everything of one session.
pub(super) struct Session<S: Services> {
    pub connection: Connection,
    pub server: Server,
    pub services: Rc<S>,
    pub floor: Floor,
    pub member: Member,
    pub current: Current,
    pub profile: Rc<Profile>,
    pub bounds: Rc<Bounds>,
    pub pace: Pace,
    pub commits: Commits<S::Commit>,
    /// Octets of the budget that this session's buffer holds.
    pub held: Reservation,
    /// The client sends on without waiting for the reply to its message.
    pub is_ahead: bool,
    /// The rest, which most sessions need seldom.
    pub rare: Box<Rare<S>>,
}

/// What a session holds beside: kept apart so that the future stays small.
pub(super) struct Rare<S: Services> {
    pub hostname: CompactString,
    /// Limits held for as long as the session lasts.
    pub permits: Vec<S::Permit>,
    /// The body that is being spilled.
    pub bulk: Option<Box<S::Bulk>>,
    /// The id of the message in question, and what policy wishes of it.
    pub id: Option<crate::base::MessageId>,
    pub wishes: Wishes,
}

/// A message whose body is in bulk storage but for its end.
struct Spilled<S: Services> {
    accepted: Message,
    bulk: Box<S::Bulk>,
}

/// Serves one connection to its end. Joins the crew of `floor`; ends soon after its crew is stopped.
pub fn serve<S: Services>(
    link: Link,
    current: Current,
    floor: Floor,
    services: Rc<S>,
) -> impl Future<Output = ()> + 'static {
    // Built outside of the future, which would otherwise hold the arguments beside the session.
    let mut session = Session::new(link, current, floor, services);
    async move {
        let _open = OpenLink::new();
        let end = session.run().await;
        session.finish(end).await;
    }
}

/// Counts a session for as long as it lives, panics included.
struct OpenLink;

impl OpenLink {
    fn new() -> OpenLink {
        count(Counter::LinksAccepted);
        gauge_add(Gauge::LinksOpen, 1);
        OpenLink
    }
}

impl Drop for OpenLink {
    fn drop(&mut self) {
        gauge_add(Gauge::LinksOpen, -1);
        count(Counter::LinksClosed);
    }
}

pub(super) fn now() -> Monotonic {
    Monotonic(clock::now())
}

pub(super) fn wall() -> WallTime {
    WallTime(clock::wall_ms())
}

impl<S: Services> Session<S> {
    fn new(link: Link, current: Current, floor: Floor, services: Rc<S>) -> Session<S> {
        let Link { mut connection, remote, local, proxied_tls } = link;
        let profile = current.profile();
        let mut client = Client::new(profile.listener.clone(), profile.protocol, remote, local);
        client.peer = connection.peer_addr().ip();
        client.is_trusted = is_in(&profile.policy.trusted, remote.ip());
        client.may_xclient = is_in(&profile.xclient_trusted, client.peer);
        client.tls = tls_facts(&connection).or(proxied_tls);
        let server = Server::new(client, Rules::default());
        let bounds = floor.share_bounds(Bounds::of(&profile, server.client()));
        connection.set_write_timeout(Some(bounds.timeout));
        let held = floor.budget().empty();
        let member = floor.crew().join();
        let rare = Rare {
            hostname: CompactString::default(),
            permits: Vec::new(),
            bulk: None,
            id: None,
            wishes: Wishes::default(),
        };
        Session {
            connection,
            server,
            services,
            floor,
            member,
            current,
            profile,
            bounds,
            pace: Pace::new(now()),
            commits: Commits::default(),
            held,
            is_ahead: false,
            rare: Box::new(rare),
        }
    }

    /// Steps until the session is over.
    async fn run(&mut self) -> End {
        loop {
            let done = match self.server.step(wall()) {
                Step::Read => self.read().await,
                Step::Ask(phase) => {
                    if let Some(unruled) = self.judge(phase) {
                        Box::pin(self.find_out(unruled)).await;
                    }
                    Ok(())
                }
                Step::Commit(ticket) => {
                    if let Some(spilled) = self.commit(ticket) {
                        Box::pin(self.finish_bulk(ticket, spilled)).await;
                    }
                    self.keep_up().await
                }
                Step::Spill(body) => {
                    self.spill(&body).await;
                    Ok(())
                }
                Step::Wait(span) => Box::pin(self.wait(span)).await,
                Step::StartTls => Box::pin(self.start_tls()).await,
                Step::Close => return End::Closed,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Writes what may be written. With `all`, waits for every commit first.
    pub async fn flush(&mut self) -> Result<(), End> {
        if self.server.replies().ready().is_empty() {
            return Ok(());
        }
        let ready = self.server.replies().take_ready();
        self.connection.write_all(&ready).await?;
        self.server.replies().recycle(ready);
        Ok(())
    }

    /// Writes every reply, also those that wait for a commit.
    pub async fn flush_all(&mut self) -> Result<(), End> {
        while !self.commits.is_empty() {
            self.settle().await;
        }
        self.flush().await
    }

    /// Waits for the oldest commit and says what came of it.
    pub async fn settle(&mut self) {
        if let Some((commit, result)) = self.commits.next().await {
            self.settled(&commit, result);
        }
    }

    pub fn settled(&mut self, commit: &Commit<S::Commit>, result: Result<(), CommitError>) {
        match result {
            Ok(()) => {
                count(Counter::MessagesAccepted);
                add(Counter::ContentBytes, commit.size_bytes);
                record_micros(Timing::Accept, now().since(commit.since).as_micros() as u64);
                self.log_accepted(commit);
                self.server.committed(commit.ticket, &words::queued(commit.id));
            }
            Err(error) => {
                count(Counter::MessagesDeferred);
                self.server.committed(commit.ticket, &error.reply());
            }
        }
    }

    fn log_accepted(&self, commit: &Commit<S::Commit>) {
        let client = self.server.client();
        event(wall(), Level::Info, Event::TxAccepted, |line| {
            line.show("id", commit.id)
                .text("listener", &client.listener)
                .show("remote", client.remote.ip())
                .number("recipients", commit.recipients as u64)
                .number("size", commit.size_bytes);
        });
    }

    /// Lets a client wait that guesses recipients; what was said before goes out first.
    async fn wait(&mut self, span: std::time::Duration) -> Result<(), End> {
        self.flush().await?;
        self.park();
        time::sleep(span).await;
        Ok(())
    }

    /// Takes the bounds that hold for the client as it is now.
    pub fn bound(&mut self) {
        self.bounds = self.floor.share_bounds(Bounds::of(&self.profile, self.server.client()));
    }

    /// Hands a message over. The session goes on; the reply has its place.
    /// What it gives has to be ended in bulk storage first.
    fn commit(&mut self, ticket: Ticket) -> Option<Box<Spilled<S>>> {
        let accepted = self.server.take_message()?;
        self.pace.message_complete();
        if let Some(bulk) = self.rare.bulk.take() {
            return Some(Box::new(Spilled { accepted, bulk }));
        }
        self.hand_over(ticket, accepted, None);
        None
    }

    /// Waits while too many commits, or too many replies that wait for one, are pending.
    async fn keep_up(&mut self) -> Result<(), End> {
        while self.commits.len() >= SESSION_COMMITS_MAX || self.is_backlogged() {
            self.flush().await?;
            self.settle().await;
        }
        Ok(())
    }

    /// Ends a body in bulk storage, then hands its message over.
    async fn finish_bulk(&mut self, ticket: Ticket, spilled: Box<Spilled<S>>) {
        let Spilled { accepted, mut bulk } = *spilled;
        let rest = &accepted.content.body;
        let written = if rest.is_empty() { Ok(()) } else { bulk.write(rest).await };
        let finished = match written {
            Ok(()) => bulk.finish().await,
            Err(error) => Err(error),
        };
        match finished {
            Ok(extents) => self.hand_over(ticket, accepted, Some(extents)),
            Err(error) => {
                self.rare.id = None;
                count(Counter::MessagesDeferred);
                self.server.committed(ticket, &error.reply());
            }
        }
    }

    /// Gives a message to the spool, whose it is from here on.
    fn hand_over(&mut self, ticket: Ticket, accepted: Message, bulk: Option<Extents>) {
        let id = match self.rare.id.take() {
            Some(id) => id,
            None => self.services.new_id(),
        };
        let (recipients, size_bytes) =
            (accepted.transaction.envelope.recipients.len(), accepted.content.facts.size_bytes);
        let wishes = std::mem::take(&mut self.rare.wishes);
        let message = assemble::message(id, self.server.client(), accepted, wishes, bulk, wall());
        let mut held = self.floor.budget().empty();
        if let crate::spool::Body::Memory(_) = message.body {
            // Beyond the budget for once rather than refused: the octets are here already.
            held.resize(usize::try_from(size_bytes).unwrap_or(usize::MAX));
        }
        let future = self.services.commit(Rc::new(message), self.profile.durability);
        self.commits.push(ticket, id, now(), recipients, size_bytes, held, future);
        self.is_ahead = !self.server.intake().unread().is_empty();
    }

    /// Held replies are many: wait for commits before more is said.
    fn is_backlogged(&mut self) -> bool {
        !self.commits.is_empty() && self.server.replies().backlog_bytes() > REPLY_BACKLOG_BYTES_MAX
    }

    /// Writes octets of a body to bulk storage. When that fails the rest is read and thrown away.
    pub async fn spill(&mut self, body: &[u8]) {
        let services = &self.services;
        let bulk = self.rare.bulk.get_or_insert_with(|| Box::new(services.bulk()));
        if let Err(error) = Box::pin(bulk.write(body)).await {
            self.rare.bulk = None;
            self.server.abandon_content(error.reply());
        }
    }

    /// Negotiates TLS. What the client had sent in clear is gone (RFC 3207 §4.2).
    async fn start_tls(&mut self) -> Result<(), End> {
        self.flush_all().await?;
        let Some(config) = self.profile.tls.clone() else { return Err(End::Broken) };
        // The handshake wants a stream of its own; this one is dropped when it has succeeded.
        let plain = Stream::from_fd(self.connection.stream().as_fd().try_clone_to_owned()?)?;
        match self.floor.handshake(plain, config, self.profile.tls_timeout).await {
            Ok(connection) => {
                count(Counter::TlsHandshakes);
                self.connection = connection;
                let facts = tls_facts(&self.connection).map(|facts| *facts).unwrap_or_default();
                self.server.tls_started(facts);
                self.bound();
                self.connection.set_write_timeout(Some(self.bounds.timeout));
                Ok(())
            }
            Err(error) => {
                count(Counter::TlsHandshakesFailed);
                let client = self.server.client();
                event(wall(), Level::Info, Event::LinkTls, |line| {
                    line.show("remote", client.remote.ip()).show("error", &error);
                });
                Err(End::Broken)
            }
        }
    }

    /// A session that has waited too long, or brought too much.
    pub fn overdue(&mut self, why: Overdue) {
        self.server.end(why.reply());
    }

    /// Nothing new may begin.
    pub fn stopping(&mut self) {
        self.server.stop();
    }

    /// Says what is left to say and closes.
    async fn finish(&mut self, end: End) {
        match end {
            End::Closed if self.flush_all().await.is_ok() => {
                if self.connection.shutdown().await.is_ok() && !self.server.counts().has_quit {
                    Box::pin(self.linger()).await;
                }
            }
            // The peer is gone, what it had sent completely is committed all the same, and counted.
            _ => {
                while !self.commits.is_empty() {
                    self.settle().await;
                }
            }
        }
        self.report();
    }

    /// Reads on for a moment where the client did not expect the end: a socket that is closed with octets
    /// unread sends a reset, and the last reply may be lost with it.
    async fn linger(&mut self) {
        let (start, mut octets) = (now(), 0);
        while octets < LINGER_BYTES_MAX {
            // All of it together: an octet now and then does not hold the session.
            let Some(left) = LINGER.checked_sub(now().since(start)).filter(|left| !left.is_zero()) else { return };
            self.connection.set_read_timeout(Some(left));
            match self.connection.read_with(|| self.floor.pool().lend()).await {
                Ok((loan, read)) if read > 0 && !loan.is_empty() => octets += read,
                _ => return,
            }
        }
    }

    /// Adds what this session counted to what the shard counts.
    fn report(&mut self) {
        let counts = self.server.counts();
        let (refused, deferred) = self.server.replies().tallies();
        add(Counter::Commands, counts.commands);
        add(Counter::CommandsRefused, refused);
        add(Counter::CommandsDeferred, deferred);
        add(Counter::MessagesRefused, u64::from(counts.content_refused));
        add(Counter::SmugglingRefused, u64::from(counts.bare_line_ends));
        let client = self.server.client();
        event(wall(), Level::Debug, Event::LinkClosed, |line| {
            line.text("listener", &client.listener)
                .show("remote", client.remote.ip())
                .number("messages", u64::from(counts.accepted))
                .number("commands", counts.commands);
        });
    }
}

/// How long, and how much, is read of a client that did not expect the end.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// The facts of a TLS connection as the machine knows them.
pub(super) fn tls_facts(connection: &Connection) -> Option<Box<TlsFacts>> {
    connection.tls_facts().map(|facts| {
        Box::new(TlsFacts {
            version: facts.version.into(),
            cipher: facts.cipher.as_str().into(),
            sni: facts.server_name.as_deref().map(CompactString::from),
        })
    })
}

/// The reply when mail is not taken.
pub(super) fn pressure<S: Services>(services: &S, floor: &Floor) -> Option<Reply> {
    use crate::spool::Health;
    match services.health() {
        Health::Sick => Some(Reply::new(421, (4, 3, 0), "Local storage error, try again later.")),
        Health::Full => Some(words::system_full()),
        Health::Ready if floor.budget().is_tight() => Some(words::system_full()),
        Health::Ready => None,
    }
}
