//! Clients that bring mail: pipelined, cut into pieces anywhere, gone in the middle; through the server machine.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use posthaste::base::MessageId;
use posthaste::mail::{Received, Reply, Source};
use posthaste::smtp::extensions::Extensions;
use posthaste::smtp::server::{Answer, Client, Offers, Protocol, Question, Rules, Server, Step, Ticket, words};
use posthaste::spool::sim::SimDisk;
use posthaste::spool::storage::Storage as _;
use posthaste::spool::{Body, BulkWriter, CommitError, Durability, Health, Message, Record};

use super::ledger::Offer;
use super::node::Node;
use super::story::Story;

const NOTIFY: [&str; 6] =
    ["", "", " NOTIFY=NEVER", " NOTIFY=FAILURE", " NOTIFY=SUCCESS,FAILURE", " NOTIFY=SUCCESS,DELAY"];
const DOMAINS: [&str; 7] = ["a.test", "b.test", "c.test", "d.test", "busy.test", "dead.test", "nowhere.test"];

/// What one client says, and where each message's end is.
struct Script {
    text: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

fn write_message(story: &Story, script: &mut Script, in_chunks: bool) {
    let n = story.ledger.borrow().offers.len();
    let sender = if story.one_in(8) { String::new() } else { format!("s{n}@origin.test") };
    let ret = ["", " RET=FULL", " RET=HDRS"][story.below(3) as usize];
    let when = match story.below(16) {
        0 => format!(" HOLDFOR={}", 1 + story.below(30)),
        1 => format!(" BY={};R", 1 + story.below(40)),
        2 => format!(" BY={};N", story.below(40)),
        _ => String::new(),
    };
    script.text.extend_from_slice(format!("MAIL FROM:<{sender}>{ret}{when}\r\n").as_bytes());
    let mut recipients = Vec::new();
    for at in 0..1 + story.below(if story.one_in(4) { 12 } else { 3 }) {
        let user = ["u", "u", "u", "bad", "no"][story.below(if at == 0 { 4 } else { 5 }) as usize];
        let domain = DOMAINS[story.below(DOMAINS.len() as u64) as usize];
        let (path, notify) = (format!("{user}{at}@{domain}"), NOTIFY[story.below(6) as usize]);
        script.text.extend_from_slice(format!("RCPT TO:<{path}>{notify}\r\n").as_bytes());
        if user != "no" {
            recipients.push(path);
        }
    }
    let mut content = format!("Subject: {n}\r\nX-Sim: {n};\r\n\r\n").into_bytes();
    let size = if story.one_in(25) { 270_000 + story.below(60_000) } else { story.below(4000) };
    let mut line = 0;
    while (content.len() as u64) < size {
        line += 1;
        let dot = if story.one_in(9) { "." } else { "" };
        content.extend_from_slice(format!("{dot}line {line} of {n} {:x}\r\n", story.next()).as_bytes());
        if size > 10_000 {
            content.resize(content.len() + 900, b'a');
            content.extend_from_slice(b"\r\n");
            content.resize(content.len() + 900, b'b');
            content.extend_from_slice(b"\r\n");
        }
    }
    if in_chunks {
        let at = story.below(content.len() as u64) as usize;
        script.text.extend_from_slice(format!("BDAT {at}\r\n").as_bytes());
        script.text.extend_from_slice(&content[..at]);
        script.text.extend_from_slice(format!("BDAT {} LAST\r\n", content.len() - at).as_bytes());
        script.text.extend_from_slice(&content[at..]);
    } else {
        script.text.extend_from_slice(b"DATA\r\n");
        for line in content.split_inclusive(|octet| *octet == b'\n') {
            if line.starts_with(b".") {
                script.text.push(b'.');
            }
            script.text.extend_from_slice(line);
        }
        script.text.extend_from_slice(b".\r\n");
    }
    script.ends.push((n, script.text.len()));
    story.ledger.borrow_mut().offers.push(Offer { recipients, content, is_end_sent: false, is_taken: false });
}

fn script(story: &Story, protocol: Protocol) -> Script {
    let hello: &[u8] = if protocol == Protocol::Lmtp { b"LHLO client.test\r\n" } else { b"EHLO client.test\r\n" };
    let mut script = Script { text: hello.to_vec(), ends: Vec::new() };
    let in_chunks = story.one_in(3);
    for _ in 0..1 + story.below(3) {
        write_message(story, &mut script, in_chunks);
    }
    script.text.extend_from_slice(b"QUIT\r\n");
    script
}

type Results = Rc<RefCell<Vec<(Ticket, MessageId, Result<(), CommitError>)>>>;

struct Session {
    node: Rc<Node>,
    durability: Durability,
    server: Server,
    bulk: Option<BulkWriter<SimDisk>>,
    spilled: Vec<u8>,
    done: Results,
    pending: usize,
    heard: Vec<u8>,
    /// How often each message was acknowledged.
    acknowledged: BTreeMap<MessageId, usize>,
}

/// One client from its connection to its end, which may come anywhere.
pub async fn bring(node: Rc<Node>) {
    let story = node.story.clone();
    let protocol = if story.one_in(4) { Protocol::Lmtp } else { Protocol::Smtp };
    let script = script(&story, protocol);
    let remote: SocketAddr = "192.0.2.1:4000".parse().expect("an address");
    let local: SocketAddr = "192.0.2.2:25".parse().expect("an address");
    let client = Client::new(Rc::from(protocol.as_str()), protocol, remote, local);
    let rules = Rules { rcpt_errors_wait: Duration::ZERO, rcpt_errors_max: 1000, ..Rules::default() };
    let mut session = Session {
        durability: story.durability(),
        node,
        server: Server::new(client, rules),
        bulk: None,
        spilled: Vec::new(),
        done: Results::default(),
        pending: 0,
        heard: Vec::new(),
        acknowledged: BTreeMap::new(),
    };
    let end = if story.one_in(3) { story.below(script.text.len() as u64) as usize } else { script.text.len() };
    let pace = [usize::MAX, 5000, 300, 20][story.below(4) as usize].max(script.text.len() / 60);
    let mut at = 0;
    while session.run().await && at < end {
        let piece = (1 + story.below(pace as u64) as usize).min(end - at);
        for (offer, at_end) in &script.ends {
            if *at_end <= at + piece {
                story.ledger.borrow_mut().offers[*offer].is_end_sent = true;
            }
        }
        if !session.feed(&script.text[at..at + piece]).await {
            break;
        }
        at += piece;
        if story.one_in(3) {
            story.sleep(Duration::from_millis(story.below(20))).await;
        }
    }
    if at < script.text.len() && story.one_in(2) {
        return; // gone, and what was handed over is the writer's
    }
    while session.pending > 0 {
        session.settle().await;
    }
    for (id, count) in session.acknowledged {
        let recipients = story.ledger.borrow().mails[&id].recipients.len();
        let wanted = if protocol == Protocol::Lmtp { recipients } else { 1 };
        assert_eq!(count, wanted, "{id}: replies to the end of its data");
    }
}

impl Session {
    /// Hands octets to the machine as its intake has room.
    async fn feed(&mut self, mut octets: &[u8]) -> bool {
        while !octets.is_empty() {
            let expected = self.server.expected_bytes();
            let intake = self.server.intake();
            if intake.space().is_empty() {
                let size = intake.next_capacity(expected).expect("a full buffer can grow or is being used");
                intake.lend(vec![0; size]);
            }
            let space = intake.space();
            let n = space.len().min(octets.len());
            space[..n].copy_from_slice(&octets[..n]);
            intake.received(n);
            octets = &octets[n..];
            if !self.run().await {
                return false;
            }
        }
        true
    }

