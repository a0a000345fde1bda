//! Comparators (RFC 4790, RFC 5051): equality, substring and order of octets.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::capability::Capability;

/// How two strings are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Comparator {
    /// Octet by octet.
    Octet,
    /// US-ASCII letters are the same in either case.
    #[default]
    AsciiCasemap,
    /// The number at the front; a string without one is positive infinity.
    AsciiNumeric,
    /// Characters of UTF-8, in either case.
    UnicodeCasemap,
}

impl Comparator {
    pub fn from_name(name: &[u8]) -> Option<Comparator> {
        Some(match name {
            b"i;octet" => Comparator::Octet,
            b"i;ascii-casemap" => Comparator::AsciiCasemap,
            b"i;ascii-numeric" => Comparator::AsciiNumeric,
            b"i;unicode-casemap" => Comparator::UnicodeCasemap,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Comparator::Octet => "i;octet",
            Comparator::AsciiCasemap => "i;ascii-casemap",
            Comparator::AsciiNumeric => "i;ascii-numeric",
            Comparator::UnicodeCasemap => "i;unicode-casemap",
        }
    }

    /// What must be required for it (RFC 5228 §2.7.3: two are always there).
    pub fn needs(self) -> Option<Capability> {
        match self {
            Comparator::Octet | Comparator::AsciiCasemap => None,
            Comparator::AsciiNumeric => Some(Capability::ComparatorAsciiNumeric),
            Comparator::UnicodeCasemap => Some(Capability::ComparatorUnicodeCasemap),
        }
    }

    /// It can look inside strings: `:contains` and `:matches`.
    pub fn has_substrings(self) -> bool {
        self != Comparator::AsciiNumeric
    }

    pub fn equal(self, a: &[u8], b: &[u8]) -> bool {
        match self {
            Comparator::Octet => a == b,
            Comparator::AsciiCasemap => a.eq_ignore_ascii_case(b),
            Comparator::AsciiNumeric | Comparator::UnicodeCasemap => self.order(a, b) == Ordering::Equal,
        }
    }

    pub fn contains(self, value: &[u8], key: &[u8]) -> bool {
        match self {
            Comparator::Octet => memchr::memmem::find(value, key).is_some(),
            Comparator::AsciiCasemap => contains_ignoring_case(value, key),
            Comparator::AsciiNumeric => false,
            Comparator::UnicodeCasemap => memchr::memmem::find(&folded(value), &folded(key)).is_some(),
        }
    }

    pub fn order(self, a: &[u8], b: &[u8]) -> Ordering {
        match self {
            Comparator::Octet => a.cmp(b),
            Comparator::AsciiCasemap => {
                let upper =
                    |text: &[u8]| text.iter().map(u8::to_ascii_uppercase).collect::<smallvec::SmallVec<[u8; 64]>>();
                upper(a).cmp(&upper(b))
            }
            Comparator::AsciiNumeric => order_numbers(leading_number(a), leading_number(b)),
            Comparator::UnicodeCasemap => folded(a).cmp(&folded(b)),
        }
    }
}

/// The digits at the front without leading zeros; none is infinity (RFC 4790 §9.1.1).
fn leading_number(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let digits = text.get(..end).filter(|digits| !digits.is_empty())?;
    let zeros = digits.iter().take_while(|&&b| b == b'0').count();
    digits.get(zeros..)
}

fn order_numbers(a: Option<&[u8]>, b: Option<&[u8]>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
    }
}

/// Up to this product of lengths a search that goes back is quicker than one that does not.
const SHORT_SEARCH: usize = 64 * 1024;

fn contains_ignoring_case(value: &[u8], key: &[u8]) -> bool {
    if value.len().saturating_mul(key.len()) > SHORT_SEARCH {
        return memchr::memmem::find(&value.to_ascii_lowercase(), &key.to_ascii_lowercase()).is_some();
    }
    let Some((&first, rest)) = key.split_first() else { return true };
    let (lower, upper) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    memchr::memchr2_iter(lower, upper, value)
        .take_while(|at| at + key.len() <= value.len())
        .any(|at| value.get(at + 1..at + key.len()).is_some_and(|part| part.eq_ignore_ascii_case(rest)))
}

