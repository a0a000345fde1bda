//! `posthaste-loadgen report`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

/// Make the HTML page of a run from its JSON
#[derive(Debug, Clone, Args)]
pub struct ReportOptions {
    /// What --json or --report of a source or demo wrote
    #[arg(value_name = "FILE")]
    result: PathBuf,

    /// Where the page goes (beside it, ending in .html)
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `posthaste-loadgen report`.
pub fn command(options: &ReportOptions) -> anyhow::Result<()> {
    let path = &options.result;
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let summary = super::read(&text).with_context(|| path.display().to_string())?;
    let output = options.output.clone().unwrap_or_else(|| path.with_extension("html"));
    super::write(&output, &summary)?;
    println!("report: {}", output.display());
    Ok(())
}
