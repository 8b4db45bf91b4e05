//! Locks, wait queues and timers.
//!
//! Everything in the kernel that waits, waits through this crate: [`SpinLock`] for what interrupt handlers
//! share, [`Mutex`] and [`RwLock`] for what may be held across a wait, [`WaitQueue`] for conditions,
//! [`Timer`] for points in time. Below them lies the small [`platform`] boundary (interrupts masked and
//! restored, park and unpark of the current thread, the clock, expiries). In the kernel the scheduler
//! supplies it; with the feature `host` the standard library's threads do, so that file systems, pipes and
//! caches are tested on the host with real concurrency.
//!
//! Lock order: a thread that holds a `SpinLock` must not take a `Mutex` or `RwLock` nor wait, since
//! it runs with interrupts masked; [`platform::assert_may_wait`] checks that in debug builds.

#![cfg_attr(not(feature = "host"), no_std)]

extern crate alloc;

#[cfg(all(feature = "loom", loom))]
mod loom_platform;
#[cfg(all(test, loom))]
mod loom_tests;
mod mutex;
mod park;
pub mod platform;
mod primitive;
mod rwlock;
mod spinlock;
mod timer;
mod wait_queue;

pub use mutex::{Mutex, MutexGuard};
pub use park::{ParkToken, Parking, Unparking};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
pub use spinlock::{SpinLock, SpinLockGuard};
pub use timer::{Timer, TimerTarget};
pub use wait_queue::{Interruptible, WaitError, WaitQueue};