/// A character without its case.
pub(super) fn fold_char(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut upper = c.to_uppercase();
    let single = upper.next().filter(|_| upper.next().is_none()).unwrap_or(c);
    let mut lower = single.to_lowercase();
    lower.next().filter(|_| lower.next().is_none()).unwrap_or(single)
}

/// A text without case; octets that are no UTF-8 stand for themselves, as RFC 5051 leaves open.
pub(super) fn folded(text: &[u8]) -> Cow<'_, [u8]> {
    if text.iter().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        let mut buffer = [0; 4];
        for c in chunk.valid().chars() {
            out.extend_from_slice(fold_char(c).encode_utf8(&mut buffer).as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Comparator; 4] =
        [Comparator::Octet, Comparator::AsciiCasemap, Comparator::AsciiNumeric, Comparator::UnicodeCasemap];

    proptest! {
        #[test]
        fn equality_and_order_agree(a in "[0-9aAäÄ]{0,4}", b in "[0-9aAäÄ]{0,4}", c in "[0-9aAäÄ]{0,4}") {
            let (a, b, c) = (a.as_bytes(), b.as_bytes(), c.as_bytes());
            for comparator in ALL {
                prop_assert_eq!(comparator.equal(a, b), comparator.order(a, b).is_eq());
                prop_assert_eq!(comparator.order(a, b), comparator.order(b, a).reverse());
                if comparator.order(a, b).is_le() && comparator.order(b, c).is_le() {
                    prop_assert!(comparator.order(a, c).is_le());
                }
            }
        }

        #[test]
        fn containing_is_having_an_equal_part(value in "[abAB]{0,12}", key in "[abAB]{0,3}") {
            let (value, key) = (value.as_bytes(), key.as_bytes());
            for comparator in [Comparator::Octet, Comparator::AsciiCasemap, Comparator::UnicodeCasemap] {
                let parts = (0..=value.len()).flat_map(|from| (from..=value.len()).map(move |to| &value[from..to]));
                let has = { parts }.any(|part| comparator.equal(part, key));
                prop_assert_eq!(comparator.contains(value, key), has);
            }
        }

        #[test]
        fn long_searches_find_what_short_ones_do(before in 0usize..2000, key in "[abAB]{40}") {
            let value = format!("{}{}", "aB".repeat(before), key.to_uppercase());
            prop_assert!(Comparator::AsciiCasemap.contains(value.as_bytes(), key.as_bytes()));
            let without = "c".repeat(value.len());
            prop_assert!(!Comparator::AsciiCasemap.contains(without.as_bytes(), key.as_bytes()));
        }
    }

    #[test]
    fn numbers_of_any_length_have_an_order() {
        let order = |a: &str, b: &str| Comparator::AsciiNumeric.order(a.as_bytes(), b.as_bytes());
        assert_eq!(order("007", "7 apples"), Ordering::Equal);
        assert_eq!(order("10", "9"), Ordering::Greater);
        assert_eq!(order("99999999999999999999998", "99999999999999999999999"), Ordering::Less);
        assert_eq!(order("pear", "9"), Ordering::Greater);
        assert_eq!(order("pear", ""), Ordering::Equal);
        assert_eq!(order("-4", "x"), Ordering::Equal);
    }

    #[test]
    fn case_is_ignored_as_far_as_the_comparator_says() {
        assert!(Comparator::AsciiCasemap.contains(b"Hello World", b"o w"));
        assert!(!Comparator::Octet.contains(b"Hello World", b"o w"));
        assert!(!Comparator::AsciiCasemap.equal("Ä".as_bytes(), "ä".as_bytes()));
        assert!(Comparator::UnicodeCasemap.equal("Ä".as_bytes(), "ä".as_bytes()));
        assert!(Comparator::UnicodeCasemap.contains("naïVE".as_bytes(), "ÏV".as_bytes()));
        assert!(Comparator::AsciiCasemap.contains(b"abc", b""));
        assert!(!Comparator::AsciiCasemap.contains(b"ab", b"abc"));
    }
}
