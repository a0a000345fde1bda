//! The grammar of RFC 5228 §8.2, by recursive descent. A fault is reported and reading goes on behind the
//! next `;` or block, so that one reading finds every fault.

use super::ast::{Argument, ArgumentKind, Call, Literal};
use super::fault::Faults;
use super::lexer::{Lexer, Token};

/// Blocks and tests may nest this deep unless the host says otherwise.
pub(super) const NESTING_MAX: usize = 32;
/// Arguments of one command or test, tags included.
const ARGUMENTS_MAX: usize = 32;

/// Reads a script. What could not be read is marked as damaged or left out; its faults are collected.
pub(super) fn parse<'s>(source: &'s str, nesting_max: usize, faults: &mut Faults<'_>) -> Vec<Call<'s>> {
    let mut lexer = Lexer::new(source);
    let (at, token) = lexer.next();
    let mut parser = Parser { lexer, at, token, faults, nesting_max };
    let mut commands = parser.commands(0);
    while parser.token != Token::End {
        parser.expected("a command");
        parser.advance();
        commands.extend(parser.commands(0));
    }
    commands
}

struct Parser<'s, 'f, 'g> {
    lexer: Lexer<'s>,
    at: usize,
    token: Token<'s>,
    faults: &'f mut Faults<'g>,
    nesting_max: usize,
}

impl<'s> Parser<'s, '_, '_> {
    fn advance(&mut self) -> (usize, Token<'s>) {
        let (at, token) = self.lexer.next();
        (std::mem::replace(&mut self.at, at), std::mem::replace(&mut self.token, token))
    }

    fn is_mark(&self, mark: u8) -> bool {
        self.token == Token::Mark(mark)
    }

    fn take_mark(&mut self, mark: u8) -> bool {
        let is = self.is_mark(mark);
        if is {
            self.advance();
        }
        is
    }

    fn expected(&mut self, expected: &str) {
        let found = self.token.describe();
        self.faults.unexpected(self.at, format!("expected {expected}, but found {found}"), &found, expected);
    }

    /// Skips to the end of a command that cannot be read: behind its `;` or block, or before a `}`.
    fn recover(&mut self) {
        loop {
            match self.token {
                Token::End | Token::Mark(b'}') => return,
                Token::Mark(b';') => {
                    self.advance();
                    return;
                }
                Token::Mark(b'{') => {
                    self.skip_block();
                    return;
                }
                _ => {
                    self.advance();
                }
            }
        }
    }

