//! The running shards as the control plane sees them: questions go to all that can answer, and the
//! answers come back as one.

use std::sync::Arc;
use std::time::Duration;

use posthaste_rt::mesh::Address;
use tokio::sync::oneshot;

use super::reload::Reloader;
use crate::base::MessageId;
use crate::control::{Ask, BoxFuture};
use crate::observe::{Counter, Gauge, Snapshot, Timing};
use crate::shard::Message;
use crate::shard::query::{Answer, Query, Row, TimingRow};

/// How long a shard may take over one question before the answer goes without it.
const SHARD_WITHIN: Duration = Duration::from_secs(60);

/// The shards' addresses and the one who reloads.
pub struct Fleet {
    pub(super) shards: Vec<Address<Message>>,
    pub(super) reloader: Arc<Reloader>,
}

impl Ask for Fleet {
    fn ask(&self, query: Query) -> BoxFuture<Answer> {
        let shards = self.shards.clone();
        let reloader = self.reloader.clone();
        Box::pin(async move {
            match query {
                Query::Reload => reloader.reload().await,
                Query::Stats => stats(&snapshot(&shards).await),
                Query::Show { ref id } | Query::Why { ref id } => match id.parse::<MessageId>() {
                    Ok(_) => one(&shards, &query, id).await,
                    Err(error) => Answer::Refused { reason: format!("{id:?}: {error}") },
                },
                Query::List { limit, .. } => list(ask_all(&shards, &query).await, limit),
                Query::Act { ref filter, .. } => {
                    if let Some(bad) = filter.ids.iter().find(|id| id.parse::<MessageId>().is_err()) {
                        return Answer::Refused { reason: format!("{bad:?} is not a message id") };
                    }
                    let wanted = filter.ids.len();
                    done(ask_all(&shards, &query).await, wanted)
                }
            }
        })
    }

    fn snapshot(&self) -> BoxFuture<Snapshot> {
        let shards = self.shards.clone();
        Box::pin(async move { snapshot(&shards).await })
    }
}

async fn ask_all(shards: &[Address<Message>], query: &Query) -> Vec<Answer> {
    let mut waiting = Vec::with_capacity(shards.len());
    for shard in shards {
        let (sender, receiver) = oneshot::channel();
        if shard.try_send(Message::Query(Box::new(query.clone()), sender)).is_ok() {
            waiting.push(receiver);
        }
    }
    let mut answers = Vec::with_capacity(waiting.len());
    for receiver in waiting {
        match tokio::time::timeout(SHARD_WITHIN, receiver).await {
            Ok(Ok(answer)) => answers.push(answer),
            _ => answers.push(Answer::Refused { reason: "a shard did not answer in time".into() }),
        }
    }
    answers
}

async fn snapshot(shards: &[Address<Message>]) -> Snapshot {
    let mut waiting = Vec::with_capacity(shards.len());
    for shard in shards {
        let (sender, receiver) = oneshot::channel();
        if shard.try_send(Message::Snapshot(sender)).is_ok() {
            waiting.push(receiver);
        }
    }
    let mut all = Snapshot::default();
    for receiver in waiting {
        if let Ok(Ok(one)) = tokio::time::timeout(SHARD_WITHIN, receiver).await {
            all.merge(&one);
        }
    }
    all
}

/// Of all shards at most one has the message.
async fn one(shards: &[Address<Message>], query: &Query, id: &str) -> Answer {
    let mut refused = None;
    for answer in ask_all(shards, query).await {
        match answer {
            Answer::Message { row } => return Answer::Message { row },
            Answer::Refused { reason } => refused = Some(reason),
            _ => {}
        }
    }
    let reason =
        refused.unwrap_or_else(|| format!("{id} is not queued: it was finished or removed, or never was here"));
    Answer::Refused { reason }
}

fn list(answers: Vec<Answer>, limit: usize) -> Answer {
    let (mut all, mut any_more): (Vec<Row>, bool) = (Vec::new(), false);
    for answer in answers {
        match answer {
            Answer::Messages { rows, more } => {
                all.extend(rows);
                any_more |= more;
            }
            refused @ Answer::Refused { .. } => return refused,
            _ => {}
        }
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    let more = any_more || all.len() > limit;
    all.truncate(limit);
    Answer::Messages { rows: all, more }
}

fn done(answers: Vec<Answer>, wanted: usize) -> Answer {
    let (mut total, mut unknown_anywhere, mut all_under_way) = (0, None::<Vec<String>>, Vec::new());
    for answer in answers {
        match answer {
            Answer::Done { messages, unknown, under_way } => {
                total += messages;
                all_under_way.extend(under_way);
                // Unknown is what no shard knows.
                unknown_anywhere = Some(match unknown_anywhere {
                    None => unknown,
                    Some(before) => before.into_iter().filter(|id| unknown.contains(id)).collect(),
                });
            }
            refused @ Answer::Refused { .. } => return refused,
            _ => {}
        }
    }
    let unknown = if wanted == 0 { Vec::new() } else { unknown_anywhere.unwrap_or_default() };
    Answer::Done { messages: total, unknown, under_way: all_under_way }
}

fn stats(snapshot: &Snapshot) -> Answer {
    let counters = Counter::ALL.iter().map(|c| (c.name().to_owned(), snapshot.counter(*c) as i64));
    let gauges = Gauge::ALL.iter().map(|g| (g.name().to_owned(), snapshot.gauge(*g)));
    let timings = Timing::ALL.iter().map(|timing| {
        let histogram = snapshot.timing(*timing);
        TimingRow {
            name: timing.name().to_owned(),
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            max_us: histogram.max(),
        }
    });
    Answer::Stats { values: counters.chain(gauges).collect(), timings: timings.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_is_what_no_shard_knows() {
        let done_one = |messages, unknown: &[&str]| Answer::Done {
            messages,
            unknown: unknown.iter().map(|id| (*id).to_owned()).collect(),
            under_way: Vec::new(),
        };
        let merged = done(vec![done_one(1, &["b", "c"]), done_one(1, &["a", "c"])], 3);
        assert_eq!(merged, done_one(2, &["c"]));
    }

    #[test]
    fn pages_merge_in_the_order_of_ids() {
        let row = |id: &str| Row {
            id: id.into(),
            shard: 0,
            accepted: String::new(),
            from: String::new(),
            size_bytes: 0,
            priority: 0,
            held: false,
            due: None,
            recipients: Vec::new(),
            recipients_queued: 0,
        };
        let page = |ids: &[&str]| Answer::Messages { rows: ids.iter().map(|id| row(id)).collect(), more: false };
        let Answer::Messages { rows, more } = list(vec![page(&["b", "d"]), page(&["a", "c"])], 3) else { panic!() };
        assert_eq!(rows.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(more);
    }
}
