//! Strings: encoded characters first, then variables (RFC 5228 §2.4.2.4, RFC 5229 §3).

use compact_str::CompactString;

use super::super::ast::Argument;
use super::super::bind::Bound;
use super::super::capability::Capability;
use super::super::lexer::shortened;
use super::super::program::{EnvelopePart, Piece, SetTarget, Text, Texts};
use super::{Builder, strings};

/// The highest `${n}`.
const CAPTURE_MAX: u64 = 32;
/// Octets of the name of a variable, its namespace included.
const NAME_BYTES_MAX: usize = 64;

/// What stands between `${` and `}`.
#[derive(Debug, PartialEq)]
enum Reference<'a> {
    /// `${12}`
    Number(u64),
    /// `${name}`, `${space.name}`: with its namespace, dot included, if it has one.
    Name(&'a str, &'a str),
}

impl Builder<'_, '_> {
    /// A string of the script.
    pub(super) fn text(&mut self, raw: &[u8], at: usize) -> Text {
        let expanded;
        let mut text = raw;
        if self.is_active(Capability::EncodedCharacter) && memchr::memmem::find(raw, b"${").is_some() {
            expanded = self.encoded_characters(raw, at);
            text = &expanded;
        }
        if self.is_active(Capability::Variables) && memchr::memmem::find(text, b"${").is_some() {
            return self.template(text, at);
        }
        Text::Literal(text.into())
    }

    fn is_active(&self, capability: Capability) -> bool {
        self.required.active.contains(capability)
    }

    /// The strings of an argument.
    pub(super) fn texts(&mut self, argument: &Argument<'_>) -> Texts {
        strings(argument).into_iter().map(|(raw, at)| self.text(raw, at)).collect()
    }

    /// The string of an argument.
    pub(super) fn one_text(&mut self, argument: &Argument<'_>) -> Text {
        match strings(argument).first() {
            Some((raw, at)) => self.text(raw, *at),
            None => Text::Literal(Box::default()),
        }
    }

    /// The string of a tag, if the tag stands there.
    pub(super) fn tag_text(&mut self, bound: &Bound<'_, '_>, tag: &str) -> Option<Text> {
        bound.tag(tag).map(|argument| self.one_text(argument))
    }

    /// The string of an argument that must not hold variables.
    pub(super) fn constant(&mut self, bound: &Bound<'_, '_>, argument: &Argument<'_>, what: &str) -> Option<Vec<u8>> {
        match self.one_text(argument) {
            Text::Literal(text) => Some(text.into_vec()),
            Text::Template(_) => {
                self.argument_fault(bound, argument.at, &format!("{what} must be a constant string"));
                None
            }
        }
    }

    /// Nothing in it is replaced.
    pub(super) fn is_constant(&self, raw: &[u8]) -> bool {
        !self.is_active(Capability::Variables) || references(raw).next().is_none()
    }

    fn encoded_characters(&mut self, raw: &[u8], at: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(start) = memchr::memmem::find(rest, b"${") {
            let (before, from) = rest.split_at(start);
            out.extend_from_slice(before);
            match encoded(from) {
                Some((Ok(octets), length)) => {
                    out.extend_from_slice(&octets);
                    rest = from.get(length..).unwrap_or(&[]);
                }
                Some((Err(message), length)) => {
                    self.faults.error(at, message);
                    rest = from.get(length..).unwrap_or(&[]);
                }
                None => {
                    out.extend_from_slice(b"${");
                    rest = from.get(2..).unwrap_or(&[]);
                }
            }
        }
        out.extend_from_slice(rest);
        out
    }

