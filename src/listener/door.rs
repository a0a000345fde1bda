//! The door of one listener on one shard: accept, look who comes, let them in.
//!
//! The order is fixed: limits of the listener, then the PROXY header, then TLS where it is implicit, then
//! the session. Before its first octet a connection can still be given to another shard.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use posthaste_rt::net::{Accepted, BoundSocket, Connection, Listener, Stream};
use posthaste_rt::sync::Switch;
use posthaste_rt::{clock, task, time};

use crate::base::WallTime;
use crate::limits::{Ask, Limit};
use crate::observe::{Counter, Event, Level, count, event};
use crate::policy::is_in;
use crate::session::{self, Current, Floor, Link, Profile, Services};
use crate::smtp::proxy::{self, Proxy};
use crate::smtp::server::TlsFacts;

/// How long a PROXY header may take.
const PROXY_TIMEOUT: Duration = Duration::from_secs(10);
/// Octets of a PROXY header that are read at all.
const PROXY_BYTES_MAX: usize = 8192;

/// One listener on one shard.
pub struct Door<S: Services> {
    current: Current,
    floor: Floor,
    services: Rc<S>,
    stops: RefCell<Vec<(SocketAddr, Switch)>>,
}

impl<S: Services> Door<S> {
    /// A door to sessions that go by `current`.
    pub fn new(current: Current, floor: Floor, services: Rc<S>) -> Rc<Door<S>> {
        Rc::new(Door { current, floor, services, stops: RefCell::default() })
    }

    /// The profile in force, to be replaced at a reload.
    pub fn current(&self) -> &Current {
        &self.current
    }

    /// Accepts connections until [`Door::stop`], then what the kernel had completed already, and ends.
    /// `pass` is shown each connection first; what it gives back is served here, what it keeps is another
    /// shard's, which calls [`Door::admit`] for it.
    pub async fn serve(
        self: &Rc<Self>,
        bound: BoundSocket,
        mut pass: impl FnMut(Accepted) -> Option<Accepted>,
    ) -> io::Result<()> {
        let listener = Listener::from_bound(bound);
        self.stops.borrow_mut().push((listener.local_addr(), listener.stopper()));
        listener
            .serve(|accepted| match pass(accepted) {
                Some(accepted) => self.admit(accepted),
                None => count(Counter::LinksHandedOver),
            })
            .await
    }

    /// Serves one connection in a task of its own. A panic there ends that session and is counted.
    pub fn admit(self: &Rc<Self>, accepted: Accepted) {
        let door = self.clone();
        let peer = accepted.peer_addr();
        task::spawn(async move {
            let session = task::catch(door.session(accepted));
            if let Err(panicked) = session.await {
                count(Counter::SessionPanics);
                event(wall(), Level::Error, Event::Panic, |line| {
                    line.show("remote", peer).show("panic", &panicked);
                });
            }
        });
    }

    /// No more connections: the sockets are drained and closed, sessions are not touched.
    pub fn stop(&self) {
        for (_, stop) in self.stops.borrow().iter() {
            stop.throw();
        }
    }

    /// As [`Door::stop`], for the socket at one address.
    pub fn stop_at(&self, address: SocketAddr) {
        self.stops.borrow_mut().retain(|(at, stop)| {
            if *at == address {
                stop.throw();
            }
            *at != address
        });
    }

    pub(super) async fn session(self: Rc<Self>, accepted: Accepted) {
        let profile = self.current.profile();
        // All that comes before the session is boxed: it is gone when the session waits.
        let Some((link, _place)) = Box::pin(self.open(accepted, &profile)).await else { return };
        drop(profile);
        session::serve(link, self.current.clone(), self.floor.clone(), self.services.clone()).await;
    }

