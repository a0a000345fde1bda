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
        locals: &|_| None,
    }
}

/// The value of an expression as a text list, so that its kind shows: numbers and texts differ.
pub(super) fn value_of(text: &str, facts: &Facts) -> Value<'static> {
    let expr = Expr::parse(text, Anything::default(), &everywhere())
        .unwrap_or_else(|faults| panic!("{text}: {}", faults.iter().map(ToString::to_string).collect::<String>()));
    expr.eval(facts).unwrap_or_else(|stop| panic!("{text}: {stop:?}")).0
}

/// A target that takes every value as it is.
#[derive(Debug, Clone)]
pub(super) struct Anything(pub Value<'static>);

impl Default for Anything {
    fn default() -> Self {
        Anything(Value::EMPTY)
    }
}

impl Target for Anything {
    type Output<'a> = Anything;
    const KIND: Kind = Kind::Anything;
    fn expected() -> std::borrow::Cow<'static, str> {
        "anything".into()
    }
    fn from_value(value: Value<'_>) -> Option<Self> {
        Some(Anything(value.into_owned()))
    }
    fn output(value: Value<'_>) -> Option<Self> {
        Self::from_value(value)
    }
    fn lend(&self) -> Self {
        self.clone()
    }
}

/// Each line: an expression, `=>`, and a literal of the same kind and content.
fn table(lines: &str) {
    let facts = facts();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (text, expected) = line.rsplit_once(" => ").unwrap_or_else(|| panic!("no result: {line}"));
        let (value, expected) = (value_of(text, &facts), value_of(expected, &facts));
        assert_eq!(value, expected, "{text}");
    }
}

#[test]
fn literals() {
    table(
        r##"
        1 => 1
        true => 1
        false => 0
        1.50 => 1.5
        10ms => 10
        30s => 30000
        5m => 300000
        1h => 3600000
        7d => 604800000
        'a' => 'a'
        "a" => 'a'
        'a\'b' => "a'b"
        "a\"b" => 'a"b'
        [] => []
        ['a', 1, 'b'] => ['a', 1, 'b']
        len('\n\r\t\\') => 4
        len('\.') => 2
        ('a') => 'a'
        [ 'a' ][0] => 'a'
        "##,
    );
}

#[test]
fn operators() {
    table(
        r"
        7 + 2 => 9
        7 - 2 => 5
        7 * 2 => 14
        7 / 2 => 3.5
        8 / 2 => 4.0
        7 / 0 => 0.0
        1.5 + 1 => 2.5
        9223372036854775807 + 1 => 9223372036854775807
        -9223372036854775807 - 2 => -9223372036854775807 - 1
        9223372036854775807 * 2 => 9223372036854775807
        true + true => 2
        'a' + 'b' => 'ab'
        'a' + 1 => 'a1'
        1 + 'a' => '1a'
        'a' + 1.5 => 'a1.5'
        'a' + 2.0 => 'a2'
        'a' + (1 = 1) => 'a1'
        remote_ip + '!' => '10.0.0.20!'
        ['a'] + ['b'] => ['a', 'b']
        ['a'] + 'b' => ['a', 'b']
        'a' + ['b'] => ['a', 'b']
        -3 => 0 - 3
        -true => -1
        !0 => true
        !1 => false
        !'' => true
        !'a' => false
        ![] => true
        !['a'] => false
        !0.0 => true
        !!5 => true
        1 < 2 => true
        2 <= 2 => true
        2 =< 2 => true
        2 > 2 => false
        2 >= 2 => true
        2 => 2 => true
        1 = 1 => true
        1 == 1.0 => true
        1 != 2 => true
        'a' < 'b' => true
        'B' < 'a' => true
        'a' = 'A' => false
        local_port = '25' => true
        local_port < '100' => true
        '9' < '10' => false
        ['a', 'b'] = ['a', 'b'] => true
        ['a'] != ['a', 'b'] => true
        remote_ip = '10.0.0.20' => true
        remote_ip = '::ffff:10.0.0.20' => true
        local_ip = '2001:DB8:0::1' => true
        local_ip != '2001:db8::2' => true
        remote_ip = '' => false
        1 ^ 1 => false
        1 ^ 0 => true
        'a' ^ '' => true
        1 && 'a' => true
        1 & 0 => false
        0 || 'a' => true
        0 | '' => false
        1h > 59m => true
        queue_age > 1h => true
        queue_age = 7200 => true
        queue_age < 3h => true
        expires_in = 1m => true
        queue_age + 1h = 3h => true
        ",
    );
}

