//! The expression language of the configuration.
//!
//! Any key marked E takes a plain value, an expression, or a list of `{ if, then }` and `{ else }`.
//! [`Expr::compile`] checks it whole, while the configuration is loaded: syntax, names, the variables that exist
//! at the setting's [`Stage`], types, regular expressions, and that the result fits the setting. What
//! remains is a constant or a short program over a stack.
//!
//! * **Takes** the [`Source`] of a key, an [`Environment`], and at evaluation a [`Scope`].
//! * **Gives** an [`Expr<T>`] or every [`ExprFault`], and at evaluation a value of `T` that borrows from the scope.
//! * **Invariants**: evaluation never panics and always ends (jumps go forward); it does not allocate for
//!   comparisons, predicates, lookups and constants; it reads no clock and does no I/O: a function that
//!   needs an answer from outside stops it with a [`Question`], and evaluating again repeats no effect.
//! * **Must never be added**: loops, recursion, anything whose cost the text does not bound.

mod ast;
mod check;
mod compile;
mod environment;
mod eval;
mod fault;
mod functions;
pub mod keywords;
mod lexer;
mod parser;
mod program;
mod reading;
mod scope;
mod setting;
mod target;
mod value;
mod variable;

pub use ast::Span;
pub use environment::{Environment, Names};
pub use fault::{ExprFault, Place};
pub use reading::{compiled_by, expression, expression_at_earliest, expression_now, size_expression};
pub use scope::{Answer, Answers, EvalError, Lookups, NoLookups, QueryKind, Question, Scope, Stop};
pub use setting::{Branch, Expr, Scalar, Source};
pub use target::{Keyword, Kind, Mapping, Target, Texts};
pub use value::{List, Str, Value};
pub use variable::{Stage, Variable, VariableSet};

#[cfg(test)]
mod tests;
