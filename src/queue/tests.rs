//! The index on its own: what it costs, what it lists, what holds do.

use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::base::{MessageId, Monotonic, Now, RecipientIndex, StreamId, WallTime};

type Index = Queue<Rc<()>, ()>;

fn id(n: u64) -> MessageId {
    MessageId { stream: StreamId(1), start: 1, sequence: n }
}

fn start() -> Now {
    Now { mono: Monotonic(5_000_000), wall: WallTime(1_800_000_000_000) }
}

fn after(now: Now, span: Duration) -> Now {
    Now { mono: now.mono + span, wall: now.wall + span }
}

fn insert(queue: &mut Index, n: u64, sender: &str, recipients: &[ArrivalRecipient<'_>], now: Now) -> bool {
    queue.insert(
        Arrival {
            id: id(n),
            received_at: now.wall,
            size_bytes: 1000 + n,
            priority: 0,
            hold_until: None,
            deliver_by: None,
            is_held: false,
            reverse_path: sender,
            tenant: "",
            recipients_total: recipients.len() as u32,
            content: None,
            recipients,
        },
        now,
    )
}

fn one(domain: &str) -> [ArrivalRecipient<'_>; 1] {
    [ArrivalRecipient::new(RecipientIndex(0), domain)]
}

fn lane(next_hop: &str) -> LaneKey {
    LaneKey { queue: "remote".into(), next_hop: next_hop.into(), source: None, tls: "default".into() }
}

/// Everything that is due goes through a lane and is put off for `span`.
fn defer_all(queue: &mut Index, now: Now, span: Duration) -> usize {
    let (plan, mut deferred) = (Rc::new(()), 0);
    while !queue.turn(now) {}
    while let Some(due) = queue.next_due(now) {
        let key = queue.lane(&lane("a.test"));
        queue.make_ready(due.groups[0].group, key, 0, plan.clone(), false, now);
        let candidate = queue.candidate().expect("ready");
        let group = queue.take(&candidate, 100, now);
        queue.record(group, now);
        let at = after(now, span).micros();
        queue.note_status(group, 1, 0, crate::mail::ErrorKind::Connection);
        queue.put_off(group, at, now);
        deferred += 1;
    }
    deferred
}

#[test]
fn a_deferred_message_costs_at_most_two_hundred_bytes() {
    // What is counted: slots, chunks as allocated, tables as allocated, names; shared senders and then none shared.
    for (count, domains, most) in [(100_000u64, 5_000, 200), (30_000, 30_000, 300)] {
        let (mut queue, now) = (Index::new(7), start());
        for n in 0..count {
            let domain = format!("domain{:05}.example", n % domains);
            assert!(insert(&mut queue, n, &format!("s{n}@sender{:05}.example", n % domains), &one(&domain), now));
        }
        assert_eq!(defer_all(&mut queue, now, Duration::from_secs(3600)), count as usize);
        let each = queue.resident_bytes() as u64 / count;
        println!("{each} bytes per message, {domains} domains");
        assert!(each <= most, "{each} bytes per message with {domains} domains");
    }
}

#[test]
fn nothing_is_left_behind() {
    let (mut queue, now) = (Index::new(7), start());
    for n in 0..1000 {
        let domain = format!("d{n}.test");
        insert(&mut queue, n, "s@a.test", &one(&domain), now);
    }
    while let Some(due) = queue.next_due(now) {
        assert!(queue.finish(due.groups[0].group).is_none());
    }
    assert!(queue.is_empty());
    assert_eq!((queue.names.len(), queue.due_count(), queue.ready_count()), (0, 0, 0));
}

#[test]
fn recovered_groups_come_back_when_they_are_due_and_not_before() {
    let (mut queue, now) = (Index::new(7), start());
    let due = |seconds: u64| Some(now.wall + Duration::from_secs(seconds));
    let waits = |r: u32, due, attempts| ArrivalRecipient {
        due,
        attempts,
        ..ArrivalRecipient::new(RecipientIndex(r), "a.test")
    };
    let recipients = [waits(0, due(60), 1), waits(3, None, 0), waits(5, due(60), 1), waits(7, due(600), 4)];
    assert!(insert(&mut queue, 1, "s@a.test", &recipients, now));
    let mut seen = Vec::new();
    for seconds in [0, 59, 61, 599, 601] {
        let then = after(now, Duration::from_secs(seconds));
        while !queue.turn(then) {}
        while let Some(message) = queue.next_due(then) {
            for group in message.groups {
                let recipients: Vec<u32> = group.recipients.iter().map(|r| r.0).collect();
                seen.push((seconds, recipients, group.attempts));
                queue.finish(group.group);
            }
        }
    }
    assert_eq!(seen, [(0, vec![3], 0), (61, vec![0, 5], 1), (601, vec![7], 4)]);
}

#[test]
fn groups_of_one_message_that_are_due_together_are_routed_together() {
    let (mut queue, now) = (Index::new(7), start());
    let waits = |r: u32, attempts| ArrivalRecipient { attempts, ..ArrivalRecipient::new(RecipientIndex(r), "a.test") };
    insert(&mut queue, 1, "s@a.test", &[waits(0, 1), waits(1, 2), waits(2, 3)], now);
    let message = queue.next_due(now).expect("due");
    assert_eq!(message.groups.len(), 3);
    assert!(queue.next_due(now).is_none());
}

#[test]
fn a_hold_takes_what_is_idle_and_what_is_under_way_when_it_ends() {
    let (mut queue, now) = (Index::new(7), start());
    insert(&mut queue, 1, "s@a.test", &one("a.test"), now);
    let due = queue.next_due(now).expect("due");
    assert!(queue.hold(id(1)));
    let key = queue.lane(&lane("a.test"));
    queue.make_ready(due.groups[0].group, key, 0, Rc::new(()), false, now);
    assert!(queue.candidate().is_none(), "held as soon as it is given back");
    assert!(queue.is_held(id(1)) && queue.next_due(now).is_none());
    assert!(queue.release(id(1), now));
    assert!(queue.next_due(now).is_some());
    assert!(!queue.hold(id(2)) && !queue.release(id(2), now), "what is not queued");
}

#[test]
fn pages_cover_everything_once_and_filters_choose() {
    let (mut queue, now) = (Index::new(7), start());
    for n in 0..250u64 {
        let domain = if n.is_multiple_of(10) { "ten.test" } else { "rest.test" };
        insert(&mut queue, n, if n.is_multiple_of(2) { "even@A.test" } else { "odd@b.test" }, &one(domain), now);
    }
    let all = |filter: &Filter| {
        let (mut seen, mut cursor) = (Vec::new(), Cursor::default());
        loop {
            let page = queue.list(filter, cursor, 7, now);
            assert!(page.items.len() <= 7);
            seen.extend(page.items.iter().map(|item| item.id.sequence));
            match page.next {
                Some(next) => cursor = next,
                None => return seen,
            }
        }
    };
    assert_eq!(all(&Filter::default()), (0..250).collect::<Vec<_>>());
    let ten = Filter { recipient_domain: Some("TEN.test".into()), ..Filter::default() };
    assert_eq!(all(&ten), (0..25).map(|n| n * 10).collect::<Vec<_>>());
    let even = Filter { sender: Some("EVEN@a.test".into()), ..ten.clone() };
    assert_eq!(all(&even).len(), 25);
    let odd = Filter { sender_domain: Some("b.test".into()), ..ten };
    assert_eq!(all(&odd), [0u64; 0]);
    let none = Filter { before: Some(now.wall), ..Filter::default() };
    assert_eq!(all(&none), [0u64; 0]);
    let summary = queue.summary(id(20), now).expect("queued");
    assert_eq!((summary.sender_domain.as_str(), summary.domains.len(), summary.recipients), ("a.test", 1, 1));
}

#[test]
fn lanes_take_turns() {
    let (mut queue, now) = (Index::new(7), start());
    let plan = Rc::new(());
    for (n, hop) in (0u64..).zip(["a", "a", "a", "a", "b", "c"]) {
        insert(&mut queue, n, "s@a.test", &one("x.test"), now);
        let due = queue.next_due(now).expect("due");
        let key = queue.lane(&lane(hop));
        queue.make_ready(due.groups[0].group, key, 0, plan.clone(), false, now);
    }
    let order: Vec<u64> = std::iter::from_fn(|| {
        let candidate = queue.candidate()?;
        let group = queue.take(&candidate, 1, now);
        Some(queue.view(group)?.message.sequence)
    })
    .collect();
    assert_eq!(order, [0, 4, 5, 1, 2, 3]);
}
