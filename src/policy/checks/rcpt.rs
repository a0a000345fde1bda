//! RCPT: how many, rewriting, who is local, who may relay, limits; VRFY and EXPN from the same directory.
//!
//! A recipient is local when a directory has its domain, and then the directory decides; any other is
//! relayed or refused. The local-part is never looked into: `a%b@ours`, `"a@b"@ours` and `b!a@ours` are
//! users of ours, or nobody.

use crate::lookup::Verdict;
use crate::mail::{ForwardPath, Mailbox, Reply};
use crate::observe::{Counter, count as counted};
use crate::policy::checks::{now, value};
use crate::policy::pipeline::{Finding, Look};
use crate::smtp::server::{Question, words};

/// `session.rcpt.max-recipients` (RFC 5321 §4.5.3.1.10: 452, the client sends the rest in another transaction).
pub(in crate::policy) fn count(look: &Look<'_>) -> Finding {
    let Question::Rcpt(transaction, _) = look.subject.question else { return Finding::Pass };
    let max = now(&look.site.settings.rcpt.max_recipients, &look.facts) as usize;
    if transaction.envelope.recipients.len() < max {
        return Finding::Pass;
    }
    Finding::Refuse(words::too_many_recipients())
}

/// `session.rcpt.rewrite`. What is no address changes nothing.
pub(in crate::policy) fn rewrite(look: &Look<'_>) -> Finding {
    let text = match value(&look.site.settings.rcpt.rewrite, &look.facts) {
        Err(question) => return Finding::Wait(question),
        Ok(None) => return Finding::Pass,
        Ok(Some(text)) => text,
    };
    Mailbox::parse(&text, true).map_or(Finding::Pass, |mailbox| Finding::Recipient(ForwardPath(mailbox)))
}

/// Local recipients by the directory, others by `session.rcpt.relay`.
pub(in crate::policy) fn directory(look: &Look<'_>) -> Finding {
    let Some(mailbox) = look.facts.rcpt else { return Finding::Pass };
    match locate(look, mailbox) {
        Verdict::Accepted { .. } => Finding::Pass,
        Verdict::Unknown => Finding::Refuse(Reply::new(550, (5, 1, 1), "Mailbox does not exist.")),
        Verdict::NotLocal => match value(&look.site.settings.rcpt.relay, &look.facts) {
            Err(question) => Finding::Wait(question),
            Ok(true) => Finding::Pass,
            Ok(false) => {
                counted(Counter::RelayRefused);
                Finding::Refuse(Reply::new(550, (5, 7, 1), "Relay not allowed."))
            }
        },
    }
}

fn locate<'a>(look: &Look<'a>, mailbox: &Mailbox) -> Verdict<'a> {
    let settings = &look.site.settings.rcpt;
    let facts = crate::policy::Facts { rcpt: Some(mailbox), ..look.facts };
    let Some(directory) = now(&settings.directory, &facts) else { return Verdict::NotLocal };
    let sub_addressing = now(&settings.sub_addressing, &facts);
    let catch_all = now(&settings.catch_all, &facts);
    look.site.lookups.shared().verdict(&directory, mailbox, sub_addressing.as_deref(), catch_all.as_deref())
}

/// VRFY: an address, or a local-part that is looked for nowhere.
pub(in crate::policy) fn verify(look: &Look<'_>) -> Finding {
    let Question::Vrfy(text) = look.subject.question else { return Finding::Pass };
    let address = text.trim().trim_start_matches('<').trim_end_matches('>');
    let Ok(mailbox) = Mailbox::parse(address, true) else { return Finding::Refuse(words::cannot_verify()) };
    match locate(look, &mailbox) {
        Verdict::Accepted { .. } => Finding::Text(format!("<{mailbox}>").into()),
        Verdict::Unknown => Finding::Refuse(Reply::new(550, (5, 1, 1), "Address not found.")),
        Verdict::NotLocal => Finding::Refuse(words::cannot_verify()),
    }
}

/// EXPN: the members of a list.
pub(in crate::policy) fn expand(look: &Look<'_>) -> Finding {
    let Question::Expn(text) = look.subject.question else { return Finding::Pass };
    let address = text.trim().trim_start_matches('<').trim_end_matches('>');
    let directory = now(&look.site.settings.rcpt.directory, &look.facts);
    let members = directory.map(|directory| look.site.lookups.shared().expand(&directory, address)).unwrap_or_default();
    if members.is_empty() {
        return Finding::Refuse(Reply::new(550, (5, 1, 1), "Mailing list not found."));
    }
    let lines: Vec<String> = members.iter().take(MEMBERS_SHOWN_MAX).map(|member| format!("<{member}>")).collect();
    Finding::Text(lines.join("\n").into())
}

/// Lines of one reply to EXPN.
const MEMBERS_SHOWN_MAX: usize = 100;
