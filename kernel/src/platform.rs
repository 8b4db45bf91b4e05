//! The kernel's side of `ksync`'s platform boundary.

use alloc::sync::Arc;

use ksync::{TimerTarget, platform::Parker};
use x86_64::instructions::interrupts;

use crate::{
    arch::{clock, cpu},
    task, time,
};

#[unsafe(no_mangle)]
fn crema_irq_save() -> usize {
    let enabled = interrupts::are_enabled();
    if enabled {
        interrupts::disable();
    }
    usize::from(enabled)
}

#[unsafe(no_mangle)]
fn crema_irq_restore(state: usize) {
    if state != 0 {
        interrupts::enable();
    }
}

#[unsafe(no_mangle)]
fn crema_may_wait() -> bool {
    interrupts::are_enabled()
}

#[unsafe(no_mangle)]
fn crema_cpu_index() -> usize {
    cpu::index()
}

#[unsafe(no_mangle)]
fn crema_current_parker() -> Arc<dyn Parker> {
    task::current_arc()
}

#[unsafe(no_mangle)]
fn crema_now_ns() -> u64 {
    clock::now_ns()
}

#[unsafe(no_mangle)]
fn crema_realtime_ns() -> u64 {
    clock::realtime_ns()
}

#[unsafe(no_mangle)]
fn crema_timer_arm(deadline_ns: u64, target: Arc<dyn TimerTarget>) -> u64 {
    time::arm(deadline_ns, target)
}

#[unsafe(no_mangle)]
fn crema_timer_cancel(deadline_ns: u64, expiry: u64) -> bool {
    time::cancel(deadline_ns, expiry)
}
