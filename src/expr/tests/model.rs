//! Properties: printing and parsing are inverse, nothing panics, and the compiled program agrees with
//! a model that walks the tree and knows nothing of borrowing, folding or jumps.

use std::cmp::Ordering;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::super::ast::{Binary, Node, Span, Tree, Unary};
use super::super::parser::parse;
use super::super::*;
use super::{Anything, everywhere, facts};

/// A value of the model.
#[derive(Debug, Clone, PartialEq)]
enum Model {
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Model>),
}

use Model::{Float, Integer, List, Text};

impl Model {
    fn of(value: &Value<'_>) -> Model {
        match value {
            Value::Integer(n) => Integer(*n),
            Value::Float(n) => Float(*n),
            Value::Text(text) => Text(text.to_string()),
            Value::Ip(ip) => Text(ip.to_string()),
            Value::List(items) => List(items.iter().map(Model::of).collect()),
        }
    }

    fn truth(&self) -> bool {
        *self != Integer(0) && *self != Float(0.0) && *self != Text(String::new()) && *self != List(vec![])
    }

    fn text(&self) -> String {
        match self {
            Integer(n) => n.to_string(),
            Float(n) => n.to_string(),
            Text(text) => text.clone(),
            List(items) => items.iter().map(Model::text).collect::<Vec<_>>().join(", "),
        }
    }

    fn number(&self) -> Option<Model> {
        match self {
            Text(text) if text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => {
                let starts_well = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
                let float = || text.parse().ok().filter(|n: &f64| n.is_finite() && starts_well).map(Float);
                text.parse().map(Integer).ok().or_else(float)
            }
            Text(_) | List(_) => None,
            number => Some(number.clone()),
        }
    }

    fn float(&self) -> f64 {
        match self.number() {
            Some(Integer(n)) => n as f64,
            Some(Float(n)) => n,
            _ => 0.0,
        }
    }

    fn order(&self, other: &Model) -> Ordering {
        match (self, other) {
            (Text(a), Text(b)) => a.cmp(b),
            (List(a), List(b)) => {
                let unequal = a.iter().zip(b).map(|(a, b)| a.order(b)).find(|order| order.is_ne());
                unequal.unwrap_or(a.len().cmp(&b.len()))
            }
            (List(_), _) => Ordering::Greater,
            (_, List(_)) => Ordering::Less,
            (a, b) => match (a.number(), b.number()) {
                (Some(Integer(a)), Some(Integer(b))) => a.cmp(&b),
                (Some(a), Some(b)) => a.float().partial_cmp(&b.float()).expect("finite"),
                _ => a.text().cmp(&b.text()),
            },
        }
    }
}

fn finite(n: f64) -> Model {
    Float(if n.is_nan() { 0.0 } else { n.clamp(f64::MIN, f64::MAX) })
}

fn truth(is: bool) -> Model {
    Integer(is.into())
}

fn walk(tree: &Tree) -> Model {
    match &tree.node {
        Node::Integer(n) | Node::Duration(n) => Integer(*n),
        Node::Float(n) => Float(*n),
        Node::Text(text) => Text(text.to_string()),
        Node::Bool(is) => truth(*is),
        Node::Name(name) => Model::of(&facts().variable(Variable::from_name(name).expect("a variable"))),
        Node::List(items) => List(items.iter().map(walk).collect()),
        Node::Unary(Unary::Not, part) => truth(!walk(part).truth()),
        Node::Unary(Unary::Negate, part) => match walk(part).number() {
            Some(Integer(n)) => Integer(n.checked_neg().unwrap_or(i64::MAX)),
            Some(Float(n)) => Float(-n),
            _ => Integer(0),
        },
        Node::Binary(op, left, right) => walk_binary(*op, &walk(left), &walk(right)),
        Node::Call(name, _, arguments) => walk_call(name, &arguments.iter().map(walk).collect::<Vec<_>>()),
        node => panic!("never generated: {node:?}"),
    }
}

