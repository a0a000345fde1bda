//! Tests with `:mime` (RFC 5703 §4) and `extracttext` (RFC 5703 §7).

use super::super::decode::field_value;
use super::super::matching::Probe;
use super::super::mime::content;
use super::super::mime::field::Structured;
use super::super::mime::program::{ExtractCommand, Look, MimeTest};
use super::super::mime::{Kind, Part, Tree};
use super::super::program::{Occurrence, Program};
use super::super::question::Octets;
use super::values::modified;
use super::{Machine, Outcome};

impl<'a> Machine<'a> {
    pub(super) fn mime_test(&mut self, program: &Program, test: &MimeTest) -> Outcome<bool> {
        self.ensure_tree()?;
        let first = self.content.current().unwrap_or(0);
        if test.is_any_child {
            let octets = self
                .content
                .tree
                .as_ref()
                .map_or(0, |tree| tree.within(first).map(|(_, part)| 64 + part.header.raw().len()).sum::<usize>());
            self.charge_octets(octets)?;
        }
        let Some(matcher) = &test.matcher else { return self.mime_exists(test, first) };
        self.match_values(program, matcher, |machine, probe| {
            let names = machine.all_owned(&test.headers)?;
            let parameters = match &test.look {
                Look::Parameters(names) => machine.all_owned(names)?,
                _ => Vec::new(),
            };
            let Some(tree) = &machine.content.tree else { return Ok(false) };
            let parts = tree.within(first).take(if test.is_any_child { usize::MAX } else { 1 });
            for (index, part) in parts {
                for name in &names {
                    for value in machine.part_fields(index, part, name, test.occurrence) {
                        if machine.offer_look(&test.look, value, &parameters, probe)? {
                            return Ok(true);
                        }
                    }
                }
            }
            Ok(false)
        })
    }

    /// `exists :mime`: every field, each in one part or another.
    fn mime_exists(&self, test: &MimeTest, first: usize) -> Outcome<bool> {
        let Some(tree) = &self.content.tree else { return Ok(false) };
        for header in &test.headers {
            let name = self.text(header)?;
            let mut parts = tree.within(first).take(if test.is_any_child { usize::MAX } else { 1 });
            if !parts.any(|(index, part)| self.part_fields(index, part, &name, None).next().is_some()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The values of the fields of a name in a part; those of the message with what was prepended to it.
    fn part_fields<'x>(
        &'x self,
        index: usize,
        part: &'x Part,
        name: &'x [u8],
        occurrence: Option<Occurrence>,
    ) -> Box<dyn Iterator<Item = &'x [u8]> + 'x> {
        if index == 0 {
            return Box::new(self.fields(name, occurrence));
        }
        let all = part.header.fields().filter(move |field| field.name.eq_ignore_ascii_case(name));
        let mut all = all.map(|field| field.value);
        match occurrence {
            None => Box::new(all),
            Some(at) if at.is_from_last => Box::new(all.rev().nth(at.index - 1).into_iter()),
            Some(at) => Box::new(all.nth(at.index - 1).into_iter()),
        }
    }

    fn offer_look(&self, look: &Look, value: &[u8], parameters: &[Octets], probe: &mut Probe<'_>) -> Outcome<bool> {
        match look {
            Look::Exists => return Ok(false),
            Look::Value => return Ok(probe.offer(&field_value(value))?),
            Look::Address(part) => {
                return match self.offer_addresses(value, *part, probe) {
                    Some(result) => result.map(|()| true).map_err(Into::into),
                    None => Ok(false),
                };
            }
            _ => {}
        }
        let Some(field) = Structured::parse(value) else { return Ok(false) };
        let text = match look {
            Look::Type => field.main,
            Look::Subtype => field.sub.unwrap_or_default(),
            Look::ContentType => field.whole(),
            _ => {
                for name in parameters {
                    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                    if let Some(value) = field.parameter(&name)
                        && probe.offer(value)?
                    {
                        return Ok(true);
                    }
                }
                return Ok(false);
            }
        };
        Ok(probe.offer(text.as_bytes())?)
    }

    /// `extracttext`: the content of the part at hand.
    pub(super) fn extract_text(&mut self, command: &ExtractCommand) -> Outcome<()> {
        self.ensure_tree()?;
        let mut value = match &self.content.tree {
            Some(tree) => self.text_of(tree, self.content.current().unwrap_or(0)),
            None => Octets::new(),
        };
        self.charge_octets(value.len())?;
        if let Some(first) = command.first {
            value.truncate(prefix(&value, first));
        }
        for modifier in &command.modifiers {
            value = modified(*modifier, &value, self.limits.variable_bytes);
        }
        self.set_variable(command.slot, value)
    }

    /// The content of a part in UTF-8, HTML without its markup (RFC 5703 §7); empty where its encoding is
    /// not known, and for what is made of parts.
    fn text_of(&self, tree: &Tree, index: usize) -> Octets {
        let Some(part) = tree.part(index).filter(|part| part.kind == Kind::Leaf) else { return Octets::new() };
        let Some(octets) = self.decoded(tree, index, part) else { return Octets::new() };
        match part.media.as_ref().is_some_and(content::is_html) {
            true => content::without_markup(&octets).into_bytes(),
            false => octets.to_vec(),
        }
    }
}

/// Octets of the first characters; an octet that belongs to none counts as one.
fn prefix(value: &[u8], characters: u64) -> usize {
    let mut left = characters;
    let mut octets = 0;
    for chunk in value.utf8_chunks() {
        for c in chunk.valid().chars() {
            if left == 0 {
                return octets;
            }
            left -= 1;
            octets += c.len_utf8();
        }
        let invalid = (chunk.invalid().len() as u64).min(left);
        octets += invalid as usize;
        left -= invalid;
    }
    octets
}
