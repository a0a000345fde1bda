//! The header section (RFC 5322 §2.2): raw octets with an index of fields.
//!
//! It is kept as it arrived. A field that is not touched by an edit leaves as the octets it came as;
//! there is no parse and print in between.

use bytes::Bytes;
use memchr::memchr;

use super::edit::Edit;

/// The header section of a message: every field with its line ends, without the empty line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderSection {
    raw: Bytes,
    fields: Vec<Span>,
}

/// One field inside the raw octets. A line that is no field at all has an empty name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    start: u32,
    colon: u32,
    end: u32,
}

/// A field as it stands in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name, white space before the colon removed; empty for a line that is no field.
    pub name: &'a [u8],
    /// What stands between the colon and the final line end, folding included.
    pub value: &'a [u8],
    /// The whole field with its final line end.
    pub raw: &'a [u8],
}

impl Field<'_> {
    /// Compares the name as RFC 5322 §2.2 does.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

impl HeaderSection {
    /// Indexes a header section. `raw` ends before the empty line that separates it from the body.
    ///
    /// Never fails: a line without a colon that continues nothing becomes a field without a name.
    /// Lines end at LF; a CR before it belongs to the line end.
    pub fn parse(raw: Bytes) -> HeaderSection {
        let mut fields: Vec<Span> = Vec::with_capacity(16);
        let mut start = 0;
        while start < raw.len() {
            let end = memchr(b'\n', &raw[start..]).map_or(raw.len(), |i| start + i + 1);
            let continues = matches!(raw[start], b' ' | b'\t');
            match fields.last_mut() {
                Some(last) if continues => last.end = end as u32,
                _ => {
                    let colon = memchr(b':', &raw[start..end]).map_or(start, |i| start + i);
                    fields.push(Span { start: start as u32, colon: colon as u32, end: end as u32 });
                }
            }
            start = end;
        }
        HeaderSection { raw, fields }
    }

    /// Splits content at the end of its header section: the section, and where the body starts.
    ///
    /// The section ends at the first empty line, at the first line that can be no field of a header
    /// (then all from that line on is body), or at the end of the content.
    pub fn split(content: &Bytes) -> (HeaderSection, usize) {
        let mut start = 0;
        while start < content.len() {
            let rest = &content[start..];
            if rest.starts_with(b"\r\n") {
                return (HeaderSection::parse(content.slice(..start)), start + 2);
            }
            if rest[0] == b'\n' {
                return (HeaderSection::parse(content.slice(..start)), start + 1);
            }
            start = memchr(b'\n', rest).map_or(content.len(), |i| start + i + 1);
        }
        (HeaderSection::parse(content.clone()), content.len())
    }

    /// The octets as they stand.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The fields from the top.
    pub fn fields(&self) -> impl DoubleEndedIterator<Item = Field<'_>> + Clone {
        self.fields.iter().map(|span| self.field(span))
    }

    /// The field at that place from the top, counted from zero.
    pub fn get(&self, index: usize) -> Option<Field<'_>> {
        self.fields.get(index).map(|span| self.field(span))
    }

    /// The fields of that name from the top.
    pub fn named<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = Field<'a>> + Clone {
        self.fields().filter(move |field| field.is(name))
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// No field at all.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    fn field(&self, span: &Span) -> Field<'_> {
        let raw = &self.raw[span.start as usize..span.end as usize];
        let colon = (span.colon - span.start) as usize;
        let has_colon = raw.get(colon) == Some(&b':');
        let name = raw[..colon].trim_ascii_end();
        let value = if has_colon { &raw[colon + 1..] } else { raw };
        let value = value.strip_suffix(b"\n").unwrap_or(value);
        Field { name, value: value.strip_suffix(b"\r").unwrap_or(value), raw }
    }

    /// The section with the header edits applied, in their order; other edits are not ours and are skipped.
    ///
    /// Occurrences count from one among the fields of that name at the moment of the edit; an edit
    /// whose field is not there does nothing, save a change, which then adds the field at the end
    /// (as the milter protocol has it).
    pub fn apply<'e>(&self, edits: impl IntoIterator<Item = &'e Edit>) -> HeaderSection {
        let mut lines: Vec<std::borrow::Cow<'_, [u8]>> = self.fields().map(|f| f.raw.into()).collect();
        let is = |line: &[u8], name: &str| {
            memchr(b':', line).is_some_and(|i| line[..i].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes()))
        };
        for edit in edits {
            match edit {
                Edit::InsertField { index, name, value } => {
                    lines.insert((*index).min(lines.len()), field_line(name, value).into());
                }
                Edit::AppendField { name, value } => lines.push(field_line(name, value).into()),
                Edit::ChangeField { name, occurrence, value } => {
                    let mut same = lines.iter().enumerate().filter(|(_, line)| is(line, name)).map(|(i, _)| i);
                    match same.nth(occurrence.saturating_sub(1)) {
                        Some(i) => lines[i] = field_line(name, value).into(),
                        None => lines.push(field_line(name, value).into()),
                    }
                }
                Edit::DeleteField { name, occurrence } => {
                    let mut same = lines.iter().enumerate().filter(|(_, line)| is(line, name)).map(|(i, _)| i);
                    if let Some(i) = same.nth(occurrence.saturating_sub(1)) {
                        lines.remove(i);
                    }
                }
                _ => {}
            }
        }
        HeaderSection::parse(lines.concat().into())
    }
}

