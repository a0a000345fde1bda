//! What a part says: transfer encoding and charset undone, HTML turned into text.

use bytes::Bytes;
use data_encoding::{BASE64_NOPAD, Encoding, Specification};
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use super::field::Structured;

/// Content with its transfer encoding undone. Nothing for an encoding that is not known (RFC 2045 §6.4).
pub(in crate::sieve) fn decoded(encoding: &str, raw: Bytes) -> Option<Bytes> {
    match encoding {
        "" | "7bit" | "8bit" | "binary" => Some(raw),
        "quoted-printable" => quoted_printable_decode(&raw).map(Bytes::from),
        "base64" => Some(Bytes::from(base64(&raw))),
        _ => None,
    }
}

/// Base64 as RFC 2045 §6.8 wants it read: other characters are skipped, the padding ends it.
fn base64(raw: &[u8]) -> Vec<u8> {
    let is_base64 = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    let mut bare: Vec<u8> = raw.iter().copied().take_while(|b| *b != b'=').filter(is_base64).collect();
    if bare.len() % 4 == 1 {
        bare.pop();
    }
    BASE64_NOPAD.decode(&bare).or_else(|_| lenient().decode(&bare)).unwrap_or_default()
}

/// Base64 whose last character has bits too many, as some senders write it.
fn lenient() -> Encoding {
    let mut specification: Specification = BASE64_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.encoding().unwrap_or(BASE64_NOPAD)
}

/// Decoded text as UTF-8; as it is where the charset is not known.
pub(in crate::sieve) fn in_utf8(media: &Structured, octets: Bytes) -> Bytes {
    let charset = media.parameter("charset").unwrap_or(b"us-ascii").to_ascii_lowercase();
    if matches!(&charset[..], b"utf-8" | b"utf8" | b"us-ascii" | b"ascii") {
        return octets;
    }
    match charset_decoder(&charset) {
        Some(decode) => Bytes::from(decode(&octets).into_bytes()),
        None => octets,
    }
}

/// HTML as text.
pub(in crate::sieve) fn without_markup(html: &[u8]) -> String {
    html_to_text(&String::from_utf8_lossy(html))
}

/// The part holds text.
pub(in crate::sieve) fn is_text(media: &Structured) -> bool {
    media.main.eq_ignore_ascii_case("text")
}

/// The part holds text with markup.
pub(in crate::sieve) fn is_html(media: &Structured) -> bool {
    let sub = media.sub.as_deref().unwrap_or("");
    is_text(media) && sub.eq_ignore_ascii_case("html")
        || media.main.eq_ignore_ascii_case("application") && sub.eq_ignore_ascii_case("xhtml+xml")
}

/// Whether a type is what `body :content` names (RFC 5173 §5.2).
pub(in crate::sieve) fn is_named(media: Option<&Structured>, name: &[u8]) -> bool {
    if name.is_empty() {
        return true;
    }
    let Some(media) = media else { return false };
    let mut words = name.split(|b| *b == b'/');
    let (main, sub) = (words.next().unwrap_or(b""), words.next());
    let is = |found: &str, wanted: &[u8]| !wanted.is_empty() && found.as_bytes().eq_ignore_ascii_case(wanted);
    words.next().is_none() && is(&media.main, main) && sub.is_none_or(|sub| is(media.sub.as_deref().unwrap_or(""), sub))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(encoding: &str, raw: &'static str) -> Option<String> {
        let octets = decoded(encoding, Bytes::from_static(raw.as_bytes()))?;
        Some(String::from_utf8_lossy(&octets).into_owned())
    }

    #[test]
    fn transfer_encodings_are_undone() {
        assert_eq!(plain("", "a=20b").as_deref(), Some("a=20b"));
        assert_eq!(plain("quoted-printable", "a=20b=\r\nc=C3=A4").as_deref(), Some("a bcä"));
        assert_eq!(plain("base64", "SGVs\r\nbG8=\r\n").as_deref(), Some("Hello"));
        assert_eq!(plain("base64", "SGV-sbG9").as_deref(), Some("Hello"));
        assert_eq!(plain("base64", "SGVsbG9=junk").as_deref(), Some("Hello"));
        assert_eq!(plain("multipart/related", "x"), None);
    }

    #[test]
    fn charsets_become_utf8() {
        let media = Structured::parse(b"text/plain; charset=iso-8859-15").expect("sound");
        assert_eq!(&in_utf8(&media, Bytes::from_static(b"\xa4"))[..], "€".as_bytes());
        let media = Structured::parse(b"text/plain; charset=unheard-of").expect("sound");
        assert_eq!(&in_utf8(&media, Bytes::from_static(b"\xa4"))[..], b"\xa4");
    }

    #[test]
    fn types_are_named_whole_or_by_their_first_word() {
        let media = Structured::parse(b"Text/Plain").expect("sound");
        for (name, is) in [
            ("", true),
            ("text", true),
            ("TEXT/plain", true),
            ("text/", false),
            ("/plain", false),
            ("text/plain/x", false),
            ("text/html", false),
            ("tex", false),
        ] {
            assert_eq!(is_named(Some(&media), name.as_bytes()), is, "{name}");
        }
        assert!(is_named(None, b"") && !is_named(None, b"text"));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[<>&;/a-c =\"!\\-é\r\n#0-9x]{0,80}", raw in prop::collection::vec(any::<u8>(), 0..80)) {
            without_markup(text.as_bytes());
            without_markup(&raw);
            for encoding in ["base64", "quoted-printable"] {
                decoded(encoding, Bytes::from(raw.clone()));
            }
            for charset in ["iso-2022-jp", "utf-7", "gb18030", "shift_jis", "utf-16", "koi8-r"] {
                let media = Structured::parse(format!("text/plain; charset={charset}").as_bytes()).expect("sound");
                in_utf8(&media, Bytes::from(raw.clone()));
            }
        }
    }
}
