//! The charts of a run, from its summary. Pure.

use super::svg::{Axis, Chart, Drawn, Series};
use super::words::{bytes, count, seconds, short};
use crate::summary::{Phase, Sample, ServerSample, Summary};
use crate::values::{grouped, micros};

/// Width of a chart over the whole page.
const WIDE: f64 = 1040.0;
/// Width of one of two beside each other.
const HALF: f64 = 512.0;
/// Texts on hover in one chart: more would only make the file large.
const HINTS_MAX: usize = 240;
/// Steps of a percentile curve per power of ten.
const STEPS_PER_DECADE: usize = 50;
/// Phases of a connection, not of a message.
const OPENING: [&str; 5] = ["connect", "banner", "EHLO", "TLS", "AUTH"];
/// Classes of colours, in order.
const CLASSES: [&str; 8] = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];

/// A chart with its heading.
#[derive(Debug)]
pub struct Figure {
    /// Heading.
    pub heading: &'static str,
    /// What is to be known to read it.
    pub note: String,
    /// Entries of the legend: class, drawn broken, word. Empty where lines are named at their ends.
    pub legend: Vec<(&'static str, bool, String)>,
    /// It takes the whole width.
    pub is_wide: bool,
    /// The drawing.
    pub chart: Chart,
}

fn figure(heading: &'static str, note: impl Into<String>, mut chart: Chart) -> Figure {
    chart.title = heading.to_owned();
    let legend = match chart.is_named {
        true => Vec::new(),
        false => chart.series.iter().map(|of| (of.class, of.drawn == Drawn::Dashed, of.name.clone())).collect(),
    };
    Figure { heading, note: note.into(), legend, is_wide: chart.width > HALF, chart }
}

fn line(name: &str, class: &'static str, drawn: Drawn, points: impl IntoIterator<Item = (f64, f64)>) -> Series {
    Series { name: name.to_owned(), class, drawn, points: points.into_iter().collect() }
}

/// All that the summary has data for.
pub fn figures(summary: &Summary) -> Vec<Figure> {
    let mut all = Vec::new();
    if summary.samples.len() > 1 {
        all.extend([rate(summary), latency_over_time(summary)]);
    }
    let is_opening = |phase: &&Phase| OPENING.contains(&phase.name.as_str());
    let (opening, message): (Vec<_>, Vec<_>) = summary.phases.iter().partition(is_opening);
    let is_open_loop = summary.run.target_rate.is_some();
    let note = if is_open_loop {
        "end to end counts from the intended send time"
    } else {
        "closed loop: a slow server is asked less often"
    };
    all.extend(percentiles("Latency of a message by percentile", note, &message, WIDE, 340.0));
    all.extend(percentiles("Latency of opening a connection by percentile", "", &opening, WIDE, 280.0));
    let server = summary.server.as_ref().map(|server| server.samples.as_slice()).unwrap_or_default();
    if server.len() > 1 {
        all.extend(of_server(summary, server));
    }
    all
}

/// End of the time axis, the same for all charts.
fn end_s(summary: &Summary) -> f64 {
    let run = summary.samples.last().map_or(0.0, |sample| sample.at_s);
    let server = summary.server.as_ref().and_then(|server| server.samples.last()).map_or(0.0, |sample| sample.at_s);
    run.max(server).max(1.0)
}

/// A chart over time: warm-up shaded, what came after the last message too.
fn over_time(summary: &Summary, width: f64, y: Axis, series: Vec<Series>) -> Chart {
    let (run, end) = (&summary.run, end_s(summary));
    let ended = run.warm_up_s + run.measured_s;
    let mut bands = Vec::new();
    if run.warm_up_s > 0.0 {
        bands.push((0.0, run.warm_up_s, "warm-up".to_owned()));
    }
    if run.measured_s > 0.0 && end - ended > 0.03 * end {
        bands.push((ended, end, "after".to_owned()));
    }
    let height = if width > HALF { 260.0 } else { 220.0 };
    Chart { width, height, x: Axis::until(end, 8, "time", seconds), y, series, bands, ..Chart::default() }
}

/// A hint per sample, or per several where they are many.
fn hints<T>(samples: &[T], at_s: impl Fn(&T) -> f64, text: impl Fn(&T) -> String) -> Vec<(f64, f64, String)> {
    let each = samples.len().div_ceil(HINTS_MAX).max(1);
    let mut from = 0.0;
    let mut all = Vec::new();
    for sample in samples.iter().skip(each - 1).step_by(each) {
        let until = at_s(sample);
        all.push((from, until, format!("{}: {}", seconds(until), text(sample))));
        from = until;
    }
    all
}

fn most(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, f64::max)
}

