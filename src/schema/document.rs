//! A configuration file as values that know where they stand.
//!
//! [`Document::parse`] keeps the text, so that every fault can show the line it is about. Depth is
//! bounded by the TOML parser (it refuses deep nesting), length by [`TEXT_BYTES_MAX`].

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, FaultKind};
use super::text::Text;

/// Octets of one configuration file: beyond it the file is refused unread (lists belong in stores).
pub const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Octets of the source between two byte offsets.
pub type Span = Range<usize>;

/// One parsed file.
#[derive(Debug, Clone)]
pub struct Document {
    name: String,
    text: String,
    root: Table,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// The octets of the value; for a table written with a header, the header.
    pub span: Span,
    /// The value.
    pub value: Value,
}

/// What a value is.
#[derive(Debug, Clone)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// An integer of 64 bits.
    Integer(i64),
    /// A number with a fraction.
    Float(f64),
    /// A string, decoded.
    Text(Text),
    /// A date or a time; no setting takes one.
    Datetime,
    /// `[ … ]` or `[[ … ]]`.
    Array(Vec<Node>),
    /// `{ … }`, `[ … ]` as a header, or dotted keys.
    Table(Table),
}

/// The entries of a table, in the order of the file.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Key, where the key stands, and its value.
    pub entries: Vec<Entry>,
}

/// One key of a table.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key, decoded.
    pub key: String,
    /// Where the key stands (its first mention, for a table mentioned often).
    pub span: Span,
    /// The value.
    pub node: Node,
}

impl Table {
    /// The value of `key`.
    pub fn find(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The values of a table that spells an array by its keys (`0`, `1`, … as in `key.0.if`), in that order.
    pub fn as_flattened(&self) -> Option<Vec<&Node>> {
        let numbered = |entry: &Entry| entry.key.bytes().all(|octet| octet.is_ascii_digit()) && entry.key.len() < 10;
        if self.entries.is_empty() || !self.entries.iter().all(numbered) {
            return None;
        }
        let mut items: Vec<_> =
            self.entries.iter().map(|entry| (entry.key.parse::<u64>().unwrap_or(u64::MAX), &entry.node)).collect();
        items.sort_by_key(|(number, _)| *number);
        Some(items.into_iter().map(|(_, node)| node).collect())
    }
}

impl Node {
    /// The table, if it is one.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The elements of an array, also of one that is spelled by numbered keys.
    pub fn as_items(&self) -> Option<Vec<&Node>> {
        match &self.value {
            Value::Array(items) => Some(items.iter().collect()),
            Value::Table(table) => table.as_flattened(),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn as_text(&self) -> Option<&Text> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The kind of value in words: `a string`.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Bool(_) => "a boolean",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number with a fraction",
            Value::Text(_) => "a string",
            Value::Datetime => "a date or time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

impl Document {
    /// Reads `text`; faults are those of the TOML language. The document holds what could be read.
    pub fn parse(name: &str, text: &str) -> (Document, Vec<Fault>) {
        let mut document = Document { name: name.to_owned(), text: text.to_owned(), root: Table::default() };
        if text.len() > TEXT_BYTES_MAX {
            document.text.clear();
            let fault = Fault::new(FaultKind::Syntax, "", "the file is too large")
                .found(format!("{} bytes", text.len()))
                .expected(format!("at most {TEXT_BYTES_MAX} bytes"));
            return (document, vec![fault]);
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut faults: Vec<Fault> = errors.iter().map(|error| syntax_fault(text, error)).collect();
        faults.dedup_by(|a, b| a.span == b.span && a.title == b.title);
        document.root = convert_table(table.get_ref(), text, &mut faults);
        (document, faults)
    }

    /// A document without a key.
    pub fn empty() -> Document {
        Document { name: "reference".to_owned(), text: String::new(), root: Table::default() }
    }

    /// The name the file goes by in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The keys at the top.
    pub fn root(&self) -> &Table {
        &self.root
    }

    pub(super) fn root_mut(&mut self) -> &mut Table {
        &mut self.root
    }

    /// The source of a span, empty when the span is not one of this text.
    pub fn source(&self, span: &Span) -> &str {
        self.text.get(span.clone()).unwrap_or("")
    }

    /// Line and column of an offset, both from 1; the column counts characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
    }

    /// The value of a dotted path whose segments need no quotes, such as `server.hostname`.
    pub fn find(&self, path: &str) -> Option<&Node> {
        let mut segments = path.split('.');
        let mut node = &self.root.find(segments.next()?)?.node;
        for segment in segments {
            node = &node.as_table()?.find(segment)?.node;
        }
        Some(node)
    }
}

/// `path` with one more key, quoted if it needs quotes.
pub fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet));
    let key = if bare || key.starts_with('<') { key.to_owned() } else { format!("{key:?}") };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn convert_table(table: &DeTable<'_>, text: &str, faults: &mut Vec<Fault>) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            span: key.span(),
            node: convert(value, text, faults),
        })
        .collect();
    entries.sort_by_key(|entry| entry.span.start);
    Table { entries }
}

