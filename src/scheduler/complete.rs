//! From outcome to status record: what is written, what is reported, what follows.

use std::rc::Rc;
use std::time::Duration;

use smallvec::SmallVec;

use super::attempt::{AttemptId, Destination, InFlight, Pause, Routed, Scheduler};
use super::lane::{Health, Idle, Plan};
use super::settings::Schedule;
use crate::base::limits::TRANSACTION_RECIPIENTS_MAX;
use crate::base::{MessageId, Now, RecipientIndex, ShardId, WallTime};
use crate::limits::Limits;
use crate::mail::{DeliverByMode, Diagnostic, Envelope, ErrorKind, Outcome, Reply, Scope, Status, StatusRecord};
use crate::queue::{DueMessage, GroupId, LaneId, RecipientSet};
use crate::smtp::client::Owed;

/// What became of the connection of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It is idle in the pool of its lane.
    Kept,
    /// It is idle on the shard to which the attempt was lent.
    Away(ShardId),
    /// It is closed, or there never was one.
    Closed,
}

/// What an attempt gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What became of the recipients that were tried. Those without an outcome were not tried (the peer takes fewer
    /// in one transaction) and go again at once.
    pub outcomes: Vec<(RecipientIndex, Outcome)>,
    /// What became of the connection.
    pub connection: Connection,
    /// How many recipients the peer takes in one transaction, if it said so (RFC 9422, or by 452 4.5.3).
    pub recipients_max: Option<u32>,
}

/// What may have to be reported about a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// The next hop took it.
    Delivered,
    /// It failed for good.
    Failed,
    /// Its schedule ended.
    Expired,
    /// It takes long.
    Delayed,
}

/// Something about a recipient that a DSN may tell; its record in the same completion has the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// What.
    pub kind: NoticeKind,
    /// About whom.
    pub recipient: RecipientIndex,
    /// Until when it will be tried, where that is known.
    pub will_retry_until: Option<WallTime>,
}

impl Notice {
    /// The sender is to be told (RFC 3461 §4.1, §5.2): never about a report, and as NOTIFY says.
    pub fn is_wanted(&self, envelope: &Envelope) -> bool {
        let Some(recipient) = envelope.recipients.get(self.recipient.0 as usize) else { return false };
        let notify = recipient.notify_effective();
        !envelope.reverse_path.is_null()
            && match self.kind {
                NoticeKind::Delivered => notify.success,
                NoticeKind::Failed | NoticeKind::Expired => notify.failure,
                NoticeKind::Delayed => notify.delay,
            }
    }
}

/// Success reports that nobody after us will make, by recipient.
pub type OwedReports = SmallVec<[(RecipientIndex, Owed); 1]>;

/// What has to be written before the index changes: all of it, and the DSN it causes, in one frame.
#[derive(Debug)]
#[must_use = "commit its records, then say applied or not_applied"]
pub struct Completion {
    /// The message.
    pub message: MessageId,
    /// The new states.
    pub records: SmallVec<[StatusRecord; 1]>,
    /// What may have to be reported.
    pub notices: SmallVec<[Notice; 1]>,
    /// Success reports that are owed, by whoever made the attempt; they stay with it until it is written.
    pub owed: OwedReports,
    parts: SmallVec<[Part; 2]>,
}

#[derive(Debug)]
struct Part {
    group: GroupId,
    next: Next,
}

#[derive(Debug)]
enum Next {
    Final,
    Due { at: i64, attempts: u32, delay_notices: u32, error: ErrorKind },
}

impl Completion {
    fn new(message: MessageId) -> Completion {
        Completion {
            message,
            records: SmallVec::new(),
            notices: SmallVec::new(),
            owed: OwedReports::new(),
            parts: SmallVec::new(),
        }
    }

    fn none_if_empty(self) -> Option<Completion> {
        (!self.parts.is_empty()).then_some(self)
    }

