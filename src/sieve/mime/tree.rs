//! The message as a tree of parts (RFC 2046): where each part stands in the body, found in one pass.
//!
//! Nothing is copied and nothing decoded: a part is a range. That is what lets `replace` put new octets
//! between slices of the old ones, and what gives `body :content` prologues and epilogues.

use std::ops::Range;

use bytes::Bytes;

use super::field::Structured;
use crate::mail::HeaderSection;

/// Parts of one message; what lies behind the last one belongs to it.
pub(in crate::sieve) const PARTS_MAX: usize = 1000;
/// How deep parts may be nested; what is deeper is not taken apart.
const DEPTH_MAX: usize = 50;

/// The parts of a message, each before its children: the first one is the message itself.
#[derive(Debug, Clone)]
pub(in crate::sieve) struct Tree {
    body: Bytes,
    parts: Vec<Part>,
    is_opaque: bool,
}

/// One part.
#[derive(Debug, Clone)]
pub(in crate::sieve) struct Part {
    /// Its fields. Those of the message itself are not here: they change while a script runs.
    pub header: HeaderSection,
    /// Its type. Nothing for a Content-Type that cannot be read: then it is of no type.
    pub media: Option<Structured>,
    /// What it is made of.
    pub kind: Kind,
    /// An empty line ends its header.
    pub has_body: bool,
    /// The header and the body, as places in the message's body.
    whole: Range<usize>,
    content: Range<usize>,
    /// The place of its first part in the list that is not inside of it.
    end: usize,
    /// What stands in its place now, header and body.
    replaced: Option<Bytes>,
}

/// What a part is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::sieve) enum Kind {
    /// Content.
    Leaf,
    /// Parts between these two.
    Multipart { prologue: Range<usize>, epilogue: Option<Range<usize>> },
    /// A message: its only child.
    Message,
}

impl Tree {
    /// The tree of a body. `header` is the section that the body belongs to.
    pub fn parse(header: &HeaderSection, body: Bytes, has_body: bool) -> Tree {
        let mut parser = Parser { body: &body, at: 0, parts: Vec::new(), covered: 0, boundaries: Vec::new() };
        let media = media_of(header, false);
        parser.entity(HeaderSection::default(), media, 0, has_body, 0);
        let parts = parser.parts;
        Tree { body, parts, is_opaque: false }
    }

    /// A message that is not looked into: one part of no type, without a body.
    pub fn opaque() -> Tree {
        let part = Part {
            header: HeaderSection::default(),
            media: None,
            kind: Kind::Leaf,
            has_body: false,
            whole: 0..0,
            content: 0..0,
            end: 1,
            replaced: None,
        };
        Tree { body: Bytes::new(), parts: vec![part], is_opaque: true }
    }

    /// It is [`Tree::opaque`]: nothing in it may be changed.
    pub fn is_opaque(&self) -> bool {
        self.is_opaque
    }

    /// The part at that place.
    pub fn part(&self, index: usize) -> Option<&Part> {
        self.parts.get(index)
    }

    /// How many parts there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// The place behind a part and everything in it.
    pub fn end(&self, index: usize) -> usize {
        self.parts.get(index).map_or(self.parts.len(), |part| part.end)
    }

    /// The part that follows in the list; children of a replaced part are gone.
    pub fn next(&self, index: usize) -> usize {
        match self.parts.get(index) {
            Some(part) if part.replaced.is_none() => index + 1,
            _ => self.end(index),
        }
    }

    /// A part and everything in it.
    pub fn within(&self, index: usize) -> impl Iterator<Item = (usize, &Part)> {
        let end = self.end(index);
        std::iter::successors(Some(index), move |at| Some(self.next(*at)).filter(|next| *next < end))
            .filter_map(|at| Some((at, self.parts.get(at)?)))
    }

    /// Octets of the message's body.
    pub fn slice(&self, range: &Range<usize>) -> &[u8] {
        self.body.get(range.clone()).unwrap_or(&[])
    }

    /// The body of a part, still encoded.
    pub fn content(&self, part: &Part) -> Bytes {
        match &part.replaced {
            Some(bytes) => {
                let at = HeaderSection::split(bytes).1;
                bytes.slice(at..)
            }
            None => self.body.slice(part.content.clone()),
        }
    }

    /// Puts other octets, a header and a body, in the place of a part. Not for the message itself.
    pub fn replace(&mut self, index: usize, entity: Bytes) {
        let Some(part) = self.parts.get_mut(index).filter(|_| index > 0) else { return };
        let (header, _) = HeaderSection::split(&entity);
        part.media = media_of(&header, false);
        part.header = header;
        part.kind = Kind::Leaf;
        part.has_body = true;
        part.replaced = Some(entity);
    }

