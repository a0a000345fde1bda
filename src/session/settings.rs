//! `[session]`: what a client may do at each stage, and how much of it.
//!
//! The defaults favour relays (DESIGN.md part 9): what a bulk sender would hit is off; the stricter values of the
//! reference product stand in `config/examples/mx.toml`.

use std::time::Duration;

use compact_str::CompactString;

use crate::base::limits::RECIPIENTS_MAX;
use crate::expr::keywords::PriorityPolicy;
use crate::expr::{Expr, Mapping, Stage, Target, expression, expression_now};
use crate::schema::{Section, Size, defaults};

/// `[session]`. A key that is an expression is evaluated at the stage it belongs to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `timeout`: a client that sends nothing for so long is told 421.
    pub timeout: Expr<Duration>,
    /// `duration`: a session that is open for so long is told 421; `None` for no end.
    pub duration: Expr<Option<Duration>>,
    /// `transfer-limit`: octets a client may send in a session; `None` for no limit.
    pub transfer_limit: Expr<Option<u64>>,
    /// `command-timeout` (ours): from the first octet of a command to its end.
    pub command_timeout: Duration,
    /// `errors` (ours): bad commands.
    pub errors: Errors,
    /// `connect`.
    pub connect: Connect,
    /// `ehlo`.
    pub ehlo: Ehlo,
    /// `extensions`.
    pub extensions: Extensions,
    /// `mail`.
    pub mail: Mail,
    /// `rcpt`.
    pub rcpt: Rcpt,
    /// `data`.
    pub data: Data,
}

/// How many errors end a session, and how long each is waited for.
#[derive(Debug, Clone)]
pub struct Errors {
    /// `total`: the session ends with 421 (451 at RCPT) after so many.
    pub total: Expr<u32>,
    /// `wait`: before the reply to each.
    pub wait: Expr<Duration>,
}

/// `session.connect`.
#[derive(Debug, Clone)]
pub struct Connect {
    /// `hostname`: our name in replies.
    pub hostname: Expr<CompactString>,
    /// `greeting`: the text after 220 where the listener has none.
    pub greeting: Expr<CompactString>,
}

/// `session.ehlo`.
#[derive(Debug, Clone)]
pub struct Ehlo {
    /// `require`: MAIL before EHLO or HELO is refused.
    pub require: Expr<bool>,
    /// `reject-non-fqdn`: a name without a dot is refused.
    pub reject_non_fqdn: Expr<bool>,
}

/// `session.extensions`: what is offered beyond what always is. An extension that is not offered is refused.
#[derive(Debug, Clone)]
pub struct Extensions {
    /// `pipelining` (RFC 2920).
    pub pipelining: Expr<bool>,
    /// `chunking` (RFC 3030): BDAT, and with it BINARYMIME.
    pub chunking: Expr<bool>,
    /// `requiretls` (RFC 8689): offered under TLS.
    pub requiretls: Expr<bool>,
    /// `dsn` (RFC 3461).
    pub dsn: Expr<bool>,
    /// `vrfy`.
    pub vrfy: Expr<bool>,
    /// `expn`.
    pub expn: Expr<bool>,
    /// `no-soliciting` (RFC 3865): the keywords offered with it; `None` for not offered.
    pub no_soliciting: Expr<Option<CompactString>>,
    /// `future-release` (RFC 4865): the longest hold; `None` for not offered.
    pub future_release: Expr<Option<Duration>>,
    /// `deliver-by` (RFC 2852): the longest time by which delivery may be asked; `None` for not offered.
    pub deliver_by: Expr<Option<Duration>>,
    /// `mt-priority` (RFC 6710): the policy that is named; `None` for not offered.
    pub mt_priority: Expr<Option<PriorityPolicy>>,
}

/// `session.mail`.
#[derive(Debug, Clone)]
pub struct Mail {
    /// `rewrite`: another reverse-path; `None` keeps it.
    pub rewrite: Expr<Option<CompactString>>,
    /// `is-allowed`: the reverse-path is taken.
    pub is_allowed: Expr<bool>,
}

