//! One shard of the simulated server: the product's spool, queue, scheduler, limits and client machine, joined as
//! `src/shard` joins them, with virtual time and scripted peers where the real one has sockets.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use posthaste::base::{Monotonic, Now, RecipientIndex, ShardId};
use posthaste::limits::{KeyMaker, Limits};
use posthaste::mail::{Diagnostic, ErrorKind, Outcome, Reply, Scope, Source, Status};
use posthaste::queue::{DueMessage, LaneKey, RecipientSet};
use posthaste::report;
use posthaste::scheduler::{
    Attempt, Closing, Completion, Connection, Destination, End, LaneSpec, Pause, Report, Routed, Scheduler, Settings,
};
use posthaste::shard::arrival;
use posthaste::shard::frame::{OwedReports, frame};
use posthaste::smtp::client::{
    Client, ContentForm, Lost, Options, Owed, Protocol, Results, StartTls, Step, Timeouts, Transaction, Wait,
};
use posthaste::smtp::stuff::Stuffer;
use posthaste::spool::sim::SimDisk;
use posthaste::spool::storage::Storage as _;
use posthaste::spool::{
    Body, CommitError, Durability, Health, Message, ReadError, Record, Recovery, RecoveryEvent, Spool,
};

use super::lending::{Lending, Note, Tried};
use super::peer::{Heard, Peer};
use super::story::{Story, note};

/// Connections of one lane, over all shards.
pub const LANE_CONNECTIONS_MAX: u32 = 3;
/// How long a connection idles.
pub const IDLE: Duration = Duration::from_secs(4);
const READS_MAX: usize = 8;
/// How long a message is tried.
pub const EXPIRE: Duration = Duration::from_secs(100);

/// All shards of one life of the process.
pub struct Fleet {
    pub nodes: RefCell<Vec<Rc<Node>>>,
    /// When the process started: all shards share one clock.
    started: Duration,
    /// When the last batch between two shards arrives: they stay in order.
    last_at: RefCell<HashMap<(u16, u16), Duration>>,
}

pub struct Node {
    pub story: Rc<Story>,
    pub disk: SimDisk,
    pub spool: Spool<SimDisk>,
    pub scheduler: RefCell<Scheduler<Rc<Message>>>,
    pub limits: RefCell<Limits>,
    pub fleet: Rc<Fleet>,
    pub id: ShardId,
    pub lending: Lending,
    specs: RefCell<HashMap<String, Rc<LaneSpec>>>,
    idle: RefCell<HashMap<LaneKey, Vec<Link>>>,
    reads: Cell<usize>,
    is_rung: Cell<bool>,
    pub is_stopping: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    report: report::Settings,
}

/// One connection to a next hop.
pub struct Link {
    client: Client,
    peer: Peer,
    heard: VecDeque<Heard>,
    out: Vec<u8>,
    pub serial: u64,
    _count: Open,
}

/// Counts connections by domain, to hold them against the limit.
struct Open {
    story: Rc<Story>,
    domain: String,
    life: u32,
}

impl Open {
    fn new(story: &Rc<Story>, domain: &str) -> Open {
        let mut open = story.open.borrow_mut();
        let count = open.entry(domain.to_owned()).or_default();
        *count += 1;
        assert!(*count <= LANE_CONNECTIONS_MAX, "more connections to {domain} than its lane may have");
        Open { story: story.clone(), domain: domain.to_owned(), life: story.ledger.borrow().life }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.story.ledger.borrow().life == self.life
            && let Some(count) = self.story.open.borrow_mut().get_mut(&self.domain)
        {
            *count -= 1;
        }
    }
}

/// Schedules as the defaults have them, but seconds for many minutes: virtual time is not free.
fn schedules() -> Settings {
    let mut settings = Settings::default();
    let seconds = |all: &[u64]| all.iter().map(|n| Duration::from_secs(*n)).collect::<Vec<_>>();
    for (id, schedule) in &mut settings.schedules {
        schedule.retry = seconds(&[1, 2, 4, 6, 10, 20]);
        if id == "dsn" {
            schedule.end = End::Attempts(10);
        } else {
            schedule.notify = seconds(&[20, 60]);
            schedule.end = End::Expire(EXPIRE);
        }
    }
    settings
}

fn timeouts() -> Timeouts {
    let (short, long) = (Duration::from_secs(4), Duration::from_secs(7));
    Timeouts { greeting: short, ehlo: short, mail_from: short, rcpt_to: short, data: long }
}

