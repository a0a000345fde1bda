//! The Sieve engine against the suite of another implementation: each `test` of its test language passes,
//! or stands in `sieve_suite/exceptions.rs` with the reason.
//!
//! The language is Sieve with commands of its own (`test`, `test_set`, `test_script_compile` …): they are
//! added to the engine as a host may, and answered by [`host::Host`], which plays mailboxes, lists, sent
//! mail and configuration. `POSTHASTE_SUITES` points to the suites.

#![allow(clippy::unwrap_used)]

#[path = "sieve_suite/config.rs"]
mod config;
#[path = "sieve_suite/exceptions.rs"]
mod exceptions;
#[path = "sieve_suite/host.rs"]
mod host;
#[path = "sieve_suite/language.rs"]
mod language;
#[path = "sieve_suite/store.rs"]
mod store;

use std::path::{Path, PathBuf};

fn suite() -> PathBuf {
    let suites = std::env::var_os("POSTHASTE_SUITES").map(PathBuf::from);
    suites.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/suites")).join("sieve")
}

fn test_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            test_files(&path, found);
        } else if path.to_string_lossy().contains(".svtest") {
            found.push(path);
        }
    }
}

#[test]
fn every_test_passes_or_is_a_known_exception() {
    let root = suite();
    if !root.is_dir() {
        println!("SKIPPED: no suite of Sieve tests at {}", root.display());
        return;
    }
    let only = std::env::var("SIEVE_SUITE_ONLY").unwrap_or_default();
    let mut files = Vec::new();
    test_files(&root, &mut files);
    files.sort();
    let mut faults = Vec::new();
    let (mut passed, mut excepted) = (0, 0);
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        if !name.contains(&only) {
            continue;
        }
        let outcomes = host::run_file(&file); // an exception must not panic either
        if exceptions::is_whole_file(&name) && only.is_empty() {
            excepted += 1;
            continue;
        }
        for (test, failure) in outcomes {
            match (failure, exceptions::reason(&name, &test)) {
                (None, None) => passed += 1,
                (Some(_), Some(_)) => excepted += 1,
                (Some(why), None) => faults.push(format!("{name}: {test}: {why}")),
                (None, Some(_)) => faults.push(format!("{name}: {test}: passes, and is listed as an exception")),
            }
        }
    }
    println!("{passed} tests pass, {excepted} are exceptions");
    assert!(faults.is_empty(), "{} faults, {passed} pass\n{}", faults.len(), faults.join("\n"));
}
