//! What the parser makes of a text, and back: printing a tree gives a text that parses to it.

use std::fmt;

use compact_str::CompactString;

/// Octets `start..end` of the text of one expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The first octet.
    pub start: u32,
    /// One past the last octet.
    pub end: u32,
}

impl Span {
    /// From offsets into a text that the lexer has bounded.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    /// From the start of `self` to the end of `last`.
    pub fn to(self, last: Span) -> Span {
        Span { start: self.start, end: last.end.max(self.end) }
    }
}

/// A part of an expression and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub node: Node,
    pub span: Span,
    /// Longest way down, itself counted: bounded by `EXPRESSION_DEPTH_MAX`.
    pub depth: usize,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Integer(i64),
    Float(f64),
    /// Milliseconds.
    Duration(i64),
    Text(CompactString),
    Bool(bool),
    /// A variable or a keyword.
    Name(CompactString),
    Capture(CaptureName),
    Call(CompactString, Span, Vec<Tree>),
    List(Vec<Tree>),
    Unary(Unary, Box<Tree>),
    Binary(Binary, Box<Tree>, Box<Tree>),
    Index(Box<Tree>, Box<Tree>),
}

/// `$1` or `$name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum CaptureName {
    Number(u16),
    Name(CompactString),
}

/// Prefix operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    Negate,
}

/// Infix operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    Multiply,
    Divide,
    Add,
    Subtract,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Equal,
    NotEqual,
    Xor,
    And,
    Or,
}

impl Binary {
    /// Higher binds tighter (FEATURES: the table of 2.2).
    pub fn precedence(self) -> u8 {
        use Binary::*;
        match self {
            Multiply | Divide => 7,
            Add | Subtract => 6,
            Less | LessEqual | Greater | GreaterEqual => 5,
            Equal | NotEqual => 4,
            Xor => 3,
            And => 2,
            Or => 1,
        }
    }

    pub fn symbol(self) -> &'static str {
        use Binary::*;
        match self {
            Multiply => "*",
            Divide => "/",
            Add => "+",
            Subtract => "-",
            Less => "<",
            LessEqual => "<=",
            Greater => ">",
            GreaterEqual => ">=",
            Equal => "==",
            NotEqual => "!=",
            Xor => "^",
            And => "&&",
            Or => "||",
        }
    }

    /// `<`, `<=`, `>`, `>=`, `==`, `!=`.
    pub fn is_comparison(self) -> bool {
        matches!(self.precedence(), 4 | 5)
    }
}

impl Tree {
    /// A part whose parts are already bounded.
    pub fn new(node: Node, span: Span) -> Tree {
        let below = match &node {
            Node::Call(_, _, parts) | Node::List(parts) => parts.iter().map(|part| part.depth).max().unwrap_or(0),
            Node::Unary(_, part) => part.depth,
            Node::Binary(_, left, right) | Node::Index(left, right) => left.depth.max(right.depth),
            _ => 0,
        };
        Tree { node, span, depth: below + 1 }
    }
}

/// Equal whatever the spelling: spans do not count.
impl PartialEq for Tree {
    fn eq(&self, other: &Tree) -> bool {
        match (&self.node, &other.node) {
            (Node::Call(a, _, x), Node::Call(b, _, y)) => a == b && x == y,
            (a, b) => a == b,
        }
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            Node::Integer(n) => write!(f, "{n}"),
            Node::Float(n) if n.fract() == 0.0 => write!(f, "{n:.1}"),
            Node::Float(n) => write!(f, "{n}"),
            Node::Duration(ms) => write!(f, "{ms}ms"),
            Node::Text(text) => write_quoted(f, text),
            Node::Bool(is) => write!(f, "{is}"),
            Node::Name(name) => f.write_str(name),
            Node::Capture(CaptureName::Number(n)) => write!(f, "${n}"),
            Node::Capture(CaptureName::Name(name)) => write!(f, "${name}"),
            Node::Call(name, _, arguments) => write!(f, "{name}({})", Joined(arguments)),
            Node::List(items) => write!(f, "[{}]", Joined(items)),
            Node::Unary(Unary::Not, part) => write!(f, "!{}", Operand(part)),
            Node::Unary(Unary::Negate, part) => write!(f, "-{}", Operand(part)),
            Node::Binary(op, left, right) => {
                write!(f, "{} {} {}", Operand(left), op.symbol(), Operand(right))
            }
            Node::Index(part, at) => write!(f, "{}[{at}]", Operand(part)),
        }
    }
}

/// Parenthesised unless it is a primary.
struct Operand<'t>(&'t Tree);

impl fmt::Display for Operand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.node {
            Node::Binary(..) | Node::Unary(..) => write!(f, "({})", self.0),
            _ => self.0.fmt(f),
        }
    }
}

struct Joined<'t>(&'t [Tree]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, tree) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{tree}")?;
        }
        Ok(())
    }
}

/// A text as a literal of the language.
pub(super) fn write_quoted(f: &mut impl fmt::Write, text: &str) -> fmt::Result {
    f.write_char('\'')?;
    for c in text.chars() {
        match c {
            '\\' => f.write_str("\\\\")?,
            '\'' => f.write_str("\\'")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('\'')
}
