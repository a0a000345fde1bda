//! The client machine against scripted dialogues and against a model of a server.

use proptest::prelude::*;

use super::*;
use crate::base::{RecipientIndex, WallTime};
use crate::mail::{
    ContentFacts, DeliverBy, DeliverByMode, EnhancedStatus, Envelope, ForwardPath, MailParameters, Notify, Recipient,
    Ret, ReversePath,
};

fn options() -> Options {
    Options {
        protocol: Protocol::Smtp,
        hello: "client.test".into(),
        starttls: StartTls::Optional,
        implicit_tls: false,
        credentials: None,
        remote: "mx.test [192.0.2.1]".into(),
        content_ahead_bytes_max: 64 * 1024,
    }
}

fn envelope(recipients: usize) -> Envelope {
    let path = |i: usize| ForwardPath::parse(&format!("<r{i}@d{}.test>", i % 2), false).expect("an address");
    Envelope {
        reverse_path: ReversePath::parse("<s@sender.test>", false).expect("an address"),
        mail: MailParameters::default(),
        recipients: (0..recipients).map(|i| Recipient::new(path(i))).collect(),
    }
}

fn indices(n: usize) -> Vec<RecipientIndex> {
    (0..n as u32).map(RecipientIndex).collect()
}

const CONTENT: &[u8] = b"Subject: x\r\n\r\n.dot\r\n..two\r\nline\r\n";

fn facts() -> ContentFacts {
    ContentFacts {
        size_bytes: CONTENT.len() as u64,
        has_leading_dot: true,
        ends_with_crlf: true,
        has_separator: true,
        ..ContentFacts::default()
    }
}

/// Adds the content and its end as a driver would, stuffing as a naive reader of RFC 5321 §4.5.2 would.
fn append_content(form: ContentForm, content: &[u8], out: &mut Vec<u8>) {
    for line in content.split_inclusive(|&b| b == b'\n') {
        if form == ContentForm::Stuffed && line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if form != ContentForm::Chunk {
        out.extend_from_slice(b".\r\n");
    }
}

/// Runs a dialogue: what the peer says at first, then pairs of what we must say and its answer.
/// The peer's octets arrive in pieces of `piece` octets.
struct Dialogue {
    client: Client,
    out: Vec<u8>,
    piece: usize,
}

impl Dialogue {
    fn new(options: Options, piece: usize) -> Dialogue {
        let (client, step) = Client::new(options);
        assert!(matches!(step, Step::Read(Wait::Greeting)));
        Dialogue { client, out: Vec::new(), piece }
    }

    /// The peer says this; the step after its last octet.
    fn hear(&mut self, text: &str) -> Step {
        let mut last = None;
        let mut pieces = text.as_bytes().chunks(self.piece).peekable();
        while let Some(piece) = pieces.next() {
            let step = self.client.received(piece, &mut self.out);
            let over = !matches!(step, Step::Read(_));
            last = Some(step);
            if over && pieces.peek().is_some() {
                let rest: Vec<u8> = pieces.flatten().copied().collect();
                panic!("the machine stopped reading before {:?}: {last:?}", String::from_utf8_lossy(&rest));
            }
        }
        last.expect("something was said")
    }

    /// What we said since the last time.
    fn said(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.out)).expect("text")
    }

    fn ready(options: Options, piece: usize, extensions: &str) -> Dialogue {
        let mut dialogue = Dialogue::new(options, piece);
        assert!(matches!(dialogue.hear("220 mx.test ESMTP\r\n"), Step::Read(Wait::Ehlo)));
        let hello = dialogue.said();
        assert!(hello == "EHLO client.test\r\n" || hello == "LHLO client.test\r\n", "{hello}");
        let reply: String = extensions.split_whitespace().map(|x| format!("250-{}\r\n", x.replace('_', " "))).collect();
        assert!(matches!(dialogue.hear(&format!("250-mx.test\r\n{reply}250 HELP\r\n")), Step::Ready));
        dialogue
    }

    fn begin(&mut self, envelope: &Envelope, content: &ContentFacts) -> Step {
        let recipients = indices(envelope.recipients.len());
        let transaction = Transaction {
            envelope,
            recipients: &recipients,
            content,
            size_bytes: content.size_bytes,
            now: WallTime(0),
        };
        self.client.begin(&transaction, &mut self.out)
    }

    fn content(&mut self, form: ContentForm) -> Step {
        append_content(form, CONTENT, &mut self.out);
        self.client.content_sent()
    }
}

