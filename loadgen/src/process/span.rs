//! Looks at a server laid over the time of a run. Pure.

use super::family::Look;
use crate::summary::{ServerSample, ServerSpan, Summary};

/// All that one look saw; counters since any time before.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seen {
    /// Of the processes.
    pub look: Look,
    /// Flushes by the server's own count.
    pub flushes: Option<u64>,
    /// Bytes written to the disk, by everyone.
    pub device_written_bytes: Option<u64>,
    /// Flushes of the disk, by everyone.
    pub device_flushes: Option<u64>,
}

/// A look and when it was.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timed {
    /// On the clock.
    pub at_us: u64,
    /// What was seen.
    pub seen: Seen,
}

/// When a run was, and what it moved.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Span {
    /// Its start on the clock.
    pub started_us: u64,
    /// Length of the warm-up.
    pub warm_up_s: f64,
    /// Length of what was measured.
    pub measured_s: f64,
    /// Messages acknowledged in the measured span.
    pub messages: u64,
    /// Messages acknowledged in all.
    pub messages_in_all: u64,
}

/// Counters at a time between two looks: in proportion.
fn at(seen: &[Timed], at_us: u64) -> Option<Seen> {
    let after = seen.partition_point(|timed| timed.at_us < at_us);
    let (Some(before), Some(next)) = (after.checked_sub(1).and_then(|place| seen.get(place)), seen.get(after)) else {
        let nearest = if after == 0 { seen.first() } else { seen.last() };
        return nearest.map(|timed| timed.seen);
    };
    let part = (at_us - before.at_us) as f64 / (next.at_us - before.at_us).max(1) as f64;
    let real = |a: f64, b: f64| a + (b - a) * part;
    let count = |a: u64, b: u64| a + (b.saturating_sub(a) as f64 * part) as u64;
    let maybe = |a: Option<u64>, b: Option<u64>| Some(count(a?, b?));
    let (a, b) = (&before.seen, &next.seen);
    let look = Look {
        user_s: real(a.look.user_s, b.look.user_s),
        system_s: real(a.look.system_s, b.look.system_s),
        written_bytes: maybe(a.look.written_bytes, b.look.written_bytes),
        read_bytes: maybe(a.look.read_bytes, b.look.read_bytes),
        voluntary: count(a.look.voluntary, b.look.voluntary),
        involuntary: count(a.look.involuntary, b.look.involuntary),
        ..b.look
    };
    Some(Seen {
        look,
        flushes: maybe(a.flushes, b.flushes),
        device_written_bytes: maybe(a.device_written_bytes, b.device_written_bytes),
        device_flushes: maybe(a.device_flushes, b.device_flushes),
    })
}

fn since(later: Option<u64>, earlier: Option<u64>) -> Option<u64> {
    Some(later?.saturating_sub(earlier?))
}

impl Span {
    /// Of a run that has ended.
    pub fn of(summary: &Summary) -> Self {
        Span {
            started_us: summary.run.clock_us,
            warm_up_s: summary.run.warm_up_s,
            measured_s: summary.run.measured_s,
            messages: summary.totals.acknowledged,
            messages_in_all: summary.totals.acknowledged_in_all,
        }
    }

    fn us(&self, seconds: f64) -> u64 {
        self.started_us + (seconds * 1e6) as u64
    }

    /// One sample per look of the run, counters since its start.
    pub fn samples(&self, seen: &[Timed]) -> Vec<ServerSample> {
        let Some(base) = at(seen, self.started_us) else { return Vec::new() };
        let mine = seen.iter().filter(|timed| timed.at_us > self.started_us);
        mine.map(|timed| self.sample(timed, &base)).collect()
    }

    fn sample(&self, timed: &Timed, base: &Seen) -> ServerSample {
        let (now, from) = (&timed.seen.look, &base.look);
        ServerSample {
            at_s: (timed.at_us - self.started_us) as f64 / 1e6,
            user_s: now.user_s - from.user_s,
            system_s: now.system_s - from.system_s,
            resident_bytes: now.resident_bytes,
            processes: now.processes,
            threads: now.threads,
            switches_voluntary: now.voluntary.saturating_sub(from.voluntary),
            switches_involuntary: now.involuntary.saturating_sub(from.involuntary),
            written_bytes: since(now.written_bytes, from.written_bytes),
            read_bytes: since(now.read_bytes, from.read_bytes),
            flushes: since(timed.seen.flushes, base.flushes),
            device_written_bytes: since(timed.seen.device_written_bytes, base.device_written_bytes),
            device_flushes: since(timed.seen.device_flushes, base.device_flushes),
        }
    }

