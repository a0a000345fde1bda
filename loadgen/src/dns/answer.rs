//! Bytes of a question to bytes of its answer. Pure but for the dice in [`Behaviour`].

use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};

use super::behaviour::Behaviour;
use super::zone::{Found, Zones};
use crate::random::Random;

/// Most bytes of a datagram to a client that says nothing of it (RFC 1035 §4.2.1).
const PLAIN_BYTES: usize = 512;
/// Most bytes of a datagram we send (what DNS flag day 2020 settled on).
const DATAGRAM_BYTES: u16 = 1232;

/// How the question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

/// What is done with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What is sent; `None` is silence.
    pub bytes: Option<Vec<u8>>,
    /// After how long.
    pub delay: Duration,
    /// Type of the question.
    pub kind: String,
    /// How it is counted: `NOERROR`, `NODATA`, `NXDOMAIN`, `SERVFAIL`, `truncated`, `no answer` …
    pub outcome: &'static str,
}

/// What answers.
#[derive(Debug, Clone)]
pub struct Responder {
    /// The names.
    pub zones: Zones,
    /// What goes wrong.
    pub behaviour: Behaviour,
    /// Answers claim to be authenticated (AD), as those of a validating resolver do.
    pub is_authentic: bool,
}

fn word(code: ResponseCode) -> &'static str {
    match code {
        ResponseCode::NoError => "NOERROR",
        ResponseCode::FormErr => "FORMERR",
        ResponseCode::ServFail => "SERVFAIL",
        ResponseCode::NXDomain => "NXDOMAIN",
        ResponseCode::NotImp => "NOTIMP",
        _ => "REFUSED",
    }
}

impl Responder {
    /// Answers one message; `None` where there is nothing that could be answered.
    pub fn answer(&self, bytes: &[u8], way: Way, random: &mut Random) -> Option<Answer> {
        let Ok(question) = Message::from_vec(bytes) else { return malformed(bytes) };
        if question.metadata.message_type != MessageType::Query {
            return None; // two servers that answer answers never stop
        }
        let mut reply = reply_to(&question);
        let [query] = question.queries.as_slice() else {
            return plain(reply, "none", ResponseCode::FormErr);
        };
        let kind = query.query_type;
        if question.metadata.op_code != OpCode::Query {
            return plain(reply, &kind.to_string(), ResponseCode::NotImp);
        }
        if query.query_class != DNSClass::IN || matches!(kind, RecordType::AXFR | RecordType::IXFR) {
            return plain(reply, &kind.to_string(), ResponseCode::Refused);
        }
        let fate = self.behaviour.fate(kind, random);
        let found = match fate.broken {
            Some(broken) => Found::Broken(broken),
            None => self.zones.find(&query.name, kind),
        };
        let answered = |bytes, outcome| Some(Answer { bytes, delay: fate.delay, kind: kind.to_string(), outcome });
        let Some(outcome) = fill(&mut reply, found) else { return answered(None, "no answer") };
        let asks_for_it =
            question.metadata.authentic_data || question.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok); // RFC 6840 §5.7
        reply.metadata.authentic_data = self.is_authentic && asks_for_it;
        let bytes = reply.to_vec().ok()?;
        let room = question.edns.as_ref().map_or(PLAIN_BYTES, |edns| usize::from(edns.max_payload()).max(PLAIN_BYTES));
        if way == Way::Udp && (fate.is_truncated || bytes.len() > room) {
            return answered(Some(cut(&mut reply)?), "truncated");
        }
        answered(Some(bytes), outcome)
    }
}

/// An answer without records.
fn reply_to(question: &Message) -> Message {
    let mut reply = Message::response(question.metadata.id, question.metadata.op_code);
    reply.metadata.authoritative = true;
    reply.metadata.recursion_desired = question.metadata.recursion_desired;
    // Whoever asks us as its resolver is to be content.
    reply.metadata.recursion_available = true;
    reply.metadata.checking_disabled = question.metadata.checking_disabled;
    reply.queries.clone_from(&question.queries);
    if let Some(asked) = &question.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(DATAGRAM_BYTES).set_version(0).set_dnssec_ok(asked.flags().dnssec_ok);
        reply.edns = Some(edns);
    }
    reply
}

/// Puts what was found into the reply; `None` is silence.
fn fill(reply: &mut Message, found: Found) -> Option<&'static str> {
    let (records, start, code) = match found {
        Found::Records(records) => (records, None, ResponseCode::NoError),
        Found::NoData(aliases, start) => (aliases, Some(*start), ResponseCode::NoError),
        Found::NoName(aliases, start) => (aliases, Some(*start), ResponseCode::NXDomain),
        Found::NotOurs => (Vec::new(), None, ResponseCode::Refused),
        Found::Broken(broken) => (Vec::new(), None, broken.code()?),
    };
    let is_empty = start.is_some() && code == ResponseCode::NoError;
    reply.metadata.response_code = code;
    reply.answers = records;
    reply.authorities = start.into_iter().collect();
    Some(if is_empty { "NODATA" } else { word(code) })
}

