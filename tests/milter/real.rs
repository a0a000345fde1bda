//! Filters that people run: opendkim, rspamd, spamass-milter.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use posthaste::milter::{Event, Facts, Settings};

use crate::actions::{everything, facts, greeted};
use crate::driver::{Mail, Outcome, transaction};
use crate::peers::{Peer, folder, free_port, has_program};

/// One mail through filters that are asked at every stage.
fn through(ports: &[u16], facts: Facts<'_>, mail: &Mail) -> Outcome {
    let filters: Vec<(u16, Settings)> = ports.iter().map(|port| (*port, everything())).collect();
    let mut session = greeted(&filters);
    let outcome = transaction(&mut session, facts, mail);
    session.run(Event::Quit, facts, None);
    for milter in 0..filters.len() {
        assert_eq!(session.chain().connection(milter).and_then(|c| c.failure()), None);
    }
    outcome
}

fn opendkim(name: &str, settings: &str, files: &[(&str, &str)]) -> (u16, Peer) {
    let (port, folder) = (free_port(), folder(name));
    let dir = folder.path().display().to_string();
    for (file, text) in files {
        fs::write(folder.path().join(file), text).expect("written");
    }
    let common = format!("Socket inet:{port}@127.0.0.1\nSyslog no\nBackground no\nRequireSafeKeys no\n");
    fs::write(folder.path().join("conf"), common + &settings.replace("@DIR@", &dir)).expect("written");
    let mut command = Command::new("opendkim");
    command.args(["-f", "-x"]).arg(folder.path().join("conf"));
    (port, Peer::start(&mut command, folder, port))
}

/// A key pair as opendkim-genkey makes it: the private key, and the record of the public one.
fn key() -> (String, String) {
    let folder = folder("key");
    let mut command = Command::new("opendkim-genkey");
    command.args(["-b", "1024", "-d", "one.test", "-s", "sel", "-D"]).arg(folder.path());
    assert!(command.status().expect("it is installed").success());
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("made");
    let record: String = read("sel.txt").split('"').skip(1).step_by(2).collect();
    (read("sel.private"), record)
}

#[test]
fn opendkim_signs_and_a_second_one_verifies() {
    if !has_program("opendkim") || !has_program("opendkim-genkey") {
        return;
    }
    let (private, record) = key();
    let (signer, _signer) = opendkim(
        "signer",
        "Mode s\nDomain one.test\nSelector sel\nKeyFile @DIR@/private\nCanonicalization simple/simple\nInternalHosts 127.0.0.1\n",
        &[("private", &private)],
    );
    let (verifier, _verifier) = opendkim(
        "verifier",
        "Mode v\nTestPublicKeys @DIR@/keys\nAuthservID mx.test\nInternalHosts 192.0.2.1\nPeerList @DIR@/nobody\nAlwaysAddARHeader yes\n",
        &[("keys", &format!("sel._domainkey.one.test {record}\n")), ("nobody", "")],
    );
    let mail = Mail::new("Subject: two\n  lines,  with   spaces\nX-None:y", "body \n\n.dot\n\n\n");
    let delivered = through(&[signer, verifier], facts(), &mail).delivered.expect("delivered");
    let verdict = delivered.content.lines().find(|line| line.starts_with("Authentication-Results:")).expect("added");
    let signature =
        delivered.content.lines().position(|line| line.starts_with("DKIM-Signature: v=1;")).expect("signed");
    assert!(verdict.starts_with("Authentication-Results: mx.test;"), "{}", delivered.content);
    assert!(delivered.content.contains("dkim=pass"), "simple canonicalization passes: {}", delivered.content);
    let from = delivered.content.lines().position(|line| line.starts_with("From:")).expect("there");
    assert!(signature < from, "signatures go on top: {}", delivered.content);
}

