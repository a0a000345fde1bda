//! Addresses of the envelope: mailboxes, domains and paths (RFC 5321 §4.1.2, RFC 6531 §3.3).
//!
//! What is accepted is exactly what the grammar allows, with one leniency that the wire needs: a
//! source route before a path is read and dropped (RFC 5321 appendix C). A local-part keeps its
//! spelling and is never interpreted: `%` and `!` are ordinary characters.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use compact_str::CompactString;

use crate::base::limits::{DOMAIN_BYTES_MAX, LOCAL_PART_BYTES_MAX, PATH_BYTES_MAX};

/// A mailbox: `local-part@domain`, or `postmaster` alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    text: CompactString,
    /// Where the `@` is; the length of the text for a bare postmaster.
    at: u16,
}

/// The reverse-path of MAIL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: a report; nothing is ever reported back.
    Null,
    /// A mailbox.
    Mailbox(Mailbox),
}

/// The forward-path of RCPT. `<Postmaster>` without a domain is a mailbox whose domain is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ForwardPath(pub Mailbox);

/// A domain name or address literal as the peer may spell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// A name in the spelling of its source, without a trailing dot.
    Name(CompactString),
    /// An address literal: `[192.0.2.1]`, `[IPv6:2001:db8::1]`.
    Literal(IpAddr),
}

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing there, or an empty local-part or domain.
    #[error("empty address")]
    Empty,
    /// No `@`.
    #[error("no domain")]
    NoDomain,
    /// The local-part breaks the grammar.
    #[error("bad local-part")]
    LocalPart,
    /// The domain breaks the grammar.
    #[error("bad domain")]
    Domain,
    /// The address literal breaks the grammar.
    #[error("bad address literal")]
    Literal,
    /// No angle brackets, or not one pair.
    #[error("path not in angle brackets")]
    Brackets,
    /// Longer than RFC 5321 §4.5.3.1 allows.
    #[error("too long")]
    TooLong,
    /// Not UTF-8, or 8-bit where SMTPUTF8 was not asked for.
    #[error("non-ASCII address needs SMTPUTF8")]
    NonAscii,
}

/// A mailbox that still lies in the buffer it was parsed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailboxRef<'a> {
    text: &'a str,
    at: u16,
}

impl<'a> MailboxRef<'a> {
    /// The bare `postmaster` that every server accepts (RFC 5321 §4.1.1.3).
    pub const POSTMASTER: MailboxRef<'static> = MailboxRef { text: "postmaster", at: 10 };

    /// Parses `local-part@domain`. Non-ASCII text is accepted only with `smtputf8`. Allocates nothing.
    pub fn parse(text: &'a str, smtputf8: bool) -> Result<MailboxRef<'a>, AddressError> {
        if !smtputf8 && !text.is_ascii() {
            return Err(AddressError::NonAscii);
        }
        let end = local_part_end(text)?;
        let domain = text[end..].strip_prefix('@').ok_or(AddressError::NoDomain)?;
        Domain::check(domain)?;
        if end > LOCAL_PART_BYTES_MAX || text.len() + 2 > PATH_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        Ok(MailboxRef { text, at: end as u16 })
    }

    /// Reads the commonest address at the front of `text` in one pass: a dot-string, `@`, a domain name,
    /// all US-ASCII, and then `>`. Gives it and the octets behind the `>`. What is spelled in any other
    /// way, or wrong, gives nothing: it goes through [`reverse_path`] and [`forward_path`].
    #[inline(always)] // its result is in registers then
    pub(crate) fn plain(text: &'a [u8]) -> Option<(MailboxRef<'a>, &'a [u8])> {
        let (at, _) = run_of_dotted(text, PLAIN_ATEXT)?;
        let (local, rest) = text.split_at_checked(at)?;
        let domain = rest.strip_prefix(b"@")?;
        let (end, seen) = run_of_dotted(domain, PLAIN_LABEL)?;
        let is_bounded =
            local.len() <= LOCAL_PART_BYTES_MAX && end <= DOMAIN_BYTES_MAX && at + 1 + end + 2 <= PATH_BYTES_MAX;
        // A label too long, or with a hyphen at an end, is the slow path's to name.
        let (domain, rest) = domain.split_at_checked(end)?;
        let has_hyphen_at_an_end = seen & HYPHEN != 0 && has_hyphen_at_an_end(domain);
        let is_plain = is_bounded && domain.len() <= 63 && !has_hyphen_at_an_end;
        let rest = rest.strip_prefix(b">").filter(|_| is_plain)?;
        let text = std::str::from_utf8(text.get(..at + 1 + end)?).ok()?;
        Some((MailboxRef { text, at: at as u16 }, rest))
    }

    /// The whole address.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The local-part in the sender's spelling, quotes included.
    pub fn local_part(&self) -> &'a str {
        &self.text[..usize::from(self.at)]
    }

