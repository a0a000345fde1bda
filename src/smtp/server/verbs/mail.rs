//! MAIL (RFC 5321 §4.1.1.2).

use crate::base::WallTime;
use crate::smtp::command::{Command, CommandError};
use crate::smtp::server::dialogue::{Dialogue, Open};
use crate::smtp::server::question::{Answer, Verdict};
use crate::smtp::server::state::{State, Transaction};
use crate::smtp::server::words;

/// Asks whether the transaction may begin.
pub(in crate::smtp::server) fn mail(d: &mut Dialogue, state: State, command: Command<'_>, now: WallTime) -> State {
    let Command::Mail(mail) = command else { return d.fault(state, words::unknown_command()) };
    if matches!(d.offers.extensions.mail_max, max if max > 0 && d.counts.messages >= max) {
        return d.say(state, words::too_many_messages());
    }
    if !mail.arguments.is_empty() && !d.client.is_extended() {
        return d.fault(state, CommandError::UnknownParameter.reply());
    }
    if let Err(error) = d.offers.extensions.check_mail(&mail.arguments, d.client.tls.is_some(), now) {
        return match error {
            CommandError::TooBig => d.say(state, error.reply()), // a fact about the message, not a fault of the client
            error => d.fault(state, error.reply()),
        };
    }
    let transaction = Transaction::new(mail.reverse_path(), mail.arguments.to_parameters(now));
    d.open = Some(Open::Mail(Box::new(transaction)));
    state
}

impl Dialogue {
    /// The sender was judged.
    pub(in crate::smtp::server) fn mail_answered(
        &mut self,
        state: State,
        mut transaction: Box<Transaction>,
        verdict: Verdict,
        answer: Answer,
    ) -> State {
        if let Verdict::Refuse(reply) | Verdict::Close(reply) = verdict {
            return self.say(state, reply);
        }
        if let Some(path) = answer.reverse_path {
            transaction.envelope.reverse_path = path;
        }
        self.say(State::Mail(transaction), words::mail_ok())
    }
}
