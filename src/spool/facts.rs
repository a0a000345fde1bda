//! What the queue and the index need of a segment, and nothing else: gathered from frames, kept in
//! footers (`docs/spool-format.md` 4.5).

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

use crate::base::{MessageId, StreamId, WallTime};
use crate::mail::{DeliverBy, ErrorKind, Status};

use super::codec::{Corrupt, Put, Take};
use super::frame::{FrameHeader, Order};
use super::message::{Body, Message, Record};
use super::record::{RawRecord, Records, kind, put_deliver_by, take_deliver_by};
use super::record_status::take_error_kind;

/// A message id inside its stream, in eight bytes: start (24 bits) and sequence (40 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

/// Starts of one stream, for ever.
pub const START_MAX: u32 = (1 << 24) - 1;
/// Ids of one start.
pub const SEQUENCE_MAX: u64 = (1 << 40) - 1;

impl Key {
    /// `None` for an id that no stream ever gave out.
    pub fn new(id: MessageId) -> Option<Key> {
        let in_bounds = id.start <= START_MAX && id.sequence <= SEQUENCE_MAX;
        in_bounds.then_some(Key(u64::from(id.start) << 40 | id.sequence))
    }

    /// The whole id.
    pub fn id(self, stream: StreamId) -> MessageId {
        MessageId { stream, start: (self.0 >> 40) as u32, sequence: self.0 & SEQUENCE_MAX }
    }
}

/// A message in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageFact {
    /// Its id.
    pub key: Key,
    /// The order of its frame.
    pub order: Order,
    /// Its frame is a copy.
    pub is_copy: bool,
    /// Where its frame begins.
    pub offset: u64,
    /// Bytes of its frame.
    pub length: u32,
    /// When it was accepted.
    pub received_at: WallTime,
    /// Octets on the wire.
    pub size_bytes: u64,
    /// MT-PRIORITY.
    pub priority: i8,
    /// HOLDFOR, HOLDUNTIL.
    pub hold_until: Option<WallTime>,
    /// DELIVERBY.
    pub deliver_by: Option<DeliverBy>,
    /// Index of the reverse-path among the strings.
    pub reverse_path: u32,
    /// Index of the authenticated identity among the strings.
    pub authenticated_as: u32,
    /// Bulk segments its body lies in.
    pub bulk: Vec<u32>,
    /// Per recipient, index of its domain key among the strings.
    pub domains: SmallVec<[u32; 1]>,
}

/// A status, hold or release in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusFact {
    /// The message.
    pub key: Key,
    /// The recipient; [`StatusFact::HOLD`] for holds and releases.
    pub recipient: u32,
    /// The order of its frame.
    pub order: Order,
    /// Where its frame begins.
    pub offset: u64,
    /// What it says.
    pub change: Change,
}

impl StatusFact {
    /// The recipient of holds and releases.
    pub const HOLD: u32 = u32::MAX;
}

/// What a status, hold or release changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Due again.
    Deferred {
        /// When.
        due: WallTime,
        /// Attempts made.
        attempts: u32,
        /// Delay DSNs sent.
        delay_notices: u32,
        /// Why.
        last_error: ErrorKind,
    },
    /// Nothing will be tried again.
    Final,
    /// Held.
    Held,
    /// Released.
    Released,
}

impl Change {
    /// What a status says to the index.
    pub fn of(status: &Status) -> Change {
        match status {
            Status::Deferred { until, attempts, delay_notices, last } => Change::Deferred {
                due: *until,
                attempts: *attempts,
                delay_notices: *delay_notices,
                last_error: last.kind,
            },
            _ => Change::Final,
        }
    }
}

/// A stream fact in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFact {
    /// The order of its frame.
    pub order: Order,
    /// Its key.
    pub key: CompactString,
    /// Its value; empty forgets the key.
    pub value: Bytes,
}

