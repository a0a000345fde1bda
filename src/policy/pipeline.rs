//! The table of checks per phase, and how their findings become one answer.

use std::net::IpAddr;
use std::rc::Rc;

use compact_str::CompactString;
use smallvec::SmallVec;

use crate::base::WallTime;
use crate::expr;
use crate::limits::{Ask, KeyMaker};
use crate::lookup::ShardLookups;
use crate::mail::{Edits, ForwardPath, Reply, ReversePath, Text};
use crate::policy::checks::{connect, content, data, ehlo, limiters, mail, rcpt};
use crate::policy::{Facts, Settings};
use crate::smtp::content::BareLineEnds;
use crate::smtp::server::{Answer, Client, Counts, Gathered, Offers, Phase, Question, Rules, Verdict};

/// What surrounds a session on this shard: the same for every question of a transaction.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The configuration.
    pub settings: &'a Settings,
    /// Directories, lists and counters.
    pub lookups: &'a ShardLookups,
    /// Names limits.
    pub keys: &'a KeyMaker,
    /// What the listener says.
    pub listener: Listener<'a>,
    /// Mail is not taken now: the reply to MAIL and DATA (disk full, memory short, spool sick, stopping).
    pub pressure: Option<&'a Reply>,
    /// The wall clock.
    pub now: WallTime,
}

/// What policy needs to know of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Listener<'a> {
    /// `greeting`: wins over `session.connect.greeting`.
    pub greeting: Option<&'a str>,
    /// `max-connections-per-ip`; zero for no limit.
    pub connections_per_ip_max: u32,
    /// STARTTLS can be offered.
    pub has_tls: bool,
    /// What a bare CR or LF in content means.
    pub bare_line_ends: BareLineEnds,
}

/// What a check found.
#[derive(Debug, Clone)]
pub enum Finding {
    /// Nothing against it.
    Pass,
    /// Say this; the session goes on.
    Refuse(Reply),
    /// Say this and close.
    Close(Reply),
    /// How the client is greeted.
    Greet(Text),
    /// The bounds of the dialogue.
    Bound(Rules),
    /// What the client is offered.
    Offer(Rc<Offers>),
    /// Another reverse-path.
    Sender(ReversePath),
    /// Another forward-path.
    Recipient(ForwardPath),
    /// This has to be taken first.
    Take(SmallVec<[Ask; 2]>),
    /// A field that goes on top of the message, with its CRLF.
    Trace(Vec<u8>),
    /// Changes to the message.
    Edit(Edits),
    /// The text of a 250 to VRFY or EXPN.
    Text(Text),
    /// The DNS has to be asked first.
    Wait(expr::Question),
}

/// What a phase came to when all its checks agree, or one does not.
#[derive(Debug, Clone, Default)]
pub struct Ruling {
    /// What the machine is answered.
    pub answer: Answer,
    /// Limits that have to be taken before the answer holds; none after a refusal.
    pub asks: SmallVec<[Ask; 2]>,
    /// Fields on top of the message, in their order from the top.
    pub trace: Vec<u8>,
    /// Changes to the header section and the body.
    pub edits: Edits,
}

/// What became of a question.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "the large one is the common one, and it never rests anywhere")]
pub enum Judgement {
    /// Decided, given that the limits can be taken.
    Ruled(Ruling),
    /// Find this out, add it with [`Found::add`], and judge again.
    Wait(expr::Question),
}

/// What has been found out for a question so far, by check.
#[derive(Debug, Default)]
pub struct Found {
    by_check: Vec<(usize, expr::Answers)>,
    waiting: usize,
}

impl Found {
    /// Adds the answer to the last [`Judgement::Wait`].
    pub fn add(&mut self, question: expr::Question, answer: expr::Answer) {
        let at = self.by_check.iter().position(|(check, _)| *check == self.waiting).unwrap_or_else(|| {
            self.by_check.push((self.waiting, expr::Answers::new()));
            self.by_check.len() - 1
        });
        if let Some((_, answers)) = self.by_check.get_mut(at) {
            answers.add(question, answer);
        }
    }

    /// The answers for a check, which also remember its effects.
    fn of(&self, check: usize) -> Option<&expr::Answers> {
        self.by_check.iter().find(|(of, _)| *of == check).map(|(_, answers)| answers)
    }
}

/// What is asked about.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The question of the machine.
    pub question: Question<'a>,
    /// The other end.
    pub client: &'a Client,
    /// Its counts.
    pub counts: Counts,
    /// The content, at [`Phase::Content`].
    pub content: Option<&'a Gathered>,
    /// Our id of the message, at [`Phase::Content`].
    pub id: &'a str,
    /// Our name to this client.
    pub hostname: &'a str,
}

/// What a check looks at.
pub(super) struct Look<'a> {
    pub site: &'a Site<'a>,
    pub subject: &'a Subject<'a>,
    pub facts: Facts<'a>,
    pub phase: Phase,
}

