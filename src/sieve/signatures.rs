//! The table of commands and tests: one row each, by extension.

use std::borrow::Cow;

use super::capability::Capability as C;
use super::signature::{Kind, Positional, Signature, Tag, Tests, Verb};

/// Families of tags of which a call has one.
pub(super) const MATCH_TYPE: u8 = 1;
pub(super) const COMPARATOR: u8 = 2;
pub(super) const ADDRESS_PART: u8 = 3;
pub(super) const SIZE: u8 = 4;
pub(super) const ZONE: u8 = 5;
pub(super) const LOCATION: u8 = 6;
pub(super) const UNIQUE: u8 = 7;
pub(super) const BY: u8 = 8;
pub(super) const PERIOD: u8 = 9;
pub(super) const MIME_LOOK: u8 = 11;
pub(super) const BODY_TRANSFORM: u8 = 12;
/// The modifiers of `set` by precedence (RFC 5229 §4.1): one of each.
pub(super) const MODIFIER_CASE: u8 = 40;
pub(super) const MODIFIER_FIRST: u8 = 30;
pub(super) const MODIFIER_QUOTE: u8 = 20;
pub(super) const MODIFIER_ENCODE: u8 = 15;
pub(super) const MODIFIER_LENGTH: u8 = 10;

const fn flag(name: &'static str) -> Tag {
    Tag::new(name, None)
}
const fn number(name: &'static str) -> Tag {
    Tag::new(name, Some(Kind::Number))
}
const fn text(name: &'static str) -> Tag {
    Tag::new(name, Some(Kind::Text))
}
const fn list(name: &'static str) -> Tag {
    Tag::new(name, Some(Kind::List))
}

macro_rules! tags {
    ($($group:expr),*) => {{
        const GROUPS: &[&[Tag]] = &[$($group),*];
        const LENGTH: usize = {
            let (mut n, mut i) = (0, 0);
            while i < GROUPS.len() {
                n += GROUPS[i].len();
                i += 1;
            }
            n
        };
        const JOINED: [Tag; LENGTH] = {
            let mut joined = [flag(""); LENGTH];
            let (mut n, mut i) = (0, 0);
            while i < GROUPS.len() {
                let mut j = 0;
                while j < GROUPS[i].len() {
                    joined[n] = GROUPS[i][j];
                    n += 1;
                    j += 1;
                }
                i += 1;
            }
            joined
        };
        &JOINED
    }};
}

/// Match type and comparator.
pub(super) const MATCHING: &[Tag] = &[
    flag("is").family(MATCH_TYPE),
    flag("contains").family(MATCH_TYPE),
    flag("matches").family(MATCH_TYPE),
    flag("regex").family(MATCH_TYPE).needs(C::Regex),
    flag("list").family(MATCH_TYPE).needs(C::Extlists),
    text("count").family(MATCH_TYPE).needs(C::Relational),
    text("value").family(MATCH_TYPE).needs(C::Relational),
    text("comparator").family(COMPARATOR),
];
const PARTS: &[Tag] = &[
    flag("all").family(ADDRESS_PART),
    flag("localpart").family(ADDRESS_PART),
    flag("domain").family(ADDRESS_PART),
    flag("user").family(ADDRESS_PART).needs(C::Subaddress),
    flag("detail").family(ADDRESS_PART).needs(C::Subaddress),
];
const INDEX: &[Tag] = &[number("index").needs(C::Index), flag("last").needs(C::Index)];
const FLAGS: &[Tag] = &[list("flags").needs(C::Imap4flags)];
const COPY: &[Tag] = &[flag("copy").needs(C::Copy)];
const ZONES: &[Tag] = &[text("zone").family(ZONE)];
const REDIRECT: &[Tag] = &[
    text("notify").needs(C::RedirectDsn),
    text("ret").needs(C::RedirectDsn),
    number("bytimerelative").family(BY).needs(C::RedirectDeliverby),
    text("bytimeabsolute").family(BY).needs(C::RedirectDeliverby),
    text("bymode").needs(C::RedirectDeliverby),
    flag("bytrace").needs(C::RedirectDeliverby),
    flag("list").needs(C::Extlists),
];
const FILEINTO: &[Tag] =
    &[flag("create").needs(C::Mailbox), text("mailboxid").needs(C::Mailboxid), text("specialuse").needs(C::SpecialUse)];
