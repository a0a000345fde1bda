//! Messages between shards: one bounded channel per receiver, many senders.
//!
//! A sender never awaits: a full channel sends the message into the sender's own overflow queue,
//! which a task of its shard empties in order. So two shards that fill each other's channels
//! both go on receiving, and cannot deadlock. Beyond [`OVERFLOW_MAX`] the message comes back.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::task;

/// Messages a channel holds (GLOMMIO.md part 5: small channels cost five times as much per message).
pub const CAPACITY: usize = 1024;
/// Messages a sender holds back for one receiver that does not keep up.
pub const OVERFLOW_MAX: usize = 16 * 1024;

/// The receiving end; moved to its shard.
#[derive(Debug)]
pub struct Receiver<M>(async_channel::Receiver<M>);

/// What is cloned and sent to the other shards; becomes an [`Outbox`] there.
#[derive(Debug)]
pub struct Address<M>(async_channel::Sender<M>);

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Address(self.0.clone())
    }
}

/// Why a message came back.
#[derive(Debug, PartialEq, Eq)]
pub enum SendError<M> {
    /// The receiver does not keep up: [`OVERFLOW_MAX`] messages wait already.
    Full(M),
    /// The receiver is gone.
    Closed(M),
}

impl<M> SendError<M> {
    /// The message that came back.
    pub fn into_message(self) -> M {
        match self {
            SendError::Full(message) | SendError::Closed(message) => message,
        }
    }
}

/// A channel of the named capacity.
pub fn channel<M>() -> (Address<M>, Receiver<M>) {
    channel_of(CAPACITY)
}

/// A channel of `capacity` messages (at least 1), for tests of full ones.
pub fn channel_of<M>(capacity: usize) -> (Address<M>, Receiver<M>) {
    let (sender, receiver) = async_channel::bounded(capacity.max(1));
    (Address(sender), Receiver(receiver))
}

impl<M> Address<M> {
    /// Sends without an overflow queue, from any thread: full is an error at once.
    pub fn try_send(&self, message: M) -> Result<(), SendError<M>> {
        self.0.try_send(message).map_err(|error| match error {
            async_channel::TrySendError::Full(message) => SendError::Full(message),
            async_channel::TrySendError::Closed(message) => SendError::Closed(message),
        })
    }
}

/// One shard's way to one receiver. Cheap to clone; all clones share the overflow queue.
#[derive(Debug)]
pub struct Outbox<M> {
    address: Address<M>,
    overflow: Rc<RefCell<Overflow<M>>>,
}

#[derive(Debug)]
struct Overflow<M> {
    queue: VecDeque<M>,
    /// A task empties the queue and holds one message; until it is done all go through the queue.
    draining: bool,
}

impl<M> Clone for Outbox<M> {
    fn clone(&self) -> Self {
        Outbox { address: self.address.clone(), overflow: self.overflow.clone() }
    }
}

impl<M: 'static> Outbox<M> {
    /// Opens the way; call it on the shard that will send.
    pub fn new(address: Address<M>) -> Self {
        Outbox { address, overflow: Rc::new(RefCell::new(Overflow { queue: VecDeque::new(), draining: false })) }
    }

    /// Sends in order, now or as soon as there is room.
    pub fn send(&self, message: M) -> Result<(), SendError<M>> {
        {
            let mut overflow = self.overflow.borrow_mut();
            let message = match overflow.draining {
                true => message,
                false => match self.address.try_send(message) {
                    Err(SendError::Full(message)) => message,
                    sent => return sent,
                },
            };
            if overflow.queue.len() >= OVERFLOW_MAX {
                return Err(SendError::Full(message));
            }
            overflow.queue.push_back(message);
            if std::mem::replace(&mut overflow.draining, true) {
                return Ok(());
            }
        }
        task::spawn_critical(drain(self.clone()));
        Ok(())
    }

    /// Messages that are not in the channel yet. A shard that ends before this is 0 loses them.
    pub fn waiting(&self) -> usize {
        let overflow = self.overflow.borrow();
        overflow.queue.len() + usize::from(overflow.draining)
    }
}

