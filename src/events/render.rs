//! Records to lines of JSON (`docs/events.md`). Pure.

use serde::Serialize;

use super::known::About;
use super::names;
use crate::base::{MessageId, WallTime};
use crate::mail::{Diagnostic, Status, StatusRecord};
use crate::observe;
use crate::spool::{Chunk, Event, EventId, Gap, Message, Record};

/// What every event begins with.
#[derive(Serialize)]
struct Head<'a> {
    id: String,
    time: String,
    event: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct Accepted<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    from: &'a str,
    to: Vec<&'a str>,
    size: u64,
    source: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    helo: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envid: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    priority: i8,
}

#[derive(Serialize)]
struct Changed<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    recipient: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(flatten)]
    why: Option<Why<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    into: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Why<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    remote: &'a str,
    code: u16,
    status: String,
    reply: &'a str,
    #[serde(skip_serializing_if = "is_none")]
    error: &'static str,
}

#[derive(Serialize)]
struct Missing<'a> {
    id: String,
    time: String,
    event: &'static str,
    stream: String,
    segments: u32,
    bytes: u64,
    events_max: u64,
    causes: &'a [&'static str],
}

fn is_zero(priority: &i8) -> bool {
    *priority == 0
}

fn is_none(error: &&'static str) -> bool {
    *error == "none"
}

/// Appends the line of an event. `about` is the message that a status is about, while that is known.
pub fn event(out: &mut Vec<u8>, event: &Event, about: Option<&About>) {
    let Some(name) = names::of(&event.record) else { return };
    let Some(message) = event.record.message_id() else { return };
    let message = message.to_string();
    let head = |at| head(event.id, at, name, &message);
    match &event.record {
        Record::Message(accepted) => line(out, &self::accepted(head(accepted.received.at), accepted)),
        Record::Status(status) => line(out, &changed(head(status.at), status, about)),
        Record::Hold { at, .. } | Record::Release { at, .. } => line(out, &head(*at)),
        Record::Fact { .. } => {}
    }
}

/// Appends the line of a gap.
pub fn gap(out: &mut Vec<u8>, chunk: &Chunk, now: WallTime) {
    let Gap { segments, bytes, causes } = chunk.gap;
    let words = [(Gap::BACKLOG, "backlog"), (Gap::SPACE, "space"), (Gap::DAMAGE, "damage")];
    let causes: Vec<&str> = words.iter().filter(|(bit, _)| causes & bit != 0).map(|(_, word)| *word).collect();
    let missing = Missing {
        id: chunk.gap_id(),
        time: now.rfc3339(),
        event: observe::Event::EventsGap.name(),
        stream: chunk.stream.to_string(),
        segments,
        bytes,
        events_max: chunk.gap.events_max(),
        causes: &causes,
    };
    line(out, &missing);
}

fn line(out: &mut Vec<u8>, value: &impl Serialize) {
    let before = out.len();
    match serde_json::to_writer(&mut *out, value) {
        Ok(()) => out.push(b'\n'),
        Err(_) => out.truncate(before), // strings and numbers into memory: it does not happen
    }
}

fn head<'a>(id: EventId, at: WallTime, name: observe::Event, message: &'a str) -> Head<'a> {
    Head { id: id.to_string(), time: at.rfc3339(), event: name.name(), message }
}

fn accepted<'a>(head: Head<'a>, message: &'a Message) -> Accepted<'a> {
    let (envelope, received) = (&message.envelope, &message.received);
    Accepted {
        head,
        from: envelope.reverse_path.as_str(),
        to: envelope.recipients.iter().map(|recipient| recipient.path.as_str()).collect(),
        size: message.size_bytes(),
        source: received.source.as_str(),
        listener: &received.listener,
        client: (!received.remote_ip.is_unspecified()).then(|| received.remote_ip.to_string()),
        helo: &received.helo,
        user: received.authenticated_as.as_deref(),
        envid: envelope.mail.envid.as_deref(),
        priority: envelope.mail.priority,
    }
}

fn changed<'a>(head: Head<'a>, record: &'a StatusRecord, about: Option<&'a About>) -> Changed<'a> {
    let (attempts, last) = match &record.status {
        Status::Deferred { attempts, last, .. }
        | Status::Delivered { attempts, last }
        | Status::Failed { attempts, last }
        | Status::Expired { attempts, last } => (Some(*attempts), Some(last)),
        Status::Removed | Status::Discarded | Status::Expanded { .. } => (None, None),
    };
    Changed {
        head,
        recipient: record.recipient.0,
        from: about.map(|about| about.from.as_str()),
        to: about.and_then(|about| about.to.get(record.recipient.0 as usize)).map(|to| to.as_str()),
        attempts,
        next: match &record.status {
            Status::Deferred { until, .. } => Some(until.rfc3339()),
            _ => None,
        },
        why: last.map(why),
        into: match &record.status {
            Status::Expanded { into } => Some(into.iter().map(MessageId::to_string).collect()),
            _ => None,
        },
    }
}

fn why(last: &Diagnostic) -> Why<'_> {
    Why {
        remote: &last.remote,
        code: last.reply.code,
        status: last.status().to_string(),
        reply: &last.reply.text,
        error: last.kind.as_str(),
    }
}
