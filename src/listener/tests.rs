//! A door, its sessions and a client, over loopback on one shard. The spool is a list.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use posthaste_rt::net::{self, Connection, SocketOptions, Stream};
use posthaste_rt::sync::Switch;
use posthaste_rt::{shard, task, time};

use super::*;
use crate::base::{Budget, MessageId, StreamId};
use crate::expr::Expr;
use crate::limits::{Ask, KeyMaker, Limit, LimitKey};
use crate::lookup::{DirectorySettings, Lookups, Memory, Settings as LookupSettings, ShardLookups};
use crate::session::{Bulk, Current, Floor, Profile, Services};
use crate::smtp::content::BareLineEnds;
use crate::smtp::server::Protocol as Spoken;
use crate::spool::{Body, CommitError, Durability, Extents, Health, Message};
use crate::{expr, policy, session};

/// Runs a test's future on a shard.
fn on_shard<F: Future<Output = ()> + 'static>(test: impl FnOnce() -> F + Send + 'static) {
    shard::spawn(0, "listener-test", test).expect("a shard").join().expect("it ends well");
}

/// The rest of the shard, as sessions see it.
#[derive(Default)]
struct Fake {
    messages: Rc<RefCell<Vec<Rc<Message>>>>,
    bulk: Rc<RefCell<Vec<u8>>>,
    /// Commits wait until it is thrown.
    hold: Cell<bool>,
    release: Switch,
    refuse: Cell<Option<CommitError>>,
    health: Cell<Health>,
    panics: Cell<bool>,
    ids: Cell<u64>,
    held: Rc<RefCell<HashMap<LimitKey, u32>>>,
}

struct Held(Rc<RefCell<HashMap<LimitKey, u32>>>, Vec<LimitKey>);

impl Drop for Held {
    fn drop(&mut self) {
        for key in &self.1 {
            *self.0.borrow_mut().entry(*key).or_default() -= 1;
        }
    }
}

struct FakeBulk(Rc<RefCell<Vec<u8>>>);

impl Bulk for FakeBulk {
    async fn write(&mut self, octets: &[u8]) -> Result<(), CommitError> {
        self.0.borrow_mut().extend_from_slice(octets);
        Ok(())
    }
    async fn finish(self) -> Result<Extents, CommitError> {
        Ok(Extents::default())
    }
}

impl Services for Fake {
    type Permit = Held;
    type Bulk = FakeBulk;
    type Commit = Pin<Box<dyn Future<Output = Result<(), CommitError>>>>;

    fn new_id(&self) -> MessageId {
        assert!(!self.panics.get(), "a fault of ours");
        self.ids.set(self.ids.get() + 1);
        MessageId { stream: StreamId(0), start: 1, sequence: self.ids.get() }
    }

    fn commit(&self, message: Rc<Message>, _: Durability) -> Self::Commit {
        self.messages.borrow_mut().push(message);
        let (hold, release, refuse) = (self.hold.get(), self.release.clone(), self.refuse.get());
        Box::pin(async move {
            if hold {
                release.thrown().await;
            }
            refuse.map_or(Ok(()), Err)
        })
    }

    fn bulk(&self) -> FakeBulk {
        FakeBulk(self.bulk.clone())
    }

    fn health(&self) -> Health {
        self.health.get()
    }

    async fn take(&self, asks: &[Ask]) -> Option<Held> {
        let mut held = self.held.borrow_mut();
        for ask in asks {
            if let Limit::Concurrency(max) = ask.limit
                && held.get(&ask.key).copied().unwrap_or(0) >= max
            {
                return None;
            }
        }
        let keys: Vec<LimitKey> = asks.iter().map(|ask| ask.key).collect();
        for key in &keys {
            *held.entry(*key).or_default() += 1;
        }
        Some(Held(self.held.clone(), keys))
    }

    async fn resolve(&self, _: expr::Question) -> expr::Answer {
        expr::Answer::Failed
    }
}

/// A shard with one door.
struct Shop {
    services: Rc<Fake>,
    door: Rc<Door<Fake>>,
    floor: Floor,
    address: SocketAddr,
}

