//! The commands as they go on the wire, with their parameters. No octet that could end a line leaves here.

use crate::mail::{BodyType, DeliverByMode, MailParameters, Notify, OriginalRecipient, Recipient, Ret, ReversePath};
use crate::smtp::xtext;

/// `verb` with its space, and what we call ourselves.
pub(super) fn hello(out: &mut Vec<u8>, verb: &[u8], name: &str) {
    out.extend_from_slice(verb);
    out.extend(name.bytes().filter(|b| b.is_ascii_graphic()));
    out.extend_from_slice(b"\r\n");
}

/// Which parameters the peer takes and the message needs. What is not set here is not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// SIZE with these octets (RFC 1870).
    pub(super) size: Option<u64>,
    /// BODY.
    pub(super) body: BodyType,
    /// SMTPUTF8.
    pub(super) smtputf8: bool,
    /// REQUIRETLS.
    pub(super) requiretls: bool,
    /// RET, ENVID, NOTIFY and ORCPT.
    pub(super) dsn: bool,
    /// MT-PRIORITY.
    pub(super) priority: bool,
    /// BY with the seconds that are left.
    pub(super) by_seconds: Option<i64>,
}

/// MAIL with its parameters.
pub(super) fn mail(out: &mut Vec<u8>, reverse_path: &ReversePath, mail: &MailParameters, said: &Said) {
    out.extend_from_slice(b"MAIL FROM:<");
    path(out, reverse_path.as_str());
    out.push(b'>');
    let mut digits = itoa::Buffer::new();
    if let Some(size) = said.size {
        parameter(out, "SIZE=", digits.format(size));
    }
    match said.body {
        BodyType::SevenBit => {}
        BodyType::EightBitMime => parameter(out, "BODY=", "8BITMIME"),
        BodyType::BinaryMime => parameter(out, "BODY=", "BINARYMIME"),
    }
    if said.smtputf8 {
        parameter(out, "SMTPUTF8", "");
    }
    if said.requiretls {
        parameter(out, "REQUIRETLS", "");
    }
    if said.dsn {
        if let Some(ret) = mail.ret {
            parameter(out, "RET=", if ret == Ret::Full { "FULL" } else { "HDRS" });
        }
        if let Some(envid) = &mail.envid {
            out.extend_from_slice(b" ENVID=");
            encoded(out, envid, xtext::encode_into);
        }
    }
    if said.priority && mail.priority != 0 {
        parameter(out, "MT-PRIORITY=", digits.format(mail.priority));
    }
    if let (Some(seconds), Some(by)) = (said.by_seconds, mail.deliver_by) {
        parameter(out, "BY=", digits.format(seconds));
        out.extend_from_slice(if by.mode == DeliverByMode::Return { b";R" } else { b";N" });
        if by.trace {
            out.push(b'T');
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// RCPT with its parameters.
pub(super) fn rcpt(out: &mut Vec<u8>, recipient: &Recipient, said: &Said) {
    out.extend_from_slice(b"RCPT TO:<");
    path(out, recipient.path.as_str());
    out.push(b'>');
    if said.dsn {
        if let Some(notify) = recipient.notify {
            out.extend_from_slice(b" NOTIFY=");
            notify_words(out, notify);
        }
        if let Some(original) = &recipient.original {
            orcpt(out, original, said.smtputf8);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// `BDAT n LAST`: the whole content in one chunk (RFC 3030 §2).
pub(super) fn bdat_last(out: &mut Vec<u8>, size_bytes: u64) {
    out.extend_from_slice(b"BDAT ");
    out.extend_from_slice(itoa::Buffer::new().format(size_bytes).as_bytes());
    out.extend_from_slice(b" LAST\r\n");
}

fn parameter(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value.as_bytes());
}

/// A parsed address holds no control characters; should one ever do, it does not reach the wire.
fn path(out: &mut Vec<u8>, address: &str) {
    out.extend(address.bytes().filter(|b| !b.is_ascii_control()));
}

fn notify_words(out: &mut Vec<u8>, notify: Notify) {
    if notify.is_never() {
        out.extend_from_slice(b"NEVER");
        return;
    }
    let words = [(notify.success, "SUCCESS"), (notify.failure, "FAILURE"), (notify.delay, "DELAY")];
    for (i, (_, word)) in words.iter().filter(|(set, _)| *set).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(word.as_bytes());
    }
}

fn orcpt(out: &mut Vec<u8>, original: &OriginalRecipient, smtputf8: bool) {
    out.extend_from_slice(b" ORCPT=");
    out.extend(original.kind.bytes().filter(|b| b.is_ascii_graphic() && *b != b';'));
    out.push(b';');
    match (original.kind == "utf-8", smtputf8) {
        (false, _) => encoded(out, &original.address, xtext::encode_into),
        (true, true) => encoded(out, &original.address, xtext::encode_unitext_into),
        (true, false) => encoded(out, &original.address, xtext::encode_utf8_address_into),
    }
}

fn encoded(out: &mut Vec<u8>, text: &str, encode: impl FnOnce(&mut String, &str)) {
    let mut encoding = String::with_capacity(text.len() + 16);
    encode(&mut encoding, text);
    out.extend_from_slice(encoding.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original(kind: &str, address: &str) -> OriginalRecipient {
        OriginalRecipient { kind: kind.into(), address: address.into() }
    }

    fn written(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn addresses_are_encoded_as_the_peer_takes_them() {
        for (kind, address, smtputf8, expected) in [
            ("rfc822", "a+b=c@d", false, " ORCPT=rfc822;a+2Bb+3Dc@d"),
            ("rfc822", "a b\r\n@d", false, " ORCPT=rfc822;a+20b+0D+0A@d"),
            ("utf-8", "j\u{f6}rg+x@d", true, " ORCPT=utf-8;j\u{f6}rg\\x{2B}x@d"),
            ("utf-8", "j\u{f6}rg@d", false, " ORCPT=utf-8;j\\x{F6}rg@d"),
            ("x;y\r\n", "z", false, " ORCPT=xy;z"),
        ] {
            assert_eq!(written(|out| orcpt(out, &original(kind, address), smtputf8)), expected);
        }
    }

    #[test]
    fn notify_says_what_was_said() {
        let all = Notify { success: true, failure: true, delay: true };
        assert_eq!(written(|out| notify_words(out, all)), "SUCCESS,FAILURE,DELAY");
        assert_eq!(written(|out| notify_words(out, Notify::NEVER)), "NEVER");
        assert_eq!(written(|out| notify_words(out, Notify { delay: true, ..Notify::NEVER })), "DELAY");
    }
}
