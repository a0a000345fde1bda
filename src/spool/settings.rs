//! The knobs of the spool (`[spool]`).

use std::path::PathBuf;

use crate::base::limits::{BATCH_BYTES_MAX, SEGMENT_BYTES_MIN};

/// What a 250 promises (DESIGN.md part 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Durability {
    /// On stable storage: survives power loss.
    #[default]
    Durable,
    /// In the page cache: survives a crash of the process; synced in the background.
    Process,
    /// In memory until the first deferral: survives nothing. The first attempt is made from memory.
    Memory,
}

/// `[spool]`. Sizes are in bytes. All of it takes a restart to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The directory; made if it is not there, with mode 0700. Default `./var/spool`.
    pub path: PathBuf,
    /// Size of one log segment. At least 8 MiB, at most 4 GiB. Default 64 MiB.
    pub segment_size: u64,
    /// Size of one bulk segment, for content beyond 256 KiB. Same bounds. Default 64 MiB.
    pub bulk_segment_size: u64,
    /// What a 250 promises on listeners that do not say it themselves. Default `durable`.
    pub durability: Durability,
    /// Content and frames that may wait in memory per stream, unwritten batches included. Beyond it
    /// commits are refused with 452. At least 16 MiB. Default 64 MiB.
    pub memory_budget: u64,
    /// No segment is added when that would leave less free space on the filesystem. Default 128 MiB.
    pub free_space_min: u64,
    /// Ready log segments kept for statuses, DSNs and compaction; when only these are left, new mail
    /// gets 452. At least 1. Default 2.
    pub reserve: u32,
    /// Ready segments kept beyond the reserve before files are deleted. Default 8.
    pub spare_max: u32,
    /// Share of the closed log segments, in percent, that may be dead before compaction runs. Default 50.
    pub garbage_percent_max: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            path: PathBuf::from("./var/spool"),
            segment_size: 64 << 20,
            bulk_segment_size: 64 << 20,
            durability: Durability::Durable,
            memory_budget: 64 << 20,
            free_space_min: 128 << 20,
            reserve: 2,
            spare_max: 8,
            garbage_percent_max: 50,
        }
    }
}

impl Settings {
    /// Smallest segment that works: the bound of the configuration.
    pub const SEGMENT_SIZE_MIN: u64 = SEGMENT_BYTES_MIN;
    /// Largest segment that works: offsets are kept in units of eight bytes in 32 bits, with room.
    pub const SEGMENT_SIZE_MAX: u64 = 4 << 30;
    /// Smallest memory budget that works: one batch being written, one being gathered, and some.
    pub const MEMORY_BUDGET_MIN: u64 = 4 * BATCH_BYTES_MAX as u64;
}
