//! A refused message (RFC 5429): as a reply while the client waits, or as a message to the sender.

use super::super::action::Reject;
use super::super::mime::compose;
use super::write::Writer;
use super::{Letter, Origin, Silence};
use crate::mail::{EnhancedStatus, ForwardPath, Recipient, Reply, ReversePath};

/// The reply that refuses the message: the reason starts with a code of its own, or it is `550 5.7.1`.
///
/// A code is three digits of which the first is 4 or 5, then perhaps an enhanced status of the same class.
pub fn reply(action: &Reject) -> Reply {
    let text = action.reason.trim();
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let code = first.parse().ok().filter(|code| first.len() == 3 && (400..600).contains(code));
    let Some(code) = code else { return Reply::new(550, (5, 7, 1), lines(text, "Message refused.")) };
    let rest = rest.trim_start();
    let (second, behind) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    match second.parse::<EnhancedStatus>() {
        Ok(status) if u16::from(status.class) == code / 100 => {
            Reply { code, status: Some(status), text: lines(behind, "Message refused.").into() }
        }
        _ => Reply::new(code, ((code / 100) as u8, 7, 1), lines(rest, "Message refused.")),
    }
}

/// The lines of a text as a reply takes them.
fn lines(text: &str, otherwise: &str) -> String {
    let lines: Vec<&str> = text.trim().lines().map(str::trim_end).collect();
    if lines.iter().all(|line| line.is_empty()) { otherwise.to_owned() } else { lines.join("\n") }
}

/// The message that tells the sender of a `reject` which came too late for a reply: a disposition
/// notification (RFC 5429 §2.2, RFC 8098), from the null reverse-path.
pub fn refusal(action: &Reject, origin: &Origin<'_>) -> Result<Letter, Silence> {
    if action.is_ereject {
        return Err(Silence::Ereject);
    }
    let ReversePath::Mailbox(sender) = &origin.envelope.reverse_path else { return Err(Silence::NullSender) };
    let mut report = format!("Reporting-UA: {}; Posthaste\r\n", origin.hostname).into_bytes();
    let own = origin.envelope.recipients.iter().find(|recipient| recipient.path.mailbox() == origin.owner);
    if let Some(original) = own.and_then(|recipient| recipient.original.as_ref()).filter(|o| o.address.is_ascii()) {
        report.extend_from_slice(format!("Original-Recipient: {}; {}\r\n", original.kind, original.address).as_bytes());
    }
    if origin.owner.is_ascii() {
        report.extend_from_slice(format!("Final-Recipient: rfc822; {}\r\n", origin.owner).as_bytes());
    } else {
        // RFC 6533 §3: as it is, in the form for messages that stay US-ASCII.
        let address: String = origin.owner.as_str().chars().map(utf8_addr).collect();
        report.extend_from_slice(format!("Final-Recipient: utf-8; {address}\r\n").as_bytes());
    }
    if let Some(id) =
        origin.values("message-id").next().filter(|id| id.len() <= 900 && id.bytes().all(|b| b.is_ascii_graphic()))
    {
        report.extend_from_slice(format!("Original-Message-ID: {id}\r\n").as_bytes());
    }
    report.extend_from_slice(b"Disposition: automatic-action/MDN-sent-automatically; deleted\r\n");

    let text = compose::text_entity(
        format!("Your message was refused by its recipient {}:\r\n\r\n{}\r\n", origin.owner, action.reason.trim_end())
            .as_bytes(),
    );
    let header = compose::encoded(origin.header.raw());
    let boundary = compose::boundary(&[&text, &report, &header.octets]);
    let mut writer = Writer::new(origin);
    writer.addresses("From", &format!("Mail Filter <{}>", origin.postmaster));
    writer.addresses("To", sender.as_str());
    writer.subject("Automatically rejected mail");
    writer.thread(origin);
    writer.field("Auto-Submitted", "auto-replied (rejected)");
    writer.field("Precedence", "bulk");
    writer.field("MIME-Version", "1.0");
    let kind = "multipart/report; report-type=disposition-notification;";
    writer.field("Content-Type", &format!("{kind} boundary=\"{boundary}\""));
    let mut body = format!("\r\n--{boundary}\r\n").into_bytes();
    body.extend_from_slice(&text);
    body.extend_from_slice(
        format!("\r\n--{boundary}\r\nContent-Type: message/disposition-notification\r\n\r\n").as_bytes(),
    );
    body.extend_from_slice(&report);
    body.extend_from_slice(
        format!(
            "\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: {}\r\n\r\n",
            header.encoding
        )
        .as_bytes(),
    );
    body.extend_from_slice(&header.octets);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    let to = vec![Recipient::new(ForwardPath(sender.clone()))];
    Ok(origin.letter(ReversePath::Null, to, writer.raw(&body)))
}

/// A character of a `utf-8` address in US-ASCII (RFC 6533 §3: `utf-8-addr-xtext`).
fn utf8_addr(c: char) -> String {
    match c {
        '!'..='~' if !matches!(c, '+' | '=' | '\\') => c.to_string(),
        c => format!("\\x{{{:02X}}}", u32::from(c)),
    }
}