/// `session.rcpt`.
#[derive(Debug, Clone)]
pub struct Rcpt {
    /// `directory`: which directory knows the recipients; `None` for none.
    pub directory: Expr<Option<CompactString>>,
    /// `relay`: recipients that are not local are taken.
    pub relay: Expr<bool>,
    /// `rewrite`: another forward-path; `None` keeps it.
    pub rewrite: Expr<Option<CompactString>>,
    /// `max-recipients` of a transaction; more are told 452 4.5.3.
    pub max_recipients: Expr<u32>,
    /// `errors`: refused recipients.
    pub errors: Errors,
    /// `sub-addressing`.
    pub sub_addressing: Expr<Mapping<CompactString>>,
    /// `catch-all`.
    pub catch_all: Expr<Mapping<CompactString>>,
}

/// `session.data`.
#[derive(Debug, Clone)]
pub struct Data {
    /// `limits.messages` of a session; `None` for no limit.
    pub messages_max: Expr<Option<u32>>,
    /// `limits.size`: octets of a message; `None` for no limit. SIZE of EHLO.
    pub size_max: Expr<Option<u64>>,
    /// `limits.received-headers`: more Received fields are a loop, told 554 5.4.6.
    pub received_headers_max: Expr<u32>,
    /// `limits.rate` (ours): octets per second below which content is too slow, over any half minute; 0 for none.
    pub rate_min: u64,
    /// `limits.duration` (ours): from DATA, or the first BDAT, to the end of the content.
    pub duration_max: Duration,
    /// `add-headers.received`.
    pub add_received: Expr<bool>,
    /// `add-headers.return-path`.
    pub add_return_path: Expr<bool>,
    /// `add-headers.message-id`: where it is missing.
    pub add_message_id: Expr<bool>,
    /// `add-headers.date`: where it is missing.
    pub add_date: Expr<bool>,
    /// `add-headers.delivered-to`: on local delivery.
    pub add_delivered_to: bool,
}

impl Default for Settings {
    fn default() -> Self {
        defaults(|root| root.table("session", "", Settings::read))
    }
}

/// The commonest key: an expression with a default in TOML, which also holds where an evaluation fails.
struct Keys<'s, 'r> {
    section: &'s Section<'r>,
    stage: Stage,
}

impl Keys<'_, '_> {
    fn key<T: Target>(&self, name: &'static str, doc: &'static str, toml: &'static str, fallback: T) -> Expr<T> {
        self.section.knob(name, expression(self.stage, fallback)).doc(doc).default_toml(toml)
    }

    fn is(&self, name: &'static str, doc: &'static str, value: bool) -> Expr<bool> {
        self.key(name, doc, if value { "true" } else { "false" }, value)
    }
}

const NOT_AUTHENTICATED: &str = "AUTH comes with a later release: authenticated_as is always empty";
const NO_SCRIPTS: &str = "no script runs";

impl Settings {
    /// Reads `[session]`.
    pub fn read(s: &Section<'_>) -> Settings {
        for (name, why) in [
            ("auth", NOT_AUTHENTICATED),
            ("milter", "no milter is asked: mail passes unfiltered"),
            ("hook", "no hook is asked: mail passes unfiltered"),
            ("mta-sts", "no MTA-STS policy is published"),
        ] {
            s.not_yet(name, why);
        }
        let at = Keys { section: s, stage: Stage::CONNECTION };
        Settings {
            timeout: at.key("timeout", "A client that sends nothing for so long is told 421.", "\"5m\"", Duration::from_secs(300)),
            duration: at.key("duration", "A session that is open for so long is told 421 between two messages; false for no end.", "false", None),
            transfer_limit: at.key("transfer-limit", "Octets a client may send in a session before it is told 452 4.7.28; false for no limit.", "false", None),
            command_timeout: s
                .key("command-timeout")
                .doc("From the first octet of a command to the end of its line; then 421.")
                .between(Duration::from_secs(1), Duration::from_secs(3600))
                .default(Duration::from_secs(300)),
            errors: s.table("errors", "Bad commands.", |s| {
                Errors::read(s, Stage::CONNECTION, "20", 20, "\"0s\"", Duration::ZERO)
            }),
            connect: s.table("connect", "The greeting.", Connect::read),
            ehlo: s.table("ehlo", "EHLO, HELO and LHLO.", Ehlo::read),
            extensions: s.table("extensions", "What is offered beyond what always is: ENHANCEDSTATUSCODES, 8BITMIME, SMTPUTF8, SIZE, LIMITS, and STARTTLS where there is TLS.", Extensions::read),
            mail: s.table("mail", "MAIL FROM.", Mail::read),
            rcpt: s.table("rcpt", "RCPT TO.", Rcpt::read),
            data: s.table("data", "DATA and BDAT.", Data::read),
        }
    }
}

