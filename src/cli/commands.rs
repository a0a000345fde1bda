//! The commands that start nothing: checking, showing, asking the running server.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use posthaste_rt::preflight::Needs;
use posthaste_rt::{preflight, shard};

use super::{ActionArgs, CheckArgs, ConfigCommand, QueueCommand, ServerArgs, SpoolCommand, render, socket};
use crate::base::MessageId;
use crate::config::{self, Loaded};
use crate::shard::query::{Action, Answer, Query};
use crate::spool::{Disk, OpenError, offline};

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
        Answer::Done { messages, unknown, .. } => *messages == 0 && !unknown.is_empty(),
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

/// `spool …`: reads the files of a spool, changes nothing; beside a running server what is being written may look torn.
///
/// # Errors
/// The spool cannot be read, or is of a newer format.
pub fn spool(command: &SpoolCommand) -> Result<ExitCode> {
    let (path, only) = match command {
        SpoolCommand::Check { path } => (path.clone(), None),
        SpoolCommand::Dump { path, id: None } => (path.clone(), None),
        SpoolCommand::Dump { path, id: Some(id) } => {
            (path.clone(), Some(id.parse::<MessageId>().with_context(|| format!("{id:?}"))?))
        }
    };
    if !path.is_dir() {
        bail!("{} is not a directory", path.display());
    }
    preflight(Needs { shards: 1, descriptors: 1024 }).context("this machine cannot read a spool as it is")?;
    let dumps = matches!(command, SpoolCommand::Dump { .. });
    // The spool's files are read as the server reads them: on a shard.
    let work = move || async move {
        if dumps {
            offline::dump(&Disk, &path, only, |line| drop(print(&format!("{line}\n")))).await.map(|()| true)
        } else {
            let report = offline::check(&Disk, &path).await?;
            drop(print(&report.to_string()));
            Ok::<bool, OpenError>(report.is_sound())
        }
    };
    let sound = shard::spawn(shard::cpus()[0], "offline", work)?.join()?.context("reading the spool")?;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(FAULTS) })
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