fn finished(step: Step) -> Results {
    match step {
        Step::Finished(results) => results,
        other => panic!("not finished: {other:?}"),
    }
}

/// A letter per recipient: Delivered, deFerred (or deferred at this host: H), Permanent, Left.
fn letters(results: &Results) -> String {
    let letter = |result: &RecipientResult| match &result.progress {
        Progress::Left => 'L',
        Progress::Done { outcome: Outcome::Delivered(_), .. } => 'D',
        Progress::Done { outcome: Outcome::Deferred(_), may_try_next_host: true, .. } => 'H',
        Progress::Done { outcome: Outcome::Deferred(_), .. } => 'F',
        Progress::Done { outcome: Outcome::Failed(_), .. } => 'P',
    };
    results.recipients.iter().map(letter).collect()
}

fn status(step: Step) -> EnhancedStatus {
    let results = finished(step);
    match results.recipients.into_iter().next().map(|r| r.progress) {
        Some(Progress::Done { outcome, .. }) => outcome.diagnostic().status(),
        other => panic!("no outcome: {other:?}"),
    }
}

fn every_piece_size(check: impl Fn(usize)) {
    for piece in [1, 2, 3, 5, 7, 16, 10_000] {
        check(piece);
    }
}

#[test]
fn chunking_is_one_flight() {
    every_piece_size(|piece| {
        let mut d = Dialogue::ready(options(), piece, "PIPELINING CHUNKING SIZE_1000000 8BITMIME");
        let Step::Content(form) = d.begin(&envelope(2), &facts()) else { panic!("content goes ahead") };
        assert_eq!(form, ContentForm::Chunk);
        assert!(matches!(d.content(form), Step::Read(Wait::Mail)));
        let body = String::from_utf8_lossy(CONTENT);
        assert_eq!(
            d.said(),
            format!(
                "MAIL FROM:<s@sender.test> SIZE={0}\r\nRCPT TO:<r0@d0.test>\r\nRCPT TO:<r1@d1.test>\r\nBDAT {0} LAST\r\n{body}",
                CONTENT.len()
            )
        );
        let results = finished(d.hear("250 ok\r\n250 ok\r\n550 5.1.1 no such user\r\n252 2.6.0 taken\r\n"));
        assert_eq!(letters(&results), "DP");
        assert!(d.client.is_ready());
        assert!(matches!(d.begin(&envelope(1), &facts()), Step::Content(_)));
        assert!(d.said().starts_with("MAIL FROM"), "no RSET after success");
    });
}

#[test]
fn pipelined_data_stuffs_dots() {
    every_piece_size(|piece| {
        let mut d = Dialogue::ready(options(), piece, "PIPELINING");
        assert!(matches!(d.begin(&envelope(1), &facts()), Step::Read(Wait::Mail)));
        assert_eq!(d.said(), "MAIL FROM:<s@sender.test>\r\nRCPT TO:<r0@d0.test>\r\nDATA\r\n");
        let step = d.hear("250 ok\r\n250 ok\r\n354 go\r\n");
        let Step::Content(ContentForm::Stuffed) = step else { panic!("{step:?}") };
        assert!(matches!(d.content(ContentForm::Stuffed), Step::Read(Wait::EndOfData)));
        assert_eq!(d.said(), "Subject: x\r\n\r\n..dot\r\n...two\r\nline\r\n.\r\n");
        assert_eq!(letters(&finished(d.hear("250 2.0.0 queued\r\n"))), "D");
    });
}

#[test]
fn without_pipelining_it_is_step_by_step() {
    let mut d = Dialogue::ready(options(), 3, "CHUNKING");
    assert!(matches!(d.begin(&envelope(2), &facts()), Step::Read(Wait::Mail)));
    assert_eq!(d.said(), "MAIL FROM:<s@sender.test>\r\n");
    assert!(matches!(d.hear("250 ok\r\n"), Step::Read(Wait::Rcpt)));
    assert_eq!(d.said(), "RCPT TO:<r0@d0.test>\r\n");
    assert!(matches!(d.hear("450 4.2.1 later\r\n"), Step::Read(Wait::Rcpt)));
    assert_eq!(d.said(), "RCPT TO:<r1@d1.test>\r\n");
    let Step::Content(form) = d.hear("251 will forward\r\n") else { panic!("content is due") };
    assert_eq!(d.said(), format!("BDAT {} LAST\r\n", CONTENT.len()));
    d.content(form);
    assert_eq!(letters(&finished(d.hear("250 ok\r\n"))), "HD");
}

