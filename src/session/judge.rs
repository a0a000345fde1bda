//! The machine's questions, put to policy: at once where it can be, with limits and the DNS where it must.

use compact_str::format_compact;

use crate::expr;
use crate::mail::Reply;
use crate::observe::{Counter, Event, Level, count, event};
use crate::policy::{self, Found, Judgement, Listener, Ruling, Site, Subject};
use crate::session::driver::{Session, pressure, wall};
use crate::session::services::Services;
use crate::smtp::server::{Answer, Phase, Verdict};

/// A question whose answer takes the DNS or limits.
pub(super) struct Unruled {
    phase: Phase,
    judgement: Judgement,
    found: Found,
}

impl<S: Services> Session<S> {
    /// Answers the open question: at once, or what has to be found out first. It is no future: what it looks at
    /// would be part of each session's.
    pub fn judge(&mut self, phase: Phase) -> Option<Box<Unruled>> {
        self.prepare(phase);
        let mut found = Found::default();
        match self.rule(&mut found) {
            Judgement::Ruled(ruling) if ruling.asks.is_empty() => self.answer(phase, ruling),
            judgement => return Some(Box::new(Unruled { phase, judgement, found })),
        }
        None
    }

    /// Between transactions a session goes over to the configuration that is in force by then.
    fn prepare(&mut self, phase: Phase) {
        match phase {
            Phase::Connect | Phase::Ehlo | Phase::Mail => self.profile = self.current.profile(),
            Phase::Content => self.rare.id = Some(self.services.new_id()),
            Phase::Rcpt | Phase::Data | Phase::Vrfy | Phase::Expn => {}
        }
        if phase == Phase::Connect {
            let profile = self.profile.clone();
            let pressure = None;
            let site = site(&profile, &pressure);
            self.rare.hostname = policy::hostname(&site, self.server.client());
            let ip = self.server.client().remote.ip();
            self.server.client_mut().is_trusted = policy::is_in(&profile.policy.trusted, ip);
        }
    }

    /// One run of the pipeline.
    fn rule(&self, found: &mut Found) -> Judgement {
        let pressure = pressure(&*self.services, &self.floor);
        let Some(question) = self.server.question() else { return Judgement::Ruled(Ruling::default()) };
        // An id is short enough to need no allocation.
        let id = self.rare.id.map(|id| format_compact!("{id}")).unwrap_or_default();
        let subject = Subject {
            question,
            client: self.server.client(),
            counts: self.server.counts(),
            content: self.server.gathered(),
            id: &id,
            hostname: &self.rare.hostname,
        };
        policy::judge(&site(&self.profile, &pressure), &subject, found)
    }

    /// The rare way: ask the DNS as often as it takes, then take the limits. What is ready to be said goes
    /// out first: it must not wait behind a slow question.
    pub async fn find_out(&mut self, unruled: Box<Unruled>) {
        let phase = unruled.phase;
        let ruling = match self.flush().await {
            Ok(()) => self.ruling(*unruled).await,
            Err(_) => closing(),
        };
        self.answer(phase, ruling);
    }

    async fn ruling(&mut self, unruled: Unruled) -> Ruling {
        let Unruled { phase, mut judgement, mut found } = unruled;
        let mut questions = 0;
        let mut ruling = loop {
            match judgement {
                Judgement::Ruled(ruling) => break ruling,
                Judgement::Wait(question) => {
                    questions += 1;
                    let answer = match questions > QUESTIONS_MAX {
                        true => expr::Answer::Failed,
                        false => self.services.resolve(question.clone()).await,
                    };
                    found.add(question, answer);
                }
            }
            if questions > QUESTIONS_MAX + 1 {
                break deferring();
            }
            judgement = self.rule(&mut found);
        };
        if ruling.asks.is_empty() {
            return ruling;
        }
        match self.services.take(&ruling.asks).await {
            Some(permit) if phase == Phase::Connect => self.rare.permits.push(permit),
            Some(permit) => drop(permit), // a rate: what was taken does not come back
            None => {
                count(Counter::LimitsRefused);
                ruling.answer = match phase {
                    Phase::Connect => {
                        Answer::close(Reply::new(421, (4, 7, 0), "Too many connections, try again later."))
                    }
                    _ => Answer::refuse(Reply::new(452, (4, 4, 5), "Rate limit exceeded, try again later.")),
                };
            }
        }
        ruling
    }

    fn answer(&mut self, phase: Phase, mut ruling: Ruling) {
        ruling.answer.offers = ruling.answer.offers.map(|offers| self.floor.share_offers(offers));
        self.count_answer(phase, &ruling.answer.verdict);
        if phase == Phase::Content {
            match ruling.answer.verdict {
                Verdict::Accept => {
                    self.rare.wishes.trace = ruling.trace;
                    self.rare.wishes.edits = ruling.edits;
                }
                _ => {
                    self.rare.bulk = None;
                    self.rare.id = None;
                }
            }
        }
        self.server.answer(ruling.answer, wall());
        if phase == Phase::Ehlo {
            self.bound();
        }
    }

    fn count_answer(&self, phase: Phase, verdict: &Verdict) {
        let refused = match verdict {
            Verdict::Refuse(reply) | Verdict::Close(reply) => Some(reply),
            Verdict::Accept | Verdict::Discard => None,
        };
        match (phase, refused) {
            (Phase::Rcpt, None) => count(Counter::RecipientsAccepted),
            (Phase::Rcpt, Some(_)) => count(Counter::RecipientsRefused),
            (Phase::Connect, Some(_)) => count(Counter::LinksRefused),
            (Phase::Content, Some(reply)) if reply.is_transient() => count(Counter::MessagesDeferred),
            (Phase::Content, Some(_)) => count(Counter::MessagesRefused),
            _ => {}
        }
        if let Some(reply) = refused {
            let client = self.server.client();
            event(wall(), Level::Info, Event::TxRefused, |line| {
                line.text("phase", phase.as_str())
                    .text("listener", &client.listener)
                    .show("remote", client.remote.ip())
                    .show("reply", reply);
            });
        }
    }
}

/// Questions to the DNS that one phase may lead to.
const QUESTIONS_MAX: usize = 8;

/// What surrounds a session.
fn site<'a>(profile: &'a crate::session::Profile, pressure: &'a Option<Reply>) -> Site<'a> {
    Site {
        settings: &profile.policy,
        lookups: &profile.lookups,
        keys: &profile.keys,
        listener: Listener {
            greeting: profile.greeting.as_deref(),
            connections_per_ip_max: profile.connections_per_ip_max,
            has_tls: profile.tls.is_some(),
            bare_line_ends: profile.bare_line_ends,
        },
        pressure: pressure.as_ref(),
        now: wall(),
    }
}

fn closing() -> Ruling {
    Ruling { answer: Answer::close(crate::smtp::server::words::cannot_accept()), ..Ruling::default() }
}

fn deferring() -> Ruling {
    Ruling { answer: Answer::refuse(crate::smtp::server::words::cannot_accept()), ..Ruling::default() }
}
