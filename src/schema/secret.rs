//! Secrets never leave the file: what messages, diffs and `config show` print is masked here.

use super::document::{Document, Span, Table, Value};
use super::nearest::is_slip_of;

/// What stands for a secret in print.
pub const HIDDEN: &str = "(hidden)";

/// Last parts of keys whose values are secrets.
const SECRET_KEYS: &[&str] = &["secret", "password", "private-key", "hmac-key", "signature-key", "token"];

/// Whether the value of `key` (its last part) is a secret, also where the key is mistyped.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|secret| key.contains(secret) || is_slip_of(&key, secret))
}

/// The text of the file with every secret replaced by asterisks, octet for octet, so that places stay true.
pub fn masked(document: &Document, is_broken: bool) -> String {
    let mut spans = Vec::new();
    collect(document.root(), &mut spans);
    pem_blocks(document.text(), &mut spans);
    if is_broken {
        suspicious_lines(document.text(), &mut spans);
    }
    let mut bytes = document.text().as_bytes().to_vec();
    for span in spans {
        for byte in bytes.get_mut(span).unwrap_or_default() {
            if *byte != b'\n' && *byte != b'\r' {
                *byte = b'*';
            }
        }
    }
    // A span cuts no character in two, so this only ever borrows what is already text.
    String::from_utf8_lossy(&bytes).into_owned()
}

fn collect(table: &Table, spans: &mut Vec<Span>) {
    for entry in &table.entries {
        match &entry.node.value {
            // The table of a macro or of numbered keys below a secret key is hidden key by key.
            Value::Table(inner) if is_secret(&entry.key) => {
                spans.extend(inner.entries.iter().map(|entry| entry.node.span.clone()));
            }
            _ if is_secret(&entry.key) => spans.push(entry.node.span.clone()),
            Value::Table(inner) => collect(inner, spans),
            Value::Array(items) => {
                items.iter().filter_map(|item| item.as_table()).for_each(|inner| collect(inner, spans));
            }
            _ => {}
        }
    }
}

/// Private keys are hidden wherever they stand.
fn pem_blocks(text: &str, spans: &mut Vec<Span>) {
    let mut at = 0;
    while let Some(start) = text[at..].find("PRIVATE KEY-----").map(|found| at + found + 16) {
        let end = text[start..].find("-----END").map_or(text.len(), |found| start + found);
        spans.push(start..end);
        at = end;
    }
}

/// In a file that is not TOML the tree cannot be trusted: hide what follows a secret's name on its line.
fn suspicious_lines(text: &str, spans: &mut Vec<Span>) {
    for name in SECRET_KEYS {
        for (at, _) in text.match_indices(name) {
            let line_end = text[at..].find('\n').map_or(text.len(), |found| at + found);
            let value = text[at + name.len()..line_end].find('=').map(|found| at + name.len() + found + 1);
            spans.extend(value.map(|value| value..line_end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name() {
        for key in ["secret", "private-key", "Secrets", "pasword", "auth-secret", "private_key", "tokens"] {
            assert!(is_secret(key), "{key}");
        }
        for key in
            ["key", "cert", "port", "username", "type", "relay", "socket", "received", "enable", "match", "source-ips"]
        {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn secrets_are_masked_in_place() {
        let text = "a = { username = \"u\", secret = \"hunter2\" }\nc.private-key = '''\n-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n'''\n";
        let (document, _) = Document::parse("t", text);
        let masked = masked(&document, false);
        assert_eq!(masked.len(), text.len());
        assert!(masked.contains("username = \"u\""));
        assert!(!masked.contains("hunter2") && !masked.contains("abc"));
    }

    #[test]
    fn secrets_of_broken_files_are_masked() {
        for text in ["secret = \"hunter2\nb = 1\n", "x = {secret = hunter2, \n", "\"secret\" = 'hunter2'' x"] {
            let (document, faults) = Document::parse("t", text);
            assert!(!faults.is_empty());
            assert!(!masked(&document, true).contains("hunter2"), "{text}");
        }
    }
}
