//! The patterns of `:matches` (RFC 5228 §2.7.1): `*`, `?` and `\`.
//!
//! Each `*` takes as little as it can, from the left (RFC 5229 §3.2), so a match never goes back:
//! the time is at most the product of the lengths of pattern and value.

use std::ops::Range;

use smallvec::SmallVec;

use super::comparator::{Comparator, fold_char};

/// A pattern, read once.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Glob {
    /// What stands between the `*`s; never empty.
    segments: Box<[Box<[Element]>]>,
}

/// One character of a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Element {
    Octet(u8),
    /// A US-ASCII letter in either case, given in lower case.
    Letter(u8),
    /// A character without its case.
    Char(char),
    /// `?` where an octet is a character.
    AnyOctet,
    /// `?` where a sequence of UTF-8 is one.
    AnyChar,
}

/// What the wildcards stood for, in their order.
pub(super) type Stars = SmallVec<[Range<usize>; 10]>;

impl Glob {
    pub fn new(pattern: &[u8], comparator: Comparator) -> Glob {
        let is_unicode = comparator == Comparator::UnicodeCasemap;
        let mut segments = Vec::new();
        let mut segment = Vec::new();
        let mut rest = pattern;
        while let Some((&first, tail)) = rest.split_first() {
            rest = tail;
            match first {
                b'*' => segments.push(std::mem::take(&mut segment).into_boxed_slice()),
                b'?' => segment.push(if is_unicode { Element::AnyChar } else { Element::AnyOctet }),
                b'\\' if !tail.is_empty() => rest = literal(tail, comparator, &mut segment),
                _ => rest = literal_from(first, tail, comparator, &mut segment),
            }
        }
        segments.push(segment.into_boxed_slice());
        Glob { segments: segments.into_boxed_slice() }
    }

    /// It has a `*` or `?`.
    pub fn has_wildcards(&self) -> bool {
        self.segments.len() > 1
            || self.segments.iter().any(|s| s.iter().any(|e| matches!(e, Element::AnyOctet | Element::AnyChar)))
    }

    /// Whether the whole value matches; `stars` gets what each wildcard stood for if it is asked for.
    pub fn matches(&self, value: &[u8], mut stars: Option<&mut Stars>) -> bool {
        let Some((first, others)) = self.segments.split_first() else { return value.is_empty() };
        if let Some(stars) = &mut stars {
            stars.clear();
        }
        let Some(mut at) = match_segment(first, value, 0, &mut stars) else { return false };
        let Some((last, middle)) = others.split_last() else { return at == value.len() };
        for segment in middle {
            let Some((start, end)) = find_segment(segment, value, at, &mut stars) else { return false };
            debug_assert!(start <= end);
            at = end;
        }
        // The last segment ends the value: its star takes what is between.
        match_last(last, value, at, &mut stars)
    }
}

fn literal<'p>(rest: &'p [u8], comparator: Comparator, segment: &mut Vec<Element>) -> &'p [u8] {
    match rest.split_first() {
        Some((&first, tail)) => literal_from(first, tail, comparator, segment),
        None => rest,
    }
}

fn literal_from<'p>(first: u8, tail: &'p [u8], comparator: Comparator, segment: &mut Vec<Element>) -> &'p [u8] {
    if comparator == Comparator::UnicodeCasemap && !first.is_ascii() {
        // The sequence that starts one octet before the tail, if it is one.
        let mut sequence: SmallVec<[u8; 4]> = SmallVec::from_slice(&[first]);
        sequence.extend(tail.iter().copied().take(3));
        if let Some((c, length)) = char_at(&sequence, 0) {
            segment.push(Element::Char(fold_char(c)));
            return tail.get(length - 1..).unwrap_or(&[]);
        }
    }
    segment.push(match comparator {
        Comparator::UnicodeCasemap if first.is_ascii() => Element::Char(char::from(first.to_ascii_lowercase())),
        Comparator::AsciiCasemap if first.is_ascii_alphabetic() => Element::Letter(first.to_ascii_lowercase()),
        _ => Element::Octet(first),
    });
    tail
}

