//! Which hosts take the mail of a domain, in which order, and at which addresses (RFC 5321 §5.1, RFC 7505).
//!
//! Ordering is pure; resolving awaits the [`Resolver`] and nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use compact_str::{CompactString, format_compact};

use super::random::Random;
use super::settings::{IpLookup, MxRoute, Own};
use crate::dns::{Failure, Kind, Mx, Records, Resolver};
use crate::mail::address::Domain;
use crate::mail::{Diagnostic, ErrorKind, Outcome, Reply, Scope};

/// One host to try, with what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name that is still to be resolved.
    Name(CompactString),
    /// An address literal.
    Address(IpAddr),
}

impl Host {
    /// What a configuration calls a host: an address, or a name.
    pub fn of(text: &str) -> Host {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        match bare.parse() {
            Ok(ip) => Host::Address(ip),
            Err(_) => Host::Name(crate::mail::address::domain_key(text).as_ref().into()),
        }
    }

    /// What it is called.
    pub fn name(&self) -> CompactString {
        match self {
            Host::Name(name) => name.clone(),
            Host::Address(ip) => format_compact!("{ip}"),
        }
    }
}

/// The hosts of a domain, best first, at most `limits.mx`.
pub async fn hosts(
    resolver: &Resolver,
    domain: &str,
    route: &MxRoute,
    own: &Own,
    random: &mut Random,
) -> Result<Vec<Host>, Outcome> {
    if domain.starts_with('[') {
        return match Domain::parse(domain) {
            Ok(Domain::Literal(ip)) => Ok(vec![Host::Address(ip)]),
            _ => Err(failed(ErrorKind::Dns, (5, 1, 2), "the recipient's address literal is none")),
        };
    }
    let answer = resolver.mx(domain).await;
    let list = match &answer {
        Ok(resolved) => resolved.records.mx(),
        Err(Failure::NoRecords) => &[], // the implicit MX: the domain itself
        Err(Failure::NoDomain) => {
            return Err(failed(ErrorKind::Dns, (5, 1, 2), format!("the domain {domain} does not exist")));
        }
        Err(failure) => return Err(unresolved(failure, &format_compact!("MX of {domain}"))),
    };
    let names = order(list, domain, own, route.mx_max.max(1), random)?;
    Ok(names.into_iter().map(Host::Name).collect())
}

/// Sorts by preference, equals in any order, cuts at ourselves, and keeps the best.
fn order(
    list: &[Mx],
    domain: &str,
    own: &Own,
    hosts_max: usize,
    random: &mut Random,
) -> Result<Vec<CompactString>, Outcome> {
    if list.is_empty() {
        return match own.hostnames.iter().any(|name| name == domain) {
            true => Err(loops_back(domain)),
            false => Ok(vec![domain.into()]),
        };
    }
    if list.iter().all(|mx| mx.exchange.is_empty()) {
        return Err(failed(ErrorKind::Dns, (5, 1, 10), format!("the domain {domain} does not accept mail (null MX)")));
    }
    let mut list: Vec<&Mx> = list.iter().filter(|mx| !mx.exchange.is_empty()).collect();
    random.shuffle(&mut list);
    list.sort_by_key(|mx| mx.preference); // stable: the shuffle decides among equals
    let ours = list.iter().find(|mx| own.hostnames.contains(&mx.exchange)).map(|mx| mx.preference);
    if let Some(ours) = ours {
        list.retain(|mx| mx.preference < ours); // RFC 5321 §5.1: only those that are better than us
        if list.is_empty() {
            return Err(loops_back(domain));
        }
    }
    let mut names: Vec<CompactString> = Vec::with_capacity(list.len().min(hosts_max));
    for mx in list {
        if names.len() < hosts_max && !names.contains(&mx.exchange) {
            names.push(mx.exchange.clone());
        }
    }
    Ok(names)
}

/// The addresses of a host, best family first, at most `max`.
pub async fn addresses(
    resolver: &Resolver,
    name: &str,
    lookup: IpLookup,
    max: usize,
    random: &mut Random,
) -> Result<Vec<IpAddr>, Outcome> {
    let kinds: &[Kind] = match lookup {
        IpLookup::V4ThenV6 => &[Kind::A, Kind::Aaaa],
        IpLookup::V6ThenV4 => &[Kind::Aaaa, Kind::A],
        IpLookup::V4Only => &[Kind::A],
        IpLookup::V6Only => &[Kind::Aaaa],
    };
    let mut found: Vec<IpAddr> = Vec::new();
    let mut failure = None;
    for kind in kinds {
        if found.len() >= max.max(1) {
            break;
        }
        match resolver.lookup(*kind, name).await {
            Ok(resolved) => {
                let mut family: Vec<IpAddr> = match &resolved.records {
                    Records::A(list) => list.iter().map(|ip| IpAddr::V4(*ip)).collect(),
                    Records::Aaaa(list) => list.iter().map(|ip| IpAddr::V6(*ip)).collect(),
                    _ => Vec::new(),
                };
                random.shuffle(&mut family);
                found.extend(family);
            }
            // A failure that passes outweighs "no such address": the host may have one after all.
            Err(f) if failure.is_none() || is_passing(&f) => failure = Some(f),
            Err(_) => {}
        }
    }
    found.truncate(max.max(1));
    match failure {
        _ if !found.is_empty() => Ok(found),
        Some(failure) if is_passing(&failure) => Err(unresolved(&failure, &format_compact!("addresses of {name}"))),
        _ => Err(failed(ErrorKind::Dns, (5, 4, 4), format!("the host {name} has no address"))),
    }
}