    /// Steps until more input is needed; false when the session is over.
    async fn run(&mut self) -> bool {
        loop {
            self.take_results();
            match self.server.step(self.node.story.wall()) {
                Step::Read => {
                    self.hear();
                    return true;
                }
                Step::Ask(_) => {
                    let answer = answer(self.server.question().expect("a question is open"));
                    self.server.answer(answer, self.node.story.wall());
                }
                Step::Spill(body) => self.spill(&body).await,
                Step::Commit(ticket) => self.commit(ticket).await,
                Step::Wait(span) => self.node.story.sleep(span).await,
                Step::StartTls => unreachable!("not offered"),
                Step::Close => {
                    while self.pending > 0 {
                        self.settle().await;
                    }
                    self.hear();
                    return false;
                }
            }
        }
    }

    async fn spill(&mut self, body: &[u8]) {
        let spool = &self.node.spool;
        let bulk = self.bulk.get_or_insert_with(|| spool.bulk());
        self.spilled.extend_from_slice(body);
        if let Err(error) = bulk.write(body).await {
            self.bulk = None;
            self.spilled.clear();
            self.server.abandon_content(error.reply());
        }
    }

    async fn commit(&mut self, ticket: Ticket) {
        let accepted = self.server.take_message().expect("a message goes with its commit");
        let body = match self.bulk.take() {
            None if accepted.content.body.is_empty() => Body::Memory(Vec::new()),
            None => Body::Memory(vec![accepted.content.body]),
            Some(mut bulk) => {
                self.spilled.extend_from_slice(&accepted.content.body);
                let written = match accepted.content.body.is_empty() {
                    true => Ok(()),
                    false => bulk.write(&accepted.content.body).await,
                };
                let finished = match written {
                    Ok(()) => bulk.finish().await,
                    Err(error) => Err(error),
                };
                match finished {
                    Ok(extents) => Body::Bulk(extents),
                    Err(error) => {
                        self.spilled.clear();
                        return self.server.committed(ticket, &error.reply());
                    }
                }
            }
        };
        let facts = accepted.content.facts;
        let id = self.node.spool.new_id();
        let received = Received {
            at: self.node.story.wall(),
            source: Source::Unauthenticated,
            listener: "smtp".into(),
            remote_ip: self.server.client().remote.ip(),
            local_port: 25,
            helo: "client.test".into(),
            authenticated_as: None,
            content: facts,
        };
        let message = Rc::new(Message {
            id,
            envelope: accepted.transaction.envelope,
            received,
            trace: Bytes::from_static(b"Received: by mx.test\r\n"),
            header: accepted.content.header,
            has_separator: facts.has_separator,
            body,
        });
        let spilled = std::mem::take(&mut self.spilled);
        let offer = offer_of(&message.header);
        self.node.story.ledger.borrow_mut().submitted(offer, &message, &spilled, self.durability);
        let commit = self.node.spool.commit(vec![Record::Message(message)], self.durability);
        self.pending += 1;
        let (done, node) = (self.done.clone(), self.node.clone());
        let disk = node.disk.clone();
        disk.spawn(async move {
            let result = commit.await;
            if let Err(error) = result {
                let is_sick = node.spool.health() == Health::Sick || error == CommitError::Sick;
                let mut ledger = node.story.ledger.borrow_mut();
                ledger.refused(id, is_sick);
                if error == CommitError::Full {
                    ledger.count("full");
                    assert_eq!(error.reply().code, 452, "P8: full is not failing");
                }
            }
            done.borrow_mut().push((ticket, id, result));
        });
        while self.pending >= 3 {
            self.settle().await;
        }
    }