    /// The domain in the sender's spelling; empty for a bare postmaster.
    pub fn domain(&self) -> &'a str {
        self.text.get(usize::from(self.at) + 1..).unwrap_or("")
    }

    /// The local-part without quoting: what a directory knows.
    pub fn local_part_unquoted(&self) -> Cow<'a, str> {
        unquoted(self.local_part())
    }

    /// The domain as routing and directories compare it: A-labels, lower case.
    pub fn domain_key(&self) -> Cow<'a, str> {
        domain_key(self.domain())
    }

    /// All octets are US-ASCII.
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }

    /// The mailbox on its own.
    pub fn to_mailbox(&self) -> Mailbox {
        Mailbox { text: CompactString::new(self.text), at: self.at }
    }
}

impl Mailbox {
    /// Parses `local-part@domain`. Non-ASCII text is accepted only with `smtputf8`.
    pub fn parse(text: &str, smtputf8: bool) -> Result<Mailbox, AddressError> {
        MailboxRef::parse(text, smtputf8).map(|mailbox| mailbox.to_mailbox())
    }

    /// The bare `postmaster` that every server accepts (RFC 5321 §4.1.1.3).
    pub fn postmaster() -> Mailbox {
        Mailbox { text: CompactString::const_new("postmaster"), at: 10 }
    }

    /// An address that was accepted before, from the spool. Never fails: what one release accepted,
    /// a stricter one must still deliver.
    pub fn from_stored(text: &str) -> Mailbox {
        let at = text.rfind('@').unwrap_or(text.len());
        Mailbox { text: CompactString::new(text), at: u16::try_from(at).unwrap_or(u16::MAX) }
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The local-part in the sender's spelling, quotes included.
    pub fn local_part(&self) -> &str {
        &self.text[..usize::from(self.at)]
    }

    /// The local-part without quoting: what a directory knows.
    pub fn local_part_unquoted(&self) -> Cow<'_, str> {
        unquoted(self.local_part())
    }

    /// The same mailbox, lent.
    pub fn borrowed(&self) -> MailboxRef<'_> {
        MailboxRef { text: &self.text, at: self.at }
    }

    /// The domain in the sender's spelling; empty for a bare postmaster.
    pub fn domain(&self) -> &str {
        self.text.get(usize::from(self.at) + 1..).unwrap_or("")
    }

    /// The domain as routing and directories compare it: A-labels, lower case.
    pub fn domain_key(&self) -> Cow<'_, str> {
        domain_key(self.domain())
    }

    /// All octets are US-ASCII.
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }
}

impl<'a> From<&'a Mailbox> for MailboxRef<'a> {
    fn from(mailbox: &'a Mailbox) -> MailboxRef<'a> {
        mailbox.borrowed()
    }
}