    fn template(&mut self, text: &[u8], at: usize) -> Text {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut done = 0;
        for (start, end, reference) in references(text) {
            literal.extend_from_slice(text.get(done..start).unwrap_or(&[]));
            done = end;
            let Some(piece) = self.reference(reference, at) else {
                // Its fault is told: the text counts as one with variables, so that no other follows from it.
                pieces.push(Piece::Literal(Box::default()));
                continue;
            };
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
            }
            pieces.push(piece);
        }
        literal.extend_from_slice(text.get(done..).unwrap_or(&[]));
        if pieces.is_empty() {
            return Text::Literal(literal.into());
        }
        self.required.uses(Capability::Variables);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Text::Template(pieces.into())
    }

    fn reference(&mut self, reference: Reference<'_>, at: usize) -> Option<Piece> {
        let (space, name) = match reference {
            Reference::Number(n) if n > CAPTURE_MAX => {
                self.faults.error(at, format!("match variable ${{{n}}}: the highest is ${{{CAPTURE_MAX}}}"));
                return None;
            }
            Reference::Number(n) => {
                self.uses_captures = true;
                return Some(Piece::Capture(n as u8));
            }
            Reference::Name(space, name) => (space, name),
        };
        if space.len() + name.len() > NAME_BYTES_MAX {
            self.faults.error(at, format!("variable name '{}' is too long", shortened(name)));
            return None;
        }
        match space.to_ascii_lowercase().as_str() {
            "" => self.slot(name).map(Piece::Variable).or_else(|| self.too_many_variables(at)),
            "global." if !is_identifier(name) => {
                self.faults.error(at, format!("'{}' is no name of a global variable", shortened(name)));
                None
            }
            "global." if self.required.uses(Capability::Include) => {
                self.global_slot(name).map(Piece::Variable).or_else(|| self.too_many_variables(at))
            }
            "env." | "environment." if self.has_environment() => {
                Some(Piece::Environment(CompactString::from(name.to_ascii_lowercase())))
            }
            "envelope." if self.required.uses(Capability::Envelope) => match EnvelopePart::from_name(name.as_bytes()) {
                Some((part, _)) => Some(Piece::Envelope(part)),
                None => {
                    self.faults.error(at, format!("unknown part of the envelope '{name}'"));
                    None
                }
            },
            space if self.options.namespaces.iter().any(|known| space.strip_suffix('.') == Some(known)) => {
                Some(Piece::Environment(CompactString::from(format!("{space}{}", name.to_ascii_lowercase()))))
            }
            _ => {
                self.faults.error(at, format!("unknown namespace '{}' of variables", shortened(space)));
                None
            }
        }
    }

    /// A name of an expression: `x`, `env.remote_ip`.
    pub(super) fn expression_variable(&mut self, name: &str, at: usize) -> Option<Piece> {
        let (space, name) = name.split_at(name.rfind('.').map_or(0, |dot| dot + 1));
        self.reference(Reference::Name(space, name), at)
    }

    fn has_environment(&mut self) -> bool {
        self.required.uses(Capability::Environment) || self.required.uses(Capability::Expressions)
    }

    fn too_many_variables<T>(&mut self, at: usize) -> Option<T> {
        if !std::mem::replace(&mut self.has_too_many_variables, true) {
            self.faults.error(at, format!("the script has more than {} variables", self.options.variables_max));
        }
        None
    }

    /// The variable that a command changes: a constant name.
    pub(super) fn variable(&mut self, bound: &Bound<'_, '_>, argument: &Argument<'_>) -> Option<SetTarget> {
        let (raw, at) = *strings(argument).first()?;
        let text = std::str::from_utf8(raw).unwrap_or("");
        let whole = format!("${{{text}}}");
        match reference_at(whole.as_bytes()) {
            Some((Reference::Name(space, name), end)) if end == whole.len() => {
                if space.eq_ignore_ascii_case("envelope.")
                    && let Some((part, _)) = EnvelopePart::from_name(name.as_bytes())
                {
                    self.required.uses(Capability::Envelope);
                    return Some(SetTarget::Envelope(part));
                }
                match self.reference(Reference::Name(space, name), at)? {
                    Piece::Variable(slot) => Some(SetTarget::Slot(slot)),
                    _ => {
                        self.argument_fault(bound, at, &format!("'{}' cannot be changed", shortened(text)));
                        None
                    }
                }
            }
            Some((Reference::Number(_), _)) => {
                self.argument_fault(bound, at, &format!("match variable '{text}' cannot be set"));
                None
            }
            _ => {
                self.argument_fault(bound, at, &format!("'{}' is no name of a variable", shortened(text)));
                None
            }
        }
    }

    /// A variable by a name without namespace.
    pub(super) fn plain_name<'a>(&mut self, bound: &Bound<'_, '_>, raw: &'a [u8], at: usize) -> Option<&'a str> {
        let text = std::str::from_utf8(raw).ok().filter(|text| is_identifier(text) && text.len() <= NAME_BYTES_MAX);
        if text.is_none() {
            let name = shortened(&String::from_utf8_lossy(raw));
            self.argument_fault(bound, at, &format!("'{name}' is no name of a variable"));
        }
        text
    }
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Every reference to a variable: where it starts, where it ends, what it says.
fn references(text: &[u8]) -> impl Iterator<Item = (usize, usize, Reference<'_>)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + memchr::memmem::find(text.get(from..)?, b"${")?;
            match reference_at(text.get(start..)?) {
                Some((reference, length)) => {
                    from = start + length;
                    return Some((start, from, reference));
                }
                None => from = start + 2,
            }
        }
    })
}

