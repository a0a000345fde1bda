//! `[session.connect]`, `.ehlo`, `.extensions`, `.mail`, `.rcpt`, `.data`: what a site decides.
//!
//! The defaults favour relays: a client in `session.trusted-networks` meets no limit that a bulk sender
//! would hit. The reference's stricter values are in `config/examples/mx.toml`.

use std::time::Duration;

use compact_str::CompactString;
use ipnet::IpNet;

use crate::expr::{Environment, Expr, Mapping, Stage, Target, keywords::PriorityPolicy};
use crate::policy::InboundLimiter;

/// All of it. One clone per shard: expressions keep match caches.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `server.hostname`: our name where `session.connect.hostname` says no other.
    pub hostname: CompactString,
    /// `server.blocked-ip`: closed before the greeting.
    pub blocked: Vec<IpNet>,
    /// `server.allowed-ip`: never blocked. Loopback never is.
    pub allowed: Vec<IpNet>,
    /// `session.trusted-networks` (ours): whom no bulk limit concerns. Default loopback.
    pub trusted: Vec<IpNet>,
    /// `[session.connect]`.
    pub connect: Connect,
    /// `[session.ehlo]`.
    pub ehlo: Ehlo,
    /// `[session.extensions]`.
    pub extensions: Extensions,
    /// `[session.mail]`.
    pub mail: Mail,
    /// `[session.rcpt]`.
    pub rcpt: Rcpt,
    /// `[session.data]`.
    pub data: Data,
    /// `[session.errors]` (ours).
    pub errors: Errors,
    /// `[[queue.limiter.inbound]]`, the enabled ones, in their order.
    pub limiters: Vec<InboundLimiter>,
}

/// `[session.connect]`.
#[derive(Debug, Clone)]
pub struct Connect {
    /// `hostname` E: our name in replies and trace fields. `None`: `server.hostname`.
    pub hostname: Expr<Option<CompactString>>,
    /// `greeting` E: the text of the 220. `None`: the name and `Posthaste ESMTP`.
    pub greeting: Expr<Option<CompactString>>,
}

/// `[session.ehlo]`.
#[derive(Debug, Clone)]
pub struct Ehlo {
    /// `require` E: MAIL needs EHLO first.
    pub require: Expr<bool>,
    /// `reject-non-fqdn` E: EHLO needs a full name or an address literal.
    pub reject_non_fqdn: Expr<bool>,
}

/// `[session.extensions]`, each E.
#[derive(Debug, Clone)]
pub struct Extensions {
    /// `pipelining`.
    pub pipelining: Expr<bool>,
    /// `chunking`, and with it BINARYMIME.
    pub chunking: Expr<bool>,
    /// `requiretls`, inside TLS.
    pub requiretls: Expr<bool>,
    /// `dsn`.
    pub dsn: Expr<bool>,
    /// `vrfy`.
    pub vrfy: Expr<bool>,
    /// `expn`.
    pub expn: Expr<bool>,
    /// `no-soliciting`: keywords; unset offers nothing.
    pub no_soliciting: Expr<Option<CompactString>>,
    /// `future-release`: how far ahead.
    pub future_release: Expr<Option<Duration>>,
    /// `deliver-by`: how far ahead.
    pub deliver_by: Expr<Option<Duration>>,
    /// `mt-priority`.
    pub mt_priority: Expr<Option<PriorityPolicy>>,
}

/// `[session.mail]`.
#[derive(Debug, Clone)]
pub struct Mail {
    /// `is-allowed` E: whether this sender may send.
    pub is_allowed: Expr<bool>,
    /// `rewrite` E: another reverse-path.
    pub rewrite: Expr<Option<CompactString>>,
}

/// `[session.rcpt]`.
#[derive(Debug, Clone)]
pub struct Rcpt {
    /// `directory` E: the directory that knows our recipients; `'*'` all, unset none.
    pub directory: Expr<Option<CompactString>>,
    /// `relay` E: whether other domains' mail is taken.
    pub relay: Expr<bool>,
    /// `rewrite` E: another forward-path.
    pub rewrite: Expr<Option<CompactString>>,
    /// `max-recipients` E: of one transaction.
    pub max_recipients: Expr<u32>,
    /// `errors.total` E: refused recipients before 421.
    pub errors_total: Expr<u32>,
    /// `errors.wait` E: how long each makes the client wait.
    pub errors_wait: Expr<Duration>,
    /// `sub-addressing` E.
    pub sub_addressing: Expr<Mapping<CompactString>>,
    /// `catch-all` E.
    pub catch_all: Expr<Mapping<CompactString>>,
}

