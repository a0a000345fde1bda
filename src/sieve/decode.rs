//! The value of a header field as tests see it: unfolded, trimmed, encoded words decoded (RFC 5228 §2.7.2,
//! RFC 2047).

use std::borrow::Cow;

use data_encoding::{BASE64, BASE64_NOPAD};

/// The value of a field for a test. Borrowed where nothing has to change.
pub(super) fn field_value(value: &[u8]) -> Cow<'_, [u8]> {
    let trimmed = trim(value);
    let unfolded = match memchr::memchr2(b'\r', b'\n', trimmed) {
        None => Cow::Borrowed(trimmed),
        Some(_) => Cow::Owned(trimmed.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect()),
    };
    match memchr::memmem::find(&unfolded, b"=?") {
        None => unfolded,
        Some(_) => match encoded_words(&unfolded) {
            Some(decoded) => Cow::Owned(decoded),
            None => unfolded,
        },
    }
}

/// White space at the ends, line ends of folding among it.
pub(super) fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// The text with its encoded words decoded, if there are any. White space between two of them goes.
fn encoded_words(text: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut done = 0;
    let mut is_behind_word = false;
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| memchr::memmem::find(rest, b"=?")) {
        let start = from + found;
        let Some((decoded, length)) = text.get(start..).and_then(encoded_word) else {
            from = start + 2;
            continue;
        };
        let out = out.get_or_insert_with(|| Vec::with_capacity(text.len()));
        let between = text.get(done..start).unwrap_or(&[]);
        if !is_behind_word || !between.iter().all(u8::is_ascii_whitespace) {
            out.extend_from_slice(between);
        }
        out.extend_from_slice(&decoded);
        is_behind_word = true;
        done = start + length;
        from = done;
    }
    if let Some(out) = &mut out {
        out.extend_from_slice(text.get(done..).unwrap_or(&[]));
    }
    out
}

/// `=?charset?encoding?text?=` at the front: what it says in UTF-8, and its length.
fn encoded_word(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let inner = text.get(2..)?;
    let charset_end = memchr::memchr(b'?', inner)?;
    let charset = inner.get(..charset_end)?;
    let charset = charset.split(|b| *b == b'*').next()?; // RFC 2231 §5: a language may follow
    let encoding = inner.get(charset_end + 1)?;
    if inner.get(charset_end + 2) != Some(&b'?') {
        return None;
    }
    let content_start = charset_end + 3;
    let content = inner.get(content_start..)?;
    let end = memchr::memmem::find(content, b"?=")?;
    let content = content.get(..end)?;
    let octets = match encoding.to_ascii_uppercase() {
        b'B' => base64(content)?,
        b'Q' => quoted(content)?,
        _ => return None,
    };
    Some((to_utf8(charset, octets)?, 2 + content_start + end + 2))
}

fn base64(content: &[u8]) -> Option<Vec<u8>> {
    let bare = content.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect::<Vec<_>>();
    let unpadded = bare.strip_suffix(b"==").or_else(|| bare.strip_suffix(b"=")).unwrap_or(&bare);
    BASE64.decode(&bare).or_else(|_| BASE64_NOPAD.decode(unpadded)).ok()
}

fn quoted(content: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content.iter().copied();
    while let Some(b) = rest.next() {
        match b {
            b'_' => out.push(b' '),
            b'=' => {
                let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
                out.push(high << 4 | low);
            }
            b => out.push(b),
        }
    }
    Some(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

/// Octets of a charset as UTF-8; none for a charset that is not known here: the word stays as it is.
pub(super) fn to_utf8(charset: &[u8], octets: Vec<u8>) -> Option<Vec<u8>> {
    match charset.to_ascii_lowercase().as_slice() {
        b"utf-8" | b"utf8" | b"us-ascii" | b"ascii" => Some(octets),
        b"iso-8859-1" | b"latin1" => Some(by_table(&octets, char::from)),
        b"iso-8859-15" | b"latin9" => Some(by_table(&octets, latin9)),
        b"windows-1252" | b"cp1252" => Some(by_table(&octets, windows_1252)),
        _ => None,
    }
}

fn by_table(octets: &[u8], table: fn(u8) -> char) -> Vec<u8> {
    octets.iter().map(|&b| table(b)).collect::<String>().into_bytes()
}

fn latin9(b: u8) -> char {
    match b {
        0xa4 => '€',
        0xa6 => 'Š',
        0xa8 => 'š',
        0xb4 => 'Ž',
        0xb8 => 'ž',
        0xbc => 'Œ',
        0xbd => 'œ',
        0xbe => 'Ÿ',
        b => char::from(b),
    }
}

fn windows_1252(b: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘',
        '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
    ];
    HIGH.get(usize::from(b).wrapping_sub(0x80)).copied().unwrap_or(char::from(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        String::from_utf8_lossy(&field_value(text.as_bytes())).into_owned()
    }

    #[test]
    fn plain_values_are_borrowed() {
        assert!(matches!(field_value(b" Hello there \t"), Cow::Borrowed(b"Hello there")));
        assert_eq!(value(" a\r\n b\r\n\tc"), "a b\tc");
    }

    #[test]
    fn encoded_words_are_decoded() {
        assert_eq!(value("=?utf-8?q?J=C3=B6rg?= =?UTF-8*de?B?IE3DvGxsZXI=?= <x>"), "Jörg Müller <x>");
        assert_eq!(value("=?iso-8859-1?Q?a_=E4?="), "a ä");
        assert_eq!(value("=?windows-1252?Q?=93x=94?="), "“x”");
        assert_eq!(value("a =?utf-8?q?b?= c"), "a b c");
    }

    #[test]
    fn what_is_no_encoded_word_stays() {
        for text in ["=?utf-8?x?abc?=", "=?utf-8?q?abc", "=?unheard-of?q?abc?=", "=?utf-8?q?=ZZ?=", "=?", "a=?b"] {
            assert_eq!(value(text), text);
        }
    }
}
