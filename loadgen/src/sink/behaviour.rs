//! How a sink misbehaves on purpose: shares of refusals, drops and tarpits per command, delays, outages. Pure.

use std::str::FromStr;

use crate::random::Random;
use crate::values::{Share, Span};

/// Where in a session something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Before the greeting.
    Connect,
    /// EHLO, HELO, LHLO.
    Ehlo,
    /// AUTH.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// The reply to DATA.
    Data,
    /// The reply to the content.
    Content,
}

/// Every phase with the name it has on the command line, in the order of a session.
pub const PHASES: [(Phase, &str); 7] = [
    (Phase::Connect, "connect"),
    (Phase::Ehlo, "ehlo"),
    (Phase::Auth, "auth"),
    (Phase::Mail, "mail"),
    (Phase::Rcpt, "rcpt"),
    (Phase::Data, "data"),
    (Phase::Content, "content"),
];

impl FromStr for Phase {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = PHASES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        found.map(|(phase, _)| *phase).ok_or_else(|| {
            let names: Vec<_> = PHASES.iter().map(|(_, name)| *name).collect();
            format!("{text:?} is none of {}", names.join(", "))
        })
    }
}

/// `PHASE=VALUE` on the command line, e.g. `rcpt=5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct At<T> {
    /// Where.
    pub phase: Phase,
    /// What.
    pub value: T,
}

impl<T: FromStr<Err = String>> FromStr for At<T> {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (phase, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not PHASE=VALUE"))?;
        Ok(At { phase: phase.parse()?, value: value.parse()? })
    }
}

/// What to do at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on as a good server.
    Accept,
    /// Answer 4xx.
    Tempfail,
    /// Answer 5xx.
    Reject,
    /// Answer 421 and close.
    Leave,
    /// Close with RST, without an answer.
    Drop,
    /// Answer nothing more, and keep the connection.
    Silence,
}

/// What an outage does to everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutageKind {
    /// 421 instead of the greeting; open connections get it with their next command.
    Busy,
    /// Connections are closed with RST.
    Down,
    /// MAIL gets 451.
    Tempfail,
    /// Nothing is answered.
    Silent,
}

/// A span in which the sink is out of order: `10s-20s:down`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outage {
    from_us: u64,
    to_us: u64,
    kind: OutageKind,
}

impl FromStr for Outage {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not FROM-TO:KIND, e.g. 10s-20s:421 (kinds: 421, down, 451, silent)");
        let (span, kind) = text.split_once(':').ok_or_else(wrong)?;
        let (from, to) = span.split_once('-').ok_or_else(wrong)?;
        let kind = match kind {
            "421" => OutageKind::Busy,
            "down" => OutageKind::Down,
            "451" => OutageKind::Tempfail,
            "silent" => OutageKind::Silent,
            _ => return Err(wrong()),
        };
        let (from, to) = (from.parse::<Span>()?, to.parse::<Span>()?);
        if from.micros() >= to.micros() {
            return Err(wrong());
        }
        Ok(Outage { from_us: from.micros(), to_us: to.micros(), kind })
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Odds {
    tempfail: f64,
    reject: f64,
    drop: f64,
    silence: f64,
    delay_us: u64,
    /// Something is set: the common case asks nothing more.
    is_set: bool,
}

/// Shares and delays by phase, and the outages.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    odds: [Odds; PHASES.len()],
    outages: Vec<Outage>,
    tarpit: f64,
    tarpit_us: u64,
}

impl Behaviour {
    fn at(&mut self, phase: Phase) -> &mut Odds {
        let odds = &mut self.odds[phase as usize];
        odds.is_set = true;
        odds
    }

    /// A share of 4xx answers at a phase.
    pub fn tempfail(&mut self, at: At<Share>) {
        self.at(at.phase).tempfail = at.value.0;
    }

    /// A share of 5xx answers at a phase.
    pub fn reject(&mut self, at: At<Share>) {
        self.at(at.phase).reject = at.value.0;
    }

    /// A share of connections closed with RST at a phase.
    pub fn drop_some(&mut self, at: At<Share>) {
        self.at(at.phase).drop = at.value.0;
    }

