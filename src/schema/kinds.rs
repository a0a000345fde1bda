//! The types of settings: how each is written, and what is said when it is not.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use compact_str::CompactString;
use ipnet::IpNet;

use super::cell::Cell;
use super::document::Value;
use super::knob::{Kind, Typed};
use super::print::print_str;
use super::quantity::{Size, parse_duration, parse_rate, parse_size, print_duration, print_rate};
use crate::base::Rate;

/// A kind read from strings by `parse`.
pub fn from_text<T: 'static>(
    what: &'static str,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T> + 'static,
    print: impl Fn(&T) -> String + 'static,
    placeholder: impl Fn() -> T + 'static,
) -> Kind<T> {
    let read = move |cell: &Cell<'_>, expected: &str| {
        let Some(text) = cell.text() else {
            cell.mismatch(expected);
            return None;
        };
        let value = parse(text);
        if value.is_none() {
            cell.refuse(expected);
        }
        value
    };
    Kind::new(what, expected, read, move |value| print_str(&print(value)), placeholder)
}

fn integer<T>(low: i64, high: i64) -> Kind<T>
where
    T: TryFrom<i64> + Copy + std::fmt::Display + Default + 'static,
{
    let expected = match (low, high) {
        (i64::MIN, i64::MAX) => "an integer".to_owned(),
        (0, i64::MAX) => "an integer, not negative".to_owned(),
        _ => format!("an integer from {low} to {high}"),
    };
    let read = |cell: &Cell<'_>, expected: &str| {
        let number = match &cell.node().value {
            Value::Integer(value) => Some(*value),
            _ => cell.scalar().and_then(|text| text.trim().parse().ok()),
        };
        let Some(number) = number else {
            cell.mismatch(expected);
            return None;
        };
        let value = T::try_from(number).ok();
        if value.is_none() {
            cell.refuse(expected);
        }
        value
    };
    Kind::new("integer", expected, read, |value: &T| value.to_string(), T::default)
}

macro_rules! integers {
    ($($type:ty: $low:expr, $high:expr;)*) => {$(
        impl Typed for $type {
            fn kind() -> Kind<$type> {
                integer($low, $high)
            }
        }
    )*};
}

integers! {
    i64: i64::MIN, i64::MAX;
    u64: 0, i64::MAX;
    usize: 0, i64::MAX;
    u32: 0, i64::from(u32::MAX);
    u16: 0, i64::from(u16::MAX);
    u8: 0, i64::from(u8::MAX);
}

impl Typed for bool {
    fn kind() -> Kind<bool> {
        let read = |cell: &Cell<'_>, expected: &str| {
            let value = match (&cell.node().value, cell.scalar()) {
                (Value::Bool(value), _) => Some(*value),
                (_, Some("true")) => Some(true),
                (_, Some("false")) => Some(false),
                _ => None,
            };
            if value.is_none() {
                cell.mismatch(expected);
            }
            value
        };
        Kind::new("boolean", "true or false", read, bool::to_string, || false)
    }
}

impl Typed for String {
    fn kind() -> Kind<String> {
        from_text("string", "a string", |text| Some(text.to_owned()), String::clone, String::new)
    }
}

impl Typed for CompactString {
    fn kind() -> Kind<CompactString> {
        let print = |text: &CompactString| text.to_string();
        from_text("string", "a string", |text| Some(text.into()), print, CompactString::default)
    }
}

impl Typed for PathBuf {
    fn kind() -> Kind<PathBuf> {
        let parse = |text: &str| (!text.is_empty() && !text.contains('\0')).then(|| PathBuf::from(text));
        from_text("path", "a path", parse, |path| path.display().to_string(), PathBuf::new)
    }
}

impl Typed for Duration {
    fn kind() -> Kind<Duration> {
        let expected = "a duration with its unit, such as \"10ms\", \"30s\", \"5m\", \"1h\" or \"7d\"";
        from_text("duration", expected, parse_duration, |span| print_duration(*span), || Duration::ZERO)
    }
}

impl Typed for Rate {
    fn kind() -> Kind<Rate> {
        let expected = "a rate, a number per duration, such as \"100/1m\"";
        let placeholder = || Rate::new(1, Duration::from_secs(1));
        from_text("rate", expected, parse_rate, |rate| print_rate(*rate), placeholder)
    }
}

