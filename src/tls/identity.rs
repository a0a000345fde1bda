//! The server's certificates, and the rustls configurations built from them.

use std::fmt;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::der::is_self_issued;
use super::settings::{Certificate, TlsSettings, TlsVersion, cipher_suite};
use super::subjects::Subjects;

/// The protocol name of RFC 7301 that a client may offer. Who offers others only is refused.
pub const ALPN: &[u8] = b"smtp";
/// Certificates in one chain.
const CHAIN_MAX: usize = 16;

/// Something wrong with `[certificate.<id>]` or `tls.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFault {
    /// The id of the certificate; `None` where a listener's `tls.*` is at fault.
    pub certificate: Option<String>,
    /// The key below it: `cert`, `private-key`, `subjects`, `default`, `disable-ciphers` …
    pub key: &'static str,
    /// What is wrong, in words that follow the name of the key.
    pub problem: String,
}

impl fmt::Display for IdentityFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.certificate {
            Some(id) => write!(f, "certificate.{id}.{}: {}", self.key, self.problem),
            None => write!(f, "tls.{}: {}", self.key, self.problem),
        }
    }
}

impl std::error::Error for IdentityFault {}

/// The keys of session tickets. Kept across reloads, so that sessions resume; they rotate
/// themselves every six hours and are never written anywhere.
#[derive(Clone)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// New random keys.
    pub fn new() -> Result<Self, rustls::Error> {
        Ticketer::new().map(Tickets)
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

/// All certificates of the server.
#[derive(Debug, Clone)]
pub struct Identity {
    subjects: Arc<Subjects>,
    tickets: Tickets,
    provider: Arc<CryptoProvider>,
    is_self_signed: bool,
}

impl Identity {
    /// Loads `certificates`; with none, signs one for `hostname` itself. All faults at once.
    pub fn load(certificates: &[Certificate], hostname: &str, tickets: Tickets) -> Result<Self, Vec<IdentityFault>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut subjects = Subjects::default();
        let mut faults = Vec::new();
        let mut first = None;
        let mut default_by = None;
        for certificate in certificates {
            match load_one(certificate, &provider, &mut subjects) {
                Ok(key) => {
                    if certificate.is_default {
                        faults.extend(second_default(&mut default_by, certificate));
                        subjects.insert_default(&key);
                    }
                    first.get_or_insert(key);
                }
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        if !subjects.has_default() {
            let key = match first {
                Some(key) => key,
                None => self_signed(hostname, &provider).map_err(|fault| vec![fault])?,
            };
            subjects.insert_default(&key);
        }
        let leaf = subjects.default_key().and_then(|key| key.cert.first());
        let is_self_signed = leaf.is_some_and(|leaf| is_self_issued(leaf));
        Ok(Identity { subjects: Arc::new(subjects), tickets, provider, is_self_signed })
    }

    /// Whether the default certificate has only its own signature under it, be it ours or a configured one: good for
    /// opportunistic TLS, believed by nobody else.
    pub fn is_self_signed(&self) -> bool {
        self.is_self_signed
    }

    /// The configuration of one listener, for all its connections on all shards.
    pub fn server_config(&self, settings: &TlsSettings) -> Result<Arc<ServerConfig>, Vec<IdentityFault>> {
        let (provider, versions) = self.allowed(settings)?;
        let builder = ServerConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&versions);
        let builder = builder.map_err(|error| vec![fault(None, "disable-ciphers", error.to_string())])?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.subjects.clone());
        config.ignore_client_order = settings.ignore_client_order;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = self.tickets.0.clone();
        // Tickets carry the sessions; a cache would be a lock between the shards.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }

    /// The cipher suites and versions that `settings` leaves.
    fn allowed(
        &self,
        settings: &TlsSettings,
    ) -> Result<(CryptoProvider, Vec<&'static SupportedProtocolVersion>), Vec<IdentityFault>> {
        let mut provider = CryptoProvider::clone(&self.provider);
        let mut faults = Vec::new();
        for name in &settings.disable_ciphers {
            match cipher_suite(name) {
                Some(disabled) => provider.cipher_suites.retain(|suite| *suite != disabled),
                None => faults.push(fault(None, "disable-ciphers", format!("there is no cipher suite `{name}`"))),
            }
        }
        let both = [(TlsVersion::Tls13, &version::TLS13), (TlsVersion::Tls12, &version::TLS12)];
        let is_left = |(version, _): &(TlsVersion, _)| !settings.disable_protocols.contains(version);
        let versions: Vec<_> = both.into_iter().filter(is_left).map(|(_, version)| version).collect();
        if versions.is_empty() {
            faults.push(fault(None, "disable-protocols", "no version is left".into()));
        }
        if faults.is_empty() { Ok((provider, versions)) } else { Err(faults) }
    }
}

fn load_one(
    certificate: &Certificate,
    provider: &CryptoProvider,
    subjects: &mut Subjects,
) -> Result<Arc<CertifiedKey>, IdentityFault> {
    let fault = |key, problem| fault(Some(&certificate.id), key, problem);
    let chain = CertificateDer::pem_slice_iter(certificate.cert.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| fault("cert", format!("is not PEM: {error}")))?;
    if chain.is_empty() || chain.len() > CHAIN_MAX {
        return Err(fault("cert", format!("has {} certificates, expected 1 to {CHAIN_MAX}", chain.len())));
    }
    let key = PrivateKeyDer::from_pem_slice(certificate.private_key.as_bytes())
        .map_err(|error| fault("private-key", format!("holds no PEM private key: {error}")))?;
    let names = names_in(&chain).map_err(|problem| fault("cert", problem))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => fault("private-key", "does not belong to the certificate".into()),
        other => fault("private-key", other.to_string()),
    })?;
    let key = Arc::new(key);
    let configured = certificate.subjects.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    for name in if configured.is_empty() { names } else { configured } {
        let bad = |_| fault("subjects", format!("`{name}` is neither a host name nor `*.` and one"));
        subjects.insert(&name, &key).map_err(bad)?;
    }
    Ok(key)
}

