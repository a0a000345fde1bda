//! The runtime seam: the only crate that names glommio, io_uring and libc.
//!
//! Takes: closures that build a shard, socket addresses, paths, owned buffers.
//! Gives: pinned executors ([`shard`]), tasks whose panics end nothing but themselves ([`task`]),
//! clocks and timers ([`clock`], [`time`]), sockets ([`net`], [`tls`]), files ([`file`],
//! [`directory`]), messages between shards ([`mesh`]) and to the control plane ([`bridge`]),
//! signals ([`signal`]), and what a daemon does to itself at start ([`preflight`], [`privileges`]).
//!
//! Invariants:
//! * a dropped future loses no accepted socket, no received byte and no descriptor;
//! * a panic in a spawned task is caught, counted and reported with its place;
//! * nothing here blocks a shard, except where the name ends in `_blocking`;
//! * every wait has a bound given by the caller or named here.
//!
//! Must never be added: anything that knows mail, a setting file, or a glommio type in a public
//! signature. The runtime must stay replaceable.

pub mod bridge;
pub mod clock;
pub mod directory;
pub mod file;
pub mod memory;
pub mod mesh;
pub mod net;
pub mod preflight;
pub mod privileges;
pub mod shard;
pub mod signal;
pub mod sync;
pub mod task;
pub mod time;
pub mod tls;
pub mod turn;

pub use preflight::preflight;
