//! The other side: what this shard holds of keys that others own.

use super::meter::{Limit, ns};
use super::request::{Patience, Ticket};
use crate::base::limits::{LEASE_REMEMBERED, LEASE_UNUSED};
use crate::base::{Monotonic, Rank};

/// One who waits here for an answer about a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiter {
    pub ticket: Ticket,
    pub rank: Rank,
    pub patience: Patience,
}

/// What this shard holds of one key.
#[derive(Debug)]
pub(super) struct Lease {
    pub limit: Limit,
    /// Granted and free to be taken.
    pub unused: u32,
    /// Granted and in use (concurrency).
    pub used: u32,
    /// Granted and used up, not yet reported (buckets).
    pub spent: u32,
    /// Next departure (paced).
    pub departs_ns: u64,
    /// An ask is unanswered.
    pub asked: bool,
    /// The owner wants it back as it becomes free.
    pub recalled: bool,
    /// When what is unused was last needed.
    pub idle_since: Monotonic,
    /// Kept for one who waits for his other limits.
    pub kept: Option<(Rank, Monotonic)>,
    /// The owner refused: until when that is repeated, and when asking makes sense.
    pub refused: Option<(Monotonic, Option<Monotonic>)>,
    pub waiters: Vec<Waiter>,
    pub alarm: Option<Monotonic>,
    peak: Peak,
}

/// The most that was in use at once lately: in this half of [`LEASE_REMEMBERED`] and in the one before.
#[derive(Debug, Default)]
struct Peak {
    half: u64,
    now: u32,
    before: u32,
}

impl Peak {
    fn roll(&mut self, used: u32, now: Monotonic) {
        let half = now.0 / (LEASE_REMEMBERED.as_micros() as u64 / 2);
        match half.saturating_sub(self.half) {
            0 => {}
            1 => (self.before, self.now) = (self.now, used),
            _ => (self.before, self.now) = (used, used),
        }
        self.half = half;
    }

    fn most(&self) -> u32 {
        self.now.max(self.before)
    }
}

impl Lease {
    pub fn new(limit: Limit, now: Monotonic) -> Lease {
        Lease {
            limit,
            unused: 0,
            used: 0,
            spent: 0,
            departs_ns: 0,
            asked: false,
            recalled: false,
            idle_since: now,
            kept: None,
            refused: None,
            waiters: Vec::new(),
            alarm: None,
            peak: Peak::default(),
        }
    }

    /// Drops departures that nobody took in time: they are lost, never made up for.
    pub fn lapse(&mut self, now: Monotonic) {
        let Limit::Paced(rate) = self.limit else { return };
        let interval = rate.interval_ns().unwrap_or(u64::MAX);
        let grace = LEASE_UNUSED.as_nanos() as u64;
        let late = ns(now).saturating_sub(self.departs_ns.saturating_add(grace));
        if self.unused > 0 && late > 0 {
            let lost = u32::try_from(late.div_ceil(interval)).unwrap_or(u32::MAX).min(self.unused);
            self.unused -= lost;
            self.departs_ns = self.departs_ns.saturating_add(interval.saturating_mul(u64::from(lost)));
        }
    }

    /// When the next one may be taken; `None` if there is none.
    pub fn ready_at(&self) -> Option<Monotonic> {
        let at = if let Limit::Paced(_) = self.limit { super::meter::monotonic(self.departs_ns) } else { Monotonic(0) };
        (self.unused > 0).then_some(at)
    }

    /// Takes one that is there.
    pub fn take(&mut self, now: Monotonic) {
        self.unused = self.unused.saturating_sub(1);
        self.idle_since = now;
        match self.limit {
            Limit::Concurrency(_) => {
                self.peak.roll(self.used, now);
                self.used += 1;
                self.peak.now = self.peak.now.max(self.used);
            }
            Limit::Bucket(_) => self.spent += 1,
            Limit::Paced(rate) => self.departs_ns = self.departs_ns.saturating_add(rate.interval_ns().unwrap_or(0)),
        }
    }

    /// Ends one use.
    pub fn give_back(&mut self, now: Monotonic) {
        debug_assert!(self.used > 0, "released more than was taken");
        self.peak.roll(self.used, now);
        self.used = self.used.saturating_sub(1);
        self.unused += 1;
        self.idle_since = now;
    }

    /// What is unused and was not in use lately either: it goes home first, the rest is likely to be used again.
    pub fn surplus(&self) -> u32 {
        self.unused.saturating_sub(self.peak.most().saturating_sub(self.used))
    }

    /// Until when what is unused may stay here: a part of it, or all.
    pub fn expires(&self) -> Monotonic {
        let is_short = !matches!(self.limit, Limit::Concurrency(_)) || self.surplus() > 0;
        let idle = self.idle_since + if is_short { LEASE_UNUSED } else { LEASE_REMEMBERED };
        self.kept.map_or(idle, |(_, until)| idle.max(until))
    }

    /// How much of what is unused goes home now.
    pub fn expired(&self, now: Monotonic) -> u32 {
        let all = !matches!(self.limit, Limit::Concurrency(_)) || self.idle_since + LEASE_REMEMBERED <= now;
        if all { self.unused } else { self.surplus() }
    }

    pub fn is_over(&self, now: Monotonic) -> bool {
        self.unused == 0
            && self.used == 0
            && self.spent == 0
            && !self.asked
            && self.waiters.is_empty()
            && self.refused.is_none_or(|(valid, _)| valid <= now)
    }

    /// Takes out the waiters that `wanted` says, best first.
    pub fn take_waiters(&mut self, most: usize, wanted: impl Fn(&Waiter) -> bool) -> impl Iterator<Item = Ticket> {
        self.waiters.sort_by_key(|w| w.rank);
        let mut left = most;
        let taken: Vec<Waiter> = self
            .waiters
            .extract_if(.., |w| {
                let take = left > 0 && wanted(w);
                left -= usize::from(take);
                take
            })
            .collect();
        taken.into_iter().map(|w| w.ticket)
    }
}
