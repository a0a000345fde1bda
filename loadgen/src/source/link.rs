//! A connection of the source: opened with all that precedes MAIL, read reply by reply, closed with QUIT.

use std::io::{self, IoSlice};
use std::time::Duration;

use posthaste_rt::net::{Connection, Stream, connect};
use posthaste_rt::tls::HandshakeError;
use posthaste_rt::{clock, tls};

use super::settings::TlsUse;
use super::shard::Shard;
use super::stats::Span;
use super::{proxy, reply};

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
    /// Messages begun on it.
    pub messages: u64,
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
    pub async fn reply(&mut self, shard: &Shard, span: Span) -> Result<u16, Failure> {
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

    /// Sends `bytes`.
    pub async fn send(&mut self, span: Span, bytes: &[u8]) -> Result<(), Failure> {
        self.connection.write_all(bytes).await.map_err(|error| Failure::io(span, &error))
    }

    /// Sends `pieces` in order, from where they are.
    pub async fn send_pieces(&mut self, span: Span, pieces: [&[u8]; 4]) -> Result<(), Failure> {
        let mut pieces = pieces.map(IoSlice::new);
        self.connection.write_all_vectored(&mut pieces).await.map_err(|error| Failure::io(span, &error))
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

    /// Says nothing more, and waits until the server closes it: why.
    pub async fn wait_for_end(mut self, shard: &Shard) -> Failure {
        self.connection.set_read_timeout(None);
        let ended = loop {
            if let Err(failure) = self.receive(Span::Ehlo).await {
                break failure;
            }
            // What comes unasked is a farewell; it is not read.
            self.start = self.end;
        };
        shard.stats.borrow_mut().open -= 1;
        ended
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
pub struct Watch {
    /// When the present span began.
    pub last: u64,
    /// The times count.
    pub is_measured: bool,
}

impl Watch {
    /// The present span ends, the next begins.
    pub fn lap(&mut self, shard: &Shard, span: Span) {
        let now = clock::now();
        if self.is_measured {
            shard.stats.borrow_mut().span(span, now.saturating_sub(self.last));
        }
        self.last = now;
    }
}
