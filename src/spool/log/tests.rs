//! The writer alone.

use super::*;
use crate::base::StreamId;
use crate::spool::bulk::BulkTable;

/// Upkeep waits for its copies and makes the segments: a copy that waited for one would wait for ever.
#[test]
fn a_copy_never_waits_for_a_segment() {
    let (stream, segment_size, memory_budget) = (StreamId(0), 256 << 10, 1 << 20);
    let settings = LogSettings { stream, start: 1, segment_size, reserve: 2, memory_budget, is_told: false };
    let mut log = Log::new(settings, Index::new(Rc::new(std::cell::RefCell::new(BulkTable::default()))));
    let fact = || Record::Fact { key: "cursor".into(), value: bytes::Bytes::from_static(b"1") };
    log.submit(vec![fact()], Durability::Durable, Duration::ZERO).expect("outcomes and facts are never refused");
    log.submit_copy(vec![fact()], Class::Fact { key: "cursor".into(), from: 1 }).expect("taken");
    let mut settled = Settled::default();
    assert!(matches!(log.next(&mut settled), Step::Idle), "there is no segment");
    let refused: Vec<_> = settled.refused.iter().map(|(frame, error)| (frame.class.is_copy(), *error)).collect();
    assert_eq!(refused, [(true, CommitError::Full)], "the fact itself waits");
}

/// A message in memory leaves it in one frame with its outcomes and a report that quotes it, and those are never refused.
#[test]
fn what_could_not_leave_memory_in_one_frame_is_written_at_once() {
    let settings = || crate::spool::pending::LogSettings {
        stream: StreamId(0),
        start: 1,
        segment_size: 256 << 10,
        reserve: 0,
        memory_budget: 1 << 20,
        is_told: false,
    };
    let message = |bytes: usize, recipients: usize| {
        let path = crate::mail::ForwardPath::parse("<a@b.test>", false).expect("an address");
        let recipients = (0..recipients).map(|_| crate::mail::Recipient::new(path.clone())).collect();
        Record::Message(Rc::new(crate::spool::Message {
            id: MessageId { stream: StreamId(0), start: 1, sequence: 1 },
            envelope: crate::mail::Envelope {
                reverse_path: crate::mail::ReversePath::Null,
                mail: Default::default(),
                recipients,
            },
            received: crate::mail::Received {
                at: crate::base::WallTime(0),
                source: crate::mail::Source::Unauthenticated,
                listener: "smtp".into(),
                remote_ip: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
                local_port: 25,
                helo: "c.test".into(),
                authenticated_as: None,
                content: Default::default(),
            },
            trace: bytes::Bytes::new(),
            header: bytes::Bytes::new(),
            has_separator: true,
            body: Body::Memory(vec![vec![b'x'; bytes].into()]),
        }))
    };
    for (bytes, recipients, is_kept) in [(20_000, 1, true), (40_000, 1, false), (100, 20, false), (100, 10, true)] {
        let mut log = Log::new(settings(), Index::new(Rc::new(std::cell::RefCell::new(BulkTable::default()))));
        let taken =
            log.submit(vec![message(bytes, recipients)], Durability::Memory, std::time::Duration::ZERO).expect("taken");
        assert_eq!(matches!(taken, Submitted::Now(_)), is_kept, "{bytes} octets to {recipients}");
    }
}