/// A field as it is written: what would start a new field or end the section is folded or dropped.
fn field_line(name: &str, value: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(name.len() + value.len() + 4);
    line.extend(name.bytes().filter(|b| (33..=126).contains(b) && *b != b':'));
    line.push(b':');
    if !value.starts_with([' ', '\t']) {
        line.push(b' ');
    }
    for (i, part) in value.split('\n').enumerate() {
        let part = part.trim_end_matches('\r');
        if i > 0 {
            if part.trim().is_empty() {
                continue;
            }
            line.extend_from_slice(b"\r\n");
            if !part.starts_with([' ', '\t']) {
                line.push(b'\t');
            }
        }
        line.extend(part.bytes().filter(|b| *b != b'\r' && *b != 0));
    }
    line.extend_from_slice(b"\r\n");
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn section(text: &'static str) -> HeaderSection {
        HeaderSection::parse(Bytes::from_static(text.as_bytes()))
    }

    fn after(text: &'static str, edits: &[Edit]) -> String {
        String::from_utf8(section(text).apply(edits).raw().to_vec()).expect("ASCII in")
    }

    #[test]
    fn folded_fields_are_one() {
        let s = section("Subject: a\r\n b\r\nFrom : c@d\r\nnonsense\r\n");
        let fields: Vec<_> = s.fields().collect();
        assert_eq!(fields.len(), 3);
        assert_eq!(fields[0].value, b" a\r\n b");
        assert!(fields[1].is("from"));
        assert!(fields[2].name.is_empty());
        assert_eq!(fields[2].value, b"nonsense");
    }

    #[test]
    fn split_finds_the_empty_line() {
        let content = Bytes::from_static(b"A: 1\r\n\r\nbody\r\n\r\nmore");
        let (s, body) = HeaderSection::split(&content);
        assert_eq!((s.len(), &content[body..]), (1, &b"body\r\n\r\nmore"[..]));
        assert_eq!(HeaderSection::split(&Bytes::from_static(b"\r\nbody")).1, 2);
        assert_eq!(HeaderSection::split(&Bytes::from_static(b"A: 1\r\n")).1, 6);
    }

    #[test]
    fn edits_touch_only_their_field() {
        let text = "A: 1\r\nB: 2\r\na: 3\r\n";
        let change = |occurrence| Edit::ChangeField { name: "A".into(), occurrence, value: "x".into() };
        assert_eq!(after(text, &[change(2)]), "A: 1\r\nB: 2\r\nA: x\r\n");
        assert_eq!(after(text, &[change(3)]), "A: 1\r\nB: 2\r\na: 3\r\nA: x\r\n");
        assert_eq!(after(text, &[Edit::DeleteField { name: "a".into(), occurrence: 1 }]), "B: 2\r\na: 3\r\n");
        assert_eq!(
            after(text, &[Edit::InsertField { index: 0, name: "Z".into(), value: "1\n2".into() }]),
            "Z: 1\r\n\t2\r\nA: 1\r\nB: 2\r\na: 3\r\n"
        );
    }

    #[test]
    fn a_value_cannot_end_the_section() {
        let text = after("A: 1\r\n", &[Edit::AppendField { name: "X".into(), value: "a\r\n\r\nb\nEvil: 1".into() }]);
        assert_eq!(text, "A: 1\r\nX: a\r\n\tb\r\n\tEvil: 1\r\n");
    }

    proptest! {
        #[test]
        fn fields_cover_the_section(raw in prop::collection::vec(any::<u8>(), 0..200)) {
            let s = HeaderSection::parse(raw.clone().into());
            let joined: Vec<u8> = s.fields().flat_map(|f| f.raw.to_vec()).collect();
            prop_assert_eq!(joined, raw);
        }
    }
}
