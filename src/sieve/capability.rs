//! The extensions by their names, and sets of them.

use std::fmt;

macro_rules! capabilities {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal,)*) => {
        /// An extension that a script may require.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Capability { $($(#[doc = $doc])* $variant,)* }

        impl Capability {
            /// Every extension of this room.
            pub const ALL: &'static [Capability] = &[$(Capability::$variant,)*];

            /// The name in `require`.
            pub const fn name(self) -> &'static str {
                match self { $(Capability::$variant => $name,)* }
            }
        }
    };
}

capabilities! {
    /// `body` (RFC 5173).
    Body "body",
    /// The comparator `i;ascii-casemap`, always there.
    ComparatorAsciiCasemap "comparator-i;ascii-casemap",
    /// The comparator `i;ascii-numeric` (RFC 4790 §9.1).
    ComparatorAsciiNumeric "comparator-i;ascii-numeric",
    /// The comparator `i;octet`, always there.
    ComparatorOctet "comparator-i;octet",
    /// The comparator `i;unicode-casemap` (RFC 5051).
    ComparatorUnicodeCasemap "comparator-i;unicode-casemap",
    /// `convert` (RFC 6558).
    Convert "convert",
    /// `:copy` (RFC 3894).
    Copy "copy",
    /// `date` and `currentdate` (RFC 5260).
    Date "date",
    /// `duplicate` (RFC 7352).
    Duplicate "duplicate",
    /// `addheader` and `deleteheader` (RFC 5293).
    Editheader "editheader",
    /// `enclose` (RFC 5703).
    Enclose "enclose",
    /// `${hex:…}` and `${unicode:…}` (RFC 5228 §2.4.2.4).
    EncodedCharacter "encoded-character",
    /// `notify` (RFC 5435).
    Enotify "enotify",
    /// `envelope` (RFC 5228 §5.4).
    Envelope "envelope",
    /// Envelope parts of DELIVERBY (RFC 6009).
    EnvelopeDeliverby "envelope-deliverby",
    /// Envelope parts of DSN (RFC 6009).
    EnvelopeDsn "envelope-dsn",
    /// `environment` (RFC 5183).
    Environment "environment",
    /// `ereject` (RFC 5429).
    Ereject "ereject",
    /// `:list` (RFC 6134).
    Extlists "extlists",
    /// `extracttext` (RFC 5703).
    Extracttext "extracttext",
    /// `fileinto` (RFC 5228 §4.1).
    Fileinto "fileinto",
    /// `foreverypart` (RFC 5703).
    Foreverypart "foreverypart",
    /// `ihave` and `error` (RFC 5463).
    Ihave "ihave",
    /// Flags (RFC 5232).
    Imap4flags "imap4flags",
    /// `include`, `return` and `global` (RFC 6609).
    Include "include",
    /// `:index` and `:last` (RFC 5260 §6).
    Index "index",
    /// `mailboxexists` and `:create` (RFC 5490).
    Mailbox "mailbox",
    /// `mailboxidexists` and `:mailboxid` (RFC 9042).
    Mailboxid "mailboxid",
    /// `:mime` (RFC 5703).
    Mime "mime",
    /// `:notify` and `:ret` of `redirect` (RFC 6009).
    RedirectDsn "redirect-dsn",
    /// `:bytimerelative` and its like (RFC 6009).
    RedirectDeliverby "redirect-deliverby",
    /// `:regex` (draft-ietf-sieve-regex).
    Regex "regex",
    /// `reject` (RFC 5429).
    Reject "reject",
    /// `:count` and `:value` (RFC 5231).
    Relational "relational",
    /// `replace` (RFC 5703).
    Replace "replace",
    /// `spamtest` (RFC 5235).
    Spamtest "spamtest",
    /// `spamtest :percent` (RFC 5235).
    Spamtestplus "spamtestplus",
    /// `specialuse_exists` and `:specialuse` (RFC 8579).
    SpecialUse "special-use",
    /// `:user` and `:detail` (RFC 5233).
    Subaddress "subaddress",
    /// `vacation` (RFC 5230).
    Vacation "vacation",
    /// `vacation :seconds` (RFC 6131).
    VacationSeconds "vacation-seconds",
    /// `set`, `string` and `${…}` (RFC 5229).
    Variables "variables",
    /// `virustest` (RFC 5235).
    Virustest "virustest",
    /// `eval` and `let`: the expressions of the configuration.
    Expressions "vnd.posthaste.expressions",
    /// `while`.
    While "vnd.posthaste.while",
}

impl Capability {
    /// The extension of that name; case counts, as in `require`.
    pub fn from_name(name: &[u8]) -> Option<Capability> {
        let own = match name {
            // The reference product's names for the same things: its trusted scripts run here.
            b"vnd.stalwart.expressions" => return Some(Capability::Expressions),
            b"vnd.stalwart.while" => return Some(Capability::While),
            name => name,
        };
        Capability::ALL.iter().copied().find(|capability| capability.name().as_bytes() == own)
    }

    /// The extensions that come with this one.
    pub(super) fn implied(self) -> CapabilitySet {
        match self {
            Capability::Spamtestplus => CapabilitySet::of(&[Capability::Spamtest]),
            Capability::VacationSeconds => CapabilitySet::of(&[Capability::Vacation]),
            _ => CapabilitySet::NONE,
        }
    }
}

const _: () = assert!(Capability::ALL.len() <= 64);

/// A set of extensions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No extension.
    pub const NONE: CapabilitySet = CapabilitySet(0);
    /// Every extension that this room implements.
    pub const ALL: CapabilitySet = CapabilitySet::of(Capability::ALL);
    /// What acts on a mailbox store: a relay switches these off.
    pub const MAILBOX_STORE: CapabilitySet = CapabilitySet::of(&[
        Capability::Duplicate,
        Capability::Fileinto,
        Capability::Mailbox,
        Capability::Mailboxid,
        Capability::Vacation,
        Capability::VacationSeconds,
    ]);

    /// Exactly these.
    pub const fn of(capabilities: &[Capability]) -> CapabilitySet {
        let (mut bits, mut i) = (0, 0);
        while i < capabilities.len() {
            bits |= 1 << capabilities[i] as u8;
            i += 1;
        }
        CapabilitySet(bits)
    }

    /// Both together.
    pub const fn with(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet(self.0 | other.0)
    }

    /// Those of `self` that are not in `other`.
    pub const fn without(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet(self.0 & !other.0)
    }

    /// Whether it is one of them.
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// They, in the order of their names.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |&capability| self.contains(capability))
    }
}

impl fmt::Debug for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Capability::name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for &capability in Capability::ALL {
            assert_eq!(Capability::from_name(capability.name().as_bytes()), Some(capability));
            assert!(CapabilitySet::of(&[capability]).contains(capability));
        }
        assert_eq!(Capability::from_name(b"Fileinto"), None);
    }
}
