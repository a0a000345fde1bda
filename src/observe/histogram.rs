//! Latency histograms of one shard, in microseconds, to two significant digits up to an hour.

use std::cell::RefCell;

use hdrhistogram::Histogram;

use super::names::Timing;

const MICROS_MAX: u64 = 3_600_000_000;
const SIGNIFICANT_DIGITS: u8 = 2;

thread_local! {
    static TIMINGS: RefCell<Vec<Histogram<u64>>> = const { RefCell::new(Vec::new()) };
}

/// A histogram with the bounds that all of ours share.
pub(super) fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, SIGNIFICANT_DIGITS).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// Adds `theirs`, which has the same bounds.
pub(super) fn merge(mine: &mut Histogram<u64>, theirs: &Histogram<u64>) {
    let _ = mine.add(theirs); // fails only when the bounds differ
}

/// Records one latency; what is longer than an hour counts as an hour.
pub fn record_micros(timing: Timing, micros: u64) {
    TIMINGS.with_borrow_mut(|timings| {
        if timings.is_empty() {
            timings.extend(Timing::ALL.iter().map(|_| empty()));
        }
        timings[timing as usize].saturating_record(micros);
    });
}

/// A copy of this thread's histograms.
pub(super) fn snapshot() -> Vec<Histogram<u64>> {
    TIMINGS.with_borrow(|timings| match timings.is_empty() {
        true => Timing::ALL.iter().map(|_| empty()).collect(),
        false => timings.clone(),
    })
}
