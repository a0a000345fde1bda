//! From the settings of a listener to what its sessions go by.

use std::rc::Rc;
use std::sync::Arc;

use crate::limits::KeyMaker;
use crate::listener::settings::{BareNewlines, Protocol, Settings};
use crate::lookup::ShardLookups;
use crate::session::Profile;
use crate::smtp::content::BareLineEnds;
use crate::smtp::server;
use crate::spool::Durability;
use crate::{policy, session};

/// What all listeners of one shard share of one configuration.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What policy goes by; this shard's own clone.
    pub policy: Rc<policy::Settings>,
    /// What the driver goes by; this shard's own clone.
    pub session: Rc<session::Settings>,
    /// Directories, lists and counters.
    pub lookups: ShardLookups,
    /// Names limits; the same seed on all shards.
    pub keys: KeyMaker,
    /// `spool.durability`, where a listener does not say it.
    pub durability: Durability,
}

impl Settings {
    /// The profile of this listener's sessions on one shard. `tls` is its server's configuration, where it
    /// speaks TLS.
    pub fn profile(&self, shared: &Shared, tls: Option<Arc<rustls::ServerConfig>>) -> Profile {
        Profile {
            listener: Rc::from(self.id.as_str()),
            protocol: match self.protocol {
                Protocol::Smtp => server::Protocol::Smtp,
                Protocol::Lmtp => server::Protocol::Lmtp,
            },
            greeting: self.greeting.clone(),
            connections_max: self.max_connections,
            connections_per_ip_max: self.max_connections_per_ip,
            proxy_trusted: self.proxy_trusted.clone(),
            xclient_trusted: self.xclient_trusted.clone(),
            tls: tls.filter(|_| self.tls.enable),
            tls_implicit: self.tls.implicit,
            tls_timeout: self.tls.timeout,
            bare_line_ends: match self.bare_newlines {
                BareNewlines::Reject => BareLineEnds::Reject,
                BareNewlines::Normalize => BareLineEnds::Normalize,
                BareNewlines::Allow => BareLineEnds::Allow,
            },
            durability: self.durability.unwrap_or(shared.durability),
            policy: shared.policy.clone(),
            session: shared.session.clone(),
            lookups: shared.lookups.clone(),
            keys: shared.keys.clone(),
        }
    }
}
