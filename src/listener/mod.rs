//! Where connections come in: accept, connection limits, the PROXY header, implicit TLS.
//!
//! Takes settings and sockets; gives accepted connections with the facts about their peer. Must never be
//! added: anything that reads SMTP.

mod bind;
mod door;
mod profile;
pub mod settings;

pub use bind::{BindError, bind};
pub use door::Door;
pub use profile::Shared;
pub use settings::{Certificate, Protocol, Settings, SocketOptions, TlsSettings};

#[cfg(test)]
mod tests;
