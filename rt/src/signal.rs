//! Signals as descriptors. Blocked before the first thread starts, read by whoever waits.

use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::time::Duration;

use glommio::io::BufferedFile;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A signal that means something to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Stop in order (SIGTERM).
    Terminate,
    /// Stop in order, from a terminal (SIGINT).
    Interrupt,
    /// Reload (SIGHUP).
    Hangup,
    /// SIGUSR1.
    User1,
}

const WATCHED: [(NixSignal, Signal); 4] = [
    (NixSignal::SIGTERM, Signal::Terminate),
    (NixSignal::SIGINT, Signal::Interrupt),
    (NixSignal::SIGHUP, Signal::Hangup),
    (NixSignal::SIGUSR1, Signal::User1),
];

/// The watched signals, blocked in this thread and in all it starts from now on.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
}

impl Signals {
    /// Blocks TERM, INT, HUP and USR1 (children inherit that), and ignores PIPE (a write to a closed socket is an error,
    /// not an end). Call it first in `main`, before any thread exists.
    pub fn block() -> io::Result<Self> {
        let set = watched();
        set.thread_block()?;
        // SAFETY: ignoring a signal installs no handler.
        unsafe { nix::sys::signal::signal(NixSignal::SIGPIPE, nix::sys::signal::SigHandler::SigIgn) }?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Signals { fd })
    }

    /// Waits for a signal on this thread, for at most `timeout`. Blocks: main thread only.
    pub fn wait_blocking(&mut self, timeout: Option<Duration>) -> io::Result<Option<Signal>> {
        let timeout = timeout.map_or(PollTimeout::NONE, |span| PollTimeout::try_from(span).unwrap_or(PollTimeout::MAX));
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => self.take(),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits for a signal on the control plane.
    pub async fn next(&mut self) -> io::Result<Signal> {
        loop {
            // SAFETY: `self.fd` stays open and is the same descriptor for as long as it is borrowed.
            let watched = unsafe { AsyncFd::register_with_interest(self.fd.as_fd(), Interest::READABLE) }
                .map_err(io::Error::from)?;
            watched.readable().await?.clear_ready();
            drop(watched);
            if let Some(signal) = self.take()? {
                return Ok(signal);
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Signal>> {
        Ok(self.fd.read_signal()?.and_then(|info| named(info.ssi_signo)))
    }
}

/// Wakes whoever waits for signals, with [`Signal::User1`].
pub fn wake_main() {
    let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), NixSignal::SIGUSR1); // we may signal ourselves
}

/// The watched signals, awaited on a shard.
#[derive(Debug)]
pub struct ShardSignals {
    file: BufferedFile,
}

impl ShardSignals {
    /// Opens the descriptor on this shard. [`Signals::block`] came before; a signal is given to
    /// whichever descriptor reads it first.
    pub fn open() -> io::Result<Self> {
        let fd = SignalFd::with_flags(&watched(), SfdFlags::SFD_CLOEXEC)?;
        let fd = fd.as_fd().try_clone_to_owned()?;
        // SAFETY: the descriptor is open and owned by nobody else.
        Ok(ShardSignals { file: unsafe { BufferedFile::from_raw_fd(fd.into_raw_fd()) } })
    }

    /// Waits for a signal.
    pub async fn next(&mut self) -> io::Result<Signal> {
        loop {
            let read = self.file.read_at(0, size_of::<siginfo>()).await.map_err(crate::file::plain)?;
            let number = read.get(..4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
            if let Some(signal) = number.and_then(named) {
                return Ok(signal);
            }
        }
    }
}

fn watched() -> SigSet {
    WATCHED.iter().map(|(signal, _)| *signal).collect()
}

fn named(number: u32) -> Option<Signal> {
    WATCHED.iter().find(|(signal, _)| *signal as u32 == number).map(|(_, name)| *name)
}