fn is_passing(failure: &Failure) -> bool {
    matches!(failure, Failure::Temporary(_) | Failure::Bogus)
}

/// Why an address is not tried for the mail of a domain, if it is not.
pub fn refused(address: IpAddr, route: &MxRoute, own: &Own, host: &str) -> Option<Outcome> {
    let address = canonical(address);
    if own.addresses.iter().any(|ip| canonical(*ip) == address) {
        return Some(loops_back(host));
    }
    if address.is_loopback() && route.allow_loopback {
        return None;
    }
    let is_no_host = address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || matches!(address, IpAddr::V4(ip) if ip.octets()[0] == 0 || ip.is_broadcast());
    is_no_host.then(|| {
        failed(ErrorKind::Dns, (5, 4, 4), format!("the address {address} of {host} is none that mail is sent to"))
    })
}

/// An IPv4 address mapped into IPv6 is that IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    }
}

/// `localhost` is this machine without asking anybody (RFC 6761 §6.3).
pub fn localhost(name: &str, lookup: IpLookup) -> Option<Vec<IpAddr>> {
    let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
    name.eq_ignore_ascii_case("localhost").then(|| match lookup {
        IpLookup::V4ThenV6 => vec![v4, v6],
        IpLookup::V6ThenV4 => vec![v6, v4],
        IpLookup::V4Only => vec![v4],
        IpLookup::V6Only => vec![v6],
    })
}

fn loops_back(what: &str) -> Outcome {
    failed(ErrorKind::Dns, (5, 4, 6), format!("mail for {what} loops back to this host"))
}

fn failed(kind: ErrorKind, status: (u8, u16, u16), text: impl Into<String>) -> Outcome {
    Outcome::Failed(Diagnostic::local(kind, Scope::Lane, Reply::new(550, status, text.into())))
}

