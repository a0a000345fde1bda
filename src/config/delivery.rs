//! `route`, `connection`, `source-ip`, `tls` and `pool` of `[queue]`: how mail leaves.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;

use super::server::ServerSettings;
use crate::delivery::settings::{
    Connection, IpLookup, LocalRoute, MxRoute, Own, Pool, RelayRoute, Route, Settings, Tls,
};
use crate::listener;
use crate::mail::address::domain_key;
use crate::schema::{FaultKind, Section, kinds};
use crate::smtp::client::{Credentials, Protocol, StartTls, Timeouts};

const IP_LOOKUP: &[(&str, IpLookup)] = &[
    ("ipv4_then_ipv6", IpLookup::V4ThenV6),
    ("ipv6_then_ipv4", IpLookup::V6ThenV4),
    ("ipv4_only", IpLookup::V4Only),
    ("ipv6_only", IpLookup::V6Only),
];
const PROTOCOLS: &[(&str, Protocol)] = &[("smtp", Protocol::Smtp), ("lmtp", Protocol::Lmtp)];
const STARTTLS: &[(&str, StartTls)] =
    &[("optional", StartTls::Optional), ("require", StartTls::Require), ("disable", StartTls::Disable)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RouteType {
    Local,
    Mx,
    Relay,
}

const ROUTE_TYPES: &[(&str, RouteType)] =
    &[("relay", RouteType::Relay), ("mx", RouteType::Mx), ("local", RouteType::Local)];

/// Reads the part of `[queue]` that says how mail leaves; the names in `[queue.strategy]` are not part of it.
pub(super) fn read(s: &Section<'_>, server: &ServerSettings, listeners: &[listener::Settings]) -> Settings {
    let shipped = Settings::default();
    let mut routes = shipped.routes.clone();
    for (id, route) in s.named("route", ROUTE_DOC, |s, _| read_route(s)) {
        routes.insert(id.into(), route);
    }
    let mut connections = shipped.connections.clone();
    for (id, connection) in s.named("connection", CONNECTION_DOC, |s, _| read_connection(s)) {
        connections.insert(id.into(), Arc::new(connection));
    }
    let mut tls = shipped.tls.clone();
    for (id, strategy) in s.named("tls", TLS_DOC, |s, _| read_tls(s)) {
        tls.insert(id.into(), Arc::new(strategy));
    }
    let source_names = read_source_names(s);
    let pool = s.table("pool", "Connections that are kept to be used again.", read_pool);
    let own = own(server, listeners, &connections, &source_names);
    Settings { routes, connections, tls, source_names, pool, own, ..shipped }
}

const ROUTE_DOC: &str = "Where mail goes, by the name that queue.strategy.route gives. local (Maildirs in ./var/mail) and mx are there in any case.";
const CONNECTION_DOC: &str =
    "How a connection is made, by the name that queue.strategy.connection gives. default is there in any case.";
const TLS_DOC: &str = "How a connection is encrypted, by the name that queue.strategy.tls gives. default, and invalid-tls, which takes any certificate, are there in any case.";

fn read_route(s: &Section<'_>) -> Route {
    let kind = s
        .choice("type", ROUTE_TYPES)
        .doc("What the route is: local delivers into Maildirs, mx to the mail exchangers of the recipient's domain, relay to one host.")
        .example("\"relay\"")
        .required();
    // The keys of all types are known in each, so that a key of another type is told as such.
    let local = read_local(s);
    let mx = read_mx(s);
    let relay = read_relay(s, kind == RouteType::Relay, &mx);
    let (own, others): (&[&str], &[&str]) = match kind {
        RouteType::Local => (
            &["path", "sub-addressing"],
            &["address", "port", "protocol", "auth", "tls", "limits", "ip-lookup", "allow-loopback"],
        ),
        RouteType::Mx => (
            &["limits", "ip-lookup", "port", "allow-loopback"],
            &["path", "sub-addressing", "address", "protocol", "auth", "tls"],
        ),
        RouteType::Relay => (
            &["address", "port", "protocol", "auth", "tls", "ip-lookup"],
            &["path", "sub-addressing", "limits", "allow-loopback"],
        ),
    };
    for name in others.iter().filter(|name| s.has(name) && !s.is_describing()) {
        let word = ROUTE_TYPES.iter().find(|(_, other)| *other == kind).map_or("", |(word, _)| word);
        let fault = s.fault_at(name, FaultKind::Conflict, format!("`{name}` is no key of a route of type {word}"));
        s.report(fault.label(format!("a {word} route has: {}", own.join(", "))));
    }
    match kind {
        RouteType::Local => Route::Local(Arc::new(local)),
        RouteType::Mx => Route::Mx(Arc::new(mx)),
        RouteType::Relay => Route::Relay(Arc::new(relay)),
    }
}

fn read_local(s: &Section<'_>) -> LocalRoute {
    let default = LocalRoute::default();
    LocalRoute {
        path: s
            .key("path")
            .doc("For local: where the Maildirs are, each in <path>/<domain>/<user>.")
            .default(default.path),
        sub_addressing: s
            .key("sub-addressing")
            .doc("For local: what follows a + in the local-part is no part of the user's name.")
            .default(default.sub_addressing),
    }
}

fn read_mx(s: &Section<'_>) -> MxRoute {
    let default = MxRoute::default();
    let (mx_max, multihomed_max) = s.table("limits", "How many hosts and addresses are tried, for mx.", |s| {
        (
            s.key("mx").doc("Mail exchangers that are tried.").between(1, 100).default(default.mx_max),
            s.key("multihomed")
                .doc("Addresses of one exchanger that are tried.")
                .between(1, 100)
                .default(default.multihomed_max),
        )
    });
    MxRoute {
        mx_max,
        multihomed_max,
        ip_lookup: s
            .choice("ip-lookup", IP_LOOKUP)
            .doc("For mx and relay: which addresses of a host are tried, and which first.")
            .default(default.ip_lookup),
        port: s
            .key("port")
            .doc("For relay, its port; for mx, where exchangers listen: anything but 25 is for tests.")
            .between(1, 65_535)
            .default(default.port),
        allow_loopback: s
            .key("allow-loopback")
            .doc("For mx: exchangers on loopback addresses are tried; for tests.")
            .default(default.allow_loopback),
    }
}

/// `port` and `ip-lookup` are read with those of mx.
fn read_relay(s: &Section<'_>, is_meant: bool, mx: &MxRoute) -> RelayRoute {
    let address =
        s.knob("address", kinds::host()).doc("For relay: the host's name or address.").example("\"relay.example.org\"");
    let address = if is_meant { address.required() } else { address.optional().unwrap_or_default() };
    let default = RelayRoute::to(&address);
    let (port, ip_lookup) = (mx.port, mx.ip_lookup);
    let protocol = s.choice("protocol", PROTOCOLS).doc("For relay: what is spoken.").default(default.protocol);
    let credentials = s.table("auth", "Who we are to the relay; sent only inside TLS.", |s| {
        let username: Option<CompactString> =
            s.key("username").doc("The user's name.").example("\"posthaste\"").optional();
        let secret: Option<CompactString> =
            s.key("secret").doc("The password.").example("\"%{env:RELAY_SECRET}%\"").optional();
        match (username, secret) {
            (Some(username), Some(secret)) => Some(Credentials { username, secret }),
            (None, None) => None,
            (username, _) => {
                let missing = if username.is_some() { "secret" } else { "username" };
                let fault = s.fault_at(missing, FaultKind::Missing, format!("`{}.{missing}` is missing", s.path()));
                s.report(fault.label("username and secret go together"));
                None
            }
        }
    });
    let (is_said, implicit_tls, allow_invalid_certs) = s.table("tls", "TLS to the relay.", |s| {
        (
            s.has("implicit"),
            s.key("implicit")
                .doc("TLS before the greeting, the certificate verified. With false, STARTTLS as queue.strategy.tls says.")
                .default(default.implicit_tls),
            s.key("allow-invalid-certs").doc("Any certificate is good enough.").default(default.allow_invalid_certs),
        )
    });
    if is_meant && implicit_tls && !is_said && port == 25 && !address.is_empty() {
        let title = format!("`{}` speaks implicit TLS to port 25", s.path());
        let fault = s.fault(FaultKind::Doubtful, title).label("tls.implicit is true by default");
        s.report(fault.help("port 25 is nearly always for STARTTLS: write tls.implicit = false, or say the port"));
    }
    RelayRoute { address, port, protocol, credentials, implicit_tls, allow_invalid_certs, ip_lookup }
}

fn read_connection(s: &Section<'_>) -> Connection {
    let default = Connection::default();
    let (connect_timeout, timeouts) =
        s.table("timeout", "How long each step may take (RFC 5321 section 4.5.3.2).", |s| {
            let bounded = |name, doc, value| {
                s.key(name).doc(doc).between(Duration::from_secs(1), Duration::from_secs(86_400)).default(value)
            };
            let times = &default.timeouts;
            let connect_timeout = bounded("connect", "Until the connection is there.", default.connect_timeout);
            let timeouts = Timeouts {
                greeting: bounded("greeting", "Until the greeting is there.", times.greeting),
                ehlo: bounded("ehlo", "Until EHLO, HELO, STARTTLS or a step of AUTH is answered.", times.ehlo),
                mail_from: bounded("mail-from", "Until MAIL is answered.", times.mail_from),
                rcpt_to: bounded("rcpt-to", "Until a RCPT is answered.", times.rcpt_to),
                data: bounded(
                    "data",
                    "Until DATA is answered, a block of content is taken, or its end is answered.",
                    times.data,
                ),
            };
            (connect_timeout, timeouts)
        });
    Connection {
        ehlo_hostname: s
            .knob("ehlo-hostname", kinds::host_name())
            .doc("What we say in EHLO; server.hostname where it is not set.")
            .example("\"out.example.org\"")
            .optional(),
        source_ips: s
            .key("source-ips")
            .doc("Addresses we connect from: one of the peer's family, chosen at random; the system's choice where there is none.")
            .default(Vec::new()),
        converts: s
            .key("convert-to-7bit")
            .doc("Content that a host does not take as it is (no 8BITMIME, no BINARYMIME) is converted to quoted-printable or base64, unless a signature would break. With false, and where it cannot be converted, it fails with 5.6.3.")
            .default(default.converts),
        connect_timeout,
        timeouts,
    }
}

fn read_tls(s: &Section<'_>) -> Tls {
    let default = Tls::default();
    for name in ["dane", "mta-sts"] {
        let asked = s
            .choice(name, STARTTLS)
            .doc("Named and not served yet: it is never asked. require is therefore refused.")
            .example("\"optional\"")
            .optional();
        if asked == Some(StartTls::Require) && !s.is_describing() {
            let fault = s.fault_at(name, FaultKind::Value, format!("`{}.{name}` cannot be required yet", s.path()));
            s.report(
                fault.found("\"require\"").expected("\"optional\" or \"disable\": it is not asked in this release"),
            );
        }
    }
    let timeout = s.table("timeout", "How long TLS may take.", |s| {
        s.not_yet("mta-sts", "MTA-STS is not asked");
        s.key("tls")
            .doc("One handshake.")
            .between(Duration::from_secs(1), Duration::from_secs(3600))
            .default(default.timeout)
    });
    Tls {
        starttls: s
            .choice("starttls", STARTTLS)
            .doc("optional: what cannot be encrypted goes in the clear. require: it does not go. disable: never encrypted.")
            .default(default.starttls),
        allow_invalid_certs: s
            .key("allow-invalid-certs")
            .doc("With starttls = \"require\": any certificate is good enough. Optional TLS takes any in any case.")
            .default(default.allow_invalid_certs),
        timeout,
    }
}

fn read_source_names(s: &Section<'_>) -> BTreeMap<IpAddr, CompactString> {
    let read = s.named(
        "source-ip",
        "What we say in EHLO from one of our addresses, which is the name of the table.",
        |s, ip| {
            let name = s
                .knob("ehlo-hostname", kinds::host_name())
                .doc("What we say in EHLO from this address.")
                .example("\"out1.example.org\"")
                .required();
            let ip = ip.parse::<IpAddr>();
            if ip.is_err() && !s.is_describing() {
                let fault = s.fault(FaultKind::Value, format!("`{}` is named by no address", s.path()));
                s.report(fault.expected("an IP address in quotes, as in [queue.source-ip.\"192.0.2.1\"]"));
            }
            ip.ok().map(|ip| (ip, name))
        },
    );
    read.into_iter().filter_map(|(_, name)| name).collect()
}

fn read_pool(s: &Section<'_>) -> Pool {
    let default = Pool::default();
    Pool {
        idle: s
            .key("idle")
            .doc("How long a connection waits for another message; 0 closes it at once.")
            .between(Duration::ZERO, Duration::from_secs(3600))
            .default(default.idle),
        transactions_max: s
            .key("transactions")
            .doc("Messages by one connection.")
            .between(1, 10_000_000)
            .default(default.transactions_max),
        lifetime_max: s
            .key("lifetime")
            .doc("Age at which a connection takes no further message.")
            .between(Duration::from_secs(1), Duration::from_secs(86_400))
            .default(default.lifetime_max),
        per_lane_max: s
            .key("connections-per-lane")
            .doc("Idle connections kept in one lane by one shard.")
            .between(0, 100_000)
            .default(default.per_lane_max),
        idle_max: s
            .key("connections")
            .doc("Idle connections kept by one shard.")
            .between(0, 1_000_000)
            .default(default.idle_max),
    }
}

/// Who we are, so that mail does not loop back to us.
fn own(
    server: &ServerSettings,
    listeners: &[listener::Settings],
    connections: &BTreeMap<CompactString, Arc<Connection>>,
    source_names: &BTreeMap<IpAddr, CompactString>,
) -> Own {
    let named = connections.values().filter_map(|connection| connection.ehlo_hostname.as_ref());
    let names = std::iter::once(&server.hostname).chain(named).chain(source_names.values());
    let mut hostnames: Vec<CompactString> = names.map(|name| CompactString::new(domain_key(name))).collect();
    hostnames.sort_unstable();
    hostnames.dedup();
    let is_ours = |address: &&SocketAddr| address.port() == 25 && !address.ip().is_unspecified();
    let addresses = listeners.iter().flat_map(|listener| &listener.bind).filter(is_ours).map(SocketAddr::ip).collect();
    Own { hostnames, addresses }
}
