//! The way to the control plane: a small tokio runtime on threads of its own, unpinned.
//!
//! A shard gives it a future and awaits the answer with a deadline. Each consumer (DNS, hooks,
//! stores, log shipping) has a [`Pool`] with a cap; a full pool is an error at once, so that no
//! consumer starves another and no queue grows without a bound.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// The consumer's pool has its cap under way.
    #[error("too many requests are under way")]
    Full,
    /// The deadline passed; the work was dropped.
    #[error("no answer in time")]
    TimedOut,
    /// The work panicked, or the control plane is shutting down.
    #[error("the work ended without an answer")]
    Gone,
}

/// The control plane's runtime. Dropping it waits for nothing: work under way is dropped.
#[derive(Debug)]
pub struct ControlPlane {
    runtime: Option<Runtime>,
}

/// Starts work on the control plane, from any thread.
#[derive(Debug, Clone)]
pub struct ControlHandle {
    handle: Handle,
}

impl ControlPlane {
    /// Starts `workers` threads (1 or 2 are enough; at least 1). Block signals before.
    pub fn start(workers: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(workers.max(1))
            .max_blocking_threads(8)
            .thread_name("control")
            .enable_all()
            .build()?;
        Ok(ControlPlane { runtime: Some(runtime) })
    }

    /// What shards and rooms keep.
    pub fn handle(&self) -> ControlHandle {
        let runtime = self.runtime.as_ref().map(Runtime::handle);
        // Only `shutdown` takes the runtime, and it takes `self` as well.
        ControlHandle { handle: runtime.cloned().unwrap_or_else(Handle::current) }
    }

    /// Runs `future` to its end on this thread (the main thread, never a shard).
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle().handle.block_on(future)
    }

    /// Gives the work under way `grace` to end, then drops it.
    pub fn shutdown(mut self, grace: Duration) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(grace);
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl ControlHandle {
    /// Starts `future` detached.
    pub fn spawn_detached(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(future));
    }

    /// Starts `future`; the answer is awaited from any executor. After `deadline` the work is
    /// dropped. Dropping the answer drops the work.
    pub fn spawn<T: Send + 'static>(
        &self,
        deadline: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Answer<T> {
        self.spawn_holding(deadline, future, None)
    }

    fn spawn_holding<T: Send + 'static>(
        &self,
        deadline: Duration,
        future: impl Future<Output = T> + Send + 'static,
        place: Option<Place>,
    ) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        let task = self.handle.spawn(async move {
            let _place = place;
            let outcome = tokio::time::timeout(deadline, future).await;
            let _ = sender.send(outcome.map_err(|_| BridgeError::TimedOut));
        });
        Answer { receiver, abort: task.abort_handle() }
    }

    /// Runs closures that block, on the control plane's own threads for such.
    pub fn spawn_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
        let (sender, receiver) = oneshot::channel();
        let task = self.handle.spawn_blocking(move || {
            let _ = sender.send(Ok(work()));
        });
        Answer { receiver, abort: task.abort_handle() }
    }

    /// Enters the runtime's context on this thread, for libraries that look for it.
    pub fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.handle.enter()
    }
}

/// The answer to work on the control plane.
#[derive(Debug)]
pub struct Answer<T> {
    receiver: oneshot::Receiver<Result<T, BridgeError>>,
    abort: AbortHandle,
}

impl<T> Future for Answer<T> {
    type Output = Result<T, BridgeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(cx).map(|got| got.unwrap_or(Err(BridgeError::Gone)))
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        // Nothing happens to work that has ended.
        self.abort.abort();
    }
}

/// One consumer's share of the control plane. Clones share the cap.
#[derive(Debug, Clone)]
pub struct Pool {
    control: ControlHandle,
    under_way: Arc<AtomicUsize>,
    cap: usize,
}

impl Pool {
    /// At most `cap` pieces of work at once.
    pub fn new(control: ControlHandle, cap: usize) -> Self {
        Pool { control, under_way: Arc::default(), cap }
    }

    /// Starts `future` if there is room; Full at once otherwise.
    pub fn spawn<T: Send + 'static>(
        &self,
        deadline: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<Answer<T>, BridgeError> {
        let place = Place::take(&self.under_way, self.cap).ok_or(BridgeError::Full)?;
        Ok(self.control.spawn_holding(deadline, future, Some(place)))
    }

    /// [`Pool::spawn`] and its answer in one.
    pub async fn run<T: Send + 'static>(
        &self,
        deadline: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, BridgeError> {
        self.spawn(deadline, future)?.await
    }

    /// Pieces of work under way.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }
}

/// A place in a pool, free again when the work is dropped, however it ended.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(count: &Arc<AtomicUsize>, cap: usize) -> Option<Self> {
        let step = |now: usize| (now < cap).then_some(now + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).ok()?;
        Some(Place(count.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard;

    const LONG: Duration = Duration::from_secs(60);

    fn on_shard<T: Send + 'static, F: Future<Output = T> + 'static>(
        f: impl FnOnce(ControlHandle) -> F + Send + 'static,
    ) -> T {
        let control = ControlPlane::start(1).expect("tokio starts");
        let handle = control.handle();
        let shard = shard::spawn(shard::cpus()[0], "bridge", move || f(handle)).expect("starts");
        shard.join().expect("ends")
    }

    #[test]
    fn an_answer_wakes_the_shard() {
        let sum = on_shard(|control| async move {
            let mut sum = 0;
            for n in 0..100u64 {
                sum += control
                    .spawn(LONG, async move {
                        tokio::task::yield_now().await;
                        n
                    })
                    .await
                    .expect("answered");
            }
            sum
        });
        assert_eq!(sum, 4950);
    }

    #[test]
    fn a_full_pool_refuses_at_once_and_a_dropped_answer_frees_its_place() {
        on_shard(|control| async move {
            let pool = Pool::new(control, 2);
            let first = pool.spawn(LONG, std::future::pending::<()>()).expect("room");
            let _second = pool.spawn(LONG, std::future::pending::<()>()).expect("room");
            assert_eq!(pool.run(LONG, async {}).await, Err(BridgeError::Full));
            drop(first);
            while pool.under_way() == 2 {
                crate::time::sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(pool.run(LONG, async { 5 }).await, Ok(5));
        });
    }

    #[test]
    fn a_deadline_and_a_panic_are_told_apart() {
        let (late, gone) = on_shard(|control| async move {
            let late = control.spawn(Duration::from_millis(5), std::future::pending::<()>()).await;
            let gone = control.spawn(LONG, async { panic!("on the control plane") }).await;
            (late, gone)
        });
        assert_eq!(late, Err(BridgeError::TimedOut));
        assert_eq!(gone, Err::<(), _>(BridgeError::Gone));
    }

    #[test]
    fn blocking_work_answers_too() {
        assert_eq!(on_shard(|control| async move { control.spawn_blocking(|| 9).await }), Ok(9));
    }
}
