//! The same mail for every count: a server that keeps or relays, clients that send, one command at a time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{Client, Server, Sink, eventually};

/// What becomes of the mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is made durable and stays.
    Accept,
    /// It is made durable and leaves at once.
    Relay,
    /// As `Relay`, and another program is told of it.
    Told,
}

impl Kind {
    /// The name in the budget.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Accept => "accept",
            Kind::Relay => "relay",
            Kind::Told => "told",
        }
    }

    /// The configuration beyond the base.
    pub fn configuration(self, sink: u16) -> String {
        let threads = if self == Kind::Accept { 0 } else { 100 };
        let events = match self {
            Kind::Told => "[events.file]\ntype = \"file\"\npath = \"@DIR@/events.json\"\n",
            _ => "",
        };
        format!(
            r#"
[session.rcpt]
relay = true
[queue.strategy]
route = "'sink'"
schedule = "'quick'"
[queue.schedule.quick]
queue-name = "quick"
retry = ["1s"]
expire = "1h"
[queue.virtual.quick]
threads-per-node = {threads}
[queue.route.sink]
type = "relay"
address = "127.0.0.1"
port = {sink}
protocol = "smtp"
tls.implicit = false
{events}"#
        )
    }
}

/// A server under measurement, with its next hop and connected clients.
pub struct Scene {
    pub server: Server,
    pub kind: Kind,
    clients: Vec<Client>,
    content: String,
    sink: Sink,
    /// Messages so far.
    sent: usize,
}

impl Scene {
    /// Starts everything and lets it do what it does only once: connections, buffers, segments.
    pub fn start(kind: Kind, shards: u16, sessions: usize, size: usize) -> Scene {
        Scene::start_under(kind, shards, sessions, size, &[])
    }

    /// As [`Scene::start`], the server under another program.
    pub fn start_under(kind: Kind, shards: u16, sessions: usize, size: usize, prefix: &[&str]) -> Scene {
        let sink = Sink::start(&["PIPELINING", "8BITMIME"]);
        let mut server = Server::prepare(&kind.configuration(sink.port));
        server.amend("format = \"json\"\nlevel = \"debug\"\n", "");
        let shards_text = shards.to_string();
        server.launch_under(prefix, &["--shards", &shards_text]);
        let clients = (0..sessions).map(|_| Client::greeted(server.port)).collect();
        let line = "0123456789abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOP\r\n";
        let header = "Subject: a count\r\nFrom: <a@one.test>\r\nTo: <b@two.test>\r\n\r\n";
        let body = line.repeat(size.saturating_sub(header.len()) / line.len());
        let content = format!("{header}{}", body.trim_end());
        let mut scene = Scene { server, kind, clients, content, sink, sent: 0 };
        scene.send((100 / sessions).max(4));
        scene.settled();
        scene
    }

    /// Octets of one message's content.
    pub fn content_bytes(&self) -> usize {
        self.content.len() + 2
    }

    /// Every client sends as many messages, all at once; ends when all are where they shall be. How many that were.
    pub fn send(&mut self, each: usize) -> f64 {
        let content = &self.content;
        std::thread::scope(|scope| {
            for client in &mut self.clients {
                scope.spawn(move || {
                    for _ in 0..each {
                        let reply = client.mail("a@one.test", &["b@two.test"], content);
                        assert!(reply.starts_with("250"), "{reply}");
                    }
                });
            }
        });
        let messages = self.clients.len() * each;
        self.sent += messages;
        if self.kind != Kind::Accept {
            // The sink knows first, and asking it costs the server nothing.
            eventually("all have arrived", || self.sink.count() == self.sent);
        }
        messages as f64
    }

    /// Waits until the server has nothing to do of itself: segments are made, statuses written, counters taken over.
    pub fn settled(&self) {
        let look = || ["spool_segments", "spool_bytes_written_total", "spool_syncs_total"].map(|n| self.metric(n));
        let (mut last, mut same) = (look(), 0);
        eventually("the spool has settled", || {
            std::thread::sleep(Duration::from_millis(60)); // longer than the counters' tick
            let now = look();
            same = if now == last { same + 1 } else { 0 };
            last = now;
            same >= 5
        });
    }

    /// A metric of the server.
    pub fn metric(&self, name: &str) -> f64 {
        self.server.metric(&format!("posthaste_{name}"))
    }

    /// How much these counters grow per message in the middle of a flow of `each` messages per client: what a flow
    /// costs once, when it begins and when it ends, is not in it.
    pub fn in_steady_flow<const N: usize>(&mut self, each: usize, counters: [&str; N]) -> [f64; N] {
        let (content, sent) = (&self.content, AtomicUsize::new(0));
        let (server, all) = (&self.server, self.clients.len() * each);
        let look = || counters.map(|name| server.metric(&format!("posthaste_{name}")));
        let [first, second] = std::thread::scope(|scope| {
            for client in &mut self.clients {
                let sent = &sent;
                scope.spawn(move || {
                    for _ in 0..each {
                        let reply = client.mail("a@one.test", &["b@two.test"], content);
                        assert!(reply.starts_with("250"), "{reply}");
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            [all / 3, all * 9 / 10].map(|mark| {
                while sent.load(Ordering::Relaxed) < mark {
                    std::thread::sleep(Duration::from_millis(1));
                }
                (sent.load(Ordering::Relaxed), look())
            })
        });
        self.sent += all;
        if self.kind != Kind::Accept {
            eventually("all have arrived", || self.sink.count() == self.sent);
        }
        let messages = (second.0 - first.0) as f64;
        let mut at = 0;
        counters.map(|_| {
            at += 1;
            (second.1[at - 1] - first.1[at - 1]) / messages
        })
    }

    /// How much these counters grow while `each` messages per client are sent, per message.
    pub fn per_message<const N: usize>(&mut self, each: usize, counters: [&str; N]) -> [f64; N] {
        self.settled();
        let before = counters.map(|name| self.metric(name));
        let messages = self.send(each);
        self.settled();
        let mut at = 0;
        counters.map(|name| {
            let grown = self.metric(name) - before[at];
            at += 1;
            grown / messages
        })
    }
}
