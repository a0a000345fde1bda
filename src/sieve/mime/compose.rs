//! Builds content: text as a MIME entity, a message around a message (RFC 5703 §5, §6).

use bytes::Bytes;

use crate::mail::HeaderSection;

/// Lines of at most this many octets go out as they are.
const LINE_MAX: usize = 78;

/// Text with its transfer encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sieve) struct Encoded {
    /// The value of Content-Transfer-Encoding.
    pub encoding: &'static str,
    /// Lines end with CRLF.
    pub octets: Vec<u8>,
}

/// Text for any path: US-ASCII in short lines stays, everything else becomes quoted-printable. No line of it
/// starts with `--`, so that it can end no part around it.
pub(in crate::sieve) fn encoded(text: &[u8]) -> Encoded {
    let lines = with_crlf(text);
    let is_plain = lines.is_ascii()
        && !lines.contains(&0)
        && lines.split(|b| *b == b'\n').all(|line| line.len() <= LINE_MAX + 1 && !line.starts_with(b"--"));
    if is_plain {
        return Encoded { encoding: "7bit", octets: lines };
    }
    let mut octets = Vec::with_capacity(lines.len() + lines.len() / 4);
    for line in lines.split_inclusive(|b| *b == b'\n') {
        let (line, ending) = match line.strip_suffix(b"\r\n") {
            Some(line) => (line, &b"\r\n"[..]),
            None => (line, &b""[..]),
        };
        quoted_line(&mut octets, line);
        octets.extend_from_slice(ending);
    }
    Encoded { encoding: "quoted-printable", octets }
}

/// One line in quoted-printable, broken softly (RFC 2045 §6.7).
fn quoted_line(out: &mut Vec<u8>, line: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut column = 0;
    for (i, &b) in line.iter().enumerate() {
        let is_last = i + 1 == line.len();
        let is_plain = match b {
            b' ' | b'\t' => !is_last,
            b'-' | b'.' => column > 0,
            b'=' => false,
            b => (b'!'..=b'~').contains(&b),
        };
        let width = if is_plain { 1 } else { 3 };
        if column + width > 75 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        // Behind a soft break a line begins anew: a dash there is written out, too.
        if is_plain && !(column == 0 && matches!(b, b'-' | b'.')) {
            out.push(b);
            column += 1;
        } else {
            let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
            out.extend_from_slice(&[b'=', digit(b >> 4), digit(b & 15)]);
            column += 3;
        }
    }
}

/// Every line end is CRLF.
pub(in crate::sieve) fn with_crlf(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut rest = text.iter().copied().peekable();
    while let Some(b) = rest.next() {
        match b {
            b'\r' => {
                rest.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            b => out.push(b),
        }
    }
    out
}

/// A text/plain entity: header and body.
pub(in crate::sieve) fn text_entity(text: &[u8]) -> Vec<u8> {
    let Encoded { encoding, octets } = encoded(text);
    let mut out = format!("Content-Type: {PLAIN}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n").into_bytes();
    out.extend_from_slice(&octets);
    out
}

/// The type of the text that is made here.
pub(in crate::sieve) const PLAIN: &str = "text/plain; charset=utf-8";

/// A boundary that stands in none of these.
pub(in crate::sieve) fn boundary(pieces: &[&[u8]]) -> String {
    let sum = pieces.iter().fold(0, |sum, piece| crc32c::crc32c_append(sum, piece));
    let mut n = 0u32;
    loop {
        let boundary = format!("=_sieve_{sum:08x}_{n}");
        if pieces.iter().all(|piece| memchr::memmem::find(piece, boundary.as_bytes()).is_none()) {
            return boundary;
        }
        n += 1;
    }
}

/// A message as the attachment of a text: the type of the whole, and its body.
pub(in crate::sieve) fn enclosed(text: &[u8], header: &HeaderSection, body: &[Bytes]) -> (String, Vec<Bytes>) {
    let text = text_entity(text);
    let mut pieces: Vec<&[u8]> = vec![&text, header.raw()];
    pieces.extend(body.iter().map(|piece| &piece[..]));
    let boundary = boundary(&pieces);
    let mut first = format!("--{boundary}\r\n").into_bytes();
    first.extend_from_slice(&text);
    first.extend_from_slice(format!("\r\n--{boundary}\r\nContent-Type: message/rfc822\r\n\r\n").as_bytes());
    let mut out = vec![Bytes::from(first), header.raw().clone(), Bytes::from_static(b"\r\n")];
    out.extend(body.iter().cloned());
    out.push(Bytes::from(format!("\r\n--{boundary}--\r\n")));
    out.retain(|piece| !piece.is_empty());
    (format!("multipart/mixed; boundary=\"{boundary}\""), out)
}

#[cfg(test)]
mod tests {
    use super::super::content::decoded;
    use super::super::tree::{Kind, Tree};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_ascii_stays_as_it_is() {
        let text = encoded(b"Hello\nworld");
        assert_eq!((text.encoding, &text.octets[..]), ("7bit", &b"Hello\r\nworld"[..]));
        assert_eq!(encoded("ä".as_bytes()).octets, b"=C3=A4");
        assert_eq!(encoded(b"--x\n").octets, b"=2D-x\r\n");
        assert_eq!(encoded("ä \n".as_bytes()).octets, b"=C3=A4=20\r\n");
    }

    #[test]
    fn a_message_is_enclosed_whole() {
        let header = HeaderSection::parse(Bytes::from_static(b"Subject: x\r\n"));
        let body = [Bytes::from_static(b"one "), Bytes::from_static(b"two\r\n")];
        let (media, pieces) = enclosed(b"look", &header, &body);
        let outer = HeaderSection::parse(Bytes::from(format!("Content-Type: {media}\r\n")));
        let tree = Tree::parse(&outer, Bytes::from(pieces.concat()), true);
        assert_eq!(tree.len(), 4);
        assert_eq!(&tree.content(tree.part(1).expect("text"))[..], b"look");
        assert_eq!(tree.part(2).map(|part| part.kind.clone()), Some(Kind::Message));
        assert_eq!(&tree.content(tree.part(2).expect("message"))[..], b"Subject: x\r\n\r\none two\r\n");
    }

    #[test]
    fn a_boundary_stands_in_nothing() {
        let first = boundary(&[b"x"]);
        let again = format!("x{first}");
        assert_ne!(boundary(&[again.as_bytes()]), first);
    }

    proptest! {
        #[test]
        fn encoded_text_comes_back(text in prop::collection::vec(
            prop_oneof![Just(b'-'), Just(b'\n'), Just(b' '), Just(b'='), Just(b'.'), any::<u8>()], 0..300))
        {
            let out = encoded(&text);
            let back = decoded(out.encoding, Bytes::from(out.octets.clone())).expect("an encoding we know");
            prop_assert_eq!(&back[..], &with_crlf(&text)[..]);
            for line in out.octets.split(|b| *b == b'\n') {
                prop_assert!(line.len() <= LINE_MAX + 1 && !line.starts_with(b"--") && line.is_ascii());
            }
        }
    }
}
