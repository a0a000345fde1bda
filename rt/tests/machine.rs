//! Machines that refuse: each case runs in a child process, which is this test binary again.

use std::io;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal as NixSignal, kill};
use nix::unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid};
use posthaste_rt::bridge::ControlPlane;
use posthaste_rt::preflight::{Needs, PreflightError, preflight};
use posthaste_rt::privileges::{self, Identity, PrivilegeError};
use posthaste_rt::signal::{ShardSignals, Signal, Signals};
use posthaste_rt::{shard, task, time};

const CHILD: &str = "RT_TEST_CHILD";
const NOBODY: u32 = 65534;

/// Whether this is the child; the parent runs it for the test of that name and checks its output.
fn in_child(test: &str, expected: &[&str]) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let own = std::env::current_exe().expect("a path");
    let mut child = Command::new(own);
    child.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(CHILD, "1");
    let Output { status, stdout, stderr } = child.output().expect("runs");
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success() && text.contains("1 passed"), "{text}");
    expected.iter().for_each(|words| assert!(text.contains(words), "no {words:?} in: {text}"));
    false
}

fn is_root(what: &str) -> bool {
    let root = Uid::effective().is_root();
    if !root {
        println!("SKIPPED: {what} needs root");
    }
    root
}

fn become_nobody() {
    if Uid::effective().is_root() {
        setgroups(&[]).expect("no groups");
        setresgid(Gid::from_raw(NOBODY), Gid::from_raw(NOBODY), Gid::from_raw(NOBODY)).expect("a group");
        setresuid(Uid::from_raw(NOBODY), Uid::from_raw(NOBODY), Uid::from_raw(NOBODY)).expect("a user");
    }
}

const ONE_SHARD: Needs = Needs { shards: 1, descriptors: 100 };

/// Makes the kernel answer `errno` to io_uring_setup, for this process.
fn refuse_io_uring(errno: i32) {
    const LOAD_NUMBER: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS; the system call's number is at 0
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_EQUAL, 0, 1, libc::SYS_io_uring_setup as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    nix::sys::prctl::set_no_new_privs().expect("set");
    // SAFETY: `program` and the filter it points to live through the call, which copies them.
    let failed = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(failed, 0, "{}", io::Error::last_os_error());
}

#[test]
fn io_uring_refused_is_an_error_with_words_and_no_panic() {
    let name = "io_uring_refused_is_an_error_with_words_and_no_panic";
    if !in_child(name, &["the kernel refuses io_uring", "seccomp", "io_uring_disabled=0"]) {
        return;
    }
    refuse_io_uring(libc::EPERM);
    let error = preflight(ONE_SHARD).expect_err("refused");
    assert!(matches!(error, PreflightError::IoUringRefused { .. }), "{error:?}");
    println!("{error}");
    // Whoever skips the preflight gets an error as well, from a thread that did panic.
    let error = shard::spawn(shard::cpus()[0], "refused", || async {}).expect_err("refused");
    assert!(error.to_string().contains("io_uring"), "{error}");
}

#[test]
fn a_kernel_without_io_uring_is_an_error_with_words() {
    if !in_child("a_kernel_without_io_uring_is_an_error_with_words", &["built without it"]) {
        return;
    }
    refuse_io_uring(libc::ENOSYS);
    println!("{}", preflight(ONE_SHARD).expect_err("refused"));
}

#[test]
fn too_little_memlock_is_an_error_with_words() {
    if !in_child("too_little_memlock_is_an_error_with_words", &["RLIMIT_MEMLOCK is 65536", "LimitMEMLOCK=infinity"]) {
        return;
    }
    setrlimit(Resource::RLIMIT_MEMLOCK, 65536, 65536).expect("lowered");
    become_nobody();
    let error = preflight(ONE_SHARD).expect_err("too small");
    assert!(matches!(error, PreflightError::MemlockTooSmall { .. }), "{error:?}");
    println!("{error}");
    let error = shard::spawn(shard::cpus()[0], "small", || async {}).expect_err("too small");
    assert!(error.to_string().contains("small"), "{error}");
}

/// The 8 MiB that most systems give an ordinary user carry eight shards.
#[test]
fn eight_shards_fit_into_the_usual_memlock_of_an_ordinary_user() {
    let name = "eight_shards_fit_into_the_usual_memlock_of_an_ordinary_user";
    if !is_root(name) || !in_child(name, &[]) {
        return;
    }
    setrlimit(Resource::RLIMIT_MEMLOCK, 8 << 20, 8 << 20).expect("set");
    become_nobody();
    let found = preflight(Needs { shards: 8, descriptors: 100 }).expect("enough");
    assert_eq!(found.memlock, Some(8 << 20));
    let shards: Vec<_> = (0..8)
        .map(|n| shard::spawn(found.cpus[n % found.cpus.len()], "fits", move || async move { n }).expect("starts"))
        .collect();
    let ended: Vec<usize> = shards.into_iter().map(|shard| shard.join().expect("ends")).collect();
    assert_eq!(ended, (0..8).collect::<Vec<_>>());
}

