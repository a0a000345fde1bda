//! Listening sockets. One task accepts; stopping drains what the kernel has completed.
//!
//! glommio's own accept loses connections when its future is dropped, hands out descriptors
//! without FD_CLOEXEC and a type whose drop leaks (GLOMMIO.md part 10, hazards 1 to 3). Here the
//! ring is only asked when the socket becomes readable, and `accept4` is called directly: a
//! dropped wait has accepted nothing, so nothing can be lost.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::AsyncRead;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

use super::SocketOptions;
use crate::sync::Switch;
use crate::{task, time};

/// Pause after the kernel refused a descriptor or memory: accept would fail at once, again and again.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// Such pauses while draining, before the rest of the backlog is given up (2 s).
const EXHAUSTED_PAUSES_MAX: u32 = 40;

/// A bound, listening socket that belongs to no shard yet. Bind as root, hand to the shards.
#[derive(Debug)]
pub struct BoundSocket {
    fd: OwnedFd,
    local: SocketAddr,
}

impl BoundSocket {
    /// The address it is bound to; the port is the real one also where 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Wraps a listening socket that was inherited (socket activation, a handover).
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let socket = Socket::from(fd);
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        let local = to_socket_addr(&socket.local_addr()?)?;
        Ok(BoundSocket { fd: socket.into(), local })
    }
}

/// Binds and listens. `[::]` is every address of this machine, IPv4 ones too, as `bind = "[::]:25"` is read
/// everywhere else; a `0.0.0.0` beside it takes the IPv4 connections where `reuse_port` lets both be bound.
/// Addresses of connections are given in their own family.
pub fn bind(addr: SocketAddr, options: &SocketOptions) -> io::Result<BoundSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(options.reuse_addr)?;
    socket.set_reuse_port(options.reuse_port)?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    options.stream.apply(&socket, addr.is_ipv6())?;
    socket.bind(&addr.into())?;
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    BoundSocket::from_fd(socket.into())
}

/// A connection that was accepted and belongs to no shard yet. Dropping it closes it.
#[derive(Debug)]
pub struct Accepted {
    pub(super) fd: OwnedFd,
    pub(super) peer: SocketAddr,
}

impl Accepted {
    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// It came when descriptors run out, and took one that is kept for other things: to be refused.
    pub fn is_one_too_many(&self) -> bool {
        crate::preflight::is_reserved(self.fd.as_raw_fd())
    }
}

/// A listening socket on its shard.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    local: SocketAddr,
    stop: Switch,
    exhausted: u64,
}

impl Listener {
    /// Binds on this shard.
    pub fn bind(addr: SocketAddr, options: &SocketOptions) -> io::Result<Self> {
        bind(addr, options).map(Listener::from_bound)
    }

    /// Takes a socket that was bound elsewhere.
    pub fn from_bound(bound: BoundSocket) -> Self {
        Listener { socket: bound.fd.into(), local: bound.local, stop: Switch::default(), exhausted: 0 }
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What makes [`Listener::accept`] drain and end when thrown.
    pub fn stopper(&self) -> Switch {
        self.stop.clone()
    }

    /// How often the kernel had no descriptor or memory for a connection.
    pub fn exhausted_count(&self) -> u64 {
        self.exhausted
    }

    /// The next connection; `None` when the stopper was thrown and the backlog is drained, after
    /// which the listener is to be dropped. Exhaustion is waited out; an error is the socket's end.
    pub async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let mut pauses = 0;
        let mut is_last_look = false;
        loop {
            task::yield_if_needed().await;
            match self.try_accept() {
                Ok(Some(accepted)) => return Ok(Some(accepted)),
                Ok(None) if is_last_look => return Ok(None),
                Ok(None) if self.stop.is_thrown() => {
                    // The ring still holds the socket: let its poll be cancelled, then look once
                    // more, so that closing follows the last accept within microseconds.
                    time::sleep(Duration::from_millis(1)).await;
                    is_last_look = true;
                }
                Ok(None) => self.readable().await?,
                Err(error) if is_exhaustion(&error) => {
                    self.exhausted += 1;
                    pauses += 1;
                    if self.stop.is_thrown() && pauses > EXHAUSTED_PAUSES_MAX {
                        return Ok(None);
                    }
                    time::sleep(EXHAUSTED_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Accepts until the stopper is thrown, drains, closes. `each` must not block.
    pub async fn serve(mut self, mut each: impl FnMut(Accepted)) -> io::Result<()> {
        while let Some(accepted) = self.accept().await? {
            each(accepted);
        }
        Ok(())
    }

    /// A connection that the kernel has completed already, or nothing.
    pub fn try_accept(&self) -> io::Result<Option<Accepted>> {
        loop {
            match accept4(self.socket.as_fd()) {
                Ok(accepted) => return Ok(Some(accepted)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until the socket is readable or the stopper is thrown.
    async fn readable(&self) -> io::Result<()> {
        let mut readiness = match Readiness::of(self.socket.as_fd()) {
            Ok(readiness) => readiness,
            // No descriptor for the wait: the same exhaustion, met one call earlier.
            Err(error) if is_exhaustion(&error) => {
                time::sleep(EXHAUSTED_PAUSE).await;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        poll_fn(|cx| match self.stop.poll_thrown(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => readiness.poll(cx),
        })
        .await;
        Ok(())
    }
}

/// One wait for readability. glommio gives raw readiness only through a stream of its own, which
/// owns its descriptor: so it gets a duplicate, and reads nothing from it.
struct Readiness(glommio::net::TcpStream);

impl Readiness {
    fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let duplicate = fd.try_clone_to_owned()?;
        // SAFETY: the descriptor is open and owned by nobody else.
        Ok(Readiness(unsafe { glommio::net::TcpStream::from_raw_fd(duplicate.into_raw_fd()) }))
    }

    /// The poll armed at creation pends until a connection is there; the receive that follows
    /// fails with ENOTCONN on a listening socket, which says no more than "ready".
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll_read(cx, &mut []).map(|_| ())
    }
}

fn accept4(listener: BorrowedFd<'_>) -> io::Result<Accepted> {
    let mut storage = SockAddrStorage::zeroed();
    let mut length = storage.size_of();
    // SAFETY: `storage` is large enough for any address and `length` says how large it is.
    let fd = unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            (&raw mut storage).cast(),
            &raw mut length,
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, and filled `length` bytes of `storage`.
    let (fd, address) = unsafe { (OwnedFd::from_raw_fd(fd), SockAddr::new(storage, length)) };
    Ok(Accepted { fd, peer: to_socket_addr(&address)? })
}

/// The address of an IP socket; an IPv4 address that came in by an IPv6 socket is the IPv4 address.
pub(super) fn to_socket_addr(address: &SockAddr) -> io::Result<SocketAddr> {
    let address = address.as_socket();
    let address = address.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not an IP socket"))?;
    Ok(match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, address.port())),
        IpAddr::V6(_) => address,
    })
}

fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Errors of accept(2) that the peer caused, or the network: the next connection may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::EPERM
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::EOPNOTSUPP
                | libc::ENETUNREACH
        )
    )
}
