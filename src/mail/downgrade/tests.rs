//! What is converted decodes to the same, as another parser sees it; what is not is refused with words.

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use proptest::prelude::*;

use super::*;

const NOTE: &str = "X-MIME-Autoconverted: from 8bit to 7bit by us.test\r\n";

fn converted(message: &str) -> String {
    let out = convert(message.as_bytes(), "us.test").expect("it can be converted");
    assert_clean(&out);
    String::from_utf8(out).expect("US-ASCII")
}

/// The conversion of latin-1 text that is written as its characters.
fn latin(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("latin-1")).collect()
}

fn refused(message: &str) -> Refusal {
    convert(message.as_bytes(), "us.test").expect_err("it must not be converted")
}

fn assert_clean(out: &[u8]) {
    assert!(out.iter().all(|b| b.is_ascii() && *b != 0), "{}", out.escape_ascii());
    let mut rest = out;
    while let Some(at) = memchr::memchr2(b'\r', b'\n', rest) {
        assert!(at <= 998 && rest[at..].starts_with(b"\r\n"), "{}", out.escape_ascii());
        rest = &rest[at + 2..];
    }
    assert!(rest.len() <= 998);
}

#[test]
fn text_becomes_quoted_printable() {
    let text = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
                content-transfer-encoding: 8bit\r\nX-Last: y\r\n\r\n.gr\u{fc}n = so \r\n--from\r\nFrom me\r\n";
    let expected = format!(
        "{NOTE}Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Transfer-Encoding: quoted-printable\r\nX-Last: y\r\n\r\n\
         =2Egr=C3=BCn =3D so=20\r\n=2D-from\r\n=46rom me\r\n"
    );
    assert_eq!(converted(text), expected);
}

#[test]
fn what_is_no_text_or_too_dense_becomes_base64() {
    let text =
        "MIME-Version: 1.0\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: binary\r\n\r\n\u{fc}\n\0";
    let expected =
        "MIME-Version: 1.0\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nw7wKAA==\r\n";
    assert_eq!(converted(text), format!("{NOTE}{expected}"));
    let dense = format!("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{}", "\u{fc}".repeat(100));
    assert!(converted(&dense).contains("Content-Transfer-Encoding: base64\r\n\r\nw7zDvM"));
}

#[test]
fn a_message_without_mime_gets_its_fields() {
    let expected = format!(
        "{NOTE}Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nf=FCr\r\n"
    );
    let out = convert(&latin("Subject: x\r\n\r\nf\u{fc}r\r\n"), "us.test").expect("it can be converted");
    assert_eq!(String::from_utf8(out).expect("US-ASCII"), expected);
}

#[test]
fn bare_line_ends_and_long_lines_are_encoded() {
    let text = format!("MIME-Version: 1.0\r\n\r\na\rb\nc\r\n{}", "x".repeat(1100));
    let out = converted(&text);
    assert!(out.contains("\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=0Db=0Ac\r\nxxx"), "{out}");
    assert!(out.ends_with("x=\r\n"), "the line end at the end is not the text's");
}

const MIXED: &str = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b 1\"\r\n\
    Content-Transfer-Encoding: 8bit\r\n\r\npr\u{e9}amble --\r\n--b 1 \r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\u{fc}\r\n--b 1\r\n\
    Content-Transfer-Encoding: binary\r\n\r\nseven\r\n--b 1\r\n\
    Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nDKIM-Signature: v=1\r\n\r\nd\u{e9}j\u{e0}\r\n\
    --b 1\r\nContent-Type: multipart/digest; boundary=in\r\n\r\n--in\r\n\r\nSubject: y\r\n\r\n\u{e4}\r\n--in--\r\n\r\n\
    --b 1--\r\n--epilogue \u{e4}\r\n";

#[test]
fn containers_keep_their_octets() {
    insta::assert_snapshot!(converted(MIXED));
}

