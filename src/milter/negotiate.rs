//! Negotiation: what we offer, what a filter takes of it, and what holds between us from then on.

use super::codec::{Command, Options};
use super::macros::{MacroStage, SymbolSet};

/// The newest version of the protocol, and the one that is offered unless told otherwise.
pub const VERSION: u32 = 6;
/// The oldest version that is spoken.
pub const VERSION_MIN: u32 = 2;

/// A set of `SMFIF_…` flags: what a filter may do to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actions(pub u32);

impl Actions {
    /// Nothing.
    pub const NONE: Actions = Actions(0);
    /// Add fields, at the end or at a position.
    pub const ADD_HEADERS: Actions = Actions(0x1);
    /// Replace the body.
    pub const CHANGE_BODY: Actions = Actions(0x2);
    /// Add recipients.
    pub const ADD_RECIPIENTS: Actions = Actions(0x4);
    /// Delete recipients.
    pub const DELETE_RECIPIENTS: Actions = Actions(0x8);
    /// Change and delete fields.
    pub const CHANGE_HEADERS: Actions = Actions(0x10);
    /// Quarantine the message.
    pub const QUARANTINE: Actions = Actions(0x20);
    /// Change the reverse-path (version 6).
    pub const CHANGE_FROM: Actions = Actions(0x40);
    /// Add recipients with ESMTP parameters (version 6).
    pub const ADD_RECIPIENTS_WITH_PARAMETERS: Actions = Actions(0x80);
    /// Choose the symbols that it is sent (version 6).
    pub const SET_SYMBOLS: Actions = Actions(0x100);
    /// All of version 6.
    pub const ALL: Actions = Actions(0x1ff);
    /// All of version 2.
    pub const VERSION_2: Actions = Actions(0x3f);

    /// Every flag of `other` is in it.
    pub fn has(self, other: Actions) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A set of `SMFIP_…` flags: what a filter does not want to see, or does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps(pub u32);

impl Steps {
    /// Everything is sent, everything is answered.
    pub const NONE: Steps = Steps(0);
    /// Do not send CONNECT.
    pub const NO_CONNECT: Steps = Steps(0x1);
    /// Do not send HELO.
    pub const NO_HELO: Steps = Steps(0x2);
    /// Do not send MAIL.
    pub const NO_MAIL: Steps = Steps(0x4);
    /// Do not send RCPT.
    pub const NO_RCPT: Steps = Steps(0x8);
    /// Do not send the body.
    pub const NO_BODY: Steps = Steps(0x10);
    /// Do not send fields.
    pub const NO_HEADERS: Steps = Steps(0x20);
    /// Do not send the end of the header section.
    pub const NO_END_OF_HEADER: Steps = Steps(0x40);
    /// Fields are not answered.
    pub const NO_REPLY_HEADER: Steps = Steps(0x80);
    /// Do not send unknown commands (version 3).
    pub const NO_UNKNOWN: Steps = Steps(0x100);
    /// Do not send DATA (version 4).
    pub const NO_DATA: Steps = Steps(0x200);
    /// We understand SKIP (version 6, as is all below).
    pub const SKIP: Steps = Steps(0x400);
    /// Send RCPTs that were refused, too.
    pub const REJECTED_RCPT: Steps = Steps(0x800);
    /// CONNECT is not answered.
    pub const NO_REPLY_CONNECT: Steps = Steps(0x1000);
    /// HELO is not answered.
    pub const NO_REPLY_HELO: Steps = Steps(0x2000);
    /// MAIL is not answered.
    pub const NO_REPLY_MAIL: Steps = Steps(0x4000);
    /// RCPT is not answered.
    pub const NO_REPLY_RCPT: Steps = Steps(0x8000);
    /// DATA is not answered.
    pub const NO_REPLY_DATA: Steps = Steps(0x1_0000);
    /// An unknown command is not answered.
    pub const NO_REPLY_UNKNOWN: Steps = Steps(0x2_0000);
    /// The end of the header section is not answered.
    pub const NO_REPLY_END_OF_HEADER: Steps = Steps(0x4_0000);
    /// Chunks of the body are not answered.
    pub const NO_REPLY_BODY: Steps = Steps(0x8_0000);
    /// Values of fields go with the space after the colon, both ways.
    pub const HEADER_LEADING_SPACE: Steps = Steps(0x10_0000);
    /// Packets may have up to 256 KiB of data.
    pub const DATA_256K: Steps = Steps(0x1000_0000);
    /// Packets may have up to 1 MiB of data.
    pub const DATA_1M: Steps = Steps(0x2000_0000);
    /// All of version 6 but the larger packets: libmilter makes their size a property of the filter's process, so
    /// that an offer to one connection changes the others.
    pub const ALL: Steps = Steps(0x1f_ffff);
    /// All of version 2.
    pub const VERSION_2: Steps = Steps(0x7f);

