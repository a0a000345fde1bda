//! The PROXY protocol, versions 1 and 2: who the client behind a load balancer is.
//!
//! Asked only on connections from trusted networks. There a header must come first; what is no header
//! is garbage, and the connection closes. Nothing of a header is believed in part.

use std::net::SocketAddr;

use compact_str::CompactString;
use proxy_header::{Error, ParseConfig, ProxyHeader, Tlv};

/// Octets of one header; the protocol would allow 64 KiB of TLVs.
const HEADER_BYTES_MAX: usize = 4096;
/// Octets of a header of version 1 (PROXY protocol §2.1).
const V1_BYTES_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of a header of version 2 before its addresses.
const V2_FIXED_BYTES: usize = 16;
/// PP2_TYPE_CRC32C.
const TLV_CRC32C: u8 = 3;

/// What the front of a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxy {
    /// Not decided yet: read more and call again with all of it.
    More,
    /// A header; the protocol starts behind it.
    Header {
        /// Octets of the header.
        consumed: usize,
        /// What it says.
        client: Client,
    },
    /// No header: the connection closes.
    Garbage,
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    /// Source and destination of the proxied TCP connection. None for a connection of the proxy's own
    /// (LOCAL, a health check) or over a transport we do not speak: then the real addresses count.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// The server name that the client asked the proxy for (SNI).
    pub authority: Option<CompactString>,
    /// The client spoke TLS to the proxy.
    pub tls: Option<ClientTls>,
}

/// TLS between client and proxy, as the proxy tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTls {
    /// The version, such as `TLSv1.3`.
    pub version: CompactString,
    /// The cipher suite.
    pub cipher: CompactString,
    /// The common name of a client certificate that the proxy verified.
    pub verified_name: Option<CompactString>,
}

/// Looks at the first octets of a connection.
pub fn parse(input: &[u8]) -> Proxy {
    if !agrees(input, V1_START) && !agrees(input, V2_START) {
        return Proxy::Garbage;
    }
    if input.starts_with(V2_START) {
        match v2_length(input) {
            None => return Proxy::More,
            Some(length) if length > HEADER_BYTES_MAX => return Proxy::Garbage,
            Some(length) if input.len() < length => return Proxy::More,
            Some(_) => {}
        }
    }
    match ProxyHeader::parse(input, ParseConfig::default()) {
        Err(Error::BufferTooShort) if input.starts_with(V2_START) => Proxy::Garbage, // its addresses overrun it
        // A line that has ended (or is as long as one may be) gets no better by waiting.
        Err(Error::BufferTooShort) if input.first() == V1_START.first() && is_whole_line(input) => Proxy::Garbage,
        Err(Error::BufferTooShort) => Proxy::More,
        Err(_) => Proxy::Garbage,
        Ok((_, consumed)) if input.starts_with(V1_START) && consumed > V1_BYTES_MAX => Proxy::Garbage,
        Ok((header, consumed)) => {
            let is_intact = is_crc_right(input.get(..consumed).unwrap_or_default(), &header);
            match client(&header).filter(|_| is_intact) {
                Some(client) => Proxy::Header { consumed, client },
                None => Proxy::Garbage,
            }
        }
    }
}

/// A header of version 1 is complete, right or wrong.
fn is_whole_line(input: &[u8]) -> bool {
    input.contains(&b'\n') || input.len() >= V1_BYTES_MAX
}

/// As far as both go, they are the same.
fn agrees(input: &[u8], start: &[u8]) -> bool {
    input.iter().zip(start).all(|(a, b)| a == b)
}

