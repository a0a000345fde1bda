//! Binding: sockets are made once, before privileges are dropped, and carried to their shards.

use std::io;
use std::net::SocketAddr;

use posthaste_rt::net::{self, BoundSocket, StreamOptions};

use crate::listener::Settings;

/// A listener that cannot bind: the operator's to repair.
#[derive(Debug, thiserror::Error)]
#[error("listener `{listener}` cannot bind {address}: {error}")]
pub struct BindError {
    /// The listener's id.
    pub listener: String,
    /// The address it wanted.
    pub address: SocketAddr,
    /// What the system said.
    pub error: io::Error,
}

/// The sockets of a listener at one of its addresses: one for each of `shards`. Without `reuse-port` there is one,
/// for the first shard, which passes connections on by load. Port 0 is one port for all: the one the first was given.
pub fn bind(settings: &Settings, address: SocketAddr, shards: usize) -> Result<Vec<BoundSocket>, BindError> {
    let options = options(settings);
    let shards = if options.reuse_port { shards.max(1) } else { 1 };
    let mut bound: Vec<BoundSocket> = Vec::with_capacity(shards);
    for _ in 0..shards {
        let address = bound.first().map_or(address, BoundSocket::local_addr);
        let socket = net::bind(address, &options).map_err(|error| BindError {
            listener: settings.id.to_string(),
            address,
            error,
        })?;
        bound.push(socket);
    }
    Ok(bound)
}

/// The socket options of a listener as the runtime takes them.
fn options(settings: &Settings) -> net::SocketOptions {
    let socket = &settings.socket;
    net::SocketOptions {
        reuse_addr: socket.reuse_addr,
        reuse_port: socket.reuse_port,
        backlog: socket.backlog,
        stream: StreamOptions {
            nodelay: socket.nodelay,
            ttl: socket.ttl,
            send_buffer_size: socket.send_buffer_size,
            recv_buffer_size: socket.recv_buffer_size,
            linger: socket.linger,
            tos: socket.tos,
            keepalive: None,
        },
    }
}
