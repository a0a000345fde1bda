//! Integers and strings in and out of bytes. Every read is checked: what is on disk is from outside.

use bytes::Bytes;
use compact_str::CompactString;

/// The bytes are not what this release writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a record of this format")]
pub struct Corrupt;

/// Appends to a buffer. No field of a record allocates on its own.
pub trait Put {
    /// One octet.
    fn put_u8(&mut self, value: u8);
    /// Little-endian.
    fn put_u16(&mut self, value: u16);
    /// Little-endian.
    fn put_u32(&mut self, value: u32);
    /// Little-endian.
    fn put_u64(&mut self, value: u64);
    /// LEB128.
    fn put_varint(&mut self, value: u64);
    /// Length and bytes.
    fn put_bytes(&mut self, value: &[u8]);
    /// Length and UTF-8.
    fn put_str(&mut self, value: &str) {
        self.put_bytes(value.as_bytes());
    }
    /// One octet that says whether, then the value.
    fn put_option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.put_u8(0),
            Some(value) => {
                self.put_u8(1);
                put(self, value);
            }
        }
    }
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }
    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }
    fn put_bytes(&mut self, value: &[u8]) {
        self.put_varint(value.len() as u64);
        self.extend_from_slice(value);
    }
}

/// Takes from shared bytes: slices that come out share the memory.
#[derive(Debug, Clone)]
pub struct Take<'a> {
    whole: &'a Bytes,
    at: usize,
    end: usize,
}

impl<'a> Take<'a> {
    /// Reads all of `whole`.
    pub fn new(whole: &'a Bytes) -> Self {
        Take { whole, at: 0, end: whole.len() }
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// Reads nothing more.
    pub fn clear(&mut self) {
        self.at = self.end;
    }

    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// The next `length` bytes as a reader of their own.
    pub fn part(&mut self, length: usize) -> Result<Take<'a>, Corrupt> {
        let at = self.at;
        self.skip(length)?;
        Ok(Take { whole: self.whole, at, end: at + length })
    }

    fn skip(&mut self, length: usize) -> Result<(), Corrupt> {
        if length > self.remaining() {
            return Err(Corrupt);
        }
        self.at += length;
        Ok(())
    }

    /// The next `length` bytes.
    pub fn raw(&mut self, length: usize) -> Result<&'a [u8], Corrupt> {
        let at = self.at;
        self.skip(length)?;
        self.whole.get(at..at + length).ok_or(Corrupt)
    }

    /// The next `length` bytes, shared.
    pub fn shared(&mut self, length: usize) -> Result<Bytes, Corrupt> {
        let at = self.at;
        self.skip(length)?;
        Ok(self.whole.slice(at..at + length))
    }

    /// One octet.
    pub fn u8(&mut self) -> Result<u8, Corrupt> {
        self.raw(1)?.first().copied().ok_or(Corrupt)
    }

    /// Little-endian.
    pub fn u16(&mut self) -> Result<u16, Corrupt> {
        self.raw(2)?.try_into().map(u16::from_le_bytes).map_err(|_| Corrupt)
    }

    /// Little-endian.
    pub fn u32(&mut self) -> Result<u32, Corrupt> {
        self.raw(4)?.try_into().map(u32::from_le_bytes).map_err(|_| Corrupt)
    }

    /// Little-endian.
    pub fn u64(&mut self) -> Result<u64, Corrupt> {
        self.raw(8)?.try_into().map(u64::from_le_bytes).map_err(|_| Corrupt)
    }

    /// LEB128, at most ten octets.
    pub fn varint(&mut self) -> Result<u64, Corrupt> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let octet = self.u8()?;
            let bits = u64::from(octet & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Corrupt);
            }
            value |= bits << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Corrupt)
    }

    /// A varint that fits in 32 bits.
    pub fn varint_u32(&mut self) -> Result<u32, Corrupt> {
        self.varint()?.try_into().map_err(|_| Corrupt)
    }

    /// A count of things that take at least `each` bytes: never more than what is left can hold.
    pub fn count(&mut self, each: usize) -> Result<usize, Corrupt> {
        let count = usize::try_from(self.varint()?).map_err(|_| Corrupt)?;
        if count > self.remaining() / each.max(1) { Err(Corrupt) } else { Ok(count) }
    }

    /// Length and UTF-8.
    pub fn str(&mut self) -> Result<&'a str, Corrupt> {
        let length = self.count(1)?;
        std::str::from_utf8(self.raw(length)?).map_err(|_| Corrupt)
    }

    /// Length and UTF-8, owned.
    pub fn compact(&mut self) -> Result<CompactString, Corrupt> {
        self.str().map(CompactString::new)
    }

    /// Length and bytes, shared.
    pub fn bytes(&mut self) -> Result<Bytes, Corrupt> {
        let length = self.count(1)?;
        self.shared(length)
    }

    /// A flag octet and, if it says so, a value.
    pub fn option<T>(&mut self, take: impl FnOnce(&mut Self) -> Result<T, Corrupt>) -> Result<Option<T>, Corrupt> {
        match self.u8()? {
            0 => Ok(None),
            1 => take(self).map(Some),
            _ => Err(Corrupt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut out = Vec::new();
            out.put_varint(value);
            let bytes = Bytes::from(out);
            let mut take = Take::new(&bytes);
            prop_assert_eq!(take.varint(), Ok(value));
            prop_assert!(take.is_empty());
        }

        #[test]
        fn any_bytes_are_values_or_corrupt(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let bytes = Bytes::from(bytes);
            let mut take = Take::new(&bytes);
            while !take.is_empty() {
                let _ = take.clone().bytes();
                if take.varint().is_err() {
                    break;
                }
            }
        }
    }
}
