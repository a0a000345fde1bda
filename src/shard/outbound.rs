//! The way out of one shard: what is due is routed, what is ready is attempted, what came of it is recorded.
//!
//! One task turns the scheduler when its bell rings or its deadline comes. Each attempt is a task of its own; a
//! panic there ends that attempt, which is then deferred.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use posthaste_rt::sync::Switch;
use posthaste_rt::time::Alarm;
use posthaste_rt::{clock, task, time};

use super::lending;
use super::recording::record;
use super::routing::Way;
use super::state::Shard;
use crate::base::{RecipientIndex, ShardId};
use crate::delivery::{Content, ContentError, Job, MemoryContent, Report as Delivered};
use crate::mail::Status;
use crate::observe::{self, Counter};
use crate::queue::DueMessage;
use crate::scheduler::{Attempt, AttemptId, Closing, Connection, OwedReports, Pause, Report};
use crate::spool::{Body, BodyReader, Disk, Health, Message, ReadError};

/// Due messages that are routed, and attempts that are started, before others have their turn.
const PER_TURN: usize = 64;
/// Messages read back from disk for routing at the same time.
const READS_MAX: usize = 64;
/// Pause before a message that could not be read is tried again.
const SICK_PAUSE: Duration = Duration::from_millis(200);

/// Runs until the shard has stopped.
pub async fn run(shard: Rc<Shard>, stop: Switch) {
    let mut alarm = Alarm::default();
    while !stop.is_thrown() {
        pass_limits(&shard);
        let more = turn(&shard);
        shard.send_limits(); // what this turn asks for must not wait for the next
        if more {
            task::yield_now().await;
            continue;
        }
        let deadline = {
            let now = shard.now();
            let scheduled = shard.scheduler.borrow().next_deadline(now);
            scheduled.min(shard.limits.borrow().next_deadline())
        };
        poll_fn(|cx| {
            if shard.work.poll_rung(cx).is_ready() || stop.poll_thrown(cx).is_ready() || clock::now() >= deadline.0 {
                return Poll::Ready(());
            }
            alarm.arm(deadline.0, cx.waker());
            Poll::Pending
        })
        .await;
    }
}

/// What other shards sent and what is to be sent to them.
fn pass_limits(shard: &Rc<Shard>) {
    let now = shard.now().mono;
    let mut limits = shard.limits.borrow_mut();
    limits.turn(now);
    let woken: Vec<_> = limits.woken().collect();
    let recalled: Vec<_> = limits.recalled().collect();
    drop(limits);
    for ticket in woken {
        match ticket.as_outbound() {
            Some(_) => shard.scheduler.borrow_mut().wake(ticket),
            None => shard.inbound_waiters.wake(ticket),
        }
    }
    for key in recalled {
        shard.scheduler.borrow_mut().recall(key);
    }
    close_idle(shard);
    shard.send_limits();
}

/// Closes the idle connections whose places are wanted.
fn close_idle(shard: &Rc<Shard>) {
    let closings: Vec<_> = shard.scheduler.borrow_mut().closings().collect();
    for Closing { lane, away } in closings {
        match away {
            Some(away) => lending::close_away(shard, &lane.key, away),
            None if shard.delivery.close_idle(&lane.key) => shard.connection_closed(&lane.key, None),
            None => {}
        }
    }
}

/// One turn of the scheduler; true when there is more to do at once.
fn turn(shard: &Rc<Shard>) -> bool {
    let now = shard.now();
    watch_health(shard);
    let mut more = !shard.scheduler.borrow_mut().turn(shard.random(), now);
    for content in shard.scheduler.borrow_mut().given_back() {
        shard.retained.release(content.size_bytes());
    }
    for n in 0.. {
        if n == PER_TURN || shard.reads_under_way.get() >= READS_MAX {
            more |= n == PER_TURN;
            break;
        }
        let Some(due) = shard.scheduler.borrow_mut().next_due(now) else { break };
        match due.content.clone() {
            Some(message) => place(shard, &due, &message, &[]),
            None => read_and_place(shard, due),
        }
    }
    lending::weigh(shard);
    for n in 0.. {
        if n == PER_TURN {
            more = true;
            break;
        }
        let attempt = shard.scheduler.borrow_mut().next_attempt(&mut shard.limits.borrow_mut(), now);
        let Some(attempt) = attempt else { break };
        match lending::taker(shard, &attempt) {
            Some(taker) => task::spawn(attempted_there(shard.clone(), attempt, taker)),
            None => task::spawn(attempted_here(shard.clone(), attempt, None)),
        }
    }
    close_idle(shard); // some attempt may have met connections that are of no use to it
    more || shard.scheduler.borrow().has_candidate()
}

