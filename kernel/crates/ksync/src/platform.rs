//! The boundary between the locks and what runs them.
//!
//! The kernel defines the `crema_*` functions in its scheduler; with the feature `host` they are
//! defined here on top of the standard library.

use alloc::sync::Arc;

use crate::TimerTarget;

/// A thread as the locks see it: something that can be parked and unparked.
///
/// Parking uses a token, as `java.util.concurrent.locks.LockSupport` does: an unpark that comes
/// first makes the next park return at once, and a park may return for no reason, so every caller
/// looks at its condition again. Nothing is lost between the look and the park.
pub trait Parker: Send + Sync {
    /// Waits for the token, or until `deadline_ns` on the monotonic clock. Only the thread itself
    /// may call this.
    fn park(&self, deadline_ns: Option<u64>);

    /// Gives the token and, if the thread is parked, makes it runnable. Callable from interrupts.
    fn unpark(&self);

    /// Whether the thread has something to do that must end an interruptible wait: an unmasked
    /// signal, or the process exiting.
    fn interrupted(&self) -> bool;
}

unsafe extern "Rust" {
    /// Masks interrupts on this CPU and returns what [`crema_irq_restore`] needs to undo it.
    safe fn crema_irq_save() -> usize;
    /// Puts the interrupt mask back as the matching [`crema_irq_save`] found it.
    safe fn crema_irq_restore(state: usize);
    /// Whether interrupts are unmasked, so that a wait is allowed here.
    safe fn crema_may_wait() -> bool;
    /// Index of this CPU, below [`crema_cpu_count`]; stable only while interrupts are masked.
    safe fn crema_cpu_index() -> usize;
    /// The running thread.
    safe fn crema_current_parker() -> Arc<dyn Parker>;
    /// Nanoseconds on the monotonic clock.
    safe fn crema_now_ns() -> u64;
    /// Nanoseconds since the Unix epoch.
    safe fn crema_realtime_ns() -> u64;
    /// Calls the target's `fire` once, with no lock held and interrupts masked, when the monotonic clock
    /// reaches the deadline: at once after this call if it has passed already, but not from within it, since
    /// the caller holds locks. The value names this expiry, and no later one.
    safe fn crema_timer_arm(deadline_ns: u64, target: Arc<dyn TimerTarget>) -> u64;
    /// Takes the expiry back that was armed for `deadline_ns`; returns whether it had not fired. Does not
    /// wait for a `fire` under way, and drops the target only after it has let go of its own locks.
    safe fn crema_timer_cancel(deadline_ns: u64, expiry: u64) -> bool;
}

/// Masks interrupts on this CPU; the value goes to [`irq_restore`].
#[inline]
pub fn irq_save() -> usize {
    crema_irq_save()
}

/// Undoes the matching [`irq_save`].
#[inline]
pub fn irq_restore(state: usize) {
    crema_irq_restore(state);
}

/// Index of this CPU, from 0; stable only while interrupts are masked.
#[inline]
pub fn cpu_index() -> usize {
    crema_cpu_index()
}

/// The running thread.
pub fn current() -> Arc<dyn Parker> {
    crema_current_parker()
}

/// Nanoseconds on the monotonic clock (`CLOCK_MONOTONIC`).
pub fn now_ns() -> u64 {
    crema_now_ns()
}

/// Nanoseconds since the Unix epoch (`CLOCK_REALTIME`).
pub fn realtime_ns() -> u64 {
    crema_realtime_ns()
}

/// Lets `target` be told when the monotonic clock reaches `deadline_ns`; the value names the expiry.
/// [`Timer`](crate::Timer) is the way to use it.
pub fn timer_arm(deadline_ns: u64, target: Arc<dyn TimerTarget>) -> u64 {
    crema_timer_arm(deadline_ns, target)
}

/// Takes an expiry back; returns whether it had not fired.
pub fn timer_cancel(deadline_ns: u64, expiry: u64) -> bool {
    crema_timer_cancel(deadline_ns, expiry)
}

/// Whether the running code may wait: interrupts are unmasked.
#[inline]
pub fn may_wait() -> bool {
    crema_may_wait()
}

/// Panics in a debug build if the caller must not wait because interrupts are masked.
#[inline]
#[track_caller]
pub fn assert_may_wait() {
    debug_assert!(crema_may_wait(), "a wait with interrupts masked");
}

