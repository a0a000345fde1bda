//! The knobs of the spool (`[spool]`).

use std::path::PathBuf;

use crate::base::limits::{BATCH_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::schema::{Section, Size};

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
    /// Who is told what happens, behind a durable cursor each (`[events]`, read elsewhere). Default nobody.
    pub shippers: Vec<Shipper>,
}

/// One who is told what happens (`docs/events.md`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipper {
    /// Its name: letters, digits and `-`; it is part of a file's name in each stream.
    pub name: String,
    /// Bytes of log segments that are kept for it in one stream when nothing else needs them. At least one segment is.
    pub backlog: u64,
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
            shippers: Vec::new(),
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

/// The words of `durability`, here and on listeners.
pub const DURABILITY_WORDS: &[(&str, Durability)] =
    &[("durable", Durability::Durable), ("process", Durability::Process), ("memory", Durability::Memory)];

impl Settings {
    /// Reads `[spool]`.
    pub fn read(s: &Section<'_>) -> Settings {
        let default = Settings::default();
        let segment = |name, doc, value| {
            let (low, high) = (Size(Settings::SEGMENT_SIZE_MIN), Size(Settings::SEGMENT_SIZE_MAX));
            s.key(name).doc(doc).between(low, high).restart().default(Size(value)).0
        };
        Settings {
            path: s
                .key("path")
                .doc("The directory that holds accepted mail; made with mode 0700 if it is not there. Nobody else may write to it.")
                .restart()
                .default(default.path),
            segment_size: segment("segment-size", "Size of one log segment.", default.segment_size),
            bulk_segment_size: segment(
                "bulk-segment-size",
                "Size of one bulk segment, which holds content beyond 256 KiB.",
                default.bulk_segment_size,
            ),
            durability: s
                .choice("durability", DURABILITY_WORDS)
                .doc("What a 250 promises on listeners that do not say it themselves. durable: on stable storage, survives power loss. process: in the page cache, survives a crash of the process. memory: survives nothing; spooled at the first deferral.")
                .restart()
                .default(default.durability),
            memory_budget: s
                .key("memory-budget")
                .doc("Content and frames that may wait in memory on one shard, unwritten batches included. Beyond it messages get 452 4.3.1.")
                .between(Size(Settings::MEMORY_BUDGET_MIN), Size(1 << 40))
                .restart()
                .default(Size(default.memory_budget))
                .0,
            free_space_min: s
                .key("free-space-min")
                .doc("No segment is added when that would leave less free space on the filesystem; new mail then gets 452 4.3.1 while delivery goes on.")
                .restart()
                .default(Size(default.free_space_min))
                .0,
            reserve: s
                .key("reserve")
                .doc("Ready segments kept on each shard for statuses, DSNs and compaction; when only these are left, new mail gets 452 4.3.1.")
                .unit("segments")
                .between(1, 1024)
                .restart()
                .default(default.reserve),
            spare_max: s
                .key("spare-max")
                .doc("Ready segments kept beyond the reserve before files are deleted.")
                .unit("segments")
                .between(0, 65_536)
                .restart()
                .default(default.spare_max),
            garbage_percent_max: s
                .key("garbage-percent-max")
                .doc("Share of the closed log segments that may be dead before compaction runs.")
                .unit("percent")
                .between(5, 95)
                .restart()
                .default(default.garbage_percent_max),
            shippers: default.shippers,
        }
    }
}
