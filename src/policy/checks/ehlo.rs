//! EHLO: the client's name, and what is offered to it.

use std::rc::Rc;

use compact_str::CompactString;

use crate::expr::keywords::PriorityPolicy;
use crate::mail::{Domain, Reply};
use crate::policy::checks::now;
use crate::policy::pipeline::{Finding, Look};
use crate::smtp::extensions::{Extensions, PriorityProfile};
use crate::smtp::server::{Offers, Question};

/// A name must be full, or an address literal, where the setting says so.
pub(in crate::policy) fn full_name(look: &Look<'_>) -> Finding {
    let Question::Ehlo(name) = look.subject.question else { return Finding::Pass };
    let is_full = Domain::parse(name).is_ok_and(|domain| domain.is_fqdn());
    if is_full || !now(&look.site.settings.ehlo.reject_non_fqdn, &look.facts) {
        return Finding::Pass;
    }
    Finding::Refuse(Reply::new(550, (5, 5, 0), "Invalid EHLO domain."))
}

/// The extensions as they hold now, TLS and identity included.
pub(in crate::policy) fn offers(look: &Look<'_>) -> Finding {
    let settings = look.site.settings;
    let e = &settings.extensions;
    let facts = &look.facts;
    let client = look.subject.client;
    let is_tls = client.tls.is_some();
    let chunking = now(&e.chunking, facts);
    let messages = now(&settings.data.messages, facts).filter(|_| !client.is_trusted);
    let extensions = Extensions {
        pipelining: now(&e.pipelining, facts),
        eight_bit_mime: true,
        chunking,
        binary_mime: chunking,
        smtputf8: true,
        size_bytes_max: now(&settings.data.size, facts),
        dsn: now(&e.dsn, facts),
        starttls: look.site.listener.has_tls && !is_tls,
        requiretls: is_tls && now(&e.requiretls, facts),
        auth: CompactString::default(),
        vrfy: now(&e.vrfy, facts),
        expn: now(&e.expn, facts),
        no_soliciting: now(&e.no_soliciting, facts).map(|text| text.into_owned()),
        future_release_max: now(&e.future_release, facts),
        deliver_by_max: now(&e.deliver_by, facts),
        mt_priority: now(&e.mt_priority, facts).map(|policy| match policy {
            PriorityPolicy::Mixer => PriorityProfile::Mixer,
            PriorityPolicy::Stanag4406 => PriorityProfile::Stanag4406,
            PriorityPolicy::Nsep => PriorityProfile::Nsep,
        }),
        // Announced only where it is the same for every transaction; `rcpt::count` enforces it.
        rcpt_max: settings.rcpt.max_recipients.as_constant().copied().unwrap_or(0),
        mail_max: messages.unwrap_or(0),
        xclient: client.may_xclient,
    };
    Finding::Offer(Rc::new(Offers { hostname: look.subject.hostname.into(), extensions }))
}
