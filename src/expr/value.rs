//! Values: borrowed where they can be, and the arithmetic, order and truth of the language.

use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::ops::{Deref, Range};

use compact_str::CompactString;

use super::ast::Binary;
use super::scope::EvalError;
use crate::base::limits::{EXPRESSION_ITEMS_MAX, EXPRESSION_TEXT_BYTES_MAX};

/// What the checker knows of a value before it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// Not known before evaluation, or already at fault.
    Any,
    /// An integer that is 1 or 0.
    Bool,
    Integer,
    Float,
    /// An integer of milliseconds.
    Duration,
    /// An integer of seconds: scaled where it meets a duration.
    Seconds,
    Text,
    Ip,
    List,
}

impl Type {
    pub fn describe(self) -> &'static str {
        match self {
            Type::Any => "a value",
            Type::Bool => "true or false",
            Type::Integer | Type::Seconds => "a whole number",
            Type::Float => "a number",
            Type::Duration => "a duration",
            Type::Text => "a text",
            Type::Ip => "an IP address",
            Type::List => "a list",
        }
    }

    pub fn is_number(self) -> bool {
        matches!(self, Type::Bool | Type::Integer | Type::Float | Type::Duration | Type::Seconds)
    }
}

/// A text that is lent by a scope or a program where possible; short owned ones need no allocation.
#[derive(Debug, Clone)]
pub enum Str<'a> {
    /// Lent.
    Borrowed(&'a str),
    /// Made during evaluation.
    Owned(CompactString),
}

impl<'a> Str<'a> {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Str::Borrowed(text) => text,
            Str::Owned(text) => text,
        }
    }

    /// The text, independent of who lent it.
    pub fn into_owned(self) -> CompactString {
        match self {
            Str::Borrowed(text) => CompactString::new(text),
            Str::Owned(text) => text,
        }
    }

    /// A part of it, lent as long as the whole is. Empty for what is not a range of characters.
    pub(super) fn slice(&self, range: Range<usize>) -> Str<'a> {
        match self {
            Str::Borrowed(text) => Str::Borrowed(text.get(range).unwrap_or("")),
            Str::Owned(text) => Str::Owned(CompactString::new(text.get(range).unwrap_or(""))),
        }
    }

    /// The part that `inner`, a slice of this very text, is.
    pub(super) fn part(&self, inner: &str) -> Str<'a> {
        let start = (inner.as_ptr() as usize).wrapping_sub(self.as_str().as_ptr() as usize);
        self.slice(start..start.wrapping_add(inner.len()))
    }
}

impl Deref for Str<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str<'_> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Str<'_> {
    fn eq(&self, other: &Str<'_>) -> bool {
        self.as_str() == other.as_str()
    }
}

impl PartialEq<str> for Str<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Str<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Str<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// The elements of a list: a program's own, or made during evaluation. Never lists themselves.
#[derive(Debug, Clone)]
pub enum List<'a> {
    /// Lent.
    Borrowed(&'a [Value<'a>]),
    /// Made during evaluation.
    Owned(Vec<Value<'a>>),
}

impl<'a> Deref for List<'a> {
    type Target = [Value<'a>];
    fn deref(&self) -> &[Value<'a>] {
        match self {
            List::Borrowed(items) => items,
            List::Owned(items) => items,
        }
    }
}

impl<'a> List<'a> {
    fn into_vec(self) -> Vec<Value<'a>> {
        match self {
            List::Borrowed(items) => items.to_vec(),
            List::Owned(items) => items,
        }
    }
}

/// A value of the language. True is 1, false is 0, a duration is its milliseconds.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A whole number, a truth value or a duration.
    Integer(i64),
    /// A number; never infinite, never NaN.
    Float(f64),
    /// A text.
    Text(Str<'a>),
    /// An address: compared as one, rendered where a text is asked for.
    Ip(IpAddr),
    /// A list.
    List(List<'a>),
}

/// A number of either kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    pub fn float(self) -> f64 {
        match self {
            Number::Integer(n) => n as f64,
            Number::Float(n) => n,
        }
    }

    /// Cut to a whole number that fits.
    pub fn integer(self) -> i64 {
        match self {
            Number::Integer(n) => n,
            Number::Float(n) => n as i64,
        }
    }

    fn order(self, other: Number) -> Ordering {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => a.cmp(&b),
            (a, b) => a.float().partial_cmp(&b.float()).unwrap_or(Ordering::Equal),
        }
    }
}

