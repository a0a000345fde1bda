//! The facts of the moment as expressions see them.

use crate::expr::{Answers, Lookups, Scope, Value, Variable};
use crate::lookup::ShardLookups;
use crate::mail::{Mailbox, ReversePath};
use crate::smtp::server::{Client, Transaction};

/// What a check may look at. Borrowed for one evaluation.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The other end.
    pub client: &'a Client,
    /// What it calls itself, when that is the question; else what it said before.
    pub helo: Option<&'a str>,
    /// The transaction under way.
    pub transaction: Option<&'a Transaction>,
    /// The reverse-path as rewritten so far.
    pub sender: Option<&'a ReversePath>,
    /// The recipient in question, as rewritten so far.
    pub rcpt: Option<&'a Mailbox>,
    /// Directories, lists and counters.
    pub lookups: &'a ShardLookups,
    /// What has been found out for the check at hand.
    pub answers: Option<&'a Answers>,
}

impl Facts<'_> {
    fn sender_mailbox(&self) -> Option<&Mailbox> {
        self.sender.and_then(ReversePath::mailbox)
    }
}

/// The key of a mailbox's domain; owned only where its spelling had to be changed.
fn domain(mailbox: Option<&Mailbox>) -> Value<'_> {
    match mailbox.map(Mailbox::domain_key) {
        None => Value::EMPTY,
        Some(std::borrow::Cow::Borrowed(key)) => Value::text(key),
        Some(std::borrow::Cow::Owned(key)) => Value::Text(crate::expr::Str::Owned(key.into())),
    }
}

impl Scope for Facts<'_> {
    fn variable(&self, variable: Variable) -> Value<'_> {
        match variable {
            Variable::Listener => Value::text(&self.client.listener),
            Variable::RemoteIp => Value::Ip(self.client.remote.ip().to_canonical()),
            Variable::RemotePort => Value::Integer(i64::from(self.client.remote.port())),
            Variable::LocalIp => Value::Ip(self.client.local.ip().to_canonical()),
            Variable::LocalPort => Value::Integer(i64::from(self.client.local.port())),
            Variable::Protocol => Value::text(self.client.protocol.as_str()),
            Variable::IsTls => Value::bool(self.client.tls.is_some()),
            Variable::HeloDomain => self.helo.or(self.client.helo.as_deref()).map_or(Value::EMPTY, Value::text),
            Variable::Sender => self.sender.map_or(Value::EMPTY, |path| Value::text(path.as_str())),
            Variable::SenderDomain => domain(self.sender_mailbox()),
            Variable::AuthenticatedAs => match self.client.authenticated_as.as_deref() {
                Some(identity) => Value::text(identity),
                None => Value::EMPTY,
            },
            Variable::Recipients => match self.transaction {
                Some(t) => Value::texts(t.envelope.recipients.iter().map(|r| r.path.as_str())),
                None => Value::texts([]),
            },
            Variable::Rcpt => self.rcpt.map_or(Value::EMPTY, |rcpt| Value::text(rcpt.as_str())),
            Variable::RcptDomain => domain(self.rcpt),
            Variable::Address => self.rcpt.map_or(Value::EMPTY, |rcpt| Value::text(rcpt.as_str())),
            Variable::Priority => Value::Integer(self.transaction.map_or(0, |t| i64::from(t.envelope.mail.priority))),
            Variable::Asn => Value::Integer(0),
            _ => Value::EMPTY,
        }
    }

    fn lookups(&self) -> &dyn Lookups {
        self.lookups
    }

    fn answers(&self) -> Option<&Answers> {
        self.answers
    }
}
