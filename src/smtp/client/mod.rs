//! The SMTP and LMTP client machine: the next transaction and reply bytes in, bytes to send and an
//! outcome per recipient out (RFC 5321 §4, RFC 2033, RFC 2920, RFC 3030, RFC 3207).
//!
//! ```text
//! Greeting -> Ehlo (-> Helo) -> StartTls -> Handshake -> Ehlo -> Auth -> Ready <-> Transaction -> Quit
//! ```
//!
//! Takes: bytes the peer sent ([`Client::received`]), what befell the connection ([`Client::lost`]),
//! and a [`Transaction`] at a time. Gives: bytes appended to the caller's buffer, and one [`Step`]
//! that says what to do next. With PIPELINING, MAIL, RCPT and DATA leave in one flight; with CHUNKING
//! small content leaves in the same flight, and a message is one round trip.
//!
//! Invariants:
//! - A reply that is not asked for makes the connection useless: what a peer says ahead of time is never
//!   taken for an answer. Octets after the 220 to STARTTLS are a TLS failure (RFC 3207 §4.2, CVE-2011-0411).
//! - Nothing that was learnt in the clear outlives the TLS handshake.
//! - Credentials leave only inside TLS.
//! - Every recipient that was given gets exactly one [`Progress`].
//! - A bare CR or LF never leaves by DATA (`plan::Plan` refuses it).
//!
//! Must never be added: a socket, a clock, a wait.

mod auth;
mod classify;
mod commands;
mod plan;
mod running;
#[cfg(test)]
mod tests;

use std::time::Duration;

use compact_str::CompactString;

use crate::mail::{Diagnostic, ErrorKind, Outcome, Reply, Scope};
use crate::smtp::extensions::PeerExtensions;
use crate::smtp::reply::{self, ReplyParser};

pub use auth::Credentials;
pub use plan::Transaction;
pub use running::{Owed, Progress, RecipientResult, Results};

use auth::Exchange;
use classify::Classifier;
use running::{Running, Turn};

/// Which of the two protocols the peer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Protocol {
    /// RFC 5321: EHLO, one reply for the whole message.
    #[default]
    Smtp,
    /// RFC 2033: LHLO, one reply per accepted recipient.
    Lmtp,
}

/// What is done about STARTTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum StartTls {
    /// Not even when it is offered.
    Disable,
    /// When it is offered.
    #[default]
    Optional,
    /// Or nothing is sent.
    Require,
}

/// How long each step may take (RFC 5321 §4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the greeting is there.
    pub greeting: Duration,
    /// Until EHLO, HELO, STARTTLS or a step of AUTH is answered.
    pub ehlo: Duration,
    /// Until MAIL is answered.
    pub mail_from: Duration,
    /// Until a RCPT is answered.
    pub rcpt_to: Duration,
    /// Until DATA is answered, a block of content is taken, or the end of data is answered.
    pub data: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        Timeouts {
            greeting: minutes(5),
            ehlo: minutes(5),
            mail_from: minutes(5),
            rcpt_to: minutes(5),
            data: minutes(10),
        }
    }
}

/// What one connection is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// SMTP or LMTP.
    pub protocol: Protocol,
    /// What we say in EHLO or LHLO.
    pub hello: CompactString,
    /// What is done about STARTTLS; ignored when the connection is TLS from the start.
    pub starttls: StartTls,
    /// The connection is TLS before the greeting.
    pub implicit_tls: bool,
    /// Whom to log in as. Needs TLS.
    pub credentials: Option<Credentials>,
    /// The peer as `name [address]`, for diagnostics.
    pub remote: CompactString,
    /// Content up to this many octets leaves in the same flight as MAIL and RCPT.
    pub content_ahead_bytes_max: u64,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wait {
    /// The greeting.
    Greeting,
    /// The reply to EHLO, LHLO or HELO.
    Ehlo,
    /// The reply to STARTTLS.
    StartTls,
    /// The reply to a step of AUTH.
    Auth,
    /// The reply to RSET.
    Reset,
    /// The reply to MAIL.
    Mail,
    /// The reply to a RCPT.
    Rcpt,
    /// The reply to DATA.
    Data,
    /// The peer to take content.
    Content,
    /// The reply to the end of data, by DATA or by BDAT.
    EndOfData,
    /// The reply to QUIT.
    Quit,
}

