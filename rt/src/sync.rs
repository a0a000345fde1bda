//! What two tasks of one shard wait on: no atomics, no locks, `!Send`.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The sending half was dropped without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side is gone")]
pub struct Gone;

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    sender_gone: bool,
    receiver_gone: bool,
}

/// Gives the one value of a [`oneshot`].
#[derive(Debug)]
pub struct Sender<T>(Rc<RefCell<Slot<T>>>);

/// Awaits the one value of a [`oneshot`].
#[derive(Debug)]
pub struct Receiver<T>(Rc<RefCell<Slot<T>>>);

/// One value from one task to another of the same shard.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let slot = Slot { value: None, waker: None, sender_gone: false, receiver_gone: false };
    let slot = Rc::new(RefCell::new(slot));
    (Sender(slot.clone()), Receiver(slot))
}

impl<T> Sender<T> {
    /// Hands the value over; gives it back when nobody waits any more.
    pub fn send(self, value: T) -> Result<(), T> {
        let waker = {
            let mut slot = self.0.borrow_mut();
            if slot.receiver_gone {
                return Err(value);
            }
            slot.value = Some(value);
            slot.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Whether the receiver was dropped.
    pub fn is_abandoned(&self) -> bool {
        self.0.borrow().receiver_gone
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut slot = self.0.borrow_mut();
            slot.sender_gone = true;
            slot.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<T> Receiver<T> {
    /// The value, if it is there already.
    pub fn try_take(&mut self) -> Option<T> {
        self.0.borrow_mut().value.take()
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Gone>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slot = self.0.borrow_mut();
        if let Some(value) = slot.value.take() {
            return Poll::Ready(Ok(value));
        }
        if slot.sender_gone {
            return Poll::Ready(Err(Gone));
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.borrow_mut().receiver_gone = true;
    }
}

/// A doorbell: rings are remembered until somebody waits, many rings are one. Clones share it;
/// one task at a time may wait.
#[derive(Debug, Clone, Default)]
pub struct Bell(Rc<BellState>);

#[derive(Debug, Default)]
struct BellState {
    rung: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl Bell {
    /// Wakes the waiting task, or lets the next wait return at once.
    pub fn ring(&self) {
        self.0.rung.set(true);
        let waker = self.0.waiter.borrow_mut().take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// Waits for a ring and consumes it.
    pub async fn rung(&self) {
        poll_fn(|cx| self.poll_rung(cx)).await;
    }

    /// [`Bell::rung`] for hand-written futures.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.rung.take() {
            return Poll::Ready(());
        }
        *self.0.waiter.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A switch that is thrown once (stop, drain); any number of tasks may wait for it.
#[derive(Debug, Clone, Default)]
pub struct Switch(Rc<SwitchState>);

#[derive(Debug, Default)]
struct SwitchState {
    thrown: Cell<bool>,
    waiters: RefCell<Vec<Waker>>,
}

impl Switch {
    /// Throws it; every present and later wait returns.
    pub fn throw(&self) {
        self.0.thrown.set(true);
        let waiters = std::mem::take(&mut *self.0.waiters.borrow_mut());
        waiters.into_iter().for_each(Waker::wake);
    }

    /// Whether it was thrown.
    pub fn is_thrown(&self) -> bool {
        self.0.thrown.get()
    }

    /// Waits until it is thrown.
    pub async fn thrown(&self) {
        poll_fn(|cx| self.poll_thrown(cx)).await;
    }

    /// [`Switch::thrown`] for hand-written futures. Each waiting task is remembered once.
    pub fn poll_thrown(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_thrown() {
            return Poll::Ready(());
        }
        let mut waiters = self.0.waiters.borrow_mut();
        if !waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
            waiters.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Counts what may run at once (handshakes, commits); waiters are served in order.
#[derive(Debug, Clone)]
pub struct Permits(Rc<RefCell<PermitState>>);

#[derive(Debug)]
struct PermitState {
    free: usize,
    queue: std::collections::VecDeque<Sender<()>>,
}

/// One unit of [`Permits`], given back when dropped.
#[derive(Debug)]
pub struct Permit(Permits);

impl Permits {
    /// `count` units.
    pub fn new(count: usize) -> Self {
        Permits(Rc::new(RefCell::new(PermitState { free: count, queue: Default::default() })))
    }

    /// A unit at once, or nothing.
    pub fn try_acquire(&self) -> Option<Permit> {
        let mut state = self.0.borrow_mut();
        let free = state.free.checked_sub(1)?;
        state.free = free;
        drop(state);
        Some(Permit(self.clone()))
    }

    /// Waits for a unit. A wait that is dropped takes none.
    pub async fn acquire(&self) -> Permit {
        loop {
            if let Some(permit) = self.try_acquire() {
                return permit;
            }
            let (sender, receiver) = oneshot();
            self.0.borrow_mut().queue.push_back(sender);
            let _ = receiver.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.borrow_mut().free += 1;
        loop {
            let next = self.0.0.borrow_mut().queue.pop_front();
            match next.map(|waiter| waiter.send(())) {
                Some(Err(())) => {}
                Some(Ok(())) | None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn a_value_crosses_and_a_dropped_side_is_noticed() {
        let (sender, receiver) = oneshot();
        sender.send(5).expect("somebody waits");
        assert_eq!(block_on(receiver), Ok(5));
        let (sender, receiver) = oneshot::<u8>();
        drop(sender);
        assert_eq!(block_on(receiver), Err(Gone));
        let (sender, receiver) = oneshot();
        drop(receiver);
        assert!(sender.is_abandoned());
        assert_eq!(sender.send(9), Err(9));
    }

    #[test]
    fn rings_are_remembered_and_are_one() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        block_on(bell.rung());
        assert_eq!(block_on(poll_once(bell.rung())), None);
    }

    #[test]
    fn a_thrown_switch_stays_thrown() {
        let switch = Switch::default();
        assert_eq!(block_on(poll_once(switch.thrown())), None);
        switch.throw();
        block_on(switch.thrown());
        block_on(switch.clone().thrown());
    }

    #[test]
    fn permits_bound_what_runs_and_a_dropped_wait_takes_none() {
        let permits = Permits::new(1);
        let held = permits.try_acquire().expect("one is free");
        assert!(permits.try_acquire().is_none());
        let mut abandoned = Box::pin(permits.acquire());
        assert!(block_on(poll_once(&mut abandoned)).is_none());
        drop(abandoned);
        let mut waiting = Box::pin(permits.acquire());
        assert!(block_on(poll_once(&mut waiting)).is_none());
        drop(held);
        let permit = block_on(waiting);
        assert!(permits.try_acquire().is_none());
        drop(permit);
        assert!(permits.try_acquire().is_some());
    }
}
