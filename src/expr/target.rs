//! The types that settings take, and how values become them.

use std::borrow::Cow;
use std::fmt::Debug;
use std::time::Duration;

use compact_str::CompactString;

use super::check::Typed;
use super::fault::{Finding, did_you_mean};
use super::value::{Number, Str, Type, Value};

/// What the checker needs to know of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// True or false: any number, zero is false.
    Bool,
    /// A whole number.
    Integer,
    /// Milliseconds.
    Duration,
    /// A text.
    Text,
    /// A list of texts; a single text is a list of one.
    List,
    /// One of the target's keywords, bare or quoted.
    Keyword,
    /// A text, or true or false.
    Mapping,
    /// Every value.
    Anything,
}

/// A type that a setting can have.
pub trait Target: Sized + Clone + Debug + 'static {
    /// What evaluation gives: the type itself, or its parts lent by the program and the scope.
    type Output<'a>;
    /// What the checker accepts.
    const KIND: Kind;
    /// `false` means that nothing is set.
    const OPTIONAL: bool = false;

    /// The words that are constants where this type is wanted.
    fn keywords() -> &'static [&'static str] {
        &[]
    }
    /// What a fault says was expected.
    fn expected() -> Cow<'static, str>;
    /// The value as this type, if it fits.
    fn from_value(value: Value<'_>) -> Option<Self>;
    /// The value as the output, if it fits.
    fn output(value: Value<'_>) -> Option<Self::Output<'_>>;
    /// A constant as the output.
    fn lend(&self) -> Self::Output<'_>;
}

/// For types that are their own output.
macro_rules! plain {
    () => {
        type Output<'a> = Self;
        fn output(value: Value<'_>) -> Option<Self> {
            Self::from_value(value)
        }
        fn lend(&self) -> Self {
            self.clone()
        }
    };
}

impl Target for bool {
    plain!();
    const KIND: Kind = Kind::Bool;
    fn expected() -> Cow<'static, str> {
        "true or false".into()
    }
    fn from_value(value: Value<'_>) -> Option<bool> {
        match value {
            Value::Integer(n) => Some(n != 0),
            Value::Float(n) => Some(n != 0.0),
            Value::Text(text) if text == "true" => Some(true),
            Value::Text(text) if text == "false" || text.is_empty() => Some(false),
            other => other.number().map(|n| n.float() != 0.0),
        }
    }
}

fn integer(value: &Value<'_>) -> Option<i64> {
    value.number().map(Number::integer)
}

macro_rules! integer_targets {
    ($($type:ident)*) => { $(
        impl Target for $type {
            plain!();
            const KIND: Kind = Kind::Integer;
            fn expected() -> Cow<'static, str> {
                format!("a whole number from {} to {}", $type::MIN, $type::MAX).into()
            }
            fn from_value(value: Value<'_>) -> Option<$type> {
                integer(&value).and_then(|n| n.try_into().ok())
            }
        }

        impl Target for Option<$type> {
            plain!();
            const KIND: Kind = Kind::Integer;
            const OPTIONAL: bool = true;
            fn expected() -> Cow<'static, str> {
                format!("a whole number from 1 to {}, or false", $type::MAX).into()
            }
            fn from_value(value: Value<'_>) -> Option<Option<$type>> {
                if value.is_empty() {
                    return Some(None);
                }
                <$type>::from_value(value).map(|n| (n != 0).then_some(n))
            }
        }
    )* };
}

integer_targets!(i8 i64 u8 u16 u32 u64 usize);

impl Target for Duration {
    plain!();
    const KIND: Kind = Kind::Duration;
    fn expected() -> Cow<'static, str> {
        "a duration such as 5m".into()
    }
    fn from_value(value: Value<'_>) -> Option<Duration> {
        integer(&value).and_then(|ms| ms.try_into().ok()).map(Duration::from_millis)
    }
}

impl Target for Option<Duration> {
    plain!();
    const KIND: Kind = Kind::Duration;
    const OPTIONAL: bool = true;
    fn expected() -> Cow<'static, str> {
        "a duration such as 5m, or false".into()
    }
    fn from_value(value: Value<'_>) -> Option<Option<Duration>> {
        if value.is_empty() {
            return Some(None);
        }
        Duration::from_value(value).map(|span| (!span.is_zero()).then_some(span))
    }
}

