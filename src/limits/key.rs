//! The name of a limit as shards exchange it: a hash of its parts.

use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use foldhash::quality::{FixedState, FoldHasher};

use crate::base::ShardId;

/// A limit's key: 64 bits of a hash that is seeded per process, so that no sender can aim at a collision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey(pub u64);

impl LimitKey {
    /// The shard that owns this key among `shards`.
    pub fn owner(self, shards: u16) -> ShardId {
        // The upper half, because tables index with the lower.
        ShardId((((self.0 >> 32) * u64::from(shards.max(1))) >> 32) as u16)
    }
}

/// Makes keys. All shards of a process use the same seed; it should be random per start.
#[derive(Debug, Clone)]
pub struct KeyMaker(FixedState);

impl KeyMaker {
    /// A maker of keys under `seed`.
    pub fn new(seed: u64) -> KeyMaker {
        KeyMaker(FixedState::with_seed(seed))
    }

    /// Starts a key with the name of its limit: `connect.remote_ip`, `lane`, `queue.limiter.inbound.3`.
    pub fn limit(&self, name: &str) -> KeyBuilder<'_> {
        KeyBuilder(self.0.build_hasher()).text(name)
    }
}

/// A key under construction; every part is delimited, so that `ab`+`c` is not `a`+`bc`.
#[derive(Clone)]
pub struct KeyBuilder<'a>(FoldHasher<'a>);

impl std::fmt::Debug for KeyBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyBuilder")
    }
}

impl KeyBuilder<'_> {
    /// Adds a text, as it is: the caller folds case where the limit does not distinguish it.
    pub fn text(mut self, text: &str) -> Self {
        self.0.write_u64(text.len() as u64);
        self.0.write(text.as_bytes());
        self
    }

    /// Adds an exact address.
    pub fn address(mut self, ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => self.0.write_u64(u64::from(ip.to_bits()) | 4 << 32),
            IpAddr::V6(ip) => self.0.write_u128(ip.to_bits()),
        }
        self
    }

    /// Adds a client's address as limits count it: IPv4 whole, IPv6 by its /64, which is one site's.
    pub fn client(mut self, ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.0.write_u64(u64::from(ip.to_bits()) | 4 << 32),
            IpAddr::V6(ip) => self.0.write_u128(ip.to_bits() >> 64),
        }
        self
    }

    /// Adds a number.
    pub fn number(mut self, n: u64) -> Self {
        self.0.write_u64(n);
        self
    }

    /// The key.
    pub fn finish(self) -> LimitKey {
        LimitKey(self.0.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_delimited_and_seeded() {
        let maker = KeyMaker::new(1);
        let key = |a: &str, b: &str| maker.limit("x").text(a).text(b).finish();
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_eq!(key("a", "b"), key("a", "b"));
        assert_ne!(key("a", "b"), KeyMaker::new(2).limit("x").text("a").text("b").finish());
    }

    #[test]
    fn an_ipv6_client_is_its_prefix() {
        let maker = KeyMaker::new(1);
        let key = |ip: &str| maker.limit("ip").client(ip.parse().expect("an address")).finish();
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }

    #[test]
    fn owners_are_spread_over_all_shards() {
        let maker = KeyMaker::new(7);
        let mut seen = [0u32; 16];
        for n in 0..1600 {
            seen[usize::from(maker.limit("k").number(n).finish().owner(16).0)] += 1;
        }
        assert!(seen.iter().all(|&n| (50..200).contains(&n)), "{seen:?}");
    }
}
