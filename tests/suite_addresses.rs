//! The isemail addresses against our grammar of mailboxes (RFC 5321 §4.1.2).

use std::path::PathBuf;

use posthaste::mail::Mailbox;

/// Where we differ from the suite, with the sentence that says so.
const EXCEPTIONS: &[(u32, &str)] = &[(
    71,
    "accepted: RFC 5321 §4.1.3 wants :: to stand for two groups or more, RFC 4291 §2.2 for one or more; it is one address",
)];

struct Case {
    id: u32,
    address: String,
    category: String,
    diagnosis: String,
}

fn suite() -> Option<String> {
    let suites = match std::env::var_os("POSTHASTE_SUITES") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/suites"),
    };
    std::fs::read_to_string(suites.join("addresses/isemail-tests.xml")).ok()
}

fn cases(xml: &str) -> Vec<Case> {
    let parts = xml.split("<test id=\"").skip(1);
    parts
        .map(|part| {
            let inner = |tag: &str| {
                let (_, rest) = part.split_once(&format!("<{tag}>"))?;
                rest.split_once(&format!("</{tag}>")).map(|(text, _)| unescape(text))
            };
            Case {
                id: part.split('"').next().and_then(|id| id.parse().ok()).expect("an id"),
                address: inner("address").unwrap_or_default(),
                category: inner("category").expect("a category"),
                diagnosis: inner("diagnosis").expect("a diagnosis"),
            }
        })
        .collect()
}

/// Entities, and the pictures that stand for control characters.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (entity, tail) = after.split_once(';').expect("an entity");
        let code = match entity.strip_prefix("#x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => entity.strip_prefix('#').and_then(|decimal| decimal.parse().ok()),
        };
        out.push(match (entity, code) {
            (_, Some(code)) => char::from_u32(code).expect("a character"),
            ("amp", _) => '&',
            ("lt", _) => '<',
            ("gt", _) => '>',
            ("quot", _) => '"',
            ("apos", _) => '\'',
            other => panic!("unknown entity {other:?}"),
        });
        rest = tail;
    }
    out.push_str(rest);
    out.chars().map(|c| if ('\u{2400}'..'\u{2420}').contains(&c) { char::from(c as u8) } else { c }).collect()
}

#[test]
fn addresses_are_judged_as_isemail_judges_them() {
    let Some(xml) = suite() else {
        println!("SKIPPED: no addresses/isemail-tests.xml; set POSTHASTE_SUITES");
        return;
    };
    let cases = cases(&xml);
    assert!(cases.len() > 100, "only {} cases read", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        // What is worse than a warning about DNS or an oddity of RFC 5321 is no address in SMTP.
        let expected = ["ISEMAIL_VALID_CATEGORY", "ISEMAIL_DNSWARN", "ISEMAIL_RFC5321"].contains(&&*case.category);
        let is_exception = EXCEPTIONS.iter().any(|(id, _)| *id == case.id);
        let got = Mailbox::parse(&case.address, true);
        let agrees = got.is_ok() == expected;
        if agrees == is_exception {
            wrong.push(format!("{} {:?} {}: {got:?}", case.id, case.address, case.diagnosis));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
