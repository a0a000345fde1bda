//! The room as a whole: scripts against messages.

use bytes::Bytes;

use super::*;
use crate::base::WallTime;
use crate::mail::{Envelope, ForwardPath, HeaderSection, MailParameters, Mailbox, MessageView, Recipient, ReversePath};

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, false).expect("an address")
}

fn envelope() -> Envelope {
    Envelope {
        reverse_path: ReversePath::Mailbox(mailbox("sender@example.org")),
        mail: MailParameters::default(),
        recipients: vec![Recipient::new(ForwardPath(mailbox("user+tag@example.com")))],
    }
}

const MESSAGE: &[u8] = b"From: Coyote <coyote@desert.example.org>\r\nTo: roadrunner@acme.example.com\r\n\
Subject: I have a present for you\r\nX-Count: 7\r\n\r\nLook, I'm sorry.\r\n";

/// Runs a script on [`MESSAGE`]; the time is known, everything else is not.
fn run(script: &str) -> Result<Vec<Action>, String> {
    let compiled = Compiler::new().compile(script).map_err(|faults| format!("{faults:?}"))?;
    let content = Bytes::from_static(MESSAGE);
    let (header, at) = HeaderSection::split(&content);
    let body = [content.slice(at..)];
    let view = MessageView { trace: b"", header: &header, body: &body, has_separator: true };
    let envelope = envelope();
    let mut machine = Machine::new(&compiled.program, &view, &envelope, Limits::default());
    loop {
        match machine.run() {
            Step::Done(actions) => return Ok(actions.list),
            Step::Failed(error) => return Err(error.to_string()),
            Step::Ask(Question::Time) => {
                machine.answer(Answer::Time { now: WallTime(1_795_400_000_000), offset_minutes: 60 });
            }
            Step::Ask(question) => machine.answer(Answer::Failed(format!("{question:?}").into())),
        }
    }
}

/// Whether a test holds.
fn holds(test: &str) -> bool {
    let script = format!(
        "require [\"variables\", \"relational\", \"envelope\", \"subaddress\", \"date\", \"index\", \"regex\", \
         \"comparator-i;ascii-numeric\", \"editheader\"];\nif {test} {{ discard; }}"
    );
    run(&script).expect("runs") == [Action::Discard]
}

#[test]
fn the_message_is_kept_unless_something_takes_it() {
    let kept = Action::Keep(Keep { is_implicit: true, flags: vec![] });
    assert_eq!(run(""), Ok(vec![kept.clone()]));
    assert_eq!(run("discard;"), Ok(vec![Action::Discard]));
    assert_eq!(run("discard; keep;").map(|list| list.len()), Ok(1));
    let list = run("require \"fileinto\"; fileinto \"a\"; fileinto \"a\";").expect("runs");
    assert!(matches!(&list[..], [Action::FileInto(into)] if into.mailbox == "a"));
    let list = run("require [\"fileinto\", \"copy\"]; fileinto :copy \"a\";").expect("runs");
    assert_eq!(list.last(), Some(&kept));
}

#[test]
fn tests_look_at_header_and_envelope() {
    assert!(holds("header :contains \"subject\" \"PRESENT\""));
    assert!(!holds("header :is \"subject\" \"present\""));
    assert!(holds("address :domain \"from\" \"desert.example.org\""));
    assert!(holds("envelope :detail \"to\" \"tag\""));
    assert!(holds("allof(exists [\"from\", \"to\"], not exists \"cc\")"));
    assert!(holds("header :value \"gt\" :comparator \"i;ascii-numeric\" \"x-count\" \"6\""));
    assert!(holds("header :count \"eq\" [\"to\", \"from\"] \"2\""));
    assert!(holds("anyof(size :over 1M, size :under 1K)"));
    assert!(holds("currentdate :zone \"+0000\" \"year\" \"2026\""));
}

#[test]
fn variables_hold_what_matched() {
    let list = run("require [\"variables\", \"fileinto\"];\n\
         if header :matches \"subject\" \"I have a * for *\" { set :upperfirst \"what\" \"${1}\"; }\n\
         fileinto \"${what}/${2}\";");
    assert!(matches!(&list.expect("runs")[..], [Action::FileInto(into)] if into.mailbox == "Present/you"));
}

#[test]
fn edits_are_seen_by_later_tests() {
    let list = run("require \"editheader\"; addheader \"X-New\" \"1\"; deleteheader \"x-count\";\n\
         if allof(header \"x-new\" \"1\", not exists \"x-count\") { discard; }")
    .expect("runs");
    assert_eq!(list.len(), 3);
    assert_eq!(list.last(), Some(&Action::Discard));
}

#[test]
fn faults_name_line_column_and_what_is_wrong() {
    let faults =
        Compiler::new().compile("keep :copy;\nif header :all \"a\" \"b\" {}\nfileinto \"x\";").expect_err("faults");
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "line 1, column 6: error: unknown tagged argument ':copy' for the keep command (it takes none)",
            "line 2, column 11: error: unknown tagged argument ':all' for the header test (known are ':is', ':contains', ':matches', ':comparator')",
            "line 3, column 1: error: unknown command 'fileinto': the script does not require \"fileinto\"",
        ]
    );
}

#[test]
fn absent_extensions_can_be_asked_for() {
    let list = run("require \"ihave\"; if ihave \"vnd.nothing\" { nothing :here; } else { discard; }");
    assert_eq!(list, Ok(vec![Action::Discard]));
    let list = run("require \"ihave\"; if ihave \"fileinto\" { fileinto \"x\"; }").expect("runs");
    assert!(matches!(&list[..], [Action::FileInto(_)]));
    assert_eq!(run("require \"ihave\"; error \"no\";"), Err("line 1: error: no".to_owned()));
}

#[test]
fn limits_have_names() {
    let script = "require [\"variables\"]; set \"a\" \"x\"; ".to_owned()
        + &"set \"a\" \"${a}${a}\"; ".repeat(40)
        + "if string \"${a}${a}\" \"x\" { stop; }";
    assert!(run(&script).expect_err("too large").contains("limits.variable-size"));
    let script =
        "redirect \"a@b.example\"; redirect \"c@b.example\"; redirect \"d@b.example\"; redirect \"e@b.example\";";
    assert!(run(script).expect_err("too many").contains("limits.redirects"));
}

#[test]
fn expressions_compute_over_variables() {
    let script = "require [\"vnd.posthaste.expressions\", \"vnd.posthaste.while\", \"variables\", \"fileinto\"];\n\
        let \"n\" \"1\"; let \"list\" \"[]\";\n\
        while \"n < 5\" { let \"list\" \"list + [n * 2]\"; let \"n\" \"n + 1\"; }\n\
        if eval \"count(list) == 4 && contains(list, '8')\" { fileinto \"${n}: ${list}\"; }";
    let list = run(script).expect("runs");
    assert!(matches!(&list[..], [Action::FileInto(into)] if into.mailbox == "5: 2, 4, 6, 8"), "{list:?}");
    let endless = "require [\"vnd.posthaste.while\"]; while \"1\" { keep; }";
    assert!(run(endless).expect_err("never ends").contains("limits.cpu"));
    let faults = Compiler::new().compile("require \"vnd.posthaste.expressions\";\nif eval \"1 +\" { stop; }");
    assert!(
        faults.expect_err("a fault")[0].to_string().starts_with("line 2, column 9: error: the eval test: expected")
    );
}
