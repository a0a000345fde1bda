//! Structured fields of MIME: Content-Type and Content-Disposition with their parameters (RFC 2045 §5.1,
//! RFC 2183, RFC 2231).

use mail_parser::decoders::charsets::map::charset_decoder;

/// Parameters of one field that are looked at.
const PARAMETERS_MAX: usize = 64;

/// A field of the shape `value[/value] *(; name=value)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::sieve) struct Structured {
    /// What stands before the slash, or alone, as it was written.
    pub main: String,
    /// What stands behind the slash.
    pub sub: Option<String>,
    /// Names in lower case, values decoded to UTF-8.
    parameters: Vec<(String, Vec<u8>)>,
}

impl Structured {
    /// Reads a field's value. Nothing when it does not start as such a field does.
    pub fn parse(value: &[u8]) -> Option<Structured> {
        let mut reader = Reader { text: value, at: 0 };
        let main = reader.token()?;
        let sub = if reader.take(b'/') { Some(reader.token()?) } else { None };
        reader.skip_space();
        if !matches!(reader.peek(), None | Some(b';')) {
            return None;
        }
        Some(Structured { main, sub, parameters: joined(reader.parameters()) })
    }

    /// `main/sub`, or the only value.
    pub fn whole(&self) -> String {
        match &self.sub {
            Some(sub) => format!("{}/{sub}", self.main),
            None => self.main.clone(),
        }
    }

    /// The value of a parameter; the name in lower case.
    pub fn parameter(&self, name: &str) -> Option<&[u8]> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.skip_space();
        let is = self.peek() == Some(wanted);
        self.at += usize::from(is);
        is
    }

    /// White space and comments.
    fn skip_space(&mut self) {
        let mut depth = 0usize;
        while let Some(b) = self.peek() {
            match b {
                b'(' => depth += 1,
                b')' if depth > 0 => depth -= 1,
                b'\\' if depth > 0 => self.at += 1,
                _ if depth > 0 || b.is_ascii_whitespace() => {}
                _ => return,
            }
            self.at += 1;
        }
    }

    fn token(&mut self) -> Option<String> {
        self.skip_space();
        let start = self.at;
        while self.peek().is_some_and(is_token) {
            self.at += 1;
        }
        let token = self.text.get(start..self.at).filter(|token| !token.is_empty())?;
        Some(String::from_utf8_lossy(token).into_owned())
    }

    /// A quoted string, or everything to the next `;` or white space: values are written carelessly.
    fn value(&mut self) -> Vec<u8> {
        self.skip_space();
        let mut out = Vec::new();
        if self.peek() != Some(b'"') {
            while let Some(b) = self.peek().filter(|b| *b != b';' && *b != b'(' && !b.is_ascii_whitespace()) {
                out.push(b);
                self.at += 1;
            }
            return out;
        }
        self.at += 1;
        while let Some(b) = self.peek() {
            self.at += 1;
            match b {
                b'"' => break,
                b'\\' => {
                    out.extend(self.peek());
                    self.at += 1;
                }
                b'\r' | b'\n' => {}
                b => out.push(b),
            }
        }
        out
    }

    fn parameters(&mut self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        while self.at < self.text.len() && found.len() < PARAMETERS_MAX {
            if !self.take(b';') {
                self.skip_parameter();
                continue;
            }
            let Some(name) = self.token() else { continue };
            if self.take(b'=') {
                let value = self.value();
                found.push((name.to_ascii_lowercase(), value));
            }
        }
        found
    }

    /// To the next `;`, from something that is no parameter.
    fn skip_parameter(&mut self) {
        while self.peek().is_some_and(|b| b != b';') {
            self.at += 1;
        }
    }
}

/// RFC 2045 §5.1, with the octets above 127 that are met in practice.
fn is_token(b: u8) -> bool {
    b > b' ' && b != 0x7f && !b"()<>@,;:\\\"/[]?=".contains(&b)
}

