//! What the outside world knows: what was offered, answered, taken by next hops, and promised on disk. All
//! promises are checked here, at the moment they could be broken.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use posthaste::base::{MessageId, StreamId, WallTime};
use posthaste::mail::{DeliverByMode, Notify, Status, StatusRecord};
use posthaste::spool::{Body, Durability, Message, Record, Recovered};

/// What is on disk about a recipient that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    pub until: Option<WallTime>,
    pub attempts: u32,
    pub delay_notices: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Waits(Facts),
    Delivered,
    Failed,
    /// By an operator's hand.
    Removed,
}

/// What the end of a process takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It stopped in order: nothing.
    Nothing,
    /// It was killed: what was in its memory only.
    Memory,
    /// The power went, or the disk failed before: also what was in the page cache only.
    Cache,
}

/// A change that was handed to the spool and of which nobody has heard since.
#[derive(Debug, Clone, Copy)]
struct Intended {
    standing: Standing,
    report: Option<MessageId>,
}

/// A next hop took the message for a recipient.
#[derive(Debug, Clone, Copy)]
struct Taken {
    life: u32,
    is_answered: bool,
}

#[derive(Debug)]
pub struct Rcpt {
    pub path: String,
    notify: Notify,
    pub standing: Standing,
    intended: Option<Intended>,
    /// What was being written when a former life ended, and was not found since: it lies behind an end that no synced
    /// header names yet, and may come to light until one does.
    late: Option<Intended>,
    taken: Vec<Taken>,
    tried_in: Option<u32>,
}

/// How a message stands with the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Handed over, no answer yet.
    Submitted,
    /// Durable, as the spool says.
    Accepted,
    /// Refused; it must never be seen.
    Refused,
    /// Refused while the stream was sick: it may come back after a crash (DESIGN.md part 6).
    Doubtful,
    /// It was in doubt at a crash, and is not there.
    Absent,
    /// A weaker durability mode gave it up at a crash, as it says it does.
    Lost,
    /// Damaged on disk: it must never be sent.
    Damaged,
}

#[derive(Debug)]
pub struct Mail {
    pub state: State,
    /// Header section, separator and body as they were given.
    content: Vec<u8>,
    sender: String,
    life: u32,
    /// The life that recovered it last; zero for none.
    found_in: u32,
    /// The mode in which it was committed.
    durability: Durability,
    /// Whatever its mode: it is on stable storage, because something durable was said about it or recovery found it.
    is_firm: bool,
    /// What it may have gone with.
    may_be_lost: bool,
    /// Whether it is held, as the disk has it; what an operator asked for since; and as the queue has it.
    is_held: bool,
    held_asked: Option<bool>,
    held_now: bool,
    /// Its sender asked for no attempt before.
    hold_until: Option<WallTime>,
    hold: Duration,
    /// When its schedule, or its sender, ends it at the earliest.
    ends_at: WallTime,
    /// An operator asked for an attempt in this life: then it may be early.
    is_hastened: bool,
    /// It was in doubt, was not found, and may come to light as [`Rcpt::late`] may.
    is_late: bool,
    pub recipients: Vec<Rcpt>,
}

/// A message as a client means to send it.
#[derive(Debug)]
pub struct Offer {
    pub recipients: Vec<String>,
    pub content: Vec<u8>,
    pub is_end_sent: bool,
    pub is_taken: bool,
}

#[derive(Debug, Default)]
pub struct Ledger {
    pub offers: Vec<Offer>,
    pub mails: BTreeMap<MessageId, Mail>,
    pub life: u32,
    /// Whether frames that were being written at the crash are there, by the report in them.
    happened: HashMap<MessageId, bool>,
    /// The message that was damaged and of which neither recovery nor a reader has said so.
    pub unnamed: Option<MessageId>,
    pub counts: BTreeMap<&'static str, u64>,
    /// Streams in which this life has written something durable: what former lives left open is closed there.
    resumed: BTreeSet<StreamId>,
}

