//! Nothing but CRLF "." CRLF ends content; nothing that was said in clear is heard in TLS; chunks stay in step.

use super::*;
use crate::smtp::content::lookalikes::LOOKALIKES;

const SMUGGLED: [&str; 2] = [
    "MAIL FROM:<evil@b.test>\r\nRCPT TO:<victim@d.test>\r\nDATA\r\nSubject: smuggled\r\n\r\nboo\r\n",
    "MAIL FROM:<evil@b.test>\r\nRCPT TO:<victim@d.test>\r\nBDAT 9 LAST\r\nsmuggled!",
];

fn normalizing(question: Question<'_>, server: &Server) -> Answer {
    with_ends(question, server, crate::smtp::content::BareLineEnds::Normalize)
}

fn allowing(question: Question<'_>, server: &Server) -> Answer {
    with_ends(question, server, crate::smtp::content::BareLineEnds::Allow)
}

fn with_ends(question: Question<'_>, server: &Server, ends: crate::smtp::content::BareLineEnds) -> Answer {
    let rules =
        matches!(question, Question::Connect).then(|| Box::new(Rules { bare_line_ends: ends, ..Rules::default() }));
    Answer { rules, ..lenient(question, server) }
}

/// The number of messages is never two, whatever the candidate, the policy, and the split.
#[test]
fn one_message_or_none_never_two() {
    for candidate in LOOKALIKES {
        for smuggled in SMUGGLED {
            let mut input = format!("EHLO c.test\r\n{ENVELOPE}Subject: one\r\n\r\nbody").into_bytes();
            let from = input.len();
            input.extend_from_slice(candidate);
            let to = input.len();
            input.extend_from_slice(smuggled.as_bytes());
            input.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
            for policy in [lenient as Policy, normalizing, allowing] {
                let whole = Run::new(Protocol::Smtp, policy).all(&input);
                assert!(whole.messages.len() < 2, "{candidate:?}: {}", whole.said);
                for (recipients, _) in &whole.messages {
                    assert_eq!(recipients, &["c@d.test"]);
                }
                for cut in from.saturating_sub(2)..to + 2 {
                    let pieces = [&input[..cut], &input[cut..]];
                    assert_eq!(Run::new(Protocol::Smtp, policy).pieces(pieces), whole, "{candidate:?} cut at {cut}");
                }
            }
        }
    }
}

#[test]
fn a_bare_line_end_is_refused_at_the_end_and_the_session_closes() {
    let run = Run::smtp().all(format!("EHLO c.test\r\n{ENVELOPE}a\n.\nb\r\n.\r\nMAIL FROM:<x@y.test>\r\n").as_bytes());
    assert_eq!(run.codes(), [250, 250, 250, 354, 521]);
    assert!(run.is_closed && run.messages.is_empty());
}

#[test]
fn normalized_content_has_no_bare_line_end() {
    let input = format!("EHLO c.test\r\n{ENVELOPE}Subject: x\n\nline\n.\nmore\rend\r\n.\r\nQUIT\r\n");
    let run = Run::new(Protocol::Smtp, normalizing).all(input.as_bytes());
    assert_eq!(run.messages.len(), 1);
    let content = &run.messages[0].1;
    for (i, b) in content.iter().enumerate() {
        match b {
            b'\n' => assert_eq!(content[i - 1], b'\r'),
            b'\r' => assert_eq!(content[i + 1], b'\n'),
            _ => {}
        }
    }
}

#[test]
fn starttls_forgets_what_was_said_and_received() {
    for glued in ["", "RSET\r\n", "MAIL FROM:<i@x.test>\r\n", "EHLO x.test\r\nMAIL FROM:<i@x.test>\r\n", "MAI"] {
        let mut run = Run::smtp();
        run.feed(format!("EHLO c.test\r\nSTARTTLS\r\n{glued}").as_bytes());
        assert_eq!(run.out.handshakes, 1);
        assert!(run.server.client().helo.is_none());
        run.feed(b"MAIL FROM:<a@b.test>\r\nEHLO c.test\r\nSTARTTLS\r\nMAIL FROM:<a@b.test> REQUIRETLS\r\n");
        let out = run.finish();
        assert_eq!(out.codes(), [250, 220, 503, 250, 503, 250], "{glued:?}");
        assert!(!out.said.split("220 2.0.0").nth(1).expect("after TLS").contains("STARTTLS\r\n"));
    }
}

#[test]
fn starttls_out_of_place() {
    let run = Run::smtp().all(b"STARTTLS\r\nEHLO c.test\r\nSTARTTLS x\r\nMAIL FROM:<a@b.test>\r\nSTARTTLS\r\nRSET\r\n");
    assert_eq!(run.codes(), [503, 250, 501, 250, 503, 250]);
    assert_eq!(run.handshakes, 0);
}