impl<'a> Value<'a> {
    /// The empty text: what a variable without a value is.
    pub const EMPTY: Value<'static> = Value::Text(Str::Borrowed(""));
    pub(super) const FALSE: Value<'static> = Value::Integer(0);

    /// A lent text.
    pub const fn text(text: &'a str) -> Value<'a> {
        Value::Text(Str::Borrowed(text))
    }

    /// 1 or 0.
    pub const fn bool(is: bool) -> Value<'a> {
        Value::Integer(is as i64)
    }

    /// A list of lent texts, as `recipients` is. Allocates.
    pub fn texts(texts: impl IntoIterator<Item = &'a str>) -> Value<'a> {
        Value::List(List::Owned(texts.into_iter().map(Value::text).collect()))
    }

    pub(super) fn owned(text: impl Into<CompactString>) -> Value<'a> {
        Value::Text(Str::Owned(text.into()))
    }

    pub(super) fn list(items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(List::Owned(items))
    }

    /// The same value, lent.
    pub(super) fn lend<'l>(&'l self) -> Value<'l> {
        match self {
            Value::Integer(n) => Value::Integer(*n),
            Value::Float(n) => Value::Float(*n),
            Value::Ip(ip) => Value::Ip(*ip),
            Value::Text(text) => Value::text(text),
            Value::List(items) => Value::List(List::Borrowed(items)),
        }
    }

    /// The same value, independent of who lent it.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Integer(n) => Value::Integer(n),
            Value::Float(n) => Value::Float(n),
            Value::Ip(ip) => Value::Ip(ip),
            Value::Text(text) => Value::owned(text.into_owned()),
            Value::List(items) => Value::list(items.into_vec().into_iter().map(Value::into_owned).collect()),
        }
    }

    /// Not zero, not empty.
    pub fn is_truthy(&self) -> bool {
        match self {
            Value::Integer(n) => *n != 0,
            Value::Float(n) => *n != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::Ip(_) => true,
            Value::List(items) => !items.is_empty(),
        }
    }

    /// Nothing in it; numbers and addresses never are.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Value::Text(text) => text.is_empty(),
            Value::List(items) => items.is_empty(),
            _ => false,
        }
    }

    /// Calls `f` with the value as text; numbers and addresses are rendered on the stack.
    pub(super) fn with_text<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        match self {
            Value::Text(text) => f(text),
            Value::List(_) => f(&self.to_string()),
            scalar => {
                let mut rendered = StackText::default();
                let _ = write!(rendered, "{scalar}"); // what does not fit cannot be: see StackText
                f(rendered.as_str())
            }
        }
    }

    /// The value as text.
    pub fn into_text(self) -> Str<'a> {
        match self {
            Value::Text(text) => text,
            other => Str::Owned(other.with_text(|text| CompactString::new(text))),
        }
    }

    /// The number it is or spells.
    pub(super) fn number(&self) -> Option<Number> {
        match self {
            Value::Integer(n) => Some(Number::Integer(*n)),
            Value::Float(n) => Some(Number::Float(*n)),
            Value::Text(text) => parse_number(text),
            Value::Ip(_) | Value::List(_) => None,
        }
    }

    /// The address it is or spells.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Value::Ip(ip) => Some(*ip),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// How the language compares; two values are equal when neither is less.
    ///
    /// A text that meets a number is read as one if it spells one, a text that meets an address
    /// likewise; otherwise both are compared as text. A list equals lists only.
    pub(super) fn order(&self, other: &Value<'_>) -> Ordering {
        use Value::*;
        match (self, other) {
            (Integer(a), Integer(b)) => a.cmp(b),
            (Text(a), Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (List(a), List(b)) => order_lists(a, b),
            (List(_), _) => Ordering::Greater,
            (_, List(_)) => Ordering::Less,
            (Ip(_), Ip(_) | Text(_)) | (Text(_), Ip(_)) => match (self.ip(), other.ip()) {
                (Some(a), Some(b)) => a.to_canonical().cmp(&b.to_canonical()),
                _ => self.order_as_text(other),
            },
            _ => match (self.number(), other.number()) {
                (Some(a), Some(b)) => a.order(b),
                _ => self.order_as_text(other),
            },
        }
    }

    fn order_as_text(&self, other: &Value<'_>) -> Ordering {
        self.with_text(|a| other.with_text(|b| a.as_bytes().cmp(b.as_bytes())))
    }

    pub(super) fn equals(&self, other: &Value<'_>) -> bool {
        self.order(other) == Ordering::Equal
    }

    /// A total order for sorting: numbers, then addresses, then texts by octets.
    pub(super) fn sort_order(&self, other: &Value<'_>) -> Ordering {
        fn rank(value: &Value<'_>) -> u8 {
            match value {
                Value::Integer(_) | Value::Float(_) => 0,
                Value::Ip(_) => 1,
                Value::Text(_) => 2,
                Value::List(_) => 3,
            }
        }
        match (self, other) {
            (Value::Integer(a), Value::Integer(b)) => a.cmp(b),
            (Value::Integer(a), Value::Float(b)) => (*a as f64).total_cmp(b).then(Ordering::Less),
            (Value::Float(a), Value::Integer(b)) => a.total_cmp(&(*b as f64)).then(Ordering::Greater),
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::Ip(a), Value::Ip(b)) => a.cmp(b),
            (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

fn order_lists(a: &[Value<'_>], b: &[Value<'_>]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        match a.order(b) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    a.len().cmp(&b.len())
}

/// Digits with an optional sign, fraction and exponent; nothing around them.
fn parse_number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    match text.parse::<i64>() {
        Ok(number) => Some(Number::Integer(number)),
        Err(_) => text.parse::<f64>().ok().filter(|n| n.is_finite()).map(Number::Float),
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Integer(n) => write!(f, "{n}"),
            Value::Float(n) => write!(f, "{n}"),
            Value::Text(text) => f.write_str(text),
            Value::Ip(ip) => write!(f, "{ip}"),
            Value::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    let separator = if i == 0 { "" } else { ", " };
                    write!(f, "{separator}{item}")?;
                }
                Ok(())
            }
        }
    }
}

