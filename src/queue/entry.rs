//! What the index keeps of a message and of a group of its recipients: few bytes, nothing that is on disk anyway.

use std::rc::Rc;

use compact_str::CompactString;

use super::arena::Arena;
use super::names::Name;
use super::recipients::RecipientSet;
use super::ring::{Linked, Links, NIL};
use crate::base::{MessageId, RecipientIndex, WallTime};
use crate::mail::{DeliverBy, ErrorKind};

/// A committed message as it enters the index: new, or recovered.
#[derive(Debug, Clone)]
pub struct Arrival<'a, C> {
    /// The message.
    pub id: MessageId,
    /// When it was accepted.
    pub received_at: WallTime,
    /// Octets on the wire.
    pub size_bytes: u64,
    /// MT-PRIORITY, -9 to 9.
    pub priority: i8,
    /// HOLDFOR or HOLDUNTIL (RFC 4865): no attempt before this wall time.
    pub hold_until: Option<WallTime>,
    /// DELIVERBY (RFC 2852).
    pub deliver_by: Option<DeliverBy>,
    /// An operator holds it.
    pub is_held: bool,
    /// The reverse-path without brackets; empty for null.
    pub reverse_path: &'a str,
    /// Whose mail it is, for fairness: the tenant or the authenticated identity; empty stands for the sender's domain.
    pub tenant: &'a str,
    /// Recipients of the message in all, the final ones included.
    pub recipients_total: u32,
    /// The content, while it is still in memory.
    pub content: Option<C>,
    /// The recipients that are not final.
    pub recipients: &'a [ArrivalRecipient<'a>],
}

/// A recipient that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArrivalRecipient<'a> {
    /// Which.
    pub index: RecipientIndex,
    /// The key of its domain: A-labels, lower case.
    pub domain: &'a str,
    /// When it is due; `None` when it was never put off.
    pub due: Option<WallTime>,
    /// Attempts made.
    pub attempts: u32,
    /// Delay notices sent.
    pub delay_notices: u32,
    /// What went wrong last.
    pub last_error: ErrorKind,
}

impl<'a> ArrivalRecipient<'a> {
    /// A recipient that was never tried.
    pub fn new(index: RecipientIndex, domain: &'a str) -> Self {
        ArrivalRecipient { index, domain, due: None, attempts: 0, delay_notices: 0, last_error: ErrorKind::None }
    }
}

/// A group of recipients of one message. Valid while its holder holds it, or until the group is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub(super) u32);

/// Where a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GroupState {
    /// Its time has come; it will be routed.
    Due,
    /// Somebody evaluates its route.
    Routing,
    /// Put off until its due time.
    Waiting,
    /// In a lane's ready list.
    Ready,
    /// Under way.
    Attempt,
    /// Its outcome is being written.
    Recording,
    /// Held by an operator.
    Held,
    /// Held by its sender until a wall time (RFC 4865).
    HeldUntil,
}

impl GroupState {
    /// It belongs to whoever took it.
    pub fn is_under_way(self) -> bool {
        matches!(self, GroupState::Routing | GroupState::Attempt | GroupState::Recording)
    }
}

pub(super) struct Group<P> {
    pub recipients: RecipientSet,
    /// Monotonic microseconds; when it became due, ready, or was taken, in those states.
    pub since: i64,
    pub plan: Option<Rc<P>>,
    pub links: Links,
    pub message: u32,
    pub siblings: Links,
    /// The timer's place, or the flow it is ready in.
    pub place: u32,
    pub attempts: u16,
    pub delay_notices: u8,
    pub state: GroupState,
    pub last_error: ErrorKind,
    pub attempted_since_start: bool,
}

/// What may be seen of a group.
#[derive(Debug, Clone, Copy)]
pub struct GroupView<'a, P> {
    /// Its message.
    pub message: MessageId,
    /// Its recipients.
    pub recipients: &'a RecipientSet,
    /// Where it is.
    pub state: GroupState,
    /// Monotonic microseconds: when it is due (Waiting), or since when it is where it is.
    pub since: i64,
    /// Attempts made.
    pub attempts: u32,
    /// Delay notices sent.
    pub delay_notices: u32,
    /// What went wrong last.
    pub last_error: ErrorKind,
    /// It was tried, or its lane was, since this process started.
    pub attempted_since_start: bool,
    /// What the scheduler noted when it was placed.
    pub plan: Option<&'a Rc<P>>,
    /// MT-PRIORITY of the message.
    pub priority: i8,
    /// Octets of the message.
    pub size_bytes: u64,
}

pub(super) enum Domains {
    All(Name),
    Each(Box<[(u32, Name)]>),
}

impl Domains {
    pub fn of(&self, recipient: RecipientIndex) -> Option<Name> {
        match self {
            Domains::All(name) => Some(*name),
            Domains::Each(each) => {
                let at = each.binary_search_by_key(&recipient.0, |&(index, _)| index).ok()?;
                Some(each[at].1)
            }
        }
    }

    pub fn names(&self) -> impl Iterator<Item = Name> {
        let (one, each) = match self {
            Domains::All(name) => (Some(*name), &[][..]),
            Domains::Each(each) => (None, &each[..]),
        };
        one.into_iter().chain(each.iter().map(|&(_, name)| name))
    }
}

pub(super) struct Entry<C> {
    pub id: MessageId,
    pub received_at: WallTime,
    /// Monotonic microseconds of its reception; negative for what is older than this process.
    pub born: i64,
    pub size_bytes: u64,
    pub content: Option<C>,
    pub domains: Domains,
    pub groups: u32,
    pub sender_domain: Name,
    pub tenant: Name,
    pub sender_hash: u32,
    pub recipients_total: u32,
    pub priority: i8,
    pub is_held: bool,
    pub has_extra: bool,
}

/// What few messages have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extra {
    pub hold_until: Option<WallTime>,
    /// With the deadline in monotonic microseconds.
    pub deliver_by: Option<(DeliverBy, i64)>,
}

pub(super) struct Groups<P>(pub Arena<Group<P>>);

impl<P> Linked for Groups<P> {
    fn links(&mut self, at: u32) -> &mut Links {
        &mut self.0.get_mut(at).links
    }
}

/// Adds group `at` to the chain that starts at `head`.
pub(super) fn chain<P>(groups: &mut Groups<P>, head: &mut u32, at: u32) {
    groups.0.get_mut(at).siblings = Links { prev: NIL, next: *head };
    if *head != NIL {
        groups.0.get_mut(*head).siblings.prev = at;
    }
    *head = at;
}

/// Takes group `at` out of the chain that starts at `head`.
pub(super) fn unchain<P>(groups: &mut Groups<P>, head: &mut u32, at: u32) {
    let Links { prev, next } = std::mem::take(&mut groups.0.get_mut(at).siblings);
    match prev {
        NIL => *head = next,
        prev => groups.0.get_mut(prev).siblings.next = next,
    }
    if next != NIL {
        groups.0.get_mut(next).siblings.prev = prev;
    }
}

/// The domain of a reverse-path without brackets, lower case; empty for null.
pub(super) fn sender_domain(reverse_path: &str) -> CompactString {
    let domain = reverse_path.rsplit_once('@').map_or("", |(_, domain)| domain);
    CompactString::from(crate::mail::address::domain_key(domain))
}
