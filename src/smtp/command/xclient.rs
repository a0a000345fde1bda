//! XCLIENT of Postfix: what a trusted proxy says about the client behind it.

use std::net::IpAddr;

use super::{CommandError, Xtext, is_blank};

/// The attributes of one XCLIENT command, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XclientArguments<'a>(&'a [u8]);

/// One attribute. `[UNAVAILABLE]` and `[TEMPUNAVAIL]` give `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XclientAttribute<'a> {
    /// ADDR: the client's address.
    Address(Option<IpAddr>),
    /// PORT: the client's port.
    Port(Option<u16>),
    /// NAME: the client's verified name.
    Name(Option<Xtext<'a>>),
    /// HELO: what the client said in EHLO or HELO.
    Helo(Option<Xtext<'a>>),
    /// LOGIN: the authenticated identity.
    Login(Option<Xtext<'a>>),
    /// DESTADDR: the address the client connected to.
    DestinationAddress(Option<IpAddr>),
    /// DESTPORT: the port the client connected to.
    DestinationPort(Option<u16>),
    /// PROTO: SMTP (`false`) or ESMTP (`true`).
    IsEsmtp(bool),
}

impl<'a> XclientArguments<'a> {
    /// The names of the attributes that are understood, as the EHLO reply lists them.
    pub const NAMES: &'static str = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";

    pub(super) fn parse(arguments: &'a [u8]) -> Result<Self, CommandError> {
        if arguments.is_empty() {
            return Err(CommandError::Syntax("XCLIENT name=value ..."));
        }
        let attributes = XclientArguments(arguments);
        match attributes.words().all(|word| attribute(word).is_some()) {
            true => Ok(attributes),
            false => Err(CommandError::BadAttribute),
        }
    }

    /// The attributes, in their order.
    pub fn attributes(&self) -> impl Iterator<Item = XclientAttribute<'a>> + use<'a> {
        self.words().filter_map(attribute)
    }

    fn words(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.split(|&b| is_blank(b)).filter(|word| !word.is_empty())
    }
}

fn attribute(word: &[u8]) -> Option<XclientAttribute<'_>> {
    let at = memchr::memchr(b'=', word)?;
    let (name, value) = (word.get(..at)?, word.get(at + 1..)?);
    let is_known = !value.eq_ignore_ascii_case(b"[UNAVAILABLE]") && !value.eq_ignore_ascii_case(b"[TEMPUNAVAIL]");
    let value = is_known.then_some(value);
    let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
    Some(match () {
        () if is(b"ADDR") => XclientAttribute::Address(optional(value, address)?),
        () if is(b"PORT") => XclientAttribute::Port(optional(value, port)?),
        () if is(b"NAME") => XclientAttribute::Name(optional(value, Xtext::parse)?),
        () if is(b"HELO") => XclientAttribute::Helo(optional(value, Xtext::parse)?),
        () if is(b"LOGIN") => XclientAttribute::Login(optional(value, Xtext::parse)?),
        () if is(b"DESTADDR") => XclientAttribute::DestinationAddress(optional(value, address)?),
        () if is(b"DESTPORT") => XclientAttribute::DestinationPort(optional(value, port)?),
        () if is(b"PROTO") => match value? {
            v if v.eq_ignore_ascii_case(b"ESMTP") => XclientAttribute::IsEsmtp(true),
            v if v.eq_ignore_ascii_case(b"SMTP") => XclientAttribute::IsEsmtp(false),
            _ => return None,
        },
        () => return None,
    })
}

/// Nothing stays nothing; something must parse.
fn optional<'a, T>(value: Option<&'a [u8]>, parse: impl Fn(&'a [u8]) -> Option<T>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(value) => parse(value).map(Some),
    }
}

/// `192.0.2.1` or `IPV6:2001:db8::1`.
fn address(value: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(value).ok()?;
    match text.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPV6:") => text.get(5..)?.parse().ok().map(IpAddr::V6),
        _ => text.parse().ok(),
    }
}

fn port(value: &[u8]) -> Option<u16> {
    super::number(value, 5).and_then(|n| u16::try_from(n).ok())
}
