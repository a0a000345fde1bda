//! Conversion to 7-bit (RFC 6152 §3, RFC 3030 §3): a message whose next hop takes no 8-bit or binary content is
//! rewritten so that every part decodes to the octets that it had (RFC 2045 §6).
//!
//! ```text
//! pieces -> Survey -> Conversion (what is done with each entity, and the size) ; pieces again -> Rewriter -> pieces
//! ```
//!
//! The message is walked twice and never held: a header section, and less than a line, are all that is kept of it.
//! The first walk decides, so that the size is known before the first octet is sent. Content of text becomes
//! quoted-printable or, where that is longer, base64; other content becomes base64; what is 7-bit already stays as it
//! is, save that its field says so. Containers keep their octets. Without fields of MIME a message gets them, and the
//! charset `unknown-8bit` (RFC 1428).
//!
//! Invariants:
//! - What is rewritten is 7-bit, in lines of at most 998 octets, without a bare CR or LF; rewriting it again changes nothing.
//! - Nothing below a signature changes: a message with a DKIM signature or an ARC set, and what is in a
//!   `multipart/signed`, is refused ([`Refusal`]), and so is what readers could take apart differently. (The signature of
//!   an *enclosed* message stops nobody: it is a copy, and reports must get through.)
//! - Header fields are not touched: 8-bit ones need SMTPUTF8, which no conversion replaces.
//!
//! Must never be added: a guess at a charset, a repair of what is malformed, I/O.

mod encode;
mod entity;
mod lines;
#[cfg(test)]
mod tests;
mod walk;

use std::rc::Rc;

use encode::{Action, Encoder, Filler};
use entity::{Encoding, Entity, Kind};
use lines::End;
use walk::{Event, LINE_BYTES_MAX, Place, Visitor, Walk};

use super::{ContentFacts, Reply};

/// Why a message is not converted. It fails with 5.6.3 then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A DKIM signature or an ARC set would no longer verify.
    #[error("it carries a DKIM signature or an ARC set that a conversion would break")]
    Signed,
    /// A `multipart/signed` would no longer verify (RFC 1847 §2.1).
    #[error("a signed part (multipart/signed) has content that cannot be sent as it is")]
    SignedPart,
    /// A header field has octets above 127: that is for SMTPUTF8.
    #[error("a header field has octets that are not US-ASCII")]
    EightBitHeader,
    /// Its type says that it must not be encoded (message/partial, message/external-body).
    #[error("a part is of a type that must not be encoded")]
    Fixed,
    /// Its structure can be read in more than one way.
    #[error("its structure is unclear: {0}")]
    Malformed(&'static str),
    /// It has too many parts, or they are in each other too deep, or a part's header section is too long.
    #[error("it has too many parts")]
    TooMuch,
}

impl Refusal {
    /// What the sender is told. `why` are the words for what the next hop does not take.
    pub fn reply(self, why: &str) -> Reply {
        Reply::new(554, (5, 6, 3), format!("{why}, and the message is not converted: {self}"))
    }
}

/// The first walk: finds out what has to be done, and how long the message will be.
#[derive(Debug)]
pub struct Survey {
    walk: Walk,
    plan: Planner,
    read: Count,
}

impl Survey {
    /// `host` is who converts, as a field at the top of the message will say.
    pub fn new(host: &str) -> Survey {
        let host: String = host.chars().filter(char::is_ascii_graphic).collect();
        let note = format!("X-MIME-Autoconverted: from 8bit to 7bit by {host}\r\n");
        Survey { walk: Walk::new(), plan: Planner::new(note), read: Count::default() }
    }

    /// The next octets of the message.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        self.read.add(piece);
        self.walk.push(piece, &mut self.plan)
    }

    /// The message is over.
    pub fn finish(mut self) -> Result<Rc<Conversion>, Refusal> {
        self.walk.finish(&mut self.plan)?;
        let Planner { conversion, total, has_changes, .. } = self.plan;
        if has_changes && !self.walk.is_whole() {
            return Err(Refusal::Malformed("a multipart does not end"));
        }
        let count = if has_changes { total } else { self.read };
        let ends_with_crlf = count.bytes == 0 || count.last == *b"\r\n";
        Ok(Rc::new(Conversion { size_bytes: count.bytes, ends_with_crlf, has_changes, ..conversion }))
    }
}

