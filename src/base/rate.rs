//! A rate: so many in so long.

use std::fmt;
use std::time::Duration;

/// `count` events in each `period`: `"25/1h"` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many; zero allows none.
    pub count: u32,
    /// In how long; never zero in a checked configuration.
    pub period: Duration,
}

impl Rate {
    /// `count` in `period`.
    pub const fn new(count: u32, period: Duration) -> Rate {
        Rate { count, period }
    }

    /// Nanoseconds from one event to the next when they are spread evenly, rounded up so that the rate
    /// is never exceeded; `None` when none is allowed.
    pub fn interval_ns(self) -> Option<u64> {
        let period = u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX);
        (self.count > 0).then(|| period.div_ceil(u64::from(self.count)).max(1))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.count, self.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_rounded_so_that_the_rate_holds() {
        assert_eq!(Rate::new(7, Duration::from_secs(1)).interval_ns(), Some(142_857_143));
        assert_eq!(Rate::new(0, Duration::from_secs(1)).interval_ns(), None);
        assert_eq!(Rate::new(u32::MAX, Duration::ZERO).interval_ns(), Some(1));
    }
}