#[test]
fn data_accepted_for_nobody_gets_an_empty_message() {
    let mut d = Dialogue::ready(options(), 100, "PIPELINING");
    d.begin(&envelope(2), &facts());
    d.said();
    assert!(matches!(d.hear("250 ok\r\n550 no\r\n450 no\r\n354 go\r\n"), Step::Read(Wait::EndOfData)));
    assert_eq!(d.said(), ".\r\n");
    let results = finished(d.hear("250 queued nothing\r\n"));
    assert_eq!(letters(&results), "PH");
    assert!(d.client.is_ready());
}

#[test]
fn a_refused_flight_is_reset_before_the_next() {
    let mut d = Dialogue::ready(options(), 100, "PIPELINING CHUNKING");
    let Step::Content(form) = d.begin(&envelope(1), &facts()) else { panic!("content goes ahead") };
    d.content(form);
    d.said();
    assert_eq!(letters(&finished(d.hear("250 ok\r\n550 5.1.1 no\r\n503 no recipients\r\n"))), "P");
    d.begin(&envelope(1), &facts());
    assert!(d.said().starts_with("RSET\r\nMAIL FROM:"));
}

#[test]
fn too_many_recipients_are_left_for_another_transaction() {
    for reply in ["452 4.5.3 too many", "452 too many", "552 too many"] {
        let mut d = Dialogue::ready(options(), 100, "PIPELINING CHUNKING");
        let Step::Content(form) = d.begin(&envelope(3), &facts()) else { panic!("content goes ahead") };
        d.content(form);
        let step = d.hear(&format!("250 ok\r\n250 ok\r\n250 ok\r\n{reply}\r\n250 ok\r\n"));
        assert_eq!(letters(&finished(step)), "DDL", "{reply}");
    }
    // With nobody accepted there would be no progress: it is an outcome then.
    let mut d = Dialogue::ready(options(), 100, "PIPELINING");
    d.begin(&envelope(1), &facts());
    assert_eq!(letters(&finished(d.hear("250 ok\r\n452 4.5.3 too many\r\n503 no\r\n"))), "H");
}

#[test]
fn limits_of_the_peer_are_kept() {
    let mut d = Dialogue::ready(options(), 100, "PIPELINING CHUNKING LIMITS_RCPTMAX=2_MAILMAX=1");
    let Step::Content(form) = d.begin(&envelope(3), &facts()) else { panic!("content goes ahead") };
    d.content(form);
    assert_eq!(d.said().matches("RCPT TO").count(), 2);
    assert_eq!(letters(&finished(d.hear("250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n"))), "DDL");
    assert!(!d.client.is_ready(), "MAILMAX=1 is used up");

    let mut d = Dialogue::ready(options(), 100, "PIPELINING LIMITS_RCPTDOMAINMAX=1");
    d.begin(&envelope(3), &facts());
    assert_eq!(d.said().matches("RCPT TO").count(), 1, "the second is of another domain");
}

#[test]
fn a_421_ends_everything_wherever_it_comes() {
    let replies = ["421 bye\r\n", "250 ok\r\n421 bye\r\n", "250 ok\r\n250 ok\r\n421 bye\r\n"];
    for (i, reply) in replies.iter().enumerate() {
        let mut d = Dialogue::ready(options(), 100, "PIPELINING CHUNKING");
        let Step::Content(form) = d.begin(&envelope(2), &facts()) else { panic!("content goes ahead") };
        d.content(form);
        let results = finished(d.hear(reply));
        assert_eq!(letters(&results), "HH", "{reply}");
        assert_eq!(results.was_answered, i > 0);
        assert!(!d.client.is_ready());
    }
    let mut d = Dialogue::ready(options(), 100, "PIPELINING CHUNKING");
    let Step::Content(form) = d.begin(&envelope(1), &facts()) else { panic!("content goes ahead") };
    d.content(form);
    assert_eq!(letters(&finished(d.hear("250 ok\r\n250 ok\r\n421 bye\r\n"))), "F");
}

