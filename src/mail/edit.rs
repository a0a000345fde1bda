//! Edits: what a filter wants changed, as values. Who applies them is the policy pipeline.

use bytes::Bytes;
use compact_str::CompactString;

use super::address::{ForwardPath, ReversePath};
use super::envelope::Recipient;

/// Edits in the order in which they are applied.
pub type Edits = Vec<Edit>;

/// One change to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// A field goes in before the field that is now at `index` from the top (0 is the top).
    InsertField {
        /// Position from the top; beyond the end means at the end.
        index: usize,
        /// The field's name.
        name: CompactString,
        /// The value; line ends in it become folding.
        value: String,
    },
    /// A field goes in at the end of the section.
    AppendField {
        /// The field's name.
        name: CompactString,
        /// The value; line ends in it become folding.
        value: String,
    },
    /// The n-th field of that name, counted from one, gets another value.
    ChangeField {
        /// The field's name.
        name: CompactString,
        /// Which of that name, from one.
        occurrence: usize,
        /// The value; line ends in it become folding.
        value: String,
    },
    /// The n-th field of that name, counted from one, goes.
    DeleteField {
        /// The field's name.
        name: CompactString,
        /// Which of that name, from one.
        occurrence: usize,
    },
    /// The body becomes these pieces.
    ReplaceBody(Vec<Bytes>),
    /// The reverse-path becomes another.
    ChangeReversePath(ReversePath),
    /// A recipient more.
    AddRecipient(Recipient),
    /// Every recipient with that path goes.
    DeleteRecipient(ForwardPath),
}

impl Edit {
    /// It concerns the header section.
    pub fn is_header(&self) -> bool {
        matches!(
            self,
            Edit::InsertField { .. } | Edit::AppendField { .. } | Edit::ChangeField { .. } | Edit::DeleteField { .. }
        )
    }
}
