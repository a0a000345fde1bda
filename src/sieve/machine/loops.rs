//! The content of the message while a script runs: its tree of parts, and the loops over them (RFC 5703 §3).

use bytes::Bytes;

use super::super::limits::{AboveMime, Limit};
use super::super::mime::content;
use super::super::mime::tree::encoding_of;
use super::super::mime::{Part, Tree};
use super::{Machine, Outcome};

/// Octets of content that cost one step.
const OCTETS_PER_STEP: usize = 64;

/// The body as the script has made it, and where the script is in it.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub tree: Option<Box<Tree>>,
    loops: Vec<Loop>,
    /// The body, once it is another.
    pub body: Option<Vec<Bytes>>,
    /// The message was enclosed: the tree that a loop walks is that of the message inside.
    pub is_enclosed: bool,
}

/// A `foreverypart` that is running.
#[derive(Debug)]
struct Loop {
    /// How many scripts were on the stack when it began.
    frames: usize,
    /// The part at hand; none before the first.
    current: Option<usize>,
    first: usize,
    end: usize,
}

impl Content {
    /// The part that the innermost loop is at.
    pub fn current(&self) -> Option<usize> {
        self.loops.last().and_then(|this| this.current)
    }

    pub fn is_in_loop(&self) -> bool {
        !self.loops.is_empty()
    }

    /// The message is one part again: the loops end with what they are doing.
    pub fn end_loops(&mut self) {
        for this in &mut self.loops {
            this.current = Some(0);
            this.end = 0;
        }
    }

    /// After the last loop: what has changed is parsed anew when it is needed.
    fn settle(&mut self) {
        if self.loops.is_empty() && self.body.is_some() {
            self.tree = None;
            self.is_enclosed = false;
        }
    }
}

impl<'a> Machine<'a> {
    /// The body as it stands.
    pub(super) fn body(&self) -> &[Bytes] {
        self.content.body.as_deref().unwrap_or(self.view.body)
    }

    /// The message has a body: an empty line stands before it.
    pub(super) fn has_body(&self) -> bool {
        self.view.has_separator || self.content.body.is_some()
    }

    /// The body in one piece; nothing when it is too large to be looked into.
    pub(super) fn joined_body(&self) -> Outcome<Option<Bytes>> {
        let size: usize = self.body().iter().map(Bytes::len).sum();
        if size > self.limits.mime_bytes {
            return match self.limits.above_mime {
                AboveMime::Opaque => Ok(None),
                AboveMime::Fail => Err(Limit::MimeBytes.into()),
            };
        }
        Ok(Some(match self.body() {
            [piece] => piece.clone(),
            pieces => Bytes::from(pieces.concat()),
        }))
    }

    /// Parses the message once.
    pub(super) fn ensure_tree(&mut self) -> Outcome<()> {
        if self.content.tree.is_some() {
            return Ok(());
        }
        let tree = match self.joined_body()? {
            None => Tree::opaque(),
            Some(body) => {
                self.charge((body.len() / OCTETS_PER_STEP) as u64)?;
                Tree::parse(self.header(), body, self.has_body())
            }
        };
        self.content.tree = Some(Box::new(tree));
        Ok(())
    }

    /// What a part says with its transfer encoding undone, text in UTF-8. Nothing where that is not known.
    pub(super) fn decoded(&self, tree: &Tree, index: usize, part: &Part) -> Option<Bytes> {
        if !part.has_body {
            return None;
        }
        let encoding = if index == 0 { encoding_of(self.header()) } else { encoding_of(&part.header) };
        let octets = content::decoded(&encoding, tree.content(part))?;
        match &part.media {
            Some(media) if content::is_text(media) || content::is_html(media) => Some(content::in_utf8(media, octets)),
            _ => Some(octets),
        }
    }

    /// Begins a loop over the parts of the message, or over those inside the part at hand.
    pub(super) fn enter_parts(&mut self) -> Outcome<()> {
        if self.content.loops.len() >= self.limits.loops {
            return Err(Limit::Loops.into());
        }
        self.ensure_tree()?;
        let Some(tree) = &self.content.tree else { return Ok(()) };
        let (first, end) = match self.content.current() {
            Some(part) => (tree.next(part), tree.end(part)),
            None => (0, tree.len()),
        };
        let this = Loop { frames: self.frames.len(), current: None, first, end };
        self.content.loops.push(this);
        Ok(())
    }

    /// Goes to the next part; false when there is none and the loop is over.
    pub(super) fn next_part(&mut self) -> bool {
        let (Some(tree), Some(this)) = (&self.content.tree, self.content.loops.last_mut()) else { return false };
        let next = this.current.map_or(this.first, |current| tree.next(current));
        if next < this.end {
            this.current = Some(next);
            return true;
        }
        self.leave_parts(1);
        false
    }

    /// Ends the innermost loops.
    pub(super) fn leave_parts(&mut self, levels: usize) {
        let left = self.content.loops.len().saturating_sub(levels);
        self.content.loops.truncate(left);
        self.content.settle();
    }

    /// Ends the loops that the topmost script began: it is over.
    pub(super) fn leave_loops_of_frame(&mut self) {
        let frames = self.frames.len();
        self.content.loops.retain(|this| this.frames < frames);
        self.content.settle();
    }

    /// The octets of something, as steps.
    pub(super) fn charge_octets(&mut self, octets: usize) -> Outcome<()> {
        self.charge((octets / OCTETS_PER_STEP) as u64)
    }
}