type Done = (Option<Rc<Message>>, Report, OwedReports);

/// Nothing was tried; a connection that the attempt counted on (`reuse`) is idle still.
fn nothing(reuse: bool) -> Report {
    let connection = if reuse { Connection::Kept } else { Connection::Closed };
    Report { outcomes: Vec::new(), connection, recipients_max: None }
}

impl Fleet {
    /// Sends a note; it arrives after a while, in order.
    pub fn send(self: &Rc<Self>, from: &Rc<Node>, to: ShardId, note: Note) {
        let key = (from.id.0, to.0);
        let at = from.disk.now() + Duration::from_micros(1 + from.story.below(3000));
        let at = {
            let mut last = self.last_at.borrow_mut();
            let last = last.entry(key).or_default();
            *last = at.max(*last + Duration::from_micros(1));
            *last
        };
        let (fleet, from) = (self.clone(), from.clone());
        let disk = from.disk.clone();
        disk.clone().spawn(async move {
            disk.sleep(at.saturating_sub(disk.now())).await;
            let target = fleet.nodes.borrow().get(usize::from(to.0)).cloned();
            if let Some(target) = target {
                target.hear(from.id, note);
            }
        });
    }

    pub fn new(started: Duration) -> Rc<Fleet> {
        Rc::new(Fleet { started, nodes: RefCell::default(), last_at: RefCell::default() })
    }
}

impl Node {
    pub fn start(
        story: &Rc<Story>,
        fleet: &Rc<Fleet>,
        spool: Spool<SimDisk>,
        id: ShardId,
        shards: u16,
        seed: u64,
    ) -> Rc<Node> {
        let disk = story.disk.borrow().clone();
        let node = Rc::new(Node {
            story: story.clone(),
            disk,
            spool,
            scheduler: RefCell::new(Scheduler::new(Rc::new(schedules()), KeyMaker::new(seed), seed)),
            limits: RefCell::new(Limits::new(id, shards)),
            fleet: fleet.clone(),
            id,
            lending: Lending::new(id, shards),
            specs: RefCell::default(),
            idle: RefCell::default(),
            reads: Cell::new(0),
            is_rung: Cell::new(true),
            is_stopping: Cell::new(false),
            waker: RefCell::default(),
            report: report::Settings::default(),
        });
        let weak = Rc::downgrade(&node);
        node.spool.set_observer(Rc::new(move |record| {
            let Some(node) = weak.upgrade() else { return };
            let stream = record.message_id().map(|id| id.stream);
            let is_well = stream.is_some_and(|stream| node.spool.health_of(stream) != Health::Sick);
            node.story.ledger.borrow_mut().durable(record, is_well);
            if let Record::Message(message) = record {
                let is_new = arrival::of_message(message, |one| node.scheduler.borrow_mut().insert(one, node.now()));
                assert!(is_new);
                if node.story.one_in(4) {
                    node.scheduler.borrow_mut().drop_content(message.id);
                }
                node.ring();
            }
        }));
        fleet.nodes.borrow_mut().push(node.clone());
        node
    }

    pub fn now(&self) -> Now {
        let mono = (self.disk.now() - self.fleet.started).as_micros() as u64 + 1000;
        Now { mono: Monotonic(mono), wall: self.story.wall() }
    }

