//! What a message is, in the words of RFC 5321, 5322, 3461 and 3463: addresses, the envelope, the
//! header section, the message as pieces, edits as values, and the conversion to 7-bit.
//!
//! Pure: bytes and values in, values out. Every filter (Sieve, milter, hooks, rewriting, signing)
//! reads a [`MessageView`] and returns [`Edit`]s; it never changes a message itself. Must never be
//! added: I/O, a runtime, a protocol's session state.

pub mod address;
pub mod downgrade;
pub mod edit;
pub mod envelope;
pub mod facts;
pub mod header;
pub mod outcome;
pub mod quoted_printable;
pub mod reply;
pub mod trace;
pub mod view;

pub use address::{AddressError, Domain, ForwardPath, Mailbox, MailboxRef, ReversePath};
pub use edit::{Edit, Edits};
pub use envelope::{
    BodyType, DeliverBy, DeliverByMode, Envelope, MailParameters, Notify, OriginalRecipient, Recipient, Ret,
};
pub use facts::{ContentFacts, Received, Source};
pub use header::{Field, HeaderSection};
pub use outcome::{Diagnostic, ErrorKind, Outcome, Scope, Status, StatusRecord};
pub use reply::{EnhancedStatus, Reply, Text};
pub use view::MessageView;
