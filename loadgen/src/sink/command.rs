//! Command lines as the sink reads them: leniently, and with no code of the server under test. Pure.

/// A command, with its argument where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO or LHLO.
    Ehlo,
    /// HELO.
    Helo,
    /// STARTTLS.
    StartTls,
    /// AUTH with mechanism and initial response.
    Auth(&'a [u8]),
    /// MAIL with what follows `FROM:`.
    Mail(Path<'a>),
    /// RCPT with what follows `TO:`.
    Rcpt(Path<'a>),
    /// DATA.
    Data,
    /// BDAT with its size and whether it is the last.
    Bdat(u64, bool),
    /// RSET.
    Rset,
    /// NOOP, VRFY and what else needs an answer and no thought.
    Noop,
    /// QUIT.
    Quit,
    /// A known verb with an argument that cannot be.
    Malformed,
    /// Another verb.
    Unknown,
}

/// A path and its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<'a> {
    /// What stands between the brackets; empty is the null reverse-path.
    pub address: &'a [u8],
    /// What follows.
    pub parameters: &'a [u8],
}

impl Path<'_> {
    /// Value of `SIZE=`.
    pub fn size(&self) -> Option<u64> {
        self.parameters.split(|byte| *byte == b' ').find_map(|word| {
            let value = word.strip_prefix(b"SIZE=").or_else(|| word.strip_prefix(b"size="))?;
            std::str::from_utf8(value).ok()?.parse().ok()
        })
    }
}

fn is(verb: &[u8], wanted: &[u8]) -> bool {
    verb.eq_ignore_ascii_case(wanted)
}

fn path<'a>(argument: &'a [u8], keyword: &[u8]) -> Option<Path<'a>> {
    let head = argument.get(..keyword.len())?;
    if !is(head, keyword) {
        return None;
    }
    let rest = argument.get(keyword.len()..)?.trim_ascii_start().strip_prefix(b"<")?;
    let end = memchr::memchr(b'>', rest)?;
    Some(Path { address: &rest[..end], parameters: rest[end + 1..].trim_ascii_start() })
}

fn bdat(argument: &[u8]) -> Option<(u64, bool)> {
    let mut words = std::str::from_utf8(argument).ok()?.split_ascii_whitespace();
    let size = words.next()?.parse().ok()?;
    match words.next() {
        None => Some((size, false)),
        Some(word) if word.eq_ignore_ascii_case("LAST") => Some((size, true)),
        Some(_) => None,
    }
}

/// Reads a line, with or without its end.
pub fn parse(line: &[u8]) -> Command<'_> {
    let line = line.trim_ascii_end();
    let (verb, argument) = match memchr::memchr(b' ', line) {
        Some(end) => (&line[..end], line[end + 1..].trim_ascii_start()),
        None => (line, &[][..]),
    };
    match verb.len() {
        4 if is(verb, b"MAIL") => path(argument, b"FROM:").map_or(Command::Malformed, Command::Mail),
        4 if is(verb, b"RCPT") => path(argument, b"TO:").map_or(Command::Malformed, Command::Rcpt),
        4 if is(verb, b"DATA") => Command::Data,
        4 if is(verb, b"BDAT") => bdat(argument).map_or(Command::Malformed, |(size, last)| Command::Bdat(size, last)),
        4 if is(verb, b"EHLO") || is(verb, b"LHLO") => Command::Ehlo,
        4 if is(verb, b"HELO") => Command::Helo,
        4 if is(verb, b"RSET") => Command::Rset,
        4 if is(verb, b"NOOP") || is(verb, b"VRFY") => Command::Noop,
        4 if is(verb, b"QUIT") => Command::Quit,
        4 if is(verb, b"AUTH") => Command::Auth(argument),
        8 if is(verb, b"STARTTLS") => Command::StartTls,
        _ => Command::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let mail = parse(b"mail from:<a@b> SIZE=12 BODY=8BITMIME\r\n");
        let Command::Mail(path) = mail else { panic!("{mail:?}") };
        assert_eq!((path.address, path.size()), (&b"a@b"[..], Some(12)));
        assert!(matches!(parse(b"MAIL FROM:<>\r\n"), Command::Mail(Path { address: b"", .. })));
        assert!(matches!(parse(b"RCPT TO: <x@y>\r\n"), Command::Rcpt(Path { address: b"x@y", .. })));
        assert_eq!(parse(b"BDAT 10 last\r\n"), Command::Bdat(10, true));
        assert_eq!(parse(b"BDAT x\r\n"), Command::Malformed);
        assert_eq!(parse(b"RCPT x\r\n"), Command::Malformed);
        assert_eq!(parse(b"LHLO me\r\n"), Command::Ehlo);
        assert_eq!(parse(b"AUTH PLAIN AGE=\r\n"), Command::Auth(b"PLAIN AGE="));
        assert_eq!(parse(b"\r\n"), Command::Unknown);
    }
}
