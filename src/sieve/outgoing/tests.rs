//! Letters and silence.

use proptest::prelude::*;

use super::super::action::{Importance, Notification, Reject, Vacation};
use super::*;
use crate::mail::{ForwardPath, Reply};

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text, true).expect("an address")
}

fn envelope(from: &str) -> Envelope {
    let reverse_path = if from.is_empty() { ReversePath::Null } else { ReversePath::Mailbox(mailbox(from)) };
    let recipients = vec![Recipient::new(ForwardPath(mailbox("owner@example.org")))];
    Envelope { reverse_path, mail: MailParameters::default(), recipients }
}

/// Does something with the origin of a message with these fields.
fn with<T>(from: &str, fields: &str, act: impl FnOnce(&Origin<'_>) -> T) -> T {
    let header = HeaderSection::parse(Bytes::from(fields.replace('\n', "\r\n").into_bytes()));
    let (envelope, owner, postmaster) =
        (envelope(from), mailbox("owner@example.org"), mailbox("postmaster@example.org"));
    act(&Origin {
        header: &header,
        envelope: &envelope,
        owner: &owner,
        postmaster: &postmaster,
        hostname: "mx.example.org",
        id: "id1",
        now: WallTime(1_795_400_000_000),
    })
}

fn answer() -> Vacation {
    Vacation {
        reason: "I am away.".into(),
        period_s: None,
        subject: None,
        from: None,
        addresses: vec!["Other <other@example.org>".to_owned()],
        is_mime: false,
        handle: Vec::new(),
    }
}

fn shown(letter: Result<Letter, Silence>) -> String {
    let letter = letter.expect("a letter");
    let to: Vec<_> = letter.envelope.recipients.iter().map(|recipient| recipient.path.as_str()).collect();
    let text = String::from_utf8(letter.content.to_vec()).expect("US-ASCII").replace("\r\n", "\n");
    format!("<{}> to {}\n\n{text}", letter.envelope.reverse_path.as_str(), to.join(" "))
}

const PLAIN: &str = "From: Tim <tim@example.com>\nTo: OWNER@example.org\nSubject: lunch\nMessage-ID: <a@b>\n\
                     References: <x@y>\n <z@y>\n";

#[test]
fn an_absent_owner_answers() {
    insta::assert_snapshot!("vacation", shown(with("tim@example.com", PLAIN, |origin| vacation(&answer(), origin))));
    let entity = "Content-Type: text/html\nX-Evil: 1\n\n<p>away</p>\n";
    let mime = Vacation {
        reason: entity.into(),
        is_mime: true,
        subject: Some("Café ".repeat(30)),
        from: Some("Günther <g@example.org>".to_owned()),
        ..answer()
    };
    insta::assert_snapshot!("vacation_mime", shown(with("tim@example.com", PLAIN, |origin| vacation(&mime, origin))));
}

#[test]
fn machines_lists_and_strangers_get_no_answer() {
    let silence = |from: &str, fields: &str| with(from, fields, |origin| vacation(&answer(), origin)).err();
    let more = |line: &str| format!("{PLAIN}{line}\n");
    assert_eq!(silence("", PLAIN), Some(Silence::NullSender));
    assert_eq!(silence("owner@example.org", PLAIN), Some(Silence::OwnAddress));
    assert_eq!(silence("Other@example.org", PLAIN), Some(Silence::OwnAddress));
    for program in ["mailer-daemon", "list-request", "owner-list", "LISTSERV", "x-bounces+me=x"] {
        assert_eq!(silence(&format!("{program}@example.com"), PLAIN), Some(Silence::SystemSender), "{program}");
    }
    for line in ["Auto-Submitted: auto-replied", "Auto-Submitted: yes; x", "X-Auto-Response-Suppress: DR, OOF"] {
        assert_eq!(silence("tim@example.com", &more(line)), Some(Silence::AutoSubmitted), "{line}");
    }
    for line in ["List-Id: <x>", "Precedence: Bulk"] {
        assert_eq!(silence("tim@example.com", &more(line)), Some(Silence::Bulk), "{line}");
    }
    assert_eq!(silence("tim@example.com", "To: all@example.org\n"), Some(Silence::NotAddressed));
    for fields in ["Cc: other@example.org\n".to_owned(), more("Auto-Submitted: no"), more("Precedence: normal")] {
        assert_eq!(silence("tim@example.com", &fields), None, "{fields}");
    }
}

#[test]
fn notifications_are_letters() {
    let action = Notification {
        method: "mailto:a@b.example?cc=c@d.example,a@b.example&subject=news&body=look%0D%0Ahere&x-y=1&from=evil@x"
            .to_owned(),
        from: None,
        importance: Importance::High,
        options: Vec::new(),
        message: None,
    };
    insta::assert_snapshot!("notification", shown(with("tim@example.com", PLAIN, |o| notification(&action, o))));
    let plain = Notification {
        method: "mailto:a@b.example".to_owned(),
        message: Some("Ein grüner Tag".to_owned()),
        from: Some("Me <me@example.org>".to_owned()),
        ..action.clone()
    };
    insta::assert_snapshot!("notification_message", shown(with("tim@example.com", PLAIN, |o| notification(&plain, o))));
    let null = with("", PLAIN, |o| notification(&plain, o)).expect("a letter");
    assert!(null.envelope.reverse_path.is_null());
    let fields = format!("{PLAIN}Auto-Submitted: auto-notified\n");
    assert_eq!(with("tim@example.com", &fields, |o| notification(&action, o)), Err(Silence::AutoSubmitted));
    let odd = Notification { method: "xmpp:a@b".to_owned(), ..action };
    assert_eq!(with("tim@example.com", PLAIN, |o| notification(&odd, o)), Err(Silence::Method));
}

#[test]
fn a_refusal_is_a_reply_or_a_letter() {
    let reject = |reason: &str, is_ereject| Reject { reason: reason.to_owned(), is_ereject };
    assert_eq!(reply(&reject("No\r\nthanks\r\n", false)), Reply::new(550, (5, 7, 1), "No\nthanks"));
    assert_eq!(reply(&reject("551 5.1.1 gone", true)), Reply::new(551, (5, 1, 1), "gone"));
    assert_eq!(reply(&reject("451 5.1.1 later", true)), Reply::new(451, (4, 7, 1), "5.1.1 later"));
    assert_eq!(reply(&reject("250 fine", true)), Reply::new(550, (5, 7, 1), "250 fine"));
    assert_eq!(reply(&reject("", true)), Reply::new(550, (5, 7, 1), "Message refused."));
    let letter = with("tim@example.com", PLAIN, |o| refusal(&reject("I döñ't want this", false), o));
    insta::assert_snapshot!("refusal", shown(letter));
    assert_eq!(with("", PLAIN, |o| refusal(&reject("x", false), o)), Err(Silence::NullSender));
    assert_eq!(with("tim@example.com", PLAIN, |o| refusal(&reject("x", true), o)), Err(Silence::Ereject));
}

proptest! {
    #[test]
    fn nothing_adds_a_field(text in "[ -~\r\né]{0,60}", subject in "[a-zX:\r\n é]{0,60}") {
        let action = Vacation {
            reason: text.clone().into(),
            subject: Some(format!("{subject}\r\nX-Evil: 1\r\n\r\n")),
            from: Some(format!("{subject}\r\nX-Evil: 1\r\n <a@b.example>")),
            ..answer()
        };
        let fields = format!("To: owner@example.org\nMessage-ID: <{}>\nSubject: {}\n", text.replace(['\r', '\n'], ""), text.replace(['\r', '\n'], ""));
        let letter = with("tim@example.com", &fields, |o| vacation(&action, o)).expect("a letter");
        let (header, at) = HeaderSection::split(&letter.content);
        prop_assert!(header.named("x-evil").next().is_none());
        prop_assert!(header.fields().all(|field| !field.name.is_empty()));
        prop_assert!(header.raw().is_ascii() && at > header.raw().len());
        prop_assert!(header.fields().flat_map(|field| field.raw.split(|b| *b == b'\n')).all(|line| line.len() < 998));
        prop_assert_eq!(header.named("auto-submitted").count(), 1);
    }
}