#[test]
fn what_needs_nothing_stays_as_it_is() {
    for message in [
        "Subject: x\r\n\r\nbody",
        "Subject: x",
        "",
        "\r\n",
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n--b--",
        "DKIM-Signature: x\r\nContent-Transfer-Encoding: 8bit\r\n\r\nseven bits\r\n",
    ] {
        assert_eq!(converted(message), message);
        let mut survey = Survey::new("us.test");
        survey.push(message.as_bytes()).expect("sound");
        let conversion = survey.finish().expect("sound");
        assert!(!conversion.has_changes());
        assert_eq!(conversion.size_bytes(), message.len() as u64);
        assert_eq!(conversion.ends_with_crlf, message.is_empty() || message.ends_with("\r\n"));
    }
}

#[test]
fn signatures_are_not_broken() {
    assert_eq!(refused("DKIM-Signature: v=1\r\n\r\n\u{fc}\r\n"), Refusal::Signed);
    assert_eq!(refused("ARC-Seal: i=1\r\n\r\n\u{fc}\r\n"), Refusal::Signed);
    let signed = "Content-Type: multipart/mixed; boundary=o\r\n\r\n\u{fc}\r\n--o\r\n\
                  Content-Type: multipart/signed; boundary=s\r\n\r\n--s\r\n\
                  Content-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\nCONTENT\r\n--s\r\n\
                  Content-Type: application/pgp-signature\r\n\r\nx\r\n--s--\r\n--o--\r\n";
    assert_eq!(refused(&signed.replace("CONTENT", "\u{fc}")), Refusal::SignedPart);
    let out = converted(signed); // it is 7-bit, whatever it says: what surrounds it may change
    assert!(out.contains("Content-Transfer-Encoding: 8bit\r\n\r\nCONTENT\r\n--s"), "{out}");
    let words = Refusal::Signed.reply("the content is 8-bit and the next hop does not take 8BITMIME").to_string();
    assert!(
        words.starts_with("554 5.6.3 the content is 8-bit and the next hop does not take 8BITMIME, and"),
        "{words}"
    );
}

#[test]
fn what_is_unclear_is_refused() {
    assert_eq!(refused("Subject: \u{fc}\r\n\r\n\u{fc}\r\n"), Refusal::EightBitHeader);
    let part = |part: &str| format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n{part}\r\n--b--\r\n");
    assert_eq!(refused(&part("Subject: \u{fc}\r\n\r\nx")), Refusal::EightBitHeader);
    assert_eq!(refused(&part("Content-Type: message/partial\r\n\r\n\u{fc}")), Refusal::Fixed);
    let malformed = [
        part("Content-Transfer-Encoding: quoted-printable\r\n\r\n\u{fc}"),
        part("Content-Transfer-Encoding: base64\r\n\r\n\u{fc}"),
        part("Content-Transfer-Encoding: x-uuencode\r\n\r\n\u{fc}"),
        part("\r\n\u{fc}\n--b\r\n\r\nhidden"),
        part("\r\n\u{fc}\r--b\r\n\r\nhidden"),
        part("\r\n\u{fc}\r\n--b\n\r\nhidden"),
        part("\r\n\u{fc}\r\n--bx\r\n\r\nhidden"),
        part("\r\n\u{fc}\r\n--b--\r\n\r\n--b\r\n"),
        part("Content-Type: multipart/mixed; boundary=b\r\n\r\n\u{fc}"),
        part("text without an empty line\r\n\r\n\u{fc}"),
        part("Content-Type: multipart/alternative\r\n\r\n\u{fc}"),
        "A: 1\nB: 2\r\n\r\n\u{fc}".to_owned(),
        format!("A: {}\r\n\r\n\u{fc}", "x".repeat(1000)),
    ];
    for message in malformed {
        assert!(matches!(refused(&message), Refusal::Malformed(_)), "{message}");
    }
    let deep: String = (0..=crate::base::limits::DOWNGRADE_DEPTH_MAX)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}_\r\n\r\n--b{n}_\r\n"))
        .collect();
    assert_eq!(refused(&deep), Refusal::TooMuch);
    let many = "--b\r\n\r\n\r\n".repeat(crate::base::limits::DOWNGRADE_PARTS_MAX + 1);
    assert_eq!(refused(&format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{many}")), Refusal::TooMuch);
}

#[test]
fn base64_in_one_line_gets_lines() {
    let text = format!(
        "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\u{fc}\r\n--b\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
        "YWJj".repeat(300)
    );
    let out = converted(&text);
    assert_eq!(seen(&text.into_bytes()), seen(out.as_bytes()));
}

/// What another parser sees: for each part its type, its other fields and its decoded content.
/// Nothing where that parser has a bug of its own (0.11.9 has an assertion that some unended multiparts violate).
fn seen(message: &[u8]) -> Option<Vec<String>> {
    std::panic::catch_unwind(|| {
        let message = MessageParser::default().parse(message).expect("something");
        let mut all = Vec::new();
        describe(&message, &mut all);
        all
    })
    .ok()
}

fn describe(message: &Message<'_>, all: &mut Vec<String>) {
    for part in &message.parts {
        let is_ours = |name: &str| {
            ["content-transfer-encoding", "content-type", "mime-version", "x-mime-autoconverted"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name))
        };
        let fields: Vec<_> = part.headers.iter().map(|h| h.name()).filter(|name| !is_ours(name)).collect();
        let kind = part.content_type().map_or("text/plain".into(), |t| format!("{}/{:?}", t.ctype(), t.subtype()));
        let kind = if kind == "text/Some(\"plain\")" { "text/plain".into() } else { kind };
        let content = match &part.body {
            PartType::Text(text) | PartType::Html(text) => format!("text {text:?}"),
            PartType::Binary(octets) | PartType::InlineBinary(octets) => format!("octets {}", octets.escape_ascii()),
            PartType::Message(_) => "message".into(),
            PartType::Multipart(parts) => format!("parts {parts:?}"),
        };
        all.push(format!("{kind} {fields:?} {content}"));
        if let PartType::Message(message) = &part.body {
            describe(message, all);
        }
    }
}

