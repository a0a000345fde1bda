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

    /// The reply to RCPT. It is of the recipient, whatever its status says of the system: behind a relay that
    /// means another system than the one we talk to. Whether it is the host after all, several in a row tell
    /// (`scheduler`). 421 is the host's own.
    pub(super) fn recipient(&self, reply: Reply) -> Outcome {
        match reply.code {
            400..500 if reply.code != 421 => {
                Outcome::Deferred(self.diagnostic(ErrorKind::UnexpectedReply, Scope::Recipient, reply))
            }
            _ => self.by_class(reply, Scope::Recipient),
        }
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
                let mut diagnostic = self.diagnostic(ErrorKind::UnexpectedReply, scope, reply);
                if diagnostic.is_of_system() {
                    diagnostic.scope = Scope::Host;
                }
                Outcome::Deferred(diagnostic)
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

/// 452, or 552 without a status of its own, for one recipient of many: the rest goes in another
/// transaction (RFC 5321 §4.5.3.1.10).
pub(super) fn is_too_many_recipients(reply: &Reply) -> bool {
    let status = reply.status.map(|s| (s.subject, s.detail));
    matches!((reply.code, status), (452 | 552, None) | (451 | 452 | 455 | 552, Some((5, 3))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::EnhancedStatus;

    #[test]
    fn a_refusal_reaches_as_far_as_its_command_and_status_say() {
        let classifier = Classifier { remote: "mx.test [192.0.2.1]", is_secure: true };
        let reply = |code, (class, subject, detail)| Reply {
            status: Some(EnhancedStatus::new(class, subject, detail)),
            ..Reply::plain(code, "words")
        };
        for (code, status, of_rcpt, of_message) in [
            (451, (4, 3, 0), Scope::Recipient, Scope::Host),
            (450, (4, 4, 1), Scope::Recipient, Scope::Host),
            (450, (4, 2, 1), Scope::Recipient, Scope::Message),
            (421, (4, 2, 1), Scope::Host, Scope::Host),
            (421, (4, 3, 2), Scope::Host, Scope::Host),
            (550, (5, 3, 0), Scope::Recipient, Scope::Message),
        ] {
            assert_eq!(classifier.recipient(reply(code, status)).diagnostic().scope, of_rcpt, "RCPT {code}");
            assert_eq!(classifier.message(reply(code, status)).diagnostic().scope, of_message, "MAIL {code}");
            assert_eq!(classifier.end_of_data(reply(code, status)).diagnostic().scope, of_message, "end {code}");
        }
    }
}
