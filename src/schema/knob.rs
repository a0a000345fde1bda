//! One definition per knob: its name, type, bounds, default, sentences, and what a change needs.

use std::ops::RangeInclusive;

use super::cell::Cell;
use super::document::join;
use super::fault::FaultKind;
use super::record::{Apply, Default, KnobRecord};
use super::section::Section;

/// Reads a value; told what to say was expected where it is none.
type Parse<T> = Box<dyn Fn(&Cell<'_>, &str) -> Option<T>>;
type Print<T> = Box<dyn Fn(&T) -> String>;

/// How values of a type are read, printed and called.
pub struct Kind<T> {
    what: String,
    expected: String,
    parse: Parse<T>,
    print: Print<T>,
    placeholder: Box<dyn Fn() -> T>,
}

/// A type that is always written in the same way.
pub trait Typed: Sized {
    /// How it is read and printed.
    fn kind() -> Kind<Self>;
}

impl<T: 'static> Kind<T> {
    /// `what` names the type for people ("duration"), `expected` one value of it ("a duration such as …"); `parse`
    /// says a fault, for which it is given what was expected, and gives `None`, or gives the value; `print` writes TOML that `parse` reads back; `placeholder` stands in once a fault is told.
    pub fn new(
        what: impl Into<String>,
        expected: impl Into<String>,
        parse: impl Fn(&Cell<'_>, &str) -> Option<T> + 'static,
        print: impl Fn(&T) -> String + 'static,
        placeholder: impl Fn() -> T + 'static,
    ) -> Kind<T> {
        Kind {
            what: what.into(),
            expected: expected.into(),
            parse: Box::new(parse),
            print: Box::new(print),
            placeholder: Box::new(placeholder),
        }
    }

    /// The name of the type for people.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Reads one value; a fault is told through the cell.
    pub fn read(&self, cell: &Cell<'_>) -> Option<T> {
        (self.parse)(cell, &self.expected)
    }

    /// The value as TOML.
    pub fn print(&self, value: &T) -> String {
        (self.print)(value)
    }

    /// Any value, for where a fault was told.
    pub fn placeholder(&self) -> T {
        (self.placeholder)()
    }

    /// The same type under another name.
    pub fn called(mut self, what: impl Into<String>) -> Kind<T> {
        self.what = what.into();
        self
    }

    /// Values for which `holds` is true; `expected` says which these are.
    pub fn only(self, expected: impl Into<String>, holds: impl Fn(&T) -> bool + 'static) -> Kind<T> {
        let (expected, parse) = (expected.into(), self.parse);
        let checked = move |cell: &Cell<'_>, otherwise: &str| {
            let value = parse(cell, otherwise)?;
            if holds(&value) {
                return Some(value);
            }
            cell.refuse(expected.clone());
            None
        };
        Kind { parse: Box::new(checked), ..self }
    }

    /// One value or an array of values.
    pub fn list(self) -> Kind<Vec<T>> {
        let what = format!("{}, or an array of them", self.what);
        let Kind { parse, print, expected, .. } = self;
        let parse = move |cell: &Cell<'_>, expected: &str| match cell.items() {
            Some(items) => {
                let read: Vec<Option<T>> = items.iter().map(|item| parse(item, expected)).collect();
                read.into_iter().collect()
            }
            None => Some(vec![parse(cell, expected)?]),
        };
        let print = move |values: &Vec<T>| {
            let items: Vec<String> = values.iter().map(&print).collect();
            format!("[{}]", items.join(", "))
        };
        Kind::new(what, expected, parse, print, Vec::new)
    }

    /// The value, or `false` for none.
    pub fn or_false(self) -> Kind<Option<T>> {
        let what = format!("{}, or false", self.what);
        let Kind { parse, print, expected, .. } = self;
        let parse = move |cell: &Cell<'_>, expected: &str| match &cell.node().value {
            super::document::Value::Bool(false) => Some(None),
            _ => parse(cell, expected).map(Some),
        };
        let print = move |value: &Option<T>| value.as_ref().map_or("false".to_owned(), &print);
        Kind::new(what, format!("{expected}, or false"), parse, print, || None)
    }
}

impl<T: Clone + PartialEq + 'static> Kind<T> {
    /// One of a few words. `words` is not empty.
    pub fn choice(words: &'static [(&'static str, T)]) -> Kind<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let what = match names.split_last() {
            Some((last, [])) => format!("\"{last}\""),
            Some((last, rest)) => format!("\"{}\" or \"{last}\"", rest.join("\", \"")),
            None => String::new(),
        };
        let parse = |cell: &Cell<'_>, expected: &str| {
            let Some(text) = cell.text() else {
                cell.mismatch(expected);
                return None;
            };
            let chosen = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| value.clone());
            if chosen.is_none() {
                cell.refuse(expected);
            }
            chosen
        };
        let print = |value: &T| {
            let word = words.iter().find(|(_, other)| other == value).map_or("", |(word, _)| *word);
            format!("\"{word}\"")
        };
        let placeholder = || match words {
            [(_, first), ..] => first.clone(),
            [] => unreachable!("a choice has words"),
        };
        Kind::new(what.clone(), what, parse, print, placeholder)
    }
}

