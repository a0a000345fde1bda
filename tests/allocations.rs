//! What a session asks at every command costs no allocation, and the answers are right meanwhile.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use compact_str::CompactString;
use posthaste::expr::keywords::{Mechanism, Verify};
use posthaste::expr::{
    Branch, Environment, Expr, Lookups as _, Mapping, Scalar, Scope, Source, Stage, Target, Value, Variable,
};
use posthaste::lookup::{
    Class, DirectorySettings, ListSettings, ListValue, Lookups, Memory, PrincipalSettings, Settings, ShardLookups,
};
use posthaste::mail::{
    Envelope, ForwardPath, HeaderSection, MailParameters, Mailbox, MessageView, Recipient, ReversePath,
};
use posthaste::sieve::{Compiler, Limits, Machine, Step};

/// What a session knows at RCPT.
struct Session {
    lookups: ShardLookups,
    rcpt: String,
}

impl Scope for Session {
    fn variable(&self, variable: Variable) -> Value<'_> {
        match variable {
            Variable::Listener => Value::text("submissions-of-the-marketing-department"),
            Variable::RemoteIp => Value::Ip([10, 0, 0, 20].into()),
            Variable::LocalIp => Value::Ip("2001:db8:1111:2222:3333:4444:5555:6666".parse().expect("an address")),
            Variable::LocalPort => Value::Integer(25),
            Variable::IsTls => Value::bool(true),
            Variable::Sender => Value::text("somebody-with-a-long-name@mail.customers.example.net"),
            Variable::SenderDomain => Value::text("mail.customers.example.net"),
            Variable::Rcpt => Value::text(&self.rcpt),
            Variable::RcptDomain => Value::text("a-rather-long-name.example.org"),
            Variable::HeloDomain => Value::text("mx.customers.example.net"),
            _ => Value::EMPTY,
        }
    }

    fn lookups(&self) -> &dyn posthaste::expr::Lookups {
        &self.lookups
    }
}

fn session() -> Session {
    let jane = PrincipalSettings {
        name: "jane".into(),
        class: Class::Individual,
        email: vec!["jane.doe.of.accounting@a-rather-long-name.example.org".into()],
        ..PrincipalSettings::default()
    };
    let directory = DirectorySettings { id: "office".into(), principals: vec![jane], ..DirectorySettings::default() };
    let list = ListSettings {
        id: "blocked-domains".into(),
        entries: vec![
            ("mail.customers.example.com".into(), ListValue::Bool(true)),
            ("10.0.0.0/8".into(), ListValue::Text("an internal network with a long comment".into())),
            ("*.bad.example".into(), ListValue::Bool(true)),
        ],
    };
    let settings = Settings { directories: vec![directory], lists: vec![list], ..Settings::default() };
    let lookups = Lookups::build(&settings).expect("no faults");
    Session {
        lookups: ShardLookups::new(Arc::new(lookups), Rc::new(Memory::default())),
        rcpt: "jane.doe.of.accounting@a-rather-long-name.example.org".to_owned(),
    }
}

fn compile<T: Target>(source: &Source<'_>, fallback: T) -> Expr<T> {
    Expr::compile(source, fallback, &Environment::at(Stage::RCPT))
        .unwrap_or_else(|faults| panic!("{source:?}: {faults:?}"))
}

/// Evaluates twice, the second time counted: the first fills the caches of regular expressions.
fn allocations<T: Target>(expr: &Expr<T>, session: &Session, check: impl Fn(T::Output<'_>)) -> u64 {
    let run = || check(expr.eval(session).unwrap_or_else(|stop| panic!("{stop:?}")));
    run();
    measure(run).count_total
}

#[test]
fn conditions_do_not_allocate() {
    let session = session();
    for (text, expected) in [
        ("local_port = 25", true),
        ("local_port != 25 && is_tls", false),
        ("listener = 'submissions-of-the-marketing-department'", true),
        ("listener != 'smtp' & remote_ip = '10.0.0.20'", true),
        ("local_ip = '2001:db8:1111:2222:3333:4444:5555:6666'", true),
        ("starts_with(local_ip, '2001:db8:1111')", true),
        ("is_in_network(remote_ip, ['192.0.2.0/24', '10.0.0.0/8'])", true),
        ("!is_empty(authenticated_as) || !key_exists('blocked-domains', sender_domain)", true),
        ("key_get('blocked-domains', remote_ip) = 'an internal network with a long comment'", true),
        ("key_exists('blocked-domains', helo_domain)", false),
        ("is_local_domain('*', rcpt_domain) && is_local_address('office', rcpt)", true),
        ("matches('^([^.@]+)[.]([^@]+)@(.+)$', rcpt)", true),
        ("starts_with(rcpt, 'jane') && ends_with(rcpt, '.org') && contains(rcpt, 'accounting')", true),
        ("contains_ignore_case(rcpt, 'ACCOUNTING') && eq_ignore_case(helo_domain, 'MX.customers.example.NET')", true),
        ("email_part(rcpt, 'local') = 'jane.doe.of.accounting'", true),
        ("len(strip_prefix(trim(rcpt), 'jane.doe')) > 5 * 2 && count_chars(rcpt) < 256", true),
        ("to_lowercase(rcpt_domain) = rcpt_domain ^ is_email(rcpt) = 0", true),
        ("counter_get('', 'nothing') = 0", true),
    ] {
        let expr = compile(&Source::from(text), !expected);
        assert!(expr.as_constant().is_none(), "{text} is a constant");
        let count = allocations(&expr, &session, |is| assert_eq!(is, expected, "{text}"));
        assert_eq!(count, 0, "{text}");
    }
}

/// `[ { if = condition, then = then }, { else = otherwise } ]`
fn choice<'a>(condition: &'a str, then: &'a str, otherwise: &'a str) -> Source<'a> {
    Source::Branches(vec![
        Branch { if_: Some(Scalar::Text(condition)), then: Some(Scalar::Text(then)), else_: None },
        Branch { else_: Some(Scalar::Text(otherwise)), ..Branch::default() },
    ])
}

