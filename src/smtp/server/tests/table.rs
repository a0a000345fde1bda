//! The state x verb table, walked exhaustively: what every verb does in every state.

use super::*;

/// Brings a session into a state.
fn lead(kind: StateKind) -> Vec<&'static str> {
    match kind {
        StateKind::Connected => vec![],
        StateKind::Greeted => vec!["EHLO c.test"],
        StateKind::Mail => vec!["EHLO c.test", "MAIL FROM:<a@b.test>"],
        StateKind::Recipients => vec!["EHLO c.test", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>"],
        StateKind::Chunks => vec!["EHLO c.test", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "BDAT 0"],
        StateKind::Content => vec!["EHLO c.test", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA"],
        StateKind::Skipping => vec!["EHLO c.test", "BDAT 1000"],
        StateKind::Closing => vec!["QUIT"],
    }
}

const STATES: [StateKind; 8] = [
    StateKind::Connected,
    StateKind::Greeted,
    StateKind::Mail,
    StateKind::Recipients,
    StateKind::Content,
    StateKind::Chunks,
    StateKind::Skipping,
    StateKind::Closing,
];

const LINES: [&str; 31] = [
    "EHLO again.test",
    "HELO again.test",
    "LHLO again.test",
    "MAIL FROM:<x@y.test>",
    "MAIL FROM:<no@y.test>",
    "MAIL FROM:<x@y.test> FOO=1",
    "RCPT TO:<z@d.test>",
    "RCPT TO:<no@d.test>",
    "RCPT TO:<z@d.test> FOO=1",
    "DATA",
    "DATA x",
    "BDAT 0",
    "BDAT 0 LAST",
    "BDAT x",
    "RSET",
    "NOOP",
    "VRFY a",
    "EXPN a",
    "HELP",
    "QUIT",
    "STARTTLS",
    "AUTH PLAIN",
    "XCLIENT NAME=x",
    "TURN",
    "ETRN x",
    "ATRN x",
    "BURL x",
    "SEND FROM:<a@b.test>",
    "GIBBERISH",
    "GET / HTTP/1.1",
    "",
];

/// One cell: from the state, the line, the codes said, the state it leads to.
fn cell(protocol: Protocol, from: StateKind, line: &str) -> String {
    let mut run = Run::new(protocol, picky);
    for lead in lead(from) {
        let lead = if protocol == Protocol::Lmtp { lead.replace("EHLO", "LHLO") } else { lead.to_owned() };
        run.feed(format!("{lead}\r\n").as_bytes());
    }
    run.settle();
    assert_eq!(run.server.state(), from, "the lead leads there");
    let before = run.out.said.len();
    run.feed(format!("{line}\r\n").as_bytes());
    run.settle();
    let said: Vec<&str> = run.out.said[before..].lines().filter(|l| l.as_bytes().get(3) == Some(&b' ')).collect();
    let said: Vec<&str> = said.iter().map(|l| l.get(..9).unwrap_or(l)).collect();
    let handshake = if run.out.handshakes > 0 { " (TLS)" } else { "" };
    format!("{:<28} {:?} -> {:?}{handshake}", line, said, run.server.state())
}

fn walk(protocol: Protocol) -> String {
    let mut text = String::new();
    for state in STATES {
        text.push_str(&format!("\n== {state:?}\n"));
        for line in LINES {
            text.push_str(&cell(protocol, state, line));
            text.push('\n');
        }
    }
    text
}

#[test]
fn every_verb_in_every_state_smtp() {
    insta::assert_snapshot!(walk(Protocol::Smtp));
}

#[test]
fn every_verb_in_every_state_lmtp() {
    insta::assert_snapshot!(walk(Protocol::Lmtp));
}

#[test]
fn each_verb_has_one_row() {
    use crate::smtp::command::Verb;
    for verb in [
        Verb::Ehlo,
        Verb::Helo,
        Verb::Lhlo,
        Verb::Mail,
        Verb::Rcpt,
        Verb::Data,
        Verb::Bdat,
        Verb::Rset,
        Verb::Noop,
        Verb::Vrfy,
        Verb::Expn,
        Verb::Help,
        Verb::Quit,
        Verb::StartTls,
        Verb::Auth,
        Verb::Xclient,
        Verb::Turn,
        Verb::Etrn,
        Verb::Atrn,
        Verb::Burl,
        Verb::Send,
        Verb::Soml,
        Verb::Saml,
        Verb::Xforward,
    ] {
        assert_eq!(super::super::table::Row::of(verb).verb, verb);
    }
}

#[test]
fn every_word_is_settled() {
    use super::super::words::*;
    let all: Vec<Reply> = vec![
        bye(),
        ok(),
        mail_ok(),
        rcpt_ok(),
        start_mail_input(),
        chunk_ok(7),
        queued_for_delivery(),
        queued("00-0001-0000002a"),
        ready_for_tls(),
        help(),
        vrfy_disabled(),
        expn_disabled(),
        cannot_verify(),
        unknown_command(),
        lhlo_expected(),
        ehlo_expected(),
        not_implemented(),
        tls_unavailable(),
        already_tls(),
        tls_in_transaction(),
        auth_not_allowed(),
        ehlo_first(),
        nested_mail(),
        mail_first(),
        rcpt_first(),
        bdat_under_way(),
        binary_needs_bdat(),
        too_many_recipients(),
        too_many_messages(),
        system_full(),
        cannot_accept(),
        too_big(),
        header_too_big(),
        too_many_errors(),
        too_many_commands(),
        shutting_down(),
        idle(),
        too_slow(),
        too_long_open(),
        transfer_exceeded(),
        xclient_refused(),
        xclient_in_transaction(),
    ];
    let text: Vec<String> = all.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(text.join("\n"));
}
