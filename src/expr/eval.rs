//! Runs a program. Nothing here allocates but what makes a new text or list, and captures.

use std::net::IpAddr;

use compact_str::CompactString;
use ipnet::IpNet;
use regex::{CaptureLocations, Regex};
use smallvec::SmallVec;

use super::ast::CaptureName;
use super::functions::{self, Arguments, Function, Nature};
use super::program::{Program, Step};
use super::scope::{Answer, EffectPlace, EvalError, QueryKind, Question, Scope, Stop};
use super::value::{self, Number, Str, Value};

/// Deeper stacks than this are rare enough to allocate.
const STACK_INLINE: usize = 6;

type Stack<'a> = SmallVec<[Value<'a>; STACK_INLINE]>;

/// The last successful match.
struct Captures<'a> {
    subject: Str<'a>,
    regex: &'a Regex,
    groups: CaptureLocations,
}

/// What a program gives.
pub(super) enum Outcome<'a> {
    /// One of the setting's constants.
    Constant(usize),
    /// A value.
    Computed(Value<'a>),
}

/// The result of a program in a scope.
pub(super) fn run<'a, S: Scope + ?Sized>(program: &'a Program, scope: &'a S) -> Result<Outcome<'a>, Stop> {
    let mut machine = Machine { program, scope, stack: Stack::new(), captures: None };
    let mut at = 0;
    while let Some(&step) = program.steps.get(at) {
        at = match machine.step(step, at)? {
            Next::Step => at + 1,
            Next::Jump(target) => target as usize,
            Next::Done => break,
            Next::Constant(index) => return Ok(Outcome::Constant(index as usize)),
        };
    }
    Ok(Outcome::Computed(machine.pop()))
}

enum Next {
    Step,
    /// Always forward: every program ends.
    Jump(u32),
    Done,
    Constant(u32),
}

struct Machine<'a, S: ?Sized> {
    program: &'a Program,
    scope: &'a S,
    stack: Stack<'a>,
    captures: Option<Captures<'a>>,
}

impl<'a, S: Scope + ?Sized> Machine<'a, S> {
    /// The compiler leaves a value for every step that pops one.
    fn pop(&mut self) -> Value<'a> {
        self.stack.pop().unwrap_or(Value::FALSE)
    }

    fn push(&mut self, value: Value<'a>) {
        self.stack.push(value);
    }

    fn constant(&self, index: u32) -> Value<'a> {
        self.program.constants.get(index as usize).map_or(Value::EMPTY, Value::lend)
    }

    fn step(&mut self, step: Step, at: usize) -> Result<Next, Stop> {
        match step {
            Step::Constant(index) => self.push(self.constant(index)),
            Step::Variable(variable) => self.push(self.scope.variable(variable)),
            Step::Local(number) => self.push(self.scope.local(number)),
            Step::Compare(op, variable, index) => {
                let is = match self.program.constants.get(index as usize) {
                    Some(constant) => value::compare(op, &self.scope.variable(variable), constant),
                    None => false,
                };
                self.push(Value::bool(is));
            }
            Step::Binary(op) => {
                let right = self.pop();
                let left = self.pop();
                self.push(value::binary(op, left, right)?);
            }
            Step::Not => {
                let is = self.pop().is_truthy();
                self.push(Value::bool(!is));
            }
            Step::Negate => {
                let value = value::negate(&self.pop());
                self.push(value);
            }
            Step::Truth => {
                let is = self.pop().is_truthy();
                self.push(Value::bool(is));
            }
            Step::Jump(target) => return Ok(Next::Jump(target)),
            Step::Unless(target) if !self.pop().is_truthy() => return Ok(Next::Jump(target)),
            Step::Unless(_) => {}
            Step::And(target) if !self.pop().is_truthy() => return Ok(self.short_circuit(false, target)),
            Step::Or(target) if self.pop().is_truthy() => return Ok(self.short_circuit(true, target)),
            Step::And(_) | Step::Or(_) => {}
            Step::Capture(index) => {
                let value = self.capture(index);
                self.push(value);
            }
            Step::Matches(index) => {
                let is = self.matches(index);
                self.push(Value::bool(is));
            }
            Step::InNetwork(index) => {
                let is = self.is_in_network(index);
                self.push(Value::bool(is));
            }
            Step::Index => {
                let at = self.pop();
                let list = self.pop();
                self.push(value::index(list, &at));
            }
            Step::List(count) => self.list(count as usize)?,
            Step::Call(function) => self.call(function, at)?,
            Step::Return => return Ok(Next::Done),
            Step::Result(index) => return Ok(Next::Constant(index)),
        }
        Ok(Next::Step)
    }

    fn short_circuit(&mut self, is: bool, target: u32) -> Next {
        self.push(Value::bool(is));
        Next::Jump(target)
    }

    fn list(&mut self, count: usize) -> Result<(), EvalError> {
        let start = self.stack.len().saturating_sub(count);
        let mut items = Vec::with_capacity(count);
        for value in self.stack.drain(start..) {
            value::push_flat(&mut items, value)?;
        }
        self.push(Value::list(items));
        Ok(())
    }

    fn matches(&mut self, index: u32) -> bool {
        let subject = self.pop();
        let Some(regex) = self.program.regexes.get(index as usize) else { return false };
        if !self.program.uses_captures {
            return subject.with_text(|text| regex.is_match(text));
        }
        let subject = subject.into_text();
        let mut groups = regex.capture_locations();
        let is_match = regex.captures_read(&mut groups, &subject).is_some();
        if is_match {
            self.captures = Some(Captures { subject, regex, groups });
        }
        is_match
    }

    fn capture(&self, index: u32) -> Value<'a> {
        let (Some(captures), Some(name)) = (&self.captures, self.program.captures.get(index as usize)) else {
            return Value::EMPTY;
        };
        let group = match name {
            CaptureName::Number(n) => Some(usize::from(*n)),
            CaptureName::Name(name) => captures.regex.capture_names().position(|n| n == Some(name)),
        };
        match group.and_then(|group| captures.groups.get(group)) {
            Some((start, end)) => Value::Text(captures.subject.slice(start..end)),
            None => Value::EMPTY,
        }
    }

    fn is_in_network(&mut self, index: u32) -> bool {
        let ip = self.pop().ip().map(|ip| ip.to_canonical());
        let networks = self.program.networks.get(index as usize);
        let contains = |ip: IpAddr| networks.is_some_and(|all| all.iter().any(|network: &IpNet| network.contains(&ip)));
        ip.is_some_and(contains)
    }

    fn call(&mut self, function: Function, at: usize) -> Result<(), Stop> {
        let start = self.stack.len().saturating_sub(function.arguments().len());
        let arguments = Arguments(self.stack.get(start..).unwrap_or(&[]));
        let result = match function.nature() {
            Nature::Pure => functions::call(function, arguments)?,
            Nature::Lookup => lookup(self.scope, function, arguments, (std::ptr::from_ref(self.program).addr(), at)),
            Nature::Question => query(self.scope, arguments)?,
        };
        self.stack.truncate(start);
        self.push(result);
        Ok(())
    }
}

