//! Strings whose every octet can be traced back into the file, and the macros inside them.
//!
//! `%{env:NAME}%` is a variable of the environment, `%{file:/path}%` the contents of a file (without
//! its last line end), `%{cfg:key}%` another key of the same file. What comes from outside is taken to be a
//! secret: messages show the macro, never what it stands for.

use super::document::{Document, Node, Span, Table, Value, join};
use super::fault::{Fault, FaultKind};

/// `%{cfg:…}%` may name a key that holds a macro, this many times over.
const MACRO_DEPTH_MAX: usize = 8;
/// Octets that one macro may stand for.
const MACRO_BYTES_MAX: usize = 1024 * 1024;

/// What macros ask of the world outside the file.
pub trait Environment {
    /// The variable `name` of the environment.
    fn variable(&self, name: &str) -> Option<String>;
    /// The contents of the file at `path`; the error is words for people.
    fn file(&self, path: &str) -> Result<String, String>;
}

/// A decoded string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    value: String,
    /// Where macros stood, in order; empty for nearly every string.
    marks: Vec<Mark>,
}

/// `value_len` octets at `value_at` replaced `decoded_len` octets at `decoded_at`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    value_at: usize,
    value_len: usize,
    decoded_at: usize,
    decoded_len: usize,
}

impl Text {
    /// A string without macros.
    pub fn new(value: &str) -> Text {
        Text { value: value.to_owned(), marks: Vec::new() }
    }

    /// The string, macros replaced.
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// Whether a macro brought in something that the file does not show.
    pub fn has_macros(&self) -> bool {
        !self.marks.is_empty()
    }

    /// The offset in the decoded string, before macros, of an offset in the value.
    fn decoded(&self, at: usize) -> usize {
        let mut shift = 0isize;
        for mark in &self.marks {
            if at < mark.value_at {
                break;
            }
            if at < mark.value_at + mark.value_len {
                return mark.decoded_at;
            }
            shift = (mark.decoded_at + mark.decoded_len) as isize - (mark.value_at + mark.value_len) as isize;
        }
        at.saturating_add_signed(shift)
    }
}

/// Where the octets `range` of a string's value stand in the file. `node` is the string.
pub fn locate(document: &Document, node: &Node, range: Span) -> Span {
    let Some(text) = node.as_text() else { return node.span.clone() };
    let raw = document.source(&node.span);
    let start = raw_offset(raw, text.decoded(range.start));
    let end = raw_offset(raw, text.decoded(range.end)).max(start);
    node.span.start + start..node.span.start + end
}

/// The offset in a TOML string, as written, of the octet `target` of what it decodes to.
fn raw_offset(raw: &str, target: usize) -> usize {
    let (open, is_literal) = match raw {
        _ if raw.starts_with("'''") => (3, true),
        _ if raw.starts_with("\"\"\"") => (3, false),
        _ if raw.starts_with('\'') => (1, true),
        _ if raw.starts_with('"') => (1, false),
        _ => (0, true),
    };
    let mut rest = &raw[open..];
    if open == 3 {
        rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
    }
    let mut decoded = 0;
    while decoded < target {
        let Some((written, meant)) = next_character(rest, is_literal) else { break };
        rest = &rest[written..];
        decoded += meant;
    }
    // A line-ending backslash before the octet belongs to what came before it.
    if !is_literal && rest.starts_with("\\") && next_character(rest, false).is_some_and(|(_, meant)| meant == 0) {
        rest = &rest[next_character(rest, false).map_or(0, |(written, _)| written)..];
    }
    raw.len() - rest.len()
}

