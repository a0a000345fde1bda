//! Who lends attempts to whom: decided from what a shard sees itself and from how others answered. Pure.
//!
//! Nobody tells how busy he is: a shard with much ready simply asks one of the others to make an attempt, and the
//! answer says whether that one wants more. So nothing is sent while nobody has too much.
//!
//! Two marks on each side keep shards from playing ping-pong: one begins to lend far above where it ends, and takes only
//! far below where it begins to lend; who lends takes nothing.

use std::time::Duration;

use crate::base::limits::{
    GUESTS_MAX, HELPING_BELOW, HELPING_ENTERED_MAX, HELPING_UNTIL, LENDING_ABOVE, LENDING_PAUSE, LENDING_PAUSE_MAX,
    LENDING_UNTIL, LENT_MAX,
};
use crate::base::{Monotonic, ShardId};

/// How many ready deliveries make a shard lend or help.
#[derive(Debug, Clone, Copy)]
pub struct Marks {
    /// With more than these it begins to lend.
    pub lending_above: usize,
    /// It goes on until no more than these are left.
    pub lending_until: usize,
    /// With at most these it begins to help.
    pub helping_below: usize,
    /// It goes on until it has more than these.
    pub helping_until: usize,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks {
            lending_above: LENDING_ABOVE,
            lending_until: LENDING_UNTIL,
            helping_below: HELPING_BELOW,
            helping_until: HELPING_UNTIL,
        }
    }
}

/// What one shard knows of the others.
#[derive(Debug)]
pub struct Balance {
    own: ShardId,
    marks: Marks,
    peers: Vec<Peer>,
    is_lending: bool,
    is_helping: bool,
}

#[derive(Debug, Clone, Copy)]
struct Peer {
    lent: usize,
    /// It took the last attempt and wants more.
    is_willing: bool,
    /// It is not asked before this.
    asked_again: Monotonic,
    pause: Duration,
}

impl Balance {
    /// Nothing is known yet of the `shards` shards.
    pub fn new(own: ShardId, shards: u16, marks: Marks) -> Balance {
        let peer = Peer { lent: 0, is_willing: false, asked_again: Monotonic(0), pause: LENDING_PAUSE };
        Balance { own, marks, peers: vec![peer; usize::from(shards)], is_lending: false, is_helping: true }
    }

    /// Looks at the load anew: `ready` deliveries wait here. Says whether lending has just ended.
    pub fn weigh(&mut self, ready: usize) -> bool {
        let was = self.is_lending;
        self.is_lending = ready > if was { self.marks.lending_until } else { self.marks.lending_above };
        was && !self.is_lending
    }

    /// Who is to make the next attempt in our place, if anybody: the one with the fewest of ours, and with fewer than
    /// the `here` that are made here. Counts it as lent.
    pub fn choose(&mut self, here: usize, now: Monotonic) -> Option<ShardId> {
        if !self.is_lending {
            return None;
        }
        let own = usize::from(self.own.0);
        let asked = self.peers.iter().enumerate().filter(|&(at, peer)| {
            let most = if peer.is_willing { LENT_MAX } else { 1 }; // one attempt finds out
            at != own && peer.lent < most && (peer.is_willing || peer.asked_again <= now)
        });
        let (at, _) = asked.min_by_key(|(_, peer)| peer.lent).filter(|(_, peer)| peer.lent < here)?;
        let to = ShardId(at as u16);
        self.lent(to);
        Some(to)
    }

    /// One more is lent to that shard.
    pub fn lent(&mut self, to: ShardId) {
        if let Some(peer) = self.peers.get_mut(usize::from(to.0)) {
            peer.lent += 1;
        }
    }

    /// One is back, or was never sent.
    pub fn back(&mut self, from: ShardId) {
        if let Some(peer) = self.peers.get_mut(usize::from(from.0)) {
            peer.lent = peer.lent.saturating_sub(1);
        }
    }

    /// That shard says whether it wants more.
    pub fn heard(&mut self, from: ShardId, is_willing: bool, now: Monotonic) {
        let Some(peer) = self.peers.get_mut(usize::from(from.0)) else { return };
        if is_willing {
            (peer.is_willing, peer.pause) = (true, LENDING_PAUSE);
        } else if std::mem::take(&mut peer.is_willing) || peer.asked_again <= now {
            peer.asked_again = now + peer.pause;
            peer.pause = (peer.pause * 2).min(LENDING_PAUSE_MAX);
        }
    }

    /// Attempts that are lent.
    pub fn lent_sum(&self) -> usize {
        self.peers.iter().map(|peer| peer.lent).sum()
    }

