//! Notification methods: `mailto:` (RFC 5436, RFC 6068), the one that is served here.

use super::address;
use crate::mail::ForwardPath;

/// A `mailto:` URI, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mailto {
    /// The recipients, those of `to` fields among them.
    pub recipients: Vec<ForwardPath>,
    /// Other fields by their names, decoded; never those that a message must not take from a URI.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: Option<String>,
}

/// Recipients of one notification.
const RECIPIENTS_MAX: usize = 8;
/// Fields of one URI.
const FIELDS_MAX: usize = 32;

impl Mailto {
    /// Reads a URI; what is wrong with it otherwise.
    pub fn parse(uri: &str) -> Result<Mailto, String> {
        let rest = match uri.split_at_checked(7) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("mailto:") => rest,
            _ => return Err(format!("unknown notification method '{}'", super::lexer::shortened(uri))),
        };
        let (to, query) = rest.split_once('?').map_or((rest, None), |(to, query)| (to, Some(query)));
        let mut mailto = Mailto::default();
        mailto.add_recipients(to)?;
        for field in query.into_iter().flat_map(|query| query.split('&')) {
            let (name, value) = field.split_once('=').ok_or("a field of the URI without '='")?;
            if !name.bytes().all(is_unreserved) || name.is_empty() {
                return Err(format!("invalid character in field name '{}'", super::lexer::shortened(name)));
            }
            mailto.add_field(&decoded(name)?, value)?;
        }
        Ok(mailto)
    }

    fn add_recipients(&mut self, list: &str) -> Result<(), String> {
        if let Some(bad) = list.bytes().find(|&b| !is_unreserved(b) && !matches!(b, b'@' | b',')) {
            return Err(format!("invalid character '{}' in the recipients of the URI", bad.escape_ascii()));
        }
        // An escaped comma separates too: so RFC 2368 had it, and so it is written.
        let list = decoded(list)?;
        for one in list.split(',').filter(|one| !one.is_empty()) {
            let path = address::outgoing(one.as_bytes()).ok_or(format!("'{one}' is no address"))?;
            if !self.recipients.contains(&path) {
                self.recipients.push(path);
            }
        }
        if self.recipients.len() > RECIPIENTS_MAX {
            return Err(format!("more than {RECIPIENTS_MAX} recipients"));
        }
        Ok(())
    }

    fn add_field(&mut self, name: &str, value: &str) -> Result<(), String> {
        if let Some(bad) = value.bytes().find(|&b| !is_unreserved(b) && !b"@,;:/?".contains(&b)) {
            return Err(format!("invalid character '{}' in a field of the URI", bad.escape_ascii()));
        }
        if !name.bytes().all(|b| (33..=126).contains(&b) && b != b':') {
            return Err(format!("'{name}' is no name of a header field"));
        }
        if name.eq_ignore_ascii_case("to") {
            return self.add_recipients(&value.replace(':', "%3A"));
        }
        let value = decoded(value)?;
        if name.eq_ignore_ascii_case("body") {
            self.body = Some(value);
            return Ok(());
        }
        if self.fields.len() >= FIELDS_MAX {
            return Err(format!("more than {FIELDS_MAX} fields"));
        }
        // RFC 5436 §2.7, RFC 6068 §4: these are the notification's own.
        const REFUSED: &[&str] =
            &["auto-submitted", "bcc", "date", "from", "message-id", "received", "return-path", "sender"];
        if !REFUSED.iter().any(|refused| name.eq_ignore_ascii_case(refused)) {
            self.fields.push((name.to_owned(), value.replace(['\r', '\n'], " ")));
        }
        Ok(())
    }
}

/// What may stand for itself in a part of the URI, and the escapes (RFC 6068 §2).
fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~!$'*+()%".contains(&b)
}

fn decoded(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(b) = octets.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
        match (digit(octets.next()), digit(octets.next())) {
            (Some(high), Some(low)) => out.push((high << 4 | low) as u8),
            _ => return Err("an escape of the URI without two digits".to_owned()),
        }
    }
    String::from_utf8(out).map_err(|_| "the URI is no UTF-8".to_owned())
}

/// What is wrong with a method, if anything is.
pub(super) fn check_method(uri: &[u8]) -> Result<(), String> {
    let uri = std::str::from_utf8(uri).map_err(|_| "the URI is no UTF-8".to_owned())?;
    Mailto::parse(uri).map(drop)
}

/// `name=value` (RFC 5435 §3.5).
pub(super) fn is_option(option: &[u8]) -> bool {
    let Some(at) = memchr::memchr(b'=', option) else { return false };
    let (name, value) = option.split_at(at);
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
        && !value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_taken_apart() {
        let uri = "mailto:a@b.example,c%2Bd@e.example?to=f@g.example&subject=x%20y&body=z%0D%0A&from=evil@x.example";
        let mailto = Mailto::parse(uri).expect("sound");
        let to: Vec<_> = mailto.recipients.iter().map(ForwardPath::as_str).collect();
        assert_eq!(to, ["a@b.example", "c+d@e.example", "f@g.example"]);
        assert_eq!(mailto.fields, [("subject".to_owned(), "x y".to_owned())]);
        assert_eq!(mailto.body.as_deref(), Some("z\r\n"));
    }

    #[test]
    fn faults_are_told() {
        for uri in [
            "snailto:a@b.example",
            "mailto:stephan@example.org;?header=frop",
            "mailto:stephan@example.org?header<=frop",
            "mailto:stephan@example.org?header=fr>op",
            "mailto:stephan@example.org?header:=frop",
            "mailto:stephan%23example.org",
            "mailto:stephan@example.org?to=nico%23frop.example.org",
            "mailto:a%4",
        ] {
            assert!(Mailto::parse(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn options_have_a_name_and_a_value() {
        assert!(is_option(b"frop=frml") && is_option(b"a="));
        for not in ["", "frop", "_frop=", "=frop", "frop=frml\r\nfrop"] {
            assert!(!is_option(not.as_bytes()), "{not}");
        }
    }
}
