//! One transaction under way: what was sent, which reply is next, what became of each recipient.
//!
//! ```text
//! [Reset] -> Mail -> Rcpt(0) .. Rcpt(n-1) -> Data -> content -> End(0) .. End(accepted-1, LMTP)
//!                                        \-> (BDAT) content ->/
//! ```
//!
//! The order of replies is fixed, so one cursor serves both ways of sending: with PIPELINING all
//! commands are out before the first reply; without, each reply releases the next command.

use smallvec::SmallVec;

use super::classify::{Classifier, is_too_many_recipients};
use super::commands;
use super::plan::{Plan, Transaction, Transfer};
use super::{ContentForm, Step, Wait};
use crate::base::RecipientIndex;
use crate::mail::{DeliverByMode, Diagnostic, ErrorKind, Outcome, Recipient, Reply, Scope};
use crate::smtp::extensions::PeerExtensions;

/// Recipients in one transaction when the peer sets no limit: every server takes these (RFC 5321 §4.5.3.1.8).
const RECIPIENTS_UNLESS_TOLD: usize = 100;
/// Recipients in one transaction, whatever the peer says: their replies must fit in socket buffers.
const RECIPIENTS_MAX: usize = 1000;

/// A success report that we owe because nobody after us will make it (RFC 3461 §5.2.2, RFC 2852 §4.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owed {
    /// None.
    #[default]
    Nothing,
    /// `delivered`: it was the last hop.
    Delivered,
    /// `relayed`: the next hop cannot do DSN.
    Relayed,
}

/// What became of one recipient in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// This.
    Done {
        /// Its outcome at this host.
        outcome: Outcome,
        /// Another host may be tried at once: no content went out for it here.
        may_try_next_host: bool,
        /// Which success report we owe the sender, if it was delivered.
        owed: Owed,
    },
    /// Not put to the peer, or too many at once: it goes in another transaction on the same connection.
    Left,
}

/// One recipient's [`Progress`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientResult {
    /// Which.
    pub recipient: RecipientIndex,
    /// What became of it.
    pub progress: Progress,
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Results {
    /// One for each recipient, in the order they were given.
    pub recipients: Vec<RecipientResult>,
    /// The peer answered a command of this transaction. If it did not, and the connection was an old one
    /// that had idled, the transaction may be tried again at once on a new connection.
    pub was_answered: bool,
    /// The end of data was sent and its answer never came: the peer may have the message.
    pub is_unknown: bool,
    /// How many recipients the peer takes in one transaction: it said so (RFC 9422), or refused those beyond.
    pub recipients_max: Option<u32>,
}

