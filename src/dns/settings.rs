//! `[resolver]` and `[cache.dns]`.

use std::net::SocketAddr;
use std::time::Duration;

use crate::schema::kinds::from_text;
use crate::schema::{FaultKind, Kind, Section};

/// Which servers are asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Servers {
    /// Those of `/etc/resolv.conf` (`type = "system"`).
    #[default]
    System,
    /// 1.1.1.1 and its kin.
    Cloudflare,
    /// 9.9.9.9 and its kin.
    Quad9,
    /// 8.8.8.8 and its kin.
    Google,
    /// Those of `resolver.custom`.
    Custom(Vec<Server>),
}

/// One server: `udp://127.0.0.1:5353` or `tcp://127.0.0.1:5353`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server {
    /// Asked over TCP only; otherwise over UDP, and over TCP when an answer is truncated.
    pub tcp: bool,
    /// Where it listens. Port 53 when none was given.
    pub address: SocketAddr,
}

/// The text is no server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name server: expected udp://address:port or tcp://address:port, the port 53 if left out")]
pub struct ParseServerError;

impl std::str::FromStr for Server {
    type Err = ParseServerError;

    fn from_str(text: &str) -> Result<Server, ParseServerError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("udp", text));
        let tcp = match scheme {
            "udp" => false,
            "tcp" => true,
            _ => return Err(ParseServerError),
        };
        let bare = rest.strip_prefix('[').and_then(|r| r.strip_suffix(']')).unwrap_or(rest);
        let address = match (rest.parse(), bare.parse()) {
            (Ok(address), _) => address,
            (_, Ok(ip)) => SocketAddr::new(ip, 53),
            _ => return Err(ParseServerError),
        };
        Ok(Server { tcp, address })
    }
}

/// `[resolver]`. A change takes effect for new questions after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `type` (system, cloudflare, quad9, google, custom) and `custom`. Default: system.
    pub servers: Servers,
    /// `timeout`: one question to one server. Default 5s.
    pub timeout: Duration,
    /// `attempts`: how often a question is repeated after a failure. Default 2.
    pub attempts: usize,
    /// `concurrency`: questions under way at once in the whole process. Default 256; at least 1.
    pub concurrency: usize,
    /// `try-tcp-on-error`: ask over TCP when UDP fails. Default true.
    pub try_tcp_on_error: bool,
    /// `edns`: announce larger UDP answers (RFC 6891). Default true.
    pub edns: bool,
    /// `cache.dns.size`: names each shard keeps. Default 8192; 0 keeps none.
    pub cache_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            servers: Servers::System,
            timeout: Duration::from_secs(5),
            attempts: 2,
            concurrency: 256,
            try_tcp_on_error: true,
            edns: true,
            cache_entries: 8192,
        }
    }
}

/// The words of `resolver.type`; the `-tls` ones are of the vocabulary and not served yet.
const TYPES: &[(&str, &str)] = &[
    ("system", "system"),
    ("cloudflare", "cloudflare"),
    ("quad9", "quad9"),
    ("google", "google"),
    ("custom", "custom"),
    ("cloudflare-tls", "cloudflare-tls"),
    ("quad9-tls", "quad9-tls"),
];

/// The caches of the reference product, which are one here.
const CACHES: &[&str] = &["txt", "mx", "ptr", "ipv4", "ipv6", "tlsa", "mta-sts", "rbl"];

fn server() -> Kind<Server> {
    let expected = "a name server, such as \"udp://127.0.0.1:53\" or \"tcp://[::1]:53\"";
    let print = |server: &Server| format!("{}://{}", if server.tcp { "tcp" } else { "udp" }, server.address);
    let placeholder = || Server { tcp: false, address: SocketAddr::from(([127, 0, 0, 1], 53)) };
    from_text("name server", expected, |text| text.parse().ok(), print, placeholder)
}

