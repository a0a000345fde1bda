//! The comparison. Pure.

use std::collections::{HashMap, HashSet};

use crate::ledger::{Arrival, Kind, Sent};
use crate::summary::AuditCounts;

/// Key of a recipient that nobody wrote down: a report names the message, not for whom it was.
const ANYONE: u64 = 0;

/// A message for a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Copy {
    /// The run.
    pub run: u64,
    /// The message.
    pub number: u64,
    /// Key of the recipient.
    pub key: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    is_acknowledged: bool,
    intact: u32,
    altered: u32,
}

/// What is wrong with a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Acknowledged, and never arrived.
    Lost,
    /// Arrived more than once.
    Doubled(u32),
    /// Arrived with other content.
    Altered,
}

/// What the ledgers say, gathered.
#[derive(Debug, Default)]
pub struct Books {
    copies: HashMap<Copy, Seen>,
    returned: HashSet<(u64, u64)>,
    /// Only these runs count: a sink may have served others.
    runs: Vec<u64>,
    strangers: u64,
}

/// The outcome.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Counts.
    pub counts: AuditCounts,
    /// What is wrong, in order, as much as was asked for.
    pub faults: Vec<(Copy, Fault)>,
    /// Arrivals of runs whose source wrote no ledger.
    pub strangers: u64,
}

impl Verdict {
    /// Nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.counts.lost == 0 && self.counts.doubled == 0 && self.counts.altered == 0
    }
}

impl Books {
    /// A run that is to be audited. Call it before [`Books::arrived`].
    pub fn add_run(&mut self, run: u64) {
        self.runs.push(run);
    }

    /// A line of a source's ledger.
    pub fn sent(&mut self, run: u64, sent: Sent) {
        if sent.is_acknowledged {
            for key in sent.keys {
                self.copies.entry(Copy { run, number: sent.number, key }).or_default().is_acknowledged = true;
            }
        }
    }

    /// A line of a sink's ledger.
    pub fn arrived(&mut self, arrival: Arrival) {
        let Arrival { kind, run, number, keys, .. } = arrival;
        if !self.runs.contains(&run) {
            self.strangers += 1;
            return;
        }
        if kind == Kind::Returned {
            self.returned.insert((run, number));
            return;
        }
        let keys = if keys.is_empty() { vec![ANYONE] } else { keys };
        for key in keys {
            let seen = self.copies.entry(Copy { run, number, key }).or_default();
            match kind {
                Kind::Altered => seen.altered += 1,
                Kind::Intact | Kind::Returned => seen.intact += 1,
            }
        }
    }

    /// Compares, listing at most `list_max` faults. With `allows_returned` what was returned to its sender is not lost.
    pub fn close(self, allows_returned: bool, list_max: usize) -> Verdict {
        let mut verdict = Verdict { strangers: self.strangers, ..Verdict::default() };
        let counts = &mut verdict.counts;
        let mut faults = Vec::new();
        for (copy, seen) in self.copies {
            let arrivals = seen.intact + seen.altered;
            match seen.is_acknowledged {
                true => counts.acknowledged += 1,
                false => counts.unacknowledged += 1,
            }
            if arrivals == 0 {
                // A report speaks for all recipients of its message: whom it names is not read.
                let is_returned = self.returned.contains(&(copy.run, copy.number));
                counts.returned += u64::from(is_returned);
                if !(is_returned && allows_returned) {
                    counts.lost += 1;
                    faults.push((copy, Fault::Lost));
                }
                continue;
            }
            if seen.altered > 0 {
                counts.altered += 1;
                faults.push((copy, Fault::Altered));
            }
            if arrivals > 1 {
                counts.doubled += 1;
                faults.push((copy, Fault::Doubled(arrivals)));
            }
            if arrivals == 1 && seen.altered == 0 && seen.is_acknowledged {
                counts.intact += 1;
            }
        }
        faults.sort_unstable();
        faults.truncate(list_max);
        verdict.faults = faults;
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: u64, keys: &[u64], is_acknowledged: bool) -> Sent {
        Sent { is_acknowledged, number, keys: keys.to_vec() }
    }

    fn arrival(kind: Kind, number: u64, keys: &[u64]) -> Arrival {
        Arrival { kind, at_ms: 0, run: 1, number, keys: keys.to_vec() }
    }

    fn books() -> Books {
        let mut books = Books::default();
        books.add_run(1);
        books
    }

    #[test]
    fn a_clean_run_is_clean_and_split_recipients_are_one_message() {
        let mut books = books();
        books.sent(1, sent(1, &[10, 11], true));
        books.sent(1, sent(2, &[10], false));
        books.arrived(arrival(Kind::Intact, 1, &[11]));
        books.arrived(arrival(Kind::Intact, 1, &[10]));
        books.arrived(arrival(Kind::Intact, 2, &[10]));
        books.arrived(Arrival { run: 9, ..arrival(Kind::Altered, 1, &[10]) });
        let verdict = books.close(false, 10);
        assert!(verdict.is_clean());
        assert_eq!((verdict.counts.acknowledged, verdict.counts.intact, verdict.counts.unacknowledged), (2, 2, 1));
        assert_eq!(verdict.strangers, 1);
    }

    #[test]
    fn what_is_lost_doubled_or_altered_is_found() {
        let mut books = books();
        (1..=4).for_each(|number| books.sent(1, sent(number, &[10], true)));
        books.arrived(arrival(Kind::Intact, 1, &[10]));
        books.arrived(arrival(Kind::Intact, 2, &[10]));
        books.arrived(arrival(Kind::Intact, 2, &[10]));
        books.arrived(arrival(Kind::Altered, 3, &[10]));
        let verdict = books.close(false, 2);
        let counts = &verdict.counts;
        assert_eq!((counts.intact, counts.lost, counts.doubled, counts.altered), (1, 1, 1, 1));
        let copy = |number| Copy { run: 1, number, key: 10 };
        assert_eq!(verdict.faults, [(copy(2), Fault::Doubled(2)), (copy(3), Fault::Altered)]);
        assert!(!verdict.is_clean());
    }

    #[test]
    fn the_wrong_recipient_is_a_loss() {
        let mut books = books();
        books.sent(1, sent(1, &[10], true));
        books.arrived(arrival(Kind::Intact, 1, &[11]));
        assert_eq!(books.close(false, 9).counts.lost, 1);
    }

    #[test]
    fn a_report_excuses_a_loss_only_where_it_is_allowed() {
        for (allowed, lost) in [(false, 1), (true, 0)] {
            let mut books = books();
            books.sent(1, sent(1, &[10], true));
            books.arrived(arrival(Kind::Returned, 1, &[77]));
            let verdict = books.close(allowed, 9);
            assert_eq!((verdict.counts.returned, verdict.counts.lost), (1, lost));
        }
    }
}
