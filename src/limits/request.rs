//! What is asked of the limits, and what they answer.

use smallvec::SmallVec;

use super::key::LimitKey;
use super::meter::Limit;
use crate::base::Monotonic;

/// One limit that applies, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Of what.
    pub key: LimitKey,
    /// How much.
    pub limit: Limit,
}

/// Whom to wake when an answer has come: the caller's own number. It asks again with the same ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Ticket {
    const OUTBOUND: u64 = 1 << 63;

    /// Of one who only looks whether there is some: he is told to wait, and nobody is asked for him. Whoever
    /// waits asks again with a ticket of his own; a second place in the line would be given to nobody.
    pub const NONE: Ticket = Ticket(0);

    /// A ticket of a session or listener on this shard; `n` is not zero.
    pub fn inbound(n: u64) -> Ticket {
        Ticket(n & !Self::OUTBOUND)
    }

    /// A ticket of the scheduler.
    pub fn outbound(n: u64) -> Ticket {
        Ticket(n | Self::OUTBOUND)
    }

    /// The scheduler's number, if it is the scheduler's.
    pub fn as_outbound(self) -> Option<u64> {
        (self.0 & Self::OUTBOUND != 0).then_some(self.0 & !Self::OUTBOUND)
    }
}

/// What happens when a limit is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// The owner's no is an answer: a session that replies 4xx.
    Refuse,
    /// Wait in the owner's queue: a message that stays queued anyway.
    Queue,
}

/// All limits of one step, to be taken together.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The limits, broadest first. A key that occurs twice counts once.
    pub asks: &'a [Ask],
    /// Whom to wake.
    pub ticket: Ticket,
    /// Since when this waits.
    pub since: Monotonic,
    /// MT-PRIORITY of what waits, -9 to 9.
    pub priority: i8,
    /// How many more of the same are likely to follow at once, this one included.
    pub want: u32,
    /// What to do when there is none.
    pub patience: Patience,
}

impl<'a> Request<'a> {
    /// A request of a session: refused when a limit is used up.
    pub fn inbound(asks: &'a [Ask], ticket: Ticket, now: Monotonic) -> Request<'a> {
        Request { asks, ticket, since: now, priority: 0, want: 1, patience: Patience::Refuse }
    }
}

/// The concurrency limits that somebody holds. Give it back with [`Limits::release`]; nothing else does.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "a permit that is not released is lost until restart"]
pub struct Permit {
    pub(super) keys: SmallVec<[LimitKey; 4]>,
}

impl Permit {
    /// Nothing to give back.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Splits off what concerns `key`, to be released on its own: a connection outlives its attempt.
    pub fn split(&mut self, key: LimitKey) -> Permit {
        let mut split = Permit::default();
        if let Some(at) = self.keys.iter().position(|&k| k == key) {
            split.keys.push(self.keys.swap_remove(at));
        }
        split
    }

    /// Joins another permit to this one.
    pub fn join(&mut self, other: Permit) {
        self.keys.extend(other.keys);
    }
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a granted permit has to be released"]
pub enum Verdict {
    /// All limits are taken.
    Granted(Permit),
    /// None is taken. The ticket is woken when it may succeed, or the time comes.
    Wait {
        /// Index of the first ask that is short.
        ask: usize,
        /// When it may succeed, where time alone decides.
        until: Option<Monotonic>,
    },
    /// The owner said no.
    Refused {
        /// Index of the ask.
        ask: usize,
        /// When to try again, where that is known.
        until: Option<Monotonic>,
    },
}
