//! Tables of the reference product that have no meaning here: accepted, so that a file can be carried over,
//! and named, so that nobody waits for their effect. `docs/configuration.md` lists them.

use crate::schema::Section;

/// Tables at the top that belong to other parts of the reference product.
pub(super) const FOREIGN: &[(&str, &str)] = &[
    ("ai", "language models are not ours"),
    ("authentication", "accounts of the reference product are not ours"),
    ("calendar", "calendars are not ours"),
    ("changes", "the mailbox store is not ours"),
    ("config", "there is one file and no database of settings"),
    ("contacts", "contacts are not ours"),
    ("dav", "DAV is not ours"),
    ("email", "mailboxes are not ours"),
    ("enterprise", "there is no enterprise edition"),
    ("file-storage", "file storage is not ours"),
    ("form", "web forms are not ours"),
    ("imap", "IMAP is not ours"),
    ("jmap", "JMAP is not ours"),
    ("managesieve", "ManageSieve is not ours"),
    ("oauth", "OAuth accounts are not ours"),
    ("object-quota", "mailboxes are not ours"),
    ("pop3", "POP3 is not ours"),
    ("purge", "the mailbox store is not ours"),
    ("sharing", "mailboxes are not ours"),
    ("spam-filter", "the spam filter is not ours; use a milter"),
    ("version", "the file has no version"),
    ("webadmin", "the web administration is not ours"),
];

/// Tables at the top that are of our vocabulary and have no effect in this release.
pub(super) const NOT_YET: &[(&str, &str)] = &[
    ("acme", "certificates are read from [certificate], not ordered"),
    ("asn", "asn and country are unknown"),
    ("auth", "SPF, DKIM, DMARC, ARC and iprev are not checked and nothing is signed"),
    ("cluster", "this node works alone"),
    ("http", "there is no HTTP server"),
    ("sieve", "no script runs"),
    ("signature", "nothing is signed"),
    ("store", "no store is connected; lists stand in [lookup]"),
    ("tracing", "levels are set per [tracer]"),
    ("webhook", "no webhook is called"),
];

/// Takes them all.
pub(super) fn accept(root: &Section<'_>) {
    FOREIGN.iter().for_each(|(name, why)| root.foreign(name, why));
    NOT_YET.iter().for_each(|(name, why)| root.not_yet(name, why));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_them_all() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
        let text = std::fs::read_to_string(path).expect("docs/configuration.md");
        for (name, why) in FOREIGN.iter().chain(NOT_YET) {
            assert!(text.contains(&format!("| `[{name}]` | {why} |")), "{name} is not in docs/configuration.md");
        }
    }
}