/// What a quoted-string means; any other local-part as it is.
fn unquoted(local: &str) -> Cow<'_, str> {
    match local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) {
        None => Cow::Borrowed(local),
        Some(inner) if !inner.contains('\\') => Cow::Borrowed(inner),
        Some(inner) => {
            let mut plain = String::with_capacity(inner.len());
            let mut chars = inner.chars();
            while let Some(c) = chars.next() {
                plain.extend(if c == '\\' { chars.next() } else { Some(c) });
            }
            Cow::Owned(plain)
        }
    }
}

/// A domain as routing and directories compare it: A-labels, lower case, no trailing dot.
pub fn domain_key(domain: &str) -> Cow<'_, str> {
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    if domain.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return Cow::Borrowed(domain);
    }
    if domain.is_ascii() {
        return Cow::Owned(domain.to_ascii_lowercase());
    }
    match idna::domain_to_ascii(domain) {
        Ok(ascii) => Cow::Owned(ascii),
        Err(_) => Cow::Owned(domain.to_lowercase()),
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl ReversePath {
    /// Parses the path of MAIL with its angle brackets.
    pub fn parse(path: &str, smtputf8: bool) -> Result<ReversePath, AddressError> {
        Ok(match reverse_path(path, smtputf8)? {
            None => ReversePath::Null,
            Some(mailbox) => ReversePath::Mailbox(mailbox.to_mailbox()),
        })
    }

    /// The address without brackets; empty for the null reverse-path.
    pub fn as_str(&self) -> &str {
        match self {
            ReversePath::Null => "",
            ReversePath::Mailbox(mailbox) => mailbox.as_str(),
        }
    }

    /// The mailbox, if it is one.
    pub fn mailbox(&self) -> Option<&Mailbox> {
        match self {
            ReversePath::Null => None,
            ReversePath::Mailbox(mailbox) => Some(mailbox),
        }
    }

    /// `<>`.
    pub fn is_null(&self) -> bool {
        matches!(self, ReversePath::Null)
    }
}

impl ForwardPath {
    /// Parses the path of RCPT with its angle brackets; `<Postmaster>` is one (RFC 5321 §4.1.1.3).
    pub fn parse(path: &str, smtputf8: bool) -> Result<ForwardPath, AddressError> {
        forward_path(path, smtputf8).map(|mailbox| ForwardPath(mailbox.to_mailbox()))
    }

    /// The address without brackets.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The mailbox.
    pub fn mailbox(&self) -> &Mailbox {
        &self.0
    }
}

/// Parses the path of MAIL in place: no mailbox is the null reverse-path.
pub fn reverse_path(path: &str, smtputf8: bool) -> Result<Option<MailboxRef<'_>>, AddressError> {
    match unbracket(path)? {
        "" => Ok(None),
        address => MailboxRef::parse(strip_source_route(address)?, smtputf8).map(Some),
    }
}

/// Parses the path of RCPT in place; `<Postmaster>` is one (RFC 5321 §4.1.1.3).
pub fn forward_path(path: &str, smtputf8: bool) -> Result<MailboxRef<'_>, AddressError> {
    let address = unbracket(path)?;
    if address.is_empty() {
        return Err(AddressError::Empty);
    }
    if address.eq_ignore_ascii_case("postmaster") {
        return Ok(MailboxRef::POSTMASTER);
    }
    MailboxRef::parse(strip_source_route(address)?, smtputf8)
}

fn unbracket(path: &str) -> Result<&str, AddressError> {
    if path.len() > PATH_BYTES_MAX * 2 {
        return Err(AddressError::TooLong); // a source route may make it longer, within reason
    }
    path.strip_prefix('<').and_then(|p| p.strip_suffix('>')).ok_or(AddressError::Brackets)
}

