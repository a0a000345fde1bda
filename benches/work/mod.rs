//! The pieces of work that criterion times and callgrind counts: one definition for both.
#![allow(dead_code, clippy::unwrap_used)] // each of them uses a part

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use posthaste::base::{MessageId, Monotonic, Now, Rate, RecipientIndex, ShardId, StreamId, WallTime};
use posthaste::expr::{Environment, Expr, Lookups as _, Scope, Stage, Value, Variable};
use posthaste::limits::{Ask, KeyMaker, Limit, LimitKey, Limits, Request, Ticket, Verdict};
use posthaste::lookup::{DirectorySettings, Lookups, Memory, Settings as LookupSettings, ShardLookups};
use posthaste::mail::{
    ContentFacts, Diagnostic, Envelope, ErrorKind, ForwardPath, HeaderSection, MailParameters, Received, Recipient,
    Reply, ReversePath, Scope as Blame, Source, Status, StatusRecord,
};
use posthaste::queue::{Arrival, ArrivalRecipient, GroupId, Queue};
use posthaste::smtp::command::Command;
use posthaste::smtp::content::{BareLineEnds, ContentScanner};
use posthaste::smtp::line::{BareLf, LineSplitter, Step};
use posthaste::spool::sim::{Crash, SimDisk};
use posthaste::spool::{Body, Durability, Message, Record, RecoveryEvent, Settings, Spool};

/// A pipelined transaction up to DATA.
pub const TRANSACTION: &[u8] = b"MAIL FROM:<newsletter-bounces@mailing.example.com> SIZE=14230 BODY=8BITMIME\r\n\
    RCPT TO:<someone.with.a.name@customer.example.net>\r\nDATA\r\n";

/// Splits and parses everything; how many commands that were.
pub fn parse_commands(stream: &[u8]) -> usize {
    let (mut splitter, mut rest, mut commands) = (LineSplitter::new(BareLf::Refuse), stream, 0);
    while let Step::Line { text, consumed } = splitter.next(rest) {
        commands += usize::from(std::hint::black_box(Command::parse(text)).is_ok());
        rest = &rest[consumed..];
    }
    commands
}

/// So many octets of content in lines as prose has them, with the end of data.
pub fn content(bytes: usize) -> Vec<u8> {
    let mut content = HEADER.to_vec();
    content.extend_from_slice(b"\r\n");
    let mut number = 0usize;
    while content.len() < bytes {
        content.extend((0..78 - (number * 7) % 39).map(|i| b'a' + ((i + number) % 26) as u8));
        content.extend_from_slice(b"\r\n");
        number += 1;
    }
    content.extend_from_slice(b".\r\n");
    content
}

/// Scans content in place to its end; the octets kept.
pub fn scan_content(content: &mut [u8]) -> usize {
    let mut scanner = ContentScanner::new(BareLineEnds::Reject);
    let end = scanner.scan_in_place(content);
    assert!(end.is_end);
    std::hint::black_box(scanner.finish(|_| {}));
    end.kept
}

/// A header section as a mailing has it.
pub const HEADER: &[u8] = b"Received: from app-7.mailing.example.com (app-7.mailing.example.com [192.0.2.7])\r\n\
    \tby out.mailing.example.com with ESMTPS id 4Zk2Pq0Yw1z9sX\r\n\
    \tfor <someone.with.a.name@customer.example.net>; Sun, 22 Nov 2026 22:30:00 +0000\r\n\
    DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=mailing.example.com; s=2026;\r\n\
    \tt=1795386600; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n\
    \th=From:To:Subject:Date:Message-ID:List-Unsubscribe;\r\n\
    \tb=c2lnbmF0dXJlIHRoYXQgaXMgbG9uZyBlbm91Z2ggdG8gYmUgb25lLCBvdmVyIHNldmVyYWwgbGluZXM\r\n\
    \t cyBhcyB0aGV5IGFsbCBhcmUgaW4gcHJhY3RpY2UsIHdpdGggcGFkZGluZyBhdCB0aGUgZW5kIG9mIGl0\r\n\
    From: The Newsletter <news@mailing.example.com>\r\nTo: Someone <someone.with.a.name@customer.example.net>\r\n\
    Subject: What is new in November, and what will be in December\r\nDate: Sun, 22 Nov 2026 22:30:00 +0000\r\n\
    Message-ID: <20261122223000.4Zk2Pq0Yw1z9sX@mailing.example.com>\r\nMIME-Version: 1.0\r\n\
    Content-Type: multipart/alternative; boundary=\"=_b0undary\"\r\nPrecedence: bulk\r\n\
    List-Unsubscribe: <https://mailing.example.com/u/4Zk2Pq0Yw1z9sX>, <mailto:u@mailing.example.com>\r\n\
    List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nX-Campaign: november-2026\r\n";

