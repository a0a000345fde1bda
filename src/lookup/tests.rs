//! Directories, lists and counters as a relay's administrator writes them.

use std::rc::Rc;
use std::sync::Arc;

use proptest::prelude::*;

use super::list::matches_pattern;
use super::*;
use crate::base::limits::MEMORY_KEYS_MAX;
use crate::expr::{self, Lookups as _};
use crate::mail::Mailbox;

fn principal(name: &str, class: Class, email: &[&str]) -> PrincipalSettings {
    let email = email.iter().map(CompactString::new).collect();
    PrincipalSettings { name: name.into(), class, email, ..PrincipalSettings::default() }
}

fn office() -> DirectorySettings {
    let mut jane = principal("jane", Class::Individual, &["Jane.Doe@Example.org", "jd@example.org", "@example.net"]);
    jane.email_list = vec!["info@example.org".into()];
    jane.member_of = vec!["sales".into()];
    let mut bill = principal("bill", Class::Admin, &["bill@b\u{fc}cher.example", "\"bill b\"@example.org"]);
    bill.email_list = vec!["info@example.org".into()];
    bill.member_of = vec!["all".into(), "sales".into()];
    let mut sales = principal("sales", Class::Group, &["sales@example.org"]);
    sales.member_of = vec!["all".into()];
    let mut all = principal("all", Class::List, &["all@example.org"]);
    all.member_of = vec!["sales".into()]; // a circle, which expansion must survive
    DirectorySettings {
        id: "office".into(),
        domains: vec!["empty.example".into()],
        accept_all: false,
        principals: vec![jane, bill, sales, all],
    }
}

fn newcomer() -> DirectorySettings {
    DirectorySettings {
        id: "newcomer".into(),
        domains: vec!["localhost".into(), "posthaste.test".into()],
        accept_all: true,
        principals: Vec::new(),
    }
}

