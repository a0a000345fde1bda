//! `posthaste-loadgen`: load for any MTA, and proof that nothing of it was lost.
//!
//! [`source`] sends, [`sink`] takes, [`audit`] compares what they wrote down. [`summary`] is the
//! one value a run ends in; [`table`] prints it. Shares no code with the server: an independent
//! implementation sees the server's faults.

mod audit;
mod demo;
mod dns;
mod hash;
mod host;
mod ledger;
mod marker;
mod process;
mod random;
mod report;
mod sink;
mod source;
mod summary;
mod table;
mod tls;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use posthaste_rt::signal::Signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// SMTP and LMTP load for any MTA: open loop, audited
#[derive(Parser)]
#[command(name = "posthaste-loadgen", version, arg_required_else_help = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Source(Box<source::options::Options>),
    Sink(Box<sink::options::Options>),
    Audit(audit::command::Options),
    Demo(demo::Options),
    Report(report::command::ReportOptions),
    Dns(Box<dns::command::Options>),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("posthaste-loadgen: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::block()?;
    match command {
        Command::Source(options) => source::run::command(&options, &mut signals)?,
        Command::Sink(options) if options.self_test => sink::self_test::command(&options, &mut signals)?,
        Command::Sink(options) => sink::run::command(&options, &mut signals)?,
        Command::Audit(options) => {
            let is_clean = audit::command::command(&options)?;
            return Ok(status(is_clean));
        }
        Command::Report(options) => report::command::command(&options)?,
        Command::Demo(options) => return Ok(status(demo::command(&options, &mut signals)?)),
        Command::Dns(options) => dns::command::command(&options, &mut signals)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn status(is_clean: bool) -> ExitCode {
    if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
