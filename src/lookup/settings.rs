//! The settings of directories and lists, as the configuration fills them.

use compact_str::CompactString;

use crate::schema::{Cell, FaultKind, Kind, Section, Typed, Value};

/// `directory.*`, `storage.directory` and `lookup.*`. The default knows no domain, no address and no key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Every `directory.<id>`.
    pub directories: Vec<DirectorySettings>,
    /// `storage.directory`: what `''` names. Empty: the only directory, if there is just one.
    pub default_directory: CompactString,
    /// Every `lookup.<store>`.
    pub lists: Vec<ListSettings>,
}

/// `directory.<id>` of type `memory`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DirectorySettings {
    /// The id.
    pub id: CompactString,
    /// `.domains`: local domains besides those of the principals' addresses. Default none.
    pub domains: Vec<CompactString>,
    /// `.accept-all`: every local-part of every one of `.domains` is a mailbox. Default false.
    pub accept_all: bool,
    /// `[[directory.<id>.principals]]`.
    pub principals: Vec<PrincipalSettings>,
}

crate::keywords! {
    /// What a principal is.
    pub enum Class {
        /// A person or program with a mailbox.
        Individual = "individual",
        /// The same, with administrative rights.
        Admin = "admin",
        /// Its addresses stand for its members.
        Group = "group",
        /// Its addresses stand for its members.
        List = "list",
    }
}

/// One principal of a directory in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct PrincipalSettings {
    /// `name`: how it logs in, and what `member-of` names. Required.
    pub name: CompactString,
    /// `class`. Default individual.
    pub class: Class,
    /// `description`: a name for people. Default empty.
    pub description: CompactString,
    /// `secret`: password hashes. Default none: it cannot log in.
    pub secret: Vec<CompactString>,
    /// `email`: its addresses, the primary one first; `@domain` takes all other mail of the domain.
    pub email: Vec<CompactString>,
    /// `email-list`: addresses of lists that it is on.
    pub email_list: Vec<CompactString>,
    /// `member-of`: names of groups and lists that it belongs to.
    pub member_of: Vec<CompactString>,
    /// `quota`: octets of its mailbox, 0 for no limit. Not enforced by this server: a mailbox store does.
    pub quota: u64,
}

impl Default for PrincipalSettings {
    fn default() -> Self {
        PrincipalSettings {
            name: CompactString::default(),
            class: Class::Individual,
            description: CompactString::default(),
            secret: Vec::new(),
            email: Vec::new(),
            email_list: Vec::new(),
            member_of: Vec::new(),
            quota: 0,
        }
    }
}

/// `lookup.<store>`: a set or map in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListSettings {
    /// The store's id.
    pub id: CompactString,
    /// `.<key> = value`, in the order of the file.
    pub entries: Vec<(CompactString, ListValue)>,
}

/// The value of a key of a list.
#[derive(Debug, Clone, PartialEq)]
pub enum ListValue {
    /// `true`: the key is there; `false`: it is not.
    Bool(bool),
    /// A number.
    Integer(i64),
    /// A text.
    Text(CompactString),
}

/// What is wrong with a directory or list: the configuration tells it with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: found {found}, expected {expected}")]
pub struct LookupFault {
    /// The key, as in `directory.local.principals.2.email`; elements count from zero.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
}

/// The types of directories of the vocabulary; only `memory` is served yet.
const TYPES: &[(&str, &str)] = &[
    ("memory", "memory"),
    ("internal", "internal"),
    ("sql", "sql"),
    ("ldap", "ldap"),
    ("oidc", "oidc"),
    ("smtp", "smtp"),
    ("lmtp", "lmtp"),
    ("imap", "imap"),
];

const CLASSES: &[(&str, Class)] =
    &[("individual", Class::Individual), ("admin", Class::Admin), ("group", Class::Group), ("list", Class::List)];

