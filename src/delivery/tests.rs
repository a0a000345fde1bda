//! Attempts over loopback against scripted peers: slow, resetting, refusing at each step, silent after the end of data.

mod convert;
mod interop;
mod peer;
mod scenarios;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste_rt::bridge::ControlPlane;
use posthaste_rt::shard;
use rustls::RootCertStore;

use super::settings::{Connection, MxRoute, RelayRoute, Tls};
use super::*;
use crate::base::StreamId;
use crate::dns::Zone;
use crate::mail::{ForwardPath, MailParameters, Recipient, ReversePath};
use crate::smtp::client::Timeouts;

const BODY: &str = "Subject: x\r\n\r\n.dot\r\nline\r\n";

fn envelope(recipients: usize) -> Envelope {
    let path = |i| ForwardPath::parse(&format!("<r{i}@d.test>"), false).expect("an address");
    Envelope {
        reverse_path: ReversePath::parse("<s@x.test>", false).expect("an address"),
        mail: MailParameters::default(),
        recipients: (0..recipients).map(|i| Recipient::new(path(i))).collect(),
    }
}

fn facts(content: &[u8]) -> ContentFacts {
    let mut scanner = crate::smtp::content::ContentScanner::new(crate::smtp::content::BareLineEnds::Allow);
    scanner.scan_chunk(content, |_| {});
    scanner.finish(|_| {})
}

/// Everything a job refers to.
#[derive(Clone)]
struct Bench {
    envelope: Envelope,
    content: MemoryContent,
    facts: ContentFacts,
    next_hop: NextHop,
    connection: Connection,
    tls: Tls,
    settings: Settings,
    lookups: Lookups,
    zone: Zone,
    roots: RootCertStore,
}

impl Bench {
    fn new(next_hop: NextHop) -> Bench {
        let wait = Duration::from_secs(5);
        let timeouts = Timeouts { greeting: wait, ehlo: wait, mail_from: wait, rcpt_to: wait, data: wait };
        Bench {
            envelope: envelope(1),
            content: MemoryContent::new([Bytes::from_static(BODY.as_bytes())]),
            facts: facts(BODY.as_bytes()),
            next_hop,
            connection: Connection { connect_timeout: wait, timeouts, ..Connection::default() },
            tls: Tls { timeout: wait, ..Tls::default() },
            settings: Settings::default(),
            lookups: Lookups::default(),
            zone: Zone::new(),
            roots: RootCertStore::empty(),
        }
    }

    fn relay(port: u16) -> Bench {
        Bench::new(relay(RelayRoute { port, implicit_tls: false, ..RelayRoute::to("127.0.0.1") }))
    }

    /// Two exchangers at 127.0.0.1 and 127.0.0.2, in this order.
    fn two_exchangers(port: u16) -> Bench {
        let route = MxRoute { port, allow_loopback: true, ..MxRoute::default() };
        let mut bench = Bench::new(NextHop::Mx { id: "mx".into(), route: Arc::new(route), domain: "d.test".into() });
        let host = |last: u8| IpAddr::from([127, 0, 0, last]);
        bench.zone = Zone::new()
            .mx("d.test", &[(10, "one.d.test"), (20, "two.d.test")])
            .host("one.d.test", &[host(1)])
            .host("two.d.test", &[host(2)]);
        bench
    }

    fn content(mut self, content: &[u8]) -> Bench {
        self.facts = facts(content);
        self.content = MemoryContent::new(content.chunks(1000).map(Bytes::copy_from_slice));
        self
    }

    fn recipients(mut self, n: usize) -> Bench {
        self.envelope = envelope(n);
        self
    }

    /// Runs on a shard with a delivery of its own.
    fn on_shard<T: Send + 'static, F: Future<Output = T> + 'static>(
        self,
        run: impl FnOnce(Bench, Delivery) -> F + Send + 'static,
    ) -> T {
        let control = ControlPlane::start(1).expect("a control plane");
        let handle = control.handle();
        let cpu = shard::cpus()[0];
        let shard = shard::spawn(cpu, "delivery", move || async move {
            let tls = ClientTls::trusting(self.roots.clone()).expect("a TLS configuration");
            let resolver = Resolver::fixed(self.zone.clone());
            let delivery = Delivery::new("us.test", resolver, tls, handle, 1);
            run(self, delivery).await
        });
        shard.expect("a shard").join().expect("the shard ends well")
    }

    async fn attempt(&self, delivery: &Delivery) -> Report {
        self.attempt_with(delivery, &mut self.content.clone()).await
    }

    async fn attempt_with<C: Content>(&self, delivery: &Delivery, content: &mut C) -> Report {
        let recipients: Vec<_> = (0..self.envelope.recipients.len() as u32).map(RecipientIndex).collect();
        let lane =
            LaneKey { queue: "remote".into(), next_hop: self.next_hop.lane(), source: None, tls: "default".into() };
        let job = Job {
            message: MessageId { stream: StreamId(0), start: 1, sequence: 7 },
            envelope: &self.envelope,
            facts: &self.facts,
            accepted_at: WallTime(1_795_386_600_000),
            recipients: &recipients,
            lane: &lane,
            reuse: delivery.idle_connections() > 0,
            next_hop: &self.next_hop,
            connection: &self.connection,
            tls: &self.tls,
            lookups: &self.lookups,
            settings: &self.settings,
        };
        let mut report = delivery.attempt(&job, content).await;
        report.outcomes.sort_by_key(|o| o.recipient);
        let reported: Vec<_> = report.outcomes.iter().map(|o| o.recipient).collect();
        assert_eq!(reported, recipients, "every recipient once");
        assert_eq!(report.has_idle, delivery.idle_connections() > 0, "one attempt, one place");
        assert!(delivery.idle_connections() <= 1);
        report
    }

    /// One attempt on a fresh delivery.
    fn once(self) -> Report {
        self.on_shard(|bench, delivery| async move { bench.attempt(&delivery).await })
    }
}

fn relay(route: RelayRoute) -> NextHop {
    NextHop::Relay { id: "r".into(), route: Arc::new(route) }
}

/// A letter per recipient: Delivered, deFerred, Permanent.
fn letters(report: &Report) -> String {
    let letter = |o: &RecipientOutcome| match o.outcome {
        Outcome::Delivered(_) => 'D',
        Outcome::Deferred(_) => 'F',
        Outcome::Failed(_) => 'P',
    };
    report.outcomes.iter().map(letter).collect()
}

fn words(report: &Report) -> String {
    report.outcomes[0].outcome.diagnostic().reply.text.to_string()
}
