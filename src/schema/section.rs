//! The cursor that reads one table, and records what it reads.
//!
//! A room writes `Settings::read(section)` once; the same code runs over a file (values, faults, what is
//! in effect) and over nothing ([`Reader::describe`]), which yields every knob for the reference.

use std::cell::{Cell as StdCell, RefCell};

use super::cell::Cell;
use super::document::{Document, Entry, Node, Span, Table, join};
use super::fault::{Fault, FaultKind};
use super::knob::{Kind, Knob, Typed};
use super::nearest::nearest;
use super::record::{Default, Findings, KnobRecord, Record, SectionRecord, Shape};
use super::secret::{HIDDEN, is_secret};

/// Faults told of one file; that there are more is the last.
const FAULTS_MAX: usize = 500;

/// One pass over a document.
pub struct Reader<'d> {
    pub(super) document: &'d Document,
    /// Where `config_get` looks: the file, also while a default is read.
    pub(super) file: &'d Document,
    describes: bool,
    facts: Vec<(&'static str, String)>,
    state: RefCell<Findings>,
}

impl<'d> Reader<'d> {
    /// Reads `document`.
    pub fn new(document: &'d Document) -> Reader<'d> {
        let state = RefCell::new(Findings { faults: Vec::new(), records: Vec::new() });
        Reader { document, file: document, describes: false, facts: Vec::new(), state }
    }

    /// Runs over nothing and shows each repeated table once, under the name `<id>`. `document` is an empty one.
    pub fn describe(document: &'d Document) -> Reader<'d> {
        Reader { describes: true, ..Reader::new(document) }
    }

    /// What `key` means where the file does not set it: facts of this machine, such as its name.
    pub fn with_fact(mut self, key: &'static str, value: String) -> Reader<'d> {
        self.facts.push((key, value));
        self
    }

    /// Reads the whole file with `read`.
    pub fn read<T>(self, read: impl FnOnce(&Section<'_>) -> T) -> (T, Findings) {
        let value = {
            let root = Section {
                reader: &self,
                table: Some(self.document.root()),
                span: None,
                path: String::new(),
                pattern: String::new(),
                known: RefCell::default(),
                ignored: RefCell::default(),
                takes_all: StdCell::new(false),
            };
            let value = read(&root);
            root.finish();
            value
        };
        (value, self.state.into_inner())
    }

    pub(super) fn fault(&self, fault: Fault) {
        let mut state = self.state.borrow_mut();
        match state.faults.len() {
            0..FAULTS_MAX => state.faults.push(fault),
            FAULTS_MAX => {
                let title = format!("more than {FAULTS_MAX} faults: the others are not told");
                state.faults.push(Fault::new(FaultKind::Unknown, "", title));
            }
            _ => {}
        }
    }

    fn record(&self, record: Record) {
        self.state.borrow_mut().records.push(record);
    }

    pub(super) fn fact(&self, key: &str) -> Option<&str> {
        self.facts.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }
}

/// What `read` gives where the file says nothing: the defaults of a room, from its one definition of them.
pub fn defaults<T>(read: impl FnOnce(&Section<'_>) -> T) -> T {
    // The one fact that defaults refer to.
    Reader::new(&Document::empty()).with_fact("server.hostname", "localhost".to_owned()).read(read).0
}

/// A table that is being read. Keys nobody asks for are faults when the reading of the table ends.
pub struct Section<'r> {
    reader: &'r Reader<'r>,
    table: Option<&'r Table>,
    span: Option<Span>,
    path: String,
    pattern: String,
    known: RefCell<Vec<&'static str>>,
    ignored: RefCell<Vec<&'static str>>,
    /// Every key is of one kind: none is unknown.
    takes_all: StdCell<bool>,
}

impl<'r> Section<'r> {
    /// The full key of the table: `server.listener.smtp`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the file has this table at all.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether this pass only describes.
    pub fn is_describing(&self) -> bool {
        self.reader.describes
    }

    /// Whether the file sets `name` in this table.
    pub fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.find(name).is_some())
    }

    /// The knob `name` of a type that says itself how it is written.
    pub fn key<T: Typed + 'static>(&self, name: &'static str) -> Knob<'_, 'r, T> {
        self.knob(name, T::kind())
    }

    /// The knob `name`, read by `kind`.
    pub fn knob<T: 'static>(&self, name: &'static str, kind: Kind<T>) -> Knob<'_, 'r, T> {
        Knob::new(self, name, kind)
    }

