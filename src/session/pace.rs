//! How long a session may take, and how slow it may be: arithmetic over the monotonic clock.
//!
//! A client that sends an octet now and then is not idle, and must not hold a session for ever: a command
//! line has to be complete within the timeout from its first octet, content within its own, at a least rate.

use std::time::Duration;

use crate::base::Monotonic;
use crate::mail::Reply;
use crate::smtp::server::words;

/// The bounds, evaluated for this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub timeout: Duration,
    pub duration: Option<Duration>,
    pub transfer_limit: Option<u64>,
    pub content_timeout: Duration,
    /// Octets per second; zero for no bound.
    pub content_rate_min: u64,
    /// How long content may come as it likes before its rate is looked at.
    pub content_grace: Duration,
}

/// Why a session ends before its client wants it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    Idle,
    Slow,
    TooLong,
    TooMuch,
}

impl Overdue {
    pub fn reply(self) -> Reply {
        match self {
            Overdue::Idle => words::idle(),
            Overdue::Slow => words::too_slow(),
            Overdue::TooLong => words::too_long_open(),
            Overdue::TooMuch => words::transfer_exceeded(),
        }
    }
}

/// The clock of one session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    opened: Monotonic,
    /// When the present unit (a command line, a message's content) began.
    since: Monotonic,
    /// Octets received when it began.
    from: u64,
    received: u64,
    unit: Unit,
}

/// What is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nothing: the client thinks.
    Pause,
    /// The rest of a command line.
    Line,
    /// Content.
    Content,
}

impl Pace {
    pub fn new(now: Monotonic) -> Pace {
        Pace { opened: now, since: now, from: 0, received: 0, unit: Unit::Pause }
    }

    /// Octets have come.
    pub fn received(&mut self, octets: usize) {
        self.received += octets as u64;
    }

    /// A message is complete: what comes next has its own clock, also when a client that pipelines never lets the
    /// session see a pause between two of them.
    pub fn message_complete(&mut self) {
        self.unit = Unit::Pause;
    }

    /// How long the next read may wait, or why there is none. `unit` is what is being read now; it keeps its
    /// clock for as long as it stays the same, save that each pause is a new one.
    pub fn patience(&mut self, now: Monotonic, unit: Unit, bounds: &Bounds) -> Result<Duration, Overdue> {
        if unit != self.unit || unit == Unit::Pause {
            (self.unit, self.since, self.from) = (unit, now, self.received);
        }
        if bounds.transfer_limit.is_some_and(|limit| self.received > limit) {
            return Err(Overdue::TooMuch);
        }
        let taken = now.since(self.since);
        let left = match unit {
            Unit::Content => self.content_left(taken, bounds)?,
            Unit::Line => bounds.timeout.checked_sub(taken).filter(|left| !left.is_zero()).ok_or(Overdue::Idle)?,
            Unit::Pause => bounds.timeout,
        };
        // A transaction that has got as far as its content is not cut by the session's age.
        let Some(duration) = bounds.duration.filter(|_| unit != Unit::Content) else { return Ok(left) };
        let age = now.since(self.opened);
        let rest = duration.checked_sub(age).filter(|rest| !rest.is_zero()).ok_or(Overdue::TooLong)?;
        Ok(left.min(rest))
    }

    fn content_left(&self, taken: Duration, bounds: &Bounds) -> Result<Duration, Overdue> {
        let left = bounds.content_timeout.checked_sub(taken).filter(|left| !left.is_zero()).ok_or(Overdue::Slow)?;
        let rate = bounds.content_rate_min;
        if rate == 0 {
            return Ok(left.min(bounds.timeout));
        }
        // What has come is good for so long; then more must be there.
        let good_for =
            bounds.content_grace + Duration::from_millis((self.received - self.from).saturating_mul(1000) / rate);
        let until_slow = good_for.checked_sub(taken).filter(|rest| !rest.is_zero()).ok_or(Overdue::Slow)?;
        Ok(left.min(bounds.timeout).min(until_slow))
    }

    /// A read waited as long as it might. Why the session ends, if it is time.
    pub fn timed_out(&mut self, now: Monotonic, unit: Unit, bounds: &Bounds) -> Overdue {
        match unit {
            Unit::Pause => match bounds.duration {
                Some(duration) if now.since(self.opened) >= duration => Overdue::TooLong,
                _ => Overdue::Idle,
            },
            unit => self.patience(now, unit, bounds).err().unwrap_or(Overdue::Idle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        timeout: Duration::from_secs(300),
        duration: Some(Duration::from_secs(600)),
        transfer_limit: Some(1_000_000),
        content_timeout: Duration::from_secs(3600),
        content_rate_min: 128,
        content_grace: Duration::from_secs(30),
    };

    fn at(seconds: u64) -> Monotonic {
        Monotonic(seconds * 1_000_000)
    }

    #[test]
    fn a_line_is_complete_in_time_or_never() {
        let mut pace = Pace::new(at(0));
        assert_eq!(pace.patience(at(0), Unit::Pause, &BOUNDS), Ok(Duration::from_secs(300)));
        for second in (10..310).step_by(20) {
            pace.received(1);
            assert_eq!(pace.patience(at(second), Unit::Line, &BOUNDS), Ok(Duration::from_secs(310 - second)));
        }
        pace.received(1);
        assert_eq!(pace.patience(at(310), Unit::Line, &BOUNDS), Err(Overdue::Idle));
    }

    #[test]
    fn content_that_trickles_ends() {
        let mut pace = Pace::new(at(0));
        assert_eq!(pace.patience(at(100), Unit::Content, &BOUNDS), Ok(Duration::from_secs(30)));
        pace.received(1);
        assert_eq!(pace.patience(at(120), Unit::Content, &BOUNDS).map(|left| left.as_secs()), Ok(10));
        pace.received(1);
        assert_eq!(pace.patience(at(140), Unit::Content, &BOUNDS), Err(Overdue::Slow));
    }

    #[test]
    fn content_at_a_fair_rate_goes_on_until_its_deadline() {
        let mut pace = Pace::new(at(0));
        let bounds = Bounds { transfer_limit: None, ..BOUNDS };
        for second in (0..3600).step_by(10) {
            assert!(pace.patience(at(second), Unit::Content, &bounds).is_ok(), "{second}");
            pace.received(2000);
        }
        assert_eq!(pace.patience(at(3600), Unit::Content, &bounds), Err(Overdue::Slow));
    }

    #[test]
    fn each_message_of_an_endless_stream_has_its_own_clock() {
        let mut pace = Pace::new(at(0));
        let bounds = Bounds { transfer_limit: None, ..BOUNDS };
        for message in 0..10 {
            for second in (0..3000).step_by(10) {
                assert!(
                    pace.patience(at(message * 3000 + second), Unit::Content, &bounds).is_ok(),
                    "{message} {second}"
                );
                pace.received(2000);
            }
            pace.message_complete();
        }
    }

    #[test]
    fn a_session_has_an_end_and_a_quota() {
        let mut pace = Pace::new(at(0));
        assert_eq!(pace.patience(at(500), Unit::Pause, &BOUNDS), Ok(Duration::from_secs(100)));
        assert_eq!(pace.patience(at(600), Unit::Pause, &BOUNDS), Err(Overdue::TooLong));
        assert!(pace.patience(at(600), Unit::Content, &BOUNDS).is_ok());
        pace.received(1_000_001);
        assert_eq!(pace.patience(at(601), Unit::Content, &BOUNDS), Err(Overdue::TooMuch));
    }
}