/// Everything of one segment that start needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Domains, reverse-paths and identities, each once; the first is the empty string.
    pub strings: Vec<Rc<str>>,
    /// Messages, in order.
    pub messages: Vec<MessageFact>,
    /// Statuses, holds and releases, in order.
    pub statuses: Vec<StatusFact>,
    /// Stream facts, in order.
    pub facts: Vec<StreamFact>,
}

/// Gathers the facts of a segment from its frames.
pub struct Gather {
    stream: StreamId,
    facts: SegmentFacts,
    interned: HashMap<CompactString, u32>,
}

impl Gather {
    /// For a segment of `stream`.
    pub fn new(stream: StreamId) -> Gather {
        let facts = SegmentFacts { strings: vec!["".into()], ..SegmentFacts::default() };
        Gather { stream, facts, interned: HashMap::from([(CompactString::default(), 0)]) }
    }

    /// Takes the records of a frame, all or none. Of a message that `is_gone` only its existence is noted.
    pub fn frame(
        &mut self,
        header: &FrameHeader,
        offset: u64,
        payload: &Bytes,
        is_gone: impl Fn(Key) -> bool,
    ) -> Result<(), Corrupt> {
        let marks = (self.facts.messages.len(), self.facts.statuses.len(), self.facts.facts.len());
        let result = Records::new(payload, self.stream).try_for_each(|raw| self.record(header, offset, raw?, &is_gone));
        if result.is_err() {
            self.facts.messages.truncate(marks.0);
            self.facts.statuses.truncate(marks.1);
            self.facts.facts.truncate(marks.2);
        }
        result
    }

    fn record(
        &mut self,
        header: &FrameHeader,
        offset: u64,
        raw: RawRecord<'_>,
        is_gone: &impl Fn(Key) -> bool,
    ) -> Result<(), Corrupt> {
        let key = match raw.message_id()? {
            Some(id) => Some(Key::new(id).ok_or(Corrupt)?),
            None => None,
        };
        let status = |key, recipient, change| StatusFact { key, recipient, order: header.order, offset, change };
        match (key, raw.kind) {
            (Some(key), kind::MESSAGE) if is_gone(key) => {
                let fact = gone_message(header, offset, key, raw.recipients()?);
                self.facts.messages.push(fact);
            }
            (Some(key), kind::STATUS) => {
                let change = match raw.status_head()? {
                    (recipient, true) => status(key, recipient, Change::Final),
                    (recipient, false) => match raw.decode()? {
                        Record::Status(record) => status(key, recipient, Change::of(&record.status)),
                        _ => return Err(Corrupt),
                    },
                };
                self.facts.statuses.push(change);
            }
            (Some(key), kind::HOLD) => self.facts.statuses.push(status(key, StatusFact::HOLD, Change::Held)),
            (Some(key), kind::RELEASE) => self.facts.statuses.push(status(key, StatusFact::HOLD, Change::Released)),
            (key, _) => match (key, raw.decode()?) {
                (Some(key), Record::Message(message)) => self.message(header, offset, key, &message),
                (None, Record::Fact { key, value }) => {
                    // The value must not keep the whole window in memory.
                    let value = Bytes::copy_from_slice(&value);
                    self.facts.facts.push(StreamFact { order: header.order, key, value });
                }
                _ => return Err(Corrupt),
            },
        }
        Ok(())
    }

    fn message(&mut self, header: &FrameHeader, offset: u64, key: Key, message: &Message) {
        let bulk = match &message.body {
            Body::Bulk(extents) => super::bulk::segments_of(&extents.list),
            Body::Memory(_) => Vec::new(),
        };
        let envelope = &message.envelope;
        let fact = MessageFact {
            received_at: message.received.at,
            size_bytes: message.size_bytes(),
            priority: envelope.mail.priority,
            hold_until: envelope.mail.hold_until,
            deliver_by: envelope.mail.deliver_by,
            reverse_path: self.intern(envelope.reverse_path.as_str()),
            authenticated_as: self.intern(message.received.authenticated_as.as_deref().unwrap_or("")),
            bulk,
            domains: envelope.recipients.iter().map(|r| self.intern(&r.path.mailbox().domain_key())).collect(),
            ..gone_message(header, offset, key, 0)
        };
        self.facts.messages.push(fact);
    }

