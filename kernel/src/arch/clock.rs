//! The time stamp counter as a clock, and the wall clock it is set by.
//!
//! Where the frequency comes from, best first: CPUID 0x15 (crystal), the hypervisor's timing leaf
//! 0x40000010, kvmclock's scale, and last a measurement against the PIT's channel 2 (Intel 8254 datasheet).

use core::sync::atomic::{AtomicU64, Ordering};

use ksync::SpinLock;
use spin::Once;
use vdso_image::{ClockPage, Clocks};
use x86_64::{instructions::port::Port, registers::model_specific::Msr};

use super::{apic, cpu, layout};

/// How TSC ticks become nanoseconds: by [`Clocks::monotonic_ns`], as the vDSO computes it.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// TSC at kernel entry: the zero of the monotonic clock.
    pub base: u64,
    /// Nanoseconds per tick, times 2^[`vdso_image::SHIFT`].
    pub multiplier: u64,
    /// TSC ticks per second.
    pub hz: u64,
}

static SCALE: Once<Scale> = Once::new();
static ENTRY_TSC: AtomicU64 = AtomicU64::new(0);
/// Wall clock minus monotonic clock, in nanoseconds.
static REALTIME_OFFSET_NS: AtomicU64 = AtomicU64::new(0);
/// The application's view of the clocks, once it is mapped. Guards [`REALTIME_OFFSET_NS`] against other writers.
static SHARED: SpinLock<Option<&'static ClockPage>> = SpinLock::new(None);
static SOURCE: SpinLock<&str> = SpinLock::new("");

/// Reads the time stamp counter, after all that comes before (SDM vol. 2, RDTSC): no system call shows a time before
/// one that the vDSO, or another CPU, has already shown.
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: every 64-bit CPU has the two instructions, and CR4.TSD is clear.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

/// Notes the moment of kernel entry.
pub fn mark_entry() {
    ENTRY_TSC.store(tsc(), Ordering::Relaxed);
}

/// The scale of the clock, once it is known.
pub fn scale() -> Option<&'static Scale> {
    SCALE.get()
}

/// Nanoseconds since kernel entry (`CLOCK_MONOTONIC`); 0 before [`init`].
#[inline]
pub fn now_ns() -> u64 {
    match SCALE.get() {
        Some(scale) => to_ns(scale, tsc()),
        None => 0,
    }
}

fn to_ns(scale: &Scale, tsc: u64) -> u64 {
    Clocks { tsc_base: scale.base, multiplier: scale.multiplier, realtime_offset_ns: 0 }.monotonic_ns(tsc)
}

/// The TSC's value at `ns` on the monotonic clock.
pub fn tsc_at(ns: u64) -> u64 {
    let scale = SCALE.get().expect("the clock is initialised before timers");
    scale.base.wrapping_add((u128::from(ns) * u128::from(scale.hz) / 1_000_000_000) as u64)
}

/// Nanoseconds since the Unix epoch.
pub fn realtime_ns() -> u64 {
    realtime_offset_ns().wrapping_add(now_ns())
}

/// Wall clock minus monotonic clock.
pub fn realtime_offset_ns() -> u64 {
    REALTIME_OFFSET_NS.load(Ordering::Acquire)
}

/// Sets the wall clock: `ns` since the epoch is now.
pub fn set_realtime_ns(ns: u64) {
    let shared = SHARED.lock();
    publish(*shared, ns.wrapping_sub(now_ns()));
}

/// Has the clocks shown in `page` too, from now on.
pub fn share(page: &'static ClockPage) {
    let mut shared = SHARED.lock();
    publish(Some(page), realtime_offset_ns());
    *shared = Some(page);
}

/// Changes the offset for the kernel and for the readers of `page` at one time: whoever has seen the new one on one side will
/// not see the old one on the other. [`SHARED`] is held, so interrupts are masked.
fn publish(page: Option<&ClockPage>, realtime_offset_ns: u64) {
    let store = || REALTIME_OFFSET_NS.store(realtime_offset_ns, Ordering::Release);
    match (page, SCALE.get()) {
        (Some(page), Some(scale)) => {
            let clocks = Clocks { tsc_base: scale.base, multiplier: scale.multiplier, realtime_offset_ns };
            page.write(&clocks, store);
        }
        _ => store(),
    }
}

/// Where the frequency came from, for the log.
pub fn source() -> &'static str {
    *SOURCE.lock()
}

/// Begins to measure the TSC, if nothing says its frequency: what the boot does until [`init`] is the time that is measured.
/// On the boot CPU.
pub fn begin_measurement() {
    let is_known = from_crystal().is_some() || from_hypervisor().is_some() || kvm_has_clock();
    if !is_known {
        *MEASUREMENT.lock() = Some(Measurement::begin());
    }
}