impl Wait {
    /// The bound of this wait.
    pub fn timeout(self, timeouts: &Timeouts) -> Duration {
        match self {
            Wait::Greeting => timeouts.greeting,
            Wait::Ehlo | Wait::StartTls | Wait::Auth | Wait::Reset => timeouts.ehlo,
            Wait::Mail => timeouts.mail_from,
            Wait::Rcpt => timeouts.rcpt_to,
            Wait::Data | Wait::Content | Wait::EndOfData => timeouts.data,
            Wait::Quit => QUIT_TIMEOUT,
        }
    }

    /// The words for `waiting for …`.
    pub fn what(self) -> &'static str {
        match self {
            Wait::Greeting => "the greeting",
            Wait::Ehlo => "the reply to EHLO",
            Wait::StartTls => "the reply to STARTTLS",
            Wait::Auth => "the reply to AUTH",
            Wait::Reset => "the reply to RSET",
            Wait::Mail => "the reply to MAIL",
            Wait::Rcpt => "the reply to RCPT",
            Wait::Data => "the reply to DATA",
            Wait::Content => "the peer to take the content",
            Wait::EndOfData => "the reply to the end of data",
            Wait::Quit => "the reply to QUIT",
        }
    }
}

/// The words for content that is lost to us.
const UNREAD: &str = "the stored message could not be read";
/// Nobody's mail waits for the answer to QUIT.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// How the content is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentForm {
    /// By BDAT: exactly the octets that were announced, as they are.
    Chunk,
    /// By DATA: lines that start with a dot are stuffed (RFC 5321 §4.5.2).
    Stuffed,
    /// By DATA, but no line starts with a dot: as they are, unscanned.
    Plain,
}

/// What befell a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The peer closed it.
    Closed,
    /// It was reset, or a read or write failed otherwise.
    Broken,
    /// The time for this step is over.
    TimedOut,
    /// Our own content could not be read, or did not verify: nothing more may be sent.
    Content,
}

/// Why a connection came to no transaction, or is of no use for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For every recipient that would have gone this way.
    pub outcome: Outcome,
    /// TLS is what failed: a strategy that does not require it may try again in the clear.
    pub tls_failed: bool,
}

/// What to do next. Whatever was appended to the output buffer is written first.
#[derive(Debug)]
pub enum Step {
    /// Read, then call [`Client::received`].
    Read(Wait),
    /// Shake hands, then call [`Client::secured`].
    Handshake,
    /// The connection waits for [`Client::begin`] or [`Client::quit`].
    Ready,
    /// Write the content in that form and, by DATA, the end of data; then call [`Client::content_sent`].
    Content(ContentForm),
    /// The transaction is over. The connection may take another if [`Client::is_ready`].
    Finished(Results),
    /// The connection is of no use; close it. No transaction was under way.
    Refused(Box<Refusal>),
    /// The connection is over by our own wish; close it.
    Closed,
}

#[derive(Debug)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    Auth(Exchange),
    Ready,
    Transaction(Box<Running>),
    Quit,
    Closed,
}

/// One connection's conversation.
#[derive(Debug)]
pub struct Client {
    options: Options,
    state: State,
    replies: ReplyParser,
    /// An incomplete line, kept for the next octets.
    held: Vec<u8>,
    /// There are octets behind the reply that is being handled.
    has_more: bool,
    peer: PeerExtensions,
    is_secure: bool,
    is_authenticated: bool,
    needs_reset: bool,
    transactions: u32,
}

impl Client {
    /// A connection that was just made. The first step is to read the greeting.
    pub fn new(options: Options) -> (Client, Step) {
        let client = Client {
            is_secure: options.implicit_tls,
            options,
            state: State::Greeting,
            replies: ReplyParser::new(),
            held: Vec::new(),
            has_more: false,
            peer: PeerExtensions::default(),
            is_authenticated: false,
            needs_reset: false,
            transactions: 0,
        };
        (client, Step::Read(Wait::Greeting))
    }

    /// What the peer offered in its last EHLO reply.
    pub fn peer(&self) -> &PeerExtensions {
        &self.peer
    }

