//! Configuration text as typed values: each knob is defined once, where its room reads it.
//!
//! Takes TOML and the rooms' `Settings::read(section)`; gives values, and all faults at once with line, key,
//! what was found and what was expected. The same definitions, run over nothing, are the reference.
//!
//! Invariants: reading never panics on any text; a fault never lets a default slip in silently (the file is
//! refused as a whole); a secret is in no fault, no diff and no listing. Must never be added: I/O (macros
//! ask an [`Environment`]), a knob that is read in two places, knowledge of what a setting is for.

mod cell;
pub mod document;
pub mod fault;
pub mod kinds;
pub mod knob;
mod nearest;
pub mod print;
pub mod quantity;
pub mod record;
pub mod reference;
pub mod render;
pub mod secret;
pub mod section;
#[cfg(test)]
mod tests;
pub mod text;

pub use cell::Cell;
pub use document::{Document, Node, Table, Value};
pub use fault::{Fault, FaultKind};
pub use knob::{Kind, Knob, Typed};
pub use nearest::nearest;
pub use quantity::Size;
pub use record::{Apply, Findings, Record};
pub use section::{Reader, Section, defaults};
pub use text::{Environment, expand};
