//! `[[queue.limiter.inbound]]`, `[[queue.limiter.outbound]]` and `[[queue.quota]]`.

use compact_str::{CompactString, format_compact};

use crate::base::Rate;
use crate::expr::{Expr, Stage, expression_at_earliest};
use crate::schema::{FaultKind, Kind, Section, Size, defaults};

/// What may be counted, and how much of it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `queue.limiter.inbound`. Default none: trusted networks meet no limit.
    pub inbound: Vec<Limiter<Phase>>,
    /// `queue.limiter.outbound`. Default none.
    pub outbound: Vec<Limiter<Class>>,
    /// `queue.quota`. Default none.
    pub quotas: Vec<Quota>,
}

/// When an inbound limiter is asked: as soon as all it asks for is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before the greeting.
    Connect,
    /// At EHLO.
    Ehlo,
    /// At MAIL.
    Mail,
    /// At RCPT.
    Rcpt,
}

/// What an outbound limiter holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The message.
    Sender,
    /// Its recipients of a domain.
    Recipient,
    /// The attempt at a host.
    Host,
}

/// A limit of messages, connections or recipients per time.
#[derive(Debug, Clone)]
pub struct Limiter<When> {
    /// The name of its limit: `queue.limiter.inbound.0`.
    pub name: CompactString,
    /// `key`: what is counted separately; empty counts all together.
    pub key: Vec<KeyPart>,
    /// `match`: whom it is for.
    pub matches: Expr<bool>,
    /// `rate`.
    pub rate: Rate,
    /// When it is asked.
    pub when: When,
}

/// A bound of what is queued at once.
#[derive(Debug, Clone)]
pub struct Quota {
    /// The name of its limit: `queue.quota.0`.
    pub name: CompactString,
    /// `key`: what is counted separately; empty counts all together.
    pub key: Vec<KeyPart>,
    /// `match`: whom it is for.
    pub matches: Expr<bool>,
    /// `messages`: at most so many.
    pub messages_max: Option<u64>,
    /// `size`: at most so many octets.
    pub size_max: Option<u64>,
    /// By recipient rather than by message.
    pub by_recipient: bool,
}

/// A part of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyPart {
    /// The listener's id.
    Listener,
    /// The peer's address: IPv4 whole, IPv6 by its /64.
    RemoteIp,
    /// Our address.
    LocalIp,
    /// The authenticated identity.
    AuthenticatedAs,
    /// The name in EHLO.
    HeloDomain,
    /// The reverse-path.
    Sender,
    /// Its domain.
    SenderDomain,
    /// The forward-path.
    Rcpt,
    /// Its domain.
    RcptDomain,
    /// The next hop's host name.
    Mx,
}

/// Key parts of inbound limiters, with the phase at which each is known.
const INBOUND: &[(&str, KeyPart, Phase)] = &[
    ("listener", KeyPart::Listener, Phase::Connect),
    ("remote_ip", KeyPart::RemoteIp, Phase::Connect),
    ("local_ip", KeyPart::LocalIp, Phase::Connect),
    ("helo_domain", KeyPart::HeloDomain, Phase::Ehlo),
    ("authenticated_as", KeyPart::AuthenticatedAs, Phase::Mail),
    ("sender", KeyPart::Sender, Phase::Mail),
    ("sender_domain", KeyPart::SenderDomain, Phase::Mail),
    ("rcpt", KeyPart::Rcpt, Phase::Rcpt),
    ("rcpt_domain", KeyPart::RcptDomain, Phase::Rcpt),
];
const PHASES: [Phase; 4] = [Phase::Connect, Phase::Ehlo, Phase::Mail, Phase::Rcpt];
const PHASE_STAGES: &[Stage] = &[Stage::CONNECTION, Stage::EHLO, Stage::MAIL, Stage::RCPT];

/// Key parts of outbound limiters.
const OUTBOUND: &[(&str, KeyPart, Class)] = &[
    ("sender", KeyPart::Sender, Class::Sender),
    ("sender_domain", KeyPart::SenderDomain, Class::Sender),
    ("rcpt", KeyPart::Rcpt, Class::Recipient),
    ("rcpt_domain", KeyPart::RcptDomain, Class::Recipient),
    ("mx", KeyPart::Mx, Class::Host),
    ("remote_ip", KeyPart::RemoteIp, Class::Host),
    ("local_ip", KeyPart::LocalIp, Class::Host),
];
const CLASSES: [Class; 3] = [Class::Sender, Class::Recipient, Class::Host];
const CLASS_STAGES: &[Stage] = &[Stage::QUEUE_SENDER, Stage::QUEUE_RECIPIENT, Stage::QUEUE_HOST];

