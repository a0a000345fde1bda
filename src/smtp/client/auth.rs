//! AUTH as a client (RFC 4954): PLAIN (RFC 4616) with an initial response, else LOGIN.

use std::fmt;

use compact_str::CompactString;
use data_encoding::BASE64;

use crate::mail::Reply;
use crate::smtp::extensions::{Mechanisms, PeerExtensions};

/// A user name and its secret. Never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The user name.
    pub username: CompactString,
    /// The secret.
    pub secret: CompactString,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.username)
    }
}

/// What the peer's next reply answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchange {
    /// AUTH PLAIN was sent whole.
    Plain,
    /// AUTH LOGIN was sent; the user name is asked for.
    LoginUser,
    /// The user name was sent; the secret is asked for.
    LoginSecret,
    /// All was sent.
    LoginDone,
}

impl Exchange {
    /// Appends the first line. `None` when no mechanism fits.
    pub(super) fn start(credentials: &Credentials, peer: &PeerExtensions, out: &mut Vec<u8>) -> Option<Exchange> {
        if peer.auth.contains(Mechanisms::PLAIN) {
            out.extend_from_slice(b"AUTH PLAIN ");
            let message = ["", &credentials.username, &credentials.secret].join("\0");
            encode(message.as_bytes(), out);
            return Some(Exchange::Plain);
        }
        if peer.auth.contains(Mechanisms::LOGIN) {
            out.extend_from_slice(b"AUTH LOGIN\r\n");
            return Some(Exchange::LoginUser);
        }
        None
    }

    /// The next line after a 334. `None` when the exchange is over or the reply is no challenge.
    pub(super) fn proceed(self, credentials: &Credentials, reply: &Reply, out: &mut Vec<u8>) -> Option<Exchange> {
        let (text, next) = match self {
            _ if reply.code != 334 => return None,
            Exchange::LoginUser => (&credentials.username, Exchange::LoginSecret),
            Exchange::LoginSecret => (&credentials.secret, Exchange::LoginDone),
            Exchange::Plain | Exchange::LoginDone => return None,
        };
        encode(text.as_bytes(), out);
        Some(next)
    }
}

fn encode(message: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(BASE64.encode(message).as_bytes());
    out.extend_from_slice(b"\r\n");
}
