//! Damage as it is met: each place is told once, however often it is met again.

use std::collections::HashSet;

use super::error::Damage;
use crate::base::limits::DAMAGE_PLACES_MAX;

/// What was met and not told yet, and the places that were told.
#[derive(Debug, Default)]
pub(super) struct DamageLog {
    fresh: Vec<Damage>,
    known: HashSet<(String, u64)>,
}

impl DamageLog {
    /// Takes note of a place, unless it is known.
    pub(super) fn note(&mut self, damage: Damage) {
        if self.known.len() >= DAMAGE_PLACES_MAX {
            self.known.clear(); // rather told twice than not
        }
        if self.known.insert((damage.file.clone(), damage.offset)) {
            self.fresh.push(damage);
        }
    }

    /// Takes note of places.
    pub(super) fn note_all(&mut self, damage: Vec<Damage>) {
        damage.into_iter().for_each(|one| self.note(one));
    }

    /// What was not told yet.
    pub(super) fn take(&mut self) -> Vec<Damage> {
        std::mem::take(&mut self.fresh)
    }

    /// A file has new content: what was known of it is history.
    pub(super) fn forget(&mut self, file: &str) {
        self.known.retain(|(known, _)| known != file);
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::DamageKind;
    use super::*;

    #[test]
    fn a_place_is_told_once_until_its_file_is_another() {
        let at = |offset| Damage {
            file: "stream-00/log".into(),
            offset,
            length: 1,
            message: None,
            kind: DamageKind::Payload,
        };
        let mut log = DamageLog::default();
        log.note_all(vec![at(1), at(1), at(2)]);
        assert_eq!(log.take(), [at(1), at(2)]);
        log.note(at(1));
        log.forget("stream-00/other");
        log.note(at(2));
        assert_eq!(log.take(), []);
        log.forget("stream-00/log");
        log.note(at(2));
        assert_eq!(log.take(), [at(2)]);
    }
}
