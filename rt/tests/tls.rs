//! TLS over real sockets: handshakes, facts, upgrades, and what may never be read as plaintext.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use futures_lite::future::zip;
use posthaste_rt::net::{Connection, Listener, SocketOptions, Stream, connect};
use posthaste_rt::tls::{self, HandshakeError};
use posthaste_rt::{directory, shard, time};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

const LONG: Duration = Duration::from_secs(30);

/// Both sides' configurations, of one self-signed certificate for `mx.test`.
fn configurations() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(vec!["mx.test".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let mut server = ServerConfig::builder().with_no_client_auth();
    let mut config = server_with(&mut server, made.cert.der().clone(), key);
    config.alpn_protocols = vec![b"smtp".to_vec()];
    let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = vec![b"smtp".to_vec()];
    (Arc::new(config), Arc::new(client))
}

fn server_with(
    builder: &mut rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    certificate: rustls::pki_types::CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> ServerConfig {
    builder.clone().with_single_cert(vec![certificate], key).expect("consistent")
}

fn name() -> ServerName<'static> {
    ServerName::try_from("mx.test").expect("a name")
}

fn on_shard<T: Send + 'static, F: Future<Output = T> + 'static>(build: impl FnOnce() -> F + Send + 'static) -> T {
    shard::spawn(shard::cpus()[0], "tls", build).expect("a shard starts").join().expect("and ends")
}

/// Both ends of a connection on this shard.
async fn pair() -> (Stream, Stream) {
    let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), &SocketOptions::default()).expect("binds");
    let addr = listener.local_addr();
    let (client, accepted) = zip(connect(addr, None, LONG), listener.accept()).await;
    (Stream::from_accepted(accepted.expect("accepts").expect("not stopped")), client.expect("connects"))
}

/// Our end here, the other as a blocking socket.
async fn half() -> (Stream, TcpStream) {
    let mut listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), &SocketOptions::default()).expect("binds");
    let addr = listener.local_addr();
    let client = TcpStream::connect(addr).expect("connects");
    (Stream::from_accepted(listener.accept().await.expect("accepts").expect("not stopped")), client)
}

async fn secured() -> (Connection, Connection) {
    let (server_config, client_config) = configurations();
    let (server, client) = pair().await;
    let handshakes = zip(tls::accept(server, server_config, LONG), tls::connect(client, name(), client_config, LONG));
    let (server, client) = handshakes.await;
    (server.expect("accepted"), client.expect("connected"))
}

#[test]
fn an_upgraded_connection_carries_bytes_and_knows_its_facts() {
    on_shard(|| async {
        let (server_config, client_config) = configurations();
        let (server, client) = pair().await;
        let (mut server, mut client) = (Connection::from(server), Connection::from(client));
        client.write_all(b"STARTTLS\r\n").await.expect("sent");
        let mut buf = [0; 64];
        assert_eq!(server.read(&mut buf).await.expect("read"), 10);
        assert!(!server.is_tls() && server.tls_facts().is_none());
        let (server, client) = (server.into_plain().expect("plain"), client.into_plain().expect("plain"));
        let upgrades = zip(tls::accept(server, server_config, LONG), tls::connect(client, name(), client_config, LONG));
        let (server, client) = upgrades.await;
        let (mut server, mut client) = (server.expect("accepted"), client.expect("connected"));
        let (body, mut got) = (vec![7u8; 300_000], 0);
        let sending = async {
            client.write_all(&body).await.expect("sent");
            client.shutdown().await.expect("closed in order");
        };
        let receiving = async {
            loop {
                let (buffer, count) = server.read_with(|| vec![0; 4096]).await.expect("read");
                assert!(buffer[..count].iter().all(|byte| *byte == 7));
                got += count;
                if count == 0 {
                    break got;
                }
            }
        };
        assert_eq!(zip(sending, receiving).await.1, 300_000);
        let facts = server.tls_facts().expect("under TLS");
        assert_eq!((facts.version, facts.server_name.as_deref()), ("TLSv1.3", Some("mx.test")));
        assert!(facts.cipher.starts_with("TLS_") && facts.cipher_bits >= 128, "{facts:?}");
        assert_eq!(facts.alpn.as_deref(), Some(&b"smtp"[..]));
        assert!(facts.peer_certificates.is_empty());
        assert_eq!(client.tls_facts().expect("under TLS").peer_certificates.len(), 1);
    });
}

#[test]
fn a_name_that_the_certificate_does_not_hold_is_a_tls_error_on_both_sides() {
    on_shard(|| async {
        let (server_config, client_config) = configurations();
        let (server, client) = pair().await;
        let other = ServerName::try_from("other.test").expect("a name");
        let (server, client) =
            zip(tls::accept(server, server_config, LONG), tls::connect(client, other, client_config, LONG)).await;
        let client = client.expect_err("not its name");
        assert!(matches!(client, HandshakeError::Tls(rustls::Error::InvalidCertificate(_))), "{client:?}");
        // In TLS 1.3 the server has its last flight out before it hears of it.
        if let Ok(mut server) = server {
            assert!(server.read(&mut [0; 16]).await.is_err());
        }
    });
}

