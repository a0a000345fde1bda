//! What one message costs the server machine and policy in allocations: what it must keep, and no more.

use std::rc::Rc;
use std::sync::Arc;

use allocation_counter::measure;
use posthaste::base::WallTime;
use posthaste::limits::KeyMaker;
use posthaste::lookup::{DirectorySettings, Lookups, Memory, Settings as LookupSettings, ShardLookups};
use posthaste::policy::{self, Found, Judgement, Listener, Settings, Site, Subject};
use posthaste::smtp::server::{Client, Protocol, Rules, Server, Step, words};

const NOW: WallTime = WallTime(1_795_386_600_000);

struct Shop {
    settings: Settings,
    lookups: ShardLookups,
    keys: KeyMaker,
    server: Server,
}

impl Shop {
    fn new() -> Shop {
        let directory = DirectorySettings {
            id: "d".into(),
            domains: vec!["ours.test".into()],
            accept_all: true,
            ..DirectorySettings::default()
        };
        let settings = LookupSettings { directories: vec![directory], ..LookupSettings::default() };
        let lookups = Lookups::build(&settings).expect("a sound directory");
        let address = "192.0.2.1:4000".parse().expect("an address");
        let mut server = Server::new(Client::new("smtp".into(), Protocol::Smtp, address, address), Rules::default());
        server.intake().lend(vec![0; 16 * 1024]);
        Shop {
            settings: Settings::default(),
            lookups: ShardLookups::new(Arc::new(lookups), Rc::new(Memory::default())),
            keys: KeyMaker::new(1),
            server,
        }
    }

    /// Feeds octets and does what the driver does.
    fn feed(&mut self, octets: &[u8]) {
        let space = self.server.intake().space();
        space[..octets.len()].copy_from_slice(octets);
        self.server.intake().received(octets.len());
        loop {
            match self.server.step(NOW) {
                Step::Read => break,
                Step::Ask(_) => {
                    let site = Site {
                        settings: &self.settings,
                        lookups: &self.lookups,
                        keys: &self.keys,
                        listener: Listener::default(),
                        pressure: None,
                        now: NOW,
                    };
                    let subject = Subject {
                        question: self.server.question().expect("a question"),
                        client: self.server.client(),
                        counts: self.server.counts(),
                        content: self.server.gathered(),
                        id: "00-0001-0000002a",
                        hostname: "mx.ours.test",
                    };
                    let Judgement::Ruled(ruling) = policy::judge(&site, &subject, &mut Found::default()) else {
                        panic!("nothing waits");
                    };
                    self.server.answer(ruling.answer, NOW);
                }
                Step::Commit(ticket) => {
                    drop(self.server.take_message());
                    self.server.committed(ticket, &words::queued("00-0001-0000002a"));
                }
                other => panic!("{other:?}"),
            }
        }
        let ready = self.server.replies().take_ready();
        self.server.replies().recycle(ready);
    }
}

#[test]
fn a_message_allocates_what_it_keeps() {
    let mut shop = Shop::new();
    shop.feed(b"EHLO client.test\r\n");
    let body = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(16);
    let content = format!("Subject: x\r\nFrom: <a@there.test>\r\n\r\n{body}.\r\n");
    let transaction = |shop: &mut Shop| {
        let each = [
            measure(|| shop.feed(b"MAIL FROM:<somebody@there.test> SIZE=1100\r\n")).count_total,
            measure(|| shop.feed(b"RCPT TO:<joe@ours.test>\r\n")).count_total,
            measure(|| shop.feed(b"DATA\r\n")).count_total,
            measure(|| shop.feed(content.as_bytes())).count_total,
        ];
        println!("allocations at MAIL, RCPT, DATA, end of data: {each:?}");
        each
    };
    transaction(&mut shop);
    let [mail, rcpt, data, end] = transaction(&mut shop);
    // MAIL: the transaction. RCPT: the recipient in question, the list, its hash. DATA: the receiving.
    // The end: content, trace field, date, reply. A number that grows wants a reason.
    assert!(mail <= 1, "{mail}");
    assert!(rcpt <= 3, "{rcpt}");
    assert!(data <= 1, "{data}");
    assert!(end <= 12, "{end}");
    let noop = measure(|| shop.feed(b"NOOP\r\n")).count_total;
    assert_eq!(noop, 0);
}
