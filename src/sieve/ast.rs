//! The tree that the parser gives: commands and tests with their arguments, not yet understood.

/// A command or a test with everything that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Call<'s> {
    /// The name in the spelling of the source.
    pub name: &'s str,
    /// Where the name starts.
    pub at: usize,
    /// Tags and positional arguments in their order.
    pub arguments: Vec<Argument<'s>>,
    /// Its tests.
    pub tests: Vec<Call<'s>>,
    /// The tests stand in parentheses.
    pub has_test_list: bool,
    /// The commands of its block, if it has one.
    pub block: Option<Vec<Call<'s>>>,
    /// A part of it could not be read and has its fault: nothing more is said about it.
    pub is_damaged: bool,
}

/// An argument and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Argument<'s> {
    pub at: usize,
    pub kind: ArgumentKind<'s>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum ArgumentKind<'s> {
    Number(u64),
    Tag(&'s str),
    Text(Vec<u8>),
    List(Vec<Literal>),
}

/// A string of a list and where it starts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Literal {
    pub at: usize,
    pub text: Vec<u8>,
}

impl ArgumentKind<'_> {
    /// What it is, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            ArgumentKind::Number(_) => "number",
            ArgumentKind::Tag(_) => "tag",
            ArgumentKind::Text(_) => "string",
            ArgumentKind::List(_) => "string list",
        }
    }
}
