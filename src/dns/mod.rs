//! DNS for the whole process: a bounded cache per shard, behind it one flight per question for all
//! shards, behind that hickory-resolver on the control plane.
//!
//! ```text
//! shard: Resolver (Cache) --miss--> Upstream (one flight per question, bounded) --> hickory on tokio
//! ```
//!
//! Takes: names and record kinds. Gives: [`Answer`]s, which tell apart "the name has no such record",
//! "there is no such name", "nobody could say" and "the answer is forged"; with the DNSSEC verdict.
//!
//! Invariants:
//! - What comes out of an answer is bounded in number and length, and a host name in it is a host name:
//!   letters, digits, hyphens, underscores and dots. Records that are not, are dropped.
//! - A temporary failure is cached for seconds only, and only to spare the servers.
//! - Names are compared in A-labels and lower case; the caller passes them so (`mail::address::domain_key`).
//!
//! Must never be added: mail policy (what an MX list means is `delivery/mx.rs`).

mod cache;
mod fixed;
mod hickory;
mod records;
pub mod settings;
#[cfg(test)]
mod tests;
mod upstream;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use fixed::Zone;
pub use records::{Answer, Failure, Kind, Mx, Records, Resolved};
pub use settings::Settings;
pub use upstream::Upstream;

use crate::base::Monotonic;
use crate::observe::{self, Counter};
use cache::Cache;

/// A shard's door to DNS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Resolver(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Source,
    cache: RefCell<Cache>,
}

#[derive(Debug)]
enum Source {
    Upstream(Arc<Upstream>),
    Fixed(Zone),
}

impl Resolver {
    /// This shard's resolver over the process's upstream; keeps at most `cache_entries` answers.
    pub fn new(upstream: Arc<Upstream>, cache_entries: usize) -> Resolver {
        Resolver(Rc::new(Inner { source: Source::Upstream(upstream), cache: RefCell::new(Cache::new(cache_entries)) }))
    }

    /// A resolver that knows only what is in `zone`.
    pub fn fixed(zone: Zone) -> Resolver {
        Resolver(Rc::new(Inner { source: Source::Fixed(zone), cache: RefCell::new(Cache::new(0)) }))
    }

    /// The records of that kind at `name`, from the cache while they are fresh.
    pub async fn lookup(&self, kind: Kind, name: &str) -> Answer {
        let upstream = match &self.0.source {
            Source::Fixed(zone) => return zone.lookup(kind, name),
            Source::Upstream(upstream) => upstream,
        };
        if !records::is_host_name(name) {
            return Answer::Err(Failure::NoDomain); // no question that DNS could answer
        }
        let now = Monotonic(posthaste_rt::clock::now());
        if let Some(answer) = self.0.cache.borrow_mut().find(kind, name, now) {
            observe::count(Counter::DnsCacheHits);
            return answer;
        }
        let (answer, fresh_for) = upstream.ask(kind, name).await;
        let until = Monotonic(posthaste_rt::clock::now()) + fresh_for;
        self.0.cache.borrow_mut().keep(kind, name, answer.clone(), until);
        answer
    }

    /// The mail exchangers of a domain, unsorted.
    pub async fn mx(&self, domain: &str) -> Answer {
        self.lookup(Kind::Mx, domain).await
    }

    /// Answers held by this shard's cache now.
    pub fn cached(&self) -> usize {
        self.0.cache.borrow().len()
    }
}

/// An answer and how long it may be kept.
type Timed = (Answer, Duration);