#[test]
fn precedence() {
    table(
        r"
        1 + 2 * 3 => 7
        (1 + 2) * 3 => 9
        2 * 3 + 1 => 7
        10 - 3 - 2 => 5
        8 / 4 / 2 => 1.0
        -2 * -3 => 6
        !0 + 1 => 2
        1 + 1 < 3 => true
        1 < 2 = 1 => true
        1 = 2 < 3 => true
        1 ^ 0 = 1 => 1 ^ (0 = 1)
        1 ^ 1 && 0 => (1 ^ 1) && 0
        0 && 0 ^ 1 => 0 && (0 ^ 1)
        1 || 0 && 0 => 1
        (1 || 0) && 0 => 0
        0 && 0 || 1 => 1
        !'a' = '0' => true
        1 < 2 && 3 < 4 || 0 => true
        1 + 2 ^ 0 => (1 + 2) ^ 0
        ",
    );
}

#[test]
fn functions_on_lists() {
    table(
        r"
        count(['a', 'b']) => 2
        count([]) => 0
        count(recipients) => 2
        recipients[1] => 'b@example.org'
        recipients[2] => ''
        recipients[-1] => ''
        headers['host'] => 'mail.example.org'
        headers['x-trace'] => '7'
        headers['none'] => ''
        sort(['z', 'a', 'b'], true) => ['a', 'b', 'z']
        sort(['z', 'a', 'b'], false) => ['z', 'b', 'a']
        sort([10, 9, '8', 1.5], true) => [1.5, 9, 10, '8']
        dedup(['a', 'b', 'a']) => ['a', 'b']
        winnow(['a', '', 'b', '']) => ['a', 'b']
        is_intersect(['a', 'b'], ['b', 'c']) => true
        is_intersect(['a'], ['b']) => false
        is_intersect([remote_ip], ['10.0.0.20']) => true
        contains(recipients, 'a@example.org') => true
        contains(recipients, 'A@example.org') => false
        contains_ignore_case(recipients, 'A@example.org') => true
        len(recipients) => 2
        ",
    );
}

#[test]
fn functions_on_addresses_numbers_and_digests() {
    table(
        r"
        is_email('user@example.com') => true
        is_email('user') => false
        email_part('user@example.com', 'domain') => 'example.com'
        email_part('user@example.com', 'local') => 'user'
        email_part('user', 'domain') => ''
        email_part(sender, 'local') => 'john'
        is_empty('') => true
        is_empty([]) => true
        is_empty(0) => false
        is_empty(authenticated_as) => true
        is_number('123') => true
        is_number('-1.5') => true
        is_number('inf') => false
        is_number('1x') => false
        is_number('') => false
        is_number(5) => true
        is_ip_addr('192.0.2.1') => true
        is_ip_addr('2001:db8::') => true
        is_ip_addr(remote_ip) => true
        is_ip_addr('192.0.2') => false
        is_ipv4_addr('192.0.2.1') => true
        is_ipv4_addr('::1') => false
        is_ipv6_addr(local_ip) => true
        ip_reverse_name('192.0.2.1') => '1.2.0.192'
        ip_reverse_name('2001:db8::1') => '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2'
        ip_reverse_name('x') => ''
        hash('abc', 'md5') => '900150983cd24fb0d6963f7d28e17f72'
        hash('hello', 'sha1') => 'aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d'
        if_then(is_empty(''), 'empty', 'not empty') => 'empty'
        if_then(is_tls, 'yes', 'no') => 'no'
        is_in_network(remote_ip, '10.0.0.0/8') => true
        is_in_network(remote_ip, ['192.0.2.0/24', '10.0.0.20']) => true
        is_in_network(remote_ip, '192.0.2.0/24') => false
        is_in_network(local_ip, '2001:db8::/32') => true
        is_in_network('x', '::/0') => false
        config_get('server.hostname') => 'mx.example.org'
        config_get('session.limit') + 1 => 6
        ",
    );
}