/// Octets of the next character as written and as decoded.
fn next_character(rest: &str, is_literal: bool) -> Option<(usize, usize)> {
    let first = rest.chars().next()?;
    if is_literal || first != '\\' {
        return Some((first.len_utf8(), first.len_utf8()));
    }
    let escape = rest[1..].chars().next()?;
    let digits = match escape {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        'b' | 't' | 'n' | 'f' | 'r' | 'e' | '"' | '\\' => return Some((2, 1)),
        ' ' | '\t' | '\r' | '\n' => {
            let blank = rest[1..].len() - rest[1..].trim_start_matches([' ', '\t', '\r', '\n']).len();
            return Some((1 + blank, 0));
        }
        // No escape: the parser keeps it as it is written.
        other => return Some((1 + other.len_utf8(), 1 + other.len_utf8())),
    };
    let code = rest.get(2..2 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    Some((2 + digits.min(rest.len().saturating_sub(2)), code.and_then(char::from_u32).map_or(1, char::len_utf8)))
        .filter(|(written, _)| rest.is_char_boundary(*written))
}

/// Replaces the macros of every string in `document`.
pub fn expand(document: &mut Document, environment: &dyn Environment) -> Vec<Fault> {
    if !document.text().contains("%{") {
        return Vec::new();
    }
    let original = document.clone();
    let mut faults = Vec::new();
    let expander = Expander { original: &original, environment };
    expander.table(document.root_mut(), "", &mut faults);
    faults
}

struct Expander<'a> {
    original: &'a Document,
    environment: &'a dyn Environment,
}

/// Why a macro has no value, and the octets of the string it is about.
struct MacroFault {
    span: Span,
    found: String,
    expected: &'static str,
}

