//! `[session]` and `[[queue.limiter.inbound]]`: one table in the file, read for two rooms. Policy decides by it,
//! the session's driver measures by it.

use std::time::Duration;

use compact_str::CompactString;
use ipnet::IpNet;

use super::server::ServerSettings;
use crate::base::limits::RECIPIENTS_MAX;
use crate::expr::{Expr, Mapping, Stage, Target, compiled_by, expression, expression_now, size_expression};
use crate::policy::settings::{Connect, Data, Ehlo, Errors, Extensions, Mail, Rcpt};
use crate::policy::{self, InboundLimiter, LimiterKey};
use crate::schema::{Kind, Section, Size, kinds};
use crate::session;

/// What `[session]` says.
pub(super) struct Session {
    pub policy: policy::Settings,
    pub session: session::Settings,
}

const NO_SCRIPTS: &str = "no script runs";

/// The commonest knobs: expressions with a default in TOML, and a value where an evaluation fails.
struct Keys<'s, 'r> {
    section: &'s Section<'r>,
    stage: Stage,
}

impl Keys<'_, '_> {
    /// A key that is known at once.
    fn now<T: Target>(&self, name: &'static str, doc: &'static str, toml: &'static str, fallback: T) -> Expr<T> {
        self.section.knob(name, expression_now(self.stage, fallback)).doc(doc).default_toml(toml)
    }

    /// A key that may ask the DNS.
    fn waiting<T: Target>(&self, name: &'static str, doc: &'static str, toml: &'static str, fallback: T) -> Expr<T> {
        self.section.knob(name, expression(self.stage, fallback)).doc(doc).default_toml(toml)
    }

    /// A size that is known at once.
    fn size<T: Target>(&self, name: &'static str, doc: &'static str, toml: &'static str, fallback: T) -> Expr<T> {
        self.section.knob(name, size_expression(self.stage, fallback)).doc(doc).default_toml(toml)
    }

    fn is(&self, name: &'static str, doc: &'static str, value: bool) -> Expr<bool> {
        self.now(name, doc, if value { "true" } else { "false" }, value)
    }
}

/// Reads `[session]`; the limiters come from `[queue]`.
pub(super) fn read(s: &Section<'_>, server: &ServerSettings, limiters: Vec<InboundLimiter>) -> Session {
    for (name, why) in [
        ("auth", "AUTH comes with a later release: authenticated_as is always empty"),
        ("milter", "no milter is asked: mail passes unfiltered"),
        ("hook", "no hook is asked: mail passes unfiltered"),
        ("mta-sts", "no MTA-STS policy is published"),
    ] {
        s.not_yet(name, why);
    }
    let at = Keys { section: s, stage: Stage::CONNECTION };
    let loopback: Vec<IpNet> = policy::Settings::default().trusted;
    let (data, content) = s.table("data", "DATA and BDAT.", read_data);
    let session = session::Settings {
        timeout: at.now(
            "timeout",
            "The longest silence, and the longest time for one command line; then 421.",
            "\"5m\"",
            Duration::from_secs(300),
        ),
        duration: at.now(
            "duration",
            "The longest session; then 421 between two messages. false for no end. Trusted networks are not concerned.",
            "\"10m\"",
            Some(Duration::from_secs(600)),
        ),
        transfer_limit: at.size(
            "transfer-limit",
            "Octets received in one session; then 452 4.7.28. false for no limit. Trusted networks are not concerned.",
            "262144000",
            Some(262_144_000),
        ),
        content_timeout: content.timeout,
        content_rate_min: content.rate_min,
        content_grace: content.grace,
        memory_budget: s
            .key("memory-budget")
            .doc("What the sessions of one shard hold in memory: receive buffers and content before its commit. Beyond it reading stops, then messages get 452 4.3.1.")
            .between(Size(16 << 20), Size(1 << 40))
            .restart()
            .default(Size(256 << 20))
            .bytes(),
    };
    let policy = policy::Settings {
        hostname: server.hostname.clone(),
        blocked: server.blocked_ip.clone(),
        allowed: server.allowed_ip.clone(),
        trusted: s
            .knob("trusted-networks", kinds::networks())
            .doc("Whom no limit concerns that a bulk sender would hit: duration, transfer-limit, data.limits.messages, errors.wait and inbound limiters. It does not let them relay: session.rcpt.relay does.")
            .default(loopback),
        connect: s.table("connect", "The greeting.", read_connect),
        ehlo: s.table("ehlo", "EHLO, HELO and LHLO.", read_ehlo),
        extensions: s.table("extensions", EXTENSIONS_DOC, read_extensions),
        mail: s.table("mail", "MAIL FROM.", read_mail),
        rcpt: s.table("rcpt", "RCPT TO.", read_rcpt),
        data,
        errors: s.table("errors", "Commands that are wrong or lead nowhere.", read_errors),
        limiters,
    };
    Session { policy, session }
}