#[test]
fn functions_on_texts() {
    table(
        r"
        trim(' a b ') => 'a b'
        trim_end(' a ') => ' a'
        trim_start(' a ') => 'a '
        len('hello') => 5
        len('é') => 2
        len(123) => 3
        to_lowercase('HeLLo É') => 'hello é'
        to_uppercase('hello é') => 'HELLO É'
        is_uppercase('HELLO 1') => true
        is_uppercase('Hello') => false
        is_uppercase('1') => false
        is_lowercase('hello') => true
        is_lowercase('Hello') => false
        has_digits('hello2') => true
        has_digits('hello') => false
        count_spaces('hello world') => 1
        count_uppercase('Hello World') => 2
        count_lowercase('Hello World') => 8
        count_chars('hi there') => 7
        contains('Hello World', 'World') => true
        contains('Hello World', 'world') => false
        contains('a', '') => true
        contains_ignore_case('Hello World', 'world') => true
        contains_ignore_case('STRASSE É', 'é') => true
        eq_ignore_case('hello', 'HELLO') => true
        eq_ignore_case('É', 'é') => true
        eq_ignore_case('a', 'b') => false
        starts_with('Hello World', 'Hello') => true
        starts_with(remote_ip, '10.') => true
        ends_with('Hello World', 'World') => true
        lines('hello\nworld') => ['hello', 'world']
        substring('hello world', 0, 5) => 'hello'
        substring('hello', 3, 100) => 'lo'
        substring('hello', 4, 2) => ''
        substring('héllo', 1, 2) => 'é'
        substring('hello', -1, 1) => 'h'
        strip_prefix('hello world', 'hello ') => 'world'
        strip_prefix('hello', 'x') => 'hello'
        strip_suffix('hello world', ' world') => 'hello'
        split('hello,world', ',') => ['hello', 'world']
        split('hello', '') => ['hello']
        rsplit('hello.world.com', '.') => ['hello', 'world', 'com']
        split_once('key=value=extra', '=') => ['key', 'value=extra']
        split_once('key', '=') => ['key']
        rsplit_once('key=value=extra', '=') => ['key=value', 'extra']
        split_n('a,b,c,d', ',', 2) => ['a', 'b', 'c,d']
        split_words('hello, world') => ['hello', 'world']
        split(rcpt, '@')[1] => 'example.org'
        trim(to_lowercase(' ' + rcpt_domain)) => 'example.org'
        ",
    );
}

#[test]
fn lookups() {
    table(
        r"
        is_local_domain('', rcpt_domain) => true
        is_local_domain('*', sender_domain) => false
        is_local_address('local', 'jane@example.org') => true
        key_get('words', 'hello') => 'world'
        key_get('words', 'none') => ''
        key_exists('words', 'hello') => true
        key_set('words', 'a', 1) => true
        counter_get('', 'seen') => 7
        counter_incr('', 'seen', 2) => 9
        key_get('words','none') + '-' + key_exists('words','none') + '-' + key_get('words','hello') + '-' + key_exists('words','hello') => '-0-world-1'
        ",
    );
}

#[test]
fn captures_are_those_of_the_last_successful_match() {
    table(
        r"
        matches('^([^.]+)\.([^.]+)@(.+)$', rcpt) && $0 = rcpt => true
        matches('^([^.]+)\.([^.]+)@(.+)$', rcpt) && $1 + $2 = 'janedoe' => true
        matches('^(?P<user>[^@]+)@', rcpt) && $user = 'jane.doe' => true
        matches('(a)(x)?', 'a') && $2 = '' => true
        matches('(j)', sender) && !matches('(q)', sender) && $1 = 'j' => true
        matches('(jo)', sender) && matches('(hn)', sender + '!') && $1 = 'hn' => true
        ",
    );
}

/// A list of branches as the configuration hands it over.
fn branches<'a>(list: &[(&'a str, &'a str)], otherwise: Scalar<'a>) -> Source<'a> {
    let text = |text| Some(Scalar::Text(text));
    let mut branches: Vec<_> =
        list.iter().map(|(if_, then)| Branch { if_: text(if_), then: text(then), else_: None }).collect();
    branches.push(Branch { else_: Some(otherwise), ..Branch::default() });
    Source::Branches(branches)
}

fn optional_text(source: &Source<'_>, facts: &Facts) -> Option<String> {
    let expr = Expr::<Option<CompactString>>::compile(source, None, &everywhere()).expect("compiles");
    expr.eval(facts).expect("a value").map(|text| text.to_string())
}

