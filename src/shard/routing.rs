//! From a due message to the lanes of its recipients: the strategies of the configuration in force, evaluated now.
//!
//! A stored recipient carries no route. What is evaluated gives names; a *way* is what those names mean
//! in this snapshot, shared by all that take it.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use compact_str::{CompactString, format_compact};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::base::RecipientIndex;
use crate::base::limits::LANES_MAX;
use crate::config::Config;
use crate::delivery::{NextHop, route, settings};
use crate::expr::{Lookups, Scope, Value, Variable};
use crate::lookup::ShardLookups;
use crate::mail::{Diagnostic, ErrorKind, Mailbox, Outcome, Reply, Scope as Reach, Status};
use crate::queue::{DueMessage, LaneKey, RecipientSet};
use crate::scheduler::{Destination, LaneSpec, Plan, Routed, Schedule};
use crate::spool::Message;

/// How mail of one lane leaves.
#[derive(Debug)]
pub struct Way {
    /// The lane.
    pub spec: Rc<LaneSpec>,
    /// Where to.
    pub hop: NextHop,
    /// How connections are made.
    pub connection: Arc<settings::Connection>,
    /// The TLS strategy.
    pub tls: Arc<settings::Tls>,
}

/// The ways of one snapshot on one shard. A reload begins anew.
pub struct Ways {
    config: Arc<Config>,
    by_lane: HashMap<LaneKey, Rc<Way>, RandomState>,
    plans: HashMap<CompactString, Rc<Plan>, RandomState>,
}

/// How far the delivery of some recipients of a message has come, as expressions see it.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// MT-PRIORITY.
    pub priority: i8,
    /// How long ago the message was accepted.
    pub age: Duration,
    /// Its octets.
    pub size_bytes: u64,
    /// Attempts made.
    pub attempts: u32,
    /// Delay notices sent.
    pub delay_notices: u32,
    /// What went wrong last.
    pub last_error: ErrorKind,
}

/// What the expressions of the queue see.
struct Facts<'a> {
    message: &'a Message,
    standing: Standing,
    rcpt: &'a Mailbox,
    last: Option<&'a Diagnostic>,
    queue: &'a str,
    lookups: &'a ShardLookups,
}

impl Ways {
    /// No way is known yet.
    pub fn new(config: Arc<Config>) -> Ways {
        Ways { config, by_lane: HashMap::default(), plans: HashMap::default() }
    }

    /// The way of a lane that was placed with this snapshot or an earlier one.
    pub fn find(&self, lane: &LaneKey) -> Option<Rc<Way>> {
        self.by_lane.get(lane).cloned()
    }

    /// Routes every recipient of a due message; those with the same result travel together.
    pub fn route(
        &mut self,
        due: &DueMessage<Rc<Message>>,
        message: &Message,
        statuses: &[Option<Status>],
        lookups: &ShardLookups,
    ) -> Vec<Routed> {
        let mut routed: Vec<Routed> = Vec::with_capacity(due.groups.len());
        for group in &due.groups {
            let first_of_group = routed.len();
            let standing = Standing {
                priority: due.priority,
                age: due.age,
                size_bytes: due.size_bytes,
                attempts: group.attempts,
                delay_notices: group.delay_notices,
                last_error: group.last_error,
            };
            for index in group.recipients.iter() {
                let Some(recipient) = message.envelope.recipients.get(index.0 as usize) else { continue };
                let last = last_of(statuses, index.0 as usize);
                let rcpt = recipient.path.mailbox();
                let (plan, to) = self.place(&Facts { message, standing, rcpt, last, queue: "", lookups });
                let same =
                    routed[first_of_group..].iter_mut().find(|r| Rc::ptr_eq(&r.plan, &plan) && is_same(&r.to, &to));
                match same {
                    Some(routed) => routed.recipients = with(&routed.recipients, index),
                    None => routed.push(Routed {
                        group: group.group,
                        recipients: RecipientSet::one(index),
                        plan,
                        to,
                        last: last.cloned(),
                    }),
                }
            }
        }
        routed
    }

    /// The schedule of one recipient, were it due now.
    pub fn schedule(
        &mut self,
        message: &Message,
        index: RecipientIndex,
        standing: Standing,
        last: Option<&Diagnostic>,
        lookups: &ShardLookups,
    ) -> Option<Rc<Schedule>> {
        let rcpt = message.envelope.recipients.get(index.0 as usize)?.path.mailbox();
        let config = self.config.clone();
        let facts = Facts { message, standing, rcpt, last, queue: "", lookups };
        let id = config.scheduler.strategy_schedule.value_now(&facts, |_| {});
        Some(self.plan(id.as_str()).schedule.clone())
    }