#[test]
fn chosen_constants_and_lent_texts_do_not_allocate() {
    let session = session();
    let hostname = "'a-host-name-that-is-longer-than-any-inline-string.example.org ESMTP'";
    let greeting = compile(&choice("local_port = 25", hostname, "'other'"), CompactString::default());
    assert_eq!(allocations(&greeting, &session, |text| assert!(text.ends_with(" ESMTP"))), 0);

    let lent = compile(&choice("is_tls", "sender", "'nobody'"), CompactString::default());
    assert_eq!(allocations(&lent, &session, |text| assert!(text.starts_with("somebody"))), 0);

    let unset = compile(&choice("is_tls", "false", "'script'"), None::<CompactString>);
    assert_eq!(allocations(&unset, &session, |text| assert!(text.is_none())), 0);

    let mechanisms = compile(&choice("is_tls", "[plain, login]", "false"), Vec::<Mechanism>::new());
    assert_eq!(allocations(&mechanisms, &session, |list| assert_eq!(list.len(), 2)), 0);

    let signatures =
        compile(&choice("is_tls", "['rsa-2048-of-this-year', 'ed25519']", "false"), Vec::<CompactString>::new());
    assert_eq!(allocations(&signatures, &session, |list| assert_eq!(list.iter().count(), 2)), 0);

    let verify = compile(&choice("local_port = 25", "relaxed", "disable"), Verify::Disable);
    assert_eq!(allocations(&verify, &session, |verify| assert_eq!(verify, Verify::Relaxed)), 0);

    let timeout = compile(&choice("is_in_network(remote_ip, '10.0.0.0/8')", "1h", "5m"), Duration::ZERO);
    assert_eq!(allocations(&timeout, &session, |span| assert_eq!(span.as_secs(), 3600)), 0);

    let size = compile(&choice("is_local_domain('*', rcpt_domain)", "100 * 1024 * 1024", "1024"), 0u64);
    assert_eq!(allocations(&size, &session, |size| assert_eq!(size, 104_857_600)), 0);

    let constant = Expr::constant(CompactString::from("a constant that is longer than any inline string"));
    assert_eq!(allocations(&constant, &session, |text| assert!(text.starts_with("a constant"))), 0);
}

#[test]
fn judging_a_recipient_does_not_allocate() {
    let session = session();
    let mailbox = Mailbox::parse(&session.rcpt, false).expect("an address");
    let lookups = session.lookups.shared();
    let info = measure(|| {
        assert!(lookups.verdict("*", &mailbox, Mapping::Standard, Mapping::Standard).is_accepted());
        assert!(!session.lookups.is_local_domain("*", "another-rather-long-name.example.org"));
    });
    assert_eq!(info.count_total, 0);
}

/// The counter counts: a text that is made costs.
#[test]
fn what_makes_a_new_text_allocates() {
    let session = session();
    let expr = compile(&Source::from("'to ' + rcpt + ' from ' + sender"), CompactString::default());
    assert_ne!(allocations(&expr, &session, |text| assert!(text.starts_with("to jane"))), 0);
}

#[test]
fn a_script_allocates_for_its_actions_only() {
    const SCRIPT: &str = r#"require ["envelope", "subaddress", "fileinto"];
        if anyof (header :contains ["subject", "x-spam"] ["casino", "lottery"], not exists ["from", "to"]) { discard; }
        if address :domain "from" ["partner.example", "supplier.example"] { fileinto "partners"; }
        if allof (envelope :detail "to" "orders", size :under 1M) { fileinto "orders"; }
        if header :matches "subject" ["*[ticket ???????]*", "Re: *ticket*"] { fileinto "tickets"; }"#;
    let program = Compiler::new().compile(SCRIPT).expect("compiles").program;
    let content = "From: Jane <jane.doe@customers.example.net>\r\nTo: bob@example.org\r\nSubject: hello\r\n\r\n";
    let (header, _) = HeaderSection::split(&bytes::Bytes::from_static(content.as_bytes()));
    let view = MessageView { trace: b"", header: &header, body: &[], has_separator: true };
    let mailbox = |text| Mailbox::parse(text, false).expect("an address");
    let envelope = Envelope {
        reverse_path: ReversePath::Mailbox(mailbox("jane.doe@customers.example.net")),
        mail: MailParameters::default(),
        recipients: vec![Recipient::new(ForwardPath(mailbox("bob+work@example.org")))],
    };
    let counted = measure(|| {
        let mut machine = Machine::new(&program, &view, &envelope, Limits::default());
        let Step::Done(actions) = machine.run() else { panic!("it asks nothing") };
        assert!(actions.is_kept());
    });
    assert_eq!(counted.count_total, 1, "the list of actions");
}
