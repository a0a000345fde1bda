//! Connections that wait for another message.
//!
//! They are kept by lane, because that is how the scheduler counts them: an attempt that was told to reuse one takes
//! one of its lane, or closes one of its lane before it opens another. A connection is reused only for exactly the
//! same peer, source, name and security: the key holds all of it, so a reload that changes any of them changes
//! the key. Pure but for the values it holds.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::settings;
use crate::base::Monotonic;
use crate::queue::LaneKey;
use crate::smtp::client::{Credentials, Protocol, StartTls};
use crate::tls::client::Verify;

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Security {
    /// TLS before the greeting.
    pub(super) implicit: bool,
    /// What is done about STARTTLS.
    pub(super) starttls: StartTls,
    /// Whether the certificate has to be right.
    pub(super) verify: Verify,
}

/// Everything that makes one connection as good as another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The peer.
    pub(super) address: SocketAddr,
    /// What it is called: for SNI, verification and diagnostics.
    pub(super) name: CompactString,
    /// Where we come from, if that was chosen.
    pub(super) source: Option<IpAddr>,
    /// SMTP or LMTP.
    pub(super) protocol: Protocol,
    /// What we say in EHLO.
    pub(super) hello: CompactString,
    /// How it is protected.
    pub(super) security: Security,
    /// Whom we log in as.
    pub(super) credentials: Option<Credentials>,
}

/// What is kept, with what decides how long.
#[derive(Debug)]
struct Idle<L> {
    key: Key,
    link: L,
    since: Monotonic,
}

/// The idle connections of one shard.
#[derive(Debug)]
pub(super) struct Pool<L> {
    /// Of each lane, oldest first; never empty.
    idle: HashMap<LaneKey, VecDeque<Idle<L>>, foldhash::fast::RandomState>,
    count: usize,
}

impl<L> Default for Pool<L> {
    fn default() -> Self {
        Pool { idle: HashMap::default(), count: 0 }
    }
}

/// What an attempt gets that counts on an idle connection of its lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<L> {
    /// One to the peer it asked for.
    Fits(L),
    /// One to another peer: to be closed, and its place used.
    Other(L),
}

impl<L> Pool<L> {
    /// Connections kept.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// One of the lane: to that peer the one that was used last (the others grow old and go), else the oldest.
    pub(super) fn take(&mut self, lane: &LaneKey, key: &Key) -> Option<Taken<L>> {
        let list = self.idle.get_mut(lane)?;
        let taken = match list.iter().rposition(|idle| idle.key == *key) {
            Some(at) => list.remove(at).map(|idle| Taken::Fits(idle.link)),
            None => list.pop_front().map(|idle| Taken::Other(idle.link)),
        };
        self.count -= usize::from(taken.is_some());
        self.drop_if_empty(lane);
        taken
    }

    /// How many are kept of the lane.
    pub(super) fn len_of(&self, lane: &LaneKey) -> usize {
        self.idle.get(lane).map_or(0, VecDeque::len)
    }

    /// The oldest of the lane.
    pub(super) fn take_oldest(&mut self, lane: &LaneKey) -> Option<L> {
        let idle = self.idle.get_mut(lane)?.pop_front();
        self.count -= usize::from(idle.is_some());
        self.drop_if_empty(lane);
        idle.map(|idle| idle.link)
    }

    fn drop_if_empty(&mut self, lane: &LaneKey) {
        if self.idle.get(lane).is_some_and(VecDeque::is_empty) {
            self.idle.remove(lane);
        }
    }

    /// Keeps a connection, or gives it back to be closed.
    pub(super) fn put(
        &mut self,
        lane: &LaneKey,
        key: Key,
        link: L,
        now: Monotonic,
        settings: &settings::Pool,
    ) -> Option<L> {
        let in_lane = self.idle.get(lane).map_or(0, VecDeque::len);
        if settings.idle.is_zero() || self.count >= settings.idle_max || in_lane >= settings.per_lane_max {
            return Some(link);
        }
        let idle = Idle { key, link, since: now };
        match self.idle.get_mut(lane) {
            Some(list) => list.push_back(idle),
            None => drop(self.idle.insert(lane.clone(), [idle].into())),
        }
        self.count += 1;
        None
    }

