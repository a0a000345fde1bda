//! Tables of the language: operators, functions, precedence, faults, and the documentation's examples.

use std::collections::HashMap;

use compact_str::CompactString;

use super::*;

/// A scope from a table.
#[derive(Default)]
pub(super) struct Facts {
    variables: HashMap<&'static str, Value<'static>>,
    answers: Option<Answers>,
}

impl Scope for Facts {
    fn variable(&self, variable: Variable) -> Value<'_> {
        self.variables.get(variable.name()).cloned().unwrap_or(Value::EMPTY)
    }
    fn lookups(&self) -> &dyn Lookups {
        &LOCAL
    }
    fn answers(&self) -> Option<&Answers> {
        self.answers.as_ref()
    }
}

struct Local;
static LOCAL: Local = Local;

impl Lookups for Local {
    fn is_local_domain(&self, directory: &str, domain: &str) -> bool {
        matches!(directory, "" | "*" | "local") && domain == "example.org"
    }
    fn is_local_address(&self, _: &str, address: &str) -> bool {
        address == "jane@example.org"
    }
    fn key_get(&self, store: &str, key: &str) -> Option<Value<'_>> {
        (store == "words" && key == "hello").then_some(Value::text("world"))
    }
    fn key_exists(&self, store: &str, key: &str) -> bool {
        self.key_get(store, key).is_some()
    }
    fn key_set(&self, _: &str, _: &str, _: Value<'_>) -> bool {
        true
    }
    fn counter_get(&self, _: &str, _: &str) -> i64 {
        7
    }
    fn counter_incr(&self, _: &str, _: &str, by: i64) -> i64 {
        7 + by
    }
}

pub(super) fn facts() -> Facts {
    let mut facts = Facts::default();
    let ip = |text: &str| Value::Ip(text.parse().expect("an address"));
    facts.variables.extend([
        ("listener", Value::text("smtp")),
        ("remote_ip", ip("10.0.0.20")),
        ("local_ip", ip("2001:db8::1")),
        ("remote_port", Value::Integer(34567)),
        ("local_port", Value::Integer(25)),
        ("protocol", Value::text("smtp")),
        ("is_tls", Value::bool(false)),
        ("helo_domain", Value::text("mx.example.net")),
        ("sender", Value::text("john@example.net")),
        ("sender_domain", Value::text("example.net")),
        ("rcpt", Value::text("jane.doe@example.org")),
        ("rcpt_domain", Value::text("example.org")),
        ("recipients", Value::texts(["a@example.org", "b@example.org"])),
        ("priority", Value::Integer(-3)),
        ("address", Value::text("jane.doe@example.org")),
        ("retry_num", Value::Integer(2)),
        ("last_error", Value::text("tls")),
        ("queue_age", Value::Integer(7200)),
        ("expires_in", Value::Integer(60)),
        ("source", Value::text("dsn")),
        ("size", Value::Integer(1024)),
        ("headers", Value::texts(["Host: mail.example.org", "X-Trace:  7 "])),
    ]);
    facts
}

const EVERYTHING: VariableSet = VariableSet::of(Variable::ALL);

fn config(key: &str) -> Option<Value<'static>> {
    match key {
        "server.hostname" => Some(Value::text("mx.example.org")),
        "session.limit" => Some(Value::Integer(5)),
        _ => None,
    }
}

pub(super) fn everywhere() -> Environment<'static> {
    Environment {
        variables: EVERYTHING,
        config: &config,
        directories: Names::Known(&["local"]),
        stores: Names::Known(&["words", "blocked-domains"]),
        may_wait: true,
    }
}

fn eval_as<T: Target>(text: &str, fallback: T) -> T
where
    T: for<'a> Target<Output<'a> = T>,
{
    let expr = Expr::parse(text, fallback, &everywhere()).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    expr.eval(&facts()).unwrap_or_else(|stop| panic!("{text}: {stop:?}"))
}

fn text_of(text: &str) -> String {
    let expr = Expr::parse(text, CompactString::default(), &everywhere())
        .unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    let facts = facts();
    expr.eval(&facts).unwrap_or_else(|stop| panic!("{text}: {stop:?}")).to_string()
}

#[test]
fn conditions_of_the_examples_hold() {
    for (text, is) in [
        ("local_port = 25", true),
        ("listener != 'smtp'", false),
        ("remote_ip = '10.0.0.20'", true),
        ("is_local_domain('', rcpt_domain) & matches('^([^.]+)\\.([^.]+)@(.+)$', rcpt)", true),
        ("retry_num > 1", true),
        ("!is_empty(authenticated_as)", false),
        ("!is_empty(authenticated_as) || !key_exists('blocked-domains', sender_domain)", true),
        ("local_port != 25 && is_tls", false),
        ("retry_num > 0 && last_error == 'tls'", true),
        ("source == 'report'", false),
    ] {
        assert_eq!(eval_as(text, false), is, "{text}");
    }
}

#[test]
fn texts_are_made() {
    for (text, result) in [
        ("'rsa-' + sender_domain", "rsa-example.net"),
        ("config_get('server.hostname') + ' Posthaste ESMTP'", "mx.example.org Posthaste ESMTP"),
        (
            "key_get('words', 'none') + '-' + key_exists('words', 'none') + '-' + key_get('words', 'hello') + '-' + key_exists('words', 'hello')",
            "-0-world-1",
        ),
    ] {
        assert_eq!(text_of(text), result, "{text}");
    }
}
