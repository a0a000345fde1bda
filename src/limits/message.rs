//! What shards say to each other about limits: a closed enum, batched per owner and loop turn.

use std::time::Duration;

use super::key::LimitKey;
use super::meter::Limit;
use crate::base::Rank;

/// One thing said about one key. Which way it goes is given by the kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// To the owner: `want` of this, please. At most one ask per key and shard is unanswered.
    Ask {
        /// The limit's key.
        key: LimitKey,
        /// The limit as the asker's configuration has it.
        limit: Limit,
        /// How many are wanted at once.
        want: u32,
        /// How long, and with which priority, somebody has waited.
        rank: Rank,
        /// The asker waits in the owner's queue; otherwise it wants a refusal now.
        queues: bool,
    },
    /// From the owner: an answer to an ask; `amount` is the asker's until it returns it.
    Grant {
        /// The limit's key.
        key: LimitKey,
        /// How many.
        amount: u32,
        /// Nanoseconds on the monotonic clock of the first departure (paced limits only).
        departs_ns: u64,
    },
    /// From the owner: an answer to an ask: no.
    Refuse {
        /// The limit's key.
        key: LimitKey,
        /// How long from the answer until asking again makes sense, where that is known.
        retry_after: Option<Duration>,
    },
    /// From the owner: others wait; return what is unused now, and the rest as it is released.
    Recall {
        /// The limit's key.
        key: LimitKey,
        /// The best of those who wait.
        rank: Rank,
    },
    /// To the owner: this comes back.
    Return {
        /// The limit's key.
        key: LimitKey,
        /// Granted and not used: may be given to others.
        unused: u32,
        /// Used up (buckets), so that the owner no longer counts it as outstanding.
        spent: u32,
        /// This answers a recall.
        recalled: bool,
    },
}
