//! Evaluates expressions over the variables of the script.

use std::borrow::Cow;

use compact_str::CompactString;

use super::super::expressions::{Expression, Facts};
use super::super::program::{Piece, Slot};
use super::super::question::{Answer, Question};
use super::{Machine, Outcome, RunErrorKind, Stop};
use crate::expr::{self, Answers, Lookups, Str, Value};

impl<'a> Machine<'a> {
    /// Directories, lists and counters for expressions; without them they know nothing.
    pub fn set_lookups(&mut self, lookups: &'a dyn Lookups) {
        self.lookups = lookups;
    }

    pub(super) fn evaluate(&self, expression: &Expression) -> Outcome<Value<'static>> {
        let mut values = Vec::with_capacity(expression.names.len());
        for name in &expression.names {
            values.push(self.value_of(name)?);
        }
        let facts = Facts { values, lookups: self.lookups, answers: &self.expression_answers };
        match expression.expr.eval(&facts) {
            Ok(value) => Ok(value.0),
            Err(expr::Stop::Pending(question)) => Err(Stop::Ask(Question::Dns(question))),
            Err(expr::Stop::Error(error)) => Err(RunErrorKind::Invalid(error.to_string()).into()),
        }
    }

    fn value_of<'x>(&'x self, name: &'x Piece) -> Outcome<Value<'x>> {
        if let (Piece::Variable(slot), Some(frame)) = (name, self.frames.last())
            && let Some((_, value)) = frame.values.iter().find(|(known, _)| known == slot)
        {
            return Ok(value.clone());
        }
        Ok(match self.piece(name)? {
            Cow::Borrowed(octets) => match std::str::from_utf8(octets) {
                Ok(text) => Value::text(text),
                Err(_) => Value::Text(Str::Owned(CompactString::from_utf8_lossy(octets))),
            },
            Cow::Owned(octets) => Value::Text(Str::Owned(CompactString::from_utf8_lossy(&octets))),
        })
    }

    /// `let`: the variable is its text where it stands in a string, and its value in expressions.
    pub(super) fn let_variable(&mut self, slot: Slot, value: Value<'static>) -> Outcome<()> {
        self.set_variable(slot, value.to_string().into_bytes())?;
        if let Some(frame) = self.frames.last_mut()
            && !matches!(value, Value::Text(_))
        {
            frame.values.push((slot, value));
        }
        Ok(())
    }

    /// The expression is done: when it runs again, it asks again and has its effects again.
    pub(super) fn forget_effects(&mut self) {
        self.expression_answers = Answers::new();
    }

    /// What the resolver said, for the expression that waits.
    pub(super) fn answer_expression(&mut self, question: expr::Question, answer: &Answer) {
        let answer = match answer {
            Answer::Values(records) => {
                expr::Answer::Records(records.iter().map(|r| CompactString::from_utf8_lossy(r)).collect())
            }
            _ => expr::Answer::Failed,
        };
        self.expression_answers.add(question, answer);
    }
}
