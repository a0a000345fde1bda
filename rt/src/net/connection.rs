//! One face for a plain and a TLS connection.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};

use super::Stream;
use crate::tls::{Facts, TlsStream};

/// An established connection. STARTTLS consumes the plain one and makes the other
/// ([`crate::tls::accept`], [`crate::tls::connect`]), so that nothing read before can be used after.
#[derive(Debug)]
pub enum Connection {
    /// In clear.
    Plain(Stream),
    /// Under TLS. Boxed: a plain session should not pay for the room.
    Tls(Box<TlsStream>),
}

impl From<Stream> for Connection {
    fn from(stream: Stream) -> Self {
        Connection::Plain(stream)
    }
}

impl Connection {
    /// The TCP stream below.
    pub fn stream(&self) -> &Stream {
        match self {
            Connection::Plain(stream) => stream,
            Connection::Tls(tls) => tls.stream(),
        }
    }

    fn stream_mut(&mut self) -> &mut Stream {
        match self {
            Connection::Plain(stream) => stream,
            Connection::Tls(tls) => tls.stream_mut(),
        }
    }

    /// The stream of a plain connection, to be upgraded; `None` drops a TLS one.
    pub fn into_plain(self) -> Option<Stream> {
        match self {
            Connection::Plain(stream) => Some(stream),
            Connection::Tls(_) => None,
        }
    }

    /// Whether it is under TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self, Connection::Tls(_))
    }

    /// What the handshake agreed on.
    pub fn tls_facts(&self) -> Option<&Facts> {
        match self {
            Connection::Plain(_) => None,
            Connection::Tls(tls) => Some(tls.facts()),
        }
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.stream().peer_addr()
    }

    /// Our address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream().local_addr()
    }

    /// Longest wait of one read.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.stream_mut().set_read_timeout(timeout);
    }

    /// Longest wait of one write.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.stream_mut().set_write_timeout(timeout);
    }

    /// Receives into `buf`; 0 is the peer's end of stream. Under TLS a stream cut without
    /// close_notify is an UnexpectedEof error, and bytes after close_notify are never read.
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.begin_read();
        poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// Begins a wait for octets, whose timeout runs from here; [`Connection::poll_read`] goes on with it.
    pub fn begin_read(&mut self) {
        self.stream_mut().begin_read();
    }

    /// [`Connection::read`] for hand-written futures, which are smaller.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Connection::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Connection::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }

    /// [`Stream::read_with`]: the buffer is taken when bytes are there.
    pub async fn read_with<B: AsMut<[u8]>>(&mut self, mut take: impl FnMut() -> B) -> io::Result<(B, usize)> {
        self.begin_read();
        poll_fn(|cx| {
            let mut buffer = take();
            self.poll_read(cx, buffer.as_mut()).map_ok(|count| (buffer, count))
        })
        .await
    }

    /// Sends all of `bytes`.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream_mut().begin_write();
        let mut taken = 0;
        poll_fn(|cx| self.poll_write_all(cx, bytes, &mut taken)).await
    }

    /// Sends what is left of `bytes` after `taken` octets. By hand: a session waits in it, and an idle one pays for its size.
    fn poll_write_all(&mut self, cx: &mut Context<'_>, bytes: &[u8], taken: &mut usize) -> Poll<io::Result<()>> {
        while let Some(rest) = bytes.get(*taken..).filter(|rest| !rest.is_empty()) {
            let count = match self {
                Connection::Plain(stream) => ready!(Pin::new(stream).poll_write(cx, rest))?,
                Connection::Tls(tls) => ready!(Pin::new(tls.as_mut()).poll_write(cx, rest))?,
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *taken += count;
        }
        match self {
            Connection::Plain(_) => Poll::Ready(Ok(())),
            Connection::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    /// Sends all of `pieces` in order; in clear with one system call, under TLS with one flush.
    pub async fn write_all_vectored(&mut self, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        let tls = match self {
            Connection::Plain(stream) => return stream.write_all_vectored(pieces).await,
            Connection::Tls(tls) => tls,
        };
        tls.stream_mut().begin_write();
        for piece in pieces {
            let mut rest: &[u8] = piece;
            while !rest.is_empty() {
                let taken = poll_fn(|cx| Pin::new(tls.as_mut()).poll_write(cx, rest)).await?;
                if taken == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest = rest.get(taken..).unwrap_or_default();
            }
        }
        poll_fn(|cx| Pin::new(tls.as_mut()).poll_flush(cx)).await
    }

    /// Ends our direction in order: close_notify under TLS, then FIN. Reading may go on.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Connection::Plain(stream) => stream.shutdown_write(),
            Connection::Tls(tls) => {
                tls.stream_mut().begin_write();
                poll_fn(|cx| Pin::new(tls.as_mut()).poll_close(cx)).await
            }
        }
    }

    /// Ends our direction and reads until the peer ends its own, for at most `wait` and `most`
    /// bytes, so that a last reply is not lost to the RST that unread bytes would cause.
    pub async fn close(mut self, wait: Duration, most: usize) {
        let _ = crate::time::timeout(wait, async {
            if self.shutdown().await.is_err() {
                return;
            }
            let (mut scratch, mut seen) = ([0u8; 512], 0);
            let stream = self.stream_mut();
            while seen < most {
                match stream.read(&mut scratch).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => seen += count,
                }
            }
        })
        .await;
    }

    /// Closes with RST.
    pub fn abort(self) {
        match self {
            Connection::Plain(stream) => stream.abort(),
            Connection::Tls(tls) => tls.into_stream().abort(),
        }
    }

    /// Whether the peer has closed or broken an idle connection, or sent what nobody asked for:
    /// to be asked before a pooled connection is reused. Does not wait.
    pub async fn is_stale(&mut self) -> bool {
        let stream = self.stream_mut();
        stream.begin_read();
        // Readable while nothing is awaited: end of stream, an error, or a farewell (421).
        poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut []).is_ready())).await
    }
}
