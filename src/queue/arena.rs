//! Slots with stable numbers that grow by chunks: no copy of everything when it grows, no half-empty doubling.

/// Slots per chunk.
const CHUNK: usize = 1024;

/// Slots for values of one kind. A number is valid from `insert` to `remove`; using another is a broken invariant
/// of the queue and panics, which ends the process: restart is the repair.
#[derive(Debug)]
pub(super) struct Arena<T> {
    chunks: Vec<Vec<Option<T>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Arena<T> {
    pub fn insert(&mut self, value: T) -> u32 {
        self.len += 1;
        if let Some(at) = self.free.pop() {
            self.chunks[at as usize / CHUNK][at as usize % CHUNK] = Some(value);
            return at;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let last = self.chunks.len() - 1;
        self.chunks[last].push(Some(value));
        u32::try_from(last * CHUNK + self.chunks[last].len() - 1).expect("fewer than 2^32 entries fit in memory")
    }

    pub fn remove(&mut self, at: u32) -> T {
        let value = self.chunks[at as usize / CHUNK][at as usize % CHUNK].take().expect("removed while in use");
        self.len -= 1;
        self.free.push(at);
        value
    }

    pub fn find(&self, at: u32) -> Option<&T> {
        self.chunks.get(at as usize / CHUNK)?.get(at as usize % CHUNK)?.as_ref()
    }

    pub fn get(&self, at: u32) -> &T {
        self.find(at).expect("a number of this arena")
    }

    pub fn get_mut(&mut self, at: u32) -> &mut T {
        self.chunks[at as usize / CHUNK][at as usize % CHUNK].as_mut().expect("a number of this arena")
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// One past the highest number ever used.
    pub fn end(&self) -> u32 {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len()) as u32
    }

    pub fn bytes(&self) -> usize {
        let chunks = self.chunks.len() * CHUNK * size_of::<Option<T>>();
        chunks + self.chunks.capacity() * size_of::<Vec<Option<T>>>() + self.free.capacity() * size_of::<u32>()
    }
}
