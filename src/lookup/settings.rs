//! The settings of directories and lists, as the configuration fills them.

use compact_str::CompactString;

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
