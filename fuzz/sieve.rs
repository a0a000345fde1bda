//! Sieve: the text of a script, and a script with a message.

use std::sync::Arc;

use posthaste::base::WallTime;
use posthaste::mail::{
    Envelope, ForwardPath, HeaderSection, MailParameters, Mailbox, MessageView, Recipient, ReversePath,
};
use posthaste::sieve::outgoing::{self, Origin};
use posthaste::sieve::{Action, Answer, Compiler, Included, Limits, Machine, Program, Question, Severity, Step};

/// The text of a script: it compiles, or has errors with a place in it.
pub fn source(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines = text.matches('\n').count() as u32 + 1;
    for compiler in [Compiler::new(), Compiler::new().without_require()] {
        let faults = match compiler.compile(&text) {
            Ok(compiled) => compiled.warnings,
            Err(faults) => {
                assert!(faults.iter().any(|fault| fault.severity == Severity::Error) || faults.len() >= 100);
                faults
            }
        };
        for fault in faults {
            assert!((1..=lines).contains(&fault.line), "{fault}");
            assert!(fault.column >= 1 && !fault.message.is_empty(), "{fault}");
        }
    }
}

/// A script, a NUL, a message: the run ends, twice in the same way.
pub fn run(input: &[u8]) {
    let at = input.iter().position(|&b| b == 0).unwrap_or(input.len());
    let (script, content) = input.split_at(at);
    let content = content.strip_prefix(b"\0").unwrap_or(content);
    let Ok(compiled) = Compiler::new().without_require().compile(&String::from_utf8_lossy(script)) else { return };
    let program = Arc::new(compiled.program);
    let first = evaluate(&program, content);
    assert_eq!(first, evaluate(&program, content));
    if let Step::Done(actions) = first {
        let disposes = |action: &Action| {
            !matches!(action, Action::Edit(_) | Action::SetEnvelope { .. } | Action::Notify(_) | Action::Vacation(_))
        };
        assert!(actions.list.iter().any(disposes), "something becomes of every message");
        assert!(actions.rejection().is_none() || !actions.is_kept());
        actions.list.iter().for_each(|action| letters(action, content));
    }
}

/// A letter that an action implies is a header section of whole fields, an empty line, a body.
fn letters(action: &Action, content: &[u8]) {
    let header = HeaderSection::split(&bytes::Bytes::copy_from_slice(content)).0;
    let owner = Mailbox::parse("user@example.com", false).expect("an address");
    let envelope = Envelope {
        reverse_path: ReversePath::Mailbox(Mailbox::parse("sender@example.org", false).expect("an address")),
        mail: MailParameters::default(),
        recipients: vec![Recipient::new(ForwardPath(owner.clone()))],
    };
    let origin = Origin {
        header: &header,
        envelope: &envelope,
        owner: &owner,
        postmaster: &owner,
        hostname: "mx.example.com",
        id: "1",
        now: WallTime(1_795_400_000_000),
    };
    let letter = match action {
        Action::Vacation(vacation) => outgoing::vacation(vacation, &origin),
        Action::Notify(notification) => outgoing::notification(notification, &origin),
        Action::Reject(reject) => {
            assert!(outgoing::reply(reject).code >= 400);
            outgoing::refusal(reject, &origin)
        }
        _ => return,
    };
    let Ok(letter) = letter else { return };
    let (header, at) = HeaderSection::split(&letter.content);
    assert!(at > header.raw().len() && header.raw().is_ascii());
    assert!(header.fields().all(|field| !field.name.is_empty() && field.raw.ends_with(b"\r\n")));
    assert_eq!(header.named("auto-submitted").count(), 1);
}

fn evaluate(program: &Arc<Program>, content: &[u8]) -> Step {
    let content = bytes::Bytes::copy_from_slice(content);
    let (header, at) = HeaderSection::split(&content);
    let body = [content.slice(at..)];
    let view = MessageView { trace: b"Received: from fuzz\r\n", header: &header, body: &body, has_separator: true };
    let mailbox = |text| Mailbox::parse(text, false).expect("an address");
    let envelope = Envelope {
        reverse_path: ReversePath::Mailbox(mailbox("sender@example.org")),
        mail: MailParameters::default(),
        recipients: vec![Recipient::new(ForwardPath(mailbox("user+tag@example.com")))],
    };
    let limits = Limits { steps: 20_000, variable_bytes: 4096, variables_bytes: 65_536, ..Limits::default() };
    let mut machine = Machine::new(program, &view, &envelope, limits);
    for _ in 0..=limits.questions {
        match machine.run() {
            Step::Ask(question) => machine.answer(answer(&question, program)),
            end => return end,
        }
    }
    panic!("more questions than the limit allows");
}

fn answer(question: &Question, program: &Arc<Program>) -> Answer {
    match question {
        Question::Time => Answer::Time { now: WallTime(1_795_400_000_000), offset_minutes: -330 },
        Question::InList { values, .. } => Answer::Text(values.first().cloned()),
        Question::ListMembers(_) => Answer::Values(vec![b"a@b.example".to_vec(), b"c@d.example".to_vec()]),
        Question::Script { name, .. } if name.len() % 2 == 0 => Answer::Script(Included::Missing),
        Question::Script { .. } => Answer::Script(Included::Found(program.clone())),
        Question::Environment(name) => Answer::Text((name.len() % 2 == 0).then(|| b"item".to_vec())),
        Question::Score(_) | Question::NotifyCapability { .. } | Question::Authenticated => {
            Answer::Text(Some(b"5".to_vec()))
        }
        Question::Dns(_) => Answer::Values(vec![b"192.0.2.1".to_vec()]),
        _ => Answer::Bool(true),
    }
}
