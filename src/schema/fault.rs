//! What is wrong with a file: values, so that all faults are told at once, to people and to programs.

use serde::Serialize;

use super::document::{Document, Span};

/// The classes of faults, named in the JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// Not TOML.
    Syntax,
    /// A key twice in one table.
    Duplicate,
    /// A key that nothing reads.
    Unknown,
    /// A required key that is not there.
    Missing,
    /// A value of another type.
    Type,
    /// A value of the right type that is not allowed.
    Value,
    /// Two settings that exclude each other.
    Conflict,
    /// An expression that does not compile.
    Expression,
    /// A macro without a value.
    Macro,
    /// A name of something that the file does not define.
    Reference,
    /// A key of the reference product that has no meaning here (a warning).
    Foreign,
    /// A key of our vocabulary that this release does not act on (a warning).
    NotYet,
    /// Allowed, and probably not meant (a warning).
    Doubtful,
}

impl FaultKind {
    /// Whether the file is used all the same.
    pub fn is_warning(self) -> bool {
        matches!(self, FaultKind::Foreign | FaultKind::NotYet | FaultKind::Doubtful)
    }
}

/// One fault (or warning) of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Its class.
    pub kind: FaultKind,
    /// The full key, `server.listener.smtp.bind`; empty where no key is meant.
    pub key: String,
    /// Where it stands; a missing key points at its table.
    pub span: Option<Span>,
    /// One line that says what is wrong.
    pub title: String,
    /// Words beside the marked source; made of found and expected when empty.
    pub label: String,
    /// What the file says, never a secret.
    pub found: Option<String>,
    /// What would be right.
    pub expected: Option<String>,
    /// What to do about it.
    pub help: Vec<String>,
    /// A second place that belongs to the fault.
    pub also: Option<(Span, String)>,
}

impl Fault {
    /// A fault without a place.
    pub fn new(kind: FaultKind, key: impl Into<String>, title: impl Into<String>) -> Fault {
        Fault {
            kind,
            key: key.into(),
            span: None,
            title: title.into(),
            label: String::new(),
            found: None,
            expected: None,
            help: Vec::new(),
            also: None,
        }
    }

    /// Where it stands.
    pub fn at(mut self, span: Span) -> Fault {
        self.span = Some(span);
        self
    }

    /// Words beside the source.
    pub fn label(mut self, label: impl Into<String>) -> Fault {
        self.label = label.into();
        self
    }

    /// What the file says.
    pub fn found(mut self, found: impl Into<String>) -> Fault {
        self.found = Some(found.into());
        self
    }

    /// What would be right.
    pub fn expected(mut self, expected: impl Into<String>) -> Fault {
        self.expected = Some(expected.into());
        self
    }

    /// What to do.
    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help.push(help.into());
        self
    }

    /// The other place.
    pub fn also(mut self, span: Span, words: impl Into<String>) -> Fault {
        self.also = Some((span, words.into()));
        self
    }

    /// The words beside the source.
    pub fn words(&self) -> String {
        match (&self.label, &self.found, &self.expected) {
            (label, ..) if !label.is_empty() => label.clone(),
            (_, Some(found), Some(expected)) => format!("found {found}, expected {expected}"),
            (_, Some(found), None) => format!("found {found}"),
            (_, None, Some(expected)) => format!("expected {expected}"),
            (_, None, None) => String::new(),
        }
    }
}

/// A fault as `posthaste check --json` prints it.
#[derive(Debug, Clone, Serialize)]
pub struct FaultJson<'a> {
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The class.
    pub kind: FaultKind,
    /// The file.
    pub file: &'a str,
    /// Line from 1, absent where the fault has no place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The full key.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub key: &'a str,
    /// What is wrong.
    pub message: &'a str,
    /// What the file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<&'a str>,
    /// What would be right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<&'a str>,
    /// What to do.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub help: &'a [String],
}

/// The faults of `document` for programs.
pub fn to_json<'a>(document: &'a Document, faults: &'a [Fault]) -> Vec<FaultJson<'a>> {
    faults
        .iter()
        .map(|fault| {
            let position = fault.span.as_ref().map(|span| document.position(span.start));
            FaultJson {
                severity: if fault.kind.is_warning() { "warning" } else { "error" },
                kind: fault.kind,
                file: document.name(),
                line: position.map(|(line, _)| line),
                column: position.map(|(_, column)| column),
                key: &fault.key,
                message: &fault.title,
                found: fault.found.as_deref(),
                expected: fault.expected.as_deref(),
                help: &fault.help,
            }
        })
        .collect()
}
