//! An operator's questions and actions on this shard's queue.
//!
//! Runs beside mail and yields to it: listings go page by page over the index, and read records only for what
//! they show or what the index does not know.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use posthaste_rt::{task, time};

use super::query::{Action, Answer, Filter, Query, RecipientRow, Row};
use super::recording::record;
use super::routing::{Standing, last_of};
use super::state::Shard;
use crate::base::{MessageId, Now, RecipientIndex, WallTime};
use crate::mail::Status;
use crate::observe::Event;
use crate::observe::log::{self, Level};
use crate::queue::{self, Cursor, Scope};
use crate::scheduler::{End, Pause, Waits, Why};
use crate::spool::{Durability, ReadError, Record, Stored};

/// Messages of one page of the index.
const PAGE: usize = 500;
/// Records read for one listing or action whose conditions only the record can answer.
const READS_MAX: usize = 100_000;
/// Messages of one listing.
const ROWS_MAX: usize = 10_000;
/// How often a message that is under way is looked at again before the operator is told that it stays.
const REMOVE_TRIES: usize = 40;
/// Pause between those looks.
const REMOVE_PAUSE: Duration = Duration::from_millis(50);
/// Messages named of those that stay.
const UNDER_WAY_SHOWN: usize = 100;
/// Recipients shown of one message in a listing.
const RECIPIENTS_IN_LISTING: usize = 5;

/// Answers a question about this shard's queue.
pub async fn answer(shard: Rc<Shard>, query: Query) -> Answer {
    match query {
        Query::List { filter, limit, after } => list(&shard, &filter, limit.clamp(1, ROWS_MAX), after).await,
        Query::Show { id } => one(&shard, &id, false).await,
        Query::Why { id } => one(&shard, &id, true).await,
        Query::Act { action, filter } => act(&shard, action, &filter).await,
        Query::Stats | Query::Reload => Answer::Refused { reason: "not a question for a shard".into() },
    }
}

async fn list(shard: &Rc<Shard>, filter: &Filter, limit: usize, after: Option<String>) -> Answer {
    let after = after.and_then(|id| id.parse::<MessageId>().ok());
    // Conditions on text need records; then all candidates are kept, in order, up to the cap.
    let keep = if needs_record(filter) { READS_MAX } else { limit + 1 };
    let ids = candidates(shard, filter, after, keep).await;
    let (mut rows, mut more) = (Vec::new(), false);
    for id in ids {
        if rows.len() == limit {
            more = true;
            break;
        }
        match shard.spool.read(id).await {
            Ok(stored) if matches_record(filter, &stored) => {
                rows.extend(row(shard, &stored, false, RECIPIENTS_IN_LISTING));
            }
            // What its record would say cannot be asked; that it is here can be said.
            Err(error @ (ReadError::Damaged(_) | ReadError::Io(..))) if !needs_record(filter) => {
                rows.extend(unreadable_row(shard, id, &error));
            }
            _ => {} // finished meanwhile
        }
        task::yield_if_needed().await;
    }
    Answer::Messages { rows, more }
}

/// The smallest `keep` ids that match as far as the index knows, in order.
async fn candidates(shard: &Rc<Shard>, filter: &Filter, after: Option<MessageId>, keep: usize) -> BTreeSet<MessageId> {
    let now = shard.now();
    let mut found: BTreeSet<MessageId> = BTreeSet::new();
    let wanted: BTreeSet<MessageId> = filter.ids.iter().filter_map(|id| id.parse().ok()).collect();
    if !wanted.is_empty() {
        let scheduler = shard.scheduler.borrow();
        found.extend(wanted.into_iter().filter(|id| scheduler.queue().contains(*id)));
        return found;
    }
    let index_filter = queue::Filter {
        recipient_domain: filter.domain.clone(),
        age_min: filter.older_than_s.map(Duration::from_secs),
        after: filter.newer_than_s.map(|s| now.wall - Duration::from_secs(s)),
        ..queue::Filter::default()
    };
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        let page = shard.scheduler.borrow().queue().list(&index_filter, from, PAGE, now);
        cursor = page.next;
        let matching = page.items.into_iter().filter(|item| !filter.held || item.is_held).map(|item| item.id);
        found.extend(matching.filter(|id| after.is_none_or(|after| *id > after)));
        while found.len() > keep {
            found.pop_last();
        }
        task::yield_if_needed().await;
    }
    found
}

