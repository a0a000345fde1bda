//! Files of events: one thread per file takes lines from the shards, appends them, syncs, and says so.
//!
//! Whole lines only: what a failed write left is taken back, and what a crash left is ended with a line end before
//! the next line. A file that was moved away (or removed) is made anew, with or without a signal.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::settings::{Settings, Target};

/// Shards that may wait for one file.
const WAITING_MAX: usize = 1024;

enum Job {
    Lines(Bytes, oneshot::Sender<Result<(), String>>),
    Reopen,
    Stop,
}

/// A shard's end of one file.
#[derive(Clone)]
pub struct Sink(SyncSender<Job>);

impl Sink {
    /// Waits until the lines are on stable storage. Whole lines, none or some of them when it fails: say them again.
    ///
    /// # Errors
    /// Why they are not, in words.
    pub async fn put(&self, lines: Bytes) -> Result<(), String> {
        let (sender, answer) = oneshot::channel();
        match self.0.try_send(Job::Lines(lines, sender)) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err("the writer has ended".to_owned())),
            Err(TrySendError::Full(_)) => Err("the writer is behind".to_owned()),
            Err(TrySendError::Disconnected(_)) => Err("the writer has ended".to_owned()),
        }
    }
}

/// The writers of all files.
#[derive(Default)]
pub struct Writers {
    writers: Vec<(String, Writer)>,
}

struct Writer {
    sender: SyncSender<Job>,
    thread: Option<JoinHandle<()>>,
}

impl Writers {
    /// Starts a thread per file. A file that cannot be opened is tried again with every event: events never stop mail,
    /// so they do not keep the server from starting either; the second value says what is wrong.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(settings: &[Settings]) -> io::Result<(Writers, Vec<String>)> {
        let (mut writers, mut faults) = (Writers::default(), Vec::new());
        for one in settings {
            let Target::File { path } = &one.target;
            let mut output = Output { path: path.clone(), file: None, lost: None };
            if let Err(error) = output.open() {
                faults.push(format!(
                    "events.{}: {}: {error}; they are kept until it can be written",
                    one.id,
                    path.display()
                ));
            }
            let (sender, receiver) = sync_channel(WAITING_MAX);
            let thread = std::thread::Builder::new()
                .name(format!("events-{}", one.id))
                .spawn(move || write_all(&receiver, &mut output))?;
            writers.writers.push((one.id.clone(), Writer { sender, thread: Some(thread) }));
        }
        Ok((writers, faults))
    }

    /// An end of the file of that id.
    pub fn sink(&self, id: &str) -> Option<Sink> {
        self.writers.iter().find(|(known, _)| known == id).map(|(_, writer)| Sink(writer.sender.clone()))
    }

    /// Opens the files anew, after a rotation.
    pub fn reopen(&self) {
        for (_, writer) in &self.writers {
            let _ = writer.sender.try_send(Job::Reopen); // one that is behind sees for itself that the file was moved
        }
    }
}

impl Drop for Writer {
    /// Ends the thread after what was handed over. One that hangs in the disk is left to the process's end.
    fn drop(&mut self) {
        if self.sender.try_send(Job::Stop).is_ok()
            && let Some(thread) = self.thread.take()
            && !is_hanging(&thread)
        {
            let _ = thread.join(); // it does not panic, and if it did, there is nobody to tell
        }
    }
}

