//! MAIL: whether mail is taken at all, limits, whether this sender may, rewriting.

use crate::mail::{Reply, ReversePath};
use crate::policy::checks::value;
use crate::policy::pipeline::{Finding, Look};

/// Disk or memory is short: the sender keeps its mail and comes again.
pub(in crate::policy) fn pressure(look: &Look<'_>) -> Finding {
    match look.site.pressure {
        Some(reply) if reply.code == 421 => Finding::Close(reply.clone()),
        Some(reply) => Finding::Refuse(reply.clone()),
        None => Finding::Pass,
    }
}

/// `session.mail.is-allowed`.
pub(in crate::policy) fn is_allowed(look: &Look<'_>) -> Finding {
    match value(&look.site.settings.mail.is_allowed, &look.facts) {
        Err(question) => Finding::Wait(question),
        Ok(true) => Finding::Pass,
        Ok(false) => Finding::Refuse(Reply::new(550, (5, 7, 1), "Sender address not allowed.")),
    }
}

/// `session.mail.rewrite`: `<>` and an empty text both mean the null reverse-path. What is no address changes nothing.
pub(in crate::policy) fn rewrite(look: &Look<'_>) -> Finding {
    let text = match value(&look.site.settings.mail.rewrite, &look.facts) {
        Err(question) => return Finding::Wait(question),
        Ok(None) => return Finding::Pass,
        Ok(Some(text)) => text,
    };
    let path = match text.as_str() {
        "<>" => Ok(ReversePath::Null),
        address => crate::mail::Mailbox::parse(address, true).map(ReversePath::Mailbox),
    };
    path.map_or(Finding::Pass, Finding::Sender)
}
