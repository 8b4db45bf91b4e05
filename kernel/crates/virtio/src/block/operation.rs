//! What a thread waits for: some requests together.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ksync::WaitQueue;
use linux_abi::Errno;

pub(super) const STATUS_OK: u8 = 0;
pub(super) const STATUS_UNSUPPORTED: u8 = 2;
/// What a request's status is before the device sets it; no status of the specification.
pub(super) const STATUS_UNSET: u8 = 0xff;

/// One or more requests that somebody waits for together.
pub(super) struct Operation {
    /// Requests that have not completed, and one for the thread that still submits.
    outstanding: AtomicU32,
    failed: AtomicBool,
    unsupported: AtomicBool,
    pub(super) waiters: WaitQueue,
}

impl Operation {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            outstanding: AtomicU32::new(1),
            failed: AtomicBool::new(false),
            unsupported: AtomicBool::new(false),
            waiters: WaitQueue::new(),
        })
    }

    pub(super) fn is_done(&self) -> bool {
        self.outstanding.load(Ordering::Acquire) == 0
    }

    /// One more request is about to be submitted.
    pub(super) fn begin_one(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn finish_one(&self) {
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waiters.wake_all();
        }
    }

    pub(super) fn complete(&self, status: u8) {
        match status {
            STATUS_OK => {}
            STATUS_UNSUPPORTED => self.unsupported.store(true, Ordering::Relaxed),
            _ => self.failed.store(true, Ordering::Relaxed),
        }
        self.finish_one();
    }

    pub(super) fn result(&self) -> Result<(), Errno> {
        if self.failed.load(Ordering::Relaxed) {
            Err(Errno::EIO)
        } else if self.unsupported.load(Ordering::Relaxed) {
            Err(Errno::EOPNOTSUPP)
        } else {
            Ok(())
        }
    }
}
