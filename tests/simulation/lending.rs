//! Attempts that one shard makes for another, as `shard::lending` does it: its decisions (`shard::balance`), its
//! accounts (`shard::claims`) and the scheduler are the product's, the messages take their time, and takers die.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use posthaste::base::limits::LENT_BYTES_MAX;
use posthaste::base::{RecipientIndex, ShardId};
use posthaste::limits::Item;
use posthaste::mail::Outcome;
use posthaste::queue::{LaneKey, RecipientSet};
use posthaste::scheduler::{Attempt, AttemptId, Connection, OwedReports, Report};
use posthaste::shard::balance::{Balance, Marks};
use posthaste::shard::claims::Claims;
use posthaste::smtp::client::{Progress, Results};
use posthaste::spool::storage::Storage as _;
use posthaste::spool::{Body, Message};

use super::node::{IDLE, Link, Node};

/// So few are ready at a time here that all begins early.
const MARKS: Marks = Marks { lending_above: 1, lending_until: 0, helping_below: 1, helping_until: 1 };

/// What one shard says to another.
pub enum Note {
    Limits(Vec<Item>),
    Offer(Box<Offer>),
    Returned { attempt: AttemptId, what: What, is_willing: bool },
    CloseIdle(LaneKey),
    IdleClosed(LaneKey),
}

pub struct Offer {
    attempt: AttemptId,
    lane: LaneKey,
    reuse: bool,
    message: Rc<Message>,
    recipients: RecipientSet,
}

pub enum What {
    Refused,
    Made(Report, OwedReports),
    Died,
}

type Lent = (Attempt<Rc<Message>>, Rc<Message>);

pub struct Lending {
    balance: RefCell<Balance>,
    claims: RefCell<Claims>,
    lent: RefCell<HashMap<AttemptId, Lent>>,
    pub guests: Cell<usize>,
    idle: RefCell<HashMap<(ShardId, LaneKey), Vec<Link>>>,
}

/// What came of trying a next hop.
pub struct Tried {
    pub outcomes: Result<Results, Vec<(RecipientIndex, Outcome)>>,
    pub recipients_max: Option<u32>,
    pub has_idle: bool,
}

impl Tried {
    /// What is said of each recipient. Only what is told counts as heard.
    pub fn tell(&self, node: &Node, message: &Message) -> (Vec<(RecipientIndex, Outcome)>, OwedReports) {
        let results = match &self.outcomes {
            Ok(results) => results,
            Err(outcomes) => return (outcomes.clone(), OwedReports::new()),
        };
        let (mut outcomes, mut all_owed) = (Vec::new(), OwedReports::new());
        for result in &results.recipients {
            let Progress::Done { outcome, owed, .. } = &result.progress else { continue };
            if let Outcome::Delivered(_) = outcome {
                node.story.ledger.borrow_mut().heard(message.id, result.recipient.0 as usize);
            }
            outcomes.push((result.recipient, outcome.clone()));
            all_owed.push((result.recipient, *owed));
        }
        (outcomes, all_owed)
    }
}

impl Lending {
    pub fn new(own: ShardId, shards: u16) -> Lending {
        Lending {
            balance: RefCell::new(Balance::new(own, shards, MARKS)),
            claims: RefCell::default(),
            lent: RefCell::default(),
            guests: Cell::new(0),
            idle: RefCell::default(),
        }
    }

    fn idle_in(&self, home: ShardId, lane: &LaneKey) -> usize {
        self.idle.borrow().get(&(home, lane.clone())).map_or(0, Vec::len)
    }

    pub fn take_idle(&self, home: ShardId, lane: &LaneKey) -> Option<Link> {
        self.idle.borrow_mut().get_mut(&(home, lane.clone()))?.pop()
    }
}

impl Node {
    /// Looks at the load.
    pub fn weigh(&self) {
        let mut scheduler = self.scheduler.borrow_mut();
        if self.lending.balance.borrow_mut().weigh(scheduler.queue().ready_count()) {
            scheduler.close_away();
        }
    }

    /// Who is to make this attempt, if not this shard.
    pub fn taker(&self, attempt: &Attempt<Rc<Message>>) -> Option<ShardId> {
        let mut balance = self.lending.balance.borrow_mut();
        if let Some(away) = attempt.away {
            balance.lent(away);
            return Some(away);
        }
        let here = self.scheduler.borrow().attempts_under_way().saturating_sub(balance.lent_sum());
        balance.choose(here, self.now().mono)
    }

    /// Offers an attempt; what cannot be offered is made here.
    pub async fn lend(self: Rc<Self>, attempt: Attempt<Rc<Message>>, to: ShardId) {
        let id = attempt.id;
        let message = match &attempt.content {
            Some(message) => message.clone(),
            None => match self.spool.read(attempt.message).await {
                Ok(stored) => stored.message,
                Err(_) => {
                    self.lending.balance.borrow_mut().back(to);
                    let idle = attempt.away.map_or(Connection::Kept, Connection::Away);
                    let connection = if attempt.reuse { idle } else { Connection::Closed };
                    let report = Report { outcomes: Vec::new(), connection, recipients_max: None };
                    return self.ended(attempt, None, report, OwedReports::new()).await;
                }
            },
        };
        let mut attempt = attempt;
        if message.size_bytes() > LENT_BYTES_MAX || !matches!(message.body, Body::Memory(_)) {
            assert!(attempt.away.is_none(), "what stays here counts on no connection elsewhere");
            self.lending.balance.borrow_mut().back(to);
            return self.attempted(attempt).await;
        }
        if attempt.reuse && attempt.away.is_none() {
            self.close_idle(&attempt.lane.key);
            attempt.reuse = false;
        }
        self.story.ledger.borrow_mut().count("lent");
        let (lane, reuse, recipients) = (attempt.lane.key.clone(), attempt.reuse, attempt.recipients.clone());
        let offer = Offer { attempt: id, lane, reuse, message: message.clone(), recipients };
        self.scheduler.borrow_mut().lend(id, Some(to));
        self.lending.lent.borrow_mut().insert(id, (attempt, message));
        self.fleet.send(&self, to, Note::Offer(Box::new(offer)));
    }

