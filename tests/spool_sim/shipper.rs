//! A shipper and its consumer: what the consumer got it keeps for good, whatever becomes of us.

use std::collections::BTreeMap;

use posthaste::base::MessageId;
use posthaste::mail::Status;
use posthaste::spool::{Chunk, EventId, Gap, Record};

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Accepted(u32),
    Final(u32),
    Deferred(u32, u32),
    Held(bool),
}

/// What a consumer was told.
#[derive(Debug, Default)]
pub struct Seen {
    events: BTreeMap<EventId, (MessageId, What)>,
    /// The event by which each recipient was told to be final.
    finals: BTreeMap<(MessageId, u32), EventId>,
    accepted: BTreeMap<MessageId, EventId>,
    pub gaps: Vec<Gap>,
    /// Events that were told more than once.
    pub repeats: u64,
}

impl Seen {
    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_accepted(&self, id: MessageId) -> bool {
        self.accepted.contains_key(&id)
    }

    pub fn is_final(&self, id: MessageId, recipient: u32) -> bool {
        self.finals.contains_key(&(id, recipient))
    }

    pub fn take(&mut self, chunk: &Chunk) {
        if !chunk.gap.is_empty() {
            self.gaps.push(chunk.gap);
        }
        for event in &chunk.events {
            let message = event.record.message_id().expect("facts are no events");
            let what = what(&event.record);
            if let Some(before) = self.events.insert(event.id, (message, what)) {
                assert_eq!(before, (message, what), "{} is another event now", event.id);
                self.repeats += 1;
            }
            let known = match what {
                What::Final(recipient) => self.finals.insert((message, recipient), event.id),
                What::Accepted(_) => self.accepted.insert(message, event.id),
                _ => None,
            };
            assert!(
                known.is_none_or(|id| id == event.id),
                "{message}: {what:?} is two events: {known:?}, {}",
                event.id
            );
        }
    }
}

fn what(record: &Record) -> What {
    match record {
        Record::Message(message) => What::Accepted(message.envelope.recipients.len() as u32),
        Record::Status(status) => match &status.status {
            Status::Deferred { attempts, .. } => What::Deferred(status.recipient.0, *attempts),
            _ => What::Final(status.recipient.0),
        },
        Record::Hold { .. } => What::Held(true),
        Record::Release { .. } => What::Held(false),
        Record::Fact { .. } => panic!("facts are no events"),
    }
}
