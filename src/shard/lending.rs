//! Attempts that one shard makes for another: offered above a mark, taken by the idle, their outcomes brought home.
//!
//! ```text
//! home:  attempt (all its limits taken) -> offer ------> taker: connect or reuse, transact
//!        complete, record, or attempt it itself <------ returned: outcomes, or refused, or died
//! ```
//!
//! What is offered is one transaction and its content as octets that threads share, verified when they were read. The home shard
//! keeps the attempt: its limits, the place of its connection in the lane, and the right to write statuses; until
//! the answer is there nobody else attempts those recipients. A connection that the taker keeps idle
//! still holds its place at home; the taker counts what it has promised of each lane (`claims`).
//!
//! Every offer is answered: a [`Promise`] that is dropped answers by itself, as refused while nothing was begun, as
//! died afterwards.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_rt::mesh::{Address, SendError};
use posthaste_rt::{task, time};
use smallvec::SmallVec;

use super::balance::{Balance, Marks};
use super::claims::Claims;
use super::message::{Active, Message};
use super::outbound::{attempted_here, ended};
use super::routing::Way;
use super::state::Shard;
use crate::base::limits::LENT_BYTES_MAX;
use crate::base::{MessageId, RecipientIndex, ShardId, WallTime};
use crate::delivery::{Delivery, Job, MemoryContent, NextHop, settings};
use crate::mail::{ContentFacts, Envelope};
use crate::observe::{self, Counter};
use crate::queue::LaneKey;
use crate::scheduler::{Attempt, AttemptId, Connection, OwedReports, Report};
use crate::spool::{self, Body};

/// Pause before an answer that a shard could not take is sent again.
const ANSWER_PAUSE: Duration = Duration::from_millis(10);

/// One transaction, for another shard to make.
pub struct Offer {
    promise: Promise,
    lane: LaneKey,
    /// The taker has an idle connection that this counts on.
    reuse: bool,
    message: MessageId,
    envelope: Envelope,
    facts: ContentFacts,
    accepted_at: WallTime,
    recipients: SmallVec<[RecipientIndex; 4]>,
    hop: NextHop,
    connection: Arc<settings::Connection>,
    tls: Arc<settings::Tls>,
    active: Arc<Active>,
    content: Vec<Bytes>,
}

/// What became of an offer.
pub struct Returned {
    taker: ShardId,
    attempt: AttemptId,
    what: What,
    /// The taker wants more.
    is_willing: bool,
}

/// How an offer ended.
enum What {
    /// Nothing was begun.
    Refused,
    /// It was made.
    Made { report: Report, owed: OwedReports },
    /// It panicked, or was cut off.
    Died,
}

/// The duty to answer an offer.
struct Promise {
    home: ShardId,
    address: Address<Message>,
    taker: ShardId,
    attempt: AttemptId,
    is_begun: bool,
    is_kept: bool,
}

impl Promise {
    /// Answers; sent again until it is taken, or nobody is there any more.
    fn keep(mut self, shard: &Rc<Shard>, what: What, is_willing: bool) {
        self.is_kept = true;
        let returned = Returned { taker: self.taker, attempt: self.attempt, what, is_willing };
        let mut message = Message::Returned(Box::new(returned));
        let Some(Some(outbox)) = shard.others.get(usize::from(self.home.0)) else { return };
        observe::count(Counter::MeshMessages);
        message = match outbox.send(message) {
            Err(SendError::Full(message)) => message,
            _ => return,
        };
        let outbox = outbox.clone();
        task::spawn(async move {
            while let Err(SendError::Full(back)) = outbox.send(message) {
                message = back;
                time::sleep(ANSWER_PAUSE).await;
            }
        });
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let what = if self.is_begun { What::Died } else { What::Refused };
        let returned = Returned { taker: self.taker, attempt: self.attempt, what, is_willing: false };
        // From any thread. If its home is gone, or drowns while we end, its own bound at a stop holds.
        let _ = self.address.try_send(Message::Returned(Box::new(returned)));
    }
}

