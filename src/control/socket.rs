//! The control socket: a Unix stream socket, one JSON question a connection, one JSON answer.
//!
//! Who asks is taken from the kernel (SO_PEERCRED), never from the question.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::Ask;
use super::settings::Settings;
use crate::shard::query::{Answer, Query};

/// Octets of one question: ids of a few thousand messages fit.
const QUESTION_BYTES_MAX: u64 = 1024 * 1024;
/// Questions under way.
const QUESTIONS_MAX: usize = 16;
/// Time to put the question.
const QUESTION_WITHIN: Duration = Duration::from_secs(10);

/// Binds the socket with mode 0660. A socket left by a server that is gone is replaced; one that a
/// server answers on, or a file of another kind, is an error.
///
/// # Errors
/// The directory cannot be made, another server is running there, or the kernel refuses.
pub fn bind(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(directory)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of another kind"));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server is running with this control socket"));
        }
        Ok(_) => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers until the runtime ends.
///
/// # Errors
/// The listener cannot be given to this runtime.
pub async fn serve(
    listener: std::os::unix::net::UnixListener,
    settings: Settings,
    ask: Arc<dyn Ask>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let settings = Arc::new(settings);
    let slots = Arc::new(Semaphore::new(QUESTIONS_MAX));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return Ok(()) };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (settings, ask) = (settings.clone(), ask.clone());
                tokio::spawn(async move {
                    let _ = answer(stream, &settings, &*ask).await; // a client that left needs no answer
                    drop(slot);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(stream: UnixStream, settings: &Settings, ask: &dyn Ask) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let ours = nix::unistd::geteuid().as_raw();
    let allowed = uid == 0 || uid == ours || settings.allow_users.contains(&uid);
    let (read, mut write) = stream.into_split();
    let answer = if allowed {
        let mut line = String::new();
        let mut limited = BufReader::new(read.take(QUESTION_BYTES_MAX));
        tokio::time::timeout(QUESTION_WITHIN, limited.read_line(&mut line)).await??;
        match serde_json::from_str::<Query>(&line) {
            Ok(query) => ask.ask(query).await,
            Err(fault) => Answer::Refused { reason: format!("not a question: {fault}") },
        }
    } else {
        Answer::Refused { reason: format!("user {uid} may not ask (control.allow-users)") }
    };
    let mut out = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    out.push(b'\n');
    write.write_all(&out).await?;
    write.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::BoxFuture;
    use crate::observe::Snapshot;

    struct Echo;

    impl Ask for Echo {
        fn ask(&self, query: Query) -> BoxFuture<Answer> {
            Box::pin(async move { Answer::Refused { reason: format!("{query:?}") } })
        }

        fn snapshot(&self) -> BoxFuture<Snapshot> {
            Box::pin(async { Snapshot::default() })
        }
    }

    #[test]
    fn questions_are_answered_and_garbage_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run/control.sock");
        let listener = bind(&path).expect("bound");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        runtime.spawn(serve_test(listener));
        let answer = crate::cli::socket::ask(&path, &Query::Stats).expect("an answer");
        assert_eq!(answer, Answer::Refused { reason: "Stats".into() });

        let mut raw = std::os::unix::net::UnixStream::connect(&path).expect("connected");
        std::io::Write::write_all(&mut raw, b"{\"ask\":\"../../etc/passwd\"}\n").expect("sent");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut raw, &mut text).expect("answered");
        assert!(text.contains("not a question"), "{text}");

        assert_eq!(bind(&path).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
        drop(runtime);
        assert!(bind(&path).is_ok(), "a socket nobody listens on is replaced");
        let file = folder.path().join("file");
        std::fs::write(&file, b"precious").expect("written");
        assert!(bind(&file).is_err());
        assert_eq!(std::fs::read(&file).expect("still there"), b"precious");
    }

    async fn serve_test(listener: std::os::unix::net::UnixListener) {
        let _ = serve(listener, Settings::default(), Arc::new(Echo)).await;
    }
}