    fn take_results(&mut self) {
        for (ticket, id, result) in self.done.take() {
            self.pending -= 1;
            match result {
                Ok(()) => self.server.committed(ticket, &words::queued(id)),
                Err(error) => self.server.committed(ticket, &error.reply()),
            }
        }
    }

    async fn settle(&mut self) {
        while self.done.borrow().is_empty() {
            self.node.story.sleep(Duration::from_micros(500)).await;
        }
        self.take_results();
        self.hear();
    }

    /// The client reads its replies: each 250 with an id is a promise.
    fn hear(&mut self) {
        let ready = self.server.replies().take_ready();
        self.heard.extend_from_slice(&ready);
        while let Some(end) = self.heard.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some((_, id)) = line.split_once("Message queued with id ") {
                assert!(line.starts_with("250 "), "{line}");
                let id: MessageId = id.trim().trim_end_matches('.').parse().expect("an id");
                self.node.story.ledger.borrow_mut().acknowledged(id);
                *self.acknowledged.entry(id).or_default() += 1;
            }
        }
    }
}

fn offer_of(header: &[u8]) -> usize {
    let text = String::from_utf8_lossy(header);
    let number =
        text.split_once("X-Sim: ").and_then(|(_, rest)| rest.split_once(';')).map(|(number, _)| number.parse());
    number.expect("our messages are numbered").expect("a number")
}

/// Policy: everybody is welcome, but `no…` is no recipient.
fn answer(question: Question<'_>) -> Answer {
    match question {
        Question::Connect => Answer { text: Some("mx.test ESMTP".into()), ..Answer::accept() },
        Question::Ehlo(_) => {
            let extensions = Extensions {
                dsn: true,
                size_bytes_max: 1_000_000,
                future_release_max: Some(Duration::from_secs(100)),
                deliver_by_max: Some(Duration::from_secs(100)),
                ..Extensions::default()
            };
            Answer { offers: Some(Rc::new(Offers { hostname: "mx.test".into(), extensions })), ..Answer::accept() }
        }
        Question::Rcpt(_, rcpt) if rcpt.path.as_str().starts_with("no") => {
            Answer::refuse(Reply::new(550, (5, 1, 1), "Mailbox does not exist."))
        }
        _ => Answer::accept(),
    }
}
