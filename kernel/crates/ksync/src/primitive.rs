//! What the locks are made of, which loom replaces by its own (`RUSTFLAGS="--cfg loom"`) to try every interleaving.

#[cfg(not(all(feature = "loom", loom)))]
mod primitives {
    pub(crate) use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

    pub(crate) use crate::spinlock::SpinLock as ListLock;
}

#[cfg(all(feature = "loom", loom))]
mod primitives {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

    /// loom's mutex without poisoning: loom does not let threads spin.
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

/// Stands between two sequentially consistent operations on different variables whose order counts. loom takes such
/// operations for acquire and release ones, and knows the single order of all for fences only.
#[inline(always)]
pub(crate) fn sequential() {
    #[cfg(all(feature = "loom", loom))]
    fence(Ordering::SeqCst);
}

/// A constructor that statics can use; loom's types have none.
macro_rules! constant_unless_loom {
    ($(#[$attribute:meta])* pub fn $($rest:tt)*) => {
        #[cfg(not(all(feature = "loom", loom)))]
        $(#[$attribute])*
        pub const fn $($rest)*
        #[cfg(all(feature = "loom", loom))]
        $(#[$attribute])*
        pub fn $($rest)*
    };
}
pub(crate) use constant_unless_loom;
