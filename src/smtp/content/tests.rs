use super::lookalikes::LOOKALIKES;
use super::*;
use crate::base::limits::{HEADER_FIELD_BYTES_MAX, HEADER_SECTION_BYTES_MAX};
use proptest::prelude::*;

/// What came out of content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    content: Vec<u8>,
    /// What stands behind the end; none when it was not found.
    after: Option<Vec<u8>>,
    facts: ContentFacts,
    fault: Option<ContentFault>,
}

/// The definition, octet by octet, over the whole input.
fn model(input: &[u8], policy: BareLineEnds) -> Outcome {
    let (mut raw, mut after, mut i) = (Vec::new(), None, 0);
    while i < input.len() {
        let at_line_start = i == 0 || input[..i].ends_with(b"\r\n");
        if at_line_start && input[i..].starts_with(b".\r\n") {
            after = Some(input[i + 3..].to_vec());
            break;
        }
        if !(at_line_start && input[i] == b'.') {
            raw.push(input[i]);
        }
        i += 1;
    }
    outcome(raw, after, policy)
}

fn outcome(raw: Vec<u8>, after: Option<Vec<u8>>, policy: BareLineEnds) -> Outcome {
    let is_bare = |c: &[u8], i: usize| match c[i] {
        b'\r' => c.get(i + 1) != Some(&b'\n'),
        b'\n' => i == 0 || c[i - 1] != b'\r',
        _ => false,
    };
    let had_bare = (0..raw.len()).any(|i| is_bare(&raw, i));
    let content = match policy {
        BareLineEnds::Normalize => {
            let expand = |i: usize| if is_bare(&raw, i) { b"\r\n".to_vec() } else { vec![raw[i]] };
            (0..raw.len()).flat_map(expand).collect()
        }
        _ => raw,
    };
    let facts = facts_of(&content);
    let fault = (had_bare && policy == BareLineEnds::Reject).then_some(ContentFault::BareLineEnd);
    Outcome { content, after, facts, fault }
}

fn facts_of(content: &[u8]) -> ContentFacts {
    let mut facts = ContentFacts { size_bytes: content.len() as u64, ..ContentFacts::default() };
    let mut lines: Vec<&[u8]> = content.split_inclusive(|&b| b == b'\n').collect();
    let text = |line: &[u8]| match line {
        [t @ .., b'\r', b'\n'] | [t @ .., b'\n'] => t.len(),
        t => t.len(),
    };
    facts.longest_line_bytes = lines.iter().map(|l| text(l)).filter(|&n| n > 998).max().unwrap_or(0) as u32;
    facts.has_leading_dot = lines.iter().any(|l| l[0] == b'.');
    facts.has_nul = content.contains(&0);
    facts.has_bare_cr = (0..content.len()).any(|i| content[i] == b'\r' && content.get(i + 1) != Some(&b'\n'));
    facts.has_bare_lf = (0..content.len()).any(|i| content[i] == b'\n' && !content[..i].ends_with(b"\r"));
    facts.ends_with_crlf = content.is_empty() || content.ends_with(b"\r\n");
    let separator = lines.iter().position(|l| matches!(l, [b'\n'] | [b'\r', b'\n']));
    facts.has_separator = separator.is_some();
    let body = lines.split_off(separator.unwrap_or(lines.len()));
    facts.has_8bit_header = lines.iter().any(|l| !l.is_ascii());
    facts.has_8bit_body = body.iter().any(|l| !l.is_ascii());
    facts.header_bytes = lines.iter().map(|l| l.len()).sum::<usize>() as u32;
    let is_received = |l: &&&[u8]| {
        let colon = l.iter().position(|&b| b == b':').unwrap_or(0);
        let name = &l[..colon];
        let end = name.iter().rposition(|b| !b" \t".contains(b)).map_or(0, |i| i + 1);
        name[..end].eq_ignore_ascii_case(b"received")
    };
    facts.received_fields = lines.iter().filter(is_received).count() as u16;
    facts
}

/// The scanner, with the input in the pieces that `cuts` make of it.
fn scan(input: &[u8], cuts: &[usize], policy: BareLineEnds, in_place: bool) -> Outcome {
    let mut scanner = ContentScanner::new(policy);
    let (mut content, mut held, mut at) = (Vec::new(), Vec::new(), 0);
    let mut after = None;
    for end in cuts.iter().copied().chain([input.len()]) {
        let end = end.clamp(at, input.len());
        held.extend_from_slice(&input[at..end]);
        at = end;
        let (consumed, is_end) = if in_place {
            let step = scanner.scan_in_place(&mut held);
            content.extend_from_slice(&held[..step.kept]);
            (step.consumed, step.is_end)
        } else {
            let step = scanner.scan(&held, |piece| content.extend_from_slice(piece));
            (step.consumed, step.is_end)
        };
        held.drain(..consumed);
        if is_end {
            held.extend_from_slice(&input[at..]);
            after = Some(held);
            break;
        }
        assert!(held.len() <= 2, "{} octets held back", held.len());
    }
    let facts = scanner.finish(|piece| content.extend_from_slice(piece));
    Outcome { content, after, facts, fault: scanner.fault() }
}

