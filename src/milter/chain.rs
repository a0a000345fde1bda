//! Several filters in their order, one SMTP session.
//!
//! Every event of the session is given to the chain, which decides who hears of it: a filter hears only of the phases
//! that it is configured for, and at the first of them of all that the protocol needs before it. The first verdict that
//! is no pass ends the event. At the end of a message each filter sees it as those before it left it.

use std::time::Duration;

use super::arguments;
use super::changes::{self, ChangeFault, Changes};
use super::machine::{Connection, Failure, Step, Verdict};
use super::macros::{Facts, PathFacts};
use super::playback::{Playback, Played};
use super::settings::Settings;
use super::stage::Stages;
use crate::base::limits::HEADER_SECTION_BYTES_MAX;
use crate::mail::{Edit, Envelope, HeaderSection, MessageView, Recipient, Reply};

/// What happened in a session.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A client came.
    Connect,
    /// It said HELO, EHLO or LHLO; also again after STARTTLS.
    Helo,
    /// A transaction starts.
    Mail,
    /// A recipient, accepted by us or refused with a reply.
    Rcpt {
        /// Who.
        recipient: &'a Recipient,
        /// Our refusal: only filters that asked for it hear of it, and their answer means nothing.
        refused: Option<&'a Reply>,
    },
    /// DATA, or the first BDAT.
    Data,
    /// The content is here, whole. Our trace fields in the view are not shown.
    Message(MessageView<'a>),
    /// A command line that SMTP does not know.
    Unknown(&'a [u8]),
    /// The transaction ended without a message: RSET, a new EHLO, STARTTLS, or refused by others.
    Abort,
    /// The session is over.
    Quit,
}

impl Event<'_> {
    fn phase(&self) -> Option<Stages> {
        match self {
            Event::Connect => Some(Stages::CONNECT),
            Event::Helo => Some(Stages::EHLO),
            Event::Mail => Some(Stages::MAIL),
            Event::Rcpt { .. } => Some(Stages::RCPT),
            Event::Data | Event::Message(_) => Some(Stages::DATA),
            Event::Unknown(_) | Event::Abort | Event::Quit => None,
        }
    }

    /// A verdict against it ends the transaction.
    fn is_about_message(&self) -> bool {
        matches!(self, Event::Mail | Event::Data | Event::Message(_))
    }
}

/// What a driver has to do. Octets to write are in `out`, perhaps none; a filter is named by its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Connect to it, not longer than this, then [`Run::opened`] or [`Run::failed`].
    Open {
        /// Which filter.
        milter: usize,
        /// How long.
        within: Duration,
    },
    /// Write; nothing is answered.
    Write {
        /// Which filter.
        milter: usize,
        /// How long from now: a filter may also be one that does not read.
        within: Duration,
    },
    /// Write, then read something and give it to [`Run::input`]; [`Run::failed`] if that takes too long or fails.
    Read {
        /// Which filter.
        milter: usize,
        /// How long from now; none while the time that was given before goes on running.
        within: Option<Duration>,
    },
    /// The event is decided.
    Done(Verdict),
}

/// What a filter was told of the session as it stands.
#[derive(Debug, Default)]
struct Told {
    connect: bool,
    helo: bool,
    mail: bool,
    rcpts: usize,
    data: bool,
}

impl Told {
    fn forget_transaction(&mut self) {
        (self.mail, self.rcpts, self.data) = (false, 0, false);
    }
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    told: Told,
}

/// The filters of a session.
#[derive(Debug)]
pub struct Chain {
    links: Vec<Link>,
    is_discarding: bool,
}

impl Chain {
    /// Filters in the order in which they are asked. Nothing is opened before something is to be told.
    pub fn new(settings: impl IntoIterator<Item = Settings>) -> Chain {
        let link = |settings| Link { connection: Connection::new(settings), told: Told::default() };
        Chain { links: settings.into_iter().map(link).collect(), is_discarding: false }
    }

    /// Starts an event. `envelope` is the transaction's as far as it goes: with [`Event::Mail`] its reverse-path, later
    /// its recipients too.
    ///
    /// A filter's refusal of a recipient that it hears of only with the content refuses the message: the client was
    /// told yes before.
    pub fn run<'a>(&'a mut self, event: Event<'a>, facts: Facts<'a>, envelope: Option<&'a Envelope>) -> Run<'a> {
        for link in &mut self.links {
            match event {
                Event::Helo => link.told.helo = false,
                Event::Mail => link.told.forget_transaction(),
                _ => {}
            }
        }
        self.is_discarding &= !matches!(event, Event::Mail | Event::Abort);
        let ending = (self.is_discarding && matches!(event, Event::Message(_))).then_some(Verdict::Discard);
        let is_over = self.is_discarding && ending.is_none() && event.phase().is_some();
        Run {
            at: if is_over { self.links.len() } else { 0 },
            chain: self,
            event,
            facts,
            envelope,
            current: Current::default(),
            ending,
            amended: Amended::default(),
        }
    }

