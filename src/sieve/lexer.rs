//! Tokens of RFC 5228 §8.1: comments and white space are gone, strings are unquoted.

/// What a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'s> {
    /// A name; the spelling of the source.
    Identifier(&'s str),
    /// A name after a colon, without it.
    Tag(&'s str),
    /// With its quantifier applied.
    Number(u64),
    /// Unquoted, or unstuffed; line ends are CRLF.
    Text(Vec<u8>),
    /// One of `( ) [ ] { } , ;`
    Mark(u8),
    /// Nothing of the grammar: what it is, for people.
    Fault(&'static str),
    End,
}

impl Token<'_> {
    /// The token as an error tells it.
    pub fn describe(&self) -> String {
        match self {
            Token::Identifier(name) => format!("identifier '{}'", shortened(name)),
            Token::Tag(name) => format!("tag ':{}'", shortened(name)),
            Token::Number(n) => format!("number {n}"),
            Token::Text(text) => format!("string \"{}\"", shortened(&String::from_utf8_lossy(text))),
            Token::Mark(mark) => format!("'{}'", char::from(*mark)),
            Token::Fault(what) => (*what).to_owned(),
            Token::End => "end of script".to_owned(),
        }
    }
}

/// A text for a message: its beginning, on one line.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(40).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}

/// Octets of an identifier: longer ones are faults.
pub(super) const IDENTIFIER_BYTES_MAX: usize = 32;

/// Reads tokens from a source.
pub(super) struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    pub fn new(source: &'s str) -> Lexer<'s> {
        let at = if source.starts_with('\u{feff}') { 3 } else { 0 };
        Lexer { source, at }
    }

    fn rest(&self) -> &'s [u8] {
        self.source.as_bytes().get(self.at..).unwrap_or(&[])
    }

    fn peek(&self) -> Option<u8> {
        self.source.as_bytes().get(self.at).copied()
    }

    /// The next token and where it starts.
    pub fn next(&mut self) -> (usize, Token<'s>) {
        if let Some(fault) = self.skip_space() {
            return fault;
        }
        let start = self.at;
        let Some(first) = self.peek() else { return (start, Token::End) };
        let token = match first {
            b'(' | b')' | b'[' | b']' | b'{' | b'}' | b',' | b';' => {
                self.at += 1;
                Token::Mark(first)
            }
            b'"' => self.quoted(),
            b':' => {
                self.at += 1;
                match self.name() {
                    "" => Token::Fault("a lone ':'"),
                    name if name.len() > IDENTIFIER_BYTES_MAX => Token::Fault("a tag that is too long"),
                    name => Token::Tag(name),
                }
            }
            b'0'..=b'9' => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => match self.name() {
                name if name.eq_ignore_ascii_case("text") && self.peek() == Some(b':') => self.multi_line(),
                name if name.len() > IDENTIFIER_BYTES_MAX => Token::Fault("an identifier that is too long"),
                name => Token::Identifier(name),
            },
            _ => {
                self.skip_garbage();
                Token::Fault("characters that are no part of the language")
            }
        };
        (start, token)
    }

    /// What cannot start a token is one fault up to the next octet that can: at least one octet.
    fn skip_garbage(&mut self) {
        self.at += 1;
        while let Some(b) = self.peek() {
            if b.is_ascii_alphanumeric() || b" \t\r\n()[]{},;\":#/_".contains(&b) {
                return;
            }
            self.at += 1;
        }
    }

    fn skip_space(&mut self) -> Option<(usize, Token<'s>)> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(b'#') => self.skip_line(),
                Some(b'/') if self.rest().get(1) == Some(&b'*') => {
                    let start = self.at;
                    let end = memchr::memmem::find(self.rest().get(2..).unwrap_or(&[]), b"*/");
                    match end {
                        Some(end) => self.at += end + 4,
                        None => {
                            self.at = self.source.len();
                            return Some((start, Token::Fault("a comment without its end")));
                        }
                    }
                }
                _ => return None,
            }
        }
    }

    fn skip_line(&mut self) {
        self.at = memchr::memchr(b'\n', self.rest()).map_or(self.source.len(), |i| self.at + i + 1);
    }

    fn name(&mut self) -> &'s str {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            self.at += 1;
        }
        self.source.get(start..self.at).unwrap_or("")
    }

    /// Digits and a quantifier; what does not fit 64 bits is a fault (RFC 5228 §2.4.1 asks for 31).
    fn number(&mut self) -> Token<'s> {
        let mut value: Option<u64> = Some(0);
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value.and_then(|v| v.checked_mul(10)).and_then(|v| v.checked_add(u64::from(digit - b'0')));
            self.at += 1;
        }
        let shift = match self.peek().map(|b| b.to_ascii_uppercase()) {
            Some(b'K') => 10,
            Some(b'M') => 20,
            Some(b'G') => 30,
            _ => 0,
        };
        self.at += usize::from(shift > 0);
        if self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            self.name();
            return Token::Fault("a number with letters behind it");
        }
        match value.and_then(|v| v.checked_mul(1 << shift)) {
            Some(value) => Token::Number(value),
            None => Token::Fault("a number that is too large"),
        }
    }

    fn quoted(&mut self) -> Token<'s> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let rest = self.rest();
            let Some(stop) = memchr::memchr3(b'"', b'\\', b'\n', rest) else {
                self.at = self.source.len();
                return Token::Fault("a string without its end");
            };
            text.extend_from_slice(rest.get(..stop).unwrap_or(&[]));
            self.at += stop + 1;
            match rest.get(stop) {
                Some(b'"') => return Token::Text(text),
                Some(b'\n') => push_line_end(&mut text),
                _ => {
                    if let Some(escaped) = self.peek() {
                        text.push(escaped);
                        self.at += 1;
                    }
                }
            }
        }
    }

    /// `text:` to the line that is a dot, with dot-stuffing undone (RFC 5228 §2.4.2).
    fn multi_line(&mut self) -> Token<'s> {
        self.at += 1;
        while matches!(self.peek(), Some(b' ' | b'\t')) {
            self.at += 1;
        }
        match self.peek() {
            Some(b'#') => self.skip_line(),
            Some(b'\r') if self.rest().get(1) == Some(&b'\n') => self.at += 2,
            Some(b'\n') => self.at += 1,
            _ => return Token::Fault("'text:' without an end of line"),
        }
        let mut text = Vec::new();
        while self.at < self.source.len() {
            let rest = self.rest();
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = rest.get(..end).unwrap_or(&[]);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.at = (self.at + end + 1).min(self.source.len());
            if line == b"." {
                return Token::Text(text);
            }
            // A dot that nobody doubled stands for itself (RFC 5228 §2.4.2).
            let is_stuffed = line.starts_with(b"..");
            text.extend_from_slice(line.get(usize::from(is_stuffed)..).unwrap_or(line));
            text.extend_from_slice(b"\r\n");
        }
        Token::Fault("a multi-line string without its end")
    }
}

