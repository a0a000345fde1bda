//! Quoted-printable (RFC 2045 §6.7), encoding only: what goes into a notification is US-ASCII in lines
//! of at most 76 octets, whatever the reported message was made of.

const LINE_BYTES_MAX: usize = 76;

/// Appends `text` encoded. CRLF and LF end lines; every other CR is encoded. Ends with a line end.
pub fn encode_into(out: &mut Vec<u8>, text: &[u8]) {
    for line in text.split_inclusive(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        encode_line(out, line.strip_suffix(b"\r").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
}

fn encode_line(out: &mut Vec<u8>, line: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut column = 0;
    for (i, &b) in line.iter().enumerate() {
        let is_last = i + 1 == line.len();
        let is_plain = matches!(b, b'!'..=b'<' | b'>'..=b'~') || (matches!(b, b' ' | b'\t') && !is_last);
        // A dot and "From " are encoded at the start of a line, for transports that touch them.
        let is_touched = i == 0 && (b == b'.' || line.starts_with(b"From "));
        let is_plain = is_plain && !is_touched;
        let width = if is_plain { 1 } else { 3 };
        if column + width > LINE_BYTES_MAX - usize::from(!is_last) {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if is_plain {
            out.push(b);
        } else {
            out.extend_from_slice(&[b'=', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
        column += width;
    }
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
    }

    proptest! {
        #[test]
        fn decodes_to_the_same_in_short_plain_lines(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("no line ends", |b| !b"\r\n".contains(b)), 0..200), 1..4),
        ) {
            let text: Vec<u8> = lines.iter().flat_map(|l| [&l[..], b"\r\n"].concat()).collect();
            let encoded = encode(&text);
            prop_assert!(encoded.split("\r\n").all(|line| line.len() <= LINE_BYTES_MAX));
            prop_assert!(encoded.bytes().all(|b| matches!(b, b'\r' | b'\n' | b'\t' | b' '..=b'~')));
            prop_assert_eq!(decode(&encoded), text);
        }
    }
}