fn rate(summary: &Summary) -> Figure {
    let samples = whole_seconds(&summary.samples);
    let points = |of: fn(&Sample) -> u64| samples.iter().map(move |sample| (sample.at_s, of(sample) as f64));
    let mut series = vec![line("acknowledged", "c1", Drawn::Area, points(|sample| sample.acknowledged))];
    if samples.iter().any(|sample| sample.refused > 0) {
        series.push(line("refused", "c2", Drawn::Line, points(|sample| sample.refused)));
    }
    if samples.iter().any(|sample| sample.failed > 0) {
        series.push(line("failed", "bad", Drawn::Line, points(|sample| sample.failed)));
    }
    if let Some(target) = summary.run.target_rate {
        series.push(line("intended", "quiet", Drawn::Dashed, [(0.0, target), (end_s(summary), target)]));
    }
    let top = most(series.iter().flat_map(|of| of.points.iter().map(|point| point.1)));
    let mut chart = over_time(summary, WIDE, Axis::from_zero(top, 5, "messages/s", count), series);
    chart.hints = hints(
        samples,
        |sample| sample.at_s,
        |sample| {
            let bad = sample.refused + sample.failed;
            let bad = if bad > 0 { format!(", {} refused or failed", grouped(bad)) } else { String::new() };
            format!("{} messages/s{bad}, {} connections", grouped(sample.acknowledged), grouped(sample.connections))
        },
    );
    figure("Messages per second", "", chart)
}

/// Without a last one that is a part of a second: its count is no rate.
fn whole_seconds(samples: &[Sample]) -> &[Sample] {
    match samples {
        [whole @ .., _] if whole.len() > 1 => whole,
        all => all,
    }
}

/// Microseconds as a logarithm; 0 is where the axis begins.
fn log(us: u64) -> f64 {
    (us.max(1) as f64).log10()
}

/// Powers of ten around the data.
fn log_axis(values: impl Iterator<Item = u64> + Clone) -> Axis {
    let (least, most) = (values.clone().filter(|us| *us > 0).min().unwrap_or(1), values.max().unwrap_or(1));
    let (min, max) = (log(least).floor(), log(most).ceil());
    let max = if max > min { max } else { min + 1.0 };
    let word = |us: u64| match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{} ms", us / 1_000),
        _ => format!("{} s", us / 1_000_000),
    };
    let ticks = (min as u32..=max as u32).map(|power| (f64::from(power), word(10u64.pow(power)))).collect();
    Axis { min, max, ticks, name: "latency".into() }
}

fn latency_over_time(summary: &Summary) -> Figure {
    let samples: Vec<Sample> = summary.samples.iter().filter(|sample| sample.acknowledged > 0).cloned().collect();
    let points =
        |of: fn(&Sample) -> u64| samples.iter().map(|sample| (sample.at_s, log(of(sample)))).collect::<Vec<_>>();
    let series = vec![
        line("longest", "c4", Drawn::Line, points(|sample| sample.max_us)),
        line("p99", "c2", Drawn::Line, points(|sample| sample.p99_us)),
        line("median", "c1", Drawn::Line, points(|sample| sample.p50_us)),
    ];
    let y = log_axis(samples.iter().flat_map(|sample| [sample.p50_us, sample.max_us]));
    let mut chart = over_time(summary, WIDE, y, series);
    chart.hints = hints(
        &samples,
        |sample| sample.at_s,
        |sample| {
            let (median, p99, longest) = (micros(sample.p50_us), micros(sample.p99_us), micros(sample.max_us));
            format!("median {median}, p99 {p99}, longest {longest}")
        },
    );
    figure("Latency over time, end to end", "of the messages acknowledged in each second; logarithmic", chart)
}