/// The DNS names of the leaf's subjectAltName (RFC 6125 §6.4.4 leaves the common name aside).
fn names_in(chain: &[CertificateDer<'_>]) -> Result<Vec<String>, String> {
    let Some(leaf) = chain.first() else { return Err("is empty".into()) };
    let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|error| format!("is not a certificate: {error:?}"))?;
    Ok(parsed.valid_dns_names().map(str::to_owned).collect())
}

fn second_default(default_by: &mut Option<String>, certificate: &Certificate) -> Option<IdentityFault> {
    let earlier = default_by.replace(certificate.id.to_string())?;
    Some(fault(Some(&certificate.id), "default", format!("`{earlier}` is the default already")))
}

/// A certificate for `hostname` under its own signature, ECDSA P-256, new at each start.
fn self_signed(hostname: &str, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, IdentityFault> {
    let fault = |problem: String| fault(None, "enable", format!("no certificate could be made: {problem}"));
    let mut params = CertificateParams::new(vec![hostname.to_owned(), "localhost".to_owned()])
        .or_else(|_| CertificateParams::new(vec!["localhost".to_owned()]))
        .map_err(|error| fault(error.to_string()))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, hostname);
    let pair = KeyPair::generate().map_err(|error| fault(error.to_string()))?;
    let signed = params.self_signed(&pair).map_err(|error| fault(error.to_string()))?;
    let key = PrivateKeyDer::try_from(pair.serialize_der()).map_err(|error| fault(error.into()))?;
    let key = CertifiedKey::from_der(vec![signed.der().clone()], key, provider).map_err(|e| fault(e.to_string()))?;
    Ok(Arc::new(key))
}

