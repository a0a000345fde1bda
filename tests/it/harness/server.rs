//! The real binary, started with a configuration in a temporary folder.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{PATIENCE, eventually, free_port};

/// A running server; killed when dropped, its folder removed.
pub struct Server {
    child: Option<Child>,
    folder: tempfile::TempDir,
    /// The port of the first SMTP listener.
    pub port: u16,
    /// The port of the LMTP listener.
    pub lmtp_port: u16,
    /// The port of the metrics scrape.
    pub metrics_port: u16,
}

/// The base configuration; `extra` is appended, and `@DIR@` stands for the folder.
const BASE: &str = r#"
[server]
hostname = "mx.posthaste.test"
[server.listener.smtp]
bind = "127.0.0.1:@SMTP@"
protocol = "smtp"
[server.listener.lmtp]
bind = "127.0.0.1:@LMTP@"
protocol = "lmtp"
[spool]
path = "@DIR@/spool"
segment-size = 8388608
[control]
socket = "@DIR@/control.sock"
[metrics.prometheus]
bind = "127.0.0.1:@METRICS@"
[tracer.log]
type = "log"
path = "@DIR@"
prefix = "mail"
format = "json"
level = "debug"
"#;

impl Server {
    /// Starts a server with the base configuration and `extra`, and waits until it answers.
    pub fn start(extra: &str) -> Server {
        let mut server = Server::prepare(extra);
        server.launch(&[]);
        server
    }

    /// Writes the configuration and starts nothing.
    pub fn prepare(extra: &str) -> Server {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, lmtp_port, metrics_port) = (free_port(), free_port(), free_port());
        let server = Server { child: None, folder, port, lmtp_port, metrics_port };
        server.configure(extra);
        server
    }

    /// Writes the configuration anew.
    pub fn configure(&self, extra: &str) {
        let text = format!("{BASE}{extra}")
            .replace("@DIR@", &self.folder.path().display().to_string())
            .replace("@SMTP@", &self.port.to_string())
            .replace("@LMTP@", &self.lmtp_port.to_string())
            .replace("@METRICS@", &self.metrics_port.to_string());
        fs::write(self.config(), text).expect("written");
    }

    /// Replaces text in the configuration.
    pub fn amend(&self, from: &str, to: &str) {
        let from = from.replace("@DIR@", &self.folder.path().display().to_string());
        let text = fs::read_to_string(self.config()).expect("the file");
        assert!(text.contains(&from), "{from} is not in\n{text}");
        fs::write(self.config(), text.replace(&from, to)).expect("written");
    }

    /// The command that runs the server, under other programs such as `prlimit --nofile=200`.
    fn run_under(&self, prefix: &[&str], arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_posthaste");
        let words: Vec<&str> = prefix.iter().copied().chain([binary, "run", "-c"]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.config()).args(arguments).current_dir(self.folder.path());
        command
    }

    /// Runs a server that must refuse to run; what it said. It has 30 seconds.
    pub fn refused(&self, prefix: &[&str]) -> String {
        let prefix: Vec<&str> = ["timeout", "30"].iter().chain(prefix).copied().collect();
        let output = self.run_under(&prefix, &[]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    /// Starts the process and waits until it answers.
    pub fn launch(&mut self, arguments: &[&str]) {
        self.launch_under(&[], arguments);
    }

    /// As [`Server::launch`], under other programs that `exec` it.
    pub fn launch_under(&mut self, prefix: &[&str], arguments: &[&str]) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("out")).expect("a file");
        let child = self
            .run_under(prefix, arguments)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.child = Some(child);
        let port = self.port;
        eventually("the server answers", || {
            if let Some(Some(status)) = self.child.as_mut().map(|c| c.try_wait().expect("a child")) {
                panic!("the server ended with {status}:\n{}", self.output());
            }
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else { return false };
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let mut greeting = [0u8; 3];
            stream.read_exact(&mut greeting).is_ok() && &greeting == b"220" && stream.write_all(b"QUIT\r\n").is_ok()
        });
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.path("posthaste.toml")
    }

    /// A path in the server's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it printed.
    pub fn output(&self) -> String {
        fs::read_to_string(self.path("out")).unwrap_or_default()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("started").id()
    }

    /// Runs `posthaste ARGUMENTS` against this server; its standard output.
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = self.command_output(arguments);
        assert!(
            output.status.success(),
            "posthaste {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs `posthaste ARGUMENTS` against this server, whatever comes of it.
    pub fn command_output(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .args(arguments)
            .env("POSTHASTE_SOCKET", self.path("control.sock"))
            .output()
            .expect("the binary runs")
    }

    /// The value of a metric, as the scrape has it.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        let prefix = format!("{name} ");
        let line = text.lines().find(|line| line.starts_with(&prefix));
        line.unwrap_or_else(|| panic!("no metric {name} in\n{text}"))[prefix.len()..].trim().parse().expect("a number")
    }

    /// What `path` of the scrape's port answers, with the header.
    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics_port)).expect("the scrape listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("text");
        text
    }

    /// The lines of the JSON log, parsed; each must be an object.
    pub fn log(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path("mail.log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]); // the last line may still be on its way
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }

    /// How many lines of the log are of this event.
    pub fn events(&self, event: &str) -> usize {
        self.log().iter().filter(|line| line["event"] == event).count()
    }

    /// Waits until nothing is queued, nor still to be found by recovery.
    pub fn drained(&self) {
        eventually("the queue is empty", || {
            self.metric("posthaste_spool_recovery_segments_pending") == 0.0
                && self.metric("posthaste_queue_recipients") == 0.0
        });
    }

    /// Sends a signal.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid() as i32), signal).expect("our child");
    }

    /// SIGKILL: as if the process had crashed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill(); // it may have ended by itself
            let _ = child.wait();
        }
    }

    /// SIGTERM, and waits for the end, which must be orderly.
    pub fn stop(&mut self) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let mut child = self.child.take().expect("started");
        let mut status = None;
        eventually("the server ends after SIGTERM", || {
            status = child.try_wait().expect("a child");
            status.is_some()
        });
        let status = status.expect("ended");
        assert!(status.success(), "ended with {status}:\n{}", self.output());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the server's output ---\n{}", self.output());
        }
    }
}

/// Every file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}
