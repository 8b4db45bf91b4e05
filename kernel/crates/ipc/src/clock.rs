//! The two clocks on which real time can be waited for, and who must know when one of them is set.
//!
//! A timer that waits for a point on the real-time clock is armed on the monotonic clock; when the real-time
//! clock is set, that conversion is void. [`realtime_was_set`] tells all who asked. One spin lock guards
//! their list, and is not held while they are told.

use alloc::{
    sync::{Arc, Weak},
    vec::Vec,
};

use ksync::{SpinLock, platform};
use linux_abi::time::MAX_NS;

/// A clock that advances with real time. The machine is never suspended, so the boot-time clock is the
/// monotonic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME`.
    Monotonic,
    /// `CLOCK_REALTIME`, which can be set.
    Realtime,
}

impl Base {
    /// The time on this clock.
    pub fn now_ns(self) -> u64 {
        match self {
            Self::Monotonic => platform::now_ns(),
            Self::Realtime => platform::realtime_ns(),
        }
    }

    /// When, on the monotonic clock, this one will show `time_ns`, unless it is set before.
    pub fn to_monotonic_ns(self, time_ns: u64) -> u64 {
        match self {
            Self::Monotonic => time_ns,
            Self::Realtime => {
                let left_ns = time_ns.saturating_sub(platform::realtime_ns());
                platform::now_ns().saturating_add(left_ns).min(MAX_NS)
            }
        }
    }
}

/// Somebody whose timers depend on the real-time clock.
pub trait RealtimeObserver: Send + Sync {
    /// The real-time clock has been set.
    fn realtime_was_set(&self);
}

static OBSERVERS: SpinLock<Vec<Weak<dyn RealtimeObserver>>> = SpinLock::new(Vec::new());

/// Lets the observer know from now on, for as long as it lives.
pub fn observe_realtime(observer: Weak<dyn RealtimeObserver>) {
    let mut observers = OBSERVERS.lock();
    // Only when the list would grow, so that many short-lived observers cost constant time each.
    if observers.len() == observers.capacity() {
        observers.retain(|observer| observer.strong_count() > 0);
    }
    observers.push(observer);
}

/// To be called after the real-time clock has been set.
pub fn realtime_was_set() {
    let observers: Vec<Arc<dyn RealtimeObserver>> = {
        let mut observers = OBSERVERS.lock();
        observers.retain(|observer| observer.strong_count() > 0);
        observers.iter().filter_map(Weak::upgrade).collect()
    };
    for observer in observers {
        observer.realtime_was_set();
    }
}
