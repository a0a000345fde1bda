//! The resolver against a name server on loopback that says whatever a test wants.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use posthaste_rt::bridge::ControlPlane;
use posthaste_rt::{shard, task};

use super::settings::{Server, Servers};
use super::*;

const A: u16 = 1;
const CNAME: u16 = 5;
const MX: u16 = 15;
const TXT: u16 = 16;
const NXDOMAIN: u8 = 3;
const SERVFAIL: u8 = 2;

/// What the server says to a question.
#[derive(Default)]
struct Said {
    code: u8,
    answers: Vec<(u16, Vec<u8>)>,
    /// With an SOA in the authority section: time to live of "no".
    soa: bool,
    /// Over UDP the answer is cut; the rest is had over TCP.
    truncated: bool,
    /// Nothing at all.
    silent: bool,
}

fn records(answers: Vec<(u16, Vec<u8>)>) -> Said {
    Said { answers, ..Said::default() }
}

fn no(code: u8) -> Said {
    Said { code, soa: true, ..Said::default() }
}

fn name(labels: &[&str]) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in labels {
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

fn mx(preference: u16, labels: &[&str]) -> (u16, Vec<u8>) {
    (MX, [&preference.to_be_bytes()[..], &name(labels)].concat())
}

fn reply(query: &[u8], said: &Said, over_tcp: bool) -> Vec<u8> {
    let question_end = 12 + query[12..].iter().position(|b| *b == 0).expect("a name") + 5;
    let cut = said.truncated && !over_tcp;
    let answers: &[_] = if cut { &[] } else { &said.answers };
    let mut out = query[..2].to_vec();
    out.extend_from_slice(&[0x81 | if cut { 2 } else { 0 }, 0x80 | said.code, 0, 1, 0, answers.len() as u8]);
    out.extend_from_slice(&[0, u8::from(said.soa), 0, 0]);
    out.extend_from_slice(&query[12..question_end]);
    let mut add = |kind: u16, data: &[u8]| {
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 1, 0]); // IN, 256 s
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(data);
    };
    answers.iter().for_each(|(kind, data)| add(*kind, data));
    if said.soa {
        add(6, &[&name(&["ns"])[..], &name(&["root"]), &[0; 16], &[0, 0, 0, 60]].concat());
    }
    out
}

/// The first label of the question and its kind.
fn asked(query: &[u8]) -> (String, u16) {
    let length = usize::from(query[12]);
    let end = 12 + query[12..].iter().position(|b| *b == 0).expect("a name") + 1;
    let label = String::from_utf8(query[13..13 + length].to_vec()).expect("text").to_lowercase();
    (label, u16::from_be_bytes([query[end], query[end + 1]]))
}

struct NameServer {
    port: u16,
    questions: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl NameServer {
    fn new(says: impl Fn(&str, u16) -> Said + Send + Sync + 'static) -> NameServer {
        // A port that is free over UDP may be somebody's over TCP.
        let (udp, tcp, port) = (0..100)
            .find_map(|_| {
                let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
                let port = udp.local_addr().expect("an address").port();
                let tcp = TcpListener::bind(("127.0.0.1", port)).ok()?;
                Some((udp, tcp, port))
            })
            .expect("a port that is free over both");
        udp.set_read_timeout(Some(Duration::from_millis(20))).expect("a timeout");
        tcp.set_nonblocking(true).expect("nonblocking");
        let (questions, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let says = Arc::new(says);
        let over_udp = {
            let (questions, stop, says) = (questions.clone(), stop.clone(), says.clone());
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((count, from)) = udp.recv_from(&mut buffer) else { continue };
                    questions.fetch_add(1, Ordering::Relaxed);
                    let (label, kind) = asked(&buffer[..count]);
                    let said = says(&label, kind);
                    if !said.silent {
                        udp.send_to(&reply(&buffer[..count], &said, false), from).expect("sent");
                    }
                }
            })
        };
        let over_tcp = {
            let stop = stop.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok((mut stream, _)) = tcp.accept() else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    stream.set_nonblocking(false).expect("blocking");
                    let mut length = [0; 2];
                    stream.read_exact(&mut length).expect("a length");
                    let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                    stream.read_exact(&mut query).expect("a question");
                    let (label, kind) = asked(&query);
                    let answer = reply(&query, &says(&label, kind), true);
                    stream.write_all(&(answer.len() as u16).to_be_bytes()).expect("written");
                    stream.write_all(&answer).expect("written");
                }
            })
        };
        NameServer { port, questions, stop, threads: vec![over_udp, over_tcp] }
    }

    fn settings(&self) -> Settings {
        let address = (Ipv4Addr::LOCALHOST, self.port).into();
        Settings {
            servers: Servers::Custom(vec![Server { tcp: false, address }]),
            timeout: Duration::from_millis(300),
            attempts: 1,
            ..Settings::default()
        }
    }

    /// Runs on a shard over this server; then says how many questions came over UDP.
    fn run<T: Send + 'static, F: Future<Output = T> + 'static>(
        self,
        settings: Settings,
        test: impl FnOnce(Arc<Upstream>) -> F + Send + 'static,
    ) -> (T, usize) {
        let control = ControlPlane::start(1).expect("a control plane");
        let upstream = Upstream::new(&settings, control.handle()).expect("an upstream");
        let shard = shard::spawn(shard::cpus()[0], "dns", move || test(upstream)).expect("a shard");
        let result = shard.join().expect("the shard ends well");
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the name server ends well");
        }
        (result, self.questions.load(Ordering::Relaxed))
    }

    fn lookup(self, kind: Kind, name: &'static str) -> Answer {
        let settings = self.settings();
        self.run(settings, move |upstream| async move { Resolver::new(upstream, 100).lookup(kind, name).await }).0
    }
}

