//! Connections that wait for another message.
//!
//! A connection is reused only for exactly the same peer, source, name and security: the key holds all of
//! it, so a reload that changes any of them changes the key. Pure but for the values it holds.

use std::net::{IpAddr, SocketAddr};

use compact_str::CompactString;
use hashbrown::HashMap;

use super::settings;
use crate::base::Monotonic;
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
    link: L,
    since: Monotonic,
}

/// The idle connections of one shard.
#[derive(Debug)]
pub(super) struct Pool<L> {
    idle: HashMap<Key, Vec<Idle<L>>, foldhash::fast::RandomState>,
    count: usize,
}

impl<L> Default for Pool<L> {
    fn default() -> Self {
        Pool { idle: HashMap::default(), count: 0 }
    }
}

impl<L> Pool<L> {
    /// Connections kept.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The one that was used last: the others grow old and go.
    pub(super) fn take(&mut self, key: &Key) -> Option<L> {
        let list = self.idle.get_mut(key)?;
        let found = list.pop()?;
        self.count -= 1;
        if list.is_empty() {
            self.idle.remove(key);
        }
        Some(found.link)
    }

    /// Keeps a connection, or gives it back to be closed.
    pub(super) fn put(&mut self, key: Key, link: L, now: Monotonic, settings: &settings::Pool) -> Option<L> {
        if settings.idle.is_zero() || self.count >= settings.idle_max {
            return Some(link);
        }
        let list = self.idle.entry(key).or_default();
        if list.len() >= settings.per_host_max {
            return Some(link);
        }
        list.push(Idle { link, since: now });
        self.count += 1;
        None
    }

    /// Those that waited too long, to be closed.
    pub(super) fn expired(&mut self, now: Monotonic, settings: &settings::Pool) -> Vec<L> {
        self.remove(|_, idle_since| now.since(idle_since) >= settings.idle)
    }

    /// Those to `address`, or all, to be closed.
    pub(super) fn recall(&mut self, address: Option<IpAddr>) -> Vec<L> {
        self.remove(|key, _| address.is_none_or(|ip| key.address.ip() == ip))
    }

    fn remove(&mut self, mut goes: impl FnMut(&Key, Monotonic) -> bool) -> Vec<L> {
        let mut gone = Vec::new();
        self.idle.retain(|key, list| {
            // Oldest first in each list.
            let kept = list.iter().position(|idle| !goes(key, idle.since)).unwrap_or(list.len());
            gone.extend(list.drain(..kept).map(|idle| idle.link));
            !list.is_empty()
        });
        self.count -= gone.len();
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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

    fn settings() -> settings::Pool {
        settings::Pool { idle: Duration::from_secs(10), per_host_max: 2, idle_max: 3, ..settings::Pool::default() }
    }

    #[test]
    fn the_last_in_is_the_first_out() {
        let mut pool = Pool::default();
        assert_eq!(pool.put(key(1), 'a', AT, &settings()), None);
        assert_eq!(pool.put(key(1), 'b', AT, &settings()), None);
        assert_eq!(pool.put(key(1), 'c', AT, &settings()), Some('c'), "two to one host");
        assert_eq!(pool.put(key(2), 'd', AT, &settings()), None);
        assert_eq!(pool.put(key(3), 'e', AT, &settings()), Some('e'), "three in all");
        assert_eq!(pool.take(&key(1)), Some('b'));
        assert_eq!(pool.take(&key(4)), None);
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn another_security_is_another_key() {
        let mut pool = Pool::default();
        pool.put(key(1), 'a', AT, &settings());
        let security = Security { verify: Verify::Name, ..key(1).security };
        assert_eq!(pool.take(&Key { security, ..key(1) }), None);
        assert_eq!(pool.take(&Key { source: Some([192, 0, 2, 9].into()), ..key(1) }), None);
    }

    #[test]
    fn what_waits_too_long_goes() {
        let mut pool = Pool::default();
        let later = AT + Duration::from_secs(9);
        pool.put(key(1), 'a', AT, &settings());
        pool.put(key(1), 'b', later, &settings());
        pool.put(key(2), 'c', AT, &settings());
        let mut gone = pool.expired(AT + Duration::from_secs(10), &settings());
        gone.sort_unstable();
        assert_eq!(gone, ['a', 'c']);
        assert_eq!(pool.recall(Some([192, 0, 2, 1].into())), ['b']);
        assert_eq!(pool.len(), 0);
    }
}
