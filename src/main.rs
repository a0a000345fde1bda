//! The `posthaste` binary: arguments to the command they name.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use posthaste::cli::{Cli, Command, commands};
use posthaste::server;
use posthaste::shard::query::Query;
use posthaste_rt::memory;
use posthaste_rt::signal::Signals;

/// Half the cost of an allocation, and shards free mostly what they allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Freed memory is kept this long for what comes next.
const MEMORY_KEPT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    memory::keep_freed(MEMORY_KEPT);
    match command(&Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("posthaste: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn command(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => {
            // Before any thread exists, so that all of them leave signals to this one.
            let signals = Signals::block().context("blocking signals")?;
            match commands::load(args.config.as_deref())? {
                Some(loaded) => server::run(args, loaded, signals),
                None => Ok(ExitCode::FAILURE),
            }
        }
        Command::Check(args) => commands::check(args),
        Command::Config { command } => commands::config(command),
        Command::Queue { command, server } => commands::queue(command, server),
        Command::Spool { command } => commands::spool(command),
        Command::Stats { server } => commands::ask(server, &Query::Stats),
        Command::Reload { server } => commands::ask(server, &Query::Reload),
    }
}
