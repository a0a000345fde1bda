//! In the clear.

use super::peer::{Peer, serve, serve_on};
use super::*;
use crate::smtp::client::{Credentials, Protocol};

const MODERN: &[&str] = &["PIPELINING", "CHUNKING", "8BITMIME"];

#[test]
fn a_message_is_one_flight_and_the_connection_serves_the_next() {
    let server = serve(|_, mut peer: Peer| {
        peer.greet(MODERN);
        let mut bodies = Vec::new();
        loop {
            match peer.command() {
                c if c.starts_with("MAIL FROM:<s@x.test>") => {}
                c => {
                    assert!(c.is_empty() || c == "QUIT", "{c}");
                    return bodies;
                }
            }
            peer.expect("RCPT TO:<r0@d.test>");
            bodies.push(String::from_utf8(peer.chunk()).expect("text"));
            peer.say("250 ok\r\n250 ok\r\n250 2.6.0 taken\r\n");
        }
    });
    let idle = Bench::relay(server.port).on_shard(|bench, delivery| async move {
        for _ in 0..3 {
            let report = bench.attempt(&delivery).await;
            assert_eq!(letters(&report), "D");
            let diagnostic = report.outcomes[0].outcome.diagnostic();
            assert!(diagnostic.is_remote && diagnostic.remote == "127.0.0.1 [127.0.0.1]");
        }
        let idle = delivery.idle_connections();
        delivery.close_all_idle();
        assert_eq!(delivery.idle_connections(), 0);
        idle
    });
    assert_eq!(idle, 1);
    assert_eq!(server.results(), [[BODY, BODY, BODY]]);
}

#[test]
fn an_idle_connection_that_died_costs_nothing_and_duplicates_nothing() {
    // 0: closes visibly. 1: takes one, then closes on the next MAIL without a word. 2 on: behaves.
    let server = serve(|number, mut peer: Peer| {
        peer.greet(MODERN);
        let mut taken = u32::from(peer.take_one());
        match number {
            0 => {}
            1 => {
                peer.expect("MAIL FROM:");
            }
            _ => {
                while peer.take_one() {
                    taken += 1;
                }
            }
        }
        taken
    });
    let letters: String = Bench::relay(server.port).on_shard(|bench, delivery| async move {
        let mut all = String::new();
        for _ in 0..4 {
            all += &letters(&bench.attempt(&delivery).await);
            time::sleep(Duration::from_millis(20)).await; // the close travels; either way is right
        }
        all
    });
    assert_eq!(letters, "DDDD");
    assert_eq!(server.results().iter().sum::<u32>(), 4, "each message was taken once");
}

#[test]
fn an_idle_farewell_means_a_new_connection() {
    let server = serve(|number, mut peer: Peer| {
        peer.greet(MODERN);
        peer.take_one();
        if number == 0 {
            peer.expect("MAIL FROM:");
            peer.say("421 4.4.2 idle for too long\r\n");
        }
    });
    let report = Bench::relay(server.port).on_shard(|bench, delivery| async move {
        bench.attempt(&delivery).await;
        bench.attempt(&delivery).await
    });
    assert_eq!(letters(&report), "D");
    assert_eq!(server.results().len(), 2);
}

#[test]
fn what_was_answered_is_not_tried_again_at_once() {
    let server = serve(|number, mut peer: Peer| {
        peer.greet(MODERN);
        peer.take_one();
        if number == 0 {
            peer.expect("MAIL FROM:");
            peer.say("250 ok\r\n"); // and is gone
        }
    });
    let report = Bench::relay(server.port).on_shard(|bench, delivery| async move {
        bench.attempt(&delivery).await;
        bench.attempt(&delivery).await
    });
    assert_eq!(letters(&report), "F");
    assert_eq!(server.results().len(), 1);
}

#[test]
fn a_reply_lost_after_the_end_of_data_is_unknown_and_goes_nowhere_else() {
    for (extensions, resets) in [(MODERN, false), (MODERN, true), (&["PIPELINING"], false)] {
        let script = move |_, mut peer: Peer| {
            peer.greet(extensions);
            peer.expect("MAIL FROM:");
            peer.expect("RCPT TO:");
            if extensions.len() > 1 {
                peer.chunk();
                peer.say("250 ok\r\n250 ok\r\n");
            } else {
                peer.expect("DATA");
                peer.say("250 ok\r\n250 ok\r\n354 go\r\n");
                peer.until(b"\r\n.\r\n");
            }
            if resets {
                peer.reset();
            }
        };
        let first = serve(script);
        let second = serve_on([127, 0, 0, 2].into(), first.port, script);
        let report = Bench::two_exchangers(first.port).once();
        assert_eq!((letters(&report).as_str(), report.unknown), ("F", 1));
        assert_eq!((first.results().len(), second.results().len()), (1, 0));
    }
}