    /// How many filters there are.
    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The connection to a filter.
    pub fn connection(&self, milter: usize) -> Option<&Connection> {
        self.links.get(milter).map(|link| &link.connection)
    }
}

/// Where the event is with the filter that is asked now.
#[derive(Debug, Default)]
struct Current {
    /// The driver connected.
    is_connected: bool,
    /// The event itself was told.
    is_asked: bool,
    /// What is being told is an event of this kind, and its refusal means nothing.
    is_ignored: bool,
    /// A reply is awaited.
    reading: Option<Option<Duration>>,
    playback: Option<Playback>,
}

/// A message as the filters so far have left it.
#[derive(Debug, Default)]
struct Amended {
    changes: Changes,
    header: Option<HeaderSection>,
    envelope: Option<Envelope>,
}

impl Amended {
    fn body(&self) -> Option<&[bytes::Bytes]> {
        self.changes.edits.iter().find_map(|edit| match edit {
            Edit::ReplaceBody(pieces) => Some(&pieces[..]),
            _ => None,
        })
    }

    fn view<'v>(&'v self, original: &MessageView<'v>) -> MessageView<'v> {
        MessageView {
            trace: original.trace,
            header: self.header.as_ref().unwrap_or(original.header),
            body: self.body().unwrap_or(original.body),
            has_separator: original.has_separator || self.body().is_some(),
        }
    }

    /// Takes what a filter changed; nothing of it when the header section grew too long.
    fn add(&mut self, more: Changes, header: &HeaderSection, envelope: Option<&Envelope>) -> Result<(), ChangeFault> {
        let Changes { mut edits, quarantine } = more;
        if edits.iter().any(Edit::is_header) {
            let header = self.header.as_ref().unwrap_or(header).apply(&edits);
            if header.raw().len() > HEADER_SECTION_BYTES_MAX {
                return Err(ChangeFault::TooMany);
            }
            self.header = Some(header);
        }
        if edits.iter().any(Edit::is_envelope)
            && let Some(envelope) = self.envelope.take().or_else(|| envelope.cloned())
        {
            changes::apply_to_envelope(&mut edits, self.envelope.insert(envelope));
        }
        if edits.iter().any(|edit| matches!(edit, Edit::ReplaceBody(_))) {
            self.changes.edits.retain(|edit| !matches!(edit, Edit::ReplaceBody(_)));
        }
        self.changes.edits.append(&mut edits);
        if let Some(reason) = quarantine {
            self.changes.quarantine.get_or_insert(reason);
        }
        Ok(())
    }
}

/// What a filter has to be told next.
enum Due {
    Open,
    Connect,
    Helo,
    Mail,
    Rcpt(usize),
    Data,
    Event,
}

/// One event on its way through the chain.
///
/// ```text
/// loop {
///     out.clear();
///     match run.next(&mut out) {
///         Task::Open { .. }  => connect, then run.opened()
///         Task::Write { .. } => write out
///         Task::Read { .. }  => write out, read, run.input(octets)
///         Task::Done(verdict) => break verdict
///     }                         // whatever goes wrong: run.failed(why)
/// }
/// ```
#[derive(Debug)]
pub struct Run<'a> {
    chain: &'a mut Chain,
    event: Event<'a>,
    facts: Facts<'a>,
    envelope: Option<&'a Envelope>,
    at: usize,
    current: Current,
    /// The verdict that ends the event, while the filters whose transaction is open are told that it is over.
    ending: Option<Verdict>,
    amended: Amended,
}

