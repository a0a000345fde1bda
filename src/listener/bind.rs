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

/// The sockets of a listener for `shards` shards: one per address and shard. Without `reuse-port` only the
/// first shard listens, and passes connections on by load.
pub fn bind(settings: &Settings, shards: usize) -> Result<Vec<Vec<BoundSocket>>, BindError> {
    let options = options(settings);
    let shards = if options.reuse_port { shards.max(1) } else { 1 };
    let mut bound: Vec<Vec<BoundSocket>> = Vec::with_capacity(shards);
    for shard in 0..shards {
        let mut sockets = Vec::with_capacity(settings.bind.len());
        for (i, address) in settings.bind.iter().enumerate() {
            // Port 0 is one port for all shards: the one that the first was given.
            let first = bound.first().and_then(|sockets| sockets.get(i)).map(BoundSocket::local_addr);
            let address = if shard > 0 { first.unwrap_or(*address) } else { *address };
            let socket = net::bind(address, &options).map_err(|error| BindError {
                listener: settings.id.to_string(),
                address,
                error,
            })?;
            sockets.push(socket);
        }
        bound.push(sockets);
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
