//! Asks, before anything starts, whether this machine lets us run, and says it in words.
//!
//! glommio panics inside its thread where io_uring is refused, and ends the process where an
//! operation is missing. So the question is asked here first, and limits are raised as far as
//! they go.

use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use io_uring::{IoUring, Probe, opcode};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use crate::shard::{IO_MEMORY_BYTES, RING_DEPTH};

/// Memory locked per shard: three registrations of its I/O memory, and three rings (64-byte
/// submissions, 16-byte completions twice as many, and their indices), with room for the kernel's
/// own rounding.
pub const MEMLOCK_BYTES_PER_SHARD: u64 = (3 * IO_MEMORY_BYTES + 3 * RING_DEPTH * 128) as u64;
/// glommio refuses to start below this, whoever runs it.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;
/// Descriptors a shard needs besides its connections: rings, eventfds, segments, threads' own.
const DESCRIPTORS_PER_SHARD: u64 = 64;
/// A quarter of the limit is not for connections that come in, and no more than this.
const DESCRIPTORS_RESERVE_MAX: u64 = 4096;

/// Descriptors from this number on are not for connections that come in. The lowest free number is always given
/// first, so a number says how many are in use.
static RESERVED_FROM: AtomicI32 = AtomicI32::new(RawFd::MAX);

/// The descriptor is one of those kept for segments, next hops and the operator: connections that come in would
/// otherwise take the last one, and what was accepted could neither be written nor delivered.
pub fn is_reserved(fd: RawFd) -> bool {
    fd >= RESERVED_FROM.load(Ordering::Relaxed)
}

/// What the server is going to start.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// Shards.
    pub shards: usize,
    /// Descriptors for connections and files, over all shards.
    pub descriptors: u64,
}

/// What this machine gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Release of the kernel.
    pub kernel: String,
    /// Processors we may use.
    pub cpus: Vec<usize>,
    /// RLIMIT_MEMLOCK after raising, bytes; `None` is unlimited.
    pub memlock: Option<u64>,
    /// RLIMIT_NOFILE after raising.
    pub descriptors: u64,
    /// What works but is less than it should be, in words for the operator.
    pub warnings: Vec<String>,
}

/// Why the server cannot run here. Each says what to change.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// io_uring_setup was refused.
    #[error(
        "the kernel refuses io_uring: {answer}. {hint}Allow it (sysctl kernel.io_uring_disabled=0, and in a \
         container a seccomp profile that permits io_uring_setup, io_uring_enter and io_uring_register)"
    )]
    IoUringRefused {
        /// The kernel's answer; the words have it, so it is no `source` that would be printed again.
        answer: io::Error,
        /// What we found out about the reason; empty or a sentence.
        hint: String,
    },
    /// The kernel is too old.
    #[error("the kernel ({kernel}) has io_uring without {missing}; Linux 5.8 or newer is needed, 6.1 advised")]
    IoUringTooOld {
        /// Its release.
        kernel: String,
        /// The first operation that is missing.
        missing: &'static str,
    },
    /// RLIMIT_MEMLOCK is too small and may not be raised.
    #[error(
        "RLIMIT_MEMLOCK is {limit} bytes, {shards} shards need {needed}: set LimitMEMLOCK=infinity in the unit, \
         or memlock in limits.conf, or start fewer shards"
    )]
    MemlockTooSmall {
        /// The hard limit.
        limit: u64,
        /// What is needed.
        needed: u64,
        /// For so many shards.
        shards: usize,
    },
    /// RLIMIT_NOFILE is too small to start at all.
    #[error("RLIMIT_NOFILE is {limit}, at least {needed} are needed to start: set LimitNOFILE in the unit")]
    TooFewDescriptors {
        /// The hard limit.
        limit: u64,
        /// What is needed.
        needed: u64,
    },
    /// The limits could not be read or set.
    #[error("asking for resource limits: {0}")]
    Limits(#[from] io::Error),
}

