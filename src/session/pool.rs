//! Receive buffers of one shard, within its byte budget. A session holds one only while it has octets to use.

use std::cell::RefCell;
use std::rc::Rc;

use crate::base::Reservation;
use crate::base::budget::Budget;
use crate::base::limits::RECEIVE_BUFFER_BYTES;

/// Buffers kept for the next session; more are freed.
const FREE_MAX: usize = 64;

/// The pool of one shard. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Pool(Rc<State>);

#[derive(Debug)]
struct State {
    free: RefCell<Vec<Vec<u8>>>,
    budget: Budget,
}

/// A buffer on loan; it goes back when dropped. Empty when the budget had no room for one.
#[derive(Debug)]
pub(super) struct Loan {
    buf: Vec<u8>,
    reserved: Reservation,
    pool: Pool,
}

impl Pool {
    pub fn new(budget: Budget) -> Pool {
        Pool(Rc::new(State { free: RefCell::default(), budget }))
    }

    /// A buffer of [`RECEIVE_BUFFER_BYTES`], or an empty one under pressure.
    pub fn lend(&self) -> Loan {
        let Some(reserved) = self.0.budget.reserve(RECEIVE_BUFFER_BYTES) else {
            return Loan { buf: Vec::new(), reserved: self.0.budget.empty(), pool: self.clone() };
        };
        let buf = self.0.free.borrow_mut().pop().unwrap_or_else(|| vec![0; RECEIVE_BUFFER_BYTES]);
        Loan { buf, reserved, pool: self.clone() }
    }

    /// Takes a buffer back. What is not of the pool's size is freed.
    pub fn give_back(&self, buf: Vec<u8>) {
        let mut free = self.0.free.borrow_mut();
        if buf.len() == RECEIVE_BUFFER_BYTES && free.len() < FREE_MAX {
            free.push(buf);
        }
    }

    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }
}

impl Loan {
    /// There was no room.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// The buffer with the octets reserved for it.
    pub fn into_parts(mut self) -> (Vec<u8>, Reservation) {
        let bytes = self.reserved.bytes();
        (std::mem::take(&mut self.buf), self.reserved.split(bytes))
    }
}

impl AsMut<[u8]> for Loan {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.buf
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if !self.buf.is_empty() {
            self.pool.give_back(std::mem::take(&mut self.buf));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loans_come_back_and_pressure_gives_none() {
        let pool = Pool::new(Budget::new(RECEIVE_BUFFER_BYTES));
        let first = pool.lend();
        assert!(!first.is_empty());
        assert!(pool.lend().is_empty());
        drop(first);
        assert_eq!(pool.0.free.borrow().len(), 1);
        let (buf, reserved) = pool.lend().into_parts();
        assert_eq!((buf.len(), reserved.bytes()), (RECEIVE_BUFFER_BYTES, RECEIVE_BUFFER_BYTES));
        assert_eq!(pool.budget().used(), RECEIVE_BUFFER_BYTES);
    }
}
