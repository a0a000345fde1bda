//! New content: `replace`, `enclose` (RFC 5703 §5, §6) and `convert` (RFC 6558), as edits.

use bytes::Bytes;
use compact_str::CompactString;

use super::super::action::Action;
use super::super::limits::Limit;
use super::super::mime::compose::{self, Encoded, PLAIN};
use super::super::mime::program::{ConvertCommand, EncloseCommand, ReplaceCommand};
use super::super::mime::{Kind, Tree, content, words};
use super::super::program::DatePart;
use super::{Machine, Outcome, RunErrorKind};
use crate::mail::{Edit, HeaderSection};

/// Content for the message or one of its parts.
struct Entity {
    /// Its MIME fields.
    fields: Vec<(CompactString, String)>,
    body: Vec<u8>,
}

impl Entity {
    fn of_text(text: &[u8]) -> Entity {
        let Encoded { encoding, octets } = compose::encoded(text);
        let fields = [("Content-Type", PLAIN), ("Content-Transfer-Encoding", encoding)];
        let fields = fields.map(|(name, value)| (CompactString::const_new(name), value.to_owned())).to_vec();
        Entity { fields, body: octets }
    }

    /// A MIME entity that a script spells out: its MIME fields and its body.
    fn of_mime(text: &[u8]) -> Entity {
        let text = Bytes::from(compose::with_crlf(text));
        let (header, at) = HeaderSection::split(&text);
        let fields = header.fields().filter(|field| is_mime_field(field.name)).map(|field| {
            let name = String::from_utf8_lossy(field.name);
            (CompactString::from(name), String::from_utf8_lossy(field.value).trim().to_owned())
        });
        Entity { fields: fields.collect(), body: text.slice(at..).to_vec() }
    }

    /// Header and body in one piece.
    fn joined(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.body.len() + 200);
        for (name, value) in &self.fields {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&self.body);
        Bytes::from(out)
    }
}

/// Fields that say what a body is, and not what the message is.
fn is_mime_field(name: &[u8]) -> bool {
    name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"content-"))
}

impl<'a> Machine<'a> {
    pub(super) fn replace(&mut self, command: &ReplaceCommand) -> Outcome<()> {
        let text = self.owned(&command.content)?;
        let (subject, from) = (self.utf8_option(&command.subject)?, self.utf8_option(&command.from)?);
        self.ensure_tree()?;
        self.charge_octets(text.len())?;
        let entity = if command.is_mime { Entity::of_mime(&text) } else { Entity::of_text(&text) };
        self.put(self.content.current().unwrap_or(0), entity, subject, from)
    }

    /// Puts an entity in the place of the message's content or of a part.
    fn put(&mut self, index: usize, entity: Entity, subject: Option<String>, from: Option<String>) -> Outcome<()> {
        let is_opaque = self.content.tree.as_ref().is_some_and(|tree| tree.is_opaque());
        if index == 0 {
            return self.replace_message(entity, subject, from);
        }
        if self.content.is_enclosed {
            let why = "a part cannot be replaced once the message is enclosed (RFC 5703 §6)";
            return Err(RunErrorKind::Invalid(why.to_owned()).into());
        }
        let Some(tree) = self.content.tree.as_mut().filter(|_| !is_opaque) else { return Ok(()) };
        tree.replace(index, entity.joined());
        let pieces = tree.composed();
        self.publish(pieces)?;
        self.settle_outside_loops();
        Ok(())
    }

    /// The whole message: its fields stay, those that tell of the body become others.
    fn replace_message(&mut self, entity: Entity, subject: Option<String>, from: Option<String>) -> Outcome<()> {
        let mut edits = self.without_mime_fields();
        for (name, value) in [("Subject", subject.map(|s| words::text(&s))), ("From", from.map(|f| words::mailbox(&f)))]
        {
            let Some(value) = value else { continue };
            // What was there is kept under another name (RFC 5703 §5).
            let old =
                self.header().named(name).next().map(|field| String::from_utf8_lossy(field.value).trim().to_owned());
            edits.extend(old.map(|value| append(&format!("Original-{name}"), value)));
            for _ in self.header().named(name) {
                edits.push(Edit::DeleteField { name: name.into(), occurrence: 1 });
            }
            edits.push(append(name, value));
        }
        edits.extend(entity.fields.into_iter().map(|(name, value)| Edit::AppendField { name, value }));
        edits.push(append("MIME-Version", "1.0".to_owned()));
        self.change_header(edits)?;
        self.publish(vec![Bytes::from(entity.body)])?;
        self.content.end_loops();
        self.content.tree = None;
        self.content.is_enclosed = false;
        self.ensure_tree()?;
        self.settle_outside_loops();
        Ok(())
    }

    /// Edits that take away what tells of the body.
    fn without_mime_fields(&self) -> Vec<Edit> {
        let is = |name: &[u8]| is_mime_field(name) || name.eq_ignore_ascii_case(b"mime-version");
        let fields = self.header().fields().filter(|field| is(field.name));
        let name = |name| CompactString::from(String::from_utf8_lossy(name));
        fields.map(|field| Edit::DeleteField { name: name(field.name), occurrence: 1 }).collect()
    }

