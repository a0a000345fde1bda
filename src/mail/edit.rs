//! Edits: what a filter wants changed, as values. Who applies them is the policy pipeline.

use bytes::Bytes;
use compact_str::CompactString;

use super::address::{ForwardPath, ReversePath};
use super::envelope::{Envelope, Recipient, Ret};

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
    /// What MAIL asked to be returned becomes another: RET and ENVID, as far as they are given here.
    ChangeReturn {
        /// RET.
        ret: Option<Ret>,
        /// ENVID, decoded from xtext: printable, no control characters.
        envid: Option<CompactString>,
    },
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

    /// It concerns the envelope.
    pub fn is_envelope(&self) -> bool {
        matches!(
            self,
            Edit::ChangeReversePath(_) | Edit::ChangeReturn { .. } | Edit::AddRecipient(_) | Edit::DeleteRecipient(_)
        )
    }

    /// Does to an envelope what concerns it; other edits do nothing.
    pub fn apply_to_envelope(&self, envelope: &mut Envelope) {
        match self {
            Edit::ChangeReversePath(path) => envelope.reverse_path = path.clone(),
            Edit::ChangeReturn { ret, envid } => {
                envelope.mail.ret = ret.or(envelope.mail.ret);
                if envid.is_some() {
                    envelope.mail.envid.clone_from(envid);
                }
            }
            Edit::AddRecipient(recipient) => envelope.recipients.push(recipient.clone()),
            Edit::DeleteRecipient(path) => envelope.recipients.retain(|known| known.path != *path),
            _ => {}
        }
    }
}