const POLICIES: [BareLineEnds; 3] = [BareLineEnds::Reject, BareLineEnds::Normalize, BareLineEnds::Allow];

/// Every division into three, and octet by octet, against the model.
fn check_all_splits(input: &[u8]) {
    for policy in POLICIES {
        let expected = model(input, policy);
        let each: Vec<usize> = (0..input.len()).collect();
        let compare = |cuts: &[usize]| {
            let mut got = scan(input, cuts, policy, false);
            if expected.after.is_none() {
                // The model judges a dot at the end of an unfinished input; the scanner waits for more.
                return;
            }
            assert_eq!(got, expected, "{policy:?} {cuts:?} {:?}", String::from_utf8_lossy(input));
            if policy != BareLineEnds::Normalize {
                got = scan(input, cuts, policy, true);
                assert_eq!(got, expected, "in place {policy:?} {cuts:?} {:?}", String::from_utf8_lossy(input));
            }
        };
        compare(&each);
        for first in 0..=input.len() {
            for second in [first, first + 1, first + 2, input.len()] {
                compare(&[first, second]);
            }
        }
    }
}

#[test]
fn nothing_else_ends_the_content() {
    for smuggler in LOOKALIKES {
        for tail in [
            &b"MAIL FROM:<e@x>\r\nRCPT TO:<v@x>\r\nDATA\r\nSubject: evil\r\n\r\nx\r\n.\r\n"[..],
            b"bdat 6 last\r\nevil\r\n.\r\n",
        ] {
            let input = [b"A: 1\r\n\r\nx", smuggler, tail, b"NOOP\r\n"].concat();
            check_all_splits(&input);
            let got = scan(&input, &[], BareLineEnds::Allow, false);
            assert_eq!(got.after.as_deref(), Some(&b"NOOP\r\n"[..]), "{smuggler:?}");
            if got.facts.has_bare_cr || got.facts.has_bare_lf {
                let got = scan(&input, &[], BareLineEnds::Reject, false);
                assert_eq!(got.fault, Some(ContentFault::BareLineEnd));
            }
        }
    }
}

#[test]
fn a_normalized_message_has_no_line_of_one_dot_that_is_not_content() {
    // What a lenient next hop could take for an end is stuffed again when it leaves: it is content here.
    let got = scan(b"a\n.\r\nb\r\n.\r\n", &[], BareLineEnds::Normalize, false);
    assert_eq!(got.content, b"a\r\n.\r\nb\r\n");
    assert!(got.facts.has_leading_dot);
    assert!(!got.facts.has_bare_lf);
}

#[test]
fn dots_are_removed_once() {
    let got = scan(b"..a\r\n.\r.\r\n...\r\n..\r\n.b\r\n.\r\nQUIT\r\n", &[], BareLineEnds::Allow, false);
    assert_eq!(got.content, b".a\r\n\r.\r\n..\r\n.\r\nb\r\n");
    check_all_splits(b"..a\r\n.\r.\r\n...\r\n..\r\n.b\r\n.\r\nQUIT\r\n");
}

#[test]
fn the_empty_message_is_one() {
    for cuts in [&[][..], &[1], &[1, 2]] {
        let got = scan(b".\r\nQUIT\r\n", cuts, BareLineEnds::Reject, false);
        assert_eq!((got.content.len(), got.after.as_deref()), (0, Some(&b"QUIT\r\n"[..])));
        assert!(got.facts.ends_with_crlf && !got.facts.has_separator);
    }
}

#[test]
fn facts_of_plain_messages() {
    for input in [
        &b"Received: a\r\n b\r\nreceived : c\r\nReceived-SPF: d\r\nSubject: \xc3\xb6\r\n\r\nbody\r\n\xff\0\r\n.\r\n"[..],
        b"A: 1\r\n.\r\n",
        b"\r\nbody\r\n.\r\n",
        b"\r\n.\r\n",
        b"\r\n\r\n.\r\n",
        b"received:\r\nno header line\r\n\tx\r\n.\r\n",
        b"A: 1\n\nbody\r\n.\r\n",
    ] {
        check_all_splits(input);
    }
}

