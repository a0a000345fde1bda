//! `lookup.<store>`: a set or map in memory. A key is looked up exactly, then as an address in the
//! networks among the keys, then against the patterns among them, in the order of the file.

use std::borrow::Cow;
use std::net::IpAddr;

use compact_str::CompactString;
use ipnet::IpNet;

use super::directory::Map;
use super::settings::{ListSettings, ListValue};
use crate::mail::address::domain_key;

/// A list, read-only.
#[derive(Debug, Clone, Default)]
pub struct List {
    exact: Map<ListValue>,
    networks: Vec<(IpNet, ListValue)>,
    /// In lower case, with `*` for any text and `?` for any character.
    patterns: Vec<(CompactString, ListValue)>,
}

impl List {
    /// Builds a list. A key that is `false` is not in it; of two equal keys the later counts.
    pub fn build(settings: &ListSettings) -> List {
        let mut list = List::default();
        for (key, value) in &settings.entries {
            let entry = (key_of(key), value.clone());
            if *value == ListValue::Bool(false) {
                continue;
            }
            match key.parse::<IpNet>() {
                Ok(network) => list.networks.push((network, entry.1)),
                Err(_) if key.contains(['*', '?']) => list.patterns.push((entry.0.into(), entry.1)),
                Err(_) => drop(list.exact.insert(entry.0.into(), entry.1)),
            }
        }
        list
    }

    /// The value of a key; letter case and the spelling of a domain do not matter.
    pub fn get(&self, key: &str) -> Option<&ListValue> {
        let key = key_of(key);
        if let Some(value) = self.exact.get(key.as_ref()) {
            return Some(value);
        }
        if !self.networks.is_empty()
            && let Ok(ip) = key.parse::<IpAddr>()
        {
            let ip = ip.to_canonical();
            if let Some((_, value)) = self.networks.iter().find(|(network, _)| network.contains(&ip)) {
                return Some(value);
            }
        }
        self.patterns.iter().find(|(pattern, _)| matches_pattern(pattern, &key)).map(|(_, value)| value)
    }

    /// Keys, networks and patterns.
    pub fn len(&self) -> usize {
        self.exact.len() + self.networks.len() + self.patterns.len()
    }

    /// There is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Keys are compared as domains are; what is no domain, in lower case.
fn key_of(key: &str) -> Cow<'_, str> {
    domain_key(key)
}

/// `*` is any text, `?` any character. Linear but for backing up to the last `*`.
pub(super) fn matches_pattern(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut retry = None;
    loop {
        let before = text.clone();
        match (pattern.clone().next(), text.next()) {
            (Some('*'), _) => {
                pattern.next();
                text = before;
                retry = Some((pattern.clone(), text.clone()));
            }
            (None, None) => return true,
            (Some(p), Some(c)) if p == '?' || p == c => drop(pattern.next()),
            _ => {
                let Some((after_star, rest)) = &mut retry else { return false };
                if rest.next().is_none() {
                    return false;
                }
                // The last star takes one character more.
                pattern = after_star.clone();
                text = rest.clone();
            }
        }
    }
}
