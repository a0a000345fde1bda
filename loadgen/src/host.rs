//! What the parts that run need of the machine: shards on processors, CPU time, the end of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use posthaste_rt::preflight;
use posthaste_rt::preflight::Needs;
use posthaste_rt::signal::Signals;

/// How often a shard looks whether it is to end.
pub const LOOK: Duration = Duration::from_millis(20);

/// CPU time of this thread.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CpuTime {
    /// Seconds in user space.
    pub user_s: f64,
    /// Seconds in the kernel.
    pub system_s: f64,
}

impl CpuTime {
    /// Of the calling thread until now. (Workers that the kernel starts for io_uring are not in it; sockets need none.)
    pub fn of_this_thread() -> CpuTime {
        Self::read(UsageWho::RUSAGE_THREAD)
    }

    fn read(who: UsageWho) -> CpuTime {
        let Ok(usage) = getrusage(who) else { return CpuTime::default() };
        let seconds = |value: nix::sys::time::TimeVal| value.tv_sec() as f64 + value.tv_usec() as f64 / 1e6;
        CpuTime { user_s: seconds(usage.user_time()), system_s: seconds(usage.system_time()) }
    }

    /// What passed since `earlier`.
    pub fn since(self, earlier: CpuTime) -> CpuTime {
        CpuTime { user_s: self.user_s - earlier.user_s, system_s: self.system_s - earlier.system_s }
    }

    /// Both together.
    pub fn total_s(self) -> f64 {
        self.user_s + self.system_s
    }
}

impl std::ops::Add for CpuTime {
    type Output = CpuTime;
    fn add(self, other: CpuTime) -> CpuTime {
        CpuTime { user_s: self.user_s + other.user_s, system_s: self.system_s + other.system_s }
    }
}

/// The end of a run, seen by every shard within [`LOOK`].
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Ends the run.
    pub fn throw(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The run is over.
    pub fn is_thrown(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Asks the machine for `shards` threads and `connections`, in words where it refuses.
pub fn prepare(shards: usize, connections: usize) -> anyhow::Result<()> {
    let capabilities = preflight(Needs { shards, descriptors: connections as u64 + 256 })?;
    // A quarter of the descriptors is kept from a server's listeners; here nothing needs it.
    capabilities.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    Ok(())
}

/// The processor of thread `index`, counted from the last one: the server's first shard has the first to itself as long as
/// there are enough.
pub fn cpu_of(index: usize) -> usize {
    let cpus = posthaste_rt::shard::cpus();
    cpus[cpus.len() - 1 - index % cpus.len()]
}

/// Waits up to `span` for Ctrl-C or SIGTERM; true when one came.
pub fn interrupted(signals: &mut Signals, span: Duration) -> bool {
    use posthaste_rt::signal::Signal;
    matches!(signals.wait_blocking(Some(span)), Ok(Some(Signal::Interrupt | Signal::Terminate)))
}
