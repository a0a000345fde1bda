//! The commands that start nothing: checking, showing, asking the running server.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use super::{ActionArgs, CheckArgs, ConfigCommand, QueueCommand, ServerArgs, render, socket};
use crate::config::{self, Loaded};
use crate::shard::query::{Action, Answer, Query};

/// Something was found at fault: what was asked for was done, and the answer is no.
const FAULTS: u8 = 1;

/// `check`: every fault of a file, or that there is none.
///
/// # Errors
/// Standard output cannot be written.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let outcome = config::load(Some(&args.config));
    if args.json {
        let faults = match &outcome {
            Ok(loaded) => serde_json::to_string(&loaded.warnings_json())?,
            Err(refused) => serde_json::to_string(&refused.json())?,
        };
        print(&format!("{faults}\n"))?;
    } else {
        match &outcome {
            Ok(loaded) => {
                eprint!("{}", loaded.warnings(std::io::stderr().is_terminal()));
                print(&format!("{}: no fault\n", loaded.name()))?;
            }
            Err(refused) => eprint_refused(refused),
        }
    }
    Ok(if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAULTS) })
}

/// `config …`
///
/// # Errors
/// The file is refused, or standard output cannot be written.
pub fn config(command: &ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Reference => print(&config::reference())?,
        ConfigCommand::Show { config } => match load(config.as_deref())? {
            Some(loaded) => print(&loaded.show())?,
            None => return Ok(ExitCode::from(FAULTS)),
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// `queue …`
///
/// # Errors
/// The server cannot be reached, or refuses.
pub fn queue(command: &QueueCommand, server: &ServerArgs) -> Result<ExitCode> {
    let act = |action: Action, args: &ActionArgs| -> Result<Query> {
        let filter = args.filter.filter(&args.ids);
        if filter.is_everything() && !args.all {
            bail!("name message ids or conditions (see --help), or say --all for the whole queue");
        }
        Ok(Query::Act { action, filter })
    };
    let query = match command {
        QueueCommand::List { filter, limit, after } => {
            Query::List { filter: filter.filter(&[]), limit: *limit, after: after.clone() }
        }
        QueueCommand::Show { id } => Query::Show { id: id.clone() },
        QueueCommand::Why { id } => Query::Why { id: id.clone() },
        QueueCommand::Retry(args) => act(Action::Retry, args)?,
        QueueCommand::Hold(args) => act(Action::Hold, args)?,
        QueueCommand::Release(args) => act(Action::Release, args)?,
        QueueCommand::Remove(args) => act(Action::Remove, args)?,
    };
    ask(server, &query)
}

/// A question to the running server, and its answer on standard output.
///
/// # Errors
/// The server cannot be reached.
pub fn ask(server: &ServerArgs, query: &Query) -> Result<ExitCode> {
    let answer = socket::ask(&socket_path(server)?, query)?;
    let failed = match &answer {
        Answer::Refused { .. } => true,
        Answer::Done { messages, unknown } => *messages == 0 && !unknown.is_empty(),
        _ => false,
    };
    if server.json {
        print(&format!("{}\n", serde_json::to_string(&answer)?))?;
    } else if failed {
        eprint!("{}", render::text(&answer));
    } else {
        print(&render::text(&answer))?;
    }
    Ok(if failed { ExitCode::from(FAULTS) } else { ExitCode::SUCCESS })
}

/// The configuration, or `None` after its faults were printed.
///
/// # Errors
/// None today; the file's faults are printed.
pub fn load(path: Option<&Path>) -> Result<Option<Loaded>> {
    match config::load(path) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(refused) => {
            eprint_refused(&refused);
            Ok(None)
        }
    }
}

fn eprint_refused(refused: &config::Refused) {
    let count = refused.count();
    eprint!("{}", refused.render(std::io::stderr().is_terminal()));
    eprintln!("{count} {}; nothing was changed", if count == 1 { "fault" } else { "faults" });
}

fn socket_path(server: &ServerArgs) -> Result<PathBuf> {
    if let Some(path) = &server.socket {
        return Ok(path.clone());
    }
    let loaded = config::load(server.config.as_deref()).map_err(|refused| anyhow::anyhow!("{refused}"));
    let loaded = loaded.context("looking for the control socket in the configuration (or name it with --socket)")?;
    Ok(loaded.config.control.socket.clone())
}

/// Prints to standard output; a reader that closed it early is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("writing to standard output"),
    }
}
