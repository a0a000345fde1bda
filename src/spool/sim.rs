//! A disk and an executor made for breaking: the same seed gives the same story.
//!
//! Used by the spool's own simulation and by that of the whole server; never by the product. The disk
//! keeps what was synced apart from what was only written, at 512 bytes a sector: a power loss keeps
//! any subset of the rest, in any file; a failed sync drops what it did not write and the next one
//! reports success; writes come short; reads and writes fail; the disk fills; a crash strikes
//! at any operation. Time is virtual: it moves when nobody can run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::storage::{Storage, StorageFile};

mod executor;
mod pages;

use executor::{Task, Tasks, Timers};
use pages::FileState;

/// Numbers that follow from a seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03)
    }

    /// The next one.
    #[allow(clippy::should_implement_trait)] // it never ends, so it is no iterator
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How often what goes wrong: once in so many operations; 0 for never.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A write fails, part of it done.
    pub write_error: u64,
    /// A write comes short and says so.
    pub short_write: u64,
    /// A sync fails; what it did not write is lost though it can still be read.
    pub sync_error: u64,
    /// A read fails.
    pub read_error: u64,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// SIGKILL: the page cache stays.
    Kill,
    /// The power goes: any subset of what was not synced stays.
    PowerLoss,
}

struct World {
    random: Random,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    /// Every file that ever was, by its number.
    files: Vec<FileState>,
    locks: BTreeSet<PathBuf>,
    space: u64,
    faults: Faults,
    crash_in: Option<u64>,
    is_crashed: bool,
    /// Grows with every crash: what is left of an earlier life is dead.
    life: u64,
    now: Duration,
    timers: Timers,
    spawned: Vec<Task>,
    operations: u64,
}

/// A simulated machine: its disk, its clock, its executor. Clones are the same machine.
#[derive(Clone)]
pub struct SimDisk {
    world: Rc<RefCell<World>>,
    life: u64,
}

/// A file of a simulated disk.
#[derive(Clone)]
pub struct SimFile {
    disk: SimDisk,
    id: usize,
}

/// A lock on a simulated disk.
pub struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.disk.world.borrow_mut();
        if world.life == self.disk.life {
            world.locks.remove(&self.path);
        }
    }
}

impl SimDisk {
    /// A machine with an empty disk of `space` bytes.
    pub fn new(seed: u64, space: u64) -> SimDisk {
        let world = World {
            random: Random::new(seed),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            files: Vec::new(),
            locks: BTreeSet::new(),
            space,
            faults: Faults::default(),
            crash_in: None,
            is_crashed: false,
            life: 0,
            now: Duration::ZERO,
            timers: Timers::default(),
            spawned: Vec::new(),
            operations: 0,
        };
        SimDisk { world: Rc::new(RefCell::new(world)), life: 0 }
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world.borrow_mut().faults = faults;
    }

    /// The process ends at that many disk operations from now.
    pub fn crash_in(&self, operations: Option<u64>) {
        self.world.borrow_mut().crash_in = operations;
    }

    /// Bytes of the disk in all.
    pub fn set_space(&self, space: u64) {
        self.world.borrow_mut().space = space;
    }

    /// Bytes that its files take.
    pub fn used(&self) -> u64 {
        self.world.borrow().used()
    }

    /// Disk operations so far.
    pub fn operations(&self) -> u64 {
        self.world.borrow().operations
    }

    /// Virtual time since the machine was made.
    pub fn now(&self) -> Duration {
        self.world.borrow().now
    }

    /// Files by path.
    pub fn files(&self) -> Vec<PathBuf> {
        self.world.borrow().names.keys().cloned().collect()
    }

    /// The bytes of a file as a reader sees them.
    pub fn read_file(&self, path: &Path) -> Vec<u8> {
        let world = self.world.borrow();
        let Some(file) = world.names.get(path).and_then(|id| world.files.get(*id)) else { return Vec::new() };
        let mut bytes = vec![0; file.size as usize];
        file.read(0, &mut bytes);
        bytes
    }

    /// Changes bytes of a file behind everyone's back, on disk and in the cache.
    pub fn corrupt(&self, path: &Path, offset: u64, bytes: &[u8]) {
        let mut world = self.world.borrow_mut();
        let id = world.names.get(path).copied();
        if let Some(file) = id.and_then(|id| world.files.get_mut(id)) {
            file.overwrite(offset, bytes);
        }
    }

