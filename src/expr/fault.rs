//! What is wrong with an expression, where, and what would be right.

use std::fmt;

use super::ast::Span;

/// A fault in one text: the place in the source is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub span: Span,
    pub found: String,
    pub expected: String,
    pub hint: Option<String>,
}

impl Finding {
    pub fn new(span: Span, found: String, expected: &str) -> Finding {
        Finding { span, found, expected: expected.to_owned(), hint: None }
    }

    pub fn hint(self, hint: Option<String>) -> Finding {
        Finding { hint, ..self }
    }

    pub fn at(self, place: Place) -> ExprFault {
        ExprFault { place, span: self.span, found: self.found, expected: self.expected, hint: self.hint }
    }
}

/// Which value of a setting a fault is in. Branches count from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The plain value or the one expression.
    Value,
    /// The list of branches as a whole.
    Branches,
    /// One branch as a whole.
    Branch(usize),
    /// The `if` of a branch.
    If(usize),
    /// The `then` of a branch.
    Then(usize),
    /// The `else` of a branch.
    Else(usize),
}

/// A fault in a setting: found where, instead of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExprFault {
    /// Which value of the setting.
    pub place: Place,
    /// Octets of that value's text, after TOML has unquoted it; empty at zero for what is not a text.
    pub span: Span,
    /// What stands there, for people.
    pub found: String,
    /// What should, for people.
    pub expected: String,
    /// The nearest name, or another way to write it.
    pub hint: Option<String>,
}

impl fmt::Display for ExprFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Branches | Place::Branch(_) => write!(f, "{}: expected {}", self.found, self.expected)?,
            _ => write!(f, "found {}, expected {}", self.found, self.expected)?,
        }
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ExprFault {}

/// The candidate that `name` was probably meant to be: at most a third of it mistyped.
pub(super) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let name = name.get(..64).unwrap_or(name).to_ascii_lowercase();
    let bound = (name.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(&name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= bound)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours between two short words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let width = b.len() + 1;
    let mut table = vec![0usize; (a.len() + 1) * width];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i * width + j] = if i == 0 || j == 0 {
                i + j
            } else {
                let differs = usize::from(a[i - 1] != b[j - 1]);
                let mut best = (table[(i - 1) * width + j] + 1)
                    .min(table[i * width + j - 1] + 1)
                    .min(table[(i - 1) * width + j - 1] + differs);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[(i - 2) * width + j - 2] + 1);
                }
                best
            };
        }
    }
    table[a.len() * width + b.len()]
}

/// `did you mean …?` for the nearest candidate.
pub(super) fn did_you_mean<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(name, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}
