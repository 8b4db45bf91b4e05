//! Readiness: what `poll(2)` and `epoll(7)` ask, and who is told when it changes.

use alloc::{sync::Arc, vec::Vec};

use bitflags::bitflags;
use ksync::{Interruptible, SpinLock, WaitError, WaitQueue};

bitflags! {
    /// Readiness events, with the values of `poll(2)` and `epoll_ctl(2)` (uapi `linux/eventpoll.h`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PollEvents: u32 {
        /// Data can be read.
        const IN = 0x001;
        /// Urgent data can be read.
        const PRI = 0x002;
        /// Data can be written.
        const OUT = 0x004;
        /// An error is pending; reported whether asked for or not.
        const ERR = 0x008;
        /// The peer closed its end; reported whether asked for or not.
        const HUP = 0x010;
        /// Not an open descriptor (`poll(2)` only).
        const NVAL = 0x020;
        /// Same as `IN` here.
        const RDNORM = 0x040;
        /// Priority-band data can be read.
        const RDBAND = 0x080;
        /// Same as `OUT` here.
        const WRNORM = 0x100;
        /// Priority-band data can be written.
        const WRBAND = 0x200;
        /// The peer shut down its writing half.
        const RDHUP = 0x2000;
    }
}

impl PollEvents {
    /// The events that are reported whether asked for or not.
    pub const ALWAYS: Self = Self::ERR.union(Self::HUP);
}

/// Somebody who is told when an object's readiness changes: an epoll instance or a polling thread.
pub trait Observer: Send + Sync {
    /// `events` may have become true (or, for an edge, true again). Called with no lock held,
    /// possibly from an interrupt; must not wait.
    fn notify(&self, events: PollEvents);
}

/// Names a registration, for its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObserverId(u64);

/// The readiness side of an object: threads blocked in a call on it, and observers.
///
/// The object makes the new state visible first and calls [`notify`](Self::notify) after; those who
/// wait register first and look after. So no change is missed.
#[derive(Default)]
pub struct Pollee {
    /// Threads blocked in a call on the object.
    pub waiters: WaitQueue,
    observers: SpinLock<Observers>,
}

#[derive(Default)]
struct Observers {
    next_id: u64,
    list: Vec<(ObserverId, PollEvents, Arc<dyn Observer>)>,
}

impl Pollee {
    /// Makes one that nobody waits for.
    pub const fn new() -> Self {
        Self {
            waiters: WaitQueue::new(),
            observers: SpinLock::new(Observers { next_id: 0, list: Vec::new() }),
        }
    }

    /// Tells `observer` of changes to any of `mask` from now on, until [`unregister`](Self::unregister).
    pub fn register(&self, mask: PollEvents, observer: Arc<dyn Observer>) -> ObserverId {
        let mut observers = self.observers.lock();
        observers.next_id += 1;
        let id = ObserverId(observers.next_id);
        observers.list.push((id, mask, observer));
        id
    }

    /// Ends a registration.
    pub fn unregister(&self, id: ObserverId) {
        let mut observers = self.observers.lock();
        if let Some(index) = observers.list.iter().position(|entry| entry.0 == id) {
            let entry = observers.list.swap_remove(index);
            drop(observers);
            // Dropped outside the lock: it may be the observer's last reference.
            drop(entry);
        }
    }

    /// Wakes blocked threads and tells observers that `events` may have become true.
    pub fn notify(&self, events: PollEvents) {
        self.waiters.wake_all();
        // Observers are called with no lock held; nearly always there is at most one.
        let mut index = 0;
        loop {
            let observer = {
                let observers = self.observers.lock();
                match observers.list.iter().enumerate().skip(index).find(|(_, e)| e.1.intersects(events)) {
                    Some((found, entry)) => {
                        index = found + 1;
                        entry.2.clone()
                    }
                    None => return,
                }
            };
            observer.notify(events);
        }
    }

    /// Blocks until `attempt` gives a value, a signal comes, or `deadline_ns` passes.
    pub fn wait<T>(
        &self,
        deadline_ns: Option<u64>,
        attempt: impl FnMut() -> Option<T>,
    ) -> Result<T, WaitError> {
        self.waiters.wait(Interruptible::Yes, deadline_ns, attempt)
    }
}
