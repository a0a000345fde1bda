//! Trees to typed trees: names are resolved, types checked, constants folded. Faults are collected,
//! and a part at fault counts as a value of any type, so that one fault is told once.

use std::net::IpAddr;

use compact_str::CompactString;
use ipnet::IpNet;
use regex::{Regex, RegexBuilder};

use super::ast::{Binary, CaptureName, Node, Span, Tree, Unary};
use super::environment::{Environment, Names};
use super::fault::{Finding, did_you_mean};
use super::functions::{self, Argument, Arguments, FORMS, Function, Nature};
use super::value::{self, Str, Type, Value};
use super::variable::{Stage, Variable};
use crate::base::limits::REGEX_BYTES_MAX;
use crate::mail::address::domain_key;

/// A checked part.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub part: Part,
    pub kind: Type,
    pub span: Span,
}

/// What a checked part is.
#[derive(Debug, Clone)]
pub(super) enum Part {
    Constant(Value<'static>),
    Variable(Variable),
    Local(u16),
    Capture(CaptureName),
    List(Vec<Typed>),
    Unary(Unary, Box<Typed>),
    Binary(Binary, Box<Typed>, Box<Typed>),
    Index(Box<Typed>, Box<Typed>),
    Call(Function, Vec<Typed>),
    /// Index of the regular expression.
    Matches(usize, Box<Typed>),
    /// Index of the networks.
    InNetwork(usize, Box<Typed>),
    IfThen(Box<[Typed; 3]>),
}

impl Typed {
    pub fn constant(&self) -> Option<&Value<'static>> {
        match &self.part {
            Part::Constant(value) => Some(value),
            _ => None,
        }
    }

    fn constant_text(&self) -> Option<&str> {
        match &self.part {
            Part::Constant(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// What a fault says it found.
    pub fn describe(&self) -> String {
        match &self.part {
            Part::Constant(Value::Text(text)) => format!("the text '{}'", shorten(text)),
            Part::Constant(Value::Integer(n)) if self.kind == Type::Bool => format!("{}", *n != 0),
            Part::Constant(Value::Integer(n)) => format!("{n}"),
            Part::Constant(Value::Float(n)) => format!("{n}"),
            Part::Variable(variable) => format!("`{}`, which is {}", variable.name(), self.kind.describe()),
            Part::Call(function, _) => format!("`{}(…)`, which is {}", function.name(), self.kind.describe()),
            _ => self.kind.describe().to_owned(),
        }
    }

    /// Seconds as milliseconds: what durations are compared with, added to and read from.
    pub fn milliseconds(self) -> Typed {
        if self.kind != Type::Seconds {
            return self;
        }
        let span = self.span;
        let thousand = Typed { part: Part::Constant(Value::Integer(1000)), kind: Type::Integer, span };
        Typed { part: Part::Binary(Binary::Multiply, self.into(), thousand.into()), kind: Type::Duration, span }
    }
}

pub(super) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.escape_debug().to_string()
}

/// The checker of one setting: all its branches share captures and pools.
pub(super) struct Checker<'e> {
    environment: &'e Environment<'e>,
    keywords: &'static [&'static str],
    pub findings: Vec<Finding>,
    pub regexes: Vec<Regex>,
    pub networks: Vec<Box<[IpNet]>>,
    pub uses_captures: bool,
}