const EXTENSIONS_DOC: &str = "What EHLO offers beyond what it always does: ENHANCEDSTATUSCODES, 8BITMIME, SMTPUTF8, SIZE, LIMITS, and STARTTLS where there is TLS.";

fn read_connect(s: &Section<'_>) -> Connect {
    s.not_yet("script", NO_SCRIPTS);
    let at = Keys { section: s, stage: Stage::CONNECTION };
    Connect {
        hostname: at.now(
            "hostname",
            "Our name in replies and trace fields.",
            "\"config_get('server.hostname')\"",
            None,
        ),
        greeting: at.now(
            "greeting",
            "The text after the 220 of listeners that have none of their own.",
            "\"config_get('server.hostname') + ' Posthaste ESMTP'\"",
            None,
        ),
    }
}

fn read_ehlo(s: &Section<'_>) -> Ehlo {
    s.not_yet("script", NO_SCRIPTS);
    let at = Keys { section: s, stage: Stage::EHLO };
    Ehlo {
        require: at.is("require", "MAIL before EHLO or HELO is refused with 503.", true),
        reject_non_fqdn: at.now(
            "reject-non-fqdn",
            "A name in EHLO or HELO that is neither fully qualified nor an address literal is refused with 550.",
            "[ { if = \"local_port = 25\", then = true }, { else = false } ]",
            false,
        ),
    }
}

fn read_extensions(s: &Section<'_>) -> Extensions {
    let at = Keys { section: s, stage: Stage::MAIL };
    let authenticated = "\"!is_empty(authenticated_as)\"";
    Extensions {
        pipelining: at.is("pipelining", "PIPELINING (RFC 2920).", true),
        chunking: at.is("chunking", "CHUNKING and BINARYMIME (RFC 3030): BDAT.", true),
        requiretls: at.is("requiretls", "REQUIRETLS (RFC 8689), inside TLS.", true),
        dsn: at.is("dsn", "DSN (RFC 3461): NOTIFY, ORCPT, RET and ENVID.", true),
        vrfy: at.now("vrfy", "VRFY is answered from the directory; else 252.", authenticated, false),
        expn: at.now("expn", "EXPN is answered from the directory; else 252.", authenticated, false),
        no_soliciting: at.now(
            "no-soliciting",
            "NO-SOLICITING (RFC 3865) with these keywords; false offers nothing.",
            "false",
            None,
        ),
        future_release: at.now(
            "future-release",
            "FUTURERELEASE (RFC 4865): how long a message may be held; false offers nothing.",
            "[ { if = \"!is_empty(authenticated_as)\", then = \"7d\" }, { else = false } ]",
            None,
        ),
        deliver_by: at.now(
            "deliver-by",
            "DELIVERBY (RFC 2852): how far ahead a time may be; false offers nothing.",
            "[ { if = \"!is_empty(authenticated_as)\", then = \"15d\" }, { else = false } ]",
            None,
        ),
        mt_priority: at.now(
            "mt-priority",
            "MT-PRIORITY (RFC 6710) with this policy; false offers nothing.",
            "[ { if = \"!is_empty(authenticated_as)\", then = \"mixer\" }, { else = false } ]",
            None,
        ),
    }
}