#[test]
fn examples_of_the_reference_work() {
    let facts = facts();
    let no = Scalar::Bool(false);
    let rewrite = branches(
        &[(r"is_local_domain('', rcpt_domain) & matches('^([^.]+)\.([^.]+)@(.+)$', rcpt)", "$1 + '+' + $2 + '@' + $3")],
        no.clone(),
    );
    assert_eq!(optional_text(&rewrite, &facts).as_deref(), Some("jane+doe@example.org"));
    let sub_addressing = branches(&[(r"matches('^([^.]+)\.([^.]+)@(.+)$', address)", "$2 + '@' + $3")], no.clone());
    assert_eq!(optional_text(&sub_addressing, &facts).as_deref(), Some("doe@example.org"));
    let catch_all = branches(&[("matches('(.+)@(.+)$', rcpt)", "'info@' + $2")], no.clone());
    assert_eq!(optional_text(&catch_all, &facts).as_deref(), Some("info@example.org"));

    let sign = branches(&[("listener != 'smtp'", "['rsa', 'ed25519']")], no.clone());
    let sign = Expr::<Vec<CompactString>>::compile(&sign, Vec::new(), &everywhere()).expect("compiles");
    assert!(sign.eval(&facts).expect("a value").is_empty());
    let signed = branches(
        &[("!is_local_domain('*', sender_domain)", "['rsa-' + sender_domain, 'ed25519-' + sender_domain]")],
        no,
    );
    let signed = Expr::<Vec<CompactString>>::compile(&signed, Vec::new(), &everywhere()).expect("compiles");
    let texts = signed.eval(&facts).expect("a value");
    assert_eq!(texts.iter().collect::<Vec<_>>(), ["rsa-example.net", "ed25519-example.net"]);

    let route = branches(
        &[("is_local_domain('*', rcpt_domain)", "'local'"), ("retry_num > 1", "'fallback'")],
        Scalar::Text("'mx'"),
    );
    let route = Expr::<CompactString>::compile(&route, "mx".into(), &everywhere()).expect("compiles");
    assert_eq!(route.eval(&facts).expect("a value").as_str(), "local");

    let reject = branches(&[("local_port = 25", "true")], Scalar::Bool(false));
    let reject = Expr::<bool>::compile(&reject, false, &everywhere()).expect("compiles");
    assert_eq!(reject.eval(&facts), Ok(true));
    for (text, is) in [
        ("remote_ip = '10.0.0.20'", true),
        ("sender_domain = 'example.org'", false),
        ("!is_empty(authenticated_as) || !key_exists('blocked-domains', sender_domain)", true),
    ] {
        assert_eq!(Expr::parse(text, false, &everywhere()).expect("compiles").eval(&facts), Ok(is), "{text}");
    }
}

fn constant<T: Target + PartialEq>(source: impl Into<Source<'static>>, expected: T) {
    let source = source.into();
    let expr = Expr::<T>::compile(&source, expected.clone(), &everywhere());
    let expr = expr.unwrap_or_else(|faults| panic!("{source:?}: {faults:?}"));
    assert_eq!(expr.as_constant(), Some(&expected), "{source:?}");
}

#[test]
fn what_does_not_depend_on_the_moment_is_a_constant() {
    use std::time::Duration;

    use super::keywords::*;
    constant("5m", Duration::from_secs(300));
    constant(Source::Value(Scalar::Integer(1500)), Duration::from_millis(1500));
    constant("1h / 2", Duration::from_secs(1800));
    constant("false", None::<Duration>);
    constant("7d", Some(Duration::from_secs(7 * 86400)));
    constant("100 * 1024 * 1024", 104_857_600u64);
    constant("2.9", 2u16);
    constant(Source::Value(Scalar::Bool(true)), true);
    constant("1 = 1 || local_port = 25", true);
    constant("'a' + 'b'", CompactString::from("ab"));
    constant(
        "config_get('server.hostname') + ' Posthaste ESMTP'",
        CompactString::from("mx.example.org Posthaste ESMTP"),
    );
    constant("''", None::<CompactString>);
    constant("false", None::<CompactString>);
    constant("'x'", Some(CompactString::from("x")));
    constant("relaxed", Verify::Relaxed);
    constant("'disabled'", Verify::Disable);
    constant("false", None::<PriorityPolicy>);
    constant("mixer", Some(PriorityPolicy::Mixer));
    constant("[plain, login]", vec![Mechanism::Plain, Mechanism::Login]);
    constant("false", Vec::<Mechanism>::new());
    constant("plain", vec![Mechanism::Plain]);
    constant(
        Source::Value(Scalar::List(vec![Scalar::Text("plain"), Scalar::Text("'login'")])),
        vec![Mechanism::Plain, Mechanism::Login],
    );
    constant("ipv4_then_ipv6", IpLookup::Ipv4ThenIpv6);
    constant("'rsa'", vec![CompactString::from("rsa")]);
    constant("true", Mapping::<CompactString>::Standard);
    constant("false", Mapping::<CompactString>::Off);
    constant(branches(&[("false", "1"), ("1 = 1", "2"), ("local_port = 25", "3")], Scalar::Integer(4)), 2u32);
}

