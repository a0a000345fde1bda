//! One connection to one filter, for one SMTP session and all its messages.
//!
//! ```text
//!   New ── open ──> Options ── its options ──> Agreed ── quit ──> Over
//!                                                │ at CONNECT or HELO
//!                                                ├── accept ─────────────> Accepted   it is asked no more
//!                                                ├── reject, 421 ────────> Refused    all later commands get that
//!   any of them ── fault, silence, death ──────────────────────────────> Failed      the configured result
//! ```
//!
//! Inside `Agreed` a transaction is `Idle`, `Open` from MAIL on, or `Settled` when the filter wants no more of it.

use std::time::Duration;

use super::arguments::Arguments;
use super::changes::{ChangeFault, Changes, Collector};
use super::codec::{Command, Decoder, PacketFault, Response, shown};
use super::macros::Facts;
use super::negotiate::{Agreement, NegotiationFault, Steps};
use super::reply;
use super::settings::Settings;
use super::stage::{Scope, Stage};
use crate::base::limits::{MILTER_OPTIONS_BYTES_MAX, MILTER_PROGRESS_MAX};
use crate::mail::Reply;

/// What a filter says to a command or a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Pass,
    /// The command, the recipient or the message gets this reply.
    Refuse(Reply),
    /// The client gets this reply, and the connection to it is closed.
    Close(Reply),
    /// The message is taken and dropped.
    Discard,
}

/// What a driver has to do after an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write what was appended, then read, not longer than this from now.
    Read(Duration),
    /// Read on; the time that runs goes on running. Only a sign of progress starts it anew.
    More,
    /// Write what was appended, if anything was; this is decided.
    Done(Verdict),
}

const PASS: Step = Step::Done(Verdict::Pass);

