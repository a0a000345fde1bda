//! What a header section says about the body below it. Read strictly: where readers could differ, it is refused.

use bytes::Bytes;

use super::Refusal;
use crate::mail::HeaderSection;

/// How the octets of a body were encoded, as its header section says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// 7bit, or nothing said.
    SevenBit,
    /// 8bit or binary.
    Unencoded,
    Base64,
    /// Quoted-printable, or something that nobody knows.
    Other,
}

impl Encoding {
    /// The octets are the content.
    pub(super) fn is_identity(self) -> bool {
        matches!(self, Encoding::SevenBit | Encoding::Unencoded)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A multipart with that delimiter.
    Multipart { boundary: Vec<u8>, is_digest: bool, is_signed: bool },
    /// An enclosed message.
    Message,
    /// Content that can be encoded: as lines of text, or as octets.
    Leaf { is_text: bool },
    /// Content that its type forbids to encode (RFC 2046 §5.2.2, §5.2.3).
    Fixed,
}

/// What is below a header section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entity {
    pub(super) kind: Kind,
    pub(super) encoding: Encoding,
    pub(super) has_content_type: bool,
    pub(super) has_mime_version: bool,
    /// A DKIM signature or an ARC set stands in it.
    pub(super) is_signed: bool,
    pub(super) header: HeaderSection,
}

/// Reads a header section. `is_digest`: without a type it is a message (RFC 2046 §5.1.5).
pub(super) fn read(raw: &[u8], is_digest: bool) -> Result<Entity, Refusal> {
    let header = HeaderSection::parse(Bytes::copy_from_slice(raw));
    let (mut content_type, mut transfer, mut has_mime_version, mut is_signed) = (None, None, false, false);
    for field in header.fields() {
        let is_name = !field.name.is_empty() && field.name.iter().all(|b| (33..=126).contains(b));
        if !is_name || field.raw.get(field.name.len()) != Some(&b':') {
            return Err(Refusal::Malformed("a header section has a line that is no field"));
        }
        if field.is("Content-Type") && content_type.replace(field.value).is_some() {
            return Err(Refusal::Malformed("a part has two types"));
        }
        if field.is("Content-Transfer-Encoding") && transfer.replace(field.value).is_some() {
            return Err(Refusal::Malformed("a part has two encodings"));
        }
        has_mime_version |= field.is("MIME-Version");
        is_signed |= ["DKIM-Signature", "ARC-Message-Signature", "ARC-Seal"].iter().any(|name| field.is(name));
    }
    let encoding = transfer.map_or(Encoding::SevenBit, encoding);
    let kind = match content_type {
        None if is_digest => Kind::Message,
        None => Kind::Leaf { is_text: true },
        Some(value) => kind(value)?,
    };
    let kind = match kind {
        Kind::Multipart { .. } if !encoding.is_identity() => {
            return Err(Refusal::Malformed("a multipart is encoded as a whole"));
        }
        Kind::Message if !encoding.is_identity() => Kind::Fixed, // encoded against RFC 2046 §5.2.1: content to nobody but its reader
        kind => kind,
    };
    let has_content_type = content_type.is_some();
    Ok(Entity { kind, encoding, has_content_type, has_mime_version, is_signed, header })
}

fn encoding(value: &[u8]) -> Encoding {
    let value = value.trim_ascii();
    let is = |name: &str| value.eq_ignore_ascii_case(name.as_bytes());
    match value {
        _ if is("7bit") => Encoding::SevenBit,
        _ if is("8bit") || is("binary") => Encoding::Unencoded,
        _ if is("base64") => Encoding::Base64,
        _ => Encoding::Other,
    }
}