impl Target for CompactString {
    type Output<'a> = Str<'a>;
    const KIND: Kind = Kind::Text;
    fn expected() -> Cow<'static, str> {
        "a text".into()
    }
    fn from_value(value: Value<'_>) -> Option<CompactString> {
        Self::output(value).map(Str::into_owned)
    }
    fn output(value: Value<'_>) -> Option<Str<'_>> {
        match value {
            Value::List(_) => None,
            scalar => Some(scalar.into_text()),
        }
    }
    fn lend(&self) -> Str<'_> {
        Str::Borrowed(self)
    }
}

/// Unset by `false`, 0 or the empty text.
impl Target for Option<CompactString> {
    type Output<'a> = Option<Str<'a>>;
    const KIND: Kind = Kind::Text;
    const OPTIONAL: bool = true;
    fn expected() -> Cow<'static, str> {
        "a text, or false".into()
    }
    fn from_value(value: Value<'_>) -> Option<Option<CompactString>> {
        Self::output(value).map(|text| text.map(Str::into_owned))
    }
    fn output(value: Value<'_>) -> Option<Option<Str<'_>>> {
        if !value.is_truthy() {
            return Some(None);
        }
        CompactString::output(value).map(Some)
    }
    fn lend(&self) -> Option<Str<'_>> {
        self.as_deref().map(Str::Borrowed)
    }
}

/// How an address is mapped before it is looked up: `session.rcpt.sub-addressing` and `.catch-all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping<T> {
    /// `false` or the empty text: not at all.
    Off,
    /// `true`: as it is usually done.
    Standard,
    /// A text: look this address up.
    Address(T),
}

impl<T: AsRef<str>> Mapping<T> {
    /// The same with its address lent.
    pub fn as_deref(&self) -> Mapping<&str> {
        match self {
            Mapping::Off => Mapping::Off,
            Mapping::Standard => Mapping::Standard,
            Mapping::Address(address) => Mapping::Address(address.as_ref()),
        }
    }
}

impl Target for Mapping<CompactString> {
    type Output<'a> = Mapping<Str<'a>>;
    const KIND: Kind = Kind::Mapping;
    const OPTIONAL: bool = true;
    fn expected() -> Cow<'static, str> {
        "true, false or a text".into()
    }
    fn from_value(value: Value<'_>) -> Option<Self> {
        Self::output(value).map(|mapping| match mapping {
            Mapping::Off => Mapping::Off,
            Mapping::Standard => Mapping::Standard,
            Mapping::Address(address) => Mapping::Address(address.into_owned()),
        })
    }
    fn output(value: Value<'_>) -> Option<Mapping<Str<'_>>> {
        match value {
            unset if !unset.is_truthy() => Some(Mapping::Off),
            Value::Integer(_) => Some(Mapping::Standard),
            Value::Text(address) => Some(Mapping::Address(address)),
            _ => None,
        }
    }
    fn lend(&self) -> Mapping<Str<'_>> {
        match self {
            Mapping::Off => Mapping::Off,
            Mapping::Standard => Mapping::Standard,
            Mapping::Address(address) => Mapping::Address(Str::Borrowed(address)),
        }
    }
}

/// A list of texts as a setting gives it.
#[derive(Debug, Clone)]
pub enum Texts<'a> {
    /// A constant's own.
    Lent(&'a [CompactString]),
    /// Made during evaluation.
    Made(Vec<Str<'a>>),
}

impl Texts<'_> {
    /// The texts in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let (lent, made): (&[CompactString], &[Str<'_>]) = match self {
            Texts::Lent(texts) => (texts, &[]),
            Texts::Made(texts) => (&[], texts),
        };
        lent.iter().map(CompactString::as_str).chain(made.iter().map(Str::as_str))
    }

    /// Nothing is set.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

/// Unset, which is empty, by `false`, 0 or the empty text.
impl Target for Vec<CompactString> {
    type Output<'a> = Texts<'a>;
    const KIND: Kind = Kind::List;
    const OPTIONAL: bool = true;
    fn expected() -> Cow<'static, str> {
        "a list of texts such as ['a', 'b'], or false".into()
    }
    fn from_value(value: Value<'_>) -> Option<Vec<CompactString>> {
        Self::output(value).map(|texts| texts.iter().map(CompactString::new).collect())
    }
    fn output(value: Value<'_>) -> Option<Texts<'_>> {
        Some(Texts::Made(match value {
            unset if !unset.is_truthy() => Vec::new(),
            Value::List(items) => items.iter().map(|item| item.clone().into_text()).collect(),
            scalar => vec![scalar.into_text()],
        }))
    }
    fn lend(&self) -> Texts<'_> {
        Texts::Lent(self)
    }
}

