//! What people are told: every fault with its place, what was found, what was expected.

use std::fmt::Write as _;

use compact_str::CompactString;

use super::super::keywords::{Mechanism, Verify};
use super::super::*;
use super::everywhere;

/// The text with each fault under its place.
fn told<T: Target>(text: &str, environment: &Environment<'_>) -> String {
    let mut out = format!("{text}\n");
    let faults = Expr::<T>::compile(&Source::from(text), fallback::<T>(), environment);
    for fault in faults.err().unwrap_or_default() {
        let chars = |end: u32| text.get(..end as usize).map_or(0, |before| before.chars().count());
        let (start, end) = (chars(fault.span.start), chars(fault.span.end));
        let _ = writeln!(out, "{:start$}{} {fault}", "", "^".repeat((end - start).max(1)));
    }
    out + "\n"
}

fn fallback<T: Target>() -> T {
    T::from_value(Value::Integer(1))
        .or_else(|| T::from_value(Value::text(T::keywords().first().unwrap_or(&""))))
        .expect("a value of every target")
}

#[test]
fn faults_point_at_what_is_wrong() {
    let environment = Environment { variables: Stage::MAIL.variables, ..everywhere() };
    let mut out = String::new();
    for text in [
        "",
        "local_port =",
        "= 25",
        "(local_port = 25",
        "local_port = 25)",
        "local_port 25",
        "local_port # 25",
        "sender = 'abc",
        "5x + 1 = 2",
        "99999999999999999999 = 1",
        "99999999999999d = 1",
        "1.5s = 2",
        "$ = 1",
        "['a', ] = []",
        "is_empty('a'",
        "local_prt = 25",
        "rcpt = 'a@b'",
        "retry_num > 1 && rcpt_domain = 'x'",
        "localhost",
        "starts_wiht(sender, 'a')",
        "starts_with(sender)",
        "starts_with(recipients, 'a') || count(sender) > 1 && is_number()",
        "local_port = 'smtp'",
        "remote_ip = '10.0.0.0/8'",
        "remote_ip = 'localhost'",
        "remote_ip > 5 - 'a'",
        "-sender = 1",
        "sender * 2 > 1",
        "hash(sender, 'sha265') = 'x'",
        "hash(sender, sender) = 'x'",
        "email_part(sender, 'host') = 'x'",
        "key_exists('wrods', sender)",
        "is_local_domain('loacl', sender_domain)",
        "key_exists(5, sender)",
        "matches(sender, 'x')",
        "matches('(', sender)",
        "matches('a{1000}{1000}', sender)",
        "$1 = 'a'",
        "matches('(a)', sender) && $2 = 'a'",
        "matches('(?P<user>a)', sender) && $usr = 'a'",
        "config_get('server.hostnam') = 'x'",
        "config_get(sender) = 'x'",
        "sql_query('db', 'SELECT 1', []) = 1",
        "is_in_network(remote_ip, '10.0.0.0/33')",
        "is_in_network(local_port, '10.0.0.0/8')",
        "dns_query(sender_domain, 'mx') = 'a'",
        "dns_query(sender_domain, 'aaaa') = ['a']",
        "['a', ['b']] = []",
        "sender['a'] = 'b'",
        "'true'",
        "sender",
    ] {
        out += &told::<bool>(text, &environment);
    }
    for text in ["Welcome!", "Welcome to us", "welcome", "is_tls", "true", "['a']"] {
        out += &told::<CompactString>(text, &environment);
    }
    for text in ["-1", "70000", "'many'", "['a']", "is_empty(sender) + 'a'"] {
        out += &told::<u16>(text, &environment);
    }
    for text in ["relaxd", "'strct'", "true", "5", "sender + 1", "is_tls"] {
        out += &told::<Verify>(text, &environment);
    }
    for text in ["[plan]", "true", "is_tls"] {
        out += &told::<Vec<Mechanism>>(text, &environment);
    }
    for text in ["'5m'", "5 m", "sender"] {
        out += &told::<std::time::Duration>(text, &environment);
    }
    out += &told::<bool>("count(dns_query(sender_domain, 'mx')) > 0", &environment.without_waiting());
    insta::assert_snapshot!(out);
}