fn kind(value: &[u8]) -> Result<Kind, Refusal> {
    let mut reader = Reader { rest: value };
    let Some((main, sub)) = reader.full_type() else {
        // To readers it is text (RFC 2045 §5.2), save to those that make more of its first word.
        let value = value.to_ascii_lowercase();
        let is_doubtful =
            ["multipart", "message"].iter().any(|word| memchr::memmem::find(&value, word.as_bytes()).is_some());
        return if is_doubtful {
            Err(Refusal::Malformed("a type is unclear"))
        } else {
            Ok(Kind::Leaf { is_text: true })
        };
    };
    let parameters = reader.parameters();
    match (main.as_slice(), sub.as_slice()) {
        (b"multipart", sub) => {
            let is_clear = parameters.is_clear;
            let boundary = parameters.boundary.filter(|boundary| is_clear && is_boundary(boundary));
            let boundary = boundary.ok_or(Refusal::Malformed("a multipart has no clear boundary"))?;
            Ok(Kind::Multipart { boundary, is_digest: sub == b"digest", is_signed: sub == b"signed" })
        }
        (b"message", b"rfc822") => Ok(Kind::Message),
        (b"message", b"partial" | b"external-body") => Ok(Kind::Fixed),
        (b"message", _) => Ok(Kind::Leaf { is_text: true }),
        (b"text", _) => Ok(Kind::Leaf { is_text: !parameters.is_wide }),
        _ => Ok(Kind::Leaf { is_text: false }),
    }
}

/// RFC 2046 §5.1.1, with more octets than its 70 and whatever can be printed.
fn is_boundary(boundary: &[u8]) -> bool {
    (1..=200).contains(&boundary.len())
        && boundary.iter().all(|b| (32..=126).contains(b))
        && !boundary.ends_with(b" ")
        && !boundary.ends_with(b"--")
}

/// What matters of the parameters.
#[derive(Debug, Default)]
struct Parameters {
    boundary: Option<Vec<u8>>,
    /// The charset writes line ends in more octets than two.
    is_wide: bool,
    /// All of them could be read, and none is said twice or in pieces.
    is_clear: bool,
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn full_type(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let main = self.token()?;
        self.take(b'/')?;
        let sub = self.token()?;
        self.skip_space();
        matches!(self.rest.first(), None | Some(b';')).then_some((main, sub))
    }

    fn parameters(&mut self) -> Parameters {
        let mut found = Parameters::default();
        found.is_clear = self.each_parameter(|name, value| {
            match name {
                b"boundary" => return found.boundary.replace(value).is_none(),
                b"charset" => {
                    let value = value.to_ascii_lowercase();
                    found.is_wide |=
                        [&b"utf-16"[..], b"utf-32", b"ucs-", b"iso-10646"].iter().any(|w| value.starts_with(w));
                }
                _ => return !name.starts_with(b"boundary*"), // RFC 2231 §3
            }
            true
        });
        found
    }

    /// Gives each parameter, its name in lower case; false when one cannot be read or was not liked.
    fn each_parameter(&mut self, mut give: impl FnMut(&[u8], Vec<u8>) -> bool) -> bool {
        loop {
            self.skip_space();
            match self.rest.first() {
                None => return true,
                Some(b';') => self.advance(1),
                Some(_) => return false,
            }
            self.skip_space();
            if matches!(self.rest.first(), None | Some(b';')) {
                continue; // `; ;` and a last `;` say nothing
            }
            let parameter = self.token().and_then(|name| Some((name, self.take(b'=').and_then(|()| self.value())?)));
            let Some((name, value)) = parameter else { return false };
            if !give(&name, value) {
                return false;
            }
        }
    }

    fn advance(&mut self, count: usize) {
        self.rest = self.rest.get(count..).unwrap_or_default();
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        self.skip_space();
        (self.rest.first() == Some(&wanted)).then(|| self.advance(1))
    }

    /// White space and comments; a comment that does not end stays.
    fn skip_space(&mut self) {
        loop {
            let blank = self.rest.iter().take_while(|b| b.is_ascii_whitespace()).count();
            self.advance(blank);
            match comment(self.rest) {
                Some(length) => self.advance(length),
                None => return,
            }
        }
    }

    /// In lower case.
    fn token(&mut self) -> Option<Vec<u8>> {
        self.skip_space();
        let length = self.rest.iter().take_while(|b| is_token(**b)).count();
        let token = self.rest.get(..length).filter(|token| !token.is_empty())?.to_ascii_lowercase();
        self.advance(length);
        Some(token)
    }

