//! A scripted next hop: answers as an MX does, with every misfortune that the network and its operators know.

use std::time::Duration;

use posthaste::base::MessageId;

use super::story::Story;

/// What comes back over the connection, in order.
#[derive(Debug, Clone)]
pub enum Heard {
    /// Octets, after a while.
    Said(String, Duration),
    /// The connection is closed.
    Closed,
    /// The connection is reset.
    Reset,
}

/// The domain whose next hop speaks LMTP.
pub const LMTP_DOMAIN: &str = "c.test";

#[derive(Debug, Clone, Copy)]
enum Mode {
    Commands,
    Data,
    Chunk { left: usize, is_last: bool },
}

/// One connection of a next hop.
pub struct Peer {
    domain: String,
    mode: Mode,
    input: Vec<u8>,
    content: Vec<u8>,
    accepted: Vec<String>,
    has_mail: bool,
    is_over: bool,
    /// The message that the other side is sending: known to the test, never said on the wire.
    pub sending: Option<MessageId>,
}

fn said(text: impl Into<String>) -> Heard {
    Heard::Said(text.into(), Duration::from_millis(3))
}

impl Peer {
    /// A new connection with its greeting; `None` when nobody listens.
    pub fn connect(story: &Story, domain: &str) -> Option<(Peer, Vec<Heard>)> {
        let is_down = story.is_unkind() && story.below(6) == 0;
        if domain == "dead.test" || is_down || story.is_resting(domain) {
            return None;
        }
        let mut peer = Peer {
            domain: domain.to_owned(),
            mode: Mode::Commands,
            input: Vec::new(),
            content: Vec::new(),
            accepted: Vec::new(),
            has_mail: false,
            is_over: false,
            sending: None,
        };
        let greeting = match story.mishap(40) {
            0 => "421 4.3.2 not now\r\n",
            1 => "554 5.3.2 not you\r\n",
            _ => "220 mx.test ESMTP\r\n",
        };
        peer.is_over = !greeting.starts_with('2');
        let mut heard = vec![said(greeting)];
        if peer.is_over {
            heard.push(Heard::Closed);
        }
        Some((peer, heard))
    }

    fn end(&mut self, how: Heard) -> Vec<Heard> {
        self.is_over = true;
        vec![how]
    }

    /// Takes octets and answers.
    pub fn feed(&mut self, story: &Story, octets: &[u8]) -> Vec<Heard> {
        self.input.extend_from_slice(octets);
        let mut heard = Vec::new();
        while !self.is_over {
            let (used, mut answers) = match self.mode {
                Mode::Commands => match memchr::memmem::find(&self.input, b"\r\n") {
                    Some(end) => {
                        let line = String::from_utf8_lossy(&self.input[..end]).into_owned();
                        (end + 2, self.command(story, &line))
                    }
                    None => break,
                },
                Mode::Data => match end_of_data(&self.input) {
                    Some((end, used)) => {
                        self.content = unstuffed(&self.input[..end]);
                        self.mode = Mode::Commands;
                        (used, self.end_of_data(story))
                    }
                    None => break,
                },
                Mode::Chunk { left, is_last } => {
                    let here = left.min(self.input.len());
                    if here == 0 && left > 0 {
                        break;
                    }
                    self.content.extend_from_slice(&self.input[..here]);
                    self.mode = Mode::Chunk { left: left - here, is_last };
                    if left == here {
                        self.mode = Mode::Commands;
                        (here, if is_last { self.end_of_data(story) } else { vec![said("250 2.0.0 chunk\r\n")] })
                    } else {
                        (here, Vec::new())
                    }
                }
            };
            self.input.drain(..used);
            heard.append(&mut answers);
        }
        heard
    }

