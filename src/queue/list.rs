//! Listing: filters over what the index knows, in pages.

use std::time::Duration;

use super::entry::{Entry, GroupState};
use super::index::Queue;
use super::ring::NIL;
use crate::base::limits::{LIST_PAGE_MAX, LIST_SCAN_MAX};
use crate::base::{MessageId, Now, WallTime};
use crate::mail::address::domain_key;

/// Which messages. All that is given has to match; what only the record knows (local-parts, headers) is the caller's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// This reverse-path, without brackets; empty for null.
    pub sender: Option<String>,
    /// A reverse-path of this domain.
    pub sender_domain: Option<String>,
    /// A waiting recipient of this domain.
    pub recipient_domain: Option<String>,
    /// This tenant.
    pub tenant: Option<String>,
    /// Accepted before.
    pub before: Option<WallTime>,
    /// Accepted at or after.
    pub after: Option<WallTime>,
    /// A recipient in this state.
    pub state: Option<GroupState>,
    /// At least so old.
    pub age_min: Option<Duration>,
}

/// Where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cursor(pub u32);

/// One page of a listing.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The messages, in no particular order that lasts.
    pub items: Vec<Summary>,
    /// Where to go on; `None` at the end. A page may be short, or empty, with more to come.
    pub next: Option<Cursor>,
}

/// What the index knows of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The message.
    pub id: MessageId,
    /// When it was accepted.
    pub received_at: WallTime,
    /// Octets.
    pub size_bytes: u64,
    /// MT-PRIORITY.
    pub priority: i8,
    /// An operator holds it.
    pub is_held: bool,
    /// The domain of the reverse-path; empty for null.
    pub sender_domain: String,
    /// Whose mail it is.
    pub tenant: String,
    /// Recipients that wait.
    pub recipients: usize,
    /// Recipients of the message in all.
    pub recipients_total: u32,
    /// The domains of those that wait, each once, at most ten.
    pub domains: Vec<String>,
    /// The earliest due time of what waits.
    pub next_due: Option<WallTime>,
    /// The most attempts of any of them.
    pub attempts: u32,
}

impl<C: Clone, P> Queue<C, P> {
    /// A page of what matches, from `from` on, of at most `limit` messages.
    pub fn list(&self, filter: &Filter, from: Cursor, limit: usize, now: Now) -> Page {
        let mut page = Page::default();
        let limit = limit.clamp(1, LIST_PAGE_MAX);
        let end = self.entries.end();
        let last = from.0.saturating_add(LIST_SCAN_MAX as u32).min(end);
        for at in from.0..last {
            let Some(entry) = self.entries.find(at) else { continue };
            if self.matches(entry, filter, now) {
                page.items.push(self.summary_of(entry, now));
                if page.items.len() == limit {
                    page.next = (at + 1 < end).then_some(Cursor(at + 1));
                    return page;
                }
            }
        }
        page.next = (last < end).then_some(Cursor(last));
        page
    }

    /// What the index knows of one message.
    pub fn summary(&self, id: MessageId, now: Now) -> Option<Summary> {
        Some(self.summary_of(self.entries.get(self.find(id)?), now))
    }

    fn matches(&self, entry: &Entry<C>, filter: &Filter, now: Now) -> bool {
        let name_is = |name: super::names::Name, wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| self.names.text(name) == domain_key(wanted))
        };
        let groups = || {
            let mut at = entry.groups;
            std::iter::from_fn(move || {
                let group = (at != NIL).then(|| self.groups.0.get(at))?;
                at = group.siblings.next;
                Some(group)
            })
        };
        filter.sender.as_deref().is_none_or(|sender| self.sender_hash(sender) == entry.sender_hash)
            && name_is(entry.sender_domain, &filter.sender_domain)
            && filter.tenant.as_deref().is_none_or(|tenant| self.names.text(entry.tenant) == tenant)
            && filter.before.is_none_or(|before| entry.received_at < before)
            && filter.after.is_none_or(|after| entry.received_at >= after)
            && filter.age_min.is_none_or(|least| now.wall.since(entry.received_at) >= least)
            && filter.state.is_none_or(|state| groups().any(|g| g.state == state))
            && filter.recipient_domain.as_deref().is_none_or(|domain| {
                let Some(name) = self.names.find(&domain_key(domain)) else { return false };
                groups().any(|g| g.recipients.iter().any(|r| entry.domains.of(r) == Some(name)))
            })
    }

    fn summary_of(&self, entry: &Entry<C>, now: Now) -> Summary {
        let (mut recipients, mut attempts, mut next_due, mut domains) = (0, 0, None::<i64>, Vec::new());
        let mut at = entry.groups;
        while at != NIL {
            let group = self.groups.0.get(at);
            recipients += group.recipients.len();
            attempts = attempts.max(u32::from(group.attempts));
            if group.state == GroupState::Waiting {
                next_due = Some(next_due.map_or(group.since, |due| due.min(group.since)));
            }
            for name in group.recipients.iter().filter_map(|r| entry.domains.of(r)) {
                if domains.len() < 10 && !domains.contains(&name) {
                    domains.push(name);
                }
            }
            at = group.siblings.next;
        }
        Summary {
            id: entry.id,
            received_at: entry.received_at,
            size_bytes: entry.size_bytes,
            priority: entry.priority,
            is_held: entry.is_held,
            sender_domain: self.names.text(entry.sender_domain).to_owned(),
            tenant: self.names.text(entry.tenant).to_owned(),
            recipients,
            recipients_total: entry.recipients_total,
            domains: domains.into_iter().map(|name| self.names.text(name).to_owned()).collect(),
            next_due: next_due.map(|due| now.wall_of(due)),
            attempts,
        }
    }
}