/// What is done with each entity of one message.
#[derive(Debug)]
pub struct Conversion {
    actions: Vec<Action>,
    note: String,
    size_bytes: u64,
    ends_with_crlf: bool,
    has_changes: bool,
}

impl Conversion {
    /// Octets of the message when it is rewritten.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// False when the message needs no conversion: it is rewritten as it is.
    pub fn has_changes(&self) -> bool {
        self.has_changes
    }

    /// What is known of the rewritten message, from what is known of the message.
    pub fn facts(&self, before: &ContentFacts) -> ContentFacts {
        ContentFacts {
            size_bytes: self.size_bytes,
            longest_line_bytes: 0,
            has_bare_cr: false,
            has_bare_lf: false,
            has_nul: false,
            has_8bit_body: false,
            has_leading_dot: true, // not counted: whoever sends it looks
            ends_with_crlf: self.ends_with_crlf,
            ..*before
        }
    }
}

/// The second walk: gives the rewritten message.
#[derive(Debug)]
pub struct Rewriter {
    walk: Walk,
    hand: Hand,
}

impl Rewriter {
    /// For the message that was surveyed; any other ends in an error or in nonsense.
    pub fn new(conversion: Rc<Conversion>) -> Rewriter {
        let hand = Hand { conversion, entity: 0, encoder: Encoder::Keep, filler: Filler::default(), out: Vec::new() };
        Rewriter { walk: Walk::new(), hand }
    }

    /// The next octets of the message; gives what is ready of the rewritten one, possibly nothing.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.walk.push(piece, &mut self.hand)?;
        Ok(std::mem::take(&mut self.hand.out))
    }

    /// The message is over; gives what is left.
    pub fn finish(&mut self) -> Result<Vec<u8>, Refusal> {
        self.walk.finish(&mut self.hand)?;
        Ok(std::mem::take(&mut self.hand.out))
    }
}

/// Converts a message that is in memory.
pub fn convert(message: &[u8], host: &str) -> Result<Vec<u8>, Refusal> {
    let mut survey = Survey::new(host);
    survey.push(message)?;
    let mut rewriter = Rewriter::new(survey.finish()?);
    let mut out = rewriter.push(message)?;
    out.extend(rewriter.finish()?);
    Ok(out)
}

/// Writes one entity's header section as its action wants it.
fn write_header(
    entity: &Entity,
    place: Place,
    action: Action,
    separator: &'static [u8],
    note: Option<&str>,
    out: &mut Vec<u8>,
) {
    let encoding = match action {
        Action::Keep | Action::Rewrap => None,
        Action::Relabel => Some("7bit"),
        Action::Quote { .. } => Some("quoted-printable"),
        Action::Base64 { .. } => Some("base64"),
    };
    if let Some(note) = note {
        out.extend_from_slice(note.as_bytes());
    }
    let mut is_said = false;
    for field in entity.header.fields() {
        match encoding.filter(|_| field.is("Content-Transfer-Encoding")) {
            Some(encoding) => {
                push_field(out, "Content-Transfer-Encoding", encoding);
                is_said = true;
            }
            None => out.extend_from_slice(field.raw),
        }
    }
    let is_encoded = matches!(action, Action::Quote { .. } | Action::Base64 { .. });
    let has_8bit = matches!(action, Action::Quote { has_8bit: true } | Action::Base64 { has_8bit: true });
    if place.is_message && !entity.has_mime_version && (is_encoded || (note.is_some() && entity.has_content_type)) {
        push_field(out, "MIME-Version", "1.0");
    }
    if has_8bit && !entity.has_content_type {
        push_field(out, "Content-Type", "text/plain; charset=unknown-8bit");
    }
    if let Some(encoding) = encoding.filter(|_| is_encoded && !is_said) {
        push_field(out, "Content-Transfer-Encoding", encoding);
    }
    out.extend_from_slice(separator);
}

/// Behind what stands there, should the message end amid a field.
fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    if !out.is_empty() && !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Octets that were counted, and the last two of them.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    bytes: u64,
    last: [u8; 2],
}

