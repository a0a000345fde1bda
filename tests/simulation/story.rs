//! What one seed tells: its randomness, its ledger, and how kind the world is at the moment.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use posthaste::base::WallTime;
use posthaste::spool::Durability;
use posthaste::spool::sim::{Random, SimDisk};

use super::ledger::Ledger;

/// When stories begin.
const EPOCH_MS: u64 = 1_795_386_600_000;

pub struct Story {
    random: RefCell<Random>,
    pub ledger: RefCell<Ledger>,
    pub disk: RefCell<SimDisk>,
    kind: Cell<bool>,
    /// Some listeners promise less than `durable`.
    is_weak: bool,
    /// The next hops' habits differ from story to story.
    salt: u64,
    /// Connections that are open, by domain.
    pub open: RefCell<std::collections::HashMap<String, u32>>,
}

impl Story {
    pub fn new(seed: u64, disk: SimDisk) -> Story {
        let mut random = Random::new(seed);
        let (salt, is_weak) = (random.next(), random.one_in(3));
        Story {
            random: RefCell::new(random),
            ledger: RefCell::default(),
            disk: RefCell::new(disk),
            kind: Cell::new(false),
            is_weak,
            salt,
            open: RefCell::default(),
        }
    }

    pub fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    pub fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn next(&self) -> u64 {
        self.random.borrow_mut().next()
    }

    pub fn wall(&self) -> WallTime {
        WallTime(EPOCH_MS + self.disk.borrow().now().as_millis() as u64)
    }

    /// The durability mode of one listener.
    pub fn durability(&self) -> Durability {
        let modes = [Durability::Durable, Durability::Process, Durability::Memory];
        if self.is_weak { modes[self.below(3) as usize] } else { Durability::Durable }
    }

    /// From now on next hops do what they should.
    pub fn be_kind(&self) {
        self.kind.set(true);
    }

    pub fn is_unkind(&self) -> bool {
        !self.kind.get()
    }

    /// One of so many misfortunes; without end once the world is kind.
    pub fn mishap(&self, bound: u64) -> u64 {
        if self.kind.get() { u64::MAX } else { self.below(bound) }
    }

    /// Some next hops are down for a while now and then.
    pub fn is_resting(&self, domain: &str) -> bool {
        let turn = self.disk.borrow().now().as_secs() / 13;
        let habit = domain.bytes().fold(self.salt, |sum, octet| sum.wrapping_mul(31).wrapping_add(u64::from(octet)));
        self.is_unkind() && (turn + habit).is_multiple_of(5)
    }

    pub async fn sleep(&self, span: Duration) {
        use posthaste::spool::storage::Storage as _;
        let disk = self.disk.borrow().clone();
        disk.sleep(span).await;
    }
}

/// A word on where a story is, when one is told again.
pub fn note(what: impl FnOnce() -> String) {
    if std::env::var_os("POSTHASTE_SEED").is_some() {
        eprintln!("{}", what());
    }
}
