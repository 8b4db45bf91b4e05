//! The interrupt controllers: each CPU's local APIC (in x2APIC mode where offered) and the I/O APICs.
//!
//! SDM vol. 3, chapter 10; Intel 82093AA datasheet for the I/O APIC.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ksync::SpinLock;
use x86_64::registers::model_specific::Msr;

use super::{cpu, interrupt, paging};

const IA32_APIC_BASE: u32 = 0x1b;
const IA32_TSC_DEADLINE: u32 = 0x6e0;

/// Registers by their offset in the xAPIC page; the x2APIC's MSR is 0x800 + offset / 16.
const TPR: u32 = 0x80;
const EOI: u32 = 0xb0;
const SPURIOUS: u32 = 0xf0;
const ICR_LOW: u32 = 0x300;
const ICR_HIGH: u32 = 0x310;
const LVT_TIMER: u32 = 0x320;
const LVT_LINT0: u32 = 0x350;
const LVT_LINT1: u32 = 0x360;
const LVT_ERROR: u32 = 0x370;
const TIMER_INITIAL: u32 = 0x380;
const TIMER_CURRENT: u32 = 0x390;
const TIMER_DIVIDE: u32 = 0x3e0;

const MASKED: u32 = 1 << 16;
const TIMER_MODE_DEADLINE: u32 = 2 << 17;
const ENABLED: u32 = 1 << 8;
const DELIVERY_PENDING: u32 = 1 << 12;

const DELIVERY_INIT: u32 = 5 << 8;
const DELIVERY_STARTUP: u32 = 6 << 8;
const LEVEL_ASSERT: u32 = 1 << 14;

static X2APIC: AtomicBool = AtomicBool::new(false);
static XAPIC_PAGE: AtomicU64 = AtomicU64::new(0);
/// Ticks of the local timer per second, where it is not in TSC-deadline mode.
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);

fn read(register: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: an x2APIC register, in x2APIC mode.
        unsafe { Msr::new(0x800 + register / 16).read() as u32 }
    } else {
        let address = XAPIC_PAGE.load(Ordering::Relaxed) + u64::from(register);
        // SAFETY: the register page was mapped by `init`.
        unsafe { (address as *const u32).read_volatile() }
    }
}

fn write(register: u32, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        // SAFETY: as for `read`.
        unsafe { Msr::new(0x800 + register / 16).write(u64::from(value)) }
    } else {
        let address = XAPIC_PAGE.load(Ordering::Relaxed) + u64::from(register);
        // SAFETY: as for `read`.
        unsafe { (address as *mut u32).write_volatile(value) }
    }
}

/// Enables this CPU's local APIC.
pub fn init() {
    let mut base_msr = Msr::new(IA32_APIC_BASE);
    // SAFETY: IA32_APIC_BASE is there on every 64-bit CPU with an APIC.
    let base = unsafe { base_msr.read() };
    let x2apic = cpu::features().x2apic;
    if x2apic {
        // SAFETY: bits 11 (enable) and 10 (x2APIC), which CPUID offers.
        unsafe { base_msr.write(base | 1 << 11 | 1 << 10) };
        X2APIC.store(true, Ordering::Relaxed);
    } else {
        // SAFETY: bit 11, enable.
        unsafe { base_msr.write(base | 1 << 11) };
        if XAPIC_PAGE.load(Ordering::Relaxed) == 0 {
            let page = paging::map_mmio(base & 0x000f_ffff_ffff_f000, 4096);
            XAPIC_PAGE.store(page as u64, Ordering::Relaxed);
        }
    }
    write(TPR, 0);
    write(LVT_LINT0, MASKED);
    write(LVT_LINT1, MASKED);
    write(LVT_ERROR, MASKED);
    write(SPURIOUS, ENABLED | u32::from(interrupt::SPURIOUS));
    if cpu::features().tsc_deadline {
        write(LVT_TIMER, TIMER_MODE_DEADLINE | u32::from(interrupt::TIMER));
        // The mode must be set before the deadline is written (SDM vol. 3, 10.5.4.1).
        core::sync::atomic::fence(Ordering::SeqCst);
    } else {
        write(TIMER_DIVIDE, 0b1011); // by 1
        write(LVT_TIMER, u32::from(interrupt::TIMER));
    }
}

/// Tells the local APIC that the interrupt has been served.
#[inline]
pub fn end_of_interrupt() {
    write(EOI, 0);
}

fn send(apic_id: u32, command: u32) {
    // The two halves of the xAPIC's command are one command: an interrupt between them must not send its own.
    let irq = ksync::platform::irq_save();
    if X2APIC.load(Ordering::Relaxed) {
        // WRMSR to the x2APIC does not wait for stores before it (SDM vol. 3, 10.12.3), and the receiver is
        // to see them.
        core::sync::atomic::fence(Ordering::SeqCst);
        // SAFETY: the x2APIC's ICR.
        unsafe { Msr::new(0x830).write(u64::from(apic_id) << 32 | u64::from(command)) };
    } else {
        while read(ICR_LOW) & DELIVERY_PENDING != 0 {
            core::hint::spin_loop();
        }
        write(ICR_HIGH, apic_id << 24);
        write(ICR_LOW, command);
    }
    ksync::platform::irq_restore(irq);
}

