//! Paths and their ESMTP parameters as texts: MAIL and RCPT as a filter is told them, and as it writes them.

use std::borrow::Cow;
use std::fmt::Write as _;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::codec::shown;
use crate::mail::{
    BodyType, Envelope, ForwardPath, MailParameters, Mailbox, Notify, OriginalRecipient, Recipient, Ret, ReversePath,
};

/// A path in brackets, then its parameters.
pub type Arguments<'a> = SmallVec<[Cow<'a, str>; 4]>;

/// MAIL's path and parameters, as they would be typed.
pub fn of_mail<'a>(envelope: &Envelope) -> Arguments<'a> {
    let MailParameters { size, body, smtputf8, requiretls, ret, envid, priority, .. } = &envelope.mail;
    let mut arguments: Arguments<'a> = SmallVec::new();
    arguments.push(format!("<{}>", envelope.reverse_path.as_str()).into());
    if let Some(size) = size {
        arguments.push(format!("SIZE={size}").into());
    }
    match body {
        BodyType::SevenBit => {}
        BodyType::EightBitMime => arguments.push("BODY=8BITMIME".into()),
        BodyType::BinaryMime => arguments.push("BODY=BINARYMIME".into()),
    }
    if *smtputf8 {
        arguments.push("SMTPUTF8".into());
    }
    if *requiretls {
        arguments.push("REQUIRETLS".into());
    }
    match ret {
        None => {}
        Some(Ret::Full) => arguments.push("RET=FULL".into()),
        Some(Ret::Headers) => arguments.push("RET=HDRS".into()),
    }
    if let Some(envid) = envid {
        arguments.push(format!("ENVID={}", xtext(envid)).into());
    }
    if *priority != 0 {
        arguments.push(format!("MT-PRIORITY={priority}").into());
    }
    arguments
}

/// RCPT's path and parameters, as they would be typed.
pub fn of_rcpt<'a>(recipient: &Recipient) -> Arguments<'a> {
    let mut arguments: Arguments<'a> = SmallVec::new();
    arguments.push(format!("<{}>", recipient.path.as_str()).into());
    if let Some(notify) = recipient.notify {
        let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
        let given: Vec<_> = words.iter().filter(|(is_given, _)| *is_given).map(|(_, word)| *word).collect();
        arguments.push(format!("NOTIFY={}", if given.is_empty() { "NEVER".into() } else { given.join(",") }).into());
    }
    if let Some(OriginalRecipient { kind, address }) = &recipient.original {
        arguments.push(format!("ORCPT={kind};{}", xtext(address)).into());
    }
    arguments
}

/// Why a path or a parameter of a filter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentFault {
    /// Not an address with a domain.
    #[error("not an address: {0}")]
    Path(String),
    /// A known parameter with a value that breaks its grammar.
    #[error("not a parameter: {0}")]
    Parameter(String),
}

/// Reads a reverse-path, with or without brackets; `<>` and nothing are the null one.
pub(super) fn reverse_path(text: &[u8]) -> Result<ReversePath, ArgumentFault> {
    match address(text).as_deref() {
        Some("") => Ok(ReversePath::Null),
        address => mailbox(text, address).map(ReversePath::Mailbox),
    }
}

/// Reads a forward-path, with or without brackets.
pub(super) fn forward_path(text: &[u8]) -> Result<ForwardPath, ArgumentFault> {
    match address(text).as_deref() {
        Some(address) if address.eq_ignore_ascii_case("postmaster") => Ok(ForwardPath(Mailbox::postmaster())),
        address => mailbox(text, address).map(ForwardPath),
    }
}

fn address(text: &[u8]) -> Option<Cow<'_, str>> {
    let text = text.trim_ascii();
    let inner = text.strip_prefix(b"<").and_then(|text| text.strip_suffix(b">")).unwrap_or(text);
    std::str::from_utf8(inner).ok().map(Cow::Borrowed)
}

fn mailbox(text: &[u8], address: Option<&str>) -> Result<Mailbox, ArgumentFault> {
    let parsed = address.and_then(|address| Mailbox::parse(address, true).ok());
    parsed.ok_or_else(|| ArgumentFault::Path(shown(text)))
}

/// What RET and ENVID among the parameters of a new reverse-path say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ReturnParameters {
    pub(super) ret: Option<Ret>,
    pub(super) envid: Option<CompactString>,
}

/// Reads the parameters of `SMFIR_CHGFROM`: RET and ENVID count; the others describe the content or the session,
/// which a filter cannot change by saying so.
pub(super) fn return_parameters(text: &[u8]) -> Result<ReturnParameters, ArgumentFault> {
    let mut found = ReturnParameters::default();
    for (name, value, whole) in words(text) {
        let fault = || ArgumentFault::Parameter(shown(whole));
        if name.eq_ignore_ascii_case(b"RET") {
            found.ret = Some(match () {
                () if value.eq_ignore_ascii_case(b"FULL") => Ret::Full,
                () if value.eq_ignore_ascii_case(b"HDRS") => Ret::Headers,
                () => return Err(fault()),
            });
        } else if name.eq_ignore_ascii_case(b"ENVID") {
            found.envid = Some(from_xtext(value).ok_or_else(fault)?);
        }
    }
    Ok(found)
}