    fn skip_block(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.token {
                Token::End => return,
                Token::Mark(b'{') => depth += 1,
                Token::Mark(b'}') => depth -= 1,
                _ => {}
            }
            self.advance();
            if depth == 0 {
                return;
            }
        }
    }

    /// Commands to the end of the block or script.
    fn commands(&mut self, depth: usize) -> Vec<Call<'s>> {
        let mut commands = Vec::new();
        loop {
            match self.token {
                Token::End | Token::Mark(b'}') => return commands,
                Token::Identifier(name) => {
                    let (at, _) = self.advance();
                    commands.push(self.command(name, at, depth));
                }
                _ => {
                    self.expected("a command");
                    self.recover();
                }
            }
        }
    }

    fn command(&mut self, name: &'s str, at: usize, depth: usize) -> Call<'s> {
        let mut call = Call {
            name,
            at,
            arguments: Vec::new(),
            tests: Vec::new(),
            has_test_list: false,
            block: None,
            is_damaged: false,
        };
        if !self.arguments(&mut call, depth) {
            call.is_damaged = true;
        }
        match self.token {
            Token::Mark(b';') => {
                self.advance();
            }
            Token::Mark(b'{') => self.block(&mut call, depth),
            _ if call.is_damaged => self.recover_into(&mut call, depth),
            _ => {
                call.is_damaged = true;
                let found = self.token.describe();
                let message = format!("expected ';' or a block behind '{name}', but found {found}");
                self.faults.unexpected(self.at, message, &found, "';' or '{'");
                self.recover_into(&mut call, depth);
            }
        }
        call
    }

    /// Skips what cannot be read, but reads the block behind it: its own faults are told too.
    fn recover_into(&mut self, call: &mut Call<'s>, depth: usize) {
        while !matches!(self.token, Token::End | Token::Mark(b'}' | b';' | b'{')) {
            self.advance();
        }
        match self.token {
            Token::Mark(b'{') => self.block(call, depth),
            Token::Mark(b';') => {
                self.advance();
            }
            _ => {}
        }
    }

    fn block(&mut self, call: &mut Call<'s>, depth: usize) {
        if depth >= self.nesting_max {
            if !call.is_damaged {
                let message = format!("blocks and tests are nested more than {} levels deep", self.nesting_max);
                self.faults.error(self.at, message);
            }
            call.is_damaged = true;
            self.skip_block();
            return;
        }
        let (start, _) = self.advance();
        call.block = Some(self.commands(depth + 1));
        if !self.take_mark(b'}') {
            let (line, _) = self.faults.place(start);
            self.expected(&format!("'}}' for the block that starts in line {line}"));
            call.is_damaged = true;
        }
    }

    /// Arguments and tests; false when they could not be read to their end.
    fn arguments(&mut self, call: &mut Call<'s>, depth: usize) -> bool {
        loop {
            let at = self.at;
            let kind = match &mut self.token {
                Token::Number(n) => ArgumentKind::Number(*n),
                Token::Tag(name) => ArgumentKind::Tag(name),
                Token::Text(text) => ArgumentKind::Text(std::mem::take(text)),
                Token::Mark(b'[') => match self.list() {
                    Some(list) => {
                        call.arguments.push(Argument { at, kind: ArgumentKind::List(list) });
                        continue;
                    }
                    None => return false,
                },
                Token::Fault(what) => {
                    let what = *what;
                    self.faults.unexpected(at, format!("found {what}"), what, "an argument");
                    return false;
                }
                _ => break,
            };
            self.advance();
            if call.arguments.len() >= ARGUMENTS_MAX {
                self.faults.error(at, format!("'{}' has more than {ARGUMENTS_MAX} arguments", call.name));
                return false;
            }
            call.arguments.push(Argument { at, kind });
        }
        match self.token {
            Token::Identifier(_) => match self.test(depth) {
                Some(test) => {
                    let is_sound = !test.is_damaged;
                    call.tests.push(test);
                    is_sound
                }
                None => false,
            },
            Token::Mark(b'(') => self.test_list(call, depth),
            _ => true,
        }
    }

    fn list(&mut self) -> Option<Vec<Literal>> {
        self.advance();
        let mut list = Vec::new();
        loop {
            let at = self.at;
            match &mut self.token {
                Token::Text(text) => {
                    let text = std::mem::take(text);
                    list.push(Literal { at, text });
                    self.advance();
                }
                _ => {
                    self.expected("a string in the list");
                    return None;
                }
            }
            if self.take_mark(b']') {
                return Some(list);
            }
            if !self.take_mark(b',') {
                self.expected("',' or ']' in the string list");
                return None;
            }
        }
    }

    fn test_list(&mut self, call: &mut Call<'s>, depth: usize) -> bool {
        self.advance();
        call.has_test_list = true;
        loop {
            match self.test(depth) {
                Some(test) if test.is_damaged => {
                    call.tests.push(test);
                    return self.close_list();
                }
                Some(test) => call.tests.push(test),
                None => return self.close_list(),
            }
            if self.take_mark(b')') {
                return true;
            }
            if !self.take_mark(b',') {
                self.expected("',' or ')' in the test list");
                return self.close_list();
            }
        }
    }

    /// Skips to the end of a list that has its fault already.
    fn close_list(&mut self) -> bool {
        let mut depth = 1usize;
        while !matches!(self.token, Token::End | Token::Mark(b';' | b'{' | b'}')) && depth > 0 {
            match self.token {
                Token::Mark(b'(') => depth += 1,
                Token::Mark(b')') => depth -= 1,
                _ => {}
            }
            self.advance();
        }
        false
    }

    fn test(&mut self, depth: usize) -> Option<Call<'s>> {
        let Token::Identifier(name) = self.token else {
            self.expected("a test");
            return None;
        };
        let (at, _) = self.advance();
        let mut call = Call {
            name,
            at,
            arguments: Vec::new(),
            tests: Vec::new(),
            has_test_list: false,
            block: None,
            is_damaged: false,
        };
        if depth >= self.nesting_max {
            let message = format!("blocks and tests are nested more than {} levels deep", self.nesting_max);
            self.faults.error(at, message);
            call.is_damaged = true;
            return Some(call);
        }
        call.is_damaged = !self.arguments(&mut call, depth + 1);
        Some(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(source: &str) -> Vec<String> {
        let mut faults = Faults::new(source);
        parse(source, NESTING_MAX, &mut faults);
        faults.finish().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_script_becomes_a_tree() {
        let source = "if anyof (true, header :is \"a\" [\"b\", \"c\"]) { keep; } else { stop; }";
        let mut faults = Faults::new(source);
        let script = parse(source, NESTING_MAX, &mut faults);
        assert_eq!(faults.errors(), 0);
        assert_eq!(script.len(), 2);
        let anyof = &script[0].tests[0];
        assert_eq!((anyof.name, anyof.tests.len(), anyof.has_test_list), ("anyof", 2, true));
        assert_eq!(anyof.tests[1].arguments.len(), 3);
        assert_eq!(script[0].block.as_ref().map(Vec::len), Some(1));
    }

    #[test]
    fn every_fault_is_found() {
        assert_eq!(
            faults("keep\n$;\nif anyof(true,) { discard }\nstop;;"),
            [
                "line 2, column 1: error: found characters that are no part of the language",
                "line 3, column 15: error: expected a test, but found ')'",
                "line 3, column 27: error: expected ';' or a block behind 'discard', but found '}'",
                "line 4, column 6: error: expected a command, but found ';'",
            ]
        );
    }

    #[test]
    fn blocks_must_close_and_nest_within_the_limit() {
        assert_eq!(
            faults("if true { keep;"),
            ["line 1, column 16: error: expected '}' for the block that starts in line 1, but found end of script"]
        );
        let deep = "if true {".repeat(40) + &"}".repeat(40);
        assert_eq!(faults(&deep).len(), 1);
        assert_eq!(faults(&format!("if {}true {{}}", "not ".repeat(40))).len(), 1);
        assert_eq!(faults("keep; }").len(), 1);
    }
}