fn profile() -> Profile {
    let directory = DirectorySettings {
        id: "d".into(),
        domains: vec!["ours.test".into()],
        accept_all: true,
        principals: Vec::new(),
    };
    let settings = LookupSettings { directories: vec![directory], default_directory: "d".into(), lists: Vec::new() };
    let lookups = Lookups::build(&settings).expect("a sound directory");
    Profile {
        listener: Rc::from("test"),
        protocol: Spoken::Smtp,
        greeting: Some("Welcome!".into()),
        connections_max: 100,
        connections_per_ip_max: 0,
        proxy_trusted: Vec::new(),
        xclient_trusted: Vec::new(),
        tls: None,
        tls_implicit: false,
        tls_timeout: Duration::from_secs(10),
        bare_line_ends: BareLineEnds::Reject,
        durability: Durability::Durable,
        policy: Rc::new(policy::Settings { hostname: "mx.ours.test".into(), ..policy::Settings::default() }),
        session: Rc::new(session::Settings::default()),
        lookups: ShardLookups::new(Arc::new(lookups), Rc::new(Memory::default())),
        keys: KeyMaker::new(1),
    }
}

impl Shop {
    fn open(profile: Profile, budget: usize) -> Shop {
        let services = Rc::new(Fake::default());
        let floor = Floor::new(Budget::new(budget));
        let door = Door::new(Current::new(profile), floor.clone(), services.clone());
        let bound = net::bind("127.0.0.1:0".parse().expect("an address"), &SocketOptions::default()).expect("a port");
        let address = bound.local_addr();
        let serving = door.clone();
        task::spawn(async move { serving.serve(bound, Some).await.expect("it serves") });
        Shop { services, door, floor, address }
    }

    fn plain() -> Shop {
        Shop::open(profile(), 64 << 20)
    }

    async fn client(&self) -> Talk {
        let stream = net::connect(self.address, None, Duration::from_secs(5)).await.expect("it connects");
        Talk { connection: stream.into(), read: Vec::new() }
    }

    fn messages(&self) -> Vec<Rc<Message>> {
        self.services.messages.borrow().clone()
    }
}

/// A client.
struct Talk {
    connection: Connection,
    read: Vec<u8>,
}

impl Talk {
    async fn say(&mut self, octets: impl AsRef<[u8]>) {
        self.connection.write_all(octets.as_ref()).await.expect("the server reads");
    }

    /// The next reply, its last line; empty at the end of the stream.
    async fn hear(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.read[..end]).into_owned();
                self.read.drain(..end + 2);
                if line.as_bytes().get(3) == Some(&b' ') {
                    return line;
                }
                continue;
            }
            let mut buf = [0; 4096];
            match self.connection.read(&mut buf).await {
                Ok(0) | Err(_) => return String::new(),
                Ok(n) => self.read.extend_from_slice(&buf[..n]),
            }
        }
    }

    async fn codes(&mut self, count: usize) -> Vec<u16> {
        let mut codes = Vec::new();
        for _ in 0..count {
            codes.push(self.hear().await.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0));
        }
        codes
    }
}

const ENVELOPE: &str = "MAIL FROM:<a@there.test>\r\nRCPT TO:<joe@ours.test>\r\nDATA\r\n";

#[test]
fn a_message_comes_in() {
    on_shard(|| async {
        let shop = Shop::plain();
        let mut talk = shop.client().await;
        assert_eq!(talk.hear().await, "220 mx.ours.test Welcome!");
        talk.say(format!("EHLO c.test\r\n{ENVELOPE}Subject: x\r\n\r\n..hello\r\n.\r\nQUIT\r\n")).await;
        assert_eq!(talk.codes(5).await, [250, 250, 250, 354, 250]);
        assert_eq!(talk.hear().await, "221 2.0.0 Bye.");
        assert_eq!(talk.hear().await, "");
        let messages = shop.messages();
        assert_eq!(messages.len(), 1);
        let message = &messages[0];
        assert_eq!(message.envelope.recipients[0].path.as_str(), "joe@ours.test");
        assert_eq!(&message.header[..], b"Subject: x\r\n");
        assert_eq!(
            message.body,
            Body::Memory(vec![
                ".".to_owned().into_bytes().into_iter().chain(*b"hello\r\n").collect::<Vec<u8>>().into()
            ])
        );
        let trace = String::from_utf8_lossy(&message.trace);
        assert!(trace.starts_with("Received: from c.test (unknown [127.0.0.1])\r\n\tby mx.ours.test"), "{trace}");
        assert!(trace.contains(&format!("id {}", message.id)) && trace.contains("for <joe@ours.test>"), "{trace}");
        assert_eq!(shop.floor.budget().used(), 0);
    });
}