fn read_mail(s: &Section<'_>) -> Mail {
    s.not_yet("script", NO_SCRIPTS);
    let at = Keys { section: s, stage: Stage::MAIL };
    Mail {
        is_allowed: at.waiting(
            "is-allowed",
            "Whether this sender may send; else 550 5.7.1. By default, the domains in lookup.blocked-domains may not.",
            "\"!is_empty(authenticated_as) || !key_exists('blocked-domains', sender_domain)\"",
            true,
        ),
        rewrite: at.waiting("rewrite", "Another reverse-path; false keeps it.", "false", None),
    }
}

fn read_rcpt(s: &Section<'_>) -> Rcpt {
    s.not_yet("script", NO_SCRIPTS);
    let at = Keys { section: s, stage: Stage::RCPT };
    let mapping = |name, doc| {
        s.knob(name, expression_now(Stage::ADDRESS, Mapping::<CompactString>::Standard)).doc(doc).default_toml("true")
    };
    let (errors_total, errors_wait) = s.table("errors", "Refused recipients. Known when the session starts.", |s| {
        let at = Keys { section: s, stage: Stage::CONNECTION };
        (
            at.now("total", "The session ends with 421 after so many.", "5", 5),
            at.now("wait", "How long the reply to each waits.", "\"5s\"", Duration::from_secs(5)),
        )
    });
    Rcpt {
        directory: at.now(
            "directory",
            "The directory that knows our recipients: its id, '*' for all of them, false for none.",
            "\"'*'\"",
            Some(CompactString::const_new("*")),
        ),
        relay: at.waiting(
            "relay",
            "Whether mail for other domains is taken; else 550. Keep it to those who may send through this server, as in is_in_network(remote_ip, ['10.0.0.0/8']).",
            "\"!is_empty(authenticated_as)\"",
            false,
        ),
        rewrite: at.waiting("rewrite", "Another forward-path; false keeps it. Recipients that become the same are one.", "false", None),
        max_recipients: s
            .knob("max-recipients", expression_now(Stage::RCPT, 1000).only(RECIPIENTS_WORDS, recipients_fit))
            .doc("Recipients of one transaction; more are told 452 4.5.3.")
            .default_toml("1000"),
        errors_total,
        errors_wait,
        sub_addressing: mapping(
            "sub-addressing",
            "true strips +tag before the directory is asked, false does not; an expression gives the address to ask for.",
        ),
        catch_all: mapping(
            "catch-all",
            "true takes unknown recipients of a domain that has an @domain address, false does not; an expression gives the address to ask for.",
        ),
    }
}

const RECIPIENTS_WORDS: &str = "a number from 100 (RFC 5321 section 4.5.3.1.8) to 65536";

fn recipients_fit(count: &Expr<u32>) -> bool {
    count.as_constant().is_none_or(|count| (100..=RECIPIENTS_MAX as u32).contains(count))
}

fn read_data(s: &Section<'_>) -> (Data, ContentPace) {
    s.not_yet("script", NO_SCRIPTS);
    s.foreign("spam-filter", "the spam filter is not ours");
    let (messages, size, received_headers) = s.table("limits", "Limits of a message.", |s| {
        let offered = Keys { section: s, stage: Stage::MAIL };
        let at = Keys { section: s, stage: Stage::RCPT };
        (
            offered.now(
                "messages",
                "Messages of one session; then 452 4.4.5. false for no limit. Trusted networks are not concerned.",
                "false",
                None,
            ),
            offered.size(
                "size",
                "Octets of a message, as SIZE says in EHLO; more are 552 5.3.4. 0 for no limit.",
                "104857600",
                104_857_600,
            ),
            at.now("received-headers", "A message with more Received fields loops: 554 5.4.6.", "100", 100),
        )
    });
    let add = s.table("add-headers", "Fields that are added to the header section.", read_add_headers);
    let data = Data {
        messages,
        size,
        received_headers,
        add_received: add.received,
        add_return_path: add.return_path,
        add_date: add.date,
        add_message_id: add.message_id,
    };
    let timeout = s
        .key("timeout")
        .doc("From DATA or the first BDAT to the end of the content; then 421.")
        .between(Duration::from_secs(1), Duration::from_secs(86_400))
        .default(Duration::from_secs(3600));
    let rate_min = s
        .key("min-rate")
        .doc("Bytes per second that content comes with on average, from min-rate-after on; else 421. 0 for no bound.")
        .unit("bytes per second")
        .default(128);
    let grace = s
        .key("min-rate-after")
        .doc("How long content may come as slowly as it likes.")
        .between(Duration::from_secs(1), Duration::from_secs(3600))
        .default(Duration::from_secs(30));
    (data, ContentPace { timeout, rate_min, grace })
}

