//! The recorded budget: one line per count, which a test reads, compares and, when asked, writes anew.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Set to record what is measured in place of comparing it.
const RECORD: &str = "POSTHASTE_RECORD_BUDGET";

/// One at a time: what is measured shares the machine with nothing of ours.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner) // a test that failed has left nothing behind
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/budget.toml")
}

/// What one count may be.
struct Budget {
    value: f64,
    /// Share of `value` that may come on top.
    margin: f64,
    /// What may come on top besides, whatever the value.
    slack: f64,
    /// What it may never be more than, recorded or not.
    bar: Option<f64>,
}

fn find(text: &str, name: &str) -> Option<Budget> {
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("benches/budget.toml: {error}"));
    let entry = table.get(name)?.as_table().unwrap_or_else(|| panic!("benches/budget.toml: {name} is no table"));
    let number = |key: &str| entry.get(key).and_then(|v| v.as_float().or(v.as_integer().map(|i| i as f64)));
    let value = number("value").unwrap_or_else(|| panic!("benches/budget.toml: {name} has no value"));
    Some(Budget {
        value,
        margin: number("margin").unwrap_or(0.1),
        slack: number("slack").unwrap_or(0.0),
        bar: number("bar"),
    })
}

/// Holds `measured` against the budget of `name`; `what` says in words what was counted.
///
/// Returns the fault instead of panicking, so that one test names all of its counts that are too high.
#[must_use]
pub fn check(name: &str, what: &str, measured: f64) -> Option<String> {
    let text = fs::read_to_string(path()).expect("benches/budget.toml");
    let budget = find(&text, name);
    if std::env::var_os(RECORD).is_some() {
        fs::write(path(), recorded(&text, name, budget.is_some(), measured)).expect("benches/budget.toml");
        println!("recorded: {name} = {}", shown(measured));
        return None;
    }
    let Some(budget) = budget else {
        return Some(format!("{name} has no line in benches/budget.toml; {}", how()));
    };
    let most = budget.value * (1.0 + budget.margin) + budget.slack;
    println!("{name}: {} {what} (budget {}, at most {})", shown(measured), shown(budget.value), shown(most));
    if let Some(bar) = budget.bar.filter(|bar| measured > *bar) {
        return Some(format!("{name}: {} {what}; the bar is {}, which no record moves", shown(measured), shown(bar)));
    }
    (measured > most).then(|| {
        format!(
            "{name}: {} {what}; budget {} and at most {}. Where it has to be more, say why and {}",
            shown(measured),
            shown(budget.value),
            shown(most),
            how()
        )
    })
}

/// Fails with all that was found.
pub fn settle(faults: impl IntoIterator<Item = Option<String>>) {
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    assert!(faults.is_empty(), "over budget:\n{}", faults.join("\n"));
}

fn how() -> String {
    format!("record anew: {RECORD}=1 cargo test --test budget")
}

/// The file with this value; margins, bars and comments stay.
fn recorded(text: &str, name: &str, is_known: bool, measured: f64) -> String {
    let quoted = format!("\"{name}\"");
    if !is_known {
        return format!("{}\n{quoted} = {{ value = {}, margin = 0.25 }}\n", text.trim_end(), shown(measured));
    }
    let line_of = |line: &str| {
        let Some(rest) = line.strip_prefix(&quoted) else { return line.to_owned() };
        let (before, after) = rest.split_once("value = ").expect("every line has a value first");
        let end = after.find([',', ' ', '}']).expect("the table ends");
        format!("{quoted}{before}value = {}{}", shown(measured), &after[end..])
    };
    text.lines().map(|line| line_of(line) + "\n").collect()
}

/// Four places are enough for a share, none for a large number.
fn shown(value: f64) -> String {
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.4}") }
}

#[test]
fn recording_changes_the_value_and_nothing_else() {
    let text = "# words\n\"a.b\" = { value = 1.5, margin = 0.1 } # why\n\"a.b.c\" = { value = 2 }\n";
    let changed = recorded(text, "a.b", true, 2000.4);
    assert_eq!(changed, "# words\n\"a.b\" = { value = 2000, margin = 0.1 } # why\n\"a.b.c\" = { value = 2 }\n");
    let longer = recorded(&changed, "x", false, 0.25);
    assert!(longer.ends_with("\"x\" = { value = 0.2500, margin = 0.25 }\n"), "{longer}");
    assert_eq!(find(&longer, "a.b.c").expect("it is there").value, 2.0);
}
