//! hickory-resolver behind our own words: nothing outside this file names it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    CLOUDFLARE, ConnectionConfig, GOOGLE, NameServerConfig, QUAD9, ResolveHosts, ResolverConfig, ServerGroup,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};

use super::Timed;
use super::records::{Failure, Kind, Mx, RECORDS_MAX, Records, Resolved, TXT_BYTES_MAX, host_name};
use super::settings::{Server, Servers, Settings};
use super::upstream::temporary;

/// Positive answers are kept no longer than that, whatever they say.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Negative answers likewise (RFC 2308 §5).
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(3 * 3600);
/// A negative answer without SOA is kept that long.
const NEGATIVE_TTL_UNSAID: Duration = Duration::from_secs(60);
/// Answers that the process-wide cache keeps.
const SHARED_CACHE_ENTRIES: u64 = 65_536;

pub(super) type Resolver = TokioResolver;

/// The resolver cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// `/etc/resolv.conf` cannot be read or understood.
    #[error("cannot read the system's resolver configuration: {0}")]
    System(String),
    /// The settings do not make a resolver.
    #[error("cannot set up the resolver: {0}")]
    Setup(String),
}

/// The resolver of these settings.
pub(super) fn build(settings: &Settings) -> Result<Resolver, BuildError> {
    let provider = TokioRuntimeProvider::default();
    let group = |group: &ServerGroup<'_>| ResolverConfig::udp_and_tcp(group);
    let mut builder = match &settings.servers {
        Servers::System => Resolver::builder(provider).map_err(|e| BuildError::System(e.to_string()))?,
        Servers::Cloudflare => Resolver::builder_with_config(group(&CLOUDFLARE), provider),
        Servers::Quad9 => Resolver::builder_with_config(group(&QUAD9), provider),
        Servers::Google => Resolver::builder_with_config(group(&GOOGLE), provider),
        Servers::Custom(list) => Resolver::builder_with_config(custom(list), provider),
    };
    let options = builder.options_mut();
    options.timeout = settings.timeout;
    options.attempts = settings.attempts;
    options.edns0 = settings.edns;
    options.try_tcp_on_error = settings.try_tcp_on_error;
    options.cache_size = SHARED_CACHE_ENTRIES;
    options.use_hosts_file = ResolveHosts::Never;
    options.num_concurrent_reqs = 1;
    options.max_active_requests = settings.concurrency.max(1);
    options.positive_max_ttl = Some(TTL_MAX);
    options.negative_max_ttl = Some(NEGATIVE_TTL_MAX);
    builder.build().map_err(|e| BuildError::Setup(e.to_string()))
}

fn custom(list: &[Server]) -> ResolverConfig {
    let connection = |tcp: bool, port: u16| {
        let mut config = if tcp { ConnectionConfig::tcp() } else { ConnectionConfig::udp() };
        config.port = port;
        config
    };
    let server = |server: &Server| {
        let (ip, port): (IpAddr, u16) = (server.address.ip(), server.address.port());
        let connections = if server.tcp {
            vec![connection(true, port)]
        } else {
            vec![connection(false, port), connection(true, port)]
        };
        NameServerConfig::new(ip, true, connections)
    };
    ResolverConfig::from_name_servers(list.iter().map(server).collect())
}

/// Asks. Needs the control plane's runtime.
pub(super) async fn lookup(resolver: &Resolver, kind: Kind, name: &str) -> Timed {
    let Ok(mut fqdn) = Name::from_ascii(name) else {
        return (Err(Failure::NoDomain), NEGATIVE_TTL_UNSAID);
    };
    fqdn.set_fqdn(true); // never through a search list
    match resolver.lookup(fqdn, record_type(kind)).await {
        Ok(found) => positive(kind, &found),
        Err(error) => negative(&error),
    }
}

fn record_type(kind: Kind) -> RecordType {
    match kind {
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
        Kind::Mx => RecordType::MX,
        Kind::Ptr => RecordType::PTR,
        Kind::Txt => RecordType::TXT,
    }
}

fn positive(kind: Kind, found: &Lookup) -> Timed {
    let fresh_for = found.valid_until().saturating_duration_since(Instant::now()).min(TTL_MAX);
    let data = found.answers().iter().map(|record| &record.data);
    match records(kind, data) {
        Some(records) => (Ok(Resolved { records, is_secure: false }), fresh_for),
        None if found.answers().iter().any(|r| r.record_type() == record_type(kind)) => {
            (Err(Failure::Unusable), fresh_for)
        }
        None => (Err(Failure::NoRecords), fresh_for),
    }
}

/// What is usable of an answer; `None` when nothing is. (A CNAME on the way is no record of the kind.)
fn records<'a>(kind: Kind, data: impl Iterator<Item = &'a RData>) -> Option<Records> {
    fn all<'a, T>(data: impl Iterator<Item = &'a RData>, pick: impl FnMut(&'a RData) -> Option<T>) -> Option<Arc<[T]>> {
        let list: Arc<[T]> = data.filter_map(pick).take(RECORDS_MAX).collect();
        (!list.is_empty()).then_some(list)
    }
    Some(match kind {
        Kind::A => Records::A(all(data, |d| if let RData::A(a) = d { Some(a.0) } else { None })?),
        Kind::Aaaa => Records::Aaaa(all(data, |d| if let RData::AAAA(a) = d { Some(a.0) } else { None })?),
        Kind::Mx => Records::Mx(all(data, mx)?),
        Kind::Ptr => Records::Ptr(all(data, ptr)?),
        Kind::Txt => Records::Txt(all(data, txt)?),
    })
}

fn mx(data: &RData) -> Option<Mx> {
    match data {
        RData::MX(mx) => Some(Mx { preference: mx.preference, exchange: host_name(&mx.exchange.to_ascii())? }),
        _ => None,
    }
}

fn ptr(data: &RData) -> Option<CompactString> {
    match data {
        RData::PTR(ptr) => host_name(&ptr.0.to_ascii()).filter(|name| !name.is_empty()),
        _ => None,
    }
}

fn txt(data: &RData) -> Option<Box<[u8]>> {
    match data {
        RData::TXT(txt) => {
            let joined: Vec<u8> = txt.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
            (joined.len() <= TXT_BYTES_MAX).then(|| joined.into())
        }
        _ => None,
    }
}

fn negative(error: &NetError) -> Timed {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none.negative_ttl.map_or(NEGATIVE_TTL_UNSAID, |s| Duration::from_secs(u64::from(s)));
            let failure = match none.response_code {
                ResponseCode::NXDomain => Failure::NoDomain,
                ResponseCode::NoError => Failure::NoRecords,
                code => return temporary(&format!("the name server answered {code}")),
            };
            (Err(failure), ttl.min(NEGATIVE_TTL_MAX))
        }
        NetError::Dns(DnsError::DnssecBogus) => (Err(Failure::Bogus), NEGATIVE_TTL_UNSAID),
        NetError::Dns(DnsError::ResponseCode(code)) => temporary(&format!("the name server answered {code}")),
        NetError::Timeout => temporary("timed out"),
        other => temporary(&other.to_string()),
    }
}
