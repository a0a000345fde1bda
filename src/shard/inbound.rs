//! What this shard's sessions are served with: ids and commits, bulk storage, limits, names.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use posthaste_rt::time;
use slab::Slab;

use super::state::Shard;
use crate::base::MessageId;
use crate::dns;
use crate::expr::{Answer, QueryKind, Question};
use crate::limits::{Ask, Permit, Request, Ticket, Verdict};
use crate::observe::{self, Counter};
use crate::session::{Bulk, Services};
use crate::spool::{BulkWriter, CommitError, Committing, Disk, Durability, Extents, Health, Message, Record};

/// How long a session waits for a limit's owner before it counts as refused: other shards answer in microseconds.
const OWNER_WITHIN: Duration = Duration::from_secs(5);

/// The shard as sessions and listeners see it.
pub struct Front(pub Rc<Shard>);

/// Limits that are held until this is dropped.
pub struct Held {
    shard: Rc<Shard>,
    permit: Option<Permit>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take().filter(|permit| !permit.is_empty()) {
            self.shard.limits.borrow_mut().release(permit, self.shard.now().mono);
            self.shard.send_limits();
        }
    }
}

/// A writer of the spool, by the session's name for it.
pub struct SpoolBulk(BulkWriter<Disk>);

impl Bulk for SpoolBulk {
    async fn write(&mut self, octets: &[u8]) -> Result<(), CommitError> {
        self.0.write(octets).await
    }

    async fn finish(self) -> Result<Extents, CommitError> {
        self.0.finish().await
    }
}

impl Services for Front {
    type Permit = Held;
    type Bulk = SpoolBulk;
    type Commit = Committing;

    fn new_id(&self) -> MessageId {
        self.0.spool.new_id()
    }

    fn commit(&self, message: Rc<Message>, durability: Durability) -> Committing {
        self.0.spool.commit(vec![Record::Message(message)], durability)
    }

    fn bulk(&self) -> SpoolBulk {
        SpoolBulk(self.0.spool.bulk())
    }

    fn health(&self) -> Health {
        self.0.spool.health()
    }

    async fn take(&self, asks: &[Ask]) -> Option<Held> {
        let (shard, mut wait) = (&self.0, None);
        let deadline = shard.now().mono + OWNER_WITHIN;
        loop {
            let now = shard.now().mono;
            let ticket = wait.as_ref().map_or(Ticket::NONE, Waiting::ticket);
            let verdict = shard.limits.borrow_mut().acquire(&Request::inbound(asks, ticket, now), now);
            match verdict {
                Verdict::Granted(permit) => {
                    return Some(Held { shard: shard.clone(), permit: Some(permit) });
                }
                Verdict::Refused { .. } => {
                    observe::count(Counter::LimitsRefused);
                    return None;
                }
                Verdict::Wait { .. } if wait.is_none() => {
                    // Asked again at once, now with a ticket that can be woken.
                    wait = Some(shard.inbound_waiters.enter(shard));
                }
                Verdict::Wait { until, .. } => {
                    shard.send_limits();
                    shard.work.ring();
                    let until = until.unwrap_or(deadline).min(deadline);
                    if let Some(waiting) = &wait {
                        let _ = time::timeout(until.since(now), waiting.woken()).await; // its time came: ask again
                    }
                    if shard.now().mono >= deadline {
                        observe::count(Counter::LimitsRefused);
                        return None;
                    }
                }
            }
        }
    }

    async fn resolve(&self, question: Question) -> Answer {
        let kinds: &[dns::Kind] = match question.kind {
            QueryKind::Ip => &[dns::Kind::A, dns::Kind::Aaaa],
            QueryKind::Ipv4 => &[dns::Kind::A],
            QueryKind::Ipv6 => &[dns::Kind::Aaaa],
            QueryKind::Mx => &[dns::Kind::Mx],
            QueryKind::Txt => &[dns::Kind::Txt],
            QueryKind::Ptr => &[dns::Kind::Ptr],
        };
        let mut records = Vec::new();
        for kind in kinds {
            match self.0.resolver.lookup(*kind, &question.name).await {
                Ok(found) => records.extend(found.records.texts()),
                Err(dns::Failure::NoRecords | dns::Failure::NoDomain | dns::Failure::Unusable) => {}
                Err(dns::Failure::Temporary(_) | dns::Failure::Bogus) => return Answer::Failed,
            }
        }
        Answer::Records(records)
    }
}

/// Sessions that wait for an answer of a limit's owner.
#[derive(Default)]
pub struct Waiters(RefCell<Slab<Wait>>);

#[derive(Default)]
struct Wait {
    is_woken: bool,
    waker: Option<Waker>,
}

struct Waiting {
    shard: Rc<Shard>,
    at: usize,
}

impl Waiters {
    fn enter(&self, shard: &Rc<Shard>) -> Waiting {
        Waiting { shard: shard.clone(), at: self.0.borrow_mut().insert(Wait::default()) }
    }

    /// The holder of a ticket may ask again.
    pub fn wake(&self, ticket: Ticket) {
        let Some(at) = (ticket.0 as usize).checked_sub(1) else { return };
        let waker = match self.0.borrow_mut().get_mut(at) {
            Some(wait) => {
                wait.is_woken = true;
                wait.waker.take()
            }
            None => None,
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Waiting {
    /// Counted from one: zero is [`Ticket::NONE`].
    fn ticket(&self) -> Ticket {
        Ticket::inbound(self.at as u64 + 1)
    }

    async fn woken(&self) {
        poll_fn(|cx| {
            let mut waits = self.shard.inbound_waiters.0.borrow_mut();
            let Some(wait) = waits.get_mut(self.at) else { return Poll::Ready(()) };
            if std::mem::take(&mut wait.is_woken) {
                return Poll::Ready(());
            }
            wait.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _waker = self.shard.inbound_waiters.0.borrow_mut().try_remove(self.at);
    }
}
