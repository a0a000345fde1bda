//! Typed trees to programs.

use super::ast::{Binary, CaptureName, Unary};
use super::check::{Part, Typed};
use super::functions::Nature;
use super::program::{Program, Step};
use super::value::Value;

/// Emits the branches of one setting.
#[derive(Default)]
pub(super) struct Compiler {
    pub program: Program,
}

/// What a branch gives.
pub(super) enum Outcome<'t> {
    /// A constant of the setting's own type, by index.
    Constant(u32),
    /// A value to compute.
    Computed(&'t Typed),
}

impl Compiler {
    /// `if condition` returns `then`.
    pub fn branch(&mut self, condition: &Typed, then: Outcome<'_>) {
        self.emit(condition);
        let jump = self.reserve();
        self.result(then);
        self.patch(jump, Step::Unless);
    }

    /// Returns `outcome`.
    pub fn result(&mut self, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Constant(index) => self.push(Step::Result(index)),
            Outcome::Computed(value) => {
                self.emit(value);
                self.push(Step::Return);
            }
        }
    }

    fn push(&mut self, step: Step) {
        self.program.steps.push(step);
    }

    fn here(&self) -> u32 {
        self.program.steps.len() as u32
    }

    /// A step whose target is not known yet.
    fn reserve(&mut self) -> usize {
        self.push(Step::Return);
        self.program.steps.len() - 1
    }

    /// The reserved step jumps to here.
    fn patch(&mut self, at: usize, step: impl Fn(u32) -> Step) {
        let target = self.here();
        if let Some(reserved) = self.program.steps.get_mut(at) {
            *reserved = step(target);
        }
    }

    fn constant(&mut self, value: &Value<'static>) -> u32 {
        let constants = &mut self.program.constants;
        let known = constants.iter().position(|constant| constant == value);
        known.unwrap_or_else(|| {
            constants.push(value.clone());
            constants.len() - 1
        }) as u32
    }

    fn capture(&mut self, name: &CaptureName) -> u32 {
        self.program.captures.push(name.clone());
        self.program.captures.len() as u32 - 1
    }

    fn emit(&mut self, typed: &Typed) {
        match &typed.part {
            Part::Constant(value) => {
                let index = self.constant(value);
                self.push(Step::Constant(index));
            }
            Part::Variable(variable) => self.push(Step::Variable(*variable)),
            Part::Local(number) => self.push(Step::Local(*number)),
            Part::Capture(name) => {
                let index = self.capture(name);
                self.push(Step::Capture(index));
            }
            Part::Unary(op, part) => {
                self.emit(part);
                self.push(match op {
                    Unary::Not => Step::Not,
                    Unary::Negate => Step::Negate,
                });
            }
            Part::Binary(op, left, right) => self.binary(*op, left, right),
            Part::Index(list, at) => {
                self.emit(list);
                self.emit(at);
                self.push(Step::Index);
            }
            Part::List(items) => {
                items.iter().for_each(|item| self.emit(item));
                self.push(Step::List(items.len() as u32));
            }
            Part::Call(function, arguments) => {
                arguments.iter().for_each(|argument| self.emit(argument));
                self.program.may_wait |= function.nature() == Nature::Question;
                self.push(Step::Call(*function));
            }
            Part::Matches(regex, subject) => {
                self.emit(subject);
                self.push(Step::Matches(*regex as u32));
            }
            Part::InNetwork(networks, ip) => {
                self.emit(ip);
                self.push(Step::InNetwork(*networks as u32));
            }
            Part::IfThen(parts) => self.if_then(parts),
        }
    }

    fn binary(&mut self, op: Binary, left: &Typed, right: &Typed) {
        if let (true, Part::Variable(variable), Part::Constant(value)) = (op.is_comparison(), &left.part, &right.part) {
            let index = self.constant(value);
            return self.push(Step::Compare(op, *variable, index));
        }
        self.emit(left);
        let circuit: Option<fn(u32) -> Step> = match op {
            Binary::And => Some(Step::And),
            Binary::Or => Some(Step::Or),
            _ => None,
        };
        let Some(circuit) = circuit else {
            self.emit(right);
            return self.push(Step::Binary(op));
        };
        let jump = self.reserve();
        self.emit(right);
        self.push(Step::Truth);
        self.patch(jump, circuit);
    }

    fn if_then(&mut self, parts: &[Typed; 3]) {
        let [condition, yes, no] = parts;
        self.emit(condition);
        let unless = self.reserve();
        self.emit(yes);
        let end = self.reserve();
        self.patch(unless, Step::Unless);
        self.emit(no);
        self.patch(end, Step::Jump);
    }
}