/// The only awaited send; its task receives nothing, so it cannot close a circle of waits.
async fn drain<M: 'static>(outbox: Outbox<M>) {
    loop {
        let next = outbox.overflow.borrow_mut().queue.pop_front();
        let sent = match next {
            Some(message) => outbox.address.0.send(message).await.is_ok(),
            None => false,
        };
        if !sent {
            // Empty, or nobody receives any more.
            let mut overflow = outbox.overflow.borrow_mut();
            overflow.draining = false;
            overflow.queue = VecDeque::new();
            return;
        }
    }
}

impl<M> Drop for Receiver<M> {
    /// What was sent and never received is dropped now, not when the last sender goes: a message that promises an answer
    /// by being dropped must not wait for that.
    fn drop(&mut self) {
        self.0.close();
        while self.0.try_recv().is_ok() {}
    }
}

impl<M> Receiver<M> {
    /// Waits for one message, then takes up to `most` that are there into `batch`.
    /// `false` when every sender is gone and nothing is left. Await it in an urgent task.
    pub async fn receive(&mut self, batch: &mut Vec<M>, most: usize) -> bool {
        let Ok(first) = self.0.recv().await else { return false };
        batch.push(first);
        while batch.len() < most {
            match self.0.try_recv() {
                Ok(next) => batch.push(next),
                Err(_) => break,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard;

    #[test]
    fn an_overflowing_sender_keeps_the_order_and_loses_nothing() {
        let cpu = shard::cpus()[0];
        let (address, mut receiver) = channel_of::<u32>(2);
        let sender = shard::spawn(cpu, "sender", move || async move {
            let outbox = Outbox::new(address);
            for n in 0..5000 {
                outbox.send(n).expect("the overflow queue takes it");
            }
            while outbox.waiting() > 0 {
                crate::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        });
        let taker = shard::spawn(cpu, "taker", move || async move {
            let (mut all, mut batch) = (Vec::new(), Vec::new());
            while receiver.receive(&mut batch, 100).await {
                all.append(&mut batch);
            }
            all
        });
        sender.expect("starts").join().expect("ends");
        assert_eq!(taker.expect("starts").join().expect("ends"), (0..5000).collect::<Vec<_>>());
    }

    #[test]
    fn two_shards_that_fill_each_other_do_not_deadlock() {
        const EACH: usize = 3000;
        let cpu = shard::cpus()[0];
        let (to_a, from_b) = channel_of::<usize>(1);
        let (to_b, from_a) = channel_of::<usize>(1);
        let run = |name: &str, address: Address<usize>, mut receiver: Receiver<usize>| {
            shard::spawn(cpu, name, move || async move {
                let outbox = Outbox::new(address);
                for n in 0..EACH {
                    outbox.send(n).expect("room in the overflow queue");
                }
                let mut batch = Vec::new();
                while batch.len() < EACH && receiver.receive(&mut batch, EACH).await {}
                while outbox.waiting() > 0 {
                    task::yield_now().await;
                    crate::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                batch
            })
            .expect("starts")
        };
        let (a, b) = (run("a", to_b, from_b), run("b", to_a, from_a));
        let whole: Vec<usize> = (0..EACH).collect();
        assert_eq!(a.join().expect("ends"), whole);
        assert_eq!(b.join().expect("ends"), whole);
    }

    #[test]
    fn a_sender_is_told_of_a_full_and_of_a_gone_receiver() {
        shard::spawn(shard::cpus()[0], "full", || async {
            let (address, receiver) = channel_of::<usize>(1);
            let outbox = Outbox::new(address);
            // One in the channel; the drain task holds at most one more.
            let taken = (0..OVERFLOW_MAX + 10).take_while(|n| outbox.send(*n).is_ok()).count();
            assert!((OVERFLOW_MAX..=OVERFLOW_MAX + 2).contains(&taken), "{taken}");
            assert_eq!(outbox.send(7), Err(SendError::Full(7)));
            drop(receiver);
            crate::time::sleep(std::time::Duration::from_millis(5)).await;
            assert_eq!(outbox.send(8), Err(SendError::Closed(8)));
        })
        .expect("starts")
        .join()
        .expect("ends");
    }
}
