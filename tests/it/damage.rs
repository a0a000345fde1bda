//! Octets that change on the disk: what is damaged is never sent, is said once, and can be removed.

use std::fs;
use std::sync::atomic::Ordering;

use crate::faults::{gated, patient};
use crate::harness::server::files_below;
use crate::harness::{Client, Server, eventually};

/// Flips an octet behind `mark` in every file of the spool that has it; how many had.
fn flip(server: &Server, mark: &[u8]) -> usize {
    let mut flipped = 0;
    for path in files_below(&server.path("spool")) {
        let mut octets = fs::read(&path).expect("a segment");
        if let Some(at) = octets.windows(mark.len()).position(|window| window == mark) {
            octets[at + 20] ^= 0x55;
            fs::write(&path, &octets).expect("written");
            flipped += 1;
        }
    }
    flipped
}

#[test]
fn a_damaged_message_is_never_sent_and_blocks_nothing() {
    // A small one lives in the log, a large one in bulk segments.
    for length in [3000, 300_000] {
        let (sink, open) = gated();
        let mut server = Server::start(&patient(sink.port));
        for n in 0..5 {
            let body = format!("{}\r\n", "y".repeat(70)).repeat(length / 72);
            let content = format!("Subject: x\r\n\r\nMARKER{n}{body}");
            let reply = Client::greeted(server.port).mail("a@one.test", &[&format!("b{n}@two.test")], &content);
            assert!(reply.starts_with("250"), "{reply}");
        }
        eventually("all were tried", || server.events("attempt.deferred") == 5);
        server.stop();
        assert_eq!(flip(&server, b"MARKER2"), 1);
        open.store(true, Ordering::SeqCst);
        server.launch(&[]);
        eventually("all are queued", || server.metric("posthaste_queue_recipients") == 5.0);
        server.command(&["queue", "retry", "--all"]);
        eventually("the others are delivered", || {
            sink.count() == 4 && server.metric("posthaste_queue_recipients") == 1.0
        });
        eventually("it is held", || server.command(&["queue", "list", "--json"]).contains("\"held\":true"));
        let list = server.command(&["queue", "list", "--json"]);
        let rows: serde_json::Value = serde_json::from_str(&list).expect("JSON");
        let id = rows["rows"][0]["id"].as_str().expect("an id").to_owned();
        if length < 10_000 {
            assert_eq!(rows["rows"][0]["recipients"][0]["state"], "damaged", "{list}");
            assert!(server.command(&["queue", "why", &id]).contains("never sent"));
        }
        for _ in 0..3 {
            server.command(&["queue", "list"]);
            server.command(&["queue", "release", &id]);
            server.command(&["queue", "retry", &id]);
            eventually("it is held again", || server.command(&["queue", "list", "--json"]).contains("\"held\":true"));
        }
        eventually("it is counted", || server.metric("posthaste_spool_records_quarantined_total") > 0.0);
        assert_eq!(server.metric("posthaste_spool_records_quarantined_total"), 1.0, "once, however often it is met");
        eventually("it is said", || server.events("spool.quarantine") > 0);
        let said: Vec<_> = server.log().into_iter().filter(|line| line["event"] == "spool.quarantine").collect();
        assert_eq!((said.len(), &said[0]["id"]), (1, &serde_json::Value::from(id.as_str())), "{said:?}");
        assert_eq!(server.command(&["queue", "remove", &id]), "1 message\n");
        assert_eq!(server.command(&["queue", "list"]), "no messages\n", "removed is removed");
        server.stop();
        server.launch(&[]);
        assert_eq!(server.command(&["queue", "list"]), "no messages\n");
        assert_eq!(sink.count(), 4);
    }
}