const QUOTA: &[(&str, KeyPart, Class)] = &[
    ("sender", KeyPart::Sender, Class::Sender),
    ("sender_domain", KeyPart::SenderDomain, Class::Sender),
    ("rcpt", KeyPart::Rcpt, Class::Recipient),
    ("rcpt_domain", KeyPart::RcptDomain, Class::Recipient),
];
const QUOTA_STAGES: &[Stage] = &[Stage::QUEUE_SENDER, Stage::QUEUE_RECIPIENT];

impl Default for Settings {
    fn default() -> Self {
        defaults(Settings::read)
    }
}

impl Settings {
    /// Reads `limiter` and `quota` of `[queue]`.
    pub fn read(queue: &Section<'_>) -> Settings {
        let (inbound, outbound) = queue.table("limiter", "", |s| {
            let inbound =
                s.items("inbound", INBOUND_DOC, |s| Limiter::read(s, "inbound", INBOUND, &PHASES, PHASE_STAGES));
            let outbound =
                s.items("outbound", OUTBOUND_DOC, |s| Limiter::read(s, "outbound", OUTBOUND, &CLASSES, CLASS_STAGES));
            (named(inbound, "queue.limiter.inbound"), named(outbound, "queue.limiter.outbound"))
        });
        let quotas =
            queue.items("quota", "A bound of what is queued at once; beyond it mail is told 452 4.3.1.", Quota::read);
        let quotas = quotas
            .into_iter()
            .enumerate()
            .filter_map(|(number, quota)| Some(Quota { name: format_compact!("queue.quota.{number}"), ..quota? }));
        Settings { inbound, outbound, quotas: quotas.collect() }
    }
}

const INBOUND_DOC: &str = "A limit on what comes in, exact over all shards: beyond it 452 4.4.5. It is asked as early as all it needs is known, at connect, EHLO, MAIL or RCPT, and counts what comes there.";
const OUTBOUND_DOC: &str = "A limit on what goes out, paced smoothly: beyond it recipients wait.";

/// Those that are enabled, each with its place in the file as its name: a reload that adds one after it keeps its count.
fn named<When>(read: Vec<Option<Limiter<When>>>, list: &str) -> Vec<Limiter<When>> {
    let place = |(number, limiter): (usize, Option<Limiter<When>>)| {
        Some(Limiter { name: format_compact!("{list}.{number}"), ..limiter? })
    };
    read.into_iter().enumerate().filter_map(place).collect()
}

impl<When: Copy + Ord + 'static> Limiter<When> {
    /// Reads one; `None` when it is not enabled.
    fn read(
        s: &Section<'_>,
        direction: &'static str,
        parts: &'static [(&'static str, KeyPart, When)],
        whens: &[When],
        stages: &'static [Stage],
    ) -> Option<Limiter<When>> {
        s.foreign("concurrency", "connections are limited by max-connections and by queue.virtual");
        let (key, key_stage) = read_key(s, parts, stages);
        let (stage, matches) = read_match(s, stages);
        let rate = s
            .key("rate")
            .doc("How many in which time; inbound, as many at once are taken.")
            .example(if direction == "inbound" { "\"100/1m\"" } else { "\"7/1s\"" })
            .required();
        let enable = s.key("enable").doc("Whether it holds.").default(true);
        let when = *whens.get(stage.max(key_stage))?;
        enable.then_some(Limiter { name: CompactString::default(), key, matches, rate, when })
    }
}

impl Quota {
    fn read(s: &Section<'_>) -> Option<Quota> {
        let (key, key_stage) = read_key(s, QUOTA, QUOTA_STAGES);
        let (stage, matches) = read_match(s, QUOTA_STAGES);
        let quota = Quota {
            name: CompactString::default(),
            key,
            matches,
            messages_max: s.key("messages").doc("Messages that may be queued at once.").example("100000").optional(),
            size_max: s
                .key::<Size>("size")
                .doc("Size of all that is queued at once.")
                .example("\"10GB\"")
                .optional()
                .map(|size| size.0),
            by_recipient: stage.max(key_stage) > 0,
        };
        if quota.messages_max.is_none() && quota.size_max.is_none() && !s.is_describing() {
            s.report(s.fault(FaultKind::Missing, "a quota of nothing").expected("messages, size, or both"));
        }
        s.key("enable").doc("Whether it holds.").default(true).then_some(quota)
    }
}