    /// A share of connections that get no more answer from a phase on.
    pub fn silence(&mut self, at: At<Share>) {
        self.at(at.phase).silence = at.value.0;
    }

    /// A time that passes before the answer at a phase.
    pub fn delay(&mut self, at: At<Span>) {
        self.at(at.phase).delay_us = at.value.micros();
    }

    /// A span out of order.
    pub fn outage(&mut self, outage: Outage) {
        self.outages.push(outage);
    }

    /// A share of connections whose replies go out one byte per `span`.
    pub fn tarpit(&mut self, share: Share, span: Span) {
        (self.tarpit, self.tarpit_us) = (share.0, span.micros());
    }

    /// Whether a new connection is tarpitted: microseconds per byte of reply.
    pub fn tarpit_of(&self, random: &mut Random) -> Option<u64> {
        random.chance(self.tarpit).then_some(self.tarpit_us)
    }

    /// What to do at `phase`, `since_us` after the start, and how long to wait before.
    pub fn decide(&self, phase: Phase, since_us: u64, random: &mut Random) -> (Verdict, u64) {
        if !self.outages.is_empty()
            && let Some(verdict) = self.outage_at(phase, since_us)
        {
            return (verdict, 0);
        }
        let odds = self.odds[phase as usize];
        if !odds.is_set {
            return (Verdict::Accept, 0);
        }
        let mut draw = random.unit();
        let verdicts = [
            (odds.tempfail, Verdict::Tempfail),
            (odds.reject, Verdict::Reject),
            (odds.drop, Verdict::Drop),
            (odds.silence, Verdict::Silence),
        ];
        for (share, verdict) in verdicts {
            if draw < share {
                return (verdict, odds.delay_us);
            }
            draw -= share;
        }
        (Verdict::Accept, odds.delay_us)
    }

    fn outage_at(&self, phase: Phase, since_us: u64) -> Option<Verdict> {
        let outage = self.outages.iter().find(|outage| (outage.from_us..outage.to_us).contains(&since_us))?;
        match (outage.kind, phase) {
            (OutageKind::Busy, _) => Some(Verdict::Leave),
            (OutageKind::Down, _) => Some(Verdict::Drop),
            (OutageKind::Silent, _) => Some(Verdict::Silence),
            (OutageKind::Tempfail, Phase::Mail) => Some(Verdict::Tempfail),
            (OutageKind::Tempfail, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept() {
        let mut behaviour = Behaviour::default();
        behaviour.tempfail("rcpt=20%".parse().expect("valid"));
        behaviour.reject("rcpt=0.1".parse().expect("valid"));
        behaviour.delay("rcpt=5ms".parse().expect("valid"));
        let mut random = Random::new(3);
        let drawn: Vec<_> = (0..10_000).map(|_| behaviour.decide(Phase::Rcpt, 0, &mut random)).collect();
        let count = |verdict| drawn.iter().filter(|(v, _)| *v == verdict).count();
        assert!((1900..2100).contains(&count(Verdict::Tempfail)), "{}", count(Verdict::Tempfail));
        assert!((900..1100).contains(&count(Verdict::Reject)), "{}", count(Verdict::Reject));
        assert!(drawn.iter().all(|(_, delay)| *delay == 5_000));
        assert_eq!(behaviour.decide(Phase::Mail, 0, &mut random), (Verdict::Accept, 0));
    }

    #[test]
    fn an_outage_begins_and_ends() {
        let mut behaviour = Behaviour::default();
        behaviour.outage("1s-2s:421".parse().expect("valid"));
        behaviour.outage("3s-4s:451".parse().expect("valid"));
        let at = |phase, ms: u64| behaviour.decide(phase, ms * 1000, &mut Random::new(1)).0;
        assert_eq!(at(Phase::Mail, 999), Verdict::Accept);
        assert_eq!(at(Phase::Rcpt, 1000), Verdict::Leave);
        assert_eq!(at(Phase::Rcpt, 2000), Verdict::Accept);
        assert_eq!(at(Phase::Mail, 3500), Verdict::Tempfail);
        assert_eq!(at(Phase::Connect, 3500), Verdict::Accept);
        assert!("2s-1s:421".parse::<Outage>().is_err() && "1s-2s:sulk".parse::<Outage>().is_err());
    }
}