/// Drops `@a,@b:` (RFC 5321 §4.1.2 `A-d-l`, appendix C): accepted, checked, ignored.
fn strip_source_route(address: &str) -> Result<&str, AddressError> {
    if !address.starts_with('@') {
        return Ok(address);
    }
    let (route, mailbox) = address.split_once(':').ok_or(AddressError::Domain)?;
    for hop in route.split(',') {
        Domain::check(hop.strip_prefix('@').ok_or(AddressError::Domain)?)?;
    }
    Ok(mailbox)
}

impl Domain {
    /// Parses a domain name or an address literal of RFC 5321 §4.1.3.
    pub fn parse(text: &str) -> Result<Domain, AddressError> {
        match Domain::check(text)? {
            Some(ip) => Ok(Domain::Literal(ip)),
            None => Ok(Domain::Name(CompactString::new(text))),
        }
    }

    /// Checks a domain name or address literal in place: the address of a literal, nothing for a name.
    pub fn check(text: &str) -> Result<Option<IpAddr>, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.len() > DOMAIN_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        if let Some(literal) = text.strip_prefix('[') {
            let literal = literal.strip_suffix(']').ok_or(AddressError::Literal)?;
            return address_literal(literal).map(Some);
        }
        if is_domain_name(text) { Ok(None) } else { Err(AddressError::Domain) }
    }

    /// A name with at least two labels, not all digits at the end: what a public host says in EHLO.
    pub fn is_fqdn(&self) -> bool {
        match self {
            Domain::Literal(_) => true,
            Domain::Name(name) => match name.rsplit_once('.') {
                Some((_, top)) => !top.bytes().all(|b| b.is_ascii_digit()),
                None => false,
            },
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Name(name) => f.write_str(name),
            Domain::Literal(IpAddr::V4(ip)) => write!(f, "[{ip}]"),
            Domain::Literal(IpAddr::V6(ip)) => write!(f, "[IPv6:{ip}]"),
        }
    }
}

/// Labels of letters, digits, hyphens inside, underscores as the world uses them, and U-labels; each
/// of 1 to 63 octets, joined by single dots.
fn is_domain_name(text: &str) -> bool {
    let (mut label_bytes, mut last) = (0u32, b'.');
    for &b in text.as_bytes() {
        if b == b'.' {
            if label_bytes == 0 || label_bytes > 63 || last == b'-' {
                return false;
            }
            label_bytes = 0;
        } else {
            if CLASS[usize::from(b)] & LABEL == 0 || (b == b'-' && label_bytes == 0) {
                return false;
            }
            label_bytes += 1;
        }
        last = b;
    }
    (1..=63).contains(&label_bytes) && last != b'-' && (text.is_ascii() || is_plain(text))
}

/// No control and no white space among the characters beyond US-ASCII.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii() || !(c.is_control() || c.is_whitespace()))
}

/// How far octets of a class go, in runs joined by single dots, and what was seen among them; nothing when a run is
/// empty.
#[inline(always)]
fn run_of_dotted(text: &[u8], class: u8) -> Option<(usize, u8)> {
    // What comes before the first octet, and after the last, counts as a dot: between two dots is an empty run.
    let (mut last, mut empty, mut seen, mut end) = (DOT, 0, 0, 0);
    let of = |b: u8| CLASS[usize::from(b)];
    // Four octets at once: one branch for all of them.
    while let Some(&[a, b, c, d]) = text.get(end..).and_then(|rest| rest.first_chunk()) {
        let (a, b, c, d) = (of(a), of(b), of(c), of(d));
        if a & b & c & d & class == 0 {
            break;
        }
        empty |= last & a | a & b | b & c | c & d;
        seen |= a | b | c | d;
        (last, end) = (d, end + 4);
    }
    for &b in text.get(end..)? {
        let this = of(b);
        if this & class == 0 {
            break;
        }
        empty |= last & this;
        seen |= this;
        (last, end) = (this, end + 1);
    }
    ((empty | last) & DOT == 0).then_some((end, seen))
}

