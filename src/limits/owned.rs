//! The owner's side: the stock of each key, who has how much of it, and who waits.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::key::LimitKey;
use super::meter::{Limit, Meter, ns, slack_ns};
use super::request::Ticket;
use crate::base::limits::{LIMIT_EVICTION_STEPS, LIMIT_KEYS_MAX};
use crate::base::{Monotonic, Rank};

/// Who waits for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Here(Ticket),
    Shard(u16),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub who: Who,
    pub rank: Rank,
    pub want: u32,
    /// Waits until there is some; otherwise only until recalls are answered.
    pub queues: bool,
}

/// Taken from the stock for one ticket of this shard that has yet to come for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reserved {
    pub ticket: Ticket,
    pub expires: Monotonic,
    pub departs_ns: u64,
}

/// What only a key has that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Contest {
    pub waiting: Vec<Waiting>,
    pub reserved: Vec<Reserved>,
    /// Shards that have not yet answered a recall.
    pub recalling: SmallVec<[u16; 8]>,
    pub recalled_at: Option<Monotonic>,
    pub alarm: Option<Monotonic>,
}

/// One key that this shard owns.
#[derive(Debug)]
pub(super) struct Owned {
    pub key: LimitKey,
    pub limit: Limit,
    meter: Meter,
    /// In use (or reserved) on this shard; concurrency only.
    here: u32,
    epoch: u32,
    /// Granted to other shards and not returned.
    pub out: SmallVec<[(u16, u32); 2]>,
    pub contest: Option<Box<Contest>>,
}

impl Owned {
    fn new(key: LimitKey, limit: Limit, epoch: u32) -> Owned {
        Owned { key, limit, meter: Meter::default(), here: 0, epoch, out: SmallVec::new(), contest: None }
    }

    /// The asker's configuration is the newest that we know.
    pub fn adopt(&mut self, limit: Limit) {
        if !self.limit.same_kind(limit) {
            self.meter = Meter::default();
        }
        self.limit = limit;
    }

    pub fn out_sum(&self) -> u32 {
        self.out.iter().map(|&(_, n)| n).sum()
    }

    /// How many could be taken at `now`; paced limits count a departure within `ahead_ns`.
    pub fn available(&self, ahead_ns: u64, now: Monotonic) -> u32 {
        match self.limit {
            Limit::Concurrency(max) => max.saturating_sub(self.here).saturating_sub(self.out_sum()),
            Limit::Bucket(rate) => self.meter.tokens(rate, self.out_sum(), now),
            Limit::Paced(rate) => match self.meter.departure_ns(rate, now) {
                Some(at) if at <= ns(now).saturating_add(ahead_ns) => {
                    // Fast rates depart in batches as long as what is made good of a late loop.
                    let window = ns(now).saturating_add(ahead_ns).saturating_sub(at).max(slack_ns());
                    u32::try_from(window / rate.interval_ns().unwrap_or(u64::MAX)).unwrap_or(u32::MAX).max(1)
                }
                _ => 0,
            },
        }
    }

    /// When time alone makes one available.
    pub fn available_at(&self, now: Monotonic) -> Option<Monotonic> {
        match self.limit {
            Limit::Concurrency(_) => None,
            // With the whole bucket out, only returns help.
            Limit::Bucket(rate) if self.out_sum() >= rate.count => None,
            Limit::Bucket(rate) => self.meter.refilled(rate, now),
            Limit::Paced(rate) => self.meter.departure_ns(rate, now).map(super::meter::monotonic),
        }
    }

    /// Takes one for this shard; gives the departure in nanoseconds of a paced limit, else zero.
    pub fn take_here(&mut self, now: Monotonic) -> u64 {
        match self.limit {
            Limit::Concurrency(_) => {
                self.here += 1;
                0
            }
            Limit::Bucket(rate) => {
                self.meter.spend(rate, 1, now);
                0
            }
            Limit::Paced(rate) => self.meter.depart(rate, 1, now),
        }
    }

    /// Undoes [`Owned::take_here`], or ends a use.
    pub fn give_back_here(&mut self, used: bool) {
        match self.limit {
            Limit::Concurrency(_) => self.here = self.here.saturating_sub(1),
            Limit::Bucket(rate) if !used => self.meter.put_back(rate, 1),
            Limit::Bucket(_) | Limit::Paced(_) => {}
        }
    }

    /// Takes `n` for another shard; gives the first departure of a paced limit.
    pub fn lease_out(&mut self, shard: u16, n: u32, now: Monotonic) -> u64 {
        let departs = match self.limit {
            Limit::Concurrency(_) => 0,
            Limit::Bucket(rate) => {
                self.meter.spend(rate, n, now);
                0
            }
            Limit::Paced(rate) => return self.meter.depart(rate, n, now), // lapses by itself
        };
        match self.out.iter_mut().find(|(s, _)| *s == shard) {
            Some((_, held)) => *held += n,
            None => self.out.push((shard, n)),
        }
        departs
    }

    pub fn returned(&mut self, shard: u16, unused: u32, spent: u32) {
        let Some(at) = self.out.iter().position(|(s, _)| *s == shard) else { return };
        let back = unused.saturating_add(spent);
        debug_assert!(self.out[at].1 >= back, "a shard returned more than it was granted");
        self.out[at].1 = self.out[at].1.saturating_sub(back);
        if self.out[at].1 == 0 {
            self.out.swap_remove(at);
        }
        if let Limit::Bucket(rate) = self.limit {
            self.meter.put_back(rate, unused);
        }
    }

