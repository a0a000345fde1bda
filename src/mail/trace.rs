//! Trace fields that we add on top of a message: Received, Return-Path, Delivered-To, Date, Message-ID.
//!
//! Values from outside (what the client said in EHLO, its reverse name, TLS names) are reduced to
//! printable text without parentheses, so that none can end a comment, a line or a field. Each field
//! is written with its CRLF into the caller's buffer.

use std::io::Write as _;
use std::net::IpAddr;

use super::address::{Mailbox, ReversePath};
use crate::base::WallTime;

/// How the message came in (RFC 5321 §4.4, RFC 3848, RFC 6531 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Protocol {
    /// LMTP instead of SMTP.
    pub is_lmtp: bool,
    /// The client said EHLO (LHLO implies it).
    pub is_extended: bool,
    /// SMTPUTF8 was given with MAIL.
    pub is_utf8: bool,
    /// Over TLS.
    pub is_tls: bool,
    /// The client authenticated.
    pub is_authenticated: bool,
}

impl Protocol {
    /// The keyword after `with`.
    pub fn keyword(self) -> &'static str {
        let secured = match (self.is_tls, self.is_authenticated) {
            (false, false) => 0,
            (true, false) => 1,
            (false, true) => 2,
            (true, true) => 3,
        };
        let names: [&str; 4] = match (self.is_lmtp, self.is_utf8, self.is_extended) {
            (true, true, _) => ["UTF8LMTP", "UTF8LMTPS", "UTF8LMTPA", "UTF8LMTPSA"],
            (true, false, _) => ["LMTP", "LMTPS", "LMTPA", "LMTPSA"],
            (false, true, _) => ["UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"],
            (false, false, true) => ["ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"],
            (false, false, false) => ["SMTP"; 4], // nothing is registered for HELO over TLS
        };
        names[secured]
    }
}

/// TLS of the session that brought the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsTrace<'a> {
    /// The version, such as `TLSv1.3`.
    pub version: &'a str,
    /// The cipher suite.
    pub cipher: &'a str,
    /// The name in a client certificate that was verified.
    pub verified_name: Option<&'a str>,
}

/// What a Received field tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedTrace<'a> {
    /// What the client said in EHLO, HELO or LHLO.
    pub helo: &'a str,
    /// The client's name, if reverse and forward lookups agree.
    pub remote_name: Option<&'a str>,
    /// The client's address.
    pub remote_ip: IpAddr,
    /// Number, name and country of the client's network, where known: `(AS64500 Example, NL)`.
    pub network: Option<(u32, &'a str, &'a str)>,
    /// TLS, if there was.
    pub tls: Option<TlsTrace<'a>>,
    /// Our host name.
    pub by: &'a str,
    /// How it came in.
    pub protocol: Protocol,
    /// Our id of the transaction: letters, digits, hyphens.
    pub id: &'a str,
    /// The recipient, only if there is exactly one: more would disclose blind copies (RFC 5321 §7.2).
    pub only_recipient: Option<&'a Mailbox>,
    /// When it was received.
    pub at: WallTime,
}

/// Writes the Received field (RFC 5321 §4.4).
pub fn write_received(out: &mut Vec<u8>, trace: &ReceivedTrace<'_>) {
    let is_utf8 = trace.protocol.is_utf8;
    out.extend_from_slice(b"Received: from ");
    push_word(out, trace.helo, is_utf8);
    out.extend_from_slice(b" (");
    push_word(out, trace.remote_name.unwrap_or("unknown"), is_utf8);
    let _ = match trace.remote_ip {
        IpAddr::V4(ip) => write!(out, " [{ip}])"),
        IpAddr::V6(ip) => write!(out, " [IPv6:{ip}])"),
    };
    if let Some((number, name, country)) = trace.network {
        let _ = write!(out, "\r\n\t(AS{number} ");
        push_comment(out, name, is_utf8);
        out.extend_from_slice(b", ");
        push_comment(out, country, is_utf8);
        out.push(b')');
    }
    if let Some(tls) = trace.tls {
        write_tls(out, &tls, is_utf8);
    }
    out.extend_from_slice(b"\r\n\tby ");
    push_word(out, trace.by, is_utf8);
    let _ = write!(out, " (Posthaste) with {} id ", trace.protocol.keyword());
    push_word(out, trace.id, false);
    if let Some(recipient) = trace.only_recipient.filter(|mailbox| is_utf8 || mailbox.is_ascii()) {
        let _ = write!(out, "\r\n\tfor <{recipient}>");
    }
    let _ = write!(out, ";\r\n\t{}\r\n", trace.at.rfc5322());
}

