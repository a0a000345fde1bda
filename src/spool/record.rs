//! Records to bytes and back (`docs/spool-format.md` 4.4): the message and its envelope.

use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;

use crate::base::limits::{FACT_KEY_BYTES_MAX, FACT_VALUE_BYTES_MAX, PATH_BYTES_MAX, RECIPIENTS_MAX};
use crate::base::{MessageId, StreamId, WallTime};
use crate::mail::{
    BodyType, ContentFacts, DeliverBy, DeliverByMode, Envelope, ForwardPath, MailParameters, Mailbox, Notify,
    OriginalRecipient, Received, Recipient, Ret, ReversePath, Source,
};

use super::codec::{Corrupt, Put, Take};
use super::message::{Body, Extent, Extents, Message, Record};
use super::record_status::{put_status, status_bound, take_status};

/// Kind octets of records.
pub mod kind {
    /// A message.
    pub const MESSAGE: u8 = 1;
    /// A status.
    pub const STATUS: u8 = 2;
    /// A hold.
    pub const HOLD: u8 = 3;
    /// A release.
    pub const RELEASE: u8 = 4;
    /// A stream fact.
    pub const FACT: u8 = 5;
}

const FLAG_SEPARATOR: u8 = 1;
const FLAG_BULK: u8 = 2;
const RECORD_HEADER_BYTES: usize = 5;

/// An upper bound of what [`put_record`] appends.
pub fn record_bound(record: &Record) -> usize {
    RECORD_HEADER_BYTES
        + match record {
            Record::Message(message) => message_bound(message),
            Record::Status(status) => status_bound(status),
            Record::Hold { .. } | Record::Release { .. } => 24,
            Record::Fact { key, value } => key.len() + value.len() + 16,
        }
}

fn message_bound(message: &Message) -> usize {
    let envelope = &message.envelope;
    let option = |text: &Option<compact_str::CompactString>| text.as_ref().map_or(1, |t| t.len() + 6);
    let recipients: usize = envelope
        .recipients
        .iter()
        .map(|r| r.path.as_str().len() + 16 + r.original.as_ref().map_or(0, |o| o.kind.len() + o.address.len() + 12))
        .sum();
    let body = match &message.body {
        Body::Memory(pieces) => pieces.iter().map(Bytes::len).sum(),
        Body::Bulk(extents) => extents.list.len() * 28,
    };
    let received = &message.received;
    let text = received.listener.len() + received.helo.len() + envelope.reverse_path.as_str().len();
    256 + text
        + option(&received.authenticated_as)
        + option(&envelope.mail.envid)
        + option(&envelope.mail.solicit)
        + recipients
        + message.trace.len()
        + message.header.len()
        + body
}

/// Appends one record.
pub fn put_record(out: &mut Vec<u8>, record: &Record) {
    let kind = match record {
        Record::Message(_) => kind::MESSAGE,
        Record::Status(_) => kind::STATUS,
        Record::Hold { .. } => kind::HOLD,
        Record::Release { .. } => kind::RELEASE,
        Record::Fact { .. } => kind::FACT,
    };
    out.put_u8(kind);
    let length_at = out.len();
    out.put_u32(0);
    match record {
        Record::Message(message) => put_message(out, message),
        Record::Status(status) => put_status(out, status),
        Record::Hold { message, at } | Record::Release { message, at } => {
            put_id(out, *message);
            out.put_varint(at.0);
        }
        Record::Fact { key, value } => {
            out.put_str(key);
            out.put_bytes(value);
        }
    }
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
}

/// The records of a payload, one after another, not yet decoded.
pub struct Records<'a> {
    take: Take<'a>,
    stream: StreamId,
}

/// One record, not yet decoded.
pub struct RawRecord<'a> {
    /// What it is: one of [`kind`].
    pub kind: u8,
    stream: StreamId,
    body: Take<'a>,
}

