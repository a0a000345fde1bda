//! `[queue.virtual.<name>]`, `[queue.schedule.<id>]` and `queue.strategy.schedule`: when a recipient is tried.

use std::collections::BTreeMap;
use std::time::Duration;

use compact_str::CompactString;

use crate::base::limits::RETRY_MIN;
use crate::expr::{Expr, Stage, expression};
use crate::schema::{FaultKind, Section, Typed, defaults};

/// What the scheduler is configured by.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `queue.virtual.<name>`; those of [`SHIPPED_QUEUES`] are there in any case.
    pub queues: BTreeMap<CompactString, VirtualQueue>,
    /// `queue.schedule.<id>`; `local`, `remote`, `dsn` and `report` are there in any case.
    pub schedules: BTreeMap<CompactString, Schedule>,
    /// `queue.strategy.schedule` E (a recipient is due): the id of a schedule.
    pub strategy_schedule: Expr<CompactString>,
}

/// `queue.virtual.<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtualQueue {
    /// `threads-per-node`: attempts of this queue under way at once in this process.
    pub attempts_max: u32,
    /// `connections-per-lane` (ours): connections of one lane at once in this process.
    pub lane_connections_max: u32,
}

/// `queue.schedule.<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// `queue-name`: the virtual queue.
    pub queue: CompactString,
    /// `retry`: the wait after each failed attempt, not empty; the last one repeats.
    pub retry: Vec<Duration>,
    /// `notify`: ages at which a delay is reported (RFC 3461 NOTIFY=DELAY), ascending.
    pub notify: Vec<Duration>,
    /// `expire` or `max-attempts`.
    pub end: End,
}

/// When a recipient is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `expire`: at this age.
    Expire(Duration),
    /// `max-attempts`: after so many.
    Attempts(u32),
}

/// The virtual queues that are there in any case, with their `threads-per-node`.
pub const SHIPPED_QUEUES: &[(&str, u32)] = &[("local", 500), ("remote", 10_000), ("dsn", 100), ("report", 100)];

/// Octets of a virtual queue's name, as the reference product has it.
const QUEUE_NAME_BYTES_MAX: usize = 8;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn minutes(all: &[u32]) -> Vec<Duration> {
    all.iter().map(|n| MINUTE * *n).collect()
}

impl Default for VirtualQueue {
    fn default() -> Self {
        VirtualQueue { attempts_max: 1000, lane_connections_max: 50 }
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            queue: CompactString::const_new("remote"),
            retry: minutes(&[2, 5, 10, 15, 30, 60, 120]),
            notify: vec![DAY, DAY * 3],
            end: End::Expire(DAY * 3),
        }
    }
}

impl Schedule {
    /// The schedules that are there in any case.
    pub fn shipped() -> BTreeMap<CompactString, Schedule> {
        let local = Schedule { queue: "local".into(), ..Schedule::default() };
        let dsn = Schedule {
            queue: "dsn".into(),
            retry: minutes(&[15, 30, 60, 120]),
            notify: Vec::new(),
            end: End::Attempts(10),
        };
        let report =
            Schedule { queue: "report".into(), retry: minutes(&[30, 60, 120]), end: End::Attempts(8), ..dsn.clone() };
        let remote = Schedule::default();
        [("local", local), ("remote", remote), ("dsn", dsn), ("report", report)]
            .into_iter()
            .map(|(id, schedule)| (id.into(), schedule))
            .collect()
    }
}

impl Default for Settings {
    fn default() -> Self {
        defaults(|queue| Settings::read(queue, queue.table("strategy", "", Settings::read_strategy)))
    }
}

impl Settings {
    /// Reads `schedule` of `[queue.strategy]`.
    pub fn read_strategy(strategy: &Section<'_>) -> Expr<CompactString> {
        strategy
            .knob("schedule", expression(Stage::QUEUE_RECIPIENT, CompactString::const_new("remote")))
            .doc("The id of a [queue.schedule.<id>].")
            .default_toml(
                "[ { if = \"is_local_domain('*', rcpt_domain)\", then = \"'local'\" }, { if = \"source == 'dsn'\", then = \"'dsn'\" }, { if = \"source == 'report'\", then = \"'report'\" }, { else = \"'remote'\" } ]",
            )
    }

    /// Reads `virtual` and `schedule` of `[queue]`.
    pub fn read(queue: &Section<'_>, strategy_schedule: Expr<CompactString>) -> Settings {
        let shipped = SHIPPED_QUEUES.iter().map(|(name, attempts_max)| {
            ((*name).into(), VirtualQueue { attempts_max: *attempts_max, ..VirtualQueue::default() })
        });
        let mut queues: BTreeMap<CompactString, VirtualQueue> = shipped.collect();
        for (name, read) in queue.named("virtual", VIRTUAL_DOC, VirtualQueue::read) {
            queues.insert(name.into(), read);
        }
        let mut schedules = Schedule::shipped();
        for (id, read) in queue.named("schedule", SCHEDULE_DOC, |s, _| Schedule::read(s, &queues)) {
            schedules.insert(id.into(), read);
        }
        Settings { queues, schedules, strategy_schedule }
    }
}