/// What a shard has lent, and what it has of others.
pub struct Lending {
    balance: RefCell<Balance>,
    address: Address<Message>,
    lent: RefCell<HashMap<AttemptId, Lent>>,
    guests: Cell<usize>,
    /// The ways out for attempts of each other shard, so that their connections do not mix with ours.
    ways_out: RefCell<HashMap<ShardId, Delivery>>,
    claims: RefCell<Claims>,
    entered: Cell<u64>,
    entered_before: Cell<u64>,
    is_closing: Cell<bool>,
}

struct Lent {
    attempt: Attempt<Rc<spool::Message>>,
    message: Rc<spool::Message>,
}

impl Lending {
    /// Nothing is lent. `address` is this shard's own.
    pub fn new(own: ShardId, shards: u16, address: Address<Message>) -> Lending {
        Lending {
            balance: RefCell::new(Balance::new(own, shards, Marks::default())),
            address,
            lent: RefCell::default(),
            guests: Cell::new(0),
            ways_out: RefCell::default(),
            claims: RefCell::default(),
            entered: Cell::new(0),
            entered_before: Cell::new(0),
            is_closing: Cell::new(false),
        }
    }

    /// So many recipients entered the queue.
    pub fn entered(&self, recipients: u64) {
        self.entered.set(self.entered.get() + recipients);
    }

    /// A tick has passed.
    pub fn tick(&self) {
        self.entered_before.set(self.entered.replace(0));
    }

    /// Lends and takes nothing any more.
    pub fn close(&self) {
        self.is_closing.set(true);
    }

    /// Attempts of other shards that are made here.
    pub fn guests(&self) -> usize {
        self.guests.get()
    }

    /// Closes all idle connections that were made for others.
    pub fn close_all_idle(&self) {
        self.ways_out.borrow().values().for_each(Delivery::close_all_idle);
    }
}

/// Looks at the load; when lending ends, what idles on other shards is closed.
pub fn weigh(shard: &Rc<Shard>) {
    let mut scheduler = shard.scheduler.borrow_mut();
    if shard.lending.balance.borrow_mut().weigh(scheduler.queue().ready_count()) {
        scheduler.close_away();
    }
}

/// The shard that is to make this attempt in our place, if any; it is counted as lent.
pub fn taker(shard: &Rc<Shard>, attempt: &Attempt<Rc<spool::Message>>) -> Option<ShardId> {
    let mut balance = shard.lending.balance.borrow_mut();
    if let Some(away) = attempt.away {
        balance.lent(away);
        return Some(away);
    }
    let under_way = shard.scheduler.borrow().attempts_under_way();
    let here = under_way.saturating_sub(balance.lent_sum());
    balance.choose(here, shard.now().mono)
}

/// Offers an attempt whose message is at hand; gives it back when it has to be made here.
pub fn lend(
    shard: &Rc<Shard>,
    mut attempt: Attempt<Rc<spool::Message>>,
    message: &Rc<spool::Message>,
    way: &Way,
    to: ShardId,
) -> Option<Attempt<Rc<spool::Message>>> {
    let outbox = shard.others.get(usize::from(to.0)).and_then(Option::as_ref);
    let content = pieces(message).filter(|_| !shard.lending.is_closing.get());
    let (Some(outbox), Some(content)) = (outbox, content) else { return Some(stays(shard, attempt, to)) };
    if attempt.reuse && attempt.away.is_none() {
        // It takes its place in the lane along.
        shard.delivery.close_idle(&attempt.lane.key);
        attempt.reuse = false;
    }
    let (id, home) = (attempt.id, shard.id);
    let offer = Offer {
        promise: Promise {
            home,
            address: shard.lending.address.clone(),
            taker: to,
            attempt: id,
            is_begun: false,
            is_kept: false,
        },
        lane: attempt.lane.key.clone(),
        reuse: attempt.reuse,
        message: message.id,
        envelope: message.envelope.clone(),
        facts: message.received.content,
        accepted_at: message.received.at,
        recipients: attempt.recipients.iter().collect(),
        hop: way.hop.clone(),
        connection: way.connection.clone(),
        tls: way.tls.clone(),
        active: shard.active(),
        content,
    };
    observe::count(Counter::LendingOffered);
    observe::count(Counter::MeshMessages);
    shard.scheduler.borrow_mut().lend(id, Some(to));
    shard.lending.lent.borrow_mut().insert(id, Lent { attempt, message: message.clone() });
    match outbox.send(Message::Offer(Box::new(offer))) {
        Ok(()) => None,
        Err(error) => {
            if let Message::Offer(mut offer) = error.into_message() {
                offer.promise.is_kept = true; // nobody has it: the answer is here
            }
            let lent = shard.lending.lent.borrow_mut().remove(&id)?;
            Some(stays(shard, lent.attempt, to))
        }
    }
}