/// `-` at the start or end of a label.
#[cold]
fn has_hyphen_at_an_end(domain: &[u8]) -> bool {
    domain.split(|&b| b == b'.').any(|label| label.starts_with(b"-") || label.ends_with(b"-"))
}

/// Octet allowed in a label.
const LABEL: u8 = 1;
/// Octet allowed in an atom of a local-part.
const ATEXT: u8 = 2;
/// Octet of a domain name: the same without octets of UTF-8, and the dot.
const PLAIN_LABEL: u8 = 4;
/// Octet of a dot-string: likewise.
const PLAIN_ATEXT: u8 = 8;

/// `-`.
const HYPHEN: u8 = 16;
/// `.`.
const DOT: u8 = 32;

/// What each octet may be part of. Octets of UTF-8 beyond US-ASCII may be part of both.
const CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut b = 0;
    while b < 256 {
        let octet = b as u8;
        if octet.is_ascii_alphanumeric() || octet == b'_' || octet == b'-' {
            class[b] = LABEL | ATEXT | PLAIN_LABEL | PLAIN_ATEXT;
        } else if octet >= 0x80 {
            class[b] = LABEL | ATEXT;
        }
        b += 1;
    }
    class[b'-' as usize] |= HYPHEN;
    class[b'.' as usize] = DOT | PLAIN_LABEL | PLAIN_ATEXT;
    let specials = b"!#$%&'*+/=?^`{|}~";
    let mut i = 0;
    while i < specials.len() {
        class[specials[i] as usize] = ATEXT | PLAIN_ATEXT;
        i += 1;
    }
    class
};

fn address_literal(text: &str) -> Result<IpAddr, AddressError> {
    let tagged = text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    match tagged {
        Some(_) => text[5..].parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| AddressError::Literal),
        None => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| AddressError::Literal),
    }
}

/// Where the local-part ends: a dot-string or a quoted-string of RFC 5321 §4.1.2.
fn local_part_end(text: &str) -> Result<usize, AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if text.starts_with('"') { quoted_string_end(text) } else { dot_string_end(text) }
}

fn quoted_string_end(text: &str) -> Result<usize, AddressError> {
    let mut chars = text.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok(i + 1),
            '\\' => match chars.next() {
                Some((_, ' '..='~')) => {}
                _ => return Err(AddressError::LocalPart),
            },
            ' '..='~' => {}
            c if !c.is_ascii() && !c.is_control() => {}
            _ => return Err(AddressError::LocalPart),
        }
    }
    Err(AddressError::LocalPart)
}

fn dot_string_end(text: &str) -> Result<usize, AddressError> {
    let mut last = b'.';
    for (i, &b) in text.as_bytes().iter().enumerate() {
        match b {
            b'@' if last == b'.' => return Err(AddressError::LocalPart),
            b'@' if text[..i].is_ascii() || is_plain(&text[..i]) => return Ok(i),
            b'.' if last == b'.' => return Err(AddressError::LocalPart),
            b'.' => {}
            b if CLASS[usize::from(b)] & ATEXT == 0 => return Err(AddressError::LocalPart),
            _ => {}
        }
        last = b;
    }
    Err(AddressError::NoDomain)
}

#[cfg(test)]
mod tests {
    /// As [`run_of_dotted`], without haste.
    fn run_by_octets(text: &[u8], class: u8) -> Option<usize> {
        let end = text.iter().position(|b| CLASS[usize::from(*b)] & class == 0).unwrap_or(text.len());
        let has_empty = text[..end].split(|&b| b == b'.').any(<[u8]>::is_empty);
        (!has_empty).then_some(end)
    }

    proptest! {
        #[test]
        fn four_octets_at_once_are_the_same_as_each(
            text in prop::collection::vec(prop::sample::select(b"aZ09-._+=@>[`{/: \x00\x7f\xff".to_vec()), 0..30),
            plain in "[a-z0-9.-]{0,30}[@>.+]?[a-z]{0,9}",
        ) {
            for class in [PLAIN_ATEXT, PLAIN_LABEL] {
                for text in [&text[..], plain.as_bytes()] {
                    prop_assert_eq!(run_of_dotted(text, class).map(|(end, _)| end), run_by_octets(text, class));
                }
            }
        }
    }