pub fn content_of(message: &Message, bulk: &[u8]) -> Vec<u8> {
    let mut content = message.header.to_vec();
    if message.has_separator {
        content.extend_from_slice(b"\r\n");
    }
    match &message.body {
        Body::Memory(pieces) => pieces.iter().for_each(|piece| content.extend_from_slice(piece)),
        Body::Bulk(_) => content.extend_from_slice(bulk),
    }
    content
}

impl Ledger {
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A client's message is handed to the spool.
    pub fn submitted(&mut self, offer: usize, message: &Message, bulk: &[u8], durability: Durability) {
        let content = content_of(message, bulk);
        let offer = &mut self.offers[offer];
        assert!(offer.is_end_sent, "P6: a message was taken before its end was sent");
        assert!(!std::mem::replace(&mut offer.is_taken, true), "a message was taken twice");
        let recipients: Vec<_> = message.envelope.recipients.iter().map(|r| r.path.as_str().to_owned()).collect();
        assert_eq!(recipients, offer.recipients, "P2: the recipients that were answered 250");
        assert!(content == offer.content, "P7: content changed on its way in");
        self.enter(message, content, durability);
        self.count("submitted");
    }

    fn enter(&mut self, message: &Message, content: Vec<u8>, durability: Durability) {
        let recipients = message.envelope.recipients.iter().map(|recipient| Rcpt {
            path: recipient.path.as_str().to_owned(),
            notify: recipient.notify_effective(),
            standing: Standing::Waits(Facts::default()),
            intended: None,
            late: None,
            taken: Vec::new(),
            tried_in: None,
        });
        let mail = Mail {
            state: State::Submitted,
            content,
            sender: message.envelope.reverse_path.as_str().to_owned(),
            life: self.life,
            found_in: 0,
            durability,
            is_firm: durability == Durability::Durable,
            may_be_lost: false,
            is_held: false,
            held_asked: None,
            held_now: false,
            hold_until: message.envelope.mail.hold_until,
            hold: message.envelope.mail.hold_until.unwrap_or_default().since(message.received.at),
            ends_at: ends_at(message),
            is_hastened: false,
            is_late: false,
            recipients: recipients.collect(),
        };
        assert!(self.mails.insert(message.id, mail).is_none(), "the id {} was given twice", message.id);
    }

    /// The commit of a client's message failed.
    pub fn refused(&mut self, id: MessageId, is_sick: bool) {
        let mail = self.mails.get_mut(&id).expect("submitted before");
        assert_eq!(mail.state, State::Submitted, "an answer after the answer");
        mail.state = if is_sick { State::Doubtful } else { State::Refused };
        self.count("refused");
    }

    /// A client has read the 250 of this message.
    pub fn acknowledged(&mut self, id: MessageId) {
        let mail = &self.mails[&id];
        assert_eq!(mail.state, State::Accepted, "P1: 250 to {id} before it was durable");
        self.count("acknowledged");
    }

    /// The spool says that this record is committed. When its stream is well, what was refused before is gone for good.
    pub fn durable(&mut self, record: &Record, is_well: bool) {
        let (life, stream) = (self.life, record.message_id().map(|id| id.stream));
        for (_, mail) in self.mails.iter_mut().filter(|(id, _)| is_well && Some(id.stream) == stream) {
            if mail.state == State::Doubtful && mail.life == life {
                mail.state = State::Refused;
            }
        }
        match record {
            Record::Message(message) => {
                let mail = self.mails.get_mut(&message.id).expect("submitted before");
                assert_eq!(mail.state, State::Submitted, "{}", message.id);
                mail.state = State::Accepted;
                if mail.durability == Durability::Durable {
                    self.resumed.insert(message.id.stream);
                }
            }
            Record::Status(record) => self.happened(record),
            Record::Hold { message, .. } => self.held(*message, true),
            Record::Release { message, .. } => self.held(*message, false),
            Record::Fact { .. } => {}
        }
    }

    fn held(&mut self, id: MessageId, held: bool) {
        let mail = self.mails.get_mut(&id).expect("a known message");
        if mail.held_asked.is_some() {
            mail.is_firm = true; // an operator's word is durable, and brings the message along
            mail.held_asked = None;
        }
        mail.is_held = held;
    }

