//! The command line: what an operator types, and how answers are shown.
//!
//! Takes arguments, gives a [`Command`] value or output on the terminal. The commands that ask the
//! running server go through [`socket`]; rendering is in [`render`]. Must never be added: anything
//! that touches a queue or spool of a running server directly.

pub mod commands;
pub mod render;
pub mod socket;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::shard::query::Filter;

/// A mail transfer agent for relays that move a lot of mail: 250 means on stable storage.
#[derive(Debug, Parser)]
#[command(
    name = "posthaste",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Start with `posthaste run`: it needs no file, no root and no other service.\n\
                  Then write a file from `posthaste config reference` and try it with `posthaste check -c FILE`."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server in the foreground; without a file, with the embedded defaults
    Run(RunArgs),
    /// Check a configuration and name every fault, without starting anything
    Check(CheckArgs),
    /// Show the configuration reference, or the configuration in force
    Config {
        /// Which.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// List and change what is queued
    Queue {
        /// What to do.
        #[command(subcommand)]
        command: QueueCommand,
        /// The running server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Read a spool offline
    Spool {
        /// What to do.
        #[command(subcommand)]
        command: SpoolCommand,
    },
    /// Show the counters and latencies of the running server
    Stats {
        /// The running server.
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Have the running server read its configuration again
    Reload {
        /// The running server.
        #[command(flatten)]
        server: ServerArgs,
    },
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration; without it, the embedded defaults: unprivileged loopback ports, spool and mail under ./var
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Number of shards; by default one for each core this process may use
    #[arg(long, value_name = "N")]
    pub shards: Option<u16>,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration to check
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Print faults as JSON
    #[arg(long)]
    pub json: bool,
}

/// `config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every key with its meaning and default, as a TOML file
    Reference,
    /// Print the configuration as it is in force, secrets left out
    Show {
        /// The configuration; without it, the embedded defaults
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// How to reach the running server, and how to print.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// Its configuration, for the place of its control socket
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Its control socket
    #[arg(long, value_name = "PATH", env = "POSTHASTE_SOCKET", global = true)]
    pub socket: Option<PathBuf>,
    /// Print JSON, one value a line
    #[arg(long, global = true)]
    pub json: bool,
}

/// `queue …`
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List queued messages, oldest first
    List {
        /// Which.
        #[command(flatten)]
        filter: FilterArgs,
        /// How many at most
        #[arg(short = 'n', long, default_value_t = 50, value_name = "N")]
        limit: usize,
        /// Only messages after this id: the last of the previous page
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Show one message with all its recipients
    Show {
        /// Its id, as in the reply to the client and in the log
        id: String,
    },
    /// Say what each recipient of a message waits for, and until when
    Why {
        /// Its id
        id: String,
    },
    /// Attempt now what is deferred
    Retry(ActionArgs),
    /// Attempt nothing until release
    Hold(ActionArgs),
    /// Let held messages go on
    Release(ActionArgs),
    /// Remove from the queue; the sender is told nothing
    Remove(ActionArgs),
}

/// Conditions on messages; all given ones must hold.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// The sender contains TEXT
    #[arg(long, value_name = "TEXT")]
    pub from: Option<String>,
    /// A recipient contains TEXT
    #[arg(long, value_name = "TEXT")]
    pub to: Option<String>,
    /// A recipient is in DOMAIN
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Accepted at least this long ago: 30s, 5m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub older_than: Option<Duration>,
    /// Accepted at most this long ago: 30s, 5m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub newer_than: Option<Duration>,
    /// Only held messages
    #[arg(long)]
    pub held: bool,
}

/// Which messages an action is for.
#[derive(Debug, Args)]
pub struct ActionArgs {
    /// Message ids
    #[arg(value_name = "ID")]
    pub ids: Vec<String>,
    /// Conditions.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// The whole queue
    #[arg(long)]
    pub all: bool,
}

/// `spool …`
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// Verify every record of a spool and say what is damaged
    Check {
        /// The spool directory
        path: PathBuf,
    },
    /// Print every record of a spool, oldest segment first, one line each
    Dump {
        /// The spool directory
        path: PathBuf,
        /// Only what is about this message
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
}

impl FilterArgs {
    /// The filter they mean.
    pub fn filter(&self, ids: &[String]) -> Filter {
        Filter {
            ids: ids.to_vec(),
            from: self.from.clone(),
            to: self.to.clone(),
            domain: self.domain.clone(),
            older_than_s: self.older_than.map(|span| span.as_secs()),
            newer_than_s: self.newer_than.map(|span| span.as_secs()),
            held: self.held,
        }
    }
}

fn parse_span(text: &str) -> Result<Duration, String> {
    let fault = || "expected a number and a unit: 30s, 5m, 2h or 1d".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| fault())?;
    let unit_s = match &text[digits..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(fault()),
    };
    number.checked_mul(unit_s).map(Duration::from_secs).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn filters_come_from_arguments() {
        let cli =
            Cli::try_parse_from(["posthaste", "queue", "hold", "--domain", "a.test", "--older-than", "2h", "--json"])
                .expect("valid");
        let Command::Queue { command: QueueCommand::Hold(args), server } = cli.command else { panic!("queue hold") };
        let filter = args.filter.filter(&args.ids);
        assert_eq!((filter.domain.as_deref(), filter.older_than_s), (Some("a.test"), Some(7200)));
        assert!(server.json && !filter.is_everything());
    }

    #[test]
    fn spans_need_a_unit() {
        assert_eq!(parse_span("90s"), Ok(Duration::from_secs(90)));
        for bad in ["", "5", "m", "5 m", "-1s", "99999999999999999999d", "5w"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }
}
