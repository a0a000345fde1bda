//! Notifications by mail (RFC 5436).

use std::ops::ControlFlow;

use super::super::action::{Importance, Notification};
use super::super::address;
use super::super::notify::Mailto;
use super::super::program::AddressPart;
use super::write::Writer;
use super::{Letter, Origin, Silence};
use crate::mail::{ForwardPath, Mailbox, Recipient, ReversePath};

/// Fields of the URI that a letter takes as they are; others are not taken (RFC 6068 §4).
const TAKEN: &[&str] = &["keywords", "comments", "in-reply-to", "references"];

/// The letter that a notification by `mailto:` is, or why there is none.
///
/// Its reverse-path is null where the message's is, else `:from` or the postmaster (RFC 5436 §2.4).
pub fn notification(action: &Notification, origin: &Origin<'_>) -> Result<Letter, Silence> {
    if origin.is_automatic() {
        return Err(Silence::AutoSubmitted); // RFC 5436 §2.7.1: so notifications cannot go in circles
    }
    let mailto = Mailto::parse(&action.method).map_err(|_| Silence::Method)?;
    let field = |name: &str| {
        let found = mailto.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let mut recipients: Vec<Recipient> = mailto.recipients.iter().cloned().map(Recipient::new).collect();
    let copies = copies(field("cc").unwrap_or(""), &mut recipients);
    if recipients.is_empty() {
        return Err(Silence::Method);
    }
    let from = action.from.as_deref();
    let reverse_path = match (&origin.envelope.reverse_path, from.and_then(mailbox)) {
        (ReversePath::Null, _) => ReversePath::Null,
        (_, Some(from)) => ReversePath::Mailbox(from),
        (_, None) => ReversePath::Mailbox(origin.postmaster.clone()),
    };
    let mut writer = Writer::new(origin);
    writer.addresses("From", from.unwrap_or(origin.postmaster.as_str()));
    let to: Vec<&str> = mailto.recipients.iter().map(ForwardPath::as_str).collect();
    if !to.is_empty() {
        writer.field("To", &to.join(", "));
    }
    if !copies.is_empty() {
        writer.field("Cc", &copies.join(", "));
    }
    let subject = origin.values("subject").next().unwrap_or_default();
    // RFC 5436 §2.3: `:message`, else the URI's, else the message's own.
    let subject = action.message.as_deref().or(field("subject")).map_or(subject, str::to_owned);
    writer.subject(&subject);
    for (name, value) in &mailto.fields {
        let is_taken = TAKEN.iter().any(|taken| name.eq_ignore_ascii_case(taken));
        if is_taken || name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("x-")) {
            writer.field(name, value);
        }
    }
    writer.field("Auto-Submitted", &format!("auto-notified; owner-email=\"{}\"", quoted(origin.owner)));
    let (priority, importance) = match action.importance {
        Importance::High => ("1 (High)", "high"),
        Importance::Normal => ("3 (Normal)", "normal"),
        Importance::Low => ("5 (Low)", "low"),
    };
    writer.field("X-Priority", priority);
    writer.field("Importance", importance);
    writer.field("Precedence", "bulk");
    let text = mailto.body.clone().unwrap_or_else(|| summary(origin));
    Ok(origin.letter(reverse_path, recipients, writer.text(text.as_bytes())))
}

/// Adds the addresses of Cc that are no recipients yet; what goes into the field.
fn copies(list: &str, recipients: &mut Vec<Recipient>) -> Vec<String> {
    let mut copies = Vec::new();
    let _ = address::each::<()>(list.as_bytes(), |found| {
        let path = found.part(AddressPart::All, b"").and_then(address::outgoing);
        if let Some(path) = path.filter(|path| recipients.iter().all(|known| known.path != *path)) {
            copies.push(path.as_str().to_owned());
            recipients.push(Recipient::new(path));
        }
        ControlFlow::Continue(())
    });
    copies
}

fn mailbox(from: &str) -> Option<Mailbox> {
    address::outgoing(from.as_bytes()).map(|path| path.0)
}

fn quoted(mailbox: &Mailbox) -> String {
    mailbox.as_str().replace('\\', "\\\\").replace('"', "\\\"")
}

/// What the notification tells when the URI says nothing.
fn summary(origin: &Origin<'_>) -> String {
    let first = |name| origin.values(name).next().unwrap_or_default();
    format!("Notification of new message.\r\n\r\nFrom: {}\r\nSubject: {}\r\n", first("from"), first("subject"))
}
