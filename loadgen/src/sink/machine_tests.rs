//! Sessions as scripts: what the client sends, what comes back.

use super::*;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn shard(profile: Profile) -> Shard {
    Shard {
        profile: Rc::new(Profile { hostname: "sink.test".into(), ..profile }),
        behaviour: Behaviour::default(),
        random: Random::new(1),
        tally: Tally::new(true, 1000),
        clients: None,
        started_us: 0,
    }
}

/// Feeds `sent` by `step` bytes; the codes of all reply lines, and the last step that was not `More`.
fn talk(shard: &mut Shard, sent: &[u8], step: usize) -> (Vec<String>, Step) {
    let mut session = Session::new(shard.profile.clone(), CLIENT, false);
    let (mut out, mut last) = (Vec::new(), Step::More);
    session.greet(shard, 0, &mut out);
    'all: for piece in sent.chunks(step) {
        let mut at = 0;
        while at < piece.len() {
            let (taken, next) = session.feed(&piece[at..], shard, 5000, &mut out);
            at += taken;
            if next != Step::More {
                last = next;
            }
            if matches!(next, Step::Close | Step::Drop | Step::Silence | Step::StartTls) {
                break 'all;
            }
        }
    }
    let text = String::from_utf8(out).expect("text");
    (text.lines().map(|line| line[..4].trim_end_matches('-').trim().to_owned()).collect(), last)
}

fn codes(shard: &mut Shard, sent: &str) -> String {
    talk(shard, sent.as_bytes(), usize::MAX).0.join(" ")
}

#[test]
fn a_pipelined_message_is_taken_however_it_is_cut() {
    let sent =
        b"EHLO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\nx: y\r\n\r\n..\r\n.\r\nQUIT\r\n";
    for step in 1..=sent.len() {
        let mut shard = shard(Profile::default());
        let (codes, last) = talk(&mut shard, sent, step);
        assert_eq!(codes.join(" "), "220 250 250 250 250 354 250 221", "by {step}");
        assert_eq!(last, Step::Close);
        let counts = shard.tally.finish().0;
        assert_eq!((counts.messages, counts.recipients, counts.content_bytes, counts.unmarked), (1, 2, 11, 1));
        assert_eq!(counts.replies["RCPT 250"], 2);
    }
}

#[test]
fn chunks_and_lmtp_are_taken() {
    let mut lmtp = shard(Profile { is_lmtp: true, ..Profile::default() });
    let sent = "LHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3\r\na:bBDAT 3 LAST\r\n\r\n.QUIT\r\n";
    assert_eq!(codes(&mut lmtp, sent), "220 250 250 250 250 250 250 250 221");
    assert_eq!(lmtp.tally.messages, 1);
    let mut smtp = shard(Profile::default());
    assert_eq!(codes(&mut smtp, "EHLO me\r\nBDAT 5\r\nQUIT\nNOOP\r\nBDAT 0 LAST\r\n"), "220 250 503 250 503");
}

#[test]
fn order_is_kept() {
    let mut shard = shard(Profile { size_max: 100, recipients_max: Some(1), ..Profile::default() });
    assert_eq!(codes(&mut shard, "MAIL FROM:<a@b>\r\nEHLO x\r\nRCPT TO:<a@b>\r\nDATA\r\n"), "220 503 250 503 503");
    let sent = "EHLO x\r\nMAIL FROM:<a@b> SIZE=101\r\nMAIL FROM:<a@b>\r\nDATA\r\nRCPT TO:<a@b>\r\nRCPT TO:<a@c>\r\n";
    assert_eq!(codes(&mut shard, sent), "220 250 552 250 554 250 452");
}

#[test]
fn authentication_is_asked_for_and_checked() {
    let profile = Profile { credentials: Some(("u".into(), "p".into())), ..Profile::default() };
    let auth = |sent: &str| codes(&mut shard(profile.clone()), &format!("EHLO x\r\n{sent}\r\nMAIL FROM:<a@b>\r\n"));
    assert_eq!(auth("NOOP"), "220 250 250 250 530");
    assert_eq!(auth("AUTH PLAIN AHUAcA=="), "220 250 250 235 250");
    assert_eq!(auth("AUTH PLAIN\r\nAHUAcA=="), "220 250 250 334 235 250");
    assert_eq!(auth("AUTH LOGIN\r\ndQ==\r\ncA=="), "220 250 250 334 334 235 250");
    assert_eq!(auth("AUTH LOGIN\r\ncA==\r\ncA=="), "220 250 250 334 334 535 530");
    assert_eq!(auth("AUTH PLAIN AHUAcQ=="), "220 250 250 535 530");
}

#[test]
fn a_proxy_header_comes_first() {
    let profile = Profile { expects_proxy: true, ..Profile::default() };
    let version_1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nEHLO x\r\n".as_slice();
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00EHLO x\r\n".as_slice();
    for sent in [version_1, version_2] {
        for step in 1..sent.len() {
            assert_eq!(talk(&mut shard(profile.clone()), sent, step).0, ["220", "250"], "by {step}");
        }
    }
    assert_eq!(talk(&mut shard(profile), b"EHLO x\r\n", 99).1, Step::Drop);
}

#[test]
fn starttls_forgets_what_follows() {
    let mut shard = shard(Profile { has_starttls: true, ..Profile::default() });
    let (codes, last) = talk(&mut shard, b"EHLO x\r\nSTARTTLS\r\nNOOP\r\n", 99);
    assert_eq!((codes.join(" ").as_str(), last), ("220 250 250 220", Step::StartTls));
}

#[test]
fn limits_and_misbehaviour_are_as_asked() {
    let mut few = shard(Profile { messages_per_connection: Some(0), ..Profile::default() });
    let (codes, last) = talk(&mut few, b"EHLO x\r\nMAIL FROM:<a@b>\r\n", 99);
    assert_eq!((codes.join(" ").as_str(), last), ("220 250 421", Step::Close));

    let mut difficult = shard(Profile::default());
    difficult.behaviour.tempfail("content=1".parse().expect("valid"));
    difficult.behaviour.delay("mail=3ms".parse().expect("valid"));
    let sent = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n\r\n.\r\n";
    let (codes, last) = talk(&mut difficult, sent, 999);
    assert_eq!(codes.join(" "), "220 250 250 250 354 451");
    assert!(matches!(last, Step::Pause { us: 3000, held } if held > 0));
    assert_eq!(difficult.tally.messages, 0);

    let mut dropping = shard(Profile::default());
    dropping.behaviour.drop_some("data=1".parse().expect("valid"));
    assert_eq!(talk(&mut dropping, sent, 999).1, Step::Drop);
}
