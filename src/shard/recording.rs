//! From a completion to the disk: its status records and the DSN they cause in one frame, then the index.

use std::rc::Rc;
use std::time::Duration;

use posthaste_rt::time;

use super::frame::{Frame, frame};
use super::state::Shard;
use crate::base::MessageId;
use crate::events::names;
use crate::mail::{Status, StatusRecord};
use crate::observe::log::{self, Level};
use crate::observe::{self, Counter, Event, Gauge, Timing};
use crate::scheduler::Completion;
use crate::spool::{Durability, Message, ReadError};

/// Pause before a message that could not be read is tried again.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// Commits what became of recipients, with the report about them, and then tells the index.
pub async fn record(shard: &Rc<Shard>, message: Option<&Rc<Message>>, completion: Completion) {
    let read;
    let message = match message {
        None if !completion.notices.is_empty() => {
            // Somebody may have to be told, and only the message says who.
            read = read_patiently(shard, completion.message).await;
            read.as_ref()
        }
        message => message,
    };
    let active = shard.active();
    let Frame { records, is_reported, is_suppressed } = frame(
        message.map(|m| &**m),
        &completion,
        &active.config.report,
        &active.config.server.hostname,
        shard.now().wall,
        || shard.spool.new_id_in(completion.message.stream),
    );
    if let Some(message) = message {
        shard.told.remember(message);
    }
    if shard.spool.commit(records, Durability::Durable).await.is_err() {
        shard.scheduler.borrow_mut().not_applied(completion);
        return;
    }
    if is_reported {
        observe::count(Counter::ReportsSent);
    }
    if is_suppressed {
        observe::count(Counter::ReportsSuppressed);
        let is_report = message.is_some_and(|message| message.envelope.reverse_path.is_null());
        log::event(shard.now().wall, Level::Warn, Event::ReportSuppressed, |line| {
            let reason = if is_report { "a report that failed" } else { "its sender does not want to be told" };
            line.show("id", completion.message).text("reason", reason);
        });
    }
    for status in &completion.records {
        tell(message.map(|m| &**m), status);
    }
    let ended = completion.records.iter().filter(|record| record.status.is_final()).count();
    observe::gauge_add(Gauge::QueueRecipients, -(ended as i64));
    let content = shard.scheduler.borrow_mut().applied(completion, shard.now());
    if let Some(content) = content {
        shard.retained.release(content.size_bytes());
    }
    shard.work.ring();
}

/// Reads a message as often as it takes: a disk that does not answer now must not cost a report. `None` when it is
/// damaged, or no longer there.
async fn read_patiently(shard: &Rc<Shard>, id: MessageId) -> Option<Rc<Message>> {
    loop {
        match shard.spool.read(id).await {
            Ok(stored) => return Some(stored.message),
            Err(error) => {
                shard.unreadable(id, &error);
                if !matches!(error, ReadError::Io(..)) {
                    return None;
                }
            }
        }
        time::sleep(READ_PAUSE).await;
    }
}

/// Counts a change of state and writes its line: the record is the event.
fn tell(message: Option<&Message>, record: &StatusRecord) {
    let event = names::of_status(&record.status);
    let (counter, last) = match &record.status {
        Status::Delivered { last, .. } => (Counter::RecipientsDelivered, Some(last)),
        Status::Deferred { last, .. } => (Counter::RecipientsDeferred, Some(last)),
        Status::Failed { last, .. } => (Counter::RecipientsFailed, Some(last)),
        Status::Expired { last, .. } => (Counter::RecipientsExpired, Some(last)),
        Status::Removed => (Counter::RecipientsRemoved, None),
        Status::Discarded => (Counter::RecipientsDiscarded, None),
        Status::Expanded { .. } => (Counter::RecipientsExpanded, None),
    };
    observe::count(counter);
    if let (true, Some(message)) = (record.status.is_final(), message) {
        let age = record.at.since(message.received.at);
        observe::record_micros(Timing::QueueAge, u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
    }
    log::event(record.at, Level::Info, event, |line| {
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
