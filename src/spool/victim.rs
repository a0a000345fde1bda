//! Which segment compaction should empty next. Pure.
//!
//! A segment cannot be recycled before the older ones it speaks of, so segments are judged together
//! with all of those. The oldest segment speaks of none, so there is always one that can be freed.

use std::collections::{BTreeMap, BTreeSet};

use super::cursor::Place;
use super::index::{Phase, Segment};

/// The oldest segments that are looked at.
const OLDEST: usize = 8;
/// The sparsest segments that are looked at.
const SPARSEST: usize = 16;
/// Segments that are freed for the sake of one: beyond that the oldest ones go first anyway.
const GROUP_MAX: usize = 64;

/// The choice, if there is one where a quarter of what would be moved or freed is dead. `stuck` ones are left
/// alone, and so is what shippers still need, behind `unshipped`. With `is_wasteful` the oldest goes in any case: most
/// of what it holds back is dead.
pub fn victim(
    segments: &BTreeMap<u32, Segment>,
    segment_size: u64,
    stuck: &BTreeSet<u32>,
    is_wasteful: bool,
    unshipped: Place,
) -> Option<u32> {
    let closed = |number: &u32| {
        let is_told = |s: &Segment| !unshipped.is_before_end_of(s);
        let free = |s: &&Segment| s.phase != Phase::Active && s.pins == 0 && !stuck.contains(number) && is_told(s);
        segments.get(number).filter(free)
    };
    let mut by_age: Vec<(u64, u32)> =
        segments.keys().filter_map(|n| closed(n).map(|segment| (segment.seal.epoch, *n))).collect();
    by_age.sort_unstable();
    let mut best: Option<(u64, u64, Vec<u32>)> = None;
    for number in candidates(&by_age, segments) {
        let Some(group) = group(segments, number).filter(|group| group.iter().all(|n| closed(n).is_some())) else {
            continue;
        };
        let cost: u64 = group.iter().filter_map(closed).map(|segment| segment.live_bytes).sum();
        // What was written, not the size of the file: moving what lies dense gains nothing, however short it is.
        let gain: u64 = group.iter().filter_map(closed).map(Segment::used).sum();
        let is_worth_it = cost + segment_size / 4 <= gain && cost.saturating_mul(4) <= gain.saturating_mul(3);
        let cheaper = |c: u64, g: u64| u128::from(cost) * u128::from(g) < u128::from(c) * u128::from(gain);
        if is_worth_it && best.as_ref().is_none_or(|(c, g, _)| cheaper(*c, *g)) {
            best = Some((cost, gain, group));
        }
    }
    let holds = |n: &u32| closed(n).is_some_and(|segment| segment.live_messages > 0 || segment.facts > 0);
    let oldest_of = |numbers: &[u32]| by_age.iter().map(|(_, n)| *n).find(|n| numbers.contains(n) && holds(n));
    match best {
        Some((_, _, group)) => oldest_of(&group),
        None if is_wasteful => by_age.iter().map(|(_, n)| *n).find(holds),
        None => None,
    }
}

fn candidates(by_age: &[(u64, u32)], segments: &BTreeMap<u32, Segment>) -> Vec<u32> {
    let mut sparse: Vec<(u64, u32)> =
        by_age.iter().filter_map(|(_, n)| segments.get(n).map(|s| (s.live_bytes, *n))).collect();
    sparse.sort_unstable();
    let mut numbers: Vec<u32> = by_age.iter().take(OLDEST).map(|(_, n)| *n).collect();
    numbers.extend(sparse.iter().take(SPARSEST).map(|(_, n)| *n));
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A segment and all older ones that must be recycled before it; `None` when they are too many.
fn group(segments: &BTreeMap<u32, Segment>, number: u32) -> Option<Vec<u32>> {
    let mut group = vec![number];
    let mut i = 0;
    while let Some(member) = group.get(i).copied() {
        for older in segments.get(&member).into_iter().flat_map(|segment| segment.refs.keys()) {
            if !group.contains(older) {
                group.push(*older);
            }
        }
        i += 1;
        if group.len() > GROUP_MAX {
            return None;
        }
    }
    Some(group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::frame::Seal;
    use crate::spool::segment::DATA_OFFSET;

    const SIZE: u64 = 1000;

    /// A segment with that many live bytes of a thousand, kept for these older ones.
    fn segment(number: u32, live: u64, refs: &[u32]) -> (u32, Segment) {
        let seal = Seal::new(&[1; 16], u64::from(number));
        let mut segment = Segment::new(seal, Phase::Sealed, DATA_OFFSET + SIZE);
        segment.live_bytes = live;
        segment.live_messages = u32::from(live > 0);
        segment.refs = refs.iter().map(|older| (*older, 1)).collect();
        (number, segment)
    }

    fn choose(segments: Vec<(u32, Segment)>) -> Option<u32> {
        victim(&segments.into_iter().collect(), SIZE, &BTreeSet::new(), false, Place::END)
    }

    #[test]
    fn the_sparsest_goes_first_and_dense_ones_stay() {
        assert_eq!(choose(vec![segment(1, 900, &[]), segment(2, 100, &[]), segment(3, 500, &[])]), Some(2));
        assert_eq!(choose(vec![segment(1, 900, &[]), segment(2, 800, &[])]), None);
    }

    #[test]
    fn what_holds_others_back_goes_before_them() {
        // The third is dead but speaks of the first: emptying the first frees both.
        assert_eq!(choose(vec![segment(1, 600, &[]), segment(2, 700, &[]), segment(3, 0, &[1])]), Some(1));
    }

    #[test]
    fn a_pinned_or_stuck_segment_is_left_alone() {
        let mut pinned = segment(1, 10, &[]);
        pinned.1.pins = 1;
        assert_eq!(choose(vec![pinned, segment(2, 950, &[])]), None);
        let stuck = BTreeSet::from([1]);
        assert_eq!(victim(&BTreeMap::from([segment(1, 10, &[])]), SIZE, &stuck, true, Place::END), None);
    }
}