impl<'e> Checker<'e> {
    pub fn new(environment: &'e Environment<'e>, keywords: &'static [&'static str]) -> Checker<'e> {
        Checker {
            environment,
            keywords,
            findings: Vec::new(),
            regexes: Vec::new(),
            networks: Vec::new(),
            uses_captures: false,
        }
    }

    fn fault(&mut self, finding: Finding) -> Typed {
        let span = finding.span;
        self.findings.push(finding);
        Typed { part: Part::Constant(Value::EMPTY), kind: Type::Any, span }
    }

    pub fn check(&mut self, tree: &Tree) -> Typed {
        let span = tree.span;
        let constant = |value: Value<'static>, kind| Typed { part: Part::Constant(value), kind, span };
        match &tree.node {
            Node::Integer(n) => constant(Value::Integer(*n), Type::Integer),
            Node::Float(n) => constant(Value::Float(*n), Type::Float),
            Node::Duration(ms) => constant(Value::Integer(*ms), Type::Duration),
            Node::Text(text) => constant(Value::owned(text.clone()), Type::Text),
            Node::Bool(is) => constant(Value::bool(*is), Type::Bool),
            Node::Name(name) => self.name(name, span),
            Node::Capture(name) => self.capture(name, span),
            Node::Call(name, name_span, arguments) => self.call(name, *name_span, arguments, span),
            Node::List(items) => self.list(items, span),
            Node::Unary(op, part) => self.unary(*op, part, span),
            Node::Binary(op, left, right) => self.binary(*op, left, right, span),
            Node::Index(list, at) => self.index(list, at, span),
        }
    }

    fn name(&mut self, name: &str, span: Span) -> Typed {
        if let Some(number) = (self.environment.locals)(name) {
            return Typed { part: Part::Local(number), kind: Type::Any, span };
        }
        let allowed = self.environment.variables;
        match Variable::from_name(name) {
            Some(variable) if allowed.contains(variable) => {
                return Typed { part: Part::Variable(variable), kind: variable.kind(), span };
            }
            Some(variable) => {
                let here: Vec<_> = allowed.iter().map(Variable::name).collect();
                let expected = format!("a variable that exists here: {}", here.join(", "));
                let hint = format!("`{name}` exists at: {}", Stage::names_with(variable));
                return self.fault(Finding::new(span, format!("`{name}`"), &expected).hint(Some(hint)));
            }
            None => {}
        }
        if self.keywords.contains(&name) {
            return Typed { part: Part::Constant(Value::owned(name)), kind: Type::Text, span };
        }
        let known = allowed.iter().map(Variable::name).chain(self.keywords.iter().copied());
        let hint = did_you_mean(name, known).unwrap_or_else(|| format!("a text is quoted: '{name}'"));
        let expected = match self.keywords {
            [] => "a variable".to_owned(),
            keywords => format!("a variable or one of {}", keywords.join(", ")),
        };
        self.fault(Finding::new(span, format!("`{name}`"), &expected).hint(Some(hint)))
    }

    fn capture(&mut self, name: &CaptureName, span: Span) -> Typed {
        self.uses_captures = true;
        let (known, spelling) = match name {
            CaptureName::Number(n) => (self.regexes.iter().any(|r| usize::from(*n) < r.captures_len()), n.to_string()),
            CaptureName::Name(name) => {
                (self.regexes.iter().any(|r| r.capture_names().any(|n| n == Some(name))), name.to_string())
            }
        };
        if !known {
            let expected = match self.regexes.iter().map(Regex::captures_len).max() {
                None => "a `matches(…)` before it".to_owned(),
                Some(groups) => format!("a group of a `matches(…)` before it, such as `$0` to `${}`", groups - 1),
            };
            return self.fault(Finding::new(span, format!("`${spelling}`"), &expected));
        }
        Typed { part: Part::Capture(name.clone()), kind: Type::Any, span }
    }

    fn list(&mut self, trees: &[Tree], span: Span) -> Typed {
        let items: Vec<_> = trees.iter().map(|tree| self.check(tree)).collect();
        for item in items.iter().filter(|item| item.kind == Type::List) {
            self.findings.push(Finding::new(item.span, "a list".to_owned(), "a value: lists hold no lists"));
        }
        let constants: Option<Vec<_>> = items.iter().map(|item| item.constant().cloned()).collect();
        let part = match constants {
            Some(values) => Part::Constant(Value::list(values)),
            None => Part::List(items),
        };
        Typed { part, kind: Type::List, span }
    }

    fn index(&mut self, list: &Tree, at: &Tree, span: Span) -> Typed {
        let (list, at) = (self.check(list), self.check(at));
        if !matches!(list.kind, Type::List | Type::Any) {
            return self.fault(Finding::new(list.span, list.describe(), "a list before `[`"));
        }
        if matches!(at.kind, Type::List | Type::Float | Type::Ip) {
            return self.fault(Finding::new(at.span, at.describe(), "a position from 0, or the name of a field"));
        }
        if let (Some(list), Some(at)) = (list.constant(), at.constant()) {
            let value = value::index(list.clone(), at);
            return Typed { kind: type_of(&value), part: Part::Constant(value), span };
        }
        Typed { part: Part::Index(list.into(), at.into()), kind: Type::Any, span }
    }

    fn unary(&mut self, op: Unary, part: &Tree, span: Span) -> Typed {
        let part = self.check(part);
        let kind = match op {
            Unary::Not => Type::Bool,
            Unary::Negate => {
                self.require_number(&part);
                if part.kind == Type::Bool { Type::Integer } else { part.kind }
            }
        };
        let folded = part.constant().map(|value| match op {
            Unary::Not => Value::bool(!value.is_truthy()),
            Unary::Negate => value::negate(value),
        });
        match folded {
            Some(value) => Typed { part: Part::Constant(value), kind, span },
            None => Typed { part: Part::Unary(op, part.into()), kind, span },
        }
    }

    /// A number, or what may turn out to be one.
    fn require_number(&mut self, part: &Typed) {
        let spells_number = part.constant().is_some_and(|value| value.number().is_some());
        if !(part.kind.is_number() || part.kind == Type::Any || spells_number) {
            self.findings.push(Finding::new(part.span, part.describe(), "a number"));
        }
    }

    fn binary(&mut self, op: Binary, left: &Tree, right: &Tree, span: Span) -> Typed {
        let (mut left, mut right) = (self.check(left), self.check(right));
        if (op.is_comparison() || matches!(op, Binary::Add | Binary::Subtract))
            && (left.kind == Type::Duration || right.kind == Type::Duration)
        {
            (left, right) = (left.milliseconds(), right.milliseconds());
        }
        let kind = match op {
            Binary::And | Binary::Or | Binary::Xor => Type::Bool,
            Binary::Add => sum_type(left.kind, right.kind),
            _ if op.is_comparison() => {
                if matches!(op, Binary::Equal | Binary::NotEqual) {
                    normalise_domain(&left, &mut right);
                    normalise_domain(&right, &mut left);
                }
                self.require_comparable(op, &left, &right);
                Type::Bool
            }
            _ => {
                self.require_number(&left);
                self.require_number(&right);
                product_type(op, left.kind, right.kind)
            }
        };
        let part = fold_binary(op, &left, &right)
            .map(Part::Constant)
            .unwrap_or_else(|| Part::Binary(op, left.into(), right.into()));
        Typed { part, kind, span }
    }

    fn require_comparable(&mut self, op: Binary, left: &Typed, right: &Typed) {
        if left.kind == Type::Any || right.kind == Type::Any {
            return;
        }
        let is_equality = matches!(op, Binary::Equal | Binary::NotEqual);
        for (this, other) in [(left, right), (right, left)] {
            if this.kind == Type::List && !(other.kind == Type::List && is_equality) {
                let hint = Some("`contains(list, value)` looks for an element, `count(list)` counts".to_owned());
                self.findings.push(Finding::new(this.span, this.describe(), "a single value").hint(hint));
                return;
            }
            if let Some(finding) = mismatch(this, other) {
                self.findings.push(finding);
                return;
            }
        }
    }

    fn call(&mut self, name: &str, name_span: Span, trees: &[Tree], span: Span) -> Typed {
        if let Some(&(_, count)) = FORMS.iter().find(|(form, _)| *form == name) {
            return match self.require_count(name, count, trees, span) {
                Some(fault) => fault,
                None => self.form(name, name_span, trees, span),
            };
        }
        let Some(function) = Function::from_name(name) else {
            let hint = did_you_mean(name, functions::names());
            return self.fault(Finding::new(name_span, format!("`{name}(…)`"), "a function").hint(hint));
        };
        let wanted = function.arguments();
        if let Some(fault) = self.require_count(name, wanted.len(), trees, span) {
            return fault;
        }
        let arguments: Vec<_> = trees.iter().map(|tree| self.check(tree)).collect();
        for (argument, &wanted) in arguments.iter().zip(wanted) {
            if let Some(finding) = unfit_argument(argument, wanted, self.environment) {
                self.findings.push(finding);
            }
        }
        if function.nature() == Nature::Question && !self.environment.may_wait {
            let found = format!("`{name}(…)`, which waits for an answer");
            self.findings.push(Finding::new(name_span, found, "a function whose result is known at once"));
        }
        let part = fold_call(function, &arguments).map(Part::Constant).unwrap_or(Part::Call(function, arguments));
        Typed { part, kind: function.result(), span }
    }

    fn require_count(&mut self, name: &str, wanted: usize, trees: &[Tree], span: Span) -> Option<Typed> {
        if trees.len() == wanted {
            return None;
        }
        let arguments = |n: usize| format!("{n} argument{}", if n == 1 { "" } else { "s" });
        let found = format!("`{name}` with {}", arguments(trees.len()));
        Some(self.fault(Finding::new(span, found, &arguments(wanted))))
    }

    fn form(&mut self, name: &str, name_span: Span, trees: &[Tree], span: Span) -> Typed {
        let arguments: Vec<_> = match (name, trees) {
            // The expression comes first, so that its groups do not count in its own argument.
            ("matches", [pattern, subject]) => vec![self.check(subject), self.check(pattern)],
            _ => trees.iter().map(|tree| self.check(tree)).collect(),
        };
        match (name, <[Typed; 2]>::try_from(arguments)) {
            ("matches", Ok([subject, pattern])) => self.matches(&pattern, subject, span),
            ("is_in_network", Ok([ip, networks])) => self.is_in_network(ip, &networks, span),
            ("if_then", Err(arguments)) => if_then(arguments, span),
            ("config_get", Err(arguments)) => self.config_get(arguments.first(), span),
            _ => self.fault(
                Finding::new(name_span, format!("`{name}(…)`"), "an SQL store: no SQL store is configured")
                    .hint(Some("`key_get` and `key_exists` ask lists in memory".to_owned())),
            ),
        }
    }

    fn matches(&mut self, pattern: &Typed, subject: Typed, span: Span) -> Typed {
        let Some(text) = pattern.constant_text() else {
            return self.fault(Finding::new(pattern.span, pattern.describe(), "a regular expression in quotes"));
        };
        if subject.kind == Type::List {
            return self.fault(Finding::new(subject.span, subject.describe(), "a text"));
        }
        match RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build() {
            Ok(regex) => {
                self.regexes.push(regex);
                let part = Part::Matches(self.regexes.len() - 1, subject.into());
                Typed { part, kind: Type::Bool, span }
            }
            Err(error) => {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or("").trim_start_matches("error: ");
                let found = format!("a regular expression with a fault: {reason}");
                self.fault(Finding::new(pattern.span, found, "a regular expression"))
            }
        }
    }

    fn is_in_network(&mut self, ip: Typed, networks: &Typed, span: Span) -> Typed {
        if matches!(ip.kind, Type::List) || ip.kind.is_number() {
            return self.fault(Finding::new(ip.span, ip.describe(), "an IP address"));
        }
        let parse = |value: &Value<'_>| {
            value.with_text(|text| text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)))
        };
        let parsed: Option<Vec<IpNet>> = match networks.constant() {
            Some(Value::List(items)) => items.iter().map(parse).collect(),
            Some(value) => parse(value).map(|network| vec![network]),
            None => None,
        };
        match parsed {
            Some(networks) => {
                self.networks.push(networks.into());
                let part = Part::InNetwork(self.networks.len() - 1, ip.into());
                Typed { part, kind: Type::Bool, span }
            }
            None => {
                let expected = "a network such as '192.0.2.0/24', or a list of networks";
                self.fault(Finding::new(networks.span, networks.describe(), expected))
            }
        }
    }

    fn config_get(&mut self, key: Option<&Typed>, span: Span) -> Typed {
        let Some(name) = key.and_then(Typed::constant_text) else {
            return self.fault(Finding::new(span, "a key that is not a literal".to_owned(), "a key in quotes"));
        };
        match (self.environment.config)(name) {
            Some(value) => Typed { kind: type_of(&value), part: Part::Constant(value), span },
            None => {
                let found = format!("the key `{}`, which is not set", shorten(name));
                self.fault(Finding::new(span, found, "a key of this configuration"))
            }
        }
    }
}