impl<'a> Records<'a> {
    /// The records of `payload` in a segment of `stream`.
    pub fn new(payload: &'a Bytes, stream: StreamId) -> Self {
        Records { take: Take::new(payload), stream }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RawRecord<'a>, Corrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.take.is_empty() {
            return None;
        }
        let record = (|| {
            let kind = self.take.u8()?;
            let length = self.take.u32()? as usize;
            Ok(RawRecord { kind, stream: self.stream, body: self.take.part(length)? })
        })();
        if record.is_err() {
            self.take.clear();
        }
        Some(record)
    }
}

impl RawRecord<'_> {
    /// The message it is about; `None` for a stream fact.
    pub fn message_id(&self) -> Result<Option<MessageId>, Corrupt> {
        match self.kind {
            kind::FACT => Ok(None),
            _ => take_id(&mut self.body.clone(), self.stream).map(Some),
        }
    }

    /// How many recipients a message record has, without decoding them.
    pub fn recipients(&self) -> Result<u32, Corrupt> {
        let mut take = self.body.clone();
        take_id(&mut take, self.stream)?;
        take.u8()?;
        take.varint_u32()
    }

    /// The recipient of a status record, and whether the status is final.
    pub fn status_head(&self) -> Result<(u32, bool), Corrupt> {
        let mut take = self.body.clone();
        take_id(&mut take, self.stream)?;
        let recipient = take.varint_u32()?;
        take.varint()?;
        Ok((recipient, take.u8()? != super::record_status::state::DEFERRED))
    }

    /// The whole record.
    pub fn decode(mut self) -> Result<Record, Corrupt> {
        let take = &mut self.body;
        let record = match self.kind {
            kind::MESSAGE => Record::Message(Rc::new(take_message(take, self.stream)?)),
            kind::STATUS => Record::Status(Box::new(take_status(take, self.stream)?)),
            kind::HOLD => Record::Hold { message: take_id(take, self.stream)?, at: WallTime(take.varint()?) },
            kind::RELEASE => Record::Release { message: take_id(take, self.stream)?, at: WallTime(take.varint()?) },
            kind::FACT => {
                let (key, value) = (take.compact()?, take.bytes()?);
                if key.len() > FACT_KEY_BYTES_MAX || value.len() > FACT_VALUE_BYTES_MAX {
                    return Err(Corrupt);
                }
                Record::Fact { key, value }
            }
            _ => return Err(Corrupt),
        };
        if take.is_empty() { Ok(record) } else { Err(Corrupt) }
    }
}

/// All records of a payload.
pub fn decode_all(payload: &Bytes, stream: StreamId) -> Result<Vec<Record>, Corrupt> {
    Records::new(payload, stream).map(|raw| raw.and_then(RawRecord::decode)).collect()
}

pub(super) fn put_id(out: &mut Vec<u8>, id: MessageId) {
    out.put_u32(id.start);
    out.put_u64(id.sequence);
}

pub(super) fn take_id(take: &mut Take<'_>, stream: StreamId) -> Result<MessageId, Corrupt> {
    Ok(MessageId { stream, start: take.u32()?, sequence: take.u64()? })
}

fn put_message(out: &mut Vec<u8>, message: &Message) {
    put_id(out, message.id);
    let bulk = if matches!(message.body, Body::Bulk(_)) { FLAG_BULK } else { 0 };
    out.put_u8(bulk | if message.has_separator { FLAG_SEPARATOR } else { 0 });
    out.put_varint(message.envelope.recipients.len() as u64);
    put_received(out, &message.received);
    put_envelope(out, &message.envelope);
    out.put_varint(message.trace.len() as u64);
    out.put_varint(message.header.len() as u64);
    match &message.body {
        Body::Memory(_) => out.put_varint(message.body.size_bytes()),
        Body::Bulk(extents) => {
            out.put_varint(extents.list.len() as u64);
            extents.list.iter().for_each(|extent| put_extent(out, extent));
        }
    }
    out.extend_from_slice(&message.trace);
    out.extend_from_slice(&message.header);
    if let Body::Memory(pieces) = &message.body {
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    }
}

