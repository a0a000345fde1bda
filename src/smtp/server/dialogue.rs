//! The dialogue: one command at a time, through the verb table, to the next state.
//!
//! It holds what the session is (state, client, offers, counts) and what it says (replies); octets are
//! not its business. [`super::Server`] feeds it lines and tells it when content is complete.

use std::rc::Rc;
use std::time::Duration;

use compact_str::CompactString;

use crate::base::WallTime;
use crate::mail::{Recipient, Reply};
use crate::smtp::command::{Command, CommandError, Verb};
use crate::smtp::server::client::{Client, Hello, Protocol};
use crate::smtp::server::offers::Offers;
use crate::smtp::server::question::{Answer, Phase, Question, Verdict};
use crate::smtp::server::receiving::Receiving;
use crate::smtp::server::replies::{Replies, Ticket};
use crate::smtp::server::rules::{Counts, Rules};
use crate::smtp::server::state::{Skip, State, Transaction};
use crate::smtp::server::table::{Cell, Row};
use crate::smtp::server::words;

/// The open question, with what is not part of the state yet.
#[derive(Debug)]
pub(super) enum Open {
    Connect,
    Ehlo { hello: Hello, name: CompactString },
    Mail(Box<Transaction>),
    Rcpt(Box<Recipient>),
    Data(Intent),
    Content,
    Vrfy(CompactString),
    Expn(CompactString),
}

/// How the content is about to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// DATA.
    Text,
    /// The first BDAT.
    Chunk { octets: u64, is_last: bool },
}

/// Something the driver has to do before the next command is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    /// Negotiate TLS.
    StartTls,
    /// Let that much time pass.
    Wait(Duration),
    /// Hand the message over; the reply has a place.
    Commit(Ticket),
}

/// A reply that a commit will give, to one client or to each recipient.
#[derive(Debug)]
pub(super) struct Pending {
    pub ticket: Ticket,
    /// LMTP: a reply per accepted RCPT; `None` where the commit decides. Empty on SMTP.
    pub each: Vec<Option<Reply>>,
}

/// A session's protocol state.
#[derive(Debug)]
pub struct Dialogue {
    pub(super) state: State,
    pub(super) open: Option<Open>,
    pub(super) errand: Option<Errand>,
    /// Said when the time of [`Errand::Wait`] has passed.
    pub(super) delayed: Option<Box<Reply>>,
    pub(super) replies: Replies,
    pub(super) client: Box<Client>,
    pub(super) offers: Rc<Offers>,
    pub(super) rules: Rules,
    pub(super) counts: Counts,
    pub(super) pending: Vec<Pending>,
    /// A message whose commit is the errand; it was gathered.
    pub(super) accepted: Option<(Box<Transaction>, Box<Receiving>)>,
    pub(super) is_stopping: bool,
}

impl Dialogue {
    /// A session that has just been accepted: whether it may go on is the first question.
    pub fn new(client: Client, rules: Rules) -> Dialogue {
        Dialogue {
            state: State::Connected,
            open: Some(Open::Connect),
            errand: None,
            delayed: None,
            replies: Replies::default(),
            client: Box::new(client),
            offers: Rc::default(),
            rules,
            counts: Counts::default(),
            pending: Vec::new(),
            accepted: None,
            is_stopping: false,
        }
    }

    /// Carries one command line out, given without its line end.
    pub(super) fn line(&mut self, line: &[u8], now: WallTime) {
        match Command::parse(line) {
            Ok(command) => self.command(command, now),
            Err(error) => self.bad_command(error),
        }
    }

    /// Carries one command out.
    pub(super) fn command(&mut self, command: Command<'_>, now: WallTime) {
        self.counts.commands += 1;
        if self.is_stopping && self.state.transaction().is_none() && command.verb() != Verb::Quit {
            return self.close(words::shutting_down());
        }
        let row = Row::of(command.verb());
        if row.is_idle && self.counts.idle(self.rules.idle_commands_max) {
            return self.close(words::too_many_commands());
        }
        let refusal = match row.cell(self.state.kind()) {
            Cell::Go => None,
            Cell::Ehlo => self.rules.ehlo_required.then(words::ehlo_first),
            Cell::No(reply) => Some(reply()),
        };
        let state = std::mem::replace(&mut self.state, State::Closing);
        self.state = match (refusal, command) {
            (None, command) => (row.act)(self, state, command, now),
            (Some(reply), Command::Bdat { size_bytes, .. }) => self.skip(state, size_bytes, reply),
            (Some(reply), _) => self.fault(state, reply),
        };
    }

    /// A line that is no command.
    pub(super) fn bad_command(&mut self, error: CommandError) {
        self.counts.commands += 1;
        if error.must_close() {
            return self.close(error.reply());
        }
        let state = std::mem::replace(&mut self.state, State::Closing);
        self.state = self.fault(state, error.reply());
    }

    /// Says something that needs no further thought.
    pub(super) fn say(&mut self, state: State, reply: Reply) -> State {
        self.replies.push(&reply);
        state
    }

    /// Says what had to wait.
    pub(super) fn say_delayed(&mut self) {
        if let Some(reply) = self.delayed.take() {
            self.replies.push(&reply);
        }
    }