fn needs_record(filter: &Filter) -> bool {
    filter.from.is_some() || filter.to.is_some()
}

fn matches_record(filter: &Filter, stored: &Stored) -> bool {
    let has = |text: &str, part: &Option<String>| {
        part.as_deref().is_none_or(|part| text.to_lowercase().contains(&part.to_lowercase()))
    };
    let envelope = &stored.message.envelope;
    has(envelope.reverse_path.as_str(), &filter.from)
        && (filter.to.is_none()
            || waiting(stored).any(|index| has(envelope.recipients[index].path.as_str(), &filter.to)))
}

/// Indices of the recipients that are not final.
fn waiting(stored: &Stored) -> impl Iterator<Item = usize> {
    let is_open = |status: &Option<Status>| !status.as_ref().is_some_and(Status::is_final);
    let known = stored.message.envelope.recipients.len();
    (0..known).filter(move |index| stored.statuses.get(*index).is_none_or(is_open))
}

async fn one(shard: &Rc<Shard>, id: &str, why: bool) -> Answer {
    let Ok(id) = id.parse::<MessageId>() else { return Answer::Refused { reason: format!("{id:?} is not an id") } };
    let not_here =
        || Answer::Refused { reason: format!("{id} is not queued: it was finished or removed, or never was here") };
    if !shard.scheduler.borrow().queue().contains(id) {
        return not_here();
    }
    match shard.spool.read(id).await {
        Ok(stored) => match row(shard, &stored, why, usize::MAX) {
            Some(row) => Answer::Message { row },
            None => not_here(),
        },
        Err(error) => match unreadable_row(shard, id, &error) {
            Some(row) => Answer::Message { row },
            None => not_here(),
        },
    }
}

/// What the index knows of a message that cannot be read back.
fn unreadable_row(shard: &Rc<Shard>, id: MessageId, error: &ReadError) -> Option<Row> {
    let summary = shard.scheduler.borrow().queue().summary(id, shard.now())?;
    let (state, waits_for) = match error {
        ReadError::Damaged(_) => ("damaged", "nothing: it is never sent, and stays until it is removed"),
        _ => ("unreadable", "the disk to answer"),
    };
    let recipient = |domain: &String| RecipientRow {
        to: format!("?@{domain}"),
        state: state.to_owned(),
        attempts: summary.attempts,
        due: None,
        expires: None,
        attempts_max: None,
        last: Some(error.to_string()),
        waits_for: Some(waits_for.to_owned()),
    };
    Some(Row {
        id: id.to_string(),
        shard: shard.id.0,
        accepted: summary.received_at.rfc3339(),
        from: if summary.sender_domain.is_empty() { String::new() } else { format!("?@{}", summary.sender_domain) },
        size_bytes: summary.size_bytes,
        priority: summary.priority,
        held: summary.is_held,
        due: summary.next_due.map(WallTime::rfc3339),
        recipients: summary.domains.iter().map(recipient).collect(),
        recipients_queued: summary.recipients,
    })
}