#[test]
fn replies_keep_their_order_over_slow_commits() {
    on_shard(|| async {
        let shop = Shop::plain();
        shop.services.hold.set(true);
        let mut talk = shop.client().await;
        let chunk = "MAIL FROM:<a@there.test>\r\nRCPT TO:<joe@ours.test>\r\nBDAT 6 LAST\r\nA: 1\r\n";
        talk.say(format!("EHLO c.test\r\n{}NOOP\r\nQUIT\r\n", chunk.repeat(20))).await;
        assert_eq!(talk.codes(4).await, [220, 250, 250, 250]); // what is ready does not wait for the commit behind it
        while shop.messages().len() < crate::base::limits::SESSION_COMMITS_MAX {
            task::yield_now().await;
        }
        shop.services.release.throw();
        let codes = talk.codes(58 + 2).await;
        assert!(codes[..59].iter().all(|code| *code == 250), "{codes:?}");
        assert_eq!((codes[59], talk.hear().await.as_str()), (221, ""));
        assert_eq!(shop.messages().len(), 20);
    });
}

#[test]
fn large_mail_streams_and_memory_stays_flat() {
    on_shard(|| async {
        let shop = Shop::open(profile(), 2 << 20);
        let line = "0123456789abcdef0123456789abcdef\r\n";
        let body = line.repeat(100_000);
        let mut talk = shop.client().await;
        talk.say(format!("EHLO c.test\r\n{ENVELOPE}")).await;
        assert_eq!(talk.codes(5).await, [220, 250, 250, 250, 354]);
        talk.say(format!("Subject: large\r\n\r\n{body}.\r\n")).await;
        assert!(talk.hear().await.starts_with("250 2.0.0 Message queued"));
        let bulk = shop.services.bulk.borrow().clone();
        assert_eq!((bulk.len(), &bulk[..] == body.as_bytes()), (body.len(), true));
        let messages = shop.messages();
        assert_eq!(messages[0].body, Body::Bulk(Extents::default()));
        assert_eq!(&messages[0].header[..], b"Subject: large\r\n");
        talk.say("NOOP\r\n").await;
        assert_eq!(talk.codes(1).await, [250]);
        assert_eq!(shop.floor.budget().used(), 0);
    });
}

#[test]
fn under_pressure_content_goes_to_disk_early_and_new_mail_waits() {
    on_shard(|| async {
        // Room for two buffers: content cannot grow in memory.
        let shop = Shop::open(profile(), 40 << 10);
        let body = "0123456789abcdef\r\n".repeat(10_000);
        let mut talk = shop.client().await;
        talk.say(format!("EHLO c.test\r\n{ENVELOPE}")).await;
        assert_eq!(talk.codes(5).await, [220, 250, 250, 250, 354]);
        talk.say(format!("Subject: x\r\n\r\n{body}.\r\n")).await;
        assert!(talk.hear().await.starts_with("250 2.0.0"));
        assert!(shop.services.bulk.borrow().len() > 100_000);
        let hog = shop.floor.budget().reserve(22 << 10).expect("it is free");
        talk.say("MAIL FROM:<a@there.test>\r\n").await;
        assert!(talk.hear().await.starts_with("452 4.3.1"));
        drop(hog);
        talk.say("MAIL FROM:<a@there.test>\r\n").await;
        assert!(talk.hear().await.starts_with("250 2.1.0"));
    });
}

#[test]
fn an_idle_session_holds_nothing_and_half_a_line_its_octets() {
    on_shard(|| async {
        let shop = Shop::plain();
        let mut talk = shop.client().await;
        talk.say("EHLO c.test\r\n").await;
        assert_eq!(talk.codes(2).await, [220, 250]);
        assert_eq!(shop.floor.budget().used(), 0);
        talk.say("NOOP\r\nMAIL FR").await;
        assert_eq!(talk.codes(1).await, [250]);
        while shop.floor.budget().used() != 7 {
            task::yield_now().await;
        }
        talk.say("OM:<a@there.test>\r\n").await;
        assert_eq!(talk.codes(1).await, [250]);
    });
}

