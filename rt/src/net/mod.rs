//! TCP: listeners, streams, connects from a chosen source address, and the one face that a plain
//! and a TLS connection share.

mod connect;
mod connection;
mod listener;
mod options;
mod stream;

pub use connect::connect;
pub use connection::Connection;
pub use listener::{Accepted, BoundSocket, Listener, bind};
pub use options::{SocketOptions, StreamOptions};
pub use stream::Stream;
