//! The states of a session, each with exactly the data that is valid in it.
//!
//! ```text
//!            EHLO HELO LHLO                MAIL               RCPT
//! Connected ───────────────▶ Greeted ──────────────▶ Mail ──────────▶ Recipients ◀─┐ RCPT
//!     ▲                       ▲  ▲                     │                   │  ├─────┘
//!     │ STARTTLS XCLIENT      │  └── RSET EHLO ────────┴───────────────────┤  │
//!     └── (from Greeted) ─────┘                                            │  │ DATA, BDAT
//!                             │  end of data, BDAT LAST, refused chunk     │  ▼
//!                             └──────────────────────────────────────── Content ◀──▶ Chunks
//!                                                                        (octets)    (between two BDAT)
//! any state ── a chunk nobody wants ──▶ Skipping ──▶ that state      any state ── QUIT, 421 ──▶ Closing
//! ```
//!
//! A transition consumes the old state. RSET, EHLO, STARTTLS and the end of a transaction drop the
//! [`Transaction`]: there is no field that could be forgotten.

use smallvec::SmallVec;

use crate::mail::{Envelope, ForwardPath, MailParameters, Recipient, Reply, ReversePath};
use crate::smtp::server::receiving::Receiving;

/// What lives from MAIL to the end of the transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Reverse-path, parameters, accepted recipients.
    pub envelope: Envelope,
    /// For each RCPT that was answered 250, which recipient it became: LMTP answers each of them
    /// (RFC 2033 §4.2), also one that was said twice. Empty on SMTP.
    pub answered: Vec<u32>,
    /// RCPTs of this transaction that were refused.
    pub refused: u32,
    /// A hash of each recipient, to find the one that was said twice.
    hashes: SmallVec<[u32; 4]>,
}

impl Transaction {
    /// A transaction as MAIL opens it.
    pub fn new(reverse_path: ReversePath, mail: MailParameters) -> Transaction {
        let envelope = Envelope { reverse_path, mail, recipients: Vec::new() };
        Transaction { envelope, answered: Vec::new(), refused: 0, hashes: SmallVec::new() }
    }

    /// Adds a recipient unless it is there; the position it has.
    pub(super) fn add(&mut self, recipient: Recipient) -> u32 {
        let hash = hash_of(&recipient.path);
        let recipients = &mut self.envelope.recipients;
        // Hashes lie together: a thousand of them are compared in less than a microsecond.
        let mut same = self.hashes.iter().enumerate().filter(|(_, known)| **known == hash).map(|(i, _)| i);
        let known = same.find(|&i| recipients.get(i).is_some_and(|known| is_same(&known.path, &recipient.path)));
        let index = known.unwrap_or_else(|| {
            recipients.push(recipient);
            self.hashes.push(hash);
            recipients.len() - 1
        });
        index as u32
    }
}

/// Two spellings of one mailbox: local-parts are compared as they are, domains as names (RFC 5321 §2.4).
fn is_same(a: &ForwardPath, b: &ForwardPath) -> bool {
    let (a, b) = (a.mailbox(), b.mailbox());
    a.local_part() == b.local_part() && a.domain_key() == b.domain_key()
}

fn hash_of(path: &ForwardPath) -> u32 {
    let mut hash = 0x811c_9dc5u32; // FNV-1a: a collision costs a comparison, no more
    let mailbox = path.mailbox();
    for b in mailbox.local_part().bytes().chain(mailbox.domain_key().bytes()) {
        hash = (hash ^ u32::from(b)).wrapping_mul(0x0100_0193);
    }
    hash
}

/// Where a session is.
#[derive(Debug)]
pub enum State {
    /// Waits for EHLO, HELO or LHLO.
    Connected,
    /// Waits for MAIL.
    Greeted,
    /// Waits for the first RCPT that is accepted.
    Mail(Box<Transaction>),
    /// Waits for RCPT, DATA or BDAT.
    Recipients(Box<Transaction>),
    /// Waits for content octets.
    Content(Box<Transaction>, Box<Receiving>),
    /// Waits for the next BDAT.
    Chunks(Box<Transaction>, Box<Receiving>),
    /// Waits for the octets of a chunk that is not wanted to pass, then says why.
    Skipping(Box<Skip>),
    /// Waits for nothing.
    Closing,
}

/// A chunk that is read and thrown away, so that the next command is found (RFC 3030 §2).
#[derive(Debug)]
pub struct Skip {
    /// Octets still to come.
    pub left: u64,
    /// What is said when they have passed.
    pub reply: Reply,
    /// Where the session goes on.
    pub next: State,
}

/// The states without their data: the columns of the verb table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// [`State::Connected`].
    Connected,
    /// [`State::Greeted`].
    Greeted,
    /// [`State::Mail`].
    Mail,
    /// [`State::Recipients`].
    Recipients,
    /// [`State::Content`].
    Content,
    /// [`State::Chunks`].
    Chunks,
    /// [`State::Skipping`].
    Skipping,
    /// [`State::Closing`].
    Closing,
}

impl State {
    /// Which state it is.
    pub fn kind(&self) -> StateKind {
        match self {
            State::Connected => StateKind::Connected,
            State::Greeted => StateKind::Greeted,
            State::Mail(_) => StateKind::Mail,
            State::Recipients(_) => StateKind::Recipients,
            State::Content(..) => StateKind::Content,
            State::Chunks(..) => StateKind::Chunks,
            State::Skipping(_) => StateKind::Skipping,
            State::Closing => StateKind::Closing,
        }
    }

    /// The transaction that is under way.
    pub fn transaction(&self) -> Option<&Transaction> {
        match self {
            State::Mail(t) | State::Recipients(t) | State::Content(t, _) | State::Chunks(t, _) => Some(t),
            State::Skipping(skip) => skip.next.transaction(),
            State::Connected | State::Greeted | State::Closing => None,
        }
    }

    /// The state after RSET: the transaction is dropped, the greeting stays.
    pub(super) fn reset(self) -> State {
        match self {
            State::Connected => State::Connected,
            State::Closing => State::Closing,
            _ => State::Greeted,
        }
    }
}
