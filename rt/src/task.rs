//! Tasks of a shard, whose panics end nothing but themselves.
//!
//! Without this, one panicking task unwinds its executor and takes every session of the shard
//! along. A panic is caught, counted and reported with its place; a critical task aborts the
//! process instead, because restart is its repair.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::task::{Context, Poll};

use crate::turn::InTurn;

/// A caught panic: its words and the place in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked {
    /// What `panic!` said, at most 300 bytes.
    pub message: String,
    /// `file:line:column`.
    pub place: String,
    /// Name of the shard, or of the thread elsewhere.
    pub shard: String,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked at {}: {}", self.place, self.message)
    }
}

impl std::error::Error for Panicked {}

thread_local! {
    static LAST: RefCell<Option<Panicked>> = const { RefCell::new(None) };
    static CAUGHT: Cell<u64> = const { Cell::new(0) };
}

static CAUGHT_ANYWHERE: AtomicU64 = AtomicU64::new(0);
static LAST_ANYWHERE: Mutex<Option<Panicked>> = Mutex::new(None);

type Reporter = Box<dyn Fn(&Panicked) + Send + Sync>;
static REPORTER: OnceLock<Reporter> = OnceLock::new();

/// Panics caught on this shard since it started.
pub fn panics_caught() -> u64 {
    CAUGHT.get()
}

/// Panics caught in the whole process.
pub fn panics_caught_anywhere() -> u64 {
    CAUGHT_ANYWHERE.load(Ordering::Relaxed)
}

/// Sets, once, who is told of every panic as it happens (on the panicking thread, before it is
/// caught). Without a reporter a line goes to standard error. `false` when one was set before.
pub fn report_panics_to(reporter: impl Fn(&Panicked) + Send + Sync + 'static) -> bool {
    REPORTER.set(Box::new(reporter)).is_ok()
}

/// Records the place of every panic from now on. Called by the first shard; harmless twice.
pub fn install_panic_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| std::panic::set_hook(Box::new(record)));
}

fn record(info: &PanicHookInfo<'_>) {
    let panicked = Panicked {
        message: words(info.payload()),
        place: info.location().map_or_else(|| "an unknown place".into(), ToString::to_string),
        shard: where_we_are(),
    };
    match REPORTER.get() {
        Some(report) => report(&panicked),
        None => eprintln!("{}: {panicked}", panicked.shard),
    }
    *LAST_ANYWHERE.lock().unwrap_or_else(PoisonError::into_inner) = Some(panicked.clone());
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(panicked));
}

fn where_we_are() -> String {
    let thread = std::thread::current();
    thread.name().unwrap_or("a thread without a name").to_owned()
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no words").chars().take(300).collect()
}

/// The last panic of any thread, for threads that died before they could say why.
pub(crate) fn last_panic_anywhere() -> Option<String> {
    LAST_ANYWHERE.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(ToString::to_string)
}

fn caught(payload: Box<dyn Any + Send>) -> Panicked {
    CAUGHT.set(CAUGHT.get() + 1);
    CAUGHT_ANYWHERE.fetch_add(1, Ordering::Relaxed);
    LAST.with_borrow_mut(Option::take).unwrap_or_else(|| Panicked {
        message: words(payload.as_ref()),
        place: "an unrecorded place".into(),
        shard: where_we_are(),
    })
}

/// Calls `f`; a panic in it is counted and becomes a value.
pub fn catch_call<T>(f: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(f)).map_err(caught)
}

/// Runs `future`; a panic in it, also in what it drops at its end, is counted and becomes a value.
pub fn catch<F: Future>(future: F) -> Catch<F> {
    Catch { future: Some(future) }
}

/// The future of [`catch`].
#[derive(Debug)]
pub struct Catch<F> {
    future: Option<F>,
}

impl<F: Future> Future for Catch<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is structurally pinned: it is never moved out, only polled in place
        // and dropped in place by `Pin::set`.
        let mut slot = unsafe { self.map_unchecked_mut(|this| &mut this.future) };
        let polled = catch_unwind(AssertUnwindSafe(|| match slot.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx),
            None => Poll::Pending,
        }));
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(payload) => Err(caught(payload)),
        };
        let dropped = catch_unwind(AssertUnwindSafe(|| slot.set(None)));
        Poll::Ready(match dropped {
            Ok(()) => outcome,
            Err(payload) => outcome.and(Err(caught(payload))),
        })
    }
}

/// Starts `future` on this shard, detached. It may be polled before this returns: hold no
/// `RefCell` borrow across the call. A panic ends it, and only it.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(InTurn(catch(future))).detach();
}