/// The character at an octet and its length.
fn char_at(value: &[u8], at: usize) -> Option<(char, usize)> {
    let rest = value.get(at..)?;
    let length = match rest.first()? {
        0..=0x7f => 1,
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let c = std::str::from_utf8(rest.get(..length)?).ok()?.chars().next()?;
    Some((c, length))
}

impl Element {
    /// Where the element ends that starts at `at`, if it stands there.
    fn end(self, value: &[u8], at: usize) -> Option<usize> {
        let &octet = value.get(at)?;
        match self {
            Element::Octet(b) => (octet == b).then_some(at + 1),
            Element::Letter(b) => (octet.to_ascii_lowercase() == b).then_some(at + 1),
            Element::AnyOctet => Some(at + 1),
            Element::AnyChar => Some(at + char_at(value, at).map_or(1, |(_, length)| length)),
            Element::Char(c) => char_at(value, at).filter(|(found, _)| fold_char(*found) == c).map(|(_, n)| at + n),
        }
    }
}

/// Where the segment ends that starts at `at`, if it stands there; remembers its wildcards.
fn match_segment(segment: &[Element], value: &[u8], mut at: usize, stars: &mut Option<&mut Stars>) -> Option<usize> {
    let known = stars.as_ref().map_or(0, |stars| stars.len());
    for &element in segment {
        let Some(end) = element.end(value, at) else {
            if let Some(stars) = stars {
                stars.truncate(known);
            }
            return None;
        };
        if let (Some(stars), Element::AnyOctet | Element::AnyChar) = (stars.as_deref_mut(), element) {
            stars.push(at..end);
        }
        at = end;
    }
    Some(at)
}

/// The leftmost place of a segment behind a star.
fn find_segment(
    segment: &[Element],
    value: &[u8],
    from: usize,
    stars: &mut Option<&mut Stars>,
) -> Option<(usize, usize)> {
    let mut start = from;
    loop {
        start = match segment.first() {
            Some(Element::Octet(b)) => start + memchr::memchr(*b, value.get(start..)?)?,
            Some(Element::Letter(b)) => start + memchr::memchr2(*b, b.to_ascii_uppercase(), value.get(start..)?)?,
            _ => start,
        };
        if let Some(end) = match_behind_star(segment, value, from, start, stars) {
            return Some((start, end));
        }
        if start >= value.len() {
            return None;
        }
        start += 1;
    }
}

fn match_behind_star(
    segment: &[Element],
    value: &[u8],
    from: usize,
    start: usize,
    stars: &mut Option<&mut Stars>,
) -> Option<usize> {
    if let Some(stars) = stars {
        stars.push(from..start);
    }
    let end = match_segment(segment, value, start, stars);
    if let (None, Some(stars)) = (end, stars) {
        stars.pop();
    }
    end
}

fn match_last(last: &[Element], value: &[u8], from: usize, stars: &mut Option<&mut Stars>) -> bool {
    let is_wide = last.iter().any(|e| matches!(e, Element::Char(_) | Element::AnyChar));
    if !is_wide {
        let Some(start) = value.len().checked_sub(last.len()).filter(|start| *start >= from) else { return false };
        return match_behind_star(last, value, from, start, stars) == Some(value.len());
    }
    let mut start = from;
    loop {
        let known = stars.as_ref().map_or(0, |stars| stars.len());
        if match_behind_star(last, value, from, start, stars) == Some(value.len()) {
            return true;
        }
        if let Some(stars) = stars {
            stars.truncate(known);
        }
        if start >= value.len() {
            return false;
        }
        start += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stars(pattern: &str, value: &str, comparator: Comparator) -> Option<Vec<String>> {
        let mut found = Stars::new();
        let is = Glob::new(pattern.as_bytes(), comparator).matches(value.as_bytes(), Some(&mut found));
        let text = |range: &Range<usize>| String::from_utf8_lossy(&value.as_bytes()[range.clone()]).into_owned();
        is.then(|| found.iter().map(text).collect())
    }

    #[test]
    fn stars_take_as_little_as_they_can() {
        let octet = |pattern, value| stars(pattern, value, Comparator::Octet);
        assert_eq!(octet("*-*.*", "a-b-c.d.e"), Some(vec!["a".into(), "b-c".into(), "d.e".into()]));
        assert_eq!(octet("a?c", "abc"), Some(vec!["b".into()]));
        assert_eq!(octet("**", "ab"), Some(vec!["".into(), "ab".into()]));
        assert_eq!(octet("*a?b*", "aab aXb"), Some(vec!["".into(), "a".into(), " aXb".into()]));
        assert_eq!(octet("\\*\\?", "*?"), Some(vec![]));
        assert_eq!(octet("a*a", "a"), None);
        assert_eq!(octet("", ""), Some(vec![]));
        assert_eq!(octet("*", ""), Some(vec!["".into()]));
    }

    #[test]
    fn a_character_is_what_the_comparator_says() {
        assert_eq!(stars("?", "ä", Comparator::AsciiCasemap), None);
        assert_eq!(stars("??", "ä", Comparator::AsciiCasemap).map(|s| s.len()), Some(2));
        assert_eq!(stars("?", "ä", Comparator::UnicodeCasemap), Some(vec!["ä".into()]));
        assert_eq!(stars("*Ä?", "xxäy", Comparator::UnicodeCasemap), Some(vec!["xx".into(), "y".into()]));
    }

    /// The definition, without cleverness.
    fn naive(pattern: &[u8], value: &[u8]) -> bool {
        match pattern.split_first() {
            None => value.is_empty(),
            Some((b'*', rest)) => (0..=value.len()).any(|n| naive(rest, &value[n..])),
            Some((b'?', rest)) => !value.is_empty() && naive(rest, &value[1..]),
            Some((b'\\', rest)) if !rest.is_empty() => value.first() == rest.first() && naive(&rest[1..], &value[1..]),
            Some((b, rest)) => value.first() == Some(b) && naive(rest, &value[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?\\\\]{0,8}", value in "[ab*]{0,10}") {
            let glob = Glob::new(pattern.as_bytes(), Comparator::Octet);
            let mut found = Stars::new();
            let is = glob.matches(value.as_bytes(), Some(&mut found));
            prop_assert_eq!(is, naive(pattern.as_bytes(), value.as_bytes()));
            prop_assert_eq!(is, glob.matches(value.as_bytes(), None));
        }

        #[test]
        fn the_stars_fill_the_pattern(pattern in "[ab*?]{0,8}", value in "[ab]{0,10}") {
            let mut found = Stars::new();
            if Glob::new(pattern.as_bytes(), Comparator::Octet).matches(value.as_bytes(), Some(&mut found)) {
                let mut stars = found.iter();
                let mut filled = String::new();
                for c in pattern.chars() {
                    match c {
                        '*' | '?' => filled.push_str(&value[stars.next().expect("one each").clone()]),
                        c => filled.push(c),
                    }
                }
                prop_assert_eq!(filled, value);
                prop_assert!(stars.next().is_none());
            }
        }

        #[test]
        fn case_does_not_matter_to_casemaps(pattern in "[aB*?]{0,6}", value in "[Ab]{0,8}") {
            for comparator in [Comparator::AsciiCasemap, Comparator::UnicodeCasemap] {
                let is = Glob::new(pattern.as_bytes(), comparator).matches(value.as_bytes(), None);
                prop_assert_eq!(is, naive(pattern.to_lowercase().as_bytes(), value.to_lowercase().as_bytes()));
            }
        }
    }
}