fn convert(node: &Spanned<DeValue<'_>>, text: &str, faults: &mut Vec<Fault>) -> Node {
    let span = node.span();
    let value = match node.get_ref() {
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(value) => {
            let digits = value.as_str().replace('_', "");
            match i64::from_str_radix(&digits, value.radix()) {
                Ok(value) => Value::Integer(value),
                Err(_) => {
                    let found = text.get(span.clone()).unwrap_or_default().to_owned();
                    let fault = Fault::new(FaultKind::Syntax, "", "an integer that does not fit")
                        .at(span.clone())
                        .found(found)
                        .expected("an integer of 64 bits");
                    faults.push(fault);
                    Value::Integer(0)
                }
            }
        }
        DeValue::Float(value) => Value::Float(value.as_str().replace('_', "").parse().unwrap_or(f64::NAN)),
        DeValue::String(value) => Value::Text(Text::new(value.as_ref())),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Array(items) => Value::Array(items.iter().map(|item| convert(item, text, faults)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(table, text, faults)),
    };
    Node { span, value }
}

/// The parser's words, or better ones where an operator is likely to meet the fault.
fn syntax_fault(text: &str, error: &toml::de::Error) -> Fault {
    let span = error.span().unwrap_or(0..0);
    let message = error.message();
    if message.starts_with("missing escaped value") {
        return escape_fault(text, span);
    }
    let fault = if message == "duplicate key" {
        let key = text.get(span.clone()).unwrap_or_default();
        Fault::new(FaultKind::Duplicate, key.trim_matches('"'), format!("`{key}` is set twice"))
            .label("set before in the same table")
            .help("a key may stand once; remove one of the two")
    } else if message.starts_with("string values must be quoted") {
        Fault::new(FaultKind::Syntax, "", "a word without quotes")
            .found(format!("`{}`", text.get(span.clone()).unwrap_or_default()))
            .expected("a value: a string in quotes, a number, true, false, an array or a table")
    } else {
        Fault::new(FaultKind::Syntax, "", format!("not TOML: {message}"))
    };
    fault.at(widen(text, span))
}

/// `"\."` is no escape in TOML; regular expressions meet this first.
fn escape_fault(text: &str, span: Span) -> Fault {
    let start = text.get(..span.start).map_or(0, |before| before.rfind('\\').unwrap_or(span.start));
    let escaped = text.get(span.start..).and_then(|rest| rest.chars().next());
    let escape: String = std::iter::once('\\').chain(escaped).collect();
    let end = start + escape.len();
    Fault::new(
        FaultKind::Syntax,
        "",
        format!("`{}` is no escape in a TOML string", escape.escape_debug().to_string().replace("\\\\", "\\")),
    )
    .at(start..end.min(text.len()))
    .label("TOML knows \\b \\t \\n \\f \\r \\e \\\" \\\\ \\xHH \\uHHHH and \\UHHHHHHHH")
    .help(format!("for a regular expression write the backslash twice: `\\{escape}`"))
    .help("or write the string between ''' and ''', where a backslash is only a backslash")
}

/// An empty span shows nothing: take the character it stands at, if there is one on the line.
fn widen(text: &str, span: Span) -> Span {
    if !span.is_empty() {
        return span;
    }
    let next =
        text.get(span.start..).and_then(|rest| rest.chars().next()).filter(|next| *next != '\n' && *next != '\r');
    span.start..span.start + next.map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_the_order_of_the_file() {
        let (document, faults) = Document::parse("t", "[z]\nb = 1\na = 2\n[a]\n");
        assert!(faults.is_empty());
        let keys: Vec<_> = document.root().entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["z", "a"]);
        assert_eq!(document.find("z.a").map(|node| document.source(&node.span)), Some("2"));
    }

    #[test]
    fn positions_count_characters_from_one() {
        let (document, _) = Document::parse("t", "a = 1\nb = \"é\" # é x\n");
        assert_eq!(document.position(0), (1, 1));
        assert_eq!(document.position(document.text().find('x').expect("x is there")), (2, 13));
        assert_eq!(document.position(9999), (3, 1));
    }

    #[test]
    fn numbered_keys_spell_an_array() {
        let (document, _) = Document::parse("t", "k.0010.if = 1\nk.2.else = 2\n");
        let items = document.find("k").and_then(Node::as_items).expect("an array");
        assert!(items[0].as_table().is_some_and(|table| table.find("else").is_some()));
    }

    #[test]
    fn deep_nesting_is_refused_not_followed() {
        for text in [format!("{}a = 1", "a.".repeat(100_000)), format!("a = {}", "[".repeat(100_000))] {
            assert!(!Document::parse("t", &text).1.is_empty());
        }
    }

    #[test]
    fn keys_are_quoted_where_they_must() {
        assert_eq!(join("server.listener", "smtp"), "server.listener.smtp");
        assert_eq!(join("a", "b.c"), "a.\"b.c\"");
        assert_eq!(join("", "x"), "x");
    }
}
