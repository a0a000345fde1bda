//! One session of the source: connects, sends what is due, measures, starts again.

use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use posthaste_rt::net::{Connection, Stream, connect};
use posthaste_rt::tls::HandshakeError;
use posthaste_rt::{clock, task, time, tls};

use super::content::Letter;
use super::recipients::Recipients;
use super::settings::{Settings, TlsUse};
use super::shard::{Shard, Slot};
use super::stats::{Outcome, Span};
use super::{proxy, reply, wire};

/// Longer contents are sent from where they are instead of being copied behind the commands.
const COPIED_BYTES_MAX: usize = 16 * 1024;
/// Pause after a connection failed, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Wait for the reply to QUIT.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why something did not come to pass.
#[derive(Debug, Clone)]
pub enum Failure {
    /// The server said so.
    Refused(Span, u16),
    /// No reply came, or none that is one.
    Broken(Span, String),
}

impl Failure {
    fn io(span: Span, error: &io::Error) -> Self {
        let words = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".into(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "the server reset the connection".into(),
            io::ErrorKind::UnexpectedEof => "the server closed the connection".into(),
            io::ErrorKind::TimedOut => "no answer in time".into(),
            _ => error.to_string(),
        };
        Failure::Broken(span, words)
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Link {
    connection: Connection,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    messages: u64,
    /// Text of the last reply, kept only where it is asked for.
    pub keeps_text: bool,
    /// See above.
    pub text: Vec<u8>,
}

impl Link {
    fn new(connection: Connection, patience: Duration) -> Self {
        let mut link = Link {
            connection,
            buffer: vec![0; 1024],
            start: 0,
            end: 0,
            messages: 0,
            keeps_text: false,
            text: Vec::new(),
        };
        link.connection.set_read_timeout(Some(patience));
        link.connection.set_write_timeout(Some(patience));
        link
    }

    /// The next reply's code; 421 is an error.
    async fn reply(&mut self, shard: &Shard, span: Span) -> Result<u16, Failure> {
        loop {
            let waiting = &self.buffer[self.start..self.end];
            let parsed = reply::parse(waiting);
            let parsed = parsed.map_err(|_| Failure::Broken(span, "what came is not an SMTP reply".into()))?;
            if let Some(reply) = parsed {
                if self.keeps_text {
                    self.text = waiting[..reply.length].to_vec();
                }
                self.start += reply.length;
                shard.stats.borrow_mut().reply(span, reply.code);
                // After 421 the server closes (RFC 5321 §3.8): the rest of a group gets no reply.
                return if reply.code == 421 { Err(Failure::Refused(span, 421)) } else { Ok(reply.code) };
            }
            self.receive(span).await?;
        }
    }

    async fn receive(&mut self, span: Span) -> Result<(), Failure> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let count =
            self.connection.read(&mut self.buffer[self.end..]).await.map_err(|error| Failure::io(span, &error))?;
        if count == 0 {
            return Err(Failure::io(span, &io::ErrorKind::UnexpectedEof.into()));
        }
        self.end += count;
        Ok(())
    }

    async fn send(&mut self, span: Span, bytes: &[u8]) -> Result<(), Failure> {
        self.connection.write_all(bytes).await.map_err(|error| Failure::io(span, &error))
    }

    /// Sends a line; an error is any reply but 2xx and 3xx.
    async fn ask(&mut self, shard: &Shard, span: Span, line: &[u8]) -> Result<u16, Failure> {
        self.send(span, line).await?;
        self.expect(shard, span).await
    }

    async fn expect(&mut self, shard: &Shard, span: Span) -> Result<u16, Failure> {
        match self.reply(shard, span).await? {
            code @ 200..400 => Ok(code),
            code => Err(Failure::Refused(span, code)),
        }
    }

