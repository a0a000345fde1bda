//! Files whose writes are to be durable: buffered writes through the ring, then one fdatasync.
//!
//! Measured (GLOMMIO.md part 4): a file that was filled with zeros once and is recycled takes half
//! as many microseconds per sync as one that grows, so [`File::create_zeroed`] fills it. Direct
//! I/O is not used: glommio's probe for it busy-spins on this kernel.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use glommio::GlommioError;
use glommio::io::{BufferedFile, OpenOptions, ReadResult};

use crate::{clock, task, time};

/// Bytes written per request while a file is filled with zeros. The page cache takes the size of a write for the size
/// of its pieces, and a piece costs with its length each time some of it is written and synced: 45 us against 28 per
/// 4 KiB after filling by the MiB.
const ZERO_CHUNK_BYTES: usize = 64 * 1024;
/// Bytes between syncs while a file is filled: what another file's sync waits for at most. With one sync at the
/// end of 64 MiB the others' took 54 ms at the 99th percentile, with this 0.8 ms, on a disk that takes 0.15 ms alone.
pub const ZERO_STRIDE_BYTES: u64 = 256 * 1024;

/// What may be done with an opened file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing; the file exists.
    ReadWrite,
    /// Reading and writing a file that must not exist yet.
    CreateNew,
}

/// An open file of one shard. Close it: a drop leaves the closing to the ring, which at the end of
/// a shard comes too late.
#[derive(Debug)]
pub struct File {
    inner: BufferedFile,
}

/// Bytes read from a file.
#[derive(Debug, Clone)]
pub struct ReadBytes(ReadResult);

impl Deref for ReadBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl File {
    /// Opens `path`, mode 0600 where it is created.
    pub async fn open(path: &Path, access: Access) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match access {
            Access::Read => &mut options,
            Access::ReadWrite => options.write(true),
            Access::CreateNew => options.write(true).create_new(true),
        };
        let inner = options.buffered_open(path).await.map_err(plain)?;
        Ok(File { inner })
    }

    /// Creates `path` (which must not exist), writes `size` zero bytes and syncs them, in strides of
    /// [`ZERO_STRIDE_BYTES`], so that the disk does others' work between. `pace` is told how long a stride took and answers how
    /// long to pause. On an error what is there remains and is the caller's to remove. The
    /// directory is not synced, and the page cache holds nothing of the file afterwards.
    pub async fn create_zeroed(path: &Path, size: u64, mut pace: impl FnMut(Duration) -> Duration) -> io::Result<Self> {
        let file = File::open(path, Access::CreateNew).await?;
        match file.fill_with_zeros(size, &mut pace).await {
            Ok(()) => Ok(file),
            Err(error) => {
                let _ = file.close().await;
                Err(error)
            }
        }
    }

    async fn fill_with_zeros(&self, size: u64, pace: &mut impl FnMut(Duration) -> Duration) -> io::Result<()> {
        let mut done = 0;
        while done < size {
            let (began, stride) = (clock::now(), (done + ZERO_STRIDE_BYTES).min(size));
            while done < stride {
                let chunk = usize::try_from(stride - done).unwrap_or(ZERO_CHUNK_BYTES).min(ZERO_CHUNK_BYTES);
                self.write_all_at(vec![0; chunk], done).await?;
                done += chunk as u64;
            }
            self.sync().await?;
            let pause = pace(Duration::from_micros(clock::now().saturating_sub(began)));
            match pause.is_zero() || done == size {
                true => task::yield_if_needed().await,
                false => time::sleep(pause).await,
            }
        }
        self.forget_cache()
    }

    /// One write of `bytes` at `offset`; gives the count written, which may be short. The buffer
    /// is the ring's from here on, also when this future is dropped: the write happens whole or
    /// is still under way, never from freed memory.
    pub async fn write_at(&self, bytes: Vec<u8>, offset: u64) -> io::Result<usize> {
        self.inner.write_at(bytes, offset).await.map_err(plain)
    }

    /// Writes all of `bytes` at `offset`; a short write is a WriteZero error, because the file
    /// then holds something nobody asked for (the spool closes the segment).
    pub async fn write_all_at(&self, bytes: Vec<u8>, offset: u64) -> io::Result<()> {
        let wanted = bytes.len();
        let written = self.write_at(bytes, offset).await?;
        if written == wanted { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Up to `length` bytes from `offset`; fewer only at the end of the file.
    pub async fn read_at(&self, offset: u64, length: usize) -> io::Result<ReadBytes> {
        self.inner.read_at(offset, length).await.map(ReadBytes).map_err(plain)
    }

    /// fdatasync: what was written is on stable storage when this returns Ok. After an error
    /// nothing is known of any unsynced byte, and a later success says nothing about them.
    pub async fn sync(&self) -> io::Result<()> {
        self.inner.fdatasync().await.map_err(plain)
    }

    /// Drops the clean pages of the file from the page cache (posix_fadvise DONTNEED): what is read
    /// next comes from the disk. After a sync that failed, the cache holds bytes that look written
    /// and are not; only this shows the truth. Does not wait.
    pub fn forget_cache(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open for as long as `self.inner` lives, which is this call.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.inner.as_raw_fd()) };
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        nix::fcntl::posix_fadvise(descriptor, 0, 0, advice).map_err(io::Error::from)
    }

    /// Cuts or extends the file.
    pub async fn truncate(&self, size: u64) -> io::Result<()> {
        self.inner.truncate(size).await.map_err(plain)
    }

    /// Its size in bytes.
    pub async fn size(&self) -> io::Result<u64> {
        self.inner.file_size().await.map_err(plain)
    }

    /// Closes it and waits until that is done.
    pub async fn close(self) -> io::Result<()> {
        self.inner.close().await.map_err(plain)
    }
}

/// glommio wraps the kernel's error in words; the errno is what decides (ENOSPC is full, EIO sick).
pub(crate) fn plain<T>(error: GlommioError<T>) -> io::Error
where
    GlommioError<T>: Into<io::Error>,
{
    match error {
        GlommioError::EnhancedIoError { source, .. } | GlommioError::IoError(source) => source,
        other => other.into(),
    }
}
