//! Outcomes over several hosts: each recipient ends with exactly one.

use smallvec::SmallVec;

use crate::base::RecipientIndex;
use crate::mail::Outcome;
use crate::smtp::client::Owed;

/// What one attempt came to for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientOutcome {
    /// Which.
    pub recipient: RecipientIndex,
    /// Its outcome.
    pub outcome: Outcome,
    /// The success report that we owe the sender (only when delivered).
    pub owed: Owed,
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// One for each recipient of the attempt, in any order.
    pub outcomes: Vec<RecipientOutcome>,
    /// The stored content did not verify: the message is to be quarantined.
    pub content_failed: bool,
    /// The lane has an idle connection from this attempt (or the one it counted on and did not need).
    pub has_idle: bool,
    /// How many recipients the peer takes in one transaction, where it said so (LIMITS RCPTMAX) or showed it (452).
    pub recipients_max: Option<u32>,
    /// Transactions whose end of data was never answered: the peer may have the message.
    pub unknown: u32,
}

/// Some of the recipients of an attempt.
pub(super) type Indices = SmallVec<[RecipientIndex; 4]>;

/// Recipients without a final outcome, each with the best that a host has said of it so far.
#[derive(Debug, Default)]
pub(super) struct Open {
    recipients: Vec<(RecipientIndex, Option<Outcome>)>,
}

impl Open {
    pub(super) fn new(recipients: &[RecipientIndex]) -> Open {
        Open { recipients: recipients.iter().map(|r| (*r, None)).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.recipients.is_empty()
    }

    /// Who is still to be tried.
    pub(super) fn indices(&self) -> Indices {
        self.recipients.iter().map(|(r, _)| *r).collect()
    }

    /// One recipient is done with.
    pub(super) fn close(&mut self, done: RecipientOutcome, report: &mut Report) {
        self.recipients.retain(|(r, _)| *r != done.recipient);
        report.outcomes.push(done);
    }

    /// A host said this of one recipient, and another may do better.
    pub(super) fn note(&mut self, recipient: RecipientIndex, outcome: Outcome) {
        if let Some((_, last)) = self.recipients.iter_mut().find(|(r, _)| *r == recipient) {
            merge(last, outcome);
        }
    }

    /// A host said this of all of them.
    pub(super) fn note_all(&mut self, outcome: &Outcome) {
        for (_, last) in &mut self.recipients {
            merge(last, outcome.clone());
        }
    }

    /// No host is left: the best that was said is the outcome.
    pub(super) fn finish(self, unsaid: impl Fn() -> Outcome, report: &mut Report) {
        for (recipient, last) in self.recipients {
            let outcome = last.unwrap_or_else(&unsaid);
            report.outcomes.push(RecipientOutcome { recipient, outcome, owed: Owed::Nothing });
        }
    }
}

/// While some host may still take it, it has not failed: a deferral outweighs a failure, later words earlier ones.
fn merge(last: &mut Option<Outcome>, outcome: Outcome) {
    if !matches!((&*last, &outcome), (Some(Outcome::Deferred(_)), Outcome::Failed(_))) {
        *last = Some(outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Diagnostic, ErrorKind, Reply, Scope};

    fn said(code: u16) -> Outcome {
        let diagnostic = Diagnostic::local(ErrorKind::Connection, Scope::Host, Reply::plain(code, "x"));
        if code < 500 { Outcome::Deferred(diagnostic) } else { Outcome::Failed(diagnostic) }
    }

    fn after(codes: &[u16]) -> u16 {
        let mut open = Open::new(&[RecipientIndex(0)]);
        codes.iter().for_each(|code| open.note_all(&said(*code)));
        let mut report = Report::default();
        open.finish(|| said(499), &mut report);
        report.outcomes[0].outcome.diagnostic().reply.code
    }

    #[test]
    fn it_fails_only_when_every_host_refuses() {
        assert_eq!(after(&[]), 499);
        assert_eq!(after(&[550, 551]), 551);
        assert_eq!(after(&[450, 550]), 450);
        assert_eq!(after(&[550, 450]), 450);
        assert_eq!(after(&[450, 451]), 451);
    }
}
