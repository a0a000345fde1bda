//! The Sieve engine against Dovecot's (`sieve-test` of Debian's dovecot-sieve): pairs of script and message
//! are made from seeds, both run them, and the actions are compared.
//!
//! A script is a dozen tests, each with a `fileinto` of its own, so that one run compares a dozen results;
//! then an action that may end it. Only what both have is generated; where the two read the RFCs
//! differently, `generate.rs` says what is left out and why. `SIEVE_DIFFERENTIAL_SEEDS=from..to` runs others.

#![allow(clippy::unwrap_used)]

#[path = "sieve_differential/generate.rs"]
mod generate;
#[path = "sieve_differential/peer.rs"]
mod peer;

use std::collections::BTreeSet;

use bytes::Bytes;
use posthaste::base::WallTime;
use posthaste::mail::{
    Envelope, ForwardPath, HeaderSection, MailParameters, Mailbox, MessageView, Recipient, ReversePath,
};
use posthaste::sieve::{Action, Answer, Compiler, Limits, Machine, Step};

/// How many pairs one run compares.
const SEEDS: u64 = 120;

/// What became of a message: actions as text, or that the script failed.
type Actions = Result<BTreeSet<String>, String>;

fn ours(script: &str, message: &str) -> Actions {
    let compiled = Compiler::new().compile(script).map_err(|faults| format!("{faults:?}"))?;
    let content = Bytes::from(message.to_owned().into_bytes());
    let (header, at) = HeaderSection::split(&content);
    let body = [content.slice(at..)];
    let view = MessageView { trace: b"", header: &header, body: &body, has_separator: at > header.raw().len() };
    let mailbox = |text| Mailbox::parse(text, false).unwrap();
    let envelope = Envelope {
        reverse_path: ReversePath::Mailbox(mailbox(generate::SENDER)),
        mail: MailParameters::default(),
        recipients: vec![Recipient::new(ForwardPath(mailbox(generate::RECIPIENT)))],
    };
    let mut machine = Machine::new(&compiled.program, &view, &envelope, Limits::default());
    let list = loop {
        match machine.run() {
            Step::Done(actions) => break actions.list,
            Step::Failed(error) => return Err(error.to_string()),
            Step::Ask(_) => machine.answer(Answer::Time { now: WallTime(1_795_400_000_000), offset_minutes: 0 }),
        }
    };
    let flags = |flags: &[compact_str::CompactString]| {
        let mut flags: Vec<_> = flags.iter().map(|flag| flag.to_lowercase()).collect();
        flags.sort();
        flags.join(" ")
    };
    let actions = list
        .iter()
        .filter_map(|action| match action {
            Action::Keep(keep) if keep.is_implicit => Some(format!("implicit keep [{}]", flags(&keep.flags))),
            Action::Keep(keep) => Some(format!("keep [{}]", flags(&keep.flags))),
            Action::FileInto(into) => Some(format!("fileinto {} [{}]", into.mailbox, flags(&into.flags))),
            Action::Redirect(redirect) => Some(format!("redirect {}", redirect.to.as_str())),
            Action::Reject(reject) => Some(format!("reject {}", reject.reason.trim())),
            Action::Discard => Some("discard".to_owned()),
            _ => None,
        })
        .collect();
    Ok(settled(actions))
}

/// `discard` only where it is all that is done: beside other actions it says nothing.
fn settled(mut actions: BTreeSet<String>) -> BTreeSet<String> {
    if actions.len() > 1 {
        actions.remove("discard");
    }
    actions
}

#[test]
fn both_engines_want_the_same() {
    let Some(peer) = peer::Peer::start() else { return };
    let (from, to) = match std::env::var("SIEVE_DIFFERENTIAL_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("from..to");
            (from.parse().expect("a number"), to.parse().expect("a number"))
        }
        Err(_) => (0, SEEDS),
    };
    let mut faults = Vec::new();
    for seed in from..to {
        let pair = generate::pair(seed);
        let (ours, theirs) = (ours(&pair.script, &pair.message), peer.run(&pair.script, &pair.message));
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) if ours == theirs => {}
            (Err(_), Err(_)) => {}
            (Ok(ours), Ok(theirs)) => {
                let lines = ours.symmetric_difference(theirs).map(|action| {
                    let who = if ours.contains(action) { "only ours" } else { "only theirs" };
                    let name = action.split(' ').nth(1).unwrap_or("").to_owned();
                    let test = pair.script.lines().find(|line| line.contains(&format!("\"{name}\""))).unwrap_or("");
                    format!("  {who}: {action}\n    {test}")
                });
                let lines: Vec<_> = lines.collect();
                let (script, message) = (&pair.script, &pair.message);
                faults.push(format!("seed {seed}:\n{}\n--- script\n{script}--- message\n{message}", lines.join("\n")));
            }
            _ => faults.push(format!("seed {seed}: ours {ours:?}, theirs {theirs:?}\n{}", pair.script)),
        }
    }
    assert!(faults.is_empty(), "{} of {} pairs differ\n{}", faults.len(), to - from, faults.join("\n"));
}

#[test]
fn generated_scripts_are_sound_and_say_something() {
    let mut matched = 0;
    for seed in 0..SEEDS {
        let pair = generate::pair(seed);
        let actions = ours(&pair.script, &pair.message);
        let actions = actions.unwrap_or_else(|why| panic!("seed {seed}: {why}\n{}", pair.script));
        matched += actions.iter().filter(|action| action.starts_with("fileinto t")).count();
    }
    let all = SEEDS as usize * generate::TESTS;
    assert!((all / 5..all * 4 / 5).contains(&matched), "{matched} of {all} tests hold: they tell nothing apart");
}