fn write_tls(out: &mut Vec<u8>, tls: &TlsTrace<'_>, is_utf8: bool) {
    out.extend_from_slice(b"\r\n\t(using ");
    push_comment(out, tls.version, is_utf8);
    out.extend_from_slice(b" with cipher ");
    push_comment(out, tls.cipher, is_utf8);
    if let Some(name) = tls.verified_name {
        out.extend_from_slice(b"; verified client ");
        push_comment(out, name, is_utf8);
    }
    out.push(b')');
}

/// Writes the Return-Path field (RFC 5321 §4.4): final delivery adds it, and only there.
pub fn write_return_path(out: &mut Vec<u8>, path: &ReversePath) {
    let _ = write!(out, "Return-Path: <{}>\r\n", path.as_str());
}

/// Writes a Delivered-To field: with it a loop through this recipient is found.
pub fn write_delivered_to(out: &mut Vec<u8>, recipient: &Mailbox) {
    let _ = write!(out, "Delivered-To: {recipient}\r\n");
}

/// Writes the Date field for a message that lacks one (RFC 6409 §8.2).
pub fn write_date(out: &mut Vec<u8>, at: WallTime) {
    let _ = write!(out, "Date: {}\r\n", at.rfc5322());
}

/// Writes the Message-ID field for a message that lacks one (RFC 6409 §8.3). `id` is ours and unique.
pub fn write_message_id(out: &mut Vec<u8>, id: &str, hostname: &str) {
    out.extend_from_slice(b"Message-ID: <");
    push_word(out, id, false);
    out.push(b'@');
    push_word(out, hostname, false);
    out.extend_from_slice(b">\r\n");
}

/// A word: no white space either. Nothing at all becomes one question mark.
fn push_word(out: &mut Vec<u8>, text: &str, is_utf8: bool) {
    push_reduced(out, text, is_utf8, |c| c == ' ');
    if text.is_empty() {
        out.push(b'?');
    }
}

/// Text inside a comment.
fn push_comment(out: &mut Vec<u8>, text: &str, is_utf8: bool) {
    push_reduced(out, text, is_utf8, |_| false);
}