/// Equal in kind and content: for tests and settings. The language's `=` coerces; see the documentation.
impl PartialEq for Value<'_> {
    fn eq(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Value::Integer(a), Value::Integer(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Ip(a), Value::Ip(b)) => a == b,
            (Value::List(a), Value::List(b)) => **a == **b,
            _ => false,
        }
    }
}

/// A number or address as text without allocation: the longest is a float near the smallest.
struct StackText {
    bytes: [u8; 352],
    length: usize,
}

impl Default for StackText {
    fn default() -> Self {
        StackText { bytes: [0; 352], length: 0 }
    }
}

impl StackText {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

impl fmt::Write for StackText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// `-x`.
pub(super) fn negate(value: &Value<'_>) -> Value<'static> {
    match value.number() {
        Some(Number::Integer(n)) => Value::Integer(n.saturating_neg()),
        Some(Number::Float(n)) => finite(-n),
        None => Value::Integer(0),
    }
}

/// Every infix operator but the short-circuit ones, which are jumps.
pub(super) fn binary<'a>(op: Binary, left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, EvalError> {
    Ok(match op {
        Binary::Add => return add(left, right),
        Binary::Subtract => arithmetic(&left, &right, i64::saturating_sub, |a, b| a - b),
        Binary::Multiply => arithmetic(&left, &right, i64::saturating_mul, |a, b| a * b),
        Binary::Divide => divide(&left, &right),
        Binary::Xor => Value::bool(left.is_truthy() != right.is_truthy()),
        Binary::And => Value::bool(left.is_truthy() && right.is_truthy()),
        Binary::Or => Value::bool(left.is_truthy() || right.is_truthy()),
        _ => Value::bool(compare(op, &left, &right)),
    })
}

/// `<`, `<=`, `>`, `>=`, `==`, `!=`.
pub(super) fn compare(op: Binary, left: &Value<'_>, right: &Value<'_>) -> bool {
    let order = left.order(right);
    match op {
        Binary::Less => order.is_lt(),
        Binary::LessEqual => order.is_le(),
        Binary::Greater => order.is_gt(),
        Binary::GreaterEqual => order.is_ge(),
        Binary::NotEqual => order.is_ne(),
        _ => order.is_eq(),
    }
}

fn arithmetic(
    left: &Value<'_>,
    right: &Value<'_>,
    integers: fn(i64, i64) -> i64,
    floats: fn(f64, f64) -> f64,
) -> Value<'static> {
    let zero = Number::Integer(0);
    match (left.number().unwrap_or(zero), right.number().unwrap_or(zero)) {
        (Number::Integer(a), Number::Integer(b)) => Value::Integer(integers(a, b)),
        (a, b) => finite(floats(a.float(), b.float())),
    }
}

