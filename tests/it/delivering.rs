//! What becomes of mail by where it goes: exchangers, LMTP, TLS, next hops that lack extensions, schedules.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::harness::dns::Data::{A, Fails, Mx, Nothing};
use crate::harness::{Client, Dns, Server, Sink, eventually, free_port, peer};
use crate::relay::relay_to;

const CONTENT: &str = "Subject: x\r\n\r\nbody";

/// The text of every report that a sink has.
fn reports(sink: &Sink) -> Vec<String> {
    let all = sink.arrived().into_iter().filter(|m| m.mail.starts_with("FROM:<>"));
    all.map(|m| String::from_utf8_lossy(&m.content).into_owned()).collect()
}

/// `RCPT` arguments that a sink accepted, without parameters.
fn recipients(sink: &Sink) -> Vec<String> {
    let mut all: Vec<String> = sink.arrived().into_iter().flat_map(|m| m.rcpt).collect();
    all.iter_mut().for_each(|rcpt| *rcpt = rcpt.split(' ').next().unwrap_or_default().to_owned());
    all.sort();
    all
}

#[test]
fn exchangers_are_found_as_the_rfcs_say() {
    let port = free_port();
    let on = |host: &str| Sink::on(TcpListener::bind((host, port)).expect("free"), &["PIPELINING"], |_| None);
    let (first, second, home) = (on("127.0.0.2"), on("127.0.0.3"), Sink::start(&["PIPELINING"]));
    let dns = Dns::start(&[
        ("pref.test", Mx(20, "second.test")),
        ("pref.test", Mx(10, "first.test")),
        ("first.test", A([127, 0, 0, 2])),
        ("second.test", A([127, 0, 0, 3])),
        ("fall.test", Mx(10, "dead.test")),
        ("fall.test", Mx(20, "second.test")),
        ("dead.test", A([127, 0, 0, 9])),
        ("multi.test", Mx(10, "two.multi.test")),
        ("two.multi.test", A([127, 0, 0, 9])),
        ("two.multi.test", A([127, 0, 0, 2])),
        ("implicit.test", A([127, 0, 0, 3])),
        ("null.test", Mx(0, ".")),
        ("self.test", Mx(10, "mx.posthaste.test")),
        ("selfworse.test", Mx(10, "first.test")),
        ("selfworse.test", Mx(20, "mx.posthaste.test")),
        ("noaddress.test", Mx(10, "nothing.test")),
        ("nothing.test", Nothing),
        ("servfail.test", Fails),
    ]);
    let server = Server::start(&format!(
        r#"
[session.rcpt]
relay = true
[resolver]
type = "custom"
custom = ["udp://127.0.0.1:{dns}"]
timeout = "1s"
attempts = 1
[queue.strategy]
route = [ {{ if = "rcpt_domain = 'one.test'", then = "'home'" }}, {{ else = "'mx'" }} ]
[queue.route.mx]
type = "mx"
port = {port}
allow-loopback = true
[queue.route.home]
type = "relay"
address = "127.0.0.1"
port = {home}
tls.implicit = false
"#,
        dns = dns.port,
        home = home.port,
    ));
    let mut client = Client::greeted(server.port);
    let domains =
        ["pref", "fall", "multi", "implicit", "null", "self", "selfworse", "noaddress", "servfail", "nxdomain"];
    for domain in domains {
        let reply = client.mail("a@one.test", &[&format!("u@{domain}.test")], CONTENT);
        assert!(reply.starts_with("250"), "{reply}");
    }
    eventually("all but the one whose name server fails are done", || {
        server.metric("posthaste_queue_recipients") == 1.0 && reports(&home).len() == 4
    });
    assert_eq!(recipients(&first), ["TO:<u@multi.test>", "TO:<u@pref.test>", "TO:<u@selfworse.test>"]);
    assert_eq!(recipients(&second), ["TO:<u@fall.test>", "TO:<u@implicit.test>"]);
    let texts = reports(&home);
    for (domain, status) in [("null", "5.1.10"), ("self", "5.4.6"), ("noaddress", "5.4.4"), ("nxdomain", "5.1.2")] {
        let recipient = format!("Final-Recipient: rfc822; u@{domain}.test");
        let report = texts.iter().find(|text| text.contains(&recipient)).unwrap_or_else(|| panic!("{domain}"));
        assert!(report.contains(&format!("Status: {status}\r\n")), "{domain}: {report}");
    }
    let left = server.command(&["queue", "list", "--json"]);
    assert!(left.contains("u@servfail.test") && left.contains("4.4.3"), "{left}");
}