pub(super) type Check = fn(&Look<'_>) -> Finding;

/// The checks of each phase, in the order in which they are made. Limits are gathered where they stand
/// and taken last.
fn checks(phase: Phase) -> &'static [Check] {
    match phase {
        Phase::Connect => {
            &[connect::blocked, connect::pressure, connect::per_address, limiters, connect::bounds, connect::greeting]
        }
        Phase::Ehlo => &[ehlo::full_name, connect::bounds, ehlo::offers],
        Phase::Mail => &[mail::pressure, limiters, mail::is_allowed, mail::rewrite],
        Phase::Rcpt => &[rcpt::count, rcpt::rewrite, rcpt::directory, limiters],
        Phase::Data => &[data::pressure],
        Phase::Content => &[content::looping, content::trace, content::missing_fields],
        Phase::Vrfy => &[rcpt::verify],
        Phase::Expn => &[rcpt::expand],
    }
}

/// The phase of a question.
fn phase_of(question: &Question<'_>) -> Phase {
    match question {
        Question::Connect => Phase::Connect,
        Question::Ehlo(_) => Phase::Ehlo,
        Question::Mail(_) => Phase::Mail,
        Question::Rcpt(..) => Phase::Rcpt,
        Question::Data(_) => Phase::Data,
        Question::Content(_) => Phase::Content,
        Question::Vrfy(_) => Phase::Vrfy,
        Question::Expn(_) => Phase::Expn,
    }
}

/// Judges a question by all checks of its phase, up to the first that refuses.
pub fn judge(site: &Site<'_>, subject: &Subject<'_>, found: &mut Found) -> Judgement {
    let phase = phase_of(&subject.question);
    let mut ruling = Ruling::default();
    for (i, check) in checks(phase).iter().enumerate() {
        let finding = check(&Look { site, subject, facts: facts(site, subject, &ruling.answer, found.of(i)), phase });
        match finding {
            Finding::Pass => {}
            Finding::Refuse(reply) => return refused(Verdict::Refuse(reply), ruling),
            Finding::Close(reply) => return refused(Verdict::Close(reply), ruling),
            Finding::Greet(text) | Finding::Text(text) => ruling.answer.text = Some(text),
            Finding::Bound(rules) => ruling.answer.rules = Some(Box::new(rules)),
            Finding::Offer(offers) => ruling.answer.offers = Some(offers),
            Finding::Sender(path) => ruling.answer.reverse_path = Some(path),
            Finding::Recipient(path) => ruling.answer.forward_path = Some(path),
            Finding::Take(asks) => ruling.asks.extend(asks),
            Finding::Trace(field) if ruling.trace.is_empty() => ruling.trace = field,
            Finding::Trace(field) => ruling.trace.extend(field),
            Finding::Edit(edits) => ruling.edits.extend(edits),
            Finding::Wait(question) => {
                found.waiting = i;
                return Judgement::Wait(question);
            }
        }
    }
    Judgement::Ruled(ruling)
}

fn refused(verdict: Verdict, ruling: Ruling) -> Judgement {
    let answer = Answer { verdict, rules: ruling.answer.rules, ..Answer::default() };
    Judgement::Ruled(Ruling { answer, ..Ruling::default() })
}

/// The facts for a check, with what the checks before it have rewritten.
fn facts<'a>(
    site: &'a Site<'_>,
    subject: &'a Subject<'_>,
    so_far: &'a Answer,
    answers: Option<&'a expr::Answers>,
) -> Facts<'a> {
    let (transaction, rcpt) = match &subject.question {
        Question::Mail(t) | Question::Data(t) | Question::Content(t) => (Some(*t), None),
        Question::Rcpt(t, recipient) => (Some(*t), Some(recipient.path.mailbox())),
        _ => (None, None),
    };
    let helo = match subject.question {
        Question::Ehlo(name) => Some(name),
        _ => None,
    };
    Facts {
        client: subject.client,
        helo,
        transaction,
        sender: so_far.reverse_path.as_ref().or(transaction.map(|t| &t.envelope.reverse_path)),
        rcpt: so_far.forward_path.as_ref().map(ForwardPath::mailbox).or(rcpt),
        lookups: site.lookups,
        answers,
    }
}

/// What the server calls itself to a client: `session.connect.hostname`, else `server.hostname`.
pub fn hostname(site: &Site<'_>, client: &Client) -> CompactString {
    let facts =
        Facts { client, helo: None, transaction: None, sender: None, rcpt: None, lookups: site.lookups, answers: None };
    match site.settings.connect.hostname.value_now(&facts, |_| {}) {
        Some(name) => name.as_str().into(),
        None => site.settings.hostname.clone(),
    }
}

/// Whether an address is in one of the networks, in either spelling of a mapped one.
pub fn is_in(networks: &[ipnet::IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    networks.iter().any(|network| network.contains(&ip))
}