    /// Those that waited too long, to be closed, each with its lane.
    pub(super) fn expired(&mut self, now: Monotonic, idle_max: Duration) -> Vec<(LaneKey, L)> {
        let mut gone = Vec::new();
        self.idle.retain(|lane, list| {
            while list.front().is_some_and(|idle| now.since(idle.since) >= idle_max) {
                gone.extend(list.pop_front().map(|idle| (lane.clone(), idle.link)));
            }
            !list.is_empty()
        });
        self.count -= gone.len();
        gone
    }

    /// All of them, to be closed.
    pub(super) fn drain(&mut self) -> Vec<L> {
        self.count = 0;
        self.idle.drain().flat_map(|(_, list)| list).map(|idle| idle.link).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Monotonic = Monotonic(1_000_000);

    fn key(port: u16) -> Key {
        Key {
            address: ([192, 0, 2, 1], port).into(),
            name: "mx.test".into(),
            source: None,
            protocol: Protocol::Smtp,
            hello: "us.test".into(),
            security: Security { implicit: false, starttls: StartTls::Optional, verify: Verify::Nothing },
            credentials: None,
        }
    }

    fn lane(name: &str) -> LaneKey {
        LaneKey { queue: "remote".into(), next_hop: name.into(), source: None, tls: "default".into() }
    }

    fn settings() -> settings::Pool {
        settings::Pool { idle: Duration::from_secs(10), per_lane_max: 2, idle_max: 3, ..settings::Pool::default() }
    }

    #[test]
    fn the_last_in_is_the_first_out() {
        let mut pool = Pool::default();
        assert_eq!(pool.put(&lane("a"), key(1), 'a', AT, &settings()), None);
        assert_eq!(pool.put(&lane("a"), key(1), 'b', AT, &settings()), None);
        assert_eq!(pool.put(&lane("a"), key(1), 'c', AT, &settings()), Some('c'), "two in one lane");
        assert_eq!(pool.put(&lane("b"), key(2), 'd', AT, &settings()), None);
        assert_eq!(pool.put(&lane("c"), key(3), 'e', AT, &settings()), Some('e'), "three in all");
        assert_eq!(pool.take(&lane("a"), &key(1)), Some(Taken::Fits('b')));
        assert_eq!(pool.take(&lane("c"), &key(1)), None, "another lane has its own");
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn another_peer_or_security_fits_not_but_gives_up_its_place() {
        let mut pool = Pool::default();
        pool.put(&lane("a"), key(1), 'a', AT, &settings());
        pool.put(&lane("a"), key(2), 'b', AT, &settings());
        let security = Security { verify: Verify::Name, ..key(1).security };
        assert_eq!(pool.take(&lane("a"), &Key { security, ..key(1) }), Some(Taken::Other('a')));
        assert_eq!(pool.take(&lane("a"), &key(2)), Some(Taken::Fits('b')));
        assert_eq!((pool.take(&lane("a"), &key(2)), pool.len()), (None, 0));
    }

    #[test]
    fn what_waits_too_long_goes() {
        let mut pool = Pool::default();
        let later = AT + Duration::from_secs(9);
        pool.put(&lane("a"), key(1), 'a', AT, &settings());
        pool.put(&lane("a"), key(1), 'b', later, &settings());
        pool.put(&lane("b"), key(2), 'c', AT, &settings());
        let gone = pool.expired(AT + Duration::from_secs(10), settings().idle);
        let mut names: Vec<_> = gone.iter().map(|(lane, link)| (lane.next_hop.as_str(), *link)).collect();
        names.sort_unstable();
        assert_eq!(names, [("a", 'a'), ("b", 'c')]);
        assert_eq!(pool.take_oldest(&lane("a")), Some('b'));
        assert_eq!(pool.take_oldest(&lane("a")), None);
        assert_eq!(pool.len(), 0);
    }

    #[test]
    fn all_can_be_closed() {
        let mut pool = Pool::default();
        pool.put(&lane("a"), key(1), 'a', AT, &settings());
        pool.put(&lane("b"), key(2), 'b', AT, &settings());
        assert_eq!((pool.drain().len(), pool.len()), (2, 0));
    }
}
