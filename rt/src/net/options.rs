//! Socket options, as plain values.

use std::io;
use std::time::Duration;

use socket2::{SockRef, Socket, TcpKeepalive};

/// Options of a listening socket and of what it accepts (FEATURES.md 1.1, `socket.*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT: every shard binds its own socket, the kernel spreads connections.
    pub reuse_port: bool,
    /// Connections the kernel completes before we accept them.
    pub backlog: u32,
    /// What each accepted stream gets.
    pub stream: StreamOptions,
}

/// Options of a connected socket. `None` leaves the kernel's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOptions {
    /// TCP_NODELAY: our writes are whole replies, waiting for more only adds latency.
    pub nodelay: bool,
    /// IP_TTL or the IPv6 hop limit.
    pub ttl: Option<u32>,
    /// SO_SNDBUF in bytes.
    pub send_buffer_size: Option<usize>,
    /// SO_RCVBUF in bytes.
    pub recv_buffer_size: Option<usize>,
    /// SO_LINGER.
    pub linger: Option<Duration>,
    /// IP_TOS or the IPv6 traffic class.
    pub tos: Option<u32>,
    /// SO_KEEPALIVE with this idle time, so that a vanished peer is noticed.
    pub keepalive: Option<Duration>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions { reuse_addr: true, reuse_port: true, backlog: 1024, stream: StreamOptions::default() }
    }
}

impl Default for StreamOptions {
    fn default() -> Self {
        StreamOptions {
            nodelay: true,
            ttl: None,
            send_buffer_size: None,
            recv_buffer_size: None,
            linger: None,
            tos: None,
            keepalive: None,
        }
    }
}

impl StreamOptions {
    /// Sets what is inherited by accepted sockets on the listening one, or on a socket that is
    /// about to connect. Buffer sizes must precede the handshake to be offered in it.
    pub(super) fn apply(&self, socket: &Socket, is_ipv6: bool) -> io::Result<()> {
        socket.set_tcp_nodelay(self.nodelay)?;
        if let Some(bytes) = self.send_buffer_size {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.recv_buffer_size {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(span) = self.linger {
            socket.set_linger(Some(span))?;
        }
        if let Some(idle) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
        }
        match is_ipv6 {
            true => self.apply_ipv6(socket),
            false => self.apply_ipv4(socket),
        }
    }

    fn apply_ipv4(&self, socket: &Socket) -> io::Result<()> {
        if let Some(ttl) = self.ttl {
            socket.set_ttl_v4(ttl)?;
        }
        self.tos.map_or(Ok(()), |tos| socket.set_tos_v4(tos))
    }

    fn apply_ipv6(&self, socket: &Socket) -> io::Result<()> {
        if let Some(ttl) = self.ttl {
            socket.set_unicast_hops_v6(ttl)?;
        }
        self.tos.map_or(Ok(()), |tos| socket.set_tclass_v6(tos))
    }
}

/// SO_LINGER 0: closing sends RST and discards what is unsent.
pub(super) fn reset_on_close(socket: SockRef<'_>) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))
}