#[test]
fn what_was_not_asked_for_is_no_answer() {
    // One reply too many: the outcome stands, the connection does not.
    let mut d = Dialogue::ready(options(), 100, "PIPELINING CHUNKING");
    let Step::Content(form) = d.begin(&envelope(1), &facts()) else { panic!("content goes ahead") };
    d.content(form);
    assert_eq!(letters(&finished(d.hear("250 ok\r\n250 ok\r\n250 ok\r\n250 more\r\n"))), "D");
    assert!(!d.client.is_ready());

    // The end of data is answered with the 354.
    let mut d = Dialogue::ready(options(), 100, "PIPELINING");
    d.begin(&envelope(1), &facts());
    assert_eq!(letters(&finished(d.hear("250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"))), "H");
    assert!(!d.client.is_ready());

    for (replies, letter) in
        [("354 what\r\n", "H"), ("250 ok\r\n354 what\r\n", "H"), ("250 ok\r\n250 ok\r\n250 ok\r\n", "H")]
    {
        let mut d = Dialogue::ready(options(), 100, "PIPELINING");
        d.begin(&envelope(1), &facts());
        assert_eq!(letters(&finished(d.hear(replies))), letter, "{replies}");
        assert!(!d.client.is_ready());
    }
}

#[test]
fn no_smtp_at_all_is_refused() {
    for text in ["HTTP/1.1 200 OK\r\n", "\r\n", "22 x\r\n", "220x\r\n", "SSH-2.0-x\r\n"] {
        let mut d = Dialogue::new(options(), 1000);
        assert!(matches!(d.hear(text), Step::Refused(_)), "{text}");
    }
}

#[test]
fn greetings_are_judged() {
    for (greeting, permanent) in [
        ("421 4.3.2 busy\r\n", false),
        ("450 not now\r\n", false),
        ("554 5.7.1 blocked\r\n", false),
        ("521 no mail here\r\n", true),
        ("556 no mail here\r\n", true),
        ("554-one\r\n554 two\r\n", false),
    ] {
        every_piece_size(|piece| {
            let mut d = Dialogue::new(options(), piece);
            let Step::Refused(refusal) = d.hear(greeting) else { panic!("{greeting}") };
            assert_eq!(matches!(refusal.outcome, Outcome::Failed(_)), permanent, "{greeting}");
            assert_eq!(refusal.outcome.diagnostic().scope, Scope::Host);
            assert!(refusal.outcome.diagnostic().is_remote);
        });
    }
}

#[test]
fn helo_is_the_way_back_from_ehlo() {
    let mut d = Dialogue::new(options(), 4);
    d.hear("220 old\r\n");
    d.said();
    assert!(matches!(d.hear("502 what?\r\n"), Step::Read(Wait::Ehlo)));
    assert_eq!(d.said(), "HELO client.test\r\n");
    assert!(matches!(d.hear("250 hello\r\n"), Step::Ready));
    d.begin(&envelope(1), &facts());
    assert_eq!(d.said(), "MAIL FROM:<s@sender.test>\r\n");

    let mut d = Dialogue::new(Options { protocol: Protocol::Lmtp, ..options() }, 100);
    d.hear("220 lmtp\r\n");
    assert!(matches!(d.hear("502 what?\r\n"), Step::Refused(_)), "LMTP knows no HELO");
}

#[test]
fn starttls_forgets_what_was_said_in_the_clear() {
    let mut d = Dialogue::new(options(), 100);
    d.hear("220 x\r\n");
    d.hear("250-x\r\n250-CHUNKING\r\n250-PIPELINING\r\n250 STARTTLS\r\n");
    assert_eq!(d.said(), "EHLO client.test\r\nSTARTTLS\r\n");
    assert!(matches!(d.hear("220 go\r\n"), Step::Handshake));
    assert!(matches!(d.client.secured(&mut d.out), Step::Read(Wait::Ehlo)));
    assert_eq!(d.said(), "EHLO client.test\r\n");
    assert!(matches!(d.hear("250-x\r\n250 STARTTLS\r\n"), Step::Ready), "and no second STARTTLS");
    assert!(d.client.is_secure() && !d.client.peer().chunking && !d.client.peer().pipelining);
}