#[test]
fn long_content_over_many_blocks() {
    for line_bytes in [1usize, 76, 997, 998, 999, 1000, 1001, 5000, 9000] {
        let mut input = b"Subject: x\r\n\r\n".to_vec();
        for i in 0..(20_000 / line_bytes + 2) {
            if i % 7 == 3 {
                input.extend_from_slice(b"..");
            }
            input.extend(std::iter::repeat_n(b'a' + (i % 26) as u8, line_bytes - (i % 3).min(line_bytes - 1)));
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(b".\r\nQUIT\r\n");
        let expected = model(&input, BareLineEnds::Reject);
        for step in [input.len(), 4096, 4095, 1000, 33, 1] {
            let cuts: Vec<usize> = (0..input.len()).step_by(step).collect();
            for in_place in [false, true] {
                assert!(scan(&input, &cuts, BareLineEnds::Reject, in_place) == expected, "{line_bytes} {step}");
            }
        }
    }
}

#[test]
fn the_header_section_is_bounded() {
    let field = b"X-Filler: 0123456789012345678901234567890123456789\r\n";
    for (bytes, fault) in [
        (HEADER_SECTION_BYTES_MAX - field.len(), None),
        (HEADER_SECTION_BYTES_MAX + field.len(), Some(ContentFault::HeaderTooLong)),
    ] {
        let mut input: Vec<u8> = field.iter().copied().cycle().take(bytes / field.len() * field.len()).collect();
        input.extend_from_slice(b"\r\nbody\r\n.\r\n");
        let got = scan(&input, &[100, 5000, 200_000], BareLineEnds::Reject, true);
        assert_eq!(got.fault, fault);
        assert_eq!(got.facts.has_separator, fault.is_none());
        assert!(got.after.is_some());
    }
}

#[test]
fn a_field_is_bounded_with_all_its_lines() {
    let line = b" 0123456789012345678901234567890123456789012345678901234567\r\n";
    for (lines, fault) in [
        (HEADER_FIELD_BYTES_MAX / line.len() - 1, None),
        (HEADER_FIELD_BYTES_MAX / line.len() + 1, Some(ContentFault::FieldTooLong)),
    ] {
        let field: Vec<u8> =
            b"X-Filler:\r\n".iter().chain(line.iter().cycle().take(lines * line.len())).copied().collect();
        // A second field begins anew; what the body holds is no field.
        let input = [&field[..], b"Y: 1\r\n\t2\r\n", &field, b"\r\n", &field, &field, b".\r\n"].concat();
        for cuts in [&[][..], &[5, 12, 13, 4096, 70_001], &[HEADER_FIELD_BYTES_MAX]] {
            let got = scan(&input, cuts, BareLineEnds::Reject, true);
            assert_eq!((got.fault, got.after.is_some()), (fault, true), "{lines} lines, cut at {cuts:?}");
        }
    }
    // One line without an end counts while it comes.
    let mut scanner = ContentScanner::new(BareLineEnds::Reject);
    for _ in 0..HEADER_FIELD_BYTES_MAX / 1000 + 1 {
        scanner.scan(&[b'a'; 1000], |_| {});
    }
    assert_eq!(scanner.fault(), Some(ContentFault::FieldTooLong));
}

#[test]
fn normalizing_in_place_refuses_rather_than_keep_a_bare_line_end() {
    let mut buffer = b"a\nb\r\n.\r\n".to_vec();
    let mut scanner = ContentScanner::new(BareLineEnds::Normalize);
    assert!(scanner.scan_in_place(&mut buffer).is_end);
    assert_eq!(scanner.fault(), Some(ContentFault::BareLineEnd));
}

#[test]
fn chunks_are_counted_to_the_octet() {
    let mut chunk = ChunkCounter::new(10);
    assert_eq!((chunk.take(4), chunk.take(100), chunk.take(100)), (4, 6, 0));
    assert!(chunk.is_complete());
    assert_eq!(ChunkCounter::new(u64::MAX).take(usize::MAX), usize::MAX);
    assert!(ChunkCounter::new(0).is_complete());
}

/// Content that is rich in what matters.
fn crafted() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        &b"\r\n"[..],
        b"\r\n",
        b".",
        b".",
        b"\r",
        b"\n",
        b"a",
        b"Received:",
        b"\r\n.",
        b"\r\n\r\n",
        b"\0",
        b"\xff",
        b": x",
    ]);
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

proptest! {
    #[test]
    fn agrees_with_the_model_on_every_split(mut input in crafted()) {
        input.extend_from_slice(b"\r\n.\r\nNOOP\r\n");
        check_all_splits(&input);
    }

    #[test]
    fn chunks_keep_every_octet(input in crafted(), cuts in prop::collection::vec(0usize..80, 0..4)) {
        for policy in POLICIES {
            let mut scanner = ContentScanner::new(policy);
            let (mut content, mut at) = (Vec::new(), 0);
            let mut cuts = cuts.clone();
            cuts.sort_unstable();
            for end in cuts.into_iter().chain([input.len()]) {
                let end = end.clamp(at, input.len());
                scanner.scan_chunk(&input[at..end], |piece| content.extend_from_slice(piece));
                at = end;
            }
            let facts = scanner.finish(|piece| content.extend_from_slice(piece));
            let got = Outcome { content, after: None, facts, fault: scanner.fault() };
            prop_assert_eq!(got, outcome(input.clone(), None, policy));
        }
    }
}