#[derive(Debug, Clone)]
enum Tree {
    Leaf { kind: &'static str, encoding: &'static str, content: Vec<u8> },
    Multipart { kind: &'static str, preamble: &'static str, parts: Vec<Tree>, is_closed: bool },
    Message(Box<Tree>),
}

const KINDS: [&str; 6] =
    ["", "text/plain", "text/html; charset=utf-8", "application/x; name=a", "image/png", "text/x; charset=iso-8859-1"];
const WORDS: [&[u8]; 18] = [
    b"a",
    b"word ",
    b"=",
    b"=3D",
    b".",
    b"\r\n",
    b"\r\n\r\n",
    b" \r\n",
    b"\t",
    b"From ",
    b"\r\n.\r\n",
    b"\r\n--",
    b"\xc3\xbc",
    b"\xe4",
    b"\xff\xfe",
    b"-",
    b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    b"--b",
];

fn tree() -> impl Strategy<Value = Tree> {
    let content = prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..24).prop_map(|words| words.concat());
    let encoding = prop::sample::select(vec!["", "7bit", "8bit", "binary"]);
    let leaf = (prop::sample::select(KINDS.to_vec()), encoding, content)
        .prop_map(|(kind, encoding, content)| Tree::Leaf { kind, encoding, content });
    leaf.prop_recursive(4, 16, 4, |inner| {
        let kind = prop::sample::select(vec!["mixed", "alternative", "related", "report"]);
        let preamble = prop::sample::select(vec!["", "skip me\r\n", "sk\u{ef}p --\r\nme\r\n"]);
        let parts = prop::collection::vec(inner.clone(), 1..4);
        let is_closed = prop::bool::weighted(0.9);
        prop_oneof![
            4 => (kind, preamble, parts, is_closed)
                .prop_map(|(kind, preamble, parts, is_closed)| Tree::Multipart { kind, preamble, parts, is_closed }),
            1 => inner.prop_map(|tree| Tree::Message(Box::new(tree))),
        ]
    })
}

