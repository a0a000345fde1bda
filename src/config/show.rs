//! `posthaste config show`: every key in effect, secrets hidden.

use crate::schema::record::{Record, Shape};

/// The values in effect as TOML. What the file does not set is a comment, so that the two can be told apart.
pub fn show(records: &[Record]) -> String {
    let mut out = String::new();
    for (index, record) in records.iter().enumerate() {
        let Record::Section(section) = record else { continue };
        let prefix = format!("{}.", section.path);
        // A table's own knobs may stand before and after those of its tables.
        let mut knobs = records[index..]
            .iter()
            .filter_map(|record| match record {
                Record::Knob(knob) => Some(knob),
                Record::Section(_) => None,
            })
            .filter(|knob| {
                knob.path.strip_prefix(&prefix).is_some_and(|rest| rest.len() == quoted_len(rest, &knob.name))
            })
            .filter_map(|knob| Some((knob, knob.effective.as_deref()?)))
            .peekable();
        if knobs.peek().is_none() {
            continue;
        }
        let path = section.path.split('[').next().unwrap_or(&section.path);
        match section.shape {
            Shape::Items => out.push_str(&format!("\n[[{path}]]\n")),
            _ => out.push_str(&format!("\n[{}]\n", section.path)),
        }
        for (knob, value) in knobs {
            let mark = if knob.span.is_some() { "" } else { "# " };
            let key = &knob.path[prefix.len()..];
            out.push_str(&format!("{mark}{key} = {value}\n"));
        }
    }
    out
}

/// The length of the last part of a key if `rest` is nothing but that.
fn quoted_len(rest: &str, name: &str) -> usize {
    crate::schema::document::join("", name).len().max(if rest == name { rest.len() } else { 0 })
}
