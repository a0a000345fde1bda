//! One TOML file to one checked, immutable snapshot.
//!
//! `file` (text to document) -> `resolve` (document to [`Config`]) -> `diff` (what a reload changes). Each
//! room reads its own tables; what no single room can see is checked in `resolve`. Takes a path or a text; gives a
//! [`Loaded`] or a [`Refused`] with every fault at once.
//!
//! Invariants: a refused file changes nothing; a snapshot never changes after it is made; a fault is never
//! answered with a default. Must never be added: a knob that its room does not define, anything that acts on a setting.

mod defaults;
mod delivery;
mod diff;
mod file;
mod foreign;
mod names;
mod queue;
mod reference;
mod resolve;
mod server;
mod session;
mod show;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

pub use diff::{Change, Diff};
pub use file::Machine;
pub use reference::reference;
pub use resolve::Config;
pub use server::ServerSettings;

use crate::schema::fault::{FaultJson, to_json};
use crate::schema::render::render;
use crate::schema::{Document, Environment, Fault, FaultKind, Record};

/// A configuration that may be used, and what is needed to talk about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The snapshot.
    pub config: Arc<Config>,
    document: Arc<Document>,
    warnings: Vec<Fault>,
    records: Arc<Vec<Record>>,
}

impl Loaded {
    /// The warnings for people; empty where there are none.
    pub fn warnings(&self, is_terminal: bool) -> String {
        render(&self.document, &self.warnings, is_terminal)
    }

    /// The warnings for programs.
    pub fn warnings_json(&self) -> Vec<FaultJson<'_>> {
        to_json(&self.document, &self.warnings)
    }

    /// Every value in effect as TOML, secrets hidden; what the file does not set is a comment.
    pub fn show(&self) -> String {
        show::show(&self.records)
    }

    /// What changes when `next` takes the place of this.
    pub fn diff(&self, next: &Loaded) -> Diff {
        Diff::between(&self.records, &next.records)
    }

    /// The name of the file.
    pub fn name(&self) -> &str {
        self.document.name()
    }
}

/// A configuration that may not be used, with every reason.
#[derive(Debug, Clone)]
pub struct Refused {
    document: Arc<Document>,
    faults: Vec<Fault>,
}

impl Refused {
    /// The faults and warnings for people.
    pub fn render(&self, is_terminal: bool) -> String {
        render(&self.document, &self.faults, is_terminal)
    }

    /// The faults and warnings for programs.
    pub fn json(&self) -> Vec<FaultJson<'_>> {
        to_json(&self.document, &self.faults)
    }

    /// How many faults there are, warnings not counted.
    pub fn count(&self) -> usize {
        self.faults.iter().filter(|fault| !fault.kind.is_warning()).count()
    }

    /// The faults and warnings as values.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.count();
        f.write_str(&self.render(false))?;
        write!(f, "{} refused: {count} fault{}", self.document.name(), if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Refused {}

/// The configuration in the file at `path`, or the embedded one.
pub fn load(path: Option<&Path>) -> Result<Loaded, Refused> {
    let Some(path) = path else { return load_text(defaults::NAME, defaults::TEXT, &Machine) };
    let name = path.display().to_string();
    match file::read_text(path) {
        Ok(text) => load_text(&name, &text, &Machine),
        Err(why) => {
            let (document, _) = Document::parse(&name, "");
            let fault = Fault::new(FaultKind::Syntax, "", "the file cannot be read").label(why);
            Err(Refused { document: Arc::new(document), faults: vec![fault] })
        }
    }
}

/// The configuration in `text`, which goes by `name` in messages.
pub fn load_text(name: &str, text: &str, environment: &dyn Environment) -> Result<Loaded, Refused> {
    let (document, mut faults) = file::parse(name, text, environment);
    if !faults.is_empty() && !file::is_readable(&document, &faults) {
        return Err(Refused { document: Arc::new(document), faults });
    }
    let (config, findings) = resolve::resolve(&document, environment);
    // Where the text is at fault already, what stands there is not told again.
    let known: Vec<_> = faults.iter().filter_map(|fault| fault.span.clone()).collect();
    let is_new = |fault: &Fault| match &fault.span {
        Some(span) => !known.iter().any(|known| known.start < span.end.max(span.start + 1) && span.start < known.end),
        None => true,
    };
    faults.extend(findings.faults.into_iter().filter(is_new));
    let document = Arc::new(document);
    if faults.iter().any(|fault| !fault.kind.is_warning()) {
        return Err(Refused { document, faults });
    }
    Ok(Loaded { config: Arc::new(config), document, warnings: faults, records: Arc::new(findings.records) })
}
