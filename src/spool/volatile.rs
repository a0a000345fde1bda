//! Mode `memory`: messages that are nowhere but here until their first deferral. Pure.

use std::collections::HashMap;
use std::rc::Rc;

use crate::base::MessageId;
use crate::mail::StatusRecord;

use super::message::{Message, Record};

/// Messages in memory only.
#[derive(Debug, Default)]
pub struct Volatile {
    messages: HashMap<MessageId, Kept>,
    bytes: u64,
}

#[derive(Debug)]
struct Kept {
    message: Rc<Message>,
    /// The final statuses so far.
    #[allow(clippy::vec_box)] // they come boxed and go boxed
    finals: Vec<Box<StatusRecord>>,
    /// It is in a frame that the writer has: what is said from now on is said on disk, behind that frame.
    is_leaving: bool,
}

/// What became of records about messages in memory.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// All of it was about messages in memory that are final now, or not yet but tried: nothing goes to disk.
    Done(Vec<Record>),
    /// These go to disk.
    ToDisk {
        /// The records, with the messages in front that are not on disk yet.
        all: Vec<Record>,
        /// How many were put in front.
        told: usize,
    },
}

impl Volatile {
    /// Keeps a message.
    pub fn insert(&mut self, record: &Record) {
        let Record::Message(message) = record else { return };
        self.bytes += message.size_bytes();
        self.messages.insert(message.id, Kept { message: message.clone(), finals: Vec::new(), is_leaving: false });
    }

    /// Bytes of the messages kept.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A message that is in memory only, with its final statuses.
    pub fn get(&self, id: MessageId) -> Option<(&Rc<Message>, &[Box<StatusRecord>])> {
        self.messages.get(&id).map(|kept| (&kept.message, &kept.finals[..]))
    }

    /// Every message that is in memory only and not on its way to disk.
    pub fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.messages.iter().filter(|(_, kept)| !kept.is_leaving).map(|(id, _)| *id)
    }

    /// The writer has taken the frame with this record. Upkeep is never refused, so it will be on disk, and nothing
    /// that is said later may overtake it or repeat it.
    pub fn leave(&mut self, record: &Record) {
        if let Record::Message(message) = record
            && let Some(kept) = self.messages.get_mut(&message.id)
        {
            kept.is_leaving = true;
        }
    }

    fn stays(&self, id: MessageId) -> Option<&Kept> {
        self.messages.get(&id).filter(|kept| !kept.is_leaving)
    }

    /// It is on disk now, or over.
    pub fn remove(&mut self, id: MessageId) {
        if let Some(kept) = self.messages.remove(&id) {
            self.bytes -= kept.message.size_bytes();
        }
    }

    /// Final statuses of messages in memory stay in memory; anything else brings the message to disk.
    pub fn take_statuses(&mut self, records: Vec<Record>) -> Taken {
        let touches = |record: &Record| record.message_id().is_some_and(|id| self.stays(id).is_some());
        if !records.iter().any(touches) {
            return Taken::ToDisk { all: records, told: 0 };
        }
        let is_final = |record: &Record| matches!(record, Record::Status(status) if status.status.is_final());
        if records.iter().all(|record| touches(record) && is_final(record)) {
            records.iter().for_each(|record| self.finish(record));
            return Taken::Done(records);
        }
        let count = records.len();
        let all = self.with_messages(records);
        Taken::ToDisk { told: all.len() - count, all }
    }

    fn finish(&mut self, record: &Record) {
        let Record::Status(status) = record else { return };
        let Some(kept) = self.messages.get_mut(&status.message) else { return };
        let id = status.message;
        if kept.finals.iter().all(|known| known.recipient != status.recipient) {
            kept.finals.push(status.clone());
        }
        if kept.finals.len() == kept.message.envelope.recipients.len() {
            self.remove(id);
        }
    }

    /// The messages and their statuses so far go in front; the messages stay readable here until they are indexed.
    fn with_messages(&self, records: Vec<Record>) -> Vec<Record> {
        let mut all = Vec::with_capacity(records.len() + 2);
        let mut seen: Vec<MessageId> = Vec::new();
        for id in records.iter().filter_map(Record::message_id) {
            if seen.contains(&id) {
                continue;
            }
            seen.push(id);
            if let Some(kept) = self.stays(id) {
                all.push(Record::Message(kept.message.clone()));
                all.extend(kept.finals.iter().cloned().map(Record::Status));
            }
        }
        all.extend(records);
        all
    }
}