impl Count {
    fn add(&mut self, octets: &[u8]) {
        self.bytes += octets.len() as u64;
        for octet in octets.get(octets.len().saturating_sub(2)..).unwrap_or_default() {
            self.last = [self.last[1], *octet];
        }
    }

    fn append(&mut self, other: Count) {
        self.last = match other.bytes {
            0 => self.last,
            1 => [self.last[1], other.last[1]],
            _ => other.last,
        };
        self.bytes += other.bytes;
    }
}

/// One way to write a content, and how long it is then.
#[derive(Debug)]
struct Candidate {
    action: Action,
    encoder: Encoder,
    count: Count,
}

impl Candidate {
    fn new(action: Action) -> Candidate {
        Candidate { action, encoder: Encoder::of(action), count: Count::default() }
    }
}

/// The content that is walked over.
#[derive(Debug)]
struct Content {
    entity: Entity,
    place: Place,
    separator: &'static [u8],
    candidates: Vec<Candidate>,
    column: usize,
    has_8bit: bool,
    has_nul: bool,
    /// A bare CR or LF, a NUL, or a line that is too long.
    is_binary: bool,
}

/// The visitor of the first walk.
#[derive(Debug)]
struct Planner {
    conversion: Conversion,
    total: Count,
    has_changes: bool,
    content: Option<Content>,
    filler: Filler,
    scratch: Vec<u8>,
}

impl Planner {
    fn new(note: String) -> Planner {
        let conversion =
            Conversion { actions: Vec::new(), note, size_bytes: 0, ends_with_crlf: false, has_changes: false };
        Planner {
            conversion,
            total: Count::default(),
            has_changes: false,
            content: None,
            filler: Filler::default(),
            scratch: Vec::new(),
        }
    }

    fn header(&mut self, entity: &Entity, place: Place, separator: &'static [u8]) {
        let candidates = match &entity.kind {
            Kind::Multipart { .. } | Kind::Message => {
                let is_relabelled = entity.encoding == Encoding::Unencoded && place.frozen.is_none();
                let action = if is_relabelled { Action::Relabel } else { Action::Keep };
                return self.decide(entity, place, separator, action);
            }
            _ if entity.encoding == Encoding::Base64 => vec![Action::Keep, Action::Rewrap],
            Kind::Leaf { is_text: true } if entity.encoding.is_identity() => {
                vec![Action::Keep, Action::Quote { has_8bit: false }, Action::Base64 { has_8bit: false }]
            }
            Kind::Leaf { .. } if entity.encoding.is_identity() => {
                vec![Action::Keep, Action::Base64 { has_8bit: false }]
            }
            Kind::Leaf { .. } | Kind::Fixed => vec![Action::Keep],
        };
        self.content = Some(Content {
            entity: entity.clone(),
            place,
            separator,
            candidates: candidates.into_iter().map(Candidate::new).collect(),
            column: 0,
            has_8bit: false,
            has_nul: false,
            is_binary: false,
        });
    }

    fn decide(&mut self, entity: &Entity, place: Place, separator: &'static [u8], action: Action) {
        self.conversion.actions.push(action);
        self.has_changes |= action != Action::Keep;
        self.scratch.clear();
        let note = place.is_root.then_some(self.conversion.note.as_str());
        write_header(entity, place, action, separator, note, &mut self.scratch);
        self.total.add(&self.scratch);
    }

    fn octets(&mut self, text: &[u8], starts_line: bool) {
        let Some(content) = &mut self.content else { return };
        content.column = if starts_line { 0 } else { content.column } + text.len();
        content.has_8bit |= !text.is_ascii();
        content.has_nul |= memchr::memchr(0, text).is_some();
        content.is_binary |= content.has_nul || content.column > LINE_BYTES_MAX;
        for candidate in &mut content.candidates {
            self.scratch.clear();
            candidate.encoder.content(text, &mut self.scratch);
            candidate.count.add(&self.scratch);
        }
    }

    fn line_end(&mut self, end: End) {
        let Some(content) = &mut self.content else { return };
        content.is_binary |= end.is_bare();
        for candidate in &mut content.candidates {
            self.scratch.clear();
            candidate.encoder.line_end(end, &mut self.scratch);
            candidate.count.add(&self.scratch);
        }
    }

