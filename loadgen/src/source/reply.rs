//! Replies of a server: how long one is, what its code is. Pure; independent of the server's own parser.

/// Longest reply, all lines together.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;

/// A reply at the start of the bytes that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Its code, 200 to 599.
    pub code: u16,
    /// Bytes of all its lines.
    pub length: usize,
}

/// What stands there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAReply;

/// Looks for a whole reply (RFC 5321 §4.2); `None` where more bytes are needed.
pub fn parse(bytes: &[u8]) -> Result<Option<Reply>, NotAReply> {
    let (mut at, mut first) = (0, None);
    loop {
        let Some(end) = memchr::memchr(b'\n', &bytes[at..]) else {
            return if bytes.len() > REPLY_BYTES_MAX { Err(NotAReply) } else { Ok(None) };
        };
        let line = &bytes[at..at + end];
        at += end + 1;
        let (code, is_last) = parse_line(line).ok_or(NotAReply)?;
        if *first.get_or_insert(code) != code {
            return Err(NotAReply);
        }
        if is_last {
            return Ok(Some(Reply { code, length: at }));
        }
    }
}

fn parse_line(line: &[u8]) -> Option<(u16, bool)> {
    let [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = line else { return None };
    let code = [a, b, c].iter().fold(0, |code, digit| code * 10 + u16::from(**digit - b'0'));
    match rest {
        [b'-', ..] => Some((code, false)),
        [b' ', ..] | [b'\r'] | [] => Some((code, true)),
        _ => None,
    }
}

/// The lines of a reply without their codes.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| {
        let text = line.get(4..)?;
        std::str::from_utf8(text).ok().map(str::trim_end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_found_whole_or_not_at_all() {
        let wire = b"250-a\r\n250-b c\r\n250 d\r\n354 go\r\n";
        for cut in 0..23 {
            assert_eq!(parse(&wire[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(parse(wire), Ok(Some(Reply { code: 250, length: 23 })));
        assert_eq!(parse(b"250\r\n"), Ok(Some(Reply { code: 250, length: 5 })));
        assert_eq!(lines(&wire[..23]).collect::<Vec<_>>(), ["a", "b c", "d"]);
    }

    #[test]
    fn other_bytes_are_not_replies() {
        for wrong in ["HTTP/1.1 200\r\n", "25\r\n", "250-a\r\n251 b\r\n", "250x\r\n", "150 a\r\n"] {
            assert_eq!(parse(wrong.as_bytes()), Err(NotAReply), "{wrong:?}");
        }
        assert_eq!(parse(&vec![b'2'; REPLY_BYTES_MAX + 1]), Err(NotAReply));
    }
}
