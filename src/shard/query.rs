//! What an operator asks of the queue, and the answers: plain values that cross from the control
//! plane to every shard and back, and go over the control socket as JSON.

use serde::{Deserialize, Serialize};

/// Which messages a question or an action is about. All given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// These messages only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// The reverse-path contains this text, case ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// A queued recipient contains this text, case ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// A queued recipient is in this domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Accepted at least this many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub older_than_s: Option<u64>,
    /// Accepted at most this many seconds ago.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_than_s: Option<u64>,
    /// Only held messages.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

impl Filter {
    /// Matches every message: an action with it must be asked for explicitly.
    pub fn is_everything(&self) -> bool {
        *self == Filter::default()
    }
}

/// What is to be done with the messages a filter names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Due now.
    Retry,
    /// No attempt until it is released.
    Hold,
    /// Attempts go on.
    Release,
    /// Every queued recipient ends as removed; nothing is reported to the sender.
    Remove,
}

/// One question to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Query {
    /// A page of messages, oldest first.
    List {
        /// Which.
        filter: Filter,
        /// How many at most.
        limit: usize,
        /// Only ids after this one: the last of the previous page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// One message with all its recipients.
    Show {
        /// Its id.
        id: String,
    },
    /// What each recipient of a message waits for.
    Why {
        /// Its id.
        id: String,
    },
    /// An action on messages.
    Act {
        /// What.
        action: Action,
        /// Which.
        filter: Filter,
    },
    /// Counters, gauges and latencies of the whole process.
    Stats,
    /// Read the configuration again.
    Reload,
}

/// One message of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The shard that owns it.
    pub shard: u16,
    /// When it was accepted, RFC 3339.
    pub accepted: String,
    /// The reverse-path, empty for null.
    pub from: String,
    /// Octets of content.
    pub size_bytes: u64,
    /// MT-PRIORITY.
    pub priority: i8,
    /// An operator holds it.
    pub held: bool,
    /// The next attempt of any of its recipients, RFC 3339; absent while one is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// The recipients that are still queued, at most a few in listings.
    pub recipients: Vec<RecipientRow>,
    /// Recipients still queued, all of them.
    pub recipients_queued: usize,
}

/// One recipient of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientRow {
    /// Its address.
    pub to: String,
    /// `queued`, `deferred`, `attempting`, `held`, or a final state.
    pub state: String,
    /// Attempts made.
    pub attempts: u32,
    /// Next attempt, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
    /// When it is given up, RFC 3339: the end of its schedule, or its sender's deadline before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// After how many attempts it is given up, where its schedule counts attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// The last reply or reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// What it waits for, in words (`why` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// A latency as `stats` tells it, in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimingRow {
    /// Its name.
    pub name: String,
    /// How many were measured.
    pub count: u64,
    /// Median.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// The answer to a [`Query`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "answer")]
pub enum Answer {
    /// A page of messages.
    Messages {
        /// The messages.
        rows: Vec<Row>,
        /// More follow after the last one.
        more: bool,
    },
    /// One message, for `show` and `why`.
    Message {
        /// The message.
        row: Row,
    },
    /// What an action did.
    Done {
        /// Messages it applied to.
        messages: usize,
        /// Ids that were asked for and are not queued.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unknown: Vec<String>,
        /// Ids that were not removed whole: an attempt of some recipient is under way.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        under_way: Vec<String>,
    },
    /// Counters and latencies.
    Stats {
        /// Name and value of every counter and gauge.
        values: Vec<(String, i64)>,
        /// Latencies.
        timings: Vec<TimingRow>,
    },
    /// What a reload changed, line by line; empty when nothing did.
    Reloaded {
        /// The differences.
        changes: Vec<String>,
    },
    /// The question could not be answered.
    Refused {
        /// Why, for people.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_the_socket() {
        let query = Query::Act { action: Action::Hold, filter: Filter { held: true, ..Filter::default() } };
        let text = serde_json::to_string(&query).expect("plain data");
        assert_eq!(text, r#"{"ask":"act","action":"hold","filter":{"held":true}}"#);
        assert_eq!(serde_json::from_str::<Query>(&text).expect("what we wrote"), query);
        assert!(serde_json::from_str::<Query>(r#"{"ask":"act","action":"hold","filter":{"hold":1}}"#).is_err());
        assert!(Filter::default().is_everything());
    }
}
