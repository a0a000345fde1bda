//! The answer of an absent owner (RFC 5230).

use std::ops::ControlFlow;

use super::super::action::Vacation;
use super::super::address;
use super::super::program::AddressPart;
use super::write::Writer;
use super::{Letter, Origin, Silence};
use crate::mail::{ForwardPath, Mailbox, Recipient, ReversePath};

/// Octets of a name with its address.
const NAMED_BYTES_MAX: usize = 500;
/// Fields in which the owner must stand (RFC 5230 §4.5).
const ADDRESSED: &[&str] = &["to", "cc", "bcc", "resent-to", "resent-cc", "resent-bcc"];
/// Fields of mailing lists (RFC 2369, RFC 2919).
const LIST: &[&str] =
    &["list-id", "list-help", "list-subscribe", "list-unsubscribe", "list-post", "list-owner", "list-archive"];

/// The answer to the sender of a message, or why there is none (RFC 5230 §4.5, §4.6).
///
/// It goes from the null reverse-path, so that nothing ever answers it (RFC 5230 §5.1). That this sender
/// was answered within the period is the host's to know.
pub fn vacation(action: &Vacation, origin: &Origin<'_>) -> Result<Letter, Silence> {
    let ReversePath::Mailbox(sender) = &origin.envelope.reverse_path else { return Err(Silence::NullSender) };
    let mut own = vec![origin.owner.as_str().to_owned()];
    own.extend(action.addresses.iter().map(|address| bare(address)));
    if own.iter().any(|address| address.eq_ignore_ascii_case(sender.as_str())) {
        return Err(Silence::OwnAddress);
    }
    if is_program(sender.local_part()) {
        return Err(Silence::SystemSender);
    }
    if origin.is_automatic() || is_suppressed(origin) {
        return Err(Silence::AutoSubmitted);
    }
    let is_list = LIST.iter().any(|name| origin.header.named(name).next().is_some());
    if is_list || origin.values("precedence").any(|value| is_bulk(&value)) {
        return Err(Silence::Bulk);
    }
    if !origin.is_addressed_to(ADDRESSED, &own) {
        return Err(Silence::NotAddressed);
    }
    let mut writer = Writer::new(origin);
    writer.addresses("From", action.from.as_deref().unwrap_or(origin.owner.as_str()));
    writer.addresses("To", &named(origin, sender));
    let subject = action.subject.clone().unwrap_or_else(|| match origin.values("subject").next() {
        Some(subject) if !subject.is_empty() => format!("Auto: {subject}"),
        _ => "Automated reply".to_owned(),
    });
    writer.subject(&subject);
    writer.thread(origin);
    writer.field("Auto-Submitted", "auto-replied (vacation)");
    writer.field("Precedence", "bulk");
    let content = if action.is_mime { writer.entity(&action.reason) } else { writer.text(&action.reason) };
    Ok(origin.letter(ReversePath::Null, vec![Recipient::new(ForwardPath(sender.clone()))], content))
}

/// The sender as the message names it, else its address alone.
fn named(origin: &Origin<'_>, sender: &Mailbox) -> String {
    let fields = ["sender", "from", "reply-to"].iter().flat_map(|name| origin.header.named(name));
    for field in fields {
        let found = address::each(field.value, |found| {
            let is = found.part(AddressPart::All, b"") == Some(sender.as_str().as_bytes());
            let is_named = found.raw.ends_with(b">") && found.raw.len() <= NAMED_BYTES_MAX;
            match std::str::from_utf8(found.raw) {
                Ok(raw) if is && is_named => ControlFlow::Break(raw.to_owned()),
                _ => ControlFlow::Continue(()),
            }
        });
        if let ControlFlow::Break(named) = found {
            return named;
        }
    }
    format!("<{sender}>")
}

/// The address of `:addresses` without a phrase.
fn bare(address: &str) -> String {
    match (address.rfind('<'), address.rfind('>')) {
        (Some(start), Some(end)) if start < end => address.get(start + 1..end).unwrap_or("").trim().to_owned(),
        _ => address.trim().to_owned(),
    }
}

/// Names that programs send by (RFC 5230 §4.6, RFC 3834 §2).
fn is_program(local_part: &str) -> bool {
    let name = local_part.to_ascii_lowercase();
    matches!(name.as_str(), "mailer-daemon" | "listserv" | "majordomo")
        || name.starts_with("owner-")
        || name.ends_with("-owner")
        || name.ends_with("-request")
        || name.ends_with("-bounces")
        || name.contains("-bounces+")
}

fn is_bulk(value: &str) -> bool {
    ["bulk", "list", "junk"].iter().any(|word| value.trim().eq_ignore_ascii_case(word))
}

/// X-Auto-Response-Suppress asks for no such answer.
fn is_suppressed(origin: &Origin<'_>) -> bool {
    origin.values("x-auto-response-suppress").any(|value| {
        value.split(',').any(|word| ["all", "oof", "autoreply"].iter().any(|no| word.trim().eq_ignore_ascii_case(no)))
    })
}