impl Settings {
    /// Reads `[directory]`, `[lookup]` and `storage.directory` of the whole file.
    pub fn read(root: &Section<'_>) -> Settings {
        let default_directory = root.table("storage", "Which directory is meant where none is named.", |s| {
            for name in ["data", "blob", "fts", "lookup", "encryption", "undelete"] {
                s.foreign(name, "mail is kept by [spool], lists in [lookup]");
            }
            s.key("directory")
                .doc("The directory that is meant by the empty name; the only one, if there is just one.")
                .example("\"ID\"")
                .optional()
        });
        let directories =
            root.named("directory", "Who is known here: domains, mailboxes, lists.", DirectorySettings::read);
        let lists =
            root.table("lookup", "Lists in memory for key_exists and key_get: lookup.<store>.<key> = value.", |s| {
                let stores = s.named_maps(LIST_DOC, ENTRY_DOC, &ListValue::kind());
                let list = |(id, entries): (String, Vec<(String, ListValue)>)| ListSettings {
                    id: id.into(),
                    entries: entries.into_iter().map(|(key, value)| (key.into(), value)).collect(),
                };
                stores.into_iter().map(list).collect()
            });
        Settings {
            directories: directories.into_iter().filter_map(|(_, directory)| directory).collect(),
            default_directory: default_directory.unwrap_or_default(),
            lists,
        }
    }
}

const LIST_DOC: &str = "One list: its keys and their values.";
const ENTRY_DOC: &str = "A key of the list; false means that it is not there.";

impl ListValue {
    fn kind() -> Kind<ListValue> {
        let read = |cell: &Cell<'_>, expected: &str| match &cell.node().value {
            Value::Bool(value) => Some(ListValue::Bool(*value)),
            Value::Integer(value) => Some(ListValue::Integer(*value)),
            Value::Text(text) => Some(ListValue::Text(text.as_str().into())),
            _ => {
                cell.mismatch(expected);
                None
            }
        };
        let print = |value: &ListValue| match value {
            ListValue::Bool(value) => value.to_string(),
            ListValue::Integer(value) => value.to_string(),
            ListValue::Text(text) => crate::schema::print::print_str(text),
        };
        let expected = "true, false, an integer or a string";
        Kind::new("boolean, integer or string", expected, read, print, || ListValue::Bool(true))
    }
}

impl DirectorySettings {
    /// Reads `[directory.<id>]`; `None` for a type that is not served yet, which is a fault: recipients that
    /// it knows would be refused.
    fn read(s: &Section<'_>, id: &str) -> Option<DirectorySettings> {
        let kind = s
            .choice("type", TYPES)
            .doc("Where the directory is kept: memory, which is this file. The other types of the vocabulary are not served yet and refused.")
            .example("\"memory\"")
            .required();
        let directory = DirectorySettings {
            id: id.into(),
            domains: s
                .key("domains")
                .doc("Local domains besides those of the principals' addresses.")
                .default(Vec::new()),
            accept_all: s
                .key("accept-all")
                .doc("Every local-part of every one of domains is a mailbox.")
                .default(false),
            principals: s.items("principals", "Who has a mailbox, and which lists there are.", PrincipalSettings::read),
        };
        s.foreign("cache", "a directory in memory needs no cache");
        if kind != "memory" {
            let fault = s.fault_at("type", FaultKind::Value, "this type of directory is not served yet");
            s.report(fault.found(format!("\"{kind}\"")).expected("\"memory\""));
            return None;
        }
        Some(directory)
    }
}

impl PrincipalSettings {
    fn read(s: &Section<'_>) -> PrincipalSettings {
        let texts = |name, doc| s.key::<Vec<CompactString>>(name).doc(doc).default(Vec::new());
        PrincipalSettings {
            name: s
                .knob("name", CompactString::kind().only("a name", |name| !name.is_empty()))
                .doc("How it logs in, and what member-of names.")
                .example("\"alice\"")
                .required(),
            class: s
                .choice("class", CLASSES)
                .doc("What it is. The addresses of a group or list stand for its members.")
                .default(Class::Individual),
            description: s.key("description").doc("A name for people.").default(CompactString::default()),
            secret: texts("secret", "Password hashes; without any it cannot log in. AUTH comes with a later release."),
            email: texts("email", "Its addresses, the primary one first; @domain takes all other mail of the domain."),
            email_list: texts("email-list", "Addresses of lists that it is on."),
            member_of: texts("member-of", "Names of groups and lists that it belongs to."),
            quota: s
                .key::<crate::schema::Size>("quota")
                .doc("Size of its mailbox, 0 for no limit. Not enforced by this server.")
                .default(crate::schema::Size(0))
                .0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Keyword;

    #[test]
    fn the_words_are_those_of_the_keyword() {
        assert!(CLASSES.iter().all(|(word, class)| class.name() == *word));
        assert_eq!(CLASSES.len(), Class::NAMES.len());
    }
}