    /// The body of the message as it stands now: slices of the old one with what was replaced between them.
    pub fn composed(&self) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut done = 0;
        let mut index = 0;
        while let Some(part) = self.parts.get(index) {
            if let Some(entity) = &part.replaced {
                pieces.push(self.body.slice(done..part.whole.start.max(done)));
                pieces.push(entity.clone());
                done = part.whole.end.max(done);
                let behind = self.body.get(done..).unwrap_or(&[]);
                let is_line_end = behind.starts_with(b"\n") || behind.starts_with(b"\r\n");
                if !behind.is_empty() && !is_line_end && !entity.ends_with(b"\n") {
                    pieces.push(Bytes::from_static(b"\r\n")); // a header without a body ends with the line
                }
            }
            index = self.next(index);
        }
        pieces.push(self.body.slice(done..));
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }
}

/// The type of a part by its header. `is_in_digest`: what has no type is a message (RFC 2046 §5.1.5).
pub(in crate::sieve) fn media_of(header: &HeaderSection, is_in_digest: bool) -> Option<Structured> {
    match header.named("content-type").next() {
        Some(field) => Structured::parse(field.value).filter(|media| media.sub.is_some()),
        None if is_in_digest => Structured::parse(b"message/rfc822"),
        None => Structured::parse(b"text/plain"),
    }
}

/// The transfer encoding, lower case; empty when none is given.
pub(in crate::sieve) fn encoding_of(header: &HeaderSection) -> String {
    let Some(field) = header.named("content-transfer-encoding").next() else { return String::new() };
    match Structured::parse(field.value) {
        Some(Structured { main, sub: None, .. }) => main.to_ascii_lowercase(),
        _ => String::from_utf8_lossy(field.value).trim().to_ascii_lowercase(),
    }
}

/// Whether content of that transfer encoding stands there as it is.
fn is_identity(encoding: &str) -> bool {
    matches!(encoding, "" | "7bit" | "8bit" | "binary")
}

struct Parser<'b> {
    body: &'b Bytes,
    at: usize,
    parts: Vec<Part>,
    /// Where the parts so far end.
    covered: usize,
    /// Of the multiparts around, the innermost last.
    boundaries: Vec<Vec<u8>>,
}

/// A line that ends a part, or the end of everything.
#[derive(Debug, Clone, Copy)]
struct Delimiter {
    /// Where the content before it ends; its line end belongs to the delimiter.
    content_end: usize,
    /// Which boundary; none at the end of everything.
    level: Option<usize>,
    /// `--boundary--`
    is_last: bool,
}