#[test]
fn octets_after_the_220_are_a_tls_failure() {
    for injected in ["250-evil\r\n250 AUTH PLAIN\r\n", "2", "\r\n", "\u{16}\u{3}\u{1}"] {
        let mut d = Dialogue::new(options(), 1000);
        d.hear("220 x\r\n");
        d.hear("250-x\r\n250 STARTTLS\r\n");
        let Step::Refused(refusal) = d.hear(&format!("220 go\r\n{injected}")) else { panic!("{injected:?}") };
        assert!(refusal.tls_failed);
        assert_eq!(refusal.outcome.diagnostic().kind, ErrorKind::Tls);
    }
}

#[test]
fn a_refused_starttls_is_in_the_clear_only_when_tls_is_optional() {
    for (mode, reply, goes_on) in [
        (StartTls::Optional, "454 not now\r\n", true),
        (StartTls::Optional, "502 no\r\n", true),
        (StartTls::Optional, "421 bye\r\n", false),
        (StartTls::Require, "454 not now\r\n", false),
        (StartTls::Require, "502 no\r\n", false),
    ] {
        let mut d = Dialogue::new(Options { starttls: mode, ..options() }, 100);
        d.hear("220 x\r\n");
        d.hear("250-x\r\n250 STARTTLS\r\n");
        assert_eq!(matches!(d.hear(reply), Step::Ready), goes_on, "{mode:?} {reply}");
    }
    let mut d = Dialogue::new(Options { starttls: StartTls::Require, ..options() }, 100);
    d.hear("220 x\r\n");
    let Step::Refused(refusal) = d.hear("250 x\r\n") else { panic!("it is required") };
    assert_eq!(refusal.outcome.diagnostic().kind, ErrorKind::Tls);
    let mut d = Dialogue::new(Options { starttls: StartTls::Disable, ..options() }, 100);
    d.hear("220 x\r\n");
    assert!(matches!(d.hear("250-x\r\n250 STARTTLS\r\n"), Step::Ready));
}

fn with_credentials(implicit_tls: bool) -> Options {
    let credentials = Credentials { username: "user".into(), secret: "pass".into() };
    Options { credentials: Some(credentials), implicit_tls, ..options() }
}

#[test]
fn auth_happens_only_inside_tls() {
    let mut d = Dialogue::new(with_credentials(false), 100);
    d.hear("220 x\r\n");
    assert!(matches!(d.hear("250-x\r\n250 AUTH PLAIN LOGIN\r\n"), Step::Refused(_)));
    assert!(!d.said().contains("AUTH"));

    let mut d = Dialogue::new(with_credentials(true), 100);
    d.hear("220 x\r\n");
    d.said();
    assert!(matches!(d.hear("250-x\r\n250 AUTH LOGIN PLAIN\r\n"), Step::Read(Wait::Auth)));
    assert_eq!(d.said(), "AUTH PLAIN AHVzZXIAcGFzcw==\r\n");
    assert!(matches!(d.hear("235 2.7.0 welcome\r\n"), Step::Ready));

    let mut d = Dialogue::new(with_credentials(true), 100);
    d.hear("220 x\r\n");
    d.said();
    d.hear("250-x\r\n250 AUTH LOGIN\r\n");
    d.hear("334 VXNlcm5hbWU6\r\n");
    d.hear("334 UGFzc3dvcmQ6\r\n");
    assert_eq!(d.said(), "AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n");
    let Step::Refused(refusal) = d.hear("535 5.7.8 no\r\n") else { panic!("refused") };
    assert!(matches!(&refusal.outcome, Outcome::Deferred(d) if d.scope == Scope::Lane), "mail waits for the operator");
}

#[test]
fn debug_never_shows_a_secret() {
    assert!(!format!("{:?}", with_credentials(true)).contains("pass"));
}