    fn finish(
        &mut self,
        group: GroupId,
        recipients: &RecipientSet,
        now: Now,
        status: impl Fn(RecipientIndex) -> Status,
    ) {
        for recipient in recipients.iter() {
            let status = status(recipient);
            let kind = match status {
                Status::Delivered { .. } => Some(NoticeKind::Delivered),
                Status::Failed { .. } => Some(NoticeKind::Failed),
                Status::Expired { .. } => Some(NoticeKind::Expired),
                _ => None,
            };
            self.notices.extend(kind.map(|kind| Notice { kind, recipient, will_retry_until: None }));
            self.records.push(StatusRecord { message: self.message, recipient, at: now.wall, status });
        }
        self.parts.push(Part { group, next: Next::Final });
    }
}

/// What the schedule says about a group at its age.
struct Verdict {
    is_over: bool,
    /// A sender's deadline ended it (RFC 2852 by-mode R).
    by_deadline: bool,
    notices_due: u32,
    age: Duration,
}

impl<C: Clone> Scheduler<C> {
    /// Gives back a due message with the routes of its groups. What has expired needs no attempt and comes back as a
    /// completion, as do outcomes that routing itself gave. What is not covered is tried again in a minute.
    pub fn route(&mut self, due: &DueMessage<C>, routed: Vec<Routed>, random: u64, now: Now) -> Option<Completion> {
        let mut completion = Completion::new(due.id);
        for (n, part) in routed.into_iter().enumerate() {
            let Some(view) = self.queue.view(part.group) else { continue };
            debug_assert_eq!(view.message, due.id);
            if view.recipients.common(&part.recipients).is_empty() || !view.state.is_under_way() {
                continue;
            }
            let group = self.queue.split(part.group, &part.recipients);
            self.route_group(group, part, random.wrapping_add(n as u64), &mut completion, now);
        }
        for left in &due.groups {
            let is_left = self
                .queue
                .view(left.group)
                .is_some_and(|view| view.message == due.id && view.state == crate::queue::GroupState::Routing);
            if is_left && !completion.parts.iter().any(|p| p.group == left.group) {
                self.queue.put_off(left.group, now.micros() + 60_000_000, now);
            }
        }
        completion.none_if_empty()
    }

    fn route_group(&mut self, group: GroupId, part: Routed, random: u64, completion: &mut Completion, now: Now) {
        let verdict = self.judge(group, &part.plan.schedule, 0, now);
        let view = self.queue.view(group).expect("split off just now");
        let (attempts, recipients, tried) = (view.attempts, view.recipients.clone(), view.attempted_since_start);
        if verdict.is_over && tried {
            self.queue.record(group, now);
            // What the sender's deadline ended has that as its reason (RFC 2852 §4.1.4), whatever the last reply was.
            let last = part.last.filter(|_| !verdict.by_deadline).unwrap_or_else(|| expired(verdict.by_deadline));
            return completion.finish(group, &recipients, now, |_| Status::Expired { attempts, last: last.clone() });
        }
        match part.to {
            Destination::Outcome(outcome) => {
                let outcomes: Vec<_> = recipients.iter().map(|r| (r, (*outcome).clone())).collect();
                self.settle_outcomes(group, outcomes, &part.plan, random, completion, now);
            }
            Destination::Lane(spec) => {
                let lane = self.enter_lane(&spec);
                match self.lane_state(lane).map(|state| state.health) {
                    Some(Health::Rests(until)) if until > now.mono => {
                        if verdict.notices_due > view_notices(self, group) {
                            let last = part.last.or_else(|| self.trouble(lane)).unwrap_or_else(|| expired(false));
                            self.delay(
                                group,
                                (until.0 as i64).saturating_add(1_000_000),
                                last,
                                &verdict,
                                &part.plan,
                                completion,
                                now,
                            );
                        } else {
                            self.put_off_until(group, until, random, now);
                        }
                    }
                    _ => {
                        let flow = part.plan.flow();
                        self.queue.make_ready(group, lane, flow, part.plan, false, now);
                        self.drop_lane_if_idle(lane);
                    }
                }
            }
        }
    }

    fn trouble(&mut self, lane: LaneId) -> Option<Diagnostic> {
        self.lane_state(lane)?.trouble.as_deref().cloned()
    }