/// The attempt is made here after all, and its connection, if one idles over there, is no longer counted on.
fn stays(shard: &Rc<Shard>, mut attempt: Attempt<Rc<spool::Message>>, to: ShardId) -> Attempt<Rc<spool::Message>> {
    not_lent(shard, attempt.id, to);
    if attempt.away.take().is_some() {
        attempt.reuse = false;
        forget(shard, &attempt.lane.key, to);
    }
    attempt
}

/// The attempt is not lent to that shard, or no longer.
pub fn not_lent(shard: &Shard, attempt: AttemptId, to: ShardId) {
    shard.lending.balance.borrow_mut().back(to);
    shard.scheduler.borrow_mut().lend(attempt, None);
}

/// The content as octets that another thread may have; `None` when it is too much, or not in memory.
fn pieces(message: &spool::Message) -> Option<Vec<Bytes>> {
    let Body::Memory(body) = &message.body else { return None };
    if message.size_bytes() > LENT_BYTES_MAX {
        return None;
    }
    let separator = if message.has_separator { Bytes::from_static(b"\r\n") } else { Bytes::new() };
    let head = [message.trace.clone(), message.header.clone(), separator];
    Some(head.into_iter().chain(body.iter().cloned()).collect())
}

/// Takes an offer, or hands it back.
pub fn take(shard: &Rc<Shard>, offer: Box<Offer>) {
    let lending = &shard.lending;
    let home = offer.promise.home;
    if offer.reuse {
        lending.claims.borrow_mut().release(home, &offer.lane);
    }
    if !is_willing(shard) {
        let Offer { promise, lane, reuse, .. } = *offer;
        if reuse {
            way_out(shard, home).close_idle(&lane);
        }
        return promise.keep(shard, What::Refused, false);
    }
    observe::count(Counter::LendingTaken);
    lending.guests.set(lending.guests.get() + 1);
    task::spawn(guest(shard.clone(), offer));
}

fn is_willing(shard: &Rc<Shard>) -> bool {
    let lending = &shard.lending;
    let entered = lending.entered.get().max(lending.entered_before.get());
    let ready = shard.scheduler.borrow().queue().ready_count();
    !lending.is_closing.get() && lending.balance.borrow_mut().helps(ready, entered, lending.guests.get())
}

/// Our way out for attempts of `home`.
fn way_out(shard: &Rc<Shard>, home: ShardId) -> Delivery {
    let mut all = shard.lending.ways_out.borrow_mut();
    let made = all.entry(home).or_insert_with(|| {
        let delivery = shard.delivery.apart(shard.random());
        let weak = Rc::downgrade(shard);
        delivery.on_idle_closed(move |lane| {
            if let Some(shard) = weak.upgrade() {
                tell_closed(&shard, home, lane);
            }
        });
        delivery
    });
    made.clone()
}

