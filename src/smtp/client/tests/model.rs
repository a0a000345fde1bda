//! Every mix of replies against a small model of a server that is strict about what it is sent.

use super::*;

/// What the model answers in one transaction.
#[derive(Debug, Clone)]
struct Script {
    mail: u16,
    rcpt: Vec<u16>,
    data: u16,
    end: Vec<u16>,
    void_354: bool,
}

#[derive(Debug, Default)]
struct Tx {
    mail: bool,
    accepted: Vec<usize>,
    asked: usize,
}

/// A server that keeps the order of RFC 5321 and notes every breach by the client.
#[derive(Debug)]
struct Server {
    lmtp: bool,
    pipelining: bool,
    scripts: Vec<Script>,
    current: usize,
    tx: Tx,
    input: Vec<u8>,
    in_data: bool,
    delivered: Vec<(usize, usize)>,
    contents: Vec<Vec<u8>>,
}

impl Server {
    fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.input.extend_from_slice(bytes);
        let mut out = Vec::new();
        loop {
            if self.in_data {
                let dotted = [b"\r\n", &self.input[..]].concat();
                let Some(at) = dotted.windows(5).position(|w| w == b"\r\n.\r\n") else { return out };
                let content = unstuff(&dotted[2..at + 2]);
                self.input.drain(..at + 3);
                self.in_data = false;
                self.end(content, &mut out);
                continue;
            }
            let Some(at) = self.input.windows(2).position(|w| w == b"\r\n") else { return out };
            let line = String::from_utf8(self.input.drain(..at + 2).collect()).expect("commands are text");
            if let Some(rest) = line.strip_prefix("BDAT ") {
                let size: usize = rest.trim_end().strip_suffix(" LAST").expect("LAST").parse().expect("a size");
                assert!(self.input.len() >= size, "the test hands over whole flights");
                let content = self.input.drain(..size).collect();
                self.chunk(content, &mut out);
            } else {
                assert!(self.pipelining || self.input.is_empty(), "a command before the reply to {line}");
                self.command(&line, &mut out);
            }
        }
    }

    fn script(&self) -> &Script {
        &self.scripts[self.current]
    }

    fn command(&mut self, line: &str, out: &mut Vec<u8>) {
        let code = match line {
            "RSET\r\n" => {
                self.tx = Tx::default();
                250
            }
            "DATA\r\n" => {
                let refused = self.tx.accepted.is_empty() && !(self.tx.mail && self.script().void_354);
                let code = if refused { 503 } else { self.script().data };
                self.in_data = code == 354;
                code
            }
            _ if line.starts_with("MAIL FROM:") => {
                assert!(!self.tx.mail, "nested MAIL");
                self.tx = Tx { mail: self.script().mail < 300, ..Tx::default() };
                self.script().mail
            }
            _ if line.starts_with("RCPT TO:") && !self.tx.mail => 503,
            _ if line.starts_with("RCPT TO:") => {
                let i = self.tx.asked;
                self.tx.asked += 1;
                if self.script().rcpt[i] < 300 {
                    self.tx.accepted.push(i);
                }
                self.script().rcpt[i]
            }
            other => panic!("unexpected command {other:?}"),
        };
        out.extend_from_slice(format!("{code} text\r\n").as_bytes());
    }

    fn chunk(&mut self, content: Vec<u8>, out: &mut Vec<u8>) {
        if self.tx.accepted.is_empty() {
            out.extend_from_slice(b"503 5.5.1 no recipients\r\n"); // read and discarded (RFC 3030 §2)
            return;
        }
        self.end(content, out);
        if !out.ends_with(b"250 text\r\n") {
            self.tx.mail = true; // a failed BDAT leaves an indeterminate state: the client has to reset
        }
    }

    fn end(&mut self, content: Vec<u8>, out: &mut Vec<u8>) {
        let accepted = std::mem::take(&mut self.tx).accepted;
        let current = self.current;
        if accepted.is_empty() {
            assert!(content.is_empty(), "content for nobody");
            out.extend_from_slice(b"554 nobody\r\n");
            return;
        }
        let codes: Vec<u16> =
            accepted.iter().enumerate().map(|(n, _)| self.script().end[if self.lmtp { n } else { 0 }]).collect();
        for (i, code) in accepted.iter().zip(&codes).filter(|(_, code)| **code < 300) {
            let _ = code;
            self.delivered.push((current, *i));
        }
        self.contents.push(content);
        let shown = if self.lmtp { &codes[..] } else { &codes[..1] };
        for code in shown {
            out.extend_from_slice(format!("{code} text\r\n").as_bytes());
        }
    }
}