/// Probes io_uring and raises the limits. Call it before dropping root, and before any shard.
pub fn preflight(needs: Needs) -> Result<Capabilities, PreflightError> {
    let kernel = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let kernel = kernel.unwrap_or_default();
    let mut warnings = Vec::new();
    let memlock = raise_memlock(needs.shards)?;
    probe_io_uring(&kernel)?;
    let descriptors = raise_descriptors(needs, &mut warnings)?;
    Ok(Capabilities { kernel, cpus: crate::shard::cpus(), memlock, descriptors, warnings })
}

fn probe_io_uring(kernel: &str) -> Result<(), PreflightError> {
    let ring = IoUring::new(2).map_err(refused)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(refused)?;
    let needed = [
        (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD"),
        (opcode::Timeout::CODE, "IORING_OP_TIMEOUT"),
        (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL"),
        (opcode::OpenAt::CODE, "IORING_OP_OPENAT"),
        (opcode::Close::CODE, "IORING_OP_CLOSE"),
        (opcode::Statx::CODE, "IORING_OP_STATX"),
        (opcode::Read::CODE, "IORING_OP_READ"),
        (opcode::Write::CODE, "IORING_OP_WRITE"),
        (opcode::Fsync::CODE, "IORING_OP_FSYNC"),
        (opcode::Fallocate::CODE, "IORING_OP_FALLOCATE"),
        (opcode::Send::CODE, "IORING_OP_SEND"),
        (opcode::Recv::CODE, "IORING_OP_RECV"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        None => Ok(()),
        Some((_, missing)) => Err(PreflightError::IoUringTooOld { kernel: kernel.to_owned(), missing }),
    }
}

fn refused(answer: io::Error) -> PreflightError {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let hint = match (answer.raw_os_error(), disabled.trim()) {
        (Some(libc::ENOMEM), _) => "RLIMIT_MEMLOCK may be used up by a process that just ended. ".into(),
        (_, setting @ ("1" | "2")) => format!("kernel.io_uring_disabled is {setting}. "),
        (Some(libc::EPERM), _) => "A seccomp filter (a container's, usually) forbids it. ".into(),
        (Some(libc::ENOSYS), _) => "The kernel was built without it, or a seccomp filter hides it. ".into(),
        _ => String::new(),
    };
    PreflightError::IoUringRefused { answer, hint }
}

/// Raises the soft limit to the hard one, or both where we may; `None` is unlimited.
fn raise_memlock(shards: usize) -> Result<Option<u64>, PreflightError> {
    let needed = (shards as u64).saturating_mul(MEMLOCK_BYTES_PER_SHARD).max(MEMLOCK_BYTES_MIN);
    if setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok() {
        return Ok(None);
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).map_err(io::Error::from)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard).map_err(io::Error::from)?;
    match hard {
        RLIM_INFINITY => Ok(None),
        limit if limit >= needed => Ok(Some(limit)),
        limit => Err(PreflightError::MemlockTooSmall { limit, needed, shards }),
    }
}

fn raise_descriptors(needs: Needs, warnings: &mut Vec<String>) -> Result<u64, PreflightError> {
    let own = (needs.shards as u64).saturating_mul(DESCRIPTORS_PER_SHARD).saturating_add(64);
    let wanted = needs.descriptors.saturating_add(own);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    let target = soft.max(wanted.min(hard)).max(hard);
    if wanted > hard {
        // Only root may; otherwise the hard limit has to do.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted);
    } else if target > soft {
        setrlimit(Resource::RLIMIT_NOFILE, target, hard).map_err(io::Error::from)?;
    }
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    if limit < own {
        return Err(PreflightError::TooFewDescriptors { limit, needed: own });
    }
    let reserve = (limit / 4).min(DESCRIPTORS_RESERVE_MAX);
    RESERVED_FROM.store(RawFd::try_from(limit - reserve).unwrap_or(RawFd::MAX), Ordering::Relaxed);
    if limit < wanted {
        warnings.push(format!(
            "RLIMIT_NOFILE is {limit}, the configuration may use {wanted}: beyond it connections are answered 421 (LimitNOFILE)"
        ));
    }
    Ok(limit)
}
