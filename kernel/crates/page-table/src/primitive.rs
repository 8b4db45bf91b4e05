//! What entries are made of, which loom replaces (`RUSTFLAGS="--cfg loom"`) to try every interleaving.

#[cfg(not(loom))]
mod primitives {
    pub(crate) use core::sync::atomic::{AtomicU64, Ordering};

    pub(crate) use frames::PhysAddr;
}

#[cfg(loom)]
mod primitives {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};

    /// As the crate `frames` has it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PhysAddr(u64);

    impl PhysAddr {
        pub const fn new(address: u64) -> Self {
            Self(address)
        }

        pub const fn as_u64(self) -> u64 {
            self.0
        }
    }
}

pub(crate) use primitives::*;
