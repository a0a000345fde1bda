//! A resolver that knows a fixed set of names: for tests, and for hosts without DNS.

use std::collections::BTreeMap;
use std::net::IpAddr;

use compact_str::CompactString;

use super::records::{Answer, Failure, Kind, Mx, Records, Resolved};

/// Names and what they answer. Whatever is not in it does not exist.
#[derive(Debug, Clone, Default)]
pub struct Zone {
    answers: BTreeMap<(CompactString, Kind), Answer>,
}

impl Zone {
    /// Knows nothing.
    pub fn new() -> Zone {
        Zone::default()
    }

    /// Adds mail exchangers as (preference, name); the name `.` is the root.
    pub fn mx(mut self, domain: &str, list: &[(u16, &str)]) -> Zone {
        let list = list.iter().map(|(preference, name)| Mx {
            preference: *preference,
            exchange: CompactString::new(name.strip_suffix('.').unwrap_or(name)),
        });
        self.put(domain, Kind::Mx, Ok(secure_not(Records::Mx(list.collect()))));
        self
    }

    /// Adds addresses of both families.
    pub fn host(mut self, name: &str, addresses: &[IpAddr]) -> Zone {
        let v4: Vec<_> = addresses.iter().filter_map(|a| if let IpAddr::V4(a) = a { Some(*a) } else { None }).collect();
        let v6: Vec<_> = addresses.iter().filter_map(|a| if let IpAddr::V6(a) = a { Some(*a) } else { None }).collect();
        if !v4.is_empty() {
            self.put(name, Kind::A, Ok(secure_not(Records::A(v4.into()))));
        }
        if !v6.is_empty() {
            self.put(name, Kind::Aaaa, Ok(secure_not(Records::Aaaa(v6.into()))));
        }
        self
    }

    /// Makes one question fail.
    pub fn failing(mut self, name: &str, kind: Kind, failure: Failure) -> Zone {
        self.put(name, kind, Err(failure));
        self
    }

    fn put(&mut self, name: &str, kind: Kind, answer: Answer) {
        self.answers.insert((CompactString::new(name), kind), answer);
    }

    /// What DNS would say.
    pub fn lookup(&self, kind: Kind, name: &str) -> Answer {
        let name = CompactString::new(name);
        if let Some(answer) = self.answers.get(&(name.clone(), kind)) {
            return answer.clone();
        }
        let exists = self.answers.range((name.clone(), Kind::A)..=(name, Kind::Txt)).next().is_some();
        Err(if exists { Failure::NoRecords } else { Failure::NoDomain })
    }
}

fn secure_not(records: Records) -> Resolved {
    Resolved { records, is_secure: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_records_and_no_domain_differ() {
        let zone =
            Zone::new().mx("a.test", &[(10, "mx.a.test")]).host("mx.a.test", &["192.0.2.1".parse().expect("ip")]);
        assert!(zone.lookup(Kind::Mx, "a.test").is_ok());
        assert_eq!(zone.lookup(Kind::A, "a.test"), Err(Failure::NoRecords));
        assert_eq!(zone.lookup(Kind::Aaaa, "mx.a.test"), Err(Failure::NoRecords));
        assert_eq!(zone.lookup(Kind::A, "b.test"), Err(Failure::NoDomain));
    }
}
