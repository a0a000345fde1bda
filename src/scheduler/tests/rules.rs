//! Single rules, on one shard without the world.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::base::limits::{LANE_BACK_OFF_MIN, LANE_FAILURES_MIN, LENT_BYTES_MAX};
use crate::base::{MessageId, Monotonic, Now, Rank, RecipientIndex, ShardId, StreamId, WallTime};
use crate::limits::{KeyMaker, Limits, Recall};
use crate::mail::{Outcome, Scope, Status};
use crate::queue::{Arrival, ArrivalRecipient, GroupState};
use crate::smtp::client::Owed;

/// One shard without the world: for single rules.
struct One {
    scheduler: Scheduler<Rc<u64>>,
    limits: Limits,
    now: Now,
    sequence: u64,
}

impl One {
    fn new() -> One {
        One {
            scheduler: Scheduler::new(Rc::new(settings()), KeyMaker::new(1), 1),
            limits: Limits::new(ShardId(0), 1),
            now: Now { mono: Monotonic(1_000_000), wall: WallTime(1_800_000_000_000) },
            sequence: 0,
        }
    }

    fn accept(
        &mut self,
        count: u32,
        domain: &'static str,
        change: impl FnOnce(&mut Arrival<'_, Rc<u64>>),
    ) -> MessageId {
        self.sequence += 1;
        let id = MessageId { stream: StreamId(0), start: 1, sequence: self.sequence };
        let recipients: Vec<_> = (0..count).map(|r| ArrivalRecipient::new(RecipientIndex(r), domain)).collect();
        let disk = Disk {
            received_at: self.now.wall,
            priority: 0,
            domains: vec![domain; count as usize],
            status: vec![None; count as usize],
            due: Vec::new(),
            is_held: false,
        };
        let mut arrival = arrival(id, &disk, &recipients, None);
        arrival.tenant = "";
        change(&mut arrival);
        assert!(self.scheduler.insert(arrival, self.now));
        id
    }

    fn pass(&mut self, span: Duration) {
        self.now.mono = self.now.mono + span;
        self.now.wall = self.now.wall + span;
        self.settle();
    }

    fn settle(&mut self) {
        self.limits.turn(self.now.mono);
        for ticket in self.limits.woken().collect::<Vec<_>>() {
            self.scheduler.wake(ticket);
        }
        while !self.scheduler.turn(7, self.now) {}
    }

    /// Routes all that is due to the lane of its domain, with `limits` of its own.
    fn route(&mut self, domain: &str, limits: Vec<NamedAsk>) -> Vec<Completion> {
        self.settle();
        let schedule = self.scheduler.plan("remote").schedule.clone();
        let plan = Rc::new(Plan::new(schedule, limits));
        let spec = Rc::new(spec(domain));
        let mut completions = Vec::new();
        while let Some(due) = self.scheduler.next_due(self.now) {
            let routed = due.groups.iter().map(|group| Routed {
                group: group.group,
                recipients: group.recipients.clone(),
                plan: plan.clone(),
                to: Destination::Lane(spec.clone()),
                last: None,
            });
            completions.extend(self.scheduler.route(&due, routed.collect(), 7, self.now));
        }
        completions
    }

    fn attempt(&mut self) -> Option<Attempt<Rc<u64>>> {
        self.settle();
        self.scheduler.next_attempt(&mut self.limits, self.now)
    }

    fn end(&mut self, attempt: &Attempt<Rc<u64>>, outcome: &Outcome) -> Completion {
        let outcomes = attempt.recipients.iter().map(|r| (r, outcome.clone())).collect();
        let report = Report { outcomes, connection: Connection::Closed, recipients_max: None };
        let completion = self.scheduler.complete(attempt.id, report, &mut self.limits, 0, self.now);
        completion.expect("outcomes to be written")
    }
}

fn deferred(scope: Scope) -> Outcome {
    Outcome::Deferred(diagnostic(scope, 451))
}

fn only_wait(one: &One, id: MessageId) -> Waits {
    let mut why = one.scheduler.why(id, one.now);
    assert_eq!(why.len(), 1, "{why:?}");
    why.remove(0).waits
}

#[test]
fn a_lane_that_waits_for_a_connection_goes_on_when_one_is_kept() {
    let mut one = One::new();
    for _ in 0..=LANE_CONNECTIONS {
        one.accept(1, "a.test", |_| {});
    }
    one.route("a.test", Vec::new());
    let under_way: Vec<_> = std::iter::from_fn(|| one.attempt()).collect();
    assert_eq!(under_way.len(), LANE_CONNECTIONS as usize, "one waits");
    let first = &under_way[0];
    let outcomes =
        first.recipients.iter().map(|r| (r, Outcome::Delivered(diagnostic(Scope::Recipient, 250)))).collect();
    let report = Report { outcomes, connection: Connection::Kept, recipients_max: None };
    let completion = one.scheduler.complete(first.id, report, &mut one.limits, 0, one.now).expect("an outcome");
    one.scheduler.applied(completion, one.now);
    let next = one.attempt().expect("it goes by the connection that idles, at once");
    assert!(next.reuse);
}

#[test]
fn a_connection_that_others_want_goes_when_its_message_ends() {
    let mut one = One::new();
    for _ in 0..LANE_CONNECTIONS + 1 {
        one.accept(1, "a.test", |_| {});
    }
    one.route("a.test", Vec::new());
    let mut under_way: VecDeque<_> = std::iter::from_fn(|| one.attempt()).collect();
    let key = one.scheduler.lanes[0].as_ref().expect("the lane").asks[1].key;
    let others = Rank::new(one.now.mono + S(1), 0);
    one.scheduler.recall(Recall { key, rank: others });
    assert_eq!(one.scheduler.closings().count(), 0, "all are in use");
    one.pass(S(2));
    one.accept(1, "a.test", |_| {});
    one.route("a.test", Vec::new());
    // The third has waited longer than the others, and goes first; the fourth has not.
    for closings in [0, 1, 0] {
        let attempt = under_way.pop_front().expect("under way");
        let outcomes = vec![(RecipientIndex(0), Outcome::Delivered(diagnostic(Scope::Recipient, 250)))];
        let report = Report { outcomes, connection: Connection::Kept, recipients_max: None };
        let completion = one.scheduler.complete(attempt.id, report, &mut one.limits, 0, one.now).expect("an outcome");
        one.scheduler.applied(completion, one.now);
        let closed: Vec<_> = one.scheduler.closings().collect();
        assert_eq!(closed.len(), closings, "one is wanted");
        for lane in closed {
            one.scheduler.connection_closed(&lane.lane.key, lane.away, &mut one.limits, one.now);
        }
        under_way.extend(one.attempt());
    }
    assert!(under_way.pop_front().is_some(), "the fourth goes on the connection that is left");
}

#[test]
fn what_is_not_recorded_is_not_tried_again_and_is_written_first() {
    let mut one = One::new();
    let id = one.accept(1, "a.test", |_| {});
    one.route("a.test", Vec::new());
    let attempt = one.attempt().expect("ready");
    let mut completion = one.end(&attempt, &deferred(Scope::Recipient));
    completion.owed = smallvec::smallvec![(RecipientIndex(0), Owed::Relayed)];
    one.scheduler.not_applied(completion);
    one.pass(S(600));
    assert!(one.scheduler.next_due(one.now).is_none() && one.attempt().is_none());
    assert!(matches!(only_wait(&one, id), Waits::Recording { .. }));
    let completion = one.scheduler.unrecorded().expect("kept");
    assert_eq!(completion.records.len(), 1);
    assert_eq!(completion.owed[..], [(RecipientIndex(0), Owed::Relayed)], "what is owed is owed still");
    one.scheduler.applied(completion, one.now);
    assert!(one.scheduler.unrecorded().is_none());
    one.route("a.test", Vec::new());
    assert!(one.attempt().is_some(), "its time has come meanwhile");
}

#[test]
fn a_dead_next_hop_rests_and_is_probed_with_one_message() {
    let mut one = One::new();
    let ids: Vec<_> = (0..10).map(|_| one.accept(1, "dead.test", |_| {})).collect();
    one.route("dead.test", Vec::new());
    let attempt = one.attempt().expect("ready");
    let completion = one.end(&attempt, &deferred(Scope::Host));
    assert_eq!(completion.records.len(), 1, "only the one that was tried is recorded");
    one.scheduler.applied(completion, one.now);
    assert!(one.attempt().is_none());
    one.settle();
    assert_eq!(only_wait(&one, ids[5]), Waits::Retry, "put off with its lane");
    assert_eq!(one.scheduler.queue().ready_count(), 0);
    one.pass(S(45));
    one.route("dead.test", Vec::new());
    assert!(one.scheduler.queue().ready_count() > 1);
    let probe = one.attempt().expect("a probe");
    assert!(one.attempt().is_none(), "one at a time");
    let completion = one.end(&probe, &Outcome::Delivered(diagnostic(Scope::Recipient, 250)));
    assert!(one.scheduler.applied(completion, one.now).is_none());
    assert!(one.attempt().is_some() && one.attempt().is_some(), "it works again");
}

/// The reply to a RCPT that speaks of a system (RFC 3463 §3.4).
fn doubtful() -> Outcome {
    let reply = Reply::new(451, (4, 3, 0), "lookup failure");
    Outcome::Deferred(Diagnostic { is_remote: true, ..Diagnostic::local(ErrorKind::None, Scope::Recipient, reply) })
}

#[test]
fn one_recipient_put_off_for_a_system_says_nothing_of_the_next_hop_and_several_do() {
    let mut one = One::new();
    let ids: Vec<_> = (0..9).map(|_| one.accept(1, "a.test", |_| {})).collect();
    one.route("a.test", Vec::new());
    let fate = |one: &mut One, outcome: &Outcome| {
        let attempt = one.attempt().expect("it does not rest");
        let completion = one.end(&attempt, outcome);
        one.scheduler.applied(completion, one.now);
    };
    // What another got in between counts anew.
    for outcome in [doubtful(), doubtful(), deferred(Scope::Recipient), doubtful(), doubtful(), doubtful(), doubtful()]
    {
        fate(&mut one, &outcome);
    }
    assert!(matches!(only_wait(&one, ids[7]), Waits::Turn { .. }));
    (0..LANE_FAILURES_MIN).for_each(|_| fate(&mut one, &doubtful()));
    let last = one.accept(1, "a.test", |_| {});
    one.route("a.test", Vec::new());
    assert!(one.attempt().is_none(), "the fifth in a row is a failure of the next hop, and so is what follows");
    assert_eq!(only_wait(&one, last), Waits::Retry, "put off with its lane");
}

#[test]
fn what_began_before_a_lane_rests_does_not_prolong_its_rest() {
    let mut one = One::new();
    (0..3).for_each(|_| {
        one.accept(1, "a.test", |_| {});
    });
    one.route("a.test", Vec::new());
    let under_way: Vec<_> = std::iter::from_fn(|| one.attempt()).collect();
    assert_eq!(under_way.len(), 2);
    for attempt in &under_way {
        let completion = one.end(attempt, &deferred(Scope::Host));
        one.scheduler.applied(completion, one.now);
    }
    one.pass(LANE_BACK_OFF_MIN + LANE_BACK_OFF_MIN / 4 + S(1));
    one.route("a.test", Vec::new());
    assert!(one.attempt().is_some(), "one fault of the next hop is one failure, however many saw it");
}

#[test]
fn what_its_lane_kept_from_being_tried_expires_all_the_same() {
    let mut one = One::new();
    let _ids: Vec<_> = (0..3).map(|_| one.accept(1, "dead.test", |_| {})).collect();
    let (mut expired, mut delayed, mut tries) = (0, 0, 0);
    for _ in 0..2000 {
        let mut completions = one.route("dead.test", Vec::new());
        if let Some(attempt) = one.attempt() {
            tries += 1;
            completions.push(one.end(&attempt, &deferred(Scope::Host)));
        }
        for completion in completions {
            expired += completion.notices.iter().filter(|n| n.kind == NoticeKind::Expired).count();
            delayed += completion.notices.iter().filter(|n| n.kind == NoticeKind::Delayed).count();
            one.scheduler.applied(completion, one.now);
        }
        one.pass(S(5));
    }
    assert_eq!((expired, delayed), (3, 3));
    assert!(tries < 30, "{tries} attempts in two hours are hammering");
    assert!(one.scheduler.queue().is_empty());
}

#[test]
fn nothing_expires_without_an_attempt_since_start() {
    let mut one = One::new();
    let old = WallTime(one.now.wall.0 - 30 * 86_400_000);
    one.accept(1, "a.test", |arrival| arrival.received_at = old);
    assert!(one.route("a.test", Vec::new()).is_empty(), "thirty days old, or the clock is wrong: it is tried first");
    let attempt = one.attempt().expect("tried");
    let completion = one.end(&attempt, &deferred(Scope::Recipient));
    assert!(matches!(completion.records[0].status, Status::Expired { attempts: 1, .. }));
    assert_eq!(completion.notices[0].kind, NoticeKind::Expired);
    assert!(one.scheduler.applied(completion, one.now).is_none());
    assert!(one.scheduler.queue().is_empty());
}

#[test]
fn a_step_of_the_wall_clock_moves_only_what_a_sender_held() {
    let mut one = One::new();
    let until = one.now.wall + S(86_400);
    let held = one.accept(1, "a.test", |arrival| arrival.hold_until = Some(until));
    let id = one.accept(1, "a.test", |_| {});
    assert!(matches!(only_wait(&one, held), Waits::HeldUntil));
    one.route("a.test", Vec::new());
    let attempt = one.attempt().expect("the other");
    assert_eq!(attempt.message, id);
    let completion = one.end(&attempt, &deferred(Scope::Recipient));
    one.scheduler.applied(completion, one.now);
    one.now.wall = one.now.wall + S(10 * 86_400);
    one.settle();
    assert_eq!(only_wait(&one, id), Waits::Retry, "neither expired nor due");
    assert!(matches!(only_wait(&one, held), Waits::Routing { .. }), "its time has come by the wall");
    one.pass(S(61));
    assert!(matches!(only_wait(&one, id), Waits::Routing { .. }));
}

#[test]
fn a_deadline_of_the_sender_ends_or_reports() {
    use crate::mail::{DeliverBy, DeliverByMode};
    for (mode, kind) in [(DeliverByMode::Return, NoticeKind::Expired), (DeliverByMode::Notify, NoticeKind::Delayed)] {
        let mut one = One::new();
        let deadline = one.now.wall + S(30);
        one.accept(1, "a.test", |arrival| arrival.deliver_by = Some(DeliverBy { deadline, mode, trace: false }));
        one.route("a.test", Vec::new());
        let attempt = one.attempt().expect("ready");
        one.pass(S(31));
        let completion = one.end(&attempt, &deferred(Scope::Recipient));
        assert_eq!(completion.notices.iter().map(|n| n.kind).collect::<Vec<_>>(), [kind]);
        assert!(one.scheduler.applied(completion, one.now).is_none());
    }
}

#[test]
fn what_its_sender_held_is_not_late_when_it_is_released() {
    let mut one = One::new();
    let until = one.now.wall + S(30 * 86_400);
    one.accept(1, "a.test", |arrival| arrival.hold_until = Some(until));
    one.pass(S(30 * 86_400 + 1));
    one.route("a.test", Vec::new());
    let attempt = one.attempt().expect("its time has come");
    let completion = one.end(&attempt, &deferred(Scope::Recipient));
    assert!(completion.notices.is_empty(), "neither expired nor delayed: {:?}", completion.notices);
    assert!(one.scheduler.applied(completion, one.now).is_none());
}

#[test]
fn recipients_are_split_where_the_peer_takes_few() {
    let mut one = One::new();
    one.accept(5, "a.test", |_| {});
    one.route("a.test", Vec::new());
    let attempt = one.attempt().expect("ready");
    assert_eq!(attempt.recipients.len(), 5);
    let delivered = |r: u32| (RecipientIndex(r), Outcome::Delivered(diagnostic(Scope::Recipient, 250)));
    let report =
        Report { outcomes: vec![delivered(0), delivered(1)], connection: Connection::Kept, recipients_max: Some(2) };
    let completion = one.scheduler.complete(attempt.id, report, &mut one.limits, 0, one.now).expect("two");
    assert_eq!(completion.records.len(), 2);
    assert!(one.scheduler.applied(completion, one.now).is_none());
    let sizes: Vec<_> = std::iter::from_fn(|| one.attempt()).map(|a| (a.recipients.len(), a.reuse)).collect();
    assert_eq!(sizes, [(2, true), (1, false)], "the rest goes at once, over the idle connection first");
}

#[test]
fn priority_goes_first_and_tenants_take_turns() {
    let mut one = One::new();
    let loud: Vec<_> = (0..6).map(|_| one.accept(1, "a.test", |a| a.tenant = "loud")).collect();
    let quiet: Vec<_> = (0..2).map(|_| one.accept(1, "a.test", |a| a.tenant = "quiet")).collect();
    let urgent = one.accept(1, "a.test", |a| (a.tenant, a.priority) = ("loud", 4));
    one.route("a.test", Vec::new());
    let mut order = Vec::new();
    while let Some(attempt) = one.attempt() {
        order.push(attempt.message);
        let completion = one.end(&attempt, &Outcome::Delivered(diagnostic(Scope::Recipient, 250)));
        one.scheduler.applied(completion, one.now);
    }
    assert_eq!(order[0], urgent);
    assert!(order[1..=4].contains(&quiet[0]) && order[1..=4].contains(&quiet[1]), "{order:?}");
    assert_eq!(order.len(), loud.len() + quiet.len() + 1);
}

#[test]
fn a_limit_of_one_sender_stops_that_sender_only_and_why_names_it() {
    use crate::base::Rate;
    use crate::limits::{Ask, Limit};
    let mut one = One::new();
    let ask = Ask { key: KeyMaker::new(1).limit("s").finish(), limit: Limit::Paced(Rate::new(1, S(10))) };
    let slow = NamedAsk { ask, name: "queue.limiter.outbound.0 [sender=slow@example.org]".into() };
    let first = one.accept(1, "a.test", |_| {});
    let second = one.accept(1, "a.test", |_| {});
    one.route("a.test", vec![slow]);
    let other = one.accept(1, "a.test", |_| {});
    one.route("a.test", Vec::new());
    let mut tried = Vec::new();
    while let Some(attempt) = one.attempt() {
        tried.push(attempt.message);
        let completion = one.end(&attempt, &Outcome::Delivered(diagnostic(Scope::Recipient, 250)));
        one.scheduler.applied(completion, one.now);
    }
    assert_eq!(tried, [first, other]);
    let why = one.scheduler.why(second, one.now);
    assert!(matches!(&why[0].waits, Waits::Limit { name, .. } if name.contains("slow@example.org")), "{why:?}");
    assert_eq!(why[0].until, Some(one.now.wall + S(10)));
    one.pass(S(10));
    assert_eq!(one.attempt().map(|a| a.message), Some(second));
}

#[test]
fn why_names_the_virtual_queue_that_is_full() {
    let mut one = One::new();
    let domains = ["a.test", "b.test", "c.test", "d.test"];
    let mut running = Vec::new();
    for domain in domains {
        for _ in 0..2 {
            one.accept(1, domain, |_| {});
        }
        one.route(domain, Vec::new());
        running.extend(std::iter::from_fn(|| one.attempt()).collect::<Vec<_>>());
    }
    assert_eq!(running.len(), THREADS as usize);
    let waiting = MessageId { stream: StreamId(0), start: 1, sequence: 8 };
    let Waits::Limit { name, scope } = only_wait(&one, waiting) else { panic!("waits for a limit") };
    assert_eq!((name.as_str(), scope), ("queue.virtual.q.threads-per-node", crate::queue::Scope::Queue));
    let completion = one.end(&running[0], &Outcome::Delivered(diagnostic(Scope::Recipient, 250)));
    assert!(one.scheduler.applied(completion, one.now).is_none());
    assert!(one.attempt().is_some(), "a thread became free");
}

#[test]
fn notices_follow_notify() {
    use crate::mail::{Envelope, ForwardPath, MailParameters, Notify, Recipient, ReversePath};
    let recipient =
        |notify| Recipient { notify, ..Recipient::new(ForwardPath::parse("<r@a.test>", false).expect("a path")) };
    let mut envelope = Envelope {
        reverse_path: ReversePath::parse("<s@a.test>", false).expect("a path"),
        mail: MailParameters::default(),
        recipients: vec![
            recipient(None),
            recipient(Some(Notify::NEVER)),
            recipient(Some(Notify { success: true, ..Notify::NEVER })),
        ],
    };
    let wanted = |envelope: &Envelope, kind| {
        (0..4)
            .map(|r| Notice { kind, recipient: RecipientIndex(r), will_retry_until: None }.is_wanted(envelope))
            .collect::<Vec<_>>()
    };
    assert_eq!(wanted(&envelope, NoticeKind::Failed), [true, false, false, false]);
    assert_eq!(wanted(&envelope, NoticeKind::Delivered), [false, false, true, false]);
    envelope.reverse_path = ReversePath::Null;
    assert_eq!(wanted(&envelope, NoticeKind::Expired), [false; 4], "never about a report");
}

#[test]
fn a_group_state_is_known_to_those_who_list() {
    let mut one = One::new();
    let id = one.accept(1, "a.test", |_| {});
    let filter = |state| crate::queue::Filter { state: Some(state), ..Default::default() };
    let count =
        |one: &One, state| one.scheduler.queue().list(&filter(state), Default::default(), 10, one.now).items.len();
    assert_eq!(count(&one, GroupState::Due), 1);
    one.scheduler.hold(id);
    assert_eq!((count(&one, GroupState::Due), count(&one, GroupState::Held)), (0, 1));
}

#[test]
fn a_connection_left_on_another_shard_holds_its_place_and_is_used_or_closed_there() {
    let mut one = One::new();
    for _ in 0..4 {
        one.accept(1, "a.test", |_| {});
    }
    let large = one.accept(1, "a.test", |arrival| arrival.size_bytes = LENT_BYTES_MAX + 1);
    one.route("a.test", Vec::new());
    let there = Some(ShardId(3));
    let lent: Vec<_> = std::iter::from_fn(|| one.attempt()).collect();
    assert_eq!(lent.len(), LANE_CONNECTIONS as usize);
    let end_away = |one: &mut One, attempt: &Attempt<Rc<u64>>| {
        let outcomes = vec![(RecipientIndex(0), Outcome::Delivered(diagnostic(Scope::Recipient, 250)))];
        let report = Report { outcomes, connection: Connection::Away(ShardId(3)), recipients_max: None };
        let completion = one.scheduler.complete(attempt.id, report, &mut one.limits, 0, one.now).expect("an outcome");
        one.scheduler.applied(completion, one.now);
    };
    one.scheduler.lend(lent[0].id, there);
    let Waits::Attempt { lent: said, .. } = only_wait(&one, lent[0].message) else { panic!("under way") };
    assert_eq!((said, one.scheduler.lent_to(lent[0].message)), (there, there));
    end_away(&mut one, &lent[0]);
    let next = one.attempt().expect("goes to where the connection is");
    assert!(next.reuse && next.away == there);
    end_away(&mut one, &next);
    end_away(&mut one, &lent[1]);
    // What is too large to be lent has no use for connections elsewhere: one is closed for it.
    while let Some(attempt) = one.attempt() {
        assert_ne!(attempt.message, large);
        end_away(&mut one, &attempt);
    }
    let closing = one.scheduler.closings().next().expect("a place is wanted");
    assert_eq!(closing.away, there);
    one.scheduler.connection_closed(&closing.lane.key, there, &mut one.limits, one.now);
    let here = one.attempt().expect("there is a place");
    assert!(here.message == large && !here.reuse && here.away.is_none());
    // At the end of lending all that idles elsewhere goes.
    one.scheduler.close_away();
    let closings = one.scheduler.closings().filter(|closing| closing.away == there).count();
    assert_eq!(closings, LANE_CONNECTIONS as usize - 1);
}

#[test]
fn what_is_put_off_gives_its_content_back() {
    let mut one = One::new();
    let contents: Vec<Rc<u64>> = (0..4).map(Rc::new).collect();
    for content in &contents {
        one.accept(1, "dead.test", |arrival| arrival.content = Some(content.clone()));
    }
    one.route("dead.test", Vec::new());
    let attempt = one.attempt().expect("the first");
    let mut back = 0;
    let completion = one.end(&attempt, &deferred(Scope::Host));
    back += usize::from(one.scheduler.applied(completion, one.now).is_some());
    drop(attempt);
    for _ in 0..200 {
        for completion in one.route("dead.test", Vec::new()) {
            back += usize::from(one.scheduler.applied(completion, one.now).is_some());
        }
        if let Some(attempt) = one.attempt() {
            let completion = one.end(&attempt, &deferred(Scope::Host));
            back += usize::from(one.scheduler.applied(completion, one.now).is_some());
        }
        back += one.scheduler.given_back().count();
        one.pass(S(1));
    }
    assert_eq!(back, contents.len(), "each once");
    assert!(contents.iter().all(|content| Rc::strong_count(content) == 1), "nobody holds it");
}
