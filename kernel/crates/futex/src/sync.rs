//! The primitives, which loom replaces by its own (`RUSTFLAGS="--cfg loom"`) to try every interleaving.

#[cfg(not(loom))]
mod primitive {
    pub(crate) use core::sync::atomic::{AtomicUsize, Ordering, fence};

    pub(crate) use ksync::SpinLock as BucketLock;
    pub(crate) use spin::mutex::SpinMutex as NodeLock;
}

#[cfg(loom)]
mod primitive {
    pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering, fence};

    pub(crate) type NodeLock<T> = BucketLock<T>;

    /// loom's mutex without poisoning.
    #[derive(Debug)]
    pub(crate) struct BucketLock<T>(loom::sync::Mutex<T>);

    impl<T> BucketLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

pub(crate) use primitive::*;