/// Finds the frequency of the TSC, and begins to measure the local APIC's timer against it where that is needed. Once, on the
/// boot CPU, after `apic::init`.
pub fn init() {
    let known = from_crystal().or_else(from_hypervisor).or_else(from_kvmclock);
    let needs_timer = !cpu::features().tsc_deadline;
    let begun = MEASUREMENT.lock().take();
    let (hz, source) = match known {
        Some(known) => known,
        None => (begun.unwrap_or_else(Measurement::begin).finish(), "PIT"),
    };
    *SOURCE.lock() = source;
    let multiplier = vdso_image::multiplier_of(hz);
    SCALE.call_once(|| Scale { base: ENTRY_TSC.load(Ordering::Relaxed), multiplier, hz });
    if needs_timer {
        begin_timer_measurement();
    }
}

/// The local APIC's timer beside the TSC, when [`init`] began to measure it.
static TIMER_BEGUN: SpinLock<Option<Sample>> = SpinLock::new(None);
/// How long the timer is measured, at least. Its interrupts are followed by a look at the TSC: one that comes too soon
/// costs another one.
const TIMER_MEASUREMENT_NS: u64 = 1_000_000;

fn begin_timer_measurement() {
    apic::start_timer_calibration();
    *TIMER_BEGUN.lock() = Some(Sample::take(apic::timer_elapsed));
}

/// Finds the frequency of the local APIC's timer, by what the boot did since [`init`]. Before the first timer is armed, on
/// the boot CPU.
pub fn finish_timer_measurement() {
    let hz = SCALE.get().map_or(0, |scale| scale.hz);
    loop {
        let Some(begun) = TIMER_BEGUN.lock().take() else { return };
        let end_ns = now_ns() + TIMER_MEASUREMENT_NS;
        let least_ticks = (u128::from(hz) * u128::from(TIMER_MEASUREMENT_NS) / 1_000_000_000) as u64;
        while tsc().wrapping_sub(begun.tsc) < least_ticks && now_ns() < end_ns {
            core::hint::spin_loop();
        }
        let end = Sample::take(apic::timer_elapsed);
        // A timer that has come to its end stands still.
        if end.count < u64::from(u32::MAX) {
            return apic::finish_timer_calibration(ratio(end.count - begun.count, hz, end.tsc - begun.tsc));
        }
        begin_timer_measurement();
    }
}

fn ratio(part: u64, of: u64, whole: u64) -> u64 {
    (u128::from(part) * u128::from(of) / u128::from(whole.max(1))) as u64
}

fn from_crystal() -> Option<(u64, &'static str)> {
    if cpu::cpuid(0, 0)[0] < 0x15 {
        return None;
    }
    let [denominator, numerator, crystal_hz, _] = cpu::cpuid(0x15, 0);
    if denominator == 0 || numerator == 0 || crystal_hz == 0 {
        return None;
    }
    Some((u64::from(crystal_hz) * u64::from(numerator) / u64::from(denominator), "CPUID 0x15"))
}

fn from_hypervisor() -> Option<(u64, &'static str)> {
    cpu::features().hypervisor?;
    if cpu::cpuid(0x4000_0000, 0)[0] < 0x4000_0010 {
        return None;
    }
    let tsc_khz = cpu::cpuid(0x4000_0010, 0)[0];
    (tsc_khz != 0).then_some((u64::from(tsc_khz) * 1000, "hypervisor leaf"))
}

/// KVM's paravirtual clock (Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_SYSTEM_TIME_NEW): its scale gives
/// the frequency that KVM itself uses.
fn from_kvmclock() -> Option<(u64, &'static str)> {
    if !kvm_has_clock() {
        return None;
    }
    #[repr(C, align(64))]
    struct VcpuTimeInfo {
        version: u32,
        padding0: u32,
        tsc_timestamp: u64,
        system_time: u64,
        tsc_to_system_mul: u32,
        tsc_shift: i8,
        flags: u8,
        padding: [u8; 2],
    }
    static INFO: SpinLock<VcpuTimeInfo> = SpinLock::new(VcpuTimeInfo {
        version: 0,
        padding0: 0,
        tsc_timestamp: 0,
        system_time: 0,
        tsc_to_system_mul: 0,
        tsc_shift: 0,
        flags: 0,
        padding: [0; 2],
    });
    let mut info = INFO.lock();
    let phys = layout::physical(&raw const *info as u64);
    let mut msr = Msr::new(0x4b56_4d01);
    // SAFETY: KVM offers the MSR; bit 0 enables, the structure is aligned, static, and only read after.
    let (multiplier, shift) = unsafe {
        msr.write(phys | 1);
        let multiplier = (&raw mut info.tsc_to_system_mul).read_volatile();
        let shift = (&raw mut info.tsc_shift).read_volatile();
        // Off again: we read the TSC itself.
        msr.write(0);
        (multiplier, shift)
    };
    if multiplier == 0 {
        return None;
    }
    // ns = (ticks << shift) * multiplier >> 32.
    let hz = (1_000_000_000u128 << 32) / u128::from(multiplier);
    let hz = if shift >= 0 { hz >> shift } else { hz << -shift };
    Some((hz as u64, "kvmclock"))
}

