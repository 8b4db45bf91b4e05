//! Starting the other CPUs (SDM vol. 3, 8.4.4: INIT, then a start-up IPI to a page below 1 MiB).

use alloc::{boxed::Box, vec::Vec};
use core::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use super::{apic, clock, cpu, fpu, layout, tables};
use crate::sched;

/// Bytes of the stack on which a CPU starts and later idles.
const IDLE_STACK_SIZE: usize = 16 * 1024;

/// By index: where the trampoline finds the stack of the CPU that arrives as that index.
#[unsafe(no_mangle)]
static AP_STACK_TOPS: [AtomicUsize; cpu::MAX_CPUS] = [const { AtomicUsize::new(0) }; cpu::MAX_CPUS];

unsafe extern "C" {
    static ap_trampoline: u8;
    static ap_trampoline_end: u8;
    /// In `.boot.data`: linked at its physical address.
    static ap_arrivals: AtomicU32;
}

#[repr(C, align(16))]
struct IdleStack([u8; IDLE_STACK_SIZE]);

/// Starts the CPUs with these local APIC ids (the running one among them is skipped) and waits, a second at
/// most, until they run. A CPU that does not come is reported and left out.
pub fn start(apic_ids: &[u32]) {
    let others: Vec<u32> =
        apic_ids.iter().copied().filter(|id| *id != cpu::this().apic_id()).take(cpu::MAX_CPUS - 1).collect();
    if others.is_empty() {
        return;
    }
    for (index, top) in AP_STACK_TOPS.iter().enumerate().skip(1).take(others.len()) {
        cpu::prepare(index);
        // SAFETY: a stack has no invalid contents.
        let stack = Box::leak(unsafe { Box::<IdleStack>::new_zeroed().assume_init() });
        top.store(&raw const *stack as usize + IDLE_STACK_SIZE, Ordering::Relaxed);
    }
    // SAFETY: the trampoline page is reserved (see `boot_info`), and the code fits into half of it.
    unsafe {
        let code = &raw const ap_trampoline;
        let len = (&raw const ap_trampoline_end).offset_from(code) as usize;
        assert!(len <= 0x800, "the trampoline is too long");
        core::ptr::copy_nonoverlapping(
            layout::direct::<u8>(code as u64),
            layout::direct(layout::TRAMPOLINE),
            len,
        );
    }
    for id in &others {
        apic::send_init(*id);
    }
    // Real hardware wants 10 ms after INIT on CPUs older than any that runs this; 200 us between start-ups.
    wait_us(200);
    for id in &others {
        apic::send_startup(*id, layout::TRAMPOLINE);
    }
    let deadline_ns = clock::now_ns() + 1_000_000_000;
    let mut again_ns = clock::now_ns() + 100_000_000;
    while cpu::count() < 1 + others.len() && clock::now_ns() < deadline_ns {
        spin_loop();
        // SAFETY: an aligned word of the image, reached through the direct map.
        let arrivals = unsafe { &*layout::direct::<AtomicU32>(&raw const ap_arrivals as u64) };
        let none_came = arrivals.load(Ordering::Relaxed) == 1;
        if none_came && clock::now_ns() > again_ns {
            again_ns = u64::MAX;
            others.iter().for_each(|id| apic::send_startup(*id, layout::TRAMPOLINE));
        }
    }
    if cpu::count() < 1 + others.len() {
        log::warn!("only {} of {} CPUs started", cpu::count(), 1 + others.len());
    }
}

fn wait_us(us: u64) {
    let end_ns = clock::now_ns() + us * 1000;
    while clock::now_ns() < end_ns {
        spin_loop();
    }
}

/// First Rust code of another CPU, on its idle stack and under the kernel's page tables.
#[unsafe(no_mangle)]
extern "C" fn ap_entry(index: usize) -> ! {
    // SAFETY: once on this CPU, `this` first.
    unsafe {
        cpu::init_other_cpu(index);
        fpu::init();
        tables::init();
    }
    apic::init();
    cpu::set_online();
    sched::run_idle_loop()
}