    fn intern(&mut self, text: &str) -> u32 {
        if let Some(index) = self.interned.get(text) {
            return *index;
        }
        let index = self.facts.strings.len() as u32;
        self.facts.strings.push(text.into());
        self.interned.insert(CompactString::new(text), index);
        index
    }

    /// What was gathered.
    pub fn finish(self) -> SegmentFacts {
        self.facts
    }
}

fn gone_message(header: &FrameHeader, offset: u64, key: Key, recipients: u32) -> MessageFact {
    MessageFact {
        key,
        order: header.order,
        is_copy: header.is_copy(),
        offset,
        length: header.total() as u32,
        received_at: WallTime(0),
        size_bytes: 0,
        priority: 0,
        hold_until: None,
        deliver_by: None,
        reverse_path: 0,
        authenticated_as: 0,
        bulk: Vec::new(),
        domains: SmallVec::from_elem(0, recipients as usize),
    }
}

impl SegmentFacts {
    /// Leaves out messages that are no copies and that statuses of this same segment made final, and those statuses;
    /// and statuses that a later one of the same recipient in this segment replaced.
    pub fn prune(&mut self) {
        let mut last: HashMap<(Key, u32), (usize, bool)> = HashMap::with_capacity(self.statuses.len());
        let mut finals: HashMap<Key, usize> = HashMap::new();
        for (i, status) in self.statuses.iter().enumerate() {
            let is_final = status.change == Change::Final;
            let previous = last.insert((status.key, status.recipient), (i, is_final));
            if is_final && !previous.is_some_and(|(_, was_final)| was_final) {
                *finals.entry(status.key).or_default() += 1;
            }
        }
        let mut over: HashMap<Key, ()> = HashMap::new();
        self.messages.retain(|message| {
            let done = !message.is_copy && finals.get(&message.key) == Some(&message.domains.len());
            if done {
                over.insert(message.key, ());
            }
            !done
        });
        let mut i = 0;
        self.statuses.retain(|status| {
            let is_last = last.get(&(status.key, status.recipient)).is_some_and(|(at, _)| *at == i);
            i += 1;
            is_last && !over.contains_key(&status.key)
        });
    }

    /// The footer's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.messages.len() * 64 + self.statuses.len() * 40);
        out.put_varint(self.strings.len() as u64);
        self.strings.iter().for_each(|text| out.put_str(text));
        out.put_varint(self.messages.len() as u64);
        for message in &self.messages {
            put_message_fact(&mut out, message);
        }
        out.put_varint(self.statuses.len() as u64);
        for status in &self.statuses {
            put_status_fact(&mut out, status);
        }
        out.put_varint(self.facts.len() as u64);
        for fact in &self.facts {
            put_order(&mut out, fact.order);
            out.put_str(&fact.key);
            out.put_bytes(&fact.value);
        }
        out
    }

    /// A footer's facts.
    pub fn decode(bytes: &Bytes) -> Result<SegmentFacts, Corrupt> {
        let mut take = Take::new(bytes);
        let take = &mut take;
        let mut facts = SegmentFacts::default();
        for _ in 0..take.count(1)? {
            facts.strings.push(take.str()?.into());
        }
        let strings = facts.strings.len() as u32;
        let count = take.count(20)?;
        facts.messages.reserve_exact(count);
        for _ in 0..count {
            facts.messages.push(take_message_fact(take, strings)?);
        }
        let count = take.count(12)?;
        facts.statuses.reserve_exact(count);
        for _ in 0..count {
            facts.statuses.push(take_status_fact(take)?);
        }
        for _ in 0..take.count(4)? {
            let (order, key) = (take_order(take)?, take.compact()?);
            let value = Bytes::copy_from_slice(&take.bytes()?);
            facts.facts.push(StreamFact { order, key, value });
        }
        if take.is_empty() { Ok(facts) } else { Err(Corrupt) }
    }
}

