//! Numbers for people. Pure.

/// Bytes: `870 B`, `12.3 kB`, `4.56 GB` (powers of 1000).
pub fn bytes(value: f64) -> String {
    scaled(value, &["B", "kB", "MB", "GB", "TB"])
}

/// A count on an axis or a tile: `0`, `250`, `1.5 k`, `2 M`.
pub fn count(value: f64) -> String {
    scaled(value, &["", "k", "M", "G"]).trim_end().to_owned()
}

fn scaled(value: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    for next in units {
        if value.abs() < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    format!("{} {unit}", short(value))
}

/// Three digits that say something: `0.042`, `1.5`, `250`.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Seconds on an axis: `40 s`, `2 min`.
pub fn seconds(value: f64) -> String {
    if value >= 600.0 { format!("{} min", short(value / 60.0)) } else { format!("{} s", short(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let all: Vec<_> = [0.0, 870.0, 12_345.0, 999_600.0, 4.56e9].into_iter().map(bytes).collect();
        assert_eq!(all, ["0 B", "870 B", "12.3 kB", "1 MB", "4.56 GB"]);
        let all: Vec<_> = [0.0, 0.0421, 1.5, 250.0, 1500.0, 2e6].into_iter().map(count).collect();
        assert_eq!(all, ["0", "0.042", "1.5", "250", "1.5 k", "2 M"]);
        assert_eq!((seconds(40.0), seconds(900.0)), ("40 s".into(), "15 min".into()));
    }
}