/// Puts together what RFC 2231 takes apart: `name*0*=…; name*1=…`, `name*=charset'language'…`.
fn joined(raw: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let mut parameters: Vec<(String, Vec<u8>)> = Vec::with_capacity(raw.len());
    let mut pieces: Vec<(String, u32, bool, Vec<u8>)> = Vec::new();
    for (name, value) in raw {
        let Some((base, rest)) = name.split_once('*') else {
            if !parameters.iter().any(|(known, _)| *known == name) {
                parameters.push((name, value));
            }
            continue;
        };
        let (number, is_extended) = match rest.strip_suffix('*') {
            Some(number) => (number, true),
            None => (rest, rest.is_empty()),
        };
        let index = if number.is_empty() { Some(0) } else { number.parse().ok() };
        if let Some(index) = index {
            pieces.push((base.to_owned(), index, is_extended, value));
        }
    }
    pieces.sort_by(|a, b| (a.0.as_str(), a.1).cmp(&(b.0.as_str(), b.1)));
    let mut pieces = pieces.into_iter().peekable();
    while let Some((base, _, is_extended, value)) = pieces.next() {
        let mut charset = None;
        let mut octets = Vec::new();
        match is_extended {
            true => {
                let mut parts = value.splitn(3, |b| *b == b'\'');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(first), Some(_), Some(text)) => {
                        charset = Some(first.to_ascii_lowercase());
                        octets.extend(unescaped(text));
                    }
                    _ => octets.extend(unescaped(&value)),
                }
            }
            false => octets.extend_from_slice(&value),
        }
        while let Some((_, _, is_extended, value)) = pieces.next_if(|piece| piece.0 == base) {
            if is_extended { octets.extend(unescaped(&value)) } else { octets.extend_from_slice(&value) }
        }
        let decoded = match charset.and_then(|charset| charset_decoder(&charset)) {
            Some(decode) => decode(&octets).into_bytes(),
            None => octets,
        };
        match parameters.iter_mut().find(|(known, _)| *known == base) {
            Some((_, value)) => *value = decoded, // the extended form is the better one (RFC 5987 §4.2)
            None => parameters.push((base, decoded)),
        }
    }
    parameters
}

/// `%41` as RFC 2231 §4 writes octets; what is no escape stays.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&b, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (b, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                rest = behind.get(2..).unwrap_or(&[]);
            }
            _ => {
                out.push(b);
                rest = behind;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parameter(value: &str, name: &str) -> Option<String> {
        let field = Structured::parse(value.as_bytes())?;
        field.parameter(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    #[test]
    fn types_and_parameters_are_read() {
        let field = Structured::parse(b" Text/Calendar; method=request ; charset=\"UTF-8\";").expect("sound");
        assert_eq!((field.main.as_str(), field.sub.as_deref()), ("Text", Some("Calendar")));
        assert_eq!(field.whole(), "Text/Calendar");
        assert_eq!(field.parameter("charset"), Some(&b"UTF-8"[..]));
        assert_eq!(field.parameter("nothing"), None);
        let field = Structured::parse(b"inline; filename=\"a\\\"b;c\"; size=3").expect("sound");
        assert_eq!((field.sub.clone(), field.whole().as_str()), (None, "inline"));
        assert_eq!(field.parameter("filename"), Some(&b"a\"b;c"[..]));
        assert_eq!(field.parameter("size"), Some(&b"3"[..]));
    }

    #[test]
    fn comments_and_carelessness_are_taken() {
        assert_eq!(
            parameter("text/plain (a (b) c); (x) charset = us-ascii (y)", "charset").as_deref(),
            Some("us-ascii")
        );
        assert_eq!(parameter("multipart/mixed; boundary=a=b:c", "boundary").as_deref(), Some("a=b:c"));
        assert_eq!(parameter("text/plain; junk; charset=x", "charset").as_deref(), Some("x"));
        assert_eq!(parameter("text/plain; a=\"unended", "a").as_deref(), Some("unended"));
    }

    #[test]
    fn what_is_no_type_is_none() {
        for not in ["", "   ", "text/", "/plain", "text/plain/stupid", "text/plain junk", "a=b"] {
            assert_eq!(Structured::parse(not.as_bytes()), None, "{not}");
        }
    }

    #[test]
    fn continued_and_encoded_parameters_are_joined() {
        let value = "application/x-stuff; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\";\r\n\
                     \ttitle*0*=us-ascii'en'This%20is%20even%20more%20";
        assert_eq!(parameter(value, "title").as_deref(), Some("This is even more ***fun*** isn't it!"));
        assert_eq!(parameter("a/b; name*=utf-8''%e2%82%ac%20x; name=y", "name").as_deref(), Some("€ x"));
        assert_eq!(parameter("a/b; name*=iso-8859-1''%E4", "name").as_deref(), Some("ä"));
        assert_eq!(parameter("a/b; name*=%zz", "name").as_deref(), Some("%zz"));
    }

    proptest! {
        #[test]
        fn reading_always_ends(value in prop::collection::vec(prop::sample::select(b"a*=;\"\\/ ('0)%\r\n\xe4".to_vec()), 0..60)) {
            if let Some(field) = Structured::parse(&value) {
                prop_assert!(!field.main.is_empty());
                prop_assert!(field.parameters.len() <= PARAMETERS_MAX);
            }
        }
    }
}