fn type_of(value: &Value<'_>) -> Type {
    match value {
        Value::Integer(_) => Type::Integer,
        Value::Float(_) => Type::Float,
        Value::Text(_) => Type::Text,
        Value::Ip(_) => Type::Ip,
        Value::List(_) => Type::List,
    }
}

fn sum_type(left: Type, right: Type) -> Type {
    use Type::*;
    match (left, right) {
        (List, _) | (_, List) => List,
        (Any, _) | (_, Any) => Any,
        (a, b) if a.is_number() && b.is_number() => product_type(Binary::Add, a, b),
        _ => Text,
    }
}

fn product_type(op: Binary, left: Type, right: Type) -> Type {
    use Type::*;
    match (left, right) {
        (Any, _) | (_, Any) => Any,
        (Duration, Duration) if op == Binary::Divide => Float,
        (Duration, _) | (_, Duration) => Duration,
        _ if op == Binary::Divide => Float,
        (Float, _) | (_, Float) => Float,
        (Seconds, _) | (_, Seconds) => Seconds,
        _ => Integer,
    }
}

/// A constant text that can never equal what it is compared with.
fn mismatch(text: &Typed, other: &Typed) -> Option<Finding> {
    let constant = text.constant_text()?;
    let value = Value::text(constant);
    if other.kind.is_number() && value.number().is_none() {
        let expected = format!("a number to compare with {}", other.describe());
        return Some(Finding::new(text.span, text.describe(), &expected));
    }
    if other.kind == Type::Ip && value.ip().is_none() && !constant.is_empty() {
        let hint = constant.parse::<IpNet>().is_ok().then(|| format!("`is_in_network(…, '{constant}')`"));
        let expected = format!("an IP address to compare with {}", other.describe());
        return Some(Finding::new(text.span, text.describe(), &expected).hint(hint));
    }
    None
}

