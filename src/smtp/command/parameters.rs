//! The parameters of MAIL and RCPT (RFC 5321 §4.1.2 `esmtp-param`), parsed to values.

use std::time::Duration;

use compact_str::CompactString;

use super::{CommandError, is_blank, number};
use crate::base::WallTime;
use crate::base::limits::{ENVID_BYTES_MAX, ORCPT_BYTES_MAX};
use crate::mail::address::MailboxRef;
use crate::mail::{BodyType, DeliverBy, DeliverByMode, MailParameters, Notify, OriginalRecipient, Ret};
use crate::smtp::xtext;

/// Octets of a SOLICIT value (RFC 3865 §2: 1,000).
const SOLICIT_BYTES_MAX: usize = 1000;

/// Text in xtext, checked: it decodes to printable US-ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xtext<'a>(&'a [u8]);

impl<'a> Xtext<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        (!value.is_empty() && xtext::is_valid(value)).then_some(Xtext(value))
    }

    /// The text itself.
    pub fn decode(&self) -> CompactString {
        xtext::decode(self.0).unwrap_or_default().into()
    }

    /// The text as it came.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

/// HOLDFOR or HOLDUNTIL (RFC 4865 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// So many seconds from now, 1 to 999,999,999.
    For(u32),
    /// Until then; that it lies in the future has not been checked.
    Until(WallTime),
}

/// BY (RFC 2852 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By {
    /// Seconds from now; positive with R, any sign with N.
    pub seconds: i32,
    /// R or N.
    pub mode: DeliverByMode,
    /// T.
    pub trace: bool,
}

/// AUTH of MAIL (RFC 4954 §5). Never believed from a client that is not trusted to say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthParameter<'a> {
    /// `AUTH=<>`.
    Unknown,
    /// The mailbox that submitted the message, in xtext.
    Mailbox(Xtext<'a>),
}

/// The parameters of MAIL as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailArguments<'a> {
    /// SIZE: declared octets.
    pub size: Option<u64>,
    /// BODY.
    pub body: Option<BodyType>,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID.
    pub envid: Option<Xtext<'a>>,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// REQUIRETLS.
    pub requiretls: bool,
    /// HOLDFOR or HOLDUNTIL.
    pub hold: Option<Hold>,
    /// BY.
    pub by: Option<By>,
    /// MT-PRIORITY, -9 to 9.
    pub priority: Option<i8>,
    /// AUTH.
    pub auth: Option<AuthParameter<'a>>,
    /// SOLICIT: keywords joined by commas.
    pub solicit: Option<&'a str>,
}

/// ORCPT as it was given, checked (RFC 3461 §4.2, RFC 6533 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OriginalRecipientRef<'a> {
    kind: &'a str,
    encoded: &'a str,
}

/// The parameters of RCPT as they were given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RcptArguments<'a> {
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT.
    pub original: Option<OriginalRecipientRef<'a>>,
}

impl<'a> MailArguments<'a> {
    pub(super) fn parse(rest: &'a [u8]) -> Result<Self, CommandError> {
        let mut arguments = MailArguments::default();
        let mut words = Words(rest);
        while let Some(Word { key, value }) = words.next()? {
            match key {
                BY => once(&mut arguments.by, "BY", value, by),
                RET => once(&mut arguments.ret, "RET", value, ret),
                SIZE => once(&mut arguments.size, "SIZE", value, |v| number(v, 20)),
                BODY => once(&mut arguments.body, "BODY", value, body),
                AUTH => once(&mut arguments.auth, "AUTH", value, auth),
                ENVID => once(&mut arguments.envid, "ENVID", value, envid),
                HOLDFOR => once(&mut arguments.hold, "HOLDFOR", value, hold_for),
                SOLICIT => once(&mut arguments.solicit, "SOLICIT", value, solicit),
                SMTPUTF8 => flag(&mut arguments.smtputf8, "SMTPUTF8", value),
                HOLDUNTIL => once(&mut arguments.hold, "HOLDUNTIL", value, hold_until),
                REQUIRETLS => flag(&mut arguments.requiretls, "REQUIRETLS", value),
                MT_PRIORITY => once(&mut arguments.priority, "MT-PRIORITY", value, priority),
                _ => Err(CommandError::UnknownParameter),
            }?;
        }
        Ok(arguments)
    }