#[test]
fn lmtp_has_a_reply_for_each_accepted_recipient() {
    every_piece_size(|piece| {
        for extensions in ["PIPELINING", "PIPELINING CHUNKING"] {
            let mut d = Dialogue::ready(Options { protocol: Protocol::Lmtp, ..options() }, piece, extensions);
            let step = d.begin(&envelope(4), &facts());
            let replies = "250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n250 ok\r\n";
            if let Step::Content(form) = step {
                d.content(form);
                assert!(matches!(d.hear(replies), Step::Read(Wait::EndOfData)));
            } else {
                let Step::Content(form) = d.hear(&format!("{replies}354 go\r\n")) else { panic!("content is due") };
                d.content(form);
            }
            let results = finished(d.hear("250 ok\r\n452 4.2.2 full\r\n550 5.2.1 off\r\n"));
            assert_eq!(letters(&results), "DPFP");
            assert!(d.client.is_ready());
        }
    });
}

#[test]
fn a_lost_lmtp_connection_keeps_the_replies_that_came() {
    let mut d = Dialogue::ready(Options { protocol: Protocol::Lmtp, ..options() }, 100, "PIPELINING CHUNKING");
    let Step::Content(form) = d.begin(&envelope(2), &facts()) else { panic!("content goes ahead") };
    d.content(form);
    assert!(matches!(d.hear("250 ok\r\n250 ok\r\n250 ok\r\n250 done\r\n"), Step::Read(Wait::EndOfData)));
    let results = finished(d.client.lost(Lost::Closed));
    assert_eq!(letters(&results), "DF");
    assert!(results.is_unknown);
}

#[test]
fn a_lost_connection_says_what_was_waited_for() {
    let mut d = Dialogue::new(options(), 100);
    let Step::Refused(refusal) = d.client.lost(Lost::TimedOut) else { panic!("refused") };
    assert_eq!(refusal.outcome.diagnostic().reply.text, "timed out waiting for the greeting");

    let mut d = Dialogue::ready(options(), 100, "PIPELINING");
    d.begin(&envelope(1), &facts());
    assert!(matches!(d.hear("250 ok\r\n250 ok\r\n354 go\r\n"), Step::Content(_)));
    d.content(ContentForm::Stuffed);
    let results = finished(d.client.lost(Lost::Broken));
    assert!(results.is_unknown && results.was_answered);
    assert_eq!(letters(&results), "F", "the peer may have it: no other host is tried now");

    let mut d = Dialogue::ready(options(), 100, "PIPELINING CHUNKING");
    let Step::Content(form) = d.begin(&envelope(1), &facts()) else { panic!("content goes ahead") };
    d.content(form);
    let results = finished(d.client.lost(Lost::Closed));
    assert!(!results.was_answered);
}

#[test]
fn unreadable_content_ends_the_connection_before_the_end_of_data() {
    let mut d = Dialogue::ready(options(), 100, "PIPELINING");
    d.begin(&envelope(1), &facts());
    assert!(matches!(d.hear("250 ok\r\n250 ok\r\n354 go\r\n"), Step::Content(_)));
    d.said();
    let results = finished(d.client.lost(Lost::Content));
    assert_eq!(letters(&results), "F");
    assert!(d.said().is_empty() && !d.client.is_ready() && !results.is_unknown);
}

#[test]
fn parameters_go_to_those_who_take_them() {
    let mut envelope = envelope(1);
    envelope.mail = MailParameters {
        ret: Some(Ret::Headers),
        envid: Some("a b+c".into()),
        priority: -3,
        deliver_by: Some(DeliverBy { deadline: WallTime(100_000), mode: DeliverByMode::Notify, trace: true }),
        requiretls: true,
        ..MailParameters::default()
    };
    envelope.recipients[0].notify = Some(Notify { success: true, failure: true, delay: false });
    envelope.recipients[0].original =
        Some(crate::mail::OriginalRecipient { kind: "rfc822".into(), address: "x+y@z".into() });
    let content = ContentFacts { has_8bit_body: true, ..facts() };
    let secure = Options { implicit_tls: true, ..options() };
    let all = "PIPELINING SIZE_0 8BITMIME DSN REQUIRETLS MT-PRIORITY_MIXER DELIVERBY_10";
    let mut d = Dialogue::ready(secure.clone(), 100, all);
    d.begin(&envelope, &content);
    assert_eq!(
        d.said(),
        format!(
            "MAIL FROM:<s@sender.test> SIZE={} BODY=8BITMIME REQUIRETLS RET=HDRS ENVID=a+20b+2Bc MT-PRIORITY=-3 BY=100;NT\r\n\
             RCPT TO:<r0@d0.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;x+2By@z\r\nDATA\r\n",
            CONTENT.len()
        )
    );
    envelope.mail.requiretls = false;
    let mut d = Dialogue::ready(secure, 100, "PIPELINING 8BITMIME");
    d.begin(&envelope, &content);
    assert_eq!(d.said(), "MAIL FROM:<s@sender.test> BODY=8BITMIME\r\nRCPT TO:<r0@d0.test>\r\nDATA\r\n");
    assert!(matches!(d.hear("250 ok\r\n250 ok\r\n354 go\r\n"), Step::Content(_)));
    d.content(ContentForm::Stuffed);
    let results = finished(d.hear("250 ok\r\n"));
    assert!(matches!(results.recipients[0].progress, Progress::Done { owed: Owed::Relayed, .. }));
}

