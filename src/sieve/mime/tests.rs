//! The MIME extensions as scripts use them.

use bytes::Bytes;

use super::super::*;
use crate::base::WallTime;
use crate::mail::{
    Edit, Envelope, ForwardPath, HeaderSection, MailParameters, Mailbox, MessageView, Recipient, ReversePath,
};

const MESSAGE: &str = "From: Hendrik <hendrik@example.com>\nSubject: outer\nMIME-Version: 1.0\n\
Content-Type: multipart/mixed; boundary=AA\nX-Test: AA\n\nprologue\n--AA\n\
Content-Type: multipart/alternative; boundary=BB\nX-Test: BB\n\n--BB\nContent-Type: text/plain; charset=\"iso-8859-1\"\n\
Content-Transfer-Encoding: quoted-printable\nX-Test: CC\n\nHello w=F6rld\n--BB\nContent-Type: text/html\nX-Test: DD\n\n\
<p>Hello <b>again</b></p>\n--BB--\n--AA\nContent-Type: application/x-thing; name=\"a.exe\"\n\
Content-Disposition: attachment; filename*=utf-8''%e2%82%ac.exe\nContent-Transfer-Encoding: base64\nX-Test: EE\n\nSGVsbG8=\n--AA--\n\
epilogue\n";

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, false).expect("an address")
}

fn envelope() -> Envelope {
    Envelope {
        reverse_path: ReversePath::Mailbox(mailbox("sender@example.org")),
        mail: MailParameters::default(),
        recipients: vec![Recipient::new(ForwardPath(mailbox("user@example.com")))],
    }
}

/// Runs a script on a message with every extension required; the actions, and the message as edited.
fn run_with(script: &str, message: &str, limits: Limits) -> Result<(Vec<Action>, String), String> {
    let compiler = Compiler::new().without_require();
    let compiled = compiler.compile(script).map_err(|faults| format!("{faults:?}"))?;
    let content = Bytes::from(message.replace('\n', "\r\n").into_bytes());
    let (header, at) = HeaderSection::split(&content);
    let middle = at + (content.len() - at) / 2;
    let body = [content.slice(at..middle), content.slice(middle..)];
    let has_separator = at > header.raw().len();
    let view = MessageView { trace: b"", header: &header, body: &body, has_separator };
    let envelope = envelope();
    let mut machine = Machine::new(&compiled.program, &view, &envelope, limits).with_author("Müller <m@example.com>");
    let actions = loop {
        match machine.run() {
            Step::Done(actions) => break actions.list,
            Step::Failed(error) => return Err(error.to_string()),
            Step::Ask(Question::Time) => {
                machine.answer(Answer::Time { now: WallTime(1_795_400_000_000), offset_minutes: 60 });
            }
            Step::Ask(question) => machine.answer(Answer::Failed(format!("{question:?}").into())),
        }
    };
    let header = header.apply(actions.iter().filter_map(|action| match action {
        Action::Edit(edit) => Some(edit),
        _ => None,
    }));
    let last = actions.iter().rev().find_map(|action| match action {
        Action::Edit(Edit::ReplaceBody(pieces)) => Some(pieces.clone()),
        _ => None,
    });
    let body = last.unwrap_or_else(|| body.to_vec()).concat();
    let text = format!("{}\r\n{}", String::from_utf8_lossy(header.raw()), String::from_utf8_lossy(&body));
    Ok((actions, text.replace("\r\n", "\n")))
}

fn edited(script: &str) -> String {
    run_with(script, MESSAGE, Limits::default()).expect("runs").1
}

/// Whether a test holds for a message.
fn holds_for(test: &str, message: &str) -> bool {
    let (actions, _) = run_with(&format!("if {test} {{ discard; }}"), message, Limits::default()).expect("runs");
    actions == [Action::Discard]
}

fn holds(test: &str) -> bool {
    holds_for(test, MESSAGE)
}

