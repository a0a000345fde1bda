//! A setting: the source as the configuration gives it, compiled for the type the setting has.

use super::ast::{Node, Span, Tree};
use super::check::{Checker, Typed, bare_name};
use super::compile::{Compiler, Outcome as Chosen};
use super::environment::Environment;
use super::eval::{self, Outcome};
use super::fault::{ExprFault, Finding, Place};
use super::parser::parse;
use super::program::{Program, Step};
use super::scope::{EvalError, Question, Scope, Stop};
use super::target::{Kind, Target, unfit};
use super::value::{Type, Value};
use crate::base::limits::EXPRESSION_BRANCHES_MAX;

/// A TOML value where an expression may stand.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A text, which holds an expression.
    Text(&'a str),
    /// An array of such values.
    List(Vec<Scalar<'a>>),
}

/// One table of an if/then/else list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Branch<'a> {
    /// The value of `if`.
    pub if_: Option<Scalar<'a>>,
    /// The value of `then`.
    pub then: Option<Scalar<'a>>,
    /// The value of `else`.
    pub else_: Option<Scalar<'a>>,
}

/// The value of a key that takes expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum Source<'a> {
    /// A plain value or one expression.
    Value(Scalar<'a>),
    /// `[ { if = …, then = … }, …, { else = … } ]`.
    Branches(Vec<Branch<'a>>),
}

impl<'a> From<&'a str> for Source<'a> {
    fn from(text: &'a str) -> Source<'a> {
        Source::Value(Scalar::Text(text))
    }
}

/// A setting of type `T` that is a constant or is computed from the facts of the moment.
///
/// A clone has its own match caches; each shard evaluates its own clone, so that shards share nothing.
#[derive(Debug, Clone)]
pub struct Expr<T: Target>(Body<T>);

#[derive(Debug, Clone)]
enum Body<T> {
    Constant(T),
    Computed(Box<Computed<T>>),
}

#[derive(Debug, Clone)]
struct Computed<T> {
    program: Program,
    /// The constants that branches give, already of the setting's type: lent, never converted.
    constants: Vec<T>,
    fallback: T,
}

impl<T: Target> Expr<T> {
    /// The same value always.
    pub const fn constant(value: T) -> Expr<T> {
        Expr(Body::Constant(value))
    }

    /// Compiles the value of a key; `fallback` holds when an evaluation fails. All faults at once.
    pub fn compile(source: &Source<'_>, fallback: T, environment: &Environment<'_>) -> Result<Expr<T>, Vec<ExprFault>> {
        let mut builder = Builder::<T>::new(environment);
        match source {
            Source::Value(value) => builder.otherwise(value, Place::Value),
            Source::Branches(branches) => builder.branches(branches),
        }
        builder.finish(fallback)
    }

    /// Compiles one expression; see [`Expr::compile`].
    pub fn parse(text: &str, fallback: T, environment: &Environment<'_>) -> Result<Expr<T>, Vec<ExprFault>> {
        Expr::compile(&Source::from(text), fallback, environment)
    }

    /// The value, if it never changes.
    pub fn as_constant(&self) -> Option<&T> {
        match &self.0 {
            Body::Constant(value) => Some(value),
            Body::Computed(_) => None,
        }
    }

    /// Whether an evaluation may stop for a [`Question`].
    pub fn may_wait(&self) -> bool {
        matches!(&self.0, Body::Computed(computed) if computed.program.may_wait)
    }

    /// The value in a scope.
    pub fn eval<'a, S: Scope + ?Sized>(&'a self, scope: &'a S) -> Result<T::Output<'a>, Stop> {
        let computed = match &self.0 {
            Body::Constant(value) => return Ok(value.lend()),
            Body::Computed(computed) => computed,
        };
        match eval::run(&computed.program, scope)? {
            Outcome::Constant(index) => Ok(computed.constants.get(index).unwrap_or(&computed.fallback).lend()),
            Outcome::Computed(value) => convert::<T>(value).map_err(Stop::Error),
        }
    }

    /// The value in a scope, or the fallback after telling `failed` why; an evaluation may still wait.
    pub fn value<'a, S: Scope + ?Sized>(
        &'a self,
        scope: &'a S,
        failed: impl FnOnce(EvalError),
    ) -> Result<T::Output<'a>, Question> {
        match self.eval(scope) {
            Ok(value) => Ok(value),
            Err(Stop::Pending(question)) => Err(question),
            Err(Stop::Error(error)) => {
                failed(error);
                Ok(self.fallback())
            }
        }
    }

    /// The value in a scope where nothing may wait, or the fallback after telling `failed` why.
    pub fn value_now<'a, S: Scope + ?Sized>(&'a self, scope: &'a S, failed: impl FnOnce(EvalError)) -> T::Output<'a> {
        self.eval(scope).unwrap_or_else(|stop| {
            failed(match stop {
                Stop::Pending(_) => EvalError::CannotWait,
                Stop::Error(error) => error,
            });
            self.fallback()
        })
    }

    /// What holds when an evaluation fails.
    pub fn fallback(&self) -> T::Output<'_> {
        match &self.0 {
            Body::Constant(value) => value.lend(),
            Body::Computed(computed) => computed.fallback.lend(),
        }
    }
}

