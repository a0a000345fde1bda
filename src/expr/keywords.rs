//! The enumerations whose names are constants of the language.

/// Defines an enumeration that settings can have, with the names of its values; the first name of
/// a value is the one it is printed with.
#[macro_export]
macro_rules! keywords {
    ($(#[$meta:meta])* pub enum $type:ident { $($(#[$doc:meta])* $variant:ident = $($name:literal)|+,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$doc])* $variant,)* }

        impl $crate::expr::Keyword for $type {
            const NAMES: &'static [&'static str] = &[$($($name,)+)*];
            fn from_name(name: &str) -> Option<Self> {
                match name { $($($name)|+ => Some($type::$variant),)* _ => None }
            }
            #[allow(unreachable_patterns)]
            fn name(self) -> &'static str {
                match self { $($($type::$variant => $name,)+)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::expr::Keyword::name(*self))
            }
        }
    };
}

keywords! {
    /// How strictly a verification result counts.
    pub enum Verify {
        /// It is noted.
        Relaxed = "relaxed",
        /// A failure refuses the message.
        Strict = "strict",
        /// It is not asked for.
        Disable = "disable" | "disabled" | "never" | "none",
    }
}

keywords! {
    /// The priority assignment policy that MT-PRIORITY names (RFC 6710 appendix).
    pub enum PriorityPolicy {
        /// RFC 6710 §9.1.
        Mixer = "mixer",
        /// RFC 6710 appendix.
        Stanag4406 = "stanag4406",
        /// RFC 6710 appendix.
        Nsep = "nsep",
    }
}

keywords! {
    /// A SASL mechanism of AUTH.
    pub enum Mechanism {
        /// RFC 4616.
        Plain = "plain",
        /// The obsolete two-step dialogue that clients still use.
        Login = "login",
        /// RFC 7628.
        OauthBearer = "oauthbearer",
        /// Its predecessor.
        Xoauth2 = "xoauth2",
    }
}

keywords! {
    /// How often an aggregate report is sent.
    pub enum Interval {
        /// Each hour.
        Hourly = "hourly",
        /// Each day.
        Daily = "daily",
        /// Each week.
        Weekly = "weekly",
        /// Not at all.
        Never = "never" | "disable" | "none",
    }
}

keywords! {
    /// What is made of a TLS policy towards a next hop.
    pub enum Requirement {
        /// It is used where it is offered.
        Optional = "optional",
        /// No delivery without it.
        Require = "require",
        /// It is not used.
        Disable = "disable" | "disabled" | "never" | "none",
    }
}

keywords! {
    /// Which addresses of a next hop are tried, and in which order.
    pub enum IpLookup {
        /// IPv4 alone.
        Ipv4Only = "ipv4_only",
        /// IPv6 alone.
        Ipv6Only = "ipv6_only",
        /// IPv4, then IPv6.
        Ipv4ThenIpv6 = "ipv4_then_ipv6",
        /// IPv6, then IPv4.
        Ipv6ThenIpv4 = "ipv6_then_ipv4",
    }
}

/// The value of a keyword's name in any enumeration: for tests of the table.
#[cfg(test)]
pub(super) fn all_names() -> Vec<&'static str> {
    use super::target::Keyword;
    [Verify::NAMES, PriorityPolicy::NAMES, Mechanism::NAMES, Interval::NAMES, Requirement::NAMES, IpLookup::NAMES]
        .concat()
}
