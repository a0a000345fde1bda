//! Talking to the running server: one JSON line there, one back.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shard::query::{Answer, Query};

/// How long the server may take. Actions on a million messages take seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// Asks the server that listens on `path`.
///
/// # Errors
/// No server there, no permission, or an answer that is none; in words for the operator.
pub fn ask(path: &Path, query: &Query) -> Result<Answer> {
    let mut stream = UnixStream::connect(path).with_context(|| {
        format!(
            "cannot reach a running server at {}; is it running, and is that its socket (-c FILE or --socket PATH)?",
            path.display()
        )
    })?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    let mut line = serde_json::to_vec(query)?;
    line.push(b'\n');
    stream.write_all(&line).context("sending the question")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).context("waiting for the answer")?;
    if answer.is_empty() {
        bail!("the server closed the connection without an answer: is this user allowed to ask? (control.allow-users)");
    }
    serde_json::from_str(&answer).context("the answer is none of ours: are client and server of one version?")
}