impl Settings {
    /// Reads `[resolver]` and `[cache]` of the whole file.
    pub fn read(root: &Section<'_>) -> Settings {
        let default = Settings::default();
        let cache_entries = root.table("cache", "Caches.", |s| {
            s.table("dns", "Answers of the DNS that each shard keeps.", |s| {
                for name in CACHES {
                    s.foreign(name, "one cache holds all types of records: its size is cache.dns.size");
                }
                s.key("size")
                    .doc("Names that each shard keeps the answers for; 0 keeps none.")
                    .unit("names")
                    .between(0, 10_000_000)
                    .restart()
                    .default(default.cache_entries)
            })
        });
        root.table("resolver", "How the DNS is asked.", |s| {
            let servers = read_servers(s);
            s.not_yet("preserve-intermediates", "CNAME chains are followed and not kept");
            Settings {
                servers,
                timeout: s
                    .key("timeout")
                    .doc("One question to one server takes at most this long.")
                    .between(Duration::from_millis(100), Duration::from_secs(60))
                    .restart()
                    .default(default.timeout),
                attempts: s
                    .key("attempts")
                    .doc("How often a question is repeated after a failure.")
                    .between(0, 10)
                    .restart()
                    .default(default.attempts),
                concurrency: s
                    .key("concurrency")
                    .doc("Questions under way at once in the whole process.")
                    .unit("questions")
                    .between(1, 65_536)
                    .restart()
                    .default(default.concurrency),
                try_tcp_on_error: s
                    .key("try-tcp-on-error")
                    .doc("Ask over TCP when UDP fails.")
                    .restart()
                    .default(default.try_tcp_on_error),
                edns: s
                    .key("edns")
                    .doc("Announce that larger answers over UDP are welcome (RFC 6891).")
                    .restart()
                    .default(default.edns),
                cache_entries,
            }
        })
    }
}

fn read_servers(s: &Section<'_>) -> Servers {
    let kind = s
        .choice("type", TYPES)
        .doc("Which servers are asked: those of /etc/resolv.conf (system), a public service, or those of resolver.custom. The -tls types are named and not served yet.")
        .restart()
        .default("system");
    let custom = s
        .knob("custom", server().list())
        .doc("The servers of type custom: udp:// (and TCP for what is truncated) or tcp://. Port 53 where none is given.")
        .restart()
        .default(Vec::new());
    match kind {
        "cloudflare" => Servers::Cloudflare,
        "quad9" => Servers::Quad9,
        "google" => Servers::Google,
        "custom" if custom.is_empty() => {
            let fault = s.fault_at("custom", FaultKind::Missing, "`resolver.custom` names no server");
            s.report(fault.label("type is \"custom\"").expected("at least one name server"));
            Servers::System
        }
        "custom" => Servers::Custom(custom),
        "cloudflare-tls" | "quad9-tls" => {
            let fault = s.fault_at("type", FaultKind::Value, "DNS over TLS is not served yet");
            s.report(fault.found(format!("\"{kind}\"")).expected("a type without -tls"));
            Servers::System
        }
        _ => Servers::System,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_in_all_their_spellings() {
        let parsed = |text: &str| text.parse::<Server>().map(|s| (s.tcp, s.address.to_string()));
        assert_eq!(parsed("udp://127.0.0.1:5353"), Ok((false, "127.0.0.1:5353".into())));
        assert_eq!(parsed("tcp://[::1]:53"), Ok((true, "[::1]:53".into())));
        assert_eq!(parsed("9.9.9.9"), Ok((false, "9.9.9.9:53".into())));
        assert_eq!(parsed("tcp://[::1]"), Ok((true, "[::1]:53".into())));
        for bad in ["", "tls://1.1.1.1", "udp://", "udp://example.org:53", "1.1.1.1:99999", "udp://1.1.1.1:53 "] {
            assert_eq!(parsed(bad), Err(ParseServerError), "{bad}");
        }
    }
}
