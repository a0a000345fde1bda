//! Quoted-printable (RFC 2045 §6.7), encoding only: US-ASCII in lines of at most 76 octets, whatever it was made of.
//!
//! Octets that transports touch are encoded too: a dot and "From " at the start of a line, and a hyphen there, so
//! that no line can be taken for the delimiter of a multipart.

const LINE_BYTES_MAX: usize = 76;

/// Appends `text` encoded. CRLF and LF end lines; every other CR is encoded. Ends with a line end.
pub fn encode_into(out: &mut Vec<u8>, text: &[u8]) {
    let mut encoder = Encoder::default();
    for line in text.split_inclusive(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        encoder.octets(line.strip_suffix(b"\r").unwrap_or(line), out);
        encoder.line_end(out);
    }
}

/// Encodes what comes piece by piece: the same octets in other pieces decode to the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct Encoder {
    /// Octets of the line that is being written.
    column: usize,
    /// White space that must be encoded if a line end follows.
    space: Option<u8>,
}

impl Encoder {
    /// Appends octets; a CR or LF among them is data, not the end of a line.
    pub fn octets(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        let mut rest = octets;
        while let [b, tail @ ..] = rest {
            if let Some(space) = self.space.take() {
                self.put(space, true, out);
            }
            match b {
                b' ' | b'\t' => self.space = Some(*b),
                _ => self.put(*b, is_plain(*b) && !(self.starts_line(1) && is_touched(rest)), out),
            }
            rest = tail;
        }
    }

    /// Appends the end of a line.
    pub fn line_end(&mut self, out: &mut Vec<u8>) {
        self.finish(out);
        out.extend_from_slice(b"\r\n");
        self.column = 0;
    }

    /// The text ends here, amid a line or after it: what was kept back is written.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(space) = self.space.take() {
            self.put(space, false, out);
        }
    }

    /// Ends the last line without adding a line end to the text; nothing when it has ended.
    pub fn close_line(&mut self, out: &mut Vec<u8>) {
        self.finish(out);
        if self.column > 0 {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
    }

    /// An octet of that width will be the first of its line.
    fn starts_line(&self, width: usize) -> bool {
        self.column == 0 || self.column + width > LINE_BYTES_MAX - 1
    }

    fn put(&mut self, octet: u8, is_plain: bool, out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        let width = if is_plain { 1 } else { 3 };
        if self.column + width > LINE_BYTES_MAX - 1 {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
        }
        match is_plain {
            true => out.push(octet),
            false => out.extend_from_slice(&[b'=', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]),
        }
        self.column += width;
    }
}

fn is_plain(octet: u8) -> bool {
    matches!(octet, b'!'..=b'<' | b'>'..=b'~')
}

/// Transports or readers may touch a line that starts like this.
fn is_touched(line: &[u8]) -> bool {
    line.starts_with(b".") || line.starts_with(b"-") || line.starts_with(b"From ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(text: &[u8]) -> String {
        let mut out = Vec::new();
        encode_into(&mut out, text);
        String::from_utf8(out).expect("US-ASCII")
    }

    fn decode(text: &str) -> Vec<u8> {
        let (mut out, bytes) = (Vec::new(), text.replace("=\r\n", "").into_bytes());
        let mut rest = &bytes[..];
        while let [b, tail @ ..] = rest {
            rest = tail;
            if *b == b'=' {
                let hex = std::str::from_utf8(&rest[..2]).expect("hex");
                out.push(u8::from_str_radix(hex, 16).expect("hex"));
                rest = &rest[2..];
            } else {
                out.push(*b);
            }
        }
        out
    }

    #[test]
    fn encodes_what_must_be() {
        assert_eq!(encode("j\u{f6}rg = \r\n.x\r\nFrom a".as_bytes()), "j=C3=B6rg =3D=20\r\n=2Ex\r\n=46rom a\r\n");
        assert_eq!(encode(b"--a-- \n\t"), "=2D-a--=20\r\n=09\r\n");
    }

    #[test]
    fn an_open_line_is_closed_without_adding_to_the_text() {
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        encoder.octets(b"a ", &mut out);
        encoder.close_line(&mut out);
        encoder.close_line(&mut out);
        assert_eq!(out, b"a=20=\r\n");
    }

    proptest! {
        #[test]
        fn decodes_to_the_same_in_short_plain_lines(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("no line ends", |b| !b"\r\n".contains(b)), 0..200), 1..4),
        ) {
            let text: Vec<u8> = lines.iter().flat_map(|l| [&l[..], b"\r\n"].concat()).collect();
            let encoded = encode(&text);
            prop_assert!(encoded.split("\r\n").all(|line| line.len() <= LINE_BYTES_MAX));
            prop_assert!(encoded.split("\r\n").all(|line| !line.starts_with(['.', '-']) && !line.ends_with([' ', '\t'])));
            prop_assert!(encoded.bytes().all(|b| matches!(b, b'\r' | b'\n' | b'\t' | b' '..=b'~')));
            prop_assert_eq!(decode(&encoded), text);
        }

        #[test]
        fn octets_in_any_pieces_decode_to_the_same(octets in prop::collection::vec(any::<u8>(), 0..300), cut in 1usize..80) {
            let (mut encoder, mut out) = (Encoder::default(), Vec::new());
            octets.chunks(cut).for_each(|piece| encoder.octets(piece, &mut out));
            encoder.close_line(&mut out);
            prop_assert_eq!(decode(std::str::from_utf8(&out).expect("US-ASCII")), octets);
        }
    }
}