    fn judge(&self, group: GroupId, schedule: &Schedule, extra_attempts: u32, now: Now) -> Verdict {
        let (age, deliver_by) = self.queue.age_and_deadline(group, now);
        let attempts = self.queue.view(group).map_or(0, |view| view.attempts) + extra_attempts;
        let passed = |mode| deliver_by.is_some_and(|(by, at)| by.mode == mode && now.micros() >= at);
        let by_deadline = passed(DeliverByMode::Return);
        let notices_due = schedule.notices_due(age) + u32::from(passed(DeliverByMode::Notify));
        Verdict { is_over: by_deadline || schedule.is_over(attempts, age), by_deadline, notices_due, age }
    }

    /// Takes the report of an attempt. The attempt's limits are given back; its records are to be committed.
    /// `None` when nothing has to be written.
    pub fn complete(
        &mut self,
        attempt: AttemptId,
        report: Report,
        limits: &mut Limits,
        random: u64,
        now: Now,
    ) -> Option<Completion> {
        let flight = self.in_flight.try_remove(attempt.0)?;
        let InFlight { group, lane, permit, connection, plan, lent: _ } = flight;
        limits.release(permit, now.mono);
        let (kept, away) = match report.connection {
            Connection::Kept => (true, None),
            Connection::Away(shard) => (true, Some(shard)),
            Connection::Closed => (false, None),
        };
        if let Some(state) = self.lane_state(lane) {
            state.in_flight -= 1;
            if let Some(most) = report.recipients_max {
                state.recipients_max = (most.max(1) as usize).min(TRANSACTION_RECIPIENTS_MAX);
            }
        }
        let here = self.queue.best_in(lane);
        let mut is_wanted = false;
        match self.lane_state(lane) {
            Some(state) if kept => {
                state.idle.push(Idle { permit: connection, away });
                is_wanted = state.recalled.take_if(|others| here.is_none_or(|here| *others < here)).is_some();
            }
            state => {
                if let Some(state) = state {
                    state.recalled = None; // what it held goes back now
                }
                limits.release(connection, now.mono);
            }
        }
        if is_wanted {
            self.close_one(lane);
        } else if kept {
            // Nothing is given back, but the lane may go on with this connection.
            if let Some(flow) = self.queue.waiting_in(lane) {
                self.wake_flow(flow);
            }
        }
        self.judge_lane(lane, &report.outcomes, now);
        self.queue.note_attempt(group);

        let view = self.queue.view(group).expect("an attempt has its group");
        let mut completion = Completion::new(view.message);
        let tried: RecipientSet =
            report.outcomes.iter().map(|(r, _)| *r).filter(|&r| view.recipients.contains(r)).collect();
        let untried = view.recipients.without(&tried);
        if tried.is_empty() {
            let outcomes = untried.iter().map(|r| (r, Outcome::Deferred(abandoned()))).collect();
            self.settle_outcomes(group, outcomes, &plan, random, &mut completion, now);
        } else {
            if !untried.is_empty() {
                let rest = self.queue.split(group, &untried);
                let lane_spec = self.lane_state(lane).map(|state| state.spec.clone());
                match lane_spec {
                    Some(_) => self.queue.make_ready(rest, lane, plan.flow(), plan.clone(), true, now),
                    None => self.queue.put_off(rest, now.micros(), now),
                }
            }
            let outcomes = report.outcomes.into_iter().filter(|(r, _)| tried.contains(*r)).collect();
            self.settle_outcomes(group, outcomes, &plan, random, &mut completion, now);
        }
        self.drop_lane_if_idle(lane);
        completion.none_if_empty()
    }

    /// The task of an attempt died: its recipients are deferred, its connection is gone.
    pub fn abandon(&mut self, attempt: AttemptId, limits: &mut Limits, random: u64, now: Now) -> Option<Completion> {
        let report = Report { outcomes: Vec::new(), connection: Connection::Closed, recipients_max: None };
        self.complete(attempt, report, limits, random, now)
    }

