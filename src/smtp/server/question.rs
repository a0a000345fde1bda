//! What the machine asks, and what it is answered. It decides nothing itself that a site may decide.

use std::rc::Rc;

use crate::mail::{ForwardPath, Recipient, Reply, ReversePath, Text};
use crate::smtp::server::offers::Offers;
use crate::smtp::server::rules::Rules;
use crate::smtp::server::state::Transaction;

/// The phases of a session, in their order. Hooks, logs, metrics and settings use the same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// A connection is there; nothing has been said.
    Connect,
    /// EHLO, HELO or LHLO.
    Ehlo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA, or the first BDAT.
    Data,
    /// The content is complete.
    Content,
    /// VRFY.
    Vrfy,
    /// EXPN.
    Expn,
}

impl Phase {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Connect => "connect",
            Phase::Ehlo => "ehlo",
            Phase::Mail => "mail",
            Phase::Rcpt => "rcpt",
            Phase::Data => "data",
            Phase::Content => "content",
            Phase::Vrfy => "vrfy",
            Phase::Expn => "expn",
        }
    }
}

/// The question that is open, with what it is about.
#[derive(Debug, Clone, Copy)]
pub enum Question<'a> {
    /// May it connect, and how is it greeted?
    Connect,
    /// May it call itself so, and what is offered to it?
    Ehlo(&'a str),
    /// May this transaction begin?
    Mail(&'a Transaction),
    /// May this recipient join?
    Rcpt(&'a Transaction, &'a Recipient),
    /// May its content come?
    Data(&'a Transaction),
    /// What becomes of the message? The content is with [`super::Server::content`].
    Content(&'a Transaction),
    /// Is there such a user?
    Vrfy(&'a str),
    /// Is there such a list?
    Expn(&'a str),
}

/// What policy decided.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    /// Go on.
    #[default]
    Accept,
    /// Say this; the session goes on.
    Refuse(Reply),
    /// Say this and close.
    Close(Reply),
    /// Say yes and forget it. After content only; elsewhere the same as accepting.
    Discard,
}

/// The answer to a question. What does not belong to its phase is ignored.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The decision.
    pub verdict: Verdict,
    /// Connect: the text of the 220. Vrfy, Expn: the text of the 250.
    pub text: Option<Text>,
    /// Ehlo: the host's name and what is offered.
    pub offers: Option<Rc<Offers>>,
    /// Connect, Ehlo: the bounds of the dialogue from here on.
    pub rules: Option<Box<Rules>>,
    /// Mail: another reverse-path.
    pub reverse_path: Option<ReversePath>,
    /// Rcpt: another forward-path.
    pub forward_path: Option<ForwardPath>,
    /// Content: recipients that do not get it, by their index, with the reply. Heard on LMTP, where each has its own.
    pub refused: Vec<(u32, Reply)>,
}

impl Answer {
    /// Go on.
    pub fn accept() -> Answer {
        Answer::default()
    }

    /// Say this; the session goes on.
    pub fn refuse(reply: Reply) -> Answer {
        Answer { verdict: Verdict::Refuse(reply), ..Answer::default() }
    }

    /// Say this and close.
    pub fn close(reply: Reply) -> Answer {
        Answer { verdict: Verdict::Close(reply), ..Answer::default() }
    }
}
