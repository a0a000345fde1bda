//! Expressions of the configuration inside scripts: `eval`, `let`, `while`.

use super::program::Piece;
use crate::expr::{Answers, Expr, Kind, Lookups, Scope, Target, Value, Variable};

/// An expression and the variables of the script that it names, by their numbers.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    pub names: Box<[Piece]>,
    pub expr: Expr<Anything>,
}

/// A target that takes every value as it is.
#[derive(Debug, Clone)]
pub(super) struct Anything(pub Value<'static>);

impl Default for Anything {
    fn default() -> Self {
        Anything(Value::EMPTY)
    }
}

impl Target for Anything {
    type Output<'a> = Anything;
    const KIND: Kind = Kind::Anything;
    fn expected() -> std::borrow::Cow<'static, str> {
        "a value".into()
    }
    fn from_value(value: Value<'_>) -> Option<Self> {
        Some(Anything(value.into_owned()))
    }
    fn output(value: Value<'_>) -> Option<Self> {
        Self::from_value(value)
    }
    fn lend(&self) -> Self {
        self.clone()
    }
}

/// What an expression sees of a script.
pub(super) struct Facts<'f> {
    /// The values of the names, by their numbers.
    pub values: Vec<Value<'f>>,
    pub lookups: &'f dyn Lookups,
    pub answers: &'f Answers,
}

impl Scope for Facts<'_> {
    fn variable(&self, _: Variable) -> Value<'_> {
        Value::EMPTY
    }
    fn local(&self, number: u16) -> Value<'_> {
        self.values.get(usize::from(number)).cloned().unwrap_or(Value::EMPTY)
    }
    fn lookups(&self) -> &dyn Lookups {
        self.lookups
    }
    fn answers(&self) -> Option<&Answers> {
        Some(self.answers)
    }
}