    /// Whether this shard takes attempts of others: `ready` of its own wait, `entered` came in within the last tick, and
    /// it has so many `guests`.
    pub fn helps(&mut self, ready: usize, entered: u64, guests: usize) -> bool {
        let most = if self.is_helping { self.marks.helping_until } else { self.marks.helping_below };
        self.is_helping = !self.is_lending && ready <= most && entered <= HELPING_ENTERED_MAX;
        self.is_helping && guests < GUESTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Monotonic = Monotonic(1_000_000);

    fn lending(shards: u16) -> Balance {
        let mut balance = Balance::new(ShardId(0), shards, Marks::default());
        balance.weigh(LENDING_ABOVE + 1);
        balance
    }

    #[test]
    fn nothing_is_lent_below_the_mark_and_lending_ends_far_below_it() {
        let mut balance = Balance::new(ShardId(0), 4, Marks::default());
        assert!(!balance.weigh(LENDING_ABOVE));
        assert_eq!(balance.choose(100, NOW), None);
        assert!(!balance.weigh(LENDING_ABOVE + 1));
        assert!(balance.choose(100, NOW).is_some());
        assert!(!balance.weigh(LENDING_UNTIL + 1), "between the marks it goes on");
        assert!(balance.choose(100, NOW).is_some());
        assert!(balance.weigh(LENDING_UNTIL), "the end is told once");
        assert!(!balance.weigh(LENDING_UNTIL));
        assert_eq!(balance.choose(100, NOW), None);
        assert_eq!(lending(1).choose(100, NOW), None, "there is nobody else");
    }

    #[test]
    fn one_attempt_finds_out_who_is_willing_and_the_willing_share_evenly() {
        let mut balance = lending(4);
        let mut asked: Vec<_> = std::iter::from_fn(|| balance.choose(50, NOW)).collect();
        asked.sort();
        assert_eq!(asked, [ShardId(1), ShardId(2), ShardId(3)]);
        for shard in [1, 2] {
            balance.back(ShardId(shard));
            balance.heard(ShardId(shard), true, NOW);
        }
        balance.back(ShardId(3));
        balance.heard(ShardId(3), false, NOW);
        let lent: Vec<_> = std::iter::from_fn(|| balance.choose(10, NOW)).collect();
        assert_eq!(lent.len(), 20, "each has as many as are made here");
        assert_eq!(lent.iter().filter(|shard| **shard == ShardId(1)).count(), 10);
        assert!(!lent.contains(&ShardId(3)));
        assert_eq!(std::iter::from_fn(|| balance.choose(1000, NOW)).count(), 2 * (LENT_MAX - 10), "a bound for each");
    }

    #[test]
    fn who_refuses_is_asked_ever_more_rarely() {
        let mut balance = lending(2);
        let (mut now, mut asked) = (NOW, Vec::new());
        for _ in 0..4000 {
            if let Some(to) = balance.choose(50, now) {
                asked.push(now);
                balance.back(to);
                balance.heard(to, false, now);
            }
            now = now + Duration::from_millis(1);
        }
        let pauses: Vec<u128> = asked.windows(2).map(|two| two[1].since(two[0]).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600]);
        balance.heard(ShardId(1), true, now);
        assert_eq!(balance.choose(50, now), Some(ShardId(1)), "it says itself that it is idle");
    }

    #[test]
    fn who_lends_takes_nothing_and_who_has_taken_does_not_lend_at_once() {
        let mut balance = lending(2);
        assert!(!balance.helps(0, 0, 0), "it lends");
        balance.weigh(0);
        assert!(balance.helps(HELPING_BELOW, 0, 0));
        assert!(balance.helps(HELPING_UNTIL, 0, 0), "between the marks it goes on");
        assert!(!balance.helps(HELPING_UNTIL + 1, 0, 0));
        assert!(!balance.helps(HELPING_BELOW + 1, 0, 0), "and does not begin again there");
        assert!(balance.helps(HELPING_BELOW, 0, GUESTS_MAX - 1));
        assert!(!balance.helps(0, 0, GUESTS_MAX));
        assert!(!balance.helps(0, HELPING_ENTERED_MAX + 1, 0), "it takes in too much itself");
    }

    /// Two shards at the same load never lend to each other, at any load.
    #[test]
    fn equals_do_not_play_ping_pong() {
        for ready in 0..200 {
            let balance = |shard| Balance::new(ShardId(shard), 2, Marks::default());
            let (mut one, mut two) = (balance(0), balance(1));
            one.weigh(ready);
            two.weigh(ready);
            let (to_two, to_one) = (one.choose(50, NOW), two.choose(50, NOW));
            assert!(to_two.is_none() || !two.helps(ready, 0, 0), "{ready}");
            assert!(to_one.is_none() || !one.helps(ready, 0, 0), "{ready}");
        }
    }
}
