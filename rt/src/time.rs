//! Timers of a shard: exact ones ([`sleep`], [`timeout`]) and coarse ones for idle connections.
//!
//! A distinct deadline costs a wake-up of its own, so what times out by the minute (a silent
//! peer) uses [`Alarm`]: ticks of [`ALARM_TICK`], one table per shard, and a deadline that moves
//! later is not re-armed but looked at again when the old tick fires.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use slab::Slab;

use crate::clock;

/// Grain of an [`Alarm`]: it fires at most two of these late, never early.
pub const ALARM_TICK: Duration = Duration::from_millis(100);
const TICK_US: u64 = ALARM_TICK.as_micros() as u64;

/// The time given to [`timeout`] ran out; the future was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("time ran out")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}

/// Sleeps for `span` on this shard (exact to about the preemption interval, 2 ms).
pub async fn sleep(span: Duration) {
    glommio::timer::sleep(span).await;
}

/// Runs `future` for at most `span`, then drops it. Safe around everything in this crate: no
/// future here loses data by being dropped.
pub async fn timeout<T>(span: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    let mut timer = pin!(glommio::timer::Timer::new(span));
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        timer.as_mut().poll(cx).map(|_| Err(Elapsed))
    })
    .await
}

/// One coarse, lazily re-armed wake-up of the task that polls. Costs 8 bytes until armed.
#[derive(Debug, Default)]
pub struct Alarm {
    slot: Option<u32>,
}

struct Slot {
    /// Tick it fires at; `FIRED` once it did.
    tick: u64,
    waker: Waker,
}

const FIRED: u64 = u64::MAX;

#[derive(Default)]
struct Wheel {
    order: BTreeSet<(u64, u32)>,
    slots: Slab<Slot>,
    driven: bool,
}

thread_local! {
    static WHEEL: RefCell<Wheel> = RefCell::default();
}

impl Alarm {
    /// Makes sure that `waker` is woken at the first tick after `due` (microseconds of
    /// [`clock::now`]) or before. The caller looks at the clock when it is polled.
    pub fn arm(&mut self, due: u64, waker: &Waker) {
        let tick = due / TICK_US + 1;
        let start = WHEEL.with_borrow_mut(|wheel| {
            match self.slot {
                Some(slot) => wheel.rearm(slot, tick, waker),
                None => self.slot = Some(wheel.insert(tick, waker.clone())),
            }
            !std::mem::replace(&mut wheel.driven, true)
        });
        if start {
            glommio::spawn_local(drive()).detach();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        // The waker is dropped after the borrow ends: its task may hold alarms of its own.
        let _waker = WHEEL.try_with(|wheel| wheel.try_borrow_mut().ok().map(|mut wheel| wheel.remove(slot)));
    }
}

impl Wheel {
    fn insert(&mut self, tick: u64, waker: Waker) -> u32 {
        let key = self.slots.insert(Slot { tick, waker }) as u32;
        self.order.insert((tick, key));
        key
    }

    fn rearm(&mut self, key: u32, tick: u64, waker: &Waker) {
        let Some(slot) = self.slots.get_mut(key as usize) else { return };
        if !slot.waker.will_wake(waker) {
            slot.waker.clone_from(waker);
        }
        if slot.tick <= tick {
            return;
        }
        self.order.remove(&(slot.tick, key));
        slot.tick = tick;
        self.order.insert((tick, key));
    }

    /// Nothing is there after [`forget_alarms`], when the last streams of a shard are dropped.
    fn remove(&mut self, key: u32) -> Option<Waker> {
        let slot = self.slots.try_remove(key as usize)?;
        self.order.remove(&(slot.tick, key));
        Some(slot.waker)
    }

    fn take_due(&mut self, now: u64, due: &mut Vec<Waker>) {
        while let Some(&(tick, key)) = self.order.first() {
            if tick.saturating_mul(TICK_US) > now {
                break;
            }
            self.order.pop_first();
            let slot = &mut self.slots[key as usize];
            slot.tick = FIRED;
            due.push(std::mem::replace(&mut slot.waker, Waker::noop().clone()));
        }
    }
}

/// Runs while any alarm is armed; an idle shard has no tick.
async fn drive() {
    let mut due = Vec::new();
    loop {
        sleep(ALARM_TICK).await;
        let done = WHEEL.with_borrow_mut(|wheel| {
            wheel.take_due(clock::now(), &mut due);
            wheel.driven = !wheel.order.is_empty();
            !wheel.driven
        });
        due.drain(..).for_each(Waker::wake);
        if done {
            return;
        }
    }
}

/// Forgets every alarm of this thread, while its executor still lives.
pub(crate) fn forget_alarms() {
    let wheel = WHEEL.with_borrow_mut(std::mem::take);
    drop(wheel);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard;

    fn on_shard<T: Send + 'static, F: Future<Output = T> + 'static>(f: impl FnOnce() -> F + Send + 'static) -> T {
        shard::spawn(shard::cpus()[0], "time", f).expect("a shard starts").join().expect("and ends")
    }

    /// Polls once, arms `alarm` for `due`, and resolves when woken past it.
    async fn wait_until(alarm: &mut Alarm, due: u64) {
        poll_fn(|cx| {
            if clock::now() >= due {
                return Poll::Ready(());
            }
            alarm.arm(due, cx.waker());
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn an_alarm_fires_never_early() {
        let (due, woken) = on_shard(|| async {
            let due = clock::now() + 150_000;
            wait_until(&mut Alarm::default(), due).await;
            (due, clock::now())
        });
        assert!(woken >= due);
    }

    #[test]
    fn an_alarm_is_used_again_after_it_fired_and_moves_earlier() {
        on_shard(|| async {
            let mut alarm = Alarm::default();
            wait_until(&mut alarm, clock::now() + 1).await;
            alarm.arm(clock::now() + 3_600_000_000, Waker::noop());
            wait_until(&mut alarm, clock::now() + 1).await;
        });
    }

    #[test]
    fn a_dropped_alarm_leaves_nothing_behind() {
        let left = on_shard(|| async {
            let mut alarms: Vec<Alarm> = (0..100).map(|_| Alarm::default()).collect();
            alarms.iter_mut().for_each(|alarm| alarm.arm(clock::now() + 60_000_000, Waker::noop()));
            drop(alarms);
            WHEEL.with_borrow(|wheel| (wheel.order.len(), wheel.slots.len()))
        });
        assert_eq!(left, (0, 0));
    }

    #[test]
    fn a_timeout_drops_the_future_and_says_so() {
        let (late, in_time) = on_shard(|| async {
            let late = timeout(Duration::from_millis(5), std::future::pending::<()>()).await;
            (late, timeout(Duration::from_secs(60), async { 7 }).await)
        });
        assert_eq!(late, Err(Elapsed));
        assert_eq!(in_time, Ok(7));
    }
}
