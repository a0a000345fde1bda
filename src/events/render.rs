//! Records to lines of JSON (`docs/events.md`). Pure.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;

use super::known::About;
use super::names;
use crate::base::{MessageId, StreamId, WallTime};
use crate::mail::{Diagnostic, Status, StatusRecord};
use crate::observe;
use crate::observe::log::is_format;
use crate::spool::{Event, EventId, Gap, Message, Record};

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

/// Appends the line of a gap in a stream.
pub fn gap(out: &mut Vec<u8>, id: String, stream: StreamId, gap: Gap, now: WallTime) {
    let Gap { segments, bytes, causes } = gap;
    let words = [(Gap::BACKLOG, "backlog"), (Gap::SPACE, "space"), (Gap::DAMAGE, "damage")];
    let causes: Vec<&str> = words.iter().filter(|(bit, _)| causes & bit != 0).map(|(_, word)| *word).collect();
    let missing = Missing {
        id,
        time: now.rfc3339(),
        event: observe::Event::EventsGap.name(),
        stream: stream.to_string(),
        segments,
        bytes,
        events_max: gap.events_max(),
        causes: &causes,
    };
    line(out, &missing);
}

/// JSON without what a terminal would obey: clients choose most of the text.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| c.is_control() || is_format(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

fn line(out: &mut Vec<u8>, value: &impl Serialize) {
    let before = out.len();
    match value.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, Harmless)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RecipientIndex;
    use crate::mail::{
        ContentFacts, Envelope, ErrorKind, ForwardPath, MailParameters, Received, Recipient, Reply, ReversePath, Scope,
        Source,
    };
    use crate::spool::Body;
    use std::rc::Rc;

    const AT: WallTime = WallTime(1_795_386_600_123);
    const ID: MessageId = MessageId { stream: StreamId(1), start: 2, sequence: 42 };

    fn accepted() -> Record {
        let path = |text: &str| ForwardPath::parse(text, true).expect("an address");
        Record::Message(Rc::new(Message {
            id: ID,
            envelope: Envelope {
                reverse_path: ReversePath::parse("<a@one.test>", false).expect("an address"),
                mail: MailParameters { envid: Some("e 1".into()), priority: 3, ..MailParameters::default() },
                recipients: ["<b@two.test>", "<ö@three.test>"].map(|to| Recipient::new(path(to))).into_iter().collect(),
            },
            received: Received {
                at: AT,
                source: Source::Authenticated,
                listener: "smtp".into(),
                remote_ip: [192, 0, 2, 1].into(),
                local_port: 25,
                helo: "client.\u{202e}te\u{9b}st\n".into(),
                authenticated_as: Some("jane".into()),
                content: ContentFacts::default(),
            },
            trace: "Received: x\r\n".into(),
            header: "Subject: x\r\n".into(),
            has_separator: true,
            body: Body::Memory(vec!["body".into()]),
        }))
    }

    fn status(status: Status) -> Record {
        Record::Status(Box::new(StatusRecord { message: ID, recipient: RecipientIndex(1), at: AT, status }))
    }

    fn last(kind: ErrorKind, reply: Reply) -> Diagnostic {
        let remote = if kind == ErrorKind::Dns { "" } else { "mx.two.test [192.0.2.7]" };
        Diagnostic { kind, scope: Scope::Recipient, remote: remote.into(), reply, is_remote: true }
    }

    #[test]
    fn every_event_has_its_fields() {
        let ok = || last(ErrorKind::None, Reply::new(250, (2, 0, 0), "taken"));
        let busy = || last(ErrorKind::UnexpectedReply, Reply::new(451, (4, 7, 1), "come\nback"));
        let gone = || last(ErrorKind::Dns, Reply::plain(550, "no such domain"));
        let records = [
            accepted(),
            status(Status::Deferred { until: AT, attempts: 2, delay_notices: 0, last: busy() }),
            status(Status::Delivered { attempts: 3, last: ok() }),
            status(Status::Failed { attempts: 3, last: gone() }),
            status(Status::Expired { attempts: 9, last: busy() }),
            status(Status::Removed),
            status(Status::Discarded),
            status(Status::Expanded { into: vec![ID, ID] }),
            Record::Hold { message: ID, at: AT },
            Record::Release { message: ID, at: AT },
            Record::Fact { key: "k".into(), value: "v".into() },
        ];
        let about = About { from: "a@one.test".into(), to: vec!["b@two.test".into(), "ö@three.test".into()] };
        let mut out = Vec::new();
        for (index, record) in (0..).zip(records) {
            let id = EventId { stream: StreamId(1), start: 2, sequence: 77, index };
            let is_known = index != 6;
            event(&mut out, &Event { id, record }, is_known.then_some(&about));
        }
        let causes = Gap::BACKLOG | Gap::DAMAGE;
        gap(&mut out, "g01-5-6".into(), StreamId(1), Gap { segments: 2, bytes: 1000, causes }, AT);
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        for line in text.lines() {
            let value: serde_json::Value = serde_json::from_str(line).expect("a line is an object");
            assert!(names::is_known(value["event"].as_str().expect("a name")), "{line}");
        }
        insta::assert_snapshot!(text);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_one_line_that_reads_back(text in "(.|\n|\r|\u{2028}|\u{9b}|\u{10ffff}){0,40}") {
            let mut out = Vec::new();
            line(&mut out, &serde_json::json!({ "t": text }));
            let line = String::from_utf8(out).expect("UTF-8");
            proptest::prop_assert!(line.ends_with('\n') && line.trim_end_matches('\n').chars().all(|c| !c.is_control()));
            let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            proptest::prop_assert_eq!(value["t"].as_str(), Some(text.as_str()));
        }
    }
}