impl Errors {
    fn read(
        s: &Section<'_>,
        stage: Stage,
        total_toml: &'static str,
        total: u32,
        wait_toml: &'static str,
        wait: Duration,
    ) -> Errors {
        let at = Keys { section: s, stage };
        Errors {
            total: at.key("total", "The session ends after so many.", total_toml, total),
            wait: at.key("wait", "How long the reply to each waits.", wait_toml, wait),
        }
    }
}

impl Connect {
    fn read(s: &Section<'_>) -> Connect {
        s.not_yet("script", NO_SCRIPTS);
        let at = Keys { section: s, stage: Stage::CONNECTION };
        Connect {
            hostname: at.key(
                "hostname",
                "Our name in replies.",
                "\"config_get('server.hostname')\"",
                CompactString::const_new("localhost"),
            ),
            greeting: at.key(
                "greeting",
                "The text after 220, where the listener has none of its own.",
                "\"config_get('server.hostname') + ' Posthaste ESMTP'\"",
                CompactString::const_new("Posthaste ESMTP"),
            ),
        }
    }
}

impl Ehlo {
    fn read(s: &Section<'_>) -> Ehlo {
        s.not_yet("script", NO_SCRIPTS);
        let at = Keys { section: s, stage: Stage::EHLO };
        Ehlo {
            require: at.is("require", "MAIL before EHLO or HELO is refused with 503.", true),
            reject_non_fqdn: at.key(
                "reject-non-fqdn",
                "A name without a dot in EHLO or HELO is refused with 550.",
                "[ { if = \"local_port = 25\", then = true }, { else = false } ]",
                false,
            ),
        }
    }
}

impl Extensions {
    fn read(s: &Section<'_>) -> Extensions {
        let at = Keys { section: s, stage: Stage::MAIL };
        let authenticated = "\"!is_empty(authenticated_as)\"";
        Extensions {
            pipelining: at.is("pipelining", "PIPELINING (RFC 2920).", true),
            chunking: at.is("chunking", "CHUNKING and BINARYMIME (RFC 3030): BDAT.", true),
            requiretls: at.is("requiretls", "REQUIRETLS (RFC 8689), offered under TLS.", true),
            dsn: at.is("dsn", "DSN (RFC 3461): NOTIFY, ORCPT, RET, ENVID.", true),
            vrfy: at.key("vrfy", "VRFY answers from the directory.", authenticated, false),
            expn: at.key("expn", "EXPN answers from the directory.", authenticated, false),
            no_soliciting: at.key(
                "no-soliciting",
                "NO-SOLICITING (RFC 3865) with these keywords; false for not offered.",
                "false",
                None,
            ),
            future_release: at.key(
                "future-release",
                "FUTURERELEASE (RFC 4865): the longest hold; false for not offered.",
                "[ { if = \"!is_empty(authenticated_as)\", then = \"7d\" }, { else = false } ]",
                None,
            ),
            deliver_by: at.key(
                "deliver-by",
                "DELIVERBY (RFC 2852): the longest time by which delivery may be asked; false for not offered.",
                "[ { if = \"!is_empty(authenticated_as)\", then = \"15d\" }, { else = false } ]",
                None,
            ),
            mt_priority: at.key(
                "mt-priority",
                "MT-PRIORITY (RFC 6710) with this policy; false for not offered.",
                "[ { if = \"!is_empty(authenticated_as)\", then = \"mixer\" }, { else = false } ]",
                None,
            ),
        }
    }
}

impl Mail {
    fn read(s: &Section<'_>) -> Mail {
        s.not_yet("script", NO_SCRIPTS);
        let at = Keys { section: s, stage: Stage::MAIL };
        Mail {
            rewrite: at.key("rewrite", "Another reverse-path; false keeps it.", "false", None),
            is_allowed: at.is("is-allowed", "Whether the reverse-path is taken; else 550 5.7.1.", true),
        }
    }
}

