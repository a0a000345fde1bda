//! When: the retry schedule, expiry, what is due, and what an outcome becomes on disk.
//!
//! Pure: takes outcomes, `now` and settings; gives times and status records. Must never be added: I/O, a clock,
//! how mail is delivered.

pub mod settings;

pub use settings::Settings;
