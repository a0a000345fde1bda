//! What must hold of the scheduler: `rules` one by one on one shard, and `simulation` all together over virtual time.

mod rules;
mod simulation;

use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::base::{MessageId, WallTime};
use crate::mail::{Diagnostic, ErrorKind, Reply, Scope, Status};
use crate::queue::{Arrival, ArrivalRecipient, LaneKey};

const S: fn(u64) -> Duration = Duration::from_secs;

const LANE_CONNECTIONS: u32 = 2;
const THREADS: u32 = 5;

/// What is on disk of a message.
struct Disk {
    pub received_at: WallTime,
    pub priority: i8,
    pub domains: Vec<&'static str>,
    pub status: Vec<Option<Status>>,
    /// When each may be tried again, by the monotonic clock; not checked after an operator's retry.
    pub due: Vec<i64>,
    pub is_held: bool,
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    let schedule = Schedule {
        queue: "q".into(),
        retry: vec![S(60), S(300), S(900)],
        notify: vec![S(1800)],
        end: End::Expire(S(7200)),
    };
    settings.schedules.insert("remote".into(), schedule);
    settings
        .queues
        .insert("q".into(), settings::VirtualQueue { attempts_max: THREADS, lane_connections_max: LANE_CONNECTIONS });
    settings
}

fn spec(domain: &str) -> LaneSpec {
    let key = LaneKey { queue: "q".into(), next_hop: domain.into(), source: None, tls: "default".into() };
    LaneSpec { key, connections_max: LANE_CONNECTIONS, limits: Vec::new() }
}

fn diagnostic(scope: Scope, code: u16) -> Diagnostic {
    Diagnostic::local(ErrorKind::UnexpectedReply, scope, Reply::new(code, ((code / 100) as u8, 0, 0), "scripted"))
}

fn arrival<'a>(
    id: MessageId,
    disk: &'a Disk,
    recipients: &'a [ArrivalRecipient<'a>],
    content: Option<Rc<u64>>,
) -> Arrival<'a, Rc<u64>> {
    Arrival {
        id,
        received_at: disk.received_at,
        size_bytes: 1000,
        priority: disk.priority,
        hold_until: None,
        deliver_by: None,
        is_held: disk.is_held,
        reverse_path: "sender@example.org",
        tenant: if id.sequence.is_multiple_of(3) { "tenant" } else { "" },
        recipients_total: disk.status.len() as u32,
        content,
        recipients,
    }
}