    /// An operator asks for a hold, or for its end.
    pub fn asks(&mut self, id: MessageId, held: bool) {
        self.mails.get_mut(&id).expect("a known message").held_asked = Some(held);
        self.count(if held { "holds" } else { "releases" });
    }

    /// The queue has been told of it.
    pub fn is_told(&mut self, id: MessageId, held: bool) {
        self.mails.get_mut(&id).expect("a known message").held_now = held;
    }

    /// An operator wants an attempt now.
    pub fn hastened(&mut self, id: MessageId) {
        let mail = self.mails.get_mut(&id).expect("a known message");
        mail.is_hastened = true;
        // Its sender's time does not count any more, so that its schedule began at its receipt.
        mail.ends_at = mail.ends_at - std::mem::take(&mut mail.hold);
        self.count("retries");
    }

    /// Some message that may be queued.
    pub fn any(&self, roll: u64) -> Option<MessageId> {
        let is_open = |mail: &Mail| {
            let waits = |rcpt: &Rcpt| matches!(rcpt.standing, Standing::Waits(_));
            mail.state == State::Accepted && mail.recipients.iter().any(waits)
        };
        let open: Vec<_> = self.mails.iter().filter(|(_, mail)| is_open(mail)).map(|(id, _)| *id).collect();
        open.get((roll % (open.len() as u64).max(1)) as usize).copied()
    }

    fn happened(&mut self, record: &StatusRecord) {
        let rcpt = self.rcpt_mut(record.message, record.recipient.0 as usize);
        let intended = rcpt.intended.take().expect("a status that nobody wrote");
        assert!(matches!(rcpt.standing, Standing::Waits(_)), "P4: two terminal states");
        assert_eq!(intended.standing, standing(&record.status));
        rcpt.standing = intended.standing;
        let mail = self.mails.get_mut(&record.message).expect("a known message");
        // What is final may stay in memory; anything else is durable, and so is the message then.
        mail.is_firm |= !record.status.is_final() || mail.durability == Durability::Process;
    }

    fn rcpt_mut(&mut self, id: MessageId, at: usize) -> &mut Rcpt {
        let mail = self.mails.get_mut(&id).expect("a known message");
        mail.recipients.get_mut(at).expect("a known recipient")
    }

    /// An attempt begins.
    pub fn attempted(&mut self, id: MessageId, at: usize, now: WallTime) {
        let life = self.life;
        self.count("attempts");
        let mail = &self.mails[&id];
        assert_eq!(mail.state, State::Accepted, "P6: {id} is sent");
        assert!(!mail.held_now, "{id} is held by an operator and tried");
        let is_early = mail.hold_until.is_some_and(|until| now.0 + 2 < until.0);
        assert!(!is_early || mail.is_hastened, "P12: {id} is tried before its sender's time {:?}", mail.hold_until);
        let is_hastened = mail.is_hastened;
        let rcpt = self.rcpt_mut(id, at);
        let Standing::Waits(facts) = rcpt.standing else { panic!("P4: {id} {at} is final and tried again") };
        assert!(rcpt.intended.is_none(), "{id} {at} is tried while its outcome is being written");
        assert!(rcpt.tried_in != Some(life), "{id} {at} is tried twice at once");
        let until = facts.until.unwrap_or_default();
        assert!(is_hastened || now.0 + 2 >= until.0, "P12: {id} {at} is tried {} ms early", until.0 - now.0);
        rcpt.tried_in = Some(life);
    }

    /// A next hop takes a message for a recipient.
    pub fn taken(&mut self, id: MessageId, path: &str, content: &[u8]) {
        let life = self.life;
        self.count("taken");
        let mail = self.mails.get_mut(&id).expect("a known message");
        assert_eq!(mail.state, State::Accepted, "P6: {id} is delivered");
        assert!(
            content.ends_with(&mail.content),
            "P7: content of {id} changed: {:?}",
            String::from_utf8_lossy(content)
        );
        let rcpt = mail.recipients.iter_mut().find(|r| r.path == path).expect("a recipient of the message");
        assert!(matches!(rcpt.standing, Standing::Waits(_)), "P4: {id} to {path} was final");
        for earlier in &rcpt.taken {
            assert!(!earlier.is_answered || earlier.life < life, "P5: a duplicate of {id} to {path} without need");
        }
        let is_again = !rcpt.taken.is_empty();
        rcpt.taken.push(Taken { life, is_answered: false });
        if is_again {
            self.count("duplicates");
        }
    }

