//! Readiness: what `poll(2)` and `epoll(7)` ask, and who is told when it changes.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicUsize, Ordering, fence};

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

/// Whether an observer's being told led to anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notified {
    /// A thread was woken for these events.
    Woke,
    /// No thread waits there for these events now.
    Idle,
}

/// Somebody who is told when an object's readiness changes: an epoll instance or a polling thread.
pub trait Observer: Send + Sync {
    /// `events` may have become true (or, for an edge, true again). Called with no lock held,
    /// possibly from an interrupt, possibly once more after the registration has ended; must not wait.
    /// The answer matters only for a registration with [`Sharing::Exclusive`].
    fn notify(&self, events: PollEvents) -> Notified;
}

/// Which of several observers of one object are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// This one, always.
    Shared,
    /// Of those registered so, in order, no more than it takes to wake one thread (`EPOLLEXCLUSIVE`).
    Exclusive,
}

/// Names a registration, for its removal. In order of registration, the exclusive ones after all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObserverId(u64);

impl ObserverId {
    const EXCLUSIVE: u64 = 1 << 63;

    const fn is_exclusive(self) -> bool {
        self.0 & Self::EXCLUSIVE != 0
    }
}

/// The readiness side of an object: threads blocked in a call on it, and observers.
///
/// The object makes the new state visible first and calls [`notify`](Self::notify) after; those who
/// wait register first and look after. So no change is missed; with a full fence on either side between
/// the two steps, also not by one who finds out without a lock that nobody is there to be told.
#[derive(Default)]
pub struct Pollee {
    /// Threads blocked in a call on the object.
    pub waiters: WaitQueue,
    observers: SpinLock<Observers>,
    /// How many observers there are; written under their lock.
    observer_count: AtomicUsize,
}

#[derive(Default)]
struct Observers {
    next_id: u64,
    /// In order of their names, so that [`Pollee::notify`] finds its place again after a change.
    list: Vec<Registration>,
}

struct Registration {
    id: ObserverId,
    mask: PollEvents,
    observer: Arc<dyn Observer>,
}

impl Pollee {
    /// Makes one that nobody waits for.
    pub const fn new() -> Self {
        Self {
            waiters: WaitQueue::new(),
            observers: SpinLock::new(Observers { next_id: 0, list: Vec::new() }),
            observer_count: AtomicUsize::new(0),
        }
    }

    /// Tells `observer` of changes to any of `mask` from now on, until [`unregister`](Self::unregister).
    pub fn register(&self, mask: PollEvents, sharing: Sharing, observer: Arc<dyn Observer>) -> ObserverId {
        let mut observers = self.observers.lock();
        observers.next_id += 1;
        let id = match sharing {
            Sharing::Shared => ObserverId(observers.next_id),
            Sharing::Exclusive => ObserverId(observers.next_id | ObserverId::EXCLUSIVE),
        };
        let place = observers.list.partition_point(|entry| entry.id < id);
        observers.list.insert(place, Registration { id, mask, observer });
        self.observer_count.store(observers.list.len(), Ordering::Relaxed);
        drop(observers);
        // The caller looks at the object next.
        fence(Ordering::SeqCst);
        id
    }

    /// Ends a registration.
    pub fn unregister(&self, id: ObserverId) {
        let mut observers = self.observers.lock();
        if let Ok(place) = observers.list.binary_search_by_key(&id, |entry| entry.id) {
            let entry = observers.list.remove(place);
            self.observer_count.store(observers.list.len(), Ordering::Relaxed);
            drop(observers);
            // Dropped outside the lock: it may be the observer's last reference.
            drop(entry);
        }
    }

    /// Wakes blocked threads and tells observers that `events` may have become true. Callable from
    /// interrupts.
    pub fn notify(&self, events: PollEvents) {
        // The object has changed already.
        fence(Ordering::SeqCst);
        if !self.waiters.is_empty() {
            self.waiters.wake_all();
        }
        if self.observer_count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut told = ObserverId(0);
        loop {
            let observer = {
                let observers = self.observers.lock();
                let next = observers.list.partition_point(|entry| entry.id <= told);
                match observers.list[next..].iter().find(|entry| entry.mask.intersects(events)) {
                    Some(entry) => {
                        told = entry.id;
                        entry.observer.clone()
                    }
                    None => return,
                }
            };
            if observer.notify(events) == Notified::Woke && told.is_exclusive() {
                return;
            }
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Probe {
        told: AtomicUsize,
        answer: Notified,
    }

    impl Observer for Probe {
        fn notify(&self, _events: PollEvents) -> Notified {
            self.told.fetch_add(1, Ordering::SeqCst);
            self.answer
        }
    }

    fn probe(answer: Notified) -> Arc<Probe> {
        Arc::new(Probe { told: AtomicUsize::new(0), answer })
    }

    fn told(probe: &Probe) -> usize {
        probe.told.load(Ordering::SeqCst)
    }

    #[test]
    fn all_shared_observers_are_told_and_exclusive_ones_until_a_thread_wakes() {
        let pollee = Pollee::new();
        let probes = [Notified::Idle, Notified::Woke, Notified::Woke].map(probe);
        for probe in &probes {
            pollee.register(PollEvents::IN, Sharing::Exclusive, probe.clone());
        }
        let shared = [probe(Notified::Woke), probe(Notified::Woke)];
        for probe in &shared {
            pollee.register(PollEvents::IN, Sharing::Shared, probe.clone());
        }
        pollee.notify(PollEvents::OUT);
        pollee.notify(PollEvents::IN);
        assert_eq!(probes.each_ref().map(|p| told(p)), [1, 1, 0]);
        assert_eq!(shared.each_ref().map(|p| told(p)), [1, 1]);
    }

    struct Leaver {
        pollee: Arc<Pollee>,
        leaving: SpinLock<Option<ObserverId>>,
    }

    impl Observer for Leaver {
        fn notify(&self, _events: PollEvents) -> Notified {
            if let Some(id) = self.leaving.lock().take() {
                self.pollee.unregister(id);
            }
            Notified::Idle
        }
    }

    #[test]
    fn an_observer_that_leaves_while_others_are_told_hides_none_of_them() {
        let pollee = Arc::new(Pollee::new());
        let leaver = Arc::new(Leaver { pollee: pollee.clone(), leaving: SpinLock::default() });
        let id = pollee.register(PollEvents::IN, Sharing::Shared, leaver.clone());
        *leaver.leaving.lock() = Some(id);
        let rest = [probe(Notified::Idle), probe(Notified::Idle)];
        for probe in &rest {
            pollee.register(PollEvents::IN, Sharing::Shared, probe.clone());
        }
        pollee.notify(PollEvents::IN);
        assert_eq!(rest.each_ref().map(|p| told(p)), [1, 1]);
        assert_eq!(Arc::strong_count(&leaver), 1);
    }
}