    /// `enclose`: the message becomes the attachment of a new one.
    pub(super) fn enclose(&mut self, command: &EncloseCommand) -> Outcome<()> {
        let text = self.owned(&command.text)?;
        let subject = self.utf8_option(&command.subject)?;
        let kept = self.all_owned(&command.headers)?;
        let now = self.now()?;
        let octets: usize = self.body().iter().map(Bytes::len).sum();
        self.charge_octets(octets + text.len())?;
        let (media, body) = compose::enclosed(&text, self.header(), self.body());
        let is_kept = |name: &[u8]| {
            kept.iter().any(|kept| kept.eq_ignore_ascii_case(name))
                // Loops are found by them, whatever the message is wrapped in (RFC 5321 §6.3).
                || name.eq_ignore_ascii_case(b"received")
                || subject.is_none() && name.eq_ignore_ascii_case(b"subject")
                || self.author.is_empty() && name.eq_ignore_ascii_case(b"from")
        };
        let gone = |name: &[u8]| !is_kept(name) || is_mime_field(name);
        let mut edits = Vec::new();
        for field in self.header().fields().filter(|field| !field.name.is_empty() && gone(field.name)) {
            let name = CompactString::from(String::from_utf8_lossy(field.name));
            edits.push(Edit::DeleteField { name, occurrence: 1 });
        }
        let has = |name: &str| kept.iter().any(|kept| kept.eq_ignore_ascii_case(name.as_bytes()));
        if !has("from") && !self.author.is_empty() {
            edits.push(append("From", words::mailbox(&self.author)));
        }
        edits.extend(subject.map(|subject| append("Subject", words::text(&subject))));
        if !has("date") {
            edits.push(append("Date", now.part(DatePart::Std11)));
        }
        edits.push(append("MIME-Version", "1.0".to_owned()));
        edits.push(append("Content-Type", media));
        self.change_header(edits)?;
        self.publish(body)?;
        self.content.is_enclosed = self.content.is_in_loop();
        self.settle_outside_loops();
        Ok(())
    }

    /// `convert`: of the part at hand, or of all parts of that type. False when one could not be converted.
    pub(super) fn convert(&mut self, command: &ConvertCommand) -> Outcome<bool> {
        let (from, to) = (self.owned(&command.from)?, self.owned(&command.to)?);
        let parameters = self.all_owned(&command.parameters)?;
        self.ensure_tree()?;
        let parts = match (&self.content.tree, self.content.current()) {
            (Some(tree), Some(part)) => of_type(tree, part, &from).into_iter().filter(|index| *index == part).collect(),
            (Some(tree), None) => of_type(tree, 0, &from),
            (None, _) => Vec::new(),
        };
        let mut is_done = true;
        for index in parts {
            let Some(tree) = &self.content.tree else { break };
            let Some(part) = tree.part(index) else { continue };
            // What an MTA serves: HTML to text in UTF-8. Parameters that ask for another charset are not served.
            let is_served = from.eq_ignore_ascii_case(b"text/html")
                && to.eq_ignore_ascii_case(b"text/plain")
                && parameters.iter().all(|p| p.is_empty() || p.eq_ignore_ascii_case(b"charset=utf-8"));
            match self.decoded(tree, index, part).filter(|_| is_served) {
                Some(html) => {
                    let text = content::without_markup(&html);
                    self.charge_octets(html.len())?;
                    self.put(index, Entity::of_text(text.as_bytes()), None, None)?;
                }
                None => is_done = false,
            }
        }
        Ok(is_done)
    }

    /// The body is another from here on.
    fn publish(&mut self, pieces: Vec<Bytes>) -> Outcome<()> {
        self.content.body = Some(pieces.clone());
        if let Some(Action::Edit(Edit::ReplaceBody(last))) = self.actions.last_mut() {
            *last = pieces; // nothing has acted on the body in between
            return Ok(());
        }
        self.add(Action::Edit(Edit::ReplaceBody(pieces)))
    }

    /// The edits of one command, however many the fields are.
    fn change_header(&mut self, edits: Vec<Edit>) -> Outcome<()> {
        if self.edits >= self.limits.edits {
            return Err(Limit::Edits.into());
        }
        self.edited = Some(Box::new(self.header().apply(&edits)));
        self.edits += edits.len();
        self.actions.extend(edits.into_iter().map(Action::Edit));
        Ok(())
    }

    fn settle_outside_loops(&mut self) {
        self.leave_parts(0);
    }
}

fn append(name: &str, value: String) -> Edit {
    Edit::AppendField { name: CompactString::from(name), value }
}

/// The parts of a type, from one on.
fn of_type(tree: &Tree, first: usize, name: &[u8]) -> Vec<usize> {
    let is = |media: &Option<super::super::mime::field::Structured>| {
        media.as_ref().is_some_and(|media| media.whole().as_bytes().eq_ignore_ascii_case(name))
    };
    tree.within(first).filter(|(_, part)| part.kind == Kind::Leaf && is(&part.media)).map(|(index, _)| index).collect()
}