fn exchanges(answer: &Answer) -> Vec<(u16, &str)> {
    let list = answer.as_ref().expect("records").records.mx();
    list.iter().map(|mx| (mx.preference, mx.exchange.as_str())).collect()
}

#[test]
fn records_come_out_as_values() {
    let server = NameServer::new(|_, _| records(vec![mx(10, &["MX", "D", "test"]), mx(0, &[])]));
    assert_eq!(exchanges(&server.lookup(Kind::Mx, "d.test")), [(10, "mx.d.test"), (0, "")]);
    let server = NameServer::new(|_, _| records(vec![(A, vec![192, 0, 2, 7])]));
    let expected = Records::A([Ipv4Addr::new(192, 0, 2, 7)].into());
    assert_eq!(server.lookup(Kind::A, "d.test").map(|r| r.records), Ok(expected));
    let server = NameServer::new(|_, _| records(vec![(TXT, b"\x03v=s\x02pf".to_vec())]));
    let expected = Records::Txt([b"v=spf".to_vec().into()].into());
    assert_eq!(server.lookup(Kind::Txt, "d.test").map(|r| r.records), Ok(expected));
}

#[test]
fn failures_keep_their_kind() {
    let server = |code| NameServer::new(move |_, _| no(code));
    assert_eq!(server(NXDOMAIN).lookup(Kind::Mx, "d.test"), Err(Failure::NoDomain));
    assert_eq!(server(0).lookup(Kind::Mx, "d.test"), Err(Failure::NoRecords));
    let without_soa = NameServer::new(|_, _| Said { code: NXDOMAIN, ..Said::default() });
    assert_eq!(without_soa.lookup(Kind::Mx, "d.test"), Err(Failure::NoDomain));
    assert!(matches!(server(SERVFAIL).lookup(Kind::Mx, "d.test"), Err(Failure::Temporary(_))));
    let silent = NameServer::new(|_, _| Said { silent: true, ..Said::default() });
    assert!(matches!(silent.lookup(Kind::Mx, "d.test"), Err(Failure::Temporary(_))));
}

#[test]
fn hostile_names_do_not_come_out() {
    let hostile = ["a b", "x\r\nRCPT TO:<y>", "\u{1b}]0;x", "a.b"];
    let some = NameServer::new(move |_, _| {
        let mut list: Vec<_> = hostile.iter().map(|label| mx(1, &[label, "test"])).collect();
        list.push(mx(5, &["good", "test"]));
        records(list)
    });
    assert_eq!(exchanges(&some.lookup(Kind::Mx, "d.test")), [(5, "good.test")]);
    let all = NameServer::new(|_, _| records(vec![mx(1, &["a b", "test"])]));
    assert_eq!(all.lookup(Kind::Mx, "d.test"), Err(Failure::Unusable));
}

#[test]
fn what_no_name_server_could_answer_is_not_asked() {
    let server = NameServer::new(|_, _| no(0));
    let settings = server.settings();
    let (answers, questions) = server.run(settings, |upstream| async move {
        let resolver = Resolver::new(upstream, 100);
        let mut answers = Vec::new();
        for name in ["", "a b", "x..y", "-\0", &"a".repeat(300)] {
            answers.push(resolver.mx(name).await);
        }
        answers
    });
    assert!(answers.iter().all(|answer| *answer == Err(Failure::NoDomain)));
    assert_eq!(questions, 0);
}