    /// Connects and says all that precedes MAIL. `times` are noted where `is_measured`.
    pub async fn open(shard: &Shard, is_measured: bool, keeps_text: bool) -> Result<Link, Failure> {
        let settings = &shard.given.settings;
        let turn = shard.may_connect().await;
        let server = settings.servers[turn % settings.servers.len()];
        let sources: Vec<_> =
            settings.source_addresses.iter().filter(|ip| ip.is_ipv4() == server.is_ipv4()).copied().collect();
        let source = sources.get(turn % sources.len().max(1)).copied();
        let mut watch = Watch { last: clock::now(), is_measured };
        let connected = connect(server, source, settings.patience).await;
        let mut stream = connected.map_err(|error| Failure::io(Span::Connect, &error))?;
        watch.lap(shard, Span::Connect);
        {
            let mut stats = shard.stats.borrow_mut();
            stats.connections += 1;
            stats.open += 1;
        }
        let opened = async {
            if let Some((version, client)) = settings.proxy {
                let header = proxy::header(version, client, server);
                stream.write_all(&header).await.map_err(|error| Failure::io(Span::Banner, &error))?;
            }
            let connection = match settings.tls.usage {
                TlsUse::Implicit => {
                    let connection = secure(shard, stream).await?;
                    watch.lap(shard, Span::Tls);
                    connection
                }
                TlsUse::None | TlsUse::Starttls => Connection::from(stream),
            };
            let mut link = Link::new(connection, settings.patience);
            link.keeps_text = keeps_text;
            link.expect(shard, Span::Banner).await?;
            watch.lap(shard, Span::Banner);
            link.introduce(shard, &mut watch).await
        };
        let opened = opened.await;
        if opened.is_err() {
            shard.stats.borrow_mut().open -= 1;
        }
        opened
    }

    async fn introduce(mut self, shard: &Shard, watch: &mut Watch) -> Result<Link, Failure> {
        let settings = &shard.given.settings;
        let hello = format!("{} {}\r\n", if settings.is_lmtp { "LHLO" } else { "EHLO" }, settings.hello);
        let greeting = std::mem::take(&mut self.text);
        self.ask(shard, Span::Ehlo, hello.as_bytes()).await?;
        watch.lap(shard, Span::Ehlo);
        if settings.tls.usage == TlsUse::Starttls {
            self = self.start_tls(shard).await?;
            watch.lap(shard, Span::Tls);
            self.ask(shard, Span::Ehlo, hello.as_bytes()).await?;
            watch.lap(shard, Span::Ehlo);
        }
        let features = std::mem::take(&mut self.text);
        if let Some(credentials) = &settings.credentials {
            for line in credentials.lines() {
                self.ask(shard, Span::Auth, line.as_bytes()).await?;
            }
            watch.lap(shard, Span::Auth);
        }
        if self.keeps_text {
            self.text = [greeting, features].concat();
        }
        Ok(self)
    }

    async fn start_tls(mut self, shard: &Shard) -> Result<Link, Failure> {
        self.ask(shard, Span::Tls, b"STARTTLS\r\n").await?;
        if self.start != self.end {
            return Err(Failure::Broken(
                Span::Tls,
                "the server sent bytes in clear behind its reply to STARTTLS".into(),
            ));
        }
        let Some(stream) = self.connection.into_plain() else {
            return Err(Failure::Broken(Span::Tls, "the connection is under TLS already".into()));
        };
        let mut link = Link::new(secure(shard, stream).await?, shard.given.settings.patience);
        link.keeps_text = self.keeps_text;
        Ok(link)
    }

    /// Says QUIT, and waits for the answer.
    pub async fn quit(mut self, shard: &Shard) {
        shard.stats.borrow_mut().open -= 1;
        self.connection.set_read_timeout(Some(FAREWELL));
        if self.connection.write_all(b"QUIT\r\n").await.is_ok() {
            // Whatever comes, the connection is over.
            let _ = self.receive(Span::Final).await;
        }
    }
}

