//! The log writer: one thread that takes whole buffers of lines from the shards and writes them.
//!
//! The channel is bounded; a shard that cannot hand its buffer over keeps it and tries again, and
//! drops lines at its own cap. A file that cannot be written is reported once on standard error and
//! tried again with the next buffer: logs never stop mail.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use super::settings::{Target, Tracer};

/// Buffers that may wait for the writer.
const BUFFERS_MAX: usize = 256;

enum Message {
    Lines(Vec<u8>),
    Reopen,
    Stop,
}

/// The shards' end of the writer.
#[derive(Clone)]
pub struct LogSender(SyncSender<Message>);

/// The writer's thread.
pub struct LogWriter {
    sender: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl LogSender {
    /// Hands lines over; gives them back when the writer is behind.
    pub fn send(&self, lines: Vec<u8>) -> Option<Vec<u8>> {
        match self.0.try_send(Message::Lines(lines)) {
            Ok(()) => None,
            Err(TrySendError::Full(Message::Lines(lines))) => Some(lines),
            Err(_) => None,
        }
    }
}

impl LogWriter {
    /// Starts the thread. With no tracer, lines are taken and dropped.
    ///
    /// # Errors
    /// The file cannot be opened: better to hear it at start.
    pub fn start(tracer: Option<&Tracer>) -> io::Result<LogWriter> {
        let mut output = match tracer.map(|t| &t.target) {
            None => Output::Nowhere,
            Some(Target::Stdout) => Output::Stdout,
            Some(Target::File { path, prefix }) => {
                std::fs::create_dir_all(path)?;
                let path = path.join(format!("{prefix}.log"));
                let file = open(&path)?;
                Output::File { path, file: Some(file), faulty: false }
            }
        };
        let (sender, receiver) = sync_channel(BUFFERS_MAX);
        let thread =
            std::thread::Builder::new().name("logs".into()).spawn(move || write_all(&receiver, &mut output))?;
        Ok(LogWriter { sender, thread: Some(thread) })
    }

    /// An end for one shard.
    pub fn sender(&self) -> LogSender {
        LogSender(self.sender.clone())
    }

    /// Opens the file anew, after a rotation.
    pub fn reopen(&self) {
        let _ = self.sender.send(Message::Reopen); // fails only when the thread is gone
    }
}

impl Drop for LogWriter {
    /// Writes what was handed over, then ends the thread.
    fn drop(&mut self) {
        let _ = self.sender.send(Message::Stop); // fails only when the thread is gone
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it does not panic, and if it did, there is nobody to tell
        }
    }
}

enum Output {
    Nowhere,
    Stdout,
    File { path: PathBuf, file: Option<File>, faulty: bool },
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

fn write_all(receiver: &Receiver<Message>, output: &mut Output) {
    while let Ok(message) = receiver.recv() {
        match message {
            Message::Lines(lines) => output.write(&lines),
            Message::Reopen => output.reopen(),
            Message::Stop => return,
        }
    }
}

impl Output {
    fn write(&mut self, lines: &[u8]) {
        match self {
            Output::Nowhere => {}
            Output::Stdout => {
                let mut out = io::stdout().lock();
                let _ = out.write_all(lines).and_then(|()| out.flush()); // nobody reads: nobody misses it
            }
            Output::File { path, file, faulty } => {
                let target = match file {
                    Some(file) => Ok(file),
                    None => open(path).map(|new| file.insert(new)),
                };
                let result = target.and_then(|file| file.write_all(lines));
                if let (Err(error), false) = (&result, *faulty) {
                    eprintln!("posthaste: log {}: {error}", path.display());
                }
                *faulty = result.is_err();
                if *faulty {
                    *file = None;
                }
            }
        }
    }

    fn reopen(&mut self) {
        if let Output::File { file, .. } = self {
            *file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::log::{Format, Level};

    #[test]
    fn lines_reach_the_file_also_after_rotation() {
        let folder = tempfile::tempdir().expect("a folder");
        let tracer = Tracer {
            id: "t".into(),
            enable: true,
            target: Target::File { path: folder.path().join("log"), prefix: "posthaste".into() },
            level: Level::Info,
            format: Format::Json,
        };
        let path = folder.path().join("log/posthaste.log");
        let writer = LogWriter::start(Some(&tracer)).expect("started");
        assert_eq!(writer.sender().send(b"one\n".to_vec()), None);
        writer.reopen();
        assert_eq!(writer.sender().send(b"two\n".to_vec()), None);
        drop(writer);
        assert_eq!(std::fs::read(&path).expect("written"), b"one\ntwo\n");
    }
}
