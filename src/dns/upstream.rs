//! One flight per question for the whole process, on the control plane.
//!
//! A shard that misses its cache comes here. The first to ask starts the lookup as a task of its own,
//! which no caller's cancellation ends; all others wait for the same answer. The lock is held for a
//! table operation and never over a wait, and only a cache miss comes near it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use compact_str::CompactString;
use hashbrown::HashMap;
use posthaste_rt::bridge::ControlHandle;
use tokio::sync::{Semaphore, oneshot};

use super::Timed;
use super::hickory::{self, BuildError};
use super::records::{Failure, Kind};
use super::settings::Settings;
use crate::observe::{self, Counter};

/// Questions that may wait at once, over all shards; one more is told to come back later.
const QUESTIONS_MAX: usize = 16_384;
/// A temporary failure is remembered that long, so that a dead server is not asked by every message.
const TEMPORARY_TTL: Duration = Duration::from_secs(5);

type Waiters = Vec<oneshot::Sender<Timed>>;

/// The process's way to its name servers.
pub struct Upstream {
    control: ControlHandle,
    resolver: hickory::Resolver,
    flights: Mutex<HashMap<(Kind, CompactString), Waiters, foldhash::fast::RandomState>>,
    slots: Semaphore,
    deadline: Duration,
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl Upstream {
    /// Builds the resolver that runs on the control plane's runtime.
    pub fn new(settings: &Settings, control: ControlHandle) -> Result<Arc<Upstream>, BuildError> {
        let resolver = {
            let _context = control.enter();
            hickory::build(settings)?
        };
        let attempts = u32::try_from(settings.attempts.saturating_add(1)).unwrap_or(u32::MAX);
        Ok(Arc::new(Upstream {
            resolver,
            flights: Mutex::default(),
            slots: Semaphore::new(settings.concurrency.clamp(1, Semaphore::MAX_PERMITS)),
            // UDP, then TCP, each time; and once more for the wait in line.
            deadline: settings.timeout.saturating_mul(attempts).saturating_mul(2),
            control,
        }))
    }

    /// Asks, or waits for the answer to the same question of another shard.
    pub(super) async fn ask(self: &Arc<Self>, kind: Kind, name: &str) -> Timed {
        let (sender, receiver) = oneshot::channel();
        let key = (kind, CompactString::new(name));
        let is_first = {
            let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
            let is_full = flights.len() >= QUESTIONS_MAX;
            match flights.get_mut(&key) {
                Some(waiters) => {
                    waiters.push(sender);
                    false
                }
                None if is_full => return temporary("too many questions at once"),
                None => {
                    flights.insert(key.clone(), vec![sender]);
                    true
                }
            }
        };
        if is_first {
            observe::count(Counter::DnsQueries);
            self.control.spawn_detached(Arc::clone(self).fly(key));
        }
        let timed = receiver.await.unwrap_or_else(|_| temporary("the resolver stopped"));
        if matches!(timed.0, Err(Failure::Temporary(_))) {
            observe::count(Counter::DnsFailures);
        }
        timed
    }

    async fn fly(self: Arc<Self>, key: (Kind, CompactString)) {
        let landing = Landing { upstream: &self, key: &key };
        let timed = match tokio::time::timeout(self.deadline, self.resolve(key.0, &key.1)).await {
            Ok(timed) => timed,
            Err(_) => temporary("timed out"),
        };
        landing.land(timed);
    }

    async fn resolve(&self, kind: Kind, name: &str) -> Timed {
        let _slot = self.slots.acquire().await;
        hickory::lookup(&self.resolver, kind, name).await
    }

    fn take_waiters(&self, key: &(Kind, CompactString)) -> Waiters {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(key).unwrap_or_default()
    }
}

/// Ends a flight, also when it ends by a panic: nobody waits for ever.
struct Landing<'a> {
    upstream: &'a Upstream,
    key: &'a (Kind, CompactString),
}

impl Landing<'_> {
    fn land(self, timed: Timed) {
        for waiter in self.upstream.take_waiters(self.key) {
            let _ = waiter.send(timed.clone()); // a caller that left wants no answer
        }
        std::mem::forget(self); // the key may already belong to the next flight
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        drop(self.upstream.take_waiters(self.key));
    }
}

/// A failure that passes.
pub(super) fn temporary(why: &str) -> Timed {
    (Err(Failure::Temporary(CompactString::new(why))), TEMPORARY_TTL)
}
