//! The part for machines: message/delivery-status (RFC 3464 §2), message/global-delivery-status (RFC 6533 §4).

use std::fmt::Write as _;

use super::text::{printable, push_folded};
use super::{Original, RecipientReport};
use crate::mail::{Diagnostic, EnhancedStatus, Mailbox, OriginalRecipient};
use crate::smtp::xtext;

/// Characters of a remote host's words in a field.
const REPLY_CHARS_MAX: usize = 512;

/// Writes the fields of the message, then those of each recipient.
pub fn write(original: &Original<'_>, reports: &[RecipientReport<'_>], hostname: &str, is_global: bool) -> String {
    let mut out = String::with_capacity(200 + reports.len() * 300);
    if let Some(envid) = &original.envelope.mail.envid {
        push_folded(&mut out, "Original-Envelope-Id: ", &printable(envid, false, 200));
    }
    let _ = write!(out, "Reporting-MTA: dns; {}\r\n", printable(hostname, is_global, 255));
    let _ = write!(out, "Arrival-Date: {}\r\n", original.received.at.rfc5322());
    for report in reports {
        out.push_str("\r\n");
        recipient(&mut out, report, is_global);
    }
    out
}

fn recipient(out: &mut String, report: &RecipientReport<'_>, is_global: bool) {
    if let Some(original) = &report.recipient.original {
        original_recipient(out, original, is_global);
    }
    final_recipient(out, report.recipient.path.mailbox(), is_global);
    let _ = write!(out, "Action: {}\r\nStatus: {}\r\n", report.action.as_str(), status(report));
    if let Some(diagnostic) = report.diagnostic {
        remote(out, diagnostic, is_global);
    }
    if let Some(at) = report.last_attempt {
        let _ = write!(out, "Last-Attempt-Date: {}\r\n", at.rfc5322());
    }
    if let Some(until) = report.will_retry_until {
        let _ = write!(out, "Will-Retry-Until: {}\r\n", until.rfc5322());
    }
}

/// The status that agrees with the action: a failure without words is 5.0.0, a delay 4.0.0.
fn status(report: &RecipientReport<'_>) -> EnhancedStatus {
    let class = match report.action {
        super::Action::Failed => 5,
        super::Action::Delayed => 4,
        _ => 2,
    };
    let given = report.status.or(report.diagnostic.map(Diagnostic::status));
    // A failure may carry the transient status of its last attempt (RFC 3464 §2.3.4); nothing else may differ.
    let agrees = |status: &EnhancedStatus| status.class == class || (class == 5 && status.class == 4);
    given.filter(agrees).unwrap_or(EnhancedStatus::new(class, 0, 0))
}

fn original_recipient(out: &mut String, original: &OriginalRecipient, is_global: bool) {
    let _ = write!(out, "Original-Recipient: {}; ", printable(&original.kind, false, 64));
    if original.kind == "utf-8" {
        push_utf8_address(out, &original.address, is_global);
    } else {
        out.push_str(&printable(&original.address, false, 500));
    }
    out.push_str("\r\n");
}

fn final_recipient(out: &mut String, mailbox: &Mailbox, is_global: bool) {
    if mailbox.is_ascii() {
        let _ = write!(out, "Final-Recipient: rfc822; {mailbox}\r\n");
    } else {
        out.push_str("Final-Recipient: utf-8; ");
        push_utf8_address(out, mailbox.as_str(), is_global);
        out.push_str("\r\n");
    }
}

fn push_utf8_address(out: &mut String, address: &str, is_global: bool) {
    if is_global { xtext::encode_unitext_into(out, address) } else { xtext::encode_utf8_address_into(out, address) }
}

fn remote(out: &mut String, diagnostic: &Diagnostic, is_global: bool) {
    if !diagnostic.remote.is_empty() {
        let name = diagnostic.remote.split(' ').next().unwrap_or_default();
        let _ = write!(out, "Remote-MTA: dns; {}\r\n", printable(name, is_global, 255));
    }
    let kind = if diagnostic.is_remote { "smtp" } else { "x-posthaste" };
    let words = printable(&diagnostic.reply.to_string(), is_global, REPLY_CHARS_MAX);
    push_folded(out, &format!("Diagnostic-Code: {kind}; "), &words);
}
