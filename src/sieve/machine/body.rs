//! `body` (RFC 5173).

use super::super::matching::Probe;
use super::super::mime::content;
use super::super::mime::program::{BodyTest, Transform};
use super::super::mime::{Kind, Part, Tree};
use super::super::program::Program;
use super::super::question::Octets;
use super::{Machine, Outcome};

impl<'a> Machine<'a> {
    /// `body`: match variables stay as they were (RFC 5173 §6).
    pub(super) fn body_test(&mut self, program: &Program, test: &BodyTest) -> Outcome<bool> {
        if !self.has_body() {
            return Ok(false); // nothing to look at, not even for `:count "0"` (RFC 5173 §4)
        }
        if matches!(test.transform, Transform::Raw) {
            let Some(body) = self.joined_body()? else { return Ok(false) };
            let (is, _) = self.match_quietly(program, &test.matcher, |_, probe| Ok(probe.offer(&body)?))?;
            return Ok(is);
        }
        self.ensure_tree()?;
        let (is, _) = self.match_quietly(program, &test.matcher, |machine, probe| {
            let Some(tree) = &machine.content.tree else { return Ok(false) };
            let types = match &test.transform {
                Transform::Content(types) => Some(machine.all_owned(types)?),
                _ => None,
            };
            for (index, part) in tree.within(0) {
                let is = match &types {
                    Some(types) => machine.offer_content(tree, index, part, types, probe)?,
                    None => machine.offer_text(tree, index, part, probe)?,
                };
                if is {
                    return Ok(true);
                }
            }
            Ok(false)
        })?;
        Ok(is)
    }

    /// `:content` (RFC 5173 §5.2): of a multipart what stands around its parts, of a message its header.
    fn offer_content(
        &self,
        tree: &Tree,
        index: usize,
        part: &Part,
        types: &[Octets],
        probe: &mut Probe<'_>,
    ) -> Outcome<bool> {
        if !types.iter().any(|name| content::is_named(part.media.as_ref(), name)) {
            return Ok(false);
        }
        match &part.kind {
            Kind::Leaf => match self.decoded(tree, index, part) {
                Some(text) => Ok(probe.offer(&text)?),
                None => Ok(false),
            },
            Kind::Multipart { prologue, epilogue } => {
                let epilogue = epilogue.as_ref().map(|range| tree.slice(range));
                for text in [Some(tree.slice(prologue)), epilogue].into_iter().flatten() {
                    if probe.offer(text)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Kind::Message => match tree.part(index + 1) {
                Some(message) => Ok(probe.offer(message.header.raw())?),
                None => Ok(false),
            },
        }
    }

    /// `:text` (RFC 5173 §5.3): every part that holds text, without its markup.
    fn offer_text(&self, tree: &Tree, index: usize, part: &Part, probe: &mut Probe<'_>) -> Outcome<bool> {
        let Some(media) = part.media.as_ref().filter(|_| part.kind == Kind::Leaf) else { return Ok(false) };
        let is_html = content::is_html(media);
        if !is_html && !content::is_text(media) {
            return Ok(false);
        }
        match self.decoded(tree, index, part) {
            Some(html) if is_html => Ok(probe.offer(content::without_markup(&html).as_bytes())?),
            Some(text) => Ok(probe.offer(&text)?),
            None => Ok(false),
        }
    }
}
