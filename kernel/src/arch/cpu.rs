//! What belongs to one CPU.
//!
//! GS points to this CPU's [`PerCpu`] from its first Rust code on and never changes. The kernel is not
//! preemptible, so a reference to [`this`] stays right until the thread blocks or returns to the
//! application.

use alloc::boxed::Box;
use core::{
    arch::asm,
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
};

use spin::Once;
use x86_64::registers::model_specific::Msr;

use crate::task::Thread;

/// Most CPUs that a machine may have: sets of CPUs are one 64-bit word.
pub const MAX_CPUS: usize = 64;

/// State of one CPU. The assembly knows the first fields by offset (`entry.s`).
#[repr(C)]
pub struct PerCpu {
    this: *const PerCpu,
    /// Top of the running thread's kernel stack: where an entry from the application builds its frame.
    pub kernel_stack_top: Cell<u64>,
    /// Scratch of the system call entry.
    user_rsp: Cell<u64>,
    /// The running thread.
    pub current: Cell<*const Thread>,
    /// Index of this CPU, from 0.
    pub index: usize,
    /// Its local APIC's id. Set before the CPU is online.
    apic_id: Cell<u32>,
    /// The running thread should give way at the next return to the application.
    pub need_resched: AtomicBool,
    /// This CPU sleeps or is about to: it looks for work and flushes its TLB before it does anything else.
    pub idle: AtomicBool,
    /// A flush passed this CPU by while it was idle (see `mm::shootdown`).
    pub tlb_stale: AtomicBool,
    /// Deadline that the local timer is armed for, monotonic, or `u64::MAX`.
    pub timer_armed_ns: AtomicU64,
    /// Nanoseconds spent idle.
    pub idle_ns: AtomicU64,
    /// Interrupts handled.
    pub interrupts: AtomicU64,
    /// Context switches made.
    pub switches: AtomicU64,
}

// SAFETY: the `Cell`s are touched only by the CPU that owns them, which reaches them through GS; the rest
// is atomic or constant.
unsafe impl Sync for PerCpu {}

static CPUS: [AtomicPtr<PerCpu>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
/// Bit i: CPU i takes interrupts and runs threads.
static ONLINE: AtomicU64 = AtomicU64::new(0);

impl PerCpu {
    const fn new(index: usize) -> Self {
        Self {
            this: core::ptr::null(),
            kernel_stack_top: Cell::new(0),
            user_rsp: Cell::new(0),
            current: Cell::new(core::ptr::null()),
            index,
            apic_id: Cell::new(0),
            need_resched: AtomicBool::new(false),
            idle: AtomicBool::new(false),
            tlb_stale: AtomicBool::new(false),
            timer_armed_ns: AtomicU64::new(u64::MAX),
            idle_ns: AtomicU64::new(0),
            interrupts: AtomicU64::new(0),
            switches: AtomicU64::new(0),
        }
    }
}

impl PerCpu {
    /// Its local APIC's id.
    pub fn apic_id(&self) -> u32 {
        self.apic_id.get()
    }
}

/// The boot CPU's, which is needed before there is a heap.
struct BootCpu(core::cell::UnsafeCell<PerCpu>);
// SAFETY: written only by `init_boot_cpu`, before any other CPU runs.
unsafe impl Sync for BootCpu {}
static BOOT_CPU: BootCpu = BootCpu(core::cell::UnsafeCell::new(PerCpu::new(0)));

/// Gives the boot CPU its per-CPU state. The first thing that the kernel does.
///
/// # Safety
/// Called once, on the boot CPU, before any other function of this module.
pub unsafe fn init_boot_cpu() {
    let cpu = BOOT_CPU.0.get();
    // SAFETY: nobody else runs yet.
    unsafe {
        (*cpu).this = cpu;
        install(cpu);
    }
}

/// Makes the state of a CPU that is about to be started: without it that CPU cannot even allocate.
pub fn prepare(index: usize) {
    let cpu = Box::leak(Box::new(PerCpu::new(index)));
    cpu.this = cpu;
    CPUS[index].store(cpu, Ordering::Release);
}

/// Gives the CPU that runs this the state that [`prepare`] made.
///
/// # Safety
/// Called once on each further CPU, before anything that uses [`this`].
pub unsafe fn init_other_cpu(index: usize) {
    // SAFETY: prepared and leaked, so valid for ever; the caller promises the rest.
    unsafe { install(CPUS[index].load(Ordering::Acquire)) }
}

/// # Safety
/// `cpu` is valid for ever and belongs to the CPU that runs this.
unsafe fn install(cpu: *mut PerCpu) {
    // SAFETY: the CPU's own, and it is not online yet.
    unsafe { (*cpu).apic_id.set(initial_apic_id()) };
    // SAFETY: IA32_GS_BASE; the kernel owns GS.
    unsafe { Msr::new(0xC000_0101).write(cpu as u64) };
    if features().rdtscp || features().rdpid {
        // What `getcpu` in the vDSO reads by RDTSCP or RDPID, coded as Linux does: the NUMA node, 0, above bit 11.
        // SAFETY: IA32_TSC_AUX, which is there if one of the instructions is; valid per this function's contract.
        unsafe { Msr::new(0xC000_0103).write((*cpu).index as u64) };
    }
    // SAFETY: valid per this function's contract.
    CPUS[unsafe { (*cpu).index }].store(cpu, Ordering::Release);
}

/// Counts this CPU as one that takes interrupts and runs threads.
pub fn set_online() {
    ONLINE.fetch_or(1 << index(), Ordering::Release);
}

fn initial_apic_id() -> u32 {
    let highest = core::arch::x86_64::__cpuid(0).eax;
    if highest >= 0xb {
        let leaf = core::arch::x86_64::__cpuid_count(0xb, 0);
        if leaf.ebx != 0 {
            return leaf.edx;
        }
    }
    core::arch::x86_64::__cpuid(1).ebx >> 24
}

/// This CPU's state.
#[inline]
pub fn this() -> &'static PerCpu {
    let cpu: *const PerCpu;
    // SAFETY: GS points to this CPU's `PerCpu`, whose first field is its own address; it lives for ever.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) cpu, options(nostack, preserves_flags, pure, readonly));
        &*cpu
    }
}