#[cfg(all(feature = "host", not(all(feature = "loom", loom))))]
mod host {
    //! The platform on top of the standard library, for tests.

    use std::{
        cell::Cell,
        collections::BTreeMap,
        sync::{Arc, Condvar, Mutex, OnceLock},
        thread,
        time::{Duration, Instant, SystemTime},
    };

    use super::Parker;
    use crate::TimerTarget;

    #[derive(Default)]
    struct HostThread {
        token: Mutex<bool>,
        given: Condvar,
    }

    impl Parker for HostThread {
        fn park(&self, deadline_ns: Option<u64>) {
            let token = self.token.lock().unwrap();
            let mut token = match deadline_ns {
                None => self.given.wait_while(token, |given| !*given).unwrap(),
                Some(deadline_ns) => {
                    let left = Duration::from_nanos(deadline_ns.saturating_sub(crema_now_ns()));
                    self.given.wait_timeout_while(token, left, |given| !*given).unwrap().0
                }
            };
            *token = false;
        }

        fn unpark(&self) {
            *self.token.lock().unwrap() = true;
            self.given.notify_one();
        }

        fn interrupted(&self) -> bool {
            false
        }
    }

    thread_local! {
        static CURRENT: Arc<HostThread> = Arc::default();
        static MASK_DEPTH: Cell<usize> = const { Cell::new(0) };
    }

    #[unsafe(no_mangle)]
    fn crema_irq_save() -> usize {
        MASK_DEPTH.replace(MASK_DEPTH.get() + 1)
    }

    #[unsafe(no_mangle)]
    fn crema_irq_restore(state: usize) {
        MASK_DEPTH.set(state);
    }

    #[unsafe(no_mangle)]
    fn crema_may_wait() -> bool {
        MASK_DEPTH.get() == 0
    }

    #[unsafe(no_mangle)]
    fn crema_cpu_index() -> usize {
        0
    }

    #[unsafe(no_mangle)]
    fn crema_current_parker() -> Arc<dyn Parker> {
        CURRENT.with(|thread| thread.clone())
    }

    #[unsafe(no_mangle)]
    fn crema_now_ns() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }

    #[unsafe(no_mangle)]
    fn crema_realtime_ns() -> u64 {
        SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos() as u64)
    }

    /// The armed expiries by deadline and name, and the thread that fires them.
    #[derive(Default)]
    struct Timers {
        queue: Mutex<Queue>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct Queue {
        last_expiry: u64,
        armed: BTreeMap<(u64, u64), Arc<dyn TimerTarget>>,
    }

    fn timers() -> &'static Timers {
        static TIMERS: OnceLock<&'static Timers> = OnceLock::new();
        TIMERS.get_or_init(|| {
            let timers: &'static Timers = Box::leak(Box::default());
            thread::spawn(|| timers.run());
            timers
        })
    }

    impl Timers {
        fn run(&self) {
            let mut queue = self.queue.lock().unwrap();
            loop {
                let Some(first) = queue.armed.first_entry() else {
                    queue = self.changed.wait(queue).unwrap();
                    continue;
                };
                let (deadline_ns, _) = *first.key();
                let now_ns = crema_now_ns();
                if now_ns < deadline_ns {
                    let left = Duration::from_nanos(deadline_ns - now_ns);
                    queue = self.changed.wait_timeout(queue, left).unwrap().0;
                    continue;
                }
                let target = first.remove();
                drop(queue);
                let irq = crema_irq_save();
                target.fire();
                crema_irq_restore(irq);
                drop(target);
                queue = self.queue.lock().unwrap();
            }
        }
    }

    #[unsafe(no_mangle)]
    fn crema_timer_arm(deadline_ns: u64, target: Arc<dyn TimerTarget>) -> u64 {
        let timers = timers();
        let mut queue = timers.queue.lock().unwrap();
        queue.last_expiry += 1;
        let expiry = queue.last_expiry;
        queue.armed.insert((deadline_ns, expiry), target);
        timers.changed.notify_one();
        expiry
    }

    #[unsafe(no_mangle)]
    fn crema_timer_cancel(deadline_ns: u64, expiry: u64) -> bool {
        let target = timers().queue.lock().unwrap().armed.remove(&(deadline_ns, expiry));
        target.is_some()
    }
}