#[test]
fn lmtp_says_for_each_recipient_what_became_of_it() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let sink = Sink::scripted(&["PIPELINING"], move |command| {
        let is_first = command == "." && counted.fetch_add(1, Ordering::SeqCst) == 0;
        is_first.then(|| "250 2.0.0 ok\n452 4.2.2 full\n550 5.2.1 disabled".to_owned())
    });
    let config = relay_to(sink.port, "").replace("protocol = \"smtp\"", "protocol = \"lmtp\"");
    let server = Server::start(&config);
    let to = ["ok@two.test", "full@two.test", "off@two.test"];
    let reply = Client::greeted(server.port).mail("a@one.test", &to, CONTENT);
    assert!(reply.starts_with("250"), "{reply}");
    eventually("first attempt, second attempt and report", || sink.count() == 3);
    server.drained();
    let again: Vec<_> = sink.arrived().into_iter().skip(1).filter(|m| !m.mail.starts_with("FROM:<>")).collect();
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].rcpt, ["TO:<full@two.test>"], "only who was deferred is tried again");
    let report = &reports(&sink)[0];
    assert!(report.contains("off@two.test") && report.contains("Status: 5.2.1"), "{report}");
    assert!(!report.contains("Final-Recipient: rfc822; ok@two.test"), "{report}");
}

#[test]
fn delay_and_expiry_are_reported() {
    let sink = Sink::scripted(&["PIPELINING"], |command| {
        (command.starts_with("RCPT") && command.contains("two.test")).then(|| "450 4.2.1 later".to_owned())
    });
    let config = relay_to(sink.port, "").replace("expire = \"1h\"", "expire = \"5s\"\nnotify = [\"1s\"]");
    let server = Server::start(&config);
    let reply = Client::greeted(server.port).mail("a@one.test", &["b@two.test"], CONTENT);
    assert!(reply.starts_with("250"), "{reply}");
    eventually("both reports", || sink.count() == 2);
    server.drained();
    let texts = reports(&sink);
    assert!(texts[0].contains("Action: delayed") && texts[0].contains("Status: 4.2.1"), "{}", texts[0]);
    assert!(texts[0].contains("Will-Retry-Until: "), "{}", texts[0]);
    assert!(texts[1].contains("Action: failed") && texts[1].contains("Status: 5.4.7"), "{}", texts[1]);
    eventually("the log says so", || server.events("queue.expired") == 1);
}

#[test]
fn what_a_next_hop_lacks_is_done_without_or_refused_in_words() {
    let sink = Sink::start(&["PIPELINING"]);
    let small = Sink::start(&["PIPELINING", "SIZE 100"]);
    let server = Server::start(&format!(
        "{}\n[queue.route.small]\ntype = \"relay\"\naddress = \"127.0.0.1\"\nport = {}\ntls.implicit = false\n",
        relay_to(sink.port, "").replace(
            "route = \"'sink'\"",
            "route = [ { if = \"rcpt_domain = 'small.test'\", then = \"'small'\" }, { else = \"'sink'\" } ]"
        ),
        small.port
    ));
    let mut client = Client::greeted(server.port);
    let mut send = |mail: &str, rcpt: &str, content: &str| {
        client.ok(&format!("MAIL FROM:<a@one.test>{mail}"), 250);
        client.ok(&format!("RCPT TO:{rcpt}"), 250);
        client.ok("DATA", 354);
        client.send(content.as_bytes());
        client.ok("\r\n.", 250);
    };
    let eight = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nb\u{f6}dy";
    send(" BODY=8BITMIME", "<eight@two.test>", eight);
    send(" SMTPUTF8", "<\u{fc}@two.test>", CONTENT);
    send(" SMTPUTF8", "<ascii@two.test>", CONTENT);
    send("", "<large@small.test>", &format!("{CONTENT}{}", "x".repeat(500)));
    send(" RET=HDRS ENVID=e1", "<dsn@two.test> NOTIFY=SUCCESS", CONTENT);
    // Two failures, one relayed report, one message converted, two that needed nothing.
    eventually("all have come to something", || sink.count() == 6);
    server.drained();
    let plain: Vec<_> = sink.arrived().into_iter().filter(|m| !m.mail.starts_with("FROM:<>")).collect();
    assert_eq!(plain.len(), 3);
    for message in &plain {
        assert_eq!(message.mail, "FROM:<a@one.test>", "no parameter that was not offered");
    }
    let converted = plain.iter().find(|m| m.rcpt[0].contains("eight@two.test")).expect("it arrives");
    let text = String::from_utf8_lossy(&converted.content);
    assert!(text.is_ascii() && text.ends_with("\r\n\r\nb=C3=B6dy\r\n"), "{text}");
    let texts = reports(&sink);
    let find = |part: &str| texts.iter().find(|t| t.contains(part)).unwrap_or_else(|| panic!("no report on {part}"));
    assert!(find("Final-Recipient: utf-8;").contains("Status: 5.6.7"));
    assert!(find("Final-Recipient: utf-8;").contains("message/global-delivery-status"));
    assert!(find("; large@small.test").contains("Status: 5.3.4"));
    assert!(find("; dsn@two.test").contains("Action: relayed"), "RFC 3461 section 5.2.2");
}

