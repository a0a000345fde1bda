//! One file per phase, one function per check. A check looks and returns a finding; it changes nothing.

pub(super) mod connect;
pub(super) mod content;
pub(super) mod data;
pub(super) mod ehlo;
pub(super) mod mail;
pub(super) mod rcpt;

use crate::expr::{EvalError, Expr, Question, Target};
use crate::observe::{Counter, count};
use crate::policy::Facts;
use crate::policy::pipeline::{Finding, Look};
use smallvec::SmallVec;

/// The value of a setting that cannot wait.
fn now<'a, T: Target>(setting: &'a Expr<T>, facts: &'a Facts<'_>) -> T::Output<'a> {
    setting.value_now(facts, failed)
}

/// The value of a setting that may wait for the DNS.
fn value<'a, T: Target>(setting: &'a Expr<T>, facts: &'a Facts<'_>) -> Result<T::Output<'a>, Question> {
    setting.value(facts, failed)
}

/// An expression that fails is our configuration's fault; its fallback holds, and it is counted.
fn failed(_: EvalError) {
    count(Counter::ExpressionsFailed);
}

/// The inbound limiters that are asked at this phase. Trusted clients meet none.
pub(super) fn limiters(look: &Look<'_>) -> Finding {
    if look.subject.client.is_trusted {
        return Finding::Pass;
    }
    let limiters = look.site.settings.limiters.iter().filter(|limiter| limiter.phase() == look.phase);
    let asks: SmallVec<_> = limiters.filter_map(|limiter| limiter.ask(&look.facts, look.site.keys)).collect();
    if asks.is_empty() { Finding::Pass } else { Finding::Take(asks) }
}