/// What is not plain text of a structured field becomes a question mark; the length is bounded.
fn push_reduced(out: &mut Vec<u8>, text: &str, is_utf8: bool, is_refused: impl Fn(char) -> bool) {
    const CHARS_MAX: usize = 255;
    for c in text.chars().take(CHARS_MAX) {
        let is_bad = c.is_control() || "()<>\\\",;@".contains(c) || is_refused(c) || (!c.is_ascii() && !is_utf8);
        let c = if is_bad { '?' } else { c };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::HeaderSection;
    use proptest::prelude::*;

    fn plain() -> ReceivedTrace<'static> {
        ReceivedTrace {
            helo: "client.example",
            remote_name: Some("client.example"),
            remote_ip: IpAddr::from([192, 0, 2, 1]),
            network: None,
            tls: None,
            by: "mx.example.org",
            protocol: Protocol { is_extended: true, ..Protocol::default() },
            id: "00-0001-0000002a",
            only_recipient: None,
            at: WallTime(1_795_386_600_123),
        }
    }

    fn text(trace: &ReceivedTrace<'_>) -> String {
        let mut out = Vec::new();
        write_received(&mut out, trace);
        String::from_utf8(out).expect("text in, text out")
    }

    #[test]
    fn received_plain() {
        insta::assert_snapshot!(text(&plain()));
    }

    #[test]
    fn received_with_everything() {
        let recipient = Mailbox::parse("\"a b\"@example.org", false).expect("an address");
        insta::assert_snapshot!(text(&ReceivedTrace {
            remote_ip: "2001:db8::1".parse().expect("an address"),
            network: Some((64500, "Example Networks", "NL")),
            tls: Some(TlsTrace {
                version: "TLSv1.3",
                cipher: "TLS_AES_256_GCM_SHA384",
                verified_name: Some("client.example"),
            }),
            protocol: Protocol { is_extended: true, is_tls: true, is_authenticated: true, ..Protocol::default() },
            only_recipient: Some(&recipient),
            ..plain()
        }));
    }

    #[test]
    fn received_from_a_liar() {
        insta::assert_snapshot!(text(&ReceivedTrace {
            helo: "a) by evil.example with SMTP;\r\nX-Evil: \u{1b}]0;x\u{7}",
            remote_name: None,
            tls: Some(TlsTrace { version: "x)\r\n\r\nbody", cipher: "\\", verified_name: Some("b\u{f6}se (x)") }),
            ..plain()
        }));
    }

    #[test]
    fn received_in_utf8() {
        let recipient = Mailbox::parse("j\u{f6}rg@b\u{fc}cher.example", true).expect("an address");
        let utf8 = ReceivedTrace {
            helo: "b\u{fc}cher.example",
            protocol: Protocol { is_extended: true, is_utf8: true, ..Protocol::default() },
            only_recipient: Some(&recipient),
            ..plain()
        };
        let ascii = ReceivedTrace { protocol: plain().protocol, ..utf8 };
        insta::assert_snapshot!(format!("{}{}", text(&utf8), text(&ascii)));
    }

    #[test]
    fn keywords_are_the_registered_ones() {
        let mut all = Vec::new();
        for bits in 0u8..32 {
            let protocol = Protocol {
                is_lmtp: bits & 1 != 0,
                is_extended: bits & 2 != 0,
                is_utf8: bits & 4 != 0,
                is_tls: bits & 8 != 0,
                is_authenticated: bits & 16 != 0,
            };
            all.push(protocol.keyword());
        }
        all.sort_unstable();
        all.dedup();
        let expected = "ESMTP ESMTPA ESMTPS ESMTPSA LMTP LMTPA LMTPS LMTPSA SMTP UTF8LMTP UTF8LMTPA UTF8LMTPS \
                        UTF8LMTPSA UTF8SMTP UTF8SMTPA UTF8SMTPS UTF8SMTPSA";
        assert_eq!(all.join(" "), expected);
    }

    #[test]
    fn the_other_fields() {
        let mut out = Vec::new();
        write_return_path(&mut out, &ReversePath::Null);
        write_return_path(&mut out, &ReversePath::parse("<a@b.example>", false).expect("a path"));
        write_delivered_to(&mut out, &Mailbox::parse("c@d.example", false).expect("an address"));
        write_date(&mut out, WallTime(0));
        write_message_id(&mut out, "1.2", "mx.example\r\n>");
        insta::assert_snapshot!(String::from_utf8(out).expect("text"));
    }

    proptest! {
        #[test]
        fn no_value_makes_a_second_field(helo in ".{0,300}", name in ".{0,40}", cipher in ".{0,40}", is_utf8: bool) {
            let trace = ReceivedTrace {
                helo: &helo,
                remote_name: Some(&name),
                tls: Some(TlsTrace { version: &name, cipher: &cipher, verified_name: Some(&helo) }),
                protocol: Protocol { is_utf8, ..Protocol::default() },
                ..plain()
            };
            let text = text(&trace);
            prop_assert!(is_utf8 || text.is_ascii());
            let section = HeaderSection::parse(text.clone().into());
            prop_assert_eq!(section.len(), 1);
            prop_assert_eq!(text.matches('(').count(), text.matches(')').count());
            prop_assert!(text.split("\r\n").all(|line| line.chars().count() < 998 && !line.contains(['\r', '\n'])));
        }
    }
}