    /// The sending side has heard that it was taken.
    pub fn heard(&mut self, id: MessageId, at: usize) {
        let rcpt = self.rcpt_mut(id, at);
        let last = rcpt.taken.last_mut().expect("delivered without a next hop");
        last.is_answered = true;
    }

    /// A frame about recipients is handed to the spool. Its report is held against what RFC 3461 asks for.
    pub fn intends(&mut self, records: &[Record], owes_success: &dyn Fn(u32) -> bool) {
        let reports: Vec<_> =
            records.iter().filter_map(|r| if let Record::Message(m) = r { Some(m) } else { None }).collect();
        assert!(reports.len() <= 1, "P9: one report for all that is told at once");
        let report = reports.first().map(|m| m.id);
        let mut wanted = BTreeSet::new();
        let mut sender = String::new();
        for record in records {
            let Record::Status(record) = record else { continue };
            let at = record.recipient.0;
            let mail = &self.mails[&record.message];
            sender = mail.sender.clone();
            let new = standing(&record.status);
            if matches!(record.status, Status::Expired { .. }) && !sender.is_empty() {
                assert!(record.at.0 + 2 >= mail.ends_at.0, "P15: {} expires before its time", record.message);
                *self.counts.entry("expired").or_default() += 1;
            }
            let rcpt = self.rcpt_mut(record.message, at as usize);
            rcpt.tried_in = None;
            assert!(rcpt.intended.is_none(), "two frames about one recipient");
            let Standing::Waits(old) = rcpt.standing else { panic!("P4: {} {at} is final", record.message) };
            let action = match new {
                Standing::Waits(facts) => {
                    let grown = facts.delay_notices > old.delay_notices;
                    (grown && rcpt.notify.delay).then_some("delayed")
                }
                Standing::Failed => rcpt.notify.failure.then_some("failed"),
                Standing::Removed => None,
                Standing::Delivered => match rcpt.path.ends_with(super::peer::LMTP_DOMAIN) {
                    true => (rcpt.notify.success && owes_success(at)).then_some("delivered"),
                    false => (rcpt.notify.success && owes_success(at)).then_some("relayed"),
                },
            };
            wanted.extend(action.map(|action| format!("{action} {}", rcpt.path)));
            rcpt.intended = Some(Intended { standing: new, report });
        }
        if sender.is_empty() {
            wanted.clear();
        }
        let told = reports.first().map(|m| told(&content_of(m, b""))).unwrap_or_default();
        assert_eq!(told, wanted, "P9: who is told what");
        if let Some(report) = reports.first() {
            assert!(report.envelope.reverse_path.is_null(), "a report must not be answered");
            assert_eq!(report.envelope.recipients.len(), 1);
            assert_eq!(report.envelope.recipients[0].path.as_str(), sender);
            let content = content_of(report, b"");
            self.enter(report, content, Durability::Durable);
            self.count("reports");
        }
    }

    /// An attempt ended and nothing has to be written about this recipient.
    pub fn untried(&mut self, id: MessageId, at: usize) {
        self.rcpt_mut(id, at).tried_in = None;
    }

    /// Somebody damages a record on disk: a message that waits, and the reports that quote it. Gives what they all have in them.
    pub fn damage(&mut self, roll: u64) -> Option<Vec<u8>> {
        let id = self.any(roll)?;
        let text = String::from_utf8_lossy(&self.mails[&id].content).into_owned();
        let (_, rest) = text.split_once("X-Sim: ")?;
        let mark = format!("X-Sim: {};", rest.split_once(';')?.0).into_bytes();
        let mail = &self.mails[&id];
        // It may be over, or gone with a crash: then nobody needs to meet the damage.
        let is_certain = !mail.may_be_lost && mail.recipients.iter().all(|rcpt| rcpt.intended.is_none());
        self.unnamed = is_certain.then_some(id);
        for mail in self.mails.values_mut() {
            if mail.content.windows(mark.len()).any(|part| part == mark) {
                mail.state = State::Damaged;
                mail.recipients.iter_mut().for_each(|rcpt| {
                    rcpt.intended = None;
                    rcpt.standing = Standing::Waits(Facts::default());
                });
            }
        }
        self.count("damage");
        Some(mark)
    }