/// A constant that is compared with a domain takes the form that domains have.
fn normalise_domain(domain: &Typed, other: &mut Typed) {
    if let (Part::Variable(Variable::SenderDomain | Variable::RcptDomain), Part::Constant(Value::Text(text))) =
        (&domain.part, &mut other.part)
    {
        *text = Str::Owned(domain_key(text).into());
    }
}

fn fold_binary(op: Binary, left: &Typed, right: &Typed) -> Option<Value<'static>> {
    let left = left.constant()?;
    match (op, left.is_truthy(), right.constant()) {
        (Binary::And, false, _) => Some(Value::bool(false)),
        (Binary::Or, true, _) => Some(Value::bool(true)),
        (_, _, Some(right)) => value::binary(op, left.clone(), right.clone()).ok(),
        _ => None,
    }
}

fn fold_call(function: Function, arguments: &[Typed]) -> Option<Value<'static>> {
    if function.nature() != Nature::Pure {
        return None;
    }
    let values: Option<Vec<_>> = arguments.iter().map(|argument| argument.constant().cloned()).collect();
    functions::call(function, Arguments(&values?)).ok()
}

fn if_then(arguments: Vec<Typed>, span: Span) -> Typed {
    match <[Typed; 3]>::try_from(arguments) {
        Ok([condition, yes, no]) => match condition.constant().map(Value::is_truthy) {
            Some(true) => Typed { span, ..yes },
            Some(false) => Typed { span, ..no },
            None => {
                let kind = if yes.kind == no.kind { yes.kind } else { Type::Any };
                Typed { part: Part::IfThen(Box::new([condition, yes, no])), kind, span }
            }
        },
        Err(_) => Typed { part: Part::Constant(Value::EMPTY), kind: Type::Any, span }, // counted before
    }
}

