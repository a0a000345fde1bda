//! From the tree to a program: `require`, control structures, and the calls by their verbs.
//!
//! One file for each kind of call: `tests`, `actions`; `text` for strings with variables; `matcher` for
//! match types and comparators.

mod actions;
mod expressions;
mod matcher;
mod mime;
mod tests;
mod text;

use compact_str::CompactString;

use super::ast::{Argument, ArgumentKind, Call};
use super::bind::{Bound, Required, bind, title};
use super::capability::{Capability, CapabilitySet};
use super::fault::{Fault, Faults};
use super::lexer::shortened;
use super::parse::{self, parse};
use super::program::{Command, Op, Program, SetTarget, Slot, Test};
use super::signature::{Signature, Tests, Verb};
use super::signatures;

/// What scripts are compiled with: the host's choice.
#[derive(Debug, Clone)]
pub struct Compiler {
    capabilities: CapabilitySet,
    is_require_checked: bool,
    nesting_max: usize,
    script_bytes_max: usize,
    regex_bytes_max: usize,
    variables_max: usize,
    loops_max: usize,
    host: Vec<Signature>,
    namespaces: Vec<CompactString>,
}

/// A program, and what its author should know.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// What runs.
    pub program: Program,
    /// Parts of the script that cannot mean what they say.
    pub warnings: Vec<Fault>,
}

impl Default for Compiler {
    fn default() -> Compiler {
        Compiler::new()
    }
}

impl Compiler {
    /// Every extension, each to be required, and the usual limits.
    pub fn new() -> Compiler {
        Compiler {
            capabilities: CapabilitySet::ALL,
            is_require_checked: true,
            nesting_max: parse::NESTING_MAX,
            script_bytes_max: 1024 * 1024,
            regex_bytes_max: 1024 * 1024,
            variables_max: 8192,
            loops_max: 10,
            host: Vec::new(),
            namespaces: Vec::new(),
        }
    }

    /// Only these extensions can be required.
    pub fn with_capabilities(self, capabilities: CapabilitySet) -> Compiler {
        Compiler { capabilities, ..self }
    }

    /// Extensions need no `require`: for an administrator's own scripts.
    pub fn without_require(self) -> Compiler {
        Compiler { is_require_checked: false, ..self }
    }

    /// Blocks and tests nest at most this deep: 32 by default.
    pub fn with_nesting_max(self, nesting_max: usize) -> Compiler {
        Compiler { nesting_max, ..self }
    }

    /// A script has at most this many octets: 1 MiB by default.
    pub fn with_script_bytes_max(self, script_bytes_max: usize) -> Compiler {
        Compiler { script_bytes_max, ..self }
    }

    /// A regular expression has at most this many octets when it is compiled: 1 MiB by default.
    pub fn with_regex_bytes_max(self, regex_bytes_max: usize) -> Compiler {
        Compiler { regex_bytes_max, ..self }
    }

    /// A command or test more, which the host answers when it is reached.
    pub fn with_host(mut self, signature: Signature) -> Compiler {
        self.host.push(signature);
        self
    }

    /// At most this many variables in a script: 8192 by default.
    pub fn with_variables_max(self, variables_max: usize) -> Compiler {
        Compiler { variables_max: variables_max.min(usize::from(u16::MAX)), ..self }
    }

    /// `foreverypart` loops nest at most this deep: 10 by default.
    pub fn with_loops_max(self, loops_max: usize) -> Compiler {
        Compiler { loops_max, ..self }
    }

    /// Variables of this namespace are items of the environment: `${name.item}` asks for `name.item`.
    pub fn with_namespace(mut self, name: &str) -> Compiler {
        self.namespaces.push(CompactString::from(name.to_ascii_lowercase()));
        self
    }

    /// Compiles a script: a program, or every fault in the order of the source, warnings among them.
    pub fn compile(&self, source: &str) -> Result<Compiled, Vec<Fault>> {
        let mut faults = Faults::new(source);
        if source.len() > self.script_bytes_max {
            faults.error(0, format!("the script has more than {} octets", self.script_bytes_max));
            return Err(faults.finish());
        }
        let script = parse(source, self.nesting_max, &mut faults);
        let mut builder = Builder::new(self, faults);
        builder.script(&script);
        builder.finish()
    }
}

