//! Which CPUs have nothing to do, and how none of them sleeps beside work that it could take.

#[cfg(not(loom))]
use core::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// The CPUs that have nothing to do, as a set of indices below 64.
///
/// A CPU [announces](Self::announce) that it is idle, then looks for work, and sleeps until an interrupt if there is
/// none. Who makes work takable changes that first, and then asks [who has gone idle](Self::after_change), to send
/// one of them an interrupt. With a full fence on either side between the two steps, one of them sees the other.
#[derive(Debug)]
pub struct IdleCpus(AtomicU64);

impl IdleCpus {
    /// None is idle.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// None is idle.
    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// This CPU looks for work from now on, and sleeps if there is none.
    pub fn announce(&self, cpu: usize) {
        self.0.fetch_or(1 << cpu, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// This CPU has woken or found something.
    pub fn withdraw(&self, cpu: usize) {
        self.0.fetch_and(!(1 << cpu), Ordering::SeqCst);
    }

    /// Who is idle, asked by one who has just made work takable.
    pub fn after_change(&self) -> u64 {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed)
    }

    /// Who is idle, as a hint for placing threads.
    pub fn hint(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Default for IdleCpus {
    fn default() -> Self {
        Self::new()
    }
}
