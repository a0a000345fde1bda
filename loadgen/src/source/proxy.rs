//! PROXY headers, versions 1 and 2, as a load balancer would write them. Pure.

use std::net::SocketAddr;

/// Which version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProxyVersion {
    /// A line of text
    V1,
    /// Binary
    V2,
}

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header for a connection from `client` to `server`. Where the families differ both are written as IPv6.
pub fn header(version: ProxyVersion, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => version_1(client, server),
        ProxyVersion::V2 => version_2(client, server),
    }
}

fn version_1(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (family, from, to) = match (client, server) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => ("TCP4", client.ip().to_string(), server.ip().to_string()),
        _ => ("TCP6", as_v6(client).to_string(), as_v6(server).to_string()),
    };
    format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), server.port()).into_bytes()
}

fn version_2(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut out = SIGNATURE.to_vec();
    match (client, server) {
        (SocketAddr::V4(from), SocketAddr::V4(to)) => {
            out.extend_from_slice(&[0x21, 0x11, 0, 12]);
            out.extend_from_slice(&from.ip().octets());
            out.extend_from_slice(&to.ip().octets());
        }
        _ => {
            out.extend_from_slice(&[0x21, 0x21, 0, 36]);
            out.extend_from_slice(&as_v6(client).octets());
            out.extend_from_slice(&as_v6(server).octets());
        }
    }
    out.extend_from_slice(&client.port().to_be_bytes());
    out.extend_from_slice(&server.port().to_be_bytes());
    out
}

fn as_v6(address: SocketAddr) -> std::net::Ipv6Addr {
    match address.ip() {
        std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        std::net::IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_as_specified() {
        let client = "192.0.2.1:1000".parse().expect("valid");
        let server = "198.51.100.2:25".parse().expect("valid");
        assert_eq!(header(ProxyVersion::V1, client, server), b"PROXY TCP4 192.0.2.1 198.51.100.2 1000 25\r\n");
        let binary = header(ProxyVersion::V2, client, server);
        assert_eq!(binary.len(), 28);
        assert_eq!(binary[12..], [0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 2, 3, 232, 0, 25]);
        let six = header(ProxyVersion::V1, client, "[2001:db8::1]:25".parse().expect("valid"));
        assert_eq!(six, b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1000 25\r\n");
        assert_eq!(header(ProxyVersion::V2, client, "[::1]:25".parse().expect("valid")).len(), 52);
    }
}
