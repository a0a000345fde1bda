//! The field that makes a message findable: run, number and hash of all that follows the field.
//!
//! `X-Loadgen-Id: rrrrrrrrrrrrrrrr-nnnnnnnnnnnn-hhhhhhhhhhhhhhhh`, hexadecimal of fixed width. The
//! source writes it above everything whose bytes must arrive unaltered; relays add their trace fields
//! above it (RFC 5321 §4.4), so these do not matter. Pure.

/// Name of the field with its colon and space, as the source writes it.
pub const FIELD: &[u8] = b"X-Loadgen-Id: ";
/// Length of the value.
pub const VALUE_LENGTH: usize = 16 + 1 + 12 + 1 + 16;

/// What the field says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Marker {
    /// Which run.
    pub run: u64,
    /// Which message of it, below 2^48.
    pub number: u64,
    /// [`crate::hash::ContentHash`] of the content behind the field's line.
    pub hash: u64,
}

/// Writes `value` in hexadecimal over all of `room`, with leading zeros.
pub fn write_hex(room: &mut [u8], mut value: u64) {
    for digit in room.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

fn read_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = (*digit as char).to_digit(16)?;
        Some((value << 4) | u64::from(digit))
    })
}

impl Marker {
    /// Writes the value over `room`, which is [`VALUE_LENGTH`] long.
    pub fn write(&self, room: &mut [u8; VALUE_LENGTH]) {
        room[16] = b'-';
        room[29] = b'-';
        write_hex(&mut room[..16], self.run);
        write_hex(&mut room[17..29], self.number);
        write_hex(&mut room[30..], self.hash);
    }

    /// Reads a value.
    pub fn parse(value: &[u8]) -> Option<Marker> {
        let value: &[u8; VALUE_LENGTH] = value.try_into().ok()?;
        if value[16] != b'-' || value[29] != b'-' {
            return None;
        }
        Some(Marker { run: read_hex(&value[..16])?, number: read_hex(&value[17..29])?, hash: read_hex(&value[30..])? })
    }

    /// Reads a header line, with or without its end; `None` for any other line.
    pub fn parse_line(line: &[u8]) -> Option<Marker> {
        let name = line.get(..FIELD.len() - 1)?;
        if !name.eq_ignore_ascii_case(&FIELD[..FIELD.len() - 1]) {
            return None;
        }
        Marker::parse(line.get(FIELD.len() - 1..)?.trim_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let marker = Marker { run: 0xdead_beef_0123_4567, number: (1 << 48) - 1, hash: 42 };
        let mut room = [b'?'; VALUE_LENGTH];
        marker.write(&mut room);
        assert_eq!(room, *b"deadbeef01234567-ffffffffffff-000000000000002a");
        assert_eq!(Marker::parse(&room), Some(marker));
        let line = [b"x-loadgen-ID:".as_slice(), &room, b"\r\n"].concat();
        assert_eq!(Marker::parse_line(&line), Some(marker));
    }

    #[test]
    fn other_lines_are_not_read() {
        for line in ["", "X-Loadgen-Id", "X-Loadgen-Id: 12", "Subject: X-Loadgen-Id: 1", "X-Loadgen-Idx: 1"] {
            assert_eq!(Marker::parse_line(line.as_bytes()), None, "{line:?}");
        }
    }
}
