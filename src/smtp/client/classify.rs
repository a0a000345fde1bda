//! One place where a reply becomes an outcome: whose fault, permanent or transient, how far it reaches.

use compact_str::CompactString;

use crate::mail::{Diagnostic, ErrorKind, Outcome, Reply, Scope};

/// Octets of a remote's words that are kept with a recipient.
const WORDS_BYTES_MAX: usize = 1024;

/// What a reply is judged by besides itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Classifier<'a> {
    /// The peer as `name [address]`.
    pub(super) remote: &'a str,
    /// The connection is inside TLS.
    pub(super) is_secure: bool,
}

impl Classifier<'_> {
    /// A greeting other than 220. Only "never any mail here" (RFC 7504) is final; other hosts may do better.
    pub(super) fn greeting(&self, reply: Reply) -> Outcome {
        match reply.code {
            521 | 556 => Outcome::Failed(self.diagnostic(ErrorKind::UnexpectedReply, Scope::Host, reply)),
            _ => Outcome::Deferred(self.diagnostic(ErrorKind::UnexpectedReply, Scope::Host, reply)),
        }
    }

    /// A refused EHLO, LHLO or HELO.
    pub(super) fn hello(&self, reply: Reply) -> Outcome {
        self.greeting(reply)
    }

    /// A refused STARTTLS that was required.
    pub(super) fn starttls(&self, reply: Reply) -> Outcome {
        Outcome::Deferred(self.diagnostic(ErrorKind::Tls, Scope::Host, reply))
    }

    /// A refused AUTH: our configuration or the peer's, never the message's fault.
    pub(super) fn auth(&self, reply: Reply) -> Outcome {
        Outcome::Deferred(self.diagnostic(ErrorKind::UnexpectedReply, Scope::Lane, reply))
    }

    /// A reply that nothing asked for.
    pub(super) fn unasked(&self, reply: Reply) -> Outcome {
        Outcome::Deferred(self.diagnostic(ErrorKind::UnexpectedReply, Scope::Host, reply))
    }

    /// A reply of a class that the command cannot have: we and the peer disagree about the dialogue.
    pub(super) fn out_of_step(&self, reply: &Reply) -> Outcome {
        let words = Reply::new(451, (4, 5, 0), format!("unexpected reply: {reply}"));
        let mut diagnostic = self.diagnostic(ErrorKind::UnexpectedReply, Scope::Host, words);
        diagnostic.is_remote = false;
        Outcome::Deferred(diagnostic)
    }

    /// The reply to MAIL, or to DATA, on behalf of every recipient.
    pub(super) fn message(&self, reply: Reply) -> Outcome {
        self.by_class(reply, Scope::Message)
    }

    /// The reply to RCPT.
    pub(super) fn recipient(&self, reply: Reply) -> Outcome {
        self.by_class(reply, Scope::Recipient)
    }

    /// The reply to the end of data; any 2yz is success (RFC 5321 §4.2.1).
    pub(super) fn end_of_data(&self, reply: Reply) -> Outcome {
        match reply.code {
            200..300 => Outcome::Delivered(self.diagnostic(ErrorKind::None, Scope::Message, reply)),
            _ => self.by_class(reply, Scope::Message),
        }
    }

    fn by_class(&self, reply: Reply, scope: Scope) -> Outcome {
        match reply.code {
            421 => Outcome::Deferred(self.diagnostic(ErrorKind::UnexpectedReply, Scope::Host, reply)),
            // RFC 3207 §4: TLS was not to be had, and now it turns out to be wanted.
            530 if !self.is_secure => Outcome::Deferred(self.diagnostic(ErrorKind::Tls, Scope::Host, reply)),
            500..600 => Outcome::Failed(self.diagnostic(ErrorKind::UnexpectedReply, scope, reply)),
            400..500 => {
                let scope = if is_host_trouble(&reply) { Scope::Host } else { scope };
                Outcome::Deferred(self.diagnostic(ErrorKind::UnexpectedReply, scope, reply))
            }
            _ => Outcome::Deferred(self.diagnostic(ErrorKind::UnexpectedReply, Scope::Host, reply)),
        }
    }

    fn diagnostic(&self, kind: ErrorKind, scope: Scope, mut reply: Reply) -> Diagnostic {
        if reply.text.len() > WORDS_BYTES_MAX {
            let mut end = WORDS_BYTES_MAX;
            while !reply.text.is_char_boundary(end) {
                end -= 1;
            }
            reply.text = reply.text[..end].to_owned().into();
        }
        Diagnostic { kind, scope, remote: CompactString::new(self.remote), reply, is_remote: true }
    }
}

/// System and network status (RFC 3463 §3.4, §3.5): the host is in trouble, not the recipient or the message.
fn is_host_trouble(reply: &Reply) -> bool {
    reply.status.is_some_and(|status| matches!(status.subject, 3 | 4))
}

/// 452, or 552 without a status of its own, for one recipient of many: the rest goes in another
/// transaction (RFC 5321 §4.5.3.1.10).
pub(super) fn is_too_many_recipients(reply: &Reply) -> bool {
    let status = reply.status.map(|s| (s.subject, s.detail));
    matches!((reply.code, status), (452 | 552, None) | (451 | 452 | 455 | 552, Some((5, 3))))
}
