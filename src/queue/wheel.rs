//! The timer: a hierarchy of wheels (Varghese and Lauck, 1987) with a grain of 100 ms.
//!
//! Setting and clearing cost the same however many are set. Work is done in steps that the caller bounds: a slot of
//! a coarse wheel that holds a million entries is moved down piece by piece.

use super::ring::{Linked, List};
use crate::base::limits::TIMER_TICK;

const LEVELS: usize = 6;
const SLOTS: u64 = 64;
const BITS: u32 = 6;
const TICK_MICROS: u64 = TIMER_TICK.as_micros() as u64;

/// The wheels. Entries are linked through the arena that the caller passes.
#[derive(Debug)]
pub(super) struct Wheel {
    slots: Box<[[List; SLOTS as usize]; LEVELS]>,
    occupied: [u64; LEVELS],
    /// All before this tick has been handed out.
    elapsed: u64,
}

/// The tick at which something due at `micros` is handed out: never early.
pub(super) fn tick_of(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).div_ceil(TICK_MICROS)
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel { slots: Box::new([[List::default(); SLOTS as usize]; LEVELS]), occupied: [0; LEVELS], elapsed: 0 }
    }
}

impl Wheel {
    fn place(&self, tick: u64) -> (usize, usize) {
        let last = self.elapsed | ((1 << (BITS * LEVELS as u32)) - 1);
        let tick = tick.clamp(self.elapsed, last);
        let differs = (tick ^ self.elapsed) | 1;
        let level = (63 - differs.leading_zeros()) / BITS;
        ((level as usize).min(LEVELS - 1), ((tick >> (level * BITS)) & (SLOTS - 1)) as usize)
    }

    /// Sets entry `at` for `tick`, which is not before what has elapsed.
    pub fn set(&mut self, entries: &mut impl Linked, at: u32, tick: u64) -> u16 {
        let (level, slot) = self.place(tick);
        self.slots[level][slot].push_back(entries, at);
        self.occupied[level] |= 1 << slot;
        (level as u16) << 8 | slot as u16
    }

    /// Clears entry `at`, which [`Wheel::set`] put at `place`.
    pub fn clear(&mut self, entries: &mut impl Linked, at: u32, place: u16) {
        let (level, slot) = (usize::from(place >> 8), usize::from(place & 0xff));
        self.slots[level][slot].unlink(entries, at);
        if self.slots[level][slot].is_empty() {
            self.occupied[level] &= !(1 << slot);
        }
    }

    /// What comes first: level, slot, and the tick at which it begins.
    fn first(&self) -> Option<(usize, usize, u64)> {
        // A coarse slot that begins with a fine one goes first: it may hold what the fine one lacks.
        (0..LEVELS).rev().filter_map(|level| self.first_of(level)).min_by_key(|&(_, _, at)| at)
    }

    fn first_of(&self, level: usize) -> Option<(usize, usize, u64)> {
        if self.occupied[level] == 0 {
            return None;
        }
        let shift = level as u32 * BITS;
        let current = (self.elapsed >> shift) & (SLOTS - 1);
        let ahead = self.occupied[level].rotate_right(current as u32).trailing_zeros();
        let slot = (current + u64::from(ahead)) & (SLOTS - 1);
        let begin = (self.elapsed >> shift << shift) + (u64::from(ahead) << shift);
        Some((level, slot as usize, begin.max(self.elapsed)))
    }

    /// Hands out what is due at `now_tick`, doing at most `steps` steps; says whether all of it was.
    ///
    /// `reset` is given the entries that move to a finer wheel, and says their tick.
    pub fn advance<E: Linked>(
        &mut self,
        entries: &mut E,
        now_tick: u64,
        steps: usize,
        tick_and_place: impl Fn(&mut E, u32, Option<u16>) -> u64,
        out: &mut Vec<u32>,
    ) -> bool {
        for _ in 0..steps {
            let Some((level, slot, begin)) = self.first().filter(|&(_, _, begin)| begin <= now_tick) else {
                self.elapsed = self.elapsed.max(now_tick);
                return true;
            };
            self.elapsed = begin;
            let Some(at) = self.slots[level][slot].pop_front(entries) else { return true };
            if self.slots[level][slot].is_empty() {
                self.occupied[level] &= !(1 << slot);
            }
            let tick = tick_and_place(entries, at, None);
            if tick <= now_tick {
                out.push(at);
            } else {
                let place = self.set(entries, at, tick);
                tick_and_place(entries, at, Some(place));
            }
        }
        false
    }

