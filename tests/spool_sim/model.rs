//! What must be true of the spool, kept apart from it.

use std::collections::BTreeMap;

use posthaste::base::MessageId;
use posthaste::spool::sim::Crash;
use posthaste::spool::{CommitError, Durability, Recovered};

use crate::shipper::Seen;

/// What is said about a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing will be tried again.
    Final,
    /// Due again; the number of attempts tells one deferral from another.
    Deferred(u32),
    /// Held or released: said of the recipient `u32::MAX`.
    Held(bool),
}

/// What the one who committed it knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Handed over, not answered: it may be there or not.
    Asked,
    /// Acknowledged, in that mode.
    Taken(Durability),
    /// Refused while the disk failed: it may be there until service has resumed.
    RefusedSick,
    /// It must never be seen.
    Absent,
}

#[derive(Debug)]
struct Mail {
    seed: u64,
    length: usize,
    known: Known,
    /// Per recipient: what is certain, and what was said since and not answered.
    recipients: Vec<Said>,
    held: Said,
    /// Somebody works on it.
    is_busy: bool,
    /// The life in which it was handed over.
    life: u32,
    /// It was certain at some time: acknowledged, and not lost by what the mode allows, or found.
    was_certain: bool,
    /// It was refused.
    was_refused: bool,
}

#[derive(Debug, Clone, Default)]
struct Said {
    certain: Option<Change>,
    /// Acknowledged in mode `process` only: a power loss may undo it.
    soft: Vec<Change>,
    open: Option<Change>,
}

impl Said {
    /// It may be over.
    fn is_final(&self) -> bool {
        [self.certain, self.open].contains(&Some(Change::Final)) || self.soft.contains(&Change::Final)
    }

    /// It was answered to be over, and that cannot be undone.
    fn is_over(&self, soft_stays: bool) -> bool {
        self.certain == Some(Change::Final) || soft_stays && self.soft.contains(&Change::Final)
    }

    /// All that may be found after the process ended.
    fn possible(&self, soft_stays: bool) -> Vec<Option<Change>> {
        let mut all = match self.soft.last() {
            Some(last) if soft_stays => vec![Some(*last)],
            _ => std::iter::once(self.certain).chain(self.soft.iter().copied().map(Some)).collect(),
        };
        all.extend(self.open.map(Some));
        all
    }

    fn answer(&mut self, change: Change, durability: Durability) {
        self.open = None;
        match durability {
            Durability::Durable => {
                self.certain = Some(change);
                self.soft.clear();
            }
            _ => self.soft.push(change),
        }
    }
}

/// The model: mail by id.
#[derive(Debug, Default)]
pub struct Model {
    mail: BTreeMap<MessageId, Mail>,
    /// The disk failed since the last recovery.
    pub has_failed: bool,
    fails_now: bool,
    crash: Option<Crash>,
    life: u32,
    /// What the consumer of events was told.
    pub seen: Seen,
}

impl Model {
    /// A life begins.
    pub fn begin(&mut self, fails: bool) {
        self.fails_now = fails;
        self.life += 1;
    }

    /// The process ended that way; of several ways since the last recovery the worst counts.
    pub fn ended(&mut self, crash: Crash) {
        if self.crash != Some(Crash::PowerLoss) {
            self.crash = Some(crash);
        }
        for mail in self.mail.values_mut() {
            mail.is_busy = false;
        }
    }

    /// A message was handed over.
    pub fn submitted(&mut self, id: MessageId, seed: u64, length: usize, recipients: u32) {
        let recipients = vec![Said::default(); recipients as usize];
        let mail = Mail {
            seed,
            length,
            known: Known::Asked,
            recipients,
            held: Said::default(),
            is_busy: false,
            life: self.life,
            was_certain: false,
            was_refused: false,
        };
        assert!(self.mail.insert(id, mail).is_none(), "id {id} was given out twice");
    }

