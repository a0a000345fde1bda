//! Connect: block lists, connection limits, the bounds of the dialogue, the greeting.

use smallvec::smallvec;

use crate::limits::{Ask, Limit};
use crate::mail::Reply;
use crate::policy::checks::now;
use crate::policy::pipeline::{Finding, Look, is_in};
use crate::smtp::line::BareLf;
use crate::smtp::server::Rules;

/// Blocked addresses are closed before a greeting. Loopback and allowed ones never are.
pub(in crate::policy) fn blocked(look: &Look<'_>) -> Finding {
    let settings = look.site.settings;
    let ip = look.subject.client.remote.ip();
    let is_blocked = is_in(&settings.blocked, ip) && !ip.to_canonical().is_loopback() && !is_in(&settings.allowed, ip);
    if is_blocked { Finding::Close(Reply::new(554, (5, 7, 1), "Your address is blocked.")) } else { Finding::Pass }
}

/// A spool that cannot write takes no new session; one that is full does (its delivery goes on).
pub(in crate::policy) fn pressure(look: &Look<'_>) -> Finding {
    match look.site.pressure {
        Some(reply) if reply.code == 421 => Finding::Close(reply.clone()),
        _ => Finding::Pass,
    }
}

/// Connections of one address at once.
pub(in crate::policy) fn per_address(look: &Look<'_>) -> Finding {
    let max = look.site.listener.connections_per_ip_max;
    let ip = look.subject.client.remote.ip();
    if max == 0 || ip.to_canonical().is_loopback() {
        return Finding::Pass;
    }
    let key = look.site.keys.limit("connect.remote_ip").client(ip).finish();
    Finding::Take(smallvec![Ask { key, limit: Limit::Concurrency(max) }])
}

/// The bounds of the dialogue; asked again at EHLO, because TLS may have changed what they depend on.
pub(in crate::policy) fn bounds(look: &Look<'_>) -> Finding {
    let settings = look.site.settings;
    let is_trusted = look.subject.client.is_trusted;
    let mut rules = Rules {
        ehlo_required: now(&settings.ehlo.require, &look.facts),
        errors_max: settings.errors.total,
        idle_commands_max: settings.errors.idle_commands,
        rcpt_errors_max: now(&settings.rcpt.errors_total, &look.facts),
        rcpt_errors_wait: now(&settings.rcpt.errors_wait, &look.facts),
        bare_lf: if settings.errors.accept_bare_lf { BareLf::Accept } else { BareLf::Refuse },
        bare_line_ends: look.site.listener.bare_line_ends,
    };
    if is_trusted {
        rules.rcpt_errors_max = u32::MAX;
        rules.rcpt_errors_wait = std::time::Duration::ZERO;
    }
    Finding::Bound(rules)
}

/// The text of the 220: the listener's, else the session's, else our name.
pub(in crate::policy) fn greeting(look: &Look<'_>) -> Finding {
    let hostname = look.subject.hostname;
    if let Some(greeting) = look.site.listener.greeting {
        return Finding::Greet(format!("{hostname} {greeting}").into());
    }
    Finding::Greet(match now(&look.site.settings.connect.greeting, &look.facts) {
        Some(greeting) => String::from(greeting.as_str()).into(),
        None => format!("{hostname} Posthaste ESMTP").into(),
    })
}
