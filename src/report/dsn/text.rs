//! The part for people, and how foreign text is made harmless.

use std::fmt::Write as _;

use super::{Action, RecipientReport};

/// Recipients that are listed for people; the part for machines lists all.
const LISTED_MAX: usize = 100;
/// Characters of a remote host's words for people.
const REPLY_CHARS_MAX: usize = 1000;
/// Columns of a line.
const COLUMNS_MAX: usize = 76;

/// The subject, by what happened (FEATURES 1.8).
pub fn subject(reports: &[RecipientReport<'_>]) -> &'static str {
    let has = |wanted: fn(Action) -> bool| reports.iter().any(|r| wanted(r.action));
    let failed = has(|a| a == Action::Failed);
    let delayed = has(|a| a == Action::Delayed);
    let arrived = has(|a| !matches!(a, Action::Failed | Action::Delayed));
    match (failed, delayed, arrived) {
        (true, true, _) => "Warning: Temporary and permanent failures during message delivery",
        (true, false, true) => "Partially delivered message",
        (true, false, false) => "Failed to deliver message",
        (false, true, _) => "Warning: Delay in message delivery",
        (false, false, _) => "Successfully delivered message",
    }
}

/// What happened, in plain words.
pub fn explanation(reports: &[RecipientReport<'_>], hostname: &str) -> String {
    let mut out = String::with_capacity(1024);
    let _ = write!(out, "This is the mail system at {}.\r\n", printable(hostname, true, 255));
    for (action, words) in [
        (Action::Failed, "Your message could not be delivered to these recipients:"),
        (
            Action::Delayed,
            "Your message has not been delivered yet to these recipients. Delivery will be tried further; you need not send it again:",
        ),
        (Action::Delivered, "Your message was delivered to these recipients:"),
        (
            Action::Relayed,
            "Your message was handed to the mail systems of these recipients, which will not confirm its delivery:",
        ),
        (Action::Expanded, "Your message was passed on to the members of these lists:"),
    ] {
        let matching = || reports.iter().filter(|r| r.action == action);
        if matching().next().is_none() {
            continue;
        }
        out.push_str("\r\n");
        push_wrapped(&mut out, "", words);
        for report in matching().take(LISTED_MAX) {
            recipient(&mut out, report);
        }
        match matching().count().saturating_sub(LISTED_MAX) {
            0 => {}
            more => drop(write!(out, "\r\n  and {more} more, which the next part names.\r\n")),
        }
    }
    out
}

fn recipient(out: &mut String, report: &RecipientReport<'_>) {
    let _ = write!(out, "\r\n  <{}>\r\n", report.recipient.path.as_str());
    if let Some(diagnostic) = report.diagnostic {
        let reply = printable(&diagnostic.reply.to_string(), true, REPLY_CHARS_MAX);
        let words = match diagnostic.is_remote {
            true => format!("{} said: {reply}", printable(&diagnostic.remote, true, 300)),
            false if diagnostic.remote.is_empty() => reply,
            false => format!("{}: {reply}", printable(&diagnostic.remote, true, 300)),
        };
        push_wrapped(out, "    ", &words);
    }
    if let Some(until) = report.will_retry_until {
        let _ = write!(out, "    It will be tried until {}.\r\n", until.rfc5322());
    }
}

/// Text without control characters, and without characters beyond US-ASCII unless they are allowed;
/// at most so many characters.
pub fn printable(text: &str, is_utf8: bool, chars_max: usize) -> String {
    let harmless = |c: char| match c {
        '\t' => ' ',
        c if c.is_control() || (!is_utf8 && !c.is_ascii()) => '?',
        // Line and paragraph separators, and marks that reorder what is shown.
        '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '?',
        c => c,
    };
    text.chars().take(chars_max).map(harmless).collect()
}

/// Appends a field, folded at spaces.
pub fn push_folded(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    push_words(out, name.len(), "    ", value);
}

/// Appends a paragraph, wrapped at spaces, every line indented.
fn push_wrapped(out: &mut String, indent: &str, text: &str) {
    out.push_str(indent);
    push_words(out, indent.len(), indent, text);
}

fn push_words(out: &mut String, column: usize, indent: &str, text: &str) {
    let (mut column, mut is_first) = (column, true);
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let width = word.chars().count();
        if !is_first && column + 1 + width > COLUMNS_MAX {
            out.push_str("\r\n");
            out.push_str(indent);
            column = indent.len();
        } else if !is_first {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
        is_first = false;
    }
    out.push_str("\r\n");
}
