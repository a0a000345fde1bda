//! A bounded cache of answers that honours their time to live. Pure: the time is passed in.
//!
//! Two generations: what is found in the old one moves to the young one; when the young one holds half
//! of the bound, the old one is dropped whole. No lists, no per-entry bookkeeping.

use compact_str::CompactString;
use hashbrown::HashMap;

use super::records::{Answer, Kind};
use crate::base::Monotonic;

type Table = HashMap<CompactString, Entry, foldhash::fast::RandomState>;

/// The answers to at most five kinds of question about one name, as they were asked.
#[derive(Debug, Clone)]
struct Entry {
    answers: smallvec::SmallVec<[(Kind, Monotonic, Answer); 1]>,
}

/// The cache of one shard.
#[derive(Debug)]
pub(super) struct Cache {
    young: Table,
    old: Table,
    generation_max: usize,
}

impl Cache {
    /// Holds at most `names` names; zero holds none.
    pub(super) fn new(names: usize) -> Cache {
        Cache { young: Table::default(), old: Table::default(), generation_max: names / 2 }
    }

    /// Names held.
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// The answer, if it is still fresh at `now`.
    pub(super) fn find(&mut self, kind: Kind, name: &str, now: Monotonic) -> Option<Answer> {
        if !self.young.contains_key(name) {
            let (name, entry) = self.old.remove_entry(name)?;
            self.make_room();
            self.young.insert(name, entry);
        }
        let entry = self.young.get(name)?;
        entry.answers.iter().find(|(k, until, _)| *k == kind && *until > now).map(|(_, _, answer)| answer.clone())
    }

    /// Keeps an answer until then.
    pub(super) fn keep(&mut self, kind: Kind, name: &str, answer: Answer, until: Monotonic) {
        if self.generation_max == 0 {
            return;
        }
        if !self.young.contains_key(name) {
            self.make_room();
        }
        let moved = self.old.remove(name);
        let fresh = || moved.unwrap_or_else(|| Entry { answers: Default::default() });
        let entry = self.young.entry(CompactString::new(name)).or_insert_with(fresh);
        entry.answers.retain(|(k, _, _)| *k != kind);
        entry.answers.push((kind, until, answer));
    }

    fn make_room(&mut self) {
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::Failure;
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const AT: Monotonic = Monotonic(1_000_000);

    fn none() -> Answer {
        Err(Failure::NoRecords)
    }

    #[test]
    fn answers_grow_stale() {
        let mut cache = Cache::new(10);
        cache.keep(Kind::Mx, "a.test", none(), AT + Duration::from_secs(5));
        assert!(cache.find(Kind::Mx, "a.test", AT).is_some());
        assert!(cache.find(Kind::A, "a.test", AT).is_none());
        assert!(cache.find(Kind::Mx, "a.test", AT + Duration::from_secs(5)).is_none());
    }

    #[test]
    fn what_is_asked_for_survives_what_is_not() {
        let mut cache = Cache::new(8);
        cache.keep(Kind::Mx, "hot.test", none(), Monotonic::FAR);
        for i in 0..100 {
            cache.keep(Kind::Mx, &format!("{i}.test"), none(), Monotonic::FAR);
            assert!(cache.find(Kind::Mx, "hot.test", AT).is_some(), "after {i}");
        }
        assert!(cache.find(Kind::Mx, "0.test", AT).is_none());
    }

    proptest! {
        #[test]
        fn never_holds_more_than_its_bound(names in prop::collection::vec(0u8..60, 0..300), bound in 0usize..20) {
            let mut cache = Cache::new(bound);
            for name in names {
                let name = format!("{name}.test");
                if name.len() % 2 == 0 { let _ = cache.find(Kind::A, &name, AT); }
                cache.keep(Kind::A, &name, none(), Monotonic::FAR);
                prop_assert!(cache.len() <= bound.max(1));
                prop_assert!(bound < 2 || cache.find(Kind::A, &name, AT).is_some());
            }
        }
    }
}
