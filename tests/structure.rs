//! What must hold of the source as a whole: which room may name which, who may be unsafe, and that
//! the documents name only files that exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by layer. A room names rooms of lower layers, and of its own only where [`PEERS`] says so.
const LAYERS: &[(u8, &[&str])] = &[
    (1, &["base"]),
    (2, &["mail"]),
    (3, &["observe", "schema"]),
    (4, &["expr", "lookup", "milter", "sieve", "smtp"]),
    (5, &["dns", "limits", "queue", "spool", "tls"]),
    (6, &["events", "policy", "report", "scheduler"]),
    (7, &["delivery", "listener", "session"]),
    (8, &["config"]),
    (9, &["shard"]),
    (10, &["control"]),
    (11, &["cli"]),
    (12, &["server"]),
];

/// Arrows inside one layer that are meant, as (from, to).
const PEERS: &[(&str, &str)] =
    &[("observe", "schema"), ("lookup", "expr"), ("sieve", "expr"), ("queue", "limits"), ("listener", "session")];

/// Arrows up that are meant, with their reason.
const EXCEPTIONS: &[(&str, &str, &str)] =
    &[("schema", "expr", "keys that hold expressions"), ("config", "control", "the settings of the socket")];

/// Rooms that do no I/O and read no clock: they may not name the runtime crate or the ways around it.
const PURE: &[&str] =
    &["base", "mail", "expr", "lookup", "milter", "sieve", "smtp", "queue", "limits", "scheduler", "report"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The source files of each room, tests at the file's foot cut off.
fn rooms() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let mut rooms: BTreeMap<String, Vec<(PathBuf, String)>> = BTreeMap::new();
    for file in files {
        let relative = file.strip_prefix(&src).expect("below src");
        let mut parts = relative.iter();
        let first = parts.next().expect("a name").to_string_lossy().into_owned();
        let is_test = file.ends_with("tests.rs") || relative.iter().any(|part| part == "tests");
        if parts.next().is_none() || is_test {
            continue; // main.rs and lib.rs name everything
        }
        let text = fs::read_to_string(&file).expect("readable source");
        let body = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
        rooms.entry(first).or_default().push((file, body));
    }
    rooms
}

fn layer(room: &str) -> Option<u8> {
    LAYERS.iter().find(|(_, rooms)| rooms.contains(&room)).map(|(layer, _)| *layer)
}

/// Every `crate::room` that stands in code, with its line.
fn arrows(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for part in code.split("crate::").skip(1) {
            let room: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push((number + 1, room));
        }
    }
    found
}

#[test]
fn imports_point_down() {
    let mut faults = Vec::new();
    for (room, files) in rooms() {
        let Some(from) = layer(&room) else {
            faults.push(format!("src/{room} is in no layer: add it to LAYERS in tests/structure.rs"));
            continue;
        };
        for (path, text) in &files {
            for (line, target) in arrows(text) {
                let Some(to) = layer(&target) else { continue };
                let peer = PEERS.contains(&(room.as_str(), target.as_str()));
                let exception = EXCEPTIONS.iter().any(|(f, t, _)| (*f, *t) == (room.as_str(), target.as_str()));
                if target != room && to >= from && !peer && !exception {
                    faults.push(format!("{}:{line}: {room} must not name {target}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn pure_rooms_do_no_io() {
    let forbidden =
        ["posthaste_rt", "std::fs", "std::net::Tcp", "Instant::now", "SystemTime::now", "thread::spawn", "tokio::"];
    let mut faults = Vec::new();
    for (room, files) in rooms() {
        if !PURE.contains(&room.as_str()) {
            continue;
        }
        for (path, text) in &files {
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if let Some(word) = forbidden.iter().find(|word| code.contains(**word)) {
                    faults.push(format!("{}:{}: a pure room names {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_rt_names_the_machine_and_is_unsafe() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    rust_files(&root().join("loadgen"), &mut files);
    let mut faults = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("readable source");
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            for word in ["glommio::", "io_uring::", "libc::", "unsafe {", "unsafe fn", "unsafe impl"] {
                if code.contains(word) {
                    faults.push(format!("{}:{}: {word}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_room_has_a_front_door() {
    for (room, files) in rooms() {
        let door = files.iter().find(|(path, _)| path.ends_with(format!("{room}/mod.rs")));
        let (path, text) = door.unwrap_or_else(|| panic!("src/{room} has no mod.rs"));
        assert!(text.starts_with("//!"), "{} does not say what the room is for", path.display());
    }
}

#[test]
fn documents_name_files_that_exist() {
    let root = root();
    let mut documents: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "benches/README.md"].iter().map(|d| root.join(d)).collect();
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|e| e == "md") => documents.push(path),
                _ => {}
            }
        }
    }
    let mut faults = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).unwrap_or_default();
        for quoted in text.split('`').skip(1).step_by(2) {
            let is_path = ["src/", "docs/", "config/", "benches/", "tests/", "rt/", "loadgen/", "fuzz/"]
                .iter()
                .any(|folder| quoted.starts_with(folder));
            let plain = quoted.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if is_path && plain && !root.join(quoted).exists() {
                faults.push(format!("{}: `{quoted}` does not exist", document.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
