//! The steps of the protocol, one row each: what is left out, what is not answered, which symbols go before.

use super::macros::MacroStage;
use super::negotiate::{Agreement, Steps};

/// What a filter is asked about, and what is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The negotiation.
    Options,
    /// A client.
    Connect,
    /// HELO or EHLO.
    Helo,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// A field.
    Header,
    /// The end of the header section.
    EndOfHeader,
    /// A chunk of the body.
    Body,
    /// The end of the message.
    EndOfMessage,
    /// An unknown command.
    Unknown,
}

/// What an answer at a stage is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The whole session.
    Session,
    /// The message: what is refused is over.
    Message,
    /// One recipient: the message goes on.
    Recipient,
    /// One command.
    Command,
}

struct Row {
    stage: Stage,
    scope: Scope,
    /// The version that brought it.
    version: u32,
    unseen: Steps,
    unanswered: Steps,
    symbols: Option<MacroStage>,
}

#[rustfmt::skip]
const ROWS: &[Row] = {
    use Scope::*;
    const fn row(stage: Stage, scope: Scope, version: u32, unseen: Steps, unanswered: Steps, symbols: Option<MacroStage>) -> Row {
        Row { stage, scope, version, unseen, unanswered, symbols }
    }
    &[
        row(Stage::Options, Session, 2, Steps::NONE, Steps::NONE, None),
        row(Stage::Connect, Session, 2, Steps::NO_CONNECT, Steps::NO_REPLY_CONNECT, Some(MacroStage::Connect)),
        row(Stage::Helo, Session, 2, Steps::NO_HELO, Steps::NO_REPLY_HELO, Some(MacroStage::Helo)),
        row(Stage::Mail, Message, 2, Steps::NO_MAIL, Steps::NO_REPLY_MAIL, Some(MacroStage::Mail)),
        row(Stage::Rcpt, Recipient, 2, Steps::NO_RCPT, Steps::NO_REPLY_RCPT, Some(MacroStage::Rcpt)),
        row(Stage::Data, Message, 4, Steps::NO_DATA, Steps::NO_REPLY_DATA, Some(MacroStage::Data)),
        row(Stage::Header, Message, 2, Steps::NO_HEADERS, Steps::NO_REPLY_HEADER, None),
        row(Stage::EndOfHeader, Message, 2, Steps::NO_END_OF_HEADER, Steps::NO_REPLY_END_OF_HEADER, Some(MacroStage::EndOfHeader)),
        row(Stage::Body, Message, 2, Steps::NO_BODY, Steps::NO_REPLY_BODY, None),
        row(Stage::EndOfMessage, Message, 2, Steps::NONE, Steps::NONE, Some(MacroStage::EndOfMessage)),
        row(Stage::Unknown, Command, 3, Steps::NO_UNKNOWN, Steps::NO_REPLY_UNKNOWN, None),
    ]
};

const _: () = {
    let mut at = 0;
    while at < ROWS.len() {
        assert!(ROWS[at].stage as usize == at, "the rows stand in the order of the stages");
        at += 1;
    }
};

impl Stage {
    /// Every stage.
    pub fn all() -> impl Iterator<Item = Stage> {
        ROWS.iter().map(|row| row.stage)
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize] // as many rows as stages, see above
    }

    pub(super) fn scope(self) -> Scope {
        self.row().scope
    }

    /// The filter is told of it.
    pub(super) fn is_seen(self, agreement: &Agreement) -> bool {
        let row = self.row();
        agreement.version >= row.version && (row.unseen == Steps::NONE || !agreement.steps.has(row.unseen))
    }

    /// The filter answers it.
    pub(super) fn is_answered(self, agreement: &Agreement) -> bool {
        let row = self.row();
        row.unanswered == Steps::NONE || !agreement.steps.has(row.unanswered)
    }

    pub(super) fn symbols(self) -> Option<MacroStage> {
        self.row().symbols
    }

    /// It needs an open transaction.
    pub(super) fn is_in_message(self) -> bool {
        !matches!(self, Stage::Options | Stage::Connect | Stage::Helo | Stage::Mail | Stage::Unknown)
    }

    /// It is about content: the longer deadline holds.
    pub(super) fn is_content(self) -> bool {
        matches!(self, Stage::Header | Stage::EndOfHeader | Stage::Body | Stage::EndOfMessage)
    }

    /// "No more of this kind" makes sense.
    pub(super) fn can_skip(self) -> bool {
        matches!(self, Stage::Rcpt | Stage::Header | Stage::Body)
    }
}

/// The phases of a session in which a filter is asked, as the configuration names them. In a phase that is not among
/// them nothing is sent; what the protocol needs of it is sent at the next one that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages(u8);

impl Stages {
    /// `connect`.
    pub const CONNECT: Stages = Stages(1);
    /// `ehlo`.
    pub const EHLO: Stages = Stages(2);
    /// `mail`.
    pub const MAIL: Stages = Stages(4);
    /// `rcpt`.
    pub const RCPT: Stages = Stages(8);
    /// `data`: DATA, the content and its end.
    pub const DATA: Stages = Stages(16);
    /// All of them.
    pub const ALL: Stages = Stages(31);

    /// Those of both.
    pub const fn and(self, other: Stages) -> Stages {
        Stages(self.0 | other.0)
    }

    /// All of `other` are among them.
    pub const fn has(self, other: Stages) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Default for Stages {
    /// `data` alone.
    fn default() -> Self {
        Stages::DATA
    }
}
