//! What a reading meets: the tables and knobs of the file, in order, with what is in effect.
//!
//! The reference, `config show` and the diff of a reload are made of these and of nothing else.

use super::document::{Node, Span};
use super::fault::Fault;
use super::print::{Show, print_node};

/// Whether a change of a setting needs a new process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Apply {
    /// SIGHUP or `posthaste reload` suffices.
    Reload,
    /// Only a new process takes it.
    Restart,
}

/// One knob as it was met.
#[derive(Debug, Clone)]
pub struct KnobRecord {
    /// Key with the actual names: `server.listener.smtp.bind`.
    pub path: String,
    /// Key with `<id>` for names: `server.listener.<id>.bind`.
    pub pattern: String,
    /// Its last part.
    pub name: String,
    /// What it means, in sentences.
    pub doc: &'static str,
    /// Type, unit and bounds in words.
    pub kind: String,
    /// What holds where the key is absent.
    pub default: Default,
    /// What a change needs.
    pub apply: Apply,
    /// The value in effect as TOML, a secret hidden; `None` where unset.
    pub effective: Option<String>,
    /// A digest of the value, secrets and macros included: tells a change that may not be shown.
    pub digest: u64,
    /// Where the file sets it.
    pub span: Option<Span>,
    /// A value for the reference where there is no default.
    pub example: Option<&'static str>,
}

impl KnobRecord {
    /// A knob that the file does not set; `apply` is reload.
    pub(super) fn new(name: &str, doc: &'static str, kind: &str, default: Default) -> KnobRecord {
        let effective = match &default {
            Default::Value(text) | Default::As(_, text) => Some(text.clone()),
            _ => None,
        };
        KnobRecord {
            path: String::new(),
            pattern: String::new(),
            name: name.to_owned(),
            doc,
            kind: kind.to_owned(),
            default,
            apply: Apply::Reload,
            digest: effective.as_deref().map_or(0, digest),
            effective,
            span: None,
            example: None,
        }
    }

    /// The same, set by the file to `node`.
    pub(super) fn set(mut self, node: &Node, source: impl Fn(&Node) -> String) -> KnobRecord {
        self.effective = Some(print_node(node, Show::Public(&source)));
        self.digest = digest(&print_node(node, Show::Everything));
        self.span = Some(node.span.clone());
        self
    }
}

/// Equal values have equal digests in one process; nothing else is promised.
fn digest(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// What holds where a key is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Default {
    /// The file is refused.
    Required,
    /// Nothing: the feature is off or the value unknown.
    Unset,
    /// This TOML value.
    Value(String),
    /// What this other key says.
    As(String, String),
    /// Something found out at start, in words.
    Found(&'static str),
}

/// How a table is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Once.
    Table,
    /// Under names of the operator's choice.
    Named,
    /// As `[[…]]`.
    Items,
}

/// A table as it was met.
#[derive(Debug, Clone)]
pub struct SectionRecord {
    /// Key with actual names.
    pub path: String,
    /// Key with `<id>` for names.
    pub pattern: String,
    /// What the table is for.
    pub doc: &'static str,
    /// How it is repeated.
    pub shape: Shape,
}

/// What a reading met, in order.
#[derive(Debug, Clone)]
pub enum Record {
    /// A table.
    Section(SectionRecord),
    /// A key.
    Knob(KnobRecord),
}

/// What a reading leaves behind.
#[derive(Debug)]
pub struct Findings {
    /// Faults and warnings.
    pub faults: Vec<Fault>,
    /// Tables and knobs in the order they were read.
    pub records: Vec<Record>,
}

impl Findings {
    /// Whether the file may be used.
    pub fn is_usable(&self) -> bool {
        self.faults.iter().all(|fault| fault.kind.is_warning())
    }
}
