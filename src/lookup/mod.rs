//! Who and what is known here: directories in memory, lists and counters.
//!
//! * **Takes** [`Settings`], checked and hashed once for each configuration by [`Lookups::build`].
//! * **Gives** whether a domain or address is local, what is to be said of a recipient, whom a list stands
//!   for, and the values of keys.
//! * **Invariants**: [`Lookups`] never changes and is shared by all shards; what expressions write lives in
//!   the [`Memory`] of one shard; an address that is already in lower case is looked up without allocation.
//!   A local-part is literal: `%` and `!` route nowhere.
//! * **Must never be added**: I/O. Directories and stores elsewhere are asked by the control plane.

mod directory;
mod list;
mod memory;
mod settings;
mod shard;

use compact_str::CompactString;

pub use directory::{Directory, Principal, Rule, Verdict, without_tag};
pub use list::List;
pub use memory::Memory;
pub use settings::{Class, DirectorySettings, ListSettings, ListValue, LookupFault, PrincipalSettings, Settings};
pub use shard::ShardLookups;

use crate::expr::Mapping;
use crate::mail::address::MailboxRef;
use directory::Map;

/// All directories and lists of one configuration.
#[derive(Debug, Clone, Default)]
pub struct Lookups {
    directories: Vec<(CompactString, Directory)>,
    /// What `''` names.
    default_directory: Option<usize>,
    lists: Map<List>,
}

impl Lookups {
    /// Builds them, or tells all that is wrong.
    pub fn build(settings: &Settings) -> Result<Lookups, Vec<LookupFault>> {
        let mut lookups = Lookups::default();
        let mut faults = Vec::new();
        for directory in &settings.directories {
            match Directory::build(directory) {
                Ok(built) => lookups.directories.push((directory.id.clone(), built)),
                Err(more) => faults.extend(more),
            }
        }
        lookups.default_directory = match settings.default_directory.as_str() {
            "" => (settings.directories.len() == 1).then_some(0),
            name => settings.directories.iter().position(|directory| directory.id == name),
        };
        if lookups.default_directory.is_none() && !settings.default_directory.is_empty() {
            faults.push(LookupFault {
                key: "storage.directory".to_owned(),
                found: format!("'{}'", settings.default_directory),
                expected: "the id of a directory".to_owned(),
            });
        }
        lookups.lists = settings.lists.iter().map(|list| (list.id.clone(), List::build(list))).collect();
        if faults.is_empty() { Ok(lookups) } else { Err(faults) }
    }

    /// The directories that a name means: all for `*`, the default for the empty name.
    fn named(&self, name: &str) -> impl Iterator<Item = &Directory> {
        let default = self.default_directory;
        let is_meant = move |i: usize, id: &str| match name {
            "*" => true,
            "" => default == Some(i),
            name => id == name,
        };
        self.directories.iter().enumerate().filter(move |(i, (id, _))| is_meant(*i, id)).map(|(_, (_, found))| found)
    }

    /// The directory of that id.
    pub fn directory(&self, id: &str) -> Option<&Directory> {
        self.directories.iter().find(|(known, _)| known == id).map(|(_, directory)| directory)
    }

    /// Whether a domain, in any spelling, is local in a directory (`''` the default, `'*'` any).
    pub fn is_local_domain(&self, directory: &str, domain: &str) -> bool {
        self.named(directory).any(|directory| directory.is_local_domain(domain))
    }

    /// Whether an address is known in a directory (`''` the default, `'*'` any), taken literally.
    pub fn is_local_address(&self, directory: &str, address: &str) -> bool {
        self.named(directory).any(|directory| directory.is_local_address(address))
    }

    /// What is to be said of a recipient by a directory (`''` the default, `'*'` all in their order).
    ///
    /// Of several directories the first that accepts it decides; else it is unknown if any has its domain.
    pub fn verdict<'m>(
        &self,
        directory: &str,
        mailbox: impl Into<MailboxRef<'m>>,
        sub_addressing: Mapping<&str>,
        catch_all: Mapping<&str>,
    ) -> Verdict<'_> {
        let mailbox = mailbox.into();
        let mut verdict = Verdict::NotLocal;
        for directory in self.named(directory) {
            match directory.verdict(mailbox, sub_addressing, catch_all) {
                accepted @ Verdict::Accepted { .. } => return accepted,
                Verdict::Unknown => verdict = Verdict::Unknown,
                Verdict::NotLocal => {}
            }
        }
        verdict
    }

    /// Whom the address of a list stands for, in the first directory that knows it; see [`Directory::expand`].
    pub fn expand(&self, directory: &str, address: &str) -> Vec<&str> {
        self.named(directory)
            .map(|directory| directory.expand(address))
            .find(|list| !list.is_empty())
            .unwrap_or_default()
    }

    /// The value of a key of a list.
    pub fn key(&self, store: &str, key: &str) -> Option<&ListValue> {
        self.lists.get(store).and_then(|list| list.get(key))
    }

    /// The ids of the lists: what an expression's environment calls stores.
    pub fn stores(&self) -> impl Iterator<Item = &str> {
        self.lists.keys().map(CompactString::as_str)
    }
}

#[cfg(test)]
mod tests;