fn render(tree: &Tree, depth: &mut usize, out: &mut Vec<u8>, is_whole: &mut bool) {
    match tree {
        Tree::Leaf { kind, encoding, content } => {
            if !kind.is_empty() {
                out.extend_from_slice(format!("Content-Type: {kind}\r\n").as_bytes());
            }
            if !encoding.is_empty() {
                out.extend_from_slice(format!("Content-Transfer-Encoding: {encoding}\r\n").as_bytes());
            }
            out.extend_from_slice(b"X-Field: x\r\n\r\n");
            out.extend_from_slice(content);
        }
        Tree::Multipart { kind, preamble, parts, is_closed } => {
            *depth += 1;
            let boundary = format!("=_{depth}_");
            out.extend_from_slice(
                format!("Content-Type: multipart/{kind};\r\n boundary=\"{boundary}\"\r\n").as_bytes(),
            );
            out.extend_from_slice(format!("Content-Transfer-Encoding: 8bit\r\n\r\n{preamble}").as_bytes());
            for part in parts {
                out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
                render(part, depth, out, is_whole);
            }
            *is_whole &= *is_closed;
            if *is_closed {
                out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
            }
        }
        Tree::Message(inner) => {
            out.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\nSubject: in\r\nMIME-Version: 1.0\r\n");
            render(inner, depth, out, is_whole);
        }
    }
}

fn rewritten_in_pieces(message: &[u8], size: usize) -> Result<Vec<u8>, Refusal> {
    let mut survey = Survey::new("us.test");
    message.chunks(size).try_for_each(|piece| survey.push(piece))?;
    let conversion = survey.finish()?;
    let mut rewriter = Rewriter::new(conversion.clone());
    let mut out = Vec::new();
    for piece in message.chunks(size) {
        out.extend(rewriter.push(piece)?);
    }
    out.extend(rewriter.finish()?);
    assert_eq!(conversion.size_bytes(), out.len() as u64, "the size is known before: {}", out.escape_ascii());
    assert_eq!(conversion.ends_with_crlf, out.is_empty() || out.ends_with(b"\r\n"));
    Ok(out)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn another_parser_sees_the_same(tree in tree(), size in 1usize..300) {
        let mut message = b"From: a@b.test\r\nMIME-Version: 1.0\r\n".to_vec();
        let mut is_whole = true;
        render(&tree, &mut 0, &mut message, &mut is_whole);
        let out = match rewritten_in_pieces(&message, size) {
            Err(refusal) if !is_whole => {
                prop_assert_eq!(refusal, Refusal::Malformed("a multipart does not end"));
                return Ok(());
            }
            out => out.expect("all of it is sound"),
        };
        assert_clean(&out);
        let (before, after) = (seen(&message), seen(&out));
        if before.is_some() {
            prop_assert_eq!(before, after, "{}\n{}", message.escape_ascii(), out.escape_ascii());
        }
        prop_assert_eq!(convert(&out, "us.test"), Ok(out));
    }

    #[test]
    fn anything_is_converted_or_refused(
        tree in tree(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec![
            &b"\r"[..], b"\n", b"\0", b"\xe4", b"--=_1_", b"--=_2_--", b"\r\n\r\n", b"Content-Type: multipart/signed; boundary=\"=_1_\"\r\n",
            b"Content-Transfer-Encoding: base64\r\n", b"\r\n--=_1_\r\n", b"\n--=_1_\n", b":", b"\r\n ", b"DKIM-Signature: x\r\n",
        ])), 0..5),
        size in 1usize..300,
    ) {
        let mut message = b"From: a@b.test\r\n".to_vec();
        render(&tree, &mut 0, &mut message, &mut true);
        for (at, text) in edits {
            let at = at.index(message.len());
            message.splice(at..at, text.iter().copied());
        }
        let whole = convert(&message, "us.test");
        prop_assert_eq!(&whole, &rewritten_in_pieces(&message, size));
        if let Ok(out) = whole {
            assert_clean(&out);
            prop_assert_eq!(convert(&out, "us.test"), Ok(out));
        }
    }
}
