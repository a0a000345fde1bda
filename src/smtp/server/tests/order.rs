//! Order and pipelining: every split of the input says the same; replies keep the order of their commands.

use std::rc::Rc;

use super::*;
use proptest::prelude::*;

/// A session with all that may be pipelined: text, chunks, refusals, resets, errors.
const BUSY: &[u8] = b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<no@d.test>\r\nDATA\r\n\
A: 1\r\n\r\n..dot\r\n.x\r\nbody\r\n.\r\nMAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<e@f.test>\r\nBDAT 5\r\nA: 2\nBDAT 6 LAST\r\n\r\n\n\rxyRSET\r\n\
BDAT 6 LAST\r\nRSET\r\nMAIL FROM:<no@b.test>\r\nNOOP\r\nmail from:<a@b.test> SIZE=10\r\nrcpt to:<c@d.test>\r\nDATA\r\n.\r\nQUIT\r\nNOOP\r\n";

#[test]
fn the_busy_session_means_what_it_should() {
    let run = Run::smtp().all(BUSY);
    assert_eq!(
        run.codes(),
        [250, 250, 250, 550, 354, 250, 250, 250, 250, 250, 250, 503, 550, 250, 250, 250, 354, 250, 221]
    );
    let bodies: Vec<&[u8]> = run.messages.iter().map(|(_, content)| &content[..]).collect();
    assert_eq!(bodies, [&b"A: 1\r\n\r\n.dot\r\nx\r\nbody\r\n"[..], b"A: 2\n\r\n\n\rxy", b""]);
    assert!(run.is_closed);
}

#[test]
fn every_split_says_the_same() {
    let whole = Run::smtp().all(BUSY);
    for cut in 0..BUSY.len() {
        let (a, b) = BUSY.split_at(cut);
        assert_eq!(Run::smtp().pieces([a, b]), whole, "cut at {cut}");
    }
    let octets: Vec<&[u8]> = BUSY.chunks(1).collect();
    assert_eq!(Run::smtp().pieces(octets), whole);
}

#[test]
fn commits_that_take_their_time_change_nothing_that_is_said() {
    let whole = Run::smtp().all(BUSY);
    let mut run = Run::smtp();
    run.commits_held = 8;
    assert_eq!(run.all(BUSY), whole);
}

#[test]
fn a_hundred_recipients_in_one_write() {
    let mut input = String::from("EHLO c.test\r\nMAIL FROM:<a@b.test>\r\n");
    for i in 0..100 {
        input.push_str(&format!("RCPT TO:<r{i}@d.test>\r\n"));
    }
    input.push_str("DATA\r\nSubject: x\r\n\r\nx\r\n.\r\nRSET\r\nQUIT\r\n");
    let run = Run::smtp().all(input.as_bytes());
    assert_eq!(run.messages.len(), 1);
    assert_eq!(run.messages[0].0.len(), 100);
    assert_eq!(run.messages[0].0[99], "r99@d.test");
    assert_eq!(run.codes().len(), 2 + 100 + 1 + 1 + 2);
}

#[test]
fn a_recipient_said_twice_is_one_but_lmtp_answers_both() {
    let envelope =
        "MAIL FROM:<a@b.test>\r\nRCPT TO:<c@D.test>\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<C@d.test>\r\nDATA\r\nx\r\n.\r\n";
    let smtp = Run::smtp().all(format!("EHLO c.test\r\n{envelope}").as_bytes());
    assert_eq!(smtp.messages[0].0, ["c@D.test", "C@d.test"]);
    assert_eq!(smtp.codes(), [250, 250, 250, 250, 250, 354, 250]);
    let lmtp = Run::lmtp().all(format!("LHLO c.test\r\n{envelope}").as_bytes());
    assert_eq!(lmtp.messages[0].0, ["c@D.test", "C@d.test"]);
    assert_eq!(lmtp.codes(), [250, 250, 250, 250, 250, 354, 250, 250, 250]);
}

#[test]
fn lmtp_answers_each_accepted_recipient_and_no_other() {
    let input = "LHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<no@d.test>\r\nRCPT TO:<e@d.test>\r\n\
                 RCPT TO:<f@d.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n";
    let run = Run::lmtp().all(input.as_bytes());
    assert_eq!(run.codes(), [250, 250, 250, 550, 250, 250, 354, 250, 250, 250, 221]);
}

#[test]
fn lmtp_gives_each_recipient_its_own_status() {
    fn quota(question: Question<'_>, server: &Server) -> Answer {
        match question {
            Question::Content(_) => {
                Answer { refused: vec![(1, Reply::new(552, (5, 2, 2), "Mailbox full"))], ..Answer::accept() }
            }
            other => lenient(other, server),
        }
    }
    let input = "LHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nRCPT TO:<e@d.test>\r\nRCPT TO:<f@d.test>\r\n\
                 BDAT 3 LAST\r\nx\r\nQUIT\r\n";
    let run = Run::new(Protocol::Lmtp, quota).all(input.as_bytes());
    assert_eq!(run.codes(), [250, 250, 250, 250, 250, 250, 552, 250, 221]);
    assert_eq!(run.messages[0].0, ["c@d.test", "f@d.test"]);
}

#[test]
fn floods_end_and_stay_small() {
    let noops = "NOOP\r\n".repeat(100_000);
    let run = Run::smtp().all(format!("EHLO c.test\r\n{noops}").as_bytes());
    assert!(run.is_closed);
    assert_eq!(run.last(), "421 4.7.0 Too many commands without mail, disconnecting.");
    assert!(run.said.len() < 4000);
    let junk = Run::smtp().all("FOO\r\n".repeat(1000).as_bytes());
    assert_eq!((junk.codes().len(), junk.codes().last()), (20, Some(&421)));
}

