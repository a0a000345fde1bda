//! One value under the cursor, with the means to say what is wrong with it.

use super::document::{Entry, Node, Span, Value};
use super::fault::{Fault, FaultKind};
use super::secret::{HIDDEN, is_secret};
use super::section::Reader;

/// One value that is being read, with the means to say what is wrong with it.
#[derive(Clone)]
pub struct Cell<'r> {
    reader: &'r Reader<'r>,
    node: &'r Node,
    path: String,
}

impl<'r> Cell<'r> {
    pub(super) fn new(reader: &'r Reader<'r>, node: &'r Node, path: String) -> Cell<'r> {
        Cell { reader, node, path }
    }

    /// The value.
    pub fn node(&self) -> &'r Node {
        self.node
    }

    /// Its full key.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The string, macros replaced.
    pub fn text(&self) -> Option<&'r str> {
        self.node.as_text().map(|text| text.as_str())
    }

    /// The string of a value that macros produced, or the source of any other scalar: numbers may come from macros.
    pub fn scalar(&self) -> Option<&'r str> {
        self.node.as_text().filter(|text| text.has_macros()).map(|text| text.as_str())
    }

    /// The value as the file spells it.
    pub fn source(&self) -> &'r str {
        self.reader.document.source(&self.node.span)
    }

    /// The elements of an array, also of one spelled by numbered keys.
    pub fn items(&self) -> Option<Vec<Cell<'r>>> {
        Some(self.node.as_items()?.into_iter().map(|node| self.at(node)).collect())
    }

    /// The entries of a table.
    pub fn entries(&self) -> Option<Vec<(&'r Entry, Cell<'r>)>> {
        Some(self.node.as_table()?.entries.iter().map(|entry| (entry, self.at(&entry.node))).collect())
    }

    /// Another key of the file, by its full name, as `config_get` reads it; also facts of this machine.
    pub fn config(&self, key: &str) -> Option<String> {
        match self.reader.file.find(key).map(|node| &node.value) {
            Some(Value::Text(text)) => Some(text.as_str().to_owned()),
            Some(Value::Integer(value)) => Some(value.to_string()),
            Some(Value::Bool(value)) => Some(value.to_string()),
            _ => self.reader.fact(key).map(str::to_owned),
        }
    }

    /// The value is not what it should be.
    pub fn mismatch(&self, expected: impl Into<String>) {
        self.report(FaultKind::Type, self.node.span.clone(), self.found(), expected);
    }

    /// The value has the right type and is not allowed.
    pub fn refuse(&self, expected: impl Into<String>) {
        self.report(FaultKind::Value, self.node.span.clone(), self.found(), expected);
    }

    /// Something is wrong with the octets `range` of the string, as decoded; with the whole of it where there is
    /// no range or the value is no string.
    pub fn fault_inside(
        &self,
        range: Span,
        title: impl Into<String>,
        found: impl Into<String>,
        expected: impl Into<String>,
        help: Option<String>,
    ) {
        let is_inside = self.node.as_text().is_some() && range.end > 0;
        let span = match is_inside {
            true => super::text::locate(self.reader.document, self.node, range),
            false => self.node.span.clone(),
        };
        let mut fault =
            Fault::new(FaultKind::Expression, self.path.clone(), title).at(span).found(found).expected(expected);
        fault.help.extend(help);
        self.reader.fault(fault);
    }

    /// The names of the tables below the table `path` at the top of the file.
    pub fn names(&self, path: &str) -> Vec<&'r str> {
        let table = self.reader.file.find(path).and_then(Node::as_table);
        table.map_or_else(Vec::new, |table| table.entries.iter().map(|entry| entry.key.as_str()).collect())
    }

    /// A fault of the value as a whole, for the caller to complete and report.
    pub fn whole_fault(&self, kind: FaultKind, title: impl Into<String>) -> Fault {
        Fault::new(kind, self.path.clone(), title).at(self.node.span.clone())
    }

    /// A fault of the form of the value.
    pub fn fault(&self, kind: FaultKind, span: Span, title: impl Into<String>, label: impl Into<String>) {
        self.reader.fault(Fault::new(kind, self.path.clone(), title).at(span).label(label));
    }

    fn at(&self, node: &'r Node) -> Cell<'r> {
        Cell { reader: self.reader, node, path: self.path.clone() }
    }

    fn report(&self, kind: FaultKind, span: Span, found: String, expected: impl Into<String>) {
        let title = format!("wrong value for `{}`", self.path);
        self.reader.fault(Fault::new(kind, self.path.clone(), title).at(span).found(found).expected(expected));
    }

    /// The value in words, a secret hidden, a long one cut.
    fn found(&self) -> String {
        let last = self.path.rsplit('.').next().unwrap_or_default();
        let kind = self.node.kind();
        if is_secret(last) {
            return format!("{kind} {HIDDEN}");
        }
        match &self.node.value {
            Value::Array(items) if items.is_empty() => "an empty array".to_owned(),
            Value::Array(_) | Value::Table(_) | Value::Datetime => kind.to_owned(),
            Value::Text(text) if text.as_str().is_empty() => "an empty string".to_owned(),
            _ => {
                let mut source: String = self.source().chars().take(60).collect();
                if source.len() < self.source().len() {
                    source.push('…');
                }
                let article = if matches!(self.node.value, Value::Text(_)) { "the string" } else { "the value" };
                let source: String =
                    source.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
                format!("{article} {source}")
            }
        }
    }
}
