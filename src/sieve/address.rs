//! Addresses in header fields (RFC 5322 §3.4), read as leniently as mail is written.
//!
//! What is read is the address alone: phrases, comments, group names and routes are skipped. Nothing is
//! allocated but where the parts of an address do not stand together.

use std::ops::ControlFlow;

use smallvec::SmallVec;

use crate::mail::{ForwardPath, Mailbox};

use super::program::AddressPart;

type Part = SmallVec<[u8; 64]>;

/// An address of a list, or what stands in its place.
#[derive(Debug, Default)]
pub(super) struct Address<'a> {
    /// `local@domain`, or the text that is no address.
    all: Part,
    /// Octets of the local-part in `all`; none when it is no address.
    local: Option<usize>,
    /// What stands there, white space around it removed.
    pub raw: &'a [u8],
}

impl Address<'_> {
    /// It follows the grammar.
    pub fn is_valid(&self) -> bool {
        self.local.is_some()
    }

    /// The part that a test looks at; none where it is not there: then nothing matches.
    pub fn part(&self, part: AddressPart, delimiters: &[u8]) -> Option<&[u8]> {
        if part == AddressPart::All {
            return Some(&self.all);
        }
        let at = self.local?;
        let local = self.all.get(..at)?;
        if part == AddressPart::Domain {
            return self.all.get(at + 1..);
        }
        part_of_local(local, part, delimiters)
    }
}

/// `:localpart`, `:user`, `:detail` of a local-part (RFC 5233 §4).
pub(super) fn part_of_local<'l>(local: &'l [u8], part: AddressPart, delimiters: &[u8]) -> Option<&'l [u8]> {
    let separator = local.iter().position(|b| delimiters.contains(b));
    match (part, separator) {
        (AddressPart::LocalPart, _) => Some(local),
        (AddressPart::User, Some(at)) => local.get(..at),
        (AddressPart::User, None) => Some(local),
        (AddressPart::Detail, Some(at)) => local.get(at + 1..),
        _ => None,
    }
}

/// Visits every address of a field's value. A value without anything in it is one empty text.
pub(super) fn each<'a, B>(value: &'a [u8], mut visit: impl FnMut(&Address<'a>) -> ControlFlow<B>) -> ControlFlow<B> {
    let mut reader = Reader { text: value, at: 0 };
    let mut address = Address::default();
    let mut is_any = false;
    loop {
        reader.skip_space();
        match reader.peek() {
            None if is_any => return ControlFlow::Continue(()),
            None => {
                address = Address::default();
                return visit(&address);
            }
            Some(b',' | b';') => {
                reader.at += 1;
                is_any = true;
                continue;
            }
            Some(_) => {}
        }
        is_any = true;
        if reader.entry(&mut address) {
            visit(&address)?;
        }
    }
}

