//! Segment headers and the start counter (`docs/spool-format.md` 4.1, 4.2).

use crate::base::StreamId;

use super::frame::Seal;

/// The format this release writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of one header slot.
pub const SLOT_BYTES: usize = 4096;
/// Where data begins: after two equal slots.
pub const DATA_OFFSET: u64 = 2 * SLOT_BYTES as u64;
/// Closed segments without a footer that one header can name.
pub const ENDS_MAX: usize = (SLOT_BYTES - ENDS_AT) / END_BYTES;

const MAGIC: &[u8; 8] = b"PHSPOOL1";
const START_MAGIC: &[u8; 8] = b"PHSTART1";
const ENDS_AT: usize = 64;
const END_BYTES: usize = 20;

/// What a segment is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SegmentKind {
    /// Frames.
    Log,
    /// Extents.
    Bulk,
}

/// What its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentState {
    /// Its content is dead.
    Ready,
    /// Its content counts.
    InUse,
}

/// Where the frames of a closed segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The segment.
    pub number: u32,
    /// Its epoch then.
    pub epoch: u64,
    /// Nothing at or beyond this offset counts.
    pub offset: u64,
}

/// A segment header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Ready or in use.
    pub state: SegmentState,
    /// Log or bulk.
    pub kind: SegmentKind,
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its number: the file's name.
    pub number: u32,
    /// The start that wrote this header.
    pub start: u32,
    /// Unique among all headers ever written in the stream, and rising.
    pub epoch: u64,
    /// Bytes of the file.
    pub size: u64,
    /// Random and secret.
    pub salt: [u8; 16],
    /// Closed segments without a footer, as of this header.
    pub ends: Vec<End>,
}

/// Why a header is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFault {
    /// Neither slot verifies.
    Invalid {
        /// The second slot was never written, so no header was ever complete: there is no content.
        blank: bool,
    },
    /// A newer release wrote it.
    Newer(u32),
}