    /// Everything before the first octet of SMTP. Nothing when there will be none.
    async fn open(&self, accepted: Accepted, profile: &Profile) -> Option<(Link, S::Permit)> {
        let peer = accepted.peer_addr();
        let is_one_too_many = accepted.is_one_too_many();
        let mut stream = Stream::from_accepted(accepted);
        let asks: [Ask; 1] = [Ask {
            key: profile.keys.limit("listener.connections").text(&profile.listener).finish(),
            limit: Limit::Concurrency(profile.connections_max),
        }];
        let place = if is_one_too_many { None } else { self.services.take(&asks).await };
        let Some(place) = place else {
            count(Counter::LinksRefused);
            self.refuse(stream, profile, "421 4.7.0 Too many connections, try again later.\r\n").await;
            return None;
        };
        let local = stream.local_addr().ok()?;
        let mut header = Header { remote: peer, local, tls: None };
        if is_in(&profile.proxy_trusted, peer.ip()) {
            let Some(read) = read_proxy(&mut stream, header).await else {
                count(Counter::ProxyHeadersBad);
                event(wall(), Level::Info, Event::LinkRefused, |line| {
                    line.text("listener", &profile.listener).show("remote", peer).text("reason", "bad PROXY header");
                });
                stream.abort();
                return None;
            };
            header = read;
        }
        let connection = match (&profile.tls, profile.tls_implicit) {
            (Some(config), true) => self.handshake(stream, config.clone(), profile, header.remote).await?,
            _ => Connection::Plain(stream),
        };
        let Header { remote, local, tls } = header;
        Some((Link { connection, remote, local, proxied_tls: tls }, place))
    }

    async fn handshake(
        &self,
        stream: Stream,
        config: std::sync::Arc<rustls::ServerConfig>,
        profile: &Profile,
        remote: SocketAddr,
    ) -> Option<Connection> {
        match self.floor.handshake(stream, config, profile.tls_timeout).await {
            Ok(connection) => {
                count(Counter::TlsHandshakes);
                Some(connection)
            }
            Err(error) => {
                count(Counter::TlsHandshakesFailed);
                event(wall(), Level::Info, Event::LinkTls, |line| {
                    line.text("listener", &profile.listener).show("remote", remote).show("error", &error);
                });
                None
            }
        }
    }

    /// Says why in clear, where clear text is what the client expects, and closes.
    async fn refuse(&self, mut stream: Stream, profile: &Profile, reply: &str) {
        if profile.tls_implicit {
            return;
        }
        stream.set_write_timeout(Some(Duration::from_secs(5)));
        let _ = stream.write_all(reply.as_bytes()).await;
    }
}

/// What is known of a connection before its session.
struct Header {
    remote: SocketAddr,
    local: SocketAddr,
    tls: Option<Box<TlsFacts>>,
}

/// Reads the PROXY header that a trusted peer has to send first, and not an octet further: what follows
/// may be a TLS handshake.
async fn read_proxy(stream: &mut Stream, header: Header) -> Option<Header> {
    let read = async {
        let mut input = Vec::with_capacity(128);
        loop {
            match proxy::parse(&input) {
                Proxy::Header { client, .. } => return Some(proxied(header, client)),
                Proxy::Garbage => return None,
                Proxy::More => {}
            }
            let mut piece = [0; 256];
            let wanted = wanted(&input).min(piece.len());
            let octets = stream.read(piece.get_mut(..wanted)?).await.ok()?;
            if octets == 0 || input.len() > PROXY_BYTES_MAX {
                return None;
            }
            input.extend_from_slice(piece.get(..octets)?);
        }
    };
    time::timeout(PROXY_TIMEOUT, read).await.ok().flatten()
}

/// How many octets can be read without going past the end of the header.
fn wanted(input: &[u8]) -> usize {
    const SIGNATURE_BYTES: usize = 12; // of version 2; no header of version 1 is as short
    const FIXED_BYTES: usize = 16;
    match input {
        _ if input.len() < SIGNATURE_BYTES => SIGNATURE_BYTES - input.len(),
        [b'\r', ..] if input.len() < FIXED_BYTES => FIXED_BYTES - input.len(),
        [b'\r', _, _, _, _, _, _, _, _, _, _, _, _, _, high, low, ..] => {
            let length = FIXED_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
            length.saturating_sub(input.len()).max(1)
        }
        _ => 1, // a line of at most 107 octets: one at a time is exact
    }
}

fn proxied(header: Header, client: proxy::Client) -> Header {
    let (remote, local) = client.addresses.unwrap_or((header.remote, header.local));
    let tls = client
        .tls
        .map(|tls| Box::new(TlsFacts { version: tls.version, cipher: tls.cipher, sni: client.authority.clone() }));
    Header { remote, local, tls }
}

fn wall() -> WallTime {
    WallTime(clock::wall_ms())
}