#[test]
fn rspamd_rejects_marks_and_rewrites() {
    if !has_program("rspamd") {
        return;
    }
    let (port, folder) = (free_port(), folder("rspamd"));
    let dir = folder.path().display().to_string();
    let conf = format!(
        "options {{ pidfile = \"{dir}/pid\"; enable_test_patterns = true; filters = \"\"; tempdir = \"{dir}\";\n\
         dns {{ nameserver = \"127.0.0.1\"; }} }}\n\
         logging {{ type = \"console\"; level = \"info\"; }}\n\
         actions {{ reject = 15; rewrite_subject = 8; add_header = 6; greylist = null; subject = \"*** SPAM *** %s\"; }}\n\
         worker \"rspamd_proxy\" {{ bind_socket = \"127.0.0.1:{port}\"; milter = yes; timeout = 60s; count = 1;\n\
         upstream \"local\" {{ default = yes; self_scan = yes; }} }}\n"
    );
    fs::write(folder.path().join("conf"), conf).expect("written");
    let mut command = Command::new("rspamd");
    command.args(["-f", "-i", "-c"]).arg(folder.path().join("conf"));
    let peer = Peer::start(&mut command, folder, port).with_children();
    let pattern = |first: &str| format!("{first}JS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\n");
    let ask = |body: &str| through(&[port], facts(), &Mail::new("Subject: hello", body));
    let clean = ask("nothing wrong here\n");
    assert!(clean.delivered.is_some(), "{clean:?} {}", peer.output());
    let rejected = ask(&pattern("X"));
    assert_eq!(rejected.refused.len(), 1, "{rejected:?} {}", peer.output());
    assert!(rejected.refused[0].1.starts_with("554 5.7.1"), "{rejected:?}");
    let marked = ask(&pattern("Y")).delivered.expect("delivered");
    assert!(marked.content.contains("\r\nX-Spam: Yes\r\n"), "{}", marked.content);
    let rewritten = ask(&pattern("Z")).delivered.expect("delivered");
    assert!(rewritten.content.contains("\r\nSubject: *** SPAM *** hello\r\n"), "{}", rewritten.content);
}

/// A spamd that finds everything to be spam and says so in two fields and a new body.
fn spamd() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = judge(stream); // a client that goes away is its own business
        }
    });
    port
}

fn judge(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut message = vec![0; length];
    reader.read_exact(&mut message)?;
    let message = String::from_utf8_lossy(&message).replace("\r\n", "\n");
    let (header, _) = message.split_once("\n\n").unwrap_or((&message, ""));
    let answer = format!(
        "X-Spam-Flag: YES\nX-Spam-Status: Yes, score=15.0 required=5.0\n{}\n\nThis is spam.\n",
        header.replace("Subject: ", "Subject: [SPAM] ")
    );
    write!(
        reader.get_mut(),
        "SPAMD/1.1 0 EX_OK\r\nContent-length: {}\r\nSpam: True ; 15.0 / 5.0\r\n\r\n{answer}",
        answer.len()
    )
}

#[test]
fn spamass_milter_marks_what_spamd_says() {
    if !has_program("spamass-milter") || !has_program("spamc") {
        return;
    }
    let (port, folder, spamd) = (free_port(), folder("spamass"), spamd());
    let mut command = Command::new("spamass-milter");
    command.args(["-p", &format!("inet:{port}@127.0.0.1"), "--", "-d", "127.0.0.1", "-p", &spamd.to_string()]);
    let peer = Peer::start(&mut command, folder, port);
    let outcome = through(&[port], facts(), &Mail::new("Subject: hello", "buy this\n"));
    let delivered = outcome.delivered.unwrap_or_else(|| panic!("{:?} {}", outcome.refused, peer.output()));
    assert!(delivered.content.contains("\r\nX-Spam-Flag: YES\r\n"), "{}", delivered.content);
    assert!(delivered.content.contains("\r\nSubject: [SPAM] hello\r\n"), "{}", delivered.content);
    assert!(delivered.content.ends_with("\r\n\r\nThis is spam.\r\n"), "{}", delivered.content);
}
