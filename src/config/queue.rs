//! `[queue]`: one table in the file, read for four rooms.

use compact_str::CompactString;

use super::server::ServerSettings;
use super::{delivery, session};
use crate::expr::{Expr, Stage, expression};
use crate::policy::InboundLimiter;
use crate::schema::Section;
use crate::{limits, listener, scheduler};

/// What `[queue]` says.
pub(super) struct Queue {
    pub inbound: Vec<InboundLimiter>,
    pub limits: limits::settings::Settings,
    pub scheduler: scheduler::settings::Settings,
    pub delivery: crate::delivery::settings::Settings,
}

/// `[queue.strategy]`: names, evaluated when a recipient is due.
struct Strategy {
    schedule: Expr<CompactString>,
    route: Expr<CompactString>,
    connection: Expr<CompactString>,
    tls: Expr<CompactString>,
}

const STRATEGY_DOC: &str =
    "By what names schedule, route, connection and TLS of a recipient are found; evaluated when it is due.";

/// Reads `[queue]`.
pub(super) fn read(s: &Section<'_>, server: &ServerSettings, listeners: &[listener::Settings]) -> Queue {
    let (inbound, outbound) =
        s.table("limiter", "", |s| (session::read_limiters(s), limits::settings::Limiter::read_all(s)));
    let limits = limits::settings::Settings::read(s, outbound);
    let strategy = s.table("strategy", STRATEGY_DOC, read_strategy);
    let scheduler = scheduler::settings::Settings::read(s, strategy.schedule);
    let delivery = crate::delivery::settings::Settings {
        strategy_route: strategy.route,
        strategy_connection: strategy.connection,
        strategy_tls: strategy.tls,
        ..delivery::read(s, server, listeners)
    };
    Queue { inbound, limits, scheduler, delivery }
}

fn read_strategy(s: &Section<'_>) -> Strategy {
    let name = |name, doc, toml, fallback| {
        let kind = expression(Stage::QUEUE_RECIPIENT, CompactString::const_new(fallback));
        s.knob(name, kind).doc(doc).default_toml(toml)
    };
    Strategy {
        schedule: scheduler::settings::Settings::read_strategy(s),
        route: name(
            "route",
            "The id of a [queue.route.<id>].",
            "[ { if = \"is_local_domain('*', rcpt_domain)\", then = \"'local'\" }, { else = \"'mx'\" } ]",
            "mx",
        ),
        connection: name("connection", "The id of a [queue.connection.<id>].", "\"'default'\"", "default"),
        tls: name(
            "tls",
            "The id of a [queue.tls.<id>].",
            "[ { if = \"retry_num > 0 && last_error == 'tls'\", then = \"'invalid-tls'\" }, { else = \"'default'\" } ]",
            "default",
        ),
    }
}
