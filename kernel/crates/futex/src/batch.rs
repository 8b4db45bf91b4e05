//! Waiters on their way from a queue to being woken.

use alloc::sync::Arc;

use crate::Waiter;

/// How many are woken for one holding of the lock: enough that few calls take it twice, and small on the
/// stack. loom counts its steps, so there the limit is reached with two threads.
pub(crate) const BATCH: usize = if cfg!(loom) { 1 } else { 32 };

/// Up to [`BATCH`] waiters, taken from a queue under its lock, to be woken after it. (Not a chain through the
/// nodes: a waiter may see that it was woken, and wait again, before it is reached.)
pub(crate) struct Batch<W> {
    waiters: [Option<Arc<W>>; BATCH],
    length: usize,
}

impl<W: Waiter> Batch<W> {
    pub(crate) fn new() -> Self {
        Self { waiters: [const { None }; BATCH], length: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_full(&self) -> bool {
        self.length == BATCH
    }

    /// Adds a waiter; there must be room.
    pub(crate) fn push(&mut self, waiter: Arc<W>) {
        self.waiters[self.length] = Some(waiter);
        self.length += 1;
    }

    /// Wakes them in order. No lock may be held: this may drop the last reference to a thread.
    pub(crate) fn wake(self) -> usize {
        self.waiters.into_iter().flatten().for_each(|waiter| waiter.wake());
        self.length
    }
}
