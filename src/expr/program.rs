//! The compiled form: a flat list of steps over a stack of values.

use ipnet::IpNet;
use regex::Regex;

use super::ast::{Binary, CaptureName};
use super::functions::Function;
use super::value::Value;
use super::variable::Variable;

/// One step. Pops its operands, pushes its result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    Constant(u32),
    Variable(Variable),
    /// A variable of the embedding language.
    Local(u16),
    /// A variable compared with a constant: what most conditions are.
    Compare(Binary, Variable, u32),
    Binary(Binary),
    Not,
    Negate,
    /// 1 or 0.
    Truth,
    Jump(u32),
    /// Pops; jumps when it is false.
    Unless(u32),
    /// Short circuits: jump with 0 when the top is false, with 1 when it is true; else pop.
    And(u32),
    Or(u32),
    /// A group of the last successful match.
    Capture(u32),
    Matches(u32),
    InNetwork(u32),
    Index,
    /// A list of the topmost values.
    List(u32),
    Call(Function),
    /// The value on top is the result.
    Return,
    /// The result is one of the setting's constants.
    Result(u32),
}

/// A compiled setting. A clone has its own match caches: each shard evaluates its own clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Program {
    pub steps: Vec<Step>,
    pub constants: Vec<Value<'static>>,
    pub regexes: Vec<Regex>,
    pub networks: Vec<Box<[IpNet]>>,
    pub captures: Vec<CaptureName>,
    /// Groups are asked for: matches remember them.
    pub uses_captures: bool,
    /// It may stop for a question.
    pub may_wait: bool,
}
