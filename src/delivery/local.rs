//! Whose Maildirs a recipient's copies go to. Pure: directories are in memory.

use compact_str::CompactString;

use super::settings::LocalRoute;
use crate::expr::Mapping;
use crate::lookup::{Lookups, Principal, Verdict};
use crate::mail::{Diagnostic, ErrorKind, ForwardPath, Mailbox, Outcome, Reply, Scope};

/// A Maildir by its owner: `<path>/<domain>/<user>`, in lower case, not yet fit for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) user: CompactString,
    /// Empty for ours, the host's.
    pub(super) domain: CompactString,
}

/// The accounts of a recipient: its principal's; those of a list's members; or one named like the address, where
/// the directory knows nobody behind it (a domain that accepts all, a route that is taken without a directory).
pub(super) fn accounts(
    lookups: &Lookups,
    route: &LocalRoute,
    recipient: &ForwardPath,
) -> Result<Vec<Account>, Outcome> {
    let mailbox = recipient.mailbox();
    let sub_addressing = if route.sub_addressing { Mapping::Standard } else { Mapping::Off };
    match lookups.verdict("*", mailbox, sub_addressing, Mapping::Standard) {
        Verdict::Accepted { principal: Some(principal), .. } if principal.is_list() => {
            members(lookups, principal, recipient)
        }
        Verdict::Accepted { principal: Some(principal), .. } => Ok(vec![of_principal(principal, mailbox)]),
        Verdict::Accepted { principal: None, .. } => match lookups.expand("*", recipient.as_str()).is_empty() {
            true => Ok(vec![of_mailbox(mailbox, route)]),
            false => expanded(lookups, recipient.as_str(), recipient),
        },
        Verdict::NotLocal => Ok(vec![of_mailbox(mailbox, route)]),
        Verdict::Unknown => {
            Err(failed((5, 1, 1), format!("there is no mailbox {recipient}", recipient = recipient.as_str())))
        }
    }
}

fn members(lookups: &Lookups, list: &Principal, recipient: &ForwardPath) -> Result<Vec<Account>, Outcome> {
    let address = list.settings.email.first().map_or(recipient.as_str(), CompactString::as_str);
    expanded(lookups, address, recipient)
}

/// Members that are mailboxes here. A list with members elsewhere would need new messages, which are not made (yet).
fn expanded(lookups: &Lookups, address: &str, recipient: &ForwardPath) -> Result<Vec<Account>, Outcome> {
    let mut accounts = Vec::new();
    for member in lookups.expand("*", address) {
        let mailbox = Mailbox::parse(member, true).ok();
        let account =
            mailbox.as_ref().and_then(|mailbox| match lookups.verdict("*", mailbox, Mapping::Off, Mapping::Off) {
                Verdict::Accepted { principal: Some(p), .. } if !p.is_list() => Some(of_principal(p, mailbox)),
                _ => None,
            });
        let text = || format!("the list {} has the member {member}, who has no mailbox here", recipient.as_str());
        accounts.push(account.ok_or_else(|| failed((5, 2, 4), text()))?);
    }
    match accounts.is_empty() {
        true => Err(failed((5, 2, 4), format!("the list {} has no members", recipient.as_str()))),
        false => Ok(accounts),
    }
}

/// The principal's primary address names its Maildir, so that all its addresses are one mailbox.
fn of_principal(principal: &Principal, asked: &Mailbox) -> Account {
    let primary = principal.settings.email.iter().find_map(|address| Mailbox::parse(address, true).ok());
    match primary {
        Some(mailbox) => account(&mailbox.local_part_unquoted(), &mailbox.domain_key()),
        None => account(&principal.settings.name, &asked.domain_key()),
    }
}

fn of_mailbox(mailbox: &Mailbox, route: &LocalRoute) -> Account {
    let local = mailbox.local_part_unquoted();
    let is_tagged = route.sub_addressing && !mailbox.local_part().starts_with('"');
    let user = match local.split_once('+') {
        Some((user, _)) if is_tagged && !user.is_empty() => user,
        _ => &local,
    };
    account(user, &mailbox.domain_key())
}

fn account(user: &str, domain: &str) -> Account {
    Account { user: user.to_lowercase().into(), domain: domain.into() }
}

fn failed(status: (u8, u16, u16), text: String) -> Outcome {
    Outcome::Failed(Diagnostic::local(ErrorKind::None, Scope::Recipient, Reply::new(550, status, text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lookup::{Class, DirectorySettings, PrincipalSettings, Settings};

    fn lookups() -> Lookups {
        let principal = |name: &str, class, email: &[&str], member_of: &[&str]| PrincipalSettings {
            name: name.into(),
            class,
            email: email.iter().map(|e| CompactString::new(e)).collect(),
            member_of: member_of.iter().map(|e| CompactString::new(e)).collect(),
            ..PrincipalSettings::default()
        };
        let principals = vec![
            principal("bob", Class::Individual, &["bob@d.test", "robert@d.test", "@catch.test"], &["team", "mixed"]),
            principal("eve", Class::Individual, &["eve@d.test"], &["team"]),
            principal("far", Class::Individual, &["far@elsewhere.test"], &["mixed"]),
            principal("team", Class::List, &["team@d.test"], &[]),
            principal("mixed", Class::List, &["mixed@d.test"], &[]),
            principal("void", Class::List, &["void@d.test"], &[]),
        ];
        let directory = |id: &str| DirectorySettings { id: id.into(), ..DirectorySettings::default() };
        let mut known = directory("known");
        known.principals = principals;
        let mut open = directory("open");
        open.domains = vec!["open.test".into()];
        open.accept_all = true;
        let settings = Settings { directories: vec![known, open], ..Settings::default() };
        Lookups::build(&settings).expect("sound directories")
    }

    fn check(recipient: &str, expected: &[&str]) {
        let recipient = ForwardPath::parse(recipient, true).expect("an address");
        let names: Vec<String> = match accounts(&lookups(), &LocalRoute::default(), &recipient) {
            Ok(list) => list.iter().map(|a| format!("{}/{}", a.domain, a.user)).collect(),
            Err(outcome) => vec![outcome.diagnostic().status().to_string()],
        };
        assert_eq!(names, expected, "{}", recipient.as_str());
    }

    #[test]
    fn all_addresses_of_somebody_are_one_mailbox() {
        for address in ["<bob@d.test>", "<Robert@D.test>", "<bob+tag@d.test>", "<any@catch.test>"] {
            check(address, &["d.test/bob"]);
        }
    }

    #[test]
    fn addresses_without_a_principal_name_their_own() {
        check("<Any+tag@open.test>", &["open.test/any"]);
        check("<\"a+b\"@open.test>", &["open.test/a+b"]);
        check("<+tag@open.test>", &["open.test/+tag"]);
        check("<x@nowhere.test>", &["nowhere.test/x"]);
        check("<postmaster@d.test>", &["d.test/postmaster"]);
        check("<postmaster>", &["/postmaster"]);
    }

    #[test]
    fn unknown_local_parts_fail() {
        check("<nobody@d.test>", &["5.1.1"]);
        check("<bob%x@d.test>", &["5.1.1"]);
    }

    #[test]
    fn lists_are_their_members() {
        check("<team@d.test>", &["d.test/bob", "d.test/eve"]);
        check("<void@d.test>", &["5.2.4"]);
    }
}
