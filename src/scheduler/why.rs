//! Why a message waits: derived when it is asked for, never kept.

use std::rc::Rc;
use std::time::Duration;

use smallvec::SmallVec;

use super::attempt::{Pause, Scheduler};
use super::lane::Health;
use crate::base::{MessageId, Now, ShardId, WallTime};
use crate::mail::{DeliverByMode, Diagnostic, ErrorKind};
use crate::queue::{GroupId, GroupState, LaneKey, RecipientSet, Scope};

/// What some recipients of a message wait for.
#[derive(Debug, Clone)]
pub struct Why {
    /// Who.
    pub recipients: RecipientSet,
    /// Attempts made.
    pub attempts: u32,
    /// Delay notices sent.
    pub delay_notices: u32,
    /// What went wrong last.
    pub last_error: ErrorKind,
    /// How long ago the message was accepted, not moved by steps of the wall clock.
    pub age: Duration,
    /// When its sender wants it back (RFC 2852 by-mode R).
    pub return_at: Option<WallTime>,
    /// For what.
    pub waits: Waits,
    /// Until when, where that is known.
    pub until: Option<WallTime>,
    /// Nothing is attempted at present, whatever else.
    pub paused: Option<Pause>,
    /// The lane, once there is one.
    pub lane: Option<Rc<LaneKey>>,
}

/// What recipients can wait for.
#[derive(Debug, Clone, PartialEq)]
pub enum Waits {
    /// Its due time.
    Retry,
    /// Its route to be evaluated; its time has come.
    Routing {
        /// Since when.
        since: WallTime,
    },
    /// A limit, by its name and key.
    Limit {
        /// The name.
        name: String,
        /// How much stands still with it.
        scope: Scope,
    },
    /// The next hop is in trouble; one attempt will be made when its rest is over.
    LaneRests {
        /// Failures in a row.
        failures: u32,
        /// The last one.
        trouble: Option<Rc<Diagnostic>>,
    },
    /// Its turn among what is ready in its lane.
    Turn {
        /// How many are ready in the lane.
        ready: usize,
        /// Since when.
        since: WallTime,
    },
    /// An attempt under way to end.
    Attempt {
        /// Since when.
        since: WallTime,
        /// The shard that makes it, when that is another one.
        lent: Option<ShardId>,
    },
    /// Its outcome to be written; it is not tried before that.
    Recording {
        /// Since when.
        since: WallTime,
    },
    /// An operator's release.
    Held,
    /// The time that its sender asked for (RFC 4865).
    HeldUntil,
}

impl<C: Clone> Scheduler<C> {
    /// What each recipient of a message waits for, and until when; empty for a message that is not queued.
    pub fn why(&self, id: MessageId, now: Now) -> Vec<Why> {
        self.queue.groups_of(id).filter_map(|group| self.why_group(group, now)).collect()
    }

    /// The other shard that makes an attempt for some recipients of this message, if one does.
    pub fn lent_to(&self, id: MessageId) -> Option<ShardId> {
        let groups: SmallVec<[GroupId; 8]> = self.queue.groups_of(id).collect();
        self.in_flight.iter().filter(|(_, flight)| groups.contains(&flight.group)).find_map(|(_, flight)| flight.lent)
    }

    fn why_group(&self, group: GroupId, now: Now) -> Option<Why> {
        let view = self.queue.view(group)?;
        let since = now.wall_of(view.since);
        let (mut until, mut lane) = (None, None);
        let waits = match view.state {
            GroupState::Waiting => {
                until = Some(since);
                Waits::Retry
            }
            GroupState::Due | GroupState::Routing => Waits::Routing { since },
            GroupState::Attempt => {
                let flight = self.in_flight.iter().find(|(_, flight)| flight.group == group);
                Waits::Attempt { since, lent: flight.and_then(|(_, flight)| flight.lent) }
            }
            GroupState::Recording => Waits::Recording { since },
            GroupState::Held => Waits::Held,
            GroupState::HeldUntil => {
                until = self.queue.held_until(group);
                Waits::HeldUntil
            }
            GroupState::Ready => {
                let (waits, when, key) = self.why_ready(group, since, now)?;
                (until, lane) = (when, Some(key));
                waits
            }
        };
        let (age, deliver_by) = self.queue.age_and_deadline(group, now);
        let return_at = deliver_by.filter(|(by, _)| by.mode == DeliverByMode::Return).map(|(_, at)| now.wall_of(at));
        Some(Why {
            recipients: view.recipients.clone(),
            attempts: view.attempts,
            delay_notices: view.delay_notices,
            last_error: view.last_error,
            age,
            return_at,
            waits,
            until,
            paused: self.paused,
            lane,
        })
    }

    fn why_ready(&self, group: GroupId, since: WallTime, now: Now) -> Option<(Waits, Option<WallTime>, Rc<LaneKey>)> {
        let (lane, stopped) = self.queue.readiness(group)?;
        let key = self.queue.lane_key(lane).clone();
        let state = self.lanes.get(lane.0 as usize)?.as_ref()?;
        if state.health != Health::Runs {
            let until = if let Health::Rests(until) = state.health { Some(wall(until.0, now)) } else { None };
            let trouble = state.trouble.clone();
            return Some((Waits::LaneRests { failures: state.failures, trouble }, until, key));
        }
        let Some((flow, why)) = stopped else {
            return Some((Waits::Turn { ready: self.queue.ready_in(lane), since }, None, key));
        };
        // The flow for which things stand still may be another lane's, if the whole virtual queue does.
        let holder =
            self.queue.head_of(flow).and_then(|head| self.queue.view(head)).and_then(|view| view.plan.cloned());
        let name = match why.limit {
            0 => format!("queue.virtual.{}.threads-per-node", key.queue),
            1 => format!("connections of lane {} in {}", key.next_hop, key.queue),
            n => {
                let lane_limits = &state.spec.limits;
                let named = lane_limits.get(n - 2).map(|limit| limit.name.to_string());
                let own =
                    || holder.as_ref()?.limits.get(n.checked_sub(2 + lane_limits.len())?).map(|l| l.name.to_string());
                named.or_else(own).unwrap_or_default()
            }
        };
        Some((Waits::Limit { name, scope: why.scope }, why.until.map(|at| wall(at.0, now)), key))
    }
}

fn wall(micros: u64, now: Now) -> WallTime {
    now.wall_of(i64::try_from(micros).unwrap_or(i64::MAX))
}