    /// One value per failure says how far it reaches; here the lane reads it.
    fn judge_lane(&mut self, lane: LaneId, outcomes: &[(RecipientIndex, Outcome)], now: Now) {
        let failure = outcomes.iter().find_map(|(_, outcome)| match outcome {
            Outcome::Deferred(d) if matches!(d.scope, Scope::Host | Scope::Lane | Scope::Source) => Some(d),
            _ => None,
        });
        let is_doubtful = |d: &Diagnostic| d.is_remote && d.scope == Scope::Recipient && d.is_of_system();
        let answered = outcomes.iter().any(|(_, outcome)| match outcome {
            Outcome::Delivered(_) => true,
            Outcome::Deferred(d) if is_doubtful(d) => false,
            Outcome::Deferred(d) | Outcome::Failed(d) => matches!(d.scope, Scope::Recipient | Scope::Message),
        });
        let doubt = outcomes.iter().map(|(_, outcome)| outcome.diagnostic()).find(|d| is_doubtful(d));
        let Some(state) = self.lane_state(lane) else { return };
        if answered {
            let stood = state.health != Health::Runs;
            state.works();
            if stood {
                self.queue.back_off(lane, false);
            }
        } else if let Some(diagnostic) = failure.or_else(|| doubt.filter(|_| state.is_doubted_too_often())) {
            match state.fails(diagnostic) {
                Some(span) => self.rest(lane, span, now),
                None if matches!(state.health, Health::Rests(_)) => {}
                None => self.remember(lane, now),
            }
        } else if state.health == Health::Probes {
            self.queue.back_off(lane, false); // nothing learnt: the next one probes
        }
    }