/// CVE-2020-8794: what an exchanger says in several lines must not become a field, a record or a line of the log.
#[test]
fn a_reply_in_several_lines_stays_a_reply() {
    for reply in [
        "553-\n553\nType: mda\nMda-Exec: touch /tmp/x",
        "553-5.1.1 no\r\n553-\r\n553-Type: mda\r\n553-\tX-Folded: 1\r\n553 5.1.1 Mda-Exec: touch /tmp/x",
        "553-5.1.1 one\r\n553 5.1.1 two\r\nType: mda",
    ] {
        let sink = Sink::scripted(&["PIPELINING"], move |command| {
            (command.starts_with("RCPT") && command.contains("two.test")).then(|| reply.to_owned())
        });
        let mut server = Server::start(&relay_to(sink.port, ""));
        send_one(&server);
        eventually("the report arrives", || sink.count() == 1);
        server.drained();
        let text = reports(&sink).remove(0);
        assert!(text.contains("Status: 5.") && text.contains("Final-Recipient: rfc822; b@two.test"), "{text}");
        for line in text.lines() {
            for injected in ["Type:", "Mda-Exec:", "X-Folded:"] {
                assert!(!line.starts_with(injected), "{reply:?} became {line:?} in\n{text}");
            }
        }
        server.stop();
        assert_eq!(server.events("attempt.failed"), 1, "each line of the log is one event");
        let spool = server.path("spool").display().to_string();
        assert!(server.command(&["spool", "check", &spool]).ends_with("sound\n"));
        assert!(
            server.command(&["spool", "dump", &spool]).lines().all(|line| !line.trim_start().starts_with("Mda-Exec"))
        );
    }
}

/// A sink that speaks TLS, written in Python so that it shares nothing with us.
const TLS_SINK: &str = r#"
import socket, ssl, sys, threading
mode, cert, key = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
listener = socket.create_server(("127.0.0.1", 0))
def told(line): print(line, flush=True)
told(listener.getsockname()[1])
def serve(conn):
    secure = mode == "implicit"
    if secure: conn = context.wrap_socket(conn, server_side=True)
    file = conn.makefile("rb")
    say = lambda text: conn.sendall(text.encode() + b"\r\n")
    say("220 tls.test")
    for line in iter(lambda: file.readline(), b""):
        line = line.decode().strip()
        told(("tls " if secure else "clear ") + line)
        verb = line.split(" ")[0].upper()
        if verb == "EHLO": say("250-tls.test\r\n250-AUTH PLAIN" + ("" if secure else "\r\n250-STARTTLS") + "\r\n250 HELP")
        elif verb == "STARTTLS":
            say("220 go")
            conn = context.wrap_socket(conn, server_side=True)
            file = conn.makefile("rb")
            secure = True
        elif verb == "AUTH": say("235 2.7.0 ok")
        elif verb == "DATA":
            say("354 go")
            while file.readline() not in (b".\r\n", b""): pass
            say("250 2.0.0 taken")
        elif verb == "QUIT": return say("221 bye")
        else: say("250 ok")
def guarded(conn):
    try: serve(conn)
    except Exception as error: told("fault " + type(error).__name__)
while True:
    threading.Thread(target=guarded, args=(listener.accept()[0],), daemon=True).start()
"#;