/// What is shown of a message; `None` when it is finished meanwhile.
fn row(shard: &Rc<Shard>, stored: &Stored, why: bool, recipients_max: usize) -> Option<Row> {
    let now = shard.now();
    let scheduler = shard.scheduler.borrow();
    let message = &stored.message;
    let summary = scheduler.queue().summary(message.id, now)?;
    let reasons = scheduler.why(message.id, now);
    let mut rows = Vec::new();
    for index in waiting(stored).take(recipients_max) {
        let reason = reasons.iter().find(|r| r.recipients.iter().any(|i| i.0 as usize == index));
        let due = match stored.statuses.get(index) {
            Some(Some(Status::Deferred { until, .. })) => Some(*until),
            _ => None,
        };
        let last = last_of(&stored.statuses, index);
        let (expires, attempts_max) = reason.map_or((None, None), |r| ends(shard, stored, index, r, &summary, now));
        rows.push(RecipientRow {
            to: message.envelope.recipients[index].path.as_str().to_owned(),
            state: reason.map_or("queued", |r| state_word(&r.waits, r.attempts)).to_owned(),
            attempts: reason.map_or(0, |r| r.attempts),
            due: reason.and_then(|r| r.until).or(due).map(WallTime::rfc3339),
            expires: expires.map(WallTime::rfc3339),
            attempts_max,
            last: last.map(|l| match l.remote.is_empty() {
                true => l.reply.to_string(),
                false => format!("{}: {}", l.remote, l.reply),
            }),
            waits_for: reason.filter(|_| why).map(|r| words(r, now)),
        });
    }
    Some(Row {
        id: message.id.to_string(),
        shard: shard.id.0,
        accepted: message.received.at.rfc3339(),
        from: message.envelope.reverse_path.as_str().to_owned(),
        size_bytes: summary.size_bytes,
        priority: summary.priority,
        held: summary.is_held,
        due: summary.next_due.map(WallTime::rfc3339),
        recipients: rows,
        recipients_queued: summary.recipients,
    })
}

/// When a recipient is given up, and after how many attempts, by its schedule in the configuration in force.
fn ends(
    shard: &Shard,
    stored: &Stored,
    index: usize,
    why: &Why,
    summary: &queue::Summary,
    now: Now,
) -> (Option<WallTime>, Option<u32>) {
    let standing = Standing {
        priority: summary.priority,
        age: why.age,
        size_bytes: summary.size_bytes,
        attempts: why.attempts,
        delay_notices: why.delay_notices,
        last_error: why.last_error,
    };
    let last = last_of(&stored.statuses, index);
    let index = RecipientIndex(index as u32);
    let schedule = shard.ways.borrow_mut().schedule(&stored.message, index, standing, last, &shard.lookups());
    let (by_schedule, attempts_max) = match schedule.map(|schedule| schedule.end) {
        Some(End::Expire(expire)) => (Some(now.wall - why.age + expire), None),
        Some(End::Attempts(most)) => (None, Some(most)),
        None => (None, None),
    };
    (by_schedule.into_iter().chain(why.return_at).min(), attempts_max)
}

fn state_word(waits: &Waits, attempts: u32) -> &'static str {
    match waits {
        Waits::Held | Waits::HeldUntil => "held",
        Waits::Attempt { .. } => "attempting",
        Waits::Recording { .. } => "recording",
        _ if attempts > 0 => "deferred",
        _ => "queued",
    }
}