    /// No parameter at all.
    pub fn is_empty(&self) -> bool {
        *self == MailArguments::default()
    }

    /// The parameters as the envelope keeps them: times made absolute, texts decoded.
    pub fn to_parameters(&self, now: WallTime) -> MailParameters {
        MailParameters {
            size: self.size,
            body: self.body.unwrap_or_default(),
            smtputf8: self.smtputf8,
            requiretls: self.requiretls,
            ret: self.ret,
            envid: self.envid.map(|text| text.decode()),
            priority: self.priority.unwrap_or(0),
            hold_until: self.hold.map(|hold| match hold {
                Hold::For(seconds) => now + Duration::from_secs(u64::from(seconds)),
                Hold::Until(at) => at,
            }),
            deliver_by: self.by.map(|by| DeliverBy { deadline: by.deadline(now), mode: by.mode, trace: by.trace }),
            solicit: self.solicit.map(CompactString::new),
        }
    }
}

impl By {
    /// When the time is over.
    pub fn deadline(&self, now: WallTime) -> WallTime {
        let span = Duration::from_secs(u64::from(self.seconds.unsigned_abs()));
        if self.seconds < 0 { now - span } else { now + span }
    }
}

impl<'a> RcptArguments<'a> {
    pub(super) fn parse(rest: &'a [u8]) -> Result<Self, CommandError> {
        let mut arguments = RcptArguments::default();
        let mut words = Words(rest);
        while let Some(Word { key, value }) = words.next()? {
            match key {
                NOTIFY => once(&mut arguments.notify, "NOTIFY", value, notify),
                ORCPT => once(&mut arguments.original, "ORCPT", value, OriginalRecipientRef::parse),
                _ => Err(CommandError::UnknownParameter),
            }?;
        }
        Ok(arguments)
    }

    /// No parameter at all.
    pub fn is_empty(&self) -> bool {
        self.notify.is_none() && self.original.is_none()
    }
}

