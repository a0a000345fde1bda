//! Holds values against keys: the match types when a script runs.

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder};
use smallvec::SmallVec;

use super::comparator::Comparator;
use super::glob::{Glob, Stars};
use super::limits::Limit;
use super::program::{MatchType, Matcher, Prepared, Program};

/// A regular expression of the draft, POSIX extended by its words, with the engine of linear time: no
/// back references, the first alternative instead of the longest.
pub(super) fn regex(pattern: &[u8], comparator: Comparator, bytes_max: usize) -> Result<Regex, String> {
    let pattern = std::str::from_utf8(pattern).map_err(|_| "it is no UTF-8".to_owned())?;
    RegexBuilder::new(pattern)
        .case_insensitive(comparator != Comparator::Octet)
        .dot_matches_new_line(true)
        .size_limit(bytes_max)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            error => error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        })
}

/// What the last successful `:matches` or `:regex` found: `${0}`, `${1}` …
#[derive(Debug, Default, Clone)]
pub(super) struct Captures {
    value: Vec<u8>,
    ranges: SmallVec<[(u32, u32); 10]>,
}

impl Captures {
    /// Empty for what is not there.
    pub fn get(&self, index: usize) -> &[u8] {
        let range = self.ranges.get(index).copied().unwrap_or((0, 0));
        self.value.get(range.0 as usize..range.1 as usize).unwrap_or(&[])
    }

    pub fn whole(value: &[u8]) -> Captures {
        Captures { value: value.to_vec(), ranges: SmallVec::from_slice(&[(0, value.len() as u32)]) }
    }
}

/// The values of one test as they are held against its keys.
pub(super) struct Probe<'p> {
    matcher: &'p Matcher,
    program: &'p Program,
    keys: SmallVec<[Cow<'p, [u8]>; 4]>,
    regex_bytes: usize,
    /// Groups of the match, once there is one and the script reads them.
    pub captures: Option<Captures>,
    /// Values so far.
    pub count: u64,
    /// Values for `:list`.
    pub values: Vec<Vec<u8>>,
    /// Octets that were looked at.
    work: u64,
    work_max: u64,
}

/// Octets that cost one step.
const OCTETS_PER_STEP: u64 = 256;

/// Why a value could not be held against a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MatchError {
    Limit(Limit),
    Regex(String),
}

impl<'p> Probe<'p> {
    pub fn new(
        matcher: &'p Matcher,
        program: &'p Program,
        keys: SmallVec<[Cow<'p, [u8]>; 4]>,
        steps_max: u64,
        regex_bytes: usize,
    ) -> Probe<'p> {
        Probe {
            matcher,
            program,
            keys,
            regex_bytes,
            captures: None,
            count: 0,
            values: Vec::new(),
            work: 0,
            work_max: steps_max.saturating_mul(OCTETS_PER_STEP),
        }
    }

    /// Steps for what was looked at.
    pub fn steps(&self) -> u64 {
        self.work / OCTETS_PER_STEP
    }

    pub fn keys(&self) -> &[Cow<'p, [u8]>] {
        &self.keys
    }

    /// Takes every word of a key as a key of its own: flags (RFC 5232 §2).
    pub fn split_keys(&mut self) {
        if !matches!(self.matcher.kind, MatchType::Is | MatchType::Contains) {
            return;
        }
        if self.keys.iter().any(|key| key.iter().any(u8::is_ascii_whitespace)) {
            let words = |key: &Cow<'p, [u8]>| -> Vec<Cow<'p, [u8]>> {
                let words = key.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                words.map(|word| Cow::Owned(word.to_vec())).collect()
            };
            self.keys = self.keys.iter().flat_map(words).collect();
        }
    }

    /// Whether a key matches this value; then no other value needs to be looked at.
    pub fn offer(&mut self, value: &[u8]) -> Result<bool, MatchError> {
        self.count += 1;
        match self.matcher.kind {
            MatchType::Count(_) => return Ok(false),
            MatchType::List => {
                self.values.push(value.to_vec());
                return Ok(false);
            }
            _ => {}
        }
        let comparator = self.matcher.comparator;
        for (i, key) in self.keys.iter().enumerate() {
            let prepared = self.matcher.keys.get(i).map_or(&Prepared::Plain, |key| &key.prepared);
            if matches!(self.matcher.kind, MatchType::Matches | MatchType::Regex) {
                // A pattern may look at every octet once for each of its own.
                self.work = self.work.saturating_add((value.len() as u64).saturating_mul(key.len() as u64) / 8);
            }
            self.work += 16 + value.len() as u64;
            if self.work > self.work_max {
                return Err(MatchError::Limit(Limit::Steps));
            }
            let is = match (self.matcher.kind, prepared) {
                (MatchType::Contains, _) => comparator.contains(value, key),
                (MatchType::Value(relation), _) => relation.holds(comparator.order(value, key)),
                (MatchType::Matches, Prepared::Glob(glob)) => {
                    matches_glob(glob, value, self.program.uses_captures.then_some(&mut self.captures))
                }
                (MatchType::Matches, _) => {
                    self.work += key.len() as u64 * 4;
                    let glob = Glob::new(key, comparator);
                    matches_glob(&glob, value, self.program.uses_captures.then_some(&mut self.captures))
                }
                (MatchType::Regex, Prepared::Regex(index)) => match self.program.regexes.get(*index as usize) {
                    Some(regex) => {
                        matches_regex(regex, value, self.program.uses_captures.then_some(&mut self.captures))
                    }
                    None => false,
                },
                (MatchType::Regex, _) => {
                    self.work += key.len() as u64 * 64;
                    let regex = regex(key, comparator, self.regex_bytes).map_err(MatchError::Regex)?;
                    matches_regex(&regex, value, self.program.uses_captures.then_some(&mut self.captures))
                }
                _ => comparator.equal(value, key),
            };
            if is {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The result once every value was offered: `:count` compares only now.
    pub fn finish(&self) -> bool {
        let MatchType::Count(relation) = self.matcher.kind else { return false };
        let count = self.count.to_string();
        let comparator = self.matcher.comparator;
        self.keys.iter().any(|key| relation.holds(comparator.order(count.as_bytes(), key)))
    }
}

fn matches_glob(glob: &Glob, value: &[u8], captures: Option<&mut Option<Captures>>) -> bool {
    let Some(captures) = captures else { return glob.matches(value, None) };
    let mut stars = Stars::new();
    if !glob.matches(value, Some(&mut stars)) {
        return false;
    }
    let mut found = Captures::whole(value);
    found.ranges.extend(stars.iter().map(|star| (star.start as u32, star.end as u32)));
    *captures = Some(found);
    true
}

fn matches_regex(regex: &Regex, value: &[u8], captures: Option<&mut Option<Captures>>) -> bool {
    let Some(captures) = captures else { return regex.is_match(value) };
    let Some(groups) = regex.captures(value) else { return false };
    let mut found = Captures { value: value.to_vec(), ranges: SmallVec::new() };
    found.ranges.extend(groups.iter().map(|g| g.map_or((0, 0), |g| (g.start() as u32, g.end() as u32))));
    *captures = Some(found);
    true
}