/// The same reply with TC and no records (RFC 2181 §9).
fn cut(reply: &mut Message) -> Option<Vec<u8>> {
    reply.metadata.truncation = true;
    reply.answers.clear();
    reply.authorities.clear();
    reply.to_vec().ok()
}

fn plain(mut reply: Message, kind: &str, code: ResponseCode) -> Option<Answer> {
    reply.metadata.response_code = code;
    reply.metadata.authoritative = false;
    let bytes = reply.to_vec().ok()?;
    Some(Answer { bytes: Some(bytes), delay: Duration::ZERO, kind: kind.to_owned(), outcome: word(code) })
}

/// FORMERR to what has a header at least, and is not itself an answer.
fn malformed(bytes: &[u8]) -> Option<Answer> {
    let [first, second, flags, ..] = *bytes else { return None };
    if bytes.len() < 12 || flags & 0x80 != 0 {
        return None;
    }
    let reply = Message::error_msg(u16::from_be_bytes([first, second]), OpCode::Query, ResponseCode::FormErr);
    plain(reply, "malformed", ResponseCode::FormErr)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use hickory_proto::rr::Name;

    fn responder() -> Responder {
        let mut zones = Zones::new(60);
        zones.add_mail_domain("test", 1, &["127.0.0.1".parse().expect("an address")]).expect("taken");
        for number in 0..60 {
            zones.add_line(&format!("large.test TXT \"{number:0>100}\"")).expect("taken");
        }
        zones.add_line("dead.test TIMEOUT").expect("taken");
        Responder { zones, behaviour: Behaviour::default(), is_authentic: true }
    }

    fn question(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.metadata.id = 77;
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        message
    }

    fn ask(message: &Message, way: Way) -> (Message, &'static str) {
        let bytes = message.to_vec().expect("encodes");
        let answer = responder().answer(&bytes, way, &mut Random::new(1)).expect("an answer");
        (Message::from_vec(&answer.bytes.expect("bytes")).expect("decodes"), answer.outcome)
    }

    #[test]
    fn the_case_of_the_question_comes_back() {
        let (reply, outcome) = ask(&question("D7.TeSt.", RecordType::MX), Way::Udp);
        assert_eq!((outcome, reply.metadata.id, reply.metadata.authoritative), ("NOERROR", 77, true));
        assert_eq!(reply.answers[0].name.to_string(), "D7.TeSt.");
        assert!(!reply.metadata.authentic_data, "nobody asked for it");
    }

    #[test]
    fn large_answers_are_cut_in_datagrams_only() {
        let mut large = question("large.test.", RecordType::TXT);
        let (cut, outcome) = ask(&large, Way::Udp);
        assert!(cut.metadata.truncation && cut.answers.is_empty() && outcome == "truncated");
        let (whole, _) = ask(&large, Way::Tcp);
        assert_eq!(whole.answers.len(), 60);
        let mut edns = Edns::new();
        edns.set_max_payload(65_000).set_dnssec_ok(true);
        large.set_edns(edns);
        let (roomy, _) = ask(&large, Way::Udp);
        assert!(roomy.answers.len() == 60 && roomy.metadata.authentic_data);
    }

    #[test]
    fn nothing_and_nobody_and_silence() {
        let (none, outcome) = ask(&question("d1.test.", RecordType::TLSA), Way::Udp);
        assert!(none.answers.is_empty() && none.authorities.len() == 1 && outcome == "NODATA");
        let (foreign, outcome) = ask(&question("example.org.", RecordType::A), Way::Udp);
        assert_eq!((foreign.metadata.response_code, outcome), (ResponseCode::Refused, "REFUSED"));
        let dead = question("dead.test.", RecordType::A).to_vec().expect("encodes");
        let silence = responder().answer(&dead, Way::Udp, &mut Random::new(1)).expect("counted");
        assert_eq!((silence.bytes, silence.outcome), (None, "no answer"));
    }

    #[test]
    fn what_is_no_question_is_refused_or_ignored() {
        let responder = responder();
        let mut random = Random::new(1);
        let mut answer = |bytes: &[u8]| responder.answer(bytes, Way::Udp, &mut random);
        assert_eq!(answer(b"short"), None);
        let malformed = answer(&[0, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0xc0]).expect("an answer");
        assert_eq!(malformed.outcome, "FORMERR");
        let mut reply = question("d1.test.", RecordType::A);
        reply.metadata.message_type = MessageType::Response;
        assert_eq!(answer(&reply.to_vec().expect("encodes")), None);
        let mut update = question("d1.test.", RecordType::A);
        update.metadata.op_code = OpCode::Update;
        assert!(answer(&update.to_vec().expect("encodes")).is_some_and(|answer| answer.outcome == "NOTIMP"));
    }
}
