//! Durations, rates and sizes as they are written.

use std::time::Duration;

use crate::base::Rate;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

const DURATION_UNITS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Longest duration a setting can say: a hundred years, so that no sum of two overflows.
const DURATION_MS_MAX: u64 = 100 * 366 * 86_400_000;

/// `10ms`, `30s`, `5m`, `1h`, `7d`; `0` needs no unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (text[..split].parse::<u64>().ok()?, text[split..].trim_start());
    if number == 0 && unit.is_empty() {
        return Some(Duration::ZERO);
    }
    let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor).filter(|ms| *ms <= DURATION_MS_MAX).map(Duration::from_millis)
}

/// The duration in the largest unit that divides it.
pub fn print_duration(span: Duration) -> String {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_owned();
    }
    // A week of hours reads better in days, 90 minutes better in minutes than as a fraction.
    DURATION_UNITS
        .iter()
        .find(|(_, factor)| ms.is_multiple_of(*factor))
        .map_or_else(String::new, |(unit, factor)| format!("{}{unit}", ms / factor))
}

/// `N/duration`, neither of them zero.
pub fn parse_rate(text: &str) -> Option<Rate> {
    let (count, period) = text.split_once('/')?;
    let rate = Rate { count: count.trim().parse().ok()?, period: parse_duration(period)? };
    (rate.count > 0 && !rate.period.is_zero()).then_some(rate)
}

/// The rate as [`parse_rate`] reads it.
pub fn print_rate(rate: Rate) -> String {
    format!("{}/{}", rate.count, print_duration(rate.period))
}

const SIZE_UNITS: &[(&str, u32)] = &[("TB", 40), ("GB", 30), ("MB", 20), ("KB", 10)];

/// `100MB`: a unit is a power of 1024 (`K`, `KB` and `KiB` are the same); without one, bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number = text[..split].parse::<u64>().ok()?;
    let unit = text[split..].trim().to_ascii_uppercase();
    let shift = match unit.as_str() {
        "" | "B" => 0,
        unit => {
            let short = |name: &str| unit == name || unit == &name[..1] || *unit == format!("{}IB", &name[..1]);
            SIZE_UNITS.iter().find(|(name, _)| short(name))?.1
        }
    };
    number.checked_shl(shift).filter(|bytes| bytes >> shift == number && i64::try_from(*bytes).is_ok())
}

impl Size {
    /// As TOML: a number of bytes, or a string with the largest unit that divides it.
    pub fn to_toml(&self) -> String {
        match SIZE_UNITS.iter().find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((unit, shift)) => format!("\"{}{unit}\"", self.0 >> shift),
            None => self.0.to_string(),
        }
    }

    /// As a length in memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_have_units() {
        let check =
            |text: &str, ms: Option<u64>| assert_eq!(parse_duration(text), ms.map(Duration::from_millis), "{text}");
        check("10ms", Some(10));
        check("30s", Some(30_000));
        check("5m", Some(300_000));
        check("1h", Some(3_600_000));
        check("7d", Some(604_800_000));
        check("0", Some(0));
        for bad in ["", "5", "m", "5 minutes", "-5m", "1.5h", "99999999999d", "18446744073709551616s", "5M"] {
            check(bad, None);
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        let check = |text: &str, bytes: Option<u64>| assert_eq!(parse_size(text), bytes, "{text}");
        check("100MB", Some(104_857_600));
        check("1 KiB", Some(1024));
        check("64k", Some(65_536));
        check("12", Some(12));
        check("2G", Some(2 << 30));
        for bad in ["", "MB", "-1", "1XB", "9999999999TB", "1.5MB", "1MBB"] {
            check(bad, None);
        }
    }

    #[test]
    fn rates_are_positive() {
        assert_eq!(parse_rate("5/1h"), Some(Rate::new(5, Duration::from_secs(3600))));
        for bad in ["5", "0/1s", "5/0s", "/1s", "5/", "a/1s"] {
            assert_eq!(parse_rate(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_what_was_meant(ms in 0..DURATION_MS_MAX, bytes in 0..i64::MAX as u64, count in 1u32..) {
            let span = Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&print_duration(span)), Some(span));
            prop_assert_eq!(parse_size(Size(bytes).to_toml().trim_matches('"')), Some(bytes));
            let rate = Rate::new(count, span.max(Duration::from_millis(1)));
            prop_assert_eq!(parse_rate(&print_rate(rate)), Some(rate));
        }

        #[test]
        fn nothing_panics(text in "\\PC*") {
            let _ = (parse_duration(&text), parse_size(&text), parse_rate(&text));
        }
    }
}
