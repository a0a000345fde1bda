//! SMTP replies (RFC 5321 §4.2) and enhanced status codes (RFC 3463).

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use compact_str::CompactString;

use crate::base::limits::REPLY_LINE_BYTES_MAX;

/// An enhanced mail system status code: `class.subject.detail` (RFC 3463 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnhancedStatus {
    /// 2 success, 4 persistent transient failure, 5 permanent failure.
    pub class: u8,
    /// What the status is about, 0 to 999.
    pub subject: u16,
    /// The exact condition, 0 to 999.
    pub detail: u16,
}

impl EnhancedStatus {
    /// The code `class.subject.detail`.
    pub const fn new(class: u8, subject: u16, detail: u16) -> Self {
        EnhancedStatus { class, subject, detail }
    }
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// The text is not an enhanced status code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an enhanced status code: expected class.subject.detail, as in 5.1.1")]
pub struct ParseStatusError;

impl FromStr for EnhancedStatus {
    type Err = ParseStatusError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let mut number = |digits_max: usize| -> Result<u16, ParseStatusError> {
            let part = parts.next().ok_or(ParseStatusError)?;
            let digits = !part.is_empty() && part.len() <= digits_max && part.bytes().all(|b| b.is_ascii_digit());
            if !digits {
                return Err(ParseStatusError);
            }
            part.parse().map_err(|_| ParseStatusError)
        };
        let class = number(1)?;
        let status = EnhancedStatus::new(class as u8, number(3)?, number(3)?);
        if parts.next().is_some() || !matches!(status.class, 2 | 4 | 5) {
            return Err(ParseStatusError);
        }
        Ok(status)
    }
}

/// The text of a reply: one or more lines joined by `\n`, without codes and line ends.
///
/// Words of ours are lent, short ones of others are kept in place: neither allocates, not when it is cloned either.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Text(CompactString);

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Text {
        Text(CompactString::const_new(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text.into())
    }
}

impl From<CompactString> for Text {
    fn from(text: CompactString) -> Text {
        Text(text)
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// What a peer is told, or told us: a value, never an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three-digit code, 200 to 599.
    pub code: u16,
    /// The enhanced status, if there is one; on our side all but 220, 354, HELP and the EHLO reply carry one.
    pub status: Option<EnhancedStatus>,
    /// The text, lines joined by `\n`.
    pub text: Text,
}

impl Reply {
    /// A reply with an enhanced status written as three numbers: `Reply::new(250, (2, 1, 0), "OK")`.
    pub fn new(code: u16, status: (u8, u16, u16), text: impl Into<Text>) -> Self {
        Reply { code, status: Some(EnhancedStatus::new(status.0, status.1, status.2)), text: text.into() }
    }

    /// A reply without an enhanced status.
    pub fn plain(code: u16, text: impl Into<Text>) -> Self {
        Reply { code, status: None, text: text.into() }
    }

    /// 2yz or 3yz.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// 4yz: the same may succeed later.
    pub fn is_transient(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// 5yz: the same will fail again.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// Appends the reply as it goes on the wire, every line with its code, and its CRLF.
    ///
    /// Control characters in the text become `?` so that no text can forge a line; a line too long
    /// for the wire is cut at a character boundary.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let last = lines.peek().is_none();
            let mut digits = itoa::Buffer::new();
            out.extend_from_slice(digits.format(self.code).as_bytes());
            out.push(if last { b' ' } else { b'-' });
            if let Some(status) = self.status {
                for (n, end) in [(u16::from(status.class), b'.'), (status.subject, b'.'), (status.detail, b' ')] {
                    out.extend_from_slice(digits.format(n).as_bytes());
                    out.push(end);
                }
            }
            push_text(out, line);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn push_text(out: &mut Vec<u8>, line: &str) {
    const TEXT_MAX: usize = REPLY_LINE_BYTES_MAX / 4; // RFC 5321 §4.5.3.1.5: 512 with code and CRLF
    let mut end = line.len().min(TEXT_MAX - 20);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    out.extend(line.as_bytes()[..end].iter().map(|&b| if b < 0x20 || b == 0x7f { b'?' } else { b }));
}

impl fmt::Display for Reply {
    /// One line for people and logs: code, status, text with `\n` shown as ` / `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        for (i, line) in self.text.split('\n').enumerate() {
            f.write_str(if i == 0 { " " } else { " / " })?;
            for c in line.chars() {
                if c.is_control() { f.write_str("?")? } else { write!(f, "{c}")? }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(reply: &Reply) -> String {
        let mut out = Vec::new();
        reply.write_to(&mut out);
        String::from_utf8(out).expect("text in, text out")
    }

    #[test]
    fn one_line_and_many() {
        assert_eq!(wire(&Reply::new(250, (2, 1, 0), "OK")), "250 2.1.0 OK\r\n");
        assert_eq!(wire(&Reply::plain(250, "mx\nSIZE 10\nDSN")), "250-mx\r\n250-SIZE 10\r\n250 DSN\r\n");
    }

    #[test]
    fn text_cannot_forge_a_line() {
        assert_eq!(wire(&Reply::new(550, (5, 1, 1), "no\r250 yes\0")), "550 5.1.1 no?250 yes?\r\n");
    }

    proptest! {
        #[test]
        fn every_line_carries_the_code_and_fits(text in "(.|\n){0,2000}") {
            let out = wire(&Reply::new(451, (4, 3, 0), text));
            for line in out.split_inclusive("\r\n") {
                prop_assert!(line.starts_with("451-4.3.0 ") || line.starts_with("451 4.3.0 "));
                prop_assert!(line.len() <= 512);
                prop_assert!(line.ends_with("\r\n"));
            }
        }

        #[test]
        fn status_round_trips(class in prop::sample::select(vec![2u8, 4, 5]), subject in 0u16..1000, detail in 0u16..1000) {
            let status = EnhancedStatus::new(class, subject, detail);
            prop_assert_eq!(status.to_string().parse(), Ok(status));
        }
    }
}
