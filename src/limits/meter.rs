//! The arithmetic of one limit, without shards.

use std::time::Duration;

use crate::base::limits::PACE_SLACK;
use crate::base::{Monotonic, Rate};

/// What is limited, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// At most so many at the same time; each is released by its permit.
    Concurrency(u32),
    /// A bucket of `count` that refills evenly in `period`: inbound limiters.
    Bucket(Rate),
    /// Smooth departures, one every `period / count`, no burst: outbound limiters.
    Paced(Rate),
}

/// The state of a rate. Nanoseconds on the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Meter {
    /// Bucket: when it will be full again. Paced: when the next may depart.
    at_ns: u64,
}

pub(super) fn ns(at: Monotonic) -> u64 {
    at.0.saturating_mul(1000)
}

/// The first microsecond at or after `at_ns`.
pub(super) fn monotonic(at_ns: u64) -> Monotonic {
    Monotonic(at_ns.div_ceil(1000))
}

impl Limit {
    /// Same kind of limit: the state of one serves the other after a change of configuration.
    pub(super) fn same_kind(self, other: Limit) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

impl Meter {
    /// Tokens in the bucket, when `out` of them are with other shards and may yet be used or come back.
    pub(super) fn tokens(&self, rate: Rate, out: u32, now: Monotonic) -> u32 {
        let Some(interval) = rate.interval_ns() else { return 0 };
        let debt = self.at_ns.saturating_sub(ns(now));
        let owed = u32::try_from(debt.div_ceil(interval)).unwrap_or(u32::MAX);
        rate.count.saturating_sub(owed).min(rate.count.saturating_sub(out))
    }

    /// Takes `n` tokens that are there.
    pub(super) fn spend(&mut self, rate: Rate, n: u32, now: Monotonic) {
        let interval = rate.interval_ns().unwrap_or(0);
        self.at_ns = self.at_ns.max(ns(now)).saturating_add(interval.saturating_mul(u64::from(n)));
    }

    /// Puts `n` tokens back.
    pub(super) fn put_back(&mut self, rate: Rate, n: u32) {
        let interval = rate.interval_ns().unwrap_or(0);
        self.at_ns = self.at_ns.saturating_sub(interval.saturating_mul(u64::from(n)));
    }

    /// When the bucket has a token again by time alone, or `None` if it never has.
    pub(super) fn refilled(&self, rate: Rate, now: Monotonic) -> Option<Monotonic> {
        let interval = rate.interval_ns()?;
        let full = interval.saturating_mul(u64::from(rate.count));
        Some(monotonic(self.at_ns.saturating_add(interval).saturating_sub(full).max(ns(now) + 1)))
    }

    /// When the next departure may be, in nanoseconds; `None` if never.
    pub(super) fn departure_ns(&self, rate: Rate, now: Monotonic) -> Option<u64> {
        rate.interval_ns()?;
        // A little lateness is made good, so that a slow loop does not lower the rate; a pause is not.
        let is_late = self.at_ns.saturating_add(slack_ns()) >= ns(now);
        Some(if is_late { self.at_ns } else { ns(now) })
    }

    /// Takes `n` departures from the next one on, and says when the first is.
    pub(super) fn depart(&mut self, rate: Rate, n: u32, now: Monotonic) -> u64 {
        let first = self.departure_ns(rate, now).unwrap_or(u64::MAX);
        self.at_ns = first.saturating_add(rate.interval_ns().unwrap_or(0).saturating_mul(u64::from(n)));
        first
    }

    /// The limit is as if it had never been used.
    pub(super) fn is_at_rest(&self, now: Monotonic) -> bool {
        self.at_ns <= ns(now)
    }

    /// How long until it is at rest.
    pub(super) fn unrest(&self, now: Monotonic) -> Duration {
        Duration::from_nanos(self.at_ns.saturating_sub(ns(now)))
    }
}

pub(super) fn slack_ns() -> u64 {
    PACE_SLACK.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_gives_its_count_and_refills_evenly() {
        let (rate, mut meter, start) = (Rate::new(5, S), Meter::default(), Monotonic(10_000_000));
        assert_eq!(meter.tokens(rate, 0, start), 5);
        meter.spend(rate, 5, start);
        assert_eq!(meter.tokens(rate, 0, start), 0);
        assert_eq!(meter.refilled(rate, start), Some(Monotonic(10_200_000)));
        assert_eq!(meter.tokens(rate, 0, Monotonic(10_200_000)), 1);
        assert_eq!(meter.tokens(rate, 0, Monotonic(99_000_000)), 5);
        assert_eq!(meter.tokens(rate, 2, Monotonic(99_000_000)), 3, "what is out counts");
    }

    #[test]
    fn a_rate_of_none_gives_none() {
        let (rate, meter) = (Rate::new(0, S), Meter::default());
        assert_eq!(meter.tokens(rate, 0, Monotonic(5)), 0);
        assert_eq!(meter.refilled(rate, Monotonic(5)), None);
        assert_eq!(meter.departure_ns(rate, Monotonic(5)), None);
    }

    #[test]
    fn departures_are_smooth_and_lose_nothing_to_a_late_loop() {
        let (rate, mut meter) = (Rate::new(7, S), Meter::default());
        let (start, mut now, mut departed) = (60_000_000u64, 60_000_000u64, 0);
        while now < start + 10_000_000 {
            let at = meter.departure_ns(rate, Monotonic(now)).expect("a rate");
            if at <= ns(Monotonic(now)) {
                meter.depart(rate, 1, Monotonic(now));
                departed += 1;
            }
            now += 3_000; // a loop that turns every 3 ms
        }
        assert!((70..=71).contains(&departed), "{departed} in 10 s at 7/s");
    }

    proptest! {
        /// Over any window the bucket gives at most its count and what refills meanwhile.
        #[test]
        fn a_bucket_never_exceeds_its_rate(count in 1u32..50, steps in prop::collection::vec((0u64..400_000, 0u32..8), 1..200)) {
            let (rate, mut meter, mut now) = (Rate::new(count, S), Meter::default(), 5_000_000u64);
            let mut taken: Vec<(u64, u32)> = Vec::new();
            for (wait, want) in steps {
                now += wait;
                let n = want.min(meter.tokens(rate, 0, Monotonic(now)));
                meter.spend(rate, n, Monotonic(now));
                taken.push((now, n));
            }
            for from in 0..taken.len() {
                let mut sum = 0u64;
                for &(at, n) in &taken[from..] {
                    sum += u64::from(n);
                    let refill = (at - taken[from].0) * u64::from(count) / 1_000_000;
                    prop_assert!(sum <= u64::from(count) + refill + 1, "{sum} > {count} + {refill}");
                }
            }
        }
    }
}