#[test]
fn the_structure_of_branches_is_checked() {
    let text = |text| Some(Scalar::Text(text));
    let if_then = || Branch { if_: text("local_port = 25"), then: text("true"), else_: None };
    let otherwise = || Branch { else_: Some(Scalar::Bool(false)), ..Branch::default() };
    let cases: [(&str, Vec<Branch<'_>>); 9] = [
        ("no else", vec![if_then()]),
        ("nothing", vec![]),
        ("else first", vec![otherwise(), if_then()]),
        ("two else", vec![if_then(), otherwise(), otherwise()]),
        ("no then", vec![if_then(), Branch { if_: text("is_tls"), ..Branch::default() }, otherwise()]),
        ("no if", vec![Branch { then: text("true"), ..Branch::default() }, otherwise()]),
        ("then in else", vec![if_then(), Branch { then: text("true"), ..otherwise() }]),
        ("if in else", vec![Branch { if_: text("is_tls"), ..otherwise() }]),
        (
            "faults in all",
            vec![
                Branch { if_: text("is_tsl"), then: text("maybe"), else_: None },
                Branch { if_: text("'local_port = 25'"), then: Some(Scalar::List(vec![])), else_: None },
                Branch::default(),
                Branch { else_: text("5 +"), ..Branch::default() },
            ],
        ),
    ];
    let mut out = String::new();
    for (name, branches) in cases {
        let _ = writeln!(out, "{name}");
        let faults = Expr::compile(&Source::Branches(branches), false, &everywhere()).expect_err("faults");
        for fault in faults {
            let _ = writeln!(out, "  {:?} {}..{}: {fault}", fault.place, fault.span.start, fault.span.end);
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn sizes_and_depths_are_bounded() {
    let fails = |text: String| Expr::parse(&text, false, &everywhere()).is_err();
    assert!(fails("(".repeat(10_000) + "1" + &")".repeat(10_000)));
    assert!(fails("!".repeat(10_000) + "1"));
    assert!(fails("-".repeat(10_000) + "1"));
    assert!(fails("[".repeat(10_000)));
    assert!(fails("len(".repeat(3_000)));
    assert!(fails("1 + ".repeat(3_000) + "1"));
    assert!(fails("'".to_owned() + &"a".repeat(20_000) + "'"));
    assert!(!fails("1 + ".repeat(100) + "1"));
    let many = vec![Branch { else_: Some(Scalar::Bool(true)), ..Branch::default() }; 2000];
    assert!(Expr::compile(&Source::Branches(many), false, &everywhere()).is_err());
}

#[test]
fn a_variable_exists_only_at_its_stages() {
    for stage in Stage::ALL {
        let environment = Environment { variables: stage.variables, ..everywhere() };
        for variable in Variable::ALL {
            let text = format!("is_empty({})", variable.name());
            let compiles = Expr::parse(&text, false, &environment).is_ok();
            assert_eq!(compiles, stage.variables.contains(*variable), "{} at {}", variable.name(), stage.name);
        }
    }
    assert_eq!(Variable::from_name("email"), Some(Variable::Address));
    assert!(Stage::RCPT.variables.is_superset(Stage::CONNECTION.variables));
    assert!(!Stage::MAIL.variables.contains(Variable::HeloDomain));
    assert!(Stage::QUEUE_HOST.variables.contains(Variable::Mx));
}

/// Settings are compiled on any thread: the deepest expression fits a small stack, unoptimised.
#[test]
fn the_deepest_expression_fits_a_small_stack() {
    let compile = || {
        let depth = 120;
        for text in [
            "(".repeat(depth) + "1" + &")".repeat(depth),
            "!".repeat(depth) + "1",
            "len(".repeat(depth) + "''" + &")".repeat(depth),
            "1 + ".repeat(depth) + "local_port",
            "if_then(is_tls, ".repeat(depth) + "1" + &", 2)".repeat(depth),
        ] {
            let expr = Expr::parse(&text, false, &everywhere());
            assert!(expr.is_ok(), "{text}");
        }
    };
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(compile).expect("a thread");
    thread.join().expect("no overflow");
}