/// A line end in a string is CRLF, however the script spells it.
fn push_line_end(text: &mut Vec<u8>) {
    if text.last() == Some(&b'\r') {
        text.pop();
    }
    text.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(source: &str) -> Vec<Token<'_>> {
        let mut lexer = Lexer::new(source);
        let mut tokens = Vec::new();
        loop {
            match lexer.next().1 {
                Token::End => return tokens,
                token => tokens.push(token),
            }
        }
    }

    #[test]
    fn numbers_have_quantifiers_and_an_end() {
        assert_eq!(all("1 2K 3m 4G"), [1, 2 << 10, 3 << 20, 4 << 30].map(Token::Number));
        assert_eq!(all("18446744073709551615"), [Token::Number(u64::MAX)]);
        for large in ["18446744073709551616", "34359738368G", "99999999999999999999999999"] {
            assert_eq!(all(large), [Token::Fault("a number that is too large")], "{large}");
        }
    }

    #[test]
    fn strings_are_unquoted() {
        assert_eq!(all(r#""a\"b\\c\d""#), [Token::Text(b"a\"b\\cd".to_vec())]);
        assert_eq!(all("\"a\nb\r\nc\""), [Token::Text(b"a\r\nb\r\nc".to_vec())]);
        assert_eq!(all("\"a"), [Token::Fault("a string without its end")]);
    }

    #[test]
    fn multi_line_strings_are_unstuffed() {
        assert_eq!(
            all("text: # why\nline\n..dot\n\n.\n;"),
            [Token::Text(b"line\r\n.dot\r\n\r\n".to_vec()), Token::Mark(b';')]
        );
        assert_eq!(all("text:\r\n.\r\n"), [Token::Text(Vec::new())]);
        assert_eq!(all("text:\nline\n"), [Token::Fault("a multi-line string without its end")]);
    }

    #[test]
    fn comments_are_space() {
        assert_eq!(all("a # b\n /* c \n d */ :e"), [Token::Identifier("a"), Token::Tag("e")]);
        assert_eq!(all("a /* b"), [Token::Identifier("a"), Token::Fault("a comment without its end")]);
    }

    #[test]
    fn garbage_is_one_fault() {
        assert_eq!(all("a $$$;").len(), 3);
        assert_eq!(all("a / b").len(), 3);
        assert_eq!(all("a \u{c} \u{c}\u{e4}b").len(), 4);
    }
}