    use super::*;
    use proptest::prelude::*;

    fn ok(text: &str) -> Mailbox {
        Mailbox::parse(text, true).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn splits_at_the_last_quote_not_the_first_at() {
        let mailbox = ok("\"a@b\\\"c\"@Example.ORG");
        assert_eq!(mailbox.local_part(), "\"a@b\\\"c\"");
        assert_eq!(mailbox.local_part_unquoted(), "a@b\"c");
        assert_eq!(mailbox.domain(), "Example.ORG");
        assert_eq!(mailbox.domain_key(), "example.org");
        assert_eq!(ok("\"\"@b").local_part_unquoted(), "", "the empty quoted string is one");
    }

    #[test]
    fn both_spellings_of_a_domain_route_alike() {
        assert_eq!(ok("a@B\u{fc}cher.example").domain_key(), ok("a@xn--bcher-kva.example").domain_key());
    }

    #[test]
    fn refuses_what_the_grammar_refuses() {
        for text in [
            "",
            "@",
            "a",
            "a@",
            "@b",
            "a..b@c",
            ".a@b",
            "a.@b",
            "a b@c",
            "a@b c",
            "a@-b.c",
            "a@b-.c",
            "a@b..c",
            "a@.b",
            "a@b.",
            "\"a@b",
            "a@[1.2.3]",
            "a@[IPv6:zz]",
            "a@[1.2.3.4",
            "a@b@c",
            "a\r\n@b",
            "a@b\0",
            "a@b(c)",
            "a(b)@c",
        ] {
            assert!(Mailbox::parse(text, true).is_err(), "{text:?}");
        }
        assert_eq!(Mailbox::parse("j\u{f6}rg@b", false), Err(AddressError::NonAscii));
        assert_eq!(Mailbox::parse(&format!("{}@b", "a".repeat(65)), false), Err(AddressError::TooLong));
    }

    #[test]
    fn paths_know_null_postmaster_and_source_routes() {
        assert_eq!(ReversePath::parse("<>", false), Ok(ReversePath::Null));
        assert_eq!(ForwardPath::parse("<>", false), Err(AddressError::Empty));
        assert_eq!(ForwardPath::parse("<PostMaster>", false).map(|p| p.as_str().to_owned()), Ok("postmaster".into()));
        assert_eq!(ForwardPath::parse("<@a.b,@c.d:x@y.z>", false).map(|p| p.as_str().to_owned()), Ok("x@y.z".into()));
        assert_eq!(ReversePath::parse("a@b", false), Err(AddressError::Brackets));
    }

    proptest! {
        #[test]
        fn what_parses_is_its_parts(text in "[ -~]{0,80}") {
            if let Ok(mailbox) = Mailbox::parse(&text, false) {
                prop_assert_eq!(format!("{}@{}", mailbox.local_part(), mailbox.domain()), text);
            }
        }

        #[test]
        fn the_short_way_agrees_with_the_long_one(text in "[a-c.@>\"\\\\\u{f6}_-]{0,30}", pad in 0usize..70) {
            let text = format!("{}{text}>", "x".repeat(pad));
            if let Some((mailbox, rest)) = MailboxRef::plain(text.as_bytes()) {
                let end = text.len() - rest.len();
                let path = format!("<{}", &text[..end]);
                prop_assert_eq!(forward_path(&path, false), Ok(mailbox));
            }
        }

        #[test]
        fn never_panics(text in ".{0,300}") {
            let _ = Mailbox::parse(&text, true);
            let _ = ReversePath::parse(&text, true);
            let _ = ForwardPath::parse(&text, false);
        }
    }
}