/// What is wrong with an argument, if anything is.
fn unfit_argument(argument: &Typed, wanted: Argument, environment: &Environment<'_>) -> Option<Finding> {
    let fault = |expected: &str| Some(Finding::new(argument.span, argument.describe(), expected));
    let kind = argument.kind;
    match wanted {
        Argument::Any => None,
        Argument::Text => (kind == Type::List).then(|| fault("a text")).flatten(),
        Argument::List => (!matches!(kind, Type::List | Type::Any)).then(|| fault("a list")).flatten(),
        Argument::TextOrList => None,
        Argument::Number => {
            let spells_number = argument.constant().is_some_and(|value| value.number().is_some());
            let fits = kind.is_number() || kind == Type::Any || spells_number;
            (!fits).then(|| fault("a number")).flatten()
        }
        Argument::Keyword(words) => match argument.constant_text() {
            Some(word) if words.contains(&word) => None,
            Some(word) => {
                let hint = did_you_mean(word, words.iter().copied());
                Some(Finding::new(argument.span, argument.describe(), &one_of(words)).hint(hint))
            }
            None => fault(&one_of(words)),
        },
        Argument::Directory => unknown_name(argument, "directory", &environment.directories, &["", "*"]),
        Argument::Store => unknown_name(argument, "store", &environment.stores, &["", "*"]),
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    format!("one of {}", quoted.join(", "))
}

fn unknown_name(argument: &Typed, noun: &str, known: &Names<'_>, always: &[&str]) -> Option<Finding> {
    let fault = |expected: &str| Finding::new(argument.span, argument.describe(), expected);
    if !matches!(argument.kind, Type::Text | Type::Any) {
        return Some(fault(&format!("the name of a {noun}")));
    }
    let (name, Names::Known(names)) = (argument.constant_text()?, known) else { return None };
    if always.contains(&name) || names.contains(&name) {
        return None;
    }
    let expected = match names {
        [] => format!("a {noun} of this configuration, which has none"),
        names => format!("a {noun} of this configuration: {}", names.join(", ")),
    };
    Some(fault(&expected).hint(did_you_mean(name, names.iter().copied())))
}

/// The name that a tree is, if it is nothing but a name: a text someone forgot to quote.
pub(super) fn bare_name(tree: &Tree) -> Option<&CompactString> {
    match &tree.node {
        Node::Name(name) => Some(name),
        _ => None,
    }
}
