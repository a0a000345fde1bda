//! Who goes first: priority that ages into patience.

use super::limits::PRIORITY_AGEING;
use super::time::Monotonic;

/// Order among those who wait for one thing: the lower goes first. It is the time since which one waits,
/// moved back for a high priority and forward for a low one, so that priority ages into patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(i64);

impl Rank {
    /// The rank of what waits since `since` with an MT-PRIORITY of -9 to 9.
    pub fn new(since: Monotonic, priority: i8) -> Rank {
        Rank::from_micros(i64::try_from(since.0).unwrap_or(i64::MAX), priority)
    }

    /// The same from microseconds that may lie before the start of this process.
    pub fn from_micros(since: i64, priority: i8) -> Rank {
        let step = i64::try_from(PRIORITY_AGEING.as_micros()).unwrap_or(i64::MAX);
        Rank(since.saturating_sub(step.saturating_mul(i64::from(priority))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn priority_goes_first_and_patience_catches_up() {
        let start = Monotonic(1_000_000);
        let hour = Duration::from_secs(3600);
        assert!(Rank::new(start + Duration::from_secs(60), 4) < Rank::new(start, 0), "a reset overtakes a newsletter");
        assert!(Rank::new(start, 0) < Rank::new(start + hour * 5, 4), "a newsletter is not overtaken for ever");
        assert!(Rank::new(start, 0) < Rank::new(start + hour, 0));
    }
}
