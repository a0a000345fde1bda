//! A directory in memory: its domains, its addresses and who is behind them.

use std::borrow::Cow;

use compact_str::CompactString;
use hashbrown::HashMap;

use super::settings::{Class, DirectorySettings, LookupFault, PrincipalSettings};
use crate::base::limits::RECIPIENTS_MAX;
use crate::expr::Mapping;
use crate::mail::Domain;
use crate::mail::address::{MailboxRef, domain_key};

pub(super) type Map<V> = HashMap<CompactString, V, foldhash::fast::RandomState>;

/// Somebody or something of a directory.
#[derive(Debug, Clone)]
pub struct Principal {
    /// What the configuration says of it.
    pub settings: PrincipalSettings,
    /// Indices of those who say that they are members of it.
    members: Vec<usize>,
}

impl Principal {
    /// Its addresses stand for its members.
    pub fn is_list(&self) -> bool {
        matches!(self.settings.class, Class::Group | Class::List)
    }
}

/// A local domain.
#[derive(Debug, Clone, Default)]
struct LocalDomain {
    accepts_all: bool,
    /// Who takes the mail of unknown local-parts.
    catch_all: Option<usize>,
}

/// Whom an address stands for.
#[derive(Debug, Clone, Default)]
struct Behind {
    /// The principal whose own address it is.
    owner: Option<usize>,
    /// Those who are on it as on a list.
    subscribers: Vec<usize>,
}

/// A directory of type `memory`, read-only.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    principals: Vec<Principal>,
    domains: Map<LocalDomain>,
    addresses: Map<Behind>,
}

/// What a directory says of a recipient.
#[derive(Debug, Clone, Copy)]
pub enum Verdict<'d> {
    /// The domain is not local: whether to relay is another question.
    NotLocal,
    /// The domain is local and nobody has that address.
    Unknown,
    /// The address is accepted.
    Accepted {
        /// Whose it is; nobody's where every local-part is accepted, for lists by `email-list` and for postmaster.
        principal: Option<&'d Principal>,
        /// By which rule.
        rule: Rule,
    },
}

/// Why an address is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It is an address of the directory.
    Exact,
    /// Its address without the tag is, or the one that `sub-addressing` gave.
    SubAddress,
    /// `postmaster` of a local domain, which every server takes (RFC 5321 §4.5.1).
    Postmaster,
    /// The domain accepts every local-part.
    AcceptAll,
    /// The domain's catch-all, or the address that `catch-all` gave.
    CatchAll,
}

impl Verdict<'_> {
    /// The recipient may be accepted.
    pub fn is_accepted(&self) -> bool {
        matches!(self, Verdict::Accepted { .. })
    }
}