const VIRTUAL_DOC: &str = "A virtual queue, which schedules name; at most 8 octets long. local, remote, dsn and report are there in any case.";
const SCHEDULE_DOC: &str = "When a recipient is tried again and when it is given up. local, remote, dsn and report are there in any case: retry 2m, 5m, 10m, 15m, 30m, 1h, 2h, notify 1d, 3d, expire 3d; dsn 15m, 30m, 1h, 2h, 10 attempts; report 30m, 1h, 2h, 8 attempts.";

impl VirtualQueue {
    fn read(s: &Section<'_>, name: &str) -> VirtualQueue {
        if name.len() > QUEUE_NAME_BYTES_MAX {
            let title = format!("the name `{name}` of a virtual queue is too long");
            s.report(s.fault(FaultKind::Value, title).expected(format!("at most {QUEUE_NAME_BYTES_MAX} octets")));
        }
        let default = VirtualQueue::default();
        VirtualQueue {
            attempts_max: s
                .key("threads-per-node")
                .doc("Attempts of this queue under way at once in this process; 0 stops it.")
                .unit("attempts")
                .between(0, 1_000_000)
                .default(default.attempts_max),
            lane_connections_max: s
                .key("connections-per-lane")
                .doc("Connections of one lane (next hop, source and TLS strategy) at once in this process.")
                .unit("connections")
                .between(1, 100_000)
                .default(default.lane_connections_max),
        }
    }
}

impl Schedule {
    fn read(s: &Section<'_>, queues: &BTreeMap<CompactString, VirtualQueue>) -> Schedule {
        let default = Schedule::default();
        s.exclusive(&["expire", "max-attempts"]);
        let queue: CompactString = s.key("queue-name").doc("The virtual queue.").example("\"remote\"").required();
        if !queues.contains_key(&queue) && !queue.is_empty() {
            let title = format!("there is no virtual queue `{queue}`");
            let names: Vec<&str> = queues.keys().map(CompactString::as_str).collect();
            let fault = s.fault_at("queue-name", FaultKind::Reference, title);
            s.report(fault.found(format!("\"{queue}\"")).expected(format!("one of {}", names.join(", "))));
        }
        let waits = Duration::kind().within(RETRY_MIN..=DAY * 30).list();
        let retry = s
            .knob("retry", waits.only("at least one duration", |waits: &Vec<Duration>| !waits.is_empty()))
            .doc("The wait after each failed attempt; the last one repeats.")
            .default(default.retry);
        let ascending = |ages: &Vec<Duration>| ages.is_sorted();
        let notify = s
            .knob("notify", Duration::kind().list().only("durations in ascending order", ascending))
            .doc("Ages at which a delay is reported to the sender, where it asked for that or did not say.")
            .default(default.notify);
        let expire = s
            .key("expire")
            .doc("The age at which a recipient is given up; 3d where neither this nor max-attempts is set.")
            .between(Duration::from_secs(1), DAY * 365)
            .example("\"3d\"")
            .optional();
        let attempts = s
            .key("max-attempts")
            .doc("Attempts after which a recipient is given up, instead of expire.")
            .unit("attempts")
            .between(1, 10_000)
            .example("10")
            .optional();
        let end = match (expire, attempts) {
            (_, Some(attempts)) => End::Attempts(attempts),
            (Some(expire), None) => End::Expire(expire),
            (None, None) => default.end,
        };
        Schedule { queue, retry, notify, end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Document, Reader};

    fn read(text: &str) -> (Settings, Vec<String>) {
        let (document, faults) = Document::parse("t", text);
        assert_eq!(faults, []);
        let (settings, findings) = Reader::new(&document)
            .read(|root| root.table("queue", "", |s| Settings::read(s, Expr::constant("remote".into()))));
        (settings, findings.faults.into_iter().map(|fault| fault.title).collect())
    }

    #[test]
    fn a_schedule_of_the_vocabulary_is_read() {
        let (settings, faults) = read(
            "[queue.schedule.local]\nqueue-name = 'local'\nretry = ['2m', '5m']\nnotify = ['1d', '3d']\nexpire = '5d'\n\
             [queue.schedule.quick]\nqueue-name = 'fast'\nmax-attempts = 3\n[queue.virtual.fast]\nthreads-per-node = 7\n",
        );
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(settings.schedules["local"].end, End::Expire(DAY * 5));
        assert_eq!(settings.schedules["quick"].end, End::Attempts(3));
        assert_eq!(settings.schedules.len(), 5);
        assert_eq!(settings.queues["fast"].attempts_max, 7);
    }

    #[test]
    fn a_retry_shorter_than_the_timer_can_tell_is_refused() {
        let of = |retry: &str| read(&format!("[queue.schedule.x]\nqueue-name = 'remote'\nretry = ['{retry}']"));
        let (settings, faults) = of("100ms");
        assert_eq!((settings.schedules["x"].retry[0], faults.len()), (Duration::from_millis(100), 0));
        assert_eq!(of("99ms").1.len(), 1);
    }

    #[test]
    fn a_schedule_ends_in_one_way_and_has_a_queue() {
        let (_, faults) = read(
            "[queue.schedule.x]\nqueue-name = 'none'\nexpire = '1d'\nmax-attempts = 3\nretry = []\nnotify = ['2d', '1d']",
        );
        assert_eq!(faults.len(), 4, "{faults:?}");
    }
}