#[test]
fn the_next_exchanger_is_tried_after_a_passing_trouble_of_the_first() {
    type Script = fn(&mut Peer);
    let troubles: [(&str, Script); 7] = [
        ("421 greeting", |p| p.say("421 4.3.2 busy\r\n")),
        ("554 greeting", |p| p.say("554 5.7.1 go away\r\n")),
        ("close", |_| {}),
        ("4xx EHLO", |p| {
            p.say("220 x\r\n");
            p.command();
            p.say("451 later\r\n");
        }),
        ("4xx MAIL", |p| {
            p.greet(MODERN);
            p.expect("MAIL");
            p.expect("RCPT");
            p.chunk();
            p.say("451 4.3.0 later\r\n503 no\r\n503 no\r\n");
        }),
        ("4xx RCPT", |p| {
            p.greet(MODERN);
            p.expect("MAIL");
            p.expect("RCPT");
            p.chunk();
            p.say("250 ok\r\n450 4.7.1 greylisted\r\n503 no\r\n");
        }),
        ("4xx DATA", |p| {
            p.greet(&["PIPELINING"]);
            p.expect("MAIL");
            p.expect("RCPT");
            p.expect("DATA");
            p.say("250 ok\r\n250 ok\r\n451 later\r\n");
        }),
    ];
    for (name, trouble) in troubles {
        let first = serve(move |_, mut peer: Peer| trouble(&mut peer));
        let second = serve_on([127, 0, 0, 2].into(), first.port, |_, mut peer: Peer| {
            peer.greet(MODERN);
            peer.take_one()
        });
        let report = Bench::two_exchangers(first.port).once();
        assert_eq!(letters(&report), "D", "{name}: {}", words(&report));
        assert_eq!((first.results().len(), second.results()), (1, vec![true]), "{name}");
    }
}

#[test]
fn the_next_exchanger_is_not_asked_after_a_final_word() {
    for (extensions, replies, letter) in [
        (MODERN, "250 ok\r\n550 5.1.1 no such user\r\n503 no\r\n", "P"),
        (MODERN, "550 5.7.1 not from you\r\n503 no\r\n503 no\r\n", "P"),
        (MODERN, "250 ok\r\n250 ok\r\n554 5.7.1 spam\r\n", "P"),
        (MODERN, "250 ok\r\n250 ok\r\n451 4.7.1 try again\r\n", "F"),
    ] {
        let first = serve(move |_, mut peer: Peer| {
            peer.greet(extensions);
            peer.expect("MAIL");
            peer.expect("RCPT");
            peer.chunk();
            peer.say(replies);
        });
        let second = serve_on([127, 0, 0, 2].into(), first.port, |_, _peer: Peer| {});
        assert_eq!(letters(&Bench::two_exchangers(first.port).once()), letter, "{replies}");
        assert_eq!(second.results().len(), 0);
    }
}

#[test]
fn a_dead_port_is_a_deferral_with_its_words() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let report = Bench::relay(port).once();
    assert_eq!(letters(&report), "F");
    assert!(words(&report).starts_with(&format!("cannot connect to port {port}: ")), "{}", words(&report));
    assert_eq!(report.outcomes[0].outcome.diagnostic().kind, ErrorKind::Connection);
}

#[test]
fn each_silence_has_its_bound() {
    for (silent_at, what) in
        [(0, "the greeting"), (1, "the reply to EHLO"), (2, "the reply to MAIL"), (3, "the reply to RCPT")]
    {
        let server = serve(move |_, mut peer: Peer| {
            let script = [Some("220 x\r\n"), Some("250-x\r\n250 PIPELINING\r\n"), Some("250 ok\r\n")];
            for line in script.iter().take(silent_at).flatten() {
                peer.say(line);
                peer.command();
            }
            peer.until(b"\0never");
        });
        let mut bench = Bench::relay(server.port);
        let short = Duration::from_millis(200);
        bench.connection.timeouts =
            Timeouts { greeting: short, ehlo: short, mail_from: short, rcpt_to: short, data: short };
        let report = bench.once();
        assert_eq!((letters(&report).as_str(), words(&report)), ("F", format!("timed out waiting for {what}")));
        drop(server.results());
    }
}

