//! Random numbers that a seed repeats: SplitMix64 and the distributions the generator needs.
//!
//! Pure: equal seeds give equal runs, which is what makes a run repeatable.

/// A generator of 64-bit numbers (SplitMix64: equidistributed, one multiplication chain per number).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator that `seed` repeats.
    pub fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    /// A generator of its own for part `index` of something that `seed` repeats.
    pub fn part(seed: u64, index: u64) -> Self {
        let mut mixed = Random::new(seed ^ index.wrapping_mul(0xd1b5_4a32_d192_ed03));
        Random::new(mixed.next_u64())
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..`below`; 0 where `below` is 0. The bias is below 2^-32 for what is asked here.
    pub fn below(&mut self, below: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(below)) >> 64) as u64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && self.unit() < p
    }

    /// Exponential with mean 1: the gaps of a Poisson process.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_parts_differ() {
        let take = |mut random: Random| (0..5).map(|_| random.next_u64()).collect::<Vec<_>>();
        assert_eq!(take(Random::new(7)), take(Random::new(7)));
        assert_ne!(take(Random::part(7, 0)), take(Random::part(7, 1)));
    }

    #[test]
    fn the_moments_are_right() {
        let mut random = Random::new(1);
        let n = 200_000;
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        assert!((mean((0..n).map(|_| random.unit()).collect()) - 0.5).abs() < 0.01);
        assert!((mean((0..n).map(|_| random.exponential()).collect()) - 1.0).abs() < 0.02);
        assert!(mean((0..n).map(|_| random.normal()).collect()).abs() < 0.02);
        let square = (0..n).map(|_| random.normal().powi(2)).collect();
        assert!((mean(square) - 1.0).abs() < 0.03);
        assert!((0..1000).all(|_| random.below(7) < 7));
    }
}