#[test]
fn keywords_print_as_they_are_read() {
    use super::keywords::*;
    let names = keywords::all_names();
    for name in [
        "relaxed",
        "strict",
        "disable",
        "mixer",
        "stanag4406",
        "nsep",
        "plain",
        "login",
        "oauthbearer",
        "xoauth2",
        "hourly",
        "daily",
        "weekly",
        "never",
        "optional",
        "require",
        "ipv4_only",
        "ipv6_only",
        "ipv4_then_ipv6",
        "ipv6_then_ipv4",
    ] {
        assert!(names.contains(&name), "{name}");
    }
    assert_eq!(Verify::Disable.to_string(), "disable");
    assert_eq!(Interval::from_name("never"), Some(Interval::Never));
}

#[test]
fn a_failed_evaluation_gives_the_fallback_and_says_why() {
    let expr = Expr::parse("key_get('words', 'hello')", 5u16, &everywhere()).expect("compiles");
    let facts = facts();
    let Err(Stop::Error(error)) = expr.eval(&facts) else { panic!("not a number") };
    assert_eq!(error.to_string(), "the value world is not a whole number from 0 to 65535");
    let mut told = None;
    assert_eq!(expr.value(&facts, |error| told = Some(error)), Ok(5));
    assert!(matches!(told, Some(EvalError::Unfit { .. })));
}

#[test]
fn a_question_stops_the_evaluation_until_it_is_answered() {
    let text = "counter_incr('', 'asked', 1) > 0 && contains(dns_query(sender_domain, 'mx'), 'mx.example.net')";
    let expr = Expr::parse(text, false, &everywhere()).expect("compiles");
    assert!(expr.may_wait());
    let mut facts = facts();
    facts.answers = Some(Answers::new());
    let Err(Stop::Pending(question)) = expr.eval(&facts) else { panic!("a question") };
    assert_eq!(question, Question { name: "example.net".into(), kind: QueryKind::Mx });
    assert!(!expr.value_now(&facts, |error| assert_eq!(error, EvalError::CannotWait)));

    let mut answers = facts.answers.take().expect("set above");
    answers.add(question.clone(), Answer::Records(vec!["mx.example.net".into()]));
    facts.answers = Some(answers);
    assert_eq!(expr.eval(&facts), Ok(true));

    let mut failed = Answers::new();
    failed.add(question, Answer::Failed);
    facts.answers = Some(failed);
    assert_eq!(expr.eval(&facts), Err(Stop::Error(EvalError::Unanswered("example.net".into()))));
}

#[test]
fn effects_happen_once_however_often_an_evaluation_starts_again() {
    struct Counting {
        count: std::cell::Cell<i64>,
        answers: Answers,
    }
    impl Scope for Counting {
        fn variable(&self, _: Variable) -> Value<'_> {
            Value::text("example.net")
        }
        fn lookups(&self) -> &dyn Lookups {
            self
        }
        fn answers(&self) -> Option<&Answers> {
            Some(&self.answers)
        }
    }
    impl Lookups for Counting {
        fn is_local_domain(&self, _: &str, _: &str) -> bool {
            false
        }
        fn is_local_address(&self, _: &str, _: &str) -> bool {
            false
        }
        fn key_get(&self, _: &str, _: &str) -> Option<Value<'_>> {
            None
        }
        fn key_exists(&self, _: &str, _: &str) -> bool {
            false
        }
        fn key_set(&self, _: &str, _: &str, _: Value<'_>) -> bool {
            false
        }
        fn counter_get(&self, _: &str, _: &str) -> i64 {
            self.count.get()
        }
        fn counter_incr(&self, _: &str, _: &str, by: i64) -> i64 {
            self.count.set(self.count.get() + by);
            self.count.get()
        }
    }
    let text = "counter_incr('', 'x', 1) + count(dns_query(sender_domain, 'txt'))";
    let expr = Expr::parse(text, 0i64, &everywhere()).expect("compiles");
    let mut scope = Counting { count: 0.into(), answers: Answers::new() };
    let Err(Stop::Pending(question)) = expr.eval(&scope) else { panic!("a question") };
    scope.answers.add(question, Answer::Records(vec!["a".into(), "b".into()]));
    assert_eq!(expr.eval(&scope), Ok(3));
    assert_eq!(scope.count.get(), 1);
}

mod document;
mod faults;
mod model;
