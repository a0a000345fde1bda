//! What one thread of the source has seen. Pure.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::summary::{self, Latency, Phase};

/// The spans of a session that are measured, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// Due until begun: no session was free, or the generator was late.
    Waiting,
    /// Due until the session that slept for it ran: the generator's own share of the above.
    Late,
    /// TCP.
    Connect,
    /// Until the greeting.
    Banner,
    /// EHLO or LHLO.
    Ehlo,
    /// STARTTLS and the handshake.
    Tls,
    /// AUTH.
    Auth,
    /// MAIL until its reply.
    Mail,
    /// RCPT (or the group it was sent in) until its last reply.
    Rcpt,
    /// DATA until 354.
    Data,
    /// The content until the kernel has it all.
    Content,
    /// From there to the reply.
    Final,
    /// Due until the last reply.
    EndToEnd,
}

/// Every span with its name and meaning.
pub const SPANS: [(Span, &str, &str); 13] = [
    (Span::Waiting, "waiting", "from the intended send time until a session began it"),
    (Span::Late, "woken late", "the generator's own share of waiting: its timer or its processor came late"),
    (Span::Connect, "connect", "TCP connect"),
    (Span::Banner, "banner", "from connected (under implicit TLS, secured) to the greeting"),
    (Span::Ehlo, "EHLO", "EHLO or LHLO to its reply"),
    (Span::Tls, "TLS", "STARTTLS and handshake"),
    (Span::Auth, "AUTH", "AUTH to its last reply"),
    (Span::Mail, "MAIL", "MAIL, or the pipelined group, to the reply to MAIL"),
    (Span::Rcpt, "RCPT", "RCPT, or the pipelined group, to the reply to the last RCPT"),
    (Span::Data, "DATA", "DATA, or the pipelined group, to 354"),
    (Span::Content, "content", "sending the content until the kernel has taken all of it"),
    (Span::Final, "final reply", "from there to the (last) reply"),
    (Span::EndToEnd, "end to end", "from the intended send time to the last reply"),
];

const CODES: usize = 600;

/// What came of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx to the content, for so many recipients.
    Acknowledged {
        /// How many.
        recipients: usize,
    },
    /// 4xx.
    Tempfailed,
    /// 5xx.
    Rejected,
    /// No reply.
    Failed,
}

/// Counts of messages; those of the measured span, or of one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Begun.
    pub begun: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// 4xx.
    pub tempfailed: u64,
    /// 5xx.
    pub rejected: u64,
    /// Without a reply.
    pub failed: u64,
    /// Recipients acknowledged.
    pub recipients: u64,
    /// Bytes of content acknowledged.
    pub content_bytes: u64,
}

impl Counts {
    fn count(&mut self, outcome: Outcome, size: usize) {
        match outcome {
            Outcome::Acknowledged { recipients } => {
                self.acknowledged += 1;
                self.recipients += recipients as u64;
                self.content_bytes += size as u64;
            }
            Outcome::Tempfailed => self.tempfailed += 1,
            Outcome::Rejected => self.rejected += 1,
            Outcome::Failed => self.failed += 1,
        }
    }

    /// Adds another part.
    pub fn add(&mut self, other: &Counts) {
        self.begun += other.begun;
        self.acknowledged += other.acknowledged;
        self.tempfailed += other.tempfailed;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.recipients += other.recipients;
        self.content_bytes += other.content_bytes;
    }
}

/// One second of a thread.
#[derive(Debug, Clone)]
pub struct Second {
    /// What ended in it (and was begun in it).
    pub counts: Counts,
    /// Connections open at its end.
    pub connections: u64,
    /// End to end, coarse: two digits.
    pub latency: Histogram<u64>,
}

/// A coarse histogram: 20 KiB, enough for a line of progress.
pub fn coarse() -> Histogram<u64> {
    Histogram::new_with_bounds(1, summary::LATENCY_US_MAX, 2).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// What one thread has seen.
#[derive(Debug)]
pub struct Stats {
    spans: Vec<Histogram<u64>>,
    replies: Vec<u64>,
    /// Failures without a reply, by words.
    pub errors: BTreeMap<String, u64>,
    /// Messages whose intended time was in the measured span.
    pub measured: Counts,
    /// Messages that ended in the measured span, whenever they were due.
    pub ended: Counts,
    /// All messages.
    pub all: Counts,
    second: Counts,
    second_latency: Histogram<u64>,
    /// Connections opened.
    pub connections: u64,
    /// Connections open now.
    pub open: u64,
    /// Handshakes made.
    pub tls_handshakes: u64,
    /// Of them resumed.
    pub tls_resumed: u64,
    /// Due, never begun.
    pub unsent: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            spans: SPANS.iter().map(|_| summary::histogram()).collect(),
            replies: vec![0; SPANS.len() * CODES],
            errors: BTreeMap::new(),
            measured: Counts::default(),
            ended: Counts::default(),
            all: Counts::default(),
            second: Counts::default(),
            second_latency: coarse(),
            connections: 0,
            open: 0,
            tls_handshakes: 0,
            tls_resumed: 0,
            unsent: 0,
        }
    }
}

