//! What a script may use at most. Reaching a limit ends the run with an error that names it.

/// The limits of one run; the host sets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Work: operations, and a part of one for the octets that are compared.
    pub steps: u64,
    /// Actions of every kind.
    pub actions: usize,
    /// Redirects.
    pub redirects: usize,
    /// Notifications and vacation responses.
    pub out_messages: usize,
    /// Scripts inside scripts.
    pub nested_includes: usize,
    /// Scripts that are included in all.
    pub includes: usize,
    /// Octets of one variable or of one text made from variables.
    pub variable_bytes: usize,
    /// Octets of all variables together.
    pub variables_bytes: usize,
    /// Global variables.
    pub globals: usize,
    /// Header edits.
    pub edits: usize,
    /// Octets of a regular expression, compiled, that is made while the script runs.
    pub regex_bytes: usize,
    /// Received fields beyond which nothing is redirected: the message loops.
    pub received_fields: usize,
    /// Questions to the host.
    pub questions: usize,
    /// Octets of a body that is looked into: for `body`, `foreverypart` and what belongs to them.
    pub mime_bytes: usize,
    /// What a body above [`Limits::mime_bytes`] is.
    pub above_mime: AboveMime,
    /// `foreverypart` loops inside each other, those of included scripts among them.
    pub loops: usize,
    /// How long a duplicate is remembered unless the script says: seconds.
    pub duplicate_s: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            steps: 1_048_576,
            actions: 32,
            redirects: 3,
            out_messages: 5,
            nested_includes: 5,
            includes: 255,
            variable_bytes: 1024 * 1024,
            variables_bytes: 16 * 1024 * 1024,
            globals: 256,
            edits: 256,
            regex_bytes: 1024 * 1024,
            received_fields: 50,
            questions: 1000,
            mime_bytes: 25 * 1024 * 1024,
            above_mime: AboveMime::Opaque,
            loops: 10,
            duplicate_s: 7 * 24 * 3600,
        }
    }
}

/// What becomes of a body that is too large to be looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AboveMime {
    /// The message is one part of no known type: tests of its body are false, nothing in it is changed.
    #[default]
    Opaque,
    /// The run ends with [`Limit::MimeBytes`].
    Fail,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Limit {
    /// [`Limits::steps`].
    #[error("the script takes too many steps (limits.cpu)")]
    Steps,
    /// [`Limits::actions`].
    #[error("total number of actions exceeds policy limit (limits.actions)")]
    Actions,
    /// [`Limits::redirects`].
    #[error("number of redirect actions exceeds policy limit (limits.redirects)")]
    Redirects,
    /// [`Limits::out_messages`].
    #[error("number of notify actions exceeds policy limit (limits.out-messages)")]
    OutMessages,
    /// [`Limits::nested_includes`].
    #[error("scripts are included too deep (limits.nested-includes)")]
    NestedIncludes,
    /// [`Limits::includes`].
    #[error("too many scripts are included (limits.includes)")]
    Includes,
    /// [`Limits::variable_bytes`] or [`Limits::variables_bytes`].
    #[error("variables grow too large (limits.variable-size)")]
    VariableBytes,
    /// [`Limits::globals`].
    #[error("too many global variables (limits.globals)")]
    Globals,
    /// [`Limits::edits`].
    #[error("too many header edits (limits.edits)")]
    Edits,
    /// [`Limits::regex_bytes`].
    #[error("a regular expression is too large (limits.regex-size)")]
    RegexBytes,
    /// [`Limits::received_fields`].
    #[error("the message has too many Received fields to be redirected (limits.received-headers)")]
    ReceivedFields,
    /// [`Limits::questions`].
    #[error("the script asks too many questions (limits.questions)")]
    Questions,
    /// [`Limits::mime_bytes`].
    #[error("the body is too large to be looked into (limits.mime-size)")]
    MimeBytes,
    /// [`Limits::loops`].
    #[error("foreverypart loops are nested too deep (limits.loops)")]
    Loops,
}
