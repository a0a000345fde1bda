//! The server side of SMTP and LMTP as a machine: octets and verdicts in, replies and questions out.
//!
//! ```text
//!            received octets                      Step
//!   driver ──────────────────▶ Server::step ──────────────▶ driver
//!     ▲                          │  Read       write what is ready, then read more
//!     │  answer, committed,      │  Ask        judge the phase, then `answer`
//!     │  tls_started             │  Spill      write octets of the body to bulk storage
//!     └──────────────────────────┤  Commit     hand the message over, later `committed`
//!                                │  Wait       let time pass
//!                                │  StartTls   write what is ready, negotiate, then `tls_started`
//!                                └─ Close      write what is ready, close
//! ```
//!
//! Takes: octets as they arrive, answers to its questions, `now`. Gives: [`Step`]s, replies in the order
//! of their commands, messages with their envelope.
//!
//! What holds here:
//! - everything that has been received is used before [`Step::Read`] is given: pipelined commands cost one write;
//! - how the input is cut changes nothing that is said (tested on every split);
//! - the only dispatch is the verb table; a transition consumes the old state, so that RSET, EHLO,
//!   STARTTLS and the end of a transaction drop the [`Transaction`] as a whole;
//! - the only end of DATA is CRLF "." CRLF; a chunk nobody wants is read to its last octet; where the
//!   next command starts is never guessed: in doubt the session closes;
//! - nothing is accepted without an answer from policy, and no 250 to content is said before `committed`.
//!
//! Must never be added: I/O, a clock, a runtime, a decision that a site may want to make differently.

pub mod client;
mod dialogue;
mod intake;
pub mod offers;
mod question;
mod receiving;
mod replies;
mod rules;
mod state;
mod table;
mod verbs;
pub mod words;

#[cfg(test)]
mod tests;

pub use client::{Client, Hello, Protocol, TlsFacts};
pub use intake::{INTAKE_BYTES_MAX, Intake};
pub use offers::Offers;
pub use question::{Answer, Phase, Question, Verdict};
pub use receiving::{Gathered, Receiving};
pub use replies::{Replies, Ticket};
pub use rules::{Counts, Rules};
pub use state::{State, StateKind, Transaction};

use std::time::Duration;

use bytes::Bytes;

use crate::base::WallTime;
use crate::mail::Reply;
use crate::smtp::line::{self, LineSplitter};
use dialogue::{Dialogue, Errand};
use receiving::Progress;

/// What the driver has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write what is ready, then read into [`Server::intake`].
    Read,
    /// Judge this phase ([`Server::question`] has its subject) and [`Server::answer`].
    Ask(Phase),
    /// Write these octets of the body to bulk storage, in order, before the next step.
    Spill(Bytes),
    /// Hand [`Server::take_message`] to the spool; say what came of it by [`Server::committed`], now or later.
    Commit(Ticket),
    /// Write what is ready and let that much time pass.
    Wait(Duration),
    /// Write all replies, then negotiate TLS and call [`Server::tls_started`]. Unread octets are gone.
    StartTls,
    /// Write all replies, then close.
    Close,
}

/// A message that was accepted and is to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Envelope and what belongs to it.
    pub transaction: Box<Transaction>,
    /// Header section, body and facts.
    pub content: Gathered,
}

/// One session of the server machine.
#[derive(Debug)]
pub struct Server {
    dialogue: Dialogue,
    lines: LineSplitter,
    intake: Intake,
}

impl Server {
    /// A session that has just been accepted. Its first step asks about [`Phase::Connect`].
    pub fn new(client: Client, rules: Rules) -> Server {
        let lines = LineSplitter::new(rules.bare_lf);
        Server { dialogue: Dialogue::new(client, rules), lines, intake: Intake::default() }
    }

