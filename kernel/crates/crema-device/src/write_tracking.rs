//! Family 0x1.: which pages were written (crate `mmu-gc`).
//!
//! One range is tracked at a time, by one open file; another file's [`ARM`] is `EBUSY` until the first is
//! closed or has been disarmed.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Begins to track, or begins anew. `EINVAL` if the range is empty, is not of whole pages or has addresses that
/// nobody may map, or the engine is unknown; `EBUSY` if another open file tracks.
pub const ARM: u32 = crate::reads::<Arm>(0x10);

/// Tells which pages were written since the range was armed. `EINVAL` if nothing is armed, if the range is not
/// inside the armed one, not of whole pages, or the bitmap has too few words; `EFAULT` if the bitmap cannot be
/// written. After any error, nothing is known of what was written.
pub const COLLECT: u32 = crate::exchanges::<Collect>(0x11);

/// Ends tracking. Nothing happens if nothing is armed.
pub const DISARM: u32 = crate::plain(0x12);

/// Fills in [`Counters`].
pub const COUNTERS: u32 = crate::fills::<Counters>(0x13);

/// [`Arm::engine`]: the dirty bits that the processor sets.
pub const ENGINE_DIRTY: u32 = 1;
/// [`Arm::engine`]: pages are write-protected, and the first write to each faults.
pub const ENGINE_TRAP: u32 = 2;

/// The argument of [`ARM`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Arm {
    /// First address; a multiple of 4096.
    pub start: u64,
    /// Bytes; a multiple of 4096.
    pub len: u64,
    /// [`ENGINE_DIRTY`] or [`ENGINE_TRAP`].
    pub engine: u32,
    /// 0.
    pub reserved: u32,
}

/// The argument of [`COLLECT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Collect {
    /// First address; a multiple of 4096.
    pub start: u64,
    /// Bytes; a multiple of 4096.
    pub len: u64,
    /// Where the bitmap is: an array of 64-bit words. Bit `n % 64` of word `n / 64` is set if page `n` of the range
    /// may have been written.
    pub bitmap: u64,
    /// Words that the bitmap has, at least.
    pub bitmap_words: u64,
    /// Filled in: how many bits are set.
    pub dirty_pages: u64,
    /// Filled in: how many page-table entries were looked at.
    pub entries_scanned: u64,
    /// Filled in: how long the scan took.
    pub scan_ns: u64,
}

/// What tracking has cost since the machine was started.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
pub struct Counters {
    /// How often a range was armed.
    pub arms: u64,
    /// How often one was collected.
    pub collections: u64,
    /// Pages that were found written.
    pub dirty_pages: u64,
    /// Page-table entries that were looked at, arming and collecting.
    pub entries_scanned: u64,
    /// Time of all scans for collections.
    pub collect_ns: u64,
    /// Time of all arming, with its shoot-downs.
    pub arm_ns: u64,
    /// Shoot-downs.
    pub shoot_downs: u64,
    /// Time of those.
    pub shoot_down_ns: u64,
    /// Write faults that the trap engine took.
    pub traps: u64,
    /// Huge pages that were split.
    pub splits: u64,
}
