//! Functions on texts. Predicates never allocate; parts are lent by the text they are parts of.

use compact_str::CompactString;

use super::super::scope::EvalError;
use super::super::value::{Str, Value};
use super::{Arguments, Function};
use crate::base::limits::{EXPRESSION_ITEMS_MAX, EXPRESSION_TEXT_BYTES_MAX};

pub fn call<'a>(function: Function, arguments: Arguments<'_, 'a>) -> Result<Value<'a>, EvalError> {
    use Function::*;
    match function {
        Trim | TrimEnd | TrimStart | StripPrefix | StripSuffix | Substring => {
            Ok(Value::Text(part(function, arguments)))
        }
        ToLowercase | ToUppercase => change_case(function, arguments.text(0)),
        Lines | Split | Rsplit | SplitOnce | RsplitOnce | SplitN | SplitWords => split(function, arguments),
        Contains | ContainsIgnoreCase => Ok(Value::bool(contains(function, arguments.value(0), arguments.value(1)))),
        EqIgnoreCase | StartsWith | EndsWith => Ok(Value::bool(
            arguments.value(0).with_text(|text| arguments.value(1).with_text(|other| relates(function, text, other))),
        )),
        _ => Ok(measure(function, arguments.value(0))),
    }
}

fn part<'a>(function: Function, arguments: Arguments<'_, 'a>) -> Str<'a> {
    let text = arguments.text(0);
    let inner = match function {
        Function::Trim => text.trim(),
        Function::TrimEnd => text.trim_end(),
        Function::TrimStart => text.trim_start(),
        Function::StripPrefix => arguments.value(1).with_text(|prefix| text.strip_prefix(prefix).unwrap_or(&text)),
        Function::StripSuffix => arguments.value(1).with_text(|suffix| text.strip_suffix(suffix).unwrap_or(&text)),
        _ => substring(&text, arguments.integer(1), arguments.integer(2)),
    };
    text.part(inner)
}

/// Characters `start..end`, both cut to what is there.
fn substring(text: &str, start: i64, end: i64) -> &str {
    let offset = |n: i64| {
        let n = usize::try_from(n.max(0)).unwrap_or(usize::MAX);
        text.char_indices().nth(n).map_or(text.len(), |(i, _)| i)
    };
    text.get(offset(start)..offset(end)).unwrap_or("")
}

fn change_case<'a>(function: Function, text: Str<'a>) -> Result<Value<'a>, EvalError> {
    let changed = match function {
        Function::ToLowercase if !text.chars().any(changes_to_lowercase) => return Ok(Value::Text(text)),
        Function::ToLowercase => text.to_lowercase(),
        _ => text.to_uppercase(),
    };
    bounded(changed.into())
}

fn changes_to_lowercase(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_uppercase() } else { !c.to_lowercase().eq([c]) || c == 'Σ' }
}

fn bounded<'a>(text: CompactString) -> Result<Value<'a>, EvalError> {
    if text.len() > EXPRESSION_TEXT_BYTES_MAX { Err(EvalError::TooLarge) } else { Ok(Value::owned(text)) }
}

fn split<'a>(function: Function, arguments: Arguments<'_, 'a>) -> Result<Value<'a>, EvalError> {
    let text = arguments.text(0);
    let items = arguments.value(1).with_text(|delimiter| {
        let take = |parts: &mut dyn Iterator<Item = &str>| -> Vec<Value<'a>> {
            parts.take(EXPRESSION_ITEMS_MAX + 1).map(|part| Value::Text(text.part(part))).collect()
        };
        match function {
            Function::Lines => take(&mut text.lines()),
            Function::SplitWords => {
                take(&mut text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()))
            }
            _ if delimiter.is_empty() => take(&mut std::iter::once(text.as_str())),
            Function::Split | Function::Rsplit => take(&mut text.split(delimiter)),
            Function::SplitOnce => take(&mut text.splitn(2, delimiter)),
            Function::RsplitOnce => match text.rsplit_once(delimiter) {
                Some((before, after)) => take(&mut [before, after].into_iter()),
                None => take(&mut std::iter::once(text.as_str())),
            },
            _ => {
                let splits = usize::try_from(arguments.integer(2).max(0)).unwrap_or(usize::MAX);
                take(&mut text.splitn(splits.saturating_add(1), delimiter))
            }
        }
    });
    if items.len() > EXPRESSION_ITEMS_MAX { Err(EvalError::TooLarge) } else { Ok(Value::list(items)) }
}

fn contains(function: Function, whole: &Value<'_>, part: &Value<'_>) -> bool {
    let ignore_case = function == Function::ContainsIgnoreCase;
    match whole {
        Value::List(items) if ignore_case => {
            part.with_text(|part| items.iter().any(|item| item.with_text(|item| eq_ignore_case(item, part))))
        }
        Value::List(items) => items.iter().any(|item| item.equals(part)),
        text => text.with_text(|text| {
            part.with_text(|part| if ignore_case { contains_ignore_case(text, part) } else { text.contains(part) })
        }),
    }
}

/// Short ASCII texts, as hosts and addresses are, are searched in place.
fn contains_ignore_case(text: &str, part: &str) -> bool {
    const SHORT_BYTES: usize = 256;
    if part.is_empty() {
        return true;
    }
    if text.len() <= SHORT_BYTES && text.is_ascii() && part.is_ascii() {
        return text.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()));
    }
    text.to_lowercase().contains(&part.to_lowercase())
}

fn eq_ignore_case(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase))
}

fn relates(function: Function, text: &str, other: &str) -> bool {
    match function {
        Function::StartsWith => text.starts_with(other),
        Function::EndsWith => text.ends_with(other),
        _ => eq_ignore_case(text, other),
    }
}

fn measure(function: Function, value: &Value<'_>) -> Value<'static> {
    if let (Function::Len, Value::List(items)) = (function, value) {
        return Value::Integer(items.len() as i64);
    }
    value.with_text(|text| {
        let count = |accept: fn(char) -> bool| Value::Integer(text.chars().filter(|&c| accept(c)).count() as i64);
        let all = |is: fn(char) -> bool| {
            let mut letters = text.chars().filter(|c| c.is_alphabetic()).peekable();
            Value::bool(letters.peek().is_some() && letters.all(is))
        };
        match function {
            Function::Len => Value::Integer(text.len() as i64),
            Function::IsUppercase => all(char::is_uppercase),
            Function::IsLowercase => all(char::is_lowercase),
            Function::HasDigits => Value::bool(text.contains(|c: char| c.is_ascii_digit())),
            Function::CountSpaces => count(char::is_whitespace),
            Function::CountUppercase => count(char::is_uppercase),
            Function::CountLowercase => count(char::is_lowercase),
            Function::CountChars => count(|c| !c.is_whitespace()),
            _ => Value::EMPTY,
        }
    })
}
