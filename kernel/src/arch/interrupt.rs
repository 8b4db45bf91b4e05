//! Interrupt vectors and who serves them.
//!
//! Vectors 0xf0 and up are the kernel's own; below, devices get theirs by [`allocate`].

use alloc::boxed::Box;
use core::sync::atomic::Ordering;

use ksync::SpinLock;
use spin::Once;

use super::{apic, cpu};
use crate::{mm, panic, sched, time};

/// The local timer.
pub const TIMER: u8 = 0xf0;
/// Another CPU has put work on this one's run queue.
pub const RESCHEDULE: u8 = 0xf1;
/// Another CPU wants this one's TLB flushed.
pub const TLB_SHOOTDOWN: u8 = 0xf2;
/// Another CPU wants a function run here (`membarrier(2)`).
pub const BARRIER: u8 = 0xf3;
/// Another CPU panicked.
pub const STOP: u8 = 0xf4;
/// The APIC's spurious vector; it gets no end-of-interrupt.
pub const SPURIOUS: u8 = 0xff;

const FIRST_DEVICE: u8 = 0x30;
const LAST_DEVICE: u8 = 0xef;
const DEVICES: usize = (LAST_DEVICE - FIRST_DEVICE) as usize + 1;

type Handler = Box<dyn Fn() + Send + Sync>;

static HANDLERS: [Once<Handler>; DEVICES] = [const { Once::new() }; DEVICES];
static NEXT_FREE: SpinLock<usize> = SpinLock::new(0);

/// Takes a free vector for a device's interrupts. `handler` runs with interrupts masked, on the CPU that the
/// interrupt was sent to; it must not wait. `None` if all vectors are taken.
pub fn allocate(handler: impl Fn() + Send + Sync + 'static) -> Option<u8> {
    let index = {
        let mut next = NEXT_FREE.lock();
        if *next == DEVICES {
            return None;
        }
        *next += 1;
        *next - 1
    };
    HANDLERS[index].call_once(|| Box::new(handler));
    Some(FIRST_DEVICE + index as u8)
}

/// Serves one interrupt.
pub fn dispatch(vector: u8) {
    cpu::this().interrupts.fetch_add(1, Ordering::Relaxed);
    match vector {
        SPURIOUS => return,
        TIMER => time::timer_interrupt(),
        RESCHEDULE => sched::reschedule_interrupt(),
        TLB_SHOOTDOWN => mm::serve_requests(),
        // The interrupt itself is the barrier: it serialises this CPU.
        BARRIER => sched::barrier_interrupt(),
        STOP => panic::stop_if_panicking(),
        FIRST_DEVICE..=LAST_DEVICE => match HANDLERS[(vector - FIRST_DEVICE) as usize].get() {
            Some(handler) => handler(),
            None => log::warn!("interrupt {vector:#x} that nobody asked for"),
        },
        _ => log::warn!("unexpected interrupt {vector:#x}"),
    }
    apic::end_of_interrupt();
}
