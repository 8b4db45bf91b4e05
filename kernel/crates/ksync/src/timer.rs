//! Timers: something that happens at a point on the monotonic clock.
//!
//! Responsible for one pending expiry per [`Timer`], its re-arming and its cancelling. Not for
//! periods, other clocks or overruns: those are arithmetic of whoever owns the timer, which re-arms
//! it when it needs the next expiry, so that nobody pays for ticks that nobody reads.
//!
//! `Timer::pending` guards which expiry is the timer's own. It is taken before the platform's lock
//! of the queue of timers; the platform calls [`TimerTarget::fire`] with no lock held, so a target may
//! arm and cancel timers, its own included.

use alloc::sync::Arc;

use crate::{SpinLock, platform};

/// What a timer does when it expires.
pub trait TimerTarget: Send + Sync {
    /// The deadline has passed. Called from an interrupt, with no lock held: must not wait.
    ///
    /// A call can be under way on another CPU while the timer is re-armed or cancelled there, so a
    /// target decides under its own lock whether the expiry still means something.
    fn fire(&self);
}

/// One expiry at a time, of one target. Dropping it cancels.
///
/// Arming, re-arming and cancelling allocate nothing here; a platform with room in its queue for as
/// many timers as are armed allocates nothing either.
pub struct Timer {
    target: Arc<dyn TimerTarget>,
    /// Deadline and name of the expiry that was armed last; it may have fired since.
    pending: SpinLock<Option<(u64, u64)>>,
}

impl Timer {
    /// Makes a timer that is not armed.
    pub fn new(target: Arc<dyn TimerTarget>) -> Self {
        Self { target, pending: SpinLock::new(None) }
    }

    /// Lets the target be told once, as soon as the monotonic clock reaches `deadline_ns`. An expiry armed
    /// before is replaced; returns whether there was one that had not fired.
    pub fn arm(&self, deadline_ns: u64) -> bool {
        let mut pending = self.pending.lock();
        let replaced = pending.take().is_some_and(cancel_expiry);
        *pending = Some((deadline_ns, platform::timer_arm(deadline_ns, self.target.clone())));
        replaced
    }

    /// Takes the expiry back; returns whether there was one that had not fired. After `false` the target may
    /// still be running on another CPU.
    pub fn cancel(&self) -> bool {
        self.pending.lock().take().is_some_and(cancel_expiry)
    }
}

fn cancel_expiry((deadline_ns, expiry): (u64, u64)) -> bool {
    platform::timer_cancel(deadline_ns, expiry)
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
        time::Duration,
    };

    use super::*;
    use crate::{Interruptible, WaitQueue};

    #[derive(Default)]
    struct Count {
        fired: AtomicUsize,
        changed: WaitQueue,
    }

    impl TimerTarget for Count {
        fn fire(&self) {
            assert!(!crate::platform::may_wait(), "called as from an interrupt");
            self.fired.fetch_add(1, Ordering::SeqCst);
            self.changed.wake_all();
        }
    }

    impl Count {
        fn wait_for(&self, fired: usize) {
            self.changed
                .wait(Interruptible::No, None, || (self.fired.load(Ordering::SeqCst) >= fired).then_some(()))
                .unwrap();
        }
    }

    #[test]
    fn fires_once_and_not_early() {
        let count = Arc::new(Count::default());
        let timer = Timer::new(count.clone());
        let deadline_ns = platform::now_ns() + 2_000_000;
        assert!(!timer.arm(deadline_ns));
        count.wait_for(1);
        assert!(platform::now_ns() >= deadline_ns);
        assert!(!timer.cancel());
        assert_eq!(count.fired.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_once() {
        let count = Arc::new(Count::default());
        let timer = Timer::new(count.clone());
        timer.arm(0);
        count.wait_for(1);
    }

    #[test]
    fn a_cancelled_replaced_or_dropped_expiry_never_fires() {
        let count = Arc::new(Count::default());
        let timer = Timer::new(count.clone());
        let soon = || platform::now_ns() + 20_000_000;
        let far = platform::now_ns() + 3_600_000_000_000;
        timer.arm(soon());
        assert!(timer.cancel());
        assert!(!timer.cancel());
        timer.arm(soon());
        assert!(timer.arm(far));
        drop(timer);
        let dropped = Timer::new(count.clone());
        dropped.arm(soon());
        drop(dropped);
        thread::sleep(Duration::from_millis(40));
        assert_eq!(count.fired.load(Ordering::SeqCst), 0);
        assert_eq!(Arc::strong_count(&count), 1, "the platform let go of the target");
    }

    #[test]
    fn expiries_that_were_not_cancelled_all_fire() {
        let count = Arc::new(Count::default());
        let fired: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|seed| {
                    let count = count.clone();
                    scope.spawn(move || {
                        let timer = Timer::new(count);
                        let mut armed = 0;
                        let mut taken_back = 0;
                        for round in 0..500_u64 {
                            taken_back +=
                                usize::from(timer.arm(platform::now_ns() + (round * 37 + seed) % 900));
                            armed += 1;
                        }
                        armed - taken_back - usize::from(timer.cancel())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        count.wait_for(fired);
        assert_eq!(count.fired.load(Ordering::SeqCst), fired);
    }
}
