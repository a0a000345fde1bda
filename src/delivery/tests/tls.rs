//! Inside TLS, on the way there, and where it fails.

use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::peer::{Peer, serve};
use super::*;
use crate::smtp::client::{Credentials, StartTls};

struct Identity {
    config: Arc<ServerConfig>,
    roots: RootCertStore,
}

fn identity(name: &str) -> Identity {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).expect("an anchor");
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a configuration");
    Identity { config: Arc::new(config), roots }
}

fn secured(config: &Arc<ServerConfig>, peer: Peer) -> Peer<StreamOwned<ServerConnection, std::net::TcpStream>> {
    let tls = ServerConnection::new(config.clone()).expect("a TLS server");
    Peer::over(StreamOwned::new(tls, peer.stream))
}

fn starttls_server(config: Arc<ServerConfig>) -> super::peer::Listening<String> {
    serve(move |_, mut peer: Peer| {
        peer.greet(&["STARTTLS", "PIPELINING", "CHUNKING"]);
        let command = peer.command();
        if command != "STARTTLS" {
            peer.say("250 ok\r\n250 ok\r\n250 taken\r\n");
            return "clear".to_owned();
        }
        peer.say("220 go\r\n");
        let mut peer = secured(&config, peer);
        let hello = peer.command();
        if hello.is_empty() {
            return "no TLS".to_owned();
        }
        peer.offer(&["PIPELINING", "CHUNKING"]);
        if peer.take_one() { "TLS".to_owned() } else { "no mail".to_owned() }
    })
}

#[test]
fn opportunistic_tls_takes_any_certificate() {
    let server = starttls_server(identity("other.test").config);
    let report = Bench::relay(server.port).once();
    assert_eq!(letters(&report), "D", "{}", words(&report));
    assert_eq!(server.results(), ["TLS"]);
}

#[test]
fn required_tls_verifies_the_name() {
    for (name, allow_invalid, letter, seen) in
        [("localhost", false, "D", "TLS"), ("other.test", false, "F", "no TLS"), ("other.test", true, "D", "TLS")]
    {
        let identity = identity(name);
        let server = starttls_server(identity.config);
        let route = RelayRoute {
            port: server.port,
            implicit_tls: false,
            ip_lookup: super::settings::IpLookup::V4Only,
            ..RelayRoute::to("localhost")
        };
        let mut bench = Bench::new(relay(route));
        bench.roots = identity.roots;
        bench.tls.starttls = StartTls::Require;
        bench.tls.allow_invalid_certs = allow_invalid;
        let report = bench.once();
        assert_eq!(letters(&report), letter, "{name}: {}", words(&report));
        let results = server.results();
        assert!(results.iter().all(|r| r == seen), "{results:?}");
        if letter == "F" {
            assert_eq!(report.outcomes[0].outcome.diagnostic().kind, ErrorKind::Tls);
        }
    }
}

#[test]
fn injected_octets_end_tls_and_only_optional_tls_goes_on_in_the_clear() {
    for (mode, letter, connections) in [(StartTls::Optional, "D", 2), (StartTls::Require, "F", 1)] {
        let server = serve(|number, mut peer: Peer| {
            peer.greet(&["STARTTLS", "PIPELINING", "CHUNKING"]);
            if number == 0 {
                peer.expect("STARTTLS");
                peer.say("220 go\r\n250-evil\r\n250 AUTH PLAIN\r\n");
                assert_eq!(peer.command(), "", "nothing may follow");
            } else {
                assert!(peer.take_one());
            }
        });
        let mut bench = Bench::relay(server.port);
        bench.tls.starttls = mode;
        assert_eq!(letters(&bench.once()), letter);
        assert_eq!(server.results().len(), connections);
    }
}

#[test]
fn broken_tls_is_remembered_while_clear_text_is_allowed() {
    let server = serve(|_, mut peer: Peer| {
        peer.greet(&["STARTTLS", "PIPELINING", "CHUNKING"]);
        let command = peer.command();
        if command == "STARTTLS" {
            peer.say("220 go\r\n");
            peer.until(b"\x16"); // the hello begins
            peer.say("this is not TLS\r\n");
            return command;
        }
        peer.expect("RCPT");
        peer.chunk();
        peer.say("250 ok\r\n250 ok\r\n250 taken\r\n");
        "clear".to_owned()
    });
    let mut bench = Bench::relay(server.port);
    bench.settings.pool.idle = Duration::ZERO;
    let all = bench.on_shard(|bench, delivery| async move {
        letters(&bench.attempt(&delivery).await) + &letters(&bench.attempt(&delivery).await)
    });
    assert_eq!(all, "DD");
    assert_eq!(server.results(), ["STARTTLS", "clear", "clear"]);
}

#[test]
fn implicit_tls_comes_before_the_greeting_and_carries_credentials() {
    let identity = identity("localhost");
    let config = identity.config.clone();
    let server = serve(move |_, peer: Peer| {
        let mut peer = secured(&config, peer);
        peer.say("220 x\r\n");
        if peer.command().is_empty() {
            return "nobody".to_owned();
        }
        peer.offer(&["AUTH PLAIN", "PIPELINING", "CHUNKING"]);
        let auth = peer.command();
        peer.say("235 2.7.0 welcome\r\n");
        peer.take_one();
        auth
    });
    let credentials = Some(Credentials { username: "user".into(), secret: "pass".into() });
    let route = RelayRoute {
        port: server.port,
        credentials,
        ip_lookup: super::settings::IpLookup::V4Only,
        ..RelayRoute::to("localhost")
    };
    let mut bench = Bench::new(relay(route));
    bench.roots = identity.roots;
    assert_eq!(letters(&bench.once()), "D");
    assert_eq!(server.results(), ["AUTH PLAIN AHVzZXIAcGFzcw=="]);
}