/// A question that nobody could answer for now, or whose answer is no use.
fn unresolved(failure: &Failure, what: &str) -> Outcome {
    let text = match failure {
        Failure::Temporary(why) => format!("cannot look up the {what}: {why}"),
        Failure::Bogus => format!("cannot look up the {what}: the answer fails DNSSEC validation"),
        Failure::Unusable => return failed(ErrorKind::Dns, (5, 4, 4), format!("the {what} name no host")),
        Failure::NoRecords | Failure::NoDomain => return failed(ErrorKind::Dns, (5, 4, 4), format!("no {what}")),
    };
    Outcome::Deferred(Diagnostic::local(ErrorKind::Dns, Scope::Lane, Reply::new(451, (4, 4, 3), text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Zone;
    use crate::mail::EnhancedStatus;
    use futures_lite::future::block_on;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn own() -> Own {
        Own { hostnames: vec!["us.test".into()], addresses: vec![ip("192.0.2.99")] }
    }

    fn mx(zone: Zone, domain: &str) -> Result<Vec<String>, Outcome> {
        let resolver = Resolver::fixed(zone);
        let hosts = block_on(hosts(&resolver, domain, &MxRoute::default(), &own(), &mut Random::new(1)))?;
        Ok(hosts.into_iter().map(|h| if let Host::Name(n) = h { n.into() } else { format!("{h:?}") }).collect())
    }

    fn status(outcome: Outcome) -> (bool, String) {
        (matches!(outcome, Outcome::Failed(_)), outcome.diagnostic().status().to_string())
    }

    fn names(list: &[&str]) -> Result<Vec<String>, Outcome> {
        Ok(list.iter().map(|n| (*n).to_owned()).collect())
    }

    #[test]
    fn exchangers_come_by_preference() {
        let zone = Zone::new().mx("d.test", &[(30, "c.test"), (10, "a.test"), (20, "b.test"), (20, "b.test")]);
        assert_eq!(mx(zone, "d.test"), names(&["a.test", "b.test", "c.test"]));
    }

    #[test]
    fn equals_are_shuffled_and_the_list_is_cut() {
        let list: Vec<(u16, String)> = (0..9).map(|i| (10, format!("m{i}.test"))).collect();
        let list: Vec<(u16, &str)> = list.iter().map(|(p, n)| (*p, n.as_str())).collect();
        let resolver = Resolver::fixed(Zone::new().mx("d.test", &list));
        let mut random = Random::new(3);
        let mut firsts = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let hosts = block_on(hosts(&resolver, "d.test", &MxRoute::default(), &own(), &mut random)).expect("hosts");
            assert_eq!(hosts.len(), 5);
            firsts.insert(format!("{:?}", hosts[0]));
        }
        assert_eq!(firsts.len(), 9);
    }

    #[test]
    fn no_mx_means_the_domain_itself_and_null_mx_means_never() {
        let host = Zone::new().host("d.test", &[ip("192.0.2.1")]);
        assert_eq!(mx(host, "d.test"), names(&["d.test"]));
        let (failed, code) = status(mx(Zone::new().mx("d.test", &[(0, ".")]), "d.test").expect_err("null MX"));
        assert!(failed && code == "5.1.10");
        assert_eq!(mx(Zone::new().mx("d.test", &[(0, "."), (5, "a.test")]), "d.test"), names(&["a.test"]));
    }

    #[test]
    fn failures_are_told_apart() {
        for (failure, expected) in [
            (Failure::NoDomain, (true, "5.1.2")),
            (Failure::Temporary("SERVFAIL".into()), (false, "4.4.3")),
            (Failure::Bogus, (false, "4.4.3")),
            (Failure::Unusable, (true, "5.4.4")),
        ] {
            let zone = Zone::new().failing("d.test", Kind::Mx, failure);
            let (failed, code) = status(mx(zone, "d.test").expect_err("a failure"));
            assert_eq!((failed, code.as_str()), expected);
        }
    }

    #[test]
    fn mail_does_not_come_back_to_us() {
        let zone = |list| Zone::new().mx("d.test", list);
        assert_eq!(
            mx(zone(&[(5, "a.test"), (10, "us.test"), (10, "b.test"), (20, "c.test")]), "d.test"),
            names(&["a.test"])
        );
        let (failed, code) = status(mx(zone(&[(10, "us.test"), (20, "c.test")]), "d.test").expect_err("a loop"));
        assert!(failed && code == "5.4.6");
        assert!(mx(Zone::new().host("us.test", &[ip("192.0.2.1")]), "us.test").is_err());
        let refusal = refused(ip("::ffff:192.0.2.99"), &MxRoute::default(), &own(), "x.test").expect("ours");
        assert_eq!(refusal.diagnostic().status(), EnhancedStatus::new(5, 4, 6));
    }

    #[test]
    fn no_mail_to_addresses_that_are_no_hosts() {
        let route = MxRoute::default();
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(refused(ip(address), &route, &own(), "x.test").is_some(), "{address}");
        }
        for address in ["192.0.2.1", "10.0.0.1", "2001:db8::1"] {
            assert!(refused(ip(address), &route, &own(), "x.test").is_none(), "{address}");
        }
    }

    #[test]
    fn addresses_follow_the_strategy() {
        let (a, b, six) = (ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::1"));
        let resolver = Resolver::fixed(
            Zone::new()
                .host("both.test", &[a, b, six])
                .host("six.test", &[six])
                .failing("flaky.test", Kind::A, Failure::Temporary("timed out".into()))
                .failing("half.test", Kind::A, Failure::Temporary("timed out".into()))
                .host("half.test", &[six]),
        );
        let get = |name: &str, lookup, max| block_on(addresses(&resolver, name, lookup, max, &mut Random::new(1)));
        let is_v4 = |list: &[IpAddr]| list.iter().map(|ip| ip.is_ipv4()).collect::<Vec<_>>();
        assert_eq!(is_v4(&get("both.test", IpLookup::V4ThenV6, 3).expect("some")), [true, true, false]);
        assert_eq!(is_v4(&get("both.test", IpLookup::V6ThenV4, 2).expect("some")), [false, true]);
        assert_eq!(get("both.test", IpLookup::V6Only, 9), Ok(vec![six]));
        assert_eq!(get("six.test", IpLookup::V4ThenV6, 9), Ok(vec![six]));
        assert_eq!(get("half.test", IpLookup::V4ThenV6, 9), Ok(vec![six]));
        assert_eq!(status(get("six.test", IpLookup::V4Only, 9).expect_err("none")), (true, "5.4.4".into()));
        assert_eq!(status(get("gone.test", IpLookup::V4ThenV6, 9).expect_err("none")), (true, "5.4.4".into()));
        assert_eq!(status(get("flaky.test", IpLookup::V4ThenV6, 9).expect_err("none")), (false, "4.4.3".into()));
    }
}