/// How many nines a quantile has: 0.99 is at 2.
fn quantile_at(nines: f64) -> f64 {
    1.0 - 10f64.powf(-nines)
}

/// `90 %`, `99.9 %`.
fn percentile_word(nines: usize) -> String {
    match nines {
        0 => "0 %".into(),
        1 => "90 %".into(),
        2 => "99 %".into(),
        _ => format!("99.{} %", "9".repeat(nines - 2)),
    }
}

fn percentiles(heading: &'static str, note: &str, phases: &[&Phase], width: f64, height: f64) -> Option<Figure> {
    let counted = || phases.iter().filter(|phase| !phase.latency.0.is_empty());
    let longest = counted().map(|phase| phase.latency.0.len()).max()?;
    let end = (longest as f64).log10().max(1.0);
    let mut series: Vec<Series> = counted()
        .zip(CLASSES.iter().cycle())
        .map(|(phase, class)| line(&phase.name, class, Drawn::Line, curve(phase)))
        .collect();
    // What matters most lies on top.
    if let Some(last) = series.iter().position(|of| of.name == "end to end") {
        let whole = series.remove(last);
        series.push(Series { class: "strong", ..whole });
    }
    let y = log_axis(counted().flat_map(|phase| [phase.latency.0.min(), phase.latency.0.max()]));
    let ticks = (0..=end as usize).map(|nines| (nines as f64, percentile_word(nines))).collect();
    let x = Axis { min: 0.0, max: end, ticks, name: "percentile".into() };
    let mut chart = Chart { width, height, x, y, series, is_named: true, ..Chart::default() };
    chart.hints = percentile_hints(phases, end);
    let note =
        if note.is_empty() { "both axes logarithmic".to_owned() } else { format!("both axes logarithmic; {note}") };
    Some(figure(heading, note, chart))
}

/// Points of a percentile curve until its last value, without the inner points of level stretches.
fn curve(phase: &Phase) -> Vec<(f64, f64)> {
    let latency = &phase.latency.0;
    let end = (latency.len() as f64).log10();
    let steps = (end * STEPS_PER_DECADE as f64).ceil() as usize;
    let mut points: Vec<(f64, f64)> = Vec::with_capacity(steps + 1);
    for step in 0..=steps {
        let nines = (step as f64 / STEPS_PER_DECADE as f64).min(end);
        let value = if step == steps { latency.max() } else { latency.value_at_quantile(quantile_at(nines)) };
        let point = (nines, log(value));
        match points[..] {
            [.., (_, before), ref mut last] if before == last.1 && last.1 == point.1 => *last = point,
            _ => points.push(point),
        }
    }
    points
}

fn percentile_hints(phases: &[&Phase], end: f64) -> Vec<(f64, f64, String)> {
    let edges = [0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 0.999999];
    let nines = |quantile: f64| -(1.0 - quantile).log10();
    let mut all = Vec::new();
    for (place, quantile) in edges.iter().enumerate().skip(1) {
        if nines(*quantile) > end {
            break;
        }
        // Each reaches half the way to its neighbours.
        let from = if place == 1 { 0.0 } else { (nines(edges[place - 1]) + nines(*quantile)) / 2.0 };
        let until = edges.get(place + 1).map_or(end, |next| ((nines(*quantile) + nines(*next)) / 2.0).min(end));
        let of = |phase: &&Phase| format!("{}: {}", phase.name, micros(phase.latency.0.value_at_quantile(*quantile)));
        let lines: Vec<String> = phases.iter().map(of).collect();
        all.push((from, until, format!("{} %\n{}", short_percent(*quantile), lines.join("\n"))));
    }
    all
}