    /// Says what is wrong, and counts it; one error too many ends the session.
    pub(super) fn fault(&mut self, state: State, reply: Reply) -> State {
        self.counts.errors += 1;
        if self.counts.errors >= self.rules.errors_max {
            self.replies.push(&words::too_many_errors());
            return State::Closing;
        }
        self.say(state, reply)
    }

    /// Lets a chunk pass that nobody wants, then says why.
    pub(super) fn skip(&mut self, next: State, octets: u64, reply: Reply) -> State {
        match octets {
            0 => self.fault(next, reply),
            left => State::Skipping(Box::new(Skip { left, reply, next })),
        }
    }

    /// Says a last word.
    pub(super) fn close(&mut self, reply: Reply) {
        self.replies.push(&reply);
        self.open = None;
        self.state = State::Closing;
    }

    /// The question that is open.
    pub(super) fn question(&self) -> Option<Question<'_>> {
        Some(match self.open.as_ref()? {
            Open::Connect => Question::Connect,
            Open::Ehlo { name, .. } => Question::Ehlo(name),
            Open::Mail(transaction) => Question::Mail(transaction),
            Open::Rcpt(recipient) => Question::Rcpt(self.state.transaction()?, recipient),
            Open::Data(_) => Question::Data(self.state.transaction()?),
            Open::Content => Question::Content(self.state.transaction()?),
            Open::Vrfy(text) => Question::Vrfy(text),
            Open::Expn(text) => Question::Expn(text),
        })
    }

    /// The phase of the open question.
    pub(super) fn phase(&self) -> Option<Phase> {
        Some(match self.open.as_ref()? {
            Open::Connect => Phase::Connect,
            Open::Ehlo { .. } => Phase::Ehlo,
            Open::Mail(_) => Phase::Mail,
            Open::Rcpt(_) => Phase::Rcpt,
            Open::Data(_) => Phase::Data,
            Open::Content => Phase::Content,
            Open::Vrfy(_) => Phase::Vrfy,
            Open::Expn(_) => Phase::Expn,
        })
    }

    /// Hears the answer to the open question; without one it changes nothing.
    pub(super) fn answer(&mut self, answer: Answer, now: WallTime) {
        let Some(open) = self.open.take() else { return };
        if let Some(rules) = &answer.rules {
            self.rules = **rules;
        }
        let state = std::mem::replace(&mut self.state, State::Closing);
        self.state = match (open, answer.verdict.clone()) {
            (Open::Connect, Verdict::Refuse(reply)) => self.last_word(reply),
            (open, Verdict::Close(reply)) => self.closed_at(open, &state, reply),
            (Open::Connect, _) => self.say(state, Reply::plain(220, answer.text.unwrap_or("ESMTP".into()))),
            (Open::Ehlo { hello, name }, verdict) => self.greeted(state, hello, name, verdict, answer, now),
            (Open::Mail(transaction), verdict) => self.mail_answered(state, transaction, verdict, answer),
            (Open::Rcpt(recipient), verdict) => self.rcpt_answered(state, *recipient, verdict, answer),
            (Open::Data(intent), verdict) => self.data_answered(state, intent, verdict),
            (Open::Content, verdict) => self.content_answered(state, verdict, answer.refused),
            (Open::Vrfy(_) | Open::Expn(_), verdict) => {
                let text = answer.text.unwrap_or("OK".into());
                let reply = match verdict {
                    Verdict::Refuse(reply) | Verdict::Close(reply) => reply,
                    Verdict::Accept | Verdict::Discard => Reply::new(250, (2, 1, 5), text),
                };
                self.say(state, reply)
            }
        };
    }

    fn last_word(&mut self, reply: Reply) -> State {
        self.replies.push(&reply);
        State::Closing
    }

    /// A verdict that ends the session. After content LMTP hears it once per recipient.
    fn closed_at(&mut self, open: Open, state: &State, reply: Reply) -> State {
        let times = match open {
            Open::Content => self.replies_after_content(state.transaction()),
            _ => 1,
        };
        for _ in 0..times {
            self.replies.push(&reply);
        }
        State::Closing
    }

    /// How many replies the end of the content gets: one, or on LMTP one per accepted RCPT.
    pub(super) fn replies_after_content(&self, transaction: Option<&Transaction>) -> usize {
        match self.client.protocol {
            Protocol::Smtp => 1,
            Protocol::Lmtp => transaction.map_or(1, |t| t.answered.len().max(1)),
        }
    }

    /// What a commit came to.
    pub(super) fn committed(&mut self, ticket: Ticket, reply: &Reply) {
        let Some(at) = self.pending.iter().position(|pending| pending.ticket == ticket) else { return };
        let pending = self.pending.swap_remove(at);
        if pending.each.is_empty() {
            return self.replies.fill(ticket, std::slice::from_ref(reply));
        }
        let each: Vec<Reply> = pending.each.into_iter().map(|own| own.unwrap_or_else(|| reply.clone())).collect();
        self.replies.fill(ticket, &each);
    }

    /// TLS is there: what the client said before is forgotten (RFC 3207 §4.2).
    pub(super) fn forget_greeting(&mut self) {
        self.state = State::Connected;
        self.open = None;
        self.client.helo = None;
        self.client.hello = None;
    }

    /// The state with its receiving, while content comes.
    pub(super) fn receiving(&self) -> Option<&Receiving> {
        match &self.state {
            State::Content(_, receiving) | State::Chunks(_, receiving) => Some(receiving),
            _ => None,
        }
    }
}
