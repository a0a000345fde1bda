//! `posthaste-loadgen audit`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::compare::{Books, Fault, Verdict};
use super::maildir;
use crate::values::grouped;
use crate::{ledger, table};

/// Compare what was acknowledged with what arrived: every message once, unaltered
///
/// Exit status: 0 when all is well, 1 when a message was lost, doubled or altered, 2 when the audit could not be made.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Ledger of a source; several may be given
    #[arg(long, value_name = "FILE", required = true)]
    pub source: Vec<PathBuf>,

    /// Ledger of a sink; several may be given
    #[arg(long, value_name = "FILE")]
    pub sink: Vec<PathBuf>,

    /// Root of a tree of Maildirs, DOMAIN/USER below it; several may be given
    #[arg(long, value_name = "FOLDER")]
    pub maildir: Vec<PathBuf>,

    /// A message that was returned to its sender in a report is not lost
    #[arg(long)]
    pub allow_returned: bool,

    /// Take ledgers that have no end, because their writer was killed
    #[arg(long)]
    pub allow_cut: bool,

    /// List at most this many of what is wrong
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub list: usize,

    /// Write the counts as JSON to this file ("-" is standard output)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Options {
    /// One source, one sink, nothing allowed.
    pub fn of(source: &str, sink: &str) -> Self {
        Options {
            source: vec![source.into()],
            sink: vec![sink.into()],
            maildir: Vec::new(),
            allow_returned: false,
            allow_cut: false,
            list: 20,
            json: None,
        }
    }
}

/// Reads and compares.
pub fn make(options: &Options) -> anyhow::Result<Verdict> {
    if options.sink.is_empty() && options.maildir.is_empty() {
        bail!("nothing to compare with: give --sink or --maildir");
    }
    let mut books = Books::default();
    for path in &options.source {
        let mut lines = Vec::new();
        let (run, is_whole) = ledger::read_source(path, |sent| lines.push(sent))?;
        check_end(options, path, is_whole)?;
        books.add_run(run);
        lines.into_iter().for_each(|sent| books.sent(run, sent));
    }
    for path in &options.sink {
        let is_whole = ledger::read_sink(path, |arrival| books.arrived(arrival))?;
        check_end(options, path, is_whole)?;
    }
    for root in &options.maildir {
        let unmarked = maildir::read(root, &mut |arrival| books.arrived(arrival))?;
        if unmarked > 0 {
            eprintln!("{}: {} messages are not ours", root.display(), grouped(unmarked));
        }
    }
    Ok(books.close(options.allow_returned, options.list))
}

fn check_end(options: &Options, path: &std::path::Path, is_whole: bool) -> anyhow::Result<()> {
    if !is_whole && !options.allow_cut {
        bail!(
            "{} has no end: is its writer still running, or was it killed? (--allow-cut takes it as it is)",
            path.display()
        );
    }
    Ok(())
}

/// Whether all is well.
pub fn command(options: &Options) -> anyhow::Result<bool> {
    let verdict = make(options)?;
    if let Some(path) = &options.json {
        table::write_json(path, &verdict.counts)?;
    }
    print!("{}", table::audit(&verdict.counts));
    for (copy, fault) in &verdict.faults {
        let words = match fault {
            Fault::Lost => "lost".to_owned(),
            Fault::Doubled(count) => format!("arrived {count} times"),
            Fault::Altered => "altered".to_owned(),
        };
        println!("  {:016x}-{:012x} for recipient {:016x}: {words}", copy.run, copy.number, copy.key);
    }
    if verdict.strangers > 0 {
        println!("  {} arrivals belong to other runs", grouped(verdict.strangers));
    }
    println!("{}", if verdict.is_clean() { "audit: clean" } else { "audit: FAILED" });
    Ok(verdict.is_clean())
}
