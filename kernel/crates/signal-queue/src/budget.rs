//! How many signals may wait with their information.

use core::sync::atomic::{AtomicUsize, Ordering};

/// The count behind `RLIMIT_SIGPENDING`, shared by all queues of the process. It is advisory for signals of
/// the kernel and of `kill(2)`, as on Linux; see [`PendingSignals::queue`](crate::PendingSignals::queue).
#[derive(Debug)]
pub struct Budget {
    queued: AtomicUsize,
    limit: AtomicUsize,
}

impl Budget {
    /// A budget of this many signals.
    pub const fn new(limit: usize) -> Self {
        Self { queued: AtomicUsize::new(0), limit: AtomicUsize::new(limit) }
    }

    /// Sets the limit (`setrlimit(2)`). What is queued stays, if it is more.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How many signals are queued with their information: `SigQ` in /proc/self/status.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self, limited: Limited) -> bool {
        // The counter guards no other data, so no ordering is needed beyond its own.
        let limit = match limited {
            Limited::Yes => self.limit(),
            Limited::No => usize::MAX,
        };
        self.queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |queued| (queued < limit).then(|| queued + 1))
            .is_ok()
    }

    pub(crate) fn give_back(&self, count: usize) {
        self.queued.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Whether a signal is subject to the limit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limited {
    Yes,
    No,
}
