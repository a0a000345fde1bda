//! The machine alone: scripted input, a scripted policy, and what came of it.

mod dialogs;
mod extensions;
mod order;
mod smuggling;
mod table;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::base::{MessageId, StreamId};
use crate::mail::Reply;

pub(super) const NOW: WallTime = WallTime(1_795_386_600_000);

/// Gives the answers of policy.
pub(super) type Policy = fn(Question<'_>, &Server) -> Answer;

/// Everything is fine.
pub(super) fn lenient(question: Question<'_>, server: &Server) -> Answer {
    match question {
        Question::Connect => Answer { text: Some("mx.test ESMTP".into()), ..Answer::accept() },
        Question::Ehlo(_) => Answer { offers: Some(Rc::new(offers(server))), ..Answer::accept() },
        _ => Answer::accept(),
    }
}

/// `no@…` is no recipient, `no@…` is no sender.
pub(super) fn picky(question: Question<'_>, server: &Server) -> Answer {
    let is_no = |path: &str| path.starts_with("no@");
    match question {
        Question::Mail(t) if is_no(t.envelope.reverse_path.as_str()) => {
            Answer::refuse(Reply::new(550, (5, 7, 1), "Sender address not allowed."))
        }
        Question::Rcpt(_, r) if is_no(r.path.as_str()) => {
            Answer::refuse(Reply::new(550, (5, 1, 1), "Mailbox does not exist."))
        }
        other => lenient(other, server),
    }
}

pub(super) fn offers(server: &Server) -> Offers {
    let is_tls = server.client().tls.is_some();
    let extensions = crate::smtp::extensions::Extensions {
        starttls: !is_tls,
        requiretls: is_tls,
        dsn: true,
        future_release_max: Some(Duration::from_secs(7 * 86_400)),
        deliver_by_max: Some(Duration::from_secs(15 * 86_400)),
        mt_priority: Some(crate::smtp::extensions::PriorityProfile::Mixer),
        size_bytes_max: 1_000_000,
        ..Default::default()
    };
    Offers { hostname: "mx.test".into(), extensions }
}

/// What a run came to.
#[derive(Debug, Default, PartialEq, Eq, Clone)]
pub(super) struct Transcript {
    pub said: String,
    pub messages: Vec<(Vec<String>, Vec<u8>)>,
    pub is_closed: bool,
    pub handshakes: usize,
    pub waits: usize,
    /// The most octets the receive buffer grew to.
    pub buffer_bytes_max: usize,
}

impl Transcript {
    /// The codes that were said, in order, the greeting left out.
    pub fn codes(&self) -> Vec<u16> {
        let last_lines = self.said.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
        last_lines.skip(1).filter_map(|line| line.get(..3)?.parse().ok()).collect()
    }

    /// The last line that was said.
    pub fn last(&self) -> &str {
        self.said.lines().last().unwrap_or("")
    }
}

/// A session under test.
pub(super) struct Run {
    pub server: Server,
    pub policy: Policy,
    /// Commits are answered only when this many are pending (or the input ends).
    pub commits_held: usize,
    pub out: Transcript,
    pending: Vec<Ticket>,
    spilled: Vec<u8>,
    ids: u64,
}

impl Run {
    pub fn new(protocol: Protocol, policy: Policy) -> Run {
        let address: SocketAddr = "192.0.2.1:4000".parse().expect("an address");
        let local: SocketAddr = "192.0.2.2:25".parse().expect("an address");
        let client = Client::new(Rc::from("smtp"), protocol, address, local);
        let rules = Rules { rcpt_errors_wait: Duration::ZERO, ..Rules::default() };
        Run {
            server: Server::new(client, rules),
            policy,
            commits_held: 1,
            out: Transcript::default(),
            pending: Vec::new(),
            spilled: Vec::new(),
            ids: 0,
        }
    }

    pub fn smtp() -> Run {
        Run::new(Protocol::Smtp, picky)
    }

    pub fn lmtp() -> Run {
        Run::new(Protocol::Lmtp, picky)
    }

    /// Feeds octets as one segment; false when the session is over.
    pub fn feed(&mut self, mut octets: &[u8]) -> bool {
        if !self.run() {
            return false;
        }
        while !octets.is_empty() {
            let expected = self.server.expected_bytes();
            let intake = self.server.intake();
            if intake.space().is_empty() {
                let size = intake.next_capacity(expected).expect("a full buffer can grow or is being used");
                intake.lend(vec![0; size]);
            }
            self.out.buffer_bytes_max = self.out.buffer_bytes_max.max(intake.capacity());
            let space = intake.space();
            let n = space.len().min(octets.len());
            space[..n].copy_from_slice(&octets[..n]);
            intake.received(n);
            octets = &octets[n..];
            if !self.run() {
                return false;
            }
        }
        true
    }

    /// Steps until more input is needed; false when the session is over.
    fn run(&mut self) -> bool {
        loop {
            match self.server.step(NOW) {
                Step::Read => return true,
                Step::Ask(_) => {
                    let question = self.server.question().expect("a question is open");
                    let answer = (self.policy)(question, &self.server);
                    self.server.answer(answer, NOW);
                }
                Step::Spill(body) => self.spilled.extend_from_slice(&body),
                Step::Commit(ticket) => self.commit(ticket),
                Step::Wait(_) => self.out.waits += 1,
                Step::StartTls => {
                    self.settle();
                    self.out.handshakes += 1;
                    self.server.tls_started(TlsFacts::default());
                }
                Step::Close => {
                    self.settle();
                    self.out.is_closed = true;
                    return false;
                }
            }
        }
    }

    fn commit(&mut self, ticket: Ticket) {
        let message = self.server.take_message().expect("a message goes with its commit");
        let mut content = message.content.header.to_vec();
        if message.content.facts.has_separator {
            content.extend_from_slice(b"\r\n");
        }
        content.append(&mut self.spilled);
        content.extend_from_slice(&message.content.body);
        let recipients = message.transaction.envelope.recipients.iter().map(|r| r.path.as_str().to_owned());
        self.out.messages.push((recipients.collect(), content));
        self.pending.push(ticket);
        if self.pending.len() >= self.commits_held {
            self.settle();
        }
    }

    /// Answers all pending commits, the last first: the order of replies must not depend on it.
    fn settle(&mut self) {
        let first = self.ids;
        self.ids += self.pending.len() as u64;
        for (i, ticket) in self.pending.drain(..).enumerate().rev() {
            let id = MessageId { stream: StreamId(0), start: 1, sequence: first + i as u64 };
            self.server.committed(ticket, &words::queued(id));
        }
        let said = self.server.replies().take_ready();
        self.out.said.push_str(std::str::from_utf8(&said).expect("replies are text"));
    }

    /// The input has ended.
    pub fn finish(mut self) -> Transcript {
        self.settle();
        self.out
    }

    /// All input at once.
    pub fn all(mut self, input: &[u8]) -> Transcript {
        self.feed(input);
        self.finish()
    }

    /// The input in pieces.
    pub fn pieces<'i>(mut self, pieces: impl IntoIterator<Item = &'i [u8]>) -> Transcript {
        for piece in pieces {
            if !self.feed(piece) {
                break;
            }
        }
        self.finish()
    }
}

/// A transaction up to and with DATA.
pub(super) const ENVELOPE: &str = "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n";
