//! The two clocks, read here and nowhere else. Pure rooms get the values passed in.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static START: OnceLock<Instant> = OnceLock::new();

/// Microseconds on the monotonic clock since the first reading in this process; never 0.
pub fn now() -> u64 {
    let start = *START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Milliseconds since the Unix epoch on the wall clock; 0 when the clock stands before it.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_starts_above_zero_and_does_not_go_back() {
        let (first, second) = (now(), now());
        assert!(first >= 1);
        assert!(second >= first);
    }

    #[test]
    fn the_wall_clock_is_past_2020() {
        assert!(wall_ms() > 1_577_836_800_000);
    }
}