const MODIFIERS: &[Tag] = &[
    flag("lower").family(MODIFIER_CASE),
    flag("upper").family(MODIFIER_CASE),
    flag("lowerfirst").family(MODIFIER_FIRST),
    flag("upperfirst").family(MODIFIER_FIRST),
    flag("quotewildcard").family(MODIFIER_QUOTE),
    flag("quoteregex").family(MODIFIER_QUOTE).needs(C::Regex),
    flag("encodeurl").family(MODIFIER_ENCODE).needs(C::Enotify),
    flag("length").family(MODIFIER_LENGTH),
];
const NOTIFY: &[Tag] = &[text("from"), text("importance"), list("options"), text("message")];
const VACATION: &[Tag] = &[
    number("days").family(PERIOD),
    number("seconds").family(PERIOD).needs(C::VacationSeconds),
    text("subject"),
    text("from"),
    list("addresses"),
    flag("mime"),
    text("handle"),
];
const DUPLICATE: &[Tag] =
    &[text("handle"), text("header").family(UNIQUE), text("uniqueid").family(UNIQUE), number("seconds"), flag("last")];

const MIME: &[Tag] = &[flag("mime").needs(C::Mime), flag("anychild").needs(C::Mime)];
const MIME_LOOKS: &[Tag] = &[
    flag("type").family(MIME_LOOK).needs(C::Mime),
    flag("subtype").family(MIME_LOOK).needs(C::Mime),
    flag("contenttype").family(MIME_LOOK).needs(C::Mime),
    list("param").family(MIME_LOOK).needs(C::Mime),
];
const BODY: &[Tag] =
    &[flag("raw").family(BODY_TRANSFORM), list("content").family(BODY_TRANSFORM), flag("text").family(BODY_TRANSFORM)];

const fn argument(name: &'static str, kind: Kind) -> Positional {
    Positional { name, kind, is_optional: false }
}
const fn optional(name: &'static str, kind: Kind) -> Positional {
    Positional { name, kind, is_optional: true }
}

const CONVERT: &[Positional] = &[
    argument("media type", Kind::Text),
    argument("media type to convert to", Kind::Text),
    argument("transcoding parameters", Kind::List),
];
const KEYS: Positional = argument("key list", Kind::List);
const HEADERS: Positional = argument("header names", Kind::List);

const NONE: Signature = Signature {
    name: "",
    verb: Verb::Host,
    is_test: false,
    needs: None,
    tags: Cow::Borrowed(&[]),
    positional: Cow::Borrowed(&[]),
    tests: Tests::None,
    has_block: false,
};

macro_rules! row {
    ($role:ident $name:literal $verb:ident $(, $field:ident = $value:expr)* $(,)?) => {
        Signature { name: $name, verb: Verb::$verb, is_test: row!(@$role), $($field: row!(@$field $value),)* ..NONE }
    };
    (@command) => { false };
    (@test) => { true };
    (@tags $value:expr) => { Cow::Borrowed($value) };
    (@positional $value:expr) => { Cow::Borrowed($value) };
    (@needs $value:expr) => { Some($value) };
    (@tests $value:expr) => { $value };
    (@has_block $value:expr) => { $value };
}