/// An address as directories compare it: the local-part unquoted, in lower case, the domain by its key.
/// Lent when the address is spelt so.
fn address_key(mailbox: MailboxRef<'_>) -> Cow<'_, str> {
    let is_key = |b: u8| b.is_ascii() && !b.is_ascii_uppercase() && b != b'"';
    if mailbox.as_str().bytes().all(is_key) {
        return Cow::Borrowed(mailbox.as_str());
    }
    Cow::Owned(format!("{}@{}", mailbox.local_part_unquoted().to_lowercase(), mailbox.domain_key()))
}

/// `user+tag@domain` without its tag. A quoted local-part has none.
pub fn without_tag(address: &str) -> Option<CompactString> {
    let (local, domain) = address.rsplit_once('@')?;
    let (user, _tag) = local.split_once('+')?;
    if user.is_empty() || local.starts_with('"') {
        return None;
    }
    Some(compact_str::format_compact!("{user}@{domain}"))
}

impl Directory {
    /// Builds a directory, or tells all that is wrong with it.
    pub fn build(settings: &DirectorySettings) -> Result<Directory, Vec<LookupFault>> {
        let mut builder = Builder { directory: Directory::default(), names: Map::default(), faults: Vec::new() };
        let key = format!("directory.{}", settings.id);
        for (i, domain) in settings.domains.iter().enumerate() {
            builder.domain(domain, settings.accept_all, &format!("{key}.domains.{i}"));
        }
        if settings.accept_all && settings.domains.is_empty() {
            builder.fault(format!("{key}.accept-all"), "true without domains", "domains = [ … ] beside it");
        }
        for (i, principal) in settings.principals.iter().enumerate() {
            builder.principal(principal, &format!("{key}.principals.{i}"));
        }
        builder.memberships(settings, &key);
        if builder.faults.is_empty() { Ok(builder.directory) } else { Err(builder.faults) }
    }

    /// Whether a domain, in any spelling, is local.
    pub fn is_local_domain(&self, domain: &str) -> bool {
        !domain.is_empty() && self.domains.contains_key(domain_key(domain).as_ref())
    }

    /// Whether an address is one of this directory's, without sub-addressing or catch-all.
    pub fn is_local_address(&self, address: &str) -> bool {
        MailboxRef::parse(address, true).is_ok_and(|m| self.verdict(m, Mapping::Off, Mapping::Off).is_accepted())
    }

    /// What is to be said of a recipient.
    pub fn verdict<'m>(
        &self,
        mailbox: impl Into<MailboxRef<'m>>,
        sub_addressing: Mapping<&str>,
        catch_all: Mapping<&str>,
    ) -> Verdict<'_> {
        let mailbox = mailbox.into();
        if mailbox.domain().is_empty() {
            return self.postmaster();
        }
        let Some(domain) = self.domains.get(mailbox.domain_key().as_ref()) else { return Verdict::NotLocal };
        if let Some(behind) = self.addresses.get(address_key(mailbox).as_ref()) {
            return self.accepted(behind.owner, Rule::Exact);
        }
        let untagged = match sub_addressing {
            Mapping::Off => None,
            Mapping::Standard => without_tag(mailbox.as_str()).and_then(|address| self.behind(&address)),
            Mapping::Address(address) => self.behind(address),
        };
        if let Some(behind) = untagged {
            return self.accepted(behind.owner, Rule::SubAddress);
        }
        if mailbox.local_part().eq_ignore_ascii_case("postmaster") {
            return self.accepted(None, Rule::Postmaster);
        }
        if domain.accepts_all {
            return self.accepted(None, Rule::AcceptAll);
        }
        match catch_all {
            Mapping::Standard if domain.catch_all.is_some() => self.accepted(domain.catch_all, Rule::CatchAll),
            Mapping::Address(address) => match self.behind(address) {
                Some(behind) => self.accepted(behind.owner, Rule::CatchAll),
                None => Verdict::Unknown,
            },
            _ => Verdict::Unknown,
        }
    }

    /// `<postmaster>` without a domain is always taken.
    fn postmaster(&self) -> Verdict<'_> {
        let owner = self.principals.iter().position(|p| p.settings.name.eq_ignore_ascii_case("postmaster"));
        self.accepted(owner, Rule::Postmaster)
    }

    fn accepted(&self, owner: Option<usize>, rule: Rule) -> Verdict<'_> {
        Verdict::Accepted { principal: owner.and_then(|i| self.principals.get(i)), rule }
    }

    fn behind(&self, address: &str) -> Option<&Behind> {
        let mailbox = MailboxRef::parse(address, true).ok()?;
        self.addresses.get(address_key(mailbox).as_ref())
    }

    /// The primary addresses of those whom a list's address stands for, each once, in the order of the file;
    /// none for what is not a list (EXPN: RFC 5321 §3.5.2).
    pub fn expand(&self, address: &str) -> Vec<&str> {
        let Some(behind) = self.behind(address) else { return Vec::new() };
        let mut pending: Vec<usize> = behind.subscribers.clone();
        if let Some(owner) = behind.owner.and_then(|i| self.principals.get(i)).filter(|p| p.is_list()) {
            pending.extend(&owner.members);
        }
        let mut is_member = vec![false; self.principals.len()];
        while let Some(i) = pending.pop() {
            let (Some(seen), Some(principal)) = (is_member.get_mut(i), self.principals.get(i)) else { continue };
            if !std::mem::replace(seen, true) && principal.is_list() {
                pending.extend(&principal.members);
            }
        }
        let members = self.principals.iter().zip(is_member).filter(|(principal, is)| *is && !principal.is_list());
        members.filter_map(|(p, _)| p.settings.email.first()).map(CompactString::as_str).take(RECIPIENTS_MAX).collect()
    }

    /// The principal of a name, as AUTH and `member-of` use it.
    pub fn principal(&self, name: &str) -> Option<&Principal> {
        self.principals.iter().find(|principal| principal.settings.name == name)
    }

    /// The local domains, in no order.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.keys().map(CompactString::as_str)
    }
}