/// Errors told apart; further ones are counted as one.
const ERRORS_MAX: usize = 100;

impl Stats {
    /// Notes the length of a span.
    pub fn span(&mut self, span: Span, us: u64) {
        self.spans[span as usize].saturating_record(us.max(1));
    }

    /// Counts a reply.
    pub fn reply(&mut self, span: Span, code: u16) {
        self.replies[span as usize * CODES + usize::from(code) % CODES] += 1;
    }

    /// Counts a failure without a reply.
    pub fn error(&mut self, span: Span, words: &str) {
        let name = SPANS[span as usize].1;
        let key = if self.errors.len() < ERRORS_MAX { format!("{name}: {words}") } else { "others".into() };
        *self.errors.entry(key).or_default() += 1;
    }

    /// A message is begun.
    pub fn begin(&mut self, is_measured: bool) {
        self.all.begun += 1;
        self.second.begun += 1;
        self.measured.begun += u64::from(is_measured);
    }

    /// A message has ended `us` after it was due; `ends_inside` when the measured span has begun and not ended.
    pub fn end(&mut self, outcome: Outcome, size: usize, us: u64, is_measured: bool, ends_inside: bool) {
        self.all.count(outcome, size);
        self.second.count(outcome, size);
        if ends_inside {
            self.ended.count(outcome, size);
        }
        if is_measured {
            self.measured.count(outcome, size);
        }
        if matches!(outcome, Outcome::Acknowledged { .. }) {
            self.second_latency.saturating_record(us.max(1));
            if is_measured {
                self.span(Span::EndToEnd, us);
            }
        }
    }

    /// What the present second has seen; the next one begins.
    pub fn take_second(&mut self) -> Second {
        let latency = self.second_latency.clone();
        self.second_latency.reset();
        Second { counts: std::mem::take(&mut self.second), connections: self.open, latency }
    }

    /// Adds another thread's.
    pub fn add(&mut self, other: &Stats) {
        for (own, others) in self.spans.iter_mut().zip(&other.spans) {
            // Equal bounds: it cannot fail.
            let _ = own.add(others);
        }
        self.replies.iter_mut().zip(&other.replies).for_each(|(own, others)| *own += others);
        other.errors.iter().for_each(|(error, count)| *self.errors.entry(error.clone()).or_default() += count);
        self.measured.add(&other.measured);
        self.ended.add(&other.ended);
        self.all.add(&other.all);
        self.connections += other.connections;
        self.open += other.open;
        self.tls_handshakes += other.tls_handshakes;
        self.tls_resumed += other.tls_resumed;
        self.unsent += other.unsent;
    }

    /// The spans that occurred.
    pub fn phases(&self) -> Vec<Phase> {
        let occurred = SPANS.iter().zip(&self.spans).filter(|(_, latency)| !latency.is_empty());
        let phase = |((_, name, meaning), latency): (&(Span, &str, &str), &Histogram<u64>)| Phase {
            name: (*name).to_owned(),
            meaning: (*meaning).to_owned(),
            latency: Latency(latency.clone()),
        };
        occurred.map(phase).collect()
    }

    /// Replies as `MAIL 250`.
    pub fn replies(&self) -> BTreeMap<String, u64> {
        let mut replies = BTreeMap::new();
        for (span, name, _) in SPANS {
            let from = span as usize * CODES;
            let of_span = self.replies[from..from + CODES].iter().enumerate();
            of_span.filter(|(_, count)| **count > 0).for_each(|(code, count)| {
                replies.insert(format!("{name} {code}"), *count);
            });
        }
        replies
    }

    /// End to end, of the measured span.
    pub fn end_to_end(&self) -> &Histogram<u64> {
        &self.spans[Span::EndToEnd as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_is_discarded_and_parts_add_up() {
        let (mut one, mut other) = (Stats::default(), Stats::default());
        for (is_measured, us) in [(false, 1_000_000), (true, 500)] {
            one.begin(is_measured);
            one.end(Outcome::Acknowledged { recipients: 2 }, 10, us, is_measured, is_measured);
        }
        other.begin(true);
        other.end(Outcome::Rejected, 10, 9, true, true);
        other.reply(Span::Rcpt, 550);
        other.error(Span::Connect, "connection refused");
        assert_eq!(one.take_second().counts.acknowledged, 2);
        assert_eq!(one.take_second().counts, Counts::default());
        one.add(&other);
        assert_eq!((one.measured.acknowledged, one.measured.rejected, one.all.acknowledged), (1, 1, 2));
        assert_eq!((one.end_to_end().len(), one.end_to_end().max()), (1, 500));
        assert_eq!(one.replies()["RCPT 550"], 1);
        assert_eq!(one.errors["connect: connection refused"], 1);
        assert_eq!(one.phases().iter().map(|phase| phase.name.as_str()).collect::<Vec<_>>(), ["end to end"]);
    }
}
