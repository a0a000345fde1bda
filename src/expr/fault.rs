//! What is wrong with an expression, where, and what would be right.

use std::fmt;

use super::ast::Span;
use crate::schema::nearest;

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

/// `did you mean …?` for the nearest candidate.
pub(super) fn did_you_mean<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    nearest(name, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}
