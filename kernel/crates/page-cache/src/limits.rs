//! How many pages may be dirty, and who is woken when there are more.
//!
//! As Linux has it (Documentation/admin-guide/sysctl/vm.rst): shares of the memory that could be had for files'
//! pages. Beyond the *background* share the writer thread begins to write; beyond the *foreground* share
//! those who make pages dirty write back themselves.

use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use ksync::{Interruptible, WaitQueue, platform};

use crate::{dirty::dirty_pages, totals};

/// `vm.dirty_background_ratio` and `vm.dirty_ratio`, in percent.
const BACKGROUND_PERCENT: usize = 10;
const FOREGROUND_PERCENT: usize = 20;
/// Even the smallest machine may gather one large request.
const MIN_BACKGROUND_PAGES: usize = 256;
const MIN_FOREGROUND_PAGES: usize = 512;
/// How long what was found out of the memory counts.
const VALID_NS: u64 = 500_000_000;

/// Numbers of dirty pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirtyLimits {
    /// Beyond it the writer thread writes.
    pub background: usize,
    /// Beyond it those who make pages dirty do, too.
    pub foreground: usize,
}

static BACKGROUND: AtomicUsize = AtomicUsize::new(0);
static FOREGROUND: AtomicUsize = AtomicUsize::new(0);
static VALID_UNTIL_NS: AtomicU64 = AtomicU64::new(0);

impl DirtyLimits {
    /// For a machine with so many pages that are free or files'.
    fn of(available_pages: usize) -> Self {
        Self {
            background: (available_pages * BACKGROUND_PERCENT / 100).max(MIN_BACKGROUND_PAGES),
            foreground: (available_pages * FOREGROUND_PERCENT / 100).max(MIN_FOREGROUND_PAGES),
        }
    }
}

/// The limits now.
pub fn current() -> DirtyLimits {
    let now_ns = platform::now_ns();
    let valid_until_ns = VALID_UNTIL_NS.load(Ordering::Relaxed);
    // One thread looks again; the others go on with what was known.
    if now_ns >= valid_until_ns
        && VALID_UNTIL_NS
            .compare_exchange(valid_until_ns, now_ns + VALID_NS, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    {
        let statistics = frames::statistics();
        let limits = DirtyLimits::of(statistics.free + statistics.cached + totals().0);
        BACKGROUND.store(limits.background, Ordering::Relaxed);
        FOREGROUND.store(limits.foreground, Ordering::Relaxed);
    }
    DirtyLimits {
        background: BACKGROUND.load(Ordering::Relaxed).max(MIN_BACKGROUND_PAGES),
        foreground: FOREGROUND.load(Ordering::Relaxed).max(MIN_FOREGROUND_PAGES),
    }
}

static WRITER: WaitQueue = WaitQueue::new();
static IS_WANTED: AtomicBool = AtomicBool::new(false);

pub(crate) fn wake_writer() {
    if !IS_WANTED.swap(true, Ordering::AcqRel) {
        WRITER.wake_all();
    }
}

/// For the writer thread: waits until there are too many dirty pages, or it is `deadline_ns`.
pub fn wait_for_excess(deadline_ns: u64) {
    // That the time is over is as good an end.
    let _ = WRITER
        .wait(Interruptible::No, Some(deadline_ns), || IS_WANTED.swap(false, Ordering::AcqRel).then_some(()));
}

/// Whether the writer thread has to go on: there are more dirty pages than may wait.
pub fn has_excess() -> bool {
    dirty_pages() > current().background
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_shares_with_a_floor() {
        assert_eq!(DirtyLimits::of(100_000), DirtyLimits { background: 10_000, foreground: 20_000 });
        assert_eq!(DirtyLimits::of(100), DirtyLimits { background: 256, foreground: 512 });
    }
}