/// Why a filter is not asked any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The driver could not connect.
    #[error("it cannot be reached")]
    Unreachable,
    /// It closed the connection, or the connection broke.
    #[error("it closed the connection")]
    Closed,
    /// It did not answer in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// The driver gave up while it was asked something.
    #[error("it was left while it was asked something")]
    Abandoned,
    /// It sent what is no packet, or one too long.
    #[error("it sent {0}")]
    Packet(#[from] PacketFault),
    /// There is no agreement.
    #[error("negotiation: {0}")]
    Negotiation(#[from] NegotiationFault),
    /// It sent something that does not belong there.
    #[error("it sent {response} {}", stage.map_or("unasked".into(), |stage| format!("as an answer to {stage:?}")))]
    OutOfOrder {
        /// What it sent.
        response: &'static str,
        /// What it was asked; none if it was not.
        stage: Option<Stage>,
    },
    /// It sent a reply without a code 4yz or 5yz.
    #[error("it sent a reply that is none: {0}")]
    Reply(String),
    /// It wants a change that is none, or too many.
    #[error("it sent a change that cannot be made: {0}")]
    Change(#[from] ChangeFault),
    /// It wants a change that it was not offered.
    #[error("it sent {0}, which it was not allowed")]
    NotAllowed(&'static str),
    /// It was at work for ever.
    #[error("it made progress without end")]
    EndlessProgress,
}

#[derive(Debug)]
enum State {
    New,
    Options,
    Agreed(Box<Agreement>),
    Accepted,
    Refused(Verdict),
    Failed(Failure),
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    Idle,
    Open,
    Settled,
}

/// The connection to a filter: events in, octets to write and verdicts out.
///
/// Each event appends to `out` what has to be written, nothing if the filter does not want to know. While a verdict is
/// awaited no other event may come; one that does ends the connection as abandoned.
#[derive(Debug)]
pub struct Connection {
    settings: Settings,
    state: State,
    transaction: Transaction,
    waiting: Option<Stage>,
    skipped: u16,
    progress: u32,
    response_bytes: u32,
    decoder: Decoder,
    collector: Option<Box<Collector>>,
}

impl Connection {
    /// A connection that is not open yet.
    pub fn new(settings: Settings) -> Connection {
        Connection {
            settings,
            state: State::New,
            transaction: Transaction::Idle,
            waiting: None,
            skipped: 0,
            progress: 0,
            response_bytes: 0,
            decoder: Decoder::default(),
            collector: None,
        }
    }

    /// The settings that it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Nothing was sent yet: [`Connection::open`] comes first.
    pub fn is_new(&self) -> bool {
        matches!(self.state, State::New)
    }

    /// The filter may still want to hear of this session.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::New | State::Options | State::Agreed(_))
    }

    /// The filter wants to hear more of the transaction.
    pub fn is_in_transaction(&self) -> bool {
        matches!(self.state, State::Agreed(_)) && self.transaction == Transaction::Open
    }

    /// What was agreed, while it holds.
    pub fn agreement(&self) -> Option<&Agreement> {
        match &self.state {
            State::Agreed(agreement) => Some(agreement),
            _ => None,
        }
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.state {
            State::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// The stream is connected: opens the negotiation.
    pub fn open(&mut self, out: &mut Vec<u8>) -> Step {
        if !self.is_new() {
            return self.settled();
        }
        self.settings.offer.command().encode(out);
        self.state = State::Options;
        self.wait(Stage::Options)
    }

    /// A client came.
    pub fn connect(&mut self, facts: &Facts<'_>, out: &mut Vec<u8>) -> Step {
        self.tell(Stage::Connect, Some(facts), out, |out| {
            Command::Connect { hostname: &facts.client_host(), address: facts.remote }.encode(out);
        })
    }

    /// It said HELO, EHLO or LHLO.
    pub fn helo(&mut self, facts: &Facts<'_>, out: &mut Vec<u8>) -> Step {
        let name = facts.helo.unwrap_or_default();
        self.tell(Stage::Helo, Some(facts), out, |out| Command::Helo(name).encode(out))
    }

    /// A transaction starts; one that is open is aborted first.
    pub fn mail(&mut self, arguments: &Arguments<'_>, facts: &Facts<'_>, out: &mut Vec<u8>) -> Step {
        self.abort(out);
        self.skipped = 0;
        self.collector = None;
        if matches!(self.state, State::Agreed(_)) {
            self.transaction = Transaction::Open;
        }
        self.tell(Stage::Mail, Some(facts), out, |out| Command::Mail(&texts(arguments)).encode(out))
    }

    /// A recipient. `is_refused`: we refuse it ourselves; only a filter that asked for those is told, and its answer
    /// means nothing.
    pub fn rcpt(&mut self, arguments: &Arguments<'_>, is_refused: bool, facts: &Facts<'_>, out: &mut Vec<u8>) -> Step {
        let wants_refused = self.agreement().is_some_and(|agreement| agreement.steps.has(Steps::REJECTED_RCPT));
        if is_refused && !wants_refused {
            return self.settled();
        }
        self.tell(Stage::Rcpt, Some(facts), out, |out| Command::Rcpt(&texts(arguments)).encode(out))
    }

    /// DATA, or the first BDAT.
    pub fn data(&mut self, facts: &Facts<'_>, out: &mut Vec<u8>) -> Step {
        self.tell(Stage::Data, Some(facts), out, |out| Command::Data.encode(out))
    }

    /// A field as it stands in the message: the value with what follows the colon, without the last line end.
    pub fn header(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) -> Step {
        let Some(agreement) = self.agreement() else { return self.settled() };
        // Without the flag one space is eaten, and no tab (sendmail 8.13).
        let keeps_space = agreement.steps.has(Steps::HEADER_LEADING_SPACE);
        let value = if keeps_space { value } else { value.strip_prefix(b" ").unwrap_or(value) };
        let room = agreement.data_bytes_max().saturating_sub(2);
        let name = name.get(..room / 2).unwrap_or(name);
        let value = value.get(..room - name.len()).unwrap_or(value);
        self.tell(Stage::Header, None, out, |out| Command::Header { name, value }.encode(out))
    }

    /// The header section is over.
    pub fn end_of_header(&mut self, facts: &Facts<'_>, out: &mut Vec<u8>) -> Step {
        self.tell(Stage::EndOfHeader, Some(facts), out, |out| Command::EndOfHeader.encode(out))
    }

    /// The next part of the body. Gives how many octets of it were taken, at most one packet's.
    pub fn body<'b>(&mut self, pieces: impl Iterator<Item = &'b [u8]>, out: &mut Vec<u8>) -> (usize, Step) {
        let room = self.agreement().map_or(0, Agreement::data_bytes_max);
        let mut taken = 0;
        let step = self.tell(Stage::Body, None, out, |out| taken = super::codec::body(pieces, room, out));
        (taken, step)
    }

    /// The message is over: what the filter says now is its verdict, and [`Connection::take_changes`] has the rest.
    pub fn end_of_message(&mut self, facts: &Facts<'_>, out: &mut Vec<u8>) -> Step {
        let step = self.tell(Stage::EndOfMessage, Some(facts), out, |out| Command::EndOfMessage.encode(out));
        if self.waiting.is_none() {
            self.transaction = Transaction::Idle;
        }
        step
    }

    /// A command that SMTP does not know.
    pub fn unknown(&mut self, line: &[u8], out: &mut Vec<u8>) -> Step {
        self.tell(Stage::Unknown, None, out, |out| Command::Unknown(line).encode(out))
    }

    /// The transaction ended without an end of message. Nothing is answered.
    pub fn abort(&mut self, out: &mut Vec<u8>) {
        if self.waiting.is_some() {
            self.fail(Failure::Abandoned);
        } else if self.is_in_transaction() {
            Command::Abort.encode(out);
        }
        self.transaction = Transaction::Idle;
        self.collector = None;
    }

    /// The session is over. Nothing is answered; the stream is to be closed.
    pub fn quit(&mut self, out: &mut Vec<u8>) {
        if self.waiting.is_none() && matches!(self.state, State::Agreed(_) | State::Accepted | State::Refused(_)) {
            Command::Quit.encode(out);
        }
        if self.failure().is_none() {
            self.state = State::Over;
        }
        self.waiting = None;
        self.decoder.clear();
        self.collector = None;
    }

    /// What was read.
    pub fn input(&mut self, octets: &[u8]) -> Step {
        if !matches!(self.state, State::Failed(_) | State::Over) {
            self.decoder.push(octets);
        }
        let mut step = Step::More;
        while let Some(stage) = self.waiting {
            let budget = match stage {
                Stage::Options => MILTER_OPTIONS_BYTES_MAX,
                _ => self.settings.response_bytes_max.saturating_sub(self.response_bytes),
            };
            let before = self.decoder.pending_bytes();
            match self.decoder.next(budget) {
                Err(fault) => return self.fail(fault.into()),
                Ok(None) => return step,
                Ok(Some(response)) => {
                    let length = before - self.decoder.pending_bytes();
                    self.response_bytes = self.response_bytes.saturating_add(length as u32);
                    if response == Response::Progress {
                        step = Step::Read(self.deadline(stage));
                    }
                    match self.respond(stage, response) {
                        Err(failure) => return self.fail(failure),
                        Ok(None) => {}
                        Ok(Some(verdict)) => {
                            self.waiting = None;
                            return Step::Done(verdict);
                        }
                    }
                }
            }
        }
        self.settled()
    }

    /// The filter cannot be asked any more: it is silent, gone, or broke the protocol.
    pub fn fail(&mut self, failure: Failure) -> Step {
        if !matches!(self.state, State::Failed(_) | State::Over) {
            self.state = State::Failed(failure);
        }
        self.waiting = None;
        self.transaction = Transaction::Idle;
        self.decoder.clear();
        self.collector = None;
        self.settled()
    }

    /// What the filter changed, after [`Verdict::Pass`] at the end of a message; nothing after any other.
    pub fn take_changes(&mut self) -> Changes {
        self.collector.take().map(|collector| collector.finish()).unwrap_or_default()
    }

    /// Sends one step, if the filter wants it, and says whether it is answered.
    fn tell(
        &mut self,
        stage: Stage,
        facts: Option<&Facts<'_>>,
        out: &mut Vec<u8>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Step {
        if self.waiting.is_some() {
            return self.fail(Failure::Abandoned);
        }
        let State::Agreed(agreement) = &self.state else { return self.settled() };
        let is_late = stage.is_in_message() && self.transaction != Transaction::Open;
        let is_skipped = self.skipped & (1 << stage as u16) != 0;
        if is_late || is_skipped || !stage.is_seen(agreement) {
            return PASS;
        }
        if self.decoder.pending_bytes() > 0 {
            return self.fail(Failure::OutOfOrder { response: "something", stage: None });
        }
        if let (Some(facts), Some(symbols)) = (facts, stage.symbols()) {
            facts.encode(symbols.code(), agreement.symbols(symbols), out);
        }
        encode(out);
        if stage.is_answered(agreement) { self.wait(stage) } else { PASS }
    }

    fn wait(&mut self, stage: Stage) -> Step {
        self.waiting = Some(stage);
        self.progress = 0;
        self.response_bytes = 0;
        Step::Read(self.deadline(stage))
    }

    /// The deadline that holds while a stage is answered.
    fn deadline(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Options => self.settings.timeouts.connect,
            stage if stage.is_content() => self.settings.timeouts.data,
            _ => self.settings.timeouts.command,
        }
    }

    /// What holds without asking.
    fn settled(&self) -> Step {
        Step::Done(match &self.state {
            State::Refused(verdict) => verdict.clone(),
            State::Failed(_) => self.settings.on_failure.reply().map_or(Verdict::Pass, Verdict::Refuse),
            _ => Verdict::Pass,
        })
    }

    /// One response to what was asked: a verdict, nothing yet, or a fault.
    fn respond(&mut self, stage: Stage, response: Response) -> Result<Option<Verdict>, Failure> {
        let out_of_order = Failure::OutOfOrder { response: name(&response), stage: Some(stage) };
        if (stage == Stage::Options) != matches!(response, Response::Options(_)) {
            return Err(out_of_order);
        }
        match response {
            Response::Options(options) => {
                self.state = State::Agreed(Box::new(self.settings.offer.accept(&options)?));
                Ok(Some(Verdict::Pass))
            }
            Response::Progress => {
                self.progress += 1;
                if self.progress > MILTER_PROGRESS_MAX { Err(Failure::EndlessProgress) } else { Ok(None) }
            }
            change if change.is_change() => {
                if stage == Stage::EndOfMessage {
                    self.change(change).map(|()| None)
                } else {
                    Err(out_of_order)
                }
            }
            Response::Discard if matches!(stage.scope(), Scope::Session | Scope::Command) => Err(out_of_order),
            Response::Skip if !self.may_skip(stage) => Err(out_of_order),
            response => self.decide(stage, response).map(Some),
        }
    }

    /// A response that ends the wait.
    fn decide(&mut self, stage: Stage, response: Response) -> Result<Verdict, Failure> {
        let refusal = |code, class| Verdict::Refuse(Reply::new(code, (class, 7, 1), reply::default_text(class)));
        let verdict = match response {
            Response::Accept => {
                self.accept(stage);
                Verdict::Pass
            }
            Response::Skip => {
                self.skipped |= 1 << stage as u16;
                Verdict::Pass
            }
            Response::Discard => Verdict::Discard,
            Response::Reject => refusal(550, 5),
            Response::TempFail => refusal(451, 4),
            Response::ReplyCode(text) => match reply::parse(&text) {
                None => return Err(Failure::Reply(shown(&text))),
                Some(reply) if reply.code == 421 => Verdict::Close(reply),
                Some(reply) => Verdict::Refuse(reply),
            },
            Response::Shutdown | Response::ConnectionFailure => {
                Verdict::Close(Reply::new(421, (4, 7, 0), "Service closing transmission channel"))
            }
            _ => Verdict::Pass,
        };
        self.settle(stage, &verdict);
        Ok(verdict)
    }

    /// The filter wants no more of the message, or of the session.
    fn accept(&mut self, stage: Stage) {
        match stage.scope() {
            Scope::Session => self.state = State::Accepted,
            Scope::Message | Scope::Recipient => self.transaction = Transaction::Settled,
            Scope::Command => {}
        }
    }

    /// What a verdict means for what comes next.
    fn settle(&mut self, stage: Stage, verdict: &Verdict) {
        let is_over = match (verdict, stage.scope()) {
            (Verdict::Pass, _) => stage == Stage::EndOfMessage,
            (Verdict::Close(_), _) | (Verdict::Refuse(_), Scope::Session) => {
                self.state = State::Refused(verdict.clone());
                true
            }
            (Verdict::Refuse(_), scope) => scope == Scope::Message,
            (Verdict::Discard, _) => {
                self.transaction = Transaction::Settled;
                stage == Stage::EndOfMessage
            }
        };
        if is_over {
            self.transaction = Transaction::Idle;
        }
        if *verdict != Verdict::Pass {
            self.collector = None;
        }
    }

    fn may_skip(&self, stage: Stage) -> bool {
        stage.can_skip() && self.agreement().is_some_and(|agreement| agreement.steps.has(Steps::SKIP))
    }

    fn change(&mut self, change: Response) -> Result<(), Failure> {
        let Some(agreement) = self.agreement() else { return Ok(()) };
        if !agreement.offered.has(needed(&change)) {
            return Err(Failure::NotAllowed(name(&change)));
        }
        let has_leading_space = agreement.steps.has(Steps::HEADER_LEADING_SPACE);
        let collector = self.collector.get_or_insert_default();
        Ok(collector.add(change, has_leading_space)?)
    }
}

fn texts<'a>(arguments: &'a Arguments<'_>) -> smallvec::SmallVec<[&'a str; 4]> {
    arguments.iter().map(|argument| &**argument).collect()
}

/// What a filter has to be offered for a change.
fn needed(change: &Response) -> super::Actions {
    use super::Actions;
    match change {
        Response::AddHeader { .. } | Response::InsertHeader { .. } => Actions::ADD_HEADERS,
        Response::ChangeHeader { .. } => Actions::CHANGE_HEADERS,
        Response::ReplaceBody(_) => Actions::CHANGE_BODY,
        Response::ChangeFrom { .. } => Actions::CHANGE_FROM,
        Response::AddRecipient { parameters: None, .. } => Actions::ADD_RECIPIENTS,
        Response::AddRecipient { .. } => Actions::ADD_RECIPIENTS_WITH_PARAMETERS,
        Response::DeleteRecipient(_) => Actions::DELETE_RECIPIENTS,
        Response::Quarantine(_) => Actions::QUARANTINE,
        _ => Actions::NONE,
    }
}

/// What a response is called in logs, as in libmilter.
fn name(response: &Response) -> &'static str {
    match response {
        Response::Options(_) => "OPTNEG",
        Response::Continue => "CONTINUE",
        Response::Accept => "ACCEPT",
        Response::Reject => "REJECT",
        Response::TempFail => "TEMPFAIL",
        Response::Discard => "DISCARD",
        Response::Skip => "SKIP",
        Response::Progress => "PROGRESS",
        Response::Shutdown => "SHUTDOWN",
        Response::ConnectionFailure => "CONN_FAIL",
        Response::ReplyCode(_) => "REPLYCODE",
        Response::AddHeader { .. } => "ADDHEADER",
        Response::InsertHeader { .. } => "INSHEADER",
        Response::ChangeHeader { .. } => "CHGHEADER",
        Response::ReplaceBody(_) => "REPLBODY",
        Response::ChangeFrom { .. } => "CHGFROM",
        Response::AddRecipient { parameters: None, .. } => "ADDRCPT",
        Response::AddRecipient { .. } => "ADDRCPT_PAR",
        Response::DeleteRecipient(_) => "DELRCPT",
        Response::Quarantine(_) => "QUARANTINE",
    }
}
