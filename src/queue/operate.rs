//! What an operator does to a message: hold, release, retry, remove.

use smallvec::SmallVec;

use super::entry::{GroupId, GroupState};
use super::index::Queue;
use super::recipients::RecipientSet;
use crate::base::{MessageId, Now};

impl<C: Clone, P> Queue<C, P> {
    /// Holds a message: none of its recipients is tried until [`Queue::release`]. What is under way ends first.
    pub fn hold(&mut self, id: MessageId) -> bool {
        let Some(message) = self.find(id) else { return false };
        self.entries.get_mut(message).is_held = true;
        let groups: SmallVec<[GroupId; 8]> = self.groups_of(id).collect();
        for GroupId(group) in groups {
            let state = self.groups.0.get(group).state;
            if !state.is_under_way() && state != GroupState::Held {
                self.detach(group);
                self.groups.0.get_mut(group).state = GroupState::Held;
            }
        }
        true
    }

    /// Ends a hold: what was due meanwhile is due now.
    pub fn release(&mut self, id: MessageId, now: Now) -> bool {
        let Some(message) = self.find(id) else { return false };
        self.entries.get_mut(message).is_held = false;
        let groups: SmallVec<[GroupId; 8]> = self.groups_of(id).collect();
        for GroupId(group) in groups {
            if self.groups.0.get(group).state == GroupState::Held {
                let due = self.groups.0.get(group).since;
                self.settle(group, due, now);
            }
        }
        true
    }

    /// The message is held by an operator.
    pub fn is_held(&self, id: MessageId) -> bool {
        self.find(id).is_some_and(|message| self.entries.get(message).is_held)
    }

    /// Makes due now what waits for its time, is ready, or is held by its sender; says how many groups.
    pub fn retry(&mut self, id: MessageId, now: Now) -> usize {
        if let Some(message) = self.find(id)
            && let Some(extra) = self.extras.get_mut(&message)
            && let Some(until) = extra.hold_until.take()
        {
            let groups: SmallVec<[GroupId; 8]> = self.groups_of(id).collect();
            for GroupId(group) in groups {
                if self.held_until.remove(&(until, group)) {
                    self.groups.0.get_mut(group).state = GroupState::Held; // in no list; settled below
                    self.settle(group, now.micros(), now);
                }
            }
        }
        self.pull_back(id, now, |state| matches!(state, GroupState::Waiting | GroupState::Ready))
    }

    /// Routes a message's ready groups anew.
    pub fn reroute(&mut self, id: MessageId, now: Now) -> usize {
        self.pull_back(id, now, |state| state == GroupState::Ready)
    }

    fn pull_back(&mut self, id: MessageId, now: Now, wanted: impl Fn(GroupState) -> bool) -> usize {
        let groups: SmallVec<[GroupId; 8]> =
            self.groups_of(id).filter(|g| wanted(self.groups.0.get(g.0).state)).collect();
        for GroupId(group) in &groups {
            self.detach(*group);
            self.settle(*group, now.micros(), now);
        }
        groups.len()
    }

    /// Takes what is not under way of a message, to be given a final status by an operator.
    pub fn take_idle(&mut self, id: MessageId, only: Option<&RecipientSet>, now: Now) -> SmallVec<[GroupId; 4]> {
        let all: SmallVec<[GroupId; 8]> = self.groups_of(id).collect();
        let mut taken = SmallVec::new();
        for group in all {
            let g = self.groups.0.get(group.0);
            let wanted = only.map_or_else(|| g.recipients.clone(), |only| g.recipients.common(only));
            if g.state.is_under_way() || wanted.is_empty() {
                continue;
            }
            let (due, whole) = (g.since, wanted.len() == g.recipients.len());
            self.detach(group.0);
            self.groups.0.get_mut(group.0).state = GroupState::Recording;
            let part = if whole { group } else { self.split(group, &wanted) };
            if !whole {
                self.settle(group.0, due, now);
            }
            taken.push(part);
        }
        taken
    }
}