/// `[session.data]`.
#[derive(Debug, Clone)]
pub struct Data {
    /// `limits.messages` E: of one session. Unset: no limit.
    pub messages: Expr<Option<u32>>,
    /// `limits.size` E: octets of one message; zero for no limit.
    pub size: Expr<u64>,
    /// `limits.received-headers` E: with so many a message loops.
    pub received_headers: Expr<u32>,
    /// `add-headers.received` E.
    pub add_received: Expr<bool>,
    /// `add-headers.return-path` E: for a final delivery behind us that does not add it.
    pub add_return_path: Expr<bool>,
    /// `add-headers.date` E: where it lacks.
    pub add_date: Expr<bool>,
    /// `add-headers.message-id` E: where it lacks.
    pub add_message_id: Expr<bool>,
}

/// `[session.errors]` (ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errors {
    /// `total`: errors since the last message before 421.
    pub total: u32,
    /// `idle-commands`: commands that move no mail since the last message before 421.
    pub idle_commands: u32,
    /// `accept-bare-lf`: an LF without CR ends a command line.
    pub accept_bare_lf: bool,
}

impl Default for Errors {
    fn default() -> Self {
        Errors { total: 20, idle_commands: 100, accept_bare_lf: false }
    }
}

/// A default that is an expression: the text is ours and is known to compile (a test says so).
fn expression<T: Target>(text: &str, fallback: T, stage: Stage) -> Expr<T> {
    let compiled = Expr::parse(text, fallback.clone(), &Environment::at(stage).without_waiting());
    compiled.unwrap_or_else(|_| Expr::constant(fallback))
}

impl Default for Settings {
    fn default() -> Self {
        let is_authenticated = |stage| expression("!is_empty(authenticated_as)", false, stage);
        Settings {
            hostname: CompactString::const_new("localhost"),
            blocked: Vec::new(),
            allowed: Vec::new(),
            trusted: ["127.0.0.0/8", "::1/128"].iter().filter_map(|net| net.parse().ok()).collect(),
            connect: Connect { hostname: Expr::constant(None), greeting: Expr::constant(None) },
            ehlo: Ehlo {
                require: Expr::constant(true),
                reject_non_fqdn: expression("local_port = 25", false, Stage::EHLO),
            },
            extensions: Extensions {
                pipelining: Expr::constant(true),
                chunking: Expr::constant(true),
                requiretls: Expr::constant(true),
                dsn: is_authenticated(Stage::MAIL),
                vrfy: is_authenticated(Stage::MAIL),
                expn: is_authenticated(Stage::MAIL),
                no_soliciting: Expr::constant(None),
                future_release: expression("if_then(!is_empty(authenticated_as), 7d, false)", None, Stage::MAIL),
                deliver_by: expression("if_then(!is_empty(authenticated_as), 15d, false)", None, Stage::MAIL),
                mt_priority: expression("if_then(!is_empty(authenticated_as), mixer, false)", None, Stage::MAIL),
            },
            mail: Mail {
                is_allowed: expression(
                    "!is_empty(authenticated_as) || !key_exists('blocked-domains', sender_domain)",
                    true,
                    Stage::MAIL,
                ),
                rewrite: Expr::constant(None),
            },
            rcpt: Rcpt {
                directory: Expr::constant(Some(CompactString::const_new("*"))),
                relay: is_authenticated(Stage::RCPT),
                rewrite: Expr::constant(None),
                max_recipients: Expr::constant(1000),
                errors_total: Expr::constant(5),
                errors_wait: Expr::constant(Duration::from_secs(5)),
                sub_addressing: Expr::constant(Mapping::Standard),
                catch_all: Expr::constant(Mapping::Standard),
            },
            data: Data {
                messages: Expr::constant(None),
                size: Expr::constant(104_857_600),
                received_headers: Expr::constant(100),
                add_received: Expr::constant(true),
                add_return_path: Expr::constant(false),
                add_date: expression("local_port = 25", false, Stage::RCPT),
                add_message_id: expression("local_port = 25", false, Stage::RCPT),
            },
            errors: Errors::default(),
            limiters: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A default that did not compile would have become a constant unseen.
    #[test]
    fn the_default_expressions_compile() {
        let settings = Settings::default();
        assert!(settings.ehlo.reject_non_fqdn.as_constant().is_none());
        assert!(settings.extensions.dsn.as_constant().is_none());
        assert!(settings.extensions.future_release.as_constant().is_none());
        assert!(settings.extensions.deliver_by.as_constant().is_none());
        assert!(settings.extensions.mt_priority.as_constant().is_none());
        assert!(settings.mail.is_allowed.as_constant().is_none());
        assert!(settings.rcpt.relay.as_constant().is_none());
        assert!(settings.data.add_date.as_constant().is_none());
        assert_eq!(settings.trusted.len(), 2);
    }
}