    /// Every flag of `other` is in it.
    pub fn has(self, other: Steps) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of both.
    pub const fn and(self, other: Steps) -> Steps {
        Steps(self.0 | other.0)
    }
}

/// What a version knows: a flag that is younger means nothing in it.
fn known(version: u32) -> (Actions, Steps) {
    match version {
        ..=2 => (Actions::VERSION_2, Steps::VERSION_2),
        3 => (Actions::VERSION_2, Steps(Steps::VERSION_2.0 | Steps::NO_REPLY_HEADER.0 | Steps::NO_UNKNOWN.0)),
        4 | 5 => (Actions::VERSION_2, Steps(Steps::VERSION_2.0 | 0x380)),
        _ => (Actions::ALL, Steps(Steps::ALL.0 | Steps::DATA_256K.0 | Steps::DATA_1M.0)),
    }
}

/// What we offer a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The version, 2 to 6; with 2 nothing is offered that came later.
    pub version: u32,
    /// What it may do.
    pub actions: Actions,
    /// What it may leave out.
    pub steps: Steps,
}

impl Default for Offer {
    fn default() -> Self {
        Offer { version: VERSION, actions: Actions::ALL, steps: Steps::ALL }
    }
}

impl Offer {
    /// Version 2, for a filter that closes the connection when it hears a later one.
    pub const VERSION_2: Offer = Offer { version: 2, actions: Actions::VERSION_2, steps: Steps::VERSION_2 };

    /// The offer without what its version does not know.
    fn cut(self) -> Offer {
        let version = self.version.clamp(VERSION_MIN, VERSION);
        let (actions, steps) = known(version);
        Offer { version, actions: Actions(self.actions.0 & actions.0), steps: Steps(self.steps.0 & steps.0) }
    }

    /// The packet that opens the negotiation.
    pub fn command(self) -> Command<'static> {
        let Offer { version, actions, steps } = self.cut();
        Command::Options { version, actions: actions.0, steps: steps.0 }
    }

    /// What holds after the filter's answer.
    ///
    /// As with sendmail an older version is taken as the filter's, and a filter that wants more than it was offered is
    /// refused: to send what it does not want, or to wait for what it does not answer, would help nobody.
    pub fn accept(self, answer: &Options) -> Result<Agreement, NegotiationFault> {
        let offer = self.cut();
        if answer.version < VERSION_MIN || answer.version > offer.version {
            return Err(NegotiationFault::Version(answer.version));
        }
        let (known_actions, known_steps) = known(answer.version);
        let actions = answer.actions & known_actions.0;
        if actions & !offer.actions.0 != 0 {
            return Err(NegotiationFault::Actions(actions & !offer.actions.0));
        }
        let steps = answer.steps & known_steps.0;
        if answer.version == VERSION && answer.steps & !offer.steps.0 != 0 {
            return Err(NegotiationFault::Steps(answer.steps & !offer.steps.0));
        }
        let (actions, steps) = (Actions(actions), Steps(steps & offer.steps.0));
        Ok(Agreement { version: answer.version, actions, steps, offered: offer.actions, symbols: symbols(answer)? })
    }
}

fn symbols(answer: &Options) -> Result<[Option<SymbolSet>; MacroStage::COUNT], NegotiationFault> {
    let mut wanted = [None; MacroStage::COUNT];
    for (number, names) in &answer.symbols {
        let stage = MacroStage::from_number(*number).ok_or(NegotiationFault::SymbolStage(*number))?;
        if let Some(slot) = wanted.get_mut(stage as usize) {
            *slot = Some(SymbolSet::parse(names));
        }
    }
    Ok(wanted)
}

/// What is agreed with a filter for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// The version both speak.
    pub version: u32,
    /// What the filter said that it may do.
    pub actions: Actions,
    /// What is left out.
    pub steps: Steps,
    /// What we offered it to do: a filter that forgot to ask may still do it, as with sendmail and Postfix.
    pub offered: Actions,
    symbols: [Option<SymbolSet>; MacroStage::COUNT],
}

impl Agreement {
    /// Octets of data of the largest packet that we may send.
    pub fn data_bytes_max(&self) -> usize {
        if self.steps.has(Steps::DATA_1M) {
            1024 * 1024 - 1
        } else if self.steps.has(Steps::DATA_256K) {
            256 * 1024 - 1
        } else {
            64 * 1024 - 1
        }
    }

