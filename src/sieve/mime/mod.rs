//! The message's content for scripts: MIME parts, their text, and new content in their place.
//!
//! * **Takes** a header section and a body in one piece; text that a script made.
//! * **Gives** a [`Tree`] of ranges, decoded text of a part, entities to put into its place. The machine
//!   builds the tree when a script first needs it, once, and only below
//!   [`Limits::mime_bytes`](super::Limits::mime_bytes).
//! * **Invariants**: parsing is one pass and always ends: parts, depth and parameters are bounded; what is
//!   not replaced keeps its octets; text that is written ends no part around it.
//! * **Must never be added**: tests and commands (they are in `compile` and `machine`); a second way to
//!   read header sections.
//!
//! | RFC | what | |
//! |---|---|---|
//! | 5173 | `body` with `:raw`, `:content`, `:text` | yes |
//! | 5703 §3 | `foreverypart`, `break`, by name too, over scripts that are included | yes |
//! | 5703 §4 | `:mime`, `:anychild`, `:type`, `:subtype`, `:contenttype`, `:param` (RFC 2231 undone) | yes |
//! | 5703 §5 | `replace` of the message or a part | yes |
//! | 5703 §6 | `enclose` | partial: a `redirect` behind it sends the enclosed message; Received fields stay outside, for the sake of loops |
//! | 5703 §7 | `extracttext` | yes |
//! | 6558 | `convert` | partial: text/html to text/plain in UTF-8; everything else is a conversion that failed |
//!
//! A part that an edit replaces is content again: what was in it is walked no more. The structure is that
//! of the message when a loop or test first asks; a header field that a script changes later does not
//! change it, new content does.
//!
//! The structure is found here and not by mail-parser, which decodes every part at once and tells neither
//! prologues nor the exact places that `replace` needs; transfer encodings, charsets and HTML are its work.

pub(super) mod compose;
pub(super) mod content;
pub(super) mod field;
pub(super) mod program;
pub(super) mod tree;
pub(super) mod words;

pub(super) use tree::{Kind, Part, Tree};

#[cfg(test)]
mod tests;
