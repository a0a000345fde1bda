//! Faults of the machine and of the disk, restarts, privileges: what the real binary does about them.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use crate::harness::{Client, Server, Sink, eventually, free_port, peer, root};
use crate::relay::relay_to;

const CONTENT: &str = "Subject: x\r\n\r\nbody";

/// A sink that defers every recipient until the gate is opened.
pub fn gated() -> (Sink, Arc<AtomicBool>) {
    let open = Arc::new(AtomicBool::new(false));
    let gate = open.clone();
    let sink = Sink::scripted(&["PIPELINING", "8BITMIME"], move |command| {
        (command.starts_with("RCPT") && !gate.load(Ordering::SeqCst)).then(|| "450 4.2.1 later".to_owned())
    });
    (sink, open)
}

/// A relay that retries only when it is told to.
pub fn patient(port: u16) -> String {
    relay_to(port, "").replace("\"1s\"", "\"1h\"")
}

fn send(server: &Server, to: &str) {
    let reply = Client::greeted(server.port).mail("a@one.test", &[to], CONTENT);
    assert!(reply.starts_with("250"), "{reply}");
}

/// Has what is queued tried until as many recipients have arrived, and waits for the end of the queue. (Not: waits
/// until as many are queued. One that was never tried before the gate opened leaves by itself.)
fn deliver_all(server: &Server, sink: &Sink, recipients: usize) {
    eventually("all arrive", || {
        server.command(&["queue", "retry", "--all"]);
        arrived(sink).0.len() >= recipients
    });
    server.drained();
}

/// The recipients that arrived, each once; how often in all.
fn arrived(sink: &Sink) -> (HashSet<String>, usize) {
    let all: Vec<String> = sink.arrived().into_iter().flat_map(|m| m.rcpt).collect();
    (all.iter().cloned().collect(), all.len())
}

/// A small filesystem in memory, unmounted when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount(size: &str) -> Option<Tmpfs> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(folder.path());
        if !mount.status().is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: no tmpfs can be mounted here; a full disk was not tried");
            return None;
        }
        Some(Tmpfs(folder))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status(); // the folder's removal tells if it failed
    }
}

#[test]
fn a_full_disk_stops_new_mail_only_and_only_while_it_is_full() {
    if !root() {
        return;
    }
    let Some(disk) = Tmpfs::mount("40m") else { return };
    let (sink, open) = gated();
    let mut server = Server::prepare(&patient(sink.port));
    let spool = format!("path = \"{}/spool\"\nfree-space-min = 1000000", disk.0.path().display());
    server.amend("path = \"@DIR@/spool\"", &spool);
    server.launch(&["--shards", "1"]);
    let large = format!("Subject: x\r\n\r\n{}", format!("{}\r\n", "x".repeat(70)).repeat(2500));
    let mut client = Client::greeted(server.port);
    let mut accepted = 0;
    let refusal = loop {
        let reply = client.mail_or_refusal("a@one.test", &format!("b{accepted}@two.test"), &large);
        match reply.starts_with("250") {
            true => accepted += 1,
            false => break reply,
        }
        assert!(accepted < 1000, "it never fills");
    };
    assert!(refusal.starts_with("452 4.3.1"), "{refusal}");
    assert!(accepted > 10, "only {accepted} fitted");
    eventually("metrics say so", || server.metric("posthaste_spool_health") == 1.0);
    open.store(true, Ordering::SeqCst);
    deliver_all(&server, &sink, accepted);
    assert_eq!(arrived(&sink).1, accepted);
    eventually("service resumes", || client.mail_or_refusal("a@one.test", "last@two.test", CONTENT).starts_with("250"));
    server.drained();
    eventually("its health is known", || server.get("/health").starts_with("HTTP/1.1 200"));
}

#[test]
fn connections_do_not_take_the_descriptors_that_accepted_mail_needs() {
    let sink = Sink::start(&["PIPELINING"]);
    let mut server = Server::prepare(&relay_to(sink.port, ""));
    if !peer("prlimit") {
        return;
    }
    server.launch_under(&["prlimit", "--nofile=240:240"], &["--shards", "1"]);
    assert!(server.output().contains("RLIMIT_NOFILE is 240"), "{}", server.output());
    let mut first = Client::greeted(server.port);
    let mut others: Vec<Client> = (0..240).map(|_| Client::connect_silent(server.port)).collect();
    let refused = others.iter_mut().map(Client::reply).filter(|reply| reply.starts_with("421")).count();
    assert!((20..200).contains(&refused), "{refused} of 240 were refused");
    assert!(first.mail("a@one.test", &["b@two.test"], CONTENT).starts_with("250"));
    eventually("it is delivered", || sink.count() == 1);
    eventually("the operator is heard", || server.command(&["queue", "list"]).contains("no messages"));
    drop(others);
    eventually("new connections are served", || Client::connect_silent(server.port).reply().starts_with("220"));
}