impl Rcpt {
    fn read(s: &Section<'_>) -> Rcpt {
        s.not_yet("script", NO_SCRIPTS);
        let at = Keys { section: s, stage: Stage::RCPT };
        let mapping =
            |name, doc| s.knob(name, expression_now(Stage::ADDRESS, Mapping::Standard)).doc(doc).default_toml("true");
        Rcpt {
            directory: at.key(
                "directory",
                "Which directory knows the recipients: its id, '*' for any, false for none.",
                "\"'*'\"",
                Some("*".into()),
            ),
            relay: at.key(
                "relay",
                "Recipients that are not local are taken. Keep it to those who may send through this server.",
                "\"!is_empty(authenticated_as)\"",
                false,
            ),
            rewrite: at.key(
                "rewrite",
                "Another forward-path; false keeps it. Recipients that become the same are one.",
                "false",
                None,
            ),
            max_recipients: at
                .section
                .knob("max-recipients", expression(at.stage, 1000).only(RECIPIENTS_WORDS, recipients_fit))
                .doc("Recipients of one transaction; more are told 452 4.5.3.")
                .default_toml("1000"),
            errors: s.table("errors", "Refused recipients.", |s| {
                Errors::read(s, Stage::RCPT, "100", 100, "\"0s\"", Duration::ZERO)
            }),
            sub_addressing: mapping(
                "sub-addressing",
                "true strips +tag before the directory is asked, false does not, an expression gives the address to ask for.",
            ),
            catch_all: mapping(
                "catch-all",
                "true takes unknown recipients of a domain with an @domain address, false does not, an expression gives the address to ask for.",
            ),
        }
    }
}

const RECIPIENTS_WORDS: &str = "a number from 100 (RFC 5321 section 4.5.3.1.8) to 65536";

fn recipients_fit(count: &Expr<u32>) -> bool {
    count.as_constant().is_none_or(|count| (100..=RECIPIENTS_MAX as u32).contains(count))
}

impl Data {
    fn read(s: &Section<'_>) -> Data {
        s.not_yet("script", NO_SCRIPTS);
        s.foreign("spam-filter", "the spam filter is not ours");
        let limits = s.table("limits", "Limits of a message.", |s| {
            let at = Keys { section: s, stage: Stage::RCPT };
            (
                at.key("messages", "Messages of one session; then 452 4.4.5. false for no limit.", "false", None),
                at.key("size", "Octets of a message, as SIZE says in EHLO; more are 552 5.3.4. false for no limit.", "104857600", Some(100 << 20)),
                at.key("received-headers", "More Received fields than this are a loop, told 554 5.4.6.", "100", 100),
                s.key("rate")
                    .doc("Bytes per second below which content comes too slowly, over any half minute; then 421. 0 for no minimum.")
                    .between(Size(0), Size(1 << 30))
                    .default(Size(64))
                    .0,
                s.key("duration")
                    .doc("From DATA or the first BDAT to the end of the content; then 421.")
                    .between(Duration::from_secs(10), Duration::from_secs(86_400))
                    .default(Duration::from_secs(3600)),
            )
        });
        let (messages_max, size_max, received_headers_max, rate_min, duration_max) = limits;
        let add = s.table("add-headers", "Fields that are added to the header section.", AddHeaders::read);
        Data {
            messages_max,
            size_max,
            received_headers_max,
            rate_min,
            duration_max,
            add_received: add.received,
            add_return_path: add.return_path,
            add_message_id: add.message_id,
            add_date: add.date,
            add_delivered_to: add.delivered_to,
        }
    }
}

struct AddHeaders {
    received: Expr<bool>,
    return_path: Expr<bool>,
    message_id: Expr<bool>,
    date: Expr<bool>,
    delivered_to: bool,
}

impl AddHeaders {
    fn read(s: &Section<'_>) -> AddHeaders {
        s.not_yet("received-spf", "SPF is not checked");
        s.not_yet("auth-results", "nothing is verified");
        let at = Keys { section: s, stage: Stage::RCPT };
        AddHeaders {
            received: at.is(
                "received",
                "Received (RFC 5321 section 4.4). Without it loops are found by other servers only.",
                true,
            ),
            return_path: at.is("return-path", "Return-Path, at reception. Local delivery adds it in any case.", false),
            message_id: at.is("message-id", "Message-ID, where it is missing.", false),
            date: at.is("date", "Date, where it is missing.", false),
            delivered_to: s.key("delivered-to").doc("Delivered-To, at local delivery.").default(true),
        }
    }
}