fn convert<T: Target>(value: Value<'_>) -> Result<T::Output<'_>, EvalError> {
    // Of texts only lists that cannot be told apart before are unfit: nothing is copied to describe them.
    let found = match (T::KIND, &value) {
        (Kind::Text | Kind::Mapping | Kind::List, _) => Value::text("of another kind"),
        _ => value.clone(),
    };
    T::output(value).ok_or_else(|| EvalError::Unfit {
        found: found.with_text(super::check::shorten).into(),
        expected: T::expected().into(),
    })
}

/// Compiles the branches of one setting and collects their faults.
struct Builder<'e, T> {
    checker: Checker<'e>,
    compiler: Compiler,
    faults: Vec<ExprFault>,
    constants: Vec<T>,
    /// A branch always applies: those after it are checked, not compiled.
    is_closed: bool,
}

impl<'e, T: Target> Builder<'e, T> {
    fn new(environment: &'e Environment<'e>) -> Self {
        Builder {
            checker: Checker::new(environment, T::keywords()),
            compiler: Compiler::default(),
            faults: Vec::new(),
            constants: Vec::new(),
            is_closed: false,
        }
    }

    fn finish(mut self, fallback: T) -> Result<Expr<T>, Vec<ExprFault>> {
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        let mut program = self.compiler.program;
        if let (&[Step::Result(_)], Some(value)) = (program.steps.as_slice(), self.constants.first()) {
            return Ok(Expr::constant(value.clone()));
        }
        program.regexes = std::mem::take(&mut self.checker.regexes);
        program.networks = std::mem::take(&mut self.checker.networks);
        program.uses_captures = self.checker.uses_captures;
        Ok(Expr(Body::Computed(Box::new(Computed { program, constants: self.constants, fallback }))))
    }

    fn structure(&mut self, place: Place, found: impl Into<String>, expected: &str) {
        self.faults.push(Finding::new(Span::default(), found.into(), expected).at(place));
    }

