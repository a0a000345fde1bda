//! Messages in a tree of Maildirs: `ROOT/DOMAIN/USER/{new,cur}/FILE`.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::hash::address_key;
use crate::ledger::{Arrival, Kind};
use crate::sink::intake::{Found, Intake};

/// Deeper trees are not followed.
const DEPTH_MAX: usize = 6;

/// Reads every message below `root`; gives how many had none of our fields.
pub fn read(root: &Path, each: &mut impl FnMut(Arrival)) -> anyhow::Result<u64> {
    let mut unmarked = 0;
    walk(root, DEPTH_MAX, &mut |folder, address| {
        for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            match arrival(&bytes, address) {
                Some(arrival) => each(arrival),
                None => unmarked += 1,
            }
        }
        Ok(())
    })?;
    Ok(unmarked)
}

type Visit<'a> = &'a mut dyn FnMut(&Path, &str) -> anyhow::Result<()>;

fn walk(folder: &Path, depth: usize, visit: Visit<'_>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let (path, name) = (entry.path(), entry.file_name());
        if name == "new" || name == "cur" {
            visit(&path, &address_of(folder))?;
        } else if name != "tmp" && depth > 0 {
            walk(&path, depth - 1, visit)?;
        }
    }
    Ok(())
}

/// `ROOT/example.org/user` belongs to `user@example.org`.
fn address_of(mailbox: &Path) -> String {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    format!("{}@{}", name(Some(mailbox)), name(mailbox.parent()))
}

fn arrival(bytes: &[u8], address: &str) -> Option<Arrival> {
    let mut intake = Intake::default();
    // A Maildir may hold lines that end in LF; what was sent ends them in CR LF.
    let mut from = 0;
    for end in memchr::memchr_iter(b'\n', bytes) {
        if end == 0 || bytes[end - 1] != b'\r' {
            intake.push(&bytes[from..end]);
            intake.push(b"\r");
            from = end;
        }
    }
    intake.push(&bytes[from..]);
    let (marker, kind) = match intake.finish() {
        Found::Ours { marker, is_intact: true } => (marker, Kind::Intact),
        Found::Ours { marker, is_intact: false } => (marker, Kind::Altered),
        Found::Quoting(marker) if bytes.starts_with(b"Return-Path: <>") => (marker, Kind::Returned),
        Found::Quoting(_) | Found::Nothing => return None,
    };
    let keys = vec![address_key(address.as_bytes())];
    Some(Arrival { kind, at_ms: 0, run: marker.run, number: marker.number, keys })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::content::{BodyKind, Library};

    #[test]
    fn messages_are_found_with_their_recipient_whatever_ends_their_lines() {
        let library = Library::new(5, BodyKind::Base64, 4096, "a@b", "today", 1);
        let letter = library.letter(8, 2000);
        let mut content = b"Return-Path: <a@b>\r\n".to_vec();
        library.push_head(&mut content, &letter);
        content.extend_from_slice(letter.body);
        content.extend_from_slice(&letter.tail);
        let unix: Vec<u8> = content.iter().copied().filter(|byte| *byte != b'\r').collect();
        let broken = [&unix[..], b"more\n"].concat();
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in [("new/1", &content), ("cur/2", &unix), ("new/3", &broken), ("tmp/4", &content)] {
            let path = folder.path().join("example.org/bob").join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            fs::write(path, bytes).expect("written");
        }
        let mut found = Vec::new();
        assert_eq!(read(folder.path(), &mut |arrival| found.push(arrival)).expect("read"), 0);
        let key = address_key(b"bob@example.org");
        assert!(found.iter().all(|one| one.run == 5 && one.number == 8 && one.keys == [key]));
        assert_eq!(found.iter().filter(|one| one.kind == Kind::Intact).count(), 2);
        assert_eq!(found.iter().filter(|one| one.kind == Kind::Altered).count(), 1);
    }
}