#[test]
fn a_stopped_process_goes_on_where_it_was() {
    let sink = Sink::start(&["PIPELINING"]);
    let mut server = Server::start(&relay_to(sink.port, ""));
    let mut client = Client::greeted(server.port);
    server.signal(Signal::SIGSTOP);
    client.send(b"MAIL FROM:<a@one.test>\r\nRCPT TO:<b@two.test>\r\nDATA\r\n");
    server.signal(Signal::SIGCONT);
    let replies = [client.reply(), client.reply(), client.reply()].map(|reply| reply[..3].to_owned());
    assert_eq!(replies, ["250", "250", "354"]);
    client.send(b"Subject: x\r\n\r\nbody\r\n.\r\n");
    assert!(client.reply().starts_with("250"));
    eventually("it arrives", || sink.count() == 1);
    server.stop();
}

#[test]
fn a_stop_under_load_loses_nothing_and_doubles_nothing() {
    let sink = Sink::start(&["PIPELINING"]);
    let mut server = Server::start(&relay_to(sink.port, ""));
    let port = server.port;
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            std::thread::spawn(move || {
                let (mut ledger, mut client) = (Vec::new(), Client::greeted(port));
                for n in 0.. {
                    let to = format!("s{sender}n{n}@two.test");
                    let commands = format!("MAIL FROM:<a@one.test>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
                    if !client.try_send(commands.as_bytes()) {
                        break;
                    }
                    let replies = [client.reply(), client.reply(), client.reply()];
                    if !replies[2].starts_with("354") || !client.try_send(b"Subject: x\r\n\r\nbody\r\n.\r\n") {
                        break;
                    }
                    if !client.reply().starts_with("250") {
                        break;
                    }
                    ledger.push(format!("TO:<{to}>"));
                }
                ledger
            })
        })
        .collect();
    eventually("mail flows", || sink.count() > 20);
    server.stop();
    let ledger: HashSet<String> = senders.into_iter().flat_map(|s| s.join().expect("a sender")).collect();
    server.launch(&[]);
    eventually("all that was acknowledged arrives", || ledger.is_subset(&arrived(&sink).0));
    server.drained();
    let (each, all) = arrived(&sink);
    assert_eq!(each.len(), all, "nothing arrives twice after a stop in order");
}

#[test]
fn another_number_of_shards_finds_all_mail() {
    let (sink, open) = gated();
    let mut server = Server::prepare(&patient(sink.port));
    let mut sent = 0;
    for shards in ["2", "4", "1"] {
        server.launch(&["--shards", shards]);
        eventually("what was queued is", || server.metric("posthaste_queue_recipients") == f64::from(sent));
        for _ in 0..12 {
            send(&server, &format!("b{sent}@two.test"));
            sent += 1;
        }
        server.stop();
    }
    open.store(true, Ordering::SeqCst);
    server.launch(&["--shards", "3"]);
    deliver_all(&server, &sink, sent as usize);
    let (each, all) = arrived(&sink);
    assert_eq!((each.len(), all), (sent as usize, sent as usize));
}

#[test]
fn weaker_durability_keeps_its_promise() {
    for mode in ["process", "memory"] {
        let (sink, open) = gated();
        let mut server = Server::prepare(&patient(sink.port));
        server.amend("[spool]", &format!("[spool]\ndurability = \"{mode}\""));
        server.launch(&[]);
        for n in 0..5 {
            send(&server, &format!("b{n}@two.test"));
        }
        eventually("all were tried", || server.events("attempt.deferred") == 5);
        server.kill(); // by now even memory's are spooled: they were deferred
        server.launch(&[]);
        send(&server, "b5@two.test");
        server.stop();
        open.store(true, Ordering::SeqCst);
        server.launch(&[]);
        deliver_all(&server, &sink, 6);
        assert_eq!(arrived(&sink).0.len(), 6, "{mode}");
    }
}

#[test]
fn root_binds_a_low_port_and_is_root_no_longer() {
    if !root() {
        return;
    }
    // One that nobody has; the listeners of tests are all above.
    let taken = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_err();
    let low = (600..1000).find(|port| !taken(port)).expect("a free low port");
    let mut server = Server::prepare("");
    server.amend("[server]\n", "[server]\nrun-as.user = \"nobody\"\n");
    server.amend("[server.listener.lmtp]\nbind = \"", &format!("[server.listener.lmtp]\nbind = \"127.0.0.1:{low}\" #"));
    let folder = server.path("");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("ours");
    server.launch(&[]);
    assert!(Client::connect_silent(low).reply().starts_with("220"));
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a field");
        line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let nobody = nix::unistd::User::from_name("nobody").expect("asked").expect("there is nobody");
    assert_eq!(field("Uid:"), vec![nobody.uid.to_string(); 4].join(" "));
    assert_eq!(field("CapEff:"), "0000000000000400", "CAP_NET_BIND_SERVICE alone");
    let spool = fs::metadata(server.path("spool")).expect("made");
    assert_eq!((spool.mode() & 0o7777, spool.uid()), (0o700, nobody.uid.as_raw()));
    assert!(server.command(&["queue", "list"]).contains("no messages"), "root may ask");
    server.stop();
}