/// What the machine does after a reply.
#[derive(Debug)]
pub(super) enum Turn {
    /// Reads on.
    More,
    /// Has the content sent.
    Content(ContentForm),
    /// Ends the transaction.
    Over { reusable: bool, needs_reset: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaiting {
    Reset,
    Mail,
    Rcpt(usize),
    Data,
    /// The reply to the end of data, for the n-th accepted recipient by LMTP, for all by SMTP.
    End(usize),
}

#[derive(Debug)]
enum Fate {
    Open,
    Accepted,
    Settled(Progress),
}

#[derive(Debug)]
struct Slot {
    recipient: RecipientIndex,
    owed: Owed,
    fate: Fate,
}

/// The transaction under way.
#[derive(Debug)]
pub(super) struct Running {
    lmtp: bool,
    pipelined: bool,
    /// Content leaves with the commands.
    ahead: bool,
    transfer: Transfer,
    size_bytes: u64,
    awaiting: Awaiting,
    /// The first so many are part of this transaction; the others are left.
    admitted: usize,
    slots: Vec<Slot>,
    accepted: SmallVec<[u32; 4]>,
    /// Commands not yet sent, and where each ends (without PIPELINING).
    pending: Vec<u8>,
    ends: Vec<usize>,
    sent: usize,
    content_sent: bool,
    /// 354 came although nobody was accepted: an empty message answers it (RFC 2920 §3.1).
    is_void: bool,
    was_answered: bool,
    is_unknown: bool,
    recipients_max: Option<u32>,
}

/// Refuses a transaction that this peer cannot have, before anything was sent.
pub(super) fn refuse_all(tx: &Transaction<'_>, reply: Reply, remote: &str) -> Results {
    let kind = ErrorKind::UnexpectedReply;
    let diagnostic = Diagnostic { kind, scope: Scope::Message, remote: remote.into(), reply, is_remote: false };
    // Another host of the same domain may offer what this one lacks.
    all(tx, &Outcome::Failed(diagnostic), true)
}

/// Our own content could not be read, before anything was sent.
pub(super) fn unread(tx: &Transaction<'_>, reply: Reply) -> Results {
    all(tx, &Outcome::Deferred(Diagnostic::local(ErrorKind::Io, Scope::Message, reply)), false)
}

fn all(tx: &Transaction<'_>, outcome: &Outcome, may_try_next_host: bool) -> Results {
    let result = |recipient| RecipientResult {
        recipient,
        progress: Progress::Done { outcome: outcome.clone(), may_try_next_host, owed: Owed::Nothing },
    };
    Results { recipients: tx.recipients().map(|(i, _)| result(i)).collect(), was_answered: true, ..Results::default() }
}

impl Running {
    /// Appends the first flight.
    pub(super) fn begin(
        tx: &Transaction<'_>,
        plan: &Plan,
        peer: &PeerExtensions,
        lmtp: bool,
        reset: bool,
        ahead_bytes_max: u64,
        out: &mut Vec<u8>,
    ) -> (Running, Step) {
        let slots: Vec<Slot> = tx
            .recipients()
            .map(|(recipient, r)| Slot { recipient, owed: owed(tx, r, peer, lmtp), fate: Fate::Open })
            .collect();
        let pipelined = peer.pipelining;
        let mut running = Running {
            lmtp,
            pipelined,
            ahead: pipelined && plan.transfer == Transfer::Chunk && tx.size_bytes <= ahead_bytes_max,
            transfer: plan.transfer,
            size_bytes: tx.size_bytes,
            awaiting: if reset { Awaiting::Reset } else { Awaiting::Mail },
            admitted: admitted(tx, peer),
            slots,
            accepted: SmallVec::new(),
            pending: Vec::new(),
            ends: Vec::new(),
            sent: 0,
            content_sent: false,
            is_void: false,
            was_answered: false,
            is_unknown: false,
            recipients_max: peer.rcpt_max,
        };
        running.write_commands(tx, plan, reset, out);
        let step = if running.ahead { Step::Content(ContentForm::Chunk) } else { Step::Read(running.wait()) };
        (running, step)
    }

    fn write_commands(&mut self, tx: &Transaction<'_>, plan: &Plan, reset: bool, out: &mut Vec<u8>) {
        let mut held = Vec::new();
        let one_by_one = !self.pipelined;
        let target = if one_by_one { &mut held } else { &mut *out };
        let mut ends = Vec::new();
        if reset {
            target.extend_from_slice(b"RSET\r\n");
            ends.extend(one_by_one.then_some(target.len()));
        }
        commands::mail(target, &tx.envelope.reverse_path, &tx.envelope.mail, &plan.said);
        ends.extend(one_by_one.then_some(target.len()));
        for (_, recipient) in tx.recipients().take(self.admitted) {
            commands::rcpt(target, recipient, &plan.said);
            ends.extend(one_by_one.then_some(target.len()));
        }
        if self.pipelined {
            match plan.transfer {
                Transfer::Data { .. } => out.extend_from_slice(b"DATA\r\n"),
                Transfer::Chunk if self.ahead => commands::bdat_last(out, self.size_bytes),
                Transfer::Chunk => {}
            }
        } else {
            self.pending = held;
            self.ends = ends;
            self.send_next(out);
        }
    }

    /// Without PIPELINING: the next command of those that are held.
    fn send_next(&mut self, out: &mut Vec<u8>) {
        let start = if self.sent == 0 { 0 } else { self.ends.get(self.sent - 1).copied().unwrap_or(0) };
        let end = self.ends.get(self.sent).copied().unwrap_or(start);
        out.extend_from_slice(self.pending.get(start..end).unwrap_or_default());
        self.sent += 1;
    }

    pub(super) fn wait(&self) -> Wait {
        match self.awaiting {
            Awaiting::Reset => Wait::Reset,
            Awaiting::Mail => Wait::Mail,
            Awaiting::Rcpt(_) => Wait::Rcpt,
            Awaiting::Data => Wait::Data,
            Awaiting::End(_) if self.content_sent => Wait::EndOfData,
            Awaiting::End(_) => Wait::Content,
        }
    }

    /// The content is out, and the end of data behind it.
    pub(super) fn content_sent(&mut self) {
        self.content_sent = true;
    }

    pub(super) fn on_reply(&mut self, reply: Reply, classifier: &Classifier<'_>, out: &mut Vec<u8>) -> Turn {
        // An idle peer's farewell that crossed our first command answers nothing.
        let is_farewell = reply.code == 421 && matches!(self.awaiting, Awaiting::Reset | Awaiting::Mail);
        self.was_answered |= !is_farewell && self.awaiting != Awaiting::Reset;
        if reply.code == 421 {
            self.settle_rest(&classifier.message(reply));
            return Turn::Over { reusable: false, needs_reset: false };
        }
        if !self.is_in_step(&reply) {
            self.settle_rest(&classifier.out_of_step(&reply));
            return Turn::Over { reusable: false, needs_reset: false };
        }
        match self.awaiting {
            Awaiting::Reset => self.on_reset(reply, classifier, out),
            Awaiting::Mail => self.on_mail(reply, classifier, out),
            Awaiting::Rcpt(i) => self.on_rcpt(i, reply, classifier, out),
            Awaiting::Data => self.on_data(reply, classifier, out),
            Awaiting::End(n) => self.on_end(n, reply, classifier),
        }
    }

    /// The reply is of a class that this command can have: 3yz to DATA alone, 2yz to all others.
    fn is_in_step(&self, reply: &Reply) -> bool {
        match reply.code {
            200..300 => self.awaiting != Awaiting::Data && !self.is_premature(),
            300..400 => self.awaiting == Awaiting::Data,
            400..600 => true,
            _ => false,
        }
    }

    /// The end of data is answered before it was sent.
    fn is_premature(&self) -> bool {
        matches!(self.awaiting, Awaiting::End(_)) && !self.content_sent
    }

    fn on_reset(&mut self, reply: Reply, classifier: &Classifier<'_>, out: &mut Vec<u8>) -> Turn {
        if !is_success(&reply) {
            self.settle_rest(&Outcome::Deferred(classifier.message(reply).into_diagnostic()));
            return Turn::Over { reusable: false, needs_reset: false };
        }
        self.awaiting = Awaiting::Mail;
        if !self.pipelined {
            self.send_next(out);
        }
        Turn::More
    }

    fn on_mail(&mut self, reply: Reply, classifier: &Classifier<'_>, out: &mut Vec<u8>) -> Turn {
        if !is_success(&reply) {
            let outcome = classifier.message(reply);
            self.settle_rest(&outcome);
            if !self.pipelined {
                return Turn::Over { reusable: true, needs_reset: true };
            }
        }
        self.awaiting = Awaiting::Rcpt(0);
        if self.admitted == 0 {
            return Turn::Over { reusable: false, needs_reset: true };
        }
        if !self.pipelined {
            self.send_next(out);
        }
        Turn::More
    }

    fn on_rcpt(&mut self, i: usize, reply: Reply, classifier: &Classifier<'_>, out: &mut Vec<u8>) -> Turn {
        let others_accepted = !self.accepted.is_empty();
        if let Some(slot) = self.slots.get_mut(i).filter(|slot| matches!(slot.fate, Fate::Open)) {
            slot.fate = if is_success(&reply) {
                self.accepted.push(i as u32);
                Fate::Accepted
            } else if others_accepted && is_too_many_recipients(&reply) {
                let taken = self.accepted.len() as u32;
                self.recipients_max = Some(self.recipients_max.map_or(taken, |max| max.min(taken)));
                Fate::Settled(Progress::Left)
            } else {
                Fate::Settled(here_only(classifier.recipient(reply)))
            };
        }
        if i + 1 < self.admitted {
            self.awaiting = Awaiting::Rcpt(i + 1);
            if !self.pipelined {
                self.send_next(out);
            }
            return Turn::More;
        }
        self.after_recipients(out)
    }

    /// Every RCPT is answered.
    fn after_recipients(&mut self, out: &mut Vec<u8>) -> Turn {
        if self.ahead {
            self.awaiting = Awaiting::End(0);
            return Turn::More;
        }
        if self.pipelined && self.transfer != Transfer::Chunk {
            self.awaiting = Awaiting::Data;
            return Turn::More;
        }
        if self.accepted.is_empty() {
            return Turn::Over { reusable: true, needs_reset: true };
        }
        match self.transfer {
            Transfer::Chunk => {
                commands::bdat_last(out, self.size_bytes);
                self.awaiting = Awaiting::End(0);
                Turn::Content(ContentForm::Chunk)
            }
            Transfer::Data { .. } => {
                out.extend_from_slice(b"DATA\r\n");
                self.awaiting = Awaiting::Data;
                Turn::More
            }
        }
    }

    fn on_data(&mut self, reply: Reply, classifier: &Classifier<'_>, out: &mut Vec<u8>) -> Turn {
        let go_ahead = (300..400).contains(&reply.code);
        match (go_ahead, self.accepted.is_empty()) {
            (true, false) => {
                self.awaiting = Awaiting::End(0);
                let stuffed = self.transfer == Transfer::Data { stuffed: true };
                Turn::Content(if stuffed { ContentForm::Stuffed } else { ContentForm::Plain })
            }
            (true, true) => {
                out.extend_from_slice(b".\r\n");
                self.content_sent = true;
                self.is_void = true;
                self.awaiting = Awaiting::End(0);
                // By LMTP no reply is due, and none may come: the connection ends with the dot.
                if self.lmtp { Turn::Over { reusable: false, needs_reset: false } } else { Turn::More }
            }
            (false, _) => {
                let outcome = classifier.message(reply);
                for slot in self.slots.iter_mut().filter(|slot| matches!(slot.fate, Fate::Accepted)) {
                    slot.fate = Fate::Settled(here_only(outcome.clone()));
                }
                Turn::Over { reusable: true, needs_reset: true }
            }
        }
    }

    fn on_end(&mut self, n: usize, reply: Reply, classifier: &Classifier<'_>) -> Turn {
        let by_chunk = self.transfer == Transfer::Chunk;
        if self.is_void || self.accepted.is_empty() {
            return Turn::Over { reusable: true, needs_reset: by_chunk };
        }
        let success = is_success(&reply);
        let premature = self.is_premature();
        let outcome = classifier.end_of_data(reply);
        if !self.lmtp || premature {
            self.settle_accepted(&outcome);
            return Turn::Over { reusable: !premature, needs_reset: by_chunk && !success };
        }
        if let Some(slot) = self.accepted.get(n).and_then(|&i| self.slots.get_mut(i as usize)) {
            slot.fate = Fate::Settled(final_word(outcome, slot.owed));
        }
        if n + 1 < self.accepted.len() {
            self.awaiting = Awaiting::End(n + 1);
            return Turn::More;
        }
        Turn::Over { reusable: true, needs_reset: by_chunk && !success }
    }

    fn settle_accepted(&mut self, outcome: &Outcome) {
        for slot in self.slots.iter_mut().filter(|slot| matches!(slot.fate, Fate::Accepted)) {
            slot.fate = Fate::Settled(final_word(outcome.clone(), slot.owed));
        }
    }

    /// Whoever has no outcome yet gets this one; those that were left stay left only if they were never put.
    fn settle_rest(&mut self, outcome: &Outcome) {
        let content_out = self.content_sent && matches!(self.awaiting, Awaiting::End(_)) && !self.is_void;
        for slot in self.slots.iter_mut().take(self.admitted) {
            if !matches!(slot.fate, Fate::Settled(_)) {
                let progress = if content_out && matches!(slot.fate, Fate::Accepted) {
                    final_word(outcome.clone(), Owed::Nothing)
                } else {
                    here_only(outcome.clone())
                };
                slot.fate = Fate::Settled(progress);
            }
        }
    }

    /// The connection ends without a word from the peer.
    pub(super) fn fail_rest(&mut self, diagnostic: Diagnostic) {
        let open = self.slots.iter().take(self.admitted).any(|slot| !matches!(slot.fate, Fate::Settled(_)));
        self.is_unknown = open && self.content_sent && !self.is_void && self.mail_may_stand();
        self.settle_rest(&Outcome::Deferred(diagnostic));
    }

    /// Some recipient may have been accepted.
    fn mail_may_stand(&self) -> bool {
        !self.accepted.is_empty() || !matches!(self.awaiting, Awaiting::End(_))
    }

    pub(super) fn into_results(self) -> Results {
        let recipients = self.slots.into_iter().map(|slot| RecipientResult {
            recipient: slot.recipient,
            progress: match slot.fate {
                Fate::Settled(progress) => progress,
                Fate::Open | Fate::Accepted => Progress::Left,
            },
        });
        Results {
            recipients: recipients.collect(),
            was_answered: self.was_answered,
            is_unknown: self.is_unknown,
            recipients_max: self.recipients_max,
        }
    }
}

/// No content went out for it at this host.
fn here_only(outcome: Outcome) -> Progress {
    let may_try_next_host = matches!(&outcome, Outcome::Deferred(d) if d.kind != ErrorKind::Io);
    Progress::Done { outcome, may_try_next_host, owed: Owed::Nothing }
}

/// The content went out: this host has spoken.
fn final_word(outcome: Outcome, owed: Owed) -> Progress {
    let owed = if matches!(outcome, Outcome::Delivered(_)) { owed } else { Owed::Nothing };
    Progress::Done { outcome, may_try_next_host: false, owed }
}

/// How many of the recipients the peer takes at once (LIMITS RCPTMAX, RCPTDOMAINMAX, RFC 9422).
fn admitted(tx: &Transaction<'_>, peer: &PeerExtensions) -> usize {
    let max = peer.rcpt_max.map_or(RECIPIENTS_UNLESS_TOLD, |max| max as usize).clamp(1, RECIPIENTS_MAX);
    let Some(domains_max) = peer.rcpt_domain_max else { return tx.recipients().take(max).count() };
    let mut domains: SmallVec<[std::borrow::Cow<'_, str>; 4]> = SmallVec::new();
    let fits = |(_, recipient): &(RecipientIndex, &Recipient)| {
        let domain = recipient.path.mailbox().domain_key().into_owned();
        if domains.iter().any(|d| **d == *domain) {
            return true;
        }
        domains.push(domain.into());
        domains.len() <= (domains_max as usize).max(1)
    };
    tx.recipients().take(max).take_while(fits).count()
}

/// Who makes the success report, if one is asked for.
fn owed(tx: &Transaction<'_>, recipient: &Recipient, peer: &PeerExtensions, lmtp: bool) -> Owed {
    let notify = recipient.notify_effective();
    if notify.success && !peer.dsn {
        return if lmtp { Owed::Delivered } else { Owed::Relayed };
    }
    match tx.envelope.mail.deliver_by {
        Some(by) if !notify.is_never() && by.mode == DeliverByMode::Notify && peer.deliver_by_s_min.is_none() => {
            Owed::Relayed
        }
        Some(by) if !notify.is_never() && by.trace => Owed::Relayed,
        _ => Owed::Nothing,
    }
}

fn is_success(reply: &Reply) -> bool {
    (200..300).contains(&reply.code)
}
