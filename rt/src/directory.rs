//! Directories, names and space. Each operation has two forms: `*_blocking` for threads that may
//! block (start, command line, control plane) and the plain name, which runs it on the blocking
//! thread of the shard. That is one thread: never an operation per message, except Maildir's.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::task;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, without the directory; names that are not UTF-8 are left out of lists.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// Space of a filesystem, in bytes, as an unprivileged process may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes free.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
    /// Inodes free; `u64::MAX` where the filesystem does not count them.
    pub free_inodes: u64,
    /// Whether a rewrite of a byte takes new space (btrfs, ZFS, bcachefs): recycling a segment
    /// then does not guarantee that there is room.
    pub is_copy_on_write: bool,
}

/// An exclusive lock on a file, held until dropped or the process ends.
#[derive(Debug)]
pub struct LockFile {
    _lock: nix::fcntl::Flock<fs::File>,
}

/// Runs `work` on the shard's blocking thread. A panic in it is caught and becomes an error.
pub async fn unblock<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let done = glommio::executor().spawn_blocking(move || task::catch_call(work)).await;
    done.unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
}

/// Names in `path`, sorted.
pub fn list_blocking(path: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let meta = match entry.metadata() {
            Ok(meta) => meta,
            // Removed between the listing and the question.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        entries.push(Entry { name, size: meta.len(), is_directory: meta.is_dir() });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

/// Makes the names in the directory durable (created, renamed, removed).
pub fn sync_dir_blocking(path: &Path) -> io::Result<()> {
    fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path)?.sync_all()
}

/// Creates `path` and its parents, mode 0700, and syncs the directory that holds it. Not an error
/// where it exists.
pub fn create_dir_blocking(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir_blocking(parent),
        _ => Ok(()),
    }
}

/// Removes a file. The removal is durable after [`sync_dir`].
pub fn remove_blocking(path: &Path) -> io::Result<()> {
    fs::remove_file(path)
}

/// Renames, replacing what is there. Durable after [`sync_dir`].
pub fn rename_blocking(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Space of the filesystem that holds `path`.
pub fn space_blocking(path: &Path) -> io::Result<Space> {
    const BTRFS: i64 = 0x9123_683e;
    const ZFS: i64 = 0x2fc1_2fc1;
    const BCACHEFS: i64 = 0xca45_1a4e;
    let vfs = nix::sys::statvfs::statvfs(path)?;
    let kind = nix::sys::statfs::statfs(path)?.filesystem_type().0 as i64;
    let unit = vfs.fragment_size();
    Ok(Space {
        free: vfs.blocks_available().saturating_mul(unit),
        total: vfs.blocks().saturating_mul(unit),
        free_inodes: if vfs.files() == 0 { u64::MAX } else { vfs.files_available() },
        is_copy_on_write: [BTRFS, ZFS, BCACHEFS].contains(&kind),
    })
}

/// [`list_blocking`] on the shard's blocking thread.
pub async fn list(path: &Path) -> io::Result<Vec<Entry>> {
    on_path(path, list_blocking).await
}

/// [`sync_dir_blocking`] on the shard's blocking thread.
pub async fn sync_dir(path: &Path) -> io::Result<()> {
    on_path(path, sync_dir_blocking).await
}

/// [`create_dir_blocking`] on the shard's blocking thread.
pub async fn create_dir(path: &Path) -> io::Result<()> {
    on_path(path, create_dir_blocking).await
}

/// [`remove_blocking`] on the shard's blocking thread.
pub async fn remove(path: &Path) -> io::Result<()> {
    on_path(path, remove_blocking).await
}

/// [`space_blocking`] on the shard's blocking thread.
pub async fn space(path: &Path) -> io::Result<Space> {
    on_path(path, space_blocking).await
}

/// [`rename_blocking`] on the shard's blocking thread.
pub async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let to = to.to_owned();
    on_path(from, move |from| rename_blocking(from, &to)).await
}

async fn on_path<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let path: PathBuf = path.to_owned();
    unblock(move || work(&path)).await
}

impl LockFile {
    /// Locks `path`, creating it; `None` when another process (or another handle) holds it.
    /// Does not wait, so a shard may call it.
    pub fn try_lock(path: &Path) -> io::Result<Option<Self>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(LockFile { _lock: lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno.into()),
        }
    }
}

/// Number of open descriptors of this process, for metrics and tests.
pub fn open_descriptors_blocking() -> io::Result<usize> {
    // One of them is the listing's own.
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1))
}

/// Descriptors inherited by position from a service manager, from 3 on (sd_listen_fds).
pub fn inherited_descriptors(count: u32) -> Vec<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the service manager promises that these are open and ours; called once, at start.
    (3..3 + count as i32).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard;

    #[test]
    fn names_are_listed_sorted_with_their_sizes() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("b"), "12345").expect("written");
        create_dir_blocking(&dir.path().join("a")).expect("created");
        let names = list_blocking(dir.path()).expect("listed");
        assert_eq!(names.len(), 2);
        assert!(names[0].name == "a" && names[0].is_directory);
        assert_eq!(names[1], Entry { name: "b".into(), size: 5, is_directory: false });
    }

    #[test]
    fn a_lock_is_exclusive_and_ends_with_its_value() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lock");
        let held = LockFile::try_lock(&path).expect("can lock").expect("is free");
        assert!(LockFile::try_lock(&path).expect("can ask").is_none());
        drop(held);
        assert!(LockFile::try_lock(&path).expect("can ask").is_some());
    }

    #[test]
    fn blocking_work_runs_beside_the_shard_and_its_panic_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().to_owned();
        shard::spawn(shard::cpus()[0], "dir", move || async move {
            let sub = path.join("one").join("two");
            create_dir(&sub).await.expect("created");
            fs::write(sub.join("x"), "x").expect("written");
            rename(&sub.join("x"), &sub.join("y")).await.expect("renamed");
            sync_dir(&sub).await.expect("synced");
            assert_eq!(list(&sub).await.expect("listed")[0].name, "y");
            remove(&sub.join("y")).await.expect("removed");
            assert!(remove(&sub.join("y")).await.expect_err("gone").kind() == io::ErrorKind::NotFound);
            assert!(space(&sub).await.expect("asked").total > 0);
            let broken: io::Result<()> = unblock(|| panic!("on the blocking thread")).await;
            assert!(broken.expect_err("it panicked").to_string().contains("on the blocking thread"));
            assert_eq!(unblock(|| Ok(3)).await.expect("the thread lives"), 3);
        })
        .expect("starts")
        .join()
        .expect("ends");
    }
}