#[test]
fn a_reset_is_a_deferral_wherever_it_comes() {
    for step in 0..4 {
        let server = serve(move |_, mut peer: Peer| {
            if step > 0 {
                peer.say("220 x\r\n");
                peer.command();
            }
            if step > 1 {
                peer.offer(&["PIPELINING"]);
                peer.command();
            }
            if step > 2 {
                peer.say("250 ok\r\n250 ok\r\n354 go\r\n");
                peer.expect("RCPT");
            }
            peer.reset();
        });
        let big = [BODY, &"x".repeat(70).repeat(50_000)].concat().into_bytes();
        let report = Bench::relay(server.port).content(&big).once();
        assert_eq!(letters(&report), "F", "step {step}");
        server.results();
    }
}

#[test]
fn a_refusal_amid_the_content_is_heard() {
    let server = serve(|_, mut peer: Peer| {
        peer.greet(&["PIPELINING"]);
        peer.expect("MAIL");
        peer.expect("RCPT");
        peer.expect("DATA");
        peer.say("250 ok\r\n250 ok\r\n354 go\r\n");
        peer.until(b"line\r\n");
        peer.say("552 5.3.4 too big after all\r\n");
        let _ = peer.stream.shutdown(std::net::Shutdown::Write);
        peer.until(b"\0never");
    });
    let big = [BODY, &"line\r\n".repeat(500_000)].concat().into_bytes();
    let report = Bench::relay(server.port).content(&big).once();
    assert_eq!((letters(&report).as_str(), words(&report).as_str()), ("P", "too big after all"));
    server.results();
}

#[test]
fn large_content_arrives_as_it_is_by_data_and_by_bdat() {
    let lines: String = (0..60_000).map(|i| format!("{}line {i}\r\n", if i % 7 == 0 { "." } else { "" })).collect();
    let big = [BODY, &lines].concat().into_bytes();
    for (extensions, by_data) in [(MODERN, false), (&["PIPELINING"], true), (&["CHUNKING"], false), (&[], true)] {
        let server = serve(move |_, mut peer: Peer| {
            peer.greet(extensions);
            let pipelined = extensions.contains(&"PIPELINING");
            peer.expect("MAIL");
            if !pipelined {
                peer.say("250 ok\r\n");
            }
            peer.expect("RCPT");
            peer.say(if pipelined { "250 ok\r\n250 ok\r\n" } else { "250 ok\r\n" });
            let content = if by_data {
                peer.expect("DATA");
                peer.say("354 go\r\n");
                let mut stuffed = peer.until(b"\r\n.\r\n");
                stuffed.truncate(stuffed.len() - 3);
                stuffed
                    .split_inclusive(|b| *b == b'\n')
                    .flat_map(|line| line.strip_prefix(b".").unwrap_or(line).to_vec())
                    .collect()
            } else {
                peer.chunk()
            };
            peer.say("250 2.0.0 taken\r\n");
            content
        });
        assert_eq!(letters(&Bench::relay(server.port).content(&big).once()), "D");
        assert!(server.results()[0] == big, "the content differs ({extensions:?})");
    }
}

/// Content that turns out to be bad after its first piece.
pub(super) struct Rotten(pub(super) u32);

impl Content for Rotten {
    fn size_bytes(&self) -> u64 {
        2000
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        self.0 += 1;
        if self.0 == 1 { Ok(Some(Bytes::from_static(&[b'x'; 1000]))) } else { Err(ContentError) }
    }

    fn rewind(&mut self) {
        self.0 = 0;
    }
}

/// Content that is shorter than it says.
pub(super) struct Short(pub(super) u32);

impl Content for Short {
    fn size_bytes(&self) -> u64 {
        2000
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        self.0 += 1;
        Ok((self.0 == 1).then(|| Bytes::from_static(&[b'x'; 1000])))
    }

    fn rewind(&mut self) {
        self.0 = 0;
    }
}