/// Every command and test of the language.
pub(super) static SIGNATURES: &[Signature] = &[
    // RFC 5228 §3, §4
    row!(command "require" Require, positional = &[argument("capabilities", Kind::List)]),
    row!(command "if" If, tests = Tests::One, has_block = true),
    row!(command "elsif" Elsif, tests = Tests::One, has_block = true),
    row!(command "else" Else, has_block = true),
    row!(command "stop" Stop),
    row!(command "keep" Keep, tags = FLAGS),
    row!(command "discard" Discard),
    row!(command "redirect" Redirect, tags = tags!(COPY, REDIRECT), positional = &[argument("address", Kind::Text)]),
    row!(command "fileinto" Fileinto, needs = C::Fileinto, tags = tags!(COPY, FLAGS, FILEINTO),
        positional = &[argument("mailbox", Kind::Text)]),
    // RFC 5228 §5
    row!(test "address" Address, tags = tags!(MATCHING, PARTS, INDEX, MIME),
        positional = &[argument("header list", Kind::List), KEYS]),
    row!(test "allof" Allof, tests = Tests::Many),
    row!(test "anyof" Anyof, tests = Tests::Many),
    row!(test "envelope" Envelope, needs = C::Envelope, tags = tags!(MATCHING, PARTS),
        positional = &[argument("envelope parts", Kind::List), KEYS]),
    row!(test "exists" Exists, tags = MIME, positional = &[HEADERS]),
    row!(test "false" False),
    row!(test "header" Header, tags = tags!(MATCHING, INDEX, MIME, MIME_LOOKS), positional = &[HEADERS, KEYS]),
    row!(test "not" Not, tests = Tests::One),
    row!(test "size" Size, tags = &[flag("over").family(SIZE), flag("under").family(SIZE)],
        positional = &[argument("limit", Kind::Number)]),
    row!(test "true" True),
    // RFC 5229
    row!(command "set" Set, needs = C::Variables, tags = MODIFIERS,
        positional = &[argument("name", Kind::Text), argument("value", Kind::Text)]),
    row!(test "string" String, needs = C::Variables, tags = MATCHING,
        positional = &[argument("source", Kind::List), KEYS]),
    // RFC 5183
    row!(test "environment" Environment, needs = C::Environment, tags = MATCHING,
        positional = &[argument("name", Kind::Text), KEYS]),
    // RFC 5260
    row!(test "date" Date, needs = C::Date,
        tags = tags!(MATCHING, INDEX, ZONES, &[flag("originalzone").family(ZONE)]),
        positional = &[argument("header name", Kind::Text), argument("date part", Kind::Text), KEYS]),
    row!(test "currentdate" Currentdate, needs = C::Date, tags = tags!(MATCHING, ZONES),
        positional = &[argument("date part", Kind::Text), KEYS]),
    // RFC 5293
    row!(command "addheader" Addheader, needs = C::Editheader, tags = &[flag("last")],
        positional = &[argument("field name", Kind::Text), argument("value", Kind::Text)]),
    row!(command "deleteheader" Deleteheader, needs = C::Editheader,
        tags = tags!(MATCHING, &[number("index"), flag("last")]),
        positional = &[argument("field name", Kind::Text), optional("value patterns", Kind::List)]),
    // RFC 5429
    row!(command "reject" Reject, needs = C::Reject, positional = &[argument("reason", Kind::Text)]),
    row!(command "ereject" Ereject, needs = C::Ereject, positional = &[argument("reason", Kind::Text)]),
    // RFC 5232
    row!(command "setflag" Setflag, needs = C::Imap4flags,
        positional = &[optional("variable name", Kind::Text), argument("flags", Kind::List)]),
    row!(command "addflag" Addflag, needs = C::Imap4flags,
        positional = &[optional("variable name", Kind::Text), argument("flags", Kind::List)]),
    row!(command "removeflag" Removeflag, needs = C::Imap4flags,
        positional = &[optional("variable name", Kind::Text), argument("flags", Kind::List)]),
    row!(test "hasflag" Hasflag, needs = C::Imap4flags, tags = MATCHING,
        positional = &[optional("variable names", Kind::List), argument("flags", Kind::List)]),
    // RFC 5230, RFC 6131
    row!(command "vacation" Vacation, needs = C::Vacation, tags = VACATION,
        positional = &[argument("reason", Kind::Text)]),
    // RFC 5435
    row!(command "notify" Notify, needs = C::Enotify, tags = NOTIFY, positional = &[argument("method", Kind::Text)]),
    row!(test "valid_notify_method" ValidNotifyMethod, needs = C::Enotify,
        positional = &[argument("methods", Kind::List)]),
    row!(test "notify_method_capability" NotifyMethodCapability, needs = C::Enotify, tags = MATCHING,
        positional = &[argument("method", Kind::Text), argument("capability", Kind::Text), KEYS]),
    // RFC 5235
    row!(test "spamtest" Spamtest, needs = C::Spamtest,
        tags = tags!(MATCHING, &[flag("percent").needs(C::Spamtestplus)]),
        positional = &[argument("value", Kind::Text)]),
    row!(test "virustest" Virustest, needs = C::Virustest, tags = MATCHING,
        positional = &[argument("value", Kind::Text)]),
    // RFC 5463
    row!(test "ihave" Ihave, needs = C::Ihave, positional = &[argument("capabilities", Kind::List)]),
    row!(command "error" Error, needs = C::Ihave, positional = &[argument("message", Kind::Text)]),
    // RFC 6134
    row!(test "valid_ext_list" ValidExtList, needs = C::Extlists, positional = &[argument("lists", Kind::List)]),
    // RFC 6609
    row!(command "include" Include, needs = C::Include,
        tags = &[flag("personal").family(LOCATION), flag("global").family(LOCATION), flag("once"), flag("optional")],
        positional = &[argument("script name", Kind::Text)]),
    row!(command "return" Return, needs = C::Include),
    row!(command "global" Global, needs = C::Include, positional = &[argument("variable names", Kind::List)]),
    // RFC 5173
    row!(test "body" Body, needs = C::Body, tags = tags!(MATCHING, BODY), positional = &[KEYS]),
    // RFC 5703
    row!(command "foreverypart" Foreverypart, needs = C::Foreverypart, tags = &[text("name")], has_block = true),
    row!(command "break" Break, needs = C::Foreverypart, tags = &[text("name")]),
    row!(command "replace" Replace, needs = C::Replace, tags = &[flag("mime"), text("subject"), text("from")],
        positional = &[argument("replacement", Kind::Text)]),
    row!(command "enclose" Enclose, needs = C::Enclose, tags = &[text("subject"), list("headers")],
        positional = &[argument("text", Kind::Text)]),
    row!(command "extracttext" Extracttext, needs = C::Extracttext, tags = tags!(MODIFIERS, &[number("first")]),
        positional = &[argument("variable name", Kind::Text)]),
    // RFC 6558: a command that is a test as well
    row!(command "convert" Convert, needs = C::Convert, positional = CONVERT),
    row!(test "convert" Convert, needs = C::Convert, positional = CONVERT),
    // RFC 7352
    row!(test "duplicate" Duplicate, needs = C::Duplicate, tags = DUPLICATE),
    // expressions of the configuration
    row!(command "let" Let, needs = C::Expressions,
        positional = &[argument("name", Kind::Text), argument("expression", Kind::Text)]),
    row!(command "eval" EvalCommand, needs = C::Expressions, positional = &[argument("expression", Kind::Text)]),
    row!(test "eval" Eval, needs = C::Expressions, positional = &[argument("expression", Kind::Text)]),
    row!(command "while" While, needs = C::While, positional = &[argument("expression", Kind::Text)], has_block = true),
    // RFC 5490, RFC 8579, RFC 9042
    row!(test "mailboxexists" Mailboxexists, needs = C::Mailbox, positional = &[argument("mailboxes", Kind::List)]),
    row!(test "mailboxidexists" Mailboxidexists, needs = C::Mailboxid,
        positional = &[argument("mailbox ids", Kind::List)]),
    row!(test "specialuse_exists" SpecialuseExists, needs = C::SpecialUse,
        positional = &[optional("mailbox", Kind::Text), argument("special-use attributes", Kind::List)]),
];

/// The row of a name, whatever its case; of a test and a command of the same name, the one that is wanted.
pub(super) fn find<'a>(host: &'a [Signature], name: &str, is_test: bool) -> Option<&'a Signature> {
    let mut named = SIGNATURES.iter().chain(host).filter(|row| row.name.eq_ignore_ascii_case(name));
    let first = named.next()?;
    if first.is_test == is_test {
        return Some(first);
    }
    named.find(|row| row.is_test == is_test).or(Some(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_unique_and_lower_case() {
        for (i, row) in SIGNATURES.iter().enumerate() {
            assert_eq!(row.name, row.name.to_ascii_lowercase());
            assert!(
                SIGNATURES.iter().skip(i + 1).all(|other| (other.name, other.is_test) != (row.name, row.is_test)),
                "{}",
                row.name
            );
            let optional = row.positional.iter().filter(|p| p.is_optional).count();
            assert!(optional <= 1, "{}: which of them is left out?", row.name);
        }
    }
}
