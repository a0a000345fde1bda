//! Names that many messages share, kept once: domains and tenants. What no message uses is forgotten.

use std::hash::BuildHasher;

use compact_str::CompactString;
use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// A name of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Name(pub u32);

#[derive(Debug, Clone)]
struct Slot {
    text: CompactString,
    uses: u32,
}

/// Names with the number of their uses.
#[derive(Debug)]
pub(super) struct Names {
    index: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    hasher: FixedState,
}

impl Names {
    /// A table whose order no sender can foresee: `seed` is random per process.
    pub fn new(seed: u64) -> Names {
        let hasher = FixedState::with_seed(seed);
        Names { index: HashTable::new(), slots: Vec::new(), free: Vec::new(), hasher }
    }

    pub fn find(&self, text: &str) -> Option<Name> {
        let hash = self.hasher.hash_one(text);
        self.index.find(hash, |&at| self.slots[at as usize].text == text).map(|&at| Name(at))
    }

    /// The name of `text`, used once more.
    pub fn enter(&mut self, text: &str) -> Name {
        if let Some(name) = self.find(text) {
            self.slots[name.0 as usize].uses += 1;
            return name;
        }
        let slot = Slot { text: CompactString::new(text), uses: 1 };
        let at = match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = slot;
                at
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hasher.hash_one(text), at, |&at| hasher.hash_one(slots[at as usize].text.as_str()));
        Name(at)
    }

    /// One use less.
    pub fn leave(&mut self, name: Name) {
        let slot = &mut self.slots[name.0 as usize];
        slot.uses -= 1;
        if slot.uses == 0 {
            let text = std::mem::take(&mut slot.text);
            if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(text.as_str()), |&at| at == name.0) {
                entry.remove();
            }
            self.free.push(name.0);
        }
    }

    pub fn text(&self, name: Name) -> &str {
        &self.slots[name.0 as usize].text
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn bytes(&self) -> usize {
        let heap: usize = self.slots.iter().filter(|s| s.text.is_heap_allocated()).map(|s| s.text.capacity()).sum();
        self.index.allocation_size() + self.slots.capacity() * size_of::<Slot>() + self.free.capacity() * 4 + heap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_lives_as_long_as_it_is_used() {
        let mut names = Names::new(1);
        let a = names.enter("a.test");
        assert_eq!(names.enter("a.test"), a);
        let b = names.enter("b.test");
        assert_ne!(a, b);
        names.leave(a);
        assert_eq!(names.text(a), "a.test");
        names.leave(a);
        assert_eq!((names.find("a.test"), names.len()), (None, 1));
        assert_eq!(names.enter("c.test"), a, "the slot is used again");
        assert_eq!(names.find("b.test"), Some(b));
    }
}