    pub fn contest(&mut self) -> &mut Contest {
        self.contest.get_or_insert_default()
    }

    /// Forgets the contest when it is over.
    pub fn settle(&mut self, now: Monotonic, valid: std::time::Duration) {
        let over = self.contest.as_ref().is_some_and(|c| {
            c.waiting.is_empty()
                && c.reserved.is_empty()
                && c.recalling.is_empty()
                && c.alarm.is_none()
                && c.recalled_at.is_none_or(|at| now.since(at) > valid)
        });
        if over {
            self.contest = None;
        }
    }

    /// The best rank of those who wait.
    pub fn best_waiting(&self) -> Option<Rank> {
        self.contest.as_ref()?.waiting.iter().map(|w| w.rank).min()
    }

    fn is_unused(&self) -> bool {
        self.here == 0 && self.out.is_empty() && self.contest.is_none()
    }

    #[cfg(test)]
    pub fn in_use_here(&self) -> u32 {
        self.here
    }
}

/// The keys that this shard owns: bounded, idle keys are evicted.
#[derive(Debug, Default)]
pub(super) struct OwnedTable {
    index: HashTable<u32>,
    slots: Vec<Owned>,
    hand: usize,
    epoch: u32,
    keys_max: usize,
}

fn slot_hash(key: LimitKey) -> u64 {
    key.0 // already a hash
}

impl OwnedTable {
    pub fn new(keys_max: usize) -> OwnedTable {
        OwnedTable { keys_max: keys_max.clamp(1, LIMIT_KEYS_MAX), ..OwnedTable::default() }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// From here on, what is touched is not evicted until the next call.
    pub fn next_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    pub fn find(&self, key: LimitKey) -> Option<u32> {
        self.index.find(slot_hash(key), |&at| self.slots[at as usize].key == key).copied()
    }

    pub fn at(&mut self, slot: u32) -> &mut Owned {
        &mut self.slots[slot as usize]
    }

    #[cfg(test)]
    pub fn iter(&self) -> impl Iterator<Item = &Owned> {
        self.slots.iter()
    }

    /// The slot of `key`, made if need be; `None` when the table is full of keys in use.
    pub fn enter(&mut self, key: LimitKey, limit: Limit, now: Monotonic) -> Option<u32> {
        let epoch = self.epoch;
        if let Some(slot) = self.find(key) {
            let owned = self.at(slot);
            owned.epoch = epoch;
            if owned.limit != limit {
                owned.adopt(limit);
            }
            return Some(slot);
        }
        let fresh = Owned::new(key, limit, epoch);
        let slot = if self.slots.len() < self.keys_max {
            self.slots.push(fresh);
            (self.slots.len() - 1) as u32
        } else {
            let slot = self.evict(now)?;
            *self.at(slot) = fresh;
            slot
        };
        let slots = &self.slots;
        self.index.insert_unique(slot_hash(key), slot, |&at| slot_hash(slots[at as usize].key));
        Some(slot)
    }

    /// Frees the slot of a key at rest, or failing that of the one nearest to rest among a few.
    fn evict(&mut self, now: Monotonic) -> Option<u32> {
        let mut nearest: Option<(std::time::Duration, usize)> = None;
        for _ in 0..LIMIT_EVICTION_STEPS.min(self.slots.len()) {
            self.hand = (self.hand + 1) % self.slots.len();
            let owned = &self.slots[self.hand];
            if !owned.is_unused() || owned.epoch == self.epoch {
                continue;
            }
            let unrest = owned.meter.unrest(now);
            if nearest.is_none_or(|(least, _)| unrest < least) {
                nearest = Some((unrest, self.hand));
            }
            if owned.meter.is_at_rest(now) {
                break;
            }
        }
        let (_, slot) = nearest?;
        let key = self.slots[slot].key;
        if let Ok(entry) = self.index.find_entry(slot_hash(key), |&at| at as usize == slot) {
            entry.remove();
        }
        Some(slot as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rate;
    use std::time::Duration;

    #[test]
    fn a_full_table_evicts_what_is_idle_and_never_what_is_used() {
        let mut table = OwnedTable::new(4);
        let (now, limit) = (Monotonic(1_000_000), Limit::Concurrency(1));
        for n in 0..4u64 {
            let slot = table.enter(LimitKey(n), limit, now).expect("room");
            if n != 2 {
                table.at(slot).take_here(now);
            }
        }
        table.next_epoch();
        assert!(table.enter(LimitKey(9), limit, now).is_some());
        assert_eq!(table.find(LimitKey(2)), None);
        let slot = table.find(LimitKey(9)).expect("entered");
        table.at(slot).take_here(now);
        table.next_epoch();
        assert_eq!(table.enter(LimitKey(10), limit, now), None, "all in use");
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn the_fullest_bucket_goes_first() {
        let mut table = OwnedTable::new(2);
        let (now, limit) = (Monotonic(1_000_000), Limit::Bucket(Rate::new(10, Duration::from_secs(10))));
        for (n, spent) in [(1u64, 9), (2, 1)] {
            let slot = table.enter(LimitKey(n), limit, now).expect("room");
            for _ in 0..spent {
                table.at(slot).take_here(now);
            }
        }
        table.next_epoch();
        assert!(table.enter(LimitKey(3), limit, now).is_some());
        assert!(table.find(LimitKey(1)).is_some(), "the emptier bucket is kept");
    }
}
