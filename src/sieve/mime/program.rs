//! What the MIME extensions compile to.

use super::super::program::{AddressPart, Matcher, Modifier, Occurrence, Slot, Text, Texts};

/// `body` (RFC 5173).
#[derive(Debug, Clone)]
pub(in crate::sieve) struct BodyTest {
    pub transform: Transform,
    pub matcher: Matcher,
}

/// What of the body is looked at.
#[derive(Debug, Clone)]
pub(in crate::sieve) enum Transform {
    Raw,
    Text,
    /// Of parts of these types.
    Content(Texts),
}

/// `header`, `address` or `exists` with `:mime` (RFC 5703 §4).
#[derive(Debug, Clone)]
pub(in crate::sieve) struct MimeTest {
    pub look: Look,
    pub is_any_child: bool,
    pub headers: Texts,
    /// None of `exists`.
    pub matcher: Option<Matcher>,
    pub occurrence: Option<Occurrence>,
}

/// What of a field is looked at.
#[derive(Debug, Clone)]
pub(in crate::sieve) enum Look {
    /// That it is there.
    Exists,
    Address(AddressPart),
    Value,
    Type,
    Subtype,
    ContentType,
    Parameters(Texts),
}

/// `replace` (RFC 5703 §5).
#[derive(Debug, Clone)]
pub(in crate::sieve) struct ReplaceCommand {
    pub is_mime: bool,
    pub subject: Option<Text>,
    pub from: Option<Text>,
    pub content: Text,
}

/// `enclose` (RFC 5703 §6).
#[derive(Debug, Clone)]
pub(in crate::sieve) struct EncloseCommand {
    pub subject: Option<Text>,
    pub headers: Texts,
    pub text: Text,
}

/// `extracttext` (RFC 5703 §7).
#[derive(Debug, Clone)]
pub(in crate::sieve) struct ExtractCommand {
    pub slot: Slot,
    /// Characters at most.
    pub first: Option<u64>,
    pub modifiers: Box<[Modifier]>,
}

/// `convert` (RFC 6558).
#[derive(Debug, Clone)]
pub(in crate::sieve) struct ConvertCommand {
    pub from: Text,
    pub to: Text,
    pub parameters: Texts,
}
