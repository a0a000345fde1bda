//! `body`, `:mime` tests, `foreverypart` and what changes parts (RFC 5173, RFC 5703, RFC 6558).

use super::super::ast::Call;
use super::super::bind::{Bound, title};
use super::super::mime::program::{
    BodyTest, ConvertCommand, EncloseCommand, ExtractCommand, Look, MimeTest, ReplaceCommand, Transform,
};
use super::super::program::{Command, Op, Test, Texts};
use super::super::signature::{Signature, Verb};
use super::super::signatures::{BODY_TRANSFORM, MIME_LOOK};
use super::{Builder, SetTarget, number, strings};

/// A `foreverypart` around the commands that are compiled.
pub(super) struct Loop {
    name: Option<Vec<u8>>,
    /// Jumps to its end.
    breaks: Vec<usize>,
}

impl Builder<'_, '_> {
    /// `body` (RFC 5173): without a transform it looks at the text.
    pub(super) fn body_test(&mut self, bound: &Bound<'_, '_>) -> Option<Test> {
        let transform = match bound.of_family(BODY_TRANSFORM) {
            Some(("raw", ..)) => Transform::Raw,
            Some(("content", _, Some(types))) => Transform::Content(self.texts(types)),
            _ => Transform::Text,
        };
        let matcher = self.matcher(bound, bound.positional(0)?)?;
        Some(Test::Body(Box::new(BodyTest { transform, matcher })))
    }

    /// `header`, `address` or `exists` with `:mime`; nothing decided when the tag is not there.
    pub(super) fn mime_test(&mut self, bound: &Bound<'_, '_>, headers: Texts) -> Option<Test> {
        let occurrence = if bound.signature.verb == Verb::Exists { None } else { self.occurrence(bound)? };
        let look = match (bound.signature.verb, bound.of_family(MIME_LOOK)) {
            (Verb::Exists, _) => Look::Exists,
            (Verb::Address, _) => Look::Address(self.address_part(bound)),
            (_, Some(("type", ..))) => Look::Type,
            (_, Some(("subtype", ..))) => Look::Subtype,
            (_, Some(("contenttype", ..))) => Look::ContentType,
            (_, Some((_, _, Some(names)))) => Look::Parameters(self.texts(names)),
            _ => Look::Value,
        };
        let matcher = match bound.positional(1) {
            Some(keys) => Some(self.matcher(bound, keys)?),
            None => None,
        };
        let is_any_child = bound.has("anychild").is_some();
        Some(Test::Mime(Box::new(MimeTest { look, is_any_child, headers, matcher, occurrence })))
    }

    /// What belongs to `:mime` stands with it. False when a fault was told.
    pub(super) fn check_mime_tags(&mut self, bound: &Bound<'_, '_>) -> bool {
        if bound.has("mime").is_some() {
            return true;
        }
        let alone = bound.has("anychild").map(|at| ("anychild", at));
        let alone = alone.or_else(|| bound.of_family(MIME_LOOK).map(|(name, at, _)| (name, at)));
        if let Some((name, at)) = alone {
            self.faults.error(at, format!("the ':{name}' tag of the {} needs ':mime'", title(bound.signature)));
        }
        alone.is_none()
    }

    /// `foreverypart` (RFC 5703 §3): enter, then for each part its block.
    pub(super) fn every_part(&mut self, call: &Call<'_>, signature: &Signature, depth: usize) {
        let bound = self.bind(call, signature);
        let name = bound.as_ref().and_then(|bound| bound.tag("name"));
        let name = name.and_then(|name| strings(name).first().map(|(raw, _)| raw.to_vec()));
        if self.loops.len() >= self.options.loops_max {
            let message = format!("foreverypart loops are nested more than {} deep", self.options.loops_max);
            self.faults.error(call.at, message);
        }
        self.emit(Op::EnterParts);
        let head = self.emit(Op::NextPart(0));
        self.loops.push(Loop { name, breaks: Vec::new() });
        if let Some(block) = &call.block {
            self.block(block, depth + 1);
        }
        self.emit(Op::Jump(head as u32));
        self.land(head);
        let breaks = self.loops.pop().map(|this| this.breaks).unwrap_or_default();
        breaks.into_iter().for_each(|jump| self.land(jump));
    }

    /// `break` (RFC 5703 §3.2).
    pub(super) fn break_parts(&mut self, bound: &Bound<'_, '_>) {
        let name = bound.tag("name").and_then(|name| strings(name).first().copied());
        let found = match name {
            None => self.loops.len().checked_sub(1),
            Some((name, _)) => self.loops.iter().rposition(|this| this.name.as_deref() == Some(name)),
        };
        let Some(found) = found else {
            match name {
                Some((name, at)) if !self.loops.is_empty() => {
                    let name = String::from_utf8_lossy(name).into_owned();
                    self.argument_fault(bound, at, &format!("there is no loop of the name '{name}' around it"));
                }
                _ => self.faults.error(bound.call.at, "the break command stands outside of every foreverypart loop"),
            }
            return;
        };
        let levels = self.loops.len() - found;
        self.emit(Op::LeaveParts(levels as u32));
        let jump = self.emit(Op::Jump(0));
        if let Some(this) = self.loops.get_mut(found) {
            this.breaks.push(jump);
        }
    }

    pub(super) fn replace(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        let from = self.tag_text(bound, "from");
        if let (Some(from), Some(argument)) = (&from, bound.tag("from")) {
            self.check_address(bound, argument.at, from)?;
        }
        Some(Command::Replace(Box::new(ReplaceCommand {
            is_mime: bound.has("mime").is_some(),
            subject: self.tag_text(bound, "subject"),
            from,
            content: self.one_text(bound.positional(0)?),
        })))
    }

    pub(super) fn enclose(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        Some(Command::Enclose(Box::new(EncloseCommand {
            subject: self.tag_text(bound, "subject"),
            headers: bound.tag("headers").map(|list| self.texts(list)).unwrap_or_default(),
            text: self.one_text(bound.positional(0)?),
        })))
    }

    /// `extracttext` (RFC 5703 §7): only inside of a loop.
    pub(super) fn extract_text(&mut self, bound: &Bound<'_, '_>) -> Option<Command> {
        if !self.required.uses(super::Capability::Variables) {
            self.argument_fault(bound, bound.call.at, "a variable needs the \"variables\" extension");
            return None;
        }
        if self.loops.is_empty() {
            self.faults.error(bound.call.at, "the extracttext command stands outside of every foreverypart loop");
            return None;
        }
        let SetTarget::Slot(slot) = self.variable(bound, bound.positional(0)?)? else {
            self.argument_fault(bound, bound.call.at, "text of a part cannot go into the envelope");
            return None;
        };
        let first = bound.tag("first").map(number);
        Some(Command::ExtractText(Box::new(ExtractCommand { slot, first, modifiers: modifiers(bound) })))
    }

    pub(super) fn convert(&mut self, bound: &Bound<'_, '_>) -> Option<Box<ConvertCommand>> {
        Some(Box::new(ConvertCommand {
            from: self.one_text(bound.positional(0)?),
            to: self.one_text(bound.positional(1)?),
            parameters: self.texts(bound.positional(2)?),
        }))
    }
}

use super::actions::modifiers;
