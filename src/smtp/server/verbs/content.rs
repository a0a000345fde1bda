//! DATA, and the end of content however it came (RFC 5321 §4.1.1.4, RFC 2033 §4.2).

use crate::base::WallTime;
use crate::mail::{BodyType, Reply};
use crate::smtp::command::Command;
use crate::smtp::server::client::Protocol;
use crate::smtp::server::dialogue::{Dialogue, Errand, Intent, Open, Pending};
use crate::smtp::server::question::Verdict;
use crate::smtp::server::receiving::Receiving;
use crate::smtp::server::state::{State, Transaction};
use crate::smtp::server::words;

/// Asks whether the content may come.
pub(in crate::smtp::server) fn data(d: &mut Dialogue, state: State, _: Command<'_>, _: WallTime) -> State {
    if state.transaction().is_some_and(|t| t.envelope.mail.body == BodyType::BinaryMime) {
        return d.fault(state, words::binary_needs_bdat());
    }
    d.open = Some(Open::Data(Intent::Text));
    state
}

impl Dialogue {
    /// Whether the content may come was judged. A chunk that may not come comes all the same.
    pub(in crate::smtp::server) fn data_answered(&mut self, state: State, intent: Intent, verdict: Verdict) -> State {
        let State::Recipients(transaction) = state else { return state };
        match (intent, verdict) {
            (Intent::Text, Verdict::Refuse(reply) | Verdict::Close(reply)) => {
                self.say(State::Recipients(transaction), reply)
            }
            (Intent::Chunk { octets, .. }, Verdict::Refuse(reply) | Verdict::Close(reply)) => {
                // The transaction goes too: a later chunk must not become a message of its own.
                self.skip(State::Greeted, octets, reply)
            }
            (Intent::Text, _) => {
                let receiving = Receiving::text(self.rules.bare_line_ends, self.offers.extensions.size_bytes_max);
                self.say(State::Content(transaction, Box::new(receiving)), words::start_mail_input())
            }
            (Intent::Chunk { octets, is_last }, _) => {
                let body = transaction.envelope.mail.body;
                let mut receiving =
                    Receiving::chunks(self.rules.bare_line_ends, body, self.offers.extensions.size_bytes_max);
                receiving.next_chunk(octets, is_last);
                State::Content(transaction, Box::new(receiving))
            }
        }
    }

    /// The last octet of the content has come.
    pub(in crate::smtp::server) fn content_complete(
        &mut self,
        transaction: Box<Transaction>,
        mut receiving: Box<Receiving>,
    ) -> State {
        self.counts.messages += 1;
        match receiving.take_refusal() {
            Some(refusal) => {
                self.count_refusal(refusal.must_close);
                self.content_refused(&transaction, refusal.reply, refusal.must_close)
            }
            None => {
                self.open = Some(Open::Content);
                State::Content(transaction, receiving)
            }
        }
    }

    /// Only a bare line end closes the session: where we see the end of the message, its sender may not.
    pub(in crate::smtp::server) fn count_refusal(&mut self, is_bare_line_end: bool) {
        self.counts.content_refused += 1;
        self.counts.bare_line_ends += u32::from(is_bare_line_end);
    }

    /// Says no to a whole message: once, or on LMTP once per accepted RCPT.
    pub(in crate::smtp::server) fn content_refused(
        &mut self,
        transaction: &Transaction,
        reply: Reply,
        must_close: bool,
    ) -> State {
        for _ in 0..self.replies_after_content(Some(transaction)) {
            self.replies.push(&reply);
        }
        if must_close { State::Closing } else { State::Greeted }
    }

    /// The message was judged.
    pub(in crate::smtp::server) fn content_answered(
        &mut self,
        state: State,
        verdict: Verdict,
        refused: Vec<(u32, Reply)>,
    ) -> State {
        let State::Content(mut transaction, receiving) = state else { return state };
        match verdict {
            Verdict::Refuse(reply) | Verdict::Close(reply) => self.content_refused(&transaction, reply, false),
            Verdict::Discard => {
                self.counts.forgive();
                self.content_refused(&transaction, words::queued_for_delivery(), false)
            }
            Verdict::Accept => {
                let each = self.each_reply(&mut transaction, refused);
                self.counts.forgive();
                let ticket = self.replies.hold();
                if transaction.envelope.recipients.is_empty() {
                    let each: Vec<Reply> = each.into_iter().flatten().collect();
                    self.replies.fill(ticket, &each);
                    return State::Greeted;
                }
                self.pending.push(Pending { ticket, each });
                self.errand = Some(Errand::Commit(ticket));
                self.accepted = Some((transaction, receiving));
                State::Greeted
            }
        }
    }

    /// LMTP: the reply of each accepted RCPT that is known already; those recipients leave the envelope.
    fn each_reply(&self, transaction: &mut Transaction, refused: Vec<(u32, Reply)>) -> Vec<Option<Reply>> {
        if self.client.protocol == Protocol::Smtp {
            return Vec::new();
        }
        let own = |index: &u32| refused.iter().find(|(r, _)| r == index).map(|(_, reply)| reply.clone());
        let each = transaction.answered.iter().map(own).collect();
        let mut at = 0;
        transaction.envelope.recipients.retain(|_| {
            at += 1;
            !refused.iter().any(|(r, _)| *r + 1 == at)
        });
        each
    }
}
