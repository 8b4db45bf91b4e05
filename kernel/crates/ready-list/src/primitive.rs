//! The primitives, which loom replaces by its own (`RUSTFLAGS="--cfg loom"`) to try every interleaving.

#[cfg(not(loom))]
mod primitives {
    pub(crate) use core::sync::atomic::{AtomicUsize, Ordering};

    pub(crate) use ksync::SpinLock as ListLock;
}

#[cfg(loom)]
mod primitives {
    pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering};

    /// loom's mutex without poisoning.
    #[derive(Debug)]
    pub(crate) struct ListLock<T>(loom::sync::Mutex<T>);

    impl<T> ListLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }
}

pub(crate) use primitives::*;