fn fault(certificate: Option<&str>, key: &'static str, problem: String) -> IdentityFault {
    IdentityFault { certificate: certificate.map(str::to_owned), key, problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::generate_simple_self_signed;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ServerConnection, SignatureScheme};

    fn certificate(id: &str, names: &[&str]) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        let made = generate_simple_self_signed(names).expect("a certificate");
        Certificate {
            id: id.into(),
            cert: made.cert.pem(),
            private_key: made.signing_key.serialize_pem(),
            subjects: Vec::new(),
            is_default: false,
        }
    }

    fn identity(certificates: &[Certificate]) -> Identity {
        Identity::load(certificates, "mx.posthaste.test", Tickets::new().expect("random")).expect("loads")
    }

    fn leaf_of(certificate: &Certificate) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(certificate.cert.as_bytes()).expect("a certificate")
    }

    /// Believes everything: these tests look at the server.
    #[derive(Debug)]
    struct Credulous;

    impl ServerCertVerifier for Credulous {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Ok(HandshakeSignatureValid::assertion())
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
        }
    }

    fn client(versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Arc<ClientConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        let verifier = Arc::new(Credulous);
        let builder = builder.expect("consistent").dangerous().with_custom_certificate_verifier(verifier);
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS12, &version::TLS13];

    /// Shakes hands in memory and gives the client's view, after the server's tickets arrived.
    fn shake(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        name: &str,
    ) -> Result<ClientConnection, rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut client = ClientConnection::new(client.clone(), name)?;
        let mut server = ServerConnection::new(server.clone())?;
        for _ in 0..6 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("memory");
            }
            server.read_tls(&mut wire.as_slice()).expect("memory");
            server.process_new_packets()?;
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("memory");
            }
            client.read_tls(&mut wire.as_slice()).expect("memory");
            client.process_new_packets()?;
        }
        assert!(!client.is_handshaking(), "it ends within six flights");
        Ok(client)
    }

    fn leaf_for(server: &Arc<ServerConfig>, name: &str) -> CertificateDer<'static> {
        let client = shake(server, &client(BOTH, &[]), name).expect("shakes hands");
        client.peer_certificates().expect("it has one")[0].clone()
    }

    #[test]
    fn the_name_chooses_exact_then_wildcard_then_default() {
        let certificates = [
            certificate("wild", &["*.example.test"]),
            certificate("exact", &["mx.example.test"]),
            Certificate { is_default: true, ..certificate("other", &["other.test"]) },
        ];
        let server = identity(&certificates).server_config(&TlsSettings::default()).expect("builds");
        assert_eq!(leaf_for(&server, "mx.example.test"), leaf_of(&certificates[1]));
        assert_eq!(leaf_for(&server, "MX.Example.Test"), leaf_of(&certificates[1]));
        assert_eq!(leaf_for(&server, "a.example.test"), leaf_of(&certificates[0]));
        assert_eq!(leaf_for(&server, "a.b.example.test"), leaf_of(&certificates[2]), "one label only");
        assert_eq!(leaf_for(&server, "example.test"), leaf_of(&certificates[2]));
        assert_eq!(leaf_for(&server, "192.0.2.1"), leaf_of(&certificates[2]), "no SNI at all");
    }

    #[test]
    fn configured_subjects_win_over_those_in_the_certificate() {
        let one = Certificate { subjects: vec!["alias.test".into()], ..certificate("one", &["one.test"]) };
        let two = Certificate { is_default: true, ..certificate("two", &["two.test"]) };
        let server = identity(&[one.clone(), two.clone()]).server_config(&TlsSettings::default()).expect("builds");
        assert_eq!(leaf_for(&server, "alias.test"), leaf_of(&one));
        assert_eq!(leaf_for(&server, "one.test"), leaf_of(&two));
    }

    #[test]
    fn without_a_certificate_we_sign_one_ourselves() {
        let identity = identity(&[]);
        assert!(identity.is_self_signed());
        let server = identity.server_config(&TlsSettings::default()).expect("builds");
        let leaf = leaf_for(&server, "mx.posthaste.test");
        assert_eq!(names_in(&[leaf]).expect("parses"), ["mx.posthaste.test", "localhost"]);
    }

    #[test]
    fn a_host_name_that_no_certificate_may_hold_does_not_stop_the_start() {
        let identity = Identity::load(&[], "münchen", Tickets::new().expect("random")).expect("loads");
        assert!(identity.is_self_signed());
    }

    #[test]
    fn alpn_is_smtp_or_nothing() {
        let server = identity(&[]).server_config(&TlsSettings::default()).expect("builds");
        let with = |alpn: &[&str]| shake(&server, &client(BOTH, alpn), "mx.test");
        assert_eq!(with(&[]).expect("none offered").alpn_protocol(), None);
        assert_eq!(with(&["smtp"]).expect("ours").alpn_protocol(), Some(ALPN));
        assert_eq!(with(&["h2", "smtp"]).expect("ours among others").alpn_protocol(), Some(ALPN));
        assert_eq!(
            with(&["h2", "http/1.1"]).expect_err("a browser's bytes are not mail"),
            rustls::Error::NoApplicationProtocol
        );
    }

    #[test]
    fn disabled_versions_and_ciphers_are_not_spoken() {
        let settings = TlsSettings {
            disable_protocols: vec![TlsVersion::Tls12],
            disable_ciphers: vec!["TLS_AES_256_GCM_SHA384".into()],
            ..TlsSettings::default()
        };
        let server = identity(&[]).server_config(&settings).expect("builds");
        assert!(shake(&server, &client(&[&version::TLS12], &[]), "mx.test").is_err());
        let agreed = shake(&server, &client(BOTH, &[]), "mx.test").expect("1.3");
        let suite = agreed.negotiated_cipher_suite().expect("agreed").suite();
        assert_ne!(suite, rustls::CipherSuite::TLS13_AES_256_GCM_SHA384);
    }

    #[test]
    fn sessions_resume_also_after_a_reload() {
        let tickets = Tickets::new().expect("random");
        let certificates = [certificate("one", &["mx.test"])];
        let load = || Identity::load(&certificates, "mx.test", tickets.clone()).expect("loads");
        let client = client(BOTH, &[]);
        let before = load().server_config(&TlsSettings::default()).expect("builds");
        let first = shake(&before, &client, "mx.test").expect("full");
        assert_eq!(first.handshake_kind(), Some(rustls::HandshakeKind::Full));
        let after = load().server_config(&TlsSettings::default()).expect("builds");
        let second = shake(&after, &client, "mx.test").expect("resumed");
        assert_eq!(second.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    }

    #[test]
    fn every_fault_is_named_with_its_certificate_and_key() {
        let good = certificate("good", &["a.test"]);
        let certificates = [
            Certificate { cert: "no pem".into(), ..certificate("text", &["b.test"]) },
            Certificate { private_key: good.private_key.clone(), ..certificate("foreign-key", &["c.test"]) },
            Certificate { private_key: "nothing".into(), ..certificate("no-key", &["d.test"]) },
            Certificate { subjects: vec!["*".into()], ..certificate("star", &["e.test"]) },
            Certificate { is_default: true, ..good.clone() },
            Certificate { is_default: true, id: "second".into(), ..good },
        ];
        let faults = Identity::load(&certificates, "mx.test", Tickets::new().expect("random")).expect_err("faulty");
        let named: Vec<(Option<&str>, &str)> = faults.iter().map(|f| (f.certificate.as_deref(), f.key)).collect();
        let expected = [
            (Some("text"), "cert"),
            (Some("foreign-key"), "private-key"),
            (Some("no-key"), "private-key"),
            (Some("star"), "subjects"),
            (Some("second"), "default"),
        ];
        assert_eq!(named, expected, "{faults:?}");
    }

    #[test]
    fn nothing_left_to_speak_is_a_fault() {
        let all = TlsSettings {
            disable_protocols: vec![TlsVersion::Tls12, TlsVersion::Tls13],
            disable_ciphers: vec!["RC4-MD5".into()],
            ..TlsSettings::default()
        };
        let faults = identity(&[]).server_config(&all).expect_err("nothing left");
        let keys: Vec<_> = faults.iter().map(|fault| fault.key).collect();
        assert_eq!(keys, ["disable-ciphers", "disable-protocols"]);
        let every = super::super::settings::cipher_suite_names().into_iter().map(Into::into).collect();
        let none = TlsSettings { disable_ciphers: every, ..TlsSettings::default() };
        assert_eq!(identity(&[]).server_config(&none).expect_err("no cipher")[0].key, "disable-ciphers");
    }
}