struct Builder {
    directory: Directory,
    names: Map<usize>,
    faults: Vec<LookupFault>,
}

impl Builder {
    fn fault(&mut self, key: String, found: impl Into<String>, expected: &str) {
        self.faults.push(LookupFault { key, found: found.into(), expected: expected.to_owned() });
    }

    fn domain(&mut self, domain: &str, accepts_all: bool, key: &str) -> Option<&mut LocalDomain> {
        if Domain::check(domain).is_err() {
            self.fault(key.to_owned(), format!("'{}'", domain.escape_debug()), "a domain such as 'example.org'");
            return None;
        }
        let known = self.directory.domains.entry(domain_key(domain).into()).or_default();
        known.accepts_all |= accepts_all;
        Some(known)
    }

    fn principal(&mut self, settings: &PrincipalSettings, key: &str) {
        let index = self.directory.principals.len();
        if settings.name.is_empty() {
            self.fault(format!("{key}.name"), "nothing", "a name");
        } else if self.names.insert(settings.name.clone(), index).is_some() {
            self.fault(format!("{key}.name"), format!("'{}' again", settings.name), "a name that no other has");
        }
        self.directory.principals.push(Principal { settings: settings.clone(), members: Vec::new() });
        for (i, address) in settings.email.iter().enumerate() {
            self.own_address(address, index, format!("{key}.email.{i}"));
        }
        for (i, address) in settings.email_list.iter().enumerate() {
            let key = format!("{key}.email-list.{i}");
            if let Some(behind) = self.address(address, &key) {
                behind.subscribers.push(index);
            }
        }
    }

    fn own_address(&mut self, address: &str, index: usize, key: String) {
        if let Some(domain) = address.strip_prefix('@') {
            let Some(domain) = self.domain(domain, false, &key) else { return };
            if domain.catch_all.replace(index).is_some() {
                self.fault(key, format!("'{address}' again"), "one catch-all for a domain");
            }
            return;
        }
        let Some(behind) = self.address(address, &key) else { return };
        if behind.owner.replace(index).is_some() {
            self.fault(key, format!("'{address}' again"), "an address that no other principal has");
        }
    }

    fn address(&mut self, address: &str, key: &str) -> Option<&mut Behind> {
        match MailboxRef::parse(address, true) {
            Ok(mailbox) => {
                self.domain(mailbox.domain(), false, key)?;
                Some(self.directory.addresses.entry(address_key(mailbox).into()).or_default())
            }
            Err(error) => {
                let found = format!("'{}': {error}", address.escape_debug());
                self.fault(key.to_owned(), found, "an address such as 'user@example.org'");
                None
            }
        }
    }

    fn memberships(&mut self, settings: &DirectorySettings, key: &str) {
        for (member, principal) in settings.principals.iter().enumerate() {
            for (i, group) in principal.member_of.iter().enumerate() {
                let index = self.names.get(group.as_str()).copied();
                let found = index.and_then(|index| self.directory.principals.get_mut(index));
                match found.filter(|group| group.is_list()) {
                    Some(group) => group.members.push(member),
                    None => self.fault(
                        format!("{key}.principals.{member}.member-of.{i}"),
                        format!("'{group}'"),
                        "the name of a principal of class group or list",
                    ),
                }
            }
        }
    }
}
