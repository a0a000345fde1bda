//! Which recipients of a message: sorted indices in 16 bytes for the common shapes.

use smallvec::SmallVec;

use crate::base::RecipientIndex;

/// A set of recipients of one message, never empty where the queue holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientSet(Shape);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// From the first, so many in a row.
    Run(u32, u32),
    /// Ascending.
    List(Box<[u32]>),
}

impl RecipientSet {
    /// One recipient.
    pub fn one(index: RecipientIndex) -> RecipientSet {
        RecipientSet(Shape::Run(index.0, 1))
    }

    /// The first `count` recipients.
    pub fn first(count: u32) -> RecipientSet {
        RecipientSet(Shape::Run(0, count))
    }

    fn from_sorted(sorted: &[u32]) -> RecipientSet {
        match (sorted.first(), sorted.last()) {
            (Some(&first), Some(&last)) if (last - first) as usize == sorted.len() - 1 => {
                RecipientSet(Shape::Run(first, sorted.len() as u32))
            }
            (None, _) => RecipientSet(Shape::Run(0, 0)),
            _ => RecipientSet(Shape::List(sorted.into())),
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        match &self.0 {
            Shape::Run(_, count) => *count as usize,
            Shape::List(list) => list.len(),
        }
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The recipients, ascending.
    pub fn iter(&self) -> impl Iterator<Item = RecipientIndex> {
        let (run, list) = match &self.0 {
            Shape::Run(first, count) => (*first..*first + *count, &[][..]),
            Shape::List(list) => (0..0, &list[..]),
        };
        run.chain(list.iter().copied()).map(RecipientIndex)
    }

    /// The lowest.
    pub fn lowest(&self) -> Option<RecipientIndex> {
        self.iter().next()
    }

    /// `index` is one of them.
    pub fn contains(&self, index: RecipientIndex) -> bool {
        match &self.0 {
            Shape::Run(first, count) => (*first..*first + *count).contains(&index.0),
            Shape::List(list) => list.binary_search(&index.0).is_ok(),
        }
    }

    /// Those that are not in `other`.
    pub fn without(&self, other: &RecipientSet) -> RecipientSet {
        let left: SmallVec<[u32; 8]> = self.iter().filter(|&r| !other.contains(r)).map(|r| r.0).collect();
        RecipientSet::from_sorted(&left)
    }

    /// Those that are in both.
    pub fn common(&self, other: &RecipientSet) -> RecipientSet {
        let both: SmallVec<[u32; 8]> = self.iter().filter(|&r| other.contains(r)).map(|r| r.0).collect();
        RecipientSet::from_sorted(&both)
    }

    /// The lowest `count` of them, and the rest.
    pub fn split_at(&self, count: usize) -> (RecipientSet, RecipientSet) {
        let all: Vec<u32> = self.iter().map(|r| r.0).collect();
        let (low, high) = all.split_at(count.min(all.len()));
        (RecipientSet::from_sorted(low), RecipientSet::from_sorted(high))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Shape::Run(..) => 0,
            Shape::List(list) => list.len() * size_of::<u32>(),
        }
    }
}

impl FromIterator<RecipientIndex> for RecipientSet {
    fn from_iter<I: IntoIterator<Item = RecipientIndex>>(indices: I) -> Self {
        let mut sorted: SmallVec<[u32; 8]> = indices.into_iter().map(|r| r.0).collect();
        sorted.sort_unstable();
        sorted.dedup();
        RecipientSet::from_sorted(&sorted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set(of: &BTreeSet<u32>) -> RecipientSet {
        of.iter().map(|&n| RecipientIndex(n)).collect()
    }

    fn model(of: &RecipientSet) -> BTreeSet<u32> {
        of.iter().map(|r| r.0).collect()
    }

    proptest! {
        #[test]
        fn it_is_a_set(a in prop::collection::btree_set(0u32..40, 0..20), b in prop::collection::btree_set(0u32..40, 0..20), n in 0usize..25) {
            let (sa, sb) = (set(&a), set(&b));
            prop_assert_eq!(model(&sa), a.clone());
            prop_assert_eq!(sa.len(), a.len());
            prop_assert_eq!(model(&sa.without(&sb)), &a - &b);
            prop_assert_eq!(model(&sa.common(&sb)), &a & &b);
            let (low, high) = sa.split_at(n);
            prop_assert_eq!(low.len(), n.min(a.len()));
            prop_assert!(low.iter().max() < high.iter().min() || high.is_empty());
            prop_assert_eq!(&model(&low) | &model(&high), a);
        }
    }

    #[test]
    fn the_common_shapes_take_sixteen_bytes() {
        assert_eq!(size_of::<RecipientSet>(), 16);
        assert_eq!(RecipientSet::first(100).heap_bytes(), 0);
    }
}
