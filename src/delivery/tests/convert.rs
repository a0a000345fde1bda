//! Content that a host does not take as it is.

use super::peer::{Peer, serve, serve_on};
use super::scenarios::{Rotten, Short};
use super::*;

const TEXT: &str = "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n.f\u{fc}r\r\n";
const SIGNED: &str = "DKIM-Signature: v=1\r\nMIME-Version: 1.0\r\n\r\nf\u{fc}r\r\n";
const QUOTED: &str = "X-MIME-Autoconverted: from 8bit to 7bit by us.test\r\nMIME-Version: 1.0\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=2Ef=C3=BCr\r\n";

/// Takes one message, and gives MAIL and the content.
fn taken(mut peer: Peer, extensions: &[&str]) -> (String, String) {
    peer.greet(extensions);
    let mail = peer.command();
    if !mail.starts_with("MAIL") {
        return (mail, String::new());
    }
    peer.say("250 ok\r\n");
    peer.expect("RCPT TO:");
    peer.say("250 ok\r\n");
    let content = match extensions.contains(&"CHUNKING") {
        true => peer.chunk(),
        false => {
            peer.expect("DATA");
            peer.say("354 go on\r\n");
            peer.until(b"\r\n.\r\n")
        }
    };
    peer.say("250 2.0.0 taken\r\n");
    (mail, String::from_utf8(content).expect("text"))
}

#[test]
fn a_host_without_8bitmime_gets_it_converted() {
    for extensions in [&["SIZE"][..], &["SIZE", "CHUNKING"]] {
        let server = serve(move |_, peer: Peer| taken(peer, extensions));
        let report = Bench::relay(server.port).content(TEXT.as_bytes()).once();
        assert_eq!(letters(&report), "D");
        let (mail, content) = server.results().remove(0);
        assert_eq!(mail, format!("MAIL FROM:<s@x.test> SIZE={}", QUOTED.len()));
        assert_eq!(content.trim_end_matches(".\r\n"), QUOTED);
    }
}

#[test]
fn a_host_with_8bitmime_gets_it_as_it_is() {
    let server = serve(move |_, peer: Peer| taken(peer, &["8BITMIME", "CHUNKING"]));
    let report = Bench::relay(server.port).content(TEXT.as_bytes()).once();
    assert_eq!(letters(&report), "D");
    assert_eq!(server.results(), [("MAIL FROM:<s@x.test> BODY=8BITMIME".to_owned(), TEXT.to_owned())]);
}

#[test]
fn binary_content_is_converted_for_a_host_that_takes_no_binary() {
    let content =
        b"MIME-Version: 1.0\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: binary\r\n\r\n\n\r\0\xff";
    let server = serve(move |_, peer: Peer| taken(peer, &["8BITMIME", "CHUNKING"]));
    let report = Bench::relay(server.port).content(content).once();
    assert_eq!(letters(&report), "D");
    let (mail, content) = server.results().remove(0);
    assert_eq!(mail, "MAIL FROM:<s@x.test>");
    assert!(content.ends_with("Content-Transfer-Encoding: base64\r\n\r\nCg0A/w==\r\n"), "{content}");
}

#[test]
fn large_content_is_converted_on_its_way() {
    let lines = "a line of text, f\u{fc}r\r\n".repeat(60_000);
    let large = format!("MIME-Version: 1.0\r\n\r\n{lines}");
    let server = serve(move |_, peer: Peer| taken(peer, &["PIPELINING"]).1);
    let server_port = server.port;
    let report = Bench::relay(server_port).content(large.as_bytes()).once();
    assert_eq!(letters(&report), "D");
    let content = server.results().remove(0);
    let (_, body) = content.split_once("\r\n\r\n").expect("a body");
    assert_eq!(body, format!("{}.\r\n", "a line of text, f=C3=BCr\r\n".repeat(60_000)));
}

#[test]
fn what_must_not_be_converted_goes_to_a_host_that_takes_it() {
    let first = serve(|_, peer: Peer| taken(peer, &["SIZE"]));
    let port = first.port;
    let second = serve_on([127, 0, 0, 2].into(), port, |_, peer: Peer| taken(peer, &["8BITMIME", "CHUNKING"]));
    let report = Bench::two_exchangers(port).content(SIGNED.as_bytes()).once();
    assert_eq!(letters(&report), "D");
    assert_eq!(second.results(), [("MAIL FROM:<s@x.test> BODY=8BITMIME".to_owned(), SIGNED.to_owned())]);
    assert!(!first.results()[0].0.starts_with("MAIL"));
}

#[test]
fn it_fails_with_words_where_nobody_takes_it() {
    for (content, converts, expected) in [
        (SIGNED, true, "and the message is not converted: it carries a DKIM signature"),
        (TEXT, false, "the content is 8-bit and the next hop does not take 8BITMIME"),
    ] {
        let server = serve(|_, peer: Peer| taken(peer, &["SIZE"]).0);
        let mut bench = Bench::relay(server.port).content(content.as_bytes());
        bench.connection.converts = converts;
        let report = bench.once();
        assert_eq!(letters(&report), "P");
        let reply = &report.outcomes[0].outcome.diagnostic().reply;
        assert!(reply.to_string().starts_with("554 5.6.3 the content is 8-bit"), "{reply}");
        assert!(words(&report).contains(expected), "{reply}");
        assert!(!server.results()[0].starts_with("MAIL"));
    }
}

#[test]
fn content_that_cannot_be_read_is_not_converted() {
    let server = serve(|_, peer: Peer| taken(peer, &["SIZE"]).0);
    let bench = Bench::relay(server.port).content(TEXT.as_bytes());
    let rotten =
        bench.clone().on_shard(|bench, delivery| async move { bench.attempt_with(&delivery, &mut Rotten(0)).await });
    let short = bench.on_shard(|bench, delivery| async move { bench.attempt_with(&delivery, &mut Short(0)).await });
    for report in [rotten, short] {
        assert_eq!((letters(&report).as_str(), report.content_failed), ("F", true));
    }
    assert!(server.results().iter().all(|said| !said.starts_with("MAIL")));
}
