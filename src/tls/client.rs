//! TLS as a client: one configuration that verifies, one that encrypts to whoever answers.
//!
//! Must never be added: the choice between them (a strategy's), the handshake (the driver's).

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Sessions remembered for resumption, over all servers.
const SESSIONS_MAX: usize = 4096;

/// The client's side of TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClientTls {
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
}

/// Whether the server has to prove its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Its certificate chains to a trust anchor and names it.
    Name,
    /// Any certificate will do: opportunistic, against listeners only (RFC 7435).
    Nothing,
}

impl ClientTls {
    /// Trusts what the system trusts; where it has no anchors, those of the Mozilla list.
    pub fn system() -> Result<ClientTls, rustls::Error> {
        let mut roots = RootCertStore::empty();
        let (added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        ClientTls::trusting(roots)
    }

    /// Trusts these anchors.
    pub fn trusting(roots: RootCertStore) -> Result<ClientTls, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let mut verified = builder()?.with_root_certificates(roots).with_no_client_auth();
        let any = Arc::new(AnyCertificate(provider.clone()));
        let mut unverified = builder()?.dangerous().with_custom_certificate_verifier(any).with_no_client_auth();
        for config in [&mut verified, &mut unverified] {
            config.resumption =
                Resumption::in_memory_sessions(SESSIONS_MAX).tls12_resumption(Tls12Resumption::SessionIdOrTickets);
        }
        Ok(ClientTls { verified: Arc::new(verified), unverified: Arc::new(unverified) })
    }

    /// The configuration for a handshake.
    pub fn config(&self, verify: Verify) -> Arc<ClientConfig> {
        match verify {
            Verify::Name => self.verified.clone(),
            Verify::Nothing => self.unverified.clone(),
        }
    }
}

/// What is sent as SNI and verified: the host's name, else its address.
pub fn server_name(host: &str, address: IpAddr) -> ServerName<'static> {
    match ServerName::try_from(host.to_owned()) {
        Ok(name) => name,
        Err(_) => ServerName::IpAddress(address.into()),
    }
}

/// Takes any certificate, but still demands that the server holds its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_asked_for_as_what_they_are() {
        let ip: IpAddr = [192, 0, 2, 1].into();
        assert!(matches!(server_name("mx.example.org", ip), ServerName::DnsName(_)));
        assert!(matches!(server_name("192.0.2.1", ip), ServerName::IpAddress(_)));
        assert!(matches!(server_name("not a name", ip), ServerName::IpAddress(_)));
    }

    #[test]
    fn both_configurations_can_be_built() {
        let tls = ClientTls::trusting(RootCertStore::empty()).expect("a provider with safe defaults");
        assert!(!Arc::ptr_eq(&tls.config(Verify::Name), &tls.config(Verify::Nothing)));
    }
}