/// An address that mail may be sent to: one mailbox, perhaps with a phrase, and nothing else.
/// US-ASCII only: a script cannot know whether the message may go as SMTPUTF8.
pub(super) fn outgoing(text: &[u8]) -> Option<ForwardPath> {
    let mut found = None;
    let mut count = 0;
    let _ = each(text, |address| {
        count += 1;
        found = address.is_valid().then(|| address.all.clone()).zip(address.local);
        if count > 1 || found.is_none() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let (all, at) = found.filter(|_| count == 1 && !text.contains(&b','))?;
    let (local, domain) = (all.get(..at)?, all.get(at + 1..)?);
    let (local, domain) = (std::str::from_utf8(local).ok()?, std::str::from_utf8(domain).ok()?);
    let plain = format!("{local}@{domain}");
    let mailbox = Mailbox::parse(&plain, false).or_else(|_| {
        // What RFC 5322 lets pass and RFC 5321 does not, it takes in quotes.
        let escaped = local.replace('\\', "\\\\").replace('"', "\\\"");
        Mailbox::parse(&format!("\"{escaped}\"@{domain}"), false)
    });
    mailbox.ok().map(ForwardPath)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// White space and comments; a comment without its end goes to the end.
    fn skip_space(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                Some(b'(') => self.skip_comment(),
                _ => return,
            }
        }
    }

    fn skip_comment(&mut self) {
        let mut depth = 0usize;
        while let Some(b) = self.peek() {
            self.at += 1;
            match b {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => self.at += 1,
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Reads to the next `,` or `;`. False when there is no address to tell of: a group's name.
    fn entry(&mut self, address: &mut Address<'a>) -> bool {
        let start = self.at;
        address.all.clear();
        address.local = None;
        let is_sound = self.words(&mut address.all);
        match self.peek() {
            Some(b':') if is_sound && self.text.get(start) != Some(&b':') => {
                self.at += 1;
                return false;
            }
            Some(b'<') => {
                address.all.clear();
                self.at += 1;
                self.angle(address);
                self.skip_space();
                if self.peek().is_some_and(|b| !matches!(b, b',' | b';')) {
                    address.local = None;
                }
            }
            Some(b'@') if is_sound && !address.all.is_empty() => self.domain_behind(address),
            _ => {}
        }
        self.skip_rest();
        let raw = self.text.get(start..self.at).unwrap_or(&[]).trim_ascii();
        address.raw = raw;
        if address.local.is_none() {
            address.all = SmallVec::from_slice(raw);
        }
        true
    }

    /// `addr>` behind `<`, a route before it skipped.
    fn angle(&mut self, address: &mut Address<'a>) {
        self.skip_space();
        if self.peek() == Some(b'@') {
            let rest = self.text.get(self.at..).unwrap_or(&[]);
            match memchr::memchr2(b':', b'>', rest) {
                Some(end) if rest.get(end) == Some(&b':') => self.at += end + 1,
                _ => return,
            }
        }
        let is_sound = self.words(&mut address.all);
        if self.peek() != Some(b'@') || !is_sound || address.all.is_empty() {
            return;
        }
        self.domain_behind(address);
        if self.peek() == Some(b'>') {
            self.at += 1;
        } else {
            address.local = None;
        }
    }

    /// The domain at an `@`, up to what must follow it.
    fn domain_behind(&mut self, address: &mut Address<'a>) {
        let local = address.all.len();
        self.at += 1;
        address.all.push(b'@');
        self.skip_space();
        let is_sound =
            if self.peek() == Some(b'[') { self.literal(&mut address.all) } else { self.labels(&mut address.all) };
        self.skip_space();
        if is_sound && address.all.len() > local + 1 && matches!(self.peek(), None | Some(b',' | b';' | b'>')) {
            address.local = Some(local);
        }
    }

    fn labels(&mut self, out: &mut Part) -> bool {
        loop {
            let start = self.at;
            while self.peek().is_some_and(|b| is_atext(b) && b != b'"') {
                self.at += 1;
            }
            if self.at == start {
                return false;
            }
            out.extend_from_slice(self.text.get(start..self.at).unwrap_or(&[]));
            self.skip_space();
            if self.peek() != Some(b'.') {
                return true;
            }
            self.at += 1;
            out.push(b'.');
            self.skip_space();
        }
    }

    fn literal(&mut self, out: &mut Part) -> bool {
        let rest = self.text.get(self.at..).unwrap_or(&[]);
        match memchr::memchr(b']', rest) {
            Some(end) => {
                out.extend(rest.iter().take(end + 1).copied().filter(|b| !b.is_ascii_whitespace()));
                self.at += end + 1;
                true
            }
            None => false,
        }
    }

    /// Words and dots: a phrase or a local-part, unquoted. False when it can be no local-part: two words
    /// stand side by side.
    fn words(&mut self, out: &mut Part) -> bool {
        let mut is_local = true;
        let mut is_after_word = false;
        loop {
            self.skip_space();
            match self.peek() {
                Some(b'"') => {
                    is_local &= !is_after_word;
                    self.quoted(out);
                    is_after_word = true;
                }
                Some(b'.') => {
                    self.at += 1;
                    out.push(b'.');
                    is_after_word = false;
                }
                Some(b) if is_atext(b) => {
                    is_local &= !is_after_word;
                    while let Some(b) = self.peek().filter(|b| is_atext(*b)) {
                        out.push(b);
                        self.at += 1;
                    }
                    is_after_word = true;
                }
                _ => return is_local || matches!(self.peek(), Some(b':')),
            }
        }
    }

    fn quoted(&mut self, out: &mut Part) {
        self.at += 1;
        while let Some(b) = self.peek() {
            self.at += 1;
            match b {
                b'"' => return,
                b'\\' => {
                    if let Some(escaped) = self.peek() {
                        out.push(escaped);
                        self.at += 1;
                    }
                }
                b'\r' | b'\n' => {}
                b => out.push(b),
            }
        }
    }

    /// To the `,` or `;` that ends the entry, over quoted strings, comments and brackets.
    fn skip_rest(&mut self) {
        let mut sink = Part::new();
        while let Some(b) = self.peek() {
            match b {
                b',' | b';' => return,
                b'"' => self.quoted(&mut sink),
                b'(' => self.skip_comment(),
                _ => self.at += 1,
            }
            sink.clear();
        }
    }
}

/// RFC 5322 §3.2.3 with UTF-8 (RFC 6532 §3.2).
fn is_atext(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(value: &str, part: AddressPart) -> Vec<String> {
        let mut found = Vec::new();
        let _ = each::<()>(value.as_bytes(), |address| {
            if let Some(text) = address.part(part, b"+") {
                found.push(String::from_utf8_lossy(text).into_owned());
            }
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn addresses_are_found_among_phrases_and_groups() {
        let all = |value| parts(value, AddressPart::All);
        assert_eq!(all("a@b.c, \"D, E\" <d(x)@e.f>"), ["a@b.c", "d@e.f"]);
        assert_eq!(all("friends: a@b.c, d@e.f;, g@h.i"), ["a@b.c", "d@e.f", "g@h.i"]);
        assert_eq!(all("undisclosed-recipients:;"), [""; 0]);
        assert_eq!(all("J. R. \"Bob\" Dobbs <@x.y,@z.w:bob@sub.example>"), ["bob@sub.example"]);
        assert_eq!(all("\"a b\"@[192.0.2.1]"), ["a b@[192.0.2.1]"]);
        assert_eq!(all("=?UTF-8?B?RnJpZXBAZnJvcA0K?=\r\n\t<friep@example.com>"), ["friep@example.com"]);
    }

    #[test]
    fn what_is_no_address_matches_as_a_whole_only() {
        for (value, all) in
            [("nonsense", "nonsense"), ("stephan@", "stephan@"), ("@example.org", "@example.org"), ("", "")]
        {
            assert_eq!(parts(value, AddressPart::All), [all], "{value}");
            assert!(parts(value, AddressPart::LocalPart).is_empty(), "{value}");
            assert!(parts(value, AddressPart::Domain).is_empty(), "{value}");
        }
        assert_eq!(parts("Stephan Bosch error@example.org", AddressPart::Domain), [""; 0]);
        assert_eq!(parts("\"Frop <frop@example.org>\"", AddressPart::Domain), [""; 0]);
    }

    #[test]
    fn parts_of_the_local_part() {
        assert_eq!(parts("ken+sieve@x.y", AddressPart::User), ["ken"]);
        assert_eq!(parts("ken+sieve+x@x.y", AddressPart::Detail), ["sieve+x"]);
        assert_eq!(parts("ken@x.y", AddressPart::User), ["ken"]);
        assert_eq!(parts("ken@x.y", AddressPart::Detail), [""; 0]);
        assert_eq!(parts("ken+@x.y", AddressPart::Detail), [""]);
    }

    #[test]
    fn outgoing_addresses_are_single_and_whole() {
        for not in [
            "@wrong.example.com",
            "error",
            "error@",
            "Stephan Bosch error@example.org",
            "Stephan Bosch <error@example.org",
            " more error @  example.com  ",
            "@",
            "<>",
            "Error <",
            "Error <stephan",
            "Error <stephan@",
            "stephan@example.org,tss@example.net",
            "stephan@example.org,%&^&!!~",
            "rüdiger@example.com",
            "",
        ] {
            assert_eq!(outgoing(not.as_bytes()), None, "{not}");
        }
        for (text, path) in [
            ("Ok Good <stephan@example.org>", "stephan@example.org"),
            (" more  @  example.com  ", "more@example.com"),
            ("..japanese...localpart..@example.com", "\"..japanese...localpart..\"@example.com"),
        ] {
            assert_eq!(outgoing(text.as_bytes()).map(|p| p.as_str().to_owned()).as_deref(), Some(path));
        }
    }

    proptest! {
        #[test]
        fn reading_always_ends(value in prop::collection::vec(prop::sample::select(b"a@<>(),;:\"\\ .[]\xc3".to_vec()), 0..40)) {
            let mut count = 0;
            let _ = each::<()>(&value, |_| { count += 1; ControlFlow::Continue(()) });
            prop_assert!(count <= value.len() + 1);
        }
    }
}