fn take_message(take: &mut Take<'_>, stream: StreamId) -> Result<Message, Corrupt> {
    let id = take_id(take, stream)?;
    let flags = take.u8()?;
    if flags & !(FLAG_BULK | FLAG_SEPARATOR) != 0 {
        return Err(Corrupt);
    }
    let recipients = take.count(3)?;
    let received = take_received(take)?;
    let envelope = take_envelope(take, recipients)?;
    let (trace_length, header_length) = (take.count(1)?, take.count(1)?);
    let (body_length, extents) = if flags & FLAG_BULK != 0 {
        let count = take.count(28)?;
        let list = (0..count).map(|_| take_extent(take)).collect::<Result<Rc<[Extent]>, _>>()?;
        (0, Some(Extents { list, pin: None }))
    } else {
        (take.count(1)?, None)
    };
    let trace = take.shared(trace_length)?;
    let header = take.shared(header_length)?;
    let body = match extents {
        Some(extents) => Body::Bulk(extents),
        None if body_length == 0 => Body::Memory(Vec::new()),
        None => Body::Memory(vec![take.shared(body_length)?]),
    };
    Ok(Message { id, envelope, received, trace, header, has_separator: flags & FLAG_SEPARATOR != 0, body })
}

fn put_extent(out: &mut Vec<u8>, extent: &Extent) {
    out.put_u32(extent.segment);
    out.put_u64(extent.epoch);
    out.put_u64(extent.offset);
    out.put_u32(extent.length);
    out.put_u32(extent.checksum);
}

fn take_extent(take: &mut Take<'_>) -> Result<Extent, Corrupt> {
    Ok(Extent {
        segment: take.u32()?,
        epoch: take.u64()?,
        offset: take.u64()?,
        length: take.u32()?,
        checksum: take.u32()?,
    })
}

fn put_received(out: &mut Vec<u8>, received: &Received) {
    out.put_varint(received.at.0);
    out.put_u8(received.source as u8);
    out.put_str(&received.listener);
    match received.remote_ip {
        IpAddr::V4(ip) => out.put_bytes(&ip.octets()),
        IpAddr::V6(ip) => out.put_bytes(&ip.octets()),
    }
    out.put_u16(received.local_port);
    out.put_str(&received.helo);
    out.put_option(received.authenticated_as.as_deref(), |out, name| out.put_str(name));
    let facts = &received.content;
    out.put_varint(facts.size_bytes);
    out.put_varint(u64::from(facts.header_bytes));
    out.put_varint(u64::from(facts.longest_line_bytes));
    let bits = content_bits(facts);
    out.put_u8(bits.iter().enumerate().fold(0, |octet, (i, bit)| octet | u8::from(*bit) << i));
    out.put_u16(facts.received_fields);
}

fn content_bits(facts: &ContentFacts) -> [bool; 8] {
    [
        facts.has_bare_cr,
        facts.has_bare_lf,
        facts.has_nul,
        facts.has_8bit_header,
        facts.has_8bit_body,
        facts.has_leading_dot,
        facts.ends_with_crlf,
        facts.has_separator,
    ]
}

fn take_received(take: &mut Take<'_>) -> Result<Received, Corrupt> {
    let at = WallTime(take.varint()?);
    let source = match take.u8()? {
        0 => Source::Unauthenticated,
        1 => Source::Authenticated,
        2 => Source::DmarcPass,
        3 => Source::Dsn,
        4 => Source::Report,
        5 => Source::Autogenerated,
        _ => return Err(Corrupt),
    };
    let listener = take.compact()?;
    let ip = take.bytes()?;
    let remote_ip = match (<[u8; 4]>::try_from(&ip[..]), <[u8; 16]>::try_from(&ip[..])) {
        (Ok(v4), _) => IpAddr::from(v4),
        (_, Ok(v6)) => IpAddr::from(v6),
        _ => return Err(Corrupt),
    };
    let local_port = take.u16()?;
    let helo = take.compact()?;
    let authenticated_as = take.option(Take::compact)?;
    let (size_bytes, header_bytes, longest_line_bytes) = (take.varint()?, take.varint_u32()?, take.varint_u32()?);
    let bits = take.u8()?;
    let bit = |i: u8| bits & (1 << i) != 0;
    let content = ContentFacts {
        size_bytes,
        header_bytes,
        longest_line_bytes,
        has_bare_cr: bit(0),
        has_bare_lf: bit(1),
        has_nul: bit(2),
        has_8bit_header: bit(3),
        has_8bit_body: bit(4),
        has_leading_dot: bit(5),
        ends_with_crlf: bit(6),
        has_separator: bit(7),
        received_fields: take.u16()?,
    };
    Ok(Received { at, source, listener, remote_ip, local_port, helo, authenticated_as, content })
}

