//! The dialogues of the shared suites, read in place: what must be said line by line.

use std::path::PathBuf;
use std::rc::Rc;

use super::*;

fn suites() -> PathBuf {
    match std::env::var_os("POSTHASTE_SUITES") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/suites"),
    }
}

/// Where our words differ from those of the suite's server, by the RFC or by our settled codes.
fn expected_here(case: &str, expected: &str) -> String {
    let (ours, _why) = match (case, expected) {
        // Texts are theirs; the codes are the same.
        ("bad_data_dot" | "bad_data_dot_2" | "bad_data_dot_on_message_too_big", _) if expected.starts_with("521") => {
            ("521 5.5.2", "")
        }
        ("bad_data", e) if e.starts_with("503") => ("503 5.5.1", ""),
        ("wrong_proto", e) if e.starts_with("502") => ("502 5.7.0", ""),
        ("unknown_command", e) if e.starts_with("500") => ("500 5.5.1", ""),
        // A line that is no header field is kept as it is: a relay does not judge RFC 5322 (DESIGN part 6).
        ("bad_data", e) if e.starts_with("554") => ("250", ""),
        // The line has 1,012 octets and ours may have 4,096; but no domain is as long as that.
        ("line_too_long", e) if e.starts_with("554") => ("501 5.5.2", ""),
        // A known verb with bad arguments is 501 5.5.2 (RFC 5321 4.2.4), not 500.
        ("bad_mail_from" | "bad_rcpt_to", e) if e.starts_with("500") => ("501 5.5.2", ""),
        ("bad_mail_from", e) if e.starts_with("501 5.1") => ("501 5.1.7", ""),
        ("bad_rcpt_to", e) if e.starts_with("501 5.1") => ("501 5.1.3", ""),
        ("bad_rcpt_to", e) if e.starts_with("550 5.1.3") => ("553 5.6.7", ""),
        // AUTH is not offered yet.
        ("auth_not_tls", e) if e.starts_with("503") => ("503 5.5.1", ""),
        _ => (expected, ""),
    };
    ours.to_owned()
}

/// `'a' * 3 + 'b\r\n'`, with brackets: the little of Python that the dialogues use.
fn raw(expression: &str) -> Vec<u8> {
    let expression = expression.trim();
    if let Some(inner) = expression.strip_prefix('(') {
        let (group, rest) = inner.rsplit_once(')').expect("a closing bracket");
        let times = rest.trim().strip_prefix('*').map_or(1, |n| n.trim().parse().expect("a number"));
        return raw(group).repeat(times);
    }
    let mut out = Vec::new();
    for term in expression.split(" + ") {
        let (literal, times) = term.trim().rsplit_once('*').unwrap_or((term.trim(), "1"));
        let text = literal.trim().trim_matches('\'');
        let text = text.replace("\\r", "\r").replace("\\n", "\n");
        out.extend(text.as_bytes().repeat(times.trim().parse().expect("a number")));
    }
    out
}

struct Interpreter {
    case: String,
    run: Run,
    read: usize,
    sent_anything: bool,
}

impl Interpreter {
    /// The next reply, whole.
    fn reply(&mut self) -> String {
        self.run.settle();
        let mut reply = String::new();
        for line in self.run.out.said[self.read..].split_inclusive("\r\n") {
            self.read += line.len();
            reply.push_str(line);
            if line.as_bytes().get(3) == Some(&b' ') {
                break;
            }
        }
        reply
    }

    fn line(&mut self, line: &str) {
        let Some(action) = line.strip_prefix("c ") else { return };
        match action.split_once(' ').unwrap_or((action, "")) {
            ("close", _) | ("tcp_connect" | "tls_connect", _) => {
                self.run = new_run();
                self.run.feed(b"");
                self.read = 0;
            }
            ("->", text) => {
                // The suite leaves the angle brackets out in places; RFC 5321 §4.1.1.3 does not allow that.
                let text = text.replace("RCPT TO: user@testserver", "RCPT TO: <user@testserver>");
                self.run.feed(format!("{text}\r\n").as_bytes());
            }
            ("~>", expression) => {
                self.run.feed(&raw(expression));
            }
            ("<~" | "<-", expected) => {
                let expected = expected_here(&self.case, expected);
                let reply = self.reply();
                assert!(reply.starts_with(&expected), "{}: expected {expected}, got {reply:?}", self.case);
                self.sent_anything = true;
            }
            ("<...", _) => {
                assert!(self.reply().starts_with("250"), "{}: {}", self.case, self.run.out.said);
            }
            other => panic!("{}: {other:?} is no action", self.case),
        }
    }
}

fn new_run() -> Run {
    fn small(question: Question<'_>, server: &Server) -> Answer {
        let mut answer = lenient(question, server);
        if let Some(offers) = answer.offers.as_mut().map(Rc::make_mut) {
            offers.extensions.size_bytes_max = 1024 * 1024;
        }
        answer
    }
    Run::new(Protocol::Smtp, small)
}

#[test]
fn the_dialogues_of_the_suite() {
    let folder = suites().join("dialogs");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("SKIPPED: no dialogues in {}", folder.display());
        return;
    };
    let mut cases = 0;
    for entry in entries {
        let path = entry.expect("a directory entry").path();
        let case = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        // AUTH dialogues wait for the issue that builds AUTH.
        let is_auth = case.starts_with("auth_") && case != "auth_not_tls";
        if path.extension().is_none_or(|e| e != "cmy") || is_auth {
            continue;
        }
        let script = std::fs::read_to_string(&path).expect("a readable script");
        let mut interpreter = Interpreter { case, run: new_run(), read: 0, sent_anything: false };
        for line in script.lines() {
            interpreter.line(line);
        }
        assert!(interpreter.sent_anything);
        let verify = path.with_extension("cmy.verify");
        if let Ok(expected) = std::fs::read_to_string(verify) {
            let (_, content) = interpreter.run.out.messages.last().expect("a message was sent");
            assert_eq!(String::from_utf8_lossy(content).replace("\r\n", "\n"), expected, "{}", interpreter.case);
        }
        cases += 1;
    }
    assert!(cases >= 15, "{cases} dialogues were run");
}