    /// Schedule and destination of one recipient.
    fn place(&mut self, facts: &Facts<'_>) -> (Rc<Plan>, Destination) {
        let config = self.config.clone();
        let strategy = &config.delivery;
        let schedule = config.scheduler.strategy_schedule.value_now(facts, |_| {});
        let plan = self.plan(schedule.as_str());
        let queue = plan.schedule.queue.clone();
        let facts = &Facts { queue: &queue, ..*facts };
        let route_id = strategy.strategy_route.value_now(facts, |_| {});
        let hop = match route::next_hop(&config.delivery, route_id.as_str(), &recipient_path(facts.rcpt)) {
            Ok(hop) => hop,
            Err(outcome) => return (plan, Destination::Outcome(Box::new(outcome))),
        };
        let connection_id = strategy.strategy_connection.value_now(facts, |_| {});
        let tls_id = strategy.strategy_tls.value_now(facts, |_| {});
        let tls_name = match connection_id.as_str() {
            "default" => CompactString::new(tls_id.as_str()),
            other => format_compact!("{}+{other}", tls_id.as_str()),
        };
        let key = LaneKey { queue: queue.clone(), next_hop: hop.lane(), source: None, tls: tls_name };
        if let Some(way) = self.by_lane.get(&key) {
            return (plan, Destination::Lane(way.spec.clone()));
        }
        let connection = config.delivery.connections.get(connection_id.as_str());
        let tls = config.delivery.tls.get(tls_id.as_str());
        let (Some(connection), Some(tls)) = (connection, tls) else {
            let text =
                format!("there is no queue.connection.{} or queue.tls.{}", connection_id.as_str(), tls_id.as_str());
            let diagnostic = Diagnostic::local(ErrorKind::Io, Reach::Lane, Reply::new(451, (4, 3, 5), text));
            return (plan, Destination::Outcome(Box::new(Outcome::Deferred(diagnostic))));
        };
        let connections_max = config.scheduler.queues.get(&key.queue).copied().unwrap_or_default().lane_connections_max;
        let spec = Rc::new(LaneSpec { key: key.clone(), connections_max, limits: Vec::new() });
        let way = Way { spec: spec.clone(), hop, connection: connection.clone(), tls: tls.clone() };
        if self.by_lane.len() >= LANES_MAX * 2 {
            self.by_lane.clear(); // lanes that still have mail are entered again when it is due
        }
        self.by_lane.insert(key, Rc::new(way));
        (plan, Destination::Lane(spec))
    }

    fn plan(&mut self, id: &str) -> Rc<Plan> {
        if let Some(plan) = self.plans.get(id) {
            return plan.clone();
        }
        let schedules = &self.config.scheduler.schedules;
        let schedule = schedules.get(id).cloned().unwrap_or_default();
        let plan = Rc::new(Plan::new(Rc::new(schedule), Vec::new()));
        self.plans.insert(id.into(), plan.clone());
        plan
    }
}

fn recipient_path(mailbox: &Mailbox) -> crate::mail::ForwardPath {
    crate::mail::ForwardPath(mailbox.clone())
}

fn is_same(a: &Destination, b: &Destination) -> bool {
    match (a, b) {
        (Destination::Lane(a), Destination::Lane(b)) => Rc::ptr_eq(a, b),
        (Destination::Outcome(a), Destination::Outcome(b)) => a == b,
        _ => false,
    }
}

fn with(set: &RecipientSet, index: RecipientIndex) -> RecipientSet {
    set.iter().chain([index]).collect()
}

/// What the record says about the last attempt of recipient `index`, if it was deferred.
pub fn last_of(statuses: &[Option<Status>], index: usize) -> Option<&Diagnostic> {
    match statuses.get(index)?.as_ref()? {
        Status::Deferred { last, .. } => Some(last),
        _ => None,
    }
}

fn text(value: Cow<'_, str>) -> Value<'_> {
    match value {
        Cow::Borrowed(text) => Value::text(text),
        Cow::Owned(text) => Value::Text(crate::expr::Str::Owned(text.into())),
    }
}

impl Scope for Facts<'_> {
    fn variable(&self, variable: Variable) -> Value<'_> {
        let received = &self.message.received;
        match variable {
            Variable::Sender => Value::text(self.message.envelope.reverse_path.as_str()),
            Variable::SenderDomain => match self.message.envelope.reverse_path.mailbox() {
                Some(mailbox) => text(mailbox.domain_key()),
                None => Value::EMPTY,
            },
            Variable::Rcpt => Value::text(self.rcpt.as_str()),
            Variable::RcptDomain => text(self.rcpt.domain_key()),
            Variable::Recipients => Value::texts(self.message.envelope.recipients.iter().map(|r| r.path.as_str())),
            Variable::Priority => Value::Integer(i64::from(self.standing.priority)),
            Variable::RetryNum => Value::Integer(i64::from(self.standing.attempts)),
            Variable::NotifyNum => Value::Integer(i64::from(self.standing.delay_notices)),
            Variable::LastError => Value::text(self.standing.last_error.as_str()),
            Variable::LastStatus => match self.last {
                Some(last) => Value::Text(crate::expr::Str::Owned(last.reply.to_string().into())),
                None => Value::EMPTY,
            },
            Variable::QueueName => Value::text(self.queue),
            Variable::QueueAge => Value::Integer(i64::try_from(self.standing.age.as_secs()).unwrap_or(i64::MAX)),
            Variable::Size => Value::Integer(i64::try_from(self.standing.size_bytes).unwrap_or(i64::MAX)),
            Variable::Source => Value::text(received.source.as_str()),
            Variable::ReceivedFromIp => Value::Ip(received.remote_ip),
            Variable::ReceivedViaPort => Value::Integer(i64::from(received.local_port)),
            _ => Value::EMPTY,
        }
    }

    fn lookups(&self) -> &dyn Lookups {
        self.lookups
    }
}