/// One attempt for another shard.
async fn guest(shard: Rc<Shard>, offer: Box<Offer>) {
    let mut offer = offer;
    offer.promise.is_begun = true;
    let home = offer.promise.home;
    let delivery = way_out(&shard, home);
    let made = task::catch(async {
        let job = Job {
            message: offer.message,
            envelope: &offer.envelope,
            facts: &offer.facts,
            accepted_at: offer.accepted_at,
            recipients: &offer.recipients,
            lane: &offer.lane,
            reuse: offer.reuse,
            next_hop: &offer.hop,
            connection: &offer.connection,
            tls: &offer.tls,
            lookups: &offer.active.config.lookups,
            settings: &offer.active.config.delivery,
        };
        delivery.attempt(&job, &mut MemoryContent::new(offer.content.iter().cloned())).await
    })
    .await;
    let lending = &shard.lending;
    lending.guests.set(lending.guests.get() - 1);
    let Offer { promise, lane, .. } = *offer;
    let idle = delivery.idle_in(&lane);
    let what = match made {
        Ok(delivered) => {
            let is_kept = delivered.has_idle && lending.claims.borrow_mut().claim(home, &lane, idle);
            let connection = if is_kept { Connection::Away(shard.id) } else { Connection::Closed };
            let owed = delivered.outcomes.iter().map(|o| (o.recipient, o.owed)).collect();
            let outcomes = delivered.outcomes.into_iter().map(|o| (o.recipient, o.outcome)).collect();
            let recipients_max = delivered.recipients_max;
            What::Made { report: Report { outcomes, connection, recipients_max }, owed }
        }
        Err(_) => {
            observe::count(Counter::AttemptPanics);
            if lending.claims.borrow().has_spare(home, &lane, idle) {
                delivery.close_idle(&lane); // its place is given back
            }
            What::Died
        }
    };
    promise.keep(&shard, what, is_willing(&shard));
}

/// What became of an attempt that was lent.
pub fn returned(shard: &Rc<Shard>, returned: Returned) {
    let Returned { taker, attempt: id, what, is_willing } = returned;
    shard.lending.balance.borrow_mut().heard(taker, is_willing, shard.now().mono);
    let Some(Lent { attempt, message }) = shard.lending.lent.borrow_mut().remove(&id) else { return };
    match what {
        What::Refused => {
            observe::count(Counter::LendingReturned);
            not_lent(shard, id, taker);
            let attempt = Attempt { reuse: attempt.reuse && attempt.away.is_none(), away: None, ..attempt };
            task::spawn(attempted_here(shard.clone(), attempt, Some(message)));
        }
        What::Made { report, owed } => {
            shard.lending.balance.borrow_mut().back(taker);
            task::spawn(ended(shard.clone(), id, Some(message), report, owed));
        }
        What::Died => {
            shard.lending.balance.borrow_mut().back(taker);
            let report = Report { outcomes: Vec::new(), connection: Connection::Closed, recipients_max: None };
            task::spawn(ended(shard.clone(), id, Some(message), report, OwedReports::new()));
        }
    }
}

/// An idle connection of ours on that shard is to be closed; it says when it is.
pub fn close_away(shard: &Shard, lane: &LaneKey, away: ShardId) {
    send(shard, away, Message::CloseIdle(shard.id, lane.clone()));
}

/// An attempt that counted on an idle connection on that shard was made elsewhere: the connection goes, unanswered.
fn forget(shard: &Shard, lane: &LaneKey, away: ShardId) {
    send(shard, away, Message::ForgetIdle(shard.id, lane.clone()));
}

/// `home` wants one of its idle connections here closed; one of which it knows no more if `is_forgotten`.
pub fn close_idle(shard: &Rc<Shard>, home: ShardId, lane: &LaneKey, is_forgotten: bool) {
    if !shard.lending.claims.borrow_mut().release(home, lane) {
        return; // closed meanwhile, and said so; or counted on by an attempt
    }
    way_out(shard, home).close_idle(lane);
    if !is_forgotten {
        send(shard, home, Message::IdleClosed(shard.id, lane.clone()));
    }
}

/// An idle connection waited too long here.
fn tell_closed(shard: &Shard, home: ShardId, lane: &LaneKey) {
    if shard.lending.claims.borrow_mut().release(home, lane) {
        send(shard, home, Message::IdleClosed(shard.id, lane.clone()));
    }
}

fn send(shard: &Shard, to: ShardId, message: Message) {
    if let Some(Some(outbox)) = shard.others.get(usize::from(to.0)) {
        observe::count(Counter::MeshMessages);
        let _ = outbox.send(message); // a shard that is gone has no connections
    }
}