/// The reference at the front of `text`, and its length (RFC 5229 §3).
fn reference_at(text: &[u8]) -> Option<(Reference<'_>, usize)> {
    let inner = text.strip_prefix(b"${")?;
    let end = memchr::memchr(b'}', inner)?;
    let inner = std::str::from_utf8(inner.get(..end)?).ok()?;
    let length = end + 3;
    if !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_digit()) {
        return Some((Reference::Number(inner.parse().unwrap_or(u64::MAX)), length));
    }
    let (space, name) = inner.split_at(inner.rfind('.').map_or(0, |dot| dot + 1));
    let is_space = space.is_empty() || space.strip_suffix('.').is_some_and(|s| s.split('.').enumerate().all(is_part));
    // A name in a namespace may be a number: `${ns.1}` (RFC 5229 §3).
    let is_name = is_identifier(name) || (!space.is_empty() && is_part((1, name)));
    (is_space && is_name).then_some((Reference::Name(space, name), length))
}

fn is_part((i, part): (usize, &str)) -> bool {
    is_identifier(part) || (i > 0 && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

/// An encoded character at the front of `text`: what it stands for, or what is wrong, and its length.
/// What does not follow the grammar stands for itself.
fn encoded(text: &[u8]) -> Option<(Result<Vec<u8>, String>, usize)> {
    let end = memchr::memchr(b'}', text)?;
    let inner = text.get(2..end)?;
    let colon = memchr::memchr(b':', inner)?;
    let (kind, values) = (inner.get(..colon)?, inner.get(colon + 1..)?);
    let mut words = values.split(|b| b" \t\r\n".contains(b)).filter(|word| !word.is_empty()).peekable();
    words.peek()?;
    let hex = |word: &[u8]| {
        if !word.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        Some(std::str::from_utf8(word).ok().and_then(|w| u64::from_str_radix(w, 16).ok()).unwrap_or(u64::MAX))
    };
    let mut out = Vec::new();
    if kind.eq_ignore_ascii_case(b"hex") {
        for word in words {
            out.push(u8::try_from(hex(word)?).ok().filter(|_| word.len() <= 2)?);
        }
    } else if kind.eq_ignore_ascii_case(b"unicode") {
        for word in words {
            let value = hex(word)?;
            let Some(c) = u32::try_from(value).ok().and_then(char::from_u32) else {
                let word = String::from_utf8_lossy(word);
                return Some((Err(format!("{word} is no character of Unicode")), end + 1));
            };
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    } else {
        return None;
    }
    Some((Ok(out), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_follow_the_grammar() {
        let found = |text: &'static str| references(text.as_bytes()).map(|(_, _, r)| r).collect::<Vec<_>>();
        assert_eq!(
            found("${a} ${B_1} ${0} ${x.y.z}"),
            [Reference::Name("", "a"), Reference::Name("", "B_1"), Reference::Number(0), Reference::Name("x.y.", "z")]
        );
        for not in ["${}", "${a b}", "${1a}", "${a", "$a", "${.a}", "${a.}", "${fo\\o}"] {
            assert!(found(not).is_empty(), "{not}");
        }
        assert_eq!(found("${${a}}"), [Reference::Name("", "a")]);
    }

    #[test]
    fn encoded_characters_follow_the_grammar() {
        let done = |text: &str| {
            encoded(text.as_bytes()).map(|(r, n)| (r.map(|o| String::from_utf8_lossy(&o).into_owned()), n))
        };
        assert_eq!(done("${hex:24 40}x"), Some((Ok("$@".into()), 12)));
        assert_eq!(done("${unicode: 40 e4 }"), Some((Ok("@ä".into()), 18)));
        assert_eq!(done("${hex:400}"), None);
        assert_eq!(done("${hex:}"), None);
        assert_eq!(done("${hex:zz}"), None);
        assert!(done("${unicode:d800}").is_some_and(|(r, _)| r.is_err()));
        assert!(done("${unicode:33333333333333333}").is_some_and(|(r, _)| r.is_err()));
    }
}
