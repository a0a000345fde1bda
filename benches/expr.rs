//! What an expression costs at a command: CRATES.md asks for 20 to 60 ns where a session asks.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use compact_str::CompactString;
use criterion::{Criterion, criterion_group, criterion_main};
use posthaste::expr::{Branch, Environment, Expr, Scalar, Scope, Source, Stage, Value, Variable};
use posthaste::lookup::{DirectorySettings, ListSettings, ListValue, Lookups, Memory, Settings, ShardLookups};

struct Session(ShardLookups);

impl Scope for Session {
    fn variable(&self, variable: Variable) -> Value<'_> {
        match variable {
            Variable::Listener => Value::text("submission"),
            Variable::RemoteIp => Value::Ip([10, 0, 0, 20].into()),
            Variable::LocalPort => Value::Integer(25),
            Variable::SenderDomain => Value::text("customers.example.net"),
            Variable::Rcpt => Value::text("jane.doe@mail.example.org"),
            Variable::RcptDomain => Value::text("mail.example.org"),
            _ => Value::EMPTY,
        }
    }

    fn lookups(&self) -> &dyn posthaste::expr::Lookups {
        &self.0
    }
}

fn session() -> Session {
    let domains = (0..1000).map(|i| format!("domain{i}.example").into()).chain(["mail.example.org".into()]).collect();
    let directory = DirectorySettings { id: "office".into(), domains, ..DirectorySettings::default() };
    let entries = (0..1000).map(|i| (format!("blocked{i}.example").into(), ListValue::Bool(true))).collect();
    let list = ListSettings { id: "blocked-domains".into(), entries };
    let settings = Settings { directories: vec![directory], lists: vec![list], ..Settings::default() };
    let lookups = Lookups::build(&settings).expect("sound settings");
    Session(ShardLookups::new(Arc::new(lookups), Rc::new(Memory::default())))
}

fn compile(text: &str) -> Expr<bool> {
    Expr::parse(text, false, &Environment::at(Stage::RCPT)).expect("compiles")
}

fn conditions(c: &mut Criterion) {
    let session = session();
    let mut group = c.benchmark_group("expr");
    for (name, text) in [
        ("compare_port", "local_port = 25"),
        ("compare_text", "listener != 'smtp'"),
        ("compare_ip", "remote_ip = '10.0.0.20'"),
        ("three_comparisons", "local_port = 25 && listener != 'smtp' && remote_ip = '10.0.0.20'"),
        ("starts_with", "starts_with(rcpt, 'jane')"),
        ("is_in_network", "is_in_network(remote_ip, ['192.0.2.0/24', '10.0.0.0/8'])"),
        ("is_local_domain", "is_local_domain('*', rcpt_domain)"),
        ("is_allowed", "!is_empty(authenticated_as) || !key_exists('blocked-domains', sender_domain)"),
        ("matches", "matches('^([^.]+)[.]([^.]+)@(.+)$', rcpt)"),
    ] {
        let expr = compile(text);
        group.bench_function(name, |b| b.iter(|| black_box(expr.eval(black_box(&session)))));
    }
    let constant = Expr::constant(true);
    group.bench_function("constant", |b| b.iter(|| black_box(constant.eval(black_box(&session)))));

    let route = Source::Branches(vec![
        Branch {
            if_: Some(Scalar::Text("is_local_domain('*', sender_domain)")),
            then: Some(Scalar::Text("'local'")),
            else_: None,
        },
        Branch { else_: Some(Scalar::Text("'mx'")), ..Branch::default() },
    ]);
    let route = Expr::compile(&route, CompactString::default(), &Environment::at(Stage::RCPT)).expect("compiles");
    group.bench_function("route", |b| b.iter(|| black_box(route.eval(black_box(&session))).is_ok()));
    group.bench_function("compile", |b| {
        b.iter(|| compile(black_box("local_port = 25 && listener != 'smtp' && remote_ip = '10.0.0.20'")))
    });
    group.finish();
}

criterion_group!(benches, conditions);
criterion_main!(benches);