fn short_percent(quantile: f64) -> String {
    let text = format!("{:.4}", quantile * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Growth per second of a counter between the samples.
fn per_second(samples: &[ServerSample], of: impl Fn(&ServerSample) -> Option<f64>) -> Vec<(f64, f64)> {
    let (mut before_s, mut before) = (0.0, Some(0.0));
    let mut points = Vec::new();
    for sample in samples {
        let now = of(sample);
        if let (Some(now), Some(before)) = (now, before)
            && sample.at_s - before_s > 0.2
        // a look just after another tells nothing
        {
            points.push((sample.at_s, ((now - before) / (sample.at_s - before_s)).max(0.0)));
        } else if now.is_some() && before.is_some() {
            continue;
        }
        (before_s, before) = (sample.at_s, now);
    }
    points
}

fn of_server(summary: &Summary, samples: &[ServerSample]) -> Vec<Figure> {
    let whole = |of: fn(&ServerSample) -> u64| per_second(samples, move |sample| Some(of(sample) as f64));
    let maybe = |of: fn(&ServerSample) -> Option<u64>| per_second(samples, move |sample| of(sample).map(|n| n as f64));
    let over = |heading: &'static str, note: &str, width: f64, series: Vec<Series>, word: fn(f64) -> String| {
        let series: Vec<Series> = series.into_iter().filter(|of| !of.points.is_empty()).collect();
        let all = series.iter().flat_map(|of| of.points.iter());
        let (top, shown) = (most(all.clone().map(|point| point.1)), !series.is_empty());
        let mut chart = over_time(summary, width, Axis::from_zero(top, 4, "", word), series);
        chart.hints = series_hints(&chart.series, word);
        shown.then(|| figure(heading, note, chart))
    };
    let percent = |value: f64| format!("{} %", short(value * 100.0));
    let cpu = per_second(samples, |sample| Some(sample.user_s + sample.system_s));
    let user = per_second(samples, |sample| Some(sample.user_s));
    let resident = samples.iter().map(|sample| (sample.at_s, sample.resident_bytes as f64));
    [
        over(
            "CPU of the server",
            "100 % is one processor",
            WIDE,
            vec![line("user and system", "c1", Drawn::Area, cpu), line("user", "c3", Drawn::Line, user)],
            percent,
        ),
        over("Resident memory of the server", "", HALF, vec![line("resident", "c5", Drawn::Area, resident)], bytes),
        over(
            "Context switches per second",
            "",
            HALF,
            vec![
                line("voluntary", "c1", Drawn::Line, whole(|sample| sample.switches_voluntary)),
                line("involuntary", "c2", Drawn::Line, whole(|sample| sample.switches_involuntary)),
            ],
            count,
        ),
        over(
            "Bytes written per second",
            "the disk's include everyone's",
            HALF,
            vec![
                line("by the disk", "quiet", Drawn::Line, maybe(|sample| sample.device_written_bytes)),
                line("by the server", "c1", Drawn::Line, maybe(|sample| sample.written_bytes)),
            ],
            bytes,
        ),
        over(
            "Flushes per second",
            "the disk's include everyone's",
            HALF,
            vec![
                line("of the disk", "quiet", Drawn::Line, maybe(|sample| sample.device_flushes)),
                line("by the server's count", "c1", Drawn::Line, maybe(|sample| sample.flushes)),
            ],
            count,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Values of all series at the times of the first.
fn series_hints(series: &[Series], word: fn(f64) -> String) -> Vec<(f64, f64, String)> {
    let Some(first) = series.first() else { return Vec::new() };
    hints(
        &first.points,
        |point| point.0,
        |(at, _)| {
            let value = |of: &Series| {
                let (_, value) = of.points.iter().find(|point| point.0 == *at)?;
                Some(format!("{} {}", of.name, word(*value)))
            };
            series.iter().filter_map(value).collect::<Vec<_>>().join(", ")
        },
    )
}
