//! Which process listens on a port, which disk it writes to.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::proc::{self, Stat};

/// Process ids in /proc.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A process as it is now; `None` when it has ended.
pub fn stat(pid: u32) -> Option<Stat> {
    Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Where the descriptors of a process point; empty where it is not ours to know.
fn links(pid: u32) -> Vec<(PathBuf, PathBuf)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| Some((entry.path(), fs::read_link(entry.path()).ok()?))).collect()
}

/// The process that listens on `port`: of several that share the socket, the one that is no other's child.
pub fn listener(port: u16) -> Option<u32> {
    let mut inodes = HashSet::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        inodes.extend(proc::listeners(&fs::read_to_string(path).unwrap_or_default(), port));
    }
    if inodes.is_empty() {
        return None;
    }
    let holds = |pid: &u32| {
        let inode = |(_, link): (PathBuf, PathBuf)| proc::socket_inode(link.to_str()?);
        links(*pid).into_iter().filter_map(inode).any(|inode| inodes.contains(&inode))
    };
    let holders: Vec<u32> = pids().into_iter().filter(holds).collect();
    let is_root = |pid: &&u32| stat(**pid).is_some_and(|stat| !holders.contains(&stat.parent));
    holders.iter().find(is_root).copied()
}

/// A block device whose counters can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its name, as in /sys/block.
    pub name: String,
    counters: PathBuf,
}

impl Disk {
    /// The one that holds `path`; `None` for file systems without a device of their own (tmpfs, overlay, btrfs).
    pub fn of_path(path: &Path) -> Option<Self> {
        Self::of_device(fs::metadata(path).ok()?.dev())
    }

    fn of_device(device: u64) -> Option<Self> {
        // The encoding of makedev(3).
        let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
        let minor = (device & 0xff) | ((device >> 12) & !0xff);
        let mut folder = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
        // Flushes are counted at the whole disk.
        if folder.join("partition").exists() {
            folder.pop();
        }
        let name = folder.file_name()?.to_str()?.to_owned();
        Some(Disk { name, counters: folder.join("stat") })
    }

    /// The one that most of the files lie on that a process holds open for writing.
    pub fn of_process(pid: u32) -> Option<Self> {
        let mut devices: HashMap<u64, usize> = HashMap::new();
        for (descriptor, link) in links(pid) {
            if !link.is_absolute() || link.starts_with("/dev") || link.starts_with("/proc") || link.starts_with("/sys")
            {
                continue;
            }
            let Some(number) = descriptor.file_name().and_then(|name| name.to_str()) else { continue };
            let details = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
            let Ok(file) = fs::metadata(&descriptor) else { continue };
            if file.is_file() && is_writable(&details) {
                *devices.entry(file.dev()).or_default() += 1;
            }
        }
        let (device, _) = devices.into_iter().max_by_key(|(_, files)| *files)?;
        Self::of_device(device)
    }

    /// Bytes written and flushes completed since boot, by everyone.
    pub fn counts(&self) -> Option<(u64, Option<u64>)> {
        proc::block_counts(&fs::read_to_string(&self.counters).ok()?)
    }
}

/// From /proc/PID/fdinfo/N: the access mode in the octal flags is write-only or both.
fn is_writable(details: &str) -> bool {
    let flags = details.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & 3 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn our_own_listener_is_found() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = socket.local_addr().expect("an address").port();
        assert_eq!(listener(port), Some(std::process::id()));
        drop(socket);
        assert_eq!(listener(0), None);
    }

    #[test]
    fn the_disk_of_an_open_file_is_that_of_its_path() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        match Disk::of_path(file.path()) {
            Some(disk) => {
                assert!(disk.counts().is_some(), "{disk:?}");
                assert!(Disk::of_process(std::process::id()).is_some());
            }
            None => eprintln!("SKIPPED: the folder of temporary files has no block device of its own"),
        }
    }

    #[test]
    fn access_modes_are_told_apart() {
        assert!(is_writable("pos:\t0\nflags:\t0100002\n") && is_writable("flags:\t01\n"));
        assert!(!is_writable("pos:\t0\nflags:\t0100000\n") && !is_writable(""));
    }
}
