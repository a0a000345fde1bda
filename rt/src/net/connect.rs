//! Outgoing connections, from a chosen source address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::{Stream, StreamOptions};

/// Connects to `addr` within `timeout`, from `source` where one is given (same family).
/// The error is the peer's or the network's: ConnectionRefused, TimedOut, NetworkUnreachable …;
/// AddrNotAvailable when `source` is not ours.
pub async fn connect(addr: SocketAddr, source: Option<IpAddr>, timeout: Duration) -> io::Result<Stream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking(), None)?;
    StreamOptions::default().apply(&socket, addr.is_ipv6())?;
    if let Some(source) = source {
        // The port is chosen at connect, per destination: thousands of connections from one
        // source do not exhaust its ports.
        bind_without_port(&socket)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&addr.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    let mut stream = Stream::from_parts(OwnedFd::from(socket), addr);
    stream.set_write_timeout(Some(timeout));
    stream.connected().await?;
    stream.set_write_timeout(None);
    Ok(stream)
}

/// IP_BIND_ADDRESS_NO_PORT, which socket2 does not know; it serves IPv6 as well.
fn bind_without_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` lives through the call and its size is given.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if failed != 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
