//! Which certificate a name gets: the exact name, else a wildcard for its parent, else the default.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

/// A subject that is neither a host name nor `*.` and one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadSubject;

/// Certificates of one name: more than one where they differ in the kind of key.
type Choices = Vec<Arc<CertifiedKey>>;

/// The table of names. Names are lower-case A-labels without a final dot.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    exact: HashMap<Box<str>, Choices>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<Box<str>, Choices>,
    default: Choices,
}

impl Subjects {
    /// `key` serves `subject`. Of several keys for a name, those that cost less come first.
    pub(super) fn insert(&mut self, subject: &str, key: &Arc<CertifiedKey>) -> Result<(), BadSubject> {
        let name = normal(subject);
        let (table, name) = match name.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, name.as_str()),
        };
        let plausible = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if name.is_empty() || !name.chars().all(plausible) {
            return Err(BadSubject);
        }
        add(table.entry(name.into()).or_default(), key);
        Ok(())
    }

    /// `key` serves every other name, and clients that ask for none.
    pub(super) fn insert_default(&mut self, key: &Arc<CertifiedKey>) {
        add(&mut self.default, key);
    }

    pub(super) fn has_default(&self) -> bool {
        !self.default.is_empty()
    }

    /// What serves every other name.
    pub(super) fn default_key(&self) -> Option<&Arc<CertifiedKey>> {
        self.default.first()
    }

    /// The certificate for a client that asked for `name` and knows `schemes`.
    pub(super) fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| self.named(&normal(name)));
        let usable = |choices: &Choices| choices.iter().find(|key| key.key.choose_scheme(schemes).is_some()).cloned();
        // A named certificate that the client cannot verify is as good as none.
        named.and_then(usable).or_else(|| usable(&self.default)).or_else(|| self.default.first().cloned())
    }

    fn named(&self, name: &str) -> Option<&Choices> {
        self.exact.get(name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}

fn add(choices: &mut Choices, key: &Arc<CertifiedKey>) {
    choices.push(key.clone());
    // RSA costs six times as much per handshake.
    choices.sort_by_key(|key| key.key.algorithm() == SignatureAlgorithm::RSA);
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl ResolvesServerCert for Subjects {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}