fn unstuff(content: &[u8]) -> Vec<u8> {
    content.split_inclusive(|&b| b == b'\n').flat_map(|line| line.strip_prefix(b".").unwrap_or(line).to_vec()).collect()
}

/// What each recipient's letter should be.
fn expected(script: &Script, lmtp: bool, chunked: bool) -> String {
    let class = |code: u16, early: bool| match (code, early) {
        (200..300, _) => 'D',
        (400..500, true) => 'H',
        (400..500, false) => 'F',
        _ => 'P',
    };
    let mut accepted_before = 0;
    let mut letters = String::new();
    for &code in &script.rcpt {
        letters.push(match code {
            _ if script.mail >= 400 => class(script.mail, true),
            452 if accepted_before > 0 => 'L',
            400.. => class(code, true),
            _ if !chunked && script.data != 354 => class(script.data, true),
            _ => {
                let end = script.end[if lmtp { accepted_before } else { 0 }];
                accepted_before += 1;
                class(end, false)
            }
        });
        if code < 300 && letters.ends_with(['H', 'P']) && script.mail < 400 && !chunked && script.data != 354 {
            accepted_before += 1;
        }
    }
    letters
}

fn script() -> impl Strategy<Value = Script> {
    let code = |good: u16| prop_oneof![6 => Just(good), 1 => Just(451), 1 => Just(550)];
    let rcpt = prop_oneof![5 => Just(250u16), 1 => Just(251), 1 => Just(450), 1 => Just(452), 1 => Just(550)];
    let end = prop_oneof![5 => Just(250u16), 1 => Just(451), 1 => Just(554)];
    (code(250), prop::collection::vec(rcpt, 1..6), code(354), prop::collection::vec(end, 6), any::<bool>())
        .prop_map(|(mail, rcpt, data, end, void_354)| Script { mail, rcpt, data, end, void_354 })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn every_mix_of_replies_has_the_models_outcome(
        scripts in prop::collection::vec(script(), 1..4),
        pipelining: bool, chunking: bool, lmtp: bool, ahead: bool, piece in 1usize..40,
    ) {
        let protocol = if lmtp { Protocol::Lmtp } else { Protocol::Smtp };
        let content_ahead_bytes_max = if ahead { 1000 } else { 0 };
        let extensions = [("PIPELINING", pipelining), ("CHUNKING", chunking)];
        let extensions: Vec<_> = extensions.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let mut d = Dialogue::ready(Options { protocol, content_ahead_bytes_max, ..options() }, 100, &extensions.join(" "));
        let mut server = Server {
            lmtp, pipelining, scripts: scripts.clone(), current: 0, tx: Tx::default(), input: Vec::new(),
            in_data: false, delivered: Vec::new(), contents: Vec::new(),
        };
        let mut ours = Vec::new();
        for (n, script) in scripts.iter().enumerate() {
            server.current = n;
            if !d.client.is_ready() {
                break; // LMTP's answer to a 354 for nobody is to close
            }
            let mut step = d.begin(&envelope(script.rcpt.len()), &facts());
            let results = loop {
                step = match step {
                    Step::Content(form) => d.content(form),
                    Step::Read(_) => {
                        let replies = server.feed(&std::mem::take(&mut d.out));
                        prop_assert!(!replies.is_empty(), "both sides wait");
                        let mut last = Step::Read(Wait::Mail);
                        for piece in replies.chunks(piece) {
                            last = d.client.received(piece, &mut d.out);
                        }
                        last
                    }
                    Step::Finished(results) => break results,
                    other => panic!("{other:?}"),
                };
            };
            let letters = letters(&results);
            prop_assert_eq!(&letters, &expected(script, lmtp, chunking));
            ours.extend(letters.chars().enumerate().filter(|(_, c)| *c == 'D').map(|(i, _)| (n, i)));
            prop_assert!(results.was_answered && !results.is_unknown);
        }
        prop_assert_eq!(ours, server.delivered);
        for content in server.contents {
            prop_assert_eq!(content, CONTENT);
        }
    }
}
