//! A message told to a filter from its view: fields, end of the header section, body, end.

use super::machine::{Connection, Step, Verdict};
use super::macros::Facts;
use crate::base::limits::MILTER_WRITE_BYTES;
use crate::mail::MessageView;

/// What the playback of a message needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Played {
    /// Write what was gathered and go on.
    Write,
    /// As for any event. [`Step::Done`] with [`Verdict::Pass`] is the verdict when [`Playback::is_over`].
    Step(Step),
}

/// Where the playback of one message to one filter is. Our own trace fields are not told, nor are lines of the header
/// section that are no field: sendmail and Postfix show neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Playback {
    at: Position,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    Field(usize),
    EndOfHeader,
    Body { piece: usize, offset: usize },
    EndOfMessage,
    Over,
}

impl Default for Position {
    fn default() -> Self {
        Position::Field(0)
    }
}

impl Playback {
    /// The end of the message was told.
    pub fn is_over(&self) -> bool {
        self.at == Position::Over
    }

    /// Appends what comes next, up to a packet that is answered or until enough is gathered to be written.
    pub fn step(
        &mut self,
        connection: &mut Connection,
        view: &MessageView<'_>,
        facts: &Facts<'_>,
        out: &mut Vec<u8>,
    ) -> Played {
        while !self.is_over() {
            if out.len() >= MILTER_WRITE_BYTES {
                return Played::Write;
            }
            if !connection.is_in_transaction() {
                self.at = Position::EndOfMessage; // it wants no more, or cannot have it
            }
            match self.one(connection, view, facts, out) {
                Step::Done(Verdict::Pass) => {}
                step => return Played::Step(step),
            }
        }
        Played::Step(Step::Done(Verdict::Pass))
    }

    fn one(
        &mut self,
        connection: &mut Connection,
        view: &MessageView<'_>,
        facts: &Facts<'_>,
        out: &mut Vec<u8>,
    ) -> Step {
        match self.at {
            Position::Field(index) => match view.header.get(index) {
                None => {
                    self.at = Position::EndOfHeader;
                    Step::Done(Verdict::Pass)
                }
                Some(field) => {
                    self.at = Position::Field(index + 1);
                    match field.name.is_empty() {
                        true => Step::Done(Verdict::Pass),
                        false => connection.header(field.name, field.value, out),
                    }
                }
            },
            Position::EndOfHeader => {
                self.at = Position::Body { piece: 0, offset: 0 };
                connection.end_of_header(facts, out)
            }
            Position::Body { piece, offset } => {
                let rest = view.body.get(piece..).unwrap_or_default();
                let (first, later) = rest.split_first().map_or((&[][..], rest), |(first, later)| (&first[..], later));
                let pieces = std::iter::once(first.get(offset..).unwrap_or_default());
                let (taken, step) = connection.body(pieces.chain(later.iter().map(|piece| &piece[..])), out);
                self.at = advanced(view, piece, offset, taken);
                step
            }
            Position::EndOfMessage | Position::Over => {
                self.at = Position::Over;
                connection.end_of_message(facts, out)
            }
        }
    }
}

/// Where the body goes on after so many octets; nothing taken means that the filter wants nothing of it.
fn advanced(view: &MessageView<'_>, piece: usize, offset: usize, taken: usize) -> Position {
    let (mut piece, mut offset, mut left) = (piece, offset, taken);
    while left > 0 {
        let Some(here) = view.body.get(piece).map(|octets| octets.len() - offset) else { break };
        if left < here {
            return Position::Body { piece, offset: offset + left };
        }
        (piece, offset, left) = (piece + 1, 0, left - here);
    }
    if taken == 0 || view.body.get(piece..).is_none_or(|rest| rest.iter().all(|octets| octets.is_empty())) {
        Position::EndOfMessage
    } else {
        Position::Body { piece, offset }
    }
}