fn put_order(out: &mut Vec<u8>, order: Order) {
    out.put_varint(u64::from(order.start));
    out.put_varint(order.sequence);
}

fn take_order(take: &mut Take<'_>) -> Result<Order, Corrupt> {
    Ok(Order { start: take.varint_u32()?, sequence: take.varint()? })
}

fn put_message_fact(out: &mut Vec<u8>, fact: &MessageFact) {
    out.put_u64(fact.key.0);
    put_order(out, fact.order);
    out.put_u8(u8::from(fact.is_copy));
    out.put_varint(fact.offset);
    out.put_varint(u64::from(fact.length));
    out.put_varint(fact.received_at.0);
    out.put_varint(fact.size_bytes);
    out.put_u8(fact.priority as u8);
    out.put_option(fact.hold_until, |out, at| out.put_varint(at.0));
    out.put_option(fact.deliver_by, put_deliver_by);
    out.put_varint(u64::from(fact.reverse_path));
    out.put_varint(u64::from(fact.authenticated_as));
    out.put_varint(fact.bulk.len() as u64);
    fact.bulk.iter().for_each(|number| out.put_u32(*number));
    out.put_varint(fact.domains.len() as u64);
    fact.domains.iter().for_each(|domain| out.put_varint(u64::from(*domain)));
}

fn take_message_fact(take: &mut Take<'_>, strings: u32) -> Result<MessageFact, Corrupt> {
    let string = |take: &mut Take<'_>| take.varint_u32().and_then(|i| if i < strings { Ok(i) } else { Err(Corrupt) });
    Ok(MessageFact {
        key: Key(take.u64()?),
        order: take_order(take)?,
        is_copy: take.u8()? != 0,
        offset: take.varint()?,
        length: take.varint_u32()?,
        received_at: WallTime(take.varint()?),
        size_bytes: take.varint()?,
        priority: take.u8()? as i8,
        hold_until: take.option(|take| take.varint().map(WallTime))?,
        deliver_by: take.option(take_deliver_by)?,
        reverse_path: string(take)?,
        authenticated_as: string(take)?,
        bulk: {
            let count = take.count(4)?;
            (0..count).map(|_| take.u32()).collect::<Result<_, _>>()?
        },
        domains: {
            let count = take.count(1)?;
            (0..count).map(|_| string(take)).collect::<Result<_, _>>()?
        },
    })
}

fn put_status_fact(out: &mut Vec<u8>, fact: &StatusFact) {
    out.put_u64(fact.key.0);
    out.put_varint(u64::from(fact.recipient));
    put_order(out, fact.order);
    out.put_varint(fact.offset);
    match fact.change {
        Change::Final => out.put_u8(0),
        Change::Held => out.put_u8(1),
        Change::Released => out.put_u8(2),
        Change::Deferred { due, attempts, delay_notices, last_error } => {
            out.put_u8(3);
            out.put_varint(due.0);
            out.put_varint(u64::from(attempts));
            out.put_varint(u64::from(delay_notices));
            out.put_u8(last_error as u8);
        }
    }
}

fn take_status_fact(take: &mut Take<'_>) -> Result<StatusFact, Corrupt> {
    Ok(StatusFact {
        key: Key(take.u64()?),
        recipient: take.varint_u32()?,
        order: take_order(take)?,
        offset: take.varint()?,
        change: match take.u8()? {
            0 => Change::Final,
            1 => Change::Held,
            2 => Change::Released,
            3 => Change::Deferred {
                due: WallTime(take.varint()?),
                attempts: take.varint_u32()?,
                delay_notices: take.varint_u32()?,
                last_error: take_error_kind(take)?,
            },
            _ => return Err(Corrupt),
        },
    })
}