/// How fast content has to come.
struct ContentPace {
    timeout: Duration,
    rate_min: u32,
    grace: Duration,
}

struct AddHeaders {
    received: Expr<bool>,
    return_path: Expr<bool>,
    date: Expr<bool>,
    message_id: Expr<bool>,
}

fn read_add_headers(s: &Section<'_>) -> AddHeaders {
    s.not_yet("received-spf", "SPF is not checked");
    s.not_yet("auth-results", "nothing is verified");
    s.not_yet("delivered-to", "it is not added");
    let at = Keys { section: s, stage: Stage::RCPT };
    let on_port_25 = "[ { if = \"local_port = 25\", then = true }, { else = false } ]";
    AddHeaders {
        received: at.is(
            "received",
            "Received (RFC 5321 section 4.4). Without it a loop runs until another server ends it.",
            true,
        ),
        return_path: at.is(
            "return-path",
            "Return-Path, for a final delivery behind us that does not add it. Local delivery does.",
            false,
        ),
        date: at.now("date", "Date, where it is missing.", on_port_25, false),
        message_id: at.now("message-id", "Message-ID, where it is missing.", on_port_25, false),
    }
}

fn read_errors(s: &Section<'_>) -> Errors {
    let default = Errors::default();
    Errors {
        total: s
            .key("total")
            .doc("Wrong commands since the last message before 421.")
            .unit("commands")
            .between(1, 1_000_000)
            .default(default.total),
        idle_commands: s
            .key("idle-commands")
            .doc("Commands that move no mail (NOOP, RSET, VRFY, …) since the last message before 421.")
            .unit("commands")
            .between(1, 1_000_000)
            .default(default.idle_commands),
        accept_bare_lf: s
            .key("accept-bare-lf")
            .doc("An LF without CR ends a command line. Content is never concerned: see bare-newlines of the listener.")
            .default(default.accept_bare_lf),
    }
}

/// Reads `inbound` of `[queue.limiter]`, the enabled ones.
pub(super) fn read_limiters(limiter: &Section<'_>) -> Vec<InboundLimiter> {
    let mut number = 0;
    let read = limiter.items("inbound", INBOUND_DOC, |s| {
        let name = format!("{number}");
        number += 1;
        read_limiter(s, name)
    });
    read.into_iter().flatten().flatten().collect()
}

const INBOUND_DOC: &str = "A limit on what comes in, exact over all shards; beyond it 452 4.4.5. It is asked as soon as all it looks at is known: at connect, MAIL or RCPT, and counts what comes there. Trusted networks are not concerned.";

fn read_limiter(s: &Section<'_>, name: String) -> Option<Option<InboundLimiter>> {
    s.foreign("concurrency", "connections are limited by max-connections and max-connections-per-ip");
    let keys = s
        .knob("key", Kind::choice(LimiterKey::NAMES).list())
        .doc("What is counted separately: each combination of these has its own count. Without any, all is counted together.")
        .default(Vec::new());
    let rate = s.key("rate").doc("How many in which time; as many are taken at once.").example("\"100/1m\"").required();
    let enable = s.key("enable").doc("Whether it holds.").default(true);
    let kind = compiled_by(
        Stage::RCPT,
        move |source, environment| {
            InboundLimiter::compile(name.clone(), keys.clone(), source, rate, environment).map(Some)
        },
        || None,
    );
    let limiter = s.knob("match", kind).doc("Whom it is for.").default_toml("true");
    enable.then_some(limiter)
}
