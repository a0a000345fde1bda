//! When each message is due: a pure function of rate, kind, seed and part.

use crate::random::Random;

/// How the send times are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal distances.
    Constant,
    /// Independent of each other: exponential gaps.
    Poisson,
    /// So many at the same instant, at equal distances.
    Bursts(u32),
}

/// The due times of one part of a load that several parts send together.
#[derive(Debug, Clone)]
pub struct Schedule {
    arrivals: Arrivals,
    rate: f64,
    part: u64,
    parts: u64,
    random: Random,
    /// How many were given, of the Poisson process the time of the last one.
    given: u64,
    last_us: f64,
    end_us: u64,
}

impl Schedule {
    /// Part `part` of `parts` of `rate` messages per second, until `end_us`.
    pub fn new(arrivals: Arrivals, rate: f64, part: u64, parts: u64, seed: u64, end_us: u64) -> Self {
        let random = Random::part(seed, part);
        Schedule { arrivals, rate, part, parts, random, given: 0, last_us: 0.0, end_us }
    }

    fn due(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Constant => (self.given * self.parts + self.part) as f64 * 1e6 / self.rate,
            Arrivals::Poisson => {
                self.last_us += self.random.exponential() * self.parts as f64 / self.rate * 1e6;
                self.last_us
            }
            Arrivals::Bursts(size) => {
                let size = u64::from(size.max(1));
                let own = size / self.parts + u64::from(self.part < size % self.parts);
                // A part that has no share in a burst has no share in any.
                let burst = self.given.checked_div(own).unwrap_or(u64::MAX);
                burst as f64 * size as f64 * 1e6 / self.rate
            }
        }
    }
}

/// Microseconds since the start of the run, ascending.
impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let due = self.due();
        self.given += 1;
        (due < self.end_us as f64).then_some(due.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(arrivals: Arrivals, rate: f64, parts: u64, seed: u64) -> Vec<u64> {
        let of = |part| Schedule::new(arrivals, rate, part, parts, seed, 10_000_000);
        let mut all: Vec<u64> = (0..parts).flat_map(of).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn constant_parts_make_the_whole() {
        let whole = all(Arrivals::Constant, 1000.0, 1, 1);
        assert_eq!((whole.len(), whole[1], whole[9_999]), (10_000, 1000, 9_999_000));
        assert_eq!(all(Arrivals::Constant, 1000.0, 3, 1), whole);
    }

    #[test]
    fn poisson_has_its_rate_and_its_spread_and_its_seed() {
        for parts in [1, 4] {
            let times = all(Arrivals::Poisson, 1000.0, parts, 5);
            assert!((9_700..10_300).contains(&times.len()), "{}", times.len());
            // The count per 100 ms has the variance of its mean.
            let counts: Vec<f64> = (0..100)
                .map(|n| times.iter().filter(|t| (n * 100_000..(n + 1) * 100_000).contains(*t)).count() as f64)
                .collect();
            let mean = counts.iter().sum::<f64>() / 100.0;
            let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / 99.0;
            assert!((0.6..1.6).contains(&(variance / mean)), "{}", variance / mean);
        }
        assert_eq!(all(Arrivals::Poisson, 100.0, 2, 5), all(Arrivals::Poisson, 100.0, 2, 5));
        assert_ne!(all(Arrivals::Poisson, 100.0, 2, 5), all(Arrivals::Poisson, 100.0, 2, 6));
    }

    #[test]
    fn bursts_come_together_over_all_parts() {
        for parts in [1, 3, 20] {
            let times = all(Arrivals::Bursts(10), 100.0, parts, 1);
            assert_eq!(times.len(), 1000, "{parts} parts");
            assert!(times.chunks(10).enumerate().all(|(n, burst)| burst.iter().all(|t| *t == n as u64 * 100_000)));
        }
    }
}