fn lookups() -> Lookups {
    let list = ListSettings {
        id: "blocked".into(),
        entries: vec![
            ("Spam.Example".into(), ListValue::Bool(true)),
            ("not.example".into(), ListValue::Bool(false)),
            ("*.bad.example".into(), ListValue::Text("pattern".into())),
            ("192.0.2.0/24".into(), ListValue::Integer(2)),
            ("2001:db8::/32".into(), ListValue::Integer(6)),
        ],
    };
    let settings =
        Settings { directories: vec![office(), newcomer()], default_directory: "office".into(), lists: vec![list] };
    Lookups::build(&settings).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn rule(directory: &str, address: &str, sub_addressing: Mapping<&str>, catch_all: Mapping<&str>) -> String {
    let mailbox = Mailbox::parse(address, true).unwrap_or_else(|error| panic!("{address}: {error}"));
    match lookups().verdict(directory, &mailbox, sub_addressing, catch_all) {
        Verdict::NotLocal => "not local".to_owned(),
        Verdict::Unknown => "unknown".to_owned(),
        Verdict::Accepted { principal, rule } => {
            format!("{} by {rule:?}", principal.map_or("nobody", |principal| principal.settings.name.as_str()))
        }
    }
}

#[test]
fn recipients_are_judged_by_the_first_rule_that_applies() {
    for (address, expected) in [
        ("jane.doe@example.org", "jane by Exact"),
        ("JANE.DOE@EXAMPLE.ORG", "jane by Exact"),
        ("jane.doe+tag@example.org", "jane by SubAddress"),
        ("jane.doe+a+b@example.org", "jane by SubAddress"),
        ("+tag@example.org", "unknown"),
        ("nobody@example.org", "unknown"),
        ("nobody+tag@example.org", "unknown"),
        ("anybody@example.net", "jane by CatchAll"),
        ("bill@xn--bcher-kva.example", "bill by Exact"),
        ("bill@B\u{dc}CHER.example", "bill by Exact"),
        ("\"bill b\"@example.org", "bill by Exact"),
        ("\"jane.doe\"@example.org", "jane by Exact"),
        ("\"jane.doe+tag\"@example.org", "unknown"),
        ("info@example.org", "nobody by Exact"),
        ("sales@example.org", "sales by Exact"),
        ("postmaster@empty.example", "nobody by Postmaster"),
        ("PostMaster@example.org", "nobody by Postmaster"),
        ("any%thing!at.all@posthaste.test", "nobody by AcceptAll"),
        ("me@localhost", "nobody by AcceptAll"),
        ("me@remote.test", "not local"),
        ("me@sub.posthaste.test", "not local"),
        ("me@[127.0.0.1]", "not local"),
    ] {
        assert_eq!(rule("*", address, Mapping::Standard, Mapping::Standard), expected, "{address}");
    }
    assert_eq!(rule("", "me@localhost", Mapping::Standard, Mapping::Standard), "not local");
    assert_eq!(rule("newcomer", "me@localhost", Mapping::Off, Mapping::Off), "nobody by AcceptAll");
    assert_eq!(rule("none", "me@localhost", Mapping::Off, Mapping::Off), "not local");
    assert_eq!(rule("*", "jane.doe+tag@example.org", Mapping::Off, Mapping::Off), "unknown");
    assert_eq!(rule("*", "anybody@example.net", Mapping::Off, Mapping::Off), "unknown");
}

#[test]
fn expressions_may_choose_the_address_that_is_looked_up() {
    let jd = Mapping::Address("jd@example.org");
    assert_eq!(rule("*", "nobody@example.org", jd, Mapping::Off), "jane by SubAddress");
    assert_eq!(rule("*", "nobody@example.org", Mapping::Off, jd), "jane by CatchAll");
    assert_eq!(rule("*", "nobody@example.org", Mapping::Address("x"), Mapping::Address("x@example.org")), "unknown");
    assert_eq!(rule("*", "nobody@remote.test", jd, jd), "not local");
}

#[test]
fn postmaster_without_a_domain_is_always_taken() {
    let lookups = lookups();
    assert!(lookups.verdict("*", &Mailbox::postmaster(), Mapping::Off, Mapping::Off).is_accepted());
}

/// HARDENING 3.3: what looks like a route at a local domain is a literal local-part, and at no other is it local.
#[test]
fn no_spelling_of_a_remote_recipient_is_local() {
    for address in [
        "t@remote.test",
        "t%remote.test@[192.0.2.1]",
        "\"t@remote.test\"@[192.0.2.1]",
        "remote.test!t@[192.0.2.1]",
        "t@r\u{e9}mote.test",
        "postmaster@remote.test",
        "+t=remote.test@remote.test",
    ] {
        assert_eq!(rule("*", address, Mapping::Standard, Mapping::Standard), "not local", "{address}");
    }
    for address in ["t%remote.test@example.org", "remote.test!t@example.org", "\"t@remote.test\"@example.org"] {
        assert_eq!(rule("*", address, Mapping::Standard, Mapping::Standard), "unknown", "{address}");
    }
}

#[test]
fn domains_are_local_in_any_spelling() {
    let lookups = lookups();
    for domain in
        ["example.org", "EXAMPLE.org", "example.org.", "b\u{fc}cher.example", "xn--bcher-kva.example", "empty.example"]
    {
        assert!(lookups.is_local_domain("office", domain), "{domain}");
        assert!(lookups.is_local_domain("", domain), "{domain}");
        assert!(lookups.is_local_domain("*", domain), "{domain}");
        assert!(!lookups.is_local_domain("newcomer", domain), "{domain}");
    }
    for domain in ["", ".", "org", "xexample.org", "a.example.org", "*"] {
        assert!(!lookups.is_local_domain("*", domain), "{domain}");
    }
    assert!(lookups.is_local_address("", "jd@example.org"));
    assert!(!lookups.is_local_address("", "jd+x@example.org"));
    assert!(!lookups.is_local_address("", "not an address"));
}

#[test]
fn lists_expand_to_their_members() {
    let lookups = lookups();
    let jane = "Jane.Doe@Example.org";
    let bill = "bill@b\u{fc}cher.example";
    assert_eq!(lookups.expand("*", "info@example.org"), [jane, bill]);
    assert_eq!(lookups.expand("*", "sales@example.org"), [jane, bill]);
    assert_eq!(lookups.expand("*", "ALL@example.org"), [jane, bill]);
    assert!(lookups.expand("*", "jd@example.org").is_empty());
    assert!(lookups.expand("*", "nobody@example.org").is_empty());
    assert!(lookups.expand("newcomer", "info@example.org").is_empty());
}

#[test]
fn all_faults_of_directories_are_told() {
    let mut office = office();
    office.domains.push("-bad".into());
    office.principals.push(principal("", Class::Individual, &["no address", "jd@EXAMPLE.org", "@example.net"]));
    office.principals.push(principal("jane", Class::Individual, &["@"]));
    office.principals[0].member_of.extend(["nothing".into(), "bill".into()]);
    let empty = DirectorySettings { id: "empty".into(), accept_all: true, ..DirectorySettings::default() };
    let settings =
        Settings { directories: vec![office, empty], default_directory: "ofice".into(), ..Settings::default() };
    let faults = Lookups::build(&settings).expect_err("faults");
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn lists_know_keys_networks_and_patterns() {
    let lookups = lookups();
    for (key, expected) in [
        ("spam.example", Some(ListValue::Bool(true))),
        ("SPAM.EXAMPLE", Some(ListValue::Bool(true))),
        ("a.spam.example", None),
        ("not.example", None),
        ("a.b.bad.example", Some(ListValue::Text("pattern".into()))),
        ("bad.example", None),
        ("192.0.2.77", Some(ListValue::Integer(2))),
        ("::ffff:192.0.2.77", Some(ListValue::Integer(2))),
        ("2001:db8::25", Some(ListValue::Integer(6))),
        ("192.0.3.1", None),
        ("", None),
    ] {
        assert_eq!(lookups.key("blocked", key), expected.as_ref(), "{key}");
    }
    assert_eq!(lookups.key("none", "spam.example"), None);
    assert_eq!(lookups.stores().collect::<Vec<_>>(), ["blocked"]);
}

#[test]
fn what_a_shard_writes_is_its_own_and_covers_the_list() {
    let (shared, memory) = (Arc::new(lookups()), Rc::new(Memory::default()));
    let shard = ShardLookups::new(shared.clone(), memory.clone());
    let other = ShardLookups::new(shared.clone(), Rc::default());
    assert!(shard.key_set("blocked", "new.example", expr::Value::Integer(1)));
    assert!(shard.key_exists("blocked", "new.example"));
    assert!(!other.key_exists("blocked", "new.example"));
    assert_eq!(shard.key_get("blocked", "a.bad.example"), Some(expr::Value::text("pattern")));
    assert_eq!(shard.counter_incr("", "seen", 2), 2);
    assert_eq!(shard.counter_incr("", "seen", i64::MAX), i64::MAX);
    assert_eq!(shard.counter_get("", "seen"), i64::MAX);
    assert_eq!(shard.counter_get("blocked", "192.0.2.1"), 2);
    // A new configuration keeps what was counted.
    assert_eq!(ShardLookups::new(shared, memory).counter_get("", "seen"), i64::MAX);
}

#[test]
fn memory_is_bounded_and_forgets_the_oldest() {
    let memory = Memory::default();
    for i in 0..=MEMORY_KEYS_MAX {
        memory.add("s", &i.to_string(), 1);
    }
    assert_eq!(memory.get("s", "0"), None);
    assert_eq!(memory.get("s", "1"), Some(ListValue::Integer(1)));
    assert_eq!(memory.get("s", &MEMORY_KEYS_MAX.to_string()), Some(ListValue::Integer(1)));
    for i in 0..2 * crate::base::limits::MEMORY_STORES_MAX {
        memory.set(&format!("store {i}"), "k", ListValue::Bool(true));
    }
    assert!(!memory.set("one more", "k", ListValue::Bool(true)));
    assert_eq!(memory.add("one more", "k", 3), 3);
}

#[test]
fn tags_are_cut_at_the_first_plus() {
    for (address, expected) in [
        ("user+tag@example.org", Some("user@example.org")),
        ("user+a+b@example.org", Some("user@example.org")),
        ("user@example.org", None),
        ("+tag@example.org", None),
        ("\"user+tag\"@example.org", None),
        ("user@exa+mple.org", None),
        ("postmaster", None),
    ] {
        assert_eq!(without_tag(address).as_deref(), expected, "{address}");
    }
}

/// The definition of a pattern, exponential and plain.
fn naive(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], text) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
        (['?', rest @ ..], [_, text @ ..]) => naive(rest, text),
        ([p, rest @ ..], [c, text @ ..]) => p == c && naive(rest, text),
        _ => false,
    }
}

proptest! {
    #[test]
    fn patterns_match_as_defined(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        prop_assert_eq!(matches_pattern(&pattern, &text), naive(&chars(&pattern), &chars(&text)));
    }

    #[test]
    fn no_text_is_a_local_domain_by_accident(domain in "[ -~]{0,40}") {
        let lookups = lookups();
        let known = ["example.org", "example.net", "empty.example", "localhost", "posthaste.test", "xn--bcher-kva.example"];
        let is_known = known.contains(&domain.trim_end_matches('.').to_ascii_lowercase().as_str());
        prop_assert!(!lookups.is_local_domain("*", &domain) || is_known, "{domain}");
    }
}

#[test]
fn lookups_cross_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Lookups>();
    shared::<expr::Expr<bool>>();
}
