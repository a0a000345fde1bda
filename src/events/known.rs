//! Whom a status is about: a record of a status names its message by id, and people want addresses.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use compact_str::CompactString;

use crate::base::MessageId;
use crate::spool::Message;

/// Messages that are remembered.
const MESSAGES_MAX: usize = 16 * 1024;
/// Recipients of remembered messages.
const RECIPIENTS_MAX: usize = 64 * 1024;

/// What is remembered of a message.
#[derive(Debug, PartialEq, Eq)]
pub struct About {
    /// The reverse-path; empty for the null one.
    pub from: CompactString,
    /// The recipients, by index.
    pub to: Vec<CompactString>,
}

impl About {
    /// What a message says.
    pub fn new(message: &Message) -> About {
        let envelope = &message.envelope;
        About {
            from: envelope.reverse_path.as_str().into(),
            to: envelope.recipients.iter().map(|r| r.path.as_str().into()).collect(),
        }
    }
}

/// Messages seen lately; the oldest is forgotten first. Bounded.
#[derive(Debug, Default)]
pub struct Known {
    messages: HashMap<MessageId, Rc<About>>,
    order: VecDeque<MessageId>,
    recipients: usize,
}

impl Known {
    /// Remembers a message.
    pub fn learn(&mut self, message: &Message) -> Rc<About> {
        if let Some(known) = self.messages.get(&message.id) {
            return known.clone();
        }
        let about = Rc::new(About::new(message));
        self.messages.insert(message.id, about.clone());
        self.order.push_back(message.id);
        self.recipients += about.to.len();
        while self.order.len() > 1 && (self.order.len() > MESSAGES_MAX || self.recipients > RECIPIENTS_MAX) {
            let oldest = self.order.pop_front().and_then(|id| self.messages.remove(&id));
            self.recipients -= oldest.map_or(0, |about| about.to.len());
        }
        about
    }

    /// What is remembered of a message.
    pub fn get(&self, id: MessageId) -> Option<Rc<About>> {
        self.messages.get(&id).cloned()
    }
}
