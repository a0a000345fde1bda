//! `[[queue.limiter.inbound]]`: what one client, sender or recipient may bring in how long.

use crate::base::Rate;
use crate::expr::{Environment, Expr, ExprFault, Source, Stage};
use crate::limits::{Ask, KeyMaker, Limit};
use crate::policy::Facts;
use crate::smtp::server::Phase;

/// A part of a limiter's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LimiterKey {
    /// `listener`.
    Listener,
    /// `remote_ip`: an IPv4 address or an IPv6 /64.
    RemoteIp,
    /// `local_ip`.
    LocalIp,
    /// `authenticated_as`.
    AuthenticatedAs,
    /// `helo_domain`.
    HeloDomain,
    /// `sender`.
    Sender,
    /// `sender_domain`.
    SenderDomain,
    /// `rcpt`.
    Rcpt,
    /// `rcpt_domain`.
    RcptDomain,
}

impl LimiterKey {
    /// Names and values, as the configuration spells them.
    pub const NAMES: &'static [(&'static str, LimiterKey)] = &[
        ("listener", LimiterKey::Listener),
        ("remote_ip", LimiterKey::RemoteIp),
        ("local_ip", LimiterKey::LocalIp),
        ("authenticated_as", LimiterKey::AuthenticatedAs),
        ("helo_domain", LimiterKey::HeloDomain),
        ("sender", LimiterKey::Sender),
        ("sender_domain", LimiterKey::SenderDomain),
        ("rcpt", LimiterKey::Rcpt),
        ("rcpt_domain", LimiterKey::RcptDomain),
    ];

    /// The first phase at which it is known.
    fn phase(self) -> Phase {
        match self {
            LimiterKey::Listener | LimiterKey::RemoteIp | LimiterKey::LocalIp => Phase::Connect,
            LimiterKey::AuthenticatedAs | LimiterKey::HeloDomain | LimiterKey::Sender | LimiterKey::SenderDomain => {
                Phase::Mail
            }
            LimiterKey::Rcpt | LimiterKey::RcptDomain => Phase::Rcpt,
        }
    }
}

/// One inbound limiter.
#[derive(Debug, Clone)]
pub struct InboundLimiter {
    /// Its name in keys: its place in the file.
    pub name: String,
    /// `key`: what is counted apart.
    pub keys: Vec<LimiterKey>,
    /// `match`: to what it applies.
    pub applies: Expr<bool>,
    /// `rate`: a bucket of so many that refills evenly.
    pub rate: Rate,
    /// When it is asked: at the first phase at which all that it looks at is known.
    phase: Phase,
}

impl InboundLimiter {
    /// A limiter, its `match` compiled for the earliest phase whose variables suffice.
    pub fn compile(
        name: String,
        keys: Vec<LimiterKey>,
        applies: &Source<'_>,
        rate: Rate,
        environment: &Environment<'_>,
    ) -> Result<InboundLimiter, Vec<ExprFault>> {
        let by_keys = keys.iter().map(|key| key.phase()).max().unwrap_or(Phase::Connect);
        let mut faults = Vec::new();
        for (phase, stage) in
            [(Phase::Connect, Stage::CONNECTION), (Phase::Mail, Stage::MAIL), (Phase::Rcpt, Stage::RCPT)]
        {
            match Expr::compile(applies, false, &environment.with_variables(stage.variables).without_waiting()) {
                Ok(applies) => return Ok(InboundLimiter { name, keys, applies, rate, phase: phase.max(by_keys) }),
                Err(found) => faults = found,
            }
        }
        Err(faults)
    }

    /// The phase at which it is asked.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What has to be taken, if it applies.
    pub(super) fn ask(&self, facts: &Facts<'_>, keys: &KeyMaker) -> Option<Ask> {
        if !self.applies.value_now(facts, |_| {}) {
            return None;
        }
        let mut key = keys.limit("queue.limiter.inbound").text(&self.name);
        for part in &self.keys {
            key = match part {
                LimiterKey::Listener => key.text(&facts.client.listener),
                LimiterKey::RemoteIp => key.client(facts.client.remote.ip()),
                LimiterKey::LocalIp => key.address(facts.client.local.ip()),
                LimiterKey::AuthenticatedAs => key.text(facts.client.authenticated_as.as_deref().unwrap_or("")),
                LimiterKey::HeloDomain => {
                    key.text(&facts.helo.or(facts.client.helo.as_deref()).unwrap_or("").to_ascii_lowercase())
                }
                LimiterKey::Sender => key.text(facts.sender.map_or("", |path| path.as_str())),
                LimiterKey::SenderDomain => {
                    key.text(&facts.sender.and_then(|path| path.mailbox()).map(|m| m.domain_key()).unwrap_or_default())
                }
                LimiterKey::Rcpt => key.text(facts.rcpt.map_or("", |rcpt| rcpt.as_str())),
                LimiterKey::RcptDomain => key.text(&facts.rcpt.map(|rcpt| rcpt.domain_key()).unwrap_or_default()),
            };
        }
        Some(Ask { key: key.finish(), limit: Limit::Bucket(self.rate) })
    }
}
