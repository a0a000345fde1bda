//! What a schedule says: when to try again, when to report that it takes long, when to give up.

use std::time::Duration;

use super::settings::{End, Schedule};
use crate::base::limits::RETRY_MIN;

impl Schedule {
    /// The pause after attempt number `attempts` (from one), with up to a twentieth of jitter from `random`; never
    /// beyond the end of the schedule for a message of this `age`, so that the last attempt is made at that time.
    pub fn pause(&self, attempts: u32, age: Duration, random: u64) -> Duration {
        let last = self.retry.len().saturating_sub(1);
        let at = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(last);
        let pause = self.retry.get(at).copied().unwrap_or(Duration::from_secs(600));
        let pause = pause.max(RETRY_MIN) + jitter(pause / 20, random);
        match self.end {
            End::Expire(expire) if age < expire => pause.min((expire - age).max(RETRY_MIN)),
            _ => pause,
        }
    }

    /// Nothing more is to be tried after `attempts` for a message of this age.
    pub fn is_over(&self, attempts: u32, age: Duration) -> bool {
        match self.end {
            End::Expire(expire) => age >= expire,
            End::Attempts(most) => attempts >= most,
        }
    }

    /// How many delays are to have been reported at this age.
    pub fn notices_due(&self, age: Duration) -> u32 {
        self.notify.iter().filter(|&&at| age >= at).count() as u32
    }

    /// How much longer it is tried, where that is known (`Will-Retry-Until`, RFC 3464 §2.3.9).
    pub fn remaining(&self, age: Duration) -> Option<Duration> {
        match self.end {
            End::Expire(expire) => Some(expire.saturating_sub(age)),
            End::Attempts(_) => None,
        }
    }
}

/// A share of `span` that `random` picks.
pub(super) fn jitter(span: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(random) * u128::from(nanos)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;
    const DAY: u64 = 86_400;

    #[test]
    fn pauses_follow_the_list_and_the_last_repeats() {
        let schedule = Schedule::default();
        let pauses: Vec<u64> = (1..10).map(|n| schedule.pause(n, S(0), 0).as_secs()).collect();
        assert_eq!(pauses, [120, 300, 600, 900, 1800, 3600, 7200, 7200, 7200]);
        let jittered = schedule.pause(1, S(0), u64::MAX);
        assert!(jittered > S(120) && jittered <= S(126), "{jittered:?}");
    }

    #[test]
    fn what_may_be_configured_is_what_is_waited() {
        let schedule = Schedule { retry: vec![RETRY_MIN, Duration::from_millis(700)], ..Schedule::default() };
        let pauses: Vec<u128> = (1..4).map(|n| schedule.pause(n, S(0), 0).as_millis()).collect();
        assert_eq!(pauses, [100, 700, 700]);
    }

    #[test]
    fn the_last_attempt_is_made_when_the_schedule_ends() {
        let schedule = Schedule::default();
        assert_eq!(schedule.pause(30, S(3 * DAY - 60), u64::MAX), S(60));
        assert!(!schedule.is_over(99, S(3 * DAY - 1)) && schedule.is_over(1, S(3 * DAY)));
        assert!(!Schedule::shipped()["dsn"].is_over(9, S(99 * DAY)) && Schedule::shipped()["dsn"].is_over(10, S(0)));
    }

    #[test]
    fn delays_are_reported_at_their_ages() {
        let schedule = Schedule::default();
        let due = |age| schedule.notices_due(S(age));
        assert_eq!((due(0), due(DAY - 1), due(DAY), due(5 * DAY)), (0, 0, 1, 2));
    }
}
