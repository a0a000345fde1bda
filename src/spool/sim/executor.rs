//! Tasks and timers of one simulated machine. Who runs next is for the seed to say.

use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub(super) type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Who can run.
#[derive(Debug, Default)]
struct Ready {
    list: Vec<usize>,
    is_listed: Vec<bool>,
}

struct TaskWaker {
    id: usize,
    ready: Arc<Mutex<Ready>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !std::mem::replace(&mut ready.is_listed[self.id], true) {
            ready.list.push(self.id);
        }
    }
}

fn lock(mutex: &Mutex<Ready>) -> MutexGuard<'_, Ready> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tasks of one run. The first one is the caller's own, which is not kept here.
#[derive(Default)]
pub(super) struct Tasks {
    tasks: Vec<(Option<Task>, Waker)>,
    ready: Arc<Mutex<Ready>>,
}

impl Tasks {
    /// One task more, or the place of the caller's own.
    pub(super) fn add(&mut self, task: Option<Task>) {
        let id = self.tasks.len();
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: self.ready.clone() }));
        lock(&self.ready).is_listed.push(false);
        waker.wake_by_ref();
        self.tasks.push((task, waker));
    }

    /// One of those who can run, chosen by `below`.
    pub(super) fn next(&self, below: impl FnOnce(usize) -> usize) -> Option<usize> {
        let mut ready = lock(&self.ready);
        let count = ready.list.len();
        if count == 0 {
            return None;
        }
        let id = ready.list.swap_remove(below(count));
        ready.is_listed[id] = false;
        Some(id)
    }

    pub(super) fn waker(&self, id: usize) -> &Waker {
        &self.tasks[id].1
    }

    /// Lets a task go on.
    pub(super) fn poll(&mut self, id: usize) {
        let (place, waker) = &mut self.tasks[id];
        // Taken out, so that what it drops at its end may do as it likes.
        if let Some(mut task) = place.take()
            && task.as_mut().poll(&mut Context::from_waker(waker)) == Poll::Pending
        {
            *place = Some(task);
        }
    }
}

/// Who sleeps, and until when.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<std::cmp::Reverse<(Duration, usize)>>,
    sleeping: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl Timers {
    /// A timer that rings at `at`.
    pub(super) fn arm(&mut self, at: Duration, waker: &Waker) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.sleeping.push(None);
            self.sleeping.len() - 1
        });
        self.sleeping[slot] = Some(waker.clone());
        self.heap.push(std::cmp::Reverse((at, slot)));
        slot
    }

    /// Somebody else waits for it now.
    pub(super) fn replace(&mut self, slot: usize, waker: &Waker) {
        match &mut self.sleeping[slot] {
            Some(known) if known.will_wake(waker) => {}
            place => *place = Some(waker.clone()),
        }
    }

    /// The next one to ring.
    pub(super) fn ring(&mut self) -> Option<(Duration, Option<Waker>)> {
        let std::cmp::Reverse((at, slot)) = self.heap.pop()?;
        self.free.push(slot);
        Some((at, self.sleeping[slot].take()))
    }
}
