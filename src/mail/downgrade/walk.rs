//! The walk over a message: header sections, content and what is between them, in their order and in pieces.

use super::Refusal;
use super::entity::{self, Entity, Kind};
use super::lines::{End, Fragment, Lines};
use crate::base::limits::{DOWNGRADE_DEPTH_MAX, DOWNGRADE_PARTS_MAX, HEADER_SECTION_BYTES_MAX, TEXT_LINE_BYTES_MAX};

/// Octets of a line that every host takes, its end not counted (RFC 5321 §4.5.3.1.6).
pub(super) const LINE_BYTES_MAX: usize = TEXT_LINE_BYTES_MAX - 2;

/// What stands at one place of a message. All events together are all its octets.
#[derive(Debug)]
pub(super) enum Event<'a> {
    /// A header section; `separator` is the empty line that ends it, where there is one.
    Header { entity: &'a Entity, place: Place, separator: &'static [u8] },
    /// Octets of content: at the start of a line or not.
    Content { text: &'a [u8], starts_line: bool },
    /// The end of a line of content.
    LineEnd(End),
    /// The content is over; `is_last`: the message too.
    ContentOver { is_last: bool },
    /// A line of what readers skip, before the first part or behind the last.
    Filler { fragment: Fragment<'a>, frozen: Option<Refusal> },
    /// What separates parts: to be kept as it is.
    Delimiter(&'a [u8]),
}

/// Where a header section stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) is_root: bool,
    /// It is that of a message, not of a part of one.
    pub(super) is_message: bool,
    /// Nothing below may be changed, and this is why.
    pub(super) frozen: Option<Refusal>,
}

/// Takes events. An error ends the walk.
pub(super) trait Visitor {
    fn visit(&mut self, event: Event<'_>) -> Result<(), Refusal>;
}

#[derive(Debug)]
enum State {
    Header { raw: Vec<u8>, line_start: usize, is_message: bool, is_digest: bool },
    Content { has_line_end: bool },
    Filler,
}

/// A multipart that is open.
#[derive(Debug)]
struct Level {
    boundary: Vec<u8>,
    is_digest: bool,
    is_closed: bool,
    frozen: Option<Refusal>,
}

/// The walk. Holds back a header section and less than a line.
#[derive(Debug)]
pub(super) struct Walk {
    lines: Lines,
    inner: Inner,
}

#[derive(Debug)]
struct Inner {
    state: State,
    levels: Vec<Level>,
    /// Why what is walked over now may not be changed.
    frozen: Option<Refusal>,
    parts: usize,
    /// The line before ended as lines of mail end.
    was_sound: bool,
    /// Some multipart has no end of its own: readers differ in where its last part ends.
    has_no_end: bool,
}

/// What a line means to the multiparts that are open.
enum Meaning {
    Nothing,
    /// It separates the parts of that level, or ends it.
    Delimiter {
        level: usize,
        is_closing: bool,
    },
}

impl Walk {
    pub(super) fn new() -> Walk {
        let state = State::Header { raw: Vec::new(), line_start: 0, is_message: true, is_digest: false };
        let inner = Inner { state, levels: Vec::new(), frozen: None, parts: 0, was_sound: true, has_no_end: false };
        Walk { lines: Lines::default(), inner }
    }

    pub(super) fn push(&mut self, piece: &[u8], visitor: &mut impl Visitor) -> Result<(), Refusal> {
        let Walk { lines, inner } = self;
        lines.push(piece, |fragment| inner.line(fragment, visitor))
    }

    pub(super) fn finish(&mut self, visitor: &mut impl Visitor) -> Result<(), Refusal> {
        let Walk { lines, inner } = self;
        lines.finish(|fragment| inner.line(fragment, visitor))?;
        inner.part_over(true, visitor)?;
        inner.cut(0);
        Ok(())
    }

    /// After the end: every multipart had its last delimiter.
    pub(super) fn is_whole(&self) -> bool {
        !self.inner.has_no_end
    }
}

impl Inner {
    fn line(&mut self, fragment: Fragment<'_>, visitor: &mut impl Visitor) -> Result<(), Refusal> {
        let meaning = self.meaning(&fragment)?;
        if fragment.end != End::Open {
            self.was_sound = fragment.end == End::CrLf;
        }
        match meaning {
            Meaning::Delimiter { level, is_closing } => self.delimiter(level, is_closing, &fragment, visitor),
            Meaning::Nothing => match &mut self.state {
                State::Header { .. } => self.header_line(&fragment, visitor),
                State::Content { has_line_end } => {
                    if std::mem::take(has_line_end) {
                        visitor.visit(Event::LineEnd(End::CrLf))?;
                    }
                    *has_line_end = fragment.end == End::CrLf;
                    visitor.visit(Event::Content { text: fragment.text, starts_line: fragment.starts_line })?;
                    if fragment.end.is_bare() { visitor.visit(Event::LineEnd(fragment.end)) } else { Ok(()) }
                }
                State::Filler => visitor.visit(Event::Filler { fragment, frozen: self.frozen }),
            },
        }
    }

    /// RFC 2046 §5.1.1; a line that some readers could take for a delimiter and others not is refused.
    fn meaning(&self, fragment: &Fragment<'_>) -> Result<Meaning, Refusal> {
        let Some(text) = fragment.text.strip_prefix(b"--").filter(|_| fragment.starts_line) else {
            return Ok(Meaning::Nothing);
        };
        let mut is_doubtful = false;
        for (number, level) in self.levels.iter().enumerate().rev() {
            let Some(behind) = text.strip_prefix(level.boundary.as_slice()) else { continue };
            let is_whole = fragment.text.len() <= LINE_BYTES_MAX;
            let (padding, is_closing) = match behind.strip_prefix(b"--") {
                Some(padding) => (padding, true),
                None => (behind, false),
            };
            if !is_whole || !padding.iter().all(|b| matches!(b, b' ' | b'\t')) {
                is_doubtful = true;
                continue;
            }
            let ends_well = fragment.end == End::CrLf || fragment.is_last;
            if level.is_closed || !self.was_sound || !ends_well {
                return Err(Refusal::Malformed("a delimiter stands where it cannot"));
            }
            return Ok(Meaning::Delimiter { level: number, is_closing });
        }
        match is_doubtful {
            true => Err(Refusal::Malformed("a line starts with a boundary and goes on")),
            false => Ok(Meaning::Nothing),
        }
    }

    fn delimiter(
        &mut self,
        number: usize,
        is_closing: bool,
        fragment: &Fragment<'_>,
        visitor: &mut impl Visitor,
    ) -> Result<(), Refusal> {
        self.part_over(false, visitor)?;
        self.cut(number + 1);
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        level.is_closed = is_closing;
        self.frozen = level.frozen;
        self.state = match is_closing {
            true => State::Filler,
            false => State::Header { raw: Vec::new(), line_start: 0, is_message: false, is_digest: level.is_digest },
        };
        visitor.visit(Event::Delimiter(fragment.text))?;
        visitor.visit(Event::Delimiter(fragment.end.octets()))
    }

    /// The levels from that one on are over.
    fn cut(&mut self, level: usize) {
        self.has_no_end |= self.levels.drain(level..).any(|level| !level.is_closed);
    }

    /// A delimiter or the end of the message ends what is under way. The line end before a delimiter belongs to it.
    fn part_over(&mut self, is_last: bool, visitor: &mut impl Visitor) -> Result<(), Refusal> {
        if let State::Header { .. } = self.state {
            self.header_over(b"", visitor)?;
        }
        match std::mem::replace(&mut self.state, State::Filler) {
            State::Content { has_line_end } => {
                if has_line_end && is_last {
                    visitor.visit(Event::LineEnd(End::CrLf))?;
                }
                visitor.visit(Event::ContentOver { is_last })?;
                if has_line_end && !is_last { visitor.visit(Event::Delimiter(b"\r\n")) } else { Ok(()) }
            }
            // An enclosed message that has no octet at all.
            State::Header { .. } => Err(Refusal::Malformed("an enclosed message is empty")),
            State::Filler => Ok(()),
        }
    }

    fn header_line(&mut self, fragment: &Fragment<'_>, visitor: &mut impl Visitor) -> Result<(), Refusal> {
        let State::Header { raw, line_start, .. } = &mut self.state else { return Ok(()) };
        if fragment.text.is_empty() && fragment.starts_line && fragment.end == End::CrLf {
            return self.header_over(b"\r\n", visitor);
        }
        raw.extend_from_slice(fragment.text);
        if !fragment.text.is_ascii() {
            return Err(Refusal::EightBitHeader);
        }
        if fragment.end.is_bare() || fragment.text.contains(&0) {
            return Err(Refusal::Malformed("a header section has a bare CR, a bare LF or a NUL"));
        }
        if raw.len() - *line_start > LINE_BYTES_MAX {
            return Err(Refusal::Malformed("a header field has a line of more than 998 octets"));
        }
        raw.extend_from_slice(fragment.end.octets());
        *line_start = raw.len();
        if raw.len() > HEADER_SECTION_BYTES_MAX * 2 {
            return Err(Refusal::TooMuch);
        }
        Ok(())
    }

    fn header_over(&mut self, separator: &'static [u8], visitor: &mut impl Visitor) -> Result<(), Refusal> {
        let State::Header { raw, is_message, is_digest, .. } = std::mem::replace(&mut self.state, State::Filler) else {
            return Ok(());
        };
        let entity = entity::read(&raw, is_digest)?;
        let is_root = self.parts == 0;
        self.parts += 1;
        if self.parts > DOWNGRADE_PARTS_MAX {
            return Err(Refusal::TooMuch);
        }
        if is_root && entity.is_signed {
            self.frozen = Some(Refusal::Signed);
        }
        let place = Place { is_root, is_message, frozen: self.frozen };
        visitor.visit(Event::Header { entity: &entity, place, separator })?;
        self.was_sound = true;
        self.below(entity.kind)
    }

    /// What comes below a header section.
    fn below(&mut self, kind: Kind) -> Result<(), Refusal> {
        self.state = match kind {
            Kind::Leaf { .. } | Kind::Fixed => State::Content { has_line_end: false },
            Kind::Message => State::Header { raw: Vec::new(), line_start: 0, is_message: true, is_digest: false },
            Kind::Multipart { boundary, is_digest, is_signed } => {
                if self.levels.len() == DOWNGRADE_DEPTH_MAX {
                    return Err(Refusal::TooMuch);
                }
                if self.levels.iter().any(|level| level.boundary == boundary) {
                    return Err(Refusal::Malformed("two multiparts, one in the other, have one boundary"));
                }
                let frozen = self.frozen.or(is_signed.then_some(Refusal::SignedPart));
                self.levels.push(Level { boundary, is_digest, is_closed: false, frozen });
                self.frozen = frozen;
                State::Filler
            }
        };
        Ok(())
    }
}
