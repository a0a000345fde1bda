//! A peer on a thread of its own that follows a script.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// One connection, as the script sees it. Every wait of it is bounded.
pub(super) struct Peer<S = TcpStream> {
    pub(super) stream: S,
    pending: Vec<u8>,
}

impl Peer<TcpStream> {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Peer { stream, pending: Vec::new() }
    }

    /// Closes so that the client sees a reset.
    pub(super) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("linger");
    }
}

impl<S: Read + Write> Peer<S> {
    pub(super) fn over(stream: S) -> Self {
        Peer { stream, pending: Vec::new() }
    }

    pub(super) fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("the client listens");
        self.stream.flush().expect("flushed");
    }

    /// Octets up to and with `end`; everything there was when the client closed first.
    pub(super) fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.pending.windows(end.len()).position(|w| w == end) {
                return self.pending.drain(..at + end.len()).collect();
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return std::mem::take(&mut self.pending),
                Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// A command, without its line end; empty when the client closed.
    pub(super) fn command(&mut self) -> String {
        let line = self.until(b"\r\n");
        String::from_utf8(line).expect("commands are text").trim_end().to_owned()
    }

    /// Takes a command that has to start like this.
    pub(super) fn expect(&mut self, prefix: &str) -> String {
        let command = self.command();
        assert!(command.starts_with(prefix), "{command:?} instead of {prefix}");
        command
    }

    pub(super) fn greet(&mut self, extensions: &[&str]) {
        self.say("220 peer.test ESMTP\r\n");
        let hello = self.command();
        assert!(hello.starts_with("EHLO ") || hello.starts_with("LHLO "), "{hello:?}");
        self.offer(extensions);
    }

    pub(super) fn offer(&mut self, extensions: &[&str]) {
        let lines: String = extensions.iter().map(|x| format!("250-{x}\r\n")).collect();
        self.say(&format!("250-peer.test\r\n{lines}250 HELP\r\n"));
    }

    /// The content of a BDAT LAST whose line comes next; fewer octets when the client closed.
    pub(super) fn chunk(&mut self) -> Vec<u8> {
        let line = self.expect("BDAT ");
        let size: usize = line.trim_start_matches("BDAT ").trim_end_matches(" LAST").parse().expect("a size");
        while self.pending.len() < size {
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
            }
        }
        let size = size.min(self.pending.len());
        self.pending.drain(..size).collect()
    }

    /// A transaction of one recipient by BDAT, taken. False when the client left instead.
    pub(super) fn take_one(&mut self) -> bool {
        let first = self.command();
        if !first.starts_with("MAIL FROM:") {
            return false;
        }
        self.expect("RCPT TO:");
        self.chunk();
        self.say("250 ok\r\n250 ok\r\n250 2.0.0 taken\r\n");
        true
    }
}

/// Listens on a port; for each connection the script runs with the connection's number.
pub(super) struct Listening<T> {
    pub(super) port: u16,
    thread: JoinHandle<Vec<T>>,
    stop: mpsc::Sender<()>,
    address: SocketAddr,
}

/// Serves connections one after the other until [`Listening::results`] is asked for.
pub(super) fn serve<T: Send + 'static>(script: impl FnMut(usize, Peer) -> T + Send + 'static) -> Listening<T> {
    serve_on(Ipv4Addr::LOCALHOST, 0, script)
}

pub(super) fn serve_on<T: Send + 'static>(
    ip: Ipv4Addr,
    port: u16,
    mut script: impl FnMut(usize, Peer) -> T + Send + 'static,
) -> Listening<T> {
    let listener = TcpListener::bind((IpAddr::V4(ip), port)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut results = Vec::new();
        for number in 0.. {
            let (stream, _) = listener.accept().expect("a connection");
            if stopped.try_recv().is_ok() {
                break;
            }
            results.push(script(number, Peer::new(stream)));
        }
        results
    });
    Listening { port: address.port(), thread, stop, address }
}

impl<T> Listening<T> {
    /// What the script gave for each connection; fails when the script did.
    pub(super) fn results(self) -> Vec<T> {
        let _ = self.stop.send(());
        let _ = TcpStream::connect(self.address);
        self.thread.join().expect("the script was followed")
    }
}
