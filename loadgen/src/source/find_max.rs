//! Drives the [`Search`]: one run per rate, then a longer one at the rate that was found.

use anyhow::bail;
use posthaste_rt::signal::Signals;

use super::options::{Goal, Plan};
use super::run::{Found, Runner};
use super::search::Search;
use super::settings::Load;
use crate::summary::{SearchStep, Summary};
use crate::values::micros;

/// Warm-up of each step, microseconds.
const WARM_UP_US: u64 = 1_000_000;
/// How close the rate is to be known.
const PRECISION: f64 = 0.05;
/// A rate counts as achieved when this share of it was acknowledged.
const ACHIEVED: f64 = 0.97;
/// Each step's numbers, so that no two steps share one.
const NUMBERS_PER_STEP: u64 = 1 << 32;
/// Longer runs at lower rates, where the short steps promised too much.
const CONFIRMATIONS: u32 = 3;

/// Searches, then measures for the whole time at the rate that was found.
pub fn search(runner: &Runner, plan: &Plan, goal: Goal, signals: &mut Signals) -> anyhow::Result<Summary> {
    let mut search = Search::new(goal.start_rate, PRECISION);
    let mut steps = Vec::new();
    while let Some(rate) = search.next_rate() {
        let load = load_of(goal, rate, WARM_UP_US, goal.step_us, steps.len());
        let found = runner.run(load, signals)?;
        let step = judge(rate, &found, goal);
        tell(&step);
        search.note(rate, step.is_met);
        steps.push(step);
        if found.is_interrupted {
            bail!("interrupted");
        }
    }
    let Some(mut rate) = search.best() else { bail!("no rate meets a p99 of {}", micros(goal.p99_us)) };
    eprintln!("find-max: measuring at {rate:.0}/s");
    let measured_us = plan.load.end_us - plan.load.warm_up_us;
    for attempt in 1.. {
        let load = load_of(goal, rate, plan.load.warm_up_us, measured_us, steps.len());
        let found = runner.run(load, signals)?;
        let step = judge(rate, &found, goal);
        let is_last = step.is_met || attempt == CONFIRMATIONS || found.is_interrupted;
        tell(&step);
        steps.push(step);
        if is_last {
            return Ok(Summary { search: steps, ..runner.summary(&load, &found) });
        }
        rate *= 0.95;
    }
    bail!("the search did not end")
}

fn load_of(goal: Goal, rate: f64, warm_up_us: u64, measured_us: u64, step: usize) -> Load {
    Load {
        open: Some((goal.arrivals, rate)),
        warm_up_us,
        end_us: warm_up_us + measured_us,
        messages: None,
        first_number: step as u64 * NUMBERS_PER_STEP,
    }
}

fn judge(rate: f64, found: &Found, goal: Goal) -> SearchStep {
    let (p99_us, achieved) = (found.stats.end_to_end().value_at_quantile(0.99), found.rate());
    let measured = &found.stats.measured;
    let bad = measured.failed + measured.tempfailed + measured.rejected;
    let reason = if bad > 0 {
        format!("{bad} messages were refused or failed")
    } else if achieved < rate * ACHIEVED {
        format!("only {achieved:.0} per second came through")
    } else if p99_us > goal.p99_us {
        format!("p99 {} is above {}", micros(p99_us), micros(goal.p99_us))
    } else {
        String::new()
    };
    SearchStep { rate, achieved, p99_us, is_met: reason.is_empty(), reason }
}

fn tell(step: &SearchStep) {
    let word = if step.is_met { "met".to_owned() } else { format!("missed: {}", step.reason) };
    eprintln!("find-max: {:.0}/s: p99 {}, {word}", step.rate, micros(step.p99_us));
}
