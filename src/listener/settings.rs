//! `[server.listener.<id>]`, `[certificate.<id>]` and what all listeners share in `[server]`.

use std::net::SocketAddr;
use std::time::Duration;

use compact_str::CompactString;
use ipnet::IpNet;

use crate::schema::{FaultKind, Kind, Section, Size, Typed, kinds};
use crate::spool::Durability;
use crate::spool::settings::DURABILITY_WORDS;

use crate::tls::settings::cipher_suite;

pub use crate::tls::settings::{Certificate, TlsSettings, TlsVersion};

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 5321.
    Smtp,
    /// RFC 2033.
    Lmtp,
}

/// What becomes of a bare CR or a bare LF in content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BareNewlines {
    /// The message is refused.
    #[default]
    Reject,
    /// Each becomes CRLF.
    Normalize,
    /// They are kept, and never leave by DATA.
    Allow,
}

/// One listener. A listener has settings, not a role: no port implies one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its id, which expressions see as `listener`.
    pub id: CompactString,
    /// `bind`: the addresses, at least one.
    pub bind: Vec<SocketAddr>,
    /// `protocol`.
    pub protocol: Protocol,
    /// `greeting`: wins over `session.connect.greeting`.
    pub greeting: Option<CompactString>,
    /// `max-connections`: held at once; more are answered 421.
    pub max_connections: u32,
    /// `max-connections-per-ip` (ours): held at once by one IPv4 address or IPv6 /64; 0 for no limit.
    pub max_connections_per_ip: u32,
    /// `socket.*`.
    pub socket: SocketOptions,
    /// `proxy.trusted-networks`: who must start with a PROXY header.
    pub proxy_trusted: Vec<IpNet>,
    /// `xclient.trusted-networks` (ours): who may use XCLIENT.
    pub xclient_trusted: Vec<IpNet>,
    /// `tls.*`.
    pub tls: TlsSettings,
    /// `durability` (ours): what a 250 promises here; `None` for that of `[spool]`.
    pub durability: Option<Durability>,
    /// `bare-newlines` (ours).
    pub bare_newlines: BareNewlines,
}

/// `socket.*` of a listener. `None` leaves the kernel's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// SO_REUSEADDR.
    pub reuse_addr: bool,
    /// SO_REUSEPORT: every shard binds its own socket.
    pub reuse_port: bool,
    /// Connections the kernel completes before we accept them.
    pub backlog: u32,
    /// IP_TTL or the IPv6 hop limit.
    pub ttl: Option<u32>,
    /// SO_SNDBUF in bytes.
    pub send_buffer_size: Option<usize>,
    /// SO_RCVBUF in bytes.
    pub recv_buffer_size: Option<usize>,
    /// SO_LINGER.
    pub linger: Option<Duration>,
    /// IP_TOS or the IPv6 traffic class.
    pub tos: Option<u32>,
    /// TCP_NODELAY.
    pub nodelay: bool,
}

/// `[server]` as far as listeners fall back to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// `server.max-connections`.
    pub max_connections: u32,
    /// `server.max-connections-per-ip`.
    pub max_connections_per_ip: u32,
    /// `server.socket.*`.
    pub socket: SocketOptions,
    /// `server.proxy.trusted-networks`.
    pub proxy_trusted: Vec<IpNet>,
    /// `server.tls.*`.
    pub tls: TlsSettings,
}

impl Default for Shared {
    fn default() -> Self {
        Shared {
            max_connections: 8192,
            max_connections_per_ip: 0,
            socket: SocketOptions::default(),
            proxy_trusted: Vec::new(),
            tls: TlsSettings::default(),
        }
    }
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            reuse_addr: true,
            reuse_port: true,
            backlog: 1024,
            ttl: None,
            send_buffer_size: None,
            recv_buffer_size: None,
            linger: None,
            tos: None,
            nodelay: true,
        }
    }
}

/// The protocols of the vocabulary, ours and others'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Ours(Protocol),
    NotYet,
    Foreign,
}

const PROTOCOLS: &[(&str, Spoken)] = &[
    ("smtp", Spoken::Ours(Protocol::Smtp)),
    ("lmtp", Spoken::Ours(Protocol::Lmtp)),
    ("http", Spoken::NotYet),
    ("imap", Spoken::Foreign),
    ("pop3", Spoken::Foreign),
    ("managesieve", Spoken::Foreign),
];
const BARE_NEWLINES: &[(&str, BareNewlines)] =
    &[("reject", BareNewlines::Reject), ("normalize", BareNewlines::Normalize), ("allow", BareNewlines::Allow)];
const TLS_VERSIONS: &[(&str, TlsVersion)] = &[
    ("TLSv1.2", TlsVersion::Tls12),
    ("TLSv1.3", TlsVersion::Tls13),
    ("0x0303", TlsVersion::Tls12),
    ("0x0304", TlsVersion::Tls13),
];

/// Octets of a greeting that fit a reply line with its code and the host name.
const GREETING_BYTES_MAX: usize = 400;