/// What is known of a test before it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folded {
    Unknown,
    Known(bool),
    /// False because the script asked for an extension that is not there (RFC 5463 §4): what depends
    /// on it is not looked at.
    Absent,
}

/// Whether `elsif` or `else` may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chain {
    No,
    If,
    Else,
}

/// Compiles one script.
struct Builder<'c, 'f> {
    options: &'c Compiler,
    faults: Faults<'f>,
    required: Required,
    /// What `require` named, with its place: to tell what is not used.
    named: Vec<(Capability, usize)>,
    is_past_require: bool,
    ops: Vec<Op>,
    lines: Vec<u32>,
    line: u32,
    tests: Vec<Test>,
    commands: Vec<Command>,
    regexes: Vec<regex::bytes::Regex>,
    locals: Vec<CompactString>,
    globals: Vec<CompactString>,
    loops: Vec<mime::Loop>,
    uses_captures: bool,
    has_too_many_variables: bool,
}

impl<'c, 'f> Builder<'c, 'f> {
    fn new(options: &'c Compiler, faults: Faults<'f>) -> Builder<'c, 'f> {
        let active = if options.is_require_checked { CapabilitySet::NONE } else { options.capabilities };
        Builder {
            options,
            faults,
            required: Required { active, used: CapabilitySet::NONE },
            named: Vec::new(),
            is_past_require: false,
            ops: Vec::new(),
            lines: Vec::new(),
            line: 0,
            tests: Vec::new(),
            commands: Vec::new(),
            regexes: Vec::new(),
            locals: Vec::new(),
            globals: Vec::new(),
            loops: Vec::new(),
            uses_captures: false,
            has_too_many_variables: false,
        }
    }

    fn finish(mut self) -> Result<Compiled, Vec<Fault>> {
        for &(capability, at) in &self.named {
            if !self.required.used.contains(capability) {
                self.faults.warning(at, format!("\"{}\" is required and never used", capability.name()));
            }
        }
        if self.faults.errors() > 0 {
            return Err(self.faults.finish());
        }
        let program = Program {
            ops: self.ops.into(),
            lines: self.lines.into(),
            tests: self.tests.into(),
            commands: self.commands.into(),
            regexes: self.regexes.into(),
            locals: self.locals.len() as u16,
            globals: self.globals.into(),
            uses_captures: self.uses_captures,
        };
        Ok(Compiled { program, warnings: self.faults.finish() })
    }