#[test]
fn other_protocols_are_sent_away() {
    for line in
        ["GET / HTTP/1.1", "POST /evil HTTP/1.1", "CONNECT a:80 HTTP/1.1", "OPTIONS / HTTP/1.1", "\x16\x03\x01\x02"]
    {
        let run = Run::smtp().all(format!("{line}\r\nMAIL FROM:<a@b.test>\r\n").as_bytes());
        assert_eq!(run.codes(), [502], "{line}");
        assert!(run.is_closed);
    }
}

#[test]
fn bdat_in_doubt_closes() {
    for line in ["BDAT", "BDAT x", "BDAT -1", "BDAT 18446744073709551616 LAST", "BDAT 10 LASTX", "BDAT 10 LAST 5"] {
        let input = format!("EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n{line}\r\nQUIT\r\n");
        let run = Run::smtp().all(input.as_bytes());
        assert_eq!(run.codes(), [250, 250, 250, 501], "{line}");
        assert!(run.is_closed && run.messages.is_empty());
    }
}

#[test]
fn unwanted_chunks_pass_to_their_last_octet() {
    // Without MAIL, without RCPT, after LAST: exactly so many octets are skipped, and the next command is found.
    let input =
        b"EHLO c.test\r\nBDAT 6 LAST\r\nRSET\r\nMAIL FROM:<a@b.test>\r\nBDAT 6\r\nQUIT\r\nRCPT TO:<c@d.test>\r\n\
                  BDAT 3 LAST\r\nabcBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n";
    let run = Run::smtp().all(input);
    assert_eq!(run.codes(), [250, 503, 250, 503, 250, 250, 503, 250]);
    assert_eq!(run.messages, [(vec!["c@d.test".to_owned()], b"abc".to_vec())]);
}

#[test]
fn a_refused_chunk_takes_the_transaction_with_it() {
    // The first chunk is over the limit; the second must not become a message of its own (FEATURES 3.4, 2).
    let big = "x".repeat(1_000_001);
    let input = format!(
        "EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nBDAT {}\r\n{big}BDAT 4 LAST\r\nevilNOOP\r\n",
        big.len()
    );
    let run = Run::smtp().all(input.as_bytes());
    assert_eq!(run.codes(), [250, 250, 250, 552, 503, 250]);
    assert!(run.messages.is_empty());
    assert!(run.buffer_bytes_max <= crate::base::limits::RECEIVE_BUFFER_BYTES, "nothing of it is kept");
}

#[test]
fn chunks_and_data_do_not_mix() {
    let input = b"EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nBDAT 2\r\nabDATA\r\nRCPT TO:<e@d.test>\r\nMAIL FROM:<>\r\n\
                  NOOP\r\nRSET\r\nBDAT 2 LAST\r\nxyNOOP\r\nMAIL FROM:<a@b.test> BODY=BINARYMIME\r\nRCPT TO:<c@d.test>\r\nDATA\r\nBDAT 0 LAST\r\n";
    let run = Run::smtp().all(input);
    assert_eq!(run.codes(), [250, 250, 250, 250, 503, 503, 503, 250, 250, 503, 250, 250, 250, 503, 250]);
    assert_eq!(run.messages, [(vec!["c@d.test".to_owned()], b"".to_vec())]);
}

#[test]
fn a_broken_connection_leaves_nothing() {
    for input in [
        format!("EHLO c.test\r\n{ENVELOPE}Subject: x\r\n\r\nbody\r\n.\r"),
        "EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nBDAT 10 LAST\r\n123456789".to_owned(),
        "EHLO c.test\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nBDAT 10\r\n1234567890".to_owned(),
    ] {
        assert!(Run::smtp().all(input.as_bytes()).messages.is_empty());
    }
}

#[test]
fn size_is_enforced_whatever_was_declared() {
    let body = "x".repeat(998).to_owned() + "\r\n";
    let body = body.repeat(1001);
    let input = format!(
        "EHLO c.test\r\nMAIL FROM:<a@b.test> SIZE=1000001\r\nMAIL FROM:<a@b.test> SIZE=10\r\nRCPT TO:<c@d.test>\r\nDATA\r\n{body}.\r\nNOOP\r\n"
    );
    let run = Run::smtp().all(input.as_bytes());
    assert_eq!(run.codes(), [250, 552, 250, 250, 354, 552, 250]);
    assert!(run.messages.is_empty());
}

#[test]
fn a_header_section_without_end_is_refused() {
    let field = format!("X: {}\r\n", "y".repeat(900));
    let input = format!("EHLO c.test\r\n{ENVELOPE}{}\r\nbody\r\n.\r\nNOOP\r\n", field.repeat(400));
    let run = Run::smtp().all(input.as_bytes());
    assert_eq!(run.codes(), [250, 250, 250, 354, 552, 250]);
}
