//! Programs of others, started for a test and ended with it.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Waits until a fact holds; a bound for a busy machine, not a measure.
pub fn eventually(what: &str, mut fact: impl FnMut() -> bool) {
    let start = Instant::now();
    while !fact() {
        assert!(start.elapsed() < Duration::from_secs(120), "did not come true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody listens on now, outside those that the kernel hands out.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id().wrapping_mul(89);
    for _ in 0..1000 {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 30_000 + (start.wrapping_add(step) % 2000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

pub fn is_listening(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Whether this runs as root; says so if not.
pub fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|facts| facts.uid() == 0);
    if !is_root {
        eprintln!("SKIPPED: this check needs root and did not run");
    }
    is_root
}

/// Whether a program is here. Where peers are required its absence fails; elsewhere the test says so and passes.
pub fn has_program(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(program).exists());
    said(found, program)
}

/// Whether Debian's python3-milter is here.
pub fn has_pymilter() -> bool {
    let found = Command::new("/usr/bin/python3").args(["-c", "import Milter"]).output();
    said(found.is_ok_and(|output| output.status.success()), "python3-milter")
}

fn said(found: bool, what: &str) -> bool {
    assert!(found || std::env::var_os("POSTHASTE_REQUIRE_PEERS").is_none(), "{what} is required here and absent");
    if !found {
        eprintln!("SKIPPED: {what} is not installed; this check against a real peer did not run");
    }
    found
}

/// A child that is ended with the test, and what it wrote.
pub struct Peer {
    child: Child,
    pub folder: PathBuf,
    _keep: Option<tempfile::TempDir>,
    /// It has children of its own, which end when it is asked to end.
    has_children: bool,
}

impl Peer {
    /// Starts a program whose output goes to `output` in the folder, and waits until it listens.
    pub fn start(command: &mut Command, folder: tempfile::TempDir, port: u16) -> Peer {
        let output = fs::File::create(folder.path().join("output")).expect("a file");
        let errors = output.try_clone().expect("the same file");
        let child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().expect("it is installed");
        let mut peer = Peer { child, folder: folder.path().to_owned(), _keep: Some(folder), has_children: false };
        eventually("a peer listens", || {
            let ended = peer.child.try_wait().expect("a child").is_some();
            assert!(!ended, "it ended: {}", peer.output());
            is_listening(port)
        });
        peer
    }

    /// Asks it to end, later, where others are just ended.
    pub fn with_children(mut self) -> Peer {
        self.has_children = true;
        self
    }

    pub fn output(&self) -> String {
        fs::read_to_string(self.folder.join("output")).unwrap_or_default()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.has_children {
            let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
            let start = Instant::now();
            while asked.is_ok()
                && start.elapsed() < Duration::from_secs(30)
                && matches!(self.child.try_wait(), Ok(None))
            {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self.kill();
    }
}

/// A folder that programs with another user may read.
pub fn folder(name: &str) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix(name).tempdir_in("/tmp").expect("a folder");
    let _ = Command::new("chmod").arg("755").arg(folder.path()).status();
    folder
}

/// The filter of this folder, running.
pub struct Filter {
    pub port: u16,
    pub peer: Peer,
}

/// One callback that the filter had.
#[derive(Debug, Clone, PartialEq)]
pub struct Callback {
    pub event: String,
    pub arguments: Vec<serde_json::Value>,
    pub symbols: serde_json::Map<String, serde_json::Value>,
}

impl Callback {
    /// The event with its arguments.
    pub fn shown(&self) -> String {
        format!("{} {}", self.event, serde_json::to_string(&self.arguments).expect("it was JSON"))
    }

    pub fn symbol(&self, name: &str) -> Option<&str> {
        self.symbols.get(name)?.as_str()
    }
}

impl Filter {
    /// Starts it in those modes; see its own documentation.
    pub fn start(modes: &[&str]) -> Filter {
        let (port, folder) = (free_port(), folder("pymilter"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/milter/filter.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).arg(format!("inet:{port}@127.0.0.1")).arg(folder.path().join("log")).args(modes);
        Filter { port, peer: Peer::start(&mut command, folder, port) }
    }

    /// What it was told so far, but for ends of connections.
    pub fn callbacks(&self) -> Vec<Callback> {
        let text = fs::read_to_string(self.peer.folder.join("log")).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let parse = |line: &str| -> Callback {
            let value: serde_json::Value = serde_json::from_str(line).expect("the filter writes JSON");
            Callback {
                event: value["event"].as_str().unwrap_or_default().to_owned(),
                arguments: value["args"].as_array().cloned().unwrap_or_default(),
                symbols: value["symbols"].as_object().cloned().unwrap_or_default(),
            }
        };
        whole.lines().map(parse).filter(|callback| callback.event != "close").collect()
    }

    /// Its callbacks as text, without the negotiation.
    pub fn story(&self) -> Vec<String> {
        let told = self.callbacks().into_iter().filter(|callback| callback.event != "negotiate");
        told.map(|callback| callback.shown()).collect()
    }
}