/// Reads the parameters of `SMFIR_ADDRCPT_PAR`: NOTIFY and ORCPT; unknown ones are left out.
pub(super) fn rcpt_parameters(text: &[u8], recipient: &mut Recipient) -> Result<(), ArgumentFault> {
    for (name, value, whole) in words(text) {
        let fault = || ArgumentFault::Parameter(shown(whole));
        if name.eq_ignore_ascii_case(b"NOTIFY") {
            recipient.notify = Some(notify(value).ok_or_else(fault)?);
        } else if name.eq_ignore_ascii_case(b"ORCPT") {
            recipient.original = Some(original(value).ok_or_else(fault)?);
        }
    }
    Ok(())
}

/// Parameters as (name, value, whole), separated by white space.
fn words(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8], &[u8])> {
    text.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty()).map(|word| {
        let at = word.iter().position(|b| *b == b'=').unwrap_or(word.len());
        (word.get(..at).unwrap_or_default(), word.get(at + 1..).unwrap_or_default(), word)
    })
}

fn notify(value: &[u8]) -> Option<Notify> {
    if value.eq_ignore_ascii_case(b"NEVER") {
        return Some(Notify::NEVER);
    }
    let mut notify = Notify::NEVER;
    for word in value.split(|b| *b == b',') {
        match word.to_ascii_uppercase().as_slice() {
            b"SUCCESS" => notify.success = true,
            b"FAILURE" => notify.failure = true,
            b"DELAY" => notify.delay = true,
            _ => return None,
        }
    }
    Some(notify)
}

fn original(value: &[u8]) -> Option<OriginalRecipient> {
    let at = value.iter().position(|b| *b == b';')?;
    let (kind, address) = (value.get(..at)?, value.get(at + 1..)?);
    let is_atom = !kind.is_empty() && kind.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    let kind = std::str::from_utf8(kind).ok().filter(|_| is_atom)?.to_ascii_lowercase();
    Some(OriginalRecipient { kind: kind.into(), address: from_xtext(address).filter(|address| !address.is_empty())? })
}

/// RFC 3461 §4: what is not printable US-ASCII, and `+` and `=`, as `+` and two hexadecimal digits.
fn xtext(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if matches!(b, b'!'..=b'~') && !matches!(b, b'+' | b'=') {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "+{b:02X}"); // a string takes everything
        }
    }
    out
}

/// The text that xtext stands for; nothing when it is none or when a control character is in it.
fn from_xtext(text: &[u8]) -> Option<CompactString> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let (mut octets, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        octets.push(match first {
            b'+' => {
                let ([high, low], tail) = tail.split_first_chunk::<2>()?;
                rest = tail;
                (digit(*high)? << 4) | digit(*low)?
            }
            b'=' => return None,
            b'!'..=b'~' => *first,
            _ => return None,
        });
    }
    let text = CompactString::from_utf8(octets).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(parameters: &str) -> Result<Recipient, ArgumentFault> {
        let mut recipient = Recipient::new(forward_path(b"<b@two.test>").expect("an address"));
        rcpt_parameters(parameters.as_bytes(), &mut recipient)?;
        Ok(recipient)
    }

    #[test]
    fn parameters_survive_both_ways() {
        for text in
            ["", "NOTIFY=NEVER", "NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;a+2Bb@c", "NOTIFY=FAILURE ORCPT=rfc822;x@y"]
        {
            let written = of_rcpt(&recipient(text).expect("sound"));
            assert_eq!(written[0], "<b@two.test>");
            assert_eq!(written[1..].join(" "), text);
        }
        assert_eq!(recipient("notify=never X-OTHER=1 FLAG").expect("sound").notify, Some(Notify::NEVER));
        for text in [
            "NOTIFY=",
            "NOTIFY=SOMETIMES",
            "ORCPT=x",
            "ORCPT=;x",
            "ORCPT=rfc822;a+0A",
            "ORCPT=rfc822;a+",
            "ORCPT=rfc822;",
        ] {
            assert!(matches!(recipient(text), Err(ArgumentFault::Parameter(_))), "{text}");
        }
    }

    #[test]
    fn mail_is_written_as_it_is_typed() {
        let envelope = Envelope {
            reverse_path: ReversePath::Null,
            mail: MailParameters {
                size: Some(100),
                body: BodyType::EightBitMime,
                smtputf8: true,
                ret: Some(Ret::Headers),
                envid: Some("a b".into()),
                priority: -3,
                ..MailParameters::default()
            },
            recipients: Vec::new(),
        };
        assert_eq!(
            of_mail(&envelope).join(" "),
            "<> SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b MT-PRIORITY=-3"
        );
    }

    #[test]
    fn paths_with_and_without_brackets() {
        assert_eq!(reverse_path(b"<>"), Ok(ReversePath::Null));
        assert_eq!(reverse_path(b""), Ok(ReversePath::Null));
        assert_eq!(reverse_path(b" <a@b.test> ").expect("sound").as_str(), "a@b.test");
        assert_eq!(forward_path(b"a@b.test").expect("sound").as_str(), "a@b.test");
        assert_eq!(forward_path(b"<Postmaster>").expect("sound").as_str(), "postmaster");
        for text in [&b"<>"[..], b"", b"user", b"<a@b.test", b"a@b.test\r\nX: y", b"\xff@b.test", b"a@b@c d"] {
            assert!(matches!(forward_path(text), Err(ArgumentFault::Path(_))), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_new_sender_brings_ret_and_envid() {
        let found = return_parameters(b"SIZE=1 RET=full ENVID=x+2By BODY=8BITMIME").expect("sound");
        assert_eq!(found, ReturnParameters { ret: Some(Ret::Full), envid: Some("x+y".into()) });
        assert!(return_parameters(b"RET=SOME").is_err());
        assert!(return_parameters(b"ENVID=+0D+0A").is_err());
    }
}
