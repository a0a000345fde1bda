//! What a run found, as JSON with a version and as one HTML page that needs nothing else.
//!
//! Takes: a [`Summary`]. Gives: files. [`svg`], [`charts`], [`words`] and [`page`] are pure.
//!
//! Invariants: the page holds the very JSON that `--json` writes; it fetches nothing and runs no script; it is well-formed as XML;
//! colours come from its style alone, light and dark. Must never be added: numbers that are not in the summary.

pub mod charts;
pub mod command;
pub mod page;
pub mod svg;
pub mod words;

#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context as _, bail};

use crate::summary::{SCHEMA, Summary, Versioned};

/// Writes the page to `path`.
pub fn write(path: &Path, summary: &Summary) -> anyhow::Result<()> {
    let page = page::html(summary, &serde_json::to_string(&Versioned::from(summary))?);
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a summary from what `--json` wrote, or from a page.
pub fn read(text: &str) -> anyhow::Result<Summary> {
    let text = match text.split_once("id=\"summary\">") {
        Some((_, rest)) => rest.split_once("</script>").map_or(rest, |(json, _)| json),
        None => text,
    };
    let value: serde_json::Value = serde_json::from_str(text).context("this is no JSON")?;
    match value.get("schema").and_then(serde_json::Value::as_u64) {
        Some(schema) if schema == u64::from(SCHEMA) => {}
        Some(other) => bail!("this is version {other} of the format; this program reads version {SCHEMA}"),
        None => bail!("this is not the result of a source: there is no \"schema\""),
    }
    serde_json::from_value(value).context("this is not the result of a source or a demo")
}