    /// The messages that an operator will have to remove.
    pub fn damaged(&self) -> Vec<MessageId> {
        self.mails.iter().filter(|(_, mail)| mail.state == State::Damaged).map(|(id, _)| *id).collect()
    }

    /// The process is gone, and this with it.
    pub fn ended(&mut self, loss: Loss) {
        self.life += 1;
        self.count(match loss {
            Loss::Nothing => "stops",
            Loss::Memory => "kills",
            Loss::Cache => "power cuts",
        });
        let resumed = std::mem::take(&mut self.resumed);
        for (id, mail) in &mut self.mails {
            if resumed.contains(&id.stream) {
                mail.is_late = false;
                mail.recipients.iter_mut().for_each(|rcpt| rcpt.late = None);
            }
            mail.held_now = false;
            mail.is_hastened = false;
            mail.may_be_lost |= !mail.is_firm
                && match mail.durability {
                    Durability::Durable => false,
                    Durability::Process => loss == Loss::Cache,
                    Durability::Memory => loss != Loss::Nothing,
                };
        }
    }

    /// Recovery has found a message: it is entered into the queue and may be tried at once.
    pub fn found(&mut self, one: &Recovered) {
        let (life, id) = (self.life, one.id);
        let mail = self.mails.get_mut(&id).unwrap_or_else(|| panic!("P6: {id} comes from nowhere"));
        assert!(mail.life < life, "{id} is of this life");
        assert!(mail.found_in != life, "{id} was recovered twice");
        mail.found_in = life;
        (mail.is_firm, mail.may_be_lost) = (true, false);
        assert!(
            one.is_held == mail.is_held || mail.held_asked == Some(one.is_held),
            "{id}: held is {} and was said to be {}",
            one.is_held,
            mail.is_held
        );
        (mail.is_held, mail.held_asked, mail.held_now) = (one.is_held, None, one.is_held);
        assert_eq!(one.recipients_total as usize, mail.recipients.len(), "P2: {id} has not all its recipients");
        match mail.state {
            State::Accepted => {}
            State::Submitted | State::Doubtful => {
                assert_eq!(one.recipients.len(), mail.recipients.len(), "P2: {id} came back in part");
                mail.state = State::Accepted;
            }
            State::Absent if std::mem::take(&mut mail.is_late) => mail.state = State::Accepted,
            State::Damaged => return,
            State::Refused | State::Absent => panic!("P6: {id} was refused and is there"),
            State::Lost => panic!("{id} was gone and is there again"),
        }
        for (at, rcpt) in mail.recipients.iter_mut().enumerate() {
            settle(id, at, rcpt, Some(one), &mut self.happened);
        }
    }

    /// Recovery is complete: what it did not find is over, or never was.
    pub fn recovered(&mut self, is_damaged: bool) {
        let life = self.life;
        for (id, mail) in self.mails.iter_mut().filter(|(_, mail)| mail.life < life && mail.found_in != life) {
            match mail.state {
                State::Accepted if mail.may_be_lost => {
                    mail.state = State::Lost;
                    *self.counts.entry("given up").or_default() += 1;
                }
                State::Accepted => {
                    for (at, rcpt) in mail.recipients.iter_mut().enumerate() {
                        settle(*id, at, rcpt, None, &mut self.happened);
                    }
                }
                State::Submitted | State::Doubtful => (mail.state, mail.is_late) = (State::Absent, true),
                State::Refused | State::Absent | State::Lost | State::Damaged => {}
            }
        }
        let hidden = self.unnamed.filter(|id| self.mails[id].found_in != life);
        assert!(hidden.is_none(), "P13: {hidden:?} is damaged and gone, and nobody says so");
        for (report, happened) in self.happened.drain() {
            let is_there = self.mails[&report].found_in == life;
            assert!(happened == is_there || is_damaged, "P9: the report {report} and its cause are apart");
        }
    }

