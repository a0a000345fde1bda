//! Who is at the other end: facts that live as long as the connection.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use compact_str::CompactString;

/// The protocol a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// SMTP (RFC 5321).
    #[default]
    Smtp,
    /// LMTP (RFC 2033): LHLO, and a reply per recipient after the content.
    Lmtp,
}

impl Protocol {
    /// `smtp` or `lmtp`, as expressions and settings spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Smtp => "smtp",
            Protocol::Lmtp => "lmtp",
        }
    }
}

/// Which greeting the client used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// HELO: no extensions.
    Helo,
    /// EHLO.
    Ehlo,
    /// LHLO.
    Lhlo,
}

/// What is known of the TLS layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: CompactString,
    /// The cipher suite's IANA name.
    pub cipher: CompactString,
    /// The name the client asked for.
    pub sni: Option<CompactString>,
}

/// Facts of one connection. What EHLO said goes when STARTTLS begins (RFC 3207 §4.2); the rest stays.
#[derive(Debug, Clone)]
pub struct Client {
    /// The listener's id.
    pub listener: Rc<str>,
    /// What the listener speaks.
    pub protocol: Protocol,
    /// The client's address, after PROXY or XCLIENT.
    pub remote: SocketAddr,
    /// Where it connected to, after PROXY.
    pub local: SocketAddr,
    /// The peer of the socket itself.
    pub peer: IpAddr,
    /// A member of the trusted networks: bulk limits do not apply.
    pub is_trusted: bool,
    /// It may say XCLIENT.
    pub may_xclient: bool,
    /// What the client calls itself.
    pub helo: Option<CompactString>,
    /// How it said so.
    pub hello: Option<Hello>,
    /// The name that DNS (or XCLIENT) gives the client.
    pub ptr: Option<CompactString>,
    /// Set when the connection is encrypted.
    pub tls: Option<Box<TlsFacts>>,
    /// Who the client proved to be. Always empty until AUTH is built.
    pub authenticated_as: Option<CompactString>,
}

impl Client {
    /// A client of which only the connection is known.
    pub fn new(listener: Rc<str>, protocol: Protocol, remote: SocketAddr, local: SocketAddr) -> Client {
        Client {
            listener,
            protocol,
            remote,
            local,
            peer: remote.ip(),
            is_trusted: false,
            may_xclient: false,
            helo: None,
            hello: None,
            ptr: None,
            tls: None,
            authenticated_as: None,
        }
    }

    /// It greeted with EHLO or LHLO: extensions were offered to it, and their parameters may be used (RFC 5321 §2.2.1).
    pub fn is_extended(&self) -> bool {
        matches!(self.hello, Some(Hello::Ehlo | Hello::Lhlo))
    }

    /// The `with` protocol of the Received field (RFC 3848, RFC 6531 §4.3).
    pub fn with_protocol(&self, smtputf8: bool) -> &'static str {
        let is_tls = self.tls.is_some();
        let is_authenticated = self.authenticated_as.is_some();
        match (self.protocol, self.hello, smtputf8, is_tls, is_authenticated) {
            (Protocol::Lmtp, _, false, false, false) => "LMTP",
            (Protocol::Lmtp, _, false, false, true) => "LMTPA",
            (Protocol::Lmtp, _, false, true, false) => "LMTPS",
            (Protocol::Lmtp, _, false, true, true) => "LMTPSA",
            (Protocol::Lmtp, _, true, false, false) => "UTF8LMTP",
            (Protocol::Lmtp, _, true, false, true) => "UTF8LMTPA",
            (Protocol::Lmtp, _, true, true, false) => "UTF8LMTPS",
            (Protocol::Lmtp, _, true, true, true) => "UTF8LMTPSA",
            (Protocol::Smtp, Some(Hello::Helo) | None, _, _, _) => "SMTP",
            (Protocol::Smtp, _, false, false, false) => "ESMTP",
            (Protocol::Smtp, _, false, false, true) => "ESMTPA",
            (Protocol::Smtp, _, false, true, false) => "ESMTPS",
            (Protocol::Smtp, _, false, true, true) => "ESMTPSA",
            (Protocol::Smtp, _, true, false, false) => "UTF8SMTP",
            (Protocol::Smtp, _, true, false, true) => "UTF8SMTPA",
            (Protocol::Smtp, _, true, true, false) => "UTF8SMTPS",
            (Protocol::Smtp, _, true, true, true) => "UTF8SMTPSA",
        }
    }
}