async fn secure(shard: &Shard, stream: Stream) -> Result<Connection, Failure> {
    let settings = &shard.given.settings;
    let config = shard.given.tls.clone();
    let config = config.ok_or_else(|| Failure::Broken(Span::Tls, "TLS is not set up".into()))?;
    let handshake = tls::connect(stream, settings.tls.name.clone(), config, settings.patience).await;
    let connection = handshake.map_err(|error| match error {
        HandshakeError::Io(error) => Failure::io(Span::Tls, &error),
        other => Failure::Broken(Span::Tls, other.to_string()),
    })?;
    let mut stats = shard.stats.borrow_mut();
    stats.tls_handshakes += 1;
    stats.tls_resumed += u64::from(connection.tls_facts().is_some_and(|facts| facts.is_resumed));
    Ok(connection)
}

/// Notes how long each span took.
struct Watch {
    last: u64,
    is_measured: bool,
}

impl Watch {
    fn lap(&mut self, shard: &Shard, span: Span) {
        let now = clock::now();
        if self.is_measured {
            shard.stats.borrow_mut().span(span, now.saturating_sub(self.last));
        }
        self.last = now;
    }
}

/// What a session uses again and again.
#[derive(Default)]
struct Work {
    out: Vec<u8>,
    recipients: Recipients,
    /// Keys of the recipients that were taken.
    taken: Vec<u64>,
    /// The content was on its way: without a reply nobody knows.
    is_uncertain: bool,
}

/// Sends what is due until the run is over.
pub async fn run(shard: &Rc<Shard>) {
    let (mut link, mut work, mut failures) = (None, Work::default(), 0u32);
    while let Some(slot) = shard.next_slot().await {
        shard.begin(&slot);
        let settings = &shard.given.settings;
        let size = settings.sizes.draw(&mut shard.random.borrow_mut());
        let sent = send(shard, &mut link, &mut work, &slot, size).await;
        let outcome = conclude(shard, &slot, &work, &sent);
        shard.end(&slot, outcome, size);
        if sent.is_err() {
            if link.take().is_some() {
                shard.stats.borrow_mut().open -= 1;
            }
            // A refused message is no reason to pause; a connection that ends is.
            time::sleep((PAUSE_MIN * 2u32.pow(failures.min(10))).min(PAUSE_MAX)).await;
            failures += 1;
        } else {
            failures = 0;
            let is_full = link.as_ref().is_some_and(|link| settings.per_connection.is_some_and(|n| link.messages >= n));
            if let Some(full) = link.take_if(|_| is_full) {
                full.quit(shard).await;
            }
        }
        task::yield_if_needed().await;
    }
    if let Some(link) = link {
        link.quit(shard).await;
    }
}

/// Counts and writes down what came of a message.
fn conclude(shard: &Shard, slot: &Slot, work: &Work, sent: &Result<Outcome, Failure>) -> Outcome {
    match sent {
        Ok(outcome) => {
            if matches!(outcome, Outcome::Acknowledged { .. }) {
                shard.write_down(slot.number, &work.taken, true);
            }
            *outcome
        }
        Err(Failure::Refused(_, 400..500)) => Outcome::Tempfailed,
        Err(Failure::Refused(..)) => Outcome::Rejected,
        Err(Failure::Broken(span, words)) => {
            shard.stats.borrow_mut().error(*span, words);
            if work.is_uncertain {
                shard.write_down(slot.number, &work.taken, false);
            }
            Outcome::Failed
        }
    }
}

async fn send(
    shard: &Shard,
    link: &mut Option<Link>,
    work: &mut Work,
    slot: &Slot,
    size: usize,
) -> Result<Outcome, Failure> {
    work.is_uncertain = false;
    let settings = shard.given.settings.clone();
    let link = match link {
        Some(link) => link,
        None => link.insert(Link::open(shard, slot.is_measured, false).await?),
    };
    link.messages += 1;
    let letter = shard.given.library.letter(slot.number, size);
    let watch = Watch { last: clock::now(), is_measured: slot.is_measured };
    work.out.clear();
    let length = letter.size(shard.given.library.head_length());
    wire::push_mail(&mut work.out, settings.sender.as_bytes(), settings.features, length, slot.number);
    work.recipients.draw(&settings.population, settings.recipients, &mut shard.random.borrow_mut());
    let exchange = Exchange { shard, settings: &settings, link, work, watch, letter: &letter, length };
    match settings.features.pipelining {
        true => exchange.pipelined().await,
        false => exchange.in_turns().await,
    }
}

