//! Replies of a peer, read as they arrive (RFC 5321 §4.2, RFC 2034).
//!
//! A peer is not trusted: the number and length of lines are bounded, all lines must carry one code,
//! and control characters become `?`, so that the text can go into a record, a log line or a
//! notification. What follows the reply is counted out for the caller: octets behind the 220 to
//! STARTTLS, or behind a reply when no command is outstanding, are an injection or a peer out of step.

use compact_str::CompactString;
use memchr::memchr;

use crate::base::limits::{REPLY_LINE_BYTES_MAX, REPLY_LINES_MAX};
use crate::mail::{EnhancedStatus, Reply};

/// Octets of text that are kept of one reply; what is beyond it is read and dropped.
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Why what a peer said is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line does not start with a code from 200 to 599 followed by a space, a hyphen or nothing.
    #[error("not an SMTP reply")]
    Malformed,
    /// The lines of one reply carry different codes.
    #[error("the lines of the reply have different codes")]
    CodeChanged,
    /// A line over [`REPLY_LINE_BYTES_MAX`].
    #[error("reply line too long")]
    LineTooLong,
    /// More than [`REPLY_LINES_MAX`] lines.
    #[error("too many lines in the reply")]
    TooManyLines,
}

/// What the parser made of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A whole reply; `consumed` octets of the input belong to it. The rest is what came after it.
    Reply {
        /// The reply.
        reply: Reply,
        /// Octets of the input that are used up.
        consumed: usize,
    },
    /// Not complete: drop `consumed` octets and call again with the rest and more.
    More {
        /// Octets of the input that are used up.
        consumed: usize,
    },
}

/// Reads replies, one after the other. After an error the connection is of no use.
#[derive(Debug, Clone, Default)]
pub struct ReplyParser {
    code: u16,
    status: Option<EnhancedStatus>,
    lines: usize,
    text: CompactString,
}

impl ReplyParser {
    /// A parser in front of a reply.
    pub fn new() -> Self {
        ReplyParser::default()
    }

    /// Some lines of a reply have been read, and not its last.
    pub fn is_within_reply(&self) -> bool {
        self.lines > 0
    }

    /// Takes the input up to the end of the next reply, or all whole lines of it.
    pub fn parse(&mut self, input: &[u8]) -> Result<Step, ReplyError> {
        let mut consumed = 0;
        loop {
            let rest = input.get(consumed..).unwrap_or_default();
            let Some(lf) = memchr(b'\n', rest) else {
                let is_too_long = rest.len() >= REPLY_LINE_BYTES_MAX;
                return if is_too_long { Err(ReplyError::LineTooLong) } else { Ok(Step::More { consumed }) };
            };
            if lf >= REPLY_LINE_BYTES_MAX {
                return Err(ReplyError::LineTooLong);
            }
            consumed += lf + 1;
            let line = rest.get(..lf).unwrap_or_default();
            // A bare LF ends a line too: what follows it is then judged as a line of its own.
            if self.line(line.strip_suffix(b"\r").unwrap_or(line))? {
                let whole = std::mem::take(self);
                let reply = Reply { code: whole.code, status: whole.status, text: whole.text.into() };
                return Ok(Step::Reply { reply, consumed });
            }
        }
    }

    /// Takes one line; whether it was the last.
    fn line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let (&digits, rest) = line.split_first_chunk::<3>().ok_or(ReplyError::Malformed)?;
        let code = code(digits).ok_or(ReplyError::Malformed)?;
        let (is_last, text) = match rest {
            [] => (true, rest),
            [b' ', text @ ..] => (true, text),
            [b'-', text @ ..] => (false, text),
            _ => return Err(ReplyError::Malformed),
        };
        if self.lines == 0 {
            self.code = code;
        } else if self.code != code {
            return Err(ReplyError::CodeChanged);
        }
        if self.lines == REPLY_LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        let text = self.without_status(text);
        self.push_line(text);
        self.lines += 1;
        Ok(is_last)
    }

    /// Takes the enhanced status off a line: the first line says whether there is one.
    fn without_status<'t>(&mut self, text: &'t [u8]) -> &'t [u8] {
        let (word, rest) = match memchr(b' ', text) {
            Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
            None => (text, &[][..]),
        };
        let status = std::str::from_utf8(word).ok().and_then(|word| word.parse::<EnhancedStatus>().ok());
        // RFC 2034 §4: the class agrees with the code. Anything else is text that looks like a status.
        let status = status.filter(|status| u16::from(status.class) == self.code / 100);
        if self.lines == 0 {
            self.status = status;
        }
        if status.is_some() && status == self.status { rest } else { text }
    }

    fn push_line(&mut self, text: &[u8]) {
        if self.lines > 0 {
            self.text.push('\n');
        }
        if self.text.len() + text.len() <= TEXT_BYTES_MAX {
            let text = String::from_utf8_lossy(text);
            self.text.extend(text.chars().map(|c| match c {
                '\t' => ' ',
                c if c.is_control() => '?',
                c => c,
            }));
        }
    }
}