    /// A quoted string, or what stands there to the next `;` or white space: values are written carelessly.
    fn value(&mut self) -> Option<Vec<u8>> {
        self.skip_space();
        if self.rest.first() != Some(&b'"') {
            let ends = |b: &u8| *b == b';' || *b == b'"' || b.is_ascii_whitespace();
            let length = self.rest.iter().take_while(|b| !ends(b)).count();
            let value = self.rest.get(..length).filter(|value| !value.is_empty() && !value.contains(&b'('))?.to_vec();
            self.advance(length);
            return Some(value);
        }
        let mut value = Vec::new();
        let mut at = 1;
        loop {
            match self.rest.get(at)? {
                b'"' => break,
                b'\\' => {
                    value.push(*self.rest.get(at + 1)?);
                    at += 1;
                }
                b'\r' | b'\n' => return None, // folded: readers differ in what is left of it
                octet => value.push(*octet),
            }
            at += 1;
        }
        self.advance(at + 1);
        Some(value)
    }
}

/// The octets of a comment that stands here, nested ones in it.
fn comment(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    loop {
        match text.get(at)? {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'\\' if depth > 0 => at += 1,
            _ => {}
        }
        if depth == 0 {
            return (at > 0).then_some(at + 1);
        }
        at += 1;
    }
}

/// RFC 2045 §5.1.
fn is_token(octet: u8) -> bool {
    octet.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(value: &str) -> Result<Kind, Refusal> {
        read(format!("Content-Type: {value}\r\n").as_bytes(), false).map(|entity| entity.kind)
    }

    #[test]
    fn types_are_read() {
        let multipart = |boundary: &str, is_digest, is_signed| {
            Ok(Kind::Multipart { boundary: boundary.into(), is_digest, is_signed })
        };
        assert_eq!(kind_of("multipart/mixed; boundary=a=b:c"), multipart("a=b:c", false, false));
        assert_eq!(kind_of("Multipart/Digest;\r\n\tBoundary=\"a \\\" b\" (c (d));"), multipart("a \" b", true, false));
        assert_eq!(kind_of("multipart/signed; micalg=x; boundary=\"s\""), multipart("s", false, true));
        assert_eq!(kind_of("message/rfc822"), Ok(Kind::Message));
        assert_eq!(kind_of("message/partial; id=1"), Ok(Kind::Fixed));
        assert_eq!(kind_of("message/delivery-status"), Ok(Kind::Leaf { is_text: true }));
        assert_eq!(kind_of("text/plain; charset=utf-16le"), Ok(Kind::Leaf { is_text: false }));
        assert_eq!(kind_of("application/pdf; name=a b.pdf"), Ok(Kind::Leaf { is_text: false }));
        assert_eq!(kind_of("text"), Ok(Kind::Leaf { is_text: true }));
    }

    #[test]
    fn what_readers_may_take_differently_is_refused() {
        for value in [
            "multipart/mixed",
            "multipart",
            "multipart/mixed; boundary=\"\"",
            "multipart/mixed; boundary=a; boundary=b",
            "multipart/mixed; boundary*0=a; boundary*1=b",
            "multipart/mixed; boundary=\"a",
            "multipart/mixed; boundary=a b",
            "multipart/mixed; boundary=\"a\r\n b\"",
            "multipart/mixed; boundary=\"a--\"",
            "multipart/mixed (; boundary=a",
        ] {
            assert!(matches!(kind_of(value), Err(Refusal::Malformed(_))), "{value}: {:?}", kind_of(value));
        }
        for header in [
            "Content-Type: a/b\r\nContent-Type: a/b\r\n",
            "Content-Transfer-Encoding: 7bit\r\ncontent-transfer-encoding: 8bit\r\n",
            "Content-Type : a/b\r\n",
            "no field\r\n",
            " Content-Type: a/b\r\n",
            "Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: base64\r\n",
        ] {
            assert!(matches!(read(header.as_bytes(), false), Err(Refusal::Malformed(_))), "{header}");
        }
    }

    #[test]
    fn a_part_of_a_digest_is_a_message() {
        assert_eq!(read(b"", true).expect("sound").kind, Kind::Message);
        assert_eq!(read(b"Content-Type: text/plain\r\n", true).expect("sound").kind, Kind::Leaf { is_text: true });
        assert_eq!(read(b"", false).expect("sound").kind, Kind::Leaf { is_text: true });
    }

    #[test]
    fn signatures_are_seen() {
        for name in ["DKIM-Signature", "arc-seal", "ARC-Message-Signature"] {
            assert!(read(format!("{name}: x\r\n").as_bytes(), false).expect("sound").is_signed);
        }
        assert!(!read(b"X-DKIM-Signature: x\r\n", false).expect("sound").is_signed);
    }
}
