//! Values as TOML: for `config show`, for diffs, for defaults in the reference.

use super::document::{Node, Value, join};
use super::secret::{HIDDEN, is_secret};

/// How much of a value is printed.
#[derive(Clone, Copy)]
pub enum Show<'s> {
    /// Macros as the file spells them (which the function tells), secrets hidden.
    Public(&'s dyn Fn(&Node) -> String),
    /// What macros stand for and secrets: to compare, never to show.
    Everything,
}

/// The value on one line.
pub fn print_node(node: &Node, show: Show<'_>) -> String {
    match &node.value {
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Text(text) => match show {
            Show::Public(source) if text.has_macros() => source(node),
            _ => print_str(text.as_str()),
        },
        Value::Float(value) => value.to_string(),
        Value::Datetime => "(a date)".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| print_node(item, show)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            if let Some(items) = table.as_flattened() {
                let items: Vec<String> = items.into_iter().map(|item| print_node(item, show)).collect();
                return format!("[{}]", items.join(", "));
            }
            let entries: Vec<String> = table
                .entries
                .iter()
                .map(|entry| {
                    let value = if is_secret(&entry.key) && matches!(show, Show::Public(_)) {
                        print_str(HIDDEN)
                    } else {
                        print_node(&entry.node, show)
                    };
                    format!("{} = {value}", join("", &entry.key))
                })
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A string as TOML: literal where it holds a backslash or a quote and can be, basic otherwise.
pub fn print_str(text: &str) -> String {
    let has_control = text.chars().any(|letter| letter.is_control());
    if !has_control && !text.contains(['"', '\\']) {
        return format!("\"{text}\"");
    }
    if !has_control && !text.contains('\'') {
        return format!("'{text}'");
    }
    if !has_control && !text.contains("''") && !text.ends_with('\'') && !text.starts_with('\'') {
        return format!("'''{text}'''");
    }
    let mut out = String::with_capacity(text.len() + 8);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::document::Document;
    use super::*;

    proptest! {
        #[test]
        fn what_is_printed_reads_back(text in "\\PC*|[\\x00-\\x7f]*") {
            let (document, faults) = Document::parse("t", &format!("k = {}", print_str(&text)));
            prop_assert!(faults.is_empty(), "{:?}", faults);
            let read = document.find("k").and_then(Node::as_text).map(|text| text.as_str().to_owned());
            prop_assert_eq!(read, Some(text));
        }
    }
}
