//! Two clocks that are never mixed: deadlines in memory are [`Monotonic`], on disk [`WallTime`].
//!
//! Neither is read here. Drivers read them once per turn (`rt::clock`) and pass them down.

use std::fmt::{self, Display as _, Write as _};
use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds on the monotonic clock, since an arbitrary start of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Monotonic(pub u64);

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub u64);

/// Both clocks, read together once per turn. A deadline is mapped from one to the other only when it comes from
/// the disk or goes there, so that a step of the wall clock moves none that is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Deadlines in memory.
    pub mono: Monotonic,
    /// What is written and shown.
    pub wall: WallTime,
}

impl Now {
    /// The monotonic time of `at`, in microseconds; negative for what was before this process.
    pub fn micros_of(self, at: WallTime) -> i64 {
        let ahead = i128::from(at.0) - i128::from(self.wall.0);
        let micros = i128::from(self.mono.0) + ahead * 1000;
        micros.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// The wall time of the monotonic time `micros`.
    pub fn wall_of(self, micros: i64) -> WallTime {
        let ahead = (i128::from(micros) - i128::from(self.mono.0)) / 1000;
        WallTime((i128::from(self.wall.0) + ahead).clamp(0, i128::from(u64::MAX)) as u64)
    }

    /// The monotonic time in microseconds.
    pub fn micros(self) -> i64 {
        i64::try_from(self.mono.0).unwrap_or(i64::MAX)
    }
}

impl Monotonic {
    /// Later than every deadline.
    pub const FAR: Monotonic = Monotonic(u64::MAX);

    /// Time from `earlier` to `self`, zero when `earlier` is later.
    pub fn since(self, earlier: Monotonic) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Monotonic {
    type Output = Monotonic;
    fn add(self, span: Duration) -> Monotonic {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Monotonic(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for Monotonic {
    type Output = Monotonic;
    fn sub(self, span: Duration) -> Monotonic {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Monotonic(self.0.saturating_sub(micros))
    }
}

impl WallTime {
    /// Whole seconds since the Unix epoch.
    pub fn unix_seconds(self) -> i64 {
        (self.0 / 1000) as i64
    }

    /// Time from `earlier` to `self`, zero when `earlier` is later.
    pub fn since(self, earlier: WallTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    fn timestamp(self) -> jiff::Timestamp {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX)
    }

    /// The date-time of RFC 5322 §3.3, in UTC: `Sun, 22 Nov 2026 22:30:00 +0000`.
    pub fn rfc5322(self) -> impl fmt::Display {
        let zoned = self.timestamp().to_zoned(jiff::tz::TimeZone::UTC);
        fmt::from_fn(move |f| zoned.strftime("%a, %d %b %Y %H:%M:%S +0000").fmt(f))
    }

    /// The Internet date/time format of RFC 3339, in UTC, to the millisecond.
    pub fn rfc3339(self) -> String {
        let mut text = String::new();
        self.write_rfc3339(&mut text);
        text
    }

    /// Appends [`WallTime::rfc3339`].
    pub fn write_rfc3339(self, out: &mut String) {
        let _ = write!(out, "{:.3}", self.timestamp()); // writing to a String cannot fail
    }

    /// The same to the second: `2026-11-22T22:30:00Z`.
    pub fn rfc3339_seconds(self) -> String {
        format!("{:.0}", self.timestamp())
    }
}

impl Add<Duration> for WallTime {
    type Output = WallTime;
    fn add(self, span: Duration) -> WallTime {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        WallTime(self.0.saturating_add(millis))
    }
}

impl Sub<Duration> for WallTime {
    type Output = WallTime;
    fn sub(self, span: Duration) -> WallTime {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        WallTime(self.0.saturating_sub(millis))
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_printed_as_the_rfcs_say() {
        let at = WallTime(1_795_386_600_123);
        assert_eq!(at.rfc5322().to_string(), "Sun, 22 Nov 2026 22:30:00 +0000");
        assert_eq!(at.rfc3339(), "2026-11-22T22:30:00.123Z");
        assert_eq!(at.rfc3339_seconds(), "2026-11-22T22:30:00Z");
    }

    #[test]
    fn spans_saturate() {
        assert_eq!(Monotonic(5).since(Monotonic(9)), Duration::ZERO);
        assert_eq!(Monotonic::FAR + Duration::from_secs(1), Monotonic::FAR);
        assert_eq!(WallTime(5) - Duration::from_secs(1), WallTime(0));
        assert!(!WallTime(u64::MAX).rfc5322().to_string().is_empty());
    }
}