    /// The answer to it.
    pub fn answered(&mut self, id: MessageId, durability: Durability, result: Result<(), CommitError>, is_well: bool) {
        let known = match result {
            Ok(()) => Known::Taken(durability),
            Err(CommitError::Sick) => Known::RefusedSick,
            Err(_) => Known::Absent,
        };
        let mail = self.mail.get_mut(&id).expect("submitted");
        mail.known = known;
        mail.was_certain |= known == Known::Taken(Durability::Durable);
        mail.was_refused |= result.is_err();
        // An answer may have been given just before the disk failed.
        if result.is_ok() && is_well {
            self.resumed(id);
        }
    }

    /// Something was written in that stream after a failure: what was refused before, in this life, must not be seen
    /// any more. Of former lives recovery has the word, which may still be reading while new mail is taken.
    fn resumed(&mut self, id: MessageId) {
        for (other, mail) in &mut self.mail {
            let is_ours = other.stream == id.stream && mail.life == self.life;
            if is_ours && mail.known == Known::RefusedSick {
                mail.known = Known::Absent;
            }
        }
    }

    /// A queued message that nobody works on, with its recipients that are not final.
    pub fn pick(&mut self, roll: u64) -> Option<(MessageId, Vec<u32>)> {
        let free: Vec<MessageId> = self.mail.iter().filter(|(_, mail)| mail.is_free()).map(|(id, _)| *id).collect();
        let id = *free.get((roll % (free.len() as u64).max(1)) as usize)?;
        let mail = self.mail.get_mut(&id)?;
        mail.is_busy = true;
        let pending = (0..).zip(&mail.recipients).filter(|(_, said)| !said.is_final()).map(|(n, _)| n);
        Some((id, pending.collect()))
    }

    /// Nothing is done about it.
    pub fn let_go(&mut self, id: MessageId) {
        self.mail.get_mut(&id).expect("picked").is_busy = false;
    }

    /// Changes were handed over.
    pub fn attempted(&mut self, id: MessageId, changes: &[(u32, Change)]) {
        let mail = self.mail.get_mut(&id).expect("picked");
        for (recipient, change) in changes {
            mail.said(*recipient).open = Some(*change);
        }
    }

    /// They were acknowledged.
    pub fn happened(
        &mut self,
        id: MessageId,
        changes: &[(u32, Change)],
        durability: Durability,
        dsn: Option<MessageId>,
        is_well: bool,
    ) {
        let mail = self.mail.get_mut(&id).expect("picked");
        mail.is_busy = false;
        for (recipient, change) in changes {
            mail.said(*recipient).answer(*change, durability);
        }
        if durability == Durability::Durable {
            mail.known = Known::Taken(durability); // what came before in the stream is synced with it
            mail.was_certain = true;
        }
        if let Some(dsn) = dsn {
            let dsn = self.mail.get_mut(&dsn).expect("submitted");
            dsn.known = Known::Taken(durability);
            dsn.was_certain |= durability == Durability::Durable;
        }
        if is_well {
            self.resumed(id);
        }
    }

    /// Some message that is certainly queued.
    pub fn any_settled(&self, roll: u64) -> Option<(MessageId, u64, usize)> {
        let settled: Vec<_> = self.mail.iter().filter(|(_, mail)| mail.is_free()).collect();
        let (id, mail) = settled.get((roll % (settled.len() as u64).max(1)) as usize)?;
        Some((**id, mail.seed, mail.length))
    }

    /// It is still certainly queued.
    pub fn is_settled(&self, id: MessageId) -> bool {
        self.mail.get(&id).is_some_and(Mail::is_free)
    }

    /// All was told that is certain; what was refused and never found was not. With gaps only the latter.
    pub fn told(&self, has_gaps: bool) {
        for (id, mail) in &self.mail {
            let is_told = self.seen.is_accepted(*id);
            assert!(mail.was_certain || !mail.was_refused || !is_told, "{id} was refused and told: {mail:?}");
            if has_gaps || !mail.was_certain {
                continue;
            }
            assert!(is_told, "{id} was never told to be accepted: {mail:?}");
            for (n, said) in (0..).zip(&mail.recipients) {
                let is_told = self.seen.is_final(*id, n) || said.certain != Some(Change::Final);
                assert!(is_told, "{id}: recipient {n} was never told to be final: {mail:?}");
            }
        }
    }

