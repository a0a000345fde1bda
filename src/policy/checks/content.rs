//! Content: loops, and the trace fields that we add.

use crate::mail::trace::{self, Protocol, ReceivedTrace, TlsTrace};
use crate::mail::{HeaderSection, Reply};
use crate::policy::checks::now;
use crate::policy::pipeline::{Finding, Look};
use crate::smtp::server::{Client, Hello, Protocol as Spoken, Question, Transaction};

/// A message that has come by many hosts goes in circles. The answer is final: a 4xx would only keep it
/// going round (RFC 5321 §6.3).
pub(in crate::policy) fn looping(look: &Look<'_>) -> Finding {
    let Some(content) = look.subject.content else { return Finding::Pass };
    let max = now(&look.site.settings.data.received_headers, &look.facts);
    if u32::from(content.facts.received_fields) <= max {
        return Finding::Pass;
    }
    Finding::Refuse(Reply::new(554, (5, 4, 6), "Too many Received fields, this message is looping."))
}

/// Return-Path and Received, from the top.
pub(in crate::policy) fn trace(look: &Look<'_>) -> Finding {
    let Question::Content(transaction) = look.subject.question else { return Finding::Pass };
    let settings = &look.site.settings.data;
    let mut fields = Vec::with_capacity(320);
    if now(&settings.add_return_path, &look.facts) {
        trace::write_return_path(&mut fields, &transaction.envelope.reverse_path);
    }
    if now(&settings.add_received, &look.facts) {
        received(&mut fields, look, transaction);
    }
    Finding::Trace(fields)
}

fn received(out: &mut Vec<u8>, look: &Look<'_>, transaction: &Transaction) {
    let client = look.subject.client;
    let envelope = &transaction.envelope;
    let only = match envelope.recipients.as_slice() {
        [only] => Some(only.path.mailbox()),
        _ => None,
    };
    let tls =
        client.tls.as_ref().map(|tls| TlsTrace { version: &tls.version, cipher: &tls.cipher, verified_name: None });
    let remote = client.remote.ip().to_canonical();
    trace::write_received(
        out,
        &ReceivedTrace {
            helo: client.helo.as_deref().unwrap_or("unknown"),
            remote_name: client.ptr.as_deref(),
            remote_ip: remote,
            network: None,
            tls,
            by: look.subject.hostname,
            protocol: protocol(client, envelope.mail.smtputf8),
            id: look.subject.id,
            only_recipient: only,
            at: look.site.now,
        },
    );
}

fn protocol(client: &Client, is_utf8: bool) -> Protocol {
    Protocol {
        is_lmtp: client.protocol == Spoken::Lmtp,
        is_extended: matches!(client.hello, Some(Hello::Ehlo | Hello::Lhlo)),
        is_utf8,
        is_tls: client.tls.is_some(),
        is_authenticated: client.authenticated_as.is_some(),
    }
}

/// Date and Message-ID for a message that lacks them, where the settings say so.
pub(in crate::policy) fn missing_fields(look: &Look<'_>) -> Finding {
    let Some(content) = look.subject.content else { return Finding::Pass };
    let settings = &look.site.settings.data;
    let (date, message_id) = (now(&settings.add_date, &look.facts), now(&settings.add_message_id, &look.facts));
    if !date && !message_id {
        return Finding::Pass;
    }
    let header = HeaderSection::parse(content.header.clone());
    let mut fields = Vec::new();
    if date && header.named("Date").next().is_none() {
        trace::write_date(&mut fields, look.site.now);
    }
    if message_id && header.named("Message-ID").next().is_none() {
        trace::write_message_id(&mut fields, look.subject.id, look.subject.hostname);
    }
    if fields.is_empty() { Finding::Pass } else { Finding::Trace(fields) }
}
