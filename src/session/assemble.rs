//! A message of the machine, with the ruling of policy, as the spool takes it.

use bytes::Bytes;

use crate::base::{MessageId, WallTime};
use crate::mail::{Edit, HeaderSection, Received, Source};
use crate::smtp::server::{self, Client};
use crate::spool::{Body, Extents, Message};

/// What policy wants of the message besides yes.
#[derive(Debug, Clone, Default)]
pub(super) struct Wishes {
    pub trace: Vec<u8>,
    pub edits: Vec<Edit>,
}

/// Puts the pieces together; edits are applied, octets are not copied. `bulk` is the body, if it was spilled.
pub(super) fn message(
    id: MessageId,
    client: &Client,
    accepted: server::Message,
    wishes: Wishes,
    bulk: Option<Extents>,
    now: WallTime,
) -> Message {
    let server::Message { transaction, content } = accepted;
    let received = Received {
        at: now,
        source: if client.authenticated_as.is_some() { Source::Authenticated } else { Source::Unauthenticated },
        listener: (&*client.listener).into(),
        remote_ip: client.remote.ip().to_canonical(),
        local_port: client.local.port(),
        helo: client.helo.clone().unwrap_or_default(),
        authenticated_as: client.authenticated_as.clone(),
        content: content.facts,
    };
    let body = match bulk {
        Some(extents) => Body::Bulk(extents),
        None if content.body.is_empty() => Body::Memory(Vec::new()),
        None => Body::Memory(vec![content.body]),
    };
    let mut message = Message {
        id,
        envelope: transaction.envelope,
        received,
        trace: Bytes::from(wishes.trace),
        header: content.header,
        has_separator: content.facts.has_separator,
        body,
    };
    if !wishes.edits.is_empty() {
        apply(&mut message, wishes.edits);
    }
    message
}

/// Applies edits in their order: those of the header section at once, since they are all that touch it.
fn apply(message: &mut Message, edits: Vec<Edit>) {
    if edits.iter().any(Edit::is_header) {
        message.header = HeaderSection::parse(message.header.clone()).apply(&edits).raw().clone();
    }
    for edit in edits {
        edit.apply_to_envelope(&mut message.envelope);
        if let Edit::ReplaceBody(pieces) = edit {
            message.body = Body::Memory(pieces);
            message.has_separator = true; // a message without one had no body
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::StreamId;
    use crate::mail::{ContentFacts, Envelope, ForwardPath, MailParameters, Recipient, Ret, ReversePath};

    #[test]
    fn edits_reach_the_header_the_body_and_the_envelope() {
        let path = |text: &str| ForwardPath::parse(text, false).expect("an address");
        let mut message = Message {
            id: MessageId { stream: StreamId(0), start: 1, sequence: 1 },
            envelope: Envelope {
                reverse_path: ReversePath::Null,
                mail: MailParameters::default(),
                recipients: vec![Recipient::new(path("<a@one.test>"))],
            },
            received: Received {
                at: WallTime(0),
                source: Source::Unauthenticated,
                listener: "smtp".into(),
                remote_ip: [127, 0, 0, 1].into(),
                local_port: 25,
                helo: "client.test".into(),
                authenticated_as: None,
                content: ContentFacts::default(),
            },
            trace: Bytes::new(),
            header: Bytes::from_static(b"Subject: x\r\n"),
            has_separator: false,
            body: Body::Memory(Vec::new()),
        };
        let edits = vec![
            Edit::AppendField { name: "X-A".into(), value: "b".into() },
            Edit::ReplaceBody(vec!["new\r\n".into()]),
            Edit::ChangeReturn { ret: Some(Ret::Headers), envid: None },
            Edit::AddRecipient(Recipient::new(path("<b@one.test>"))),
            Edit::DeleteRecipient(path("<a@one.test>")),
        ];
        apply(&mut message, edits);
        assert_eq!(&message.header[..], b"Subject: x\r\nX-A: b\r\n");
        assert!(message.has_separator, "a body that is new needs the empty line before it");
        assert!(matches!(&message.body, Body::Memory(pieces) if pieces.concat() == b"new\r\n"));
        assert_eq!(message.envelope.mail.ret, Some(Ret::Headers));
        assert_eq!(message.envelope.recipients, [Recipient::new(path("<b@one.test>"))]);
    }
}