impl<T: PartialOrd + Clone + 'static> Kind<T> {
    /// Values within bounds.
    pub fn within(self, bounds: RangeInclusive<T>) -> Kind<T> {
        let (low, high) = (self.print(bounds.start()), self.print(bounds.end()));
        let words = format!("{} from {} to {}", self.what, low.replace('"', ""), high.replace('"', ""));
        let article = if words.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        let expected = format!("{article} {words}");
        let kind = self.only(expected.clone(), move |value| bounds.contains(value)).called(words);
        Kind { expected, ..kind }
    }
}

/// A knob that is being defined; one of `default`, `required`, `optional`, `inherit` ends the definition and reads.
#[must_use]
pub struct Knob<'s, 'r, T> {
    section: &'s Section<'r>,
    name: &'static str,
    kind: Kind<T>,
    doc: &'static str,
    apply: Apply,
    example: Option<&'static str>,
}

impl<'s, 'r, T: 'static> Knob<'s, 'r, T> {
    pub(super) fn new(section: &'s Section<'r>, name: &'static str, kind: Kind<T>) -> Self {
        Knob { section, name, kind, doc: "", apply: Apply::Reload, example: None }
    }

    /// What it means: whole sentences, the unit where the type does not say it.
    pub fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// A change needs a new process.
    pub fn restart(mut self) -> Self {
        self.apply = Apply::Restart;
        self
    }

    /// A value as TOML that the reference shows where there is no default.
    pub fn example(mut self, toml: &'static str) -> Self {
        self.example = Some(toml);
        self
    }

    /// The unit of a number: "connections".
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.kind.what = format!("{} ({unit})", self.kind.what);
        self
    }

    /// Values for which `holds` is true; `expected` says which these are.
    pub fn only(mut self, expected: impl Into<String>, holds: impl Fn(&T) -> bool + 'static) -> Self {
        self.kind = self.kind.only(expected, holds);
        self
    }

    /// The value, `value` where the file does not set it.
    pub fn default(self, value: T) -> T {
        let text = self.kind.print(&value);
        self.read(Default::Value(text.clone()), Some(text)).unwrap_or(value)
    }

    /// The value, that of the TOML `toml` where the file does not set it: for what has no other spelling.
    pub fn default_toml(self, toml: &'static str) -> T {
        let value = self.section.read_default(self.name, toml, &self.kind);
        self.read(Default::Value(toml.to_owned()), None).unwrap_or(value)
    }

    /// The value, `value` where the file does not set it: found out at start, as `words` say.
    pub fn default_found(self, value: T, words: &'static str) -> T {
        let text = self.kind.print(&value);
        self.read(Default::Found(words), Some(text)).unwrap_or(value)
    }

    /// The value, that of the key `from` where the file does not set it.
    pub fn inherit(self, value: T, from: &str) -> T {
        let text = self.kind.print(&value);
        self.read(Default::As(from.to_owned(), text.clone()), Some(text)).unwrap_or(value)
    }

    /// The value; where the file does not set it, that of the same key in the table `from`, if there is one.
    pub fn fallback(self, value: T, from: Option<&str>) -> T {
        match from {
            Some(table) => {
                let key = join(table, self.name);
                self.inherit(value, &key)
            }
            None => self.default(value),
        }
    }

    /// The value, if the file sets it.
    pub fn optional(self) -> Option<T> {
        self.read(Default::Unset, None)
    }

    /// The value; a fault where the file does not set it.
    pub fn required(self) -> T {
        let (section, name) = (self.section, self.name);
        let placeholder = self.kind.placeholder();
        if section.take(name).is_none() && !section.is_describing() {
            let path = join(section.path(), name);
            let what = self.kind.what.clone();
            let mut fault = section.fault_at(name, FaultKind::Missing, format!("`{path}` is missing"));
            fault = fault.label(format!("needs `{name}`")).expected(what);
            if let Some(example) = self.example {
                fault = fault.help(format!("for example: {name} = {example}"));
            }
            section.report(fault);
        }
        self.read(Default::Required, None).unwrap_or(placeholder)
    }

    fn read(self, default: Default, default_text: Option<String>) -> Option<T> {
        let entry = self.section.take(self.name);
        let path = join(self.section.path(), self.name);
        let value = entry.and_then(|entry| self.kind.read(&self.section.cell(&entry.node, path)));
        let mut record = KnobRecord::new(self.name, self.doc, &self.kind.what, default);
        record.effective = record.effective.or(default_text);
        record.apply = self.apply;
        record.example = self.example;
        self.section.record_knob(match entry {
            Some(entry) => record.set(&entry.node, self.section.source_of()),
            None => record,
        });
        value
    }
}

impl<T: PartialOrd + Clone + 'static> Knob<'_, '_, T> {
    /// Only values from `low` to `high`.
    pub fn between(mut self, low: T, high: T) -> Self {
        self.kind = self.kind.within(low..=high);
        self
    }
}
