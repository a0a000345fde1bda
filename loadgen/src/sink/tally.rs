//! What one shard of the sink has seen: counts, the ledger's next chunk, and the arrivals to compare at the end. Pure.

use std::collections::BTreeMap;

use super::behaviour::{PHASES, Phase};
use super::intake::Found;
use crate::ledger::{self, Kind};
use crate::marker::Marker;
use crate::summary::SinkCounts;

const CODES: usize = 600;

/// Counts of one shard.
#[derive(Debug)]
pub struct Tally {
    /// Connections accepted.
    pub connections: u64,
    /// TLS handshakes made.
    pub tls_handshakes: u64,
    /// Of them resumed.
    pub tls_resumed: u64,
    /// Connections dropped on purpose.
    pub dropped: u64,
    /// Messages taken.
    pub messages: u64,
    recipients: u64,
    content_bytes: u64,
    altered: u64,
    unmarked: u64,
    returned: u64,
    replies: Vec<u64>,
    /// Lines of the ledger that were not handed over yet; `None` keeps no ledger.
    pub chunk: Option<Vec<u8>>,
    /// One value per (message, recipient) that arrived, to find the further ones.
    arrivals: Vec<u64>,
    arrivals_max: usize,
}

/// Counts of a shard, and its arrivals, to be merged with those of the others.
pub type Part = (SinkCounts, Vec<u64>);

impl Tally {
    /// Remembers at most `arrivals_max` arrivals; keeps a ledger where asked to.
    pub fn new(keeps_ledger: bool, arrivals_max: usize) -> Self {
        Tally {
            connections: 0,
            tls_handshakes: 0,
            tls_resumed: 0,
            dropped: 0,
            messages: 0,
            recipients: 0,
            content_bytes: 0,
            altered: 0,
            unmarked: 0,
            returned: 0,
            replies: vec![0; PHASES.len() * CODES],
            chunk: keeps_ledger.then(Vec::new),
            arrivals: Vec::new(),
            arrivals_max,
        }
    }

    /// Counts a reply.
    pub fn reply(&mut self, phase: Phase, code: u16) {
        let place = phase as usize * CODES + usize::from(code) % CODES;
        self.replies[place] += 1;
    }

    /// Counts a message that was taken for the recipients with `keys`.
    pub fn take(&mut self, found: Found, is_null: bool, keys: &[u64], size: u64, at_ms: u64) {
        self.messages += 1;
        self.recipients += keys.len() as u64;
        self.content_bytes += size;
        let (kind, marker) = match found {
            Found::Ours { marker, is_intact: true } => (Kind::Intact, marker),
            Found::Ours { marker, is_intact: false } => (Kind::Altered, marker),
            Found::Quoting(marker) if is_null => (Kind::Returned, marker),
            Found::Quoting(_) | Found::Nothing => {
                self.unmarked += 1;
                return;
            }
        };
        match kind {
            Kind::Intact => {}
            Kind::Altered => self.altered += 1,
            Kind::Returned => self.returned += 1,
        }
        if kind != Kind::Returned {
            self.remember(&marker, keys);
        }
        if let Some(chunk) = &mut self.chunk {
            ledger::push_arrival(chunk, kind, at_ms, &marker, keys);
        }
    }

    fn remember(&mut self, marker: &Marker, keys: &[u64]) {
        let message = marker.run.rotate_left(17) ^ marker.number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for key in keys {
            if self.arrivals.len() < self.arrivals_max {
                self.arrivals.push((message ^ key).wrapping_mul(0xd6e8_feb8_6659_fd93));
            }
        }
    }

    /// Takes the lines that were not handed over yet, where there are some.
    pub fn take_chunk(&mut self) -> Option<Vec<u8>> {
        self.chunk.as_mut().filter(|chunk| !chunk.is_empty()).map(std::mem::take)
    }

    /// What is left when the shard ends.
    pub fn finish(self) -> Part {
        let mut replies = BTreeMap::new();
        for (phase, name) in PHASES {
            let from = phase as usize * CODES;
            for (code, count) in self.replies[from..from + CODES].iter().enumerate().filter(|(_, count)| **count > 0) {
                replies.insert(format!("{} {code}", name.to_uppercase()), *count);
            }
        }
        let counts = SinkCounts {
            connections: self.connections,
            tls_handshakes: self.tls_handshakes,
            tls_resumed: self.tls_resumed,
            messages: self.messages,
            recipients: self.recipients,
            content_bytes: self.content_bytes,
            altered: self.altered,
            unmarked: self.unmarked,
            returned: self.returned,
            dropped: self.dropped,
            replies,
            ..SinkCounts::default()
        };
        (counts, self.arrivals)
    }
}

/// Adds the shards up, and tells first arrivals from further ones.
pub fn merge(parts: Vec<Part>) -> SinkCounts {
    let (mut sum, mut all) = (SinkCounts::default(), Vec::new());
    for (part, arrivals) in parts {
        sum.connections += part.connections;
        sum.tls_handshakes += part.tls_handshakes;
        sum.tls_resumed += part.tls_resumed;
        sum.messages += part.messages;
        sum.recipients += part.recipients;
        sum.content_bytes += part.content_bytes;
        sum.altered += part.altered;
        sum.unmarked += part.unmarked;
        sum.returned += part.returned;
        sum.dropped += part.dropped;
        part.replies.into_iter().for_each(|(reply, count)| *sum.replies.entry(reply).or_default() += count);
        all.extend(arrivals);
    }
    all.sort_unstable();
    sum.further = all.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
    sum.first = all.len() as u64 - sum.further;
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_arrivals_are_found_across_shards() {
        let ours = |number| Found::Ours { marker: Marker { run: 1, number, hash: 0 }, is_intact: number != 3 };
        let (mut one, mut other) = (Tally::new(true, 100), Tally::new(false, 100));
        one.take(ours(1), false, &[10, 11], 5, 0);
        one.take(ours(2), false, &[10], 5, 0);
        other.take(ours(1), false, &[11], 5, 0);
        other.take(ours(3), false, &[11], 5, 0);
        other.take(Found::Quoting(Marker { run: 1, number: 2, hash: 0 }), true, &[12], 5, 0);
        other.take(Found::Nothing, false, &[12], 5, 0);
        assert!(one.take_chunk().expect("lines").starts_with(b"+ 0 0000000000000001-000000000001 "));
        let sum = merge(vec![one.finish(), other.finish()]);
        assert_eq!((sum.messages, sum.recipients), (6, 7));
        assert_eq!((sum.first, sum.further, sum.altered, sum.unmarked, sum.returned), (4, 1, 1, 1, 1));
    }
}
