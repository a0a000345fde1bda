//! Addresses of both kinds, emptiness, numbers and digests.

use std::net::IpAddr;

use super::super::value::Value;
use super::{Arguments, Function, digest};
use crate::mail::address::MailboxRef;

pub fn call<'a>(function: Function, arguments: Arguments<'_, 'a>) -> Value<'a> {
    let value = arguments.value(0);
    match function {
        Function::IsEmail => Value::bool(value.with_text(|text| MailboxRef::parse(text, true).is_ok())),
        Function::EmailPart => email_part(arguments),
        Function::IsEmpty => Value::bool(value.is_empty()),
        Function::IsNumber => Value::bool(value.number().is_some()),
        Function::IsIpAddr => Value::bool(value.ip().is_some()),
        Function::IsIpv4Addr => Value::bool(value.ip().is_some_and(|ip| ip.is_ipv4())),
        Function::IsIpv6Addr => Value::bool(value.ip().is_some_and(|ip| ip.is_ipv6())),
        Function::IpReverseName => value.ip().map_or(Value::EMPTY, |ip| Value::owned(reverse_name(ip))),
        Function::Hash => Value::owned(value.with_text(|text| {
            arguments.value(1).with_text(|algorithm| digest::hexadecimal(algorithm, text.as_bytes()))
        })),
        _ => Value::EMPTY,
    }
}

/// The part before or after the last `@`; without one, all of it is the local-part.
fn email_part<'a>(arguments: Arguments<'_, 'a>) -> Value<'a> {
    let address = arguments.text(0);
    let at = address.rfind('@');
    let is_domain = arguments.value(1).with_text(|part| part == "domain");
    Value::Text(match (is_domain, at) {
        (true, Some(at)) => address.slice(at + 1..address.len()),
        (true, None) => address.slice(0..0),
        (false, at) => address.slice(0..at.unwrap_or(address.len())),
    })
}

/// The labels under `in-addr.arpa` or `ip6.arpa` (RFC 1035 §3.5, RFC 3596 §2.5), without that suffix.
fn reverse_name(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}")
        }
        IpAddr::V6(ip) => {
            let nibbles: Vec<_> =
                ip.octets().iter().rev().flat_map(|octet| [octet & 15, octet >> 4]).map(|n| format!("{n:x}")).collect();
            nibbles.join(".")
        }
    }
}