fn lookup<'a, S: Scope + ?Sized>(
    scope: &'a S,
    function: Function,
    arguments: Arguments<'_, 'a>,
    place: EffectPlace,
) -> Value<'a> {
    let lookups = scope.lookups();
    let name = arguments.value(0);
    let key = arguments.value(1);
    let once = |effect: &dyn Fn() -> i64| match scope.answers() {
        Some(answers) => answers.once(place, effect),
        None => effect(),
    };
    name.with_text(|name| {
        key.with_text(|key| match function {
            Function::IsLocalDomain => Value::bool(lookups.is_local_domain(name, key)),
            Function::IsLocalAddress => Value::bool(lookups.is_local_address(name, key)),
            Function::KeyGet => lookups.key_get(name, key).unwrap_or(Value::EMPTY),
            Function::KeyExists => Value::bool(lookups.key_exists(name, key)),
            Function::KeySet => {
                Value::Integer(once(&|| i64::from(lookups.key_set(name, key, arguments.value(2).lend()))))
            }
            Function::CounterIncr => {
                let by = arguments.value(2).number().map_or(0, Number::integer);
                Value::Integer(once(&|| lookups.counter_incr(name, key, by)))
            }
            _ => Value::Integer(lookups.counter_get(name, key)),
        })
    })
}

fn query<'a, S: Scope + ?Sized>(scope: &'a S, arguments: Arguments<'_, 'a>) -> Result<Value<'a>, Stop> {
    let name = arguments.value(0).with_text(|text| CompactString::new(text));
    let kind = arguments.value(1).with_text(QueryKind::from_name).unwrap_or(QueryKind::Ip);
    let question = Question { name, kind };
    if question.name.is_empty() {
        return Ok(Value::list(Vec::new())); // a null reverse-path has no domain to ask about
    }
    match scope.answers().and_then(|answers| answers.answer(&question)) {
        Some(Answer::Records(records)) => Ok(Value::texts(records.iter().map(CompactString::as_str))),
        Some(Answer::Failed) => Err(EvalError::Unanswered(question.name).into()),
        None => Err(Stop::Pending(question)),
    }
}
