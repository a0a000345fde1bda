//! Text in header fields that this room writes: encoded words where US-ASCII is not enough (RFC 2047).

use data_encoding::BASE64;

/// Octets of text in one encoded word, so that the word has at most 75.
const WORD_OCTETS_MAX: usize = 45;

/// Text for an unstructured field: as it is, or in encoded words. Controls become spaces.
pub(in crate::sieve) fn text(text: &str) -> String {
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_ascii() { text } else { words(&text) }
}

/// `phrase <address>`: the phrase in encoded words where it needs them.
pub(in crate::sieve) fn mailbox(mailbox: &str) -> String {
    let mailbox: String = mailbox.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match mailbox.rfind('<') {
        Some(at) if !mailbox.is_ascii() => {
            let (phrase, address) = mailbox.split_at(at);
            let phrase = phrase.trim().trim_matches('"');
            if phrase.is_ascii() { mailbox } else { format!("{} {address}", words(phrase)) }
        }
        _ => mailbox,
    }
}

fn words(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut word = String::new();
    for c in text.chars() {
        if word.len() + c.len_utf8() > WORD_OCTETS_MAX {
            flush(&mut out, &mut word);
        }
        word.push(c);
    }
    flush(&mut out, &mut word);
    out
}

fn flush(out: &mut String, word: &mut String) {
    if word.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push_str("\r\n ");
    }
    out.push_str("=?utf-8?B?");
    out.push_str(&BASE64.encode(word.as_bytes()));
    out.push_str("?=");
    word.clear();
}

#[cfg(test)]
mod tests {
    use super::super::super::decode::field_value;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_needs_it_is_encoded() {
        assert_eq!(text(" plain\r\nBcc: x "), "plain  Bcc: x");
        assert_eq!(text("ä"), "=?utf-8?B?w6Q=?=");
        assert_eq!(mailbox("Günther <g@example.org>"), "=?utf-8?B?R8O8bnRoZXI=?= <g@example.org>");
        assert_eq!(mailbox("G <g@example.org>"), "G <g@example.org>");
    }

    proptest! {
        #[test]
        fn words_say_the_same(value in "[a-zäß€😀 ]{0,120}") {
            let written = text(&value);
            let read = field_value(written.as_bytes()).into_owned();
            prop_assert_eq!(String::from_utf8_lossy(&read), value.trim());
            prop_assert!(!written.contains('?') || written.lines().all(|line| line.len() <= 77));
        }
    }
}
