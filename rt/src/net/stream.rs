//! A TCP stream of one shard: unbuffered, with coarse timeouts that cost nothing per operation.
//!
//! Every wait is safe to drop: what was not received stays in the kernel, and a later call starts
//! its own time. (glommio's own timeouts are not used: they outlive a dropped read, which makes
//! the next one fail early.)

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use socket2::SockRef;

use super::listener::to_socket_addr;
use super::{Accepted, options};
use crate::clock;
use crate::time::Alarm;

/// A connected TCP socket. Dropping it closes it.
#[derive(Debug)]
pub struct Stream {
    inner: glommio::net::TcpStream,
    peer: SocketAddr,
    read: Patience,
    write: Patience,
    alarm: Alarm,
}

/// How long one direction may wait, and until when the present wait lasts.
#[derive(Debug, Default)]
struct Patience {
    timeout_ms: u32,
    /// Microseconds of the monotonic clock; 0 when nothing waits.
    due: u64,
}

impl Patience {
    fn set(&mut self, timeout: Option<Duration>) {
        let ms = timeout.map_or(0, |span| u32::try_from(span.as_millis()).unwrap_or(u32::MAX).max(1));
        *self = Patience { timeout_ms: ms, due: 0 };
    }

    /// Called when an operation has to wait: an error once it has waited long enough.
    fn check(&mut self, alarm: &mut Alarm, cx: &Context<'_>) -> Poll<io::Error> {
        if self.timeout_ms == 0 {
            return Poll::Pending;
        }
        let now = clock::now();
        if self.due == 0 {
            self.due = now.saturating_add(u64::from(self.timeout_ms) * 1000);
        }
        if now >= self.due {
            self.due = 0;
            return Poll::Ready(io::ErrorKind::TimedOut.into());
        }
        alarm.arm(self.due, cx.waker());
        Poll::Pending
    }
}

impl Stream {
    /// Takes an accepted connection onto this shard.
    pub fn from_accepted(accepted: Accepted) -> Self {
        Self::from_parts(accepted.fd, accepted.peer)
    }

    /// Takes a connected socket (from [`Stream::into_fd`] on another shard, or inherited).
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = SockRef::from(&fd);
        socket.set_cloexec(true)?;
        let peer = to_socket_addr(&socket.peer_addr()?)?;
        Ok(Self::from_parts(fd, peer))
    }

    pub(super) fn from_parts(fd: OwnedFd, peer: SocketAddr) -> Self {
        // SAFETY: the descriptor is open and owned by nobody else.
        let inner = unsafe { glommio::net::TcpStream::from_raw_fd(fd.into_raw_fd()) };
        Stream { inner, peer, read: Patience::default(), write: Patience::default(), alarm: Alarm::default() }
    }

    /// Gives the socket away, for another shard, before its first byte. (What was read is the
    /// caller's to pass on.)
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        // glommio does not give its descriptor back; a duplicate survives the drop.
        self.as_fd().try_clone_to_owned()
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Our address on this connection.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        to_socket_addr(&SockRef::from(self).local_addr()?)
    }

    /// Longest wait of one read, to about a tenth of a second; `None` waits for ever.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) {
        self.read.set(timeout);
    }

    /// Longest wait of one write for the peer to take bytes.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) {
        self.write.set(timeout);
    }

    /// TCP_NODELAY.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        SockRef::from(self).set_tcp_nodelay(on)
    }

    /// Receives into `buf` what is there, or waits; 0 is the peer's end of stream.
    pub async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.begin_read();
        poll_fn(|cx| self.poll_receive(cx, buf)).await
    }

    /// Like [`Stream::read`] into a buffer that is only `take`n when bytes are there to receive:
    /// while the connection is idle it holds none. `take` is called at each wake-up, and what it
    /// gave is dropped when nothing had come after all.
    pub async fn read_with<B: AsMut<[u8]>>(&mut self, mut take: impl FnMut() -> B) -> io::Result<(B, usize)> {
        self.begin_read();
        poll_fn(|cx| {
            let mut buffer = take();
            self.poll_receive(cx, buffer.as_mut()).map_ok(|count| (buffer, count))
        })
        .await
    }

    /// Waits until a read would not wait: bytes, end of stream or an error. Consumes nothing.
    pub async fn readable(&mut self) -> io::Result<()> {
        self.begin_read();
        // A receive of no bytes pends on an empty TCP socket and succeeds on any other.
        poll_fn(|cx| self.poll_receive(cx, &mut [])).await.map(|_| ())
    }

    /// Sends all of `bytes`.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.begin_write();
        while !bytes.is_empty() {
            let sent = poll_fn(|cx| self.poll_send(cx, bytes)).await?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Sends all of `pieces` in order, in one system call where the socket has room.
    pub async fn write_all_vectored(&mut self, pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let sent = match SockRef::from(&*self).send_vectored_with_flags(pieces, flags) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        let mut rest = pieces;
        IoSlice::advance_slices(&mut rest, sent);
        for piece in rest {
            self.write_all(piece).await?;
        }
        Ok(())
    }

    /// Tells the peer that no more bytes come; reading goes on.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        SockRef::from(&*self).shutdown(Shutdown::Write)
    }

    /// Closes with RST: what is unsent is discarded, the peer sees an error.
    pub fn abort(self) {
        // Where the option cannot be set the connection is gone already.
        let _ = options::reset_on_close(SockRef::from(&self));
    }

    pub(crate) fn begin_read(&mut self) {
        self.read.due = 0;
    }

    pub(crate) fn begin_write(&mut self) {
        self.write.due = 0;
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match Pin::new(&mut self.inner).poll_read(cx, buf) {
                Poll::Pending => return self.read.check(&mut self.alarm, cx).map(Err),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(done) => {
                    self.read.due = 0;
                    return Poll::Ready(done);
                }
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match Pin::new(&mut self.inner).poll_write(cx, buf) {
                Poll::Pending => return self.write.check(&mut self.alarm, cx).map(Err),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(done) => {
                    self.write.due = 0;
                    return Poll::Ready(done);
                }
            }
        }
    }

    /// Waits until a nonblocking connect has ended: a send of no bytes pends until then.
    pub(super) async fn connected(&mut self) -> io::Result<()> {
        self.begin_write();
        poll_fn(|cx| self.poll_send(cx, &[])).await.map(|_| ())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `inner` keeps the descriptor open for as long as it is borrowed here.
        unsafe { BorrowedFd::borrow_raw(self.inner.as_raw_fd()) }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_receive(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }
}

#[cfg(test)]
mod tests {
    /// A hundred thousand idle ones are kept.
    #[test]
    fn a_stream_is_small() {
        assert!(size_of::<super::Stream>() <= 192);
        assert!(size_of::<crate::net::Connection>() <= 192);
    }
}