/// One message on a link.
struct Exchange<'a> {
    shard: &'a Shard,
    settings: &'a Settings,
    link: &'a mut Link,
    work: &'a mut Work,
    watch: Watch,
    letter: &'a Letter<'a>,
    length: usize,
}

/// The outcome that a refusing code is.
fn refusal(code: u16) -> Outcome {
    if (400..500).contains(&code) { Outcome::Tempfailed } else { Outcome::Rejected }
}

impl Exchange<'_> {
    /// MAIL, RCPT and DATA (or BDAT with the content) in one write (RFC 2920).
    async fn pipelined(mut self) -> Result<Outcome, Failure> {
        let is_chunked = self.settings.features.chunking;
        for address in self.work.recipients.addresses() {
            wire::push_rcpt(&mut self.work.out, address, self.settings.features);
        }
        if is_chunked {
            self.work.is_uncertain = true;
            wire::push_bdat(&mut self.work.out, self.length);
            self.send_content().await?;
        } else {
            self.work.out.extend_from_slice(b"DATA\r\n");
            self.link.send(Span::Mail, &self.work.out).await?;
        }
        // All of the group counts from its sending.
        let sent_at = self.watch.last;
        let mail = self.link.reply(self.shard, Span::Mail).await?;
        self.watch.lap(self.shard, Span::Mail);
        self.watch.last = sent_at;
        let rcpt = self.replies_to_rcpt().await?;
        self.watch.lap(self.shard, Span::Rcpt);
        if is_chunked {
            return self.chunk_replies(mail, rcpt).await;
        }
        self.watch.last = sent_at;
        let data = self.link.reply(self.shard, Span::Data).await?;
        self.watch.lap(self.shard, Span::Data);
        match data {
            354 if self.work.taken.is_empty() => {
                // RFC 2920 §3.1: a server may say 354 without a recipient; nothing is the content then.
                self.link.send(Span::Content, b".\r\n").await?;
                self.link.reply(self.shard, Span::Final).await?;
                Ok(refusal(if mail >= 400 { mail } else { rcpt }))
            }
            354 => self.content().await,
            _ => self.refused(mail, rcpt, data).await,
        }
    }

    /// The replies to a chunk that was sent with its commands.
    async fn chunk_replies(self, mail: u16, rcpt: u16) -> Result<Outcome, Failure> {
        if self.work.taken.is_empty() {
            let code = self.link.reply(self.shard, Span::Final).await?;
            return self.refused(mail, rcpt, code).await;
        }
        self.final_replies().await
    }

    async fn replies_to_rcpt(&mut self) -> Result<u16, Failure> {
        self.work.taken.clear();
        let mut refused = 0;
        for place in 0..self.work.recipients.keys.len() {
            match self.link.reply(self.shard, Span::Rcpt).await? {
                200..300 => self.work.taken.push(self.work.recipients.keys[place]),
                code => refused = code,
            }
        }
        Ok(refused)
    }

    /// Nothing was taken: which reply says why, and an open transaction ended.
    async fn refused(self, mail: u16, rcpt: u16, data: u16) -> Result<Outcome, Failure> {
        if mail < 400 {
            self.link.send(Span::Final, b"RSET\r\n").await?;
            self.link.reply(self.shard, Span::Final).await?;
        }
        let code = [mail, rcpt, data].into_iter().find(|code| *code >= 400).unwrap_or(data);
        Ok(refusal(code))
    }

    /// Each command waits for its reply.
    async fn in_turns(mut self) -> Result<Outcome, Failure> {
        self.link.send(Span::Mail, &self.work.out).await?;
        let mail = self.link.reply(self.shard, Span::Mail).await?;
        self.watch.lap(self.shard, Span::Mail);
        if mail >= 400 {
            return Ok(refusal(mail));
        }
        let rcpt = self.recipients_in_turns().await?;
        self.watch.lap(self.shard, Span::Rcpt);
        if self.work.taken.is_empty() {
            return self.refused(mail, rcpt, rcpt).await;
        }
        self.work.out.clear();
        if self.settings.features.chunking {
            self.work.is_uncertain = true;
            wire::push_bdat(&mut self.work.out, self.length);
            self.send_content().await?;
            self.watch.lap(self.shard, Span::Content);
            return self.final_replies().await;
        }
        self.link.send(Span::Data, b"DATA\r\n").await?;
        let data = self.link.reply(self.shard, Span::Data).await?;
        self.watch.lap(self.shard, Span::Data);
        if data != 354 {
            return self.refused(mail, 0, data).await;
        }
        self.content().await
    }

    async fn recipients_in_turns(&mut self) -> Result<u16, Failure> {
        self.work.taken.clear();
        let mut refused = 0;
        let Work { out, recipients, taken, .. } = &mut *self.work;
        for (address, key) in recipients.addresses().zip(&recipients.keys) {
            out.clear();
            wire::push_rcpt(out, address, self.settings.features);
            self.link.send(Span::Rcpt, out).await?;
            match self.link.reply(self.shard, Span::Rcpt).await? {
                200..300 => taken.push(*key),
                code => refused = code,
            }
        }
        Ok(refused)
    }

    /// The content behind DATA, and its replies.
    async fn content(mut self) -> Result<Outcome, Failure> {
        self.work.out.clear();
        self.work.is_uncertain = true;
        self.send_content().await?;
        self.watch.lap(self.shard, Span::Content);
        self.final_replies().await
    }

    /// Sends what is gathered and the content behind it, dotted and ended where it goes over DATA.
    async fn send_content(&mut self) -> Result<(), Failure> {
        let (letter, is_chunked) = (self.letter, self.settings.features.chunking);
        let (body, end): (&[u8], &[u8]) = if is_chunked { (letter.body, b"") } else { (letter.dotted, b".\r\n") };
        let out = &mut self.work.out;
        self.shard.given.library.push_head(out, letter);
        let sent = if body.len() <= COPIED_BYTES_MAX {
            for piece in [body, &letter.tail, end] {
                out.extend_from_slice(piece);
            }
            self.link.connection.write_all(out).await
        } else {
            let mut pieces = [out.as_slice(), body, &letter.tail, end].map(IoSlice::new);
            self.link.connection.write_all_vectored(&mut pieces).await
        };
        sent.map_err(|error| Failure::io(Span::Content, &error))
    }

    /// One reply, with LMTP one for each recipient that was taken (RFC 2033 §4.2).
    async fn final_replies(mut self) -> Result<Outcome, Failure> {
        let mut refused = 0;
        if self.settings.is_lmtp {
            let mut place = 0;
            for _ in 0..self.work.taken.len() {
                match self.link.reply(self.shard, Span::Final).await? {
                    200..300 => place += 1,
                    code => {
                        refused = code;
                        self.work.taken.remove(place);
                    }
                }
            }
        } else {
            let code = self.link.reply(self.shard, Span::Final).await?;
            if code >= 300 {
                refused = code;
                self.work.taken.clear();
            }
        }
        self.work.is_uncertain = false;
        self.watch.lap(self.shard, Span::Final);
        Ok(match self.work.taken.len() {
            0 => refusal(refused),
            recipients => Outcome::Acknowledged { recipients },
        })
    }
}

/// Opens a connection that only stays open, and keeps it until the shard ends.
pub async fn idle(shard: Rc<Shard>) {
    loop {
        match Link::open(&shard, false, false).await {
            Ok(mut link) => {
                link.connection.set_read_timeout(None);
                let gone = link.receive(Span::Ehlo).await;
                shard.stats.borrow_mut().open -= 1;
                if let Err(Failure::Broken(span, words)) = gone {
                    shard.stats.borrow_mut().error(span, &format!("an idle connection: {words}"));
                }
            }
            Err(Failure::Broken(span, words)) => shard.stats.borrow_mut().error(span, &words),
            Err(Failure::Refused(..)) => {}
        }
        time::sleep(PAUSE_MAX).await;
    }
}