    /// Hears what another shard says.
    pub fn hear(self: &Rc<Self>, from: ShardId, note: Note) {
        match note {
            Note::Limits(items) => self.limits.borrow_mut().receive(from, items, self.now().mono),
            Note::Offer(offer) => self.take(from, *offer),
            Note::Returned { attempt, what, is_willing } => self.returned(from, attempt, what, is_willing),
            Note::CloseIdle(lane) => {
                if self.lending.claims.borrow_mut().release(from, &lane) {
                    drop(self.lending.take_idle(from, &lane));
                    self.fleet.send(self, from, Note::IdleClosed(lane));
                }
            }
            Note::IdleClosed(lane) => {
                let mut limits = self.limits.borrow_mut();
                self.scheduler.borrow_mut().connection_closed(&lane, Some(from), &mut limits, self.now());
            }
        }
        self.ring();
    }

    fn take(self: &Rc<Self>, home: ShardId, offer: Offer) {
        if offer.reuse {
            self.lending.claims.borrow_mut().release(home, &offer.lane);
        }
        if !self.is_willing() || self.story.mishap(20) == 0 {
            if offer.reuse {
                drop(self.lending.take_idle(home, &offer.lane));
            }
            self.story.ledger.borrow_mut().count("handed back");
            let refused = Note::Returned { attempt: offer.attempt, what: What::Refused, is_willing: false };
            return self.fleet.send(self, home, refused);
        }
        self.lending.guests.set(self.lending.guests.get() + 1);
        self.disk.spawn(self.clone().guest(home, offer));
    }

    fn is_willing(&self) -> bool {
        let ready = self.scheduler.borrow().queue().ready_count();
        !self.is_stopping.get() && self.lending.balance.borrow_mut().helps(ready, 0, self.lending.guests.get())
    }

    async fn guest(self: Rc<Self>, home: ShardId, offer: Offer) {
        let Offer { attempt, lane, reuse, message, recipients } = offer;
        let recipients: Vec<_> = recipients.iter().collect();
        let lending = &self.lending;
        let what = if self.story.mishap(30) == 0 {
            What::Died // before anything was done
        } else {
            let (done, link) = self.try_next_hop(&lane, Some(home), reuse, &message, &recipients).await;
            if self.story.mishap(30) == 0 {
                What::Died // with all that it knew, and its connection
            } else {
                let (outcomes, owed) = done.tell(&self, &message);
                if let Some(link) = link {
                    self.keep_for(home, &lane, link);
                }
                let is_kept =
                    done.has_idle && lending.claims.borrow_mut().claim(home, &lane, lending.idle_in(home, &lane));
                let connection = if is_kept { Connection::Away(self.id) } else { Connection::Closed };
                What::Made(Report { outcomes, connection, recipients_max: done.recipients_max }, owed)
            }
        };
        if matches!(what, What::Died) {
            self.story.ledger.borrow_mut().count("takers died");
            let idle = lending.idle_in(home, &lane);
            if lending.claims.borrow().has_spare(home, &lane, idle) {
                drop(lending.take_idle(home, &lane));
            }
        }
        lending.guests.set(lending.guests.get() - 1);
        let is_willing = self.is_willing();
        self.fleet.send(&self, home, Note::Returned { attempt, what, is_willing });
    }

    /// Keeps a connection for as long as it may idle, and says so when it is gone.
    fn keep_for(self: &Rc<Self>, home: ShardId, lane: &LaneKey, mut link: Link) {
        let serial = self.story.next();
        link.serial = serial;
        self.lending.idle.borrow_mut().entry((home, lane.clone())).or_default().push(link);
        let (node, lane) = (self.clone(), lane.clone());
        self.disk.spawn(async move {
            node.disk.sleep(IDLE).await;
            let gone = {
                let mut all = node.lending.idle.borrow_mut();
                let links = all.get_mut(&(home, lane.clone())).expect("entered before");
                links.iter().position(|link| link.serial == serial).map(|at| links.remove(at))
            };
            if gone.is_some() && node.lending.claims.borrow_mut().release(home, &lane) {
                node.fleet.send(&node, home, Note::IdleClosed(lane));
            }
        });
    }

    fn returned(self: &Rc<Self>, taker: ShardId, id: AttemptId, what: What, is_willing: bool) {
        self.lending.balance.borrow_mut().heard(taker, is_willing, self.now().mono);
        self.lending.balance.borrow_mut().back(taker);
        let (attempt, message) = self.lending.lent.borrow_mut().remove(&id).expect("an answer to what was offered");
        match what {
            What::Refused => {
                self.scheduler.borrow_mut().lend(id, None);
                let content = Some(message);
                let attempt =
                    Attempt { content, reuse: attempt.reuse && attempt.away.is_none(), away: None, ..attempt };
                self.disk.spawn(self.clone().attempted(attempt));
            }
            What::Made(report, owed) => {
                self.disk.spawn(self.clone().ended(attempt, Some(message), report, owed));
            }
            What::Died => {
                let report = Report { outcomes: Vec::new(), connection: Connection::Closed, recipients_max: None };
                self.disk.spawn(self.clone().ended(attempt, Some(message), report, OwedReports::new()));
            }
        }
    }
}