    fn content_over(&mut self, is_last: bool) -> Result<(), Refusal> {
        let Some(mut content) = self.content.take() else { return Ok(()) };
        for candidate in &mut content.candidates {
            self.scratch.clear();
            candidate.encoder.finish(is_last, &mut self.scratch);
            candidate.count.add(&self.scratch);
        }
        let (action, count) = content.chosen()?;
        self.decide(&content.entity, content.place, content.separator, action);
        self.total.append(count);
        Ok(())
    }
}

impl Content {
    /// The way that this content goes, and its octets then.
    fn chosen(&self) -> Result<(Action, Count), Refusal> {
        let kept = self.candidates.first().map_or_else(Count::default, |candidate| candidate.count);
        if !self.has_8bit && !self.is_binary {
            let is_relabelled = self.entity.encoding == Encoding::Unencoded && self.place.frozen.is_none();
            return Ok((if is_relabelled { Action::Relabel } else { Action::Keep }, kept));
        }
        if let Some(frozen) = self.place.frozen {
            return Err(frozen);
        }
        if self.entity.kind == Kind::Fixed {
            return Err(Refusal::Fixed);
        }
        let is_fit = |action: &Action| match action {
            Action::Keep | Action::Relabel => false,
            Action::Quote { .. } => !self.has_nul,
            Action::Base64 { .. } => true,
            Action::Rewrap => !self.has_8bit && !self.has_nul,
        };
        let fit = self.candidates.iter().filter(|candidate| is_fit(&candidate.action));
        // Text that people can read is worth a line.
        let cost = |candidate: &&Candidate| {
            candidate.count.bytes + if matches!(candidate.action, Action::Base64 { .. }) { 76 } else { 0 }
        };
        let best = fit.min_by_key(cost);
        let best = best.ok_or(Refusal::Malformed("an encoded part has octets or lines that it cannot have"))?;
        let has_8bit = self.has_8bit;
        let action = match best.action {
            Action::Quote { .. } => Action::Quote { has_8bit },
            Action::Base64 { .. } => Action::Base64 { has_8bit },
            other => other,
        };
        Ok((action, best.count))
    }
}

impl Visitor for Planner {
    fn visit(&mut self, event: Event<'_>) -> Result<(), Refusal> {
        match event {
            Event::Header { entity, place, separator } => self.header(entity, place, separator),
            Event::Content { text, starts_line } => self.octets(text, starts_line),
            Event::LineEnd(end) => self.line_end(end),
            Event::ContentOver { is_last } => return self.content_over(is_last),
            Event::Filler { fragment, frozen } => {
                self.scratch.clear();
                let is_changed = self.filler.push(&fragment, &mut self.scratch);
                if let Some(frozen) = frozen.filter(|_| is_changed) {
                    return Err(frozen);
                }
                self.has_changes |= is_changed;
                self.total.add(&self.scratch);
            }
            Event::Delimiter(octets) => self.total.add(octets),
        }
        Ok(())
    }
}

/// The visitor of the second walk.
#[derive(Debug)]
struct Hand {
    conversion: Rc<Conversion>,
    entity: usize,
    encoder: Encoder,
    filler: Filler,
    out: Vec<u8>,
}

impl Visitor for Hand {
    fn visit(&mut self, event: Event<'_>) -> Result<(), Refusal> {
        match event {
            Event::Header { entity, place, separator } => {
                let unlike = Refusal::Malformed("it is not the message that was looked at");
                let action = *self.conversion.actions.get(self.entity).ok_or(unlike)?;
                self.entity += 1;
                self.encoder = Encoder::of(action);
                let note = (place.is_root && self.conversion.has_changes).then_some(self.conversion.note.as_str());
                write_header(entity, place, action, separator, note, &mut self.out);
            }
            Event::Content { text, .. } => self.encoder.content(text, &mut self.out),
            Event::LineEnd(end) => self.encoder.line_end(end, &mut self.out),
            Event::ContentOver { is_last } => self.encoder.finish(is_last, &mut self.out),
            Event::Filler { fragment, .. } => drop(self.filler.push(&fragment, &mut self.out)),
            Event::Delimiter(octets) => self.out.extend_from_slice(octets),
        }
        Ok(())
    }
}