#[test]
fn what_keeps_it_from_running_is_said_in_words() {
    let mut server = Server::start("");
    assert!(server.refused(&[]).contains("another server is running with this control socket"));
    server.stop();
    let spool = server.path("spool");
    // A spool that cannot be opened ends the process: half a server is none.
    fs::remove_dir_all(&spool).expect("stopped");
    fs::create_dir(&spool).expect("ours");
    fs::write(spool.join("stream-00"), "not a directory").expect("ours");
    let said = server.refused(&[]);
    assert!(said.contains("spool: ") && said.contains("stream-00"), "{said}");
    assert_eq!(fs::metadata(&spool).expect("there").mode() & 0o777, 0o700, "made private");
    // A link in its place is not followed.
    fs::remove_dir_all(&spool).expect("stopped");
    std::os::unix::fs::symlink("/tmp", &spool).expect("ours");
    let said = server.refused(&[]);
    assert!(said.contains("links are not followed"), "{said}");
    fs::remove_file(&spool).expect("ours");
    // A log that cannot be opened is named.
    fs::remove_file(server.path("mail.log")).expect("stopped");
    fs::create_dir(server.path("mail.log")).expect("ours");
    let said = server.refused(&[]);
    assert!(said.contains("mail.log"), "{said}");
    fs::remove_dir(server.path("mail.log")).expect("ours");
    if !peer("prlimit") || !peer("python3") {
        return;
    }
    let said = server.refused(&["prlimit", "--nofile=64:64"]);
    assert!(said.contains("RLIMIT_NOFILE") && said.contains("LimitNOFILE"), "{said}");
    let said = server.refused(&["python3", "-c", SECCOMP]);
    assert!(said.contains("the kernel refuses io_uring") && said.contains("seccomp"), "{said}");
    assert_eq!(said.matches("os error 1").count(), 1, "once is enough: {said}");
}

/// Runs its arguments with io_uring_setup answered EPERM, as container runtimes do.
const SECCOMP: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
step = lambda *fields: struct.pack("HBBI", *fields)
code = step(0x20, 0, 0, 0) + step(0x15, 0, 1, 425) + step(0x06, 0, 0, 0x00050001) + step(0x06, 0, 0, 0x7fff0000)
kept = ctypes.create_string_buffer(code)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program = Program(len(code) // 8, ctypes.addressof(kept))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn every_line_of_the_log_is_json_and_health_is_answered() {
    let sink = Sink::scripted(&["PIPELINING"], |command| {
        (command.contains("bad@")).then(|| "550 5.1.1 \u{1b}]0;x\u{7} \"no\" \\ \u{202e}such".to_owned())
    });
    let server = Server::start(&relay_to(sink.port, ""));
    let mut client = Client::connect(server.port);
    client.ask("EHLO \u{1b}]0;x\u{7}");
    client.ok("EHLO c.test", 250);
    client.mail("a@one.test", &["\"quo\\\"ted\"@two.test", "bad@two.test"], CONTENT);
    eventually("failed and told", || server.events("attempt.failed") == 1 && server.events("attempt.delivered") == 2);
    for line in server.log() {
        assert!(line["time"].is_string() && line["event"].is_string(), "{line}");
    }
    eventually("its health is known", || server.get("/health").starts_with("HTTP/1.1 200"));
    assert!(server.get("/nothing").starts_with("HTTP/1.1 404"));
    let text = server.get("/metrics");
    let body = text.split("\r\n\r\n").nth(1).expect("a body");
    assert!(body.trim_end().ends_with("# EOF"), "OpenMetrics ends so");
    for line in body.lines().filter(|line| !line.starts_with('#') && line.contains("posthaste_")) {
        let value = line.rsplit(' ').next().expect("a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn filters_say_which_messages_an_action_is_for() {
    let port = free_port();
    let mut server = Server::start(&patient(port));
    for (from, to) in [("x@one.test", "b@two.test"), ("y@one.test", "b@two.test"), ("y@one.test", "b@three.test")] {
        assert!(Client::greeted(server.port).mail(from, &[to], CONTENT).starts_with("250"));
    }
    let count = |arguments: &[&str]| {
        let listing = server.command(&[&["queue", "list", "--json"], arguments].concat());
        let rows: serde_json::Value = serde_json::from_str(&listing).expect("JSON");
        rows["rows"].as_array().expect("rows").len()
    };
    assert_eq!(count(&[]), 3);
    assert_eq!(count(&["--from", "y@"]), 2);
    assert_eq!(count(&["--domain", "three.test"]), 1);
    assert_eq!(count(&["--to", "B@TWO"]), 2);
    assert_eq!(count(&["--older-than", "1h"]), 0);
    assert_eq!(count(&["--newer-than", "1h"]), 3);
    server.command(&["queue", "hold", "--domain", "two.test", "--from", "y@"]);
    assert_eq!(count(&["--held"]), 1);
    let held = server.command(&["queue", "list", "--held", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&held).expect("JSON");
    let id = rows["rows"][0]["id"].as_str().expect("an id");
    assert!(server.command(&["queue", "why", id]).contains("an operator's release"));
    server.command(&["queue", "remove", "--held"]);
    assert_eq!(count(&[]), 2);
    server.command(&["queue", "remove", "--all"]);
    server.drained();
    server.stop();
}
