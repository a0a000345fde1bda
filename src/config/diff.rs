//! What a reload changes, in words: every key whose value in effect is another one.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::schema::record::{Apply, KnobRecord, Record};

/// One key with another value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The full key.
    pub key: String,
    /// The value in effect before, as TOML, secrets hidden; absent where it was unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value in effect after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether the reload suffices.
    pub apply: Apply,
}

/// The changes of a reload, in the order of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The keys.
    pub changes: Vec<Change>,
}

impl Diff {
    /// From the knobs of two readings.
    pub fn between(before: &[Record], after: &[Record]) -> Diff {
        let (old, new) = (knobs(before), knobs(after));
        let mut changes: Vec<Change> = Vec::new();
        for (key, knob) in &new {
            let known = old.get(key);
            let is_same = known.is_some_and(|old| old.digest == knob.digest && old.effective == knob.effective);
            // Of a table that appears, only what the file says is news.
            let is_default = known.is_none() && knob.span.is_none();
            if !is_same && !is_default {
                changes.push(change(key, known.copied(), Some(knob)));
            }
        }
        for (key, knob) in &old {
            if !new.contains_key(key) && knob.span.is_some() {
                changes.push(change(key, Some(knob), None));
            }
        }
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        Diff { changes }
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether some of it waits for a new process.
    pub fn needs_restart(&self) -> bool {
        self.changes.iter().any(|change| change.apply == Apply::Restart)
    }
}

fn knobs(records: &[Record]) -> BTreeMap<&str, &KnobRecord> {
    let knobs = records.iter().filter_map(|record| match record {
        Record::Knob(knob) => Some((knob.path.as_str(), knob)),
        Record::Section(_) => None,
    });
    knobs.collect()
}

fn change(key: &str, before: Option<&KnobRecord>, after: Option<&KnobRecord>) -> Change {
    let value = |knob: Option<&KnobRecord>| knob.and_then(|knob| knob.effective.clone());
    let apply = [before, after].into_iter().flatten().map(|knob| knob.apply).find(|apply| *apply == Apply::Restart);
    Change { key: key.to_owned(), before: value(before), after: value(after), apply: apply.unwrap_or(Apply::Reload) }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing changes");
        }
        for Change { key, before, after, apply } in &self.changes {
            match (before, after) {
                (Some(before), Some(after)) if before == after => write!(f, "~ {key}: another value (not shown)")?,
                (Some(before), Some(after)) => write!(f, "~ {key}: {before} -> {after}")?,
                (None, Some(after)) => write!(f, "+ {key} = {after}")?,
                (Some(before), None) => write!(f, "- {key} = {before}")?,
                (None, None) => write!(f, "~ {key}")?,
            }
            writeln!(f, "{}", if *apply == Apply::Restart { "   (after a restart)" } else { "" })?;
        }
        Ok(())
    }
}
