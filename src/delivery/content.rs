//! What delivery needs of a message's content: pieces in order, as often as hosts are tried.

use std::future::Future;

use bytes::Bytes;
use smallvec::SmallVec;

/// The content cannot be read, or is not what was written: it must not leave, and nothing after it either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored content could not be read or did not verify")]
pub struct ContentError;

/// A message's content: trace, header section, separator, body, unstuffed.
pub trait Content {
    /// Octets of all pieces.
    fn size_bytes(&self) -> u64;
    /// The next piece, verified; `None` after the last. Empty pieces are skipped by the reader.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, ContentError>>;
    /// Begins again at the first piece.
    fn rewind(&mut self);
}

/// Content that is in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryContent {
    pieces: SmallVec<[Bytes; 4]>,
    size_bytes: u64,
    at: usize,
}

impl MemoryContent {
    /// The pieces in order.
    pub fn new(pieces: impl IntoIterator<Item = Bytes>) -> MemoryContent {
        let pieces: SmallVec<[Bytes; 4]> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let size_bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        MemoryContent { pieces, size_bytes, at: 0 }
    }

    /// A message as the spool keeps it in memory.
    pub fn of_message(trace: Bytes, header: Bytes, has_separator: bool, body: &[Bytes]) -> MemoryContent {
        let separator = if has_separator { Bytes::from_static(b"\r\n") } else { Bytes::new() };
        MemoryContent::new([trace, header, separator].into_iter().chain(body.iter().cloned()))
    }
}

impl Content for MemoryContent {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    async fn next(&mut self) -> Result<Option<Bytes>, ContentError> {
        let piece = self.pieces.get(self.at).cloned();
        self.at += 1;
        Ok(piece)
    }

    fn rewind(&mut self) {
        self.at = 0;
    }
}