/// Splits content into header section and body and looks one field up; how many fields there are.
pub fn scan_header(content: &Bytes) -> usize {
    let (header, body) = HeaderSection::split(content);
    assert!(header.named("Message-ID").next().is_some() && body > HEADER.len());
    header.len()
}

fn id(sequence: u64) -> MessageId {
    MessageId { stream: StreamId(0), start: 1, sequence }
}

/// A message of 1 KB with one recipient.
pub fn message(id: MessageId) -> Message {
    let recipient = ForwardPath::parse("<someone.with.a.name@customer.example.net>", false).expect("an address");
    let content = Bytes::from(content(1024));
    Message {
        id,
        envelope: Envelope {
            reverse_path: ReversePath::parse("<news@mailing.example.com>", false).expect("an address"),
            mail: MailParameters::default(),
            recipients: vec![Recipient::new(recipient)],
        },
        received: Received {
            at: WallTime(1_795_386_600_000),
            source: Source::Unauthenticated,
            listener: "smtp".into(),
            remote_ip: [192, 0, 2, 7].into(),
            local_port: 25,
            helo: "app-7.mailing.example.com".into(),
            authenticated_as: None,
            content: ContentFacts { size_bytes: content.len() as u64, has_separator: true, ..ContentFacts::default() },
        },
        trace: Bytes::from_static(b"Received: from client.test by mx.test; Sun, 22 Nov 2026 22:30:00 +0000\r\n"),
        header: content.slice(..HEADER.len()),
        has_separator: true,
        body: Body::Memory(vec![content.slice(HEADER.len() + 2..)]),
    }
}

/// The final status of a message.
pub fn delivered(message: MessageId) -> Record {
    let last = Diagnostic::local(ErrorKind::None, Blame::Recipient, Reply::new(250, (2, 0, 0), "taken"));
    let (recipient, at) = (RecipientIndex(0), WallTime(1_795_386_601_000));
    Record::Status(Box::new(StatusRecord { message, recipient, at, status: Status::Delivered { attempts: 1, last } }))
}

/// A message and its status, as they are written.
pub fn records() -> [Record; 2] {
    [Record::Message(Rc::new(message(id(1)))), delivered(id(1))]
}

/// A simulated disk with a stream of `count` messages of which every other one is delivered, after a crash.
pub fn crashed_spool(count: u64) -> SimDisk {
    let disk = SimDisk::new(1, 1 << 30);
    let written = disk.run(async {
        let (spool, mut recovery) =
            Spool::open(disk.clone(), spool_settings(), ShardId(0), 1).await.expect("an empty disk");
        while recovery.next().await.is_some() {}
        for n in 0..count {
            let message = message(spool.new_id());
            let id = message.id;
            let records = vec![Record::Message(Rc::new(message))];
            spool.commit(records, Durability::Process).await.expect("committed");
            if n % 2 == 0 {
                spool.commit(vec![delivered(id)], Durability::Process).await.expect("committed");
            }
        }
    });
    written.expect("no crash before");
    disk
}

fn spool_settings() -> Settings {
    Settings { path: "/spool".into(), segment_size: 1 << 20, free_space_min: 1 << 20, ..Settings::default() }
}

/// Opens the stream and recovers it; how many messages wait. The disk is as before, for the next time.
pub fn recover(disk: &SimDisk) -> usize {
    let disk = disk.restart(Crash::Kill);
    let found = disk.run(async {
        let (_spool, mut recovery) =
            Spool::open(disk.clone(), spool_settings(), ShardId(0), 1).await.expect("a sound disk");
        let mut found = 0;
        while let Some(event) = recovery.next().await {
            match event {
                RecoveryEvent::Messages(batch) => found += batch.len(),
                RecoveryEvent::Complete(_) => break,
                other => panic!("{other:?}"),
            }
        }
        found
    });
    found.expect("no crash")
}

/// What a session knows at RCPT.
pub struct Session(ShardLookups);

impl Scope for Session {
    fn variable(&self, variable: Variable) -> Value<'_> {
        match variable {
            Variable::Listener => Value::text("submission"),
            Variable::RemoteIp => Value::Ip([10, 0, 0, 20].into()),
            Variable::LocalPort => Value::Integer(25),
            Variable::RcptDomain => Value::text("mail.example.org"),
            _ => Value::EMPTY,
        }
    }

    fn lookups(&self) -> &dyn posthaste::expr::Lookups {
        &self.0
    }
}