/// While outcomes cannot be recorded, nothing is attempted.
fn watch_health(shard: &Rc<Shard>) {
    let sick = shard.spool.health() == Health::Sick;
    if sick != shard.is_sick.get() {
        shard.is_sick.set(sick);
        shard.scheduler.borrow_mut().pause(sick.then_some(Pause::SpoolSick));
    }
}

/// Routes a due message whose record is at hand.
fn place(shard: &Rc<Shard>, due: &DueMessage<Rc<Message>>, message: &Rc<Message>, statuses: &[Option<Status>]) {
    let routed = shard.ways.borrow_mut().route(due, message, statuses, &shard.lookups());
    let completion = shard.scheduler.borrow_mut().route(due, routed, shard.random(), shard.now());
    if let Some(completion) = completion {
        let (shard, message) = (shard.clone(), message.clone());
        task::spawn(async move { record(&shard, Some(&message), completion).await });
    }
}

/// Reads the record of a due message, then routes it.
fn read_and_place(shard: &Rc<Shard>, due: DueMessage<Rc<Message>>) {
    let shard = shard.clone();
    shard.reads_under_way.set(shard.reads_under_way.get() + 1);
    task::spawn(async move {
        observe::count(Counter::SpoolReadsBack);
        match shard.spool.read(due.id).await {
            Ok(stored) => place(&shard, &due, &stored.message, &stored.statuses),
            Err(error) => {
                shard.unreadable(due.id, &error);
                if !matches!(error, ReadError::Damaged(_)) {
                    time::sleep(SICK_PAUSE).await;
                }
                // With no route, its recipients are put off by the scheduler and tried again.
                let completion = shard.scheduler.borrow_mut().route(&due, Vec::new(), shard.random(), shard.now());
                debug_assert!(completion.is_none());
            }
        }
        shard.reads_under_way.set(shard.reads_under_way.get() - 1);
        shard.work.ring();
    });
}

/// One attempt that another shard makes, up to the offer. What cannot be offered is made here.
async fn attempted_there(shard: Rc<Shard>, attempt: Attempt<Rc<Message>>, taker: ShardId) {
    let read = match &attempt.content {
        Some(message) => Ok(message.clone()),
        None => shard.spool.read(attempt.message).await.map(|stored| stored.message),
    };
    let way = shard.ways.borrow().find(&attempt.lane.key);
    let (message, way) = match (read, way) {
        (Ok(message), Some(way)) => (message, way),
        (read, _) => {
            read.as_ref().err().inspect(|error| shard.unreadable(attempt.message, error));
            lending::not_lent(&shard, attempt.id, taker);
            let report = nothing(&attempt);
            return ended(shard, attempt.id, read.ok(), report, OwedReports::new()).await;
        }
    };
    if let Some(attempt) = lending::lend(&shard, attempt, &message, &way, taker) {
        attempted_here(shard, attempt, Some(message)).await;
    }
}

/// Nothing was tried: a connection that the attempt counted on idles where it was, and its place in the lane is not free.
fn nothing(attempt: &Attempt<Rc<Message>>) -> Report {
    let connection = match (attempt.reuse, attempt.away) {
        (true, None) => Connection::Kept,
        (true, Some(away)) => Connection::Away(away),
        (false, _) => Connection::Closed,
    };
    Report { outcomes: Vec::new(), connection, recipients_max: None }
}

/// One attempt from its content to its record.
pub async fn attempted_here(shard: Rc<Shard>, attempt: Attempt<Rc<Message>>, message: Option<Rc<Message>>) {
    let id = attempt.id;
    let attempt = Attempt { content: message.or(attempt.content), ..attempt };
    let outcome = task::catch(deliver(&shard, &attempt)).await;
    let (message, report, owed) = match outcome {
        Ok(done) => done,
        Err(_) => {
            observe::count(Counter::AttemptPanics);
            (
                None,
                Report { outcomes: Vec::new(), connection: Connection::Closed, recipients_max: None },
                OwedReports::new(),
            )
        }
    };
    ended(shard, id, message.or(attempt.content), report, owed).await;
}

