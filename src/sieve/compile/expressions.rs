//! `eval`, `let` and `while`: the expressions of the configuration over the variables of the script.

use std::cell::RefCell;

use compact_str::CompactString;

use super::super::ast::{Argument, Call};
use super::super::bind::Bound;
use super::super::expressions::{Anything, Expression};
use super::super::program::{Op, Piece, Test, Text};
use super::super::signature::Signature;
use super::Builder;
use crate::expr::{Environment, Expr, Names, VariableSet};

impl Builder<'_, '_> {
    /// An expression; each name in it is a variable of the script, or one in a namespace.
    pub(super) fn expression(&mut self, bound: &Bound<'_, '_>, argument: &Argument<'_>) -> Option<Expression> {
        let text = self.expression_text(argument)?;
        let names: RefCell<Vec<CompactString>> = RefCell::default();
        let number = |name: &str| {
            let mut names = names.borrow_mut();
            let known = names.iter().position(|known| known.eq_ignore_ascii_case(name));
            let at = known.unwrap_or_else(|| {
                names.push(CompactString::from(name));
                names.len() - 1
            });
            u16::try_from(at).ok()
        };
        let environment = Environment {
            variables: VariableSet::NONE,
            config: &|_| None,
            directories: Names::Any,
            stores: Names::Any,
            may_wait: true,
            locals: &number,
        };
        let compiled = Expr::parse(&text, Anything::default(), &environment);
        let expr = match compiled {
            Ok(expr) => expr,
            Err(faults) => {
                for fault in faults {
                    let hint = fault.hint.map(|hint| format!(" ({hint})")).unwrap_or_default();
                    let message = format!("expected {}, but found {}{hint}", fault.expected, fault.found);
                    self.argument_fault(bound, argument.at, &message);
                }
                return None;
            }
        };
        let names: Option<Box<[Piece]>> =
            names.into_inner().iter().map(|name| self.expression_variable(name, argument.at)).collect();
        Some(Expression { names: names?, expr })
    }

    /// The text of an expression is taken as it stands: `${x}` would be replaced before it is read.
    fn expression_text(&mut self, argument: &Argument<'_>) -> Option<String> {
        let (raw, at) = *super::strings(argument).first()?;
        if !self.is_constant(raw) {
            self.faults.error(at, "an expression names a variable without '${' and '}'");
            return None;
        }
        match self.text(raw, at) {
            Text::Literal(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            Text::Template(_) => None,
        }
    }

    /// `while "…" { … }`; that it ends is the limit on steps.
    pub(super) fn while_block(&mut self, call: &Call<'_>, signature: &Signature, depth: usize) {
        let start = self.ops.len() as u32;
        if let Some(bound) = self.bind(call, signature)
            && let Some(argument) = bound.positional(0)
            && let Some(expression) = self.expression(&bound, argument)
        {
            self.emit_test(Test::Eval(Box::new(expression)));
        }
        let skip = self.emit(Op::JumpUnless(0));
        if let Some(block) = &call.block {
            self.block(block, depth + 1);
        }
        self.emit(Op::Jump(start));
        self.land(skip);
    }
}
