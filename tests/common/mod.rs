//! What several integration tests need.
#![allow(dead_code, clippy::unwrap_used)] // each test file uses a part of it

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use bytes::Bytes;
use posthaste::base::{MessageId, RecipientIndex, WallTime};
use posthaste::mail::{
    Diagnostic, Envelope, ErrorKind, ForwardPath, MailParameters, Mailbox, Received, Recipient, Reply, ReversePath,
    Scope, Source, Status, StatusRecord,
};
use posthaste::spool::{Body, Message, Record};

/// A message for `recipients` recipients of `domain` with that body.
pub fn message(id: MessageId, recipients: u32, domain: &str, body: Body) -> Rc<Message> {
    let mailbox = |text: &str| Mailbox::parse(text, false).expect("a test address");
    let recipient = |n: u32| Recipient::new(ForwardPath(mailbox(&format!("user{n}@{domain}"))));
    Rc::new(Message {
        id,
        envelope: Envelope {
            reverse_path: ReversePath::Mailbox(mailbox("sender@origin.test")),
            mail: MailParameters::default(),
            recipients: (0..recipients).map(recipient).collect(),
        },
        received: Received {
            at: WallTime(1_795_386_600_123),
            source: Source::Unauthenticated,
            listener: "smtp".into(),
            remote_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            local_port: 2525,
            helo: "client.test".into(),
            authenticated_as: None,
            content: Default::default(),
        },
        trace: Bytes::from_static(b"Received: from client.test\r\n"),
        header: Bytes::from_static(b"Subject: test\r\n"),
        has_separator: true,
        body,
    })
}

/// A body in memory, different for every seed.
pub fn body(seed: u64, length: usize) -> Body {
    Body::Memory(vec![content(seed, length)])
}

/// Content that is different for every seed.
pub fn content(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out.into()
}

/// What a next hop said.
pub fn diagnostic(code: u16) -> Diagnostic {
    let class = (code / 100) as u8;
    Diagnostic::local(ErrorKind::UnexpectedReply, Scope::Recipient, Reply::new(code, (class, 0, 0), "so it is"))
}

/// Delivered.
pub fn delivered(message: MessageId, recipient: u32) -> Record {
    status(message, recipient, Status::Delivered { attempts: 1, last: diagnostic(250) })
}

/// Due again at `until`.
pub fn deferred(message: MessageId, recipient: u32, until: u64, attempts: u32) -> Record {
    let until = WallTime(until);
    status(message, recipient, Status::Deferred { until, attempts, delay_notices: 0, last: diagnostic(451) })
}

/// Any status.
pub fn status(message: MessageId, recipient: u32, status: Status) -> Record {
    Record::Status(Box::new(StatusRecord { message, recipient: RecipientIndex(recipient), at: WallTime(5), status }))
}
