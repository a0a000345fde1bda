//! Against Postfix's smtp-sink, which is no work of ours.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::smtp::client::Protocol;

struct Sink(Child, u16);

impl Sink {
    /// `None`, said loudly, where there is no smtp-sink.
    fn start(arguments: &[&str]) -> Option<Sink> {
        let config = tempfile::tempdir().expect("a directory");
        std::fs::write(config.path().join("main.cf"), "mail_owner = nobody\nqueue_directory = /tmp\n")
            .expect("written");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let mut command = Command::new("smtp-sink");
        command.env("MAIL_CONFIG", config.path()).args(["-u", "nobody"]).args(arguments);
        command.arg(format!("127.0.0.1:{port}")).arg("100").stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            eprintln!("SKIPPED: there is no smtp-sink here (apt install postfix)");
            return None;
        };
        let sink = Sink(child, port);
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(sink);
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        eprintln!("SKIPPED: smtp-sink does not start here (it wants to be root to become nobody)");
        None
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn check(arguments: &[&str], protocol: Protocol, expected: &str) {
    let Some(sink) = Sink::start(arguments) else { return };
    let route = RelayRoute { port: sink.1, protocol, implicit_tls: false, ..RelayRoute::to("127.0.0.1") };
    let all = Bench::new(relay(route)).recipients(3).on_shard(|bench, delivery| async move {
        let mut all = String::new();
        for _ in 0..3 {
            let report = bench.attempt(&delivery).await;
            all += &letters(&report);
            all += if report.has_idle { "+" } else { "-" };
        }
        all
    });
    assert_eq!(all, expected, "smtp-sink {arguments:?}");
}

#[test]
fn postfix_sinks_take_what_we_send() {
    check(&["-8"], Protocol::Smtp, "DDD+DDD+DDD+");
    check(&["-L"], Protocol::Lmtp, "DDD+DDD+DDD+");
    check(&["-p"], Protocol::Smtp, "DDD+DDD+DDD+"); // without PIPELINING
    check(&["-e"], Protocol::Smtp, "DDD+DDD+DDD+"); // without EHLO
}

#[test]
fn postfix_sinks_refuse_at_each_step() {
    check(&["-r", "mail"], Protocol::Smtp, "FFF+FFF+FFF+");
    check(&["-f", "mail"], Protocol::Smtp, "PPP+PPP+PPP+");
    check(&["-r", "rcpt"], Protocol::Smtp, "FFF+FFF+FFF+");
    check(&["-f", "rcpt"], Protocol::Smtp, "PPP+PPP+PPP+");
    check(&["-f", "data"], Protocol::Smtp, "PPP+PPP+PPP+");
    check(&["-f", "."], Protocol::Smtp, "PPP+PPP+PPP+");
    check(&["-r", "."], Protocol::Smtp, "FFF+FFF+FFF+");
    check(&["-Q", "rcpt"], Protocol::Smtp, "FFF-FFF-FFF-");
    check(&["-q", "data"], Protocol::Smtp, "FFF-FFF-FFF-");
}