impl Expander<'_> {
    fn table(&self, table: &mut Table, path: &str, faults: &mut Vec<Fault>) {
        for entry in &mut table.entries {
            self.node(&mut entry.node, &join(path, &entry.key), faults);
        }
    }

    fn node(&self, node: &mut Node, path: &str, faults: &mut Vec<Fault>) {
        match &mut node.value {
            Value::Text(text) if text.value.contains("%{") => match self.text(&text.value, 0) {
                Ok(expanded) => *text = expanded,
                Err(fault) => {
                    let span = locate(self.original, node, fault.span);
                    faults.push(
                        Fault::new(FaultKind::Macro, path, format!("the macro in `{path}` has no value"))
                            .at(span)
                            .found(fault.found)
                            .expected(fault.expected),
                    );
                }
            },
            Value::Array(items) => items.iter_mut().for_each(|item| self.node(item, path, faults)),
            Value::Table(table) => self.table(table, path, faults),
            _ => {}
        }
    }

    fn text(&self, source: &str, depth: usize) -> Result<Text, MacroFault> {
        let mut text = Text { value: String::with_capacity(source.len()), marks: Vec::new() };
        let mut at = 0;
        while let Some(start) = source[at..].find("%{").map(|found| at + found) {
            text.value.push_str(&source[at..start]);
            let Some(end) = source[start..].find("}%").map(|found| start + found) else {
                return Err(MacroFault {
                    span: start..source.len(),
                    found: "a macro without end".to_owned(),
                    expected: "`}%` after `%{`",
                });
            };
            let value = self.value(&source[start + 2..end], depth).map_err(|(found, expected)| MacroFault {
                span: start..end + 2,
                found,
                expected,
            })?;
            text.marks.push(Mark {
                value_at: text.value.len(),
                value_len: value.len(),
                decoded_at: start,
                decoded_len: end + 2 - start,
            });
            text.value.push_str(&value);
            at = end + 2;
        }
        text.value.push_str(&source[at..]);
        Ok(text)
    }

    /// What `name` (between the braces) stands for, or what was found and expected instead.
    fn value(&self, name: &str, depth: usize) -> Result<String, (String, &'static str)> {
        let (class, argument) = name.split_once(':').unwrap_or((name, ""));
        let value = match class {
            "env" => self.environment.variable(argument).ok_or_else(|| {
                (format!("no variable `{argument}`"), "a variable of the environment of this process")
            })?,
            "file" => self
                .environment
                .file(argument)
                .map(|contents| contents.trim_end_matches(['\n', '\r']).to_owned())
                .map_err(|why| (format!("file {argument}: {why}"), "a readable file in UTF-8"))?,
            "cfg" => self.key(argument, depth)?,
            _ => return Err((format!("`{name}`"), "env:NAME, file:/path or cfg:key between `%{` and `}%`")),
        };
        if value.len() > MACRO_BYTES_MAX {
            return Err((format!("{} bytes", value.len()), "at most 1 MiB"));
        }
        Ok(value)
    }

    fn key(&self, key: &str, depth: usize) -> Result<String, (String, &'static str)> {
        if depth >= MACRO_DEPTH_MAX {
            return Err((format!("a circle of macros through `{key}`"), "keys that do not refer to each other"));
        }
        let expected = "a key of this file that holds a string, a number or a boolean";
        match self.original.find(key).map(|node| &node.value) {
            Some(Value::Text(text)) => {
                self.text(&text.value, depth + 1).map(|text| text.value).map_err(|fault| (fault.found, fault.expected))
            }
            Some(Value::Integer(value)) => Ok(value.to_string()),
            Some(Value::Bool(value)) => Ok(value.to_string()),
            Some(other) => Err((format!("`{key}`, {}", Node { span: 0..0, value: other.clone() }.kind()), expected)),
            None => Err((format!("no key `{key}`"), expected)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Outside;

    impl Environment for Outside {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "HOST").then(|| "mx.example.org".to_owned())
        }
        fn file(&self, path: &str) -> Result<String, String> {
            if path == "/secret" { Ok("hunter2\n".to_owned()) } else { Err("no such file".to_owned()) }
        }
    }

    fn located(text: &str, part: &str) -> String {
        let (mut document, _) = Document::parse("t", text);
        assert!(expand(&mut document, &Outside).is_empty(), "{text}");
        let node = document.find("k").expect("the key");
        let value = node.as_text().expect("a string").as_str();
        let at = value.find(part).expect("the part");
        document.source(&locate(&document, node, at..at + part.len())).to_owned()
    }

    #[test]
    fn octets_are_found_behind_escapes() {
        assert_eq!(located(r#"k = "a\tb\\\u00e9 needle\n""#, "needle"), "needle");
        assert_eq!(located("k = '''\na\\needle'''", "needle"), "needle");
        assert_eq!(located("k = \"\"\"\nab \\\n   needle\"\"\"", "needle"), "needle");
        assert_eq!(located(r#"k = "x\\.y""#, "\\."), "\\\\.");
        assert_eq!(located(r#"k = "é\U0001F600 needle""#, "needle"), "needle");
    }

    #[test]
    fn octets_are_found_behind_macros() {
        assert_eq!(located("k = \"a %{env:HOST}% needle\"", "needle"), "needle");
        assert_eq!(located("k = \"a %{env:HOST}% needle\"", "example"), "");
        assert_eq!(located("k = \"%{cfg:other}%%{file:/secret}%.needle\"\nother = 5", "needle"), "needle");
    }

    #[test]
    fn macros_are_replaced() {
        let (mut document, _) =
            Document::parse("t", "k = '%{env:HOST}%:%{cfg:n}%:%{cfg:s}%'\nn = 5\ns = '%{file:/secret}%'");
        assert!(expand(&mut document, &Outside).is_empty());
        let text = document.find("k").and_then(Node::as_text).expect("a string");
        assert_eq!(text.as_str(), "mx.example.org:5:hunter2");
        assert!(text.has_macros());
    }

    #[test]
    fn a_macro_without_value_is_a_fault_with_its_place() {
        for (value, found) in [
            ("%{env:NONE}%", "no variable `NONE`"),
            ("%{file:/none}%", "file /none: no such file"),
            ("%{cfg:none}%", "no key `none`"),
            ("%{cfg:k}%", "a circle of macros through `k`"),
            ("%{what}%", "`what`"),
            ("%{env:", "a macro without end"),
        ] {
            let (mut document, _) = Document::parse("t", &format!("k = \"x{value}\""));
            let faults = expand(&mut document, &Outside);
            assert_eq!(faults.len(), 1, "{value}");
            assert!(faults[0].found.as_deref().is_some_and(|words| words.ends_with(found)), "{faults:?}");
            assert_eq!(faults[0].span.clone().map(|span| span.start), Some(6), "{value}");
        }
    }
}
