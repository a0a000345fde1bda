//! A message as pieces: what filters read and delivery sends, without ever joining it.

use bytes::Bytes;

use super::header::HeaderSection;

/// A message as it stands: our trace prefix, the header section, the body in pieces.
///
/// On the wire it is the three in this order, with the empty line between the header section and
/// the body. The body is unstuffed and ends as it arrived: with CRLF, or without.
#[derive(Debug, Clone, Copy)]
pub struct MessageView<'a> {
    /// The fields that we prepended (Received and what policy adds on top), each with its CRLF.
    pub trace: &'a [u8],
    /// The header section as edited so far.
    pub header: &'a HeaderSection,
    /// The body, in order. Empty when the message has none.
    pub body: &'a [Bytes],
    /// The content has the empty line between header section and body. A message without it has no body.
    pub has_separator: bool,
}

impl<'a> MessageView<'a> {
    /// Everything that goes on the wire, in order, before dot-stuffing.
    pub fn pieces(&self) -> impl Iterator<Item = &'a [u8]> + Clone {
        let separator: &'static [u8] = if self.has_separator { b"\r\n" } else { b"" };
        [self.trace, self.header.raw(), separator]
            .into_iter()
            .chain(self.body.iter().map(|piece| &piece[..]))
            .filter(|piece| !piece.is_empty())
    }

    /// Octets of the whole message.
    pub fn size_bytes(&self) -> u64 {
        self.pieces().map(|piece| piece.len() as u64).sum()
    }

    /// Octets of the body.
    pub fn body_size_bytes(&self) -> u64 {
        self.body.iter().map(|piece| piece.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_message() {
        let content = Bytes::from_static(b"A: 1\r\n\r\nbody\r\n");
        let (header, at) = HeaderSection::split(&content);
        let body = [content.slice(at..at + 2), content.slice(at + 2..)];
        let view = MessageView { trace: b"Received: x\r\n", header: &header, body: &body, has_separator: true };
        let joined: Vec<u8> = view.pieces().flatten().copied().collect();
        assert_eq!(joined, b"Received: x\r\nA: 1\r\n\r\nbody\r\n");
        assert_eq!(view.size_bytes(), joined.len() as u64);
        assert_eq!(view.body_size_bytes(), 6);
    }
}