fn put_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    out.put_option(envelope.reverse_path.mailbox(), |out, mailbox| out.put_str(mailbox.as_str()));
    let mail = &envelope.mail;
    out.put_option(mail.size, |out, size| out.put_varint(size));
    out.put_u8(mail.body as u8);
    out.put_u8(u8::from(mail.smtputf8) | u8::from(mail.requiretls) << 1);
    out.put_option(mail.ret, |out, ret| out.put_u8(ret as u8));
    out.put_option(mail.envid.as_deref(), |out, envid| out.put_str(envid));
    out.put_u8(mail.priority as u8);
    out.put_option(mail.hold_until, |out, at| out.put_varint(at.0));
    out.put_option(mail.deliver_by, put_deliver_by);
    out.put_option(mail.solicit.as_deref(), |out, solicit| out.put_str(solicit));
    for recipient in &envelope.recipients {
        out.put_str(recipient.path.as_str());
        out.put_option(recipient.notify, |out, notify| {
            out.put_u8(u8::from(notify.success) | u8::from(notify.failure) << 1 | u8::from(notify.delay) << 2);
        });
        out.put_option(recipient.original.as_ref(), |out, original| {
            out.put_str(&original.kind);
            out.put_str(&original.address);
        });
    }
}

fn take_envelope(take: &mut Take<'_>, count: usize) -> Result<Envelope, Corrupt> {
    let reverse_path = match take.option(|take| take.str())? {
        None => ReversePath::Null,
        Some(address) => ReversePath::Mailbox(take_mailbox(address)?),
    };
    let size = take.option(Take::varint)?;
    let body = match take.u8()? {
        0 => BodyType::SevenBit,
        1 => BodyType::EightBitMime,
        2 => BodyType::BinaryMime,
        _ => return Err(Corrupt),
    };
    let bits = take.u8()?;
    let ret = take.option(|take| match take.u8()? {
        0 => Ok(Ret::Full),
        1 => Ok(Ret::Headers),
        _ => Err(Corrupt),
    })?;
    let envid = take.option(Take::compact)?;
    let priority = take.u8()? as i8;
    let hold_until = take.option(|take| take.varint().map(WallTime))?;
    let deliver_by = take.option(take_deliver_by)?;
    let solicit = take.option(Take::compact)?;
    if count > RECIPIENTS_MAX {
        return Err(Corrupt);
    }
    let recipients = (0..count).map(|_| take_recipient(take)).collect::<Result<Vec<_>, _>>()?;
    let (smtputf8, requiretls) = (bits & 1 != 0, bits & 2 != 0);
    let mail =
        MailParameters { size, body, smtputf8, requiretls, ret, envid, priority, hold_until, deliver_by, solicit };
    Ok(Envelope { reverse_path, mail, recipients })
}

fn take_mailbox(text: &str) -> Result<Mailbox, Corrupt> {
    if text.len() > PATH_BYTES_MAX * 4 { Err(Corrupt) } else { Ok(Mailbox::from_stored(text)) }
}

fn take_recipient(take: &mut Take<'_>) -> Result<Recipient, Corrupt> {
    let path = ForwardPath(take_mailbox(take.str()?)?);
    let notify = take.option(|take| {
        let bits = take.u8()?;
        Ok(Notify { success: bits & 1 != 0, failure: bits & 2 != 0, delay: bits & 4 != 0 })
    })?;
    let original = take.option(|take| Ok(OriginalRecipient { kind: take.compact()?, address: take.compact()? }))?;
    Ok(Recipient { path, notify, original })
}

pub(super) fn put_deliver_by(out: &mut Vec<u8>, by: DeliverBy) {
    out.put_varint(by.deadline.0);
    out.put_u8(by.mode as u8 | u8::from(by.trace) << 1);
}

