//! The primitives, which loom replaces by its own (`RUSTFLAGS="--cfg loom"`) to try every interleaving.

#[cfg(not(loom))]
mod primitive {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

    pub(crate) use ksync::SpinLock as BucketLock;
    pub(crate) use spin::Once;
}

#[cfg(loom)]
mod primitive {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

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

    /// Not modelled: whoever looks has seen a count of buckets that was published after it was filled.
    #[derive(Debug)]
    pub(crate) struct Once<T>(std::sync::OnceLock<T>);

    impl<T> Once<T> {
        pub(crate) const fn new() -> Self {
            Self(std::sync::OnceLock::new())
        }

        pub(crate) fn get(&self) -> Option<&T> {
            self.0.get()
        }

        pub(crate) fn call_once(&self, f: impl FnOnce() -> T) -> &T {
            self.0.get_or_init(f)
        }
    }
}

pub(crate) use primitive::*;