fn code(digits: [u8; 3]) -> Option<u16> {
    let [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9'] = digits else { return None };
    Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(input: &[u8]) -> Result<Step, ReplyError> {
        ReplyParser::new().parse(input)
    }

    fn whole(input: &[u8]) -> (Reply, usize) {
        match one(input) {
            Ok(Step::Reply { reply, consumed }) => (reply, consumed),
            other => panic!("{input:?}: {other:?}"),
        }
    }

    #[test]
    fn one_line_and_many() {
        assert_eq!(whole(b"250 2.1.0 OK\r\n"), (Reply::new(250, (2, 1, 0), "OK"), 14));
        let (reply, _) = whole(b"250-mx greets you\r\n250-SIZE 10\r\n250 DSN\r\n");
        assert_eq!(reply, Reply::plain(250, "mx greets you\nSIZE 10\nDSN"));
        let (reply, _) = whole(b"550-5.7.1 no\r\n550-5.7.1 never\r\n550 5.7.1\r\n");
        assert_eq!(reply, Reply::new(550, (5, 7, 1), "no\nnever\n"));
    }

    #[test]
    fn a_code_or_a_status_alone_is_enough() {
        assert_eq!(whole(b"250\r\n").0, Reply::plain(250, ""));
        assert_eq!(whole(b"550 5.7.2\r\n").0, Reply::new(550, (5, 7, 2), ""));
        assert_eq!(whole(b"250 \n").0, Reply::plain(250, ""));
        // A status of another class is text.
        assert_eq!(whole(b"250 5.7.2 x\r\n").0, Reply::plain(250, "5.7.2 x"));
    }

    #[test]
    fn what_follows_is_left_over() {
        let input = b"220 ready\r\n250-evil\r\n250 AUTH PLAIN\r\n";
        let (reply, consumed) = whole(input);
        assert_eq!((reply, &input[consumed..]), (Reply::plain(220, "ready"), &b"250-evil\r\n250 AUTH PLAIN\r\n"[..]));
    }

    #[test]
    fn a_bare_lf_forges_nothing() {
        // CVE-2020-8794: the second line is a whole reply line, and the third is left over, not text.
        let input = b"553-\n553\r\nType: mda\r\n";
        let (reply, consumed) = whole(input);
        assert_eq!((reply, &input[consumed..]), (Reply::plain(553, "\n"), &b"Type: mda\r\n"[..]));
        assert_eq!(whole(b"550 a\rType: x\0\r\n").0, Reply::plain(550, "a?Type: x?"));
    }

    #[test]
    fn what_is_no_reply_is_named() {
        for bad in [&b"hello\r\n"[..], b"25\r\n", b"2500 OK\r\n", b"199 x\r\n", b"600 x\r\n", b"\r\n", b"250_x\r\n"] {
            assert_eq!(one(bad), Err(ReplyError::Malformed), "{bad:?}");
        }
        assert_eq!(one(b"250-a\r\n251 b\r\n"), Err(ReplyError::CodeChanged));
        assert_eq!(one(&b"250-x\r\n".repeat(REPLY_LINES_MAX + 1)), Err(ReplyError::TooManyLines));
        assert_eq!(one(&[b'2'; REPLY_LINE_BYTES_MAX]), Err(ReplyError::LineTooLong));
        let mut long = b"250 ".to_vec();
        long.resize(REPLY_LINE_BYTES_MAX + 10, b'x');
        long.extend_from_slice(b"\r\n");
        assert_eq!(one(&long), Err(ReplyError::LineTooLong));
    }

    #[test]
    fn long_text_is_bounded() {
        let mut input = Vec::new();
        for _ in 0..REPLY_LINES_MAX - 1 {
            input.extend_from_slice(b"250-");
            input.extend_from_slice(&[b'x'; 1500]);
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(b"250 end\r\n");
        assert!(whole(&input).0.text.len() <= TEXT_BYTES_MAX + REPLY_LINES_MAX);
    }

    proptest! {
        #[test]
        fn how_it_is_cut_changes_nothing(
            input in prop::collection::vec(prop::sample::select(b"250- 5.1x\r\n\n".to_vec()), 0..60), cut in 0usize..60,
        ) {
            let cut = cut.min(input.len());
            let mut parser = ReplyParser::new();
            let in_two = match parser.parse(&input[..cut]) {
                Ok(Step::More { consumed }) => match parser.parse(&input[consumed..]) {
                    Ok(Step::Reply { reply, consumed: more }) => Ok(Step::Reply { reply, consumed: consumed + more }),
                    Ok(Step::More { consumed: more }) => Ok(Step::More { consumed: consumed + more }),
                    Err(e) => Err(e),
                },
                other => other,
            };
            prop_assert_eq!(in_two, one(&input));
        }

        #[test]
        fn what_we_write_is_read_back(code in 200u16..600, subject in 0u16..999, lines in prop::collection::vec("[!-~][ -~]{0,40}", 1..4)) {
            let class = (code / 100) as u8;
            let text = lines.join("\n");
            let reply = if class == 3 { Reply::plain(code, text) } else { Reply::new(code, (class, subject, 1), text) };
            let mut wire = Vec::new();
            reply.write_to(&mut wire);
            let expected = if class == 3 { whole(&wire).0 } else { reply };
            prop_assert_eq!(whole(&wire), (expected, wire.len()));
        }
    }
}
