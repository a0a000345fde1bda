//! TLS: who we are to clients, and (the client's side) whom we believe.
//!
//! Takes settings and PEM text; gives one `Arc<rustls::ServerConfig>` per listener, shared by all
//! shards, in which the certificate is chosen by the name the client asked for. A reload builds a
//! new [`identity::Identity`] from the whole configuration; sessions keep the one they began with.
//!
//! Invariants: only TLS 1.2 and 1.3 are spoken, with forward secrecy and AEAD; no early data, no
//! renegotiation; a client that offers ALPN must offer `smtp` (ALPACA: bytes meant for another
//! protocol are not taken for mail). Handshakes themselves are `rt::tls`.
//!
//! Must never be added: a socket, a clock, a file read (save the system's trust anchors, once at start, in
//! [`client::ClientTls::system`]).

pub mod client;
mod der;
pub mod identity;
pub mod settings;
mod subjects;