/// An attempt has ended, here or on another shard: what follows from it.
pub async fn ended(shard: Rc<Shard>, id: AttemptId, message: Option<Rc<Message>>, report: Report, owed: OwedReports) {
    let completion = {
        let (mut scheduler, mut limits) = (shard.scheduler.borrow_mut(), shard.limits.borrow_mut());
        scheduler.complete(id, report, &mut limits, shard.random(), shard.now())
    };
    shard.work.ring();
    if let Some(mut completion) = completion {
        completion.owed = owed;
        record(&shard, message.as_ref(), completion).await;
    }
}

type Done = (Option<Rc<Message>>, Report, OwedReports);

async fn deliver(shard: &Rc<Shard>, attempt: &Attempt<Rc<Message>>) -> Done {
    let message = match &attempt.content {
        Some(message) => message.clone(),
        None => match shard.spool.read(attempt.message).await {
            Ok(stored) => stored.message,
            Err(error) => {
                shard.unreadable(attempt.message, &error);
                return (None, nothing(attempt), OwedReports::new());
            }
        },
    };
    let way = shard.ways.borrow().find(&attempt.lane.key);
    let Some(way) = way else { return (Some(message), nothing(attempt), OwedReports::new()) };
    let recipients: smallvec::SmallVec<[RecipientIndex; 4]> = attempt.recipients.iter().collect();
    let delivered = match &message.body {
        Body::Memory(pieces) => {
            let mut content =
                MemoryContent::of_message(message.trace.clone(), message.header.clone(), message.has_separator, pieces);
            send(shard, &way, &message, &recipients, attempt, &mut content).await
        }
        Body::Bulk(_) => {
            let mut content = StoredContent::new(shard, &message);
            Box::pin(send(shard, &way, &message, &recipients, attempt, &mut content)).await
        }
    };
    let connection = if delivered.has_idle { Connection::Kept } else { Connection::Closed };
    let recipients_max = delivered.recipients_max;
    let owed = delivered.outcomes.iter().map(|o| (o.recipient, o.owed)).collect();
    let outcomes = delivered.outcomes.into_iter().map(|o| (o.recipient, o.outcome)).collect();
    (Some(message), Report { outcomes, connection, recipients_max }, owed)
}

async fn send<C: Content>(
    shard: &Rc<Shard>,
    way: &Way,
    message: &Message,
    recipients: &[RecipientIndex],
    attempt: &Attempt<Rc<Message>>,
    content: &mut C,
) -> Delivered {
    let active = shard.active();
    let job = Job {
        message: message.id,
        envelope: &message.envelope,
        facts: &message.received.content,
        accepted_at: message.received.at,
        recipients,
        lane: &attempt.lane.key,
        reuse: attempt.reuse,
        next_hop: &way.hop,
        connection: &way.connection,
        tls: &way.tls,
        lookups: &active.config.lookups,
        settings: &active.config.delivery,
    };
    shard.delivery.attempt(&job, content).await
}

/// Content whose body is in bulk segments: read piece by piece, verified before it is given.
struct StoredContent<'a> {
    shard: &'a Rc<Shard>,
    message: &'a Rc<Message>,
    head: usize,
    body: Option<BodyReader<Disk>>,
}

impl<'a> StoredContent<'a> {
    fn new(shard: &'a Rc<Shard>, message: &'a Rc<Message>) -> Self {
        StoredContent { shard, message, head: 0, body: None }
    }
}

impl Content for StoredContent<'_> {
    fn size_bytes(&self) -> u64 {
        self.message.size_bytes()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        self.head += 1;
        match self.head {
            1 => return Ok(Some(self.message.trace.clone())),
            2 => return Ok(Some(self.message.header.clone())),
            3 if self.message.has_separator => return Ok(Some(Bytes::from_static(b"\r\n"))),
            _ => {}
        }
        let body = self.body.get_or_insert_with(|| self.shard.spool.body(self.message));
        body.next().await.map_err(|error| {
            self.shard.unreadable(self.message.id, &error);
            ContentError
        })
    }

    fn rewind(&mut self) {
        self.head = 0;
        self.body = None;
    }
}
