//! When the next batch is written: at once, or after a short gathering.
//!
//! A sync costs the same for one frame and for a hundred. A sender alone is never kept waiting; where the last batch
//! had company, more is on its way, and the next one waits for about twice as long as a batch takes: fewer syncs,
//! for a reply that is late by at most [`GATHER_MAX`] (docs/decisions/0003). Outcomes wait for mail to go with,
//! [`GATHER_OUTCOMES`] at most.

use std::time::Duration;

use crate::base::limits::{GATHER_MAX, GATHER_OUTCOMES};

/// Frames in a batch from which on the next one gathers.
const COMPANY: usize = 4;
/// Times the cost of a batch that the next one gathers.
const PATIENCE: u32 = 2;
/// Parts of the known cost that a new measurement replaces one of.
const MEMORY: u32 = 8;

/// What the last batches were like. Pure: told of times, reads no clock.
#[derive(Debug, Default)]
pub(super) struct Cadence {
    frames: usize,
    cost: Duration,
}

impl Cadence {
    /// How long outcomes that are ready wait for mail, which then ends the wait.
    pub const OUTCOMES: Duration = GATHER_OUTCOMES;

    /// How long frames that are ready wait for others, if at all.
    pub fn gathering(&self) -> Option<Duration> {
        let span = (self.cost * PATIENCE).min(GATHER_MAX);
        (self.frames >= COMPANY && !span.is_zero()).then_some(span)
    }

    /// A batch of so many frames took this long to be stored.
    pub fn stored(&mut self, frames: usize, took: Duration) {
        self.frames = frames;
        self.cost = if self.cost.is_zero() { took } else { self.cost - self.cost / MEMORY + took / MEMORY };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(400);

    #[test]
    fn one_sender_never_waits_for_company() {
        let mut cadence = Cadence::default();
        for frames in [0, 1, 2, COMPANY - 1] {
            assert_eq!(cadence.gathering(), None);
            cadence.stored(frames, SYNC);
        }
        cadence.stored(COMPANY, SYNC);
        assert_eq!(cadence.gathering(), Some(SYNC * PATIENCE));
        cadence.stored(1, SYNC);
        assert_eq!(cadence.gathering(), None, "the others have left");
    }

    #[test]
    fn the_wait_follows_the_disk_up_to_its_bound() {
        let mut cadence = Cadence::default();
        (0..100).for_each(|_| cadence.stored(20, Duration::from_micros(40)));
        let fast = cadence.gathering().expect("company");
        assert!((70..=80).contains(&fast.as_micros()), "{fast:?}");
        (0..100).for_each(|_| cadence.stored(20, Duration::from_millis(30)));
        assert_eq!(cadence.gathering(), Some(GATHER_MAX));
    }
}
