//! The route's name and a recipient in, the next hop out. Pure.
//!
//! Recipients of one message with equal next hops travel together; the scheduler groups by
//! [`NextHop::lane`], which is stable over reloads and restarts.

use std::sync::Arc;

use compact_str::{CompactString, format_compact};

use super::settings::{LocalRoute, MxRoute, RelayRoute, Route, Settings};
use crate::mail::{Diagnostic, ErrorKind, ForwardPath, Outcome, Reply, Scope};

/// Where a recipient's message goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextHop {
    /// Into a Maildir of this machine.
    Local {
        /// The route's id.
        id: CompactString,
        /// Its settings.
        route: Arc<LocalRoute>,
    },
    /// To the mail exchangers of a domain.
    Mx {
        /// The route's id.
        id: CompactString,
        /// Its settings.
        route: Arc<MxRoute>,
        /// The domain: A-labels, lower case, or an address literal with its brackets.
        domain: CompactString,
    },
    /// To one configured host.
    Relay {
        /// The route's id.
        id: CompactString,
        /// Its settings.
        route: Arc<RelayRoute>,
    },
}

impl NextHop {
    /// The part of a lane's name that the next hop makes: `local:<id>`, `mx:<domain>`, `relay:<id>`.
    pub fn lane(&self) -> CompactString {
        match self {
            NextHop::Local { id, .. } => format_compact!("local:{id}"),
            NextHop::Mx { id, domain, .. } if id == "mx" => format_compact!("mx:{domain}"),
            NextHop::Mx { id, domain, .. } => format_compact!("mx:{domain}:{id}"),
            NextHop::Relay { id, .. } => format_compact!("relay:{id}"),
        }
    }
}

/// The next hop of `recipient` by the route `id`, or why it has none.
pub fn next_hop(settings: &Settings, id: &str, recipient: &ForwardPath) -> Result<NextHop, Outcome> {
    let Some(route) = settings.routes.get(id) else {
        let reply = Reply::new(451, (4, 3, 5), format!("there is no queue.route.{id} in the configuration"));
        return Err(Outcome::Deferred(Diagnostic::local(ErrorKind::Io, Scope::Lane, reply)));
    };
    let id = CompactString::new(id);
    match route {
        Route::Local(route) => Ok(NextHop::Local { id, route: Arc::clone(route) }),
        Route::Relay(route) => Ok(NextHop::Relay { id, route: Arc::clone(route) }),
        Route::Mx(route) => match &*recipient.mailbox().domain_key() {
            "" => {
                let reply = Reply::new(550, (5, 1, 2), "the recipient has no domain");
                Err(Outcome::Failed(Diagnostic::local(ErrorKind::Dns, Scope::Recipient, reply)))
            }
            domain => Ok(NextHop::Mx { id, route: Arc::clone(route), domain: domain.into() }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(address: &str) -> ForwardPath {
        ForwardPath::parse(address, true).expect("an address")
    }

    fn lane(id: &str, address: &str) -> Option<String> {
        next_hop(&Settings::default(), id, &to(address)).ok().map(|hop| hop.lane().into())
    }

    #[test]
    fn lanes_are_named_by_what_they_lead_to() {
        assert_eq!(lane("mx", "<a@Example.ORG>").as_deref(), Some("mx:example.org"));
        assert_eq!(lane("mx", "<a@b\u{fc}cher.example>"), lane("mx", "<b@XN--BCHER-KVA.example>"));
        assert_eq!(lane("mx", "<a@[192.0.2.1]>").as_deref(), Some("mx:[192.0.2.1]"));
        assert_eq!(lane("local", "<a@b.test>").as_deref(), Some("local:local"));
        assert_eq!(lane("mx", "<postmaster>"), None);
        assert_eq!(lane("nowhere", "<a@b.test>"), None);
    }
}
