//! What a shipper reads: all that happens in the streams of one shard, from its cursors on.

use std::rc::Rc;
use std::time::Duration;

use super::disk::Disk;
use super::handle::Inner;
use super::ship::Chunk;
use super::storage::Storage;

/// Pause after a segment could not be read.
const RETRY: Duration = Duration::from_millis(500);

/// The events of one shard for one shipper. One feed per shipper: two would tell everything twice.
pub struct Feed<S: Storage = Disk> {
    inner: Rc<Inner<S>>,
    shipper: usize,
    /// Streams take turns.
    turn: usize,
}

impl<S: Storage> Feed<S> {
    pub(super) fn new(inner: Rc<Inner<S>>, name: &str) -> Option<Feed<S>> {
        let shipper = inner.settings.shippers.iter().position(|shipper| shipper.name == name)?;
        Some(Feed { inner, shipper, turn: 0 })
    }

    /// Waits for something to tell. `None` once the spool is being closed: what was not told is told after the next
    /// start. Until a chunk is acknowledged the same one is given again.
    pub async fn next(&mut self) -> Option<Chunk> {
        loop {
            let seen = self.inner.told.rings();
            if self.inner.is_closing.get() {
                return None;
            }
            let streams = self.inner.all();
            let mut has_failed = false;
            for n in 0..streams.len() {
                let at = (self.turn + n) % streams.len();
                match streams[at].next_chunk(self.shipper).await {
                    Ok(Some(chunk)) => {
                        self.turn = at + 1;
                        return Some(chunk);
                    }
                    Ok(None) => {}
                    Err(_) => has_failed = true,
                }
            }
            match has_failed {
                true => self.inner.accepting.storage.sleep(RETRY).await,
                false => self.inner.told.wait(seen).await,
            }
        }
    }

    /// The consumer has all of the chunk for good: it is not told again, but after a crash soon.
    pub fn shipped(&self, chunk: &Chunk) {
        if let Some(stream) = self.inner.get(chunk.stream) {
            stream.shipped(self.shipper, chunk);
        }
    }

    /// Bytes of the log that were not told yet, in all streams.
    pub fn lag_bytes(&self) -> u64 {
        self.inner.all().iter().map(|stream| stream.lag_bytes(self.shipper)).sum()
    }
}
