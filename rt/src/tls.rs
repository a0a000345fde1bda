//! TLS over a [`Stream`]: handshakes with one deadline, and the facts they agreed on.
//!
//! Takes a stream by value; a failed handshake closes it. Which certificates and versions are
//! right is in the configuration that the caller passes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use futures_rustls::{TlsAcceptor, TlsConnector};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, CommonState, ProtocolVersion, ServerConfig};

use crate::net::{Connection, Stream};
use crate::time;

/// What a handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name, e.g. `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Strength of the cipher in bits.
    pub cipher_bits: u16,
    /// The name the client asked for (SNI), on the server's side.
    pub server_name: Option<String>,
    /// The protocol agreed on by ALPN.
    pub alpn: Option<Vec<u8>>,
    /// The peer's certificates, its own first; empty when it sent none.
    pub peer_certificates: Vec<CertificateDer<'static>>,
    /// Whether an earlier session was resumed.
    pub is_resumed: bool,
}

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The handshake took too long.
    #[error("the TLS handshake did not end in time")]
    TimedOut,
    /// The TLS protocol failed: versions, certificates, alerts, or bytes that are not TLS.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    /// The connection failed or ended.
    #[error("the connection failed during the TLS handshake: {0}")]
    Io(io::Error),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(tls) => HandshakeError::Tls(tls.clone()),
            None if error.kind() == io::ErrorKind::TimedOut => HandshakeError::TimedOut,
            None => HandshakeError::Io(error),
        }
    }
}

/// A TLS connection over a [`Stream`].
#[derive(Debug)]
pub struct TlsStream {
    inner: futures_rustls::TlsStream<Stream>,
    facts: Facts,
}

impl TlsStream {
    fn new(inner: futures_rustls::TlsStream<Stream>, server_name: Option<String>) -> Self {
        let facts = facts_of(inner.get_ref().1, server_name);
        TlsStream { inner, facts }
    }

    /// What the handshake agreed on.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(crate) fn stream(&self) -> &Stream {
        self.inner.get_ref().0
    }

    pub(crate) fn stream_mut(&mut self) -> &mut Stream {
        self.inner.get_mut().0
    }

    pub(crate) fn into_stream(self) -> Stream {
        match self.inner {
            futures_rustls::TlsStream::Client(client) => client.into_inner().0,
            futures_rustls::TlsStream::Server(server) => server.into_inner().0,
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// The server's side of a handshake, all of it within `timeout`.
pub async fn accept(
    stream: Stream,
    config: Arc<ServerConfig>,
    timeout: Duration,
) -> Result<Connection, HandshakeError> {
    // Boxed, because the handshake's state is several KiB that the session's future need not hold.
    let handshake = Box::pin(TlsAcceptor::from(config).accept(stream));
    let tls = time::timeout(timeout, handshake).await.map_err(|_| HandshakeError::TimedOut)??;
    let server_name = tls.get_ref().1.server_name().map(str::to_owned);
    Ok(Connection::Tls(Box::new(TlsStream::new(tls.into(), server_name))))
}

/// The client's side of a handshake with `name`, all of it within `timeout`.
pub async fn connect(
    stream: Stream,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    timeout: Duration,
) -> Result<Connection, HandshakeError> {
    let handshake = Box::pin(TlsConnector::from(config).connect(name, stream));
    let tls = time::timeout(timeout, handshake).await.map_err(|_| HandshakeError::TimedOut)??;
    Ok(Connection::Tls(Box::new(TlsStream::new(tls.into(), None))))
}

fn facts_of(state: &CommonState, server_name: Option<String>) -> Facts {
    let suite = state.negotiated_cipher_suite();
    let cipher = suite.and_then(|suite| suite.suite().as_str()).map(iana_name).unwrap_or_default();
    Facts {
        version: version_name(state.protocol_version()),
        cipher_bits: if cipher.contains("AES_128") { 128 } else { 256 },
        cipher,
        server_name,
        alpn: state.alpn_protocol().map(<[u8]>::to_vec),
        peer_certificates: state.peer_certificates().map(<[_]>::to_vec).unwrap_or_default(),
        is_resumed: state.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
    }
}

fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLS",
    }
}

/// rustls writes TLS13_AES_… where the registry of RFC 8446 has TLS_AES_….
fn iana_name(name: &str) -> String {
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name.to_owned(),
    }
}
