//! `[resolver]` and `[cache.dns]`.

use std::net::SocketAddr;
use std::time::Duration;

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
