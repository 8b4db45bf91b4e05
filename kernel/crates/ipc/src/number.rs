//! Inode numbers of objects that are in no file system, as `fstat(2)` and `/proc/self/fd` show them.

use core::sync::atomic::{AtomicU64, Ordering};

/// A number that no other such object has. 1 is the inode that event counters and the like share.
pub fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(2);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
