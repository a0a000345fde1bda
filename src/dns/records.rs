//! Answers as values, and what is let through of them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use compact_str::CompactString;

use crate::base::limits::DOMAIN_BYTES_MAX;

/// Records of one answer that are looked at; the rest is dropped.
pub const RECORDS_MAX: usize = 64;
/// Octets of one TXT record, its strings joined; a longer one is dropped.
pub const TXT_BYTES_MAX: usize = 16 * 1024;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail exchangers.
    Mx,
    /// Names of an address.
    Ptr,
    /// Texts.
    Txt,
}

/// One mail exchanger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mx {
    /// Lower is better.
    pub preference: u16,
    /// A host name in lower case without its final dot; empty for the root, as in a null MX (RFC 7505).
    pub exchange: CompactString,
}

/// The records of one answer. Never empty, at most [`RECORDS_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// Of kind A.
    A(Arc<[Ipv4Addr]>),
    /// Of kind AAAA.
    Aaaa(Arc<[Ipv6Addr]>),
    /// Of kind MX, in no order.
    Mx(Arc<[Mx]>),
    /// Of kind PTR.
    Ptr(Arc<[CompactString]>),
    /// Of kind TXT: the strings of each record joined, as octets.
    Txt(Arc<[Box<[u8]>]>),
}

impl Records {
    /// The records as texts, exchanges by preference: what expressions see.
    pub fn texts(&self) -> Vec<CompactString> {
        match self {
            Records::A(list) => list.iter().map(|ip| compact_str::format_compact!("{ip}")).collect(),
            Records::Aaaa(list) => list.iter().map(|ip| compact_str::format_compact!("{ip}")).collect(),
            Records::Mx(list) => {
                let mut sorted: Vec<&Mx> = list.iter().collect();
                sorted.sort_by_key(|mx| mx.preference);
                sorted.into_iter().map(|mx| mx.exchange.clone()).collect()
            }
            Records::Ptr(list) => list.to_vec(),
            Records::Txt(list) => list.iter().map(|text| CompactString::from_utf8_lossy(text)).collect(),
        }
    }
}

/// Records, and whether DNSSEC vouches for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The records.
    pub records: Records,
    /// DNSSEC validated them.
    pub is_secure: bool,
}

/// Why there are no records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The name exists, but not with this kind.
    NoRecords,
    /// The name does not exist.
    NoDomain,
    /// Nobody could say: SERVFAIL, a timeout, too many questions at once. The words say which.
    Temporary(CompactString),
    /// There are records, but none of them names anything that could be a host or an address.
    Unusable,
    /// DNSSEC says that the answer is forged or broken.
    Bogus,
}

/// What became of a question.
pub type Answer = Result<Resolved, Failure>;

impl Records {
    /// The mail exchangers, if that is what these are.
    pub fn mx(&self) -> &[Mx] {
        match self {
            Records::Mx(list) => list,
            _ => &[],
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Records::A(list) => list.len(),
            Records::Aaaa(list) => list.len(),
            Records::Mx(list) => list.len(),
            Records::Ptr(list) => list.len(),
            Records::Txt(list) => list.len(),
        }
    }

    /// None at all: what an answer never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A name that DNS is asked for and that may stand in a log line or a reply: labels of letters, digits,
/// hyphens and underscores. What else DNS can carry (spaces, control characters, escapes) is no host.
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        matches!(label.len(), 1..=63) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    !name.is_empty() && name.len() <= DOMAIN_BYTES_MAX && name.split('.').all(label)
}

/// A name out of an answer: lower case, no final dot. `None` when it is no host name. The root is empty.
pub fn host_name(text: &str) -> Option<CompactString> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_empty() {
        return Some(CompactString::default());
    }
    is_host_name(text).then(|| CompactString::new(text.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_names_come_out_of_answers() {
        assert_eq!(host_name("MX.Example.ORG.").as_deref(), Some("mx.example.org"));
        assert_eq!(host_name(".").as_deref(), Some(""));
        for hostile in ["a b.example.", "a\r\nRCPT TO:<x>.", "a\\013b.", "\u{1b}]0;x", "..", "a..b", "\u{f6}.example"] {
            assert_eq!(host_name(hostile), None, "{hostile:?}");
        }
        assert_eq!(host_name(&"a.".repeat(200)), None);
        assert_eq!(host_name(&"a".repeat(64)), None);
    }
}