pub(super) fn take_deliver_by(take: &mut Take<'_>) -> Result<DeliverBy, Corrupt> {
    let deadline = WallTime(take.varint()?);
    let bits = take.u8()?;
    let mode = if bits & 1 == 0 { DeliverByMode::Return } else { DeliverByMode::Notify };
    Ok(DeliverBy { deadline, mode, trace: bits & 2 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RecipientIndex;
    use crate::mail::{Diagnostic, EnhancedStatus, ErrorKind, Reply, Scope, Status, StatusRecord};
    use compact_str::CompactString;
    use proptest::prelude::*;

    const STREAM: StreamId = StreamId(3);

    fn text() -> impl Strategy<Value = CompactString> {
        "[ -~\u{e4}]{0,40}".prop_map(CompactString::from)
    }

    fn id() -> impl Strategy<Value = MessageId> {
        (any::<u32>(), any::<u64>()).prop_map(|(start, sequence)| MessageId { stream: STREAM, start, sequence })
    }

    fn mailbox() -> impl Strategy<Value = Mailbox> {
        ("[a-z]{1,20}", "[a-z]{1,10}\\.test")
            .prop_map(|(local, domain)| Mailbox::from_stored(&format!("{local}@{domain}")))
    }

    fn envelope() -> impl Strategy<Value = Envelope> {
        let original = || (text(), text()).prop_map(|(kind, address)| OriginalRecipient { kind, address });
        let notify = any::<[bool; 3]>().prop_map(|[success, failure, delay]| Notify { success, failure, delay });
        let recipient = (mailbox(), prop::option::of(notify), prop::option::of(original()))
            .prop_map(|(path, notify, original)| Recipient { path: ForwardPath(path), notify, original });
        let by = (any::<u64>(), any::<bool>(), any::<bool>()).prop_map(|(at, returns, trace)| DeliverBy {
            deadline: WallTime(at),
            mode: if returns { DeliverByMode::Return } else { DeliverByMode::Notify },
            trace,
        });
        let mail = (
            prop::option::of(any::<u64>()),
            (0..3u8, any::<bool>(), any::<bool>(), 0..3u8),
            (
                prop::option::of(text()),
                any::<i8>(),
                prop::option::of(any::<u64>()),
                prop::option::of(by),
                prop::option::of(text()),
            ),
        )
            .prop_map(
                |(size, (body, smtputf8, requiretls, ret), (envid, priority, hold, deliver_by, solicit))| {
                    MailParameters {
                        size,
                        body: [BodyType::SevenBit, BodyType::EightBitMime, BodyType::BinaryMime][usize::from(body)],
                        smtputf8,
                        requiretls,
                        ret: [None, Some(Ret::Full), Some(Ret::Headers)][usize::from(ret)],
                        envid,
                        priority,
                        hold_until: hold.map(WallTime),
                        deliver_by,
                        solicit,
                    }
                },
            );
        let reverse = prop::option::of(mailbox()).prop_map(|m| m.map_or(ReversePath::Null, ReversePath::Mailbox));
        (reverse, mail, prop::collection::vec(recipient, 1..5)).prop_map(|(reverse_path, mail, recipients)| Envelope {
            reverse_path,
            mail,
            recipients,
        })
    }

    fn received() -> impl Strategy<Value = Received> {
        let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
        let content = (any::<u64>(), any::<u32>(), any::<u32>(), any::<[bool; 8]>(), any::<u16>()).prop_map(
            |(size_bytes, header_bytes, longest_line_bytes, bits, received_fields)| ContentFacts {
                size_bytes,
                header_bytes,
                longest_line_bytes,
                has_bare_cr: bits[0],
                has_bare_lf: bits[1],
                has_nul: bits[2],
                has_8bit_header: bits[3],
                has_8bit_body: bits[4],
                has_leading_dot: bits[5],
                ends_with_crlf: bits[6],
                has_separator: bits[7],
                received_fields,
            },
        );
        (any::<u64>(), text(), ip, any::<u16>(), text(), prop::option::of(text()), content).prop_map(
            |(at, listener, remote_ip, local_port, helo, authenticated_as, content)| Received {
                at: WallTime(at),
                source: Source::DmarcPass,
                listener,
                remote_ip,
                local_port,
                helo,
                authenticated_as,
                content,
            },
        )
    }

    fn body() -> impl Strategy<Value = Body> {
        let extent = (any::<u32>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>())
            .prop_map(|(segment, epoch, offset, length, checksum)| Extent { segment, epoch, offset, length, checksum });
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..200).prop_map(|bytes| Body::Memory(vec![bytes.into()])),
            Just(Body::Memory(Vec::new())),
            prop::collection::vec(extent, 1..4).prop_map(|list| Body::Bulk(Extents { list: list.into(), pin: None })),
        ]
    }

    fn message() -> impl Strategy<Value = Record> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..100).prop_map(Bytes::from);
        (id(), envelope(), received(), bytes(), bytes(), any::<bool>(), body()).prop_map(
            |(id, envelope, received, trace, header, has_separator, body)| {
                Record::Message(Rc::new(Message { id, envelope, received, trace, header, has_separator, body }))
            },
        )
    }

    fn diagnostic() -> impl Strategy<Value = Diagnostic> {
        let status = (any::<u8>(), any::<u16>(), any::<u16>()).prop_map(|(c, s, d)| EnhancedStatus::new(c, s, d));
        (text(), any::<bool>(), any::<u16>(), prop::option::of(status), "(.|\n){0,80}").prop_map(
            |(remote, is_remote, code, status, text)| Diagnostic {
                kind: ErrorKind::Tls,
                scope: Scope::Lane,
                remote,
                reply: Reply { code, status, text: text.into() },
                is_remote,
            },
        )
    }

    fn other() -> impl Strategy<Value = Record> {
        let last = diagnostic;
        let status = prop_oneof![
            (any::<u64>(), any::<u32>(), any::<u32>(), last()).prop_map(|(until, attempts, delay_notices, last)| {
                Status::Deferred { until: WallTime(until), attempts, delay_notices, last }
            }),
            (any::<u32>(), last()).prop_map(|(attempts, last)| Status::Delivered { attempts, last }),
            (any::<u32>(), last()).prop_map(|(attempts, last)| Status::Failed { attempts, last }),
            (any::<u32>(), last()).prop_map(|(attempts, last)| Status::Expired { attempts, last }),
            Just(Status::Removed),
            Just(Status::Discarded),
            prop::collection::vec(id(), 0..4).prop_map(|into| Status::Expanded { into }),
        ];
        let status = (id(), any::<u32>(), any::<u64>(), status).prop_map(|(message, recipient, at, status)| {
            let (recipient, at) = (RecipientIndex(recipient), WallTime(at));
            Record::Status(Box::new(StatusRecord { message, recipient, at, status }))
        });
        prop_oneof![
            status,
            (id(), any::<u64>()).prop_map(|(message, at)| Record::Hold { message, at: WallTime(at) }),
            (id(), any::<u64>()).prop_map(|(message, at)| Record::Release { message, at: WallTime(at) }),
            (text(), prop::collection::vec(any::<u8>(), 0..50))
                .prop_map(|(key, value)| Record::Fact { key, value: value.into() }),
        ]
    }

    proptest! {
        #[test]
        fn records_round_trip_within_their_bound(records in prop::collection::vec(prop_oneof![message(), other()], 1..4)) {
            let mut out = Vec::new();
            for record in &records {
                let begin = out.len();
                put_record(&mut out, record);
                prop_assert!(out.len() - begin <= record_bound(record));
            }
            prop_assert_eq!(decode_all(&Bytes::from(out), STREAM), Ok(records));
        }

        #[test]
        fn any_bytes_are_records_or_corrupt(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_all(&Bytes::from(bytes), STREAM);
        }

        #[test]
        fn a_changed_byte_never_panics(record in message(), at: prop::sample::Index, to: u8) {
            let mut out = Vec::new();
            put_record(&mut out, &record);
            let at = at.index(out.len());
            out[at] = to;
            let _ = decode_all(&Bytes::from(out), STREAM);
        }
    }
}
