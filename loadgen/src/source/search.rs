//! The search for the highest sustainable rate. Pure: it is told whether a rate met the goal.

/// Doubles until a rate misses, then halves the distance until it is small.
#[derive(Debug, Clone)]
pub struct Search {
    met: Option<f64>,
    missed: Option<f64>,
    next: f64,
    precision: f64,
    steps_left: u32,
}

/// Below this nothing is searched.
const RATE_MIN: f64 = 1.0;
/// More steps are not made.
const STEPS_MAX: u32 = 30;

impl Search {
    /// From `start` messages per second, to within `precision` (0.05 is 5 %).
    pub fn new(start: f64, precision: f64) -> Self {
        Search { met: None, missed: None, next: start.max(RATE_MIN), precision, steps_left: STEPS_MAX }
    }

    /// The rate to try next; `None` when it is known well enough.
    pub fn next_rate(&self) -> Option<f64> {
        if self.steps_left == 0 {
            return None;
        }
        match (self.met, self.missed) {
            (Some(met), Some(missed)) if missed / met <= 1.0 + self.precision => None,
            (None, Some(missed)) if missed <= RATE_MIN => None,
            _ => Some(self.next),
        }
    }

    /// `rate` met the goal, or missed it.
    pub fn note(&mut self, rate: f64, is_met: bool) {
        self.steps_left = self.steps_left.saturating_sub(1);
        match is_met {
            true => self.met = Some(self.met.map_or(rate, |met| met.max(rate))),
            // On a noisy machine a lower rate may miss after a higher one met: the lower one counts.
            false => {
                self.missed = Some(self.missed.map_or(rate, |missed| missed.min(rate)));
                self.met = self.met.filter(|met| *met < rate);
            }
        }
        self.next = match (self.met, self.missed) {
            (Some(met), Some(missed)) => (met * missed).sqrt(),
            (Some(met), None) => met * 2.0,
            (None, Some(missed)) => (missed / 2.0).max(RATE_MIN),
            (None, None) => self.next,
        };
    }

    /// The highest rate that met the goal.
    pub fn best(&self) -> Option<f64> {
        self.met
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// 99th percentile in milliseconds of a server that can do `capacity` per second (M/M/1).
    fn p99_ms(rate: f64, capacity: f64) -> f64 {
        if rate >= capacity { f64::INFINITY } else { 4.6 * 1000.0 / (capacity - rate) }
    }

    fn run(start: f64, mut is_met: impl FnMut(f64) -> bool) -> (Option<f64>, u32) {
        let (mut search, mut steps) = (Search::new(start, 0.05), 0);
        while let Some(rate) = search.next_rate() {
            search.note(rate, is_met(rate));
            steps += 1;
            assert!(steps <= STEPS_MAX);
        }
        (search.best(), steps)
    }

    #[test]
    fn it_finds_what_a_server_can_do() {
        for capacity in [300.0, 5_000.0, 80_000.0] {
            let limit = capacity - 4.6 * 1000.0 / 50.0;
            let (best, steps) = run(1000.0, |rate| p99_ms(rate, capacity) <= 50.0);
            let best = best.expect("a rate");
            assert!(best <= limit && best >= limit / 1.06, "{best} of {limit}");
            assert!(steps <= 14, "{steps} steps");
        }
    }

    #[test]
    fn a_server_that_meets_nothing_ends_the_search() {
        let (best, steps) = run(1000.0, |_| false);
        assert_eq!(best, None);
        assert!(steps <= 11);
    }

    #[test]
    fn a_noisy_server_ends_it_too() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let (best, _) = run(500.0, |rate| rate * (0.8 + 0.4 * random.unit()) <= 5_000.0);
            assert!(best.is_none_or(|best| best <= 6_250.0), "{best:?}");
        }
    }
}
