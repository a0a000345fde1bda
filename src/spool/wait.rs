//! Waiting on one shard: an answer, a bell, a bounded pipe. No atomics: nothing here crosses threads.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// One answer for one waiter, who may be gone.
pub struct Answer<T> {
    value: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

impl<T> Default for Answer<T> {
    fn default() -> Self {
        Answer { value: Cell::new(None), waker: Cell::new(None) }
    }
}

impl<T> Answer<T> {
    /// Gives the answer; the first one counts.
    pub fn give(&self, value: T) {
        match self.value.take() {
            Some(first) => self.value.set(Some(first)),
            None => self.value.set(Some(value)),
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Waits for it.
    pub async fn wait(&self) -> T {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// [`Answer::wait`] for hand-written futures.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<T> {
        match self.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

/// Wakes everyone who waits. What they wait for they look up themselves.
#[derive(Debug, Default)]
pub struct Bell {
    rings: Cell<u64>,
    wakers: RefCell<Vec<Waker>>,
}

impl Bell {
    /// Rings.
    pub fn ring(&self) {
        self.rings.set(self.rings.get() + 1);
        for waker in self.wakers.take() {
            waker.wake();
        }
    }

    /// How often it rang: take it before looking, pass it to [`Bell::wait`], and no ring is missed.
    pub fn rings(&self) -> u64 {
        self.rings.get()
    }

    /// Waits until it has rung more often than `seen`.
    pub async fn wait(&self, seen: u64) {
        poll_fn(|cx| {
            if self.rings.get() != seen {
                return Poll::Ready(());
            }
            self.wakers.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A bounded queue between tasks of one shard.
#[derive(Debug)]
pub struct Pipe<T> {
    items: RefCell<VecDeque<T>>,
    capacity: usize,
    /// Producers that are still there.
    producers: Cell<usize>,
    is_abandoned: Cell<bool>,
    changed: Bell,
}

impl<T> Pipe<T> {
    /// Holds up to `capacity` items.
    pub fn new(capacity: usize) -> Rc<Pipe<T>> {
        Rc::new(Pipe {
            items: RefCell::default(),
            capacity,
            producers: Cell::new(0),
            is_abandoned: Cell::new(false),
            changed: Bell::default(),
        })
    }

    /// One producer more.
    pub fn join(&self) {
        self.producers.set(self.producers.get() + 1);
    }

    /// One producer less.
    pub fn leave(&self) {
        self.producers.set(self.producers.get().saturating_sub(1));
        self.changed.ring();
    }

    /// The consumer is gone: what is sent is dropped.
    pub fn abandon(&self) {
        self.is_abandoned.set(true);
        self.items.borrow_mut().clear();
        self.changed.ring();
    }

    /// Waits for room and puts an item in.
    pub async fn send(&self, item: T) {
        loop {
            let seen = self.changed.rings();
            if self.is_abandoned.get() {
                return;
            }
            if self.items.borrow().len() < self.capacity {
                break;
            }
            self.changed.wait(seen).await;
        }
        self.items.borrow_mut().push_back(item);
        self.changed.ring();
    }

    /// Waits for an item; `None` when there is none and no producer is left.
    pub async fn receive(&self) -> Option<T> {
        loop {
            let seen = self.changed.rings();
            if let Some(item) = self.items.borrow_mut().pop_front() {
                self.changed.ring();
                return Some(item);
            }
            if self.producers.get() == 0 {
                return None;
            }
            self.changed.wait(seen).await;
        }
    }
}

/// Lets other tasks of the shard run.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