#[test]
fn an_alias_leads_to_its_addresses() {
    let server = NameServer::new(|label, kind| match (label, kind) {
        ("real", A) => records(vec![(A, vec![192, 0, 2, 9])]),
        (_, A) => records(vec![(CNAME, name(&["real", "test"]))]),
        _ => no(0),
    });
    let answer = server.lookup(Kind::A, "alias.test");
    assert_eq!(answer.map(|r| r.records), Ok(Records::A([Ipv4Addr::new(192, 0, 2, 9)].into())));
}

#[test]
fn a_truncated_answer_is_had_over_tcp() {
    let server = NameServer::new(|_, _| Said { truncated: true, ..records(vec![mx(10, &["mx", "test"])]) });
    assert_eq!(exchanges(&server.lookup(Kind::Mx, "d.test")), [(10, "mx.test")]);
}

#[test]
fn answers_are_bounded() {
    let server =
        NameServer::new(|_, _| Said { truncated: true, ..records((0..200).map(|i| (A, vec![10, 0, 0, i])).collect()) });
    assert_eq!(server.lookup(Kind::A, "d.test").expect("records").records.len(), records::RECORDS_MAX);
}

#[test]
fn one_question_is_asked_once_by_all_who_ask_at_once_and_then_kept() {
    let server = NameServer::new(|_, _| {
        std::thread::sleep(Duration::from_millis(50)); // all of them are waiting by then
        records(vec![mx(10, &["mx", "test"])])
    });
    let settings = server.settings();
    let (cached, questions) = server.run(settings, |upstream| async move {
        let resolvers = [Resolver::new(upstream.clone(), 100), Resolver::new(upstream, 100)];
        let ask = |resolver: &Resolver| {
            let resolver = resolver.clone();
            task::spawn_joined(async move { resolver.mx("d.test").await.is_ok() })
        };
        let tasks: Vec<_> = (0..100).map(|i| ask(&resolvers[i % 2])).collect();
        for task in tasks {
            assert!(task.await.expect("no panic"));
        }
        assert!(resolvers[0].mx("d.test").await.is_ok());
        resolvers[0].cached() + resolvers[1].cached()
    });
    assert_eq!((cached, questions), (2, 1));
}

#[test]
fn negative_answers_and_failures_are_kept_too() {
    for code in [NXDOMAIN, 0, SERVFAIL] {
        let server = NameServer::new(move |_, _| no(code));
        let settings = server.settings();
        let (first, questions) = server.run(settings, |upstream| async move {
            let resolver = Resolver::new(upstream, 100);
            let first = resolver.mx("d.test").await;
            for _ in 0..20 {
                assert_eq!(resolver.mx("d.test").await, first);
            }
            first
        });
        assert!(first.is_err());
        assert!(questions <= 4, "{questions} questions for code {code}");
    }
}

#[test]
fn a_caller_that_leaves_takes_nobodys_answer_away() {
    let server = NameServer::new(|_, _| {
        std::thread::sleep(Duration::from_millis(50));
        records(vec![mx(10, &["mx", "test"])])
    });
    let settings = server.settings();
    let (answer, questions) = server.run(settings, |upstream| async move {
        let resolver = Resolver::new(upstream, 100);
        let leaver = resolver.clone();
        let first = task::spawn_joined(async move { leaver.mx("d.test").await });
        let second = resolver.clone();
        let second = task::spawn_joined(async move { second.mx("d.test").await });
        task::yield_now().await;
        first.cancel().await;
        second.await.expect("no panic")
    });
    assert!(answer.is_ok());
    assert_eq!(questions, 1);
}

#[test]
fn the_address_families_are_looked_up_apart() {
    let server = NameServer::new(|_, kind| if kind == A { no(0) } else { records(vec![(28, [0x20; 16].to_vec())]) });
    let settings = server.settings();
    let ((v4, v6), _) = server.run(settings, |upstream| async move {
        let resolver = Resolver::new(upstream, 100);
        (resolver.lookup(Kind::A, "d.test").await, resolver.lookup(Kind::Aaaa, "d.test").await)
    });
    assert_eq!(v4, Err(Failure::NoRecords));
    let expected: IpAddr = "2020:2020:2020:2020:2020:2020:2020:2020".parse().expect("an address");
    assert!(matches!(v6.expect("records").records, Records::Aaaa(list) if IpAddr::V6(list[0]) == expected));
}
