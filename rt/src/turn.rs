//! The length of a turn: how long ready tasks run before I/O, timers and foreign wake-ups are
//! looked at again.
//!
//! glommio has a timer for this, and a fault with it (upstream #596, 0.9.0): when the timer fires
//! between the look at I/O and the first task (the thread was descheduled at that moment), the
//! executor runs nothing, takes itself for idle and sleeps on tasks that are ready, for ever if
//! nothing else happens. At 2 ms this hung one of some hundred busy starts. So glommio's timer
//! is set beyond reach, and the tasks keep the time themselves: a task whose turn comes
//! when the turn is over is put off until the executor has looked. The same fault is left for a
//! wake-up of another thread that arrives in that microsecond; the [`pulse`] bounds what it costs.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::timer::Timer;

use crate::clock;
use crate::sync::Bell;

/// A turn that lasts longer puts off the tasks that are still ready.
pub const TURN: Duration = Duration::from_millis(2);
/// What glommio's own timer is set to.
pub(crate) const NEVER: Duration = Duration::from_secs(3600);
/// The first beat of the pulse; each following one is armed at twice the time.
const PULSE: Duration = Duration::from_millis(100);
/// Beats armed at once: one that meets the fault is lost, the next is there.
const BEATS: usize = 4;

const TURN_US: u64 = TURN.as_micros() as u64;

#[derive(Default)]
struct Turn {
    /// When it began, as far as we know; microseconds. 0 on a thread that runs no shard.
    began: Cell<u64>,
    put_off: RefCell<Vec<Waker>>,
    bell: RefCell<Option<Bell>>,
}

thread_local! {
    static THIS: Turn = Turn::default();
}

/// Whether the turn has lasted long enough. Reads the clock: about 25 ns.
pub(crate) fn is_over() -> bool {
    THIS.with(|turn| {
        let (began, now) = (turn.began.get(), clock::now());
        if began == 0 || now.saturating_sub(began) < TURN_US {
            return false;
        }
        // A queue was begun anew since we last looked: the executor was idle, or has looked.
        let is_new = glommio::executor().executor_stats().scheduler_runs() > 0;
        if is_new {
            turn.began.set(now);
        }
        !is_new
    })
}

/// Puts the task that is being polled off to the next turn.
fn put_off(cx: &Context<'_>) {
    THIS.with(|turn| {
        turn.put_off.borrow_mut().push(cx.waker().clone());
        if let Some(bell) = &*turn.bell.borrow() {
            bell.ring();
        }
    });
}

/// Starts what the turns of this shard need.
pub(crate) fn begin() {
    let bell = Bell::default();
    THIS.with(|turn| {
        turn.began.set(clock::now());
        *turn.bell.borrow_mut() = Some(bell.clone());
    });
    glommio::spawn_local(keep(bell)).detach();
    glommio::spawn_local(pulse()).detach();
}

/// Drops the wakers while their executor lives.
pub(crate) fn end() {
    THIS.with(|turn| {
        turn.began.set(0);
        turn.bell.borrow_mut().take();
        let wakers = std::mem::take(&mut *turn.put_off.borrow_mut());
        drop(wakers);
    });
}

/// Wakes what was put off, once the executor has looked: a timer fires only when it does.
async fn keep(bell: Bell) {
    let mut wakers = Vec::new();
    loop {
        bell.rung().await;
        Timer::new(Duration::from_micros(1)).await;
        THIS.with(|turn| {
            turn.began.set(clock::now());
            std::mem::swap(&mut *turn.put_off.borrow_mut(), &mut wakers);
        });
        wakers.drain(..).for_each(Waker::wake); // both lists keep their room
    }
}

/// Wakes the executor now and then for nothing, so that a lost wake-up costs a tenth of a second
/// where nothing else happens, and not for ever. Ten times a second, 0.03 % of a processor.
async fn pulse() {
    loop {
        let mut beats: [Timer; BEATS] = std::array::from_fn(|n| Timer::new(PULSE * (1 << n)));
        poll_fn(|cx| {
            let beat = |beat: &mut Timer| Pin::new(beat).poll(cx).is_ready();
            // All of them are polled: that is what arms them.
            match beats.iter_mut().map(beat).fold(false, |any, ready| any | ready) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }
}

/// A task's future, polled only while the turn lasts.
pub(crate) struct InTurn<F>(pub(crate) F);

impl<F: Future> Future for InTurn<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if is_over() {
            put_off(cx);
            return Poll::Pending;
        }
        // SAFETY: the field is structurally pinned: it is never moved out of its place.
        unsafe { self.map_unchecked_mut(|this| &mut this.0) }.poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Switch;
    use crate::{shard, task, time};
    use std::rc::Rc;
    use std::time::Instant;

    const TASKS: usize = 100;

    /// Makes a hundred tasks ready at once, of a millisecond each that they do not share; gives how
    /// many had run when a timer of a millisecond was served.
    async fn served_after() -> usize {
        let (go, ran) = (Switch::default(), Rc::new(Cell::new(0)));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (go, ran) = (go.clone(), ran.clone());
                task::spawn_joined(async move {
                    go.thrown().await;
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_millis(1) {}
                    ran.set(ran.get() + 1);
                })
            })
            .collect();
        let seen = ran.clone();
        let timer = task::spawn_joined(async move {
            time::sleep(Duration::from_millis(1)).await;
            seen.get()
        });
        go.throw();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(ran.get(), TASKS, "who is put off comes back");
        timer.await.expect("no panic")
    }

    #[test]
    fn many_ready_tasks_do_not_keep_a_timer_waiting_until_the_last() {
        let shard = shard::spawn(shard::cpus()[0], "turn", served_after).expect("starts");
        let ran = shard.join().expect("ends");
        assert!(ran < TASKS / 2, "{ran} of {TASKS} tasks ran before the timer was served");
    }

    #[test]
    fn off_a_shard_no_turn_ends() {
        assert!(!is_over());
        futures_lite::future::block_on(task::yield_if_needed());
    }
}