/// The length of a header of version 2, fixed part included.
fn v2_length(input: &[u8]) -> Option<usize> {
    match input.get(..V2_FIXED_BYTES)? {
        [.., high, low] => Some(V2_FIXED_BYTES + usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

/// What the header says; nothing when a TLV is malformed.
fn client(header: &ProxyHeader<'_>) -> Option<Client> {
    let mut client = Client::default();
    if let Some(proxied) = header.proxied_address()
        && proxied.protocol == proxy_header::Protocol::Stream
    {
        client.addresses = Some((proxied.source, proxied.destination));
    }
    for tlv in header.tlvs() {
        match tlv.ok()? {
            Tlv::Authority(name) => client.authority = Some(printable(&name)),
            Tlv::Ssl(ssl) if ssl.client_ssl() => {
                let mut tls = ClientTls::default();
                for tlv in ssl.tlvs() {
                    match tlv.ok()? {
                        Tlv::SslVersion(version) => tls.version = printable(&version),
                        Tlv::SslCipher(cipher) => tls.cipher = printable(&cipher),
                        Tlv::SslCn(name) if ssl.verify() == 0 && (ssl.client_cert_conn() || ssl.client_cert_sess()) => {
                            tls.verified_name = Some(printable(&name));
                        }
                        _ => {}
                    }
                }
                client.tls = Some(tls);
            }
            _ => {}
        }
    }
    Some(client)
}

/// Without control characters: it goes into logs and trace fields.
fn printable(text: &str) -> CompactString {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A checksum that is there is right (PROXY protocol §2.2.3): computed with its own octets as zero.
fn is_crc_right(raw: &[u8], header: &ProxyHeader<'_>) -> bool {
    let Some(expected) = header.crc32c() else { return true };
    let tlv_bytes: usize = header.tlvs().flatten().map(|tlv| tlv_length(&tlv)).sum();
    let Some(mut at) = raw.len().checked_sub(tlv_bytes) else { return false };
    let mut zeroed = raw.to_vec();
    while let Some(&[kind, high, low]) = raw.get(at..at + 3) {
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([high, low]));
        if kind == TLV_CRC32C {
            match zeroed.get_mut(value) {
                Some(field) => field.fill(0),
                None => return false,
            }
            break;
        }
        at = value.end;
    }
    crc32c::crc32c(&zeroed) == expected
}

fn tlv_length(tlv: &Tlv<'_>) -> usize {
    let mut encoded = Vec::new();
    tlv.encode(&mut encoded);
    encoded.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_version_1_that_has_ended_is_never_waited_for() {
        for line in ["PROXY TCP4 1.2.3.4\r\n", "PROXY \r\n", "PROXY TCP4 1.2.3.4\n"] {
            assert_eq!(parse(line.as_bytes()), Proxy::Garbage, "{line:?}");
        }
        assert_eq!(parse(format!("PROXY TCP4 {}", "1".repeat(100)).as_bytes()), Proxy::Garbage);
    }
    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, SslInfo};

    fn addresses(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
        (source.parse().expect("an address"), destination.parse().expect("an address"))
    }

    fn v2(source: &str, destination: &str, tlvs: Vec<Tlv<'_>>) -> Vec<u8> {
        let (source, destination) = addresses(source, destination);
        let mut out = Vec::new();
        let header = ProxyHeader::with_tlvs(Some(ProxiedAddress::stream(source, destination)), tlvs);
        header.encode_v2(&mut out).expect("fits");
        out
    }

    #[test]
    fn both_versions_and_every_prefix() {
        let expected = addresses("[2001:db8::1]:5000", "[2001:db8::2]:25");
        for header in [
            b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 25\r\n".to_vec(),
            v2("[2001:db8::1]:5000", "[2001:db8::2]:25", vec![]),
        ] {
            for end in 0..header.len() {
                assert_eq!(parse(&header[..end]), Proxy::More, "{end}");
            }
            let stream = [&header[..], b"EHLO a\r\n"].concat();
            let client = Client { addresses: Some(expected), ..Client::default() };
            assert_eq!(parse(&stream), Proxy::Header { consumed: header.len(), client });
        }
    }

    #[test]
    fn local_and_unknown_have_no_addresses() {
        for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
            assert_eq!(parse(header), Proxy::Header { consumed: header.len(), client: Client::default() });
        }
    }

    #[test]
    fn tls_facts_are_read() {
        let mut ssl = SslInfo::new(true, true, false, 0);
        ssl.append_tlv(Tlv::SslVersion("TLSv1.3".into()));
        ssl.append_tlv(Tlv::SslCn("client\r\nEvil: 1".into()));
        let header = v2("192.0.2.1:1", "192.0.2.2:25", vec![Tlv::Authority("mx.test".into()), Tlv::Ssl(ssl)]);
        let Proxy::Header { client, .. } = parse(&header) else { panic!("a header") };
        assert_eq!(client.authority.as_deref(), Some("mx.test"));
        let tls = client.tls.expect("TLS");
        assert_eq!(tls.version, "TLSv1.3");
        assert_eq!(tls.verified_name.as_deref(), Some("client??Evil: 1"));
    }

    #[test]
    fn a_wrong_checksum_is_garbage() {
        let mut header = v2("192.0.2.1:1", "192.0.2.2:25", vec![Tlv::Crc32c(0), Tlv::Authority("x".into())]);
        assert_eq!(parse(&header), Proxy::Garbage);
        let crc = crc32c::crc32c(&header);
        let at = V2_FIXED_BYTES + 12 + 3;
        header[at..at + 4].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(parse(&header), Proxy::Header { .. }));
    }

    #[test]
    fn what_is_no_header_is_garbage() {
        let overlong = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200], b"\r\n".to_vec()].concat();
        let mut too_long_tlvs = v2("192.0.2.1:1", "192.0.2.2:25", vec![]);
        too_long_tlvs[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
        let mut torn_tlv = v2("192.0.2.1:1", "192.0.2.2:25", vec![Tlv::Authority("abc".into())]);
        let at = torn_tlv.len() - 5;
        torn_tlv[at..at + 2].copy_from_slice(&100u16.to_be_bytes());
        let mut short_addresses = v2("192.0.2.1:1", "192.0.2.2:25", vec![]);
        short_addresses[14..16].copy_from_slice(&4u16.to_be_bytes());
        for garbage in [
            &b"EHLO a\r\n"[..],
            b"PRO_Y TCP4",
            b"PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
            b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rX",
            b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
            &overlong,
            &too_long_tlvs,
            &torn_tlv,
            &short_addresses,
        ] {
            assert_eq!(parse(garbage), Proxy::Garbage, "{:?}", String::from_utf8_lossy(garbage));
        }
    }

    proptest! {
        #[test]
        fn noise_never_panics(tail in prop::collection::vec(any::<u8>(), 0..200), version in 0usize..3) {
            let start: &[u8] = [&b""[..], V1_START, V2_START][version];
            let _ = parse(&[start, &tail].concat());
        }

        #[test]
        fn noise_in_tlvs_never_panics(tlvs in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut header = v2("192.0.2.1:1", "192.0.2.2:25", vec![]);
            header[15] += tlvs.len() as u8;
            header.extend_from_slice(&tlvs);
            prop_assert!(parse(&header) != Proxy::More);
        }
    }
}