impl SegmentHeader {
    /// Both slots, as they are written at offset 0.
    pub fn encode(&self) -> Vec<u8> {
        let mut slot = vec![0u8; SLOT_BYTES];
        slot[..8].copy_from_slice(MAGIC);
        slot[12..16].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        slot[16] = match (self.state, self.kind) {
            (SegmentState::Ready, _) => 1,
            (SegmentState::InUse, SegmentKind::Log) => 2,
            (SegmentState::InUse, SegmentKind::Bulk) => 3,
        };
        slot[17] = if self.kind == SegmentKind::Log { 1 } else { 2 };
        slot[18..20].copy_from_slice(&(self.ends.len().min(ENDS_MAX) as u16).to_le_bytes());
        slot[20..24].copy_from_slice(&self.stream.0.to_le_bytes());
        slot[24..28].copy_from_slice(&self.number.to_le_bytes());
        slot[28..32].copy_from_slice(&self.start.to_le_bytes());
        slot[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        slot[40..48].copy_from_slice(&self.size.to_le_bytes());
        slot[48..64].copy_from_slice(&self.salt);
        for (entry, end) in slot[ENDS_AT..].chunks_exact_mut(END_BYTES).zip(&self.ends) {
            entry[..4].copy_from_slice(&end.number.to_le_bytes());
            entry[4..12].copy_from_slice(&end.epoch.to_le_bytes());
            entry[12..20].copy_from_slice(&end.offset.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&slot[12..]);
        slot[8..12].copy_from_slice(&checksum.to_le_bytes());
        slot.extend_from_within(..);
        slot
    }

    /// The header that counts in the first [`DATA_OFFSET`] bytes of a file.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderFault> {
        let slots = || bytes.chunks(SLOT_BYTES).take(2);
        if let Some(header) = slots().filter_map(decode_slot).max_by_key(|header| header.epoch) {
            return Ok(header);
        }
        let newer = slots().filter_map(slot_version).find(|&version| version > FORMAT_VERSION);
        Err(match newer {
            Some(version) => HeaderFault::Newer(version),
            None => HeaderFault::Invalid { blank: bytes.iter().skip(SLOT_BYTES).all(|&b| b == 0) },
        })
    }

    /// The slots differ: a crash came between them, and the one that does not count is to be written again.
    pub fn needs_repair(bytes: &[u8]) -> bool {
        let (first, second) = bytes.split_at(SLOT_BYTES.min(bytes.len()));
        first != second
    }

    /// What makes the frames or extents of this incarnation its own.
    pub fn seal(&self) -> Seal {
        Seal::new(&self.salt, self.epoch)
    }
}

fn slot_version(slot: &[u8]) -> Option<u32> {
    (slot.get(..7)? == &MAGIC[..7]).then_some(())?;
    u32_at(slot, 12)
}

fn decode_slot(slot: &[u8]) -> Option<SegmentHeader> {
    let intact = slot.len() == SLOT_BYTES && slot[..8] == *MAGIC && u32_at(slot, 8)? == crc32c::crc32c(&slot[12..]);
    if !intact || u32_at(slot, 12)? != FORMAT_VERSION {
        return None;
    }
    let kind = match slot[17] {
        1 => SegmentKind::Log,
        2 => SegmentKind::Bulk,
        _ => return None,
    };
    let state = match (slot[16], kind) {
        (1, _) => SegmentState::Ready,
        (2, SegmentKind::Log) | (3, SegmentKind::Bulk) => SegmentState::InUse,
        _ => return None,
    };
    let count = usize::from(u16::from_le_bytes([slot[18], slot[19]]));
    let ends = slot[ENDS_AT..].chunks_exact(END_BYTES).take(count).filter_map(|entry| {
        Some(End { number: u32_at(entry, 0)?, epoch: u64_at(entry, 4)?, offset: u64_at(entry, 12)? })
    });
    Some(SegmentHeader {
        state,
        kind,
        stream: StreamId(u32_at(slot, 20)?),
        number: u32_at(slot, 24)?,
        start: u32_at(slot, 28)?,
        epoch: u64_at(slot, 32)?,
        size: u64_at(slot, 40)?,
        salt: slot[48..64].try_into().ok()?,
        ends: ends.collect(),
    })
}

/// One slot of the start file.
pub fn encode_start(stream: StreamId, start: u32) -> Vec<u8> {
    let mut slot = vec![0u8; SLOT_BYTES];
    slot[..8].copy_from_slice(START_MAGIC);
    slot[12..16].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    slot[16..20].copy_from_slice(&stream.0.to_le_bytes());
    slot[20..24].copy_from_slice(&start.to_le_bytes());
    let checksum = crc32c::crc32c(&slot[12..24]);
    slot[8..12].copy_from_slice(&checksum.to_le_bytes());
    slot
}

/// The starts in the two slots of a start file; 0 where a slot does not verify.
pub fn decode_starts(bytes: &[u8]) -> Result<[u32; 2], HeaderFault> {
    let mut starts = [0; 2];
    for (slot, start) in bytes.chunks(SLOT_BYTES).zip(&mut starts) {
        let verified = (|| {
            let intact = slot.get(..8)? == START_MAGIC && u32_at(slot, 8)? == crc32c::crc32c(slot.get(12..24)?);
            intact.then_some((u32_at(slot, 12)?, u32_at(slot, 20)?))
        })();
        match verified {
            Some((version, _)) if version > FORMAT_VERSION => return Err(HeaderFault::Newer(version)),
            Some((_, value)) => *start = value,
            None => {}
        }
    }
    Ok(starts)
}

/// The name of a segment's file.
pub fn file_name(kind: SegmentKind, number: u32) -> String {
    match kind {
        SegmentKind::Log => format!("log-{number:08x}"),
        SegmentKind::Bulk => format!("bulk-{number:08x}"),
    }
}

/// What a file's name says.
pub fn parse_file_name(name: &str) -> Option<(SegmentKind, u32)> {
    let (kind, number) = name.split_once('-')?;
    let kind = match kind {
        "log" => SegmentKind::Log,
        "bulk" => SegmentKind::Bulk,
        _ => return None,
    };
    let digits = number.len() == 8 && number.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    digits.then(|| u32::from_str_radix(number, 16).ok()).flatten().map(|number| (kind, number))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(epoch: u64) -> SegmentHeader {
        SegmentHeader {
            state: SegmentState::InUse,
            kind: SegmentKind::Log,
            stream: StreamId(3),
            number: 17,
            start: 2,
            epoch,
            size: 1 << 26,
            salt: *b"salt and pepper!",
            ends: vec![End { number: 16, epoch: 4, offset: 8192 }; 3],
        }
    }

    #[test]
    fn a_header_survives_the_loss_of_either_slot() {
        let bytes = header(9).encode();
        assert_eq!(bytes.len() as u64, DATA_OFFSET);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode(&damaged), Ok(header(9)), "byte {at}");
        }
    }

    #[test]
    fn the_higher_epoch_counts_when_slots_differ() {
        let mut torn = header(9).encode();
        torn[..SLOT_BYTES].copy_from_slice(&header(10).encode()[..SLOT_BYTES]);
        assert_eq!(SegmentHeader::decode(&torn).map(|h| h.epoch), Ok(10));
    }

    #[test]
    fn a_newer_format_is_refused_by_its_number() {
        let mut bytes = header(9).encode();
        for slot in bytes.chunks_mut(SLOT_BYTES) {
            slot[12] = 2;
        }
        assert_eq!(SegmentHeader::decode(&bytes), Err(HeaderFault::Newer(2)));
        assert_eq!(SegmentHeader::decode(&[0; 8192]), Err(HeaderFault::Invalid { blank: true }));
    }

    #[test]
    fn start_slots_are_judged_alone() {
        let mut bytes = encode_start(StreamId(1), 6);
        bytes.extend(encode_start(StreamId(1), 7));
        assert_eq!(decode_starts(&bytes), Ok([6, 7]));
        bytes[SLOT_BYTES + 20] ^= 1;
        assert_eq!(decode_starts(&bytes), Ok([6, 0]));
        assert_eq!(decode_starts(&[]), Ok([0, 0]));
    }

    #[test]
    fn names_round_trip() {
        assert_eq!(parse_file_name(&file_name(SegmentKind::Log, 0xabc)), Some((SegmentKind::Log, 0xabc)));
        for name in ["log-1", "log-0000000g", "lock", "start", "../log-00000001", "log-+0000001"] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }
}