    /// At the end nothing is left open, and nothing is missing (P3).
    pub fn closed(&mut self) {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (id, mail) in &self.mails {
            assert_ne!(mail.state, State::Submitted, "{id} is open");
            for rcpt in &mail.recipients {
                if matches!(mail.state, State::Lost | State::Damaged) {
                    continue;
                }
                if mail.state != State::Accepted {
                    assert!(rcpt.taken.is_empty(), "P6: {id} was delivered");
                    continue;
                }
                assert!(rcpt.intended.is_none());
                let key = match rcpt.standing {
                    Standing::Waits(_) => panic!("P3: {id} to {} is neither delivered nor failed", rcpt.path),
                    Standing::Delivered => "delivered",
                    Standing::Failed => "failed",
                    Standing::Removed => "removed",
                };
                *sums.entry(key).or_default() += 1;
                if rcpt.standing == Standing::Delivered {
                    assert!(!rcpt.taken.is_empty(), "P3: {id} to {} was delivered to nobody", rcpt.path);
                }
            }
        }
        for (key, sum) in sums {
            *self.counts.entry(key).or_default() += sum;
        }
    }
}

/// What a recipient's state is after a crash: what was durable, or what was being written, and nothing else.
fn settle(
    id: MessageId,
    at: usize,
    rcpt: &mut Rcpt,
    found: Option<&Recovered>,
    happened: &mut HashMap<MessageId, bool>,
) {
    rcpt.tried_in = None;
    let there = found.and_then(|one| one.recipients.iter().find(|r| r.index.0 as usize == at));
    let is = there.map(|r| Facts { until: r.due, attempts: r.attempts, delay_notices: r.delay_notices });
    let fits = |standing: Standing| match (standing, is) {
        (Standing::Waits(facts), Some(is)) => facts == is,
        (Standing::Waits(_), None) | (_, Some(_)) => false,
        (_, None) => true,
    };
    let intended = rcpt.intended.take();
    let news = intended.filter(|intended| fits(intended.standing));
    let late = rcpt.late.take();
    if news.is_none()
        && let Some(late) = late.filter(|late| !fits(rcpt.standing) && fits(late.standing))
    {
        happened.extend(late.report.map(|report| (report, true)));
        rcpt.standing = late.standing;
        return;
    }
    rcpt.late = if news.is_none() { intended.or(late) } else { None };
    if let Some(intended) = intended
        && let Some(report) = intended.report
    {
        let before = happened.insert(report, news.is_some());
        assert!(before.is_none_or(|before| before == news.is_some()), "a frame happened in part");
    }
    match news {
        Some(news) => rcpt.standing = news.standing,
        None => assert!(
            fits(rcpt.standing),
            "P3/P12: {id} to {} was {:?} (or {intended:?}) and is {is:?}",
            rcpt.path,
            rcpt.standing
        ),
    }
}

/// When a message may be given up: at the end of its schedule, or when its sender's time is over.
fn ends_at(message: &Message) -> WallTime {
    let by = message.envelope.mail.deliver_by.filter(|by| by.mode == DeliverByMode::Return).map(|by| by.deadline);
    let begin = message.envelope.mail.hold_until.unwrap_or_default().max(message.received.at);
    let end = begin + super::node::EXPIRE;
    by.map_or(end, |by| by.min(end))
}

fn standing(status: &Status) -> Standing {
    match status {
        Status::Deferred { until, attempts, delay_notices, .. } => {
            Standing::Waits(Facts { until: Some(*until), attempts: *attempts, delay_notices: *delay_notices })
        }
        Status::Delivered { .. } => Standing::Delivered,
        Status::Removed => Standing::Removed,
        _ => Standing::Failed,
    }
}

/// Who is told what by a report, from its machine-readable part.
fn told(content: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(content);
    let mut all = BTreeSet::new();
    let mut path = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("Final-Recipient:") {
            path = rest.split_once(';').map(|(_, path)| path.trim().to_owned());
        } else if let (Some(action), Some(path)) = (line.strip_prefix("Action:"), &path) {
            all.insert(format!("{} {path}", action.trim()));
        }
    }
    all
}
