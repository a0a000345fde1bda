//! What is in a file: as its readers see it, and as it is on the disk.

use std::collections::BTreeMap;
use std::rc::Rc;

/// What a disk writes whole or not at all.
const SECTOR: u64 = 512;
const PAGE: u64 = 4096;

#[derive(Debug, Default, Clone)]
struct Pages(BTreeMap<u64, Rc<[u8]>>);

impl Pages {
    fn read(&self, offset: u64, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let count = (PAGE as usize - within).min(out.len() - done);
            match self.0.get(&(at / PAGE)) {
                Some(page) => out[done..done + count].copy_from_slice(&page[within..within + count]),
                None => out[done..done + count].fill(0),
            }
            done += count;
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE, (at % PAGE) as usize);
            let count = (PAGE as usize - within).min(bytes.len() - done);
            let entry = self.0.entry(page).or_insert_with(|| vec![0; PAGE as usize].into());
            let page = Rc::make_mut(entry);
            page[within..within + count].copy_from_slice(&bytes[done..done + count]);
            done += count;
        }
    }
}

/// One file: its cache, its sectors on disk, and which of the cache's are not there yet.
#[derive(Debug, Default)]
pub(super) struct FileState {
    pub(super) size: u64,
    cache: Pages,
    disk: Pages,
    /// The sectors of each page that were written and not synced, as bits.
    dirty: BTreeMap<u64, u8>,
}

impl FileState {
    /// The bytes as a reader sees them.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) {
        self.cache.read(offset, out);
    }

    /// Into the cache.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.cache.write(offset, bytes);
        let end = offset + bytes.len() as u64;
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            let (page, bit) = (sector * SECTOR / PAGE, sector % (PAGE / SECTOR));
            *self.dirty.entry(page).or_default() |= 1 << bit;
        }
        self.size = self.size.max(end);
    }

    /// Into the cache and onto the disk.
    pub(super) fn overwrite(&mut self, offset: u64, bytes: &[u8]) {
        self.cache.write(offset, bytes);
        self.disk.write(offset, bytes);
    }

    /// Brings the dirty sectors that `keep` chooses to the disk; the others stay in the cache only.
    pub(super) fn flush(&mut self, mut keep: impl FnMut() -> bool) {
        for (page, bits) in std::mem::take(&mut self.dirty) {
            let kept = (0..8).filter(|bit| bits & 1 << bit != 0 && keep()).fold(0, |all, bit| all | 1 << bit);
            bring(&self.cache, &mut self.disk, page, kept);
        }
    }

    /// What is not dirty is read from the disk again.
    pub(super) fn forget_cache(&mut self) {
        let mut fresh = self.disk.clone();
        self.dirty.iter().for_each(|(page, bits)| bring(&self.cache, &mut fresh, *page, *bits));
        self.cache = fresh;
    }

    /// Nothing but the disk is left.
    pub(super) fn lose_cache(&mut self) {
        self.dirty.clear();
        self.cache = self.disk.clone();
    }
}

fn bring(from: &Pages, to: &mut Pages, page: u64, bits: u8) {
    let Some(bytes) = from.0.get(&page).filter(|_| bits != 0) else { return };
    if bits == u8::MAX {
        to.0.insert(page, bytes.clone());
        return;
    }
    for bit in (0..8).filter(|bit| bits & 1 << bit != 0) {
        let (at, sector) = ((bit * SECTOR) as usize, SECTOR as usize);
        to.write(page * PAGE + bit * SECTOR, &bytes[at..at + sector]);
    }
}