#[test]
fn what_the_next_hop_cannot_take_fails_before_anything_is_sent() {
    let utf8 = {
        let mut e = envelope(1);
        e.mail.smtputf8 = true;
        e.recipients[0].path = ForwardPath::parse("<j\u{f6}rg@d.test>", true).expect("an address");
        e
    };
    let requiretls = Envelope { mail: MailParameters { requiretls: true, ..Default::default() }, ..envelope(1) };
    let by = |seconds: u64| {
        let by = DeliverBy { deadline: WallTime(seconds * 1000), mode: DeliverByMode::Return, trace: false };
        Envelope { mail: MailParameters { deliver_by: Some(by), ..Default::default() }, ..envelope(1) }
    };
    let plain = envelope(1);
    let eight = ContentFacts { has_8bit_body: true, ..facts() };
    let bare = ContentFacts { has_bare_lf: true, ..facts() };
    for (envelope, content, extensions, expected) in [
        (&plain, eight, "PIPELINING SMTPUTF8", Some((5, 6, 3))),
        (&plain, eight, "8BITMIME", None),
        (&plain, bare, "8BITMIME CHUNKING", Some((5, 6, 3))),
        (&plain, bare, "8BITMIME BINARYMIME", Some((5, 6, 3))),
        (&plain, bare, "CHUNKING BINARYMIME", None),
        (&plain, facts(), "SIZE_10", Some((5, 3, 4))),
        (&plain, facts(), "SIZE_0", None),
        (&utf8, facts(), "8BITMIME", Some((5, 6, 7))),
        (&utf8, facts(), "SMTPUTF8 8BITMIME", None),
        (&requiretls, facts(), "REQUIRETLS", Some((5, 7, 30))), // not inside TLS
        (&by(0), facts(), "DELIVERBY", Some((5, 4, 7))),
        (&by(60), facts(), "DELIVERBY_120", Some((5, 4, 7))),
        (&by(60), facts(), "DSN", Some((5, 3, 3))),
        (&by(60), facts(), "DELIVERBY", None),
    ] {
        let mut d = Dialogue::ready(options(), 100, extensions);
        let step = d.begin(envelope, &content);
        match expected {
            None => assert!(d.said().starts_with("MAIL FROM"), "{extensions}"),
            Some((class, subject, detail)) => {
                assert_eq!(status(step), EnhancedStatus::new(class, subject, detail), "{extensions}");
                assert!(d.said().is_empty() && d.client.is_ready());
            }
        }
    }
}

#[test]
fn ascii_mail_goes_on_without_smtputf8() {
    let mut e = envelope(1);
    e.mail.smtputf8 = true;
    let mut d = Dialogue::ready(options(), 100, "PIPELINING");
    d.begin(&e, &facts());
    assert_eq!(d.said(), "MAIL FROM:<s@sender.test>\r\nRCPT TO:<r0@d0.test>\r\nDATA\r\n");
}

#[test]
fn a_long_answer_is_kept_short() {
    let mut d = Dialogue::ready(options(), 100, "PIPELINING");
    d.begin(&envelope(1), &facts());
    let words = "x".repeat(500);
    let reply: String = (0..9).map(|_| format!("550-{words}\r\n")).collect();
    let results = finished(d.hear(&format!("250 ok\r\n{reply}550 end\r\n503 no\r\n")));
    let Progress::Done { outcome, .. } = &results.recipients[0].progress else { panic!("done") };
    assert!(outcome.diagnostic().reply.text.len() <= 1024);
}

mod model;