#[test]
fn content_that_does_not_verify_never_reaches_its_end() {
    for extensions in [MODERN, &["PIPELINING"], &["CHUNKING"]] {
        let server = serve(move |_, mut peer: Peer| {
            peer.greet(extensions);
            let pipelined = extensions.contains(&"PIPELINING");
            if !pipelined {
                peer.expect("MAIL");
                peer.say("250 ok\r\n");
                peer.expect("RCPT");
                peer.say("250 ok\r\n");
            } else if extensions.len() == 1 {
                peer.say("250 ok\r\n250 ok\r\n354 go\r\n");
            }
            let heard = peer.until(b"\0never");
            assert!(heard.len() < 2000 && !heard.ends_with(b".\r\n"), "{}", String::from_utf8_lossy(&heard));
        });
        let port = server.port;
        let rotten = Bench::relay(port)
            .on_shard(|bench, delivery| async move { bench.attempt_with(&delivery, &mut Rotten(0)).await });
        let short = Bench::relay(port)
            .on_shard(|bench, delivery| async move { bench.attempt_with(&delivery, &mut Short(0)).await });
        for report in [rotten, short] {
            assert_eq!(letters(&report), "F");
            assert!(report.content_failed);
            assert_eq!(report.outcomes[0].outcome.diagnostic().kind, ErrorKind::Io);
        }
        assert_eq!(server.results().len(), 2);
    }
}

#[test]
fn recipients_have_their_own_outcomes_and_those_left_go_at_once() {
    let server = serve(|_, mut peer: Peer| {
        peer.greet(&["PIPELINING", "CHUNKING", "LIMITS RCPTMAX=3"]);
        peer.expect("MAIL");
        (0..3).for_each(|_| drop(peer.expect("RCPT")));
        peer.chunk();
        peer.say("250 ok\r\n250 ok\r\n550 5.1.1 no\r\n452 4.5.3 too many\r\n250 taken\r\n");
        let mut rest = vec![peer.expect("MAIL")];
        (0..2).for_each(|_| rest.push(peer.expect("RCPT")));
        peer.chunk();
        peer.say("250 ok\r\n250 ok\r\n450 4.2.2 full\r\n250 taken\r\n");
        rest.join(" ")
    });
    let report = Bench::relay(server.port).recipients(4).once();
    assert_eq!(letters(&report), "DPDF");
    assert_eq!(server.results(), ["MAIL FROM:<s@x.test> RCPT TO:<r2@d.test> RCPT TO:<r3@d.test>"]);
}