fn kvm_has_clock() -> bool {
    // KVM_FEATURE_CLOCKSOURCE2 is bit 3 of leaf 0x40000001.
    cpu::features().hypervisor.is_some_and(|signature| signature == *b"KVMKVMKVM\0\0\0")
        && cpu::cpuid(0x4000_0001, 0)[0] & (1 << 3) != 0
}

/// The measurement that [`begin_measurement`] began.
static MEASUREMENT: SpinLock<Option<Measurement>> = SpinLock::new(None);

/// Channel 2 of the PIT, counting down once from 0xffff, which takes 55 ms, beside the TSC.
struct Measurement {
    start: Sample,
    /// Whether the channel's output can be read: QEMU's microvm has no port for it.
    has_output: bool,
}

/// What a counter showed, and the TSC at that moment.
#[derive(Clone, Copy)]
struct Sample {
    tsc: u64,
    count: u64,
}

impl Measurement {
    const PIT_HZ: u64 = 1_193_182;
    /// What the TSC is measured against, at least: 5 ms. An error of one tick is 0.02% of that.
    const TICKS: u64 = Self::PIT_HZ / 200;
    const CONTROL: u16 = 0x61;
    /// The channel's output, high once it has counted to 0.
    const OUTPUT: u8 = 1 << 5;
    /// How often it is tried again on a machine that stops for 55 ms every time.
    const TRIES: u32 = 20;

    fn begin() -> Self {
        let mut control = Port::<u8>::new(Self::CONTROL);
        // SAFETY: the PIT and its gate are at these ports on every PC; channel 2 drives the speaker only.
        unsafe {
            let gate = control.read();
            control.write(gate & !0b10 | 0b01); // speaker off, gate on
            Port::<u8>::new(0x43).write(0b1011_0000); // channel 2, both bytes, mode 0
            let mut count = Port::<u8>::new(0x42);
            count.write(0xff);
            count.write(0xff);
        }
        let has_output = !Self::is_output_high();
        Self { start: Sample::take(Self::count), has_output }
    }

    fn count() -> u64 {
        // SAFETY: the PIT's ports; the first write latches the count of channel 2.
        unsafe {
            Port::<u8>::new(0x43).write(0b1000_0000u8);
            let mut count = Port::<u8>::new(0x42);
            u64::from(count.read()) | u64::from(count.read()) << 8
        }
    }

    fn is_output_high() -> bool {
        // SAFETY: as in `begin`.
        unsafe { Port::<u8>::new(Self::CONTROL).read() & Self::OUTPUT != 0 }
    }

    /// Measures to the end. Returns the frequency of the TSC.
    fn finish(self) -> u64 {
        // Where nothing tells that the counter has begun anew, the time since `begin` may be any.
        let mut measurement = if self.has_output { self } else { Self::begin() };
        for _ in 0..Self::TRIES {
            if let Some(hz) = measurement.attempt() {
                return hz;
            }
            measurement = Self::begin();
        }
        panic!("the PIT does not count as it should, and nothing else says the frequency of the TSC");
    }

    /// `None` if the counter began anew meanwhile: a virtual machine may be stopped for any time.
    fn attempt(&self) -> Option<u64> {
        let mut end = self.start;
        while self.start.count - end.count < Self::TICKS {
            core::hint::spin_loop();
            let next = Sample::take(Self::count);
            if next.count > end.count {
                return None;
            }
            end = next;
        }
        if self.has_output && Self::is_output_high() {
            return None;
        }
        Some(ratio(end.tsc - self.start.tsc, Self::PIT_HZ, self.start.count - end.count))
    }
}

impl Sample {
    /// Pairs the counter with the TSC as closely as the machine allows: of some tries, the quickest.
    fn take(counter: impl Fn() -> u64) -> Self {
        (0..8)
            .map(|_| {
                let before = tsc();
                let count = counter();
                let took = tsc() - before;
                (took, Self { tsc: before + took / 2, count })
            })
            .min_by_key(|sample| sample.0)
            .expect("eight samples")
            .1
    }
}
