//! What people type: spans of time, sizes, shares. Pure.

use std::str::FromStr;
use std::time::Duration;

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// A span: `50ms`, `10s`, `5m`, `1h`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Span(pub Duration);

impl Span {
    /// In microseconds.
    pub fn micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text.trim());
        let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a time such as 50ms, 10s or 5m"))?;
        let seconds = match unit.trim() {
            "us" => 1e-6,
            "ms" => 1e-3,
            "" | "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(format!("{text:?}: the unit {unit:?} is none of us, ms, s, m, h")),
        };
        let span = Duration::try_from_secs_f64(number * seconds).map_err(|_| format!("{text:?} is too long"))?;
        Ok(Span(span))
    }
}

/// A number of bytes: `1000`, `10K`, `1M` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split_unit(text.trim());
        let number: f64 = number.parse().map_err(|_| format!("{text:?} is not a size such as 1000, 10K or 1M"))?;
        let factor = match unit.trim().to_ascii_uppercase().as_str() {
            "" | "B" => 1.0,
            "K" | "KB" | "KIB" => 1024.0,
            "M" | "MB" | "MIB" => 1024.0 * 1024.0,
            _ => return Err(format!("{text:?}: the unit {unit:?} is none of B, K, M")),
        };
        Ok(Size((number * factor).round() as usize))
    }
}

/// A share of all: `0.01` or `1%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, factor) = text.strip_suffix('%').map_or((text, 1.0), |percent| (percent, 0.01));
        match number.trim().parse::<f64>().map(|number| number * factor) {
            Ok(share) if (0.0..=1.0).contains(&share) => Ok(Share(share)),
            _ => Err(format!("{text:?} is not a share such as 0.01 or 1%")),
        }
    }
}

/// Whole numbers with thin groups for tables: 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Microseconds for people: `870 us`, `12.3 ms`, `4.20 s`.
pub fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_sizes_and_shares_are_read() {
        assert_eq!("50ms".parse(), Ok(Span(Duration::from_millis(50))));
        assert_eq!("1.5".parse(), Ok(Span(Duration::from_millis(1500))));
        assert_eq!("2m".parse(), Ok(Span(Duration::from_secs(120))));
        assert_eq!("10K".parse(), Ok(Size(10_240)));
        assert_eq!("0.5M".parse(), Ok(Size(524_288)));
        assert_eq!("5%".parse(), Ok(Share(0.05)));
        for wrong in ["", "x", "5 parsecs", "-1s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong:?}");
        }
        assert!("7T".parse::<Size>().is_err() && "101%".parse::<Share>().is_err());
    }

    #[test]
    fn numbers_are_grouped() {
        let all: Vec<_> = [0, 999, 1000, 1_234_567].into_iter().map(grouped).collect();
        assert_eq!(all, ["0", "999", "1,000", "1,234,567"]);
    }
}
