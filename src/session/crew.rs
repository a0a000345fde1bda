//! The sessions of one shard: how many there are, and a way to wake them all when the server stops.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use slab::Slab;

/// The sessions of one shard. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Crew(Rc<State>);

#[derive(Debug, Default)]
struct State {
    members: RefCell<Slab<Option<Waker>>>,
    is_stopping: Cell<bool>,
    /// Woken when the last member leaves.
    watcher: RefCell<Option<Waker>>,
}

/// One session's place; it leaves when dropped.
#[derive(Debug)]
pub struct Member {
    crew: Crew,
    key: usize,
}

impl Crew {
    /// A session begins.
    pub fn join(&self) -> Member {
        Member { crew: self.clone(), key: self.0.members.borrow_mut().insert(None) }
    }

    /// Sessions now.
    pub fn len(&self) -> usize {
        self.0.members.borrow().len()
    }

    /// No session.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every session finishes its transaction and ends.
    pub fn stop(&self) {
        self.0.is_stopping.set(true);
        let wakers: Vec<Waker> = self.0.members.borrow_mut().iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// It was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping.get()
    }

    /// Waits until no session is left. One task at a time.
    pub async fn gone(&self) {
        std::future::poll_fn(|cx| {
            if self.is_empty() {
                return std::task::Poll::Ready(());
            }
            *self.0.watcher.borrow_mut() = Some(cx.waker().clone());
            std::task::Poll::Pending
        })
        .await;
    }
}

impl Member {
    /// Remembers whom to wake when the server stops; true when it does already.
    pub fn is_stopping(&self, cx: &Context<'_>) -> bool {
        if self.crew.is_stopping() {
            return true;
        }
        if let Some(slot) = self.crew.0.members.borrow_mut().get_mut(self.key)
            && !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *slot = Some(cx.waker().clone());
        }
        false
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // The waker is dropped after the borrow has ended.
        let _waker = self.crew.0.members.borrow_mut().try_remove(self.key);
        if self.crew.is_empty() {
            let watcher = self.crew.0.watcher.borrow_mut().take();
            watcher.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn those_who_wait_are_woken_and_the_last_one_is_noticed() {
        let crew = Crew::default();
        let member = crew.join();
        assert_eq!(crew.len(), 1);
        block_on(async {
            let stopped = std::future::poll_fn(|cx| match member.is_stopping(cx) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            });
            futures_lite::pin!(stopped);
            assert!(poll_once(&mut stopped).await.is_none());
            assert!(poll_once(crew.gone()).await.is_none());
            crew.stop();
            assert!(poll_once(&mut stopped).await.is_some());
        });
        drop(member);
        block_on(crew.gone());
    }
}