/// Like [`spawn`], in the queue that is served before the ordinary one and is never put off
/// ([`crate::turn`]): for receivers of other shards' and the control plane's messages. Keep its
/// polls short.
pub fn spawn_urgent(future: impl Future<Output = ()> + 'static) {
    let queue = crate::shard::current().map(|current| current.urgent).unwrap_or_default();
    match glommio::spawn_local_into(catch(future), queue) {
        Ok(task) => drop(task.detach()),
        // A queue is removed by nobody, so this cannot be; silence would be worse than an end.
        Err(error) => panic!("the urgent queue is gone: {error}"),
    }
}

/// Starts a task whose panic aborts the process (spool, queue, leases): restart is the repair.
pub fn spawn_critical(future: impl Future<Output = ()> + 'static) {
    glommio::spawn_local(InTurn(critical(future))).detach();
}

/// [`spawn_critical`] in the urgent queue.
pub fn spawn_critical_urgent(future: impl Future<Output = ()> + 'static) {
    spawn_urgent(critical(future));
}

async fn critical(future: impl Future<Output = ()> + 'static) {
    if let Err(panicked) = catch(future).await {
        eprintln!("{}: critical task {panicked}; the process aborts", panicked.shard);
        std::process::abort();
    }
}

/// A task whose value is awaited. Dropping the handle cancels the task at its next await.
#[derive(Debug)]
pub struct Task<T>(glommio::Task<Result<T, Panicked>>);

impl<T> Task<T> {
    /// Lets the task run on without its handle.
    pub fn detach(self) {
        drop(self.0.detach());
    }

    /// Stops the task at its next await and waits until it is gone.
    pub async fn cancel(self) -> Option<Result<T, Panicked>> {
        self.0.cancel().await
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Starts `future` on this shard and gives a handle to await or cancel it.
pub fn spawn_joined<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    Task(glommio::spawn_local(InTurn(catch(future))))
}

/// Gives way when the shard's turn has lasted 2 ms, so that it looks at I/O, timers and foreign
/// wake-ups: to be awaited in every loop over records, chunks or commands. About 25 ns otherwise.
pub async fn yield_if_needed() {
    if crate::turn::is_over() {
        // The task is put off when it is polled again.
        yield_now().await;
    }
}

/// Gives way to the other ready tasks of this queue, without looking at I/O.
pub async fn yield_now() {
    futures_lite::future::yield_now().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard;
    use std::rc::Rc;

    fn on_shard<T: Send + 'static, F: Future<Output = T> + 'static>(f: impl FnOnce() -> F + Send + 'static) -> T {
        shard::spawn(shard::cpus()[0], "task", f).expect("a shard starts").join().expect("and ends")
    }

    #[test]
    fn a_panicking_task_is_counted_with_its_place_and_the_others_live_on() {
        let (outcome, count, other) = on_shard(|| async {
            let other = spawn_joined(async {
                crate::time::sleep(std::time::Duration::from_millis(5)).await;
                "alive"
            });
            spawn(async { panic!("a detached one") });
            let outcome = spawn_joined(async {
                yield_now().await;
                let too_far = std::hint::black_box(3);
                [1, 2][too_far]
            });
            (outcome.await, panics_caught(), other.await)
        });
        let panicked = outcome.expect_err("it panicked");
        assert!(panicked.place.contains("task.rs:"), "{panicked}");
        assert!(panicked.message.contains("out of bounds"), "{panicked}");
        assert_eq!(count, 2);
        assert_eq!(other, Ok("alive"));
    }

    #[test]
    fn a_panic_while_the_future_is_dropped_is_caught_too() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }
        let outcome = on_shard(|| async {
            let bomb = Bomb;
            catch(async move {
                let _held = &bomb;
                std::future::ready(()).await;
                drop(bomb);
            })
            .await
        });
        assert!(outcome.expect_err("it panicked").message.contains("in drop"));
    }

    #[test]
    fn an_urgent_task_panics_alone() {
        let done = on_shard(|| async {
            let flag = Rc::new(Cell::new(false));
            spawn_urgent(async { panic!("urgent") });
            let seen = flag.clone();
            spawn_urgent(async move { seen.set(true) });
            while !flag.get() {
                crate::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            panics_caught()
        });
        assert_eq!(done, 1);
    }

    #[test]
    fn a_cancelled_task_is_dropped_and_gives_nothing() {
        let (outcome, dropped) = on_shard(|| async {
            let held = Rc::new(());
            let inside = held.clone();
            let task = spawn_joined(async move {
                let _inside = inside;
                std::future::pending::<()>().await;
            });
            let outcome = task.cancel().await;
            (outcome, Rc::strong_count(&held) == 1)
        });
        assert_eq!(outcome, None);
        assert!(dropped);
    }
}