impl Typed for Size {
    fn kind() -> Kind<Size> {
        let expected = "a size, a number of bytes or a string such as \"100MB\"";
        let read = |cell: &Cell<'_>, expected: &str| {
            let value = match (&cell.node().value, cell.text()) {
                (Value::Integer(value), _) => u64::try_from(*value).ok(),
                (_, Some(text)) => parse_size(text),
                _ => {
                    cell.mismatch(expected);
                    return None;
                }
            };
            if value.is_none() {
                cell.refuse(expected);
            }
            value.map(Size)
        };
        Kind::new("size", expected, read, Size::to_toml, || Size(0))
    }
}

impl Typed for SocketAddr {
    fn kind() -> Kind<SocketAddr> {
        let expected = "an address and a port, such as \"[::]:25\" or \"192.0.2.1:25\"";
        let placeholder = || SocketAddr::from(([127, 0, 0, 1], 0));
        from_text("address with port", expected, |text| text.parse().ok(), SocketAddr::to_string, placeholder)
    }
}

impl Typed for IpAddr {
    fn kind() -> Kind<IpAddr> {
        let placeholder = || IpAddr::from([127, 0, 0, 1]);
        let expected = "an IP address, such as \"192.0.2.1\" or \"2001:db8::1\"";
        from_text("IP address", expected, |text| text.parse().ok(), IpAddr::to_string, placeholder)
    }
}

impl Typed for IpNet {
    fn kind() -> Kind<IpNet> {
        let expected = "an IP address or a network, such as \"192.0.2.1\" or \"2001:db8::/32\"";
        let parse = |text: &str| {
            text.parse::<IpNet>().map(|net| net.trunc()).or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
        };
        let print = |net: &IpNet| {
            if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
        };
        from_text("IP address or network", expected, parse, print, || IpNet::from(IpAddr::from([127, 0, 0, 1])))
    }
}

impl<T: Typed + 'static> Typed for Vec<T> {
    fn kind() -> Kind<Vec<T>> {
        T::kind().list()
    }
}

/// Networks written as one, as an array, or as the keys of a table (`server.blocked-ip."192.0.2.1" = ""`).
pub fn networks() -> Kind<Vec<IpNet>> {
    let list = IpNet::kind().list();
    let print = IpNet::kind().list();
    let read = move |cell: &Cell<'_>, _: &str| match cell.node().as_table() {
        Some(table) if table.as_flattened().is_none() => {
            let parse = |key: &str| key.parse::<IpNet>().ok().or_else(|| key.parse::<IpAddr>().ok().map(IpNet::from));
            let read: Vec<Option<IpNet>> = table.entries.iter().map(|entry| parse(&entry.key)).collect();
            let read: Option<Vec<IpNet>> = read.into_iter().collect();
            if read.is_none() {
                cell.refuse("keys that are IP addresses or networks");
            }
            read
        }
        _ => list.read(cell),
    };
    Kind::new("IP addresses and networks", "IP addresses and networks", read, move |nets| print.print(nets), Vec::new)
}

/// A host or domain name: letters, digits, hyphens, underscores and dots (RFC 5321 §4.1.2).
pub fn host_name() -> Kind<CompactString> {
    let parse = |text: &str| is_host_name(text).then(|| CompactString::from(text));
    from_text(
        "host name",
        "a host name, such as \"mx.example.org\"",
        parse,
        |name| name.to_string(),
        CompactString::default,
    )
}

/// A host name or an IP address.
pub fn host() -> Kind<CompactString> {
    let parse = |text: &str| (is_host_name(text) || text.parse::<IpAddr>().is_ok()).then(|| CompactString::from(text));
    let expected = "a host name or an IP address";
    from_text("host name or IP address", expected, parse, |name| name.to_string(), CompactString::default)
}

fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let inner = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_' || octet >= 0x80;
        !label.is_empty() && label.len() <= 63 && label.bytes().all(inner) && !label.starts_with('-')
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
}

/// Text that goes out on one line: no control characters, at most `bytes_max` octets.
pub fn line(bytes_max: usize) -> Kind<CompactString> {
    CompactString::kind()
        .only(format!("one line of at most {bytes_max} octets without control characters"), move |text| {
            text.len() <= bytes_max && !text.chars().any(char::is_control)
        })
}