    /// Holds what recovery found against all that was promised; what was found is certain from now on.
    pub fn recovered(&mut self, found: &[Recovered]) {
        let mut seen: BTreeMap<MessageId, &Recovered> = BTreeMap::new();
        for recovered in found {
            assert!(seen.insert(recovered.id, recovered).is_none(), "{} was reported twice", recovered.id);
        }
        // A disk that failed may have lost what was only in its cache, also when the process was killed.
        let soft_stays = self.crash == Some(Crash::Kill) && !self.has_failed;
        // What was accepted in this life, while recovery ran, is not reported by it.
        for (id, mail) in self.mail.iter_mut().filter(|(_, mail)| mail.life != self.life) {
            match seen.remove(id) {
                None => {
                    mail.check_missing(*id, soft_stays);
                    let may_be_over = mail.recipients.iter().all(Said::is_final);
                    let told = self.seen.is_accepted(*id);
                    assert!(may_be_over || !told, "{id} is not there, and was told to be");
                }
                Some(found) => {
                    mail.check_found(*id, found, soft_stays);
                    for recipient in &found.recipients {
                        let told = self.seen.is_final(*id, recipient.index.0);
                        assert!(!told, "{id}: recipient {} waits, and was told to be final", recipient.index.0);
                    }
                }
            }
        }
        let strange: Vec<_> = seen.keys().collect();
        assert!(strange.is_empty(), "never handed over: {strange:?}");
        self.has_failed = self.fails_now;
        self.crash = None;
    }
}

impl Mail {
    fn is_free(&self) -> bool {
        let taken = matches!(self.known, Known::Taken(_));
        taken && !self.is_busy && self.recipients.iter().any(|said| !said.is_final())
    }

    fn said(&mut self, recipient: u32) -> &mut Said {
        if recipient == u32::MAX { &mut self.held } else { &mut self.recipients[recipient as usize] }
    }

    fn check_missing(&mut self, id: MessageId, soft_stays: bool) {
        let may_be_over = self.recipients.iter().all(Said::is_final);
        let is_certain = match self.known {
            Known::Taken(Durability::Durable) => true,
            Known::Taken(_) => soft_stays,
            _ => false,
        };
        let must_be_there = is_certain && !may_be_over;
        assert!(!must_be_there, "{id} was acknowledged and is lost: {self:?}");
        self.known = Known::Absent;
        if self.was_certain {
            self.recipients.iter_mut().for_each(|said| said.certain = Some(Change::Final));
        }
    }

    fn check_found(&mut self, id: MessageId, found: &Recovered, soft_stays: bool) {
        assert_ne!(self.known, Known::Absent, "{id} was refused, lost before or over, and reappeared");
        assert_eq!(found.recipients_total as usize, self.recipients.len(), "{id}: all recipients or none");
        for (n, said) in (0..).zip(&mut self.recipients) {
            let waiting = found.recipients.iter().find(|recipient| recipient.index.0 == n);
            let state = match waiting {
                None => Some(Change::Final),
                Some(recipient) if recipient.due.is_none() => None,
                Some(recipient) => {
                    assert_eq!(recipient.due.map(|due| due.0), Some(1_000 + u64::from(recipient.attempts)));
                    Some(Change::Deferred(recipient.attempts))
                }
            };
            said.adopt(id, state, soft_stays);
        }
        let held = self.held.possible(soft_stays).contains(&Some(Change::Held(found.is_held)));
        let never = self.held.possible(soft_stays).contains(&None);
        assert!(held || never && !found.is_held, "{id}: held {} was never said: {:?}", found.is_held, self.held);
        self.held = Said { certain: Some(Change::Held(found.is_held)), ..Said::default() };
        self.known = Known::Taken(Durability::Durable);
        self.was_certain = true;
    }
}

impl Said {
    fn adopt(&mut self, id: MessageId, state: Option<Change>, soft_stays: bool) {
        let came_back = self.is_over(soft_stays) && state != Some(Change::Final);
        assert!(!came_back, "{id}: a final recipient came back: {self:?}");
        assert!(self.possible(soft_stays).contains(&state), "{id}: {state:?} was never said: {self:?}");
        *self = Said { certain: state, ..Said::default() };
    }
}