#[test]
fn a_refused_commit_is_a_4xx_and_the_session_goes_on() {
    on_shard(|| async {
        let shop = Shop::plain();
        shop.services.refuse.set(Some(CommitError::Sick));
        let mut talk = shop.client().await;
        talk.say(format!("EHLO c.test\r\n{ENVELOPE}x\r\n.\r\n")).await;
        assert_eq!(talk.codes(6).await, [220, 250, 250, 250, 354, 451]);
        shop.services.refuse.set(None);
        talk.say(format!("{ENVELOPE}x\r\n.\r\n")).await;
        assert_eq!(talk.codes(4).await, [250, 250, 354, 250]);
        shop.services.health.set(Health::Full);
        talk.say("MAIL FROM:<a@there.test>\r\n").await;
        assert_eq!(talk.codes(1).await, [452]);
        shop.services.health.set(Health::Sick);
        assert!(shop.client().await.hear().await.starts_with("421"));
    });
}

#[test]
fn a_panic_ends_its_session_only() {
    on_shard(|| async {
        let shop = Shop::plain();
        let (mut talk, mut other) = (shop.client().await, shop.client().await);
        assert_eq!(other.codes(1).await, [220]);
        shop.services.panics.set(true);
        talk.say(format!("EHLO c.test\r\n{ENVELOPE}")).await;
        assert_eq!(talk.codes(5).await, [220, 250, 250, 250, 354]);
        talk.say("x\r\n.\r\n").await;
        assert_eq!(talk.hear().await, "");
        shop.services.panics.set(false);
        other.say(format!("EHLO c.test\r\n{ENVELOPE}x\r\n.\r\n")).await;
        assert_eq!(other.codes(5).await, [250, 250, 250, 354, 250]);
        assert_eq!(shop.floor.crew().len(), 1);
    });
}

#[test]
fn a_silent_client_is_sent_away() {
    on_shard(|| async {
        let mut profile = profile();
        profile.session = Rc::new(session::Settings {
            timeout: Expr::constant(Duration::from_millis(200)),
            ..session::Settings::default()
        });
        let shop = Shop::open(profile, 1 << 20);
        let (mut talk, mut half) = (shop.client().await, shop.client().await);
        assert_eq!(half.codes(1).await, [220]);
        half.say("EHL").await;
        assert_eq!(talk.codes(1).await, [220]);
        assert!(talk.hear().await.starts_with("421 4.4.2"));
        assert_eq!(talk.hear().await, "");
        assert!(half.hear().await.starts_with("421 4.4.2"));
    });
}

#[test]
fn a_stop_ends_idle_sessions_and_lets_a_transaction_finish() {
    on_shard(|| async {
        let shop = Shop::plain();
        let (mut idle, mut busy) = (shop.client().await, shop.client().await);
        assert_eq!(idle.codes(1).await, [220]);
        busy.say(format!("EHLO c.test\r\n{ENVELOPE}Subject: x\r\n")).await;
        assert_eq!(busy.codes(5).await, [220, 250, 250, 250, 354]);
        let mut half = shop.client().await;
        half.say("EHLO c.te").await;
        assert_eq!(half.codes(1).await, [220]);
        while shop.floor.budget().used() < 9 {
            task::yield_now().await;
        }
        shop.door.stop();
        shop.floor.crew().stop();
        assert!(half.hear().await.starts_with("421 4.3.0"));
        assert!(idle.hear().await.starts_with("421 4.3.0"));
        busy.say("\r\nbody\r\n.\r\n").await;
        assert!(busy.hear().await.starts_with("250 2.0.0"));
        assert!(busy.hear().await.starts_with("421 4.3.0"));
        shop.floor.crew().gone().await;
        assert_eq!(shop.messages().len(), 1);
    });
}

#[test]
fn a_connection_that_breaks_leaves_nothing() {
    on_shard(|| async {
        let shop = Shop::plain();
        let mut talk = shop.client().await;
        talk.say(format!("EHLO c.test\r\n{ENVELOPE}Subject: x\r\n\r\nbody\r\n.\r")).await;
        assert_eq!(talk.codes(5).await, [220, 250, 250, 250, 354]);
        drop(talk);
        shop.floor.crew().gone().await;
        assert!(shop.messages().is_empty());
        assert_eq!(shop.floor.budget().used(), 0);
    });
}

#[test]
fn limits_of_connections() {
    on_shard(|| async {
        let shop = Shop::open(Profile { connections_max: 1, ..profile() }, 1 << 20);
        let mut first = shop.client().await;
        assert_eq!(first.codes(1).await, [220]);
        assert!(shop.client().await.hear().await.starts_with("421 4.7.0"));
        first.say("QUIT\r\n").await;
        assert_eq!(first.codes(2).await, [221, 0]);
        shop.floor.crew().gone().await;
        assert_eq!(shop.client().await.codes(1).await, [220]);
    });
}