/// Waits a little for the thread's end.
fn is_hanging(thread: &JoinHandle<()>) -> bool {
    for _ in 0..100 {
        if thread.is_finished() {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    true
}

fn write_all(receiver: &Receiver<Job>, output: &mut Output) {
    let mut waiting = Vec::new();
    while let Ok(first) = receiver.recv() {
        let mut is_over = false;
        // What came meanwhile shares the sync.
        for job in std::iter::once(first).chain(receiver.try_iter()) {
            match job {
                Job::Lines(lines, sender) => {
                    let written = output.append(&lines);
                    waiting.push((sender, written));
                }
                Job::Reopen => output.reopen(),
                Job::Stop => is_over = true,
            }
        }
        let synced = if waiting.is_empty() { Ok(()) } else { output.sync() };
        for (sender, written) in waiting.drain(..) {
            let result =
                written.and_then(|()| synced.clone()).map_err(|error| format!("{}: {error}", output.path.display()));
            let _ = sender.send(result); // a shard that is gone tells it again after the next start
        }
        if is_over {
            return;
        }
    }
}

/// An open file of lines.
struct Output {
    path: PathBuf,
    file: Option<File>,
    /// Why a file that was let go since the last sync could not be synced.
    lost: Option<String>,
}

fn words(error: io::Error) -> String {
    error.to_string()
}

impl Output {
    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.as_ref().is_some_and(|file| !is_at(file, &self.path)) {
            self.reopen();
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => open(&self.path)?,
        };
        Ok(self.file.insert(file))
    }

    fn append(&mut self, lines: &[u8]) -> Result<(), String> {
        let file = self.open().map_err(words)?;
        let before = file.metadata().map_err(words)?.len();
        let written = file.write_all(lines).map_err(words);
        if written.is_err() {
            // No half line stays; where even that fails, opening anew ends it.
            let _ = file.set_len(before);
            self.reopen();
        }
        written
    }

    fn sync(&mut self) -> Result<(), String> {
        let before = self.lost.take().map_or(Ok(()), Err);
        let synced = before.and(self.file.as_ref().map_or(Ok(()), File::sync_data).map_err(words));
        if synced.is_err() {
            self.file = None; // what a failed sync left in the cache is not believed: it is written again
        }
        synced
    }

    /// Syncs what was written so far, and lets the file go.
    fn reopen(&mut self) {
        if let Some(file) = self.file.take() {
            self.lost = file.sync_data().map_err(words).err().or(self.lost.take());
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(there)) => (open.dev(), open.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// Opens for appending, behind a line end. A file that is made is for its owner and readable by its group.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return make(path, &mut options),
        opened => opened?,
    };
    if file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn make(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.create_new(true).mode(0o640).open(path)?;
    file.set_permissions(Permissions::from_mode(0o640))?; // the process keeps what it makes to itself
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?; // its name must survive as well
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(path: &Path) -> Output {
        Output { path: path.to_owned(), file: None, lost: None }
    }

    #[test]
    fn a_line_that_a_crash_cut_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.json");
        std::fs::write(&path, b"{\"id\":1}\n{\"id\"").expect("written");
        let mut output = output(&path);
        output.append(b"{\"id\":2}\n").expect("appended");
        output.sync().expect("synced");
        assert_eq!(std::fs::read(&path).expect("there"), b"{\"id\":1}\n{\"id\"\n{\"id\":2}\n");
    }

    #[test]
    fn a_file_that_was_moved_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved) = (folder.path().join("events.json"), folder.path().join("events.1"));
        let mut output = output(&path);
        output.append(b"1\n").expect("appended");
        std::fs::rename(&path, &moved).expect("moved");
        output.append(b"2\n").expect("appended");
        output.sync().expect("synced");
        std::fs::remove_file(&path).expect("removed");
        output.append(b"3\n").expect("appended");
        assert_eq!(std::fs::read(&moved).expect("there"), b"1\n");
        assert_eq!(std::fs::read(&path).expect("there"), b"3\n");
    }

    #[test]
    fn lines_in_a_file_that_was_let_go_unsynced_are_not_acknowledged() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut output = output(&folder.path().join("events.json"));
        output.append(b"1\n").expect("appended");
        output.lost = Some("EIO".into());
        assert_eq!(output.sync(), Err("EIO".into()), "they are told again");
        output.append(b"1\n").expect("appended");
        assert_eq!(output.sync(), Ok(()));
    }

    #[test]
    fn what_cannot_be_written_is_named_and_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("missing/events.json");
        let settings = Settings {
            id: "log".into(),
            target: Target::File { path: path.clone() },
            backlog: 0,
            events: super::super::names::Choice::new(&[]),
        };
        let (writers, faults) = Writers::start(&[settings]).expect("started");
        assert!(faults[0].contains("events.log") && faults[0].contains("missing"), "{faults:?}");
        let sink = writers.sink("log").expect("it is there");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let put = || runtime.block_on(sink.put(Bytes::from_static(b"1\n")));
        assert!(put().expect_err("no folder").contains("missing"));
        std::fs::create_dir(folder.path().join("missing")).expect("made");
        assert_eq!(put(), Ok(()));
        writers.reopen();
        assert_eq!(put(), Ok(()));
        assert_eq!(std::fs::read(&path).expect("there"), b"1\n1\n");
        drop(writers);
        assert!(put().is_err(), "the writer has ended");
    }
}