    /// What the measured span cost.
    pub fn measured(&self, seen: &[Timed]) -> Option<ServerSpan> {
        let (from_us, until_us) = (self.us(self.warm_up_s), self.us(self.warm_up_s + self.measured_s));
        self.between(seen, from_us, until_us, self.messages)
    }

    /// What the run cost until the last look: with the relay's work for what it still had to send.
    pub fn whole(&self, seen: &[Timed]) -> Option<ServerSpan> {
        self.between(seen, self.started_us, seen.last()?.at_us, self.messages_in_all)
    }

    fn between(&self, seen: &[Timed], from_us: u64, until_us: u64, messages: u64) -> Option<ServerSpan> {
        let (from, until) = (at(seen, from_us)?, at(seen, until_us)?);
        if until_us <= from_us || messages == 0 {
            return None;
        }
        let inside = seen.iter().filter(|timed| (from_us..=until_us).contains(&timed.at_us));
        let most = inside.map(|timed| timed.seen.look.resident_bytes).max().unwrap_or(until.look.resident_bytes);
        let cpu_s = |seen: &Seen| seen.look.user_s + seen.look.system_s;
        Some(ServerSpan {
            seconds: (until_us - from_us) as f64 / 1e6,
            messages,
            user_s: until.look.user_s - from.look.user_s,
            system_s: until.look.system_s - from.look.system_s,
            cpu_us_per_message: (cpu_s(&until) - cpu_s(&from)) * 1e6 / messages as f64,
            resident_bytes_max: most,
            switches_voluntary: until.look.voluntary.saturating_sub(from.look.voluntary),
            switches_involuntary: until.look.involuntary.saturating_sub(from.look.involuntary),
            written_bytes: since(until.look.written_bytes, from.look.written_bytes),
            flushes: since(until.flushes, from.flushes),
            device_written_bytes: since(until.device_written_bytes, from.device_written_bytes),
            device_flushes: since(until.device_flushes, from.device_flushes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look each second from second 10 on: half a second of CPU, 100 flushes, 1000 bytes in each.
    fn looks(count: u64) -> Vec<Timed> {
        let look = |n: u64| Look {
            user_s: n as f64 * 0.4,
            system_s: n as f64 * 0.1,
            written_bytes: Some(n * 1000),
            voluntary: n * 10,
            resident_bytes: 5_000 + n,
            ..Look::default()
        };
        let seen = |n| Seen { look: look(n), flushes: Some(n * 100), ..Seen::default() };
        (0..count).map(|n| Timed { at_us: 10_000_000 + n * 1_000_000, seen: seen(n) }).collect()
    }

    fn span() -> Span {
        Span { started_us: 11_500_000, warm_up_s: 2.0, measured_s: 4.0, messages: 1000, messages_in_all: 1500 }
    }

    #[test]
    fn what_was_before_the_run_is_not_its() {
        let samples = span().samples(&looks(10));
        assert_eq!(samples.len(), 8);
        assert_eq!((samples[0].at_s, samples[0].written_bytes, samples[0].flushes), (0.5, Some(500), Some(50)));
        assert!((samples[0].user_s - 0.2).abs() < 1e-9);
        assert_eq!(samples[0].device_flushes, None);
        assert_eq!(samples.last().expect("one").switches_voluntary, 75);
    }

    #[test]
    fn spans_are_cut_between_looks() {
        let measured = span().measured(&looks(10)).expect("seen");
        assert!((measured.cpu_us_per_message - 2000.0).abs() < 1e-6, "{measured:?}");
        assert_eq!((measured.written_bytes, measured.flushes, measured.messages), (Some(4000), Some(400), 1000));
        assert_eq!(measured.resident_bytes_max, 5007);
        let whole = span().whole(&looks(10)).expect("seen");
        assert_eq!((whole.seconds, whole.messages, whole.flushes), (7.5, 1500, Some(750)));
        assert_eq!(span().measured(&[]), None);
    }
}