#[test]
fn bytes_that_are_not_tls_end_the_handshake() {
    on_shard(|| async {
        let (server_config, _) = configurations();
        let (server, mut client) = half().await;
        client.write_all(b"EHLO in.clear\r\nMAIL FROM:<injected@example.test>\r\n").expect("sent");
        let error = tls::accept(server, server_config, LONG).await.expect_err("not TLS");
        assert!(matches!(error, HandshakeError::Tls(_)), "{error:?}");
    });
}

#[test]
fn a_peer_that_says_nothing_or_leaves_is_told_apart() {
    on_shard(|| async {
        let (server_config, _) = configurations();
        let (server, _client) = half().await;
        let error = tls::accept(server, server_config.clone(), Duration::from_millis(50)).await.expect_err("silent");
        assert!(matches!(error, HandshakeError::TimedOut), "{error:?}");
        let (server, client) = half().await;
        drop(client);
        let error = tls::accept(server, server_config, LONG).await.expect_err("gone");
        assert!(matches!(error, HandshakeError::Io(_)), "{error:?}");
    });
}

#[test]
fn a_read_timeout_holds_under_tls() {
    on_shard(|| async {
        let (mut server, mut client) = secured().await;
        server.set_read_timeout(Some(Duration::from_millis(100)));
        assert_eq!(server.read(&mut [0; 16]).await.expect_err("silent").kind(), io::ErrorKind::TimedOut);
        client.write_all(b"late").await.expect("sent");
        assert_eq!(server.read(&mut [0; 16]).await.expect("its own time"), 4);
    });
}

#[test]
fn an_aborted_read_under_tls_loses_nothing() {
    on_shard(|| async {
        let (mut server, mut client) = secured().await;
        for _ in 0..5 {
            assert!(time::timeout(Duration::from_millis(2), server.read(&mut [0; 16])).await.is_err());
        }
        client.write_all(b"whole").await.expect("sent");
        let mut buf = [0; 16];
        assert_eq!(server.read(&mut buf).await.expect("read"), 5);
        assert_eq!(&buf[..5], b"whole");
    });
}

/// CVE-2026-45185: close_notify in the middle, then clear bytes.
#[test]
fn after_close_notify_clear_bytes_are_never_read() {
    on_shard(|| async {
        let (server_config, client_config) = configurations();
        let (server, mut socket) = half().await;
        let client = directory::unblock(move || {
            let mut session = ClientConnection::new(client_config, name()).expect("a session");
            while session.is_handshaking() {
                session.complete_io(&mut socket)?;
            }
            session.writer().write_all(b"BDAT 100 LAST\r\n")?;
            session.send_close_notify();
            while session.wants_write() {
                session.write_tls(&mut socket)?;
            }
            socket.write_all(b"MAIL FROM:<clear@example.test>\r\n")?;
            Ok(socket)
        });
        let (server, client) = zip(tls::accept(server, server_config, LONG), client).await;
        let (mut server, _socket) = (server.expect("accepted"), client.expect("sent"));
        let mut buf = [0; 256];
        assert_eq!(server.read(&mut buf).await.expect("read"), 15);
        for _ in 0..3 {
            assert!(matches!(server.read(&mut buf).await, Ok(0) | Err(_)), "end of stream, for ever");
        }
    });
}

#[test]
fn a_cut_stream_is_an_error_and_not_an_end() {
    on_shard(|| async {
        let (mut server, client) = secured().await;
        let Connection::Tls(_) = &client else { panic!("under TLS") };
        client.abort();
        assert!(server.read(&mut [0; 16]).await.is_err());
    });
}

#[test]
fn a_close_in_order_lets_the_last_reply_arrive() {
    on_shard(|| async {
        let (ours, mut theirs) = half().await;
        // Bytes that nobody reads: closing at once would reset and lose the reply.
        theirs.write_all(&[b'x'; 1000]).expect("sent");
        let reader = std::thread::spawn(move || {
            let mut reply = String::new();
            theirs.read_to_string(&mut reply).expect("no reset");
            reply
        });
        let mut ours = Connection::from(ours);
        ours.write_all(b"421 4.3.0 closing\r\n").await.expect("sent");
        ours.close(LONG, 1 << 16).await;
        let reply = directory::unblock(move || Ok(reader.join().expect("a thread ends"))).await.expect("joined");
        assert_eq!(reply, "421 4.3.0 closing\r\n");
    });
}
