//! TLS on both sides: an identity for the sink, a client that by default believes anyone.
//!
//! A load generator measures; it does not protect. Names and chains are checked only where a trust anchor is given.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The sink's side: the given certificate and key, or a self-signed one for `name`.
pub fn server(files: Option<(&Path, &Path)>, name: &str) -> anyhow::Result<Arc<ServerConfig>> {
    let (chain, key) = match files {
        Some((cert, key)) => read_identity(cert, key)?,
        None => self_signed(name)?,
    };
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).context("certificate and key")?;
    config.ticketer = aws_lc_rs::Ticketer::new().context("session tickets")?;
    Ok(Arc::new(config))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_identity(cert: &Path, key: &Path) -> anyhow::Result<Identity> {
    let chain = CertificateDer::pem_file_iter(cert).with_context(|| format!("cannot read {}", cert.display()))?;
    let chain = chain.collect::<Result<_, _>>().with_context(|| format!("{} is not PEM", cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("cannot read {}", key.display()))?;
    Ok((chain, key))
}

fn self_signed(name: &str) -> anyhow::Result<Identity> {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned(), "localhost".to_owned()])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    Ok((vec![made.cert.der().clone()], key))
}

/// What the source's side does.
#[derive(Debug, Clone, Copy)]
pub struct ClientChoice<'a> {
    /// Resume earlier sessions.
    pub resumes: bool,
    /// Trust anchors to check against; without them anyone is believed.
    pub anchors: Option<&'a Path>,
    /// Only this version: `1.2` or `1.3`.
    pub version: Option<&'a str>,
}

/// The source's side.
pub fn client(choice: ClientChoice<'_>) -> anyhow::Result<Arc<ClientConfig>> {
    let versions: &[&rustls::SupportedProtocolVersion] = match choice.version {
        Some("1.2") => &[&rustls::version::TLS12],
        Some("1.3") => &[&rustls::version::TLS13],
        _ => rustls::ALL_VERSIONS,
    };
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions)?;
    let mut config = match choice.anchors {
        Some(path) => builder.with_root_certificates(read_anchors(path)?).with_no_client_auth(),
        None => {
            let anyone = Arc::new(Anyone(provider()));
            builder.dangerous().with_custom_certificate_verifier(anyone).with_no_client_auth()
        }
    };
    config.resumption = if choice.resumes { Resumption::in_memory_sessions(4096) } else { Resumption::disabled() };
    Ok(Arc::new(config))
}

fn read_anchors(path: &Path) -> anyhow::Result<RootCertStore> {
    let mut anchors = RootCertStore::empty();
    for anchor in CertificateDer::pem_file_iter(path).with_context(|| format!("cannot read {}", path.display()))? {
        anchors.add(anchor.with_context(|| format!("{} is not PEM", path.display()))?)?;
    }
    Ok(anchors)
}

/// Checks signatures, as every client pays for that, and believes every name.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
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
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
