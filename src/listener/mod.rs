//! Where connections come in: accept, connection limits, the PROXY header, implicit TLS.
//!
//! Takes settings and sockets; gives accepted connections with the facts about their peer. Must never be
//! added: anything that reads SMTP.

pub mod settings;

pub use settings::{Certificate, Protocol, Settings, SocketOptions, TlsSettings};
