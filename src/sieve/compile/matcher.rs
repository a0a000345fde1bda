//! Match types, comparators and keys (RFC 5228 §2.7, RFC 5231, draft-ietf-sieve-regex).

use super::super::ast::Argument;
use super::super::bind::{Bound, title};
use super::super::comparator::Comparator;
use super::super::fault::Faults;
use super::super::glob::Glob;
use super::super::matching;
use super::super::program::{AddressPart, Key, MatchType, Matcher, Occurrence, Prepared, Relation, Text, Texts};
use super::super::signatures::{ADDRESS_PART, COMPARATOR, MATCH_TYPE};
use super::{Builder, number, strings};

impl Builder<'_, '_> {
    /// The matcher of a test, with its keys.
    pub(super) fn matcher(&mut self, bound: &Bound<'_, '_>, keys: &Argument<'_>) -> Option<Matcher> {
        let comparator = self.comparator(bound)?;
        let kind = self.match_type(bound, comparator)?;
        let keys = strings(keys).into_iter().map(|(raw, at)| self.key(bound, raw, at, kind, comparator)).collect();
        Some(Matcher { kind, comparator, keys })
    }

    fn comparator(&mut self, bound: &Bound<'_, '_>) -> Option<Comparator> {
        let Some((_, _, Some(argument))) = bound.of_family(COMPARATOR) else {
            return Some(Comparator::default());
        };
        let name = self.constant(bound, argument, "the name of a comparator")?;
        let Some(comparator) = Comparator::from_name(&name) else {
            let name = String::from_utf8_lossy(&name).into_owned();
            self.argument_fault(bound, argument.at, &format!("unknown comparator '{name}'"));
            return None;
        };
        if let Some(capability) = comparator.needs().filter(|&capability| !self.required.uses(capability)) {
            let message = format!("the script does not require \"{}\"", capability.name());
            self.argument_fault(bound, argument.at, &message);
            return None;
        }
        Some(comparator)
    }

    fn match_type(&mut self, bound: &Bound<'_, '_>, comparator: Comparator) -> Option<MatchType> {
        let Some((name, at, value)) = bound.of_family(MATCH_TYPE) else { return Some(MatchType::Is) };
        let kind = match (name, value) {
            ("contains", _) => MatchType::Contains,
            ("matches", _) => MatchType::Matches,
            ("regex", _) => MatchType::Regex,
            ("list", _) => MatchType::List,
            ("count" | "value", Some(argument)) => {
                let relation = self.constant(bound, argument, "a relation")?;
                let Some(relation) = Relation::from_name(&relation) else {
                    let message = "a relation is one of \"gt\", \"ge\", \"lt\", \"le\", \"eq\", \"ne\"";
                    self.argument_fault(bound, argument.at, message);
                    return None;
                };
                if name == "count" { MatchType::Count(relation) } else { MatchType::Value(relation) }
            }
            _ => MatchType::Is,
        };
        let looks_inside = matches!(kind, MatchType::Contains | MatchType::Matches | MatchType::Regex);
        if looks_inside && !comparator.has_substrings() {
            let message = format!("the comparator '{}' cannot be used with ':{name}'", comparator.name());
            self.argument_fault(bound, at, &message);
            return None;
        }
        Some(kind)
    }

    fn key(&mut self, bound: &Bound<'_, '_>, raw: &[u8], at: usize, kind: MatchType, comparator: Comparator) -> Key {
        let text = self.text(raw, at);
        let prepared = match (&text, kind) {
            (Text::Literal(pattern), MatchType::Matches) => {
                let glob = Glob::new(pattern, comparator);
                if !glob.has_wildcards() {
                    let message = "':matches' without '*' or '?' in the key: ':is' says the same";
                    self.faults.warning(at, message);
                }
                Prepared::Glob(glob)
            }
            (Text::Literal(pattern), MatchType::Regex) => {
                match matching::regex(pattern, comparator, self.options.regex_bytes_max) {
                    Ok(regex) => {
                        self.regexes.push(regex);
                        Prepared::Regex(self.regexes.len() as u32 - 1)
                    }
                    Err(why) => {
                        self.argument_fault(bound, at, &format!("invalid regular expression: {why}"));
                        Prepared::Plain
                    }
                }
            }
            _ => Prepared::Plain,
        };
        Key { text, prepared }
    }

    /// `:all`, `:localpart`, `:domain`, `:user`, `:detail`.
    pub(super) fn address_part(&self, bound: &Bound<'_, '_>) -> AddressPart {
        match bound.of_family(ADDRESS_PART) {
            Some(("localpart", ..)) => AddressPart::LocalPart,
            Some(("domain", ..)) => AddressPart::Domain,
            Some(("user", ..)) => AddressPart::User,
            Some(("detail", ..)) => AddressPart::Detail,
            _ => AddressPart::All,
        }
    }

    /// `:index` and `:last`; nothing when neither stands there. `None` is a fault that is told.
    pub(super) fn occurrence(&mut self, bound: &Bound<'_, '_>) -> Option<Option<Occurrence>> {
        let index = bound.tag("index");
        let last = bound.has("last");
        match (index, last) {
            (None, None) => Some(None),
            (None, Some(at)) => {
                self.faults.error(at, format!("the ':last' tag of the {} needs ':index'", title(bound.signature)));
                None
            }
            (Some(argument), last) => match usize::try_from(number(argument)).ok().filter(|&n| n > 0) {
                Some(index) => Some(Some(Occurrence { index, is_from_last: last.is_some() })),
                None => {
                    self.argument_fault(bound, argument.at, "':index' counts from 1");
                    None
                }
            },
        }
    }

    /// Warns of names that no field can have: the test is never true.
    pub(super) fn check_field_names(&mut self, argument: &Argument<'_>, names: &Texts) {
        for ((_, at), name) in strings(argument).into_iter().zip(names) {
            if let Text::Literal(name) = name {
                warn_of_field_name(&mut self.faults, at, name);
            }
        }
    }
}

fn warn_of_field_name(faults: &mut Faults<'_>, at: usize, name: &[u8]) {
    if !is_field_name(name) {
        let name = super::shortened(&String::from_utf8_lossy(name));
        faults.warning(at, format!("'{name}' is no name of a header field: nothing ever matches"));
    }
}

/// RFC 5322 §2.2: printable US-ASCII without the colon.
pub(super) fn is_field_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| (33..=126).contains(b) && *b != b':')
}