#[test]
fn lmtp_answers_for_each() {
    let server = serve(|_, mut peer: Peer| {
        peer.greet(&["PIPELINING"]);
        peer.expect("MAIL");
        (0..3).for_each(|_| drop(peer.expect("RCPT")));
        peer.expect("DATA");
        peer.say("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
        peer.until(b"\r\n.\r\n");
        peer.say("250 2.1.5 a\r\n552 5.2.2 full\r\n451 4.2.0 later\r\n");
    });
    let route =
        RelayRoute { port: server.port, protocol: Protocol::Lmtp, implicit_tls: false, ..RelayRoute::to("localhost") };
    let report = Bench::new(relay(route)).recipients(3).once();
    assert_eq!(letters(&report), "DPF");
    server.results();
}

#[test]
fn loopback_is_for_relays_only() {
    let mut bench = Bench::two_exchangers(9);
    let route = MxRoute { port: 9, ..MxRoute::default() };
    bench.next_hop = NextHop::Mx { id: "mx".into(), route: Arc::new(route), domain: "d.test".into() };
    let report = bench.once();
    assert_eq!(letters(&report), "P");
    assert_eq!(report.outcomes[0].outcome.diagnostic().status().to_string(), "5.4.4");
}

#[test]
fn the_source_address_is_the_configured_one() {
    let server = serve(|_, mut peer: Peer| {
        let from = peer.stream.peer_addr().expect("an address").ip();
        peer.say("220 x\r\n");
        let hello = peer.command();
        peer.say("421 bye\r\n");
        (from.to_string(), hello)
    });
    let mut bench = Bench::relay(server.port);
    bench.connection.source_ips = vec!["127.0.0.3".parse().expect("ip"), "::1".parse().expect("ip")];
    bench.settings.source_names.insert("127.0.0.3".parse().expect("ip"), "three.test".into());
    bench.once();
    assert_eq!(server.results(), [("127.0.0.3".to_owned(), "EHLO three.test".to_owned())]);
}

#[test]
fn credentials_wait_for_tls() {
    let server = serve(|_, mut peer: Peer| {
        peer.greet(&["AUTH PLAIN"]);
        peer.command()
    });
    let credentials = Some(Credentials { username: "u".into(), secret: "p".into() });
    let route = RelayRoute { port: server.port, implicit_tls: false, credentials, ..RelayRoute::to("127.0.0.1") };
    let report = Bench::new(relay(route)).once();
    assert_eq!(letters(&report), "F");
    assert_eq!(report.outcomes[0].outcome.diagnostic().kind, ErrorKind::Tls);
    assert!(server.results().iter().all(|said| !said.contains("AUTH")));
}

#[test]
fn local_mail_lands_in_its_maildirs() {
    let root = tempfile::tempdir().expect("a directory");
    let route = super::settings::LocalRoute { path: root.path().to_owned(), ..Default::default() };
    let mut bench = Bench::new(NextHop::Local { id: "local".into(), route: Arc::new(route) }).recipients(2);
    bench.envelope.recipients[1].notify = Some(crate::mail::Notify { success: true, failure: true, delay: false });
    let report = bench.clone().once();
    assert_eq!(letters(&report), "DD");
    assert_eq!(report.outcomes.iter().map(|o| o.owed).collect::<Vec<_>>(), [Owed::Nothing, Owed::Delivered]);
    for user in ["r0", "r1"] {
        let new = root.path().join("d.test").join(user).join("new");
        let files: Vec<_> = std::fs::read_dir(new).expect("a Maildir").collect();
        assert_eq!(files.len(), 1);
        let text = std::fs::read_to_string(files[0].as_ref().expect("an entry").path()).expect("text");
        assert!(text.starts_with("Return-Path: <s@x.test>\r\n") && text.ends_with(BODY), "{text}");
    }
    let rotten = bench.on_shard(|bench, delivery| async move { bench.attempt_with(&delivery, &mut Rotten(0)).await });
    assert_eq!((letters(&rotten).as_str(), rotten.content_failed), ("FF", true));

    std::fs::remove_dir_all(root.path()).expect("removed");
    std::fs::write(root.path(), "a file is in the way").expect("written");
    let route = super::settings::LocalRoute { path: root.path().to_owned(), ..Default::default() };
    let report = Bench::new(NextHop::Local { id: "local".into(), route: Arc::new(route) }).once();
    assert_eq!(letters(&report), "F");
    std::fs::remove_file(root.path()).expect("removed");
}

#[test]
fn an_idle_connection_that_waits_too_long_is_closed_and_told() {
    let server = serve(|_, mut peer: Peer| {
        peer.greet(MODERN);
        peer.take_one();
        peer.command()
    });
    let mut bench = Bench::relay(server.port);
    bench.settings.pool.idle = Duration::from_millis(1);
    let lane = bench.on_shard(|bench, delivery| async move {
        let told = Rc::new(RefCell::new(None));
        let teller = told.clone();
        delivery.on_idle_closed(move |lane| *teller.borrow_mut() = Some(lane.next_hop.to_string()));
        assert!(bench.attempt(&delivery).await.has_idle);
        while delivery.idle_connections() > 0 {
            time::sleep(Duration::from_millis(50)).await;
        }
        told.take()
    });
    assert_eq!(lane.as_deref(), Some("relay:r"));
    assert_eq!(server.results(), ["QUIT"]);
}

#[test]
fn an_attempt_has_one_place_in_its_lane_whichever_host_takes_it() {
    let first = serve(|number, mut peer: Peer| {
        peer.greet(MODERN);
        if number == 0 {
            peer.take_one();
        }
        peer.command()
    });
    let second = serve_on([127, 0, 0, 2].into(), first.port, |_, mut peer: Peer| {
        peer.greet(MODERN);
        peer.take_one()
    });
    let report = Bench::two_exchangers(first.port).on_shard(|bench, delivery| async move {
        bench.attempt(&delivery).await;
        let lane =
            LaneKey { queue: "remote".into(), next_hop: bench.next_hop.lane(), source: None, tls: "default".into() };
        assert!(delivery.close_idle(&lane) && !delivery.close_idle(&lane));
        let mut other = bench.clone();
        other.connection.ehlo_hostname = Some("other.test".into());
        bench.attempt(&delivery).await; // the first host leaves at MAIL, the second takes it
        other.attempt(&delivery).await
    });
    assert_eq!(letters(&report), "D");
    assert!(first.results().len() >= 2);
    assert!(second.results().iter().all(|taken| *taken));
}

#[test]
fn an_attempt_is_small_while_it_waits() {
    let size = Bench::relay(9).on_shard(|bench, delivery| async move {
        let mut content = bench.content.clone();
        std::mem::size_of_val(&bench.attempt_with(&delivery, &mut content))
    });
    assert!(size <= 3072, "{size} octets");
}
