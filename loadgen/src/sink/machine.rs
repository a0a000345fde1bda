//! A session of the sink as a function of bytes: commands in, replies out. Pure.
//!
//! [`Session::feed`] takes bytes until it needs the driver: to wait, to start TLS, to close. Replies are
//! gathered in `out`, so that a pipelined group is answered with one write.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use data_encoding::BASE64;

use super::behaviour::{Behaviour, Phase, Verdict};
use super::clients::Clients;
use super::command::{self, Command, Path};
use super::intake::{DotReader, Intake};
use super::tally::Tally;
use crate::hash::address_key;
use crate::random::Random;

/// Longest command line; clients that send more are cut off.
const LINE_BYTES_MAX: usize = 8192;

/// What a sink offers, the same for all its sessions.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// LMTP (RFC 2033): a reply per recipient after the content.
    pub is_lmtp: bool,
    /// The name in greetings.
    pub hostname: String,
    /// The lines of the EHLO reply behind the first, without STARTTLS and AUTH.
    pub extensions: Vec<String>,
    /// Largest content; 0 is no limit.
    pub size_max: u64,
    /// STARTTLS is offered in clear.
    pub has_starttls: bool,
    /// AUTH is offered, with this user and password.
    pub credentials: Option<(String, String)>,
    /// Each connection begins with a PROXY header.
    pub expects_proxy: bool,
    /// More messages on one connection get 421.
    pub messages_per_connection: Option<u32>,
    /// More recipients of one message get 452.
    pub recipients_max: Option<usize>,
}

/// What the sessions of a shard share.
#[derive(Debug)]
pub struct Shard {
    /// What is offered.
    pub profile: Rc<Profile>,
    /// What goes wrong on purpose.
    pub behaviour: Behaviour,
    /// Chance.
    pub random: Random,
    /// What was seen.
    pub tally: Tally,
    /// Limits per client, where some are set.
    pub clients: Option<Arc<Mutex<Clients>>>,
    /// When the sink started, microseconds of the clock that `now` is read from.
    pub started_us: u64,
}

/// What the driver has to do before more bytes are fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: all bytes are taken.
    More,
    /// Send the first `held` bytes of `out`, wait, then go on.
    Pause {
        /// How long.
        us: u64,
        /// What may be sent before.
        held: usize,
    },
    /// Send `out`, forget the bytes that are left, shake hands, then [`Session::secured`].
    StartTls,
    /// Send `out` and close.
    Close,
    /// Close with RST.
    Drop,
    /// Say nothing until the client goes.
    Silence,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Proxy,
    Command,
    Data(DotReader),
    Chunk { left: u64, is_last: bool, is_wanted: bool },
    AuthPlain,
    AuthName,
    AuthPassword,
}

#[derive(Debug, Default)]
struct Transaction {
    has_begun: bool,
    is_null: bool,
    keys: Vec<u64>,
    has_chunks: bool,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    profile: Rc<Profile>,
    client: IpAddr,
    mode: Mode,
    line: Vec<u8>,
    is_greeted: bool,
    is_secure: bool,
    is_authenticated: bool,
    messages: u32,
    transaction: Transaction,
    intake: Intake,
}

const OK_MAIL: &[u8] = b"250 2.1.0 Ok\r\n";
const OK_RCPT: &[u8] = b"250 2.1.5 Ok\r\n";
const OK: &[u8] = b"250 2.0.0 Ok\r\n";
const GO_ON: &[u8] = b"354 Go on\r\n";
const NO_ORDER: &[u8] = b"503 5.5.1 Not now\r\n";

impl Session {
    /// A session with `client`; `is_secure` where TLS came first.
    pub fn new(profile: Rc<Profile>, client: IpAddr, is_secure: bool) -> Self {
        let mode = if profile.expects_proxy { Mode::Proxy } else { Mode::Command };
        Session {
            profile,
            client,
            mode,
            line: Vec::new(),
            is_greeted: false,
            is_secure,
            is_authenticated: false,
            messages: 0,
            transaction: Transaction::default(),
            intake: Intake::default(),
        }
    }

