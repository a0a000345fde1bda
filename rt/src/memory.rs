//! What becomes of memory that was freed: how long the allocator keeps it before the kernel gets it back.
//!
//! mimalloc gives back after a second. A relay frees and takes the same large buffers all the time; each one that
//! went back meanwhile is zeroed anew by the kernel, two MiB at a time: 4.5 % of the CPU of accepting mail, in a
//! profile. Kept for a minute, a busy server faults on no page (0.002 per message instead of 0.06), and
//! one that has become quiet gives it back at once.

use std::ffi::{c_int, c_long};
use std::time::Duration;

/// mimalloc's number of the option, in milliseconds; the binding has no name for it.
const PURGE_DELAY: c_int = 15;

/// Keeps freed memory for `span`, unless the environment (`MIMALLOC_PURGE_DELAY`) says otherwise. For programs whose global allocator
/// is mimalloc; without effect on others. Call it first.
pub fn keep_freed(span: Duration) {
    let millis = c_long::try_from(span.as_millis()).unwrap_or(c_long::MAX);
    // SAFETY: it stores a number in a table of the allocator; the index is one of its options, and the value one it takes.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, millis) };
}

/// Gives all that this thread has freed back to the kernel now. Takes a millisecond or a few: for a moment when nothing
/// else is to be done.
pub fn give_back() {
    // SAFETY: it walks the allocator's own lists of this thread; any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number is right: the neighbours of the option have other defaults.
    #[test]
    fn the_number_is_the_one_of_the_purge_delay() {
        // SAFETY: reads a number from a table.
        let value = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        let before = std::env::var("MIMALLOC_PURGE_DELAY").ok().and_then(|text| text.parse().ok());
        assert_eq!(value(), before.unwrap_or(1000));
        keep_freed(Duration::from_secs(60));
        assert_eq!(value(), before.unwrap_or(60_000));
    }
}
