use super::*;
use crate::base::StreamId;
use crate::mail::{ErrorKind, OriginalRecipient, Reply, Ret, Scope};
use crate::smtp::content::FactScanner;
use proptest::prelude::*;

const NOW: WallTime = WallTime(1_795_386_600_123);
const HEADER: &str = "From: a@example.org\r\nTo: b@example.net\r\nSubject: a test\r\n";
const TRACE: &[u8] = b"Received: from client.example\r\n\tby mx.example.org\r\n";
const BODY: &str = "Dear b,\r\n.\r\nbye\r\n";

struct Case {
    envelope: Envelope,
    trace: Vec<u8>,
    header: Vec<u8>,
    body: Vec<Bytes>,
    settings: Settings,
}

impl Case {
    fn new(sender: &str) -> Case {
        let envelope = Envelope {
            reverse_path: ReversePath::parse(sender, true).expect("a path"),
            mail: MailParameters::default(),
            recipients: vec![],
        };
        let body = vec![Bytes::from_static(BODY.as_bytes())];
        Case { envelope, trace: TRACE.into(), header: HEADER.into(), body, settings: Settings::default() }
    }

    fn report(&self, reports: &[RecipientReport<'_>]) -> Option<Report> {
        let mut facts = FactScanner::new();
        for piece in [&self.trace[..], &self.header, b"\r\n"].into_iter().chain(self.body.iter().map(|b| &b[..])) {
            facts.scan(piece);
        }
        let received = Received {
            at: WallTime(NOW.0 - 3_600_000),
            source: Source::Unauthenticated,
            listener: "smtp".into(),
            remote_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            local_port: 25,
            helo: "client.example".into(),
            authenticated_as: None,
            content: facts.finish(),
        };
        let original = Original {
            id: MessageId { stream: StreamId(0), start: 1, sequence: 42 },
            envelope: &self.envelope,
            received: &received,
            trace: &self.trace,
            header: &self.header,
            body: Some(&self.body),
        };
        notification(&original, reports, &self.settings, "mx.example.org", NOW)
    }
}

fn recipient(path: &str) -> Recipient {
    Recipient::new(ForwardPath::parse(path, true).expect("a path"))
}

fn said(code: u16, status: (u8, u16, u16), text: &str) -> Diagnostic {
    Diagnostic {
        kind: ErrorKind::UnexpectedReply,
        scope: Scope::Recipient,
        remote: "mx.example.net [192.0.2.9]".into(),
        reply: Reply::new(code, status, text.to_owned()),
        is_remote: true,
    }
}

fn about<'a>(recipient: &'a Recipient, action: Action, diagnostic: Option<&'a Diagnostic>) -> RecipientReport<'a> {
    RecipientReport {
        index: RecipientIndex(0),
        recipient,
        action,
        diagnostic,
        status: None,
        last_attempt: Some(NOW),
        will_retry_until: (action == Action::Delayed).then_some(WallTime(NOW.0 + 86_400_000)),
    }
}

fn text(report: &Report) -> String {
    let mut out = report.header.to_vec();
    out.extend_from_slice(b"\r\n");
    out.extend(report.body.iter().flatten());
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn failure() {
    let to = recipient("<b@example.net>");
    let why = said(550, (5, 1, 1), "No such user here, try someone else at this address or at another one of ours");
    let report = Case::new("<a@example.org>").report(&[about(&to, Action::Failed, Some(&why))]).expect("a report");
    insta::assert_snapshot!(text(&report));
    assert!(report.envelope.reverse_path.is_null());
    assert_eq!(report.envelope.recipients[0].path.as_str(), "a@example.org");
    assert_eq!(report.envelope.recipients[0].notify, Some(Notify::NEVER));
    assert!(!report.facts.has_8bit_body && report.facts.ends_with_crlf && report.facts.has_separator);
}

#[test]
fn everything_in_one() {
    let mut case = Case::new("<a@example.org>");
    case.envelope.mail.envid = Some("QQ314159".into());
    case.envelope.mail.ret = Some(Ret::Headers);
    let success = Some(Notify { success: true, failure: true, delay: true });
    let original = Some(OriginalRecipient { kind: "rfc822".into(), address: "old+name@example.com".into() });
    let with = |path, notify| Recipient { notify, original: original.clone(), ..recipient(path) };
    let to = [
        with("<failed@example.net>", None),
        with("<delayed@example.net>", None),
        with("<delivered@example.net>", success),
        with("<relayed@example.net>", success),
        with("<never@example.net>", Some(Notify::NEVER)),
        with("<unasked@example.net>", None),
    ];
    let late = said(451, (4, 7, 1), "Come back later");
    let ours = Diagnostic::local(ErrorKind::Dns, Scope::Message, Reply::new(550, (5, 4, 4), "No such domain"));
    let fine = said(250, (2, 1, 5), "OK");
    let report = case.report(&[
        about(&to[0], Action::Failed, Some(&ours)),
        about(&to[1], Action::Delayed, Some(&late)),
        about(&to[2], Action::Delivered, Some(&fine)),
        about(&to[3], Action::Relayed, Some(&fine)),
        about(&to[4], Action::Failed, Some(&ours)),
        about(&to[5], Action::Delivered, Some(&fine)),
    ]);
    insta::assert_snapshot!(text(&report.expect("a report")));
}

#[test]
fn the_whole_message_comes_back_when_asked_for() {
    let mut case = Case::new("<a@example.org>");
    case.envelope.mail.ret = Some(Ret::Full);
    let to = recipient("<b@example.net>");
    let why = said(552, (5, 2, 2), "Mailbox full");
    let report = case.report(&[about(&to, Action::Failed, Some(&why))]).expect("a report");
    let full = text(&report);
    assert!(full.contains(&format!("Content-Type: message/rfc822\r\n\r\nReceived: from client.example\r\n\tby mx.example.org\r\n{HEADER}\r\n{BODY}\r\n--")));
    // Not with a delay, not when it is too big.
    let delayed = case.report(&[about(&to, Action::Delayed, None)]).expect("a report");
    assert!(text(&delayed).contains("text/rfc822-headers"));
    case.settings.returned_bytes_max = 100;
    let cut = text(&case.report(&[about(&to, Action::Failed, None)]).expect("a report"));
    assert!(cut.contains("text/rfc822-headers\r\n\r\nReceived:") && !cut.contains("Subject: a test"));
    case.settings = Settings::default();
    // 8-bit content goes back as such.
    case.body = vec![Bytes::from_static("gr\u{fc}n\r\n".as_bytes())];
    let eight = case.report(&[about(&to, Action::Failed, None)]).expect("a report");
    assert!(text(&eight).contains("Content-Transfer-Encoding: 8bit\r\n\r\nReceived"));
    assert_eq!(eight.envelope.mail.body, BodyType::EightBitMime);
}

#[test]
fn in_utf8() {
    let mut case = Case::new("<j\u{f6}rg@b\u{fc}cher.example>");
    case.envelope.mail.smtputf8 = true;
    case.header = "Subject: gr\u{fc}n\r\n".into();
    let to = Recipient {
        original: Some(OriginalRecipient { kind: "utf-8".into(), address: "d\u{e4}@example.net".into() }),
        ..recipient("<\u{e4}@example.net>")
    };
    let why = said(550, (5, 6, 7), "Keine gr\u{fc}nen Adressen");
    let report = case.report(&[about(&to, Action::Failed, Some(&why))]).expect("a report");
    insta::assert_snapshot!(text(&report));
    assert!(report.envelope.mail.smtputf8);
    assert!(!report.facts.has_8bit_body);
}

#[test]
fn what_was_to_travel_in_tls_comes_back_in_tls() {
    let mut case = Case::new("<a@example.org>");
    let to = recipient("<b@example.net>");
    for requiretls in [false, true] {
        case.envelope.mail.requiretls = requiretls;
        let report = case.report(&[about(&to, Action::Failed, None)]).expect("a report");
        assert_eq!(report.envelope.mail.requiretls, requiretls, "RFC 8689 section 5");
    }
}

#[test]
fn our_own_trace_field_in_utf8_is_told_as_such() {
    let mut case = Case::new("<a@example.org>");
    case.envelope.mail.smtputf8 = true;
    case.trace = "Received: from x.example\r\n\tfor <\u{e4}@example.net>\r\n".into();
    let to = recipient("<b@example.net>");
    let returned = text(&case.report(&[about(&to, Action::Failed, None)]).expect("a report"));
    assert!(returned.contains("message/global-headers\r\n") && !returned.contains("rfc822-headers"), "{returned}");
    // What is 8-bit and no UTF-8 is no message/global.
    case.trace = b"Received: from \xe4\r\n".to_vec();
    let returned = text(&case.report(&[about(&to, Action::Failed, None)]).expect("a report"));
    assert!(returned.contains("text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable"), "{returned}");
}

#[test]
fn a_remote_host_cannot_write_fields() {
    let to = recipient("<b@example.net>");
    let evil = "no\r\nType: mda\n\nX: 1\r\n--=_00-0001-0000002a.1a204ae3f5b\r\n\u{202e}\u{1b}[2J\u{2028}y\0";
    let why = Diagnostic { remote: "mx\r\nEvil: 1 [192.0.2.1]".into(), ..said(553, (5, 0, 0), evil) };
    let report = Case::new("<a@example.org>").report(&[about(&to, Action::Failed, Some(&why))]).expect("a report");
    insta::assert_snapshot!(text(&report));
}

#[test]
fn the_boundary_is_not_in_what_is_returned() {
    let mut case = Case::new("<a@example.org>");
    case.header = b"X: 1\r\n--=_00-0001-0000002a.1a205616abb\r\n--=_00-0001-0000002a.1a205616abb==\r\n".to_vec();
    let to = recipient("<b@example.net>");
    let text = text(&case.report(&[about(&to, Action::Failed, None)]).expect("a report"));
    assert!(text.contains("boundary=\"=_00-0001-0000002a.1a205616abb===\""));
}

#[test]
fn nothing_for_nobody() {
    let to = recipient("<b@example.net>");
    let never = Recipient { notify: Some(Notify::NEVER), ..to.clone() };
    assert_eq!(Case::new("<>").report(&[about(&to, Action::Failed, None)]), None);
    let case = Case::new("<a@example.org>");
    assert_eq!(case.report(&[]), None);
    assert_eq!(case.report(&[about(&never, Action::Failed, None)]), None);
    assert_eq!(case.report(&[about(&to, Action::Delivered, None)]), None);
    let quiet = Recipient { notify: Some(Notify { delay: false, ..Notify::UNSPECIFIED }), ..to.clone() };
    assert_eq!(case.report(&[about(&quiet, Action::Delayed, None)]), None);
}

#[test]
fn subjects_by_what_happened() {
    let to = recipient("<b@example.net>");
    let subject = |actions: &[Action]| text::subject(&actions.iter().map(|a| about(&to, *a, None)).collect::<Vec<_>>());
    assert_eq!(subject(&[Action::Failed]), "Failed to deliver message");
    assert_eq!(subject(&[Action::Delayed]), "Warning: Delay in message delivery");
    assert_eq!(subject(&[Action::Relayed]), "Successfully delivered message");
    assert_eq!(subject(&[Action::Failed, Action::Delivered]), "Partially delivered message");
    let both = "Warning: Temporary and permanent failures during message delivery";
    assert_eq!(subject(&[Action::Failed, Action::Delayed]), both);
}

#[test]
fn many_recipients_are_one_notification() {
    let to: Vec<Recipient> = (0..1000).map(|i| recipient(&format!("<user{i}@example.net>"))).collect();
    let why = said(550, (5, 1, 1), "No such user");
    let all: Vec<_> = to.iter().map(|r| about(r, Action::Failed, Some(&why))).collect();
    let text = text(&Case::new("<a@example.org>").report(&all).expect("a report"));
    assert_eq!(text.matches("Final-Recipient:").count(), 1000);
    assert!(text.contains("and 900 more"));
}

proptest! {
    #[test]
    fn whatever_was_said_the_structure_stands(words in "(.|[\r\n])*", remote in "(.|[\r\n]){0,60}", header in prop::collection::vec(any::<u8>(), 0..300)) {
        let to = recipient("<b@example.net>");
        let why = Diagnostic { remote: remote.into(), ..said(554, (5, 0, 0), &words) };
        let case = Case { header, ..Case::new("<a@example.org>") };
        let report = case.report(&[about(&to, Action::Failed, Some(&why))]).expect("a report");
        let text = text(&report);
        prop_assert!(text.is_ascii());
        prop_assert!(!report.facts.has_bare_cr && !report.facts.has_bare_lf && !report.facts.has_nul);
        prop_assert!(report.facts.longest_line_bytes < 999);
        let boundary = text.split("boundary=\"").nth(1).and_then(|t| t.split('"').next()).expect("a boundary");
        prop_assert_eq!(text.matches(&format!("\r\n--{boundary}")).count(), 4);
        let fields = text.split("Content-Type: message/delivery-status\r\n\r\n").nth(1).and_then(|t| t.split("\r\n--").next()).expect("the part");
        for line in fields.split("\r\n").filter(|line| !line.is_empty() && !line.starts_with("    ")) {
            let known = ["Reporting-MTA:", "Arrival-Date:", "Final-Recipient:", "Action:", "Status:", "Remote-MTA:", "Diagnostic-Code:", "Last-Attempt-Date:"];
            prop_assert!(known.iter().any(|name| line.starts_with(name)), "{line}");
        }
    }
}
