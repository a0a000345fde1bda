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

/// Runs a script whose questions get these answers in their order; the questions, and the actions.
fn run_with(script: &str, answers: Vec<Answer>) -> (Vec<Question>, Vec<Action>) {
    let program = Compiler::new().compile(script).expect("compiles").program;
    let content = Bytes::from_static(MESSAGE);
    let (header, at) = HeaderSection::split(&content);
    let body = [content.slice(at..)];
    let view = MessageView { trace: b"", header: &header, body: &body, has_separator: true };
    let envelope = envelope();
    let mut machine = Machine::new(&program, &view, &envelope, Limits::default());
    let (mut asked, mut answers) = (Vec::new(), answers.into_iter());
    loop {
        match machine.run() {
            Step::Done(actions) => return (asked, actions.list),
            Step::Failed(error) => panic!("{error}"),
            Step::Ask(question) => {
                asked.push(question);
                machine.answer(answers.next().expect("an answer for each question"));
            }
        }
    }
}

#[test]
fn what_only_the_host_knows_is_asked() {
    let (asked, list) = run_with(
        "require [\"extlists\", \"duplicate\", \"mailbox\", \"special-use\", \"variables\", \"fileinto\"];\n\
         if not address :list \"from\" [\"friends\", \"family\"] { stop; }\n\
         if duplicate :uniqueid \"x\" :seconds 60 :handle \"h\" { stop; }\n\
         if allof(mailboxexists [\"a\", \"b\"], specialuse_exists \"a\" \"\\\\Junk\") { fileinto \"${0}\"; }",
        vec![
            Answer::Text(Some(b"coyote@desert.example.org".to_vec())),
            Answer::Bool(false),
            Answer::Bool(true),
            Answer::Bool(true),
        ],
    );
    assert_eq!(
        asked[0],
        Question::InList {
            lists: vec![b"friends".to_vec(), b"family".to_vec()],
            values: vec![b"coyote@desert.example.org".to_vec()]
        }
    );
    let duplicate = Question::Duplicate { id: b"x".to_vec(), handle: b"h".to_vec(), seconds: 60, is_last: false };
    assert_eq!(asked[1], duplicate);
    assert_eq!(asked.len(), 4);
    assert!(matches!(&list[..], [Action::FileInto(into)] if into.mailbox == "coyote@desert.example.org"));
}

#[test]
fn included_scripts_share_globals_and_nothing_else() {
    let inner = "require [\"include\", \"variables\"]; global \"g\"; set \"g\" \"from inside\"; set \"l\" \"x\";\n\
                 if header :matches \"subject\" \"*\" { return; } stop;";
    let inner = std::sync::Arc::new(Compiler::new().compile(inner).expect("compiles").program);
    let outer = "require [\"include\", \"variables\", \"fileinto\"]; global \"g\"; set \"l\" \"kept\";\n\
                 include :once \"inner\"; include :once \"inner\"; include :optional :global \"none\";\n\
                 fileinto \"${g}/${l}/${1}\";";
    let answers = vec![Answer::Script(Included::Found(inner)), Answer::Script(Included::Missing)];
    let (asked, list) = run_with(outer, answers);
    assert_eq!(asked[1], Question::Script { name: "none".into(), is_global: true });
    assert!(matches!(&list[..], [Action::FileInto(into)] if into.mailbox == "from inside/kept/"), "{list:?}");
}

#[test]
fn a_script_that_includes_itself_fails() {
    let program = Compiler::new().compile("require \"include\"; include \"me\";").expect("compiles").program;
    let shared = std::sync::Arc::new(program.clone());
    let (header, envelope) = (HeaderSection::default(), envelope());
    let view = MessageView { trace: b"", header: &header, body: &[], has_separator: false };
    let mut machine = Machine::new(&program, &view, &envelope, Limits::default());
    for _ in 0..3 {
        match machine.run() {
            Step::Ask(_) => machine.answer(Answer::Script(Included::Found(shared.clone()))),
            Step::Failed(error) => {
                assert!(matches!(error.kind, RunErrorKind::Include { why: "it includes itself", .. }));
                return;
            }
            Step::Done(_) => break,
        }
    }
    panic!("it must fail");
}

#[test]
fn redirects_carry_their_parameters() {
    let list = run("require [\"redirect-dsn\", \"redirect-deliverby\", \"copy\"];\n\
         redirect :copy :notify \"SUCCESS,delay\" :ret \"hdrs\" :bytimerelative 600 :bymode \"notify\" :bytrace \
         \"Jane <jane@example.net>\";")
    .expect("runs");
    let [Action::Redirect(redirect), Action::Keep(keep)] = &list[..] else { panic!("{list:?}") };
    assert!(keep.is_implicit && redirect.is_copy);
    assert_eq!(redirect.to.as_str(), "jane@example.net");
    assert_eq!(redirect.notify, Some(crate::mail::Notify { success: true, failure: false, delay: true }));
    assert_eq!(redirect.ret, Some(crate::mail::Ret::Headers));
    let by = RedirectBy { when: RedirectDeadline::InSeconds(600), is_return: false, is_trace: true };
    assert_eq!(redirect.deliver_by, Some(by));
    assert!(run("require \"redirect-dsn\"; redirect :notify \"SOON\" \"a@b.example\";").is_err());
}

#[test]
fn a_refusal_excludes_a_delivery() {
    let list = run("require \"ereject\"; ereject \"550 5.7.1 No\";").expect("runs");
    assert_eq!(list, [Action::Reject(Reject { reason: "550 5.7.1 No".into(), is_ereject: true })]);
    for script in ["reject \"no\"; keep;", "keep; reject \"no\";", "redirect \"a@b.example\"; reject \"no\";"] {
        let error = run(&format!("require \"reject\"; {script}")).expect_err("a conflict");
        assert!(error.contains("cannot be combined"), "{error}");
    }
}

#[test]
fn a_script_may_change_the_envelope() {
    let list = run("require [\"variables\", \"envelope\"]; set \"envelope.from\" \"new@example.net\";\n\
         if envelope :domain \"from\" \"example.net\" { set \"envelope.notify\" \"NEVER\"; }")
    .expect("runs");
    let set = |part, value: &str| Action::SetEnvelope { part, value: value.into() };
    assert_eq!(list[..2], [set(EnvelopePart::From, "new@example.net"), set(EnvelopePart::Notify, "NEVER")]);
}

#[test]
fn what_cannot_mean_what_it_says_is_warned_of() {
    let script = "require [\"fileinto\", \"copy\"];\nif size :under 0 { keep; }\n\
                  if header :matches \"a:\" \"b\" { stop; keep; }";
    let warnings = Compiler::new().compile(script).expect("compiles").warnings;
    let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn the_examples_of_the_documentation_compile() {
    let document = include_str!("../../docs/sieve.md");
    let examples: Vec<_> = document.split("```sieve\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let compiled = Compiler::new().compile(example).unwrap_or_else(|faults| panic!("{example}\n{faults:?}"));
        assert_eq!(compiled.warnings, [], "{example}");
    }
}