    /// Turns outcomes into records: what is final, and what is deferred together as one entry of the timer.
    fn settle_outcomes(
        &mut self,
        group: GroupId,
        outcomes: Vec<(RecipientIndex, Outcome)>,
        plan: &Rc<Plan>,
        random: u64,
        completion: &mut Completion,
        now: Now,
    ) {
        let verdict = self.judge(group, &plan.schedule, 1, now);
        let attempts = self.queue.view(group).map_or(0, |view| view.attempts) + 1;
        let deferred: RecipientSet = outcomes
            .iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Deferred(_)) && !verdict.is_over)
            .map(|(r, _)| *r)
            .collect();
        self.queue.note_attempt(group);
        self.queue.record(group, now);
        let all: RecipientSet = outcomes.iter().map(|(r, _)| *r).collect();
        let finals = all.without(&deferred);
        let mut by_index = outcomes;
        by_index.sort_by_key(|(r, _)| *r);
        let outcome_of = |r: RecipientIndex| {
            let at = by_index.binary_search_by_key(&r, |(r, _)| *r).expect("taken from these outcomes");
            by_index[at].1.clone()
        };
        if !deferred.is_empty() {
            let later = self.queue.split(group, &deferred);
            self.defer(later, &deferred, attempts, &verdict, (plan, random), &outcome_of, completion, now);
        }
        if !finals.is_empty() {
            completion.finish(group, &finals, now, |r| match outcome_of(r) {
                Outcome::Delivered(last) => Status::Delivered { attempts, last },
                Outcome::Failed(last) => Status::Failed { attempts, last },
                Outcome::Deferred(_) if verdict.by_deadline => Status::Expired { attempts, last: expired(true) },
                Outcome::Deferred(last) => Status::Expired { attempts, last },
            });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of settle_outcomes, named")]
    fn defer(
        &mut self,
        group: GroupId,
        recipients: &RecipientSet,
        attempts: u32,
        verdict: &Verdict,
        (plan, random): (&Rc<Plan>, u64),
        outcome_of: &dyn Fn(RecipientIndex) -> Outcome,
        completion: &mut Completion,
        now: Now,
    ) {
        let pause = plan.schedule.pause(attempts, verdict.age, random);
        let at = now.micros().saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX));
        let sent = view_notices(self, group);
        let delay_notices = verdict.notices_due.max(sent);
        let mut error = ErrorKind::None;
        for recipient in recipients.iter() {
            let Outcome::Deferred(last) = outcome_of(recipient) else { continue };
            error = last.kind;
            let status = Status::Deferred { until: now.wall_of(at), attempts, delay_notices, last };
            completion.records.push(StatusRecord { message: completion.message, recipient, at: now.wall, status });
            if delay_notices > sent {
                completion.notices.push(delayed(recipient, &plan.schedule, verdict.age, now));
            }
        }
        completion.parts.push(Part { group, next: Next::Due { at, attempts, delay_notices, error } });
    }

    /// Puts a group off without an attempt of its own, reporting that it takes long.
    #[expect(clippy::too_many_arguments, reason = "one step of route_group, named")]
    fn delay(
        &mut self,
        group: GroupId,
        at: i64,
        last: Diagnostic,
        verdict: &Verdict,
        plan: &Rc<Plan>,
        completion: &mut Completion,
        now: Now,
    ) {
        self.queue.note_attempt(group);
        self.queue.record(group, now);
        let view = self.queue.view(group).expect("held by the caller");
        let (attempts, delay_notices, error) = (view.attempts, verdict.notices_due, last.kind);
        for recipient in view.recipients.iter() {
            let status = Status::Deferred { until: now.wall_of(at), attempts, delay_notices, last: last.clone() };
            completion.records.push(StatusRecord { message: completion.message, recipient, at: now.wall, status });
            completion.notices.push(delayed(recipient, &plan.schedule, verdict.age, now));
        }
        completion.parts.push(Part { group, next: Next::Due { at, attempts, delay_notices, error } });
    }

    /// Removes recipients of a message by an operator's hand, all or `only` some. What is under way stays; the
    /// completion has what can be removed now.
    pub fn remove(&mut self, id: MessageId, only: Option<&RecipientSet>, now: Now) -> Option<Completion> {
        let mut completion = Completion::new(id);
        for group in self.leaving_lanes(id, |queue| queue.take_idle(id, only, now)) {
            let recipients = self.queue.view(group).map(|view| view.recipients.clone())?;
            completion.finish(group, &recipients, now, |_| Status::Removed);
        }
        completion.none_if_empty()
    }

    /// The frame with this completion is committed: now the index changes. Gives the content of a message that is done, or
    /// put off: until it is due it takes no memory.
    pub fn applied(&mut self, completion: Completion, now: Now) -> Option<C> {
        let mut content = None;
        for part in completion.parts {
            match part.next {
                Next::Final => content = self.queue.finish(part.group).or(content),
                Next::Due { at, attempts, delay_notices, error } => {
                    self.queue.note_status(part.group, attempts, delay_notices, error);
                    content = self.queue.drop_content(completion.message).or(content);
                    self.queue.put_off(part.group, at, now);
                }
            }
        }
        content
    }

    /// The commit failed: the completion stays, its recipients are not tried again, and it is to be written first.
    pub fn not_applied(&mut self, completion: Completion) {
        self.paused.get_or_insert(Pause::SpoolSick);
        self.unrecorded.push_back(completion);
    }

    /// Takes the oldest completion that could not be written, to be committed before anything else. When there is
    /// none left and the spool is well, attempts go on.
    pub fn unrecorded(&mut self) -> Option<Completion> {
        let next = self.unrecorded.pop_front();
        if next.is_none() && self.paused == Some(Pause::SpoolSick) {
            self.paused = None;
        }
        next
    }

    /// Completions that wait to be written.
    pub fn unrecorded_count(&self) -> usize {
        self.unrecorded.len()
    }

    /// Attempts under way.
    pub fn attempts_under_way(&self) -> usize {
        self.in_flight.len()
    }
}

fn view_notices<C: Clone>(scheduler: &Scheduler<C>, group: GroupId) -> u32 {
    scheduler.queue.view(group).map_or(0, |view| view.delay_notices)
}

fn delayed(recipient: RecipientIndex, schedule: &Schedule, age: Duration, now: Now) -> Notice {
    let will_retry_until = schedule.remaining(age).map(|left| now.wall + left);
    Notice { kind: NoticeKind::Delayed, recipient, will_retry_until }
}

fn expired(by_deadline: bool) -> Diagnostic {
    let (status, text) = if by_deadline {
        ((5, 4, 7), "The sender's delivery deadline has passed")
    } else {
        ((5, 4, 7), "Delivery time expired")
    };
    Diagnostic::local(ErrorKind::None, Scope::Message, Reply::new(554, status, text))
}

fn abandoned() -> Diagnostic {
    Diagnostic::local(
        ErrorKind::Io,
        Scope::Message,
        Reply::new(451, (4, 3, 0), "The delivery attempt ended without a result"),
    )
}
