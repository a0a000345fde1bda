//! Tokens to a tree: a Pratt parser over the precedence table of [`Binary::precedence`].

use compact_str::CompactString;

use super::ast::{Binary, Node, Span, Tree, Unary};
use super::fault::Finding;
use super::lexer::{Token, lex};
use crate::base::limits::{EXPRESSION_BYTES_MAX, EXPRESSION_DEPTH_MAX};

/// The tree of a whole text, or its faults: all of the lexer's, the first of the parser's.
pub(super) fn parse(text: &str) -> Result<Tree, Vec<Finding>> {
    if text.len() > EXPRESSION_BYTES_MAX {
        let found = format!("{} octets", text.len());
        return Err(vec![Finding::new(Span::new(0, 0), found, &format!("at most {EXPRESSION_BYTES_MAX} octets"))]);
    }
    let tokens = lex(text)?;
    let mut parser = Parser { text, tokens: &tokens, at: 0, end: Span::new(text.len(), text.len()), depth: 0 };
    let tree = parser.expression(0).map_err(|finding| vec![finding])?;
    match parser.peek() {
        None => Ok(tree),
        Some(_) => Err(vec![parser.unexpected("an operator or the end of the expression")]),
    }
}

struct Parser<'t> {
    text: &'t str,
    tokens: &'t [(Token, Span)],
    at: usize,
    /// Where the text ends.
    end: Span,
    /// Calls of [`Parser::expression`] and [`Parser::primary`] under way.
    depth: usize,
}

type Parsed = Result<Tree, Finding>;

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<&'t Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn span(&self) -> Span {
        self.tokens.get(self.at).map_or(self.end, |&(_, span)| span)
    }

    fn unexpected(&self, expected: &str) -> Finding {
        let span = self.span();
        let found = match self.peek() {
            None => "the end of the expression".to_owned(),
            Some(Token::Text(_)) => "a text".to_owned(),
            Some(_) => format!("`{}`", self.text.get(span.start as usize..span.end as usize).unwrap_or("")),
        };
        Finding::new(span, found, expected)
    }

    fn accept(&mut self, token: &Token) -> bool {
        let is_next = self.peek() == Some(token);
        self.at += usize::from(is_next);
        is_next
    }

    fn bounded(&self, tree: Tree) -> Parsed {
        if tree.depth <= EXPRESSION_DEPTH_MAX { Ok(tree) } else { Err(too_deep(tree.span)) }
    }

    /// Everything that binds tighter than `floor`.
    fn expression(&mut self, floor: u8) -> Parsed {
        let mut left = self.operand()?;
        while let Some(&Token::Operator(op)) = self.peek() {
            if op.precedence() <= floor {
                break;
            }
            self.at += 1;
            let right = self.expression(op.precedence())?;
            let span = left.span.to(right.span);
            left = self.bounded(Tree::new(Node::Binary(op, left.into(), right.into()), span))?;
        }
        Ok(left)
    }

    /// An operand with its prefixes; counts how deep the parser itself is.
    fn operand(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > EXPRESSION_DEPTH_MAX {
            return Err(too_deep(self.span()));
        }
        let start = self.span();
        let op = match self.peek() {
            Some(Token::Not) => Some(Unary::Not),
            Some(Token::Operator(Binary::Subtract)) => Some(Unary::Negate),
            _ => None,
        };
        let tree = match op {
            Some(op) => {
                self.at += 1;
                let part = self.operand()?;
                let span = start.to(part.span);
                self.bounded(Tree::new(Node::Unary(op, part.into()), span))
            }
            None => self.indexed(),
        };
        self.depth -= 1;
        tree
    }

    fn indexed(&mut self) -> Parsed {
        let mut tree = self.primary()?;
        while self.accept(&Token::OpenBracket) {
            let at = self.expression(0)?;
            let span = tree.span.to(self.span());
            self.close(&Token::CloseBracket, "`]`")?;
            tree = self.bounded(Tree::new(Node::Index(tree.into(), at.into()), span))?;
        }
        Ok(tree)
    }

    fn close(&mut self, token: &Token, expected: &str) -> Result<(), Finding> {
        if self.accept(token) { Ok(()) } else { Err(self.unexpected(&format!("an operator or {expected}"))) }
    }

    fn primary(&mut self) -> Parsed {
        let span = self.span();
        let Some(token) = self.peek() else { return Err(self.unexpected("a value")) };
        let node = match token {
            Token::Integer(n) => Node::Integer(*n),
            Token::Float(n) => Node::Float(*n),
            Token::Duration(ms) => Node::Duration(*ms),
            Token::Text(text) => Node::Text(text.clone()),
            Token::Capture(name) => Node::Capture(name.clone()),
            Token::Name(name) => return self.named(name, span),
            Token::Open => return self.parenthesised(),
            Token::OpenBracket => {
                self.at += 1;
                let items = self.items(&Token::CloseBracket, "`,` or `]`")?;
                return Ok(Tree::new(Node::List(items), span.to(self.previous())));
            }
            _ => return Err(self.unexpected("a value")),
        };
        self.at += 1;
        Ok(Tree::new(node, span))
    }

    fn parenthesised(&mut self) -> Parsed {
        let start = self.span();
        self.at += 1;
        let mut tree = self.expression(0)?;
        tree.span = start.to(self.span());
        self.close(&Token::Close, "`)`")?;
        Ok(tree)
    }

    fn named(&mut self, name: &CompactString, span: Span) -> Parsed {
        self.at += 1;
        if self.accept(&Token::Open) {
            let arguments = self.items(&Token::Close, "`,` or `)`")?;
            let whole = span.to(self.previous());
            return Ok(Tree::new(Node::Call(name.clone(), span, arguments), whole));
        }
        let node = match name.as_str() {
            "true" => Node::Bool(true),
            "false" => Node::Bool(false),
            _ => Node::Name(name.clone()),
        };
        Ok(Tree::new(node, span))
    }

    fn previous(&self) -> Span {
        self.at.checked_sub(1).and_then(|i| self.tokens.get(i)).map_or(self.end, |&(_, span)| span)
    }

    /// Expressions between commas up to `close`.
    fn items(&mut self, close: &Token, expected: &str) -> Result<Vec<Tree>, Finding> {
        let mut items = Vec::new();
        if self.accept(close) {
            return Ok(items);
        }
        loop {
            items.push(self.expression(0)?);
            if self.accept(close) {
                return Ok(items);
            }
            if !self.accept(&Token::Comma) {
                return Err(self.unexpected(expected));
            }
        }
    }
}

fn too_deep(span: Span) -> Finding {
    Finding::new(span, "an expression nested too deep".to_owned(), &format!("at most {EXPRESSION_DEPTH_MAX} levels"))
}
