//! Dates: read from header fields, told by their parts (RFC 5322 §3.3, RFC 5260 §4.2).

use std::fmt::Write as _;

use super::program::DatePart;

/// A moment and the zone it is told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    /// Seconds since the epoch.
    pub unix_seconds: i64,
    /// Minutes east of UTC.
    pub zone_minutes: i32,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// Days since the epoch of a date of the Gregorian calendar.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of days since the epoch.
fn date_of(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

/// `+0200` as minutes.
pub(super) fn zone_minutes(text: &[u8]) -> Option<i32> {
    let [sign @ (b'+' | b'-'), digits @ ..] = text else { return None };
    if digits.len() != 4 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value: i32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let minutes = value / 100 * 60 + value % 100;
    (value % 100 < 60).then_some(if *sign == b'-' { -minutes } else { minutes })
}

/// A date of RFC 5322 §3.3, obsolete forms among them.
pub(super) fn parse(text: &[u8]) -> Option<Date> {
    let text = without_comments(text);
    let mut words =
        text.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|word| !word.is_empty()).peekable();
    words.next_if(|word| word.starts_with(|c: char| c.is_ascii_alphabetic()));
    let day: i64 = words.next()?.parse().ok()?;
    let month_name = words.next()?;
    let month = MONTHS.iter().position(|m| month_name.get(..3).is_some_and(|n| n.eq_ignore_ascii_case(m)))? as i64 + 1;
    let year_text = words.next()?;
    let mut year: i64 = year_text.parse().ok()?;
    match year_text.len() {
        2 => year += if year < 50 { 2000 } else { 1900 },
        3 => year += 1900,
        _ => {}
    }
    let mut clock = words.next()?.split(':');
    let hour: i64 = clock.next()?.parse().ok()?;
    let minute: i64 = clock.next()?.parse().ok()?;
    let second: i64 = clock.next().map_or(Some(0), |s| s.parse().ok())?;
    let zone = words.next().map_or(Some(0), named_zone)?;
    let is_sound = (1..=31).contains(&day)
        && (0..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    let local = days_of(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    is_sound.then(|| Date { unix_seconds: local - i64::from(zone) * 60, zone_minutes: zone })
}

fn named_zone(name: &str) -> Option<i32> {
    if let Some(minutes) = zone_minutes(name.as_bytes()) {
        return Some(minutes);
    }
    let hours = match name.to_ascii_uppercase().as_str() {
        "EDT" => -4,
        "EST" | "CDT" => -5,
        "CST" | "MDT" => -6,
        "MST" | "PDT" => -7,
        "PST" => -8,
        _ => 0, // UT, GMT, military zones, and what nobody knows (RFC 5322 §4.3)
    };
    name.bytes().all(|b| b.is_ascii_alphabetic()).then_some(hours * 60)
}

fn without_comments(text: &[u8]) -> String {
    let mut depth = 0usize;
    let mut out = String::with_capacity(text.len().min(64));
    for &b in text {
        match b {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b if depth == 0 && b.is_ascii() => out.push(char::from(b)),
            _ => {}
        }
    }
    out
}

/// A date and time of RFC 3339, as `:bytimeabsolute` takes it.
pub(super) fn parse_rfc3339(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        text.get(range).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let marks = [4, 7, 10, 13, 16].map(|at| text.as_bytes().get(at).copied().unwrap_or(0));
    if !matches!(marks, [b'-', b'-', b'T' | b't' | b' ', b':', b':']) || !(1..=12).contains(&month) {
        return None;
    }
    let rest = text.get(19..)?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let minutes = match zone {
        "Z" | "z" => 0,
        zone => zone_minutes(zone.replace(':', "").as_bytes())?,
    };
    Some(days_of(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - i64::from(minutes) * 60)
}

impl Date {
    /// The same moment told in another zone.
    pub fn in_zone(self, zone_minutes: i32) -> Date {
        Date { zone_minutes, ..self }
    }

    /// A part of it as a test compares it.
    pub fn part(self, part: DatePart) -> String {
        let local = self.unix_seconds + i64::from(self.zone_minutes) * 60;
        let (days, clock) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        let weekday = (days + 4).rem_euclid(7);
        let (sign, zone) = (if self.zone_minutes < 0 { '-' } else { '+' }, self.zone_minutes.abs());
        let (zone_hours, zone_rest) = (zone / 60, zone % 60);
        let mut text = String::new();
        let written = match part {
            DatePart::Year => write!(text, "{year:04}"),
            DatePart::Month => write!(text, "{month:02}"),
            DatePart::Day => write!(text, "{day:02}"),
            DatePart::Date => write!(text, "{year:04}-{month:02}-{day:02}"),
            DatePart::Julian => write!(text, "{}", days + 40_587),
            DatePart::Hour => write!(text, "{hour:02}"),
            DatePart::Minute => write!(text, "{minute:02}"),
            DatePart::Second => write!(text, "{second:02}"),
            DatePart::Time => write!(text, "{hour:02}:{minute:02}:{second:02}"),
            DatePart::Iso8601 => write!(
                text,
                "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{sign}{zone_hours:02}:{zone_rest:02}"
            ),
            DatePart::Std11 => write!(
                text,
                "{}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} {sign}{zone_hours:02}{zone_rest:02}",
                DAYS.get(weekday as usize).unwrap_or(&""),
                MONTHS.get(month as usize - 1).unwrap_or(&""),
            ),
            DatePart::Zone => write!(text, "{sign}{zone_hours:02}{zone_rest:02}"),
            DatePart::Weekday => write!(text, "{weekday}"),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_of_mail_are_read() {
        let read = |text: &str| parse(text.as_bytes());
        let moment = Some(Date { unix_seconds: 1_248_115_483, zone_minutes: 180 });
        assert_eq!(read("Mon, 20 Jul 2009 21:44:43 +0300"), moment);
        assert_eq!(read("20 Jul 09 21:44:43 +0300 (EEST)"), moment);
        assert_eq!(read("Mon,20 Jul 2009 18:44 GMT").map(|d| d.unix_seconds), Some(1_248_115_440));
        assert_eq!(read("yesterday"), None);
        assert_eq!(read("Mon, 20 Foo 2009 21:44:43 +0300"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn parts_follow_the_rfc() {
        let date = Date { unix_seconds: 1_248_115_483, zone_minutes: 180 };
        let part = |part| date.part(part);
        assert_eq!(part(DatePart::Iso8601), "2009-07-20T21:44:43+03:00");
        assert_eq!(part(DatePart::Std11), "Mon, 20 Jul 2009 21:44:43 +0300");
        assert_eq!(part(DatePart::Julian), "55032");
        assert_eq!(part(DatePart::Weekday), "1");
        assert_eq!(date.in_zone(-330).part(DatePart::Zone), "-0530");
    }

    #[test]
    fn deadlines_are_dates_of_rfc_3339() {
        assert_eq!(parse_rfc3339(b"2009-07-20T21:44:43+03:00"), Some(1_248_115_483));
        assert_eq!(parse_rfc3339(b"2009-07-20T18:44:43.25Z"), Some(1_248_115_483));
        assert_eq!(parse_rfc3339(b"2009-07-20"), None);
    }

    proptest! {
        #[test]
        fn what_is_told_can_be_read(seconds in -60_000_000_000i64..250_000_000_000, zone in -720i32..=840) {
            let date = Date { unix_seconds: seconds, zone_minutes: zone };
            let told = date.part(DatePart::Std11);
            prop_assert_eq!(parse(told.as_bytes()), Some(date), "{}", told);
        }

        #[test]
        fn days_are_dates_and_back(days in -1_000_000i64..1_000_000) {
            let (year, month, day) = date_of(days);
            prop_assert_eq!(days_of(year, month, day), days);
        }
    }
}
