//! `[queue.route.<id>]`, `[queue.connection.<id>]`, `[queue.source-ip."<ip>"]`, `[queue.tls.<id>]`.
//!
//! Which of them an attempt uses is said by `queue.strategy.*`, evaluated when a recipient is due.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use crate::expr::{Branch, Environment, Expr, Scalar, Source, Stage};
use crate::smtp::client::{Credentials, Protocol, StartTls, Timeouts};

/// Everything that delivery is configured by. A snapshot: a reload makes another, and an attempt keeps its own.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `queue.strategy.route` E (a recipient is due): the id of a route. Default: `local` for local domains, else `mx`.
    pub strategy_route: Expr<CompactString>,
    /// `queue.strategy.connection` E (a recipient is due): the id of a connection. Default: `default`.
    pub strategy_connection: Expr<CompactString>,
    /// `queue.strategy.tls` E (a recipient is due): the id of a TLS strategy. Default: `invalid-tls` after a TLS error,
    /// else `default`.
    pub strategy_tls: Expr<CompactString>,
    /// `queue.route.<id>`. Default: `local` (Maildir) and `mx`.
    pub routes: BTreeMap<CompactString, Route>,
    /// `queue.connection.<id>`. Default: `default`.
    pub connections: BTreeMap<CompactString, Arc<Connection>>,
    /// `queue.tls.<id>`. Default: `default`, and `invalid-tls`, which takes any certificate.
    pub tls: BTreeMap<CompactString, Arc<Tls>>,
    /// `queue.source-ip."<ip>".ehlo-hostname`: what we say in EHLO from that address.
    pub source_names: BTreeMap<IpAddr, CompactString>,
    /// How connections are kept for reuse.
    pub pool: Pool,
    /// Who we are, so that mail does not loop back to us.
    pub own: Own,
}

/// What we are known as. Filled from `server.hostname` and the listeners.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own {
    /// `server.hostname`, and every `ehlo-hostname`; A-labels, lower case.
    pub hostnames: Vec<CompactString>,
    /// Addresses that our listeners are bound to on port 25, wildcards left out.
    pub addresses: Vec<IpAddr>,
}

/// `queue.route.<id>`, by its `type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `local`: into Maildirs of this machine.
    Local(Arc<LocalRoute>),
    /// `mx`: to the mail exchangers of the recipient's domain.
    Mx(Arc<MxRoute>),
    /// `relay`: to one configured host.
    Relay(Arc<RelayRoute>),
}

/// `type = "local"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRoute {
    /// `path` (ours): where the Maildirs are, each in `<path>/<domain>/<user>`. Default `./var/mail`.
    pub path: PathBuf,
    /// `sub-addressing` (ours): what follows a `+` in the local-part is no part of the user's name. Default true.
    pub sub_addressing: bool,
}

/// `type = "mx"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MxRoute {
    /// `limits.mx`: exchangers that are tried. Default 5; at least 1.
    pub mx_max: usize,
    /// `limits.multihomed`: addresses of one exchanger that are tried. Default 2; at least 1.
    pub multihomed_max: usize,
    /// `ip-lookup`. Default `ipv4_then_ipv6`.
    pub ip_lookup: IpLookup,
    /// `port` (ours): where the exchangers listen. Default 25; anything else is for tests.
    pub port: u16,
    /// `allow-loopback` (ours): exchangers on loopback addresses are tried. Default false; for tests.
    pub allow_loopback: bool,
}

/// `type = "relay"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayRoute {
    /// `address`: a host name or an address. Required.
    pub address: CompactString,
    /// `port`. Default 25.
    pub port: u16,
    /// `protocol`: smtp or lmtp. Default smtp.
    pub protocol: Protocol,
    /// `auth.username` and `auth.secret`: sent only inside TLS. Default: none.
    pub credentials: Option<Credentials>,
    /// `tls.implicit`: TLS before the greeting, the certificate verified. Default true.
    pub implicit_tls: bool,
    /// `tls.allow-invalid-certs`: any certificate is good enough. Default false.
    pub allow_invalid_certs: bool,
    /// `ip-lookup` (ours, as for mx). Default `ipv4_then_ipv6`.
    pub ip_lookup: IpLookup,
}

/// Which addresses of a host are tried, and which first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IpLookup {
    /// `ipv4_then_ipv6`.
    #[default]
    V4ThenV6,
    /// `ipv6_then_ipv4`.
    V6ThenV4,
    /// `ipv4_only`.
    V4Only,
    /// `ipv6_only`.
    V6Only,
}

