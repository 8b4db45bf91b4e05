//! The platform on loom's threads, in place of the host's, for model checks here and in crates above. There is no time on
//! it, and there are no interrupts.

use std::sync::Arc;

use loom::sync::{
    Condvar, Mutex,
    atomic::{AtomicU32, Ordering},
};

use crate::{ParkToken, Parking, TimerTarget, Unparking, platform::Parker};

/// A thread with the kernel's token, on a scheduler that makes it runnable once for each time that it is told to.
pub(crate) struct LoomThread {
    token: ParkToken,
    runnable: Mutex<u32>,
    changed: Condvar,
    interrupted: AtomicU32,
}

impl LoomThread {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            token: ParkToken::new(),
            runnable: Mutex::new(0),
            changed: Condvar::new(),
            interrupted: AtomicU32::new(0),
        })
    }

    /// A signal comes.
    #[cfg(test)]
    pub(crate) fn interrupt(&self) {
        self.interrupted.store(1, Ordering::Relaxed);
        self.unpark();
    }
}

impl Parker for LoomThread {
    fn park(&self, _deadline_ns: Option<u64>) {
        if self.token.prepare() == Parking::GoOn {
            return;
        }
        let mut runnable = self.runnable.lock().unwrap();
        while *runnable == 0 {
            runnable = self.changed.wait(runnable).unwrap();
        }
        assert_eq!(*runnable, 1, "a thread is made runnable once for each park");
        *runnable = 0;
        drop(runnable);
        self.token.finish();
    }

    fn unpark(&self) {
        if self.token.notify() == Unparking::MakeRunnable {
            *self.runnable.lock().unwrap() += 1;
            self.changed.notify_one();
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) != 0
    }
}

loom::thread_local! {
    static CURRENT: Arc<LoomThread> = LoomThread::new();
}

/// The running thread.
pub(crate) fn current() -> Arc<LoomThread> {
    CURRENT.with(Arc::clone)
}

#[unsafe(no_mangle)]
fn crema_irq_save() -> usize {
    0
}

#[unsafe(no_mangle)]
fn crema_irq_restore(_state: usize) {}

#[unsafe(no_mangle)]
fn crema_may_wait() -> bool {
    true
}

#[unsafe(no_mangle)]
fn crema_cpu_index() -> usize {
    0
}

#[unsafe(no_mangle)]
fn crema_current_parker() -> Arc<dyn Parker> {
    current()
}

/// Time stands still: what depends on it is not tried here.
#[unsafe(no_mangle)]
fn crema_now_ns() -> u64 {
    0
}

#[unsafe(no_mangle)]
fn crema_realtime_ns() -> u64 {
    0
}

#[unsafe(no_mangle)]
fn crema_timer_arm(_deadline_ns: u64, _target: Arc<dyn TimerTarget>) -> u64 {
    unreachable!("no timers here")
}

#[unsafe(no_mangle)]
fn crema_timer_cancel(_deadline_ns: u64, _expiry: u64) -> bool {
    unreachable!("no timers here")
}