    /// Uses what has been received, up to the next thing that is the driver's to do.
    pub fn step(&mut self, now: WallTime) -> Step {
        loop {
            if let Some(phase) = self.dialogue.phase() {
                return Step::Ask(phase);
            }
            if self.dialogue.errand.is_none() {
                self.dialogue.say_delayed();
            }
            match self.dialogue.errand.take() {
                Some(Errand::Commit(ticket)) => return Step::Commit(ticket),
                Some(Errand::Wait(span)) => return Step::Wait(span),
                Some(Errand::StartTls) => {
                    self.intake.discard_unread(); // what was said in clear is not heard (RFC 3207 §4.2, CVE-2011-0411)
                    return Step::StartTls;
                }
                None => {}
            }
            match &mut self.dialogue.state {
                State::Closing => {
                    self.intake.discard_unread();
                    return Step::Close;
                }
                State::Content(..) => {
                    if let Some(step) = self.receive() {
                        return step;
                    }
                }
                State::Skipping(_) => {
                    if !self.skip() {
                        return Step::Read;
                    }
                }
                State::Connected | State::Greeted | State::Mail(_) | State::Recipients(_) | State::Chunks(..) => {
                    if !self.read_command(now) {
                        return Step::Read;
                    }
                }
            }
        }
    }

    /// Carries out the next command line; false when there is none.
    fn read_command(&mut self, now: WallTime) -> bool {
        let consumed = match self.lines.next(self.intake.unread()) {
            line::Step::Line { text, consumed } => {
                self.dialogue.line(text, now);
                consumed
            }
            line::Step::Fault { fault, consumed } => {
                self.dialogue.bad_command(fault.into());
                consumed
            }
            line::Step::More { consumed } => {
                self.intake.consume(consumed);
                if consumed > 0 {
                    // Too long already: there is no need to wait for its end, the session ends here.
                    self.dialogue.bad_command(line::LineFault::TooLong.into());
                }
                return consumed > 0;
            }
        };
        self.intake.consume(consumed);
        true
    }

    /// Uses content; the step that it leads to, if it is one of the driver's.
    fn receive(&mut self) -> Option<Step> {
        let State::Content(_, receiving) = &mut self.dialogue.state else { return None };
        if receiving.begin() {
            self.intake.begin_content();
        }
        match receiving.take(&mut self.intake) {
            Progress::More => return Some(Step::Read),
            Progress::Spill(body) => return Some(Step::Spill(body)),
            Progress::ChunkDone(octets) => {
                let state = std::mem::replace(&mut self.dialogue.state, State::Closing);
                self.dialogue.state = self.dialogue.chunk_complete(state, octets);
            }
            Progress::Complete => {
                if let State::Content(transaction, receiving) =
                    std::mem::replace(&mut self.dialogue.state, State::Closing)
                {
                    self.dialogue.state = self.dialogue.content_complete(transaction, receiving);
                }
            }
        }
        if self.dialogue.receiving().is_none() {
            self.intake.drop_content();
        }
        None
    }

    /// Lets an unwanted chunk pass; false when more of it has to come.
    fn skip(&mut self) -> bool {
        let State::Skipping(skip) = &mut self.dialogue.state else { return true };
        let here = usize::try_from(skip.left).unwrap_or(usize::MAX).min(self.intake.unread().len());
        self.intake.consume(here);
        skip.left -= here as u64;
        if skip.left > 0 {
            return false;
        }
        if let State::Skipping(skip) = std::mem::replace(&mut self.dialogue.state, State::Closing) {
            self.dialogue.state = self.dialogue.fault(skip.next, skip.reply);
        }
        true
    }

