//! What the server tells about itself: counters, gauges, latency histograms, and the log stream.
//!
//! Everything lives in thread-locals of the shard that counts: no atomic, no lock, no shared cache
//! line on the message path. The control plane asks each shard for a [`Snapshot`] and merges at
//! scrape; log lines are rendered into the shard's buffer, which the [`writer`]'s thread takes whole.
//! All names that leave the process are in [`names`]. Must never be added: a label per message,
//! a registry, formatting at the place that counts.

pub mod histogram;
pub mod log;
pub mod metrics;
pub mod names;
pub mod settings;
pub mod writer;

pub use histogram::record_micros;
pub use log::{Level, event};
pub use metrics::{Snapshot, add, count, counted, gauge_add, gauge_set, snapshot};
pub use names::{Counter, Event, Gauge, Timing};
