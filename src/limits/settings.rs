//! `[[queue.limiter.outbound]]` and `[[queue.quota]]`. (Inbound limiters are checks: `policy`.)

use compact_str::{CompactString, format_compact};

use crate::base::Rate;
use crate::expr::{Expr, Stage, expression_at_earliest};
use crate::schema::{FaultKind, Kind, Section, Size};

/// What may be counted, and how much of it.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `queue.limiter.outbound`. Default none.
    pub outbound: Vec<Limiter>,
    /// `queue.quota`. Default none.
    pub quotas: Vec<Quota>,
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

/// A limit of what goes out per time.
#[derive(Debug, Clone)]
pub struct Limiter {
    /// The name of its limit: `queue.limiter.outbound.0`.
    pub name: CompactString,
    /// `key`: what is counted separately; empty counts all together.
    pub key: Vec<KeyPart>,
    /// `match`: whom it is for.
    pub matches: Expr<bool>,
    /// `rate`.
    pub rate: Rate,
    /// What it holds back.
    pub class: Class,
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
    /// The next hop's address.
    RemoteIp,
    /// Our address.
    LocalIp,
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

/// Key parts of outbound limiters.
const OUTBOUND: &[(&str, KeyPart)] = &[
    ("sender", KeyPart::Sender),
    ("sender_domain", KeyPart::SenderDomain),
    ("rcpt", KeyPart::Rcpt),
    ("rcpt_domain", KeyPart::RcptDomain),
    ("mx", KeyPart::Mx),
    ("remote_ip", KeyPart::RemoteIp),
    ("local_ip", KeyPart::LocalIp),
];
const CLASSES: [Class; 3] = [Class::Sender, Class::Recipient, Class::Host];
const CLASS_STAGES: &[Stage] = &[Stage::QUEUE_SENDER, Stage::QUEUE_RECIPIENT, Stage::QUEUE_HOST];

const QUOTA: &[(&str, KeyPart)] = &[
    ("sender", KeyPart::Sender),
    ("sender_domain", KeyPart::SenderDomain),
    ("rcpt", KeyPart::Rcpt),
    ("rcpt_domain", KeyPart::RcptDomain),
];
const QUOTA_STAGES: &[Stage] = &[Stage::QUEUE_SENDER, Stage::QUEUE_RECIPIENT];

impl Settings {
    /// Reads `quota` of `[queue]`; `outbound` are those of `[queue.limiter]`.
    pub fn read(queue: &Section<'_>, outbound: Vec<Limiter>) -> Settings {
        let quotas =
            queue.items("quota", "A bound of what is queued at once; beyond it mail is told 452 4.3.1.", Quota::read);
        let quotas = quotas
            .into_iter()
            .enumerate()
            .filter_map(|(number, quota)| Some(Quota { name: format_compact!("queue.quota.{number}"), ..quota? }));
        Settings { outbound, quotas: quotas.collect() }
    }
}

const OUTBOUND_DOC: &str = "A limit on what goes out, paced smoothly: beyond it recipients wait.";

impl Limiter {
    /// Reads `outbound` of `[queue.limiter]`, the enabled ones.
    pub fn read_all(limiter: &Section<'_>) -> Vec<Limiter> {
        let read = limiter.items("outbound", OUTBOUND_DOC, Limiter::read);
        let place = |(number, limiter): (usize, Option<Limiter>)| {
            Some(Limiter { name: format_compact!("queue.limiter.outbound.{number}"), ..limiter? })
        };
        read.into_iter().enumerate().filter_map(place).collect()
    }

    fn read(s: &Section<'_>) -> Option<Limiter> {
        s.foreign("concurrency", "connections are limited by queue.virtual");
        let (key, key_stage) = read_key(s, OUTBOUND, CLASS_STAGES);
        let (stage, matches) = read_match(s, CLASS_STAGES);
        let rate = s.key("rate").doc("How many in which time.").example("\"7/1s\"").required();
        let enable = s.key("enable").doc("Whether it holds.").default(true);
        let class = *CLASSES.get(stage.max(key_stage))?;
        enable.then_some(Limiter { name: CompactString::default(), key, matches, rate, class })
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
fn read_key(s: &Section<'_>, parts: &'static [(&'static str, KeyPart)], stages: &[Stage]) -> (Vec<KeyPart>, usize) {
    let key = s
        .knob("key", word(parts).list())
        .doc("What is counted separately: each combination of these has its own count. Without any, all is counted together.")
        .default(Vec::new());
    let stage_of = |part: &KeyPart| {
        let name = parts.iter().find(|(_, other)| other == part).map_or("", |(name, _)| name);
        let known = |stage: &Stage| stage.variables.iter().any(|variable| variable.name() == name);
        stages.iter().position(known).unwrap_or(stages.len().saturating_sub(1))
    };
    let stage = key.iter().map(stage_of).max().unwrap_or(0);
    (key, stage)
}

fn word(parts: &'static [(&'static str, KeyPart)]) -> Kind<KeyPart> {
    let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
    let expected = format!("one of {}", names.join(", "));
    let read = move |cell: &crate::schema::Cell<'_>, expected: &str| {
        let Some(text) = cell.text() else {
            cell.mismatch(expected);
            return None;
        };
        let part = parts.iter().find(|(name, _)| *name == text).map(|(_, part)| *part);
        if part.is_none() {
            cell.refuse(expected);
        }
        part
    };
    let print = move |part: &KeyPart| {
        let name = parts.iter().find(|(_, other)| other == part).map_or("", |(name, _)| name);
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
        let (settings, findings) = Reader::new(&document)
            .read(|root| root.table("queue", "", |s| Settings::read(s, s.table("limiter", "", Limiter::read_all))));
        (settings, findings.faults.len())
    }

    #[test]
    fn a_limiter_holds_back_what_its_key_and_match_are_about() {
        let check = |limiter: &str, class: Class| {
            let (settings, faults) = read(&format!("[[queue.limiter.outbound]]\nrate = '5/1s'\n{limiter}"));
            assert_eq!((settings.outbound[0].class, faults), (class, 0), "{limiter}");
        };
        check("", Class::Sender);
        check("key = ['sender_domain']", Class::Sender);
        check("key = 'rcpt_domain'\nmatch = \"sender = 'a@b'\"", Class::Recipient);
        check("match = \"mx = 'mx.example.org'\"", Class::Host);
        check("key = ['mx', 'rcpt_domain']", Class::Host);
    }

    #[test]
    fn the_quota_of_the_vocabulary_is_read() {
        let (settings, faults) = read(
            "[[queue.quota]]\nmatch = \"sender_domain = 'example.org'\"\nkey = ['rcpt']\nmessages = 900\nsize = 7340032\nenable = true\n\
             [[queue.quota]]\nmessages = 1\nenable = false\n",
        );
        assert_eq!((settings.quotas.len(), faults), (1, 0));
        assert_eq!(settings.quotas[0].name, "queue.quota.0");
        assert!(settings.quotas[0].by_recipient);
        assert_eq!((settings.quotas[0].messages_max, settings.quotas[0].size_max), (Some(900), Some(7_340_032)));
    }

    #[test]
    fn a_limiter_without_rate_and_a_quota_of_nothing_are_faults() {
        assert_eq!(read("[[queue.limiter.outbound]]\nkey = ['listener']\n[[queue.quota]]\nkey = ['rcpt']\n").1, 3);
    }
}