#[test]
fn a_good_machine_passes_and_its_limits_are_raised() {
    if !in_child("a_good_machine_passes_and_its_limits_are_raised", &[]) {
        return;
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("asked");
    setrlimit(Resource::RLIMIT_NOFILE, 256.min(hard), hard).expect("lowered");
    let found = preflight(ONE_SHARD).expect("this machine runs the tests");
    assert!(!found.kernel.is_empty() && !found.cpus.is_empty());
    assert!(found.descriptors >= hard, "the soft limit is as high as it may be");
    assert!(found.warnings.is_empty() || hard < 300, "{:?}", found.warnings);
}

#[test]
fn too_few_descriptors_are_named() {
    if !in_child("too_few_descriptors_are_named", &["RLIMIT_NOFILE is 64", "LimitNOFILE"]) {
        return;
    }
    setrlimit(Resource::RLIMIT_NOFILE, 64, 64).expect("lowered");
    become_nobody();
    println!("{}", preflight(ONE_SHARD).expect_err("too few"));
}

#[test]
fn dropped_privileges_leave_only_the_right_to_bind() {
    let name = "dropped_privileges_leave_only_the_right_to_bind";
    if !is_root(name) || !in_child(name, &[]) {
        return;
    }
    let identity = Identity::lookup("nobody", None).expect("every system has one");
    privileges::drop_to(&identity).expect("dropped");
    privileges::harden().expect("hardened");
    assert!(!privileges::is_root());
    assert!(setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_err(), "no way back");
    let bound = (600..1024).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    assert!(bound.is_some(), "a reload can bind low ports");
    let output = Command::new("cat").arg("/proc/self/status").output().expect("cat runs");
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    // Capability 10 alone, also after an exec.
    for set in ["CapEff:", "CapPrm:", "CapAmb:"] {
        assert!(line(set).ends_with("0000000000000400"), "{status}");
    }
    assert!(line("NoNewPrivs:").ends_with('1') && line("Uid:").contains("65534"), "{status}");
    assert!(line("Umask:").ends_with("0077"), "{status}");
    assert_eq!(getrlimit(Resource::RLIMIT_CORE).expect("asked"), (0, 0));
    // And shards run as that user.
    shard::spawn(shard::cpus()[0], "nobody", || async {}).expect("starts").join().expect("ends");
}

#[test]
fn an_unknown_user_and_root_are_refused() {
    assert!(matches!(Identity::lookup("no-such-user", None), Err(PrivilegeError::NoUser(_))));
    assert!(matches!(Identity::lookup("nobody", Some("no-such-group")), Err(PrivilegeError::NoGroup(_))));
    assert!(matches!(Identity::lookup("root", None), Err(PrivilegeError::Root(_))));
}

#[test]
fn signals_are_read_by_the_main_thread_the_control_plane_and_a_shard() {
    // A child inherits what its parent's thread blocks, and so do all its threads: the harness
    // of the child would otherwise have threads that the signals end.
    let mut signals = Signals::block().expect("blocked");
    if !in_child("signals_are_read_by_the_main_thread_the_control_plane_and_a_shard", &[]) {
        return;
    }
    let send = |signal: NixSignal| kill(Pid::this(), signal).expect("sent");
    assert_eq!(signals.wait_blocking(Some(Duration::ZERO)).expect("waited"), None);
    send(NixSignal::SIGHUP);
    assert_eq!(signals.wait_blocking(Some(Duration::from_secs(30))).expect("waited"), Some(Signal::Hangup));
    let control = ControlPlane::start(1).expect("tokio starts");
    send(NixSignal::SIGUSR1);
    assert_eq!(control.block_on(signals.next()).expect("read"), Signal::User1);
    let seen = shard::spawn(shard::cpus()[0], "signals", move || async move {
        let mut signals = ShardSignals::open().expect("opened");
        task::spawn(async move {
            time::sleep(Duration::from_millis(20)).await;
            send(NixSignal::SIGTERM);
        });
        signals.next().await.expect("read")
    });
    assert_eq!(seen.expect("starts").join().expect("ends"), Signal::Terminate);
}