    /// The greeting, or what takes its place. With a PROXY header it comes behind that.
    pub fn greet(&mut self, shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        if matches!(self.mode, Mode::Proxy) {
            return Step::More;
        }
        let greeting = match self.profile.is_lmtp {
            true => format!("220 {} LMTP posthaste-loadgen sink\r\n", self.profile.hostname),
            false => format!("220 {} ESMTP posthaste-loadgen sink\r\n", self.profile.hostname),
        };
        self.answer(Phase::Connect, shard, now, out, greeting.as_bytes()).0
    }

    /// The handshake of STARTTLS is done: everything before is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self) {
        self.is_secure = true;
        self.is_greeted = false;
        self.transaction = Transaction::default();
    }

    /// Takes bytes, answers in `out`; gives how many were taken and what to do next.
    pub fn feed(&mut self, bytes: &[u8], shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> (usize, Step) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let (taken, step) = match self.mode {
                Mode::Data(reader) => self.feed_data(reader, rest, shard, now, out),
                Mode::Chunk { .. } => self.feed_chunk(rest, shard, now, out),
                Mode::Proxy => self.feed_proxy(rest, shard, now, out),
                _ => self.feed_line(rest, shard, now, out),
            };
            at += taken;
            if step != Step::More {
                return (at, step);
            }
        }
        (at, Step::More)
    }

    fn feed_data(
        &mut self,
        mut reader: DotReader,
        bytes: &[u8],
        shard: &mut Shard,
        now: u64,
        out: &mut Vec<u8>,
    ) -> (usize, Step) {
        let intake = &mut self.intake;
        match reader.read(bytes, |content| intake.push(content)) {
            None => {
                self.mode = Mode::Data(reader);
                (bytes.len(), Step::More)
            }
            Some(taken) => {
                self.mode = Mode::Command;
                (taken, self.content_done(shard, now, out))
            }
        }
    }

    fn feed_chunk(&mut self, bytes: &[u8], shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> (usize, Step) {
        let Mode::Chunk { left, is_last, is_wanted } = self.mode else { return (0, Step::Close) };
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        if is_wanted {
            self.intake.push(&bytes[..taken]);
        }
        let left = left - taken as u64;
        self.mode = Mode::Chunk { left, is_last, is_wanted };
        if left > 0 {
            return (taken, Step::More);
        }
        (taken, self.chunk_done(is_last, is_wanted, shard, now, out))
    }

    fn chunk_done(&mut self, is_last: bool, is_wanted: bool, shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        self.mode = Mode::Command;
        match (is_wanted, is_last) {
            (false, _) => self.plain(Phase::Content, shard, out, NO_ORDER),
            (true, true) => self.content_done(shard, now, out),
            (true, false) => self.plain(Phase::Content, shard, out, OK),
        }
    }

    /// Takes a PROXY header: version 1 is a line, version 2 has its length behind the signature.
    fn feed_proxy(&mut self, bytes: &[u8], shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> (usize, Step) {
        const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
        let before = self.line.len();
        self.line.extend_from_slice(bytes);
        let whole = if self.line.starts_with(b"PROXY ") {
            memchr::memchr(b'\n', &self.line).map(|end| end + 1)
        } else if self.line.starts_with(SIGNATURE) {
            let length = self.line.get(14..16).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
            length.map(|length| 16 + usize::from(length)).filter(|whole| *whole <= self.line.len())
        } else if SIGNATURE.starts_with(&self.line) || b"PROXY ".starts_with(&self.line) {
            None
        } else {
            return (bytes.len(), Step::Drop);
        };
        match whole {
            None if self.line.len() > LINE_BYTES_MAX => (bytes.len(), Step::Drop),
            None => (bytes.len(), Step::More),
            Some(whole) => {
                self.line.clear();
                self.mode = Mode::Command;
                (whole.saturating_sub(before), self.greet(shard, now, out))
            }
        }
    }

    fn feed_line(&mut self, bytes: &[u8], shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> (usize, Step) {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.line.extend_from_slice(bytes);
            let is_too_long = self.line.len() > LINE_BYTES_MAX;
            return (bytes.len(), if is_too_long { Step::Drop } else { Step::More });
        };
        let line = &bytes[..=end];
        if self.line.is_empty() {
            return (end + 1, self.line_done(line, shard, now, out));
        }
        let mut whole = std::mem::take(&mut self.line);
        whole.extend_from_slice(line);
        let step = self.line_done(&whole, shard, now, out);
        whole.clear();
        self.line = whole;
        (end + 1, step)
    }

    fn line_done(&mut self, line: &[u8], shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        match self.mode {
            Mode::AuthPlain | Mode::AuthName | Mode::AuthPassword => self.auth_line(line.trim_ascii(), shard, now, out),
            _ => self.command(command::parse(line), shard, now, out),
        }
    }

    fn command(&mut self, command: Command<'_>, shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        match command {
            Command::Mail(path) => self.mail(path, shard, now, out),
            Command::Rcpt(path) => self.rcpt(path, shard, now, out),
            Command::Data => self.data(shard, now, out),
            Command::Bdat(size, is_last) => self.bdat(size, is_last, shard, now, out),
            Command::Ehlo => self.ehlo(shard, now, out),
            Command::Helo => {
                let reply = format!("250 {}\r\n", self.profile.hostname);
                let (step, is_good) = self.answer(Phase::Ehlo, shard, now, out, reply.as_bytes());
                self.is_greeted |= is_good;
                step
            }
            Command::Auth(argument) => self.auth(argument, shard, now, out),
            Command::StartTls if self.profile.has_starttls && !self.is_secure => {
                out.extend_from_slice(b"220 2.0.0 Go ahead\r\n");
                Step::StartTls
            }
            Command::Rset => {
                self.transaction = Transaction::default();
                out.extend_from_slice(OK);
                Step::More
            }
            Command::Noop => {
                out.extend_from_slice(OK);
                Step::More
            }
            Command::Quit => {
                out.extend_from_slice(b"221 2.0.0 Bye\r\n");
                Step::Close
            }
            Command::Malformed => {
                out.extend_from_slice(b"501 5.5.4 That argument cannot be\r\n");
                Step::More
            }
            Command::StartTls | Command::Unknown => {
                out.extend_from_slice(b"502 5.5.1 Not known here\r\n");
                Step::More
            }
        }
    }

    fn ehlo(&mut self, shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        let mut lines = vec![self.profile.hostname.clone()];
        lines.extend(self.profile.extensions.iter().cloned());
        if self.profile.has_starttls && !self.is_secure {
            lines.push("STARTTLS".into());
        }
        if self.profile.credentials.is_some() {
            lines.push("AUTH PLAIN LOGIN".into());
        }
        let last = lines.len() - 1;
        let mark = |place| if place == last { ' ' } else { '-' };
        let reply: String =
            lines.iter().enumerate().map(|(place, line)| format!("250{}{line}\r\n", mark(place))).collect();
        let (step, is_good) = self.answer(Phase::Ehlo, shard, now, out, reply.as_bytes());
        if is_good {
            self.is_greeted = true;
            self.transaction = Transaction::default();
        }
        step
    }

    fn mail(&mut self, path: Path<'_>, shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        if !self.is_greeted || self.transaction.has_begun {
            return self.plain(Phase::Mail, shard, out, NO_ORDER);
        }
        if self.profile.credentials.is_some() && !self.is_authenticated {
            return self.plain(Phase::Mail, shard, out, b"530 5.7.0 Authenticate first\r\n");
        }
        if self.profile.messages_per_connection.is_some_and(|most| self.messages >= most) {
            self.plain(Phase::Mail, shard, out, b"421 4.7.0 Enough on one connection\r\n");
            return Step::Close;
        }
        if let Some(clients) = &shard.clients {
            let has_room = clients.lock().unwrap_or_else(PoisonError::into_inner).message(self.client, now);
            if !has_room {
                self.plain(Phase::Mail, shard, out, b"421 4.7.28 Too many messages from you, come back later\r\n");
                return Step::Close;
            }
        }
        if self.profile.size_max > 0 && path.size().is_some_and(|size| size > self.profile.size_max) {
            return self.plain(Phase::Mail, shard, out, b"552 5.3.4 Too large\r\n");
        }
        let (step, is_good) = self.answer(Phase::Mail, shard, now, out, OK_MAIL);
        if is_good {
            self.transaction.has_begun = true;
            self.transaction.has_chunks = false;
            self.transaction.is_null = path.address.is_empty();
            self.transaction.keys.clear();
        }
        step
    }

    fn rcpt(&mut self, path: Path<'_>, shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        if !self.transaction.has_begun {
            return self.plain(Phase::Rcpt, shard, out, NO_ORDER);
        }
        if self.profile.recipients_max.is_some_and(|most| self.transaction.keys.len() >= most) {
            return self.plain(Phase::Rcpt, shard, out, b"452 4.5.3 Too many recipients\r\n");
        }
        let (step, is_good) = self.answer(Phase::Rcpt, shard, now, out, OK_RCPT);
        if is_good {
            self.transaction.keys.push(address_key(path.address));
        }
        step
    }

    fn data(&mut self, shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        if !self.transaction.has_begun || self.transaction.has_chunks {
            return self.plain(Phase::Data, shard, out, NO_ORDER);
        }
        if self.transaction.keys.is_empty() {
            return self.plain(Phase::Data, shard, out, b"554 5.5.1 No valid recipients\r\n");
        }
        let (step, is_good) = self.answer(Phase::Data, shard, now, out, GO_ON);
        if is_good {
            self.intake.reset();
            self.mode = Mode::Data(DotReader::default());
        }
        step
    }

    fn bdat(&mut self, size: u64, is_last: bool, shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        let is_wanted = self.transaction.has_begun && !self.transaction.keys.is_empty();
        if is_wanted && !self.transaction.has_chunks {
            self.transaction.has_chunks = true;
            self.intake.reset();
        }
        if size == 0 {
            return self.chunk_done(is_last, is_wanted, shard, now, out);
        }
        self.mode = Mode::Chunk { left: size, is_last, is_wanted };
        Step::More
    }

    /// The content is whole: judged once, with LMTP once per recipient (RFC 2033 §4.2).
    fn content_done(&mut self, shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        self.messages += 1;
        self.transaction.has_begun = false;
        let mut keys = std::mem::take(&mut self.transaction.keys);
        let step = if self.profile.size_max > 0 && self.intake.size() > self.profile.size_max {
            keys.clear();
            self.plain(Phase::Content, shard, out, b"552 5.3.4 Too large\r\n")
        } else if self.profile.is_lmtp {
            let mut last = Step::More;
            keys.retain(|_| {
                let (step, is_good) = self.answer(Phase::Content, shard, now, out, OK);
                last = if last == Step::More { step } else { last };
                is_good
            });
            last
        } else {
            let (step, is_good) = self.answer(Phase::Content, shard, now, out, OK);
            if !is_good {
                keys.clear();
            }
            step
        };
        if !keys.is_empty() {
            let at_ms = now.saturating_sub(shard.started_us) / 1000;
            shard.tally.take(self.intake.finish(), self.transaction.is_null, &keys, self.intake.size(), at_ms);
        }
        keys.clear();
        self.transaction.keys = keys;
        step
    }

    fn auth(&mut self, argument: &[u8], shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        let mut words = argument.split(|byte| *byte == b' ');
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let initial = words.next();
        if self.profile.credentials.is_none() || !self.is_greeted {
            return self.plain(Phase::Auth, shard, out, NO_ORDER);
        }
        let (mode, challenge): (Mode, &[u8]) = match mechanism.as_slice() {
            b"PLAIN" => (Mode::AuthPlain, b"334 \r\n"),
            b"LOGIN" => (Mode::AuthName, b"334 VXNlcm5hbWU6\r\n"),
            _ => return self.plain(Phase::Auth, shard, out, b"504 5.5.4 PLAIN or LOGIN\r\n"),
        };
        self.mode = mode;
        match initial {
            Some(response) => self.auth_line(response, shard, now, out),
            None => self.plain(Phase::Auth, shard, out, challenge),
        }
    }

    fn auth_line(&mut self, response: &[u8], shard: &mut Shard, now: u64, out: &mut Vec<u8>) -> Step {
        let decoded = BASE64.decode(response).unwrap_or_default();
        let (user, password) = self.profile.credentials.clone().unwrap_or_default();
        let is_right = match self.mode {
            Mode::AuthName => {
                // A wrong name fails with the password, as everywhere.
                self.is_authenticated = decoded == user.as_bytes();
                self.mode = Mode::AuthPassword;
                return self.plain(Phase::Auth, shard, out, b"334 UGFzc3dvcmQ6\r\n");
            }
            Mode::AuthPassword => self.is_authenticated && decoded == password.as_bytes(),
            _ => decoded.splitn(2, |byte| *byte == 0).nth(1) == Some(format!("{user}\0{password}").as_bytes()),
        };
        self.mode = Mode::Command;
        self.is_authenticated = false;
        if !is_right {
            return self.plain(Phase::Auth, shard, out, b"535 5.7.8 Wrong name or password\r\n");
        }
        let (step, is_good) = self.answer(Phase::Auth, shard, now, out, b"235 2.7.0 Welcome\r\n");
        self.is_authenticated = is_good;
        step
    }

    /// A reply that nothing can change.
    fn plain(&mut self, phase: Phase, shard: &mut Shard, out: &mut Vec<u8>, reply: &[u8]) -> Step {
        out.extend_from_slice(reply);
        shard.tally.reply(phase, code_of(reply));
        Step::More
    }

    /// The `good` reply, unless the sink misbehaves; whether it was the good one.
    fn answer(&mut self, phase: Phase, shard: &mut Shard, now: u64, out: &mut Vec<u8>, good: &[u8]) -> (Step, bool) {
        let since = now.saturating_sub(shard.started_us);
        let (verdict, us) = shard.behaviour.decide(phase, since, &mut shard.random);
        let step = if us > 0 { Step::Pause { us, held: out.len() } } else { Step::More };
        let (reply, step): (&[u8], Step) = match verdict {
            Verdict::Accept => (good, step),
            Verdict::Tempfail if phase == Phase::Connect => (b"421 4.3.2 Come back later\r\n", Step::Close),
            Verdict::Reject if phase == Phase::Connect => (b"554 5.7.1 Not you\r\n", Step::Close),
            Verdict::Tempfail => (b"451 4.7.1 Come back later\r\n", step),
            Verdict::Reject => (b"550 5.7.1 Not here\r\n", step),
            Verdict::Leave => (b"421 4.3.2 Out of order\r\n", Step::Close),
            Verdict::Drop => (b"", Step::Drop),
            Verdict::Silence => (b"", Step::Silence),
        };
        if matches!(verdict, Verdict::Drop | Verdict::Silence) {
            shard.tally.dropped += 1;
        } else {
            out.extend_from_slice(reply);
            shard.tally.reply(phase, code_of(reply));
        }
        (step, verdict == Verdict::Accept)
    }
}

/// The code of one of our own replies.
fn code_of(reply: &[u8]) -> u16 {
    reply.iter().take(3).fold(0, |code, digit| code * 10 + u16::from(digit.wrapping_sub(b'0')))
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