    /// The subject of the open question.
    pub fn question(&self) -> Option<Question<'_>> {
        self.dialogue.question()
    }

    /// Answers the open question; without one it changes nothing.
    pub fn answer(&mut self, answer: Answer, now: WallTime) {
        if let Some(rules) = &answer.rules {
            self.lines = LineSplitter::new(rules.bare_lf);
        }
        self.dialogue.answer(answer, now);
        if self.dialogue.receiving().is_none() {
            self.intake.drop_content();
        }
    }

    /// The content that [`Phase::Content`] is about.
    pub fn gathered(&self) -> Option<&Gathered> {
        self.dialogue.receiving()?.gathered.as_ref()
    }

    /// The message that [`Step::Commit`] is about; once.
    pub fn take_message(&mut self) -> Option<Message> {
        let (transaction, receiving) = self.dialogue.accepted.take()?;
        Some(Message { transaction, content: receiving.gathered? })
    }

    /// What came of a commit: the reply takes its place in the order.
    pub fn committed(&mut self, ticket: Ticket, reply: &Reply) {
        self.dialogue.committed(ticket, reply);
    }

    /// Commits that have not been answered by [`Server::committed`].
    pub fn commits_pending(&self) -> usize {
        self.dialogue.pending.len()
    }

    /// TLS has been negotiated. What was said before, and what was received before, is forgotten.
    pub fn tls_started(&mut self, facts: TlsFacts) {
        self.intake.discard_unread();
        self.dialogue.forget_greeting();
        self.dialogue.client.tls = Some(Box::new(facts));
    }

    /// Spills what is gathered of a body now, to free memory; nothing when there is nothing to spill yet.
    pub fn spill_now(&mut self) -> Option<Bytes> {
        let State::Content(_, receiving) = &mut self.dialogue.state else { return None };
        if receiving.is_refused() || !receiving.can_spill(&self.intake) {
            return None;
        }
        match receiving.spill_now(&mut self.intake) {
            Progress::Spill(body) => Some(body),
            _ => None,
        }
    }

    /// The message under way cannot be kept: its octets are read and thrown away, then this is said.
    pub fn abandon_content(&mut self, reply: Reply) {
        if let State::Content(_, receiving) | State::Chunks(_, receiving) = &mut self.dialogue.state {
            receiving.abandon(&mut self.intake, reply);
        }
    }

    /// Says a last word at once, whatever is under way (idle, too slow, failing). The next step is Close.
    pub fn end(&mut self, reply: Reply) {
        if !matches!(self.dialogue.state, State::Closing) {
            self.dialogue.close(reply);
        }
    }

    /// The server stops: a transaction under way may finish, everything else hears 421.
    pub fn stop(&mut self) {
        self.dialogue.is_stopping = true;
        let idle = matches!(self.dialogue.state, State::Connected | State::Greeted);
        if idle && self.dialogue.open.is_none() {
            self.end(words::shutting_down());
        }
    }

    /// The buffer the driver reads into.
    pub fn intake(&mut self) -> &mut Intake {
        &mut self.intake
    }

    /// The replies the driver writes.
    pub fn replies(&mut self) -> &mut Replies {
        &mut self.dialogue.replies
    }

    /// Who is at the other end.
    pub fn client(&self) -> &Client {
        &self.dialogue.client
    }

    /// Facts that the driver learns (a name from DNS, an implicit TLS handshake).
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.dialogue.client
    }

    /// What has been counted.
    pub fn counts(&self) -> Counts {
        self.dialogue.counts
    }

    /// What the client is offered.
    pub fn offers(&self) -> &Offers {
        &self.dialogue.offers
    }

    /// Which state the session is in.
    pub fn state(&self) -> StateKind {
        self.dialogue.state.kind()
    }

    /// The content that is under way.
    pub fn receiving(&self) -> Option<&Receiving> {
        self.dialogue.receiving()
    }

    /// The transaction that is under way.
    pub fn transaction(&self) -> Option<&Transaction> {
        self.dialogue.state.transaction()
    }

    /// Octets that the client said its message has.
    pub fn expected_bytes(&self) -> Option<u64> {
        match &self.dialogue.state {
            State::Content(_, receiving) if receiving.is_spilling() => Some(u64::MAX),
            state => state.transaction().and_then(|t| t.envelope.mail.size),
        }
    }
}
