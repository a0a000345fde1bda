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
