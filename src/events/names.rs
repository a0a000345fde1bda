//! The names of events, and the patterns that choose among them.

use crate::mail::Status;
use crate::observe::Event;
use crate::spool::Record;

/// All that may be told, in the words of the log.
pub const TOLD: &[Event] = &[
    Event::TxAccepted,
    Event::AttemptDelivered,
    Event::AttemptDeferred,
    Event::AttemptFailed,
    Event::QueueExpired,
    Event::QueueRemoved,
    Event::QueueDiscarded,
    Event::QueueExpanded,
    Event::QueueHeld,
    Event::QueueReleased,
    Event::EventsGap,
];

/// What a record is called; nothing for what is no event.
pub fn of(record: &Record) -> Option<Event> {
    Some(match record {
        Record::Message(_) => Event::TxAccepted,
        Record::Status(status) => of_status(&status.status),
        Record::Hold { .. } => Event::QueueHeld,
        Record::Release { .. } => Event::QueueReleased,
        Record::Fact { .. } => return None,
    })
}

/// What a change of a recipient's state is called, in the log and to other programs.
pub fn of_status(status: &Status) -> Event {
    match status {
        Status::Delivered { .. } => Event::AttemptDelivered,
        Status::Deferred { .. } => Event::AttemptDeferred,
        Status::Failed { .. } => Event::AttemptFailed,
        Status::Expired { .. } => Event::QueueExpired,
        Status::Removed => Event::QueueRemoved,
        Status::Discarded => Event::QueueDiscarded,
        Status::Expanded { .. } => Event::QueueExpanded,
    }
}

/// Which events are told: patterns in which `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    chosen: Vec<Event>,
}

impl Choice {
    /// Those that any of the patterns matches. Gaps are told in any case: not to know of one is to be wrong.
    pub fn new(patterns: &[String]) -> Choice {
        let is_chosen = |event: &&Event| {
            **event == Event::EventsGap || patterns.iter().any(|pattern| matches(pattern, event.name()))
        };
        Choice { chosen: TOLD.iter().filter(is_chosen).copied().collect() }
    }

    /// Whether this one is told.
    pub fn has(&self, event: Event) -> bool {
        self.chosen.contains(&event)
    }
}

/// Whether some event has a name like that.
pub fn is_known(pattern: &str) -> bool {
    TOLD.iter().any(|event| matches(pattern, event.name()))
}

/// `*` stands for any text, also none.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose() {
        let names = |patterns: &[&str]| {
            let choice = Choice::new(&patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>());
            TOLD.iter().filter(|event| choice.has(**event)).map(|event| event.name()).collect::<Vec<_>>()
        };
        assert_eq!(names(&["*"]).len(), TOLD.len());
        assert_eq!(names(&[]), ["events.gap"]);
        assert_eq!(names(&["tx.accepted", "queue.h*"]), ["tx.accepted", "queue.held", "events.gap"]);
        assert_eq!(names(&["*.*ed"]).len(), TOLD.len() - 1, "all but queue.held");
        assert_eq!(names(&["a*.de*red"]), ["attempt.delivered", "attempt.deferred", "events.gap"]);
    }

    #[test]
    fn a_pattern_is_not_a_prefix() {
        assert!(!matches("queue.hel", "queue.held") && !matches("ueue.held", "queue.held"));
        assert!(!matches("queue.held*d", "queue.held") && matches("queue.held*", "queue.held"));
        assert!(is_known("*.held") && !is_known("delivery.*"));
    }
}
