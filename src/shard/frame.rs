//! What a completion makes: its status records, and the DSN about it, in one frame.
//!
//! Pure, so that the simulation of the whole server writes what the server writes.

use std::rc::Rc;

use bytes::Bytes;

use crate::base::{MessageId, WallTime};
use crate::mail::{EnhancedStatus, Status};
use crate::report::Settings;
use crate::report::dsn::{self, Action, Original, RecipientReport};
use crate::scheduler::{Completion, Notice, NoticeKind};

pub use crate::scheduler::OwedReports;
use crate::smtp::client::Owed;
use crate::spool::{Body, Message, Record};

/// What is written about a completion, all of it or nothing.
#[derive(Debug)]
pub struct Frame {
    /// The status records, and behind them the DSN if there is one.
    pub records: Vec<Record>,
    /// There is a DSN.
    pub is_reported: bool,
    /// Somebody failed, and nobody is to be told.
    pub is_suppressed: bool,
}

/// The frame of `completion` about `message`. `new_id` gives an id in the stream of that message; without one
/// there is no report.
pub fn frame(
    message: Option<&Message>,
    completion: &Completion,
    settings: &Settings,
    hostname: &str,
    now: WallTime,
    new_id: impl FnOnce() -> Option<MessageId>,
) -> Frame {
    let mut records: Vec<Record> = Vec::with_capacity(completion.records.len() + 1);
    records.extend(completion.records.iter().map(|status| Record::Status(Box::new(status.clone()))));
    let mut frame = Frame { records, is_reported: false, is_suppressed: false };
    let Some(message) = message else { return frame };
    let wanted: Vec<&Notice> =
        completion.notices.iter().filter(|notice| is_wanted(notice, message, &completion.owed)).collect();
    if wanted.is_empty() {
        let is_failure = |notice: &Notice| matches!(notice.kind, NoticeKind::Failed | NoticeKind::Expired);
        frame.is_suppressed = completion.notices.iter().any(is_failure);
        return frame;
    }
    let report = report(message, &wanted, completion, settings, hostname, now, new_id);
    frame.is_reported = report.is_some();
    frame.records.extend(report.map(Record::Message));
    frame
}

fn report(
    message: &Message,
    wanted: &[&Notice],
    completion: &Completion,
    settings: &Settings,
    hostname: &str,
    now: WallTime,
    new_id: impl FnOnce() -> Option<MessageId>,
) -> Option<Rc<Message>> {
    let body = match (dsn::wants_body(&message.envelope, &message.received.content, settings), &message.body) {
        (true, Body::Memory(pieces)) => Some(&pieces[..]),
        _ => None, // bodies in bulk segments are too large to return
    };
    let original = Original {
        id: message.id,
        envelope: &message.envelope,
        received: &message.received,
        trace: &message.trace,
        header: &message.header,
        body,
    };
    let reports: Vec<RecipientReport<'_>> =
        wanted.iter().filter_map(|notice| recipient_report(notice, message, completion, now)).collect();
    let report = dsn::notification(&original, &reports, settings, hostname, now)?;
    let id = new_id()?;
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
        NoticeKind::Delivered => match completion.owed.iter().find(|(r, _)| *r == notice.recipient) {
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