/// What a recipient waits for, in words.
fn words(why: &Why, now: Now) -> String {
    let lane = why.lane.as_ref().map(|key| format!(" in lane {} ({})", key.next_hop, key.queue)).unwrap_or_default();
    let text = match &why.waits {
        Waits::Retry if why.attempts == 0 => "its next attempt: it was put off untried, with its lane".to_owned(),
        Waits::Retry => "its next attempt".to_owned(),
        Waits::Routing { since } => format!("its route to be found, since {}", since.rfc3339()),
        Waits::Limit { name, scope } => {
            let is_named = |key: &Rc<queue::LaneKey>| name.contains(&*key.next_hop);
            let is_said = *scope == Scope::Queue || why.lane.as_ref().is_some_and(is_named);
            format!("the limit {name}{}", if is_said { "" } else { lane.as_str() })
        }
        Waits::LaneRests { failures, trouble } => {
            let trouble = trouble.as_ref().map(|t| format!(": {} {}", t.remote, t.reply)).unwrap_or_default();
            let plural = if *failures == 1 { "" } else { "s" };
            format!("its next hop to recover after {failures} failure{plural}{lane}{trouble}")
        }
        Waits::Turn { ready, since } => format!("its turn among {ready} ready{lane}, since {}", since.rfc3339()),
        Waits::Attempt { since, lent } => {
            let by = lent.map(|shard| format!(", lent to shard {shard}")).unwrap_or_default();
            format!("the attempt under way{lane}{by}, since {}", since.rfc3339())
        }
        Waits::Recording { since } => format!("its outcome to be written, since {}", since.rfc3339()),
        Waits::Held => "an operator's release".to_owned(),
        Waits::HeldUntil => "the time its sender asked for".to_owned(),
    };
    let until = why
        .until
        .map(|at| format!(", next at {} (in {} s)", at.rfc3339(), at.since(now.wall).as_secs()))
        .unwrap_or_default();
    let paused = match why.paused {
        None => "",
        Some(Pause::SpoolSick) => "; nothing is attempted while the spool is sick",
        Some(Pause::Operator) => "; an operator has stopped the queue",
        Some(Pause::Shutdown) => "; the server is stopping",
    };
    format!("{text}{until}{paused}")
}

async fn act(shard: &Rc<Shard>, action: Action, filter: &Filter) -> Answer {
    let unknown: Vec<String> = {
        let scheduler = shard.scheduler.borrow();
        let is_unknown = |id: &&String| !id.parse().is_ok_and(|id| scheduler.queue().contains(id));
        filter.ids.iter().filter(is_unknown).cloned().collect()
    };
    if action == Action::Retry {
        let now = shard.now();
        shard.scheduler.borrow_mut().end_rests(now);
    }
    let (mut messages, mut left) = (0, Vec::new());
    for id in candidates(shard, filter, None, usize::MAX).await {
        if needs_record(filter) {
            match shard.spool.read(id).await {
                Ok(stored) if matches_record(filter, &stored) => {}
                _ => continue,
            }
        }
        let is_done = act_on(shard, action, id).await;
        messages += usize::from(is_done);
        if action == Action::Remove && shard.scheduler.borrow().queue().contains(id) {
            left.push((id, is_done));
        }
        task::yield_if_needed().await;
    }
    let under_way = remove_left(shard, left, &mut messages).await;
    shard.work.ring();
    Answer::Done { messages, unknown, under_way }
}

async fn act_on(shard: &Rc<Shard>, action: Action, id: MessageId) -> bool {
    let now = shard.now();
    match action {
        Action::Retry => shard.scheduler.borrow_mut().retry(id, now) > 0,
        Action::Hold => {
            // The record first: a hold that was answered survives a restart.
            let written =
                shard.spool.commit(vec![Record::Hold { message: id, at: now.wall }], Durability::Durable).await;
            written.is_ok() && shard.scheduler.borrow_mut().hold(id) && said(id, now, Event::QueueHeld, "held")
        }
        Action::Release => {
            let record = Record::Release { message: id, at: now.wall };
            let written = shard.spool.commit(vec![record], Durability::Durable).await;
            written.is_ok()
                && shard.scheduler.borrow_mut().release(id, shard.now())
                && said(id, now, Event::QueueReleased, "released")
        }
        Action::Remove => {
            let completion = shard.scheduler.borrow_mut().remove(id, None, now);
            let Some(completion) = completion else { return false };
            let message = shard.spool.read(id).await.ok().map(|stored| stored.message);
            record(shard, message.as_ref(), completion).await;
            true
        }
    }
}

