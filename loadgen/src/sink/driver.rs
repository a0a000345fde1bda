//! Moves bytes between a connection and its [`Session`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use posthaste_rt::net::{Accepted, Connection, Stream};
use posthaste_rt::{clock, task, time, tls};
use rustls::ServerConfig;

use super::machine::{Session, Shard, Step};

/// Bytes received at once; shared by the sessions of a shard, so a large one costs nothing.
const BUFFER_BYTES: usize = 128 * 1024;
/// A client that is silent this long is left.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Buffers kept for later.
const BUFFERS_MAX: usize = 64;

/// What the sessions of a shard share with the driver.
#[derive(Debug)]
pub struct Context {
    /// The pure part.
    pub shard: RefCell<Shard>,
    /// TLS, where it is spoken.
    pub tls: Option<Arc<ServerConfig>>,
    /// TLS comes before the greeting.
    pub is_implicit: bool,
    buffers: RefCell<Vec<Box<[u8]>>>,
}

/// A buffer of the shard's pool.
struct Buffer {
    bytes: Box<[u8]>,
    home: Rc<Context>,
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffers = self.home.buffers.borrow_mut();
        if buffers.len() < BUFFERS_MAX {
            buffers.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Context {
    /// A shard's context.
    pub fn new(shard: Shard, tls: Option<Arc<ServerConfig>>, is_implicit: bool) -> Rc<Self> {
        Rc::new(Context { shard: RefCell::new(shard), tls, is_implicit, buffers: RefCell::default() })
    }

    fn buffer(self: &Rc<Self>) -> Buffer {
        let bytes = self.buffers.borrow_mut().pop().unwrap_or_else(|| vec![0; BUFFER_BYTES].into());
        Buffer { bytes, home: self.clone() }
    }
}

/// Serves a connection to its end.
pub async fn serve(accepted: Accepted, context: Rc<Context>) {
    let client = accepted.peer_addr().ip();
    let clients = {
        let mut shard = context.shard.borrow_mut();
        shard.tally.connections += 1;
        shard.clients.clone()
    };
    let mut stream = Stream::from_accepted(accepted);
    let Some(clients) = clients else { return converse(stream, context).await };
    let has_room = clients.lock().unwrap_or_else(PoisonError::into_inner).connect(client);
    if !has_room {
        let _ = stream.write_all(b"421 4.7.0 Too many connections from you\r\n").await; // it may be gone already
        return;
    }
    converse(stream, context).await;
    clients.lock().unwrap_or_else(PoisonError::into_inner).disconnect(client);
}

async fn converse(stream: Stream, context: Rc<Context>) {
    let mut session = {
        let shard = context.shard.borrow();
        Session::new(shard.profile.clone(), stream.peer_addr().ip(), context.is_implicit)
    };
    let connection = match context.is_implicit {
        true => secure(stream, &context).await,
        false => Some(Connection::from(stream)),
    };
    let Some(mut connection) = connection else { return };
    connection.set_read_timeout(Some(PATIENCE));
    connection.set_write_timeout(Some(PATIENCE));
    let tarpit_us = {
        let shard = &mut *context.shard.borrow_mut();
        shard.behaviour.tarpit_of(&mut shard.random)
    };
    let mut talk = Talk { connection, out: Vec::with_capacity(256), tarpit_us };
    let greeted = {
        let mut shard = context.shard.borrow_mut();
        session.greet(&mut shard, clock::now(), &mut talk.out)
    };
    let mut next = talk.follow(greeted).await;
    loop {
        match next {
            Ok(Next::Read) => {}
            Ok(Next::Secure) => {
                let Some(secured) = talk.upgrade(&context).await else { return };
                talk = secured;
                session.secured();
            }
            Err(End::Closed) => return,
            Err(End::Reset) => return talk.connection.abort(),
        }
        let received = talk.connection.read_with(|| context.buffer()).await;
        let Ok((buffer, count)) = received else { return };
        if count == 0 {
            return;
        }
        next = talk.answer(&mut session, &context, &buffer.bytes[..count]).await;
        drop(buffer);
        task::yield_if_needed().await;
    }
}

async fn secure(stream: Stream, context: &Context) -> Option<Connection> {
    let config = context.tls.clone()?;
    let connection = tls::accept(stream, config, HANDSHAKE).await.ok()?;
    let mut shard = context.shard.borrow_mut();
    shard.tally.tls_handshakes += 1;
    shard.tally.tls_resumed += u64::from(connection.tls_facts().is_some_and(|facts| facts.is_resumed));
    Some(connection)
}

enum Next {
    Read,
    Secure,
}

/// How a connection ended.
enum End {
    Closed,
    Reset,
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        End::Closed
    }
}

/// A connection and the replies gathered for it.
struct Talk {
    connection: Connection,
    out: Vec<u8>,
    tarpit_us: Option<u64>,
}

impl Talk {
    /// Feeds `bytes` to the session and sends its replies.
    async fn answer(&mut self, session: &mut Session, context: &Context, bytes: &[u8]) -> Result<Next, End> {
        let mut at = 0;
        while at < bytes.len() {
            let (taken, step) = {
                let mut shard = context.shard.borrow_mut();
                session.feed(&bytes[at..], &mut shard, clock::now(), &mut self.out)
            };
            at += taken;
            if let Next::Secure = self.follow(step).await? {
                return Ok(Next::Secure);
            }
        }
        self.flush(self.out.len()).await?;
        Ok(Next::Read)
    }

    async fn follow(&mut self, step: Step) -> Result<Next, End> {
        match step {
            Step::More => self.flush(self.out.len()).await?,
            Step::Pause { us, held } => {
                self.flush(held).await?;
                time::sleep(Duration::from_micros(us)).await;
            }
            Step::StartTls => {
                self.flush(self.out.len()).await?;
                return Ok(Next::Secure);
            }
            Step::Close => {
                self.flush(self.out.len()).await?;
                self.connection.shutdown().await?;
                return Err(End::Closed);
            }
            Step::Drop => return Err(End::Reset),
            Step::Silence => {
                self.wait_for_end().await;
                return Err(End::Closed);
            }
        }
        Ok(Next::Read)
    }

    async fn flush(&mut self, count: usize) -> Result<(), End> {
        if count == 0 {
            return Ok(());
        }
        match self.tarpit_us {
            None => self.connection.write_all(&self.out[..count]).await?,
            Some(us) => {
                for byte in &self.out[..count] {
                    self.connection.write_all(std::slice::from_ref(byte)).await?;
                    time::sleep(Duration::from_micros(us)).await;
                }
            }
        }
        self.out.drain(..count);
        Ok(())
    }

    async fn wait_for_end(&mut self) {
        let mut scratch = [0; 4096];
        while matches!(self.connection.read(&mut scratch).await, Ok(count) if count > 0) {}
    }

    async fn upgrade(self, context: &Context) -> Option<Talk> {
        let stream = self.connection.into_plain()?;
        let mut connection = secure(stream, context).await?;
        connection.set_read_timeout(Some(PATIENCE));
        connection.set_write_timeout(Some(PATIENCE));
        Some(Talk { connection, out: self.out, tarpit_us: self.tarpit_us })
    }
}
