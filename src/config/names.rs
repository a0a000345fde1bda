//! Names that expressions give: where one is a constant, what it names must be there.

use compact_str::CompactString;

use super::resolve::Config;
use crate::expr::{Environment, Expr, Stage};
use crate::schema::{Cell, FaultKind, Section, nearest};

/// Checks the constants among the values of `queue.strategy` and of `session.rcpt.directory`.
pub(super) fn check(root: &Section<'_>, config: &Config) {
    let queue = |key| ["queue", "strategy", key];
    let schedules = config.scheduler.schedules.keys().map(CompactString::as_str).collect();
    check_key(root, &queue("schedule"), "queue.schedule", schedules);
    check_key(root, &queue("route"), "queue.route", config.delivery.routes.keys().map(CompactString::as_str).collect());
    let connections = config.delivery.connections.keys().map(CompactString::as_str).collect();
    check_key(root, &queue("connection"), "queue.connection", connections);
    check_key(root, &queue("tls"), "queue.tls", config.delivery.tls.keys().map(CompactString::as_str).collect());
    let mut directories = root.value_at(&["directory"]).map_or_else(Vec::new, |cell| cell.names("directory"));
    directories.extend(["*", ""]);
    check_key(root, &["session", "rcpt", "directory"], "directory", directories);
}

/// `known` are the names under the table `table`.
fn check_key(root: &Section<'_>, path: &[&str], table: &str, known: Vec<&str>) {
    let Some(cell) = root.value_at(path) else { return };
    for (value, name) in constants(&cell) {
        if known.contains(&name.as_str()) {
            continue;
        }
        let help = nearest(&name, known.iter().copied()).map(|meant| format!("did you mean `{meant}`?"));
        let names: Vec<&str> = known.iter().copied().filter(|name| !name.is_empty()).collect();
        let mut fault = value.whole_fault(FaultKind::Reference, format!("there is no {table}.{name}"));
        fault = fault.found(format!("'{name}'")).expected(format!("one of {}", names.join(", ")));
        fault.help.extend(help);
        root.report(fault);
    }
}

/// The constant texts that a key may give: the plain one, or those of its branches.
fn constants<'c>(cell: &Cell<'c>) -> Vec<(Cell<'c>, CompactString)> {
    let constant = |value: Cell<'c>| {
        let expression =
            Expr::<Option<CompactString>>::parse(value.text()?, None, &Environment::at(Stage::QUEUE_HOST)).ok()?;
        let name = expression.as_constant()?.clone()?;
        Some((value, name))
    };
    let Some(items) = cell.items() else { return constant(cell.clone()).into_iter().collect() };
    let results = items.iter().filter_map(Cell::entries).flatten().filter(|(entry, _)| entry.key != "if");
    results.filter_map(|(_, value)| constant(value)).collect()
}