/// `queue.connection.<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `ehlo-hostname`. Default: `server.hostname`.
    pub ehlo_hostname: Option<CompactString>,
    /// `source-ips`: one of the peer's family is chosen at random; the system's choice when there is none. Default [].
    pub source_ips: Vec<IpAddr>,
    /// `convert-to-7bit` (ours): content that a host does not take as it is (no 8BITMIME, no BINARYMIME) is converted
    /// (RFC 6152 §3). Default true; with false it fails with 5.6.3.
    pub converts: bool,
    /// `timeout.connect`. Default 5m.
    pub connect_timeout: Duration,
    /// `timeout.greeting`, `.ehlo`, `.mail-from`, `.rcpt-to` (5m each), `.data` (10m), as RFC 5321 §4.5.3.2 asks.
    pub timeouts: Timeouts,
}

/// `queue.tls.<id>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// `starttls`: optional, require, disable. Default optional: what cannot be encrypted goes in the clear.
    pub starttls: StartTls,
    /// `allow-invalid-certs`: with `starttls = "require"`, any certificate is good enough. (Optional TLS takes any:
    /// the alternative would be clear text.) Default false.
    pub allow_invalid_certs: bool,
    /// `timeout.tls`: one handshake. Default 3m.
    pub timeout: Duration,
}

/// How connections are kept for reuse (`queue.pool`, ours).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// `idle`: how long a connection waits for another message. Default 10s; 0 closes it at once.
    pub idle: Duration,
    /// `transactions`: messages by one connection. Default 1000; at least 1.
    pub transactions_max: u32,
    /// `lifetime`: age at which a connection takes no further message. Default 5m.
    pub lifetime_max: Duration,
    /// `connections-per-lane`: idle connections kept in one lane by one shard. Default 50, as many as a lane may have.
    pub per_lane_max: usize,
    /// `connections`: idle connections kept by one shard. Default 500.
    pub idle_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let routes = [("local", Route::Local(Arc::default())), ("mx", Route::Mx(Arc::default()))];
        let any = Tls { allow_invalid_certs: true, ..Tls::default() };
        Settings {
            strategy_route: shipped("is_local_domain('*', rcpt_domain)", "'local'", "'mx'"),
            strategy_connection: Expr::constant("default".into()),
            strategy_tls: shipped("retry_num > 0 && last_error == 'tls'", "'invalid-tls'", "'default'"),
            routes: routes.into_iter().map(|(id, route)| (id.into(), route)).collect(),
            connections: [("default".into(), Arc::default())].into(),
            tls: [("default".into(), Arc::default()), ("invalid-tls".into(), Arc::new(any))].into(),
            source_names: BTreeMap::new(),
            pool: Pool::default(),
            own: Own::default(),
        }
    }
}

/// An expression of the defaults: if, then, else, as the configuration would say it.
fn shipped(condition: &str, then: &str, otherwise: &str) -> Expr<CompactString> {
    let branches = vec![
        Branch { if_: Some(Scalar::Text(condition)), then: Some(Scalar::Text(then)), else_: None },
        Branch { if_: None, then: None, else_: Some(Scalar::Text(otherwise)) },
    ];
    let fallback = CompactString::new(otherwise.trim_matches('\''));
    let environment = Environment::at(Stage::QUEUE_RECIPIENT);
    Expr::compile(&Source::Branches(branches), fallback.clone(), &environment).unwrap_or(Expr::constant(fallback))
}

impl Default for LocalRoute {
    fn default() -> Self {
        LocalRoute { path: "./var/mail".into(), sub_addressing: true }
    }
}

impl Default for MxRoute {
    fn default() -> Self {
        MxRoute { mx_max: 5, multihomed_max: 2, ip_lookup: IpLookup::default(), port: 25, allow_loopback: false }
    }
}

impl RelayRoute {
    /// A relay with the defaults.
    pub fn to(address: &str) -> RelayRoute {
        RelayRoute {
            address: address.into(),
            port: 25,
            protocol: Protocol::Smtp,
            credentials: None,
            implicit_tls: true,
            allow_invalid_certs: false,
            ip_lookup: IpLookup::default(),
        }
    }
}

impl Default for Connection {
    fn default() -> Self {
        Connection {
            ehlo_hostname: None,
            source_ips: Vec::new(),
            converts: true,
            connect_timeout: Duration::from_secs(300),
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Tls {
    fn default() -> Self {
        Tls { starttls: StartTls::Optional, allow_invalid_certs: false, timeout: Duration::from_secs(180) }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Pool {
            idle: Duration::from_secs(10),
            transactions_max: 1000,
            lifetime_max: Duration::from_secs(300),
            per_lane_max: 50,
            idle_max: 500,
        }
    }
}

/// Snapshots cross threads.
const _: fn() = || {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Settings>();
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_strategies_are_expressions_that_compile() {
        let settings = Settings::default();
        assert!(settings.strategy_route.as_constant().is_none());
        assert!(settings.strategy_tls.as_constant().is_none());
        assert_eq!(settings.strategy_connection.as_constant().map(CompactString::as_str), Some("default"));
        for id in ["local", "mx"] {
            assert!(settings.routes.contains_key(id));
        }
    }
}
