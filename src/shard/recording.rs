//! From a completion to the disk: its status records and the DSN they cause in one frame, then the index.

use std::rc::Rc;

use bytes::Bytes;

use super::state::Shard;
use crate::base::{RecipientIndex, WallTime};
use crate::mail::{EnhancedStatus, Status, StatusRecord};
use crate::observe::log::{self, Level};
use crate::observe::{self, Counter, Event, Gauge, Timing};
use crate::report::dsn::{self, Action, Original, RecipientReport};
use crate::scheduler::{Completion, Notice, NoticeKind};
use crate::smtp::client::Owed;
use crate::spool::{Body, Durability, Message, Record};

/// Success reports that nobody after us will make, by recipient.
pub type OwedReports = Vec<(RecipientIndex, Owed)>;

/// Commits what became of recipients, with the report about them, and then tells the index.
pub async fn record(shard: &Rc<Shard>, message: Option<&Rc<Message>>, completion: Completion, owed: &OwedReports) {
    let mut records: Vec<Record> = Vec::with_capacity(completion.records.len() + 1);
    let report = match message {
        Some(message) => report(shard, message, &completion, owed).await,
        None => None,
    };
    records.extend(completion.records.iter().map(|status| Record::Status(Box::new(status.clone()))));
    let reported = report.is_some();
    records.extend(report.map(Record::Message));
    if shard.spool.commit(records, Durability::Durable).await.is_err() {
        shard.scheduler.borrow_mut().not_applied(completion);
        return;
    }
    if reported {
        observe::count(Counter::ReportsSent);
    }
    for status in &completion.records {
        tell(message.map(|m| &**m), status);
    }
    let ended = completion.records.iter().filter(|record| record.status.is_final()).count();
    observe::gauge_add(Gauge::QueueRecipients, -(ended as i64));
    let done = shard.scheduler.borrow_mut().applied(completion, shard.now());
    if let Some(content) = done {
        shard.retained.release(content.size_bytes());
    }
    shard.work.ring();
}

/// The DSN about this completion, if somebody is to be told.
async fn report(
    shard: &Rc<Shard>,
    message: &Rc<Message>,
    completion: &Completion,
    owed: &OwedReports,
) -> Option<Rc<Message>> {
    let wanted: Vec<&Notice> = completion.notices.iter().filter(|notice| is_wanted(notice, message, owed)).collect();
    if wanted.is_empty() {
        let failed = completion.notices.iter().any(|n| matches!(n.kind, NoticeKind::Failed | NoticeKind::Expired));
        if failed {
            observe::count(Counter::ReportsSuppressed);
        }
        return None;
    }
    let active = shard.active();
    let settings = &active.config.report;
    let body = match dsn::wants_body(&message.envelope, &message.received.content, settings) {
        true => body_of(shard, message).await,
        false => None,
    };
    let original = Original {
        id: message.id,
        envelope: &message.envelope,
        received: &message.received,
        trace: &message.trace,
        header: &message.header,
        body: body.as_deref(),
    };
    let now = shard.now().wall;
    let reports: Vec<RecipientReport<'_>> =
        wanted.iter().filter_map(|notice| recipient_report(notice, message, completion, owed, now)).collect();
    let report = dsn::notification(&original, &reports, settings, &active.config.server.hostname, now)?;
    let id = shard.spool.new_id_in(message.id.stream)?;
    let received = report.received(now);
    Some(Rc::new(Message {
        id,
        envelope: report.envelope,
        received,
        trace: Bytes::new(),
        header: report.header,
        has_separator: true,
        body: Body::Memory(report.body),
    }))
}

fn is_wanted(notice: &Notice, message: &Message, owed: &OwedReports) -> bool {
    let is_owed = || owed.iter().any(|(recipient, owed)| *recipient == notice.recipient && *owed != Owed::Nothing);
    notice.is_wanted(&message.envelope) && (notice.kind != NoticeKind::Delivered || is_owed())
}

fn recipient_report<'a>(
    notice: &Notice,
    message: &'a Message,
    completion: &'a Completion,
    owed: &OwedReports,
    now: WallTime,
) -> Option<RecipientReport<'a>> {
    let recipient = message.envelope.recipients.get(notice.recipient.0 as usize)?;
    let status = &completion.records.iter().find(|record| record.recipient == notice.recipient)?.status;
    let diagnostic = match status {
        Status::Deferred { last, .. }
        | Status::Delivered { last, .. }
        | Status::Failed { last, .. }
        | Status::Expired { last, .. } => Some(last),
        _ => None,
    };
    let action = match notice.kind {
        NoticeKind::Failed | NoticeKind::Expired => Action::Failed,
        NoticeKind::Delayed => Action::Delayed,
        NoticeKind::Delivered => match owed.iter().find(|(r, _)| *r == notice.recipient) {
            Some((_, Owed::Relayed)) => Action::Relayed,
            _ => Action::Delivered,
        },
    };
    // RFC 3463 §3.5: the message expired, whatever the last attempt said.
    let status = (notice.kind == NoticeKind::Expired).then_some(EnhancedStatus::new(5, 4, 7));
    Some(RecipientReport {
        index: notice.recipient,
        recipient,
        action,
        diagnostic,
        status,
        last_attempt: Some(now),
        will_retry_until: notice.will_retry_until,
    })
}

/// The body in memory, for a report that returns it. Bodies in bulk segments are too large to return.
async fn body_of(_shard: &Rc<Shard>, message: &Message) -> Option<Vec<Bytes>> {
    match &message.body {
        Body::Memory(pieces) => Some(pieces.clone()),
        Body::Bulk(_) => None,
    }
}

/// Counts a change of state and writes its line: the record is the event.
fn tell(message: Option<&Message>, record: &StatusRecord) {
    let (counter, event, level, last) = match &record.status {
        Status::Delivered { last, .. } => {
            (Counter::RecipientsDelivered, Event::AttemptDelivered, Level::Info, Some(last))
        }
        Status::Deferred { last, .. } => (Counter::RecipientsDeferred, Event::AttemptDeferred, Level::Info, Some(last)),
        Status::Failed { last, .. } => (Counter::RecipientsFailed, Event::AttemptFailed, Level::Info, Some(last)),
        Status::Expired { last, .. } => (Counter::RecipientsExpired, Event::QueueExpired, Level::Info, Some(last)),
        Status::Removed => (Counter::RecipientsRemoved, Event::QueueRemoved, Level::Info, None),
        Status::Discarded => (Counter::RecipientsDiscarded, Event::QueueDiscarded, Level::Info, None),
        Status::Expanded { .. } => (Counter::RecipientsExpanded, Event::QueueExpanded, Level::Info, None),
    };
    observe::count(counter);
    if let (true, Some(message)) = (record.status.is_final(), message) {
        let age = record.at.since(message.received.at);
        observe::record_micros(Timing::QueueAge, u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
    }
    log::event(record.at, level, event, |line| {
        line.show("id", record.message);
        if let Some(message) = message {
            line.text("from", message.envelope.reverse_path.as_str());
            if let Some(recipient) = message.envelope.recipients.get(record.recipient.0 as usize) {
                line.text("to", recipient.path.as_str());
            }
        }
        if let Status::Deferred { until, attempts, .. } = &record.status {
            line.number("attempts", u64::from(*attempts)).show("next", until);
        }
        if let Some(last) = last {
            line.text("remote", &last.remote).show("reply", &last.reply);
        }
    });
}