fn divide(left: &Value<'_>, right: &Value<'_>) -> Value<'static> {
    let float = |value: &Value<'_>| value.number().map_or(0.0, Number::float);
    match float(right) {
        0.0 => Value::Float(0.0),
        divisor => finite(float(left) / divisor),
    }
}

/// Overflow stops at the largest number, and what is no number is zero.
fn finite(number: f64) -> Value<'static> {
    Value::Float(if number.is_nan() { 0.0 } else { number.clamp(f64::MIN, f64::MAX) })
}

/// Adds numbers, joins lists, and concatenates everything else as text.
fn add<'a>(left: Value<'a>, right: Value<'a>) -> Result<Value<'a>, EvalError> {
    match (left, right) {
        (Value::List(a), b) => {
            let mut items = a.into_vec();
            push_flat(&mut items, b)?;
            Ok(Value::list(items))
        }
        (a, Value::List(b)) => {
            let mut items = vec![a];
            push_flat(&mut items, Value::List(b))?;
            Ok(Value::list(items))
        }
        (a @ (Value::Integer(_) | Value::Float(_)), b @ (Value::Integer(_) | Value::Float(_))) => {
            Ok(arithmetic(&a, &b, i64::saturating_add, |a, b| a + b))
        }
        (a, b) => concatenate(a, &b),
    }
}

fn concatenate<'a>(left: Value<'a>, right: &Value<'_>) -> Result<Value<'a>, EvalError> {
    right.with_text(|right| {
        let mut text = match left {
            Value::Text(Str::Owned(text)) => text,
            other => other.with_text(|left| {
                let mut text = CompactString::with_capacity(left.len() + right.len());
                text.push_str(left);
                text
            }),
        };
        text.push_str(right);
        if text.len() > EXPRESSION_TEXT_BYTES_MAX { Err(EvalError::TooLarge) } else { Ok(Value::owned(text)) }
    })
}

/// Appends a value, or the elements of a list: lists never nest.
pub(super) fn push_flat<'a>(items: &mut Vec<Value<'a>>, value: Value<'a>) -> Result<(), EvalError> {
    match value {
        Value::List(more) => items.extend(more.into_vec()),
        scalar => items.push(scalar),
    }
    if items.len() > EXPRESSION_ITEMS_MAX { Err(EvalError::TooLarge) } else { Ok(()) }
}

/// `list[n]`, `fields['name']`; empty for what is not there.
pub(super) fn index<'a>(list: Value<'a>, at: &Value<'_>) -> Value<'a> {
    match (list, at) {
        (Value::List(items), Value::Text(name)) if parse_number(name).is_none() => items
            .iter()
            .find_map(|item| match item {
                Value::Text(field) => field_value(field, name),
                _ => None,
            })
            .unwrap_or(Value::EMPTY),
        (Value::List(items), at) => match at.number() {
            Some(Number::Integer(n)) => {
                usize::try_from(n).ok().and_then(|n| items.get(n).cloned()).unwrap_or(Value::EMPTY)
            }
            _ => Value::EMPTY,
        },
        (_, _) => Value::EMPTY,
    }
}

/// The value of `Name: value` if that is its name.
fn field_value<'a>(field: &Str<'a>, name: &str) -> Option<Value<'a>> {
    let (field_name, value) = field.split_once(':')?;
    field_name.eq_ignore_ascii_case(name).then(|| Value::Text(field.part(value.trim())))
}
