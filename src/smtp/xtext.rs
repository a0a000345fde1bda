//! xtext (RFC 3461 §4) and the encodings of non-ASCII original recipients (RFC 6533 §3).
//!
//! What is decoded here never holds a control character: an encoded CR LF cannot come back to life
//! in a record, a log line or a notification.

use std::fmt::Write as _;

/// Decodes xtext to printable US-ASCII and spaces. Nothing on bad syntax or on any other octet.
pub fn decode(text: &[u8]) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    walk(text, |b| plain.push(char::from(b)))?;
    Some(plain)
}

/// Whether [`decode`] gives something, without building it.
pub fn is_valid(text: &[u8]) -> bool {
    let is_plain = |b: u8| matches!(b, b'!'..=b'~') & (b != b'+') & (b != b'=');
    text.iter().fold(true, |plain, &b| plain & is_plain(b)) || walk(text, |_| {}).is_some()
}

fn walk(text: &[u8], mut each: impl FnMut(u8)) -> Option<()> {
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        let octet = match *first {
            b'+' => {
                let (&[high, low], tail) = rest.split_first_chunk::<2>()?;
                rest = tail;
                (hex_digit(high)? << 4) | hex_digit(low)?
            }
            b'=' => return None,
            b @ b'!'..=b'~' => b,
            _ => return None,
        };
        if !(0x20..0x7f).contains(&octet) {
            return None;
        }
        each(octet);
    }
    Some(())
}

/// A digit of hexchar. RFC 3461 §4 asks for upper case; lower case is understood too.
fn hex_digit(b: u8) -> Option<u8> {
    char::from(b).to_digit(16).map(|d| d as u8)
}

/// Whether [`decode_utf8_address`] gives something. What needs no decoding is seen without building it.
pub fn is_valid_utf8_address(text: &str) -> bool {
    let is_plain = |b: u8| matches!(b, b'!'..=b'~') && !matches!(b, b'\\' | b'+' | b'=');
    text.bytes().all(is_plain) || decode_utf8_address(text).is_some()
}

/// Appends `text` as xtext. Octets outside US-ASCII are encoded octet by octet.
pub fn encode_into(out: &mut String, text: &str) {
    for b in text.bytes() {
        if matches!(b, b'!'..=b'~') && b != b'+' && b != b'=' {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "+{b:02X}");
        }
    }
}

/// Decodes the address of an ORCPT of type `utf-8`: `\x{HEX}` for a character, or UTF-8 as it is
/// (RFC 6533 §3, all three forms). Nothing on bad syntax or on a control character.
pub fn decode_utf8_address(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let decoded = match rest.strip_prefix("\\x{") {
            Some(tail) => {
                let (hex, tail) = tail.split_once('}')?;
                rest = tail;
                let digits = (2..=6).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
                char::from_u32(u32::from_str_radix(hex, 16).ok().filter(|_| digits)?)?
            }
            None if matches!(c, '\\' | '+' | '=' | ' ') => return None,
            None => {
                rest = rest.get(c.len_utf8()..)?;
                c
            }
        };
        if decoded.is_control() {
            return None;
        }
        plain.push(decoded);
    }
    Some(plain)
}

/// Appends an address as utf-8-addr-xtext: US-ASCII only, for a peer without SMTPUTF8 (RFC 6533 §3).
pub fn encode_utf8_address_into(out: &mut String, text: &str) {
    for c in text.chars() {
        if matches!(c, '!'..='~') && !matches!(c, '\\' | '+' | '=') {
            out.push(c);
        } else {
            let _ = write!(out, "\\x{{{:02X}}}", u32::from(c));
        }
    }
}

/// Appends an address as utf-8-addr-unitext: UTF-8 as it is, for a peer with SMTPUTF8 (RFC 6533 §3).
pub fn encode_unitext_into(out: &mut String, text: &str) {
    for c in text.chars() {
        if (c.is_ascii() && !matches!(c, '!'..='~')) || matches!(c, '\\' | '+' | '=') || c.is_control() {
            let _ = write!(out, "\\x{{{:02X}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decodes_and_refuses() {
        assert_eq!(decode(b"a+2Bb").as_deref(), Some("a+b"));
        assert_eq!(decode(b"a+20b").as_deref(), Some("a b"));
        for bad in [&b"a+zz"[..], b"a+2", b"a+", b"a=b", b"a b", b"+0D+0A", b"x+00", b"+7F", b"\xc3\xb6", b"+C3"] {
            assert_eq!(decode(bad), None, "{bad:?}");
            assert!(!is_valid(bad));
        }
        assert_eq!(decode_utf8_address("\\x{F6}@b").as_deref(), Some("\u{f6}@b"));
        for bad in ["\\x{A}", "\\x{D800}", "\\x{", "\\", "a+b", "a=b", "\\x{110000}", "a b", "\\x{0000000041}"] {
            assert_eq!(decode_utf8_address(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn xtext_round_trips(text in "[ -~]{0,60}") {
            let mut encoded = String::new();
            encode_into(&mut encoded, &text);
            prop_assert_eq!(decode(encoded.as_bytes()), Some(text));
        }

        #[test]
        fn utf8_addresses_round_trip(text in "\\PC{0,40}") {
            let (mut ascii, mut unicode) = (String::new(), String::new());
            encode_utf8_address_into(&mut ascii, &text);
            encode_unitext_into(&mut unicode, &text);
            prop_assert!(ascii.is_ascii());
            prop_assert_eq!(decode_utf8_address(&ascii), Some(text.clone()));
            prop_assert_eq!(decode_utf8_address(&unicode), Some(text));
        }
    }
}
