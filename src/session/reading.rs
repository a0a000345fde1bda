//! Reading: where octets come from, how long they are waited for, and what they are reserved in.

use std::task::{Context, Poll, ready};

use posthaste_rt::time;

use crate::base::limits::{RECEIVE_BUFFER_BYTES, SESSION_COMMITS_MAX};
use crate::expr::{EvalError, Expr, Target};
use crate::observe::{Counter, count};
use crate::policy::Facts;
use crate::session::driver::{End, Session, now};
use crate::session::pace::{Bounds, Unit};
use crate::session::services::{Profile, Services};
use crate::smtp::server::{Client, StateKind, words};

impl Bounds {
    /// The bounds for a client, as things stand with it (TLS may have changed them).
    pub fn of(profile: &Profile, client: &Client) -> Bounds {
        let settings = &profile.session;
        let facts = Facts {
            client,
            helo: None,
            transaction: None,
            sender: None,
            rcpt: None,
            lookups: &profile.lookups,
            answers: None,
        };
        fn value<'a, T: Target>(setting: &'a Expr<T>, facts: &'a Facts<'_>) -> T::Output<'a> {
            setting.value_now(facts, |_: EvalError| count(Counter::ExpressionsFailed))
        }
        Bounds {
            timeout: value(&settings.timeout, &facts),
            duration: value(&settings.duration, &facts).filter(|_| !client.is_trusted),
            transfer_limit: value(&settings.transfer_limit, &facts).filter(|_| !client.is_trusted),
            content_timeout: settings.content_timeout,
            content_rate_min: u64::from(settings.content_rate_min),
            content_grace: settings.content_grace,
        }
    }
}

/// What a wait for octets came to.
enum Woken {
    /// So many octets; none at the end of the stream.
    Octets(std::io::Result<usize>),
    /// The oldest commit has ended.
    Commit,
    /// The server stops.
    Stop,
    /// No room in the budget for a buffer.
    NoRoom,
}

impl<S: Services> Session<S> {
    /// Writes what is ready, then waits for octets (or for a commit, whichever there is).
    pub async fn read(&mut self) -> Result<(), End> {
        self.flush().await?;
        // A client that waits for the reply to its message sends nothing: there is nothing to read.
        if !self.commits.is_empty() && (!self.is_ahead || self.commits.len() >= SESSION_COMMITS_MAX) {
            self.settle().await;
            return Ok(());
        }
        let unit = self.unit();
        let patience = match self.pace.patience(now(), unit, &self.bounds) {
            Ok(patience) => patience,
            Err(why) => {
                self.overdue(why);
                return Ok(());
            }
        };
        self.connection.set_read_timeout(Some(patience));
        if self.server.intake().is_gathering() || unit == Unit::Content {
            if !self.make_room().await {
                return Ok(());
            }
        } else {
            self.park();
        }
        match self.octets().await {
            Woken::Octets(Ok(0)) => Err(End::Broken),
            Woken::Octets(Ok(octets)) => {
                self.pace.received(octets);
                Ok(())
            }
            Woken::Octets(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                let why = self.pace.timed_out(now(), unit, &self.bounds);
                self.overdue(why);
                Ok(())
            }
            Woken::Octets(Err(_)) => Err(End::Broken),
            Woken::Commit => {
                self.settle().await;
                Ok(())
            }
            Woken::Stop => {
                self.stopping();
                Ok(())
            }
            Woken::NoRoom => {
                Box::pin(self.await_room(RECEIVE_BUFFER_BYTES)).await;
                Ok(())
            }
        }
    }

    /// What is being read.
    fn unit(&mut self) -> Unit {
        match self.server.state() {
            StateKind::Content | StateKind::Chunks | StateKind::Skipping => Unit::Content,
            _ if self.server.intake().unread().is_empty() => Unit::Pause,
            _ => Unit::Line,
        }
    }

