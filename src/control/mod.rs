//! The control plane's side: the operator's socket and the metrics scrape.
//!
//! Runs on the tokio runtime, never on a shard. Takes questions and
//! hands them to the shards through [`Ask`]; gives their answers merged. Must never be added:
//! anything a message waits for.

pub mod metrics;
pub mod settings;
pub mod socket;

use std::future::Future;
use std::pin::Pin;

use crate::observe::Snapshot;
use crate::shard::query::{Answer, Query};

/// A future that any thread may poll.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The shards, as the control plane sees them.
pub trait Ask: Send + Sync + 'static {
    /// Puts a question to every shard it concerns and merges the answers.
    fn ask(&self, query: Query) -> BoxFuture<Answer>;

    /// What all shards have counted, merged.
    fn snapshot(&self) -> BoxFuture<Snapshot>;
}