impl Shared {
    /// Reads the shared part of `[server]`.
    pub fn read(server: &Section<'_>) -> Shared {
        let default = Shared::default();
        Shared {
            max_connections: server
                .key("max-connections")
                .doc("Connections that a listener holds at once where it does not say it itself; more are answered 421.")
                .between(1, 10_000_000)
                .default(default.max_connections),
            max_connections_per_ip: server
                .key("max-connections-per-ip")
                .doc("Connections that one IPv4 address or one IPv6 /64 holds at once, over all listeners that do not say it themselves; more are answered 421. 0 is no limit. Loopback is not limited.")
                .between(0, 10_000_000)
                .default(default.max_connections_per_ip),
            socket: server.table("socket", "Socket options of listeners that do not set them themselves.", |s| {
                SocketOptions::read(s, &default.socket, None)
            }),
            proxy_trusted: server.table("proxy", "The PROXY protocol (v1 and v2) in front of listeners that do not say it themselves.", |s| {
                s.knob("trusted-networks", kinds::networks()).doc(PROXY_DOC).default(default.proxy_trusted)
            }),
            tls: server.table("tls", "TLS of listeners that do not say it themselves.", |s| {
                s.not_yet("certificate", "certificates are chosen by name, then by default");
                TlsSettings::read(s, &default.tls, None)
            }),
        }
    }
}

const PROXY_DOC: &str = "Load balancers that start each connection with a PROXY header (v1 or v2), which is then required of them and believed.";

impl Settings {
    /// Reads `[server.listener.<id>]`; `None` for a protocol that is not ours, which is a warning.
    pub fn read(s: &Section<'_>, id: &str, shared: &Shared) -> Option<Settings> {
        let spoken = s
            .choice("protocol", PROTOCOLS)
            .doc("What is spoken: smtp or lmtp. http is not served yet; imap, pop3 and managesieve are not ours: such a listener is skipped with a warning.")
            .example("\"smtp\"")
            .required();
        let tls = s.table("tls", "TLS of this listener.", |s| TlsSettings::read(s, &shared.tls, Some("server.tls")));
        let settings = Settings {
            id: id.into(),
            bind: s
                .knob("bind", SocketAddr::kind().list().only("at least one address", |bind| !bind.is_empty()))
                .doc("The addresses it listens on.")
                .example("\"[::]:25\"")
                .required(),
            protocol: Protocol::Smtp,
            greeting: s
                .knob("greeting", kinds::line(GREETING_BYTES_MAX))
                .doc("The text after the 220 of this listener; it wins over session.connect.greeting.")
                .example("\"Welcome!\"")
                .optional(),
            max_connections: s
                .key("max-connections")
                .doc("Connections held at once; more are answered 421.")
                .between(1, 10_000_000)
                .fallback(shared.max_connections, Some("server")),
            max_connections_per_ip: s
                .key("max-connections-per-ip")
                .doc("Connections that one IPv4 address or one IPv6 /64 holds at once; more are answered 421. 0 is no limit. Loopback is not limited.")
                .between(0, 10_000_000)
                .fallback(shared.max_connections_per_ip, Some("server")),
            socket: s.table("socket", "Socket options of this listener.", |s| {
                SocketOptions::read(s, &shared.socket, Some("server.socket"))
            }),
            proxy_trusted: s.table("proxy", "The PROXY protocol in front of this listener.", |s| {
                let knob = s.knob("trusted-networks", kinds::networks()).doc(PROXY_DOC);
                knob.fallback(shared.proxy_trusted.clone(), Some("server.proxy"))
            }),
            xclient_trusted: s.table("xclient", "The XCLIENT command at this listener.", |s| {
                s.knob("trusted-networks", kinds::networks())
                    .doc("Front ends that may say with XCLIENT whose connection theirs is; it is offered to nobody else.")
                    .default(Vec::new())
            }),
            tls,
            durability: s
                .choice("durability", DURABILITY_WORDS)
                .doc("What a 250 promises at this listener; as spool.durability where it is not set.")
                .example("\"durable\"")
                .optional(),
            bare_newlines: s
                .choice("bare-newlines", BARE_NEWLINES)
                .doc("What becomes of a bare CR or LF in content: reject refuses the message, normalize makes each a CRLF, allow keeps them. Only CRLF . CRLF ends a message in any case.")
                .default(BareNewlines::Reject),
        };
        match spoken {
            Spoken::Ours(protocol) => Some(Settings { protocol, ..settings }),
            Spoken::NotYet => skip(s, id, FaultKind::NotYet, "http is not served yet"),
            Spoken::Foreign => skip(s, id, FaultKind::Foreign, "mailbox access is not ours"),
        }
    }
}

fn skip(s: &Section<'_>, id: &str, kind: FaultKind, why: &str) -> Option<Settings> {
    s.report(s.fault_at("protocol", kind, format!("listener `{id}` is skipped")).label(why));
    None
}

