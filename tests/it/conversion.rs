//! Content for a next hop that takes no 8-bit or binary content, judged by Python's parser of mail.

use std::fs;
use std::process::Command;

use crate::harness::{Client, Server, Sink, eventually, peer};
use crate::relay::relay_to;

/// Says what two messages are to Python, part by part, and fails where they differ.
const JUDGE: &str = r#"
import email, sys
def parts(path):
    raw = open(path, 'rb').read()
    for part in email.message_from_bytes(raw).walk():
        assert not part.defects, part.defects
        skipped = ('content-transfer-encoding', 'mime-version', 'x-mime-autoconverted', 'received')
        fields = [f for f in part.items() if f[0].lower() not in skipped]
        yield part.get_content_type(), fields, None if part.is_multipart() else part.get_payload(decode=True)
sent, arrived = list(parts(sys.argv[1])), list(parts(sys.argv[2]))
assert all(octet < 128 for octet in open(sys.argv[2], 'rb').read())
assert len(sent) == 8, [part[0] for part in sent]
for one, other in zip(sent, arrived, strict=True):
    assert one == other, (one, other)
"#;

/// Every kind of content, with everything that must not get lost.
fn everything() -> Vec<u8> {
    let mut all = b"Subject: everything\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_out\"\r\n\
        Content-Transfer-Encoding: binary\r\n\r\n\
        --=_out\r\nContent-Type: multipart/alternative; boundary=\"=_in\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        --=_in\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\
        .f\xfcr = alle \r\n\tFrom here\r\nFrom there\r\n--=_ou\r\n\r\n\
        --=_in\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<p>\xc3\xbc\r\n\
        --=_in--\r\n\
        --=_out\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        .to_vec();
    all.extend(0..=255u8);
    all.extend([b'x'; 2000]);
    all.extend(
        b"\r\n--=_out\r\nContent-Type: message/rfc822\r\n\r\nSubject: in it\r\nMIME-Version: 1.0\r\n\
        Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe2\x82\xac\r\n\
        --=_out\r\nContent-Type: text/plain\r\n\r\nseven bits\r\n--=_out--\r\n",
    );
    all
}

fn bdat(client: &mut Client, content: &[u8]) -> String {
    client.ok("MAIL FROM:<a@one.test> BODY=BINARYMIME", 250);
    client.ok("RCPT TO:<b@two.test>", 250);
    client.send(format!("BDAT {} LAST\r\n", content.len()).as_bytes());
    client.send(content);
    client.reply()
}

#[test]
fn every_part_decodes_to_what_was_sent() {
    if !peer("python3") {
        return;
    }
    let sent = everything();
    for extensions in [&[][..], &["PIPELINING", "SIZE 0"], &["PIPELINING", "CHUNKING", "8BITMIME"]] {
        let sink = Sink::start(extensions);
        let server = Server::start(&relay_to(sink.port, ""));
        let reply = bdat(&mut Client::greeted(server.port), &sent);
        assert!(reply.starts_with("250"), "{reply}");
        eventually("the message arrives", || sink.count() == 1);
        server.drained();
        let arrived = &sink.arrived()[0];
        assert!(!arrived.mail.contains("BODY="), "{}", arrived.mail);
        let (before, after) = (server.path("sent"), server.path("arrived"));
        fs::write(&before, &sent).expect("written");
        fs::write(&after, &arrived.content).expect("written");
        let judged = Command::new("python3").args(["-c", JUDGE]).args([&before, &after]).output().expect("it runs");
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
        assert_eq!(server.metric("posthaste_delivery_contents_converted_total"), 1.0);
        eventually("it is said", || server.events("attempt.converted") == 1);
    }
}

#[test]
fn a_signature_is_not_broken_and_the_sender_is_told_why() {
    let sink = Sink::start(&["PIPELINING"]);
    let server = Server::start(&relay_to(sink.port, ""));
    let mut client = Client::greeted(server.port);
    let reply = client.mail("a@one.test", &["b@two.test"], "DKIM-Signature: v=1; b=x\r\n\r\nf\u{fc}r");
    assert!(reply.starts_with("250"), "{reply}");
    eventually("the report arrives", || sink.count() == 1);
    server.drained();
    let report = String::from_utf8(sink.arrived()[0].content.clone()).expect("7-bit as well");
    for part in ["Status: 5.6.3", "Action: failed", "DKIM signature"] {
        assert!(report.contains(part), "{part} is missing in\n{report}");
    }
    assert_eq!(server.metric("posthaste_delivery_conversions_refused_total"), 1.0);
}

#[test]
fn it_can_be_switched_off() {
    let sink = Sink::start(&["PIPELINING"]);
    let server = Server::start(&relay_to(sink.port, "[queue.connection.default]\nconvert-to-7bit = false\n"));
    let mut client = Client::greeted(server.port);
    assert!(client.mail("", &["b@two.test"], "Subject: x\r\n\r\nf\u{fc}r").starts_with("250"));
    server.drained();
    assert_eq!(sink.count(), 0);
    assert_eq!(server.metric("posthaste_delivery_recipients_failed_total"), 1.0);
}