    /// Microseconds at which [`Wheel::advance`] has something to do.
    pub fn next_micros(&self) -> Option<u64> {
        self.first().map(|(_, _, begin)| begin.saturating_mul(TICK_MICROS))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring::Links;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Entries(Vec<(Links, u64, u16)>);

    impl Linked for Entries {
        fn links(&mut self, at: u32) -> &mut Links {
            &mut self.0[at as usize].0
        }
    }

    fn advance(wheel: &mut Wheel, entries: &mut Entries, now: u64, steps: usize) -> (bool, Vec<u32>) {
        let mut out = Vec::new();
        let all = wheel.advance(
            entries,
            now,
            steps,
            |entries, at, place| {
                if let Some(place) = place {
                    entries.0[at as usize].2 = place;
                }
                entries.0[at as usize].1
            },
            &mut out,
        );
        (all, out)
    }

    proptest! {
        /// Against a sorted map: nothing early, nothing late, nothing lost, with entries cleared and work cut into steps.
        #[test]
        fn it_is_a_timer(ops in prop::collection::vec((0u8..4, 0u64..300_000, 1usize..40), 1..200)) {
            let (mut wheel, mut entries, mut model, mut now) = (Wheel::default(), Entries::default(), BTreeMap::new(), 0u64);
            for (op, n, steps) in ops {
                match op {
                    0 | 1 => {
                        let tick = now + 1 + if op == 0 { n % 70 } else { n };
                        let at = entries.0.len() as u32;
                        entries.0.push((Links::default(), tick, 0));
                        let place = wheel.set(&mut entries, at, tick);
                        entries.0[at as usize].2 = place;
                        model.insert(at, tick);
                    }
                    2 => {
                        if let Some((&at, _)) = model.iter().nth(n as usize % model.len().max(1)) {
                            model.remove(&at);
                            let place = entries.0[at as usize].2;
                            wheel.clear(&mut entries, at, place);
                        }
                    }
                    _ => {
                        now += n % 5000;
                        let mut handed = Vec::new();
                        loop {
                            let (all, out) = advance(&mut wheel, &mut entries, now, steps);
                            handed.extend(out);
                            if all { break }
                        }
                        for at in handed {
                            let tick = model.remove(&at);
                            prop_assert!(tick.is_some_and(|t| t <= now), "early or twice");
                        }
                        prop_assert!(model.values().all(|&t| t > now), "late");
                    }
                }
                let next = wheel.next_micros().map(|m| m / TICK_MICROS);
                prop_assert_eq!(next.is_none(), model.is_empty());
                prop_assert!(next.is_none_or(|n| model.values().all(|&t| t >= n)), "would oversleep");
            }
        }
    }

    #[test]
    fn setting_costs_the_same_whatever_is_set_and_each_entry_moves_a_bounded_number_of_times() {
        let (mut wheel, mut entries) = (Wheel::default(), Entries::default());
        let count = 100_000u64;
        for at in 0..count {
            let tick = 1 + at * 7 % 50_000;
            entries.0.push((Links::default(), tick, 0));
            let place = wheel.set(&mut entries, at as u32, tick);
            entries.0[at as usize].2 = place;
        }
        let mut steps = 0u64;
        let mut handed = 0;
        for now in (0..=50_000).step_by(100) {
            loop {
                let (all, out) = advance(&mut wheel, &mut entries, now, 64);
                handed += out.len() as u64;
                steps += 64;
                if all {
                    break;
                }
            }
        }
        assert_eq!(handed, count);
        assert!(steps <= count * LEVELS as u64 + 64 * 501, "{steps}");
    }
}