impl<'a> OriginalRecipientRef<'a> {
    fn parse(value: &'a [u8]) -> Option<Self> {
        if value.len() > ORCPT_BYTES_MAX {
            return None;
        }
        let (kind, encoded) = std::str::from_utf8(value).ok()?.split_once(';')?;
        let is_atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*-/?^_`{|}~.".contains(&b);
        if kind.is_empty() || encoded.is_empty() || !kind.bytes().all(is_atom) {
            return None;
        }
        let original = OriginalRecipientRef { kind, encoded };
        let is_valid = match original.is_utf8() {
            true => xtext::is_valid_utf8_address(encoded),
            false => xtext::is_valid(encoded.as_bytes()),
        };
        is_valid.then_some(original)
    }

    fn decode(&self) -> Option<String> {
        if self.is_utf8() { xtext::decode_utf8_address(self.encoded) } else { xtext::decode(self.encoded.as_bytes()) }
    }

    /// The address type as it was given.
    pub fn kind(&self) -> &'a str {
        self.kind
    }

    /// It is US-ASCII as it was given; otherwise it needs SMTPUTF8 (RFC 6533 §3).
    pub fn is_ascii(&self) -> bool {
        self.encoded.is_ascii()
    }

    /// The address is of type `utf-8` (RFC 6533).
    pub fn is_utf8(&self) -> bool {
        self.kind.eq_ignore_ascii_case("utf-8")
    }

    /// The original recipient on its own, decoded.
    pub fn to_original(&self) -> OriginalRecipient {
        OriginalRecipient {
            kind: CompactString::from(self.kind).to_lowercase(),
            address: self.decode().unwrap_or_default().into(),
        }
    }
}

/// A parameter: `keyword` or `keyword=value`.
struct Word<'a> {
    key: u128,
    value: Option<&'a [u8]>,
}

/// The parameters behind a path, one after the other; each octet is looked at once.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// The next parameter. A value holds no control character; 8-bit is the parameter's business.
    #[inline]
    fn next(&mut self) -> Result<Option<Word<'a>>, CommandError> {
        const EXPECTED: CommandError = CommandError::Syntax("keyword[=value] parameters");
        let text = super::trim_start(self.0);
        if text.is_empty() {
            return Ok(None);
        }
        let (mut key, mut length) = (0, 0);
        for &b in text {
            if OCTET[usize::from(b)] & KEYWORD == 0 {
                break;
            }
            key = (key << 8) | u128::from(b.to_ascii_uppercase());
            length += 1;
        }
        // A hyphen does not begin a keyword; one that is longer than all known is not told from another of its end.
        if length == 0 || text.first() == Some(&b'-') {
            return Err(EXPECTED);
        }
        let key = if length > KEYWORD_BYTES_MAX { 0 } else { key };
        let (value, rest) = match text.get(length..).unwrap_or_default() {
            [b'=', rest @ ..] => {
                let end = rest.iter().position(|&b| OCTET[usize::from(b)] & VALUE == 0).unwrap_or(rest.len());
                let (value, rest) = rest.split_at_checked(end).unwrap_or((rest, b""));
                (Some(value), rest)
            }
            rest => (None, rest),
        };
        if rest.first().is_some_and(|&b| !is_blank(b)) {
            return Err(EXPECTED);
        }
        self.0 = rest;
        Ok(Some(Word { key, value }))
    }
}

/// Octet of a keyword.
const KEYWORD: u8 = 1;
/// Octet of a value.
const VALUE: u8 = 2;
/// What each octet may be part of.
const OCTET: [u8; 256] = {
    let mut octets = [0; 256];
    let mut b = 0;
    while b < 256 {
        let octet = b as u8;
        if octet.is_ascii_alphanumeric() || octet == b'-' {
            octets[b] |= KEYWORD;
        }
        if octet > b' ' && octet != 0x7f {
            octets[b] |= VALUE;
        }
        b += 1;
    }
    octets
};

/// Octets of a keyword that make a key.
const KEYWORD_BYTES_MAX: usize = 16;

/// A keyword in upper case as one number.
const fn key(name: &[u8]) -> u128 {
    assert!(name.len() <= KEYWORD_BYTES_MAX);
    let (mut key, mut i) = (0, 0);
    while i < name.len() {
        key = (key << 8) | name[i] as u128;
        i += 1;
    }
    key
}

const BY: u128 = key(b"BY");
const RET: u128 = key(b"RET");
const SIZE: u128 = key(b"SIZE");
const BODY: u128 = key(b"BODY");
const AUTH: u128 = key(b"AUTH");
const ENVID: u128 = key(b"ENVID");
const HOLDFOR: u128 = key(b"HOLDFOR");
const SOLICIT: u128 = key(b"SOLICIT");
const SMTPUTF8: u128 = key(b"SMTPUTF8");
const HOLDUNTIL: u128 = key(b"HOLDUNTIL");
const REQUIRETLS: u128 = key(b"REQUIRETLS");
const MT_PRIORITY: u128 = key(b"MT-PRIORITY");
const NOTIFY: u128 = key(b"NOTIFY");
const ORCPT: u128 = key(b"ORCPT");

/// Fills a slot once, with a value that must be there and must parse.
fn once<'a, T>(
    slot: &mut Option<T>,
    name: &'static str,
    value: Option<&'a [u8]>,
    parse: impl FnOnce(&'a [u8]) -> Option<T>,
) -> Result<(), CommandError> {
    if slot.is_some() {
        return Err(CommandError::DuplicateParameter(name));
    }
    *slot = Some(value.and_then(parse).ok_or(CommandError::BadParameter(name))?);
    Ok(())
}

fn flag(slot: &mut bool, name: &'static str, value: Option<&[u8]>) -> Result<(), CommandError> {
    match (*slot, value) {
        (true, _) => Err(CommandError::DuplicateParameter(name)),
        (false, Some(_)) => Err(CommandError::BadParameter(name)),
        (false, None) => {
            *slot = true;
            Ok(())
        }
    }
}

fn body(value: &[u8]) -> Option<BodyType> {
    match value {
        v if v.eq_ignore_ascii_case(b"8BITMIME") => Some(BodyType::EightBitMime),
        v if v.eq_ignore_ascii_case(b"7BIT") => Some(BodyType::SevenBit),
        v if v.eq_ignore_ascii_case(b"BINARYMIME") => Some(BodyType::BinaryMime),
        _ => None,
    }
}

fn ret(value: &[u8]) -> Option<Ret> {
    match value {
        v if v.eq_ignore_ascii_case(b"FULL") => Some(Ret::Full),
        v if v.eq_ignore_ascii_case(b"HDRS") => Some(Ret::Headers),
        _ => None,
    }
}

fn envid(value: &[u8]) -> Option<Xtext<'_>> {
    (value.len() <= ENVID_BYTES_MAX).then(|| Xtext::parse(value)).flatten()
}

/// RFC 4954 §5 has `<>` as it is, in xtext it is the same.
fn auth(value: &[u8]) -> Option<AuthParameter<'_>> {
    if value == b"<>" {
        return Some(AuthParameter::Unknown);
    }
    let text = Xtext::parse(value)?;
    MailboxRef::parse(&text.decode(), false).ok()?;
    Some(AuthParameter::Mailbox(text))
}

fn hold_for(value: &[u8]) -> Option<Hold> {
    number(value, 9).filter(|&n| n > 0).map(|n| Hold::For(n as u32))
}

/// A date and time of RFC 3339 with its offset; jiff alone would take more spellings.
fn hold_until(value: &[u8]) -> Option<Hold> {
    let text = std::str::from_utf8(value).ok()?;
    let bytes = text.as_bytes();
    let has_shape = bytes.len() <= 40 && bytes.get(10).is_some_and(|b| b.eq_ignore_ascii_case(&b'T'));
    let has_offset = matches!(bytes, [.., b'Z' | b'z']) || matches!(bytes, [.., b'+' | b'-', _, _, b':', _, _]);
    let is_plain = bytes.iter().all(|b| b.is_ascii_digit() || b"TtZz:.+-".contains(b));
    if !(has_shape && has_offset && is_plain) {
        return None;
    }
    let millis = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    u64::try_from(millis).ok().map(|ms| Hold::Until(WallTime(ms)))
}

fn by(value: &[u8]) -> Option<By> {
    let at = memchr::memchr(b';', value)?;
    let (time, mode) = (value.get(..at)?, value.get(at + 1..)?);
    let (is_negative, digits) = match time {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let seconds = i32::try_from(number(digits, 9)?).ok()?;
    let seconds = if is_negative { -seconds } else { seconds };
    let (mode, trace) = match mode {
        [m] => (m, false),
        [m, b'T' | b't'] => (m, true),
        _ => return None,
    };
    match mode.to_ascii_uppercase() {
        b'R' if seconds > 0 => Some(By { seconds, mode: DeliverByMode::Return, trace }),
        b'N' => Some(By { seconds, mode: DeliverByMode::Notify, trace }),
        _ => None,
    }
}

/// `priority-value` of RFC 6710 §5: -9 to 9, without a plus sign and without -0.
fn priority(value: &[u8]) -> Option<i8> {
    match value {
        [digit @ b'0'..=b'9'] => Some((digit - b'0') as i8),
        [b'-', digit @ b'1'..=b'9'] => Some(-((digit - b'0') as i8)),
        _ => None,
    }
}

/// Keywords of RFC 3865 §2.3: a letter, then letters, digits and `-_.:`, joined by commas.
fn solicit(value: &[u8]) -> Option<&str> {
    let is_keyword = |word: &[u8]| {
        word.first().is_some_and(u8::is_ascii_alphabetic)
            && word.iter().all(|&b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    let is_valid = value.len() <= SOLICIT_BYTES_MAX && value.split(|&b| b == b',').all(is_keyword);
    if is_valid { std::str::from_utf8(value).ok() } else { None }
}

fn notify(value: &[u8]) -> Option<Notify> {
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Some(Notify::NEVER);
    }
    let mut notify = Notify::NEVER;
    for word in value.split(|&b| b == b',') {
        match word {
            w if w.eq_ignore_ascii_case(b"SUCCESS") => notify.success = true,
            w if w.eq_ignore_ascii_case(b"FAILURE") => notify.failure = true,
            w if w.eq_ignore_ascii_case(b"DELAY") => notify.delay = true,
            _ => return None,
        }
    }
    Some(notify)
}
