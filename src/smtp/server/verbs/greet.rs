//! EHLO, HELO and LHLO (RFC 5321 §4.1.1.1, RFC 2033 §4.1).

use compact_str::CompactString;

use crate::base::WallTime;
use crate::smtp::command::Command;
use crate::smtp::server::client::{Hello, Protocol};
use crate::smtp::server::dialogue::{Dialogue, Open};
use crate::smtp::server::question::{Answer, Verdict};
use crate::smtp::server::state::State;
use crate::smtp::server::words;

/// Asks whether the client may call itself so. Until it is answered the session stays where it was:
/// a greeting that is refused changes nothing (RFC 5321 §4.1.4).
pub(in crate::smtp::server) fn greet(d: &mut Dialogue, state: State, command: Command<'_>, _: WallTime) -> State {
    let (hello, name) = match command {
        Command::Ehlo(name) => (Hello::Ehlo, name),
        Command::Helo(name) => (Hello::Helo, name),
        Command::Lhlo(name) => (Hello::Lhlo, name),
        _ => return d.fault(state, words::unknown_command()),
    };
    match (d.client.protocol, hello) {
        (Protocol::Lmtp, Hello::Ehlo | Hello::Helo) => d.fault(state, words::lhlo_expected()),
        (Protocol::Smtp, Hello::Lhlo) => d.fault(state, words::ehlo_expected()),
        _ => {
            d.open = Some(Open::Ehlo { hello, name: CompactString::new(name) });
            state
        }
    }
}

impl Dialogue {
    /// The greeting was judged: a transaction under way is dropped, as by RSET.
    pub(in crate::smtp::server) fn greeted(
        &mut self,
        state: State,
        hello: Hello,
        name: CompactString,
        verdict: Verdict,
        answer: Answer,
        now: WallTime,
    ) -> State {
        if let Verdict::Refuse(reply) | Verdict::Close(reply) = verdict {
            return self.fault(state, reply);
        }
        if let Some(offers) = answer.offers {
            self.offers = offers;
        }
        let reply = match hello {
            Hello::Helo => self.offers.helo_reply(),
            Hello::Ehlo | Hello::Lhlo => self.offers.ehlo_reply(now),
        };
        self.client.helo = Some(name);
        self.client.hello = Some(hello);
        self.say(State::Greeted, reply)
    }
}