impl Parser<'_> {
    /// Reads the body of a part, its header read, and tells what ended it.
    fn entity(
        &mut self,
        header: HeaderSection,
        media: Option<Structured>,
        start: usize,
        has_body: bool,
        depth: usize,
    ) -> Delimiter {
        let index = self.parts.len();
        let content = self.at;
        let is = |main: &str| media.as_ref().is_some_and(|media| media.main.eq_ignore_ascii_case(main));
        let sub = media.as_ref().and_then(|media| media.sub.as_deref()).unwrap_or("");
        let is_deep = depth >= DEPTH_MAX || self.parts.len() + 1 >= PARTS_MAX || !has_body;
        let boundary = media.as_ref().and_then(|media| media.parameter("boundary")).filter(|b| !b.is_empty());
        let boundary = boundary.filter(|_| is("multipart") && !is_deep).map(|b| [b"--", b].concat());
        let is_message = is("message")
            && ["rfc822", "global"].iter().any(|name| sub.eq_ignore_ascii_case(name))
            && !is_deep
            && is_identity(&encoding_of(&header));
        let is_digest = sub.eq_ignore_ascii_case("digest");
        let part = Part {
            header,
            media,
            kind: Kind::Leaf,
            has_body,
            whole: start..content,
            content: content..content,
            end: index + 1,
            replaced: None,
        };
        self.parts.push(part);
        let (kind, delimiter) = match boundary {
            Some(boundary) => self.multipart(boundary, is_digest, depth),
            None if is_message => (Kind::Message, self.child(false, depth)),
            None => (Kind::Leaf, self.delimiter()),
        };
        let end = self.parts.len();
        if let Some(part) = self.parts.get_mut(index) {
            // What is inside may end with the line end before the delimiter: an empty body, a header alone.
            let content_end = delimiter.content_end.max(content).max(self.covered);
            self.covered = content_end;
            part.kind = kind;
            part.whole = start..content_end;
            part.content = content..content_end;
            part.end = end;
        }
        delimiter
    }

    fn multipart(&mut self, boundary: Vec<u8>, is_digest: bool, depth: usize) -> (Kind, Delimiter) {
        let level = self.boundaries.len();
        self.boundaries.push(boundary);
        let start = self.at;
        let mut delimiter = self.delimiter();
        let prologue = start..delimiter.content_end.max(start);
        while delimiter.level == Some(level) && !delimiter.is_last {
            delimiter = self.child(is_digest, depth);
        }
        self.boundaries.truncate(level);
        let mut epilogue = None;
        if delimiter.level == Some(level) {
            let start = self.at;
            delimiter = self.delimiter();
            epilogue = Some(start..delimiter.content_end.max(start));
        }
        (Kind::Multipart { prologue, epilogue }, delimiter)
    }

    /// Reads a part from its header on.
    fn child(&mut self, is_in_digest: bool, depth: usize) -> Delimiter {
        if self.parts.len() >= PARTS_MAX {
            return self.delimiter();
        }
        let start = self.at;
        let mut has_body = false;
        let mut end = self.body.len();
        while let Some(line) = self.line() {
            if matches!(line, b"\r\n" | b"\n") {
                end = self.at;
                self.at += line.len();
                has_body = true;
                break;
            }
            if self.level_of(line).is_some() {
                end = self.at; // no body: the delimiter is read next
                break;
            }
            self.at += line.len();
        }
        let header = HeaderSection::parse(self.body.slice(start..end.max(start)));
        let media = media_of(&header, is_in_digest);
        self.entity(header, media, start, has_body, depth + 1)
    }

    /// The line from here on, with its end.
    fn line(&self) -> Option<&[u8]> {
        let rest = self.body.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        rest.get(..length)
    }

    /// The boundary that a line starts with: the longest one, of equals the innermost (RFC 2046 §5.1.1).
    fn level_of(&self, line: &[u8]) -> Option<usize> {
        if !line.starts_with(b"--") {
            return None;
        }
        let fits = self.boundaries.iter().enumerate().filter(|(_, boundary)| line.starts_with(boundary));
        fits.max_by_key(|(level, boundary)| (boundary.len(), *level)).map(|(level, _)| level)
    }

    /// Goes behind the next delimiter.
    fn delimiter(&mut self) -> Delimiter {
        if self.boundaries.is_empty() {
            self.at = self.body.len();
        }
        while let Some(line) = self.line() {
            let length = line.len();
            let Some(level) = self.level_of(line) else {
                self.at += length;
                continue;
            };
            let boundary = self.boundaries.get(level).map_or(0, Vec::len);
            let is_last = line.get(boundary..).is_some_and(|rest| rest.starts_with(b"--"));
            let content_end = self.before_line_end(self.at);
            self.at += length;
            return Delimiter { content_end, level: Some(level), is_last };
        }
        Delimiter { content_end: self.body.len(), level: None, is_last: false }
    }

    /// The place before the line end that stands right before `at`.
    fn before_line_end(&self, at: usize) -> usize {
        let before = self.body.get(..at).unwrap_or(&[]);
        let before = before.strip_suffix(b"\n").unwrap_or(before);
        before.strip_suffix(b"\r").unwrap_or(before).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(message: &str) -> Tree {
        let content = Bytes::from(message.replace('\n', "\r\n").into_bytes());
        let (header, at) = HeaderSection::split(&content);
        Tree::parse(&header, content.slice(at..), at > header.raw().len())
    }

    fn outline(tree: &Tree) -> Vec<String> {
        tree.within(0)
            .map(|(index, part)| {
                let media = part.media.as_ref().map_or_else(|| "?".to_owned(), Structured::whole);
                let content = tree.content(part);
                let content = if part.kind == Kind::Leaf { &content[..] } else { b"" };
                format!("{index}..{} {media} {:?}", part.end, String::from_utf8_lossy(content))
            })
            .collect()
    }

    const NESTED: &str = "Content-Type: multipart/mixed; boundary=outer\n\nprologue\n--outer\n\
        Content-Type: multipart/alternative; boundary=inner\n\n--inner\n\nHello\n\n--inner\nContent-Type: text/html\n\n\
        <b>Hello</b>\n--inner--\ninner end\n--outer\nContent-Type: message/rfc822\n\nSubject: x\n\nnested\n--outer--\n\
        epilogue\n";

    #[test]
    fn parts_stand_before_their_children() {
        assert_eq!(
            outline(&tree(NESTED)),
            [
                "0..6 multipart/mixed \"\"",
                "1..4 multipart/alternative \"\"",
                "2..3 text/plain \"Hello\\r\\n\"",
                "3..4 text/html \"<b>Hello</b>\"",
                "4..6 message/rfc822 \"\"",
                "5..6 text/plain \"nested\"",
            ]
        );
    }

    #[test]
    fn prologue_and_epilogue_are_known() {
        let tree = tree(NESTED);
        let Some(Kind::Multipart { prologue, epilogue: Some(epilogue) }) = tree.part(0).map(|p| p.kind.clone()) else {
            panic!("a multipart with both");
        };
        assert_eq!(tree.slice(&prologue), b"prologue");
        assert_eq!(tree.slice(&epilogue), b"epilogue\r\n");
    }

    #[test]
    fn an_outer_delimiter_ends_inner_parts() {
        let message = "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n\
                       --ab\n\nx\n--a\nContent-Type: text/csv\n--a--\n";
        assert_eq!(
            outline(&tree(message)),
            ["0..4 multipart/mixed \"\"", "1..3 multipart/mixed \"\"", "2..3 text/plain \"x\"", "3..4 text/csv \"\""]
        );
    }

    #[test]
    fn what_cannot_be_taken_apart_is_a_leaf() {
        assert_eq!(outline(&tree("Content-Type: multipart/mixed\n\nx\n")), ["0..1 multipart/mixed \"x\\r\\n\""]);
        assert_eq!(outline(&tree("Content-Type: text/plain/odd\n\nx\n")), ["0..1 ? \"x\\r\\n\""]);
        assert_eq!(outline(&tree("Subject: no body\n")), ["0..1 text/plain \"\""]);
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep: String =
            (0..200).map(|i| format!("Content-Type: multipart/mixed; boundary=b{i}x\n\n--b{i}x\n")).collect();
        assert_eq!(tree(&deep).len(), DEPTH_MAX + 1);
        let wide = "Content-Type: multipart/mixed; boundary=b\n\n".to_owned() + &"--b\n\nx\n".repeat(3000) + "--b--\n";
        assert_eq!(tree(&wide).len(), PARTS_MAX);
    }

    #[test]
    fn a_replaced_part_stands_between_the_old_octets() {
        let mut tree = tree(NESTED);
        let before = tree.composed().concat();
        tree.replace(2, Bytes::from_static(b"Content-Type: text/x\r\n\r\nnew"));
        tree.replace(4, Bytes::from_static(b"\r\ngone"));
        let after = String::from_utf8(tree.composed().concat()).expect("ASCII");
        let expected = String::from_utf8(before).expect("ASCII");
        let expected = expected
            .replace("\r\n\r\nHello\r\n\r\n--inner", "\r\nContent-Type: text/x\r\n\r\nnew\r\n--inner")
            .replace("Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nnested", "\r\ngone");
        assert_eq!(after, expected);
        assert_eq!(tree.within(0).map(|(index, _)| index).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!(&tree.content(tree.part(2).expect("there"))[..], b"new");
    }

    proptest! {
        #[test]
        fn parts_lie_inside_each_other(lines in prop::collection::vec(prop::sample::select(vec![
            "--a", "--b", "--a--", "--b--", "", "x", "Content-Type: multipart/mixed; boundary=a",
            "Content-Type: multipart/digest; boundary=b", "Content-Type: message/rfc822", " folded", "--ab",
        ]), 0..60), ends in any::<bool>()) {
            let text = lines.join(if ends { "\n" } else { "\n\n" });
            let tree = tree(&format!("Content-Type: multipart/mixed; boundary=a\n\n{text}"));
            prop_assert_eq!(tree.composed().concat(), tree.body.to_vec());
            let mut replaced = tree.clone();
            replaced.replace(tree.len() - 1, Bytes::from_static(b"X-New: 1\r\n\r\nnew"));
            let text = String::from_utf8(replaced.composed().concat()).expect("ASCII");
            prop_assert!(tree.len() == 1 || text.contains("new\r\n--") || text.ends_with("new"), "{}", text);
            for (index, part) in tree.parts.iter().enumerate() {
                prop_assert!(part.whole.start <= part.content.start && part.content.start <= part.content.end);
                prop_assert!(part.content.end == part.whole.end && part.whole.end <= tree.body.len());
                prop_assert!(part.end > index && part.end <= tree.parts.len());
                for child in tree.parts.iter().take(part.end).skip(index + 1) {
                    prop_assert!(child.whole.start >= part.content.start && child.whole.end <= part.content.end);
                    prop_assert!(child.end <= part.end);
                }
            }
        }
    }
}
