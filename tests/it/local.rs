//! The embedded defaults as a newcomer meets them: no file, no root, mail in ./var.

use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::harness::server::files_below;
use crate::harness::{Client, eventually};

struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

#[test]
fn the_defaults_take_mail_for_here_and_relay_nothing() {
    if [2525, 2587, 2465, 2424].iter().any(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
        eprintln!("SKIPPED: the default ports are in use by another program");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let out = fs::File::create(folder.path().join("out")).expect("a file");
    let child = Command::new(env!("CARGO_BIN_EXE_posthaste"))
        .arg("run")
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("a handle"))
        .stderr(out)
        .spawn()
        .expect("the binary starts");
    let _child = Running(child);
    eventually("it listens", || TcpStream::connect(("127.0.0.1", 2525)).is_ok());
    let said = fs::read_to_string(folder.path().join("out")).expect("text");
    eventually("it says how to send", || {
        let said = fs::read_to_string(folder.path().join("out")).unwrap_or_default();
        ["2525", "2587", "2465", "2424"].iter().all(|port| said.contains(port)) && said.contains("curl")
    });
    drop(said);

    let mut client = Client::greeted(2525);
    let reply = client.mail("a@one.test", &["me@posthaste.test", "you@localhost"], "Subject: first\r\n\r\n.hello");
    assert!(reply.starts_with("250"), "{reply}");
    eventually("both mailboxes have it", || {
        let files = files_below(&folder.path().join("var/mail"));
        files.iter().filter(|path| path.parent().is_some_and(|p| p.ends_with("new"))).count() == 2
    });
    let files = files_below(&folder.path().join("var/mail"));
    let text = fs::read_to_string(files.iter().find(|p| p.parent().is_some_and(|p| p.ends_with("new"))).expect("one"))
        .expect("text");
    assert!(text.starts_with("Return-Path: <a@one.test>"), "{text}");
    assert!(text.contains("Subject: first"), "{text}");

    client.ok("MAIL FROM:<a@one.test>", 250);
    for stranger in ["x@elsewhere.test", "x%elsewhere.test@elsewhere2.test", "@localhost:x@elsewhere.test"] {
        client.ok(&format!("RCPT TO:<{stranger}>"), 550);
    }
    for hostile in ["../../../etc/cron.d/x@localhost", "..@localhost", "\"a/../b\"@localhost", "/@localhost"] {
        let reply = client.ask(&format!("RCPT TO:<{hostile}>"));
        assert!(reply.starts_with('2') || reply.starts_with('5'), "{hostile}: {reply}");
    }
    client.ok("RSET", 250);
    let reply = client.mail("a@one.test", &["\"../../x\"@localhost"], "Subject: second\r\n\r\n.hello");
    assert!(reply.starts_with("250"), "{reply}");
    eventually("it is delivered somewhere", || {
        files_below(&folder.path().join("var/mail"))
            .iter()
            .filter(|p| p.parent().is_some_and(|p| p.ends_with("new")))
            .count()
            == 3
    });
    let outside: Vec<_> = files_below(folder.path())
        .into_iter()
        .filter(|p| !p.starts_with(folder.path().join("var")) && !p.ends_with("out"))
        .collect();
    assert!(outside.is_empty(), "nothing leaves ./var: {outside:?}");

    let mut lmtp = Client::connect(2424);
    lmtp.ok("LHLO client.test", 250);
    lmtp.ok("MAIL FROM:<a@one.test>", 250);
    lmtp.ok("RCPT TO:<one@localhost>", 250);
    lmtp.ok("RCPT TO:<two@localhost>", 250);
    lmtp.ok("DATA", 354);
    lmtp.send(b"Subject: x\r\n\r\nbody\r\n.\r\n");
    assert!(lmtp.reply().starts_with("250") && lmtp.reply().starts_with("250"), "a reply for each recipient");
    assert!(Client::greeted(2587).ask("EHLO again.test").contains("STARTTLS"));
}
