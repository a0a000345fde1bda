//! RCPT (RFC 5321 §4.1.1.3).

use crate::base::WallTime;
use crate::base::limits::RECIPIENTS_MAX;
use crate::mail::Recipient;
use crate::smtp::command::{Command, CommandError};
use crate::smtp::server::client::Protocol;
use crate::smtp::server::dialogue::{Dialogue, Errand, Open};
use crate::smtp::server::question::{Answer, Verdict};
use crate::smtp::server::state::State;
use crate::smtp::server::words;

/// Asks whether the recipient may join.
pub(in crate::smtp::server) fn rcpt(d: &mut Dialogue, state: State, command: Command<'_>, _: WallTime) -> State {
    let Command::Rcpt(rcpt) = command else { return d.fault(state, words::unknown_command()) };
    let Some(transaction) = state.transaction() else { return d.fault(state, words::mail_first()) };
    if !rcpt.arguments.is_empty() && !d.client.is_extended() {
        return d.fault(state, CommandError::UnknownParameter.reply());
    }
    let checked = rcpt.check_smtputf8(transaction.envelope.mail.smtputf8);
    if let Err(error) = checked.and_then(|()| d.offers.extensions.check_rcpt(&rcpt.arguments)) {
        return d.fault(state, error.reply());
    }
    let recipients_max = match d.offers.extensions.rcpt_max {
        0 => RECIPIENTS_MAX,
        max => (max as usize).min(RECIPIENTS_MAX),
    };
    if transaction.envelope.recipients.len() >= recipients_max {
        return d.say(state, words::too_many_recipients());
    }
    let recipient = Recipient {
        path: rcpt.forward_path(),
        notify: rcpt.arguments.notify,
        original: rcpt.arguments.original.map(|original| original.to_original()),
    };
    d.open = Some(Open::Rcpt(Box::new(recipient)));
    state
}

impl Dialogue {
    /// The recipient was judged.
    pub(in crate::smtp::server) fn rcpt_answered(
        &mut self,
        state: State,
        mut recipient: Recipient,
        verdict: Verdict,
        answer: Answer,
    ) -> State {
        let (State::Mail(mut transaction) | State::Recipients(mut transaction)) = state else { return state };
        if let Verdict::Refuse(reply) | Verdict::Close(reply) = verdict {
            transaction.refused += 1;
            let state = match transaction.envelope.recipients.is_empty() {
                true => State::Mail(transaction),
                false => State::Recipients(transaction),
            };
            return self.rcpt_refused(state, reply);
        }
        if let Some(path) = answer.forward_path {
            recipient.path = path;
        }
        let index = transaction.add(recipient);
        if self.client.protocol == Protocol::Lmtp {
            transaction.answered.push(index);
        }
        self.say(State::Recipients(transaction), words::rcpt_ok())
    }

    /// Guessing recipients is slow, and ends.
    fn rcpt_refused(&mut self, state: State, reply: crate::mail::Reply) -> State {
        if reply.is_transient() {
            return self.say(state, reply);
        }
        self.counts.rcpt_errors += 1;
        if self.counts.rcpt_errors >= self.rules.rcpt_errors_max {
            self.replies.push(&words::too_many_errors());
            return State::Closing;
        }
        if self.rules.rcpt_errors_wait.is_zero() {
            return self.say(state, reply);
        }
        // What was said before does not wait with it.
        self.errand = Some(Errand::Wait(self.rules.rcpt_errors_wait));
        self.delayed = Some(Box::new(reply));
        state
    }
}