/// Index of this CPU.
#[inline]
pub fn index() -> usize {
    this().index
}

/// The state of the CPU with this index, once it is online.
pub fn by_index(index: usize) -> Option<&'static PerCpu> {
    let cpu = CPUS.get(index)?.load(Ordering::Acquire);
    // SAFETY: a non-null entry was leaked (or is the static one) and is never freed.
    unsafe { cpu.as_ref() }
}

/// How many CPUs run.
#[inline]
pub fn count() -> usize {
    online_mask().count_ones() as usize
}

/// The highest index of a CPU that runs.
#[inline]
pub fn highest_index() -> usize {
    63 - (online_mask() | 1).leading_zeros() as usize
}

/// The CPUs that run, as a set of indices.
#[inline]
pub fn online_mask() -> u64 {
    ONLINE.load(Ordering::Acquire)
}

/// All CPUs that run.
pub fn all() -> impl Iterator<Item = &'static PerCpu> {
    in_mask(online_mask())
}

/// The CPUs in a set of indices.
pub fn in_mask(mut mask: u64) -> impl Iterator<Item = &'static PerCpu> {
    core::iter::from_fn(move || {
        let index = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        by_index(index)
    })
}

/// What the CPU says of itself, for the kernel's own choices.
#[derive(Debug)]
pub struct Features {
    /// `fsgsbase` instructions.
    pub fsgsbase: bool,
    /// TSC-deadline mode of the local APIC's timer.
    pub tsc_deadline: bool,
    /// x2APIC mode.
    pub x2apic: bool,
    /// `xsave` and friends.
    pub xsave: bool,
    /// `xsaveopt`.
    pub xsaveopt: bool,
    /// `rdrand`.
    pub rdrand: bool,
    /// `rdseed`.
    pub rdseed: bool,
    /// `rdtscp`.
    pub rdtscp: bool,
    /// `rdpid`.
    pub rdpid: bool,
    /// 1 GiB pages.
    pub pages_1g: bool,
    /// A hypervisor is there, with this signature (leaf 0x40000000).
    pub hypervisor: Option<[u8; 12]>,
}

/// The CPU's features (of the boot CPU; the machine is taken to be symmetric).
pub fn features() -> &'static Features {
    static FEATURES: Once<Features> = Once::new();
    FEATURES.call_once(|| {
        use core::arch::x86_64::{__cpuid, __cpuid_count};
        let highest = __cpuid(0).eax;
        let leaf1 = __cpuid(1);
        let leaf7 = if highest >= 7 { Some(__cpuid_count(7, 0)) } else { None };
        let xsave = leaf1.ecx & (1 << 26) != 0;
        let extended = __cpuid(0x8000_0000).eax;
        let extended1 = if extended >= 0x8000_0001 { __cpuid(0x8000_0001).edx } else { 0 };
        Features {
            fsgsbase: leaf7.is_some_and(|leaf| leaf.ebx & 1 != 0),
            tsc_deadline: leaf1.ecx & (1 << 24) != 0,
            x2apic: leaf1.ecx & (1 << 21) != 0,
            xsave,
            xsaveopt: xsave && __cpuid_count(0xd, 1).eax & 1 != 0,
            rdrand: leaf1.ecx & (1 << 30) != 0,
            rdseed: leaf7.is_some_and(|leaf| leaf.ebx & (1 << 18) != 0),
            rdtscp: extended1 & (1 << 27) != 0,
            rdpid: leaf7.is_some_and(|leaf| leaf.ecx & (1 << 22) != 0),
            pages_1g: extended1 & (1 << 26) != 0,
            hypervisor: (leaf1.ecx & (1 << 31) != 0).then(|| {
                let leaf = __cpuid(0x4000_0000);
                let mut signature = [0; 12];
                signature[..4].copy_from_slice(&leaf.ebx.to_le_bytes());
                signature[4..8].copy_from_slice(&leaf.ecx.to_le_bytes());
                signature[8..].copy_from_slice(&leaf.edx.to_le_bytes());
                signature
            }),
        }
    })
}

/// Brand, family, model and the flags line of `/proc/cpuinfo` come from the raw leaves.
pub fn cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let r = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [r.eax, r.ebx, r.ecx, r.edx]
}