    /// The connection is inside TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// A transaction can begin.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready) && self.transactions_left() > 0
    }

    /// No transaction is under way, though the peer may allow no further one.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// Transactions that were begun on this connection.
    pub fn transactions(&self) -> u32 {
        self.transactions
    }

    /// Transactions that the peer still allows (LIMITS MAILMAX, RFC 9422).
    pub fn transactions_left(&self) -> u32 {
        self.peer.mail_max.map_or(u32::MAX, |max| max.saturating_sub(self.transactions))
    }

    /// The words for the peer in diagnostics.
    pub fn remote(&self) -> &str {
        &self.options.remote
    }

    /// The peer sent these octets. Everything that they complete is handled before this returns.
    pub fn received(&mut self, input: &[u8], out: &mut Vec<u8>) -> Step {
        let joined;
        let mut rest = input;
        if !self.held.is_empty() {
            self.held.extend_from_slice(input);
            joined = std::mem::take(&mut self.held);
            rest = &joined;
        }
        loop {
            match self.replies.parse(rest) {
                Ok(reply::Step::More { consumed }) => {
                    self.held.extend_from_slice(rest.get(consumed..).unwrap_or_default());
                    return Step::Read(self.wait());
                }
                Ok(reply::Step::Reply { reply, consumed }) => {
                    rest = rest.get(consumed..).unwrap_or_default();
                    self.has_more = !rest.is_empty();
                    if let Some(step) = self.on_reply(reply, out) {
                        return self.settle(step);
                    }
                }
                Err(fault) => {
                    let text = format!("the peer answered what is no SMTP reply: {fault}");
                    let reply = Reply::new(451, (4, 5, 0), text);
                    return self.fail(ErrorKind::UnexpectedReply, reply, false);
                }
            }
        }
    }

    /// The connection is lost, or given up.
    pub fn lost(&mut self, cause: Lost) -> Step {
        let wait = self.wait();
        let (kind, reply) = match cause {
            Lost::Closed => {
                (ErrorKind::Connection, format!("the peer closed the connection while we waited for {}", wait.what()))
            }
            Lost::Broken => {
                (ErrorKind::Connection, format!("the connection broke while we waited for {}", wait.what()))
            }
            Lost::TimedOut => (ErrorKind::Connection, format!("timed out waiting for {}", wait.what())),
            Lost::Content => (ErrorKind::Io, UNREAD.to_owned()),
        };
        let status = if cause == Lost::Content { (4, 3, 0) } else { (4, 4, 2) };
        self.fail(kind, Reply::new(451, status, reply), wait == Wait::StartTls)
    }

    /// The TLS handshake succeeded. All that was learnt in the clear is forgotten (RFC 3207 §4.2).
    pub fn secured(&mut self, out: &mut Vec<u8>) -> Step {
        self.is_secure = true;
        self.peer = PeerExtensions::default();
        self.say_ehlo(out)
    }

    /// The TLS handshake failed, with the words for people.
    pub fn handshake_failed(&mut self, why: &str) -> Step {
        self.fail(ErrorKind::Tls, Reply::new(451, (4, 7, 5), format!("TLS handshake failed: {why}")), true)
    }

    /// What of the content the peer does not take, in words: it must be converted (RFC 6152 §3), or
    /// [`Client::begin`] refuses it.
    pub fn untaken(&self, transaction: &Transaction<'_>) -> Option<&'static str> {
        plan::untaken(transaction, &self.peer)
    }

    /// Refuses a transaction by our own word, before anything was sent: all its recipients get this reply.
    pub fn refused(&self, transaction: &Transaction<'_>, reply: Reply) -> Results {
        running::refuse_all(transaction, reply, &self.options.remote)
    }

    /// Puts off a transaction whose content could not be read, before anything was sent.
    pub fn unread(&self, transaction: &Transaction<'_>) -> Results {
        running::unread(transaction, Reply::new(451, (4, 3, 0), UNREAD))
    }

    /// Begins a transaction on a connection that is ready.
    ///
    /// Recipients beyond the peer's RCPTMAX or RCPTDOMAINMAX come back as [`Progress::Left`].
    pub fn begin(&mut self, transaction: &Transaction<'_>, out: &mut Vec<u8>) -> Step {
        debug_assert!(matches!(self.state, State::Ready), "a transaction begins on a connection that is ready");
        let reset = std::mem::take(&mut self.needs_reset);
        let ahead_max = self.options.content_ahead_bytes_max;
        let lmtp = self.options.protocol == Protocol::Lmtp;
        match plan::plan(transaction, &self.peer, self.is_secure) {
            Err(reply) => {
                self.needs_reset = reset;
                Step::Finished(running::refuse_all(transaction, reply, &self.options.remote))
            }
            Ok(plan) => {
                self.transactions = self.transactions.saturating_add(1);
                let (running, step) = Running::begin(transaction, &plan, &self.peer, lmtp, reset, ahead_max, out);
                self.state = State::Transaction(Box::new(running));
                step
            }
        }
    }

    /// All content was written, by DATA with its end of data (`smtp::stuff`) behind it.
    pub fn content_sent(&mut self) -> Step {
        if let State::Transaction(running) = &mut self.state {
            running.content_sent();
        }
        Step::Read(self.wait())
    }

    /// Takes leave of a connection that is ready.
    pub fn quit(&mut self, out: &mut Vec<u8>) -> Step {
        out.extend_from_slice(b"QUIT\r\n");
        self.state = State::Quit;
        Step::Read(Wait::Quit)
    }

    /// What is waited for now.
    pub fn wait(&self) -> Wait {
        match &self.state {
            State::Greeting => Wait::Greeting,
            State::Ehlo | State::Helo => Wait::Ehlo,
            State::StartTls | State::Handshake => Wait::StartTls,
            State::Auth(_) => Wait::Auth,
            State::Transaction(running) => running.wait(),
            State::Ready | State::Quit | State::Closed => Wait::Quit,
        }
    }

    fn classifier(&self) -> Classifier<'_> {
        Classifier { remote: &self.options.remote, is_secure: self.is_secure }
    }

    /// `None`: the next reply of the same flight is wanted.
    fn on_reply(&mut self, reply: Reply, out: &mut Vec<u8>) -> Option<Step> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Greeting if reply.code == 220 => Some(self.say_ehlo(out)),
            State::Greeting => Some(self.refuse(self.classifier().greeting(reply))),
            State::Ehlo if is_success(&reply) => {
                self.peer = PeerExtensions::parse(&reply);
                Some(self.after_hello(out))
            }
            State::Ehlo if reply.is_permanent() && self.options.protocol == Protocol::Smtp => {
                Some(self.say_helo(out)) // RFC 5321 §3.2: EHLO is not understood
            }
            State::Helo if is_success(&reply) => {
                self.peer = PeerExtensions::default();
                Some(self.after_hello(out))
            }
            State::Ehlo | State::Helo => Some(self.refuse(self.classifier().hello(reply))),
            State::StartTls => Some(self.on_starttls_reply(reply, out)),
            State::Auth(exchange) => Some(self.on_auth_reply(exchange, reply, out)),
            State::Transaction(running) => self.on_transaction_reply(running, reply, out),
            State::Ready => Some(self.refuse(self.classifier().unasked(reply))),
            State::Quit | State::Handshake | State::Closed => Some(Step::Closed),
        }
    }

    fn say_ehlo(&mut self, out: &mut Vec<u8>) -> Step {
        let verb: &[u8] = if self.options.protocol == Protocol::Lmtp { b"LHLO " } else { b"EHLO " };
        commands::hello(out, verb, &self.options.hello);
        self.state = State::Ehlo;
        Step::Read(Wait::Ehlo)
    }

    fn say_helo(&mut self, out: &mut Vec<u8>) -> Step {
        commands::hello(out, b"HELO ", &self.options.hello);
        self.state = State::Helo;
        Step::Read(Wait::Ehlo)
    }

    /// After EHLO: TLS first, then AUTH, then work.
    fn after_hello(&mut self, out: &mut Vec<u8>) -> Step {
        let wanted = if self.is_secure { StartTls::Disable } else { self.options.starttls };
        match wanted {
            StartTls::Optional | StartTls::Require if self.peer.starttls => {
                out.extend_from_slice(b"STARTTLS\r\n");
                self.state = State::StartTls;
                Step::Read(Wait::StartTls)
            }
            StartTls::Require => {
                let reply = Reply::new(451, (4, 7, 10), "STARTTLS is required but not offered");
                self.fail(ErrorKind::Tls, reply, true)
            }
            _ => self.after_tls(out),
        }
    }

    fn on_starttls_reply(&mut self, reply: Reply, out: &mut Vec<u8>) -> Step {
        if reply.code == 220 {
            if !self.has_more {
                self.state = State::Handshake;
                return Step::Handshake;
            }
            let reply = Reply::new(451, (4, 7, 5), "the peer sent octets in the clear after its 220 to STARTTLS");
            return self.fail(ErrorKind::Tls, reply, true);
        }
        if reply.code == 421 || self.options.starttls == StartTls::Require {
            return self.refuse(self.classifier().starttls(reply));
        }
        self.after_tls(out) // it was offered, then refused: opportunistic mail goes on in the clear
    }

    fn after_tls(&mut self, out: &mut Vec<u8>) -> Step {
        let Some(credentials) = self.options.credentials.as_ref().filter(|_| !self.is_authenticated) else {
            self.state = State::Ready;
            return Step::Ready;
        };
        if !self.is_secure {
            let reply = Reply::new(451, (4, 7, 11), "credentials are configured, but the connection is not encrypted");
            return self.fail(ErrorKind::Tls, reply, false);
        }
        match Exchange::start(credentials, &self.peer, out) {
            Some(exchange) => {
                self.state = State::Auth(exchange);
                Step::Read(Wait::Auth)
            }
            None => {
                let reply = Reply::new(451, (4, 7, 4), "the peer offers neither AUTH PLAIN nor AUTH LOGIN");
                self.fail(ErrorKind::UnexpectedReply, reply, false)
            }
        }
    }

    fn on_auth_reply(&mut self, exchange: Exchange, reply: Reply, out: &mut Vec<u8>) -> Step {
        if is_success(&reply) {
            self.is_authenticated = true;
            self.state = State::Ready;
            return Step::Ready;
        }
        match self.options.credentials.as_ref().and_then(|c| exchange.proceed(c, &reply, out)) {
            Some(exchange) => {
                self.state = State::Auth(exchange);
                Step::Read(Wait::Auth)
            }
            None => self.refuse(self.classifier().auth(reply)),
        }
    }

    fn on_transaction_reply(&mut self, mut running: Box<Running>, reply: Reply, out: &mut Vec<u8>) -> Option<Step> {
        let said_before = out.len();
        let turn = running.on_reply(reply, &self.classifier(), out);
        let is_ahead = self.has_more && (out.len() > said_before || matches!(turn, Turn::Content(_)));
        if is_ahead && !matches!(turn, Turn::Over { .. }) {
            let reply = Reply::new(451, (4, 5, 0), "the peer answered a command before it was sent");
            self.state = State::Transaction(running);
            return Some(self.fail(ErrorKind::UnexpectedReply, reply, false));
        }
        match turn {
            Turn::More => {
                self.state = State::Transaction(running);
                None
            }
            Turn::Content(form) => {
                self.state = State::Transaction(running);
                Some(Step::Content(form))
            }
            Turn::Over { reusable, needs_reset } => {
                self.needs_reset = needs_reset;
                self.state = if reusable { State::Ready } else { State::Closed };
                Some(Step::Finished(running.into_results()))
            }
        }
    }

    /// A connection on which more was said than asked for takes no further transaction.
    fn settle(&mut self, step: Step) -> Step {
        if self.has_more {
            match step {
                Step::Finished(_) => self.state = State::Closed,
                Step::Ready | Step::Read(_) | Step::Handshake => {
                    let reply = Reply::new(451, (4, 5, 0), "the peer answered what it was not asked");
                    return self.fail(ErrorKind::UnexpectedReply, reply, false);
                }
                Step::Content(_) | Step::Refused(_) | Step::Closed => {}
            }
        }
        step
    }

    fn refuse(&self, outcome: Outcome) -> Step {
        let tls_failed = outcome.diagnostic().kind == ErrorKind::Tls;
        Step::Refused(Box::new(Refusal { outcome, tls_failed }))
    }

    /// The connection ends here, by our own words: the transaction under way, or the connection itself.
    fn fail(&mut self, kind: ErrorKind, reply: Reply, tls_failed: bool) -> Step {
        let scope = if kind == ErrorKind::Io { Scope::Message } else { Scope::Host };
        let diagnostic = Diagnostic { kind, scope, remote: self.options.remote.clone(), reply, is_remote: false };
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Transaction(mut running) => {
                running.fail_rest(diagnostic);
                Step::Finished(running.into_results())
            }
            State::Quit => Step::Closed,
            _ => Step::Refused(Box::new(Refusal { outcome: Outcome::Deferred(diagnostic), tls_failed })),
        }
    }
}

fn is_success(reply: &Reply) -> bool {
    (200..300).contains(&reply.code)
}