impl Run<'_> {
    /// What has to be done next. After [`Task::Done`] the same again.
    pub fn next(&mut self, out: &mut Vec<u8>) -> Task {
        loop {
            let milter = self.at;
            if self.at >= self.chain.links.len() {
                return Task::Done(self.finish());
            }
            if let Some(within) = self.current.reading {
                self.current.reading = Some(None);
                return Task::Read { milter, within };
            }
            if self.ending.is_some() || matches!(self.event, Event::Abort | Event::Quit) {
                self.take_leave(out);
                if out.is_empty() {
                    continue;
                }
                return self.write(milter);
            }
            let Some(due) = self.due() else {
                self.conclude();
                continue;
            };
            if matches!(due, Due::Open) && !self.current.is_connected {
                let within = self.chain.links.get(self.at).map(|link| link.connection.settings().timeouts.connect);
                return Task::Open { milter, within: within.unwrap_or_default() };
            }
            match self.tell(due, out) {
                Played::Write => return self.write(milter),
                Played::Step(step) => self.take(step),
            }
            if !out.is_empty() && self.current.reading.is_none() {
                return self.write(milter);
            }
        }
    }

    fn write(&self, milter: usize) -> Task {
        let timeouts = self.chain.links.get(milter).map(|link| link.connection.settings().timeouts).unwrap_or_default();
        let is_content = matches!(self.event, Event::Message(_));
        Task::Write { milter, within: if is_content { timeouts.data } else { timeouts.command } }
    }

    /// The driver connected to the filter of [`Task::Open`].
    pub fn opened(&mut self) {
        self.current.is_connected = true;
    }

    /// What was read from the filter of [`Task::Read`].
    pub fn input(&mut self, octets: &[u8]) {
        let Some(link) = self.chain.links.get_mut(self.at) else { return };
        let step = link.connection.input(octets);
        self.take(step);
    }

    /// The filter of the last task cannot be reached, is silent, or is gone.
    pub fn failed(&mut self, failure: Failure) {
        let is_leaving = self.ending.is_some() || matches!(self.event, Event::Abort | Event::Quit);
        let at = if is_leaving { self.at.saturating_sub(1) } else { self.at };
        let Some(link) = self.chain.links.get_mut(at) else { return };
        let step = link.connection.fail(failure);
        if !is_leaving {
            self.current.is_asked = true;
            self.take(step);
        }
    }

    /// What all filters changed, after [`Verdict::Pass`] to [`Event::Message`]; nothing otherwise. The edits are to be
    /// applied in their order.
    pub fn into_changes(self) -> Changes {
        if self.ending.is_some() { Changes::default() } else { self.amended.changes }
    }

    /// What the filter whose turn it is has to be told before it is done with the event.
    fn due(&self) -> Option<Due> {
        let Link { connection, told } = self.chain.links.get(self.at)?;
        if self.current.is_asked && self.current.playback.is_none_or(|playback| playback.is_over()) {
            return None;
        }
        let Some(phase) = self.event.phase() else {
            return (told.connect && connection.is_live()).then_some(Due::Event); // an unknown command
        };
        let stages = connection.settings().stages;
        if !stages.has(phase) {
            return None;
        }
        if !connection.is_live() || self.current.is_asked {
            return Some(Due::Event); // it has its verdict already, or is in the middle of a message
        }
        let is_after = |event: Stages| phase != Stages::CONNECT && phase != event;
        let envelope = self.amended.envelope.as_ref().or(self.envelope);
        let recipients = envelope.map_or(0, |envelope| envelope.recipients.len());
        let is_message = matches!(self.event, Event::Message(_));
        Some(match () {
            () if connection.is_new() => Due::Open,
            () if !told.connect && phase != Stages::CONNECT => Due::Connect,
            () if !told.helo && is_after(Stages::EHLO) && self.facts.helo.is_some() => Due::Helo,
            () if !told.mail && is_after(Stages::EHLO) && phase != Stages::MAIL => Due::Mail,
            () if phase == Stages::DATA && !told.data && !stages.has(Stages::RCPT) && told.rcpts < recipients => {
                Due::Rcpt(told.rcpts)
            }
            () if is_message && !told.data => Due::Data,
            () => Due::Event,
        })
    }

    fn tell(&mut self, due: Due, out: &mut Vec<u8>) -> Played {
        let Some(Link { connection, told }) = self.chain.links.get_mut(self.at) else {
            return Played::Step(Step::Done(Verdict::Pass));
        };
        let envelope = self.amended.envelope.as_ref().or(self.envelope);
        let mut facts = self.facts;
        if facts.mail.address.is_empty() {
            facts.mail.address = envelope.map_or("", |envelope| envelope.reverse_path.as_str());
        }
        let mail = |told: &mut Told, connection: &mut Connection, out: &mut Vec<u8>| {
            told.mail = true;
            let arguments = envelope.map(arguments::of_mail).unwrap_or_default();
            connection.mail(&arguments, &facts, out)
        };
        Played::Step(match due {
            Due::Open => {
                self.current.is_connected = false;
                connection.open(out)
            }
            Due::Connect => {
                told.connect = true;
                connection.connect(&facts, out)
            }
            Due::Helo => {
                told.helo = true;
                connection.helo(&facts, out)
            }
            Due::Mail => mail(told, connection, out),
            Due::Rcpt(index) => {
                told.rcpts = index + 1;
                match envelope.and_then(|envelope| envelope.recipients.get(index)) {
                    Some(recipient) => rcpt(connection, recipient, None, facts, out),
                    None => Step::Done(Verdict::Pass),
                }
            }
            Due::Data => {
                told.data = true;
                connection.data(&facts, out)
            }
            Due::Event => {
                self.current.is_asked = true;
                match self.event {
                    Event::Connect => {
                        told.connect = true;
                        connection.connect(&facts, out)
                    }
                    Event::Helo => {
                        told.helo = true;
                        connection.helo(&facts, out)
                    }
                    Event::Mail => mail(told, connection, out),
                    Event::Rcpt { recipient, refused } => {
                        told.rcpts += 1;
                        self.current.is_ignored = refused.is_some();
                        rcpt(connection, recipient, refused, facts, out)
                    }
                    Event::Data => {
                        told.data = true;
                        connection.data(&facts, out)
                    }
                    Event::Message(view) => {
                        let view = self.amended.view(&view);
                        return self.current.playback.get_or_insert_default().step(connection, &view, &facts, out);
                    }
                    Event::Unknown(line) => connection.unknown(line, out),
                    Event::Abort | Event::Quit => Step::Done(Verdict::Pass),
                }
            }
        })
    }

    /// What a step of the filter means for the event.
    fn take(&mut self, step: Step) {
        self.current.reading = match step {
            Step::Read(within) => Some(Some(within)),
            Step::More => Some(None),
            Step::Done(verdict) => {
                self.judge(verdict);
                None
            }
        };
    }

    fn judge(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Pass => {}
            _ if self.current.is_ignored => {}
            Verdict::Discard if !matches!(self.event, Event::Message(_)) => {
                self.chain.is_discarding = true;
                self.at = self.chain.links.len(); // nobody else is asked, and the client goes on
            }
            verdict => {
                self.ending = Some(verdict);
                self.current = Current::default();
                self.at = if self.event.is_about_message() { 0 } else { self.chain.links.len() };
            }
        }
    }

    /// The filter whose turn it is has no more to say: its changes count, and the next one is asked.
    fn conclude(&mut self) {
        if let (Event::Message(view), Some(link)) = (self.event, self.chain.links.get_mut(self.at)) {
            let changes = link.connection.take_changes();
            if let Err(fault) = self.amended.add(changes, view.header, self.envelope) {
                let step = link.connection.fail(fault.into());
                self.take(step);
                if self.ending.is_some() {
                    return;
                }
            }
        }
        self.current = Current::default();
        self.at += 1;
    }

    /// Tells the filter whose turn it is that the transaction or the session is over, and goes to the next one.
    fn take_leave(&mut self, out: &mut Vec<u8>) {
        if let Some(Link { connection, told }) = self.chain.links.get_mut(self.at) {
            match self.event {
                Event::Quit => connection.quit(out),
                _ => connection.abort(out),
            }
            told.forget_transaction();
        }
        self.at += 1;
    }

    fn finish(&mut self) -> Verdict {
        if matches!(self.event, Event::Message(_)) {
            self.chain.is_discarding = false;
            self.chain.links.iter_mut().for_each(|link| link.told.forget_transaction());
        }
        self.ending.clone().unwrap_or(Verdict::Pass)
    }
}

/// RCPT with the symbols of this recipient: a refused one has the reply in their place, as in sendmail.
fn rcpt(
    connection: &mut Connection,
    recipient: &Recipient,
    refused: Option<&Reply>,
    facts: Facts<'_>,
    out: &mut Vec<u8>,
) -> Step {
    let status = refused.and_then(|reply| reply.status).map(|status| status.to_string()).unwrap_or_default();
    let symbols = match refused {
        Some(reply) => PathFacts { address: &reply.text, host: &status, mailer: "error" },
        None if facts.rcpt.address == recipient.path.as_str() => facts.rcpt,
        None => PathFacts { address: recipient.path.as_str(), ..PathFacts::default() },
    };
    let facts = Facts { rcpt: symbols, ..facts };
    connection.rcpt(&arguments::of_rcpt(recipient), refused.is_some(), &facts, out)
}