/// Sends the interrupt `vector` to one CPU.
pub fn send_ipi(to: &cpu::PerCpu, vector: u8) {
    send(to.apic_id(), LEVEL_ASSERT | u32::from(vector));
}

/// Sends the non-maskable interrupt to one CPU.
pub fn send_nmi(to: &cpu::PerCpu) {
    send(to.apic_id(), LEVEL_ASSERT | 4 << 8);
}

/// Resets a CPU, which then waits for [`send_startup`].
pub fn send_init(apic_id: u32) {
    send(apic_id, DELIVERY_INIT | LEVEL_ASSERT);
}

/// Starts a CPU at the physical page `page`, in real mode.
pub fn send_startup(apic_id: u32, page: u64) {
    send(apic_id, DELIVERY_STARTUP | LEVEL_ASSERT | (page >> 12) as u32);
}

/// Arms the local timer for one interrupt when the TSC reaches `tsc`, which is `ticks_ns` from now.
pub fn arm_timer(tsc: u64, in_ns: u64) {
    if cpu::features().tsc_deadline {
        // SAFETY: TSC-deadline mode is on; 0 would disarm, and the TSC is not 0.
        unsafe { Msr::new(IA32_TSC_DEADLINE).write(tsc.max(1)) };
    } else {
        let hz = TIMER_HZ.load(Ordering::Relaxed);
        let ticks = (u128::from(in_ns) * u128::from(hz) / 1_000_000_000).clamp(1, u128::from(u32::MAX));
        write(TIMER_INITIAL, ticks as u32);
    }
}

/// Starts the timer's counter for calibration; [`timer_elapsed`] reads how far it got.
pub fn start_timer_calibration() {
    write(LVT_TIMER, MASKED | u32::from(interrupt::TIMER));
    write(TIMER_DIVIDE, 0b1011);
    write(TIMER_INITIAL, u32::MAX);
}

/// Ticks since [`start_timer_calibration`].
pub fn timer_elapsed() -> u64 {
    u64::from(u32::MAX - read(TIMER_CURRENT))
}

/// Sets the timer's frequency and leaves it disarmed.
pub fn finish_timer_calibration(hz: u64) {
    TIMER_HZ.store(hz, Ordering::Relaxed);
    write(TIMER_INITIAL, 0);
    write(LVT_TIMER, u32::from(interrupt::TIMER));
}

/// One I/O APIC.
struct IoApic {
    registers: u64,
    first_gsi: u32,
    inputs: u32,
}

static IO_APICS: SpinLock<Vec<IoApic>> = SpinLock::new(Vec::new());

impl IoApic {
    fn read(&self, register: u32) -> u32 {
        // SAFETY: IOREGSEL and IOWIN of a mapped I/O APIC; the lock around the list makes the pair atomic.
        unsafe {
            (self.registers as *mut u32).write_volatile(register);
            ((self.registers + 0x10) as *const u32).read_volatile()
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as for `read`.
        unsafe {
            (self.registers as *mut u32).write_volatile(register);
            ((self.registers + 0x10) as *mut u32).write_volatile(value);
        }
    }
}

/// Takes an I/O APIC into use, with all of its inputs masked.
pub fn add_io_apic(phys: u64, first_gsi: u32) {
    let mut io_apic = IoApic { registers: paging::map_mmio(phys, 4096) as u64, first_gsi, inputs: 0 };
    io_apic.inputs = (io_apic.read(1) >> 16 & 0xff) + 1;
    for input in 0..io_apic.inputs {
        io_apic.write(0x10 + 2 * input, MASKED);
    }
    IO_APICS.lock().push(io_apic);
}

/// How a line says that it wants service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// At the edge, active high (ISA's own way).
    EdgeHigh,
    /// While high.
    LevelHigh,
    /// While low (PCI's way).
    LevelLow,
}

/// Sends the global system interrupt `gsi` as `vector` to the CPU with APIC id `apic_id`. `false` if no I/O
/// APIC has that input.
#[must_use]
pub fn route(gsi: u32, vector: u8, apic_id: u32, trigger: Trigger) -> bool {
    let io_apics = IO_APICS.lock();
    let Some(io_apic) = io_apics.iter().find(|a| (a.first_gsi..a.first_gsi + a.inputs).contains(&gsi)) else {
        return false;
    };
    let input = gsi - io_apic.first_gsi;
    let mode = match trigger {
        Trigger::EdgeHigh => 0,
        Trigger::LevelHigh => 1 << 15,
        Trigger::LevelLow => 1 << 15 | 1 << 13,
    };
    io_apic.write(0x11 + 2 * input, apic_id << 24);
    io_apic.write(0x10 + 2 * input, u32::from(vector) | mode);
    true
}
