//! TLB shoot-down: after it, no CPU uses what its TLB held of a range (SDM vol. 3, 4.10.4 and 4.10.5).
//!
//! The CPU that changed the tables flushes its own TLB, writes the range into its own slot of [`REQUESTS`],
//! marks the CPUs that must follow, sends each an interrupt, and waits until all marks are gone. A CPU makes
//! one request at a time, as the kernel is not preemptible, so a slot each is enough, and requests of
//! different CPUs go on side by side. While it waits it serves others' requests, so two that wait for each
//! other do not do so for ever, even with interrupts masked.
//!
//! An idle CPU is not interrupted: it is told that its TLB is stale, and flushes everything once it is no
//! longer idle. The request stores that first and then looks (again) whether the CPU is idle; the CPU says
//! first that it is not, and then looks whether it is stale. With sequentially consistent operations one of
//! the two sees the other. Idle code uses kernel mappings only, and none that are ever unmapped.
//!
//! That is not enough if page tables go free: a CPU may walk speculatively at any time, idle or not, from a
//! cached reference to a table (4.10.3.1), and would take whatever the frame holds by then for entries. Such
//! requests interrupt idle CPUs too.

use core::{
    hint::spin_loop,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use address_space::Tlb;
use x86_64::{
    VirtAddr,
    instructions::tlb,
    registers::control::{Cr4, Cr4Flags},
};

use crate::arch::{
    apic,
    cpu::{self, MAX_CPUS, PerCpu},
    interrupt, layout,
};

/// Pages above which the whole TLB is flushed rather than page by page; Linux's
/// `tlb_single_page_flush_ceiling`.
const SINGLE_PAGE_CEILING: u64 = 33;

/// What one CPU asks of the others.
struct Request {
    start: AtomicU64,
    end: AtomicU64,
    /// The CPUs that have not followed yet.
    waiting: AtomicU64,
}

static REQUESTS: [Request; MAX_CPUS] =
    [const { Request { start: AtomicU64::new(0), end: AtomicU64::new(0), waiting: AtomicU64::new(0) } };
        MAX_CPUS];

/// Which CPUs a request reaches at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IdleCpus {
    /// They flush when they wake.
    Later,
    /// They are woken to flush.
    Now,
}

/// The TLBs of this machine.
pub struct MachineTlb;

impl Tlb for MachineTlb {
    fn flush_range(&self, range: Range<usize>) {
        shoot_down(range.start as u64..range.end as u64, IdleCpus::Later);
    }

    fn flush_range_and_tables(&self, range: Range<usize>) {
        shoot_down(range.start as u64..range.end as u64, IdleCpus::Now);
    }

    fn flush_all(&self) {
        shoot_down(0..layout::USER_END, IdleCpus::Later);
    }
}

/// Flushes a range of kernel addresses on all CPUs.
pub fn flush_kernel_range(range: Range<u64>) {
    shoot_down(range, IdleCpus::Later);
}

fn shoot_down(range: Range<u64>, idle_cpus: IdleCpus) {
    // Tied to this CPU until the end: an interrupt here neither switches threads nor makes requests.
    flush_local(&range);
    let here = cpu::index();
    let request = &REQUESTS[here];
    request.start.store(range.start, Ordering::Relaxed);
    request.end.store(range.end, Ordering::Relaxed);
    let may_wait = |cpu: &PerCpu| {
        if idle_cpus == IdleCpus::Now || !cpu.idle.load(Ordering::SeqCst) {
            return false;
        }
        cpu.tlb_stale.store(true, Ordering::SeqCst);
        cpu.idle.load(Ordering::SeqCst)
    };
    let targets = cpu::all()
        .filter(|cpu| cpu.index != here && !may_wait(cpu))
        .fold(0u64, |mask, cpu| mask | 1 << cpu.index);
    if targets == 0 {
        return;
    }
    request.waiting.store(targets, Ordering::SeqCst);
    cpu::in_mask(targets).for_each(|cpu| apic::send_ipi(cpu, interrupt::TLB_SHOOTDOWN));
    while request.waiting.load(Ordering::Acquire) != 0 {
        serve_requests();
        spin_loop();
    }
}

/// Does what other CPUs ask for.
pub fn serve_requests() {
    // Between the look at a mark and its removal no interrupt may come and do the same: the request would be
    // over, and the mark that we remove could be the next one's.
    let irq = ksync::platform::irq_save();
    let mine = 1u64 << cpu::index();
    for request in REQUESTS.iter().take(cpu::highest_index() + 1) {
        if request.waiting.load(Ordering::Acquire) & mine != 0 {
            let range = request.start.load(Ordering::Relaxed)..request.end.load(Ordering::Relaxed);
            flush_local(&range);
            request.waiting.fetch_and(!mine, Ordering::Release);
        }
    }
    ksync::platform::irq_restore(irq);
}

/// This CPU is no longer idle; called after it has said so, before it touches the application's memory.
pub fn leave_idle() {
    if cpu::this().tlb_stale.swap(false, Ordering::SeqCst) {
        flush_everything();
    }
}

fn flush_local(range: &Range<u64>) {
    let pages = (range.end - range.start).div_ceil(4096);
    if pages <= SINGLE_PAGE_CEILING {
        // INVLPG drops global entries and the paging-structure caches too.
        (range.start..range.end)
            .step_by(4096)
            .for_each(|address| tlb::flush(VirtAddr::new_truncate(address)));
    } else if range.start >= layout::DIRECT_MAP {
        flush_everything();
    } else {
        // A write to CR3 drops all entries but global ones, which the application's are not.
        tlb::flush_all();
    }
}

/// Drops global entries as well: a change of CR4.PGE does (SDM vol. 3, 4.10.4.1).
fn flush_everything() {
    let irq = ksync::platform::irq_save();
    let cr4 = Cr4::read();
    // SAFETY: PGE is put back at once; without it entries are merely not kept.
    unsafe {
        Cr4::write(cr4 - Cr4Flags::PAGE_GLOBAL);
        Cr4::write(cr4);
    }
    ksync::platform::irq_restore(irq);
}