struct TlsSink {
    child: Child,
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl TlsSink {
    fn start(mode: &str, folder: &Server) -> TlsSink {
        let identity = rcgen::generate_simple_self_signed(vec!["tls.test".to_owned()]).expect("an identity");
        let (cert, key) = (folder.path("sink.crt"), folder.path("sink.key"));
        std::fs::write(&cert, identity.cert.pem()).expect("written");
        std::fs::write(&key, identity.signing_key.serialize_pem()).expect("written");
        let mut command = Command::new("python3");
        command.args(["-c", TLS_SINK, mode]).arg(cert).arg(key).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("python3 runs");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut port = String::new();
        output.read_line(&mut port).expect("its port");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = lines.clone();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| heard.lock().expect("no panic holds it").push(line));
        });
        TlsSink { child, port: port.trim().parse().expect("a port"), lines }
    }

    fn heard(&self) -> Vec<String> {
        self.lines.lock().expect("no panic holds it").clone()
    }
}

impl Drop for TlsSink {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

fn send_one(server: &Server) {
    let reply = Client::greeted(server.port).mail("a@one.test", &["b@two.test"], CONTENT);
    assert!(reply.starts_with("250"), "{reply}");
}

#[test]
fn starttls_is_used_where_offered_and_insisted_on_where_required() {
    if !peer("python3") {
        return;
    }
    let mut server = Server::prepare("");
    let sink = TlsSink::start("starttls", &server);
    let strategy =
        |tls: &str| relay_to(sink.port, tls).replace("[queue.strategy]", "[queue.strategy]\ntls = \"'own'\"");
    // Optional: any certificate is better than none.
    server.configure(&strategy("[queue.tls.own]\nstarttls = \"optional\""));
    server.launch(&[]);
    send_one(&server);
    server.drained();
    let heard = sink.heard();
    assert!(heard.contains(&"tls MAIL FROM:<a@one.test>".to_owned()), "{heard:?}");
    server.stop();
    // Required, and the certificate is nobody's.
    server.configure(&strategy("[queue.tls.own]\nstarttls = \"require\""));
    server.launch(&[]);
    send_one(&server);
    eventually("it is deferred", || server.events("attempt.deferred") >= 1);
    let why = server.command(&["queue", "list", "--json"]);
    assert!(why.contains("TLS"), "{why}");
    let mails = || sink.heard().iter().filter(|line| line.contains("MAIL FROM")).count();
    assert_eq!(mails(), 1, "nothing of the message was sent: {:?}", sink.heard());
    assert!(!sink.heard().iter().any(|line| line.starts_with("clear MAIL")));
    server.stop();
    // Required, and any certificate will do.
    server.configure(&strategy("[queue.tls.own]\nstarttls = \"require\"\nallow-invalid-certs = true"));
    server.launch(&[]);
    eventually("recovered", || server.metric("posthaste_queue_recipients") == 1.0 || mails() == 2);
    server.command(&["queue", "retry", "--all"]);
    server.drained();
    assert_eq!(mails(), 2);
    server.stop();
    // Required, and not offered.
    let plain = Sink::start(&["PIPELINING"]);
    server.configure(
        &strategy("[queue.tls.own]\nstarttls = \"require\"")
            .replace(&format!("port = {}", sink.port), &format!("port = {}", plain.port)),
    );
    server.launch(&[]);
    let before = server.events("attempt.deferred");
    send_one(&server);
    eventually("it is deferred", || server.events("attempt.deferred") > before);
    assert_eq!(plain.count(), 0);
}

#[test]
fn a_relay_that_wants_to_know_us_is_told_inside_tls() {
    if !peer("python3") {
        return;
    }
    let mut server = Server::prepare("");
    let sink = TlsSink::start("implicit", &server);
    let auth = "tls.allow-invalid-certs = true\nauth.username = \"user\"\nauth.secret = \"pass\"";
    server.configure(&relay_to(sink.port, auth).replace("tls.implicit = false", "tls.implicit = true"));
    server.launch(&[]);
    send_one(&server);
    server.drained();
    let heard = sink.heard();
    assert!(heard.contains(&"tls AUTH PLAIN AHVzZXIAcGFzcw==".to_owned()), "{heard:?}");
    assert!(heard.contains(&"tls MAIL FROM:<a@one.test>".to_owned()), "{heard:?}");
    server.stop();
    let log = std::fs::read_to_string(server.path("mail.log")).expect("the log");
    assert!(!log.contains("pass") && !log.contains("AHVzZXIAcGFzcw"), "no secret in the log");
    // The same credentials towards a relay in the clear: not a word of them.
    let plain = Sink::start(&["AUTH PLAIN LOGIN"]);
    server.configure(&relay_to(plain.port, "auth.username = \"user\"\nauth.secret = \"pass\""));
    server.launch(&[]);
    send_one(&server);
    eventually("it is deferred", || server.events("attempt.deferred") >= 1);
    assert_eq!(plain.count(), 0);
}
