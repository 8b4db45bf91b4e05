//! Timers: each CPU's queue of deadlines, and its local timer, which is armed for the first of them or for
//! the end of the running thread's slice, whichever is sooner. Nothing ticks.
//!
//! A timer lives on the queue of the CPU that armed it and fires there. A queue's lock is taken with nothing
//! else held, and released before a target is told.

use alloc::{collections::BTreeMap, sync::Arc};
use core::sync::atomic::{AtomicU64, Ordering};

use ksync::{SpinLock, TimerTarget};

use crate::{
    arch::{
        apic, clock,
        cpu::{self, MAX_CPUS},
    },
    sched,
};

/// By deadline and a number that makes the key unique.
type Queue = BTreeMap<(u64, u64), Arc<dyn TimerTarget>>;

static QUEUES: [SpinLock<Queue>; MAX_CPUS] = [const { SpinLock::new(Queue::new()) }; MAX_CPUS];
/// Numbers of expiries; the low bits hold the CPU whose queue has it.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Tells `target` when the monotonic clock reaches `deadline_ns`. The result, with the deadline, names the
/// expiry.
pub fn arm(deadline_ns: u64, target: Arc<dyn TimerTarget>) -> u64 {
    let irq = ksync::platform::irq_save();
    let cpu = cpu::index();
    let number = NEXT.fetch_add(MAX_CPUS as u64, Ordering::Relaxed) + cpu as u64;
    let first = {
        let mut queue = QUEUES[cpu].lock();
        queue.insert((deadline_ns, number), target);
        queue.first_key_value().is_some_and(|(key, _)| key.1 == number)
    };
    if first {
        rearm_no_later_than(deadline_ns);
    }
    ksync::platform::irq_restore(irq);
    number
}

/// Takes an expiry back; whether it had not fired.
pub fn cancel(deadline_ns: u64, number: u64) -> bool {
    let removed = QUEUES[number as usize % MAX_CPUS].lock().remove(&(deadline_ns, number));
    // Dropped with the queue unlocked: it may be the last reference. The local timer stays armed; one idle
    // interrupt is cheaper than arming it twice for each wait that ends early.
    removed.is_some()
}

/// Sees to it that this CPU's local timer fires no later than at `deadline_ns`. With interrupts masked.
pub fn rearm_no_later_than(deadline_ns: u64) {
    let this = cpu::this();
    if deadline_ns < this.timer_armed_ns.load(Ordering::Relaxed) {
        program(deadline_ns);
    }
}

fn program(deadline_ns: u64) {
    cpu::this().timer_armed_ns.store(deadline_ns, Ordering::Relaxed);
    let in_ns = deadline_ns.saturating_sub(clock::now_ns());
    apic::arm_timer(clock::tsc_at(deadline_ns), in_ns);
}

/// The local timer fired.
pub fn timer_interrupt() {
    let this = cpu::this();
    this.timer_armed_ns.store(u64::MAX, Ordering::Relaxed);
    let now_ns = clock::now_ns();
    loop {
        let due = {
            let mut queue = QUEUES[this.index].lock();
            match queue.first_entry() {
                Some(entry) if entry.key().0 <= now_ns => Some(entry.remove()),
                _ => None,
            }
        };
        match due {
            Some(target) => target.fire(),
            None => break,
        }
    }
    if sched::slice_end_ns() <= now_ns {
        sched::slice_expired();
    }
    let next_ns = QUEUES[this.index].lock().first_key_value().map_or(u64::MAX, |(key, _)| key.0);
    let next_ns = next_ns.min(sched::slice_end_ns());
    if next_ns != u64::MAX {
        rearm_no_later_than(next_ns);
    }
}
