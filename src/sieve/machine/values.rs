//! Strings and variables (RFC 5229).

use std::borrow::Cow;

use smallvec::SmallVec;

use super::super::limits::Limit;
use super::super::matching::Probe;
use super::super::program::{Matcher, Modifier, Piece, Program, Slot, Text};
use super::super::question::{Octets, Question};
use super::{Machine, Outcome};

impl<'a> Machine<'a> {
    /// A string with its variables. Allocates nothing for a literal or a lone variable.
    pub(super) fn text<'x>(&'x self, text: &'x Text) -> Outcome<Cow<'x, [u8]>> {
        let pieces = match text {
            Text::Literal(literal) => return Ok(Cow::Borrowed(literal)),
            Text::Template(pieces) => pieces,
        };
        if let [piece] = &**pieces {
            return self.piece(piece);
        }
        let out = self.joined(pieces)?;
        if out.len() > self.limits.variable_bytes {
            return Err(Limit::VariableBytes.into());
        }
        Ok(Cow::Owned(out))
    }

    /// The pieces of a string together; no further than a little beyond the limit.
    fn joined(&self, pieces: &[Piece]) -> Outcome<Octets> {
        let mut out = Vec::new();
        for piece in pieces {
            out.extend_from_slice(&self.piece(piece)?);
            if out.len() > self.limits.variable_bytes {
                break;
            }
        }
        Ok(out)
    }

    /// A string for a variable: what does not fit is cut at a character (RFC 5229 §6).
    pub(super) fn cut_text(&self, text: &Text) -> Outcome<Octets> {
        let mut value = match text {
            Text::Literal(literal) => literal.to_vec(),
            Text::Template(pieces) => self.joined(pieces)?,
        };
        value.truncate(cut(&value, self.limits.variable_bytes));
        Ok(value)
    }

    pub(super) fn piece<'x>(&'x self, piece: &'x Piece) -> Outcome<Cow<'x, [u8]>> {
        Ok(match piece {
            Piece::Literal(literal) => Cow::Borrowed(literal),
            Piece::Variable(slot) => Cow::Borrowed(self.variable(*slot)),
            Piece::Capture(index) => {
                let captures = self.frames.last().map(|frame| &frame.captures);
                Cow::Borrowed(captures.map_or(&[], |captures| captures.get(usize::from(*index))))
            }
            Piece::Environment(name) => {
                Cow::Borrowed(self.ask_text(Question::Environment(name.clone()))?.unwrap_or(&[]))
            }
            Piece::Envelope(part) => Cow::Owned(self.envelope_text(*part)?),
        })
    }

    /// A string, on its own.
    pub(super) fn owned(&self, text: &Text) -> Outcome<Octets> {
        self.text(text).map(Cow::into_owned)
    }

    /// Strings, on their own.
    pub(super) fn all_owned(&self, texts: &[Text]) -> Outcome<Vec<Octets>> {
        texts.iter().map(|text| self.owned(text)).collect()
    }

    /// A string as UTF-8; what is none is replaced.
    pub(super) fn utf8(&self, text: &Text) -> Outcome<String> {
        Ok(match self.text(text)? {
            Cow::Borrowed(octets) => String::from_utf8_lossy(octets).into_owned(),
            Cow::Owned(octets) => {
                String::from_utf8(octets).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
        })
    }

    pub(super) fn utf8_option(&self, text: &Option<Text>) -> Outcome<Option<String>> {
        text.as_ref().map(|text| self.utf8(text)).transpose()
    }

    /// The value of a variable; empty before it is set.
    pub(super) fn variable(&self, slot: Slot) -> &[u8] {
        let Some(frame) = self.frames.last() else { return &[] };
        match slot {
            Slot::Local(at) => frame.locals.get(usize::from(at)).map_or(&[], Vec::as_slice),
            Slot::Global(at) => {
                let global = frame.globals.get(usize::from(at)).and_then(|&at| self.globals.get(usize::from(at)));
                global.map_or(&[], |(_, value)| value.as_slice())
            }
        }
    }

    /// Changes a variable; what does not fit is cut.
    pub(super) fn set_variable(&mut self, slot: Slot, mut value: Octets) -> Outcome<()> {
        if value.len() > self.limits.variable_bytes {
            value.truncate(cut(&value, self.limits.variable_bytes));
        }
        let old = self.variable(slot).len();
        let total = self.variables_bytes - old.min(self.variables_bytes) + value.len();
        if total > self.limits.variables_bytes {
            return Err(Limit::VariableBytes.into());
        }
        self.variables_bytes = total;
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        frame.values.retain(|(known, _)| *known != slot);
        match slot {
            Slot::Local(at) => {
                if let Some(local) = frame.locals.get_mut(usize::from(at)) {
                    *local = value;
                }
            }
            Slot::Global(at) => {
                let global = frame.globals.get(usize::from(at)).and_then(|&at| self.globals.get_mut(usize::from(at)));
                if let Some((_, global)) = global {
                    *global = value;
                }
            }
        }
        Ok(())
    }

    /// A probe with the keys of a matcher evaluated.
    pub(super) fn probe<'x>(&'x self, program: &'x Program, matcher: &'x Matcher) -> Outcome<Probe<'x>> {
        let mut keys = SmallVec::new();
        for key in &matcher.keys {
            keys.push(self.text(&key.text)?);
        }
        let steps = self.limits.steps.saturating_sub(self.steps);
        Ok(Probe::new(matcher, program, keys, steps, self.limits.regex_bytes))
    }
}

