//! A Postfix of our own, with a sink behind it and a client before it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::driver::{Delivered, Mail, Outcome};
use crate::peers::{eventually, folder, free_port, is_listening};

/// What arrived, by the value of its field X-Case.
pub type Arrived = Arc<Mutex<Vec<(String, Delivered)>>>;

/// An SMTP server that takes everything.
pub fn sink() -> (u16, Arrived) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let arrived = Arrived::default();
    let all = arrived.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let all = all.clone();
            std::thread::spawn(move || take(&stream, &all));
        }
    });
    (port, arrived)
}

fn take(stream: &TcpStream, arrived: &Arrived) -> Option<()> {
    let (mut lines, mut out) = (BufReader::new(stream).lines(), stream);
    let mut now = Delivered { from: String::new(), to: Vec::new(), content: String::new() };
    out.write_all(b"220 sink.test\r\n").ok()?;
    loop {
        let line = lines.next()?.ok()?;
        let path = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        match line.split([' ', ':']).next().unwrap_or_default() {
            "MAIL" => now.from = path(),
            "RCPT" => now.to.push(path()),
            "QUIT" => return None,
            "DATA" => {
                out.write_all(b"354 go\r\n").ok()?;
                loop {
                    let line = lines.next()?.ok()?;
                    if line == "." {
                        break;
                    }
                    now.content.push_str(line.strip_prefix('.').unwrap_or(&line));
                    now.content.push_str("\r\n");
                }
                let case = now.content.lines().find_map(|line| line.strip_prefix("X-Case: ")).unwrap_or_default();
                let case = case.to_owned();
                let fresh = Delivered { from: String::new(), to: Vec::new(), content: String::new() };
                arrived.lock().expect("unpoisoned").push((case, std::mem::replace(&mut now, fresh)));
            }
            _ => {}
        }
        out.write_all(b"250 ok\r\n").ok()?;
    }
}

/// Postfix, running in a folder of its own.
pub struct Postfix {
    pub port: u16,
    folder: tempfile::TempDir,
}

impl Postfix {
    /// Starts it with a filter before it and a sink behind it.
    pub fn start(filter: u16, sink: u16) -> Postfix {
        let (port, folder) = (free_port(), folder("postfix"));
        let dir = folder.path().display().to_string();
        fs::create_dir(folder.path().join("spool")).expect("made");
        fs::create_dir(folder.path().join("data")).expect("made");
        let _ = Command::new("chown").args(["postfix", &format!("{dir}/data")]).status();
        let manifest = env!("CARGO_MANIFEST_DIR");
        let read =
            |name: &str| fs::read_to_string(format!("{manifest}/benches/compare/{name}")).expect("in the repository");
        let kept = |line: &&str| !["maillog_file", "smtpd_peername_lookup"].iter().any(|key| line.starts_with(key));
        let main: Vec<_> = read("postfix-main.cf").lines().filter(kept).map(str::to_owned).collect();
        let main = main.join("\n").replace("@DIR@", &dir).replace("@SINK@", &sink.to_string()).replace("@HOLD@", "");
        let more = format!(
            "\nmaillog_file = {dir}/log\nmaillog_file_prefixes = /tmp\nsmtpd_peername_lookup = yes\n\
             smtpd_milters = inet:127.0.0.1:{filter}\nlocal_header_rewrite_clients =\nsmtpd_hard_error_limit = 1000\n\
             smtpd_junk_command_limit = 1000\nsmtpd_soft_error_limit = 1000\n"
        );
        fs::write(folder.path().join("main.cf"), main + &more).expect("written");
        fs::write(folder.path().join("master.cf"), read("postfix-master.cf").replace("@PORT@", &port.to_string()))
            .expect("written");
        let postfix = Postfix { port, folder };
        postfix.command("set-permissions");
        let started = postfix.command("start");
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        eventually("Postfix listens", || is_listening(port));
        postfix
    }

    fn command(&self, verb: &str) -> std::process::Output {
        Command::new("postfix").arg("-c").arg(self.folder.path()).arg(verb).output().expect("it is installed")
    }

    /// The ids of what is in the queue; one that is held ends with `!`.
    pub fn queued(&self) -> Vec<String> {
        let output = Command::new("postqueue").arg("-c").arg(self.folder.path()).arg("-p").output();
        let text = String::from_utf8(output.expect("it is installed").stdout).expect("text");
        let is_entry = |line: &&str| line.starts_with(|c: char| c.is_ascii_hexdigit());
        text.lines().filter(is_entry).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.command("stop");
    }
}

/// An SMTP client that says one thing after the other.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a socket");
        let mut client = Client { reader: BufReader::new(stream) };
        client.reply();
        client
    }

    /// Sends a line and reads the reply as one line: code, status, texts with ` / ` between them.
    pub fn say(&mut self, line: &str) -> String {
        self.reader.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("sent");
        self.reply()
    }

    fn reply(&mut self) -> String {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("a reply in time");
            let (start, text) = line.trim_end().split_at_checked(4).unwrap_or(("", line.trim_end()));
            if whole.is_empty() {
                whole = format!("{} {text}", start.trim_end_matches(['-', ' ']));
            } else {
                let status = whole.split(' ').nth(1).unwrap_or_default().to_owned();
                let text = text.strip_prefix(&status).filter(|_| status.contains('.')).unwrap_or(text);
                whole.push_str(&format!(" / {}", text.trim_start()));
            }
            if !start.ends_with('-') {
                return whole;
            }
        }
    }

    /// One mail, as [`crate::driver::transaction`] gives it; what is delivered is not known yet.
    pub fn transaction(&mut self, mail: &Mail) -> Outcome {
        let mut outcome = Outcome::default();
        let mut refuse = |command: &str, reply: String| {
            let is_refused = reply.starts_with(['4', '5']);
            if is_refused {
                outcome.refused.push((command.to_owned(), reply));
            }
            is_refused
        };
        let size = mail.size.map(|size| format!(" SIZE={size}")).unwrap_or_default();
        let mut is_refused = refuse("mail", self.say(&format!("MAIL FROM:<{}>{size}", mail.from)));
        if !is_refused {
            let recipients = mail.to.iter().filter(|to| !refuse("rcpt", self.say(&format!("RCPT TO:<{to}>"))));
            is_refused = recipients.count() == 0 || refuse("data", self.say("DATA"));
        }
        if is_refused {
            self.say("RSET");
            return outcome;
        }
        refuse("content", self.say(&format!("{}.", mail.content.replace("\r\n.", "\r\n.."))));
        outcome
    }
}
