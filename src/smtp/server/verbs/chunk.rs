//! BDAT (RFC 3030 §2).

use crate::base::WallTime;
use crate::smtp::command::Command;
use crate::smtp::server::dialogue::{Dialogue, Intent, Open};
use crate::smtp::server::state::State;
use crate::smtp::server::words;

/// The first chunk asks whether content may come; the others follow it.
pub(in crate::smtp::server) fn bdat(d: &mut Dialogue, state: State, command: Command<'_>, _: WallTime) -> State {
    let Command::Bdat { size_bytes, is_last } = command else {
        return d.fault(state, words::unknown_command());
    };
    if !d.offers.extensions.chunking {
        return d.skip(state.reset(), size_bytes, words::not_implemented());
    }
    match state {
        State::Chunks(transaction, mut receiving) => {
            receiving.next_chunk(size_bytes, is_last);
            State::Content(transaction, receiving)
        }
        state => {
            d.open = Some(Open::Data(Intent::Chunk { octets: size_bytes, is_last }));
            state
        }
    }
}

impl Dialogue {
    /// A chunk that is not the last has come. Its 250 promises nothing; a refusal ends the transaction,
    /// so that what follows of it is refused too.
    pub(in crate::smtp::server) fn chunk_complete(&mut self, state: State, octets: u64) -> State {
        let State::Content(transaction, mut receiving) = state else { return state };
        match receiving.take_refusal() {
            Some(refusal) => {
                self.count_refusal(refusal.must_close);
                self.replies.push(&refusal.reply);
                if refusal.must_close { State::Closing } else { State::Greeted }
            }
            None => self.say(State::Chunks(transaction, receiving), words::chunk_ok(octets)),
        }
    }
}