/// An enumeration whose names are constants of the language where it is wanted.
pub trait Keyword: Copy + Debug + PartialEq + 'static {
    /// Every accepted name, other spellings included.
    const NAMES: &'static [&'static str];
    /// The value of a name.
    fn from_name(name: &str) -> Option<Self>;
    /// The first name of a value.
    fn name(self) -> &'static str;
}

fn one_of(names: &[&str]) -> String {
    format!("one of {}", names.join(", "))
}

impl<K: Keyword> Target for K {
    plain!();
    const KIND: Kind = Kind::Keyword;
    fn keywords() -> &'static [&'static str] {
        K::NAMES
    }
    fn expected() -> Cow<'static, str> {
        one_of(K::NAMES).into()
    }
    fn from_value(value: Value<'_>) -> Option<K> {
        match value {
            Value::Text(text) => K::from_name(&text),
            _ => None,
        }
    }
}

/// Unset by `false`, 0 or the empty text.
impl<K: Keyword> Target for Option<K> {
    plain!();
    const KIND: Kind = Kind::Keyword;
    const OPTIONAL: bool = true;
    fn keywords() -> &'static [&'static str] {
        K::NAMES
    }
    fn expected() -> Cow<'static, str> {
        format!("{}, or false", one_of(K::NAMES)).into()
    }
    fn from_value(value: Value<'_>) -> Option<Option<K>> {
        if value.is_truthy() { K::from_value(value).map(Some) } else { Some(None) }
    }
}

/// Unset, which is empty, by `false`, 0 or the empty text.
impl<K: Keyword> Target for Vec<K> {
    type Output<'a> = Cow<'a, [K]>;
    const KIND: Kind = Kind::List;
    const OPTIONAL: bool = true;
    fn keywords() -> &'static [&'static str] {
        K::NAMES
    }
    fn expected() -> Cow<'static, str> {
        format!("a list of {}, or false", K::NAMES.join(", ")).into()
    }
    fn from_value(value: Value<'_>) -> Option<Vec<K>> {
        match value {
            unset if !unset.is_truthy() => Some(Vec::new()),
            Value::List(items) => items.iter().map(|item| K::from_value(item.lend())).collect(),
            scalar => K::from_value(scalar).map(|keyword| vec![keyword]),
        }
    }
    fn output(value: Value<'_>) -> Option<Cow<'_, [K]>> {
        Self::from_value(value).map(Cow::Owned)
    }
    fn lend(&self) -> Cow<'_, [K]> {
        Cow::Borrowed(self)
    }
}

/// What is wrong with a result for a target, if anything is.
pub(super) fn unfit<T: Target>(typed: &Typed) -> Option<Finding> {
    let fault = || Finding::new(typed.span, typed.describe(), &T::expected());
    if let Some(value) = typed.constant() {
        if typed.kind == Type::Any {
            return None; // at fault already, or a value that only evaluation knows
        }
        let is_misfit = match (T::KIND, typed.kind) {
            (Kind::Anything, _) => false,
            (Kind::Text | Kind::List | Kind::Keyword, Type::Bool) => !T::OPTIONAL || value.is_truthy(),
            (Kind::Bool | Kind::Integer | Kind::Duration, Type::Text | Type::List | Type::Ip) => true,
            _ => T::from_value(value.clone()).is_none(),
        };
        return is_misfit.then(|| fault().hint(hint::<T>(value)));
    }
    let fits = match (T::KIND, typed.kind) {
        (_, Type::Any) | (Kind::Anything, _) => true,
        (Kind::Bool | Kind::Integer | Kind::Duration, kind) => kind.is_number(),
        (Kind::Text, Type::Bool | Type::List) => false,
        (Kind::Text, _) => true,
        (Kind::List, kind) => matches!(kind, Type::List | Type::Text),
        (Kind::Keyword, kind) => kind == Type::Text,
        (Kind::Mapping, kind) => matches!(kind, Type::Text | Type::Bool),
    };
    (!fits).then(fault)
}

fn hint<T: Target>(value: &Value<'_>) -> Option<String> {
    let Value::Text(text) = value else { return None };
    match T::KIND {
        Kind::Keyword | Kind::List => did_you_mean(text, T::keywords().iter().copied()),
        Kind::Bool | Kind::Integer | Kind::Duration => Some("quotes make it a text".to_owned()),
        Kind::Text | Kind::Mapping | Kind::Anything => None,
    }
}