fn loopback() -> Vec<IpNet> {
    vec!["127.0.0.0/8".parse().expect("a network")]
}

#[test]
fn proxy_headers_from_trusted_peers() {
    on_shard(|| async {
        let shop = Shop::open(Profile { proxy_trusted: loopback(), xclient_trusted: loopback(), ..profile() }, 1 << 20);
        let mut talk = shop.client().await;
        talk.say(format!("PROXY TCP4 192.0.2.77 192.0.2.2 4000 25\r\nEHLO c.test\r\n{ENVELOPE}x\r\n.\r\n")).await;
        assert_eq!(talk.codes(6).await, [220, 250, 250, 250, 354, 250]);
        assert_eq!(shop.messages()[0].received.remote_ip.to_string(), "192.0.2.77");
        assert_eq!(shop.messages()[0].received.local_port, 25);
        let mut v2 = shop.client().await;
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        header.extend_from_slice(&[192, 0, 2, 78, 192, 0, 2, 2, 15, 160, 0, 25]);
        header.extend_from_slice(format!("EHLO c.test\r\n{ENVELOPE}x\r\n.\r\n").as_bytes());
        v2.say(header).await;
        assert_eq!(v2.codes(6).await, [220, 250, 250, 250, 354, 250]);
        assert_eq!(shop.messages()[1].received.remote_ip.to_string(), "192.0.2.78");
        for garbage in ["EHLO c.test\r\n", "PROXY TCP4 1.2.3.4\r\n", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"] {
            let mut talk = shop.client().await;
            talk.say(garbage).await;
            assert_eq!(talk.hear().await, "", "{garbage}");
        }
    });
}

