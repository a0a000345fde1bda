//! A shard: one pinned thread with one io_uring executor on it.
//!
//! Errors that glommio reports only at `join`, or as a panic of the thread, come back from
//! [`spawn`] itself as words: the closure signals that the executor lives before it runs.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::sync::mpsc;

use glommio::{ExecutorJoinHandle, GlommioError, Latency, LocalExecutorBuilder, Placement, PoolPlacement, Shares};

use crate::task::{self, Panicked};
use crate::turn::{self, InTurn};

/// Bytes that glommio registers with its three rings. We use none of them (no direct I/O), and
/// three times this is charged against RLIMIT_MEMLOCK, so it is glommio's minimum.
pub const IO_MEMORY_BYTES: usize = 64 * 1024;
/// Entries of each submission ring.
pub const RING_DEPTH: usize = 1024;
/// Share of the urgent queue against the 1000 of the ordinary one: it is served first.
const URGENT_SHARES: usize = 10_000;

/// Why a shard did not start or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The processor is not one this process may use.
    #[error("processor {0} does not exist or is not allowed to this process")]
    NoSuchCpu(usize),
    /// The executor could not be built.
    #[error("shard {name}: {reason}")]
    NotStarted {
        /// Name of the shard.
        name: String,
        /// What the runtime or the kernel said.
        reason: String,
    },
    /// The shard's own future panicked: everything on it is gone.
    #[error("shard {name}: {panic}")]
    Panicked {
        /// Name of the shard.
        name: String,
        /// Where and with what words.
        panic: Panicked,
    },
}

/// What the running shard knows of itself.
pub(crate) struct Current {
    pub(crate) name: String,
    pub(crate) urgent: glommio::TaskQueueHandle,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Current>>> = const { RefCell::new(None) };
}

/// The shard this thread runs, if it runs one.
pub(crate) fn current() -> Option<Rc<Current>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Name of the shard this thread runs; empty elsewhere.
pub fn name() -> String {
    current().map(|current| current.name.clone()).unwrap_or_default()
}

/// A running shard.
#[derive(Debug)]
pub struct JoinHandle<T: Send + 'static> {
    name: String,
    inner: ExecutorJoinHandle<Result<T, Panicked>>,
}

impl<T: Send + 'static> JoinHandle<T> {
    /// Waits until the shard's future has ended, and gives its value. Blocks this thread.
    pub fn join(self) -> Result<T, ShardError> {
        let name = self.name;
        match self.inner.join() {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => Err(ShardError::Panicked { name, panic }),
            Err(error) => Err(not_started(name, &error)),
        }
    }

    /// Name given at [`spawn`].
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Starts a shard on processor `cpu` and runs the future that `build` makes there. Returns when
/// the executor lives. Several shards may share a processor.
pub fn spawn<F, Fut, T>(cpu: usize, name: &str, build: F) -> Result<JoinHandle<T>, ShardError>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
    T: Send + 'static,
{
    if !cpus().contains(&cpu) {
        return Err(ShardError::NoSuchCpu(cpu));
    }
    task::install_panic_hook();
    let (ready, started) = mpsc::sync_channel::<()>(1);
    let own_name = name.to_owned();
    let inner = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .name(name)
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(turn::NEVER)
        // Blocking calls must not compete for the shard's own processor.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .spawn(move || async move {
            enter(own_name);
            let _ = ready.send(());
            let outcome = InTurn(task::catch(async move { build().await })).await;
            leave();
            outcome
        })
        .map_err(|error| not_started(name.to_owned(), &error))?;
    let handle = JoinHandle { name: name.to_owned(), inner };
    match started.recv() {
        Ok(()) => Ok(handle),
        // The thread ended before the executor lived: `join` tells why.
        Err(_) => Err(why_not(handle)),
    }
}

fn enter(name: String) {
    // Not `Latency::Matters`: that would set glommio's preemption timer, see `turn`.
    let shares = Shares::Static(URGENT_SHARES);
    let urgent = glommio::executor().create_task_queue(shares, Latency::NotImportant, "urgent");
    turn::begin();
    CURRENT.with_borrow_mut(|current| *current = Some(Rc::new(Current { name, urgent })));
}

/// Drops what holds wakers while the executor they belong to still lives.
fn leave() {
    turn::end();
    crate::time::forget_alarms();
    CURRENT.with_borrow_mut(Option::take);
}

fn why_not<T: Send + 'static>(handle: JoinHandle<T>) -> ShardError {
    let name = handle.name.clone();
    match handle.join() {
        Err(error) => error,
        Ok(_) => ShardError::NotStarted { name, reason: "it ended before it said that it lives".into() },
    }
}

fn not_started<T>(name: String, error: &GlommioError<T>) -> ShardError {
    let mut reason = error.to_string();
    if reason.contains("anicked") {
        reason = task::last_panic_anywhere().unwrap_or(reason);
        reason.push_str(" (is io_uring allowed, and RLIMIT_MEMLOCK large enough?)");
    }
    ShardError::NotStarted { name, reason }
}

/// Processors this process may run on, ascending; never empty.
pub fn cpus() -> Vec<usize> {
    let set = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap_or_default();
    let cpus: Vec<usize> = (0..nix::sched::CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect();
    if cpus.is_empty() { vec![0] } else { cpus }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_pinned_to_its_processor() {
        let cpu = *cpus().last().expect("one at least");
        let seen = spawn(cpu, "pinned", || async { cpus() }).expect("starts").join().expect("ends");
        assert_eq!(seen, vec![cpu]);
    }

    #[test]
    fn more_shards_than_processors_run_side_by_side() {
        let cpus = cpus();
        let shards: Vec<_> = (0..cpus.len() * 4)
            .map(|n| spawn(cpus[n % cpus.len()], &format!("s{n}"), move || async move { (n, name()) }))
            .collect::<Result<_, _>>()
            .expect("all start");
        let ended: Vec<_> = shards.into_iter().map(|shard| shard.join().expect("ends")).collect();
        assert_eq!(ended.len(), cpus.len() * 4);
        assert!(ended.iter().all(|(n, name)| *name == format!("s{n}")));
    }

    #[test]
    fn a_processor_that_is_not_ours_is_refused_by_name() {
        let error = spawn(1023, "nowhere", || async {}).expect_err("no such processor");
        assert!(error.to_string().contains("1023"), "{error}");
    }

    #[test]
    fn a_panic_of_the_shards_own_future_is_an_error_with_its_place() {
        let shard = spawn(cpus()[0], "broken", || async { panic!("on purpose") }).expect("starts");
        let error = shard.join().expect_err("it panicked").to_string();
        assert!(error.contains("broken") && error.contains("on purpose") && error.contains("shard.rs:"), "{error}");
    }
}
