//! Replies in the order of their commands, some of them not known yet.
//!
//! A session runs on while commits are pending. What is said after an end of data waits behind the
//! reply to it; what was said before goes out at once. Nothing here reads or writes a socket.

use std::collections::VecDeque;

use crate::mail::Reply;

/// Stands for a reply that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

/// The replies of a session that have not been written.
#[derive(Debug, Default)]
pub struct Replies {
    ready: Vec<u8>,
    held: VecDeque<Held>,
    held_bytes: usize,
    issued: u64,
    refused: u64,
    deferred: u64,
}

/// A reply that is awaited, and what was said after it.
#[derive(Debug)]
struct Held {
    ticket: Ticket,
    is_known: bool,
    text: Vec<u8>,
    after: Vec<u8>,
}

impl Replies {
    /// Says something; it goes out when all that was said before has gone.
    pub fn push(&mut self, reply: &Reply) {
        self.tally(reply);
        match self.held.back_mut() {
            None => reply.write_to(&mut self.ready),
            Some(held) => {
                let before = held.after.len();
                reply.write_to(&mut held.after);
                self.held_bytes += held.after.len() - before;
            }
        }
    }

    /// Keeps a place for what will be said later.
    pub fn hold(&mut self) -> Ticket {
        let ticket = Ticket(self.issued);
        self.issued += 1;
        if self.held.capacity() == 0 {
            self.held.reserve_exact(1); // most clients wait for their reply; the place is kept
        }
        self.held.push_back(Held { ticket, is_known: false, text: Vec::new(), after: Vec::new() });
        ticket
    }

    /// Says what belongs at the place of `ticket`. A ticket that is not held (or known already) changes nothing.
    pub fn fill(&mut self, ticket: Ticket, replies: &[Reply]) {
        let Some(at) = self.held.iter().position(|held| held.ticket == ticket && !held.is_known) else { return };
        replies.iter().for_each(|reply| self.tally(reply));
        let held = &mut self.held[at];
        held.is_known = true;
        // What is at the front goes out at once: it needs no place of its own.
        let text = if at == 0 { &mut self.ready } else { &mut held.text };
        replies.iter().for_each(|reply| reply.write_to(text));
        self.held_bytes += held.text.len();
        while let Some(front) = self.held.front().filter(|front| front.is_known) {
            self.ready.extend_from_slice(&front.text);
            self.ready.extend_from_slice(&front.after);
            self.held_bytes -= front.text.len() + front.after.len();
            self.held.pop_front();
        }
    }

    fn tally(&mut self, reply: &Reply) {
        self.refused += u64::from(reply.is_permanent());
        self.deferred += u64::from(reply.is_transient());
    }

    /// Replies of 5yz and of 4yz so far.
    pub fn tallies(&self) -> (u64, u64) {
        (self.refused, self.deferred)
    }

    /// What may be written now.
    pub fn ready(&self) -> &[u8] {
        &self.ready
    }

    /// Takes what may be written now; give the buffer back with [`Replies::recycle`].
    pub fn take_ready(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.ready)
    }

    /// Returns a buffer taken by [`Replies::take_ready`], so that its memory serves again.
    pub fn recycle(&mut self, mut written: Vec<u8>) {
        if self.ready.is_empty() && written.capacity() <= RECYCLED_BYTES_MAX {
            written.clear();
            self.ready = written;
        }
    }

    /// Places kept whose reply is not known.
    pub fn holds(&self) -> usize {
        self.held.iter().filter(|held| !held.is_known).count()
    }

    /// Octets that are not written yet, ready and held.
    pub fn backlog_bytes(&self) -> usize {
        self.ready.len() + self.held_bytes
    }

    /// Frees the memory of an idle session.
    pub fn shrink(&mut self) {
        if self.ready.is_empty() && self.ready.capacity() > KEPT_BYTES_MAX {
            self.ready = Vec::new();
        }
        if self.held.is_empty() && self.held.capacity() > 1 {
            self.held = VecDeque::new();
        }
    }
}

/// A reply buffer larger than this is not kept for the next reply.
const RECYCLED_BYTES_MAX: usize = 4096;
/// A reply buffer larger than this is not kept while the session is idle.
const KEPT_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn say(code: u16, text: &'static str) -> Reply {
        Reply::plain(code, text)
    }

    fn ready(replies: &Replies) -> &str {
        std::str::from_utf8(replies.ready()).expect("replies are text")
    }

    #[test]
    fn what_was_said_before_a_hold_does_not_wait() {
        let mut replies = Replies::default();
        replies.push(&say(250, "a"));
        let ticket = replies.hold();
        replies.push(&say(250, "c"));
        assert_eq!(ready(&replies), "250 a\r\n");
        assert_eq!(replies.holds(), 1);
        replies.fill(ticket, &[say(250, "b1"), say(450, "b2")]);
        assert_eq!(ready(&replies), "250 a\r\n250 b1\r\n450 b2\r\n250 c\r\n");
        assert_eq!(replies.backlog_bytes(), replies.ready().len());
    }

    proptest! {
        /// Whatever the order in which holds become known, the replies leave in the order of their commands.
        #[test]
        fn order_is_the_order_of_commands(kinds in prop::collection::vec(any::<bool>(), 0..30), seed: u64) {
            let mut replies = Replies::default();
            let mut expected = String::new();
            let mut tickets = Vec::new();
            for (i, is_hold) in kinds.iter().enumerate() {
                let code = 200 + i as u16;
                expected.push_str(&format!("{code} x\r\n"));
                if *is_hold {
                    tickets.push((replies.hold(), code));
                } else {
                    replies.push(&say(code, "x"));
                }
            }
            let mut state = seed;
            while !tickets.is_empty() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let (ticket, code) = tickets.swap_remove((state >> 33) as usize % tickets.len());
                prop_assert!(expected.starts_with(ready(&replies)));
                replies.fill(ticket, &[say(code, "x")]);
                replies.fill(ticket, &[say(599, "twice")]);
            }
            prop_assert_eq!(ready(&replies), expected);
            prop_assert_eq!(replies.holds(), 0);
        }
    }
}