/// The key, and the number of the first stage at which all of it is known.
fn read_key<When: Copy + 'static>(
    s: &Section<'_>,
    parts: &'static [(&'static str, KeyPart, When)],
    stages: &[Stage],
) -> (Vec<KeyPart>, usize) {
    let key = s
        .knob("key", word(parts).list())
        .doc("What is counted separately: each combination of these has its own count. Without any, all is counted together.")
        .default(Vec::new());
    let stage_of = |part: &KeyPart| {
        let name = parts.iter().find(|(_, other, _)| other == part).map_or("", |(name, ..)| name);
        let known = |stage: &Stage| stage.variables.iter().any(|variable| variable.name() == name);
        stages.iter().position(known).unwrap_or(stages.len().saturating_sub(1))
    };
    let stage = key.iter().map(stage_of).max().unwrap_or(0);
    (key, stage)
}

fn word<When: 'static>(parts: &'static [(&'static str, KeyPart, When)]) -> Kind<KeyPart> {
    let names: Vec<&str> = parts.iter().map(|(name, ..)| *name).collect();
    let expected = format!("one of {}", names.join(", "));
    let read = move |cell: &crate::schema::Cell<'_>, expected: &str| {
        let Some(text) = cell.text() else {
            cell.mismatch(expected);
            return None;
        };
        let part = parts.iter().find(|(name, ..)| *name == text).map(|(_, part, _)| *part);
        if part.is_none() {
            cell.refuse(expected);
        }
        part
    };
    let print = move |part: &KeyPart| {
        let name = parts.iter().find(|(_, other, _)| other == part).map_or("", |(name, ..)| name);
        format!("\"{name}\"")
    };
    Kind::new(expected.clone(), expected, read, print, || KeyPart::Sender)
}

fn read_match(s: &Section<'_>, stages: &'static [Stage]) -> (usize, Expr<bool>) {
    s.knob("match", expression_at_earliest(stages, false)).doc("Whom it is for.").default_toml("true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Document, Reader};

    fn read(text: &str) -> (Settings, usize) {
        let (document, faults) = Document::parse("t", text);
        assert_eq!(faults, []);
        let (settings, findings) = Reader::new(&document).read(|root| root.table("queue", "", Settings::read));
        (settings, findings.faults.len())
    }

    #[test]
    fn a_limiter_is_asked_as_early_as_all_it_needs_is_known() {
        let check = |limiter: &str, when: Phase| {
            let (settings, faults) = read(&format!("[[queue.limiter.inbound]]\nrate = '5/1s'\n{limiter}"));
            assert_eq!((settings.inbound[0].when, faults), (when, 0), "{limiter}");
        };
        check("", Phase::Connect);
        check("key = ['remote_ip']", Phase::Connect);
        check("key = ['remote_ip', 'sender']", Phase::Mail);
        check("key = 'remote_ip'\nmatch = \"sender_domain = 'example.org'\"", Phase::Mail);
        check("match = \"helo_domain = 'x'\"", Phase::Ehlo);
        check("key = ['rcpt']\nmatch = 'is_tls'", Phase::Rcpt);
    }

    #[test]
    fn the_examples_of_the_vocabulary_are_read() {
        let (settings, faults) = read(
            "[[queue.limiter.inbound]]\nmatch = \"remote_ip = '10.0.0.20'\"\nkey = ['remote_ip', 'authenticated_as']\n\
             rate = '5/1h'\nenable = true\n[[queue.limiter.inbound]]\nrate = '1/1s'\nenable = false\n\
             [[queue.quota]]\nmatch = \"sender_domain = 'example.org'\"\nkey = ['rcpt']\nmessages = 900\nsize = 7340032\nenable = true\n\
             [[queue.limiter.outbound]]\nkey = ['rcpt_domain', 'mx']\nrate = '7/1s'\n",
        );
        assert_eq!(faults, 0);
        assert_eq!((settings.inbound.len(), settings.quotas.len()), (1, 1));
        assert_eq!(settings.inbound[0].name, "queue.limiter.inbound.0");
        assert!(settings.quotas[0].by_recipient);
        assert_eq!(settings.outbound[0].when, Class::Host);
    }

    #[test]
    fn a_limiter_without_rate_and_a_quota_of_nothing_are_faults() {
        assert_eq!(read("[[queue.limiter.inbound]]\nkey = ['mx']\n[[queue.quota]]\nkey = ['rcpt']\n").1, 3);
    }
}
