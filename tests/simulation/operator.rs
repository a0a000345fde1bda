//! Who looks after the queue: holds, releases, retries and removes messages, and stops the server in order.

use std::rc::Rc;
use std::time::Duration;

use posthaste::base::MessageId;
use posthaste::scheduler::Pause;
use posthaste::spool::storage::Storage as _;
use posthaste::spool::{Durability, Record};

use super::node::Node;
use super::story::Story;

/// What an operator can do to a message.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    Hold,
    Release,
    Retry,
    Remove,
}

/// Somebody who looks after the queue now and then, and does not know better.
pub async fn operator(story: Rc<Story>, nodes: Vec<Rc<Node>>) {
    while story.is_unkind() {
        story.sleep(Duration::from_millis(story.below(3000))).await;
        let roll = story.next();
        let Some(id) = story.ledger.borrow().any(roll) else { continue };
        let Some(node) = nodes.iter().find(|node| node.scheduler.borrow().queue().contains(id)) else { continue };
        let what = [
            Action::Hold,
            Action::Hold,
            Action::Release,
            Action::Release,
            Action::Retry,
            Action::Retry,
            Action::Remove,
        ];
        node.operate(id, what[story.below(7) as usize]).await;
    }
}

impl Node {
    /// What an operator does, as `shard::operator` does it.
    pub async fn operate(self: &Rc<Self>, id: MessageId, what: Action) {
        let at = self.now().wall;
        let ledger = || self.story.ledger.borrow_mut();
        match what {
            Action::Retry => {
                ledger().hastened(id);
                self.scheduler.borrow_mut().end_rests(self.now());
                self.scheduler.borrow_mut().retry(id, self.now());
            }
            Action::Hold => {
                ledger().asks(id, true);
                let written = self.spool.commit(vec![Record::Hold { message: id, at }], Durability::Durable).await;
                if written.is_ok() && self.scheduler.borrow_mut().hold(id) {
                    ledger().is_told(id, true);
                }
            }
            Action::Release => {
                ledger().asks(id, false);
                let written = self.spool.commit(vec![Record::Release { message: id, at }], Durability::Durable).await;
                if written.is_ok() {
                    ledger().is_told(id, false);
                    self.scheduler.borrow_mut().release(id, self.now());
                }
            }
            Action::Remove => {
                let completion = self.scheduler.borrow_mut().remove(id, None, self.now());
                let Some(completion) = completion else { return };
                let message = self.spool.read(id).await.ok().map(|stored| stored.message);
                self.record(message, completion).await;
            }
        }
        self.ring();
    }

    /// A stop in order, as `shard` does it: attempts end, what is in memory only is written, all is closed.
    pub async fn stop(self: &Rc<Self>) {
        self.is_stopping.set(true);
        self.scheduler.borrow_mut().pause(Some(Pause::Shutdown));
        for _ in 0..200 {
            if self.scheduler.borrow().attempts_under_way() + self.lending.guests.get() == 0 {
                break;
            }
            self.disk.sleep(Duration::from_millis(50)).await;
        }
        let at = self.now().wall;
        for message in self.spool.in_memory_only() {
            let written = self.spool.commit(vec![Record::Release { message, at }], Durability::Process).await;
            assert!(written.is_ok(), "{message} cannot be written out: {written:?}");
        }
        self.spool.clone().close().await;
    }
}
