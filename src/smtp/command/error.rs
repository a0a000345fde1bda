//! Why a line is no command, and what its sender is told.

use crate::mail::{AddressError, Reply};
use crate::smtp::line::LineFault;

/// What is wrong with a command. [`CommandError::reply`] is what its sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The line is none.
    #[error("line fault: {0:?}")]
    Line(LineFault),
    /// No verb that we know.
    #[error("unknown command")]
    UnknownVerb,
    /// Another protocol: a web request, or a first octet that is no letter.
    #[error("not SMTP")]
    WrongProtocol,
    /// The arguments break the grammar; this was expected.
    #[error("syntax error, expected: {0}")]
    Syntax(&'static str),
    /// The path of MAIL breaks the grammar.
    #[error("bad reverse-path: {0}")]
    ReversePath(AddressError),
    /// The path of RCPT breaks the grammar.
    #[error("bad forward-path: {0}")]
    ForwardPath(AddressError),
    /// A non-ASCII reverse-path without SMTPUTF8.
    #[error("non-ASCII sender without SMTPUTF8")]
    SenderNeedsSmtpUtf8,
    /// A non-ASCII forward-path without SMTPUTF8.
    #[error("non-ASCII recipient without SMTPUTF8")]
    RecipientNeedsSmtpUtf8,
    /// A parameter that we do not know or do not offer.
    #[error("unknown parameter")]
    UnknownParameter,
    /// The parameter's value breaks its grammar or its range.
    #[error("bad {0}")]
    BadParameter(&'static str),
    /// The parameter came twice, or with one that excludes it.
    #[error("duplicate {0}")]
    DuplicateParameter(&'static str),
    /// SIZE declares more than we take.
    #[error("declared size over the limit")]
    TooBig,
    /// REQUIRETLS outside of TLS (RFC 8689 §2).
    #[error("REQUIRETLS without TLS")]
    RequireTlsWithoutTls,
    /// The arguments of BDAT break the grammar: where the next command starts is unknown.
    #[error("bad BDAT")]
    Chunk,
    /// An attribute of XCLIENT is unknown or breaks its grammar.
    #[error("bad XCLIENT attribute")]
    BadAttribute,
}

impl From<LineFault> for CommandError {
    fn from(fault: LineFault) -> Self {
        CommandError::Line(fault)
    }
}

impl CommandError {
    /// The reply that is right for it (RFC 5321 §4.2.4, RFC 3463).
    pub fn reply(&self) -> Reply {
        match *self {
            CommandError::Line(LineFault::BareLf) => Reply::new(500, (5, 5, 2), "Lines end with CR LF"),
            CommandError::Line(LineFault::TooLong) => Reply::new(500, (5, 5, 2), "Line too long"),
            CommandError::UnknownVerb => Reply::new(500, (5, 5, 1), "Unknown command"),
            CommandError::WrongProtocol => Reply::new(502, (5, 7, 0), "This is a mail server"),
            CommandError::Syntax(expected) => Reply::new(501, (5, 5, 2), format!("Syntax error, expected: {expected}")),
            CommandError::ReversePath(e) => Reply::new(501, (5, 1, 7), format!("Bad sender address: {e}")),
            CommandError::ForwardPath(e) => Reply::new(501, (5, 1, 3), format!("Bad recipient address: {e}")),
            CommandError::SenderNeedsSmtpUtf8 => Reply::new(550, (5, 6, 7), "Non-ASCII sender needs SMTPUTF8"),
            CommandError::RecipientNeedsSmtpUtf8 => Reply::new(553, (5, 6, 7), "Non-ASCII recipient needs SMTPUTF8"),
            CommandError::UnknownParameter => Reply::new(555, (5, 5, 4), "Parameter not recognized or not offered"),
            CommandError::BadParameter(name) => Reply::new(501, (5, 5, 4), format!("Bad value of {name}")),
            CommandError::DuplicateParameter(name) => Reply::new(501, (5, 5, 4), format!("{name} given twice")),
            CommandError::TooBig => Reply::new(552, (5, 3, 4), "Message too big"),
            CommandError::RequireTlsWithoutTls => Reply::new(530, (5, 7, 10), "REQUIRETLS needs STARTTLS first"),
            CommandError::Chunk => Reply::new(501, (5, 5, 4), "Bad chunk size, expected: BDAT size [LAST]"),
            CommandError::BadAttribute => Reply::new(501, (5, 5, 4), "Bad XCLIENT attribute"),
        }
    }

    /// The connection cannot go on after the reply: what comes next has no certain meaning, or the peer
    /// does not speak SMTP.
    pub fn must_close(&self) -> bool {
        matches!(self, CommandError::Line(_) | CommandError::WrongProtocol | CommandError::Chunk)
    }
}