fn walk_binary(op: Binary, left: &Model, right: &Model) -> Model {
    let numbers = (left.number(), right.number());
    let exact = |integers: fn(i128, i128) -> i128, floats: fn(f64, f64) -> f64| match &numbers {
        (Some(Integer(a)), Some(Integer(b))) => {
            Integer(integers(i128::from(*a), i128::from(*b)).clamp(i64::MIN.into(), i64::MAX.into()) as i64)
        }
        _ => finite(floats(left.float(), right.float())),
    };
    match op {
        Binary::Multiply => exact(|a, b| a * b, |a, b| a * b),
        Binary::Subtract => exact(|a, b| a - b, |a, b| a - b),
        Binary::Divide if right.float() == 0.0 => Float(0.0),
        Binary::Divide => finite(left.float() / right.float()),
        Binary::Add => match (left, right) {
            (List(a), List(b)) => List([a.clone(), b.clone()].concat()),
            (List(a), b) => List([a.clone(), vec![b.clone()]].concat()),
            (a, List(b)) => List([vec![a.clone()], b.clone()].concat()),
            (Text(_), _) | (_, Text(_)) => Text(left.text() + &right.text()),
            _ => exact(|a, b| a + b, |a, b| a + b),
        },
        Binary::Less => truth(left.order(right).is_lt()),
        Binary::LessEqual => truth(left.order(right).is_le()),
        Binary::Greater => truth(left.order(right).is_gt()),
        Binary::GreaterEqual => truth(left.order(right).is_ge()),
        Binary::Equal => truth(left.order(right).is_eq()),
        Binary::NotEqual => truth(left.order(right).is_ne()),
        Binary::Xor => truth(left.truth() != right.truth()),
        Binary::And => truth(left.truth() && right.truth()),
        Binary::Or => truth(left.truth() || right.truth()),
    }
}

fn walk_call(name: &str, arguments: &[Model]) -> Model {
    let text = |i: usize| arguments[i].text();
    let texts = |parts: Vec<&str>| List(parts.into_iter().map(|part| Text(part.to_owned())).collect());
    match name {
        "len" => Integer(match &arguments[0] {
            List(items) => items.len() as i64,
            other => other.text().len() as i64,
        }),
        "count" => match &arguments[0] {
            List(items) => Integer(items.len() as i64),
            other => panic!("the checker lets {other:?} through"),
        },
        "if_then" => arguments[if arguments[0].truth() { 1 } else { 2 }].clone(),
        "trim" => Text(text(0).trim().to_owned()),
        "to_lowercase" => Text(text(0).to_lowercase()),
        "strip_prefix" => Text(text(0).strip_prefix(&text(1)).map_or(text(0), str::to_owned)),
        "substring" => {
            let (start, end) = (arguments[1].float().max(0.0) as usize, arguments[2].float().max(0.0) as usize);
            Text(text(0).chars().enumerate().filter(|(i, _)| (start..end).contains(i)).map(|(_, c)| c).collect())
        }
        "contains" => match &arguments[0] {
            List(items) => truth(items.iter().any(|item| item.order(&arguments[1]).is_eq())),
            other => truth(other.text().contains(&text(1))),
        },
        "starts_with" => truth(text(0).starts_with(&text(1))),
        "eq_ignore_case" => truth(text(0).to_lowercase() == text(1).to_lowercase()),
        "is_empty" => truth(matches!(&arguments[0], Text(t) if t.is_empty()) || arguments[0] == List(vec![])),
        "split" => {
            let (whole, delimiter) = (text(0), text(1));
            if delimiter.is_empty() { texts(vec![&whole]) } else { texts(whole.split(&delimiter).collect()) }
        }
        "winnow" => match &arguments[0] {
            List(items) => List(items.iter().filter(|item| **item != Text(String::new())).cloned().collect()),
            other => panic!("the checker lets {other:?} through"),
        },
        name => panic!("never generated: {name}"),
    }
}

/// Makes a well-typed tree of random octets: each decides one thing, and when they end so does the tree.
struct Grower<'b> {
    octets: std::slice::Iter<'b, u8>,
    depth: usize,
}

#[derive(Clone, Copy)]
enum Sort {
    Number,
    Text,
    Truth,
    List,
}