/// Removes what was under way when its removal was asked for, if that ends soon; gives what stays, at most a few.
async fn remove_left(shard: &Rc<Shard>, mut left: Vec<(MessageId, bool)>, messages: &mut usize) -> Vec<String> {
    for _ in 0..REMOVE_TRIES {
        if left.is_empty() {
            break;
        }
        time::sleep(REMOVE_PAUSE).await;
        let mut still = Vec::new();
        for (id, is_counted) in left {
            let is_done = act_on(shard, Action::Remove, id).await;
            *messages += usize::from(is_done && !is_counted);
            if shard.scheduler.borrow().queue().contains(id) {
                still.push((id, is_counted || is_done));
            }
        }
        left = still;
    }
    let scheduler = shard.scheduler.borrow();
    let named = |id: MessageId| match scheduler.lent_to(id) {
        Some(taker) => format!("{id} (the attempt is lent to shard {taker})"),
        None => id.to_string(),
    };
    left.iter().take(UNDER_WAY_SHOWN).map(|(id, _)| named(*id)).collect()
}

fn said(id: MessageId, now: Now, event: Event, what: &str) -> bool {
    log::event(now.wall, Level::Info, event, |line| {
        line.show("id", id).text("what", what);
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Monotonic, RecipientIndex, ShardId};
    use crate::mail::{Diagnostic, ErrorKind, Reply, Scope as Reach};
    use crate::queue::{LaneKey, RecipientSet};

    const NOW: Now = Now { mono: Monotonic(60_000_000), wall: WallTime(1_795_386_600_123) };

    fn why(waits: Waits, attempts: u32, until_s: Option<u64>, lane: bool) -> Why {
        let key =
            LaneKey { queue: "remote".into(), next_hop: "mx.two.test".into(), source: None, tls: "default".into() };
        Why {
            recipients: RecipientSet::one(RecipientIndex(0)),
            attempts,
            delay_notices: 0,
            last_error: ErrorKind::None,
            age: Duration::ZERO,
            return_at: None,
            waits,
            until: until_s.map(|s| NOW.wall + Duration::from_secs(s)),
            paused: None,
            lane: lane.then(|| Rc::new(key)),
        }
    }

    #[test]
    fn every_reason_has_its_words() {
        let since = WallTime(NOW.wall.0 - 5000);
        let reply = Reply::new(421, (4, 3, 2), "closing");
        let trouble = Diagnostic {
            remote: "mx.two.test [192.0.2.1]".into(),
            ..Diagnostic::local(ErrorKind::None, Reach::Host, reply)
        };
        let limit = |name: &str, scope| Waits::Limit { name: name.to_owned(), scope };
        let rests =
            |failures, trouble: Option<Diagnostic>| Waits::LaneRests { failures, trouble: trouble.map(Rc::new) };
        let all = [
            why(Waits::Retry, 2, Some(90), false),
            why(Waits::Retry, 0, Some(30), false),
            why(Waits::Routing { since }, 0, None, false),
            why(limit("queue.virtual.remote.threads-per-node", Scope::Queue), 0, None, true),
            why(limit("connections of lane mx.two.test in remote", Scope::Lane), 0, None, true),
            why(limit("queue.limiter.outbound.0 [sender=a@one.test]", Scope::Flow), 0, Some(7), true),
            why(rests(1, None), 0, Some(30), true),
            why(rests(3, Some(trouble)), 1, Some(120), true),
            why(Waits::Turn { ready: 12, since }, 0, None, true),
            why(Waits::Attempt { since, lent: None }, 0, None, false),
            why(Waits::Attempt { since, lent: Some(ShardId(3)) }, 0, None, false),
            why(Waits::Recording { since }, 1, None, false),
            why(Waits::Held, 1, None, false),
            why(Waits::HeldUntil, 0, Some(3600), false),
            Why { paused: Some(Pause::SpoolSick), ..why(Waits::Turn { ready: 1, since }, 0, None, true) },
            Why { paused: Some(Pause::Operator), ..why(Waits::Retry, 1, None, false) },
            Why { paused: Some(Pause::Shutdown), ..why(Waits::Retry, 1, None, false) },
        ];
        let said: Vec<String> = all.iter().map(|why| words(why, NOW)).collect();
        insta::assert_snapshot!(said.join("\n"));
    }
}
