//! The content hash, and the hash of an address. Ours alone: both sides of a run are this program.
//!
//! Pure. Not against an adversary: against a server that loses, swaps or changes bytes.

/// Odd constants without pattern (digits of e), one per lane.
const KEYS: [u64; 4] = [0xb7e1_5162_8aed_2a6b, 0xbf71_5880_9cf4_f3c7, 0x62e7_160f_38b4_da57, 0xa784_d904_5190_cfef];
/// Bytes taken per step: one word per lane.
pub const BLOCK: usize = 32;

/// A 64-bit hash over a stream of bytes, at several bytes per cycle. Cloning it keeps the state, so
/// that what many messages begin with is hashed once.
#[derive(Debug, Clone)]
pub struct ContentHash {
    lanes: [u64; 4],
    carry: [u8; BLOCK],
    carried: usize,
    length: u64,
}

impl Default for ContentHash {
    fn default() -> Self {
        ContentHash { lanes: KEYS, carry: [0; BLOCK], carried: 0, length: 0 }
    }
}

/// Multiplies to 128 bits and folds: every bit of `word` moves every bit of the result.
fn fold(lane: u64, word: u64, key: u64) -> u64 {
    let product = u128::from(lane ^ word) * u128::from(key);
    (product as u64) ^ ((product >> 64) as u64) ^ word.rotate_left(32)
}

fn absorb(lanes: &mut [u64; 4], block: &[u8; BLOCK]) {
    let (words, _) = block.as_chunks::<8>();
    for ((lane, word), key) in lanes.iter_mut().zip(words).zip(KEYS) {
        *lane = fold(*lane, u64::from_le_bytes(*word), key);
    }
}

impl ContentHash {
    /// Takes more bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if self.carried > 0 {
            let taken = bytes.len().min(BLOCK - self.carried);
            let (head, rest) = bytes.split_at(taken);
            if let Some(room) = self.carry.get_mut(self.carried..self.carried + taken) {
                room.copy_from_slice(head);
            }
            self.carried += taken;
            bytes = rest;
            if self.carried < BLOCK {
                return;
            }
            absorb(&mut self.lanes, &self.carry);
            self.carried = 0;
        }
        let (blocks, rest) = bytes.as_chunks::<BLOCK>();
        for block in blocks {
            absorb(&mut self.lanes, block);
        }
        if let Some(room) = self.carry.get_mut(..rest.len()) {
            room.copy_from_slice(rest);
        }
        self.carried = rest.len();
    }

    /// The hash of all bytes taken.
    pub fn finish(&self) -> u64 {
        let mut last = [0; BLOCK];
        if let (Some(to), Some(from)) = (last.get_mut(..self.carried), self.carry.get(..self.carried)) {
            to.copy_from_slice(from);
        }
        let mut lanes = self.lanes;
        absorb(&mut lanes, &last);
        lanes.iter().zip(KEYS).fold(self.length, |sum, (lane, key)| fold(sum, *lane, key))
    }
}

/// The key of an address in the ledgers: of `<local@domain>` without the brackets, ASCII letters in
/// lower case, because relays may change the case of domains.
pub fn address_key(address: &[u8]) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3);
    address.iter().fold(0xcbf2_9ce4_8422_2325, fnv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> u64 {
        let mut hash = ContentHash::default();
        hash.update(bytes);
        hash.finish()
    }

    #[test]
    fn the_cuts_do_not_matter() {
        let bytes: Vec<u8> = (0..500u32).map(|n| (n * 7 + n / 3) as u8).collect();
        for cut in 0..bytes.len() {
            let mut hash = ContentHash::default();
            hash.update(&bytes[..cut]);
            hash.update(&bytes[cut..cut + (bytes.len() - cut) / 2]);
            hash.update(&bytes[cut + (bytes.len() - cut) / 2..]);
            assert_eq!(hash.finish(), of(&bytes), "cut at {cut}");
        }
    }

    #[test]
    fn one_flipped_bit_a_swap_and_a_missing_zero_are_seen() {
        let bytes = vec![0u8; 200];
        let whole = of(&bytes);
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(of(&other), whole, "bit {bit}");
        }
        assert_ne!(of(&bytes[1..]), whole);
        let mut words: Vec<u8> = (0..64).collect();
        let before = of(&words);
        words.swap(0, 32);
        assert_ne!(of(&words), before);
    }

    #[test]
    fn the_case_of_an_address_does_not_matter() {
        assert_eq!(address_key(b"User1@Example.Test"), address_key(b"user1@example.test"));
        assert_ne!(address_key(b"user1@example.test"), address_key(b"user2@example.test"));
    }
}
