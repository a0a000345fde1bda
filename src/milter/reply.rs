//! The text of `SMFIR_REPLYCODE` as a reply of ours.

use crate::base::limits::REPLY_LINES_MAX;
use crate::mail::{EnhancedStatus, Reply};

/// Reads `550 5.7.1 text`, also in several lines (`550-5.7.1 one` CRLF `550 5.7.1 two`). Nothing when it does not
/// start with a code 4yz or 5yz.
///
/// What a filter leaves out is filled in: the enhanced status (as is one of another class than the code's), and the
/// text, so that a code with a status and nothing behind it is a reply like any other. A doubled `%` is one: libmilter
/// makes filters write it so. Control characters are left to [`Reply::write_to`], which lets none through.
pub(super) fn parse(text: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.split(['\r', '\n']).filter(|line| !line.is_empty()).take(REPLY_LINES_MAX);
    let first = lines.next()?;
    let (code, first) = split_code(first)?;
    let (status, first) = split_status(first);
    let class = (code / 100) as u8;
    let default = EnhancedStatus::new(class, 7, 1);
    let mut joined = String::with_capacity(text.len());
    push_line(&mut joined, first);
    for line in lines {
        let rest = match split_code(line) {
            Some((again, rest)) if again == code => split_status(rest).1,
            _ => line,
        };
        joined.push('\n');
        push_line(&mut joined, rest);
    }
    if joined.trim().is_empty() {
        joined = default_text(class).to_owned();
    }
    Some(Reply {
        code,
        status: Some(status.filter(|status| status.class == class).unwrap_or(default)),
        text: joined.into(),
    })
}

/// What a reply says when a filter gave no text.
pub(super) fn default_text(class: u8) -> &'static str {
    if class == 4 { "Service unavailable - try again later" } else { "Command rejected" }
}

fn split_code(line: &str) -> Option<(u16, &str)> {
    let (digits, rest) = line.split_at_checked(3)?;
    let is_code = matches!(digits.as_bytes(), [b'4' | b'5', b'0'..=b'9', b'0'..=b'9']);
    let rest = if rest.is_empty() { rest } else { rest.strip_prefix([' ', '-'])? };
    is_code.then(|| digits.parse().ok()).flatten().map(|code| (code, rest))
}

fn split_status(rest: &str) -> (Option<EnhancedStatus>, &str) {
    let (word, text) = rest.split_once(' ').unwrap_or((rest, ""));
    match word.parse() {
        Ok(status) => (Some(status), text),
        Err(_) => (None, rest),
    }
}

fn push_line(joined: &mut String, line: &str) {
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '%' {
            chars.next_if_eq(&'%');
        }
        joined.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replies_as_filters_write_them() {
        let cases: &[(&[u8], Option<&str>)] = &[
            (b"550 5.7.1 no", Some("550 5.7.1 no\r\n")),
            (b"451 4.3.2 later", Some("451 4.3.2 later\r\n")),
            (b"550 no status", Some("550 5.7.1 no status\r\n")),
            (b"550 5.7.1", Some("550 5.7.1 Command rejected\r\n")),
            (b"450 4.7.1 ", Some("450 4.7.1 Service unavailable - try again later\r\n")),
            (b"550", Some("550 5.7.1 Command rejected\r\n")),
            (b"550 ", Some("550 5.7.1 Command rejected\r\n")),
            (b"550 4.7.0 other class", Some("550 5.7.1 other class\r\n")),
            (b"550 5 apples", Some("550 5.7.1 5 apples\r\n")),
            (b"550 5.7.1 100%% sure, 5% not", Some("550 5.7.1 100% sure, 5% not\r\n")),
            (
                b"550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three",
                Some("550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n"),
            ),
            (b"550 5.7.1 one\n250 2.0.0 forged", Some("550-5.7.1 one\r\n550 5.7.1 250 2.0.0 forged\r\n")),
            (b"550 5.7.1 a\rb\x01\x7f", Some("550-5.7.1 a\r\n550 5.7.1 b??\r\n")),
            (b"550 5.7.1 \xff\xfe", Some("550 5.7.1 \u{fffd}\u{fffd}\r\n")),
            (b"250 2.0.0 yes", None),
            (b"354 go", None),
            (b"55", None),
            (b"5500 x", None),
            (b"5x0 x", None),
            (b"", None),
            (b"\r\n", None),
            ("55é".as_bytes(), None),
        ];
        for (text, expected) in cases {
            let written = parse(text).map(|reply| {
                let mut out = Vec::new();
                reply.write_to(&mut out);
                String::from_utf8(out).expect("UTF-8")
            });
            assert_eq!(written.as_deref(), *expected, "{}", text.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_text_is_more_than_one_reply(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = [b"550 ", &text[..]].concat();
            let reply = parse(&text).expect("a code");
            let mut out = Vec::new();
            reply.write_to(&mut out);
            let lines: Vec<_> = out.split_inclusive(|b| *b == b'\n').collect();
            for (i, line) in lines.iter().enumerate() {
                let start: &[u8] = if i + 1 == lines.len() { b"550 5." } else { b"550-5." };
                prop_assert!(line.starts_with(start) && line.ends_with(b"\r\n"));
            }
        }
    }
}