#[test]
fn mail_forgives_errors() {
    let round = format!("NOOP\r\nFOO\r\n{ENVELOPE}x\r\n.\r\n");
    let run = Run::smtp().all(format!("EHLO c.test\r\n{}", round.repeat(150)).as_bytes());
    assert!(!run.is_closed);
    assert_eq!(run.messages.len(), 150);
}

#[test]
fn a_line_without_end_is_not_kept() {
    let line = vec![b'x'; 300_000];
    let run = Run::smtp().all(&line);
    assert!(run.is_closed);
    assert_eq!(run.codes(), [500]);
    assert!(run.buffer_bytes_max <= crate::base::limits::RECEIVE_BUFFER_BYTES);
}

#[test]
fn guessing_recipients_ends() {
    let mut input = String::from("EHLO c.test\r\nMAIL FROM:<a@b.test>\r\n");
    input.push_str(&"RCPT TO:<no@d.test>\r\n".repeat(50));
    let run = Run::smtp().all(input.as_bytes());
    assert_eq!(run.codes(), [250, 250, 550, 550, 550, 550, 421]);
}

#[test]
fn a_wrong_guess_waits_and_what_came_before_does_not() {
    let mut server = Run::smtp();
    server.feed(b"EHLO c.test\r\n");
    server.server.dialogue.rules.rcpt_errors_wait = Duration::from_secs(5);
    server.feed(b"");
    let octets = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<no@d.test>\r\nRCPT TO:<c@d.test>\r\n";
    let intake = server.server.intake();
    intake.space()[..octets.len()].copy_from_slice(octets);
    intake.received(octets.len());
    loop {
        match server.server.step(NOW) {
            Step::Ask(_) => {
                let answer = picky(server.server.question().expect("a question"), &server.server);
                server.server.answer(answer, NOW);
            }
            Step::Wait(span) => {
                assert_eq!(span, Duration::from_secs(5));
                assert!(server.server.replies().ready().ends_with(b"250 2.1.0 OK\r\n"));
            }
            step => {
                assert_eq!(step, Step::Read);
                break;
            }
        }
    }
    let said = server.finish().said;
    assert!(said.ends_with("250 2.1.0 OK\r\n550 5.1.1 Mailbox does not exist.\r\n250 2.1.5 OK\r\n"), "{said}");
}

#[test]
fn a_stopping_server_lets_a_transaction_finish() {
    let mut run = Run::smtp();
    run.feed(format!("EHLO c.test\r\n{ENVELOPE}Subject: x\r\n").as_bytes());
    run.server.stop();
    run.feed(b"\r\nbody\r\n.\r\nMAIL FROM:<a@b.test>\r\nNOOP\r\n");
    let out = run.finish();
    assert_eq!(out.messages.len(), 1);
    assert_eq!(out.codes(), [250, 250, 250, 354, 250, 421]);
    assert!(out.is_closed);

    let mut idle = Run::smtp();
    idle.feed(b"EHLO c.test\r\n");
    idle.server.stop();
    idle.feed(b"");
    assert_eq!(idle.finish().last(), "421 4.3.0 Server shutting down.");
}

#[test]
fn errands_of_large_mail_keep_memory_flat() {
    let body = "0123456789abcdef\r\n".repeat(500_000);
    let size = body.len() + 8;
    fn unbounded(question: Question<'_>, server: &Server) -> Answer {
        let mut answer = lenient(question, server);
        if let Some(offers) = answer.offers.as_mut().map(Rc::make_mut) {
            offers.extensions.size_bytes_max = 0;
        }
        answer
    }
    for input in [
        format!("EHLO c.test\r\n{ENVELOPE}A: 1\r\n\r\n{body}.\r\nQUIT\r\n"),
        format!("EHLO c.test\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nBDAT {size} LAST\r\nA: 1\r\n\r\n{body}QUIT\r\n"),
    ] {
        let run = Run::new(Protocol::Smtp, unbounded).all(input.as_bytes());
        assert_eq!(run.messages[0].1.len(), size);
        assert!(run.messages[0].1.ends_with(b"def\r\n"));
        assert!(run.buffer_bytes_max <= INTAKE_BYTES_MAX, "{}", run.buffer_bytes_max);
        assert_eq!(run.codes().last(), Some(&221));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Random dialogues in random pieces.
    #[test]
    fn pieces_do_not_matter(
        lines in prop::collection::vec(prop::sample::select(vec![
            "EHLO a.test\r\n", "MAIL FROM:<a@b.test>\r\n", "RCPT TO:<c@d.test>\r\n", "DATA\r\n", ".\r\n", "..\r\n", "x\r\n", "\r\n",
            "BDAT 3\r\n", "BDAT 4 LAST\r\n", "RSET\r\n", "A: b\r\n", "NOOP\r\n", "\n", "\r", ".", "x",
        ]), 0..40),
        cuts in prop::collection::vec(0usize..600, 0..12),
    ) {
        let input = lines.concat().into_bytes();
        let whole = Run::smtp().all(&input);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut at = 0;
        for cut in cuts {
            pieces.push(&input[at..cut]);
            at = cut;
        }
        pieces.push(&input[at..]);
        prop_assert_eq!(Run::smtp().pieces(pieces), whole);
    }

    #[test]
    fn no_input_stops_the_machine(input in prop::collection::vec(any::<u8>(), 0..500)) {
        let mut all = b"EHLO a.test\r\n".to_vec();
        all.extend_from_slice(&input);
        let _ = Run::smtp().all(&all);
        let _ = Run::lmtp().all(&input);
    }
}