/// The value that a script leaves in `${v}`.
fn value(script: &str) -> String {
    let script = format!("{script}\nfileinto \"<${{v}}>\";");
    let (actions, _) = run_with(&script, MESSAGE, Limits::default()).expect("runs");
    match actions.last() {
        Some(Action::FileInto(into)) => into.mailbox.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn body_is_looked_at_raw_by_content_and_as_text() {
    assert!(holds("body :raw :contains \"--AA\""));
    assert!(holds("body :raw :contains \"w=F6rld\""));
    assert!(holds("body :text :contains \"wörld\""));
    assert!(holds("body :contains \"Hello again\""));
    assert!(!holds("body :text :contains \"<b>\""));
    assert!(!holds("body :text :contains \"prologue\""));
    assert!(holds("body :content \"text/html\" :contains \"<b>\""));
    assert!(holds("body :content \"application\" :is \"Hello\""));
    assert!(holds("body :content \"multipart\" :is \"prologue\""));
    assert!(holds("body :content \"multipart/mixed\" :contains \"epilogue\""));
    assert!(holds("body :content \"text\" :count \"eq\" :comparator \"i;ascii-numeric\" \"2\""));
}

#[test]
fn a_message_without_body_matches_nothing() {
    for test in ["body :raw :contains \"\"", "body :text :contains \"\"", "body :content \"\" :matches \"*\""] {
        assert!(!holds_for(test, "Subject: x\n"), "{test}");
    }
    assert!(holds_for("body :raw :is \"\"", "Subject: x\n\n"));
}

#[test]
fn body_leaves_match_variables_alone() {
    let v = value("if header :matches \"subject\" \"*\" {} if body :raw :matches \"*Hello*\" { set \"v\" \"${1}\"; }");
    assert_eq!(v, "<outer>");
}

#[test]
fn loops_walk_parts_and_nested_loops_walk_their_children() {
    let walk = "foreverypart { if header :mime :matches \"x-test\" \"*\" { set \"v\" \"${v} ${1}\"; } }";
    assert_eq!(value(walk), "< AA BB CC DD EE>");
    let nested = "foreverypart { if header :mime \"x-test\" \"BB\" { foreverypart { \
                  if header :mime :matches \"x-test\" \"*\" { set \"v\" \"${v} ${1}\"; } } } }";
    assert_eq!(value(nested), "< CC DD>");
    let broken = "foreverypart :name \"o\" { foreverypart { if header :mime :matches \"x-test\" \"*\" { \
                  set \"v\" \"${v} ${1}\"; if string \"${1}\" \"CC\" { break :name \"o\"; } } } }";
    assert_eq!(value(broken), "< BB CC>");
    assert_eq!(value("foreverypart { set \"v\" \"${v}x\"; break; }"), "<x>");
}

#[test]
fn mime_tests_look_at_the_part_at_hand() {
    assert!(holds("header :mime :anychild \"x-test\" \"EE\""));
    assert!(!holds("header :mime \"x-test\" \"EE\""));
    assert!(holds("header :mime :anychild :subtype \"content-type\" \"HTML\""));
    assert!(holds("header :mime :anychild :contenttype \"content-type\" \"application/x-thing\""));
    assert!(holds("header :mime :anychild :param \"filename\" \"content-disposition\" \"€.exe\""));
    assert!(holds("header :mime :anychild :param [\"x\", \"name\"] :matches \"content-type\" \"*.exe\""));
    assert!(holds("header :mime :anychild :type :count \"eq\" \"content-type\" \"5\""));
    assert!(holds("exists :mime :anychild [\"subject\", \"content-disposition\"]"));
    assert!(!holds("exists :mime [\"subject\", \"content-disposition\"]"));
    assert!(holds("address :mime :anychild :domain \"from\" \"example.com\""));
}

#[test]
fn text_is_extracted_without_markup() {
    let take = |test: &str, command: &str| {
        value(&format!("foreverypart {{ if header :mime \"x-test\" \"{test}\" {{ {command} }} }}"))
    };
    assert_eq!(take("CC", "extracttext \"v\";"), "<Hello wörld>");
    assert_eq!(take("CC", "extracttext :first 8 \"v\";"), "<Hello wö>");
    assert_eq!(take("CC", "extracttext :upper \"v\";"), "<HELLO WÖRLD>");
    assert!(take("DD", "extracttext \"v\";").contains("Hello again"));
    assert_eq!(take("EE", "extracttext \"v\";"), "<Hello>");
    assert_eq!(take("AA", "extracttext \"v\";"), "<>");
}

#[test]
fn a_part_is_replaced_and_its_neighbours_stay() {
    let script = "foreverypart { if header :mime \"x-test\" \"EE\" { replace \"gone\"; } }\n\
                  if not body :text :contains \"gone\" { discard; }";
    insta::assert_snapshot!(edited(script));
    let script = "foreverypart { if header :mime :contenttype \"content-type\" \"multipart/alternative\" { \
                  replace :mime \"Content-Type: text/csv\r\n\r\na,b\"; } set \"v\" \"${v}x\"; }";
    assert!(edited(script).contains("--AA\nContent-Type: text/csv\n\na,b\n--AA\n"));
    assert_eq!(value(script), "<xxx>");
}

#[test]
fn the_whole_message_is_replaced() {
    insta::assert_snapshot!(edited("replace :subject \"nöw\" :from \"Tim <tim@example.com>\" \"all new\n--and\";"));
    let script =
        "foreverypart { set \"v\" \"${v}x\"; replace \"new\"; if body :raw :is \"new\" { set \"v\" \"${v}y\"; } }";
    assert_eq!(value(script), "<xy>");
}

#[test]
fn a_message_is_enclosed_in_another() {
    let script = "enclose :subject \"Warning\" :headers [\"X-Test\"] \"Beware\";\n\
                  if header :mime :anychild :contenttype \"content-type\" \"message/rfc822\" { addheader \"X-Ok\" \"1\"; }";
    insta::assert_snapshot!(edited(script));
    let (actions, _) = run_with(script, MESSAGE, Limits::default()).expect("runs");
    assert!(matches!(actions.last(), Some(Action::Keep(_))));
}

#[test]
fn html_is_converted_and_nothing_else() {
    let text = edited("if convert \"text/html\" \"text/plain\" [\"charset=utf-8\"] { addheader \"X-Ok\" \"1\"; }");
    assert!(text.contains("X-Ok: 1") && text.contains("Hello again") && !text.contains("<b>"), "{text}");
    assert!(holds("not convert \"application/x-thing\" \"text/plain\" [\"x=y\"]"));
    assert!(holds("convert \"image/tiff\" \"image/png\" \"\""), "no such part: nothing failed");
    let script = "foreverypart { if header :mime \"x-test\" \"CC\" { convert \"text/html\" \"text/plain\" \"\"; } }";
    assert_eq!(edited(script), MESSAGE);
}

#[test]
fn loops_and_bodies_have_limits() {
    let limits = Limits { loops: 1, ..Limits::default() };
    let error = run_with("foreverypart { foreverypart { stop; } }", MESSAGE, limits).expect_err("too deep");
    assert!(error.contains("limits.loops"));
    let small = Limits { mime_bytes: 10, ..Limits::default() };
    let (actions, _) = run_with("if body :contains \"Hello\" { discard; }", MESSAGE, small).expect("runs");
    assert!(matches!(&actions[..], [Action::Keep(_)]));
    let (_, text) = run_with("foreverypart { extracttext \"v\"; }", MESSAGE, small).expect("runs");
    assert_eq!(text, MESSAGE);
    let fails = Limits { above_mime: AboveMime::Fail, ..small };
    let error = run_with("if body :contains \"Hello\" { discard; }", MESSAGE, fails).expect_err("fails");
    assert!(error.contains("limits.mime-size"));
}

#[test]
fn faults_of_the_extensions_are_told() {
    let fault = |script: &str| {
        let faults = Compiler::new().without_require().compile(script).expect_err("a fault");
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(
        [
            fault("break;"),
            fault("foreverypart :name \"a\" { break :name \"b\"; }"),
            fault("extracttext \"v\";"),
            fault("if header :type \"a\" \"b\" {}"),
            fault("if exists :mime :param \"x\" \"a\" {}"),
            fault("if header :mime :type :subtype \"a\" \"b\" {}"),
            fault("foreverypart;"),
            fault(&("foreverypart {".repeat(11) + &"}".repeat(11))),
        ]
        .join("\n")
    );
}
