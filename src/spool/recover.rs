//! From the facts of segments, newest first, to the undelivered messages. Pure.
//!
//! Newest first, because all that is said about a message is said later than the message: when a
//! copy is met, every status that counts for it was met before.

use std::collections::HashMap;
use std::rc::Rc;

use crate::base::{RecipientIndex, StreamId, WallTime};
use crate::mail::ErrorKind;

use super::facts::{Change, Key, MessageFact, SegmentFacts, StatusFact};
use super::index::Index;
use super::message::{Recovered, RecoveredRecipient};

/// What is known while the segments of a stream are read, newest first.
#[derive(Debug)]
pub struct Merge {
    stream: StreamId,
    /// The last status of each recipient, and its segment.
    statuses: HashMap<(Key, u32), (StatusFact, u32), foldhash::fast::RandomState>,
    /// Messages met as copies, and the segment of the newest: older ones are superseded.
    copies: HashMap<Key, u32, foldhash::fast::RandomState>,
}

/// The facts of one segment on their way into the index.
#[derive(Debug)]
pub struct Part {
    number: u32,
    facts: SegmentFacts,
    /// Messages still to be merged, last first.
    left: usize,
}

impl Merge {
    /// Nothing read yet.
    pub fn new(stream: StreamId) -> Merge {
        Merge { stream, statuses: HashMap::default(), copies: HashMap::default() }
    }

    /// Takes what is said in the next older segment.
    pub fn begin(&mut self, index: &mut Index, number: u32, mut facts: SegmentFacts) -> Part {
        for status in facts.statuses.drain(..) {
            let known = self.statuses.entry((status.key, status.recipient)).or_insert((status, number));
            if known.0.order <= status.order {
                *known = (status, number);
            }
        }
        for fact in &facts.facts {
            index.fact(&fact.key, &fact.value, number, fact.order);
        }
        let left = facts.messages.len();
        Part { number, facts, left }
    }

    /// Merges up to `count` messages of the part; `None` when it is done.
    pub fn advance(&mut self, index: &mut Index, part: &mut Part, count: usize) -> Option<Vec<Recovered>> {
        if part.left == 0 {
            return None;
        }
        let mut recovered = Vec::with_capacity(count.min(part.left));
        for _ in 0..count.min(part.left) {
            part.left -= 1;
            let Some(fact) = part.facts.messages.get(part.left) else { break };
            recovered.extend(self.message(index, part.number, fact, &part.facts.strings));
        }
        Some(recovered)
    }

    fn message(
        &mut self,
        index: &mut Index,
        number: u32,
        fact: &MessageFact,
        strings: &[Rc<str>],
    ) -> Option<Recovered> {
        let key = fact.key;
        if let Some(newer) = self.copies.get(&key) {
            index.add_ref(*newer, number);
            return None;
        }
        if let Some(entry) = index.get(key) {
            // Met as an original in a newer segment: the same id twice. The newer one holds.
            let newer = entry.segment();
            index.add_ref(newer, number);
            return None;
        }
        if fact.is_copy {
            self.copies.insert(key, number);
        }
        let applies = |recipient: u32| {
            self.statuses.get(&(key, recipient)).filter(|(status, _)| status.order >= fact.order).copied()
        };
        let total = fact.domains.len() as u32;
        let mut recipients = smallvec::SmallVec::new();
        index.message(key, (number, fact.offset, fact.length), total, &fact.bulk);
        for recipient in 0..total {
            let status = applies(recipient);
            if let Some((status, segment)) = status {
                index.status(key, recipient, status.change, (segment, status.offset));
            }
            let change = status.map(|(status, _)| status.change);
            let domain = fact.domains.get(recipient as usize).and_then(|i| strings.get(*i as usize));
            recipients.extend(waiting(recipient, change, domain));
        }
        let hold = applies(StatusFact::HOLD);
        if let Some((status, segment)) = hold {
            index.status(key, StatusFact::HOLD, status.change, (segment, status.offset));
        }
        if recipients.is_empty() {
            return None;
        }
        let string = |i: u32| strings.get(i as usize).cloned().unwrap_or_else(|| "".into());
        Some(Recovered {
            id: key.id(self.stream),
            received_at: fact.received_at,
            size_bytes: fact.size_bytes,
            priority: fact.priority,
            hold_until: fact.hold_until,
            deliver_by: fact.deliver_by,
            is_held: matches!(hold, Some((StatusFact { change: Change::Held, .. }, _))),
            reverse_path: string(fact.reverse_path),
            authenticated_as: string(fact.authenticated_as),
            recipients_total: total,
            recipients,
        })
    }
}

/// A recipient that is not final, as the queue needs it.
fn waiting(recipient: u32, change: Option<Change>, domain: Option<&Rc<str>>) -> Option<RecoveredRecipient> {
    let (due, attempts, delay_notices, last_error): (Option<WallTime>, u32, u32, ErrorKind) = match change {
        None | Some(Change::Held | Change::Released) => (None, 0, 0, ErrorKind::None),
        Some(Change::Deferred { due, attempts, delay_notices, last_error }) => {
            (Some(due), attempts, delay_notices, last_error)
        }
        Some(Change::Final) => return None,
    };
    let domain = domain.cloned().unwrap_or_else(|| "".into());
    Some(RecoveredRecipient { index: RecipientIndex(recipient), domain, due, attempts, delay_notices, last_error })
}