impl Session {
    /// With a directory of a thousand domains.
    pub fn new() -> Session {
        let domains = (0..1000).map(|i| format!("domain{i}.example").into()).chain(["mail.example.org".into()]);
        let directory =
            DirectorySettings { id: "office".into(), domains: domains.collect(), ..DirectorySettings::default() };
        let settings = LookupSettings { directories: vec![directory], ..LookupSettings::default() };
        let lookups = Lookups::build(&settings).expect("sound settings");
        let session = Session(ShardLookups::new(Arc::new(lookups), Rc::new(Memory::default())));
        assert!(session.0.is_local_domain("*", "mail.example.org"));
        session
    }
}

/// Three comparisons and a look-up.
pub fn condition() -> Expr<bool> {
    let text = "local_port = 25 && listener != 'smtp' && remote_ip = '10.0.0.20' && is_local_domain('*', rcpt_domain)";
    Expr::parse(text, false, &Environment::at(Stage::RCPT)).expect("compiles")
}

/// A table of leases on the only shard, and what a message asks of it: a connection, a rate, a lane.
pub struct Leases {
    limits: Limits,
    keys: Vec<[LimitKey; 3]>,
    next: usize,
    now: Monotonic,
}

impl Leases {
    /// Room for `count` senders.
    pub fn new(count: usize) -> Leases {
        let maker = KeyMaker::new(7);
        let key = |name: &str, n: usize| maker.limit(name).text(&format!("sender{n}.example")).finish();
        let keys = (0..count).map(|n| [key("connections", n), key("rate", n), key("lane", n % 50)]).collect();
        Leases { limits: Limits::new(ShardId(0), 1), keys, next: 0, now: Monotonic(1_000_000) }
    }

    /// Takes the three limits of the next sender and gives them back.
    pub fn take_and_release(&mut self) {
        let [connection, rate, lane] = self.keys[self.next];
        self.next = (self.next + 1) % self.keys.len();
        self.now = Monotonic(self.now.0 + 10);
        let asks = [
            Ask { key: connection, limit: Limit::Concurrency(100) },
            Ask { key: rate, limit: Limit::Bucket(Rate::new(1_000_000, Duration::from_secs(1))) },
            Ask { key: lane, limit: Limit::Concurrency(1000) },
        ];
        match self.limits.acquire(&Request::inbound(&asks, Ticket::inbound(1), self.now), self.now) {
            Verdict::Granted(permit) => self.limits.release(permit, self.now),
            other => panic!("{other:?}"),
        }
    }
}

/// A queue whose messages all wait for a time.
pub struct Timers {
    queue: Queue<Rc<()>, ()>,
    next: u64,
    seconds: u64,
}

impl Timers {
    /// With `count` messages that wait for a day and more.
    pub fn new(count: u64) -> Timers {
        let mut timers = Timers { queue: Queue::new(7), next: 0, seconds: 0 };
        for n in 0..count {
            timers.insert(86_400 + n * 7919 % 10_800);
        }
        timers
    }

    fn now(&self) -> Now {
        let mono = Monotonic((10 + self.seconds) * 1_000_000);
        Now { mono, wall: WallTime(1_800_000_000_000 + self.seconds * 1000) }
    }

    fn insert(&mut self, in_seconds: u64) {
        let at = self.now();
        let due = WallTime(at.wall.0 + in_seconds * 1000);
        let recipient =
            ArrivalRecipient { due: Some(due), ..ArrivalRecipient::new(RecipientIndex(0), "customer.example.net") };
        self.next += 1;
        let arrival = Arrival {
            id: id(self.next),
            received_at: at.wall,
            size_bytes: 1024,
            priority: 0,
            hold_until: None,
            deliver_by: None,
            is_held: false,
            reverse_path: "news@mailing.example.com",
            tenant: "",
            recipients_total: 1,
            content: None,
            recipients: &[recipient],
        };
        assert!(self.queue.insert(arrival, at));
    }

    /// Sets `count` timers of one second; each fires, is set again, fires again and is forgotten.
    pub fn set_and_fire(&mut self, count: usize) {
        for _ in 0..count {
            self.insert(1);
        }
        let again = |queue: &mut Queue<_, _>, group, now: Now| queue.put_off(group, now.micros() + 1_000_000, now);
        assert_eq!(self.fire(count, again), count);
        let forget = |queue: &mut Queue<_, _>, group, _| drop(queue.finish(group));
        assert_eq!(self.fire(count, forget), count);
    }

    /// Two seconds later: what becomes of each group that is due; how many there were, at most `count`.
    fn fire(&mut self, count: usize, then: impl Fn(&mut Queue<Rc<()>, ()>, GroupId, Now)) -> usize {
        self.seconds += 2;
        let (now, mut fired) = (self.now(), 0);
        while !self.queue.turn(now) {}
        while fired < count {
            let Some(due) = self.queue.next_due(now) else { break };
            due.groups.iter().for_each(|group| then(&mut self.queue, group.group, now));
            fired += due.groups.len();
        }
        fired
    }
}