    pub fn ring(&self) {
        self.is_rung.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// What is left in the queue and why, for people.
    pub fn describe(&self) -> String {
        let scheduler = self.scheduler.borrow();
        let queued: Vec<_> = self.story.ledger.borrow().mails.keys().copied().collect();
        let mut text = format!("shard {}: {} queued\n", self.id, scheduler.queue().len());
        for id in queued.into_iter().filter(|id| scheduler.queue().contains(*id)) {
            text.push_str(&format!("{id}: {:?}\n", scheduler.why(id, self.now())));
        }
        for (lane, links) in self.idle.borrow().iter() {
            text.push_str(&format!("idle in {}: {}\n", lane.next_hop, links.len()));
        }
        text
    }

    /// Enters what recovery finds; gives all of it.
    pub async fn recover(self: Rc<Self>, mut recovery: Recovery) -> (usize, bool) {
        let (mut found, mut is_damaged) = (0, false);
        while let Some(event) = recovery.next().await {
            match event {
                RecoveryEvent::Messages(batch) => {
                    for one in &batch {
                        self.story.ledger.borrow_mut().found(one);
                        arrival::of_recovered(one, |one| self.scheduler.borrow_mut().insert(one, self.now()));
                    }
                    self.ring();
                    found += batch.len();
                }
                RecoveryEvent::Damaged(damage) => {
                    note(|| format!("{damage}"));
                    is_damaged |= damage.kind != posthaste::spool::DamageKind::Torn;
                    self.story.ledger.borrow_mut().unnamed = None;
                }
                RecoveryEvent::Complete(_) => {}
                RecoveryEvent::Failed(stream, error) => panic!("stream {stream}: {error}"),
            }
        }
        (found, is_damaged)
    }

    /// The way out, for as long as this life lasts.
    pub async fn run(self: Rc<Self>) {
        loop {
            self.pass_limits();
            let more = self.turn();
            self.send_limits();
            if more {
                self.disk.sleep(Duration::from_micros(1)).await;
                continue;
            }
            let now = self.now();
            let deadline = self.scheduler.borrow().next_deadline(now).min(self.limits.borrow().next_deadline());
            let span = deadline.since(now.mono).clamp(Duration::from_micros(1), Duration::from_secs(30 * 86_400));
            let rung = poll_fn(|cx| {
                if self.is_rung.replace(false) {
                    return Poll::Ready(());
                }
                *self.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            });
            futures_lite::future::or(rung, self.disk.sleep(span)).await;
        }
    }

    fn send_limits(self: &Rc<Self>) {
        let batches: Vec<_> = self.limits.borrow_mut().outbox().collect();
        for (to, items) in batches {
            self.fleet.send(self, to, Note::Limits(items));
        }
    }

    fn pass_limits(self: &Rc<Self>) {
        let now = self.now();
        let mut limits = self.limits.borrow_mut();
        limits.turn(now.mono);
        let woken: Vec<_> = limits.woken().collect();
        let recalled: Vec<_> = limits.recalled().collect();
        drop(limits);
        woken.into_iter().for_each(|ticket| self.scheduler.borrow_mut().wake(ticket));
        recalled.into_iter().for_each(|key| self.scheduler.borrow_mut().recall(key));
        let closings: Vec<_> = self.scheduler.borrow_mut().closings().collect();
        for Closing { lane, away } in closings {
            match away {
                Some(away) => self.fleet.send(self, away, Note::CloseIdle(lane.key.clone())),
                None if self.close_idle(&lane.key) => {
                    self.scheduler.borrow_mut().connection_closed(&lane.key, None, &mut self.limits.borrow_mut(), now);
                }
                None => {}
            }
        }
        self.send_limits();
    }

    /// Closes an idle connection of this shard's own; says whether there was one.
    pub fn close_idle(&self, lane: &LaneKey) -> bool {
        self.idle.borrow_mut().get_mut(lane).and_then(Vec::pop).is_some()
    }

    fn turn(self: &Rc<Self>) -> bool {
        let now = self.now();
        let is_sick = self.spool.health() == Health::Sick;
        if !self.is_stopping.get() {
            self.scheduler.borrow_mut().pause(is_sick.then_some(Pause::SpoolSick));
        }
        let more = !self.scheduler.borrow_mut().turn(self.story.next(), now);
        while self.reads.get() < READS_MAX {
            let Some(due) = self.scheduler.borrow_mut().next_due(now) else { break };
            match due.content.clone() {
                Some(message) => self.place(&due, &message, &[]),
                None => self.read_and_place(due),
            }
        }
        self.weigh();
        loop {
            let attempt = self.scheduler.borrow_mut().next_attempt(&mut self.limits.borrow_mut(), now);
            let Some(attempt) = attempt else { break };
            for at in attempt.recipients.iter() {
                self.story.ledger.borrow_mut().attempted(attempt.message, at.0 as usize, now.wall);
            }
            match self.taker(&attempt) {
                Some(taker) => self.disk.spawn(self.clone().lend(attempt, taker)),
                None => self.disk.spawn(self.clone().attempted(attempt)),
            }
        }
        if is_sick {
            // The real shard looks at the health every 50 ms.
            let node = self.clone();
            self.disk.spawn(async move {
                node.disk.sleep(Duration::from_millis(50)).await;
                node.ring();
            });
        }
        more || self.scheduler.borrow().has_candidate()
    }

    fn place(self: &Rc<Self>, due: &DueMessage<Rc<Message>>, message: &Rc<Message>, statuses: &[Option<Status>]) {
        let routed = self.route(due, message, statuses);
        let completion = self.scheduler.borrow_mut().route(due, routed, self.story.next(), self.now());
        if let Some(completion) = completion {
            let (node, message) = (self.clone(), message.clone());
            self.disk.spawn(async move { node.record(Some(message), completion).await });
        }
    }

    fn route(&self, due: &DueMessage<Rc<Message>>, message: &Message, statuses: &[Option<Status>]) -> Vec<Routed> {
        let is_report = message.received.source == Source::Dsn;
        let plan = self.scheduler.borrow_mut().plan(if is_report { "dsn" } else { "remote" });
        let mut routed: Vec<Routed> = Vec::new();
        for group in &due.groups {
            for index in group.recipients.iter() {
                let domain = message.envelope.recipients[index.0 as usize].path.mailbox().domain().to_owned();
                let last = match statuses.get(index.0 as usize) {
                    Some(Some(Status::Deferred { last, .. })) => Some(last.clone()),
                    _ => None,
                };
                let to = if domain == "nowhere.test" {
                    let reply = Reply::new(556, (5, 1, 10), "the domain takes no mail");
                    let diagnostic = Diagnostic::local(ErrorKind::Dns, Scope::Recipient, reply);
                    Destination::Outcome(Box::new(Outcome::Failed(diagnostic)))
                } else {
                    Destination::Lane(self.spec(&plan.schedule.queue, &domain))
                };
                let same = routed.iter_mut().find(|r| match (&r.to, &to) {
                    (Destination::Lane(a), Destination::Lane(b)) => r.group == group.group && Rc::ptr_eq(a, b),
                    _ => false,
                });
                match same {
                    Some(same) => same.recipients = same.recipients.iter().chain([index]).collect(),
                    None => routed.push(Routed {
                        group: group.group,
                        recipients: RecipientSet::one(index),
                        plan: plan.clone(),
                        to,
                        last,
                    }),
                }
            }
        }
        routed
    }

    fn spec(&self, queue: &str, domain: &str) -> Rc<LaneSpec> {
        let mut specs = self.specs.borrow_mut();
        let spec = specs.entry(format!("{queue} {domain}")).or_insert_with(|| {
            let key = LaneKey { queue: queue.into(), next_hop: domain.into(), source: None, tls: "none".into() };
            Rc::new(LaneSpec { key, connections_max: LANE_CONNECTIONS_MAX, limits: Vec::new() })
        });
        spec.clone()
    }

    fn read_and_place(self: &Rc<Self>, due: DueMessage<Rc<Message>>) {
        let node = self.clone();
        self.reads.set(self.reads.get() + 1);
        self.disk.spawn(async move {
            match node.spool.read(due.id).await {
                Ok(stored) => node.place(&due, &stored.message, &stored.statuses),
                Err(error) => {
                    assert!(!matches!(error, ReadError::NotFound(_)), "{error}");
                    if let ReadError::Damaged(id) = error {
                        node.scheduler.borrow_mut().hold(id);
                        node.story.ledger.borrow_mut().count("damaged reads");
                        assert!(node.story.ledger.borrow().damaged().contains(&id), "{error}");
                    } else {
                        node.disk.sleep(Duration::from_millis(200)).await;
                    }
                    let none = node.scheduler.borrow_mut().route(&due, Vec::new(), node.story.next(), node.now());
                    assert!(none.is_none());
                }
            }
            node.reads.set(node.reads.get() - 1);
            node.ring();
        });
    }

    pub async fn attempted(self: Rc<Self>, attempt: Attempt<Rc<Message>>) {
        let (message, report, owed) = self.deliver(&attempt).await;
        self.ended(attempt, message, report, owed).await;
    }

    /// An attempt has ended, here or on another shard.
    pub async fn ended(
        self: Rc<Self>,
        attempt: Attempt<Rc<Message>>,
        message: Option<Rc<Message>>,
        report: Report,
        owed: OwedReports,
    ) {
        for at in attempt.recipients.iter() {
            if !report.outcomes.iter().any(|(r, _)| *r == at) {
                self.story.ledger.borrow_mut().untried(attempt.message, at.0 as usize);
            }
        }
        let completion = {
            let (mut scheduler, mut limits) = (self.scheduler.borrow_mut(), self.limits.borrow_mut());
            scheduler.complete(attempt.id, report, &mut limits, self.story.next(), self.now())
        };
        self.ring();
        if let Some(mut completion) = completion {
            completion.owed = owed;
            self.record(message.or(attempt.content), completion).await;
        }
    }

    /// As `shard::recording` does it.
    pub async fn record(self: &Rc<Self>, message: Option<Rc<Message>>, completion: Completion) {
        let mut message = message;
        while message.is_none() && !completion.notices.is_empty() {
            match self.spool.read(completion.message).await {
                Ok(stored) => message = Some(stored.message),
                Err(ReadError::Io(..)) => self.disk.sleep(Duration::from_millis(200)).await,
                Err(_) => break,
            }
        }
        let new_id = || self.spool.new_id_in(completion.message.stream);
        let wall = self.now().wall;
        let frame = frame(message.as_deref(), &completion, &self.report, "mx.test", wall, new_id);
        let owes = |at: u32| completion.owed.iter().any(|(r, owed)| r.0 == at && *owed != Owed::Nothing);
        self.story.ledger.borrow_mut().intends(&frame.records, &owes);
        match self.spool.commit(frame.records, Durability::Durable).await {
            Ok(()) => drop(self.scheduler.borrow_mut().applied(completion, self.now())),
            Err(CommitError::Closing) if self.is_stopping.get() => {}
            Err(error) => panic!("outcomes are never refused: {error}"),
        }
        self.ring();
    }

    async fn deliver(self: &Rc<Self>, attempt: &Attempt<Rc<Message>>) -> Done {
        let message = match &attempt.content {
            Some(message) => message.clone(),
            None => match self.spool.read(attempt.message).await {
                Ok(stored) => stored.message,
                Err(_) => return (None, nothing(attempt.reuse), OwedReports::new()),
            },
        };
        let recipients: Vec<RecipientIndex> = attempt.recipients.iter().collect();
        let lane = &attempt.lane.key;
        let (tried, link) = self.try_next_hop(lane, None, attempt.reuse, &message, &recipients).await;
        let (outcomes, owed) = tried.tell(self, &message);
        let is_kept = link.is_some();
        link.into_iter().for_each(|link| self.keep(lane, link));
        let connection = if is_kept { Connection::Kept } else { Connection::Closed };
        let report = Report { outcomes, connection, recipients_max: tried.recipients_max };
        (Some(message), report, owed)
    }

    /// Connects or reuses, here for this shard or for another, and transacts; gives the connection if it can be kept.
    pub async fn try_next_hop(
        self: &Rc<Self>,
        lane: &LaneKey,
        home: Option<ShardId>,
        mut may_reuse: bool,
        message: &Rc<Message>,
        recipients: &[RecipientIndex],
    ) -> (Tried, Option<Link>) {
        loop {
            // The attempt holds one place: a connection that idles, or the right to a new one.
            let idle = match (std::mem::take(&mut may_reuse), home) {
                (true, None) => self.idle.borrow_mut().get_mut(lane).and_then(Vec::pop),
                (true, Some(home)) => self.lending.take_idle(home, lane),
                (false, _) => None,
            };
            let is_old = idle.is_some();
            let mut link = match idle {
                Some(link) => link,
                None => match self.open(&lane.next_hop).await {
                    Ok(link) => link,
                    Err(outcome) => {
                        let outcomes = recipients.iter().map(|r| (*r, outcome.clone())).collect();
                        return (Tried { outcomes: Err(outcomes), recipients_max: None, has_idle: false }, None);
                    }
                },
            };
            let results = self.transact(&mut link, message, recipients).await;
            if is_old && !results.was_answered {
                continue;
            }
            let has_idle = link.client.is_ready() && !self.story.one_in(3);
            let recipients_max = results.recipients_max;
            return (Tried { outcomes: Ok(results), recipients_max, has_idle }, has_idle.then_some(link));
        }
    }

    /// Keeps a connection for as long as it may idle.
    fn keep(self: &Rc<Self>, lane: &LaneKey, mut link: Link) {
        let serial = self.story.next();
        link.serial = serial;
        self.idle.borrow_mut().entry(lane.clone()).or_default().push(link);
        let (node, lane) = (self.clone(), lane.clone());
        self.disk.spawn(async move {
            node.disk.sleep(IDLE).await;
            let mut all = node.idle.borrow_mut();
            let links = all.get_mut(&lane).expect("entered before");
            let Some(at) = links.iter().position(|link| link.serial == serial) else { return };
            links.remove(at);
            drop(all);
            node.scheduler.borrow_mut().connection_closed(&lane, None, &mut node.limits.borrow_mut(), node.now());
            node.ring();
        });
    }

    async fn open(self: &Rc<Self>, domain: &str) -> Result<Link, Outcome> {
        self.disk.sleep(Duration::from_millis(1 + self.story.below(30))).await;
        let Some((peer, heard)) = Peer::connect(&self.story, domain) else {
            let reply = Reply::new(451, (4, 4, 1), "connection refused");
            return Err(Outcome::Deferred(Diagnostic::local(ErrorKind::Connection, Scope::Host, reply)));
        };
        let options = Options {
            protocol: if peer.is_lmtp() { Protocol::Lmtp } else { Protocol::Smtp },
            hello: "mx.test".into(),
            starttls: StartTls::Disable,
            implicit_tls: false,
            credentials: None,
            remote: domain.into(),
            content_ahead_bytes_max: 2000,
        };
        let (client, mut step) = Client::new(options);
        let mut link = Link {
            client,
            peer,
            heard: heard.into(),
            out: Vec::new(),
            serial: 0,
            _count: Open::new(&self.story, domain),
        };
        loop {
            step = match step {
                Step::Read(wait) => self.exchange(&mut link, wait).await,
                Step::Ready => return Ok(link),
                Step::Refused(refusal) => return Err(refusal.outcome),
                other => panic!("no step of an opening: {other:?}"),
            };
        }
    }

    async fn exchange(&self, link: &mut Link, wait: Wait) -> Step {
        let out = std::mem::take(&mut link.out);
        link.heard.extend(link.peer.feed(&self.story, &out));
        let timeout = wait.timeout(&timeouts());
        match link.heard.pop_front() {
            None => {
                self.disk.sleep(timeout).await;
                link.client.lost(Lost::TimedOut)
            }
            Some(Heard::Closed) => link.client.lost(Lost::Closed),
            Some(Heard::Reset) => link.client.lost(Lost::Broken),
            Some(Heard::Said(_, after)) if after > timeout => {
                self.disk.sleep(timeout).await;
                link.client.lost(Lost::TimedOut)
            }
            Some(Heard::Said(mut text, after)) => {
                self.disk.sleep(after).await;
                while let Some(Heard::Said(next, _)) = link.heard.front()
                    && !self.story.one_in(3)
                {
                    text.push_str(next);
                    link.heard.pop_front();
                }
                link.client.received(text.as_bytes(), &mut link.out)
            }
        }
    }

    async fn transact(&self, link: &mut Link, message: &Rc<Message>, recipients: &[RecipientIndex]) -> Results {
        link.peer.sending = Some(message.id);
        let transaction = Transaction {
            envelope: &message.envelope,
            recipients,
            content: &message.received.content,
            size_bytes: message.size_bytes(),
            now: self.now().wall,
        };
        let mut step = link.client.begin(&transaction, &mut link.out);
        loop {
            step = match step {
                Step::Read(wait) => self.exchange(link, wait).await,
                Step::Content(form) => self.send_content(link, form, message).await,
                Step::Finished(results) => return results,
                other => panic!("no step of a transaction: {other:?}"),
            };
        }
    }

    async fn send_content(&self, link: &mut Link, form: ContentForm, message: &Message) -> Step {
        let mut content = message.trace.to_vec();
        content.extend_from_slice(&message.header);
        if message.has_separator {
            content.extend_from_slice(b"\r\n");
        }
        if let Body::Memory(pieces) = &message.body {
            pieces.iter().for_each(|piece| content.extend_from_slice(piece));
        } else {
            let mut body = self.spool.body(message);
            loop {
                match body.next().await {
                    Ok(Some(piece)) => content.extend_from_slice(&piece),
                    Ok(None) => break,
                    Err(_) => return link.client.lost(Lost::Content),
                }
            }
        }
        let mut stuffer = Stuffer::new();
        for piece in content.chunks(64 << 10) {
            match form {
                ContentForm::Chunk => link.out.extend_from_slice(piece),
                ContentForm::Stuffed | ContentForm::Plain => {
                    stuffer.push(piece, |slice| link.out.extend_from_slice(slice));
                }
            }
            let out = std::mem::take(&mut link.out);
            self.disk.sleep(Duration::from_millis(1)).await;
            link.heard.extend(link.peer.feed(&self.story, &out));
        }
        if form != ContentForm::Chunk {
            link.out.extend_from_slice(stuffer.end());
        }
        link.client.content_sent()
    }
}
