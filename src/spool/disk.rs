//! The filesystem and clock of the machine, through the runtime.

use std::future::Future;
use std::hash::BuildHasher;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use posthaste_rt::file::{Access, File};
use posthaste_rt::{clock, directory, task, time};

use super::storage::{Storage, StorageFile};

/// The real thing. Works only on a shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

/// An open file.
#[derive(Debug, Clone)]
pub struct DiskFile(Rc<File>);

impl Storage for Disk {
    type File = DiskFile;
    type Lock = directory::LockFile;

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        directory::create_dir(path).await
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(directory::list(path).await?.into_iter().map(|entry| entry.name).collect())
    }

    async fn create_zeroed(
        &self,
        path: &Path,
        size: u64,
        pace: impl FnMut(Duration) -> Duration,
    ) -> io::Result<DiskFile> {
        File::create_zeroed(path, size, pace).await.map(|file| DiskFile(Rc::new(file)))
    }

    async fn open(&self, path: &Path) -> io::Result<DiskFile> {
        File::open(path, Access::ReadWrite).await.map(|file| DiskFile(Rc::new(file)))
    }

    async fn open_read(&self, path: &Path) -> io::Result<DiskFile> {
        File::open(path, Access::Read).await.map(|file| DiskFile(Rc::new(file)))
    }

    async fn delete(&self, path: &Path) -> io::Result<()> {
        directory::remove(path).await
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        directory::sync_dir(path).await
    }

    async fn free_space(&self, path: &Path) -> io::Result<u64> {
        directory::space(path).await.map(|space| space.free)
    }

    async fn lock(&self, path: &Path) -> io::Result<Option<directory::LockFile>> {
        directory::LockFile::try_lock(path)
    }

    async fn is_copy_on_write(&self, path: &Path) -> bool {
        directory::space(path).await.is_ok_and(|space| space.is_copy_on_write)
    }

    fn now(&self) -> Duration {
        Duration::from_micros(clock::now())
    }

    async fn sleep(&self, span: Duration) {
        time::sleep(span).await;
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let read = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(bytes));
        if read.is_err() {
            // No device node (a bare chroot): the hasher's keys come from the kernel by system call.
            for chunk in bytes.chunks_mut(8) {
                let word = std::hash::RandomState::new().hash_one(chunk.len()).to_le_bytes();
                chunk.copy_from_slice(&word[..chunk.len()]);
            }
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        task::spawn_critical(task);
    }
}

impl StorageFile for DiskFile {
    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> io::Result<usize> {
        self.0.write_at(buffer, offset).await
    }

    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.0.read_at(offset, length).await.map(|bytes| bytes.to_vec())
    }

    async fn sync(&self) -> io::Result<()> {
        self.0.sync().await
    }

    async fn forget_cache(&self) -> io::Result<()> {
        self.0.forget_cache()
    }

    async fn size(&self) -> io::Result<u64> {
        self.0.size().await
    }
}
