//! Identifiers: (stream, start, sequence), never the clock.

use std::fmt;
use std::str::FromStr;

/// A shard: one pinned thread with its executor. Dense from zero; not stored on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// A spool stream: a directory with segments that is replayed alone by its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// The identity of a spooled message, unique for the life of the spool.
///
/// Its text form is `stream-start-sequence` in hexadecimal with fixed minimum widths, so that no
/// id is a prefix of another and text order is acceptance order within a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId {
    /// The stream that holds the message and all that is ever said about it.
    pub stream: StreamId,
    /// The durable start counter of the stream when the message was accepted.
    pub start: u32,
    /// Position among the records of that start.
    pub sequence: u64,
}

/// Index of a recipient in its message's envelope as it was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipientIndex(pub u32);

/// One recipient of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecipientKey {
    /// The message.
    pub message: MessageId,
    /// The recipient in its envelope.
    pub recipient: RecipientIndex,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:04x}-{:08x}", self.stream, self.start, self.sequence)
    }
}

/// The text is not a message id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message id: expected three hexadecimal numbers joined by '-', as in 00-0001-0000002a")]
pub struct ParseMessageIdError;

impl FromStr for MessageId {
    type Err = ParseMessageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let mut part = |digits_max: usize| {
            let part = parts.next().ok_or(ParseMessageIdError)?;
            let hex = !part.is_empty() && part.bytes().all(|b| b.is_ascii_hexdigit());
            if !hex || part.len() > digits_max {
                return Err(ParseMessageIdError);
            }
            u64::from_str_radix(part, 16).map_err(|_| ParseMessageIdError)
        };
        let (stream, start, sequence) = (part(8)?, part(8)?, part(16)?);
        if parts.next().is_some() {
            return Err(ParseMessageIdError);
        }
        Ok(MessageId { stream: StreamId(stream as u32), start: start as u32, sequence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn message_id_text_round_trips(stream: u32, start: u32, sequence: u64) {
            let id = MessageId { stream: StreamId(stream), start, sequence };
            prop_assert_eq!(id.to_string().parse::<MessageId>(), Ok(id));
        }

        #[test]
        fn any_text_is_an_id_or_an_error(text in ".{0,40}") {
            let _ = text.parse::<MessageId>();
        }
    }

    #[test]
    fn refuses_what_is_not_three_hexadecimal_numbers() {
        for text in ["", "-", "--", "1-2", "1-2-3-4", "+1-2-3", "g-0-0", "123456789-0-0", "../../etc/passwd"] {
            assert_eq!(text.parse::<MessageId>(), Err(ParseMessageIdError), "{text}");
        }
    }
}
