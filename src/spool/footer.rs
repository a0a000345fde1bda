//! Footer and trailer of a sealed segment (`docs/spool-format.md` 4.5).

use bytes::Bytes;

use super::facts::SegmentFacts;
use super::frame::Seal;
use super::segment::{FORMAT_VERSION, SLOT_BYTES};

const MAGIC: &[u8; 8] = b"PHFOOT01";
/// Bytes of the trailer: the last ones of the file.
pub const TRAILER_BYTES: usize = SLOT_BYTES;

/// Where the footer of a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailer {
    /// Where the frames end.
    pub end: u64,
    /// Where the footer begins.
    pub offset: u64,
    /// Its bytes.
    pub length: u64,
    /// Its checksum, seeded.
    pub checksum: u32,
}

/// The trailer, and the footer itself, for a segment whose frames end at `end`.
pub fn encode(facts: &SegmentFacts, end: u64, seal: &Seal) -> (Trailer, Vec<u8>) {
    let footer = facts.encode();
    let trailer = Trailer {
        end,
        offset: end.next_multiple_of(SLOT_BYTES as u64),
        length: footer.len() as u64,
        checksum: seal.checksum(&footer),
    };
    (trailer, footer)
}

impl Trailer {
    /// Its bytes.
    pub fn encode(&self, seal: &Seal) -> Vec<u8> {
        let mut out = vec![0u8; TRAILER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[12..16].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&seal.epoch.to_le_bytes());
        out[24..32].copy_from_slice(&self.end.to_le_bytes());
        out[32..40].copy_from_slice(&self.offset.to_le_bytes());
        out[40..48].copy_from_slice(&self.length.to_le_bytes());
        out[48..52].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = seal.checksum(&out[12..64]);
        out[8..12].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The trailer of this incarnation of the segment, if there is one.
    pub fn decode(bytes: &[u8], seal: &Seal) -> Option<Trailer> {
        let u32_at = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let u64_at = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let is_ours = bytes.get(..8)? == MAGIC
            && u32_at(8)? == seal.checksum(bytes.get(12..64)?)
            && u32_at(12)? == FORMAT_VERSION
            && u64_at(16)? == seal.epoch;
        is_ours.then_some(Trailer { end: u64_at(24)?, offset: u64_at(32)?, length: u64_at(40)?, checksum: u32_at(48)? })
    }

    /// The facts, if the footer verifies.
    pub fn facts(&self, footer: Vec<u8>, seal: &Seal) -> Option<SegmentFacts> {
        if footer.len() as u64 != self.length || seal.checksum(&footer) != self.checksum {
            return None;
        }
        SegmentFacts::decode(&Bytes::from(footer)).ok()
    }
}
