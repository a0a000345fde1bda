//! Counters and gauges of one shard: plain cells in a thread-local array.

use std::cell::Cell;

use hdrhistogram::Histogram;

use super::histogram;
use super::names::{Counter, Gauge, Timing};

thread_local! {
    static COUNTERS: [Cell<u64>; Counter::COUNT] = const { [const { Cell::new(0) }; Counter::COUNT] };
    static GAUGES: [Cell<i64>; Gauge::COUNT] = const { [const { Cell::new(0) }; Gauge::COUNT] };
}

/// Adds one.
pub fn count(counter: Counter) {
    add(counter, 1);
}

/// Adds `n`.
pub fn add(counter: Counter, n: u64) {
    COUNTERS.with(|cells| {
        let cell = &cells[counter as usize];
        cell.set(cell.get().wrapping_add(n));
    });
}

/// What this thread has counted so far.
pub fn counted(counter: Counter) -> u64 {
    COUNTERS.with(|cells| cells[counter as usize].get())
}

/// Moves a gauge by `delta`.
pub fn gauge_add(gauge: Gauge, delta: i64) {
    GAUGES.with(|cells| {
        let cell = &cells[gauge as usize];
        cell.set(cell.get().wrapping_add(delta));
    });
}

/// Sets a gauge.
pub fn gauge_set(gauge: Gauge, value: i64) {
    GAUGES.with(|cells| cells[gauge as usize].set(value));
}

/// What one thread has counted so far; snapshots of several shards merge.
#[derive(Debug, Clone)]
pub struct Snapshot {
    counters: Vec<u64>,
    gauges: Vec<i64>,
    timings: Vec<Histogram<u64>>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Snapshot {
            counters: vec![0; Counter::COUNT],
            gauges: vec![0; Gauge::COUNT],
            timings: Timing::ALL.iter().map(|_| histogram::empty()).collect(),
        }
    }
}

impl Snapshot {
    /// The value of a counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// The value of a gauge.
    pub fn gauge(&self, gauge: Gauge) -> i64 {
        self.gauges[gauge as usize]
    }

    /// A latency histogram, in microseconds.
    pub fn timing(&self, timing: Timing) -> &Histogram<u64> {
        &self.timings[timing as usize]
    }

    /// Adds what another shard counted. `SpoolHealth` and `EventsLagSeconds` are the worst of all, other gauges are sums.
    pub fn merge(&mut self, other: &Snapshot) {
        for (mine, theirs) in self.counters.iter_mut().zip(&other.counters) {
            *mine = mine.wrapping_add(*theirs);
        }
        for (gauge, (mine, theirs)) in Gauge::ALL.iter().zip(self.gauges.iter_mut().zip(&other.gauges)) {
            let is_worst = matches!(gauge, Gauge::SpoolHealth | Gauge::EventsLagSeconds);
            *mine = if is_worst { (*mine).max(*theirs) } else { mine.wrapping_add(*theirs) };
        }
        for (mine, theirs) in self.timings.iter_mut().zip(&other.timings) {
            histogram::merge(mine, theirs);
        }
    }
}

/// What this thread has counted so far.
pub fn snapshot() -> Snapshot {
    Snapshot {
        counters: COUNTERS.with(|cells| cells.iter().map(Cell::get).collect()),
        gauges: GAUGES.with(|cells| cells.iter().map(Cell::get).collect()),
        timings: histogram::snapshot(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_count_alone_and_merge() {
        let count_some = |n: u64, health: i64| {
            std::thread::spawn(move || {
                add(Counter::MessagesAccepted, n);
                gauge_add(Gauge::QueueMessages, 5);
                gauge_add(Gauge::QueueMessages, -2);
                gauge_set(Gauge::SpoolHealth, health);
                super::super::record_micros(Timing::Commit, n * 100);
                snapshot()
            })
            .join()
            .expect("counting does not panic")
        };
        let mut all = Snapshot::default();
        all.merge(&count_some(2, 2));
        all.merge(&count_some(3, 0));
        assert_eq!(all.counter(Counter::MessagesAccepted), 5);
        assert_eq!(all.gauge(Gauge::QueueMessages), 6);
        assert_eq!(all.gauge(Gauge::SpoolHealth), 2);
        assert_eq!(all.timing(Timing::Commit).len(), 2);
        assert_eq!(snapshot().counter(Counter::MessagesAccepted), 0, "another thread's counts are not ours");
    }
}
