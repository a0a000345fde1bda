//! The dispatch table: one row per verb, one column per state. It is the only dispatch there is.

use crate::base::WallTime;
use crate::mail::Reply;
use crate::smtp::command::{Command, Verb};
use crate::smtp::server::dialogue::Dialogue;
use crate::smtp::server::state::{State, StateKind};
use crate::smtp::server::verbs::{chunk, content, greet, mail, other, rcpt};
use crate::smtp::server::words;

/// Carries a command out: the old state goes in, the new one comes out.
pub(super) type Act = fn(&mut Dialogue, State, Command<'_>, WallTime) -> State;

/// What a verb may do in a state.
#[derive(Clone, Copy)]
pub(super) enum Cell {
    /// Carry it out.
    Go,
    /// Not now: say this.
    No(fn() -> Reply),
    /// Not now, unless the listener lets clients do without EHLO.
    Ehlo,
}

/// One verb.
pub(super) struct Row {
    pub verb: Verb,
    /// Connected, Greeted, Mail, Recipients, Chunks.
    cells: [Cell; 5],
    /// It moves no mail: a client that says it too often is sent away.
    pub is_idle: bool,
    pub act: Act,
}

impl Row {
    /// The row of a verb.
    pub fn of(verb: Verb) -> &'static Row {
        // Two dozen rows of which the common come first: a scan is as quick as a jump.
        TABLE.iter().find(|row| row.verb == verb).unwrap_or(&TABLE[TABLE.len() - 1])
    }

    /// What it may do in a state. In the states that read no command it may do nothing.
    pub fn cell(&self, kind: StateKind) -> Cell {
        let column = match kind {
            StateKind::Connected => 0,
            StateKind::Greeted => 1,
            StateKind::Mail => 2,
            StateKind::Recipients => 3,
            StateKind::Chunks => 4,
            StateKind::Content | StateKind::Skipping | StateKind::Closing => return No(words::unknown_command),
        };
        self.cells[column]
    }
}

use Cell::{Ehlo, Go, No};

const ANYWHERE: [Cell; 5] = [Go, Go, Go, Go, Go];

const fn work(verb: Verb, cells: [Cell; 5], act: Act) -> Row {
    Row { verb, cells, is_idle: false, act }
}

const fn idle(verb: Verb, cells: [Cell; 5], act: Act) -> Row {
    Row { verb, cells, is_idle: true, act }
}

/// Every verb there is. The order is how often they come.
#[rustfmt::skip]
static TABLE: [Row; 24] = [
    //                     Connected            Greeted               Mail                     Recipients               Chunks
    work(Verb::Mail,     [Ehlo,                Go,                   No(words::nested_mail),  No(words::nested_mail),  No(words::bdat_under_way)], mail::mail),
    work(Verb::Rcpt,     [No(words::mail_first), No(words::mail_first), Go,                   Go,                      No(words::bdat_under_way)], rcpt::rcpt),
    work(Verb::Data,     [No(words::mail_first), No(words::mail_first), No(words::rcpt_first), Go,                     No(words::bdat_under_way)], content::data),
    work(Verb::Bdat,     [No(words::mail_first), No(words::mail_first), No(words::rcpt_first), Go,                     Go],                        chunk::bdat),
    work(Verb::Quit,     ANYWHERE,                                                                                                                 other::quit),
    idle(Verb::Ehlo,     ANYWHERE,                                                                                                                 greet::greet),
    idle(Verb::Helo,     ANYWHERE,                                                                                                                 greet::greet),
    idle(Verb::Lhlo,     ANYWHERE,                                                                                                                 greet::greet),
    idle(Verb::Rset,     ANYWHERE,                                                                                                                 other::rset),
    idle(Verb::Noop,     ANYWHERE,                                                                                                                 other::noop),
    work(Verb::StartTls, [No(words::ehlo_first), Go,                 No(words::tls_in_transaction), No(words::tls_in_transaction), No(words::tls_in_transaction)], other::starttls),
    idle(Verb::Vrfy,     ANYWHERE,                                                                                                                 other::vrfy),
    idle(Verb::Expn,     ANYWHERE,                                                                                                                 other::expn),
    idle(Verb::Help,     ANYWHERE,                                                                                                                 other::help),
    // AUTH is not offered. Its place: Go in Greeted, and a state that waits for the client's response.
    idle(Verb::Auth,     [No(words::auth_not_allowed); 5],                                                                                         other::not_implemented),
    work(Verb::Xclient,  [Go,                  Go,                   No(words::xclient_in_transaction), No(words::xclient_in_transaction), No(words::xclient_in_transaction)], other::xclient),
    idle(Verb::Turn,     ANYWHERE,                                                                                                                 other::not_implemented),
    idle(Verb::Etrn,     ANYWHERE,                                                                                                                 other::not_implemented),
    idle(Verb::Atrn,     ANYWHERE,                                                                                                                 other::not_implemented),
    idle(Verb::Burl,     ANYWHERE,                                                                                                                 other::not_implemented),
    idle(Verb::Send,     ANYWHERE,                                                                                                                 other::not_implemented),
    idle(Verb::Soml,     ANYWHERE,                                                                                                                 other::not_implemented),
    idle(Verb::Saml,     ANYWHERE,                                                                                                                 other::not_implemented),
    idle(Verb::Xforward, ANYWHERE,                                                                                                                 other::not_implemented),
];