#[test]
fn proxy_headers_from_others_are_garbage() {
    on_shard(|| async {
        let shop = Shop::plain();
        let mut talk = shop.client().await;
        talk.say("PROXY TCP4 192.0.2.77 192.0.2.2 4000 25\r\nNOOP\r\n").await;
        assert_eq!(talk.codes(3).await, [220, 500, 250]);
        let mut v2 = shop.client().await;
        v2.say(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c0123456789ab").await;
        let codes = v2.codes(5).await;
        assert!(codes[1..].iter().all(|code| *code >= 500 || *code == 0), "{codes:?}");
    });
}

fn tls() -> Arc<rustls::ServerConfig> {
    let tickets = crate::tls::identity::Tickets::new().expect("keys");
    let identity = crate::tls::identity::Identity::load(&[], "mx.ours.test", tickets).expect("a self-signed identity");
    identity.server_config(&crate::tls::settings::TlsSettings::default()).expect("a configuration")
}

async fn handshake(stream: Stream) -> Connection {
    let client = crate::tls::client::ClientTls::system().expect("a client");
    let config = client.config(crate::tls::client::Verify::Nothing);
    let name = rustls::pki_types::ServerName::try_from("mx.ours.test").expect("a name");
    posthaste_rt::tls::connect(stream, name, config, Duration::from_secs(10)).await.expect("a handshake")
}

#[test]
fn starttls_and_nothing_from_before_it() {
    on_shard(|| async {
        let shop = Shop::open(Profile { tls: Some(tls()), ..profile() }, 4 << 20);
        let mut talk = shop.client().await;
        talk.say("EHLO c.test\r\n").await;
        assert_eq!(talk.codes(2).await, [220, 250]);
        talk.say("STARTTLS\r\nMAIL FROM:<injected@evil.test>\r\n").await;
        assert_eq!(talk.codes(1).await, [220]);
        let Talk { connection, read } = talk;
        assert!(read.is_empty());
        let connection = handshake(connection.into_plain().expect("it is plain")).await;
        let mut talk = Talk { connection, read };
        talk.say("MAIL FROM:<a@there.test>\r\n").await;
        assert!(talk.hear().await.starts_with("503"));
        talk.say(format!("EHLO c.test\r\nSTARTTLS\r\n{ENVELOPE}x\r\n.\r\nQUIT\r\n")).await;
        assert_eq!(talk.codes(8).await, [250, 503, 250, 250, 354, 250, 221, 0]);
        let trace = String::from_utf8_lossy(&shop.messages()[0].trace).into_owned();
        assert!(trace.contains("ESMTPS") && trace.contains("TLSv1.3"), "{trace}");
    });
}

#[test]
fn implicit_tls_behind_a_proxy() {
    on_shard(|| async {
        let profile = Profile { tls: Some(tls()), tls_implicit: true, proxy_trusted: loopback(), ..profile() };
        let shop = Shop::open(profile, 4 << 20);
        let mut stream = net::connect(shop.address, None, Duration::from_secs(5)).await.expect("it connects");
        stream.write_all(b"PROXY TCP4 192.0.2.77 192.0.2.2 4000 465\r\n").await.expect("it is read");
        let mut talk = Talk { connection: handshake(stream).await, read: Vec::new() };
        assert_eq!(talk.codes(1).await, [220]);
        talk.say(format!("EHLO c.test\r\n{ENVELOPE}x\r\n.\r\n")).await;
        assert_eq!(talk.codes(5).await, [250, 250, 250, 354, 250]);
        assert_eq!(shop.messages()[0].received.remote_ip.to_string(), "192.0.2.77");
    });
}

#[test]
fn another_shard_may_take_a_connection_before_its_first_octet() {
    on_shard(|| async {
        let shop = Shop::plain();
        let bound = net::bind("127.0.0.1:0".parse().expect("an address"), &SocketOptions::default()).expect("a port");
        let address = bound.local_addr();
        let (front, back) =
            (Door::new(Current::new(profile()), shop.floor.clone(), shop.services.clone()), shop.door.clone());
        let passed = Rc::new(Cell::new(0));
        let counted = passed.clone();
        task::spawn(async move {
            let pass = |accepted| {
                counted.set(counted.get() + 1);
                back.admit(accepted);
                None
            };
            front.serve(bound, pass).await.expect("it serves");
        });
        let stream = net::connect(address, None, Duration::from_secs(5)).await.expect("it connects");
        let mut talk = Talk { connection: stream.into(), read: Vec::new() };
        assert_eq!((talk.codes(1).await, passed.get()), (vec![220], 1));
    });
}

#[test]
fn a_peer_that_does_not_read_is_given_up() {
    on_shard(|| async {
        let mut profile = profile();
        profile.session = Rc::new(session::Settings {
            timeout: Expr::constant(Duration::from_millis(300)),
            ..session::Settings::default()
        });
        profile.policy = Rc::new(policy::Settings {
            errors: policy::settings::Errors { idle_commands: 1_000_000, ..policy::settings::Errors::default() },
            ..(*profile.policy).clone()
        });
        let shop = Shop::open(profile, 1 << 20);
        let mut talk = shop.client().await;
        let flood = "HELP\r\n".repeat(1000);
        // The server stops reading when it cannot write, and ends when that lasts.
        let sending = async { while talk.connection.write_all(flood.as_bytes()).await.is_ok() {} };
        time::timeout(Duration::from_secs(60), sending).await.expect("the server gives up");
        shop.floor.crew().gone().await;
    });
}

#[test]
fn sockets_for_every_shard() {
    let mut settings = listening();
    let bound = bind(&settings, "127.0.0.1:0".parse().expect("an address"), 3).expect("ports");
    assert_eq!(bound.len(), 3);
    assert!(bound.iter().all(|socket| socket.local_addr() == bound[0].local_addr()));
    settings.socket.reuse_port = false;
    let error = bind(&settings, bound[0].local_addr(), 3).expect_err("it is taken");
    assert!(error.to_string().starts_with("listener `smtp` cannot bind 127.0.0.1:"), "{error}");
}

fn listening() -> Settings {
    let text = "[server.listener.\"smtp\"]\nbind = \"127.0.0.1:0\"\nprotocol = \"smtp\"\n";
    let (document, faults) = crate::schema::Document::parse("test", text);
    assert!(faults.is_empty());
    let (settings, findings) = crate::schema::Reader::new(&document).read(|root| {
        root.table("server", "", |s| {
            let shared = super::settings::Shared::read(s);
            s.named("listener", "", |s, id| Settings::read(s, id, &shared))
        })
    });
    assert!(findings.faults.is_empty());
    settings.into_iter().filter_map(|(_, settings)| settings).next().expect("one listener")
}

/// Most of what an idle session costs is its task. It fits the allocator's class of 1280 octets, with the runtime's
/// own header; a local that lives across an `await` makes it grow.
#[test]
fn a_session_is_small() {
    fn bytes<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }
    let task = bytes(Door::<Fake>::session);
    assert!(task <= 1080, "{task}");
}