    /// The knob `name`, one of a few words.
    pub fn choice<T: Clone + PartialEq + 'static>(
        &self,
        name: &'static str,
        words: &'static [(&'static str, T)],
    ) -> Knob<'_, 'r, T> {
        self.knob(name, Kind::choice(words))
    }

    /// The table `name`. `doc` says what it is for.
    pub fn table<T>(&self, name: &'static str, doc: &'static str, read: impl FnOnce(&Section<'_>) -> T) -> T {
        let entry = self.take(name);
        let table = entry.and_then(|entry| self.expect_table(name, &entry.node));
        self.enter(table.zip(entry.map(|entry| entry.span.clone())), name, name, doc, Shape::Table, read)
    }

    /// The tables under `name`, each with a name of the operator's choice, in the order of the file.
    pub fn named<T>(
        &self,
        name: &'static str,
        doc: &'static str,
        mut read: impl FnMut(&Section<'_>, &str) -> T,
    ) -> Vec<(String, T)> {
        let entry = self.take(name);
        if self.reader.describes {
            self.repeat(None, name, "<id>", "<id>", doc, Shape::Named, |section| read(section, "id"));
            return Vec::new();
        }
        let Some(table) = entry.and_then(|entry| self.expect_table(name, &entry.node)) else { return Vec::new() };
        let mut items = Vec::with_capacity(table.entries.len());
        for Entry { key, span, node } in &table.entries {
            match node.as_table() {
                Some(inner) => {
                    let place = Some((inner, span.clone()));
                    let item = self.repeat(place, name, key, "<id>", doc, Shape::Named, |section| read(section, key));
                    items.push((key.clone(), item));
                }
                None => self.reader.fault(
                    Fault::new(FaultKind::Type, join(&join(&self.path, name), key), format!("`{key}` is no table"))
                        .at(span.clone())
                        .found(node.kind())
                        .expected(format!("a table, as in [{}.{key}]", join(&self.path, name))),
                ),
            }
        }
        items
    }

    /// The tables of `[[name]]`, in order; tables under names are taken as well.
    pub fn items<T>(&self, name: &'static str, doc: &'static str, mut read: impl FnMut(&Section<'_>) -> T) -> Vec<T> {
        let entry = self.take(name);
        if self.reader.describes {
            self.enter(None, name, name, doc, Shape::Items, read);
            return Vec::new();
        }
        let Some(entry) = entry else { return Vec::new() };
        let nodes: Vec<(Option<&str>, &Node)> = match (entry.node.as_items(), entry.node.as_table()) {
            (Some(items), _) => items.into_iter().map(|node| (None, node)).collect(),
            (None, Some(table)) => table.entries.iter().map(|entry| (Some(entry.key.as_str()), &entry.node)).collect(),
            (None, None) => {
                self.not_a(name, &entry.node, &format!("tables, as in [[{}]]", join(&self.path, name)));
                return Vec::new();
            }
        };
        let mut items = Vec::with_capacity(nodes.len());
        for (index, (key, node)) in nodes.into_iter().enumerate() {
            let Some(table) = node.as_table() else {
                self.not_a(name, node, "a table");
                continue;
            };
            let label = match key {
                Some(key) => join(name, key),
                None => format!("{name}[{index}]"),
            };
            let place = Some((table, node.span.clone()));
            items.push(self.enter(place, &label, name, doc, Shape::Items, &mut read));
        }
        items
    }

    /// The keys of the table `name` as a map of values of one kind, in the order of the file.
    pub fn map<T: 'static>(
        &self,
        name: &'static str,
        doc: &'static str,
        entry_doc: &'static str,
        kind: &Kind<T>,
    ) -> Vec<(String, T)> {
        let entry = self.take(name);
        let place = entry.and_then(|entry| Some((self.expect_table(name, &entry.node)?, entry.span.clone())));
        self.enter(place, name, name, doc, Shape::Table, |s| s.map_entries(entry_doc, kind))
    }

    /// All tables of this table, each a map of values of one kind, in the order of the file.
    pub fn named_maps<T: 'static>(
        &self,
        doc: &'static str,
        entry_doc: &'static str,
        kind: &Kind<T>,
    ) -> Vec<(String, Vec<(String, T)>)> {
        self.takes_all.set(true);
        if self.reader.describes {
            let (path, pattern) = (join(&self.path, "<id>"), join(&self.pattern, "<id>"));
            self.run(None, path, pattern, doc, Shape::Named, |s| s.map_entries(entry_doc, kind));
        }
        let mut maps = Vec::new();
        for Entry { key, span, node } in self.table.map_or(&[][..], |table| &table.entries) {
            let Some(table) = self.expect_table(key, node) else { continue };
            let (path, pattern) = (join(&self.path, key), join(&self.pattern, "<id>"));
            let place = Some((table, span.clone()));
            maps.push((
                key.clone(),
                self.run(place, path, pattern, doc, Shape::Named, |s| s.map_entries(entry_doc, kind)),
            ));
        }
        maps
    }

    /// All keys of this table that nobody asked for yet, as a map of values of one kind.
    pub fn map_entries<T: 'static>(&self, doc: &'static str, kind: &Kind<T>) -> Vec<(String, T)> {
        if self.reader.describes {
            let record = KnobRecord::new("KEY", doc, kind.what(), Default::Unset);
            self.record_knob(KnobRecord { example: Some("true"), ..record });
        }
        let Some(table) = self.table else { return Vec::new() };
        let asked = self.known.borrow().clone();
        self.takes_all.set(true);
        let mut values = Vec::with_capacity(table.entries.len());
        for entry in table.entries.iter().filter(|entry| !asked.contains(&entry.key.as_str())) {
            let cell = self.cell(&entry.node, join(&self.path, &entry.key));
            values.extend(kind.read(&cell).map(|value| (entry.key.clone(), value)));
            let record = KnobRecord::new(&entry.key, doc, kind.what(), Default::Unset);
            self.record_knob(record.set(&entry.node, self.source_of()));
        }
        values
    }

    /// `name` belongs to the reference product, not to us: taken, and said so.
    pub fn foreign(&self, name: &'static str, why: &'static str) {
        self.ignore(name, FaultKind::Foreign, why);
    }

    /// `name` is of our vocabulary, but this release does not act on it: taken, and said so.
    pub fn not_yet(&self, name: &'static str, why: &'static str) {
        self.ignore(name, FaultKind::NotYet, why);
    }

    /// A fault of this table as a whole.
    pub fn fault(&self, kind: FaultKind, title: impl Into<String>) -> Fault {
        let fault = Fault::new(kind, self.path.clone(), title);
        match &self.span {
            Some(span) => fault.at(span.clone()),
            None => fault,
        }
    }

    /// A fault at the value of `name`, or at the table where the file does not set it.
    pub fn fault_at(&self, name: &str, kind: FaultKind, title: impl Into<String>) -> Fault {
        let mut fault = self.fault(kind, title);
        fault.key = join(&self.path, name);
        match self.table.and_then(|table| table.find(name)) {
            Some(entry) => fault.at(entry.node.span.clone()),
            None => fault,
        }
    }

    /// A fault at `name` of the table `path` (from the top, ids as they are), or at the nearest table that is there.
    pub fn fault_in(&self, path: &[&str], kind: FaultKind, title: impl Into<String>) -> Fault {
        let mut key = String::new();
        let mut place = None;
        let mut table = Some(self.reader.document.root());
        for (depth, part) in path.iter().enumerate() {
            key = join(&key, part);
            let Some(entry) = table.and_then(|table| table.find(part)) else {
                table = None;
                continue;
            };
            let is_last = depth + 1 == path.len();
            place = Some(if is_last { entry.node.span.clone() } else { entry.span.clone() });
            table = entry.node.as_table();
        }
        let fault = Fault::new(kind, key, title);
        match place {
            Some(span) => fault.at(span),
            None => fault,
        }
    }

    /// The value of the file at `path` from the top, for checks that no single room can make.
    pub fn value_at(&self, path: &[&str]) -> Option<Cell<'_>> {
        let (last, above) = path.split_last()?;
        let mut table = self.reader.document.root();
        for part in above {
            table = table.find(part)?.node.as_table()?;
        }
        let key = path.iter().fold(String::new(), |key, part| join(&key, part));
        Some(Cell::new(self.reader, &table.find(last)?.node, key))
    }

    /// A fault at a key given as one text, in which elements of arrays are numbers: `directory.x.principals.0.email`.
    pub fn fault_at_key(&self, key: &str, kind: FaultKind, title: impl Into<String>) -> Fault {
        let mut table = Some(self.reader.document.root());
        let mut items: Option<Vec<&Node>> = None;
        let mut rest = key;
        let mut place: Option<Span> = None;
        while !rest.is_empty() {
            let node = if let Some(items) = items.take() {
                let (number, after) = rest.split_once('.').unwrap_or((rest, ""));
                rest = after;
                number.parse::<usize>().ok().and_then(|number| items.get(number).copied())
            } else {
                // Names of the operator's choice may hold dots: the longest key that fits is meant.
                let fits =
                    |entry: &&Entry| rest.strip_prefix(&entry.key).is_some_and(|r| r.is_empty() || r.starts_with('.'));
                let entry = table.and_then(|t| t.entries.iter().filter(fits).max_by_key(|entry| entry.key.len()));
                rest = entry.map_or("", |entry| rest[entry.key.len()..].trim_start_matches('.'));
                entry.map(|entry| &entry.node)
            };
            let Some(node) = node else { break };
            place = Some(node.span.clone());
            (table, items) = (node.as_table().filter(|t| t.as_flattened().is_none()), node.as_items());
        }
        let fault = Fault::new(kind, key, title);
        match place {
            Some(span) => fault.at(span),
            None => fault,
        }
    }

    /// What `key` means where the file does not set it, if it is a fact of this machine.
    pub fn fact(&self, key: &str) -> Option<&str> {
        self.reader.fact(key)
    }

    /// Faults told so far in the whole file, warnings not counted.
    pub fn fault_count(&self) -> usize {
        self.reader.state.borrow().faults.iter().filter(|fault| !fault.kind.is_warning()).count()
    }

    /// Whether a fault was told of a key under one of these at the top, warnings not counted.
    pub fn has_fault_under(&self, tops: &[&str]) -> bool {
        let state = self.reader.state.borrow();
        let is_under = |fault: &Fault| tops.contains(&fault.key.split('.').next().unwrap_or_default());
        state.faults.iter().any(|fault| !fault.kind.is_warning() && is_under(fault))
    }

    /// Puts `fault` with the others.
    pub fn report(&self, fault: Fault) {
        if !self.reader.describes {
            self.reader.fault(fault);
        }
    }

    /// At most one of `names` may be set; a fault if the file sets two.
    pub fn exclusive(&self, names: &[&'static str]) {
        let set: Vec<_> = names.iter().filter_map(|name| self.table?.find(name)).collect();
        if let [first, second, ..] = set[..] {
            let title = format!("`{}` and `{}` exclude each other", first.key, second.key);
            self.reader.fault(
                Fault::new(FaultKind::Conflict, join(&self.path, &second.key), title)
                    .at(second.span.clone())
                    .label("remove one of the two")
                    .also(first.span.clone(), "the other one"),
            );
        }
    }

    pub(super) fn take(&self, name: &'static str) -> Option<&'r Entry> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&name) {
            known.push(name);
        }
        self.table?.find(name)
    }

    pub(super) fn cell<'s>(&'s self, node: &'s Node, path: String) -> Cell<'s> {
        Cell::new(self.reader, node, path)
    }

    /// The value of a default that is written as TOML.
    pub(super) fn read_default<T: 'static>(&self, name: &str, toml: &str, kind: &Kind<T>) -> T {
        let (document, mut faults) = Document::parse("default", &format!("value = {toml}"));
        let reader = Reader { file: self.reader.file, facts: self.reader.facts.clone(), ..Reader::new(&document) };
        let value =
            document.find("value").and_then(|node| kind.read(&Cell::new(&reader, node, join(&self.path, name))));
        faults.append(&mut reader.state.borrow_mut().faults);
        for fault in faults {
            // Never met: a test reads every default.
            let title =
                format!("the default of `{}` is broken: {} {}", join(&self.path, name), fault.title, fault.words());
            self.reader.fault(Fault::new(fault.kind, join(&self.path, name), title));
        }
        value.unwrap_or_else(|| kind.placeholder())
    }

    pub(super) fn record_knob(&self, mut record: KnobRecord) {
        record.path = join(&self.path, &record.name);
        record.pattern = join(&self.pattern, &record.name);
        if is_secret(&record.name) && record.effective.is_some() {
            record.effective = Some(format!("\"{HIDDEN}\""));
        }
        self.reader.record(Record::Knob(record));
    }

    /// How the file spells a value.
    pub(super) fn source_of(&self) -> impl Fn(&Node) -> String + use<'r> {
        let document = self.reader.document;
        move |node| document.source(&node.span).to_owned()
    }

    fn ignore(&self, name: &'static str, kind: FaultKind, why: &'static str) {
        self.ignored.borrow_mut().push(name);
        let Some(entry) = self.table.and_then(|table| table.find(name)) else { return };
        let path = join(&self.path, name);
        let title = match kind {
            FaultKind::NotYet => format!("`{path}` has no effect yet"),
            _ => format!("`{path}` is accepted and ignored"),
        };
        self.reader.fault(Fault::new(kind, path, title).at(entry.span.clone()).label(why));
    }

    fn record_section(&self, path: &str, pattern: &str, doc: &'static str, shape: Shape) {
        let record = SectionRecord { path: path.to_owned(), pattern: pattern.to_owned(), doc, shape };
        self.reader.record(Record::Section(record));
    }

    fn enter<'t, T>(
        &'t self,
        place: Option<(&'t Table, Span)>,
        label: &str,
        name: &'static str,
        doc: &'static str,
        shape: Shape,
        read: impl FnOnce(&Section<'_>) -> T,
    ) -> T {
        let path = if label == name { join(&self.path, name) } else { prefixed(&self.path, label) };
        self.run(place, path, join(&self.pattern, name), doc, shape, read)
    }

    #[expect(clippy::too_many_arguments, reason = "one private step of `named`; a struct would be read once")]
    fn repeat<'t, T>(
        &'t self,
        place: Option<(&'t Table, Span)>,
        name: &'static str,
        key: &str,
        pattern: &str,
        doc: &'static str,
        shape: Shape,
        read: impl FnOnce(&Section<'_>) -> T,
    ) -> T {
        let path = join(&join(&self.path, name), key);
        self.run(place, path, join(&join(&self.pattern, name), pattern), doc, shape, read)
    }

    fn run<'t, T>(
        &'t self,
        place: Option<(&'t Table, Span)>,
        path: String,
        pattern: String,
        doc: &'static str,
        shape: Shape,
        read: impl FnOnce(&Section<'_>) -> T,
    ) -> T {
        self.record_section(&path, &pattern, doc, shape);
        let (table, span) = place.unzip();
        let span = span.or_else(|| self.span.clone());
        let section = Section {
            reader: self.reader,
            table,
            span,
            path,
            pattern,
            known: RefCell::default(),
            ignored: RefCell::default(),
            takes_all: StdCell::new(false),
        };
        let value = read(&section);
        section.finish();
        value
    }

    fn expect_table(&self, name: &str, node: &'r Node) -> Option<&'r Table> {
        let table = node.as_table();
        if table.is_none() {
            self.not_a(name, node, &format!("a table, as in [{}]", join(&self.path, name)));
        }
        table
    }

    fn not_a(&self, name: &str, node: &Node, expected: &str) {
        let path = join(&self.path, name);
        let title = format!("wrong value for `{path}`");
        let fault = Fault::new(FaultKind::Type, path, title).at(node.span.clone()).found(node.kind());
        self.reader.fault(fault.expected(expected));
    }

    /// Whatever was not asked for is unknown.
    fn finish(self) {
        let Some(table) = self.table.filter(|_| !self.takes_all.get()) else { return };
        let (known, ignored) = (self.known.borrow(), self.ignored.borrow());
        let is_asked = |entry: &&Entry| [&known, &ignored].iter().any(|names| names.contains(&entry.key.as_str()));
        for entry in table.entries.iter().filter(|entry| !is_asked(entry)) {
            let path = join(&self.path, &entry.key);
            let place = if self.path.is_empty() { "the file".to_owned() } else { format!("[{}]", self.path) };
            let mut fault = Fault::new(FaultKind::Unknown, &path, format!("unknown key `{path}`"))
                .at(entry.span.clone())
                .label(format!("nothing of that name in {place}"));
            if let Some(meant) = nearest(&entry.key, known.iter().copied()) {
                fault = fault.expected(format!("`{meant}`")).help(format!("did you mean `{meant}`?"));
            } else if !known.is_empty() && known.len() <= 12 {
                let mut names = known.clone();
                names.sort_unstable();
                fault = fault.help(format!("{place} has: {}", names.join(", ")));
            }
            self.reader.fault(fault);
        }
    }
}

fn prefixed(path: &str, label: &str) -> String {
    if path.is_empty() { label.to_owned() } else { format!("{path}.{label}") }
}