    fn branches(&mut self, branches: &[Branch<'_>]) {
        if branches.len() > EXPRESSION_BRANCHES_MAX {
            let found = format!("{} branches", branches.len());
            return self.structure(Place::Branches, found, &format!("at most {EXPRESSION_BRANCHES_MAX}"));
        }
        let mut has_else = false;
        for (i, branch) in branches.iter().enumerate() {
            let place = Place::Branch(i);
            match (&branch.if_, &branch.then, &branch.else_) {
                (Some(_), _, None) if has_else => {
                    self.structure(place, "Found 'else' before 'if'", "{ else = … } as the last branch");
                }
                (Some(condition), Some(then), None) => self.branch(i, condition, then),
                (Some(_), None, None) => {
                    let found = format!("Missing 'then' in 'if' condition {}", i + 1);
                    self.structure(place, found, "{ if = …, then = … }");
                }
                (None, None, Some(_)) if has_else => {
                    self.structure(place, "Multiple 'else' found", "one { else = … }, the last branch");
                }
                (None, None, Some(value)) => {
                    has_else = true;
                    self.otherwise(value, Place::Else(i));
                }
                (None, Some(_), None) => self.structure(place, "Found 'then' without 'if'", "{ if = …, then = … }"),
                (None, Some(_), Some(_)) => {
                    has_else = true;
                    self.structure(place, "Found 'then' in 'else' block", "{ else = … }");
                }
                (Some(_), _, Some(_)) => {
                    has_else = true;
                    self.structure(place, "Found 'if' in 'else' block", "{ if = …, then = … } or { else = … }");
                }
                (None, None, None) => {
                    self.structure(place, "Found an empty branch", "{ if = …, then = … } or { else = … }");
                }
            }
        }
        if !has_else {
            self.structure(Place::Branches, "Missing 'else'", "{ else = … } as the last branch");
        }
    }

    fn branch(&mut self, i: usize, condition: &Scalar<'_>, then: &Scalar<'_>) {
        let condition = self.check(condition, Place::If(i));
        if let Some(condition) = &condition {
            self.refuse_constant_text(condition, Place::If(i));
        }
        let then = self.result(then, Place::Then(i));
        let (Some(condition), Some(then)) = (condition, then) else { return };
        match condition.constant().map(Value::is_truthy) {
            _ if self.is_closed => {}
            Some(false) => {}
            Some(true) => self.close(&then),
            None => {
                let then = self.outcome(&then);
                self.compiler.branch(&condition, then);
            }
        }
    }

    /// A condition in quotes within the quotes of TOML would always hold.
    fn refuse_constant_text(&mut self, condition: &Typed, place: Place) {
        if condition.constant().is_some() && condition.kind == Type::Text {
            let finding = Finding::new(condition.span, condition.describe(), "a condition")
                .hint(Some("quotes make it a text".to_owned()));
            self.faults.push(finding.at(place));
        }
    }

    fn otherwise(&mut self, value: &Scalar<'_>, place: Place) {
        if let Some(value) = self.result(value, place)
            && !self.is_closed
        {
            self.close(&value);
        }
    }

    fn close(&mut self, value: &Typed) {
        self.is_closed = true;
        let value = self.outcome(value);
        self.compiler.result(value);
    }

    fn outcome<'t>(&mut self, value: &'t Typed) -> Chosen<'t> {
        match value.constant().and_then(|value| T::from_value(value.clone())) {
            Some(constant) => {
                self.constants.push(constant);
                Chosen::Constant(self.constants.len() as u32 - 1)
            }
            None => Chosen::Computed(value),
        }
    }

    /// A checked value that fits the setting.
    fn result(&mut self, value: &Scalar<'_>, place: Place) -> Option<Typed> {
        let typed = self.check(value, place)?;
        let typed = if T::KIND == Kind::Duration { typed.milliseconds() } else { typed };
        if let Some(finding) = unfit::<T>(&typed) {
            self.faults.push(finding.at(place));
        }
        Some(typed)
    }

    fn check(&mut self, value: &Scalar<'_>, place: Place) -> Option<Typed> {
        let tree = match tree_of(value) {
            Ok(tree) => tree,
            Err(findings) => {
                let hint = |finding: Finding| match (T::KIND, value) {
                    // Words that were meant as a text seldom parse.
                    (Kind::Text, Scalar::Text(text)) if !text.contains(['\'', '"', '(']) => {
                        finding.hint(Some(format!("a text is quoted: \"'{text}'\"")))
                    }
                    _ => finding,
                };
                self.faults.extend(findings.into_iter().map(|finding| hint(finding).at(place)));
                return None;
            }
        };
        let typed = self.checker.check(&tree);
        let findings = std::mem::take(&mut self.checker.findings);
        let is_sound = findings.is_empty();
        let bare = bare_name(&tree).filter(|_| T::KIND == Kind::Text && T::keywords().is_empty());
        let hint = bare.map(|name| format!("a text is quoted: \"'{name}'\""));
        self.faults.extend(findings.into_iter().map(|finding| {
            let hint = finding.hint.clone().or_else(|| hint.clone());
            finding.hint(hint).at(place)
        }));
        is_sound.then_some(typed)
    }
}

fn tree_of(value: &Scalar<'_>) -> Result<Tree, Vec<Finding>> {
    let node = match value {
        Scalar::Text(text) => return parse(text),
        Scalar::Bool(is) => Node::Bool(*is),
        Scalar::Integer(n) => Node::Integer(*n),
        Scalar::Float(n) if n.is_finite() => Node::Float(*n),
        Scalar::Float(n) => return Err(vec![Finding::new(Span::default(), n.to_string(), "a number")]),
        Scalar::List(items) => {
            let mut trees = Vec::with_capacity(items.len());
            for item in items {
                match item {
                    Scalar::List(_) => {
                        let found = "a list in a list".to_owned();
                        return Err(vec![Finding::new(Span::default(), found, "values")]);
                    }
                    item => trees.push(tree_of(item)?),
                }
            }
            Node::List(trees)
        }
    };
    Ok(Tree::new(node, Span::default()))
}
