//! Idle connections that a shard keeps for the lanes of other shards: how many of them each home counts on. Pure.
//!
//! A home holds a place in its lane for each connection that it believes to be idle here. So what it is told has to be
//! exact: a connection is promised only when there is one that nobody was promised, and what was promised is taken back by
//! a message, or by the attempt that counts on it.

use std::collections::HashMap;

use crate::base::ShardId;
use crate::queue::LaneKey;

/// What each home counts on.
#[derive(Debug, Default)]
pub struct Claims(HashMap<(ShardId, LaneKey), usize>);

impl Claims {
    /// An attempt has ended whose lane may have idle connections: promises one if `idle` are more than are promised.
    pub fn claim(&mut self, home: ShardId, lane: &LaneKey, idle: usize) -> bool {
        let has_spare = self.has_spare(home, lane, idle);
        if has_spare {
            *self.0.entry((home, lane.clone())).or_default() += 1;
        }
        has_spare
    }

    /// Of `idle` connections at least one is promised to nobody.
    pub fn has_spare(&self, home: ShardId, lane: &LaneKey, idle: usize) -> bool {
        idle > self.0.get(&(home, lane.clone())).copied().unwrap_or(0)
    }

    /// One promised connection less: it is closed, or an attempt counts on it. `false` when none was promised.
    pub fn release(&mut self, home: ShardId, lane: &LaneKey) -> bool {
        let key = (home, lane.clone());
        let Some(count) = self.0.get_mut(&key) else { return false };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&key);
        }
        true
    }

    /// Nothing is promised.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_promised_than_there_is() {
        let lane = LaneKey { queue: "q".into(), next_hop: "a.test".into(), source: None, tls: "none".into() };
        let (mut claims, home) = (Claims::default(), ShardId(1));
        assert!(!claims.claim(home, &lane, 0));
        assert!(claims.claim(home, &lane, 1));
        assert!(!claims.claim(home, &lane, 1), "it is promised already");
        assert!(claims.claim(ShardId(2), &lane, 1), "each home has connections of its own here");
        assert!(claims.claim(home, &lane, 2));
        assert!(claims.release(home, &lane) && claims.release(home, &lane));
        assert!(!claims.release(home, &lane), "nothing is left to take back");
        assert!(claims.release(ShardId(2), &lane) && claims.is_empty());
    }
}