impl SocketOptions {
    /// Reads a table `socket`; what it does not set is as in the table `from`.
    fn read(s: &Section<'_>, fallback: &SocketOptions, from: Option<&str>) -> SocketOptions {
        let number = |name, doc, unit, value: Option<u32>| {
            s.key::<u32>(name).doc(doc).unit(unit).between(0, 255).example("64").optional().or(value)
        };
        let size = |name, doc, value: Option<usize>| {
            let knob = s.key(name).doc(doc).between(Size(1024), Size(1 << 30)).example("\"256KB\"");
            knob.optional().map(Size::bytes).or(value)
        };
        SocketOptions {
            reuse_addr: s
                .key("reuse-addr")
                .doc("SO_REUSEADDR: bind while old connections are in TIME_WAIT.")
                .fallback(fallback.reuse_addr, from),
            reuse_port: s
                .key("reuse-port")
                .doc("SO_REUSEPORT: every shard binds its own socket and the kernel spreads connections over them.")
                .fallback(fallback.reuse_port, from),
            backlog: s
                .key("backlog")
                .doc("Connections the kernel completes before they are accepted.")
                .between(1, 1 << 20)
                .fallback(fallback.backlog, from),
            ttl: number(
                "ttl",
                "IP_TTL, or the IPv6 hop limit; the kernel's where it is not set.",
                "hops",
                fallback.ttl,
            ),
            send_buffer_size: size(
                "send-buffer-size",
                "SO_SNDBUF; the kernel's where it is not set.",
                fallback.send_buffer_size,
            ),
            recv_buffer_size: size(
                "recv-buffer-size",
                "SO_RCVBUF; the kernel's where it is not set.",
                fallback.recv_buffer_size,
            ),
            linger: s
                .key("linger")
                .doc("SO_LINGER; the kernel's where it is not set.")
                .between(Duration::ZERO, Duration::from_secs(3600))
                .example("\"10s\"")
                .optional()
                .or(fallback.linger),
            tos: number(
                "tos",
                "IP_TOS, or the IPv6 traffic class; the kernel's where it is not set.",
                "bits",
                fallback.tos,
            ),
            nodelay: s.key("nodelay").doc("TCP_NODELAY: a reply is sent at once.").fallback(fallback.nodelay, from),
        }
    }
}

impl TlsSettings {
    /// Reads a table `tls`; what it does not set is as in the table `from`.
    fn read(s: &Section<'_>, fallback: &TlsSettings, from: Option<&str>) -> TlsSettings {
        TlsSettings {
            enable: s
                .key("enable")
                .doc("Whether TLS is spoken at all: by STARTTLS, or at once where tls.implicit is true.")
                .fallback(fallback.enable, from),
            implicit: s
                .key("implicit")
                .doc("TLS from the first octet, without STARTTLS.")
                .fallback(fallback.implicit, from),
            disable_protocols: s
                .knob("disable-protocols", Kind::choice(TLS_VERSIONS).list())
                .doc("Versions that are not spoken. Only TLS 1.2 and 1.3 ever are.")
                .fallback(fallback.disable_protocols.clone(), from),
            disable_ciphers: s
                .knob("disable-ciphers", cipher_kind().list())
                .doc("Cipher suites that are not used, such as TLS13_AES_128_GCM_SHA256.")
                .fallback(fallback.disable_ciphers.clone(), from),
            ignore_client_order: s
                .key("ignore-client-order")
                .doc("The server's order of cipher suites holds, not the client's.")
                .fallback(fallback.ignore_client_order, from),
            timeout: s
                .key("timeout")
                .doc("A handshake takes at most this long.")
                .between(Duration::from_secs(1), Duration::from_secs(3600))
                .fallback(fallback.timeout, from),
        }
    }
}

fn cipher_kind() -> Kind<CompactString> {
    CompactString::kind().only("a cipher suite such as TLS13_AES_128_GCM_SHA256", |name| cipher_suite(name).is_some())
}

impl Certificate {
    /// Reads `[certificate.<id>]`.
    pub fn read(s: &Section<'_>, id: &str) -> Certificate {
        let pem = |what: &'static str, marker: &'static str| {
            String::kind()
                .only(format!("{what} in PEM, or \"%{{file:/path}}%\""), move |text| text.contains(marker))
                .called("PEM text")
        };
        Certificate {
            id: id.into(),
            cert: s
                .knob("cert", pem("a certificate", "-----BEGIN CERTIFICATE-----"))
                .doc("The chain in PEM, the server's own certificate first.")
                .example("\"%{file:/etc/posthaste/mx.crt}%\"")
                .required(),
            private_key: s
                .knob("private-key", pem("a private key", "PRIVATE KEY-----"))
                .doc("Its private key in PEM.")
                .example("\"%{file:/etc/posthaste/mx.key}%\"")
                .required(),
            subjects: s
                .key("subjects")
                .doc(
                    "Names it is used for, by exact match and then by wildcard; where empty, those in the certificate.",
                )
                .default(Vec::new()),
            is_default: s.key("default").doc("It is used where no name matches.").default(false),
        }
    }
}
