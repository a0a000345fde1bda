//! What a greeted client is offered: our name and the extensions that hold for it.

use compact_str::CompactString;

use crate::base::WallTime;
use crate::mail::Reply;
use crate::smtp::extensions::Extensions;

/// The answer to EHLO, and what MAIL and RCPT are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offers {
    /// What the server calls itself.
    pub hostname: CompactString,
    /// The extensions and their bounds.
    pub extensions: Extensions,
}

impl Default for Offers {
    /// What holds where no greeting was needed.
    fn default() -> Self {
        Offers { hostname: CompactString::const_new("localhost"), extensions: Extensions::default() }
    }
}

impl Offers {
    /// The reply to HELO.
    pub fn helo_reply(&self) -> Reply {
        Reply::plain(250, String::from(self.hostname.as_str()))
    }

    /// The reply to EHLO and LHLO.
    pub fn ehlo_reply(&self, now: WallTime) -> Reply {
        self.extensions.reply(&self.hostname, now)
    }
}