    /// Waits for octets; a stop is heard where nothing is under way. Every wait in here can be dropped.
    async fn octets(&mut self) -> Woken {
        let may_stop = self.server.transaction().is_none();
        let is_waiting_for_commit = !self.commits.is_empty();
        self.connection.begin_read();
        // By hand: this is where an idle session waits, and it pays for the size of the future.
        std::future::poll_fn(|cx| {
            if let Poll::Ready(woken) = self.poll_octets(cx) {
                return Poll::Ready(woken);
            }
            if is_waiting_for_commit && self.commits.poll_ended(cx).is_ready() {
                return Poll::Ready(Woken::Commit);
            }
            if may_stop && self.member.is_stopping(cx) {
                return Poll::Ready(Woken::Stop);
            }
            Poll::Pending
        })
        .await
    }

    /// Receives what is there: into the buffer, or into one that is borrowed for it.
    fn poll_octets(&mut self, cx: &mut Context<'_>) -> Poll<Woken> {
        let intake = self.server.intake();
        let space = intake.space();
        if !space.is_empty() {
            let octets = ready!(self.connection.poll_read(cx, space));
            intake.received(octets.as_ref().copied().unwrap_or(0));
            return Poll::Ready(Woken::Octets(octets));
        }
        let mut loan = self.floor.pool().lend();
        let octets = ready!(self.connection.poll_read(cx, loan.as_mut()));
        Poll::Ready(match octets {
            Ok(_) if loan.is_empty() => Woken::NoRoom,
            Ok(octets) => {
                let (buf, reserved) = loan.into_parts();
                intake.accept(buf, octets);
                self.held = reserved;
                Woken::Octets(Ok(octets))
            }
            Err(error) => Woken::Octets(Err(error)),
        })
    }

    /// Gives the receive buffer back; half a line is kept in a buffer of its size.
    pub fn park(&mut self) {
        let intake = self.server.intake();
        if let Some(buf) = intake.park() {
            self.floor.pool().give_back(buf);
        }
        let bytes = intake.capacity();
        if !self.held.resize(bytes) {
            self.held.resize(0);
        }
        if bytes == 0 {
            self.server.replies().shrink();
        }
    }

    /// Makes room for content: a larger buffer within the budget; under pressure what is there goes to disk,
    /// then reads stop, then the message is refused. False when the step has to be taken again.
    async fn make_room(&mut self) -> bool {
        if !self.server.intake().space().is_empty() {
            return true;
        }
        let expected = self.server.expected_bytes();
        let Some(size) = self.server.intake().next_capacity(expected) else {
            // At its bound and full: the machine spills or consumes before it asks for more.
            return !self.server.intake().space().is_empty();
        };
        if let Some(size) = self.largest(size) {
            self.server.intake().lend(vec![0; size]);
            return true;
        }
        if let Some(body) = self.server.spill_now() {
            self.spill(&body).await;
            return false;
        }
        if Box::pin(self.await_room(RECEIVE_BUFFER_BYTES)).await {
            return false;
        }
        self.server.abandon_content(words::system_full());
        // What is thrown away needs no more than a buffer of the pool's size, budget or not.
        if self.server.intake().space().is_empty() {
            self.server.intake().lend(vec![0; RECEIVE_BUFFER_BYTES]);
        }
        false
    }

    /// The largest buffer up to `wanted` that the budget has room for, reserved; none that is no larger than
    /// the one there is.
    fn largest(&mut self, wanted: usize) -> Option<usize> {
        let least = self.server.intake().capacity() + 1;
        let mut size = wanted;
        while size >= least {
            if self.held.resize(size) {
                return Some(size);
            }
            if size <= RECEIVE_BUFFER_BYTES {
                return None;
            }
            size = (size / 2).max(RECEIVE_BUFFER_BYTES);
        }
        None
    }

    /// Waits for room in the budget, but not for long.
    async fn await_room(&mut self, bytes: usize) -> bool {
        let budget = self.floor.budget().clone();
        time::timeout(PRESSURE_WAIT, budget.wait(bytes)).await.is_ok()
    }
}

/// How long reads stop for memory before a message is refused.
const PRESSURE_WAIT: std::time::Duration = std::time::Duration::from_secs(10);
