//! `[events.<id>]` (ours): who is told what happens.

use std::path::PathBuf;

use super::names::{Choice, is_known};
use crate::schema::knob::{Kind, Typed};
use crate::schema::{FaultKind, Section, Size};
use crate::spool::Shipper;

/// Letters of an id: it is part of a file's name in every stream.
const ID_BYTES_MAX: usize = 32;

/// `[events.<id>]`. All of it takes a restart to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The id: it names the cursor, so another one begins anew.
    pub id: String,
    /// Where the events go.
    pub target: Target,
    /// Bytes of log segments that are kept in each stream for nothing but these events. Default 1 GiB.
    pub backlog: u64,
    /// Which events.
    pub events: Choice,
}

/// Where events go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file of JSON lines, appended to.
    File {
        /// Its path. The directory must be there.
        path: PathBuf,
    },
}

const TYPES: &[(&str, &str)] = &[("file", "file")];
const BACKLOG: Size = Size(1 << 30);

impl Settings {
    /// Reads all of `[events]` of the whole file.
    pub fn read_all(root: &Section<'_>) -> Vec<Settings> {
        let doc = "A program that is told what happens to mail, at least once, also after a crash (docs/events.md). What happens while the table is not there is not told later.";
        let all: Vec<Settings> =
            root.named("events", doc, Settings::read).into_iter().filter_map(|(_, settings)| settings).collect();
        for (n, one) in all.iter().enumerate() {
            let Target::File { path } = &one.target;
            let is_same = |other: &&Settings| matches!(&other.target, Target::File { path: known } if known == path);
            if let Some(other) = all.iter().take(n).find(is_same) {
                let title = format!("two tables of events write {}", path.display());
                let fault = root.fault_in(&["events", &one.id, "path"], FaultKind::Conflict, title);
                root.report(fault.label(format!("written by `{}` already", other.id)));
            }
        }
        all
    }

    /// `None` when it is switched off.
    fn read(s: &Section<'_>, id: &str) -> Option<Settings> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(is_plain) {
            let fault = s.fault(FaultKind::Value, format!("`{id}` cannot be the id of a table of events"));
            s.report(fault.expected(format!("at most {ID_BYTES_MAX} letters, digits and `-`")));
        }
        s.choice("type", TYPES)
            .doc("Where events go. file: one JSON object a line, appended to a file.")
            .example("\"file\"")
            .restart()
            .required();
        let enable = s
            .key("enable")
            .doc("Whether events are told. What happens while it is false is not told later.")
            .restart()
            .default(true);
        let path = s
            .key("path")
            .doc("The file. Its directory must be there and writable for the user the server runs as; made with mode 0640, opened anew on SIGHUP and reload and when it was moved away.")
            .example("\"/var/log/posthaste/events.json\"")
            .restart()
            .required();
        let backlog = s
            .key("backlog")
            .doc("Bytes of log segments that are kept for these events alone, in each stream, when they cannot be written. Beyond it, and when the disk is full, the oldest are given up and an events.gap says so.")
            .between(Size(0), Size(1 << 50))
            .restart()
            .default(BACKLOG)
            .0;
        let pattern = String::kind()
            .only("the name of an event, or a pattern with *, as in \"attempt.*\"", |p: &String| is_known(p));
        let patterns: Vec<String> = s
            .knob("events", Kind::list(pattern))
            .doc("Which events: names or patterns in which * stands for any text. A gap is always told.")
            .restart()
            .default(vec!["*".to_owned()]);
        let events = Choice::new(&patterns);
        enable.then(|| Settings { id: id.to_owned(), target: Target::File { path }, backlog, events })
    }

    /// What the spool needs to know of it.
    pub fn shipper(&self) -> Shipper {
        Shipper { name: self.id.clone(), backlog: self.backlog }
    }
}
