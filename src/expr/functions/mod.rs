//! The functions: one row each with name, arguments and result; pure ones are computed here.
//!
//! `matches`, `config_get`, `if_then`, `is_in_network` and `sql_query` are forms of the checker: their
//! arguments are looked at while an expression is compiled.

mod arrays;
mod digest;
mod misc;
mod text;

use super::scope::{EvalError, QueryKind};
use super::value::{Number as ValueNumber, Str, Type, Value};

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Argument {
    Any,
    /// Anything that has a text: all but lists.
    Text,
    List,
    TextOrList,
    Number,
    /// One of these, as a literal.
    Keyword(&'static [&'static str]),
    /// The name of a directory, `''` or `'*'`.
    Directory,
    /// The name of a store, or `''`.
    Store,
}

/// Whether a function may be computed while an expression is compiled, and what it asks otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    Pure,
    Lookup,
    /// May suspend the evaluation.
    Question,
}

macro_rules! functions {
    ($($variant:ident $name:literal [$($argument:expr),*] $result:ident $nature:ident,)*) => {
        /// A function that is called with its arguments evaluated.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Function { $($variant,)* }

        impl Function {
            pub const ALL: &'static [Function] = &[$(Function::$variant,)*];

            pub fn name(self) -> &'static str {
                match self { $(Function::$variant => $name,)* }
            }

            pub fn arguments(self) -> &'static [Argument] {
                match self { $(Function::$variant => const { &[$($argument),*] },)* }
            }

            pub fn result(self) -> Type {
                match self { $(Function::$variant => Type::$result,)* }
            }

            pub fn nature(self) -> Nature {
                match self { $(Function::$variant => Nature::$nature,)* }
            }
        }
    };
}

use Argument::{Any, Directory, Keyword, List, Number, Store, Text, TextOrList};

functions! {
    Count "count" [List] Integer Pure,
    Sort "sort" [List, Any] List Pure,
    Dedup "dedup" [List] List Pure,
    Winnow "winnow" [List] List Pure,
    IsIntersect "is_intersect" [List, List] Bool Pure,

    IsEmail "is_email" [Text] Bool Pure,
    EmailPart "email_part" [Text, Keyword(&["local", "domain"])] Text Pure,

    IsEmpty "is_empty" [Any] Bool Pure,
    IsNumber "is_number" [Any] Bool Pure,
    IsIpAddr "is_ip_addr" [Any] Bool Pure,
    IsIpv4Addr "is_ipv4_addr" [Any] Bool Pure,
    IsIpv6Addr "is_ipv6_addr" [Any] Bool Pure,
    IpReverseName "ip_reverse_name" [Text] Text Pure,
    Hash "hash" [Text, Keyword(&["md5", "sha1", "sha256", "sha512"])] Text Pure,

    Trim "trim" [Text] Text Pure,
    TrimEnd "trim_end" [Text] Text Pure,
    TrimStart "trim_start" [Text] Text Pure,
    Len "len" [TextOrList] Integer Pure,
    ToLowercase "to_lowercase" [Text] Text Pure,
    ToUppercase "to_uppercase" [Text] Text Pure,
    IsUppercase "is_uppercase" [Text] Bool Pure,
    IsLowercase "is_lowercase" [Text] Bool Pure,
    HasDigits "has_digits" [Text] Bool Pure,
    CountSpaces "count_spaces" [Text] Integer Pure,
    CountUppercase "count_uppercase" [Text] Integer Pure,
    CountLowercase "count_lowercase" [Text] Integer Pure,
    CountChars "count_chars" [Text] Integer Pure,
    Contains "contains" [TextOrList, Text] Bool Pure,
    ContainsIgnoreCase "contains_ignore_case" [TextOrList, Text] Bool Pure,
    EqIgnoreCase "eq_ignore_case" [Text, Text] Bool Pure,
    StartsWith "starts_with" [Text, Text] Bool Pure,
    EndsWith "ends_with" [Text, Text] Bool Pure,
    Lines "lines" [Text] List Pure,
    Substring "substring" [Text, Number, Number] Text Pure,
    StripPrefix "strip_prefix" [Text, Text] Text Pure,
    StripSuffix "strip_suffix" [Text, Text] Text Pure,
    Split "split" [Text, Text] List Pure,
    Rsplit "rsplit" [Text, Text] List Pure,
    SplitOnce "split_once" [Text, Text] List Pure,
    RsplitOnce "rsplit_once" [Text, Text] List Pure,
    SplitN "split_n" [Text, Text, Number] List Pure,
    SplitWords "split_words" [Text] List Pure,

    IsLocalDomain "is_local_domain" [Directory, Text] Bool Lookup,
    IsLocalAddress "is_local_address" [Directory, Text] Bool Lookup,
    KeyGet "key_get" [Store, Text] Any Lookup,
    KeyExists "key_exists" [Store, Text] Bool Lookup,
    KeySet "key_set" [Store, Text, Any] Bool Lookup,
    CounterIncr "counter_incr" [Store, Text, Number] Integer Lookup,
    CounterGet "counter_get" [Store, Text] Integer Lookup,
    DnsQuery "dns_query" [Text, Keyword(QueryKind::NAMES)] List Question,
}

/// The forms that the checker knows, with their numbers of arguments.
pub(super) const FORMS: &[(&str, usize)] =
    &[("matches", 2), ("config_get", 1), ("if_then", 3), ("is_in_network", 2), ("sql_query", 3)];

impl Function {
    pub fn from_name(name: &str) -> Option<Function> {
        Function::ALL.iter().copied().find(|function| function.name() == name)
    }
}

/// Every name that can be called, for hints.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    Function::ALL.iter().map(|function| function.name()).chain(FORMS.iter().map(|(name, _)| *name))
}

/// The arguments of a call. What the checker has counted is there; anything else is empty.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'s, 'a>(pub &'s [Value<'a>]);

impl<'s, 'a> Arguments<'s, 'a> {
    pub fn value(self, i: usize) -> &'s Value<'a> {
        self.0.get(i).unwrap_or(const { &Value::EMPTY })
    }

    fn text(self, i: usize) -> Str<'a> {
        self.value(i).clone().into_text()
    }

    fn integer(self, i: usize) -> i64 {
        self.value(i).number().map_or(0, ValueNumber::integer)
    }
}

/// Calls a function of nature `Pure`; any other gives the empty text, and the evaluator never asks.
pub(super) fn call<'a>(function: Function, arguments: Arguments<'_, 'a>) -> Result<Value<'a>, EvalError> {
    use Function::*;
    Ok(match function {
        Count => Value::Integer(arrays::count(arguments.value(0))),
        Sort => arrays::sort(arguments.value(0), arguments.value(1).is_truthy()),
        Dedup => arrays::dedup(arguments.value(0)),
        Winnow => arrays::winnow(arguments.value(0)),
        IsIntersect => Value::bool(arrays::is_intersect(arguments.value(0), arguments.value(1))),
        IsEmail | EmailPart | IsEmpty | IsNumber | IsIpAddr | IsIpv4Addr | IsIpv6Addr | IpReverseName | Hash => {
            misc::call(function, arguments)
        }
        _ if function.nature() == Nature::Pure => return text::call(function, arguments),
        _ => Value::EMPTY,
    })
}
