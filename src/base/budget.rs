//! A byte budget of one shard: octets are reserved before they are held, and come back by themselves.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// What one shard may hold in memory for others' bytes. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Rc<State>);

#[derive(Debug)]
struct State {
    used: Cell<usize>,
    limit: Cell<usize>,
    waiters: RefCell<Vec<Waker>>,
}

/// Octets reserved; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// A budget of `limit` octets.
    pub fn new(limit: usize) -> Budget {
        Budget(Rc::new(State { used: Cell::new(0), limit: Cell::new(limit), waiters: RefCell::default() }))
    }

    /// Another bound; what is reserved already stays.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.set(limit);
        self.wake();
    }

    /// Octets reserved now.
    pub fn used(&self) -> usize {
        self.0.used.get()
    }

    /// Less than an eighth is left: who could begin something new should not.
    pub fn is_tight(&self) -> bool {
        self.used() > self.0.limit.get() / 8 * 7
    }

    /// A reservation of nothing, to grow.
    pub fn empty(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }

    /// Reserves at once, or not at all.
    pub fn reserve(&self, bytes: usize) -> Option<Reservation> {
        let mut reservation = self.empty();
        reservation.resize(bytes).then_some(reservation)
    }

    /// Waits until `bytes` could be reserved. It may be gone again when one gets there: try in a loop.
    pub async fn wait(&self, bytes: usize) {
        poll_fn(|cx| {
            if self.fits(bytes) {
                return Poll::Ready(());
            }
            let mut waiters = self.0.waiters.borrow_mut();
            if !waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
                waiters.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    fn fits(&self, bytes: usize) -> bool {
        self.used().saturating_add(bytes) <= self.0.limit.get()
    }

    fn wake(&self) {
        let waiters = std::mem::take(&mut *self.0.waiters.borrow_mut());
        waiters.into_iter().for_each(Waker::wake);
    }
}

impl Reservation {
    /// Octets it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes it to `bytes`; false, and nothing changed, when they are not there. Less is always there.
    pub fn resize(&mut self, bytes: usize) -> bool {
        let state = &self.budget.0;
        if bytes > self.bytes && !self.budget.fits(bytes - self.bytes) {
            return false;
        }
        state.used.set(state.used.get() - self.bytes + bytes);
        let is_less = bytes < self.bytes;
        self.bytes = bytes;
        if is_less && !state.waiters.borrow().is_empty() {
            self.budget.wake();
        }
        true
    }

    /// Splits `bytes` (at most all) off, to be given back on their own.
    #[must_use]
    pub fn split(&mut self, bytes: usize) -> Reservation {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Reservation { budget: self.budget.clone(), bytes }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.resize(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_comes_back() {
        let budget = Budget::new(100);
        let mut first = budget.reserve(60).expect("it fits");
        assert!(budget.reserve(41).is_none());
        assert!(!first.resize(101) && first.bytes() == 60);
        let part = first.split(20);
        drop(first);
        assert_eq!(budget.used(), 20);
        assert!(!budget.is_tight());
        let rest = budget.reserve(80).expect("it fits");
        assert!(budget.is_tight());
        drop((part, rest));
        assert_eq!(budget.used(), 0);
    }
}
