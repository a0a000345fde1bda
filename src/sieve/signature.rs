//! What a command or test takes: the shape that the checker compares a call with.

use std::borrow::Cow;

use super::capability::Capability;

/// A command or test with everything it may be given.
#[derive(Debug, Clone)]
pub struct Signature {
    /// The name, lower case.
    pub name: &'static str,
    /// What it is; [`Verb::Host`] for what the host adds to the language.
    pub(super) verb: Verb,
    /// It is a test.
    pub is_test: bool,
    /// The extension that must be required.
    pub(super) needs: Option<Capability>,
    /// Its tags.
    pub(super) tags: Cow<'static, [Tag]>,
    /// Its positional arguments in their order.
    pub(super) positional: Cow<'static, [Positional]>,
    /// The tests it takes.
    pub(super) tests: Tests,
    /// It has a block.
    pub has_block: bool,
}

/// How many tests a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tests {
    None,
    One,
    Many,
}

/// A positional argument.
#[derive(Debug, Clone, Copy)]
pub struct Positional {
    /// What it holds, for messages.
    pub name: &'static str,
    /// What it must be.
    pub kind: Kind,
    /// It may be left out.
    pub is_optional: bool,
}

/// What an argument must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number,
    /// One string.
    Text,
    /// A string, or several in brackets.
    List,
}

impl Kind {
    pub(super) fn describe(self) -> &'static str {
        match self {
            Kind::Number => "number",
            Kind::Text => "string",
            Kind::List => "string list",
        }
    }
}

/// A tagged argument.
#[derive(Debug, Clone, Copy)]
pub struct Tag {
    /// The name without the colon, lower case.
    pub name: &'static str,
    pub(super) needs: Option<Capability>,
    /// What follows it.
    pub value: Option<Kind>,
    /// Of the tags of one family a call has at most one; zero is a family of its own.
    pub(super) family: u8,
}

macro_rules! verbs {
    ($($verb:ident)*) => {
        /// What a call does: the compiler has one way for each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Verb { $($verb,)* }
    };
}

verbs! {
    // control
    Require If Elsif Else Stop Include Return Global Error While
    // actions
    Keep Discard Redirect Fileinto Reject Ereject Set Addheader Deleteheader
    Setflag Addflag Removeflag Notify Vacation Let EvalCommand
    Foreverypart Break Replace Enclose Extracttext Convert
    // tests
    Address Allof Anyof Envelope Exists False Header Not Size True
    Body String Environment Date Currentdate Hasflag Spamtest Virustest Duplicate Ihave
    Mailboxexists Mailboxidexists SpecialuseExists ValidNotifyMethod NotifyMethodCapability ValidExtList Eval
    // by the host
    Host
}

impl Tag {
    pub(super) const fn new(name: &'static str, value: Option<Kind>) -> Tag {
        Tag { name, needs: None, value, family: 0 }
    }
    pub(super) const fn needs(self, capability: Capability) -> Tag {
        Tag { needs: Some(capability), ..self }
    }
    pub(super) const fn family(self, family: u8) -> Tag {
        Tag { family, ..self }
    }
}

impl Signature {
    /// A command that the host adds to the language.
    pub fn host_command(name: &'static str) -> Signature {
        Signature {
            name,
            verb: Verb::Host,
            is_test: false,
            needs: None,
            tags: Cow::Borrowed(&[]),
            positional: Cow::Borrowed(&[]),
            tests: Tests::None,
            has_block: false,
        }
    }

    /// A test that the host adds to the language.
    pub fn host_test(name: &'static str) -> Signature {
        Signature { is_test: true, ..Signature::host_command(name) }
    }

    /// The same with a block, which runs when the host answers with true.
    pub fn with_block(self) -> Signature {
        Signature { has_block: true, ..self }
    }

    /// The same with a positional argument more.
    pub fn with(mut self, name: &'static str, kind: Kind) -> Signature {
        self.positional.to_mut().push(Positional { name, kind, is_optional: false });
        self
    }

    /// The same with a positional argument that may be left out.
    pub fn with_optional(mut self, name: &'static str, kind: Kind) -> Signature {
        self.positional.to_mut().push(Positional { name, kind, is_optional: true });
        self
    }

    /// The same with a tag.
    pub fn with_tag(mut self, name: &'static str, value: Option<Kind>) -> Signature {
        self.tags.to_mut().push(Tag::new(name, value));
        self
    }

    /// The same with match type and comparator: the last positional argument is a list of keys, the host
    /// answers with values, and the engine matches them.
    pub fn with_matching(mut self) -> Signature {
        self.tags.to_mut().extend_from_slice(super::signatures::MATCHING);
        self
    }

    pub(super) fn role(&self) -> &'static str {
        if self.is_test { "test" } else { "command" }
    }
}
