//! Text to tokens. Every fault is collected with its place; the lexer never stops early.

use compact_str::CompactString;

use super::ast::{Binary, CaptureName, Span};
use super::fault::Finding;

/// A word of the language.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Integer(i64),
    Float(f64),
    /// Milliseconds.
    Duration(i64),
    Text(CompactString),
    Name(CompactString),
    Capture(CaptureName),
    /// `-` is [`Binary::Subtract`] here; the parser knows where it is a sign.
    Operator(Binary),
    Not,
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Comma,
}

/// All tokens of a text, or all its faults.
pub(super) fn lex(text: &str) -> Result<Vec<(Token, Span)>, Vec<Finding>> {
    let mut lexer = Lexer { text, at: 0, findings: Vec::new() };
    let mut tokens = Vec::new();
    while let Some(first) = lexer.skip_space() {
        let start = lexer.at;
        if let Some(token) = lexer.token(first) {
            tokens.push((token, Span::new(start, lexer.at)));
        }
    }
    if lexer.findings.is_empty() { Ok(tokens) } else { Err(lexer.findings) }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    findings: Vec<Finding>,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_space(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
        self.peek()
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or("")
    }

    fn fault(&mut self, start: usize, found: String, expected: &str) -> Option<Token> {
        self.findings.push(Finding::new(Span::new(start, self.at), found, expected));
        None
    }

    fn token(&mut self, first: char) -> Option<Token> {
        match first {
            '0'..='9' => self.number(),
            'a'..='z' | 'A'..='Z' | '_' => Some(Token::Name(self.dotted_name())),
            '\'' | '"' => self.quoted(first),
            '$' => self.capture(),
            _ => self.symbol(first),
        }
    }

    fn number(&mut self) -> Option<Token> {
        let start = self.at;
        let digits = self.take_while(|c| c.is_ascii_digit());
        let is_float = self.rest().starts_with('.') && self.rest()[1..].starts_with(|c: char| c.is_ascii_digit());
        if is_float {
            self.at += 1;
            self.take_while(|c| c.is_ascii_digit());
            let number = self.text.get(start..self.at).and_then(|n| n.parse::<f64>().ok()).filter(|n| n.is_finite());
            let unit = self.take_while(is_name);
            return match number {
                Some(number) if unit.is_empty() => Some(Token::Float(number)),
                _ => self.fault(start, self.spelling(start), "a number, or a whole number with a unit as in `90s`"),
            };
        }
        let unit = self.take_while(is_name);
        let value = digits.parse::<i64>().ok();
        match (unit, value) {
            ("", Some(number)) => Some(Token::Integer(number)),
            ("", None) => self.fault(start, self.spelling(start), "a number that fits 63 bits"),
            (unit, value) => match (unit_ms(unit), value) {
                (None, _) => {
                    self.fault(start, self.spelling(start), "a duration in `ms`, `s`, `m`, `h` or `d`, as in `5m`")
                }
                (Some(scale), Some(count)) if count.checked_mul(scale).is_some() => {
                    Some(Token::Duration(count.saturating_mul(scale)))
                }
                _ => self.fault(start, self.spelling(start), "a shorter duration"),
            },
        }
    }

    /// Names with dots between them are one: `env.remote_ip` of a language that embeds expressions.
    fn dotted_name(&mut self) -> CompactString {
        let start = self.at;
        self.take_while(is_name);
        while self.rest().strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic())) {
            self.at += 1;
            self.take_while(is_name);
        }
        self.text.get(start..self.at).unwrap_or("").into()
    }

    fn spelling(&self, start: usize) -> String {
        format!("`{}`", self.text.get(start..self.at).unwrap_or(""))
    }

    fn quoted(&mut self, quote: char) -> Option<Token> {
        let start = self.at;
        self.at += 1;
        let mut text = CompactString::default();
        let mut chars = self.rest().char_indices();
        while let Some((i, c)) = chars.next() {
            if c == quote {
                self.at += i + 1;
                return Some(Token::Text(text));
            }
            if c == '\\' {
                unescape(chars.next().map(|(_, c)| c), &mut text);
            } else {
                text.push(c);
            }
        }
        self.at = self.text.len();
        let expected = format!("a closing {quote}");
        self.fault(start, "a text without an end".to_owned(), &expected)
    }

    fn capture(&mut self) -> Option<Token> {
        let start = self.at;
        self.at += 1;
        let name = self.take_while(is_name);
        if name.is_empty() {
            return self.fault(start, "`$`".to_owned(), "`$0`, `$1`, … or the name of a group");
        }
        if !name.starts_with(|c: char| c.is_ascii_digit()) {
            return Some(Token::Capture(CaptureName::Name(name.into())));
        }
        match name.parse::<u16>() {
            Ok(number) => Some(Token::Capture(CaptureName::Number(number))),
            Err(_) => self.fault(start, self.spelling(start), "`$0`, `$1`, … or the name of a group"),
        }
    }

    fn symbol(&mut self, first: char) -> Option<Token> {
        use Binary::*;
        const SYMBOLS: &[(&str, Token)] = &[
            ("<=", Token::Operator(LessEqual)),
            ("=<", Token::Operator(LessEqual)),
            (">=", Token::Operator(GreaterEqual)),
            ("=>", Token::Operator(GreaterEqual)),
            ("==", Token::Operator(Equal)),
            ("!=", Token::Operator(NotEqual)),
            ("&&", Token::Operator(And)),
            ("||", Token::Operator(Or)),
            ("=", Token::Operator(Equal)),
            ("<", Token::Operator(Less)),
            (">", Token::Operator(Greater)),
            ("&", Token::Operator(And)),
            ("|", Token::Operator(Or)),
            ("^", Token::Operator(Xor)),
            ("*", Token::Operator(Multiply)),
            ("/", Token::Operator(Divide)),
            ("+", Token::Operator(Add)),
            ("-", Token::Operator(Subtract)),
            ("!", Token::Not),
            ("(", Token::Open),
            (")", Token::Close),
            ("[", Token::OpenBracket),
            ("]", Token::CloseBracket),
            (",", Token::Comma),
        ];
        for (spelling, token) in SYMBOLS {
            if self.rest().starts_with(spelling) {
                self.at += spelling.len();
                return Some(token.clone());
            }
        }
        let start = self.at;
        self.at += first.len_utf8();
        self.fault(start, format!("`{}`", first.escape_debug()), "an operator, a value or a name")
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn unit_ms(unit: &str) -> Option<i64> {
    Some(match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 3600 * 1000,
        "d" => 24 * 3600 * 1000,
        _ => return None,
    })
}

/// What follows a backslash. An unknown escape keeps its backslash: `\.` reaches a regular expression whole.
fn unescape(c: Option<char>, text: &mut CompactString) {
    match c {
        Some('n') => text.push('\n'),
        Some('r') => text.push('\r'),
        Some('t') => text.push('\t'),
        Some(c @ ('\\' | '\'' | '"')) => text.push(c),
        Some(other) => {
            text.push('\\');
            text.push(other);
        }
        None => text.push('\\'),
    }
}