impl Grower<'_> {
    fn next(&mut self, below: u8) -> u8 {
        self.octets.next().copied().unwrap_or(0) % below
    }

    fn tree(&mut self, node: Node) -> Tree {
        Tree::new(node, Span::default())
    }

    fn grow(&mut self, sort: Sort) -> Tree {
        if self.depth > 12 || self.octets.len() == 0 {
            return self.leaf(sort);
        }
        self.depth += 1;
        let tree = match (sort, self.next(8)) {
            (_, 0) => self.leaf(sort),
            (_, 1) => self.call("if_then", &[Sort::Truth, sort, sort]),
            (Sort::Number, 2) => self.call("len", &[Sort::Text]),
            (Sort::Number, 3) => self.call("count", &[Sort::List]),
            (Sort::Number, 4) => self.unary(Unary::Negate, Sort::Number),
            (Sort::Number, n) => {
                use Binary::*;
                let op = [Multiply, Divide, Add, Subtract][usize::from(n) % 4];
                self.binary(op, Sort::Number, Sort::Number)
            }
            (Sort::Text, 2) => self.call("trim", &[Sort::Text]),
            (Sort::Text, 3) => self.call("to_lowercase", &[Sort::Text]),
            (Sort::Text, 4) => self.call("substring", &[Sort::Text, Sort::Number, Sort::Number]),
            (Sort::Text, 5) => self.call("strip_prefix", &[Sort::Text, Sort::Text]),
            (Sort::Text, 6) => self.binary(Binary::Add, Sort::Number, Sort::Text),
            (Sort::Text, _) => self.binary(Binary::Add, Sort::Text, Sort::Text),
            (Sort::Truth, 2) => self.call("contains", &[Sort::Text, Sort::Text]),
            (Sort::Truth, 3) => self.call("starts_with", &[Sort::Text, Sort::Text]),
            (Sort::Truth, 4) => self.unary(Unary::Not, Sort::Number),
            (Sort::Truth, 5) => {
                let op = [Binary::And, Binary::Or, Binary::Xor][usize::from(self.next(3))];
                self.binary(op, Sort::Truth, Sort::Text)
            }
            (Sort::Truth, n) => {
                use Binary::*;
                let op = [Less, LessEqual, Greater, GreaterEqual, Equal, NotEqual][usize::from(self.next(6))];
                let sort = if n == 6 { Sort::Number } else { Sort::Text };
                self.binary(op, sort, sort)
            }
            (Sort::List, 2) => self.call("split", &[Sort::Text, Sort::Text]),
            (Sort::List, 3) => self.call("winnow", &[Sort::List]),
            (Sort::List, 4) => self.binary(Binary::Add, Sort::List, Sort::Text),
            (Sort::List, _) => {
                let items = (0..self.next(4)).map(|n| self.grow([Sort::Text, Sort::Number][usize::from(n) % 2]));
                let items = items.collect();
                self.tree(Node::List(items))
            }
        };
        self.depth -= 1;
        tree
    }

    fn leaf(&mut self, sort: Sort) -> Tree {
        const TEXTS: &[&str] = &["", "a", "A", "25", "-1.5", "1e3", " x ", "é\\'\n", "jane.doe@example.org", "+", "."];
        let n = self.next(24);
        let node = match sort {
            Sort::Number => match n {
                0 => Node::Integer(i64::MAX),
                1 => Node::Float(1.5e300),
                2 => Node::Float(0.25),
                3 => Node::Duration(300_000),
                4 => Node::Name("local_port".into()),
                5 => Node::Name("priority".into()),
                6 => Node::Bool(true),
                n => Node::Integer(i64::from(n) - 7),
            },
            Sort::Text => match TEXTS.get(usize::from(n)) {
                Some(text) => Node::Text((*text).into()),
                None => Node::Name(["rcpt", "sender_domain", "listener", "helo_domain"][usize::from(n) % 4].into()),
            },
            Sort::Truth if n < 8 => Node::Name("is_tls".into()),
            Sort::Truth => Node::Bool(n & 1 == 0),
            Sort::List if n < 8 => Node::Name("recipients".into()),
            Sort::List => Node::List(Vec::new()),
        };
        self.tree(node)
    }

    fn call(&mut self, name: &str, sorts: &[Sort]) -> Tree {
        let arguments = sorts.iter().map(|&sort| self.grow(sort)).collect();
        self.tree(Node::Call(name.into(), Span::default(), arguments))
    }

    fn unary(&mut self, op: Unary, sort: Sort) -> Tree {
        let part = self.grow(sort);
        self.tree(Node::Unary(op, part.into()))
    }

    fn binary(&mut self, op: Binary, left: Sort, right: Sort) -> Tree {
        let (left, right) = (self.grow(left), self.grow(right));
        self.tree(Node::Binary(op, left.into(), right.into()))
    }
}