    /// Runs `main` and all that was spawned until `main` is done, or the process ends: then `None`, and all tasks are
    /// dropped; use [`SimDisk::restart`]. Panics when nobody can run and nothing is awaited: that is a hang.
    pub fn run<T>(&self, main: impl Future<Output = T>) -> Option<T> {
        let mut tasks = Tasks::default();
        tasks.add(None);
        let mut main = std::pin::pin!(main);
        loop {
            let spawned = std::mem::take(&mut self.world.borrow_mut().spawned);
            spawned.into_iter().for_each(|task| tasks.add(Some(task)));
            let next = tasks.next(|count| self.world.borrow_mut().random.below(count as u64) as usize);
            let Some(next) = next else {
                assert!(self.advance(), "nobody can run and nothing is awaited");
                continue;
            };
            let mut ended = None;
            if next > 0 {
                tasks.poll(next);
            } else if let Poll::Ready(value) = main.as_mut().poll(&mut Context::from_waker(tasks.waker(next))) {
                ended = Some(value);
            }
            if ended.is_some() || self.world.borrow().is_crashed {
                let spawned = std::mem::take(&mut self.world.borrow_mut().spawned);
                drop((tasks, spawned));
                return ended;
            }
        }
    }

    fn advance(&self) -> bool {
        let mut world = self.world.borrow_mut();
        let Some((at, waker)) = world.timers.ring() else { return false };
        world.now = world.now.max(at);
        drop(world);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The machine after its process ended: what is on the disk then. Use what this returns from now on.
    pub fn restart(&self, crash: Crash) -> SimDisk {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        world.life += 1;
        world.is_crashed = false;
        world.crash_in = None;
        world.locks.clear();
        world.timers = Timers::default();
        if crash == Crash::PowerLoss {
            let mode = world.random.below(4);
            let random = &mut world.random;
            let mut keep = || match mode {
                0 => false,
                1 => true,
                2 => random.one_in(2),
                _ => !random.one_in(8),
            };
            let mut names = world.synced_names.clone();
            for path in world.names.keys().chain(world.synced_names.keys()) {
                if world.names.get(path) != world.synced_names.get(path) && keep() {
                    match world.names.get(path) {
                        Some(id) => names.insert(path.clone(), *id),
                        None => names.remove(path),
                    };
                }
            }
            for file in &mut world.files {
                file.flush(&mut keep);
                file.lose_cache();
            }
            world.names = names;
            world.synced_names = world.names.clone();
        }
        SimDisk { world: self.world.clone(), life: world.life }
    }

    /// One operation begins: it takes a little time, and may be the last one.
    async fn operation(&self) {
        let pause = {
            let mut world = self.world.borrow_mut();
            world.operations += 1;
            Duration::from_micros(20 + world.random.below(300))
        };
        self.pause(pause).await;
        self.strike().await;
    }

    /// The crash, when it is time for it: nothing goes on from here.
    async fn strike(&self) {
        poll_fn(|_| {
            let mut world = self.world.borrow_mut();
            if world.life != self.life {
                return Poll::Pending;
            }
            if let Some(left) = world.crash_in {
                world.crash_in = Some(left.saturating_sub(1));
                world.is_crashed |= left == 0;
            }
            if world.is_crashed { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    async fn pause(&self, span: Duration) {
        let mut armed = None;
        poll_fn(|cx| {
            let mut world = self.world.borrow_mut();
            match armed {
                Some((at, _)) if world.now >= at => return Poll::Ready(()),
                Some((_, slot)) => world.timers.replace(slot, cx.waker()),
                None => {
                    let at = world.now + span;
                    armed = Some((at, world.timers.arm(at, cx.waker())));
                }
            }
            Poll::Pending
        })
        .await;
    }

    fn fault(&self, pick: impl Fn(&Faults) -> u64) -> bool {
        let mut world = self.world.borrow_mut();
        let n = pick(&world.faults);
        n > 0 && world.random.one_in(n)
    }
}

impl World {
    fn used(&self) -> u64 {
        self.names.values().filter_map(|id| self.files.get(*id)).map(|file| file.size).sum()
    }

    fn lookup(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Storage for SimDisk {
    type File = SimFile;
    type Lock = SimLock;

    async fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    async fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.operation().await;
        let world = self.world.borrow();
        let below = |known: &PathBuf| {
            let first = known.strip_prefix(path).ok()?.components().next()?;
            first.as_os_str().to_str().map(str::to_owned)
        };
        let names: BTreeSet<String> = world.names.keys().filter_map(below).collect();
        Ok(names.into_iter().collect())
    }

    async fn create_zeroed(
        &self,
        path: &Path,
        size: u64,
        mut pace: impl FnMut(Duration) -> Duration,
    ) -> io::Result<SimFile> {
        self.operation().await;
        self.sleep(pace(Duration::from_millis(1))).await;
        {
            let mut world = self.world.borrow_mut();
            let id = world.files.len();
            world.files.push(FileState::default());
            world.names.insert(path.to_owned(), id);
        }
        self.operation().await; // a crash here leaves an empty file
        if self.fault(|faults| faults.write_error) {
            return Err(io::Error::other("EIO"));
        }
        let mut world = self.world.borrow_mut();
        if world.used() + size > world.space {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let id = world.lookup(path)?;
        if let Some(file) = world.files.get_mut(id) {
            file.size = size;
        }
        Ok(SimFile { disk: self.clone(), id })
    }

    async fn open(&self, path: &Path) -> io::Result<SimFile> {
        self.operation().await;
        let id = self.world.borrow().lookup(path)?;
        Ok(SimFile { disk: self.clone(), id })
    }

    async fn open_read(&self, path: &Path) -> io::Result<SimFile> {
        self.open(path).await
    }

    async fn delete(&self, path: &Path) -> io::Result<()> {
        self.operation().await;
        let removed = self.world.borrow_mut().names.remove(path);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.operation().await;
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        world.synced_names.retain(|known, _| known.parent() != Some(path));
        let here = world.names.iter().filter(|(known, _)| known.parent() == Some(path));
        world.synced_names.extend(here.map(|(known, id)| (known.clone(), *id)));
        Ok(())
    }

    async fn free_space(&self, _path: &Path) -> io::Result<u64> {
        let world = self.world.borrow();
        Ok(world.space.saturating_sub(world.used()))
    }

    async fn lock(&self, path: &Path) -> io::Result<Option<SimLock>> {
        let is_new = self.world.borrow_mut().locks.insert(path.to_owned());
        Ok(is_new.then(|| SimLock { disk: self.clone(), path: path.to_owned() }))
    }

    async fn is_copy_on_write(&self, _path: &Path) -> bool {
        false
    }

    fn now(&self) -> Duration {
        SimDisk::now(self)
    }

    async fn sleep(&self, span: Duration) {
        self.pause(span).await;
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut world = self.world.borrow_mut();
        bytes.iter_mut().for_each(|byte| *byte = world.random.next() as u8);
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.world.borrow_mut().spawned.push(Box::pin(task));
    }
}

impl SimFile {
    fn put(&self, bytes: &[u8], offset: u64) {
        let mut world = self.disk.world.borrow_mut();
        if let Some(file) = world.files.get_mut(self.id) {
            file.write(offset, bytes);
        }
    }
}

impl StorageFile for SimFile {
    async fn write_at(&self, buffer: Vec<u8>, offset: u64) -> io::Result<usize> {
        self.disk.operation().await;
        if self.disk.fault(|faults| faults.write_error) {
            let part = self.disk.world.borrow_mut().random.below(buffer.len() as u64 + 1) as usize;
            self.put(&buffer[..part], offset);
            return Err(io::Error::other("EIO"));
        }
        if self.disk.fault(|faults| faults.short_write) {
            let part = self.disk.world.borrow_mut().random.below(buffer.len() as u64) as usize;
            self.put(&buffer[..part], offset);
            return Ok(part);
        }
        self.put(&buffer, offset);
        self.disk.strike().await; // in the cache, and nobody was told
        Ok(buffer.len())
    }

    async fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.disk.operation().await;
        if self.disk.fault(|faults| faults.read_error) {
            return Err(io::Error::other("EIO"));
        }
        let world = self.disk.world.borrow();
        let Some(file) = world.files.get(self.id) else { return Err(io::ErrorKind::NotFound.into()) };
        let length = length.min(file.size.saturating_sub(offset) as usize);
        let mut bytes = vec![0; length];
        file.read(offset, &mut bytes);
        Ok(bytes)
    }

    async fn sync(&self) -> io::Result<()> {
        self.disk.operation().await;
        let fails = self.disk.fault(|faults| faults.sync_error);
        {
            let mut world = self.disk.world.borrow_mut();
            let world = &mut *world;
            let random = &mut world.random;
            if let Some(file) = world.files.get_mut(self.id) {
                // What a failed sync did not write is clean in the cache and missing on the disk.
                file.flush(|| !fails || random.one_in(2));
            }
        }
        if fails {
            return Err(io::Error::other("EIO"));
        }
        self.disk.strike().await; // on the disk, and nobody was told
        Ok(())
    }

    async fn forget_cache(&self) -> io::Result<()> {
        let mut world = self.disk.world.borrow_mut();
        if let Some(file) = world.files.get_mut(self.id) {
            file.forget_cache();
        }
        Ok(())
    }

    async fn size(&self) -> io::Result<u64> {
        let world = self.disk.world.borrow();
        world.files.get(self.id).map(|file| file.size).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
