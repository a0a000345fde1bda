//! A small SMTP and LMTP server that keeps every message it acknowledges, and misbehaves on request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a sink does with the commands it gets.
pub type Script = dyn Fn(&str) -> Option<String> + Send + Sync;

/// One message as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// The argument of MAIL.
    pub mail: String,
    /// The arguments of the RCPTs that were accepted.
    pub rcpt: Vec<String>,
    /// The content, dots unstuffed.
    pub content: Vec<u8>,
}

/// A listening sink; its threads end with the process.
pub struct Sink {
    /// Where it listens.
    pub port: u16,
    arrived: Arc<Mutex<Vec<Arrived>>>,
    connections: Arc<Mutex<usize>>,
}

impl Sink {
    /// A sink that accepts everything and offers these extensions.
    pub fn start(extensions: &'static [&'static str]) -> Sink {
        Sink::scripted(extensions, |_| None)
    }

    /// A sink whose script may answer a command (or `"."` at the end of data) in its place:
    /// a reply line (several for LMTP), `""` for a reset, `"silent"` for taking the message and closing without a reply.
    pub fn scripted(
        extensions: &'static [&'static str],
        script: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Sink::on(listener, extensions, script)
    }

    /// As [`Sink::scripted`], on a listener that exists.
    pub fn on(
        listener: TcpListener,
        extensions: &'static [&'static str],
        script: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Sink {
        let port = listener.local_addr().expect("bound").port();
        let (arrived, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let script: Arc<Script> = Arc::new(script);
        let (kept, counted) = (arrived.clone(), connections.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *counted.lock().expect("no panic holds it") += 1;
                let (kept, script) = (kept.clone(), script.clone());
                std::thread::spawn(move || serve(stream, extensions, &*script, &kept));
            }
        });
        Sink { port, arrived, connections }
    }

    /// What has arrived so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().expect("no panic holds it").clone()
    }

    /// How many messages have arrived.
    pub fn count(&self) -> usize {
        self.arrived.lock().expect("no panic holds it").len()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        *self.connections.lock().expect("no panic holds it")
    }
}

fn serve(stream: TcpStream, extensions: &[&str], script: &Script, kept: &Mutex<Vec<Arrived>>) {
    let _ = stream.set_nodelay(true);
    let Ok(mut write) = stream.try_clone() else { return };
    let mut read = BufReader::new(stream);
    let mut say = move |text: &str| write.write_all(format!("{text}\r\n").as_bytes()).is_ok();
    let (mut mail, mut rcpt, mut chunks, mut lmtp) = (String::new(), Vec::new(), Vec::new(), false);
    if !say(&script("connect").unwrap_or_else(|| "220 sink.test ESMTP".into())) {
        return;
    }
    let mut line = String::new();
    loop {
        line.clear();
        match read.read_line(&mut line) {
            Ok(n) if n > 0 => {}
            _ => return,
        }
        let command = line.trim_end().to_owned();
        let verb = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let scripted = if verb == "BDAT" { None } else { script(&command) };
        let refused = scripted.as_ref().is_some_and(|reply| !reply.starts_with('2') && !reply.starts_with('3'));
        if scripted.as_deref() == Some("") {
            return;
        }
        if let (Some(reply), true) = (&scripted, refused) {
            if !say(reply) || reply.starts_with("421") {
                return;
            }
            continue;
        }
        let go_on = match verb.as_str() {
            "EHLO" | "LHLO" => {
                lmtp = verb == "LHLO";
                let lines: Vec<String> = std::iter::once("sink.test")
                    .chain(extensions.iter().copied())
                    .map(|word| format!("250-{word}"))
                    .chain([String::from("250 HELP")])
                    .collect();
                say(&lines.join("\r\n"))
            }
            "MAIL" => {
                mail = command[5..].to_owned();
                rcpt.clear();
                chunks.clear();
                say("250 2.1.0 ok")
            }
            "RCPT" => {
                rcpt.push(command[5..].to_owned());
                say("250 2.1.5 ok")
            }
            "DATA" => {
                if rcpt.is_empty() {
                    say("554 5.5.1 no recipients")
                } else {
                    say("354 go")
                        && match data(&mut read) {
                            Some(content) => finish(&mut say, script, kept, lmtp, &mail, &rcpt, content),
                            None => false,
                        }
                }
            }
            "BDAT" => {
                let mut words = command.split(' ').skip(1);
                let size: usize = words.next().and_then(|n| n.parse().ok()).unwrap_or(0);
                let last = words.next().is_some();
                let mut chunk = vec![0; size];
                if read.read_exact(&mut chunk).is_err() {
                    return;
                }
                chunks.extend(chunk);
                if rcpt.is_empty() {
                    say("554 5.5.1 no recipients")
                } else if last {
                    finish(&mut say, script, kept, lmtp, &mail, &rcpt, std::mem::take(&mut chunks))
                } else {
                    say("250 2.0.0 chunk")
                }
            }
            "QUIT" => {
                say("221 2.0.0 bye");
                return;
            }
            "RSET" | "NOOP" | "HELO" => say("250 2.0.0 ok"),
            _ => say("500 5.5.1 what?"),
        };
        if !go_on {
            return;
        }
    }
}

fn data(read: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let mut line = Vec::new();
        if read.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if line == b".\r\n" {
            return Some(content);
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

fn finish(
    say: &mut impl FnMut(&str) -> bool,
    script: &Script,
    kept: &Mutex<Vec<Arrived>>,
    lmtp: bool,
    mail: &str,
    rcpt: &[String],
    content: Vec<u8>,
) -> bool {
    let keep = || {
        let arrived = Arrived { mail: mail.to_owned(), rcpt: rcpt.to_vec(), content };
        kept.lock().expect("no panic holds it").push(arrived);
    };
    match script(".") {
        Some(reply) if reply.is_empty() => false,
        Some(reply) if reply == "silent" => {
            keep();
            false
        }
        Some(reply) if reply.contains('\n') => {
            keep();
            reply.lines().all(&mut *say)
        }
        Some(reply) if !reply.starts_with('2') => say(&reply),
        _ => {
            keep();
            let replies = if lmtp { rcpt.len() } else { 1 };
            (0..replies).all(|_| say("250 2.0.0 taken"))
        }
    }
}