    fn command(&mut self, story: &Story, line: &str) -> Vec<Heard> {
        if story.mishap(80) == 0 {
            return self.end(Heard::Reset);
        }
        let upper = line.to_ascii_uppercase();
        let verb = upper.split([' ', ':']).next().unwrap_or_default();
        let path = line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path.to_owned());
        match verb {
            "EHLO" if self.is_lmtp() => vec![said("500 5.5.1 LHLO\r\n")],
            "EHLO" | "LHLO" => {
                let mut text = "250-mx.test\r\n250-8BITMIME\r\n250-SIZE 10000000\r\n".to_owned();
                let kind = self.domain.len() + usize::from(self.domain.as_bytes()[0]);
                for (at, name) in ["PIPELINING", "CHUNKING", "DSN"].iter().enumerate() {
                    if kind & (1 << at) != 0 && (*name != "DSN" || self.domain == "d.test") {
                        text.push_str(&format!("250-{name}\r\n"));
                    }
                }
                if kind & 1 != 0 {
                    text.push_str("250-DELIVERBY 5\r\n");
                }
                vec![said(text + "250 ENHANCEDSTATUSCODES\r\n")]
            }
            "HELO" | "RSET" => {
                self.accepted.clear();
                self.has_mail = false;
                vec![said("250 2.0.0 ok\r\n")]
            }
            "MAIL" => {
                self.accepted.clear();
                self.content.clear();
                self.has_mail = false;
                match story.mishap(30) {
                    0 => vec![said("451 4.3.0 later\r\n")],
                    1 => {
                        let mut last = vec![said("421 4.3.2 closing\r\n")];
                        last.append(&mut self.end(Heard::Closed));
                        last
                    }
                    _ => {
                        self.has_mail = true;
                        vec![said("250 2.1.0 ok\r\n")]
                    }
                }
            }
            "RCPT" if !self.has_mail => vec![said("503 5.5.1 MAIL first\r\n")],
            "RCPT" => {
                let path = path.unwrap_or_default();
                if path.starts_with("bad") {
                    return vec![said("550 5.1.1 nobody\r\n")];
                }
                match story.mishap(16) {
                    0 => vec![said("450 4.2.1 greylisted\r\n")],
                    1 => vec![said("452 4.5.3 too many\r\n")],
                    _ => {
                        self.accepted.push(path);
                        vec![said("250 2.1.5 ok\r\n")]
                    }
                }
            }
            "DATA" if self.accepted.is_empty() => vec![said("554 5.5.1 no recipients\r\n")],
            "DATA" => match story.mishap(40) {
                0 => vec![said("451 4.3.0 later\r\n")],
                _ => {
                    self.mode = Mode::Data;
                    vec![said("354 go on\r\n")]
                }
            },
            "BDAT" => {
                let mut words = upper.split(' ').skip(1);
                let left = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
                self.mode = Mode::Chunk { left, is_last: words.next() == Some("LAST") };
                Vec::new()
            }
            "QUIT" => self.end(Heard::Closed),
            _ => vec![said("500 5.5.1 what\r\n")],
        }
    }

    fn end_of_data(&mut self, story: &Story) -> Vec<Heard> {
        let rcpts = std::mem::take(&mut self.accepted);
        self.has_mail = false;
        if rcpts.is_empty() {
            return vec![said("554 5.5.1 no recipients\r\n")];
        }
        let fate = story.mishap(40);
        match fate {
            0 | 1 => return vec![said("451 4.3.0 later\r\n")],
            2 if self.domain != "origin.test" => return vec![said("554 5.6.0 never\r\n")],
            3 => return self.end(Heard::Reset), // not taken, and nobody says so
            _ => {}
        }
        let id = self.sending.expect("the test says what it sends");
        if self.is_lmtp() {
            return self.end_of_data_each(story, id, &rcpts);
        }
        for rcpt in &rcpts {
            story.ledger.borrow_mut().taken(id, rcpt, &self.content);
        }
        match fate {
            4 | 5 => self.end(Heard::Closed), // taken, and the answer is lost
            6 => self.end(Heard::Reset),
            7 => vec![Heard::Said("250 2.0.0 at last\r\n".into(), Duration::from_secs(14))],
            8 => vec![Heard::Said("250 2.0.0 slowly\r\n".into(), Duration::from_secs(2))],
            _ => vec![said("250 2.0.0 taken\r\n")],
        }
    }
}

impl Peer {
    /// One domain is served by LMTP.
    pub fn is_lmtp(&self) -> bool {
        self.domain == LMTP_DOMAIN
    }

    /// LMTP: each recipient has its own fate and its own reply (RFC 2033 §4.2).
    fn end_of_data_each(&mut self, story: &Story, id: MessageId, rcpts: &[String]) -> Vec<Heard> {
        let mut heard = Vec::new();
        for rcpt in rcpts {
            match story.mishap(16) {
                0 => heard.push(said("452 4.2.2 full\r\n")),
                1 => heard.push(said("552 5.2.2 full for ever\r\n")),
                2 => {
                    heard.append(&mut self.end(Heard::Reset)); // the others were not taken
                    return heard;
                }
                fate => {
                    story.ledger.borrow_mut().taken(id, rcpt, &self.content);
                    if fate == 3 {
                        heard.append(&mut self.end(Heard::Closed)); // taken, and the answer is lost
                        return heard;
                    }
                    heard.push(said("250 2.1.5 taken\r\n"));
                }
            }
        }
        heard
    }
}

/// Where the content ends (its last CRLF included), and where the commands go on.
fn end_of_data(input: &[u8]) -> Option<(usize, usize)> {
    if input.starts_with(b".\r\n") {
        return Some((0, 3));
    }
    memchr::memmem::find(input, b"\r\n.\r\n").map(|at| (at + 2, at + 5))
}

fn unstuffed(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    out
}