/// The longest prefix of at most `max` octets that ends with a character.
fn cut(value: &[u8], max: usize) -> usize {
    let mut at = max.min(value.len());
    while at > 0 && value.get(at).is_some_and(|b| b & 0xc0 == 0x80) {
        at -= 1;
    }
    at
}

/// A value as a modifier of `set` changes it (RFC 5229 §4.1); with escapes at most `max` octets, whole characters.
pub(super) fn modified(modifier: Modifier, value: &[u8], max: usize) -> Octets {
    match modifier {
        Modifier::Lower => mapped(value, |c, out| out.extend(c.to_lowercase())),
        Modifier::Upper => mapped(value, |c, out| out.extend(c.to_uppercase())),
        Modifier::LowerFirst => first_mapped(value, |c, out| out.extend(c.to_lowercase())),
        Modifier::UpperFirst => first_mapped(value, |c, out| out.extend(c.to_uppercase())),
        Modifier::QuoteWildcard => quoted(value, |b| matches!(b, b'*' | b'?' | b'\\')),
        Modifier::QuoteRegex => quoted(value, |b| b"\\.+*?()|[]{}^$#&-~".contains(&b)),
        Modifier::EncodeUrl => encoded_url(value, max),
        Modifier::Length => characters(value).to_string().into_bytes(),
    }
}

/// RFC 5435 §6.
fn encoded_url(value: &[u8], max: usize) -> Octets {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(value.len());
    let mut whole = 0;
    for &b in value {
        if b & 0xc0 != 0x80 {
            whole = out.len(); // a character starts here
        }
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(b);
        } else {
            out.extend([b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
        if out.len() > max {
            out.truncate(whole);
            break;
        }
    }
    out
}

/// Characters; an octet that belongs to none counts as one.
fn characters(value: &[u8]) -> usize {
    value.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum()
}

fn mapped(value: &[u8], map: impl Fn(char, &mut String)) -> Octets {
    let mut out = Vec::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        let mut text = String::with_capacity(chunk.valid().len());
        chunk.valid().chars().for_each(|c| map(c, &mut text));
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(chunk.invalid());
    }
    out
}

fn first_mapped(value: &[u8], map: impl Fn(char, &mut String)) -> Octets {
    let first = value.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    let Some(first) = first else { return value.to_vec() };
    let mut text = String::new();
    map(first, &mut text);
    let mut out = text.into_bytes();
    out.extend_from_slice(value.get(first.len_utf8()..).unwrap_or(&[]));
    out
}

fn quoted(value: &[u8], is_special: impl Fn(u8) -> bool) -> Octets {
    let mut out = Vec::with_capacity(value.len() + 8);
    for &b in value {
        if is_special(b) {
            out.push(b'\\');
        }
        out.push(b);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_change_a_value() {
        let change =
            |modifier, value: &str| String::from_utf8_lossy(&modified(modifier, value.as_bytes(), 100)).into_owned();
        assert_eq!(change(Modifier::Lower, "juMBlEÄ"), "jumbleä");
        assert_eq!(change(Modifier::UpperFirst, "äbc"), "Äbc");
        assert_eq!(change(Modifier::LowerFirst, ""), "");
        assert_eq!(change(Modifier::QuoteWildcard, "a*b?c\\"), "a\\*b\\?c\\\\");
        assert_eq!(change(Modifier::EncodeUrl, "a b/ä"), "a%20b%2F%C3%A4");
        assert_eq!(change(Modifier::Length, "naïve"), "5");
        assert_eq!(modified(Modifier::EncodeUrl, "äää".as_bytes(), 13), b"%C3%A4%C3%A4");
    }

    #[test]
    fn values_are_cut_at_a_character() {
        assert_eq!(cut("aä".as_bytes(), 2), 1);
        assert_eq!(cut("aä".as_bytes(), 3), 3);
        assert_eq!(cut(b"\x80\x80", 1), 0);
    }
}
