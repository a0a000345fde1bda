//! A blocking SMTP client that sends what it is told and reads replies, nothing more.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects and reads the greeting, which must be positive.
    pub fn connect(port: u16) -> Client {
        let mut client = Client::connect_silent(port);
        let greeting = client.reply();
        assert!(greeting.starts_with("220"), "{greeting}");
        client
    }

    /// Connects and reads nothing.
    pub fn connect_silent(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("an option");
        Client { stream: BufReader::new(stream) }
    }

    /// Connects and says EHLO.
    pub fn greeted(port: u16) -> Client {
        let mut client = Client::connect(port);
        client.ok("EHLO client.test", 250);
        client
    }

    /// Sends octets as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the peer reads");
    }

    /// Sends octets; false when the peer is gone.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// Reads one reply, all its lines, joined by `\n`; empty at the end of the connection.
    pub fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match self.stream.read_line(&mut line) {
                Ok(n) if n > 0 => {}
                _ => break,
            }
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line.trim_end_matches("\r\n").to_owned());
            if !more {
                break;
            }
        }
        lines.join("\n")
    }

    /// Sends a command line and reads its reply.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// As [`Client::ask`], and the code must be `code`.
    pub fn ok(&mut self, line: &str, code: u16) -> String {
        let reply = self.ask(line);
        assert!(reply.starts_with(&code.to_string()), "{line} -> {reply}, expected {code}");
        reply
    }

    /// One whole transaction by DATA; the final reply.
    pub fn mail(&mut self, from: &str, to: &[&str], content: &str) -> String {
        self.ok(&format!("MAIL FROM:<{from}>"), 250);
        for recipient in to {
            self.ok(&format!("RCPT TO:<{recipient}>"), 250);
        }
        self.ok("DATA", 354);
        self.send(content.as_bytes());
        self.send(b"\r\n.\r\n");
        self.reply()
    }

    /// As [`Client::mail`] to one recipient; the first refusal, at whatever command, or the final reply.
    pub fn mail_or_refusal(&mut self, from: &str, to: &str, content: &str) -> String {
        for command in [format!("MAIL FROM:<{from}>"), format!("RCPT TO:<{to}>"), "DATA".to_owned()] {
            let reply = self.ask(&command);
            if !reply.starts_with('2') && !reply.starts_with('3') {
                let _ = self.ask("RSET");
                return reply;
            }
        }
        self.send(content.as_bytes());
        self.ask("\r\n.")
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest); // a reset ends it too
        rest
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}