    /// The symbols for a stage: those that the filter chose, else ours.
    pub fn symbols(&self, stage: MacroStage) -> SymbolSet {
        self.symbols.get(stage as usize).copied().flatten().unwrap_or(stage.defaults())
    }
}

/// Why there is no agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NegotiationFault {
    /// A version that was not offered, or one before 2.
    #[error("the filter speaks version {0} of the protocol")]
    Version(u32),
    /// It wants to do what it was not offered.
    #[error("the filter needs actions {0:#x} that are not allowed")]
    Actions(u32),
    /// It wants to leave out what it was not offered to.
    #[error("the filter needs protocol steps {0:#x} that are not offered")]
    Steps(u32),
    /// Symbols for a stage that does not exist.
    #[error("the filter chose symbols for the unknown stage {0}")]
    SymbolStage(u32),
}

#[cfg(test)]
mod tests {
    use super::super::macros::Symbol;
    use super::*;

    fn answer(version: u32, actions: u32, steps: u32) -> Options {
        Options { version, actions, steps, symbols: Vec::new() }
    }

    #[test]
    fn the_filter_chooses_within_the_offer() {
        let agreed = Offer::default().accept(&answer(6, 0x31, 0x80 | 0x400)).expect("within");
        assert_eq!((agreed.version, agreed.actions, agreed.steps), (6, Actions(0x31), Steps(0x480)));
        assert_eq!(agreed.data_bytes_max(), 65_535);
    }

    #[test]
    fn an_older_filter_is_met_at_its_version() {
        // A filter of version 2 may echo flags that mean nothing to it.
        let agreed = Offer::default().accept(&answer(2, 0x1ff, 0x1f_ffff)).expect("older");
        assert_eq!((agreed.version, agreed.actions, agreed.steps), (2, Actions::VERSION_2, Steps::VERSION_2));
        let agreed = Offer::default().accept(&answer(4, 0, 0x3ff)).expect("older");
        assert_eq!(agreed.steps, Steps(0x3ff));
    }

    #[test]
    fn version_2_offers_nothing_younger() {
        let offer = Offer { version: 2, ..Offer::default() };
        assert_eq!(offer.command(), Command::Options { version: 2, actions: 0x3f, steps: 0x7f });
        assert_eq!(offer.command(), Offer::VERSION_2.command());
        assert_eq!(offer.accept(&answer(6, 0, 0)), Err(NegotiationFault::Version(6)));
    }

    #[test]
    fn more_than_was_offered_is_refused() {
        let offer = Offer { version: 6, actions: Actions::ADD_HEADERS, steps: Steps::NO_BODY };
        assert_eq!(offer.accept(&answer(6, 0x3, 0)), Err(NegotiationFault::Actions(0x2)));
        assert_eq!(offer.accept(&answer(6, 1, 0x30)), Err(NegotiationFault::Steps(0x20)));
        assert_eq!(offer.accept(&answer(7, 1, 0)), Err(NegotiationFault::Version(7)));
        assert_eq!(offer.accept(&answer(1, 1, 0)), Err(NegotiationFault::Version(1)));
        assert_eq!(offer.accept(&answer(0, 0, 0)), Err(NegotiationFault::Version(0)));
    }

    #[test]
    fn larger_packets_are_a_choice_of_both() {
        let sizes = Steps::ALL.and(Steps::DATA_256K).and(Steps::DATA_1M);
        let offer = Offer { steps: sizes, ..Offer::default() };
        for (flags, size) in [(0, 65_535), (0x1000_0000, 262_143), (0x2000_0000, 1_048_575)] {
            assert_eq!(offer.accept(&answer(6, 0, flags)).expect("offered").data_bytes_max(), size);
        }
        let fault = Offer::default().accept(&answer(6, 0, 0x2000_0000));
        assert_eq!(fault, Err(NegotiationFault::Steps(0x2000_0000)));
    }

    #[test]
    fn chosen_symbols_replace_ours() {
        let mut chosen = answer(6, 0x100, 0);
        chosen.symbols = vec![(2, "i, {auth_authen} {made_up}".into()), (5, "".into())];
        let agreed = Offer::default().accept(&chosen).expect("sound");
        let mail: Vec<_> = agreed.symbols(MacroStage::Mail).iter().collect();
        assert_eq!(mail, [Symbol::QueueId, Symbol::AuthAuthen]);
        assert_eq!(agreed.symbols(MacroStage::EndOfMessage).iter().count(), 0);
        assert_eq!(agreed.symbols(MacroStage::Rcpt), MacroStage::Rcpt.defaults());
        chosen.symbols = vec![(7, "i".into())];
        assert_eq!(Offer::default().accept(&chosen), Err(NegotiationFault::SymbolStage(7)));
    }
}