fn grown(octets: &[u8]) -> Tree {
    let mut grower = Grower { octets: octets.iter(), depth: 0 };
    let sort = [Sort::Number, Sort::Text, Sort::Truth, Sort::List][usize::from(grower.next(4))];
    grower.grow(sort)
}

/// Words of the language in any order.
fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "1",
        "2.5",
        "5m",
        "'a'",
        "\"b\"",
        "rcpt",
        "local_port",
        "remote_ip",
        "recipients",
        "headers",
        "true",
        "plain",
        "$0",
        "$1",
        "$x",
        "+",
        "-",
        "*",
        "/",
        "<",
        "<=",
        "=<",
        "=",
        "!=",
        "^",
        "&&",
        "&",
        "||",
        "|",
        "!",
        "(",
        ")",
        "[",
        "]",
        ",",
        "len(",
        "matches('(a)', ",
        "split(",
        "if_then(",
        "key_get('',",
        "hash(",
        "is_in_network(",
        "dns_query(",
        "é",
        "'",
        "\\",
        "count(",
    ]);
    prop::collection::vec(word, 0..14).prop_map(|words| words.join(" "))
}

fn compile_and_evaluate(text: &str) {
    let _ = Expr::parse(text, false, &everywhere()).map(|expr| expr.eval(&facts()).is_ok());
    let list = Expr::parse(text, Vec::<keywords::Mechanism>::new(), &everywhere());
    let _ = list.map(|expr| expr.eval(&facts()).is_ok());
    let _ = Expr::parse(text, Anything::default(), &everywhere()).map(|expr| expr.eval(&facts()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_parses_to_the_same_tree(octets in prop::collection::vec(any::<u8>(), 0..120)) {
        let tree = grown(&octets);
        let text = tree.to_string();
        prop_assert_eq!(parse(&text), Ok(tree));
    }

    #[test]
    fn programs_agree_with_the_model(octets in prop::collection::vec(any::<u8>(), 0..120)) {
        let tree = grown(&octets);
        let text = tree.to_string();
        match Expr::parse(&text, Anything::default(), &everywhere()) {
            Ok(expr) => {
                let value = expr.eval(&facts()).map_err(|stop| TestCaseError::fail(format!("{text}: {stop:?}")))?;
                prop_assert_eq!(Model::of(&value.0), walk(&tree), "{}", text);
            }
            // Constants that can never be equal, texts that are no numbers: the checker may refuse, not panic.
            Err(faults) => prop_assert!(!faults.is_empty()),
        }
    }

    #[test]
    fn words_in_any_order_compile_or_are_faults(text in words()) {
        compile_and_evaluate(&text);
    }

    #[test]
    fn any_text_compiles_or_is_a_fault(text in ".{0,60}") {
        compile_and_evaluate(&text);
    }

    #[test]
    fn faults_lie_within_their_text(text in words()) {
        let faults = Expr::parse(&text, false, &everywhere()).err().unwrap_or_default();
        for fault in faults {
            let span = fault.span.start as usize..fault.span.end as usize;
            prop_assert!(text.get(span).is_some(), "{}: {:?}", text, fault);
        }
    }
}

#[test]
fn most_grown_trees_compile() {
    let mut random = proptest::test_runner::TestRunner::deterministic();
    let strategy = prop::collection::vec(any::<u8>(), 40..120);
    let compiles = |_: &i32| {
        let octets = strategy.new_tree(&mut random).expect("octets").current();
        Expr::parse(&grown(&octets).to_string(), Anything::default(), &everywhere()).is_ok()
    };
    let compiled = (0..200).filter(compiles).count();
    assert!(compiled > 150, "the property of the model is vacuous: {compiled} of 200 compile");
}
