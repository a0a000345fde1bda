//! Commits under way: in the order in which they were begun, their replies held until they end.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::base::{MessageId, Monotonic, Reservation};
use crate::smtp::server::Ticket;
use crate::spool::CommitError;

/// One message that is being committed.
pub(super) struct Commit<F> {
    pub ticket: Ticket,
    pub id: MessageId,
    pub since: Monotonic,
    pub recipients: usize,
    pub size_bytes: u64,
    /// Its content counts in the budget until it is stable.
    pub _held: Reservation,
    future: F,
    result: Option<Result<(), CommitError>>,
}

/// The commits of one session.
pub(super) struct Commits<F>(VecDeque<Commit<F>>);

impl<F> Default for Commits<F> {
    fn default() -> Self {
        Commits(VecDeque::new())
    }
}

impl<F: Future<Output = Result<(), CommitError>> + Unpin> Commits<F> {
    #[expect(clippy::too_many_arguments, reason = "one value per field of what is remembered")]
    pub fn push(
        &mut self,
        ticket: Ticket,
        id: MessageId,
        since: Monotonic,
        recipients: usize,
        size_bytes: u64,
        held: Reservation,
        future: F,
    ) {
        self.0.push_back(Commit { ticket, id, since, recipients, size_bytes, _held: held, future, result: None });
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the oldest. The others go on by themselves: a record is the writer's. Nothing is lost when
    /// this wait is dropped.
    pub async fn next(&mut self) -> Option<(Commit<F>, Result<(), CommitError>)> {
        if self.0.is_empty() {
            return None;
        }
        let result = poll_fn(|cx| self.poll_front(cx)).await;
        self.0.pop_front().map(|commit| (commit, result))
    }

    /// Whether the oldest has ended; it is left for [`Commits::next`].
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(commit) = self.0.front_mut().filter(|commit| commit.result.is_none()) {
            commit.result = Some(ready!(Pin::new(&mut commit.future).poll(cx)));
        }
        Poll::Ready(())
    }

    fn poll_front(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CommitError>> {
        match self.0.front_mut() {
            Some(Commit { result: Some(result), .. }) => Poll::Ready(*result),
            Some(commit) => Pin::new(&mut commit.future).poll(cx),
            None => Poll::Ready(Err(CommitError::Closing)),
        }
    }
}
