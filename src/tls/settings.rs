//! `tls.*` of a listener and `[certificate.<id>]` (FEATURES.md 1.1).

use std::fmt;
use std::time::Duration;

use compact_str::CompactString;
use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;

/// TLS versions a listener can be told not to speak. Older ones are never spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// `tls.*` of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// `enable`: STARTTLS is offered, or with `implicit` TLS spoken at once.
    pub enable: bool,
    /// `implicit`: TLS from the first octet.
    pub implicit: bool,
    /// `disable-protocols`.
    pub disable_protocols: Vec<TlsVersion>,
    /// `disable-ciphers`: names of IANA or of rustls, see [`cipher_suite`].
    pub disable_ciphers: Vec<CompactString>,
    /// `ignore-client-order`: the server's order of cipher suites holds.
    pub ignore_client_order: bool,
    /// `timeout`: of a handshake.
    pub timeout: Duration,
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsSettings {
            enable: true,
            implicit: false,
            disable_protocols: Vec::new(),
            disable_ciphers: Vec::new(),
            ignore_client_order: true,
            timeout: Duration::from_secs(60),
        }
    }
}

/// `[certificate.<id>]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its id.
    pub id: CompactString,
    /// `cert`: PEM, the leaf first.
    pub cert: String,
    /// `private-key`: PEM.
    pub private_key: String,
    /// `subjects`: names it is used for; empty for those in the certificate.
    pub subjects: Vec<CompactString>,
    /// `default`: used where no name matches.
    pub is_default: bool,
}

/// The key is not printed.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Certificate { id, subjects, is_default, .. } = self;
        write!(f, "Certificate {{ id: {id:?}, subjects: {subjects:?}, is_default: {is_default} }}")
    }
}

/// The cipher suite of that name, as IANA spells it (`TLS_AES_128_GCM_SHA256`) or rustls
/// (`TLS13_AES_128_GCM_SHA256`), in any case.
pub fn cipher_suite(name: &str) -> Option<SupportedCipherSuite> {
    let same = |suite: &&SupportedCipherSuite| {
        let ours = suite.suite().as_str().unwrap_or_default();
        let iana = ours.strip_prefix("TLS13_");
        ours.eq_ignore_ascii_case(name)
            || iana.is_some_and(|rest| {
                name.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("TLS_"))
                    && name.get(4..).is_some_and(|tail| tail.eq_ignore_ascii_case(rest))
            })
    };
    ALL_CIPHER_SUITES.iter().find(same).copied()
}

/// Every name [`cipher_suite`] knows, in rustls' spelling, for messages and the reference.
pub fn cipher_suite_names() -> Vec<&'static str> {
    ALL_CIPHER_SUITES.iter().filter_map(|suite| suite.suite().as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_known_by_both_spellings() {
        assert!(cipher_suite("TLS13_AES_128_GCM_SHA256").is_some());
        assert_eq!(cipher_suite("tls_aes_128_gcm_sha256"), cipher_suite("TLS13_AES_128_GCM_SHA256"));
        assert!(cipher_suite("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384").is_some());
        assert_eq!(cipher_suite("TLS_RSA_WITH_RC4_128_MD5"), None);
        assert_eq!(cipher_suite("é"), None);
        assert!(cipher_suite_names().iter().all(|name| cipher_suite(name).is_some()));
    }

    #[test]
    fn a_printed_certificate_does_not_show_its_key() {
        let certificate = Certificate {
            id: "main".into(),
            cert: String::new(),
            private_key: "very secret".into(),
            subjects: vec!["mx.test".into()],
            is_default: true,
        };
        let printed = format!("{certificate:?}");
        assert!(printed.contains("mx.test") && !printed.contains("secret"), "{printed}");
    }
}