    fn script(&mut self, commands: &[Call<'_>]) {
        self.block(commands, 0);
        self.emit(Op::Return);
    }

    fn emit(&mut self, op: Op) -> usize {
        self.ops.push(op);
        self.lines.push(self.line);
        self.ops.len() - 1
    }

    /// Lets a jump go to the next operation.
    fn land(&mut self, jump: usize) {
        let here = self.ops.len() as u32;
        if let Some(op) = self.ops.get_mut(jump) {
            *op = match *op {
                Op::JumpIf(_) => Op::JumpIf(here),
                Op::JumpUnless(_) => Op::JumpUnless(here),
                Op::NextPart(_) => Op::NextPart(here),
                _ => Op::Jump(here),
            };
        }
    }

    fn emit_test(&mut self, test: Test) {
        self.tests.push(test);
        self.emit(Op::Test(self.tests.len() as u32 - 1));
    }

    fn emit_command(&mut self, command: Command) {
        self.commands.push(command);
        self.emit(Op::Act(self.commands.len() as u32 - 1));
    }

    /// The signature of a command, or nothing and the fault is told.
    fn signature(&mut self, call: &Call<'_>, is_test: bool) -> Option<&'c Signature> {
        let role = if is_test { "test" } else { "command" };
        let Some(signature) = signatures::find(&self.options.host, call.name, is_test) else {
            if !call.is_damaged {
                self.faults.error(call.at, format!("unknown {role} '{}'", call.name));
            }
            return None;
        };
        if let Some(capability) = signature.needs.filter(|&capability| !self.required.uses(capability)) {
            let message = if self.options.capabilities.contains(capability) {
                format!("unknown {role} '{}': the script does not require \"{}\"", call.name, capability.name())
            } else {
                format!("unknown {role} '{}': \"{}\" is not offered here", call.name, capability.name())
            };
            self.faults.error(call.at, message);
            return None;
        }
        if signature.is_test != is_test {
            let other = signature.role();
            let role = if is_test { "test" } else { "command" };
            self.faults.error(call.at, format!("attempted to use {other} '{}' as a {role}", signature.name));
            return None;
        }
        Some(signature)
    }

    fn bind<'a, 's>(&mut self, call: &'a Call<'s>, signature: &'a Signature) -> Option<Bound<'a, 's>> {
        if call.is_damaged {
            return None;
        }
        bind(call, signature, &mut self.required, &mut self.faults)
    }

    /// The commands of a block or script.
    fn block(&mut self, calls: &[Call<'_>], depth: usize) {
        let mut chain = Chain::No;
        let mut ends = Vec::new();
        let mut is_over: Option<&str> = None;
        for (i, call) in calls.iter().enumerate() {
            let next_line = self.faults.place(call.at).0;
            self.line = next_line;
            let Some(signature) = self.signature(call, false) else {
                chain = Chain::No;
                if let Some(block) = &call.block {
                    self.block(block, depth + 1);
                }
                continue;
            };
            if let Some(ender) = is_over.take() {
                self.faults.warning(call.at, format!("nothing behind '{ender}' is ever reached"));
            }
            let verb = signature.verb;
            if verb != Verb::Require {
                self.is_past_require = true;
            }
            let continues = calls
                .get(i + 1)
                .is_some_and(|next| next.name.eq_ignore_ascii_case("elsif") || next.name.eq_ignore_ascii_case("else"));
            match verb {
                Verb::If | Verb::Elsif | Verb::Else => {
                    self.check_chain(verb, chain, call);
                    self.branch(call, signature, depth, continues.then_some(&mut ends));
                    chain = if verb == Verb::Else { Chain::Else } else { Chain::If };
                    if !continues {
                        ends.drain(..).for_each(|jump| self.land(jump));
                    }
                    continue;
                }
                Verb::Require => self.require(call, signature, depth),
                Verb::Stop | Verb::Return => {
                    if self.bind(call, signature).is_some() {
                        self.emit(if verb == Verb::Stop { Op::Stop } else { Op::Return });
                        is_over = Some(signature.name);
                    }
                }
                Verb::While => self.while_block(call, signature, depth),
                Verb::Foreverypart => self.every_part(call, signature, depth),
                Verb::Break => {
                    if let Some(bound) = self.bind(call, signature) {
                        self.break_parts(&bound);
                        is_over = Some(signature.name);
                    }
                }
                Verb::Host if signature.has_block => self.host_block(call, signature, depth),
                _ => {
                    if let Some(bound) = self.bind(call, signature) {
                        self.command(&bound);
                    } else if let Some(block) = &call.block {
                        self.block(block, depth + 1);
                    }
                }
            }
            chain = Chain::No;
        }
    }

    fn check_chain(&mut self, verb: Verb, chain: Chain, call: &Call<'_>) {
        if verb == Verb::If || chain == Chain::If || call.is_damaged {
            return;
        }
        let message = match chain {
            Chain::Else => format!("'{}' behind 'else'", call.name),
            _ => format!("'{}' without 'if' before it", call.name),
        };
        self.faults.error(call.at, message);
    }

    /// One arm of an `if`. With `ends` another follows: the arm jumps over it, and that jump is remembered.
    fn branch(&mut self, call: &Call<'_>, signature: &Signature, depth: usize, ends: Option<&mut Vec<usize>>) {
        let is_bound = self.bind(call, signature).is_some();
        let mut folded = Folded::Known(true);
        if is_bound && let Some(test) = call.tests.first() {
            folded = self.test(test);
            self.warn_if_known(folded, test);
        }
        if folded == Folded::Absent {
            return;
        }
        let is_else = signature.verb == Verb::Else;
        let skip = (!is_else).then(|| self.emit(Op::JumpUnless(0)));
        if let Some(block) = &call.block {
            self.block(block, depth + 1);
        }
        if let Some(ends) = ends {
            ends.push(self.emit(Op::Jump(0)));
        }
        if let Some(skip) = skip {
            self.land(skip);
        }
    }

    /// `if true` is meant; a longer test that is always true is not.
    fn warn_if_known(&mut self, folded: Folded, test: &Call<'_>) {
        let is_literal = ["true", "false", "ihave"].iter().any(|name| test.name.eq_ignore_ascii_case(name));
        if let (Folded::Known(is), false) = (folded, is_literal) {
            self.faults.warning(test.at, format!("this test is always {is}"));
        }
    }

    fn host_block(&mut self, call: &Call<'_>, signature: &Signature, depth: usize) {
        if let Some(bound) = self.bind(call, signature)
            && let Some(test) = self.host_call(&bound)
        {
            self.emit_test(Test::Host(Box::new(test)));
        }
        let skip = self.emit(Op::JumpUnless(0));
        if let Some(block) = &call.block {
            self.block(block, depth + 1);
        }
        self.land(skip);
    }

    /// `require` (RFC 5228 §3.2).
    fn require(&mut self, call: &Call<'_>, signature: &Signature, depth: usize) {
        let Some(bound) = self.bind(call, signature) else { return };
        if depth > 0 || self.is_past_require {
            let message = "the require command stands before every other command of the script";
            self.faults.error(call.at, message);
            return;
        }
        let Some(argument) = bound.positional(0) else { return };
        for (name, at) in strings(argument) {
            match Capability::from_name(name).filter(|&c| self.options.capabilities.contains(c)) {
                Some(capability) => {
                    self.enable(capability);
                    self.named.push((capability, at));
                }
                None => {
                    let name = shortened(&String::from_utf8_lossy(name));
                    self.faults.error(at, format!("unknown extension \"{name}\": it is not offered here"));
                }
            }
        }
    }

    fn enable(&mut self, capability: Capability) {
        let set = CapabilitySet::of(&[capability]).with(capability.implied());
        self.required.active = self.required.active.with(set);
        if matches!(
            capability,
            Capability::ComparatorOctet | Capability::ComparatorAsciiCasemap | Capability::EncodedCharacter
        ) {
            self.required.uses(capability);
        }
    }

    /// A test as code that leaves its result in the flag.
    fn test(&mut self, call: &Call<'_>) -> Folded {
        let Some(signature) = self.signature(call, true) else { return Folded::Unknown };
        let Some(bound) = self.bind(call, signature) else {
            if signature.tests != Tests::None {
                for test in &call.tests {
                    self.test(test);
                }
            }
            return Folded::Unknown;
        };
        match signature.verb {
            Verb::True | Verb::False => {
                let is = signature.verb == Verb::True;
                self.emit(Op::Known(is));
                Folded::Known(is)
            }
            Verb::Not => {
                let folded = call.tests.first().map_or(Folded::Unknown, |test| self.test(test));
                self.emit(Op::Not);
                match folded {
                    Folded::Unknown => Folded::Unknown,
                    Folded::Known(is) => Folded::Known(!is),
                    Folded::Absent => Folded::Known(true),
                }
            }
            Verb::Allof | Verb::Anyof => self.junction(call, signature.verb == Verb::Allof),
            Verb::Ihave => self.ihave(&bound),
            _ => self.leaf_test(&bound),
        }
    }

    /// `allof` and `anyof`: left to right, and no further than needed.
    fn junction(&mut self, call: &Call<'_>, is_all: bool) -> Folded {
        let mut jumps = Vec::new();
        let mut folded = Folded::Known(is_all);
        for (i, test) in call.tests.iter().enumerate() {
            let this = self.test(test);
            folded = match (folded, this, is_all) {
                (_, Folded::Absent, true) => Folded::Absent,
                (Folded::Absent, _, _) => Folded::Absent,
                (Folded::Known(is), _, _) if is != is_all => folded,
                (_, Folded::Known(is), _) if is != is_all => this,
                (Folded::Known(_), Folded::Known(_), _) => folded,
                (_, Folded::Absent, false) if call.tests.len() == 1 => Folded::Absent,
                (_, Folded::Absent, false) => folded,
                _ => Folded::Unknown,
            };
            if folded == Folded::Absent {
                break; // the other tests may use what is not there
            }
            if i + 1 < call.tests.len() {
                jumps.push(self.emit(if is_all { Op::JumpUnless(0) } else { Op::JumpIf(0) }));
            }
        }
        jumps.into_iter().for_each(|jump| self.land(jump));
        folded
    }

    /// `ihave` (RFC 5463 §4): what is there is enabled for the rest of the script.
    fn ihave(&mut self, bound: &Bound<'_, '_>) -> Folded {
        let Some(argument) = bound.positional(0) else { return Folded::Unknown };
        let mut known = Vec::new();
        for (name, at) in strings(argument) {
            if !self.is_constant(name) {
                self.faults.error(at, "the ihave test takes constant strings only");
                return Folded::Unknown;
            }
            // What changes how strings are read cannot be asked for halfway (RFC 5463 §4).
            let may = |c: &Capability| !matches!(c, Capability::Variables | Capability::EncodedCharacter);
            match Capability::from_name(name).filter(|&c| self.options.capabilities.contains(c)) {
                Some(capability) if may(&capability) || self.required.active.contains(capability) => {
                    known.push(capability);
                }
                _ => {
                    self.emit(Op::Known(false));
                    return Folded::Absent;
                }
            }
        }
        known.into_iter().for_each(|capability| self.enable(capability));
        self.emit(Op::Known(true));
        Folded::Known(true)
    }

    /// The slot of a local or global variable.
    fn slot(&mut self, name: &str) -> Option<Slot> {
        let name = CompactString::from(name.to_ascii_lowercase());
        if let Some(at) = self.globals.iter().position(|global| *global == name) {
            return Some(Slot::Global(at as u16));
        }
        if let Some(at) = self.locals.iter().position(|local| *local == name) {
            return Some(Slot::Local(at as u16));
        }
        if self.locals.len() >= self.options.variables_max {
            return None;
        }
        self.locals.push(name);
        Some(Slot::Local(self.locals.len() as u16 - 1))
    }

    fn global_slot(&mut self, name: &str) -> Option<Slot> {
        let name = CompactString::from(name.to_ascii_lowercase());
        if let Some(at) = self.globals.iter().position(|global| *global == name) {
            return Some(Slot::Global(at as u16));
        }
        if self.globals.len() >= self.options.variables_max {
            return None;
        }
        self.globals.push(name);
        Some(Slot::Global(self.globals.len() as u16 - 1))
    }

    /// A fault in an argument, with the call's name in front.
    fn argument_fault(&mut self, bound: &Bound<'_, '_>, at: usize, message: &str) {
        self.faults.error(at, format!("the {}: {message}", title(bound.signature)));
    }
}

/// The strings of an argument and their places; none for a number.
fn strings<'a>(argument: &'a Argument<'_>) -> Vec<(&'a [u8], usize)> {
    match &argument.kind {
        ArgumentKind::Text(text) => vec![(text, argument.at)],
        ArgumentKind::List(list) => list.iter().map(|item| (item.text.as_slice(), item.at)).collect(),
        ArgumentKind::Number(_) | ArgumentKind::Tag(_) => Vec::new(),
    }
}

/// The number of an argument; zero for what is none.
fn number(argument: &Argument<'_>) -> u64 {
    match argument.kind {
        ArgumentKind::Number(n) => n,
        _ => 0,
    }
}
