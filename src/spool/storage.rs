//! The one seam under the spool: what it asks of a filesystem.
//!
//! Two implementations: [`super::disk::Disk`] over the runtime, and [`super::sim::SimDisk`] in memory,
//! which fails in every way a disk fails. Nothing else in the spool touches files, time or randomness.

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

/// A filesystem, a clock to wait by, randomness, and a place to run tasks. Cheap to clone; stays on its shard.
#[allow(async_fn_in_trait)] // !Send is meant: everything stays on its shard
pub trait Storage: Clone + 'static {
    /// An open file.
    type File: StorageFile;
    /// Held while a stream is owned; dropping it gives the stream up.
    type Lock: 'static;

    /// Makes the directory and its parents, mode 0700; fine when it is there.
    async fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory.
    async fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Creates a file of `size` bytes, all zeros written (not merely allocated) and synced; replaces nothing:
    /// an existing file is zeroed again. The directory is not synced. Goes in strides, each synced, so that others'
    /// syncs do not wait for all of it; `pace` is told how long one took and says how long to pause.
    async fn create_zeroed(
        &self,
        path: &Path,
        size: u64,
        pace: impl FnMut(Duration) -> Duration,
    ) -> io::Result<Self::File>;
    /// Opens a file for reading and writing.
    async fn open(&self, path: &Path) -> io::Result<Self::File>;
    /// Opens a file for reading only: nothing is changed, not even by accident.
    async fn open_read(&self, path: &Path) -> io::Result<Self::File>;
    /// Removes a file. The directory is not synced.
    async fn delete(&self, path: &Path) -> io::Result<()>;
    /// Makes creations and removals in the directory durable.
    async fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Bytes that may still be written on that filesystem.
    async fn free_space(&self, path: &Path) -> io::Result<u64>;
    /// Locks `path` (made if it is not there) against other owners; `None` when another has it.
    async fn lock(&self, path: &Path) -> io::Result<Option<Self::Lock>>;
    /// The filesystem rewrites blocks elsewhere (btrfs, zfs, bcachefs): recycling gains nothing there.
    async fn is_copy_on_write(&self, path: &Path) -> bool;

    /// Time since some moment; never goes back.
    fn now(&self) -> Duration;
    /// Waits.
    async fn sleep(&self, span: Duration);
    /// Bytes that nobody can guess.
    fn fill_random(&self, bytes: &mut [u8]);
    /// Runs a task on this shard. A panic in it must not go unnoticed: the process aborts.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);
}

/// An open file. Cheap to clone; all clones are the same file.
#[allow(async_fn_in_trait)]
pub trait StorageFile: Clone + 'static {
    /// Writes the buffer at the offset; says how many bytes went, fewer when the write came short.
    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> io::Result<usize>;
    /// Reads up to `length` bytes; fewer only at the end of the file.
    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Makes all bytes written so far durable.
    async fn sync(&self) -> io::Result<()>;
    /// Drops what the cache holds of the file and the disk has, so that what is read next comes from the disk.
    ///
    /// A sync that failed leaves bytes in the cache that look written and are not; a process that did not see the
    /// failure must not believe them.
    async fn forget_cache(&self) -> io::Result<()>;
    /// Bytes in the file.
    async fn size(&self) -> io::Result<u64>;
}
