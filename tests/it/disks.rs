//! Real filesystems on disks that fail. The power goes: `xfs_io -c shutdown` on a loop mount, after which all that was
//! not synced is gone. The disk answers with errors: nbdkit's error filter under a loop device.
//!
//! `POSTHASTE_CUTS` sets the number of power cuts per filesystem (default 2). Needs root and what it names; says so
//! when it is not there.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::crash::{ids_of, load, number};
use crate::harness::{Client, Server, Sink, eventually, peer, root};
use crate::relay::relay_to;

/// Holds the segments of two shards several times over.
const DISK_BYTES: u64 = 512 << 20;

fn runs(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

/// A filesystem of its own, unmounted when dropped.
struct Disk {
    folder: tempfile::TempDir,
    /// What it is made on: a file or a block device.
    device: PathBuf,
    options: &'static str,
}

impl Disk {
    /// Makes a filesystem on `device`, or on a file, and mounts it. Nothing, and a word about it, where that cannot be.
    fn make(mkfs: &[&str], device: Option<PathBuf>, options: &'static str) -> Option<Disk> {
        let folder = tempfile::tempdir().expect("a folder");
        let device = device.unwrap_or_else(|| {
            let image = folder.path().join("image");
            fs::File::create(&image).and_then(|file| file.set_len(DISK_BYTES)).expect("a sparse file");
            image
        });
        fs::create_dir(folder.path().join("disk")).expect("ours");
        let disk = Disk { folder, device, options };
        let at = disk.device.display().to_string();
        if !runs(mkfs[0], &[&mkfs[1..], &[at.as_str()]].concat()) || !disk.mount() {
            eprintln!("SKIPPED: no {} can be made and mounted here; its faults were not tried", mkfs[0]);
            return None;
        }
        Some(disk)
    }

    fn at(&self) -> String {
        self.folder.path().join("disk").display().to_string()
    }

    fn mount(&self) -> bool {
        runs("mount", &["-o", self.options, &self.device.display().to_string(), &self.at()])
    }

    /// The power goes: nothing more reaches the disk, and what the cache holds is lost.
    fn cut(&self) {
        assert!(runs("xfs_io", &["-x", "-c", "shutdown", &self.at()]), "the filesystem can be shut down");
    }

    /// The machine is back: what the disk has is what there is.
    fn again(&self) {
        eventually("nobody holds the filesystem", || runs("umount", &[&self.at()]));
        assert!(self.mount(), "the journal is replayed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = runs("umount", &["-l", &self.at()]); // the folder's removal tells if it failed
    }
}

/// A relay whose spool is on `disk`.
fn on(disk: &Disk, settings: &str) -> Server {
    let server = Server::prepare(settings);
    let spool = format!("path = \"{}/spool\"\nfree-space-min = 1000000", disk.at());
    server.amend("path = \"@DIR@/spool\"", &spool);
    server
}

fn survives_power_cuts(mkfs: &[&str]) {
    if !root() || !peer("xfs_io") || !peer(mkfs[0]) {
        return;
    }
    let Some(disk) = Disk::make(mkfs, None, "loop") else { return };
    let (cuts, mut seed) = (number("POSTHASTE_CUTS", 2), number("POSTHASTE_SEED", 7));
    let sink = Sink::start(&["PIPELINING", "8BITMIME"]);
    let mut server = on(&disk, &relay_to(sink.port, ""));
    server.launch(&[]);
    let ledger = Arc::new(Mutex::new(HashSet::new()));
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let workers: Vec<_> = (0..6)
        .map(|worker| {
            let (stop, next, ledger, port) = (stop.clone(), next.clone(), ledger.clone(), server.port);
            std::thread::spawn(move || load(port, worker, &stop, &next, &ledger))
        })
        .collect();
    let known = || ledger.lock().expect("no panic holds it").len();
    for _ in 0..cuts {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let goal = known() + 100 + (seed >> 33) as usize % 200;
        eventually("mail is acknowledged", || known() >= goal);
        disk.cut();
        server.kill();
        disk.again();
        server.launch(&[]);
    }
    stop.store(true, Ordering::SeqCst);
    workers.into_iter().for_each(|worker| worker.join().expect("workers catch their panics"));
    server.drained();
    let arrived: HashSet<String> = ids_of(&sink).into_keys().collect();
    let ledger = ledger.lock().expect("no panic holds it");
    let lost: Vec<_> = ledger.difference(&arrived).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged messages were lost: {lost:?}", lost.len(), ledger.len());
    server.stop();
}

#[test]
fn acknowledged_mail_survives_power_cuts_on_ext4() {
    survives_power_cuts(&["mkfs.ext4", "-q", "-F"]);
}

#[test]
fn acknowledged_mail_survives_power_cuts_on_xfs() {
    survives_power_cuts(&["mkfs.xfs", "-q", "-f"]);
}

/// A block device that answers with errors while a file exists: nbdkit, nbdfuse, a loop device.
struct Failing {
    folder: tempfile::TempDir,
    nbdkit: Child,
    nbdfuse: Child,
    device: String,
}

impl Failing {
    fn start() -> Option<Failing> {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::File::create(at("raw")).and_then(|file| file.set_len(DISK_BYTES)).expect("a sparse file");
        fs::create_dir(at("export")).expect("ours");
        let quiet = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it is installed")
        };
        let when = format!("error-file={}", at("inject"));
        let nbdkit = quiet(Command::new("nbdkit").args(["-f", "-U", &at("socket"), "--filter=error", "file"]).args([
            &at("raw"),
            "error=EIO",
            "error-pwrite-rate=100%",
            &when,
        ]));
        eventually("nbdkit listens", || folder.path().join("socket").exists());
        let nbdfuse = quiet(Command::new("nbdfuse").args([&at("export"), "--unix", &at("socket")]));
        let mut failing = Failing { nbdkit, nbdfuse, device: String::new(), folder };
        let export = failing.folder.path().join("export/nbd");
        for _ in 0..100 {
            if export.exists() {
                let output = Command::new("losetup").args(["-f", "--show"]).arg(&export).output().expect("util-linux");
                failing.device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        if failing.device.is_empty() {
            eprintln!("SKIPPED: no FUSE or no loop device here; errors of a disk were not tried");
            return None;
        }
        Some(failing)
    }

    fn fail(&self, on: bool) {
        let inject = self.folder.path().join("inject");
        match on {
            true => fs::write(inject, "").expect("ours"),
            false => fs::remove_file(inject).expect("ours"),
        }
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        if !self.device.is_empty() {
            let _ = runs("losetup", &["-d", &self.device]);
        }
        let _ = runs("fusermount3", &["-uz", &self.folder.path().join("export").display().to_string()]);
        for child in [&mut self.nbdfuse, &mut self.nbdkit] {
            let _ = child.kill(); // it may have ended with its peer
            let _ = child.wait();
        }
    }
}

#[test]
fn a_disk_that_fails_costs_no_acknowledged_mail_and_service_resumes_with_it() {
    if !root() || !["nbdkit", "nbdfuse", "fusermount3", "losetup", "mkfs.ext4"].iter().all(|program| peer(program)) {
        return;
    }
    let Some(failing) = Failing::start() else { return };
    // Without a journal the filesystem itself goes on when the disk does.
    let mkfs = ["mkfs.ext4", "-q", "-F", "-O", "^has_journal"];
    let Some(disk) = Disk::make(&mkfs, Some(PathBuf::from(&failing.device)), "errors=continue") else { return };
    let sink = Sink::start(&["PIPELINING", "8BITMIME"]);
    let mut server = on(&disk, &relay_to(sink.port, ""));
    server.launch(&["--shards", "1"]);
    let mut accepted = Vec::new();
    let mut try_one = |n: usize| {
        let mut client = Client::connect_silent(server.port);
        let greeting = client.reply();
        if !greeting.starts_with("220") {
            return greeting;
        }
        client.ok("EHLO client.test", 250);
        let to = format!("b{n}@two.test");
        let reply = client.mail_or_refusal("a@one.test", &to, "Subject: x\r\n\r\nbody");
        if reply.starts_with("250") {
            accepted.push(to);
        }
        reply
    };
    assert!((0..20).all(|n| try_one(n).starts_with("250")));
    failing.fail(true);
    let refused = (20..40).map(&mut try_one).find(|reply| !reply.starts_with("250")).expect("the disk fails");
    assert!(refused.starts_with("451 4.3.") || refused.starts_with("421 4.3."), "{refused}");
    eventually("its health is known", || !server.get("/health").starts_with("HTTP/1.1 200"));
    failing.fail(false);
    let mut n = 40;
    eventually("service resumes by itself", || {
        n += 1;
        try_one(n).starts_with("250")
    });
    eventually("all that was acknowledged arrives", || {
        let arrived: HashSet<String> = sink.arrived().into_iter().flat_map(|m| m.rcpt).collect();
        accepted.iter().all(|to| arrived.contains(&format!("TO:<{to}>")))
    });
    eventually("its health is back", || server.get("/health").starts_with("HTTP/1.1 200"));
    server.stop();
}
