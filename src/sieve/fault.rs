//! What is wrong with a script: where, what was found, what was expected. Collected, never thrown.

use std::fmt;

/// How bad a [`Fault`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The script does not compile.
    Error,
    /// The script compiles, but it cannot mean what it says.
    Warning,
}

/// One thing that is wrong with a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Error or warning.
    pub severity: Severity,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// What is wrong, as a phrase that stands alone; it names what was found and what was expected.
    pub message: String,
    /// What stands there, where one word can say it.
    pub found: Option<String>,
    /// What should stand there, where one phrase can say it.
    pub expected: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "line {}, column {}: {severity}: {}", self.line, self.column, self.message)
    }
}

/// Faults beyond this many are not told: the first ones explain them.
pub(super) const FAULTS_MAX: usize = 100;

/// Collects the faults of one script.
pub(super) struct Faults<'s> {
    source: &'s str,
    found: Vec<(usize, Fault)>,
    errors: usize,
}

impl<'s> Faults<'s> {
    pub fn new(source: &'s str) -> Faults<'s> {
        Faults { source, found: Vec::new(), errors: 0 }
    }

    /// An error at an octet of the source.
    pub fn error(&mut self, at: usize, message: impl Into<String>) {
        self.add(Severity::Error, at, message.into(), None, None);
    }

    /// A warning at an octet of the source.
    pub fn warning(&mut self, at: usize, message: impl Into<String>) {
        self.add(Severity::Warning, at, message.into(), None, None);
    }

    /// An error that says what is there and what should be.
    pub fn unexpected(&mut self, at: usize, message: impl Into<String>, found: &str, expected: &str) {
        self.add(Severity::Error, at, message.into(), Some(found.to_owned()), Some(expected.to_owned()));
    }

    fn add(&mut self, severity: Severity, at: usize, message: String, found: Option<String>, expected: Option<String>) {
        self.errors += usize::from(severity == Severity::Error);
        if self.found.len() >= FAULTS_MAX {
            return;
        }
        let (line, column) = self.place(at);
        self.found.push((at, Fault { severity, line, column, message, found, expected }));
    }

    /// Line and column of an octet of the source.
    pub fn place(&self, at: usize) -> (u32, u32) {
        let before = self.source.get(..at).unwrap_or(self.source);
        let line = before.bytes().filter(|&b| b == b'\n').count();
        let start = before.rfind('\n').map_or(0, |i| i + 1);
        let column = before.get(start..).map_or(0, |text| text.chars().count());
        (line as u32 + 1, column as u32 + 1)
    }

    pub fn errors(&self) -> usize {
        self.errors
    }

    /// All of them in the order of the source.
    pub fn finish(mut self) -> Vec<Fault> {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.into_iter().map(|(_, fault)| fault).collect()
    }
}
