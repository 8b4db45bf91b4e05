//! The page before the vDSO's text: what the kernel lets the application know about clocks and CPUs.
//!
//! The kernel writes it, under a sequence counter; the vDSO, which is the same code compiled into the shared
//! object, reads it. Writers keep each other out by a lock of their own.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// `ns = ticks * multiplier >> SHIFT`.
pub const SHIFT: u32 = 32;

/// What `clock_getres(2)` answers for the coarse clocks: Linux's tick with HZ=250. They are as fine as the
/// others, though.
pub const COARSE_RESOLUTION_NS: i64 = 4_000_000;

/// The multiplier for a counter of this frequency.
pub const fn multiplier_of(hz: u64) -> u64 {
    ((1_000_000_000u128 << SHIFT) / hz as u128) as u64
}

/// How the time follows from the time stamp counter.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Clocks {
    /// The counter at the zero of the monotonic clock.
    pub tsc_base: u64,
    /// Nanoseconds per tick, times 2^[`SHIFT`].
    pub multiplier: u64,
    /// Real time minus monotonic time, in nanoseconds.
    pub realtime_offset_ns: u64,
}

impl Clocks {
    /// Monotonic time when the counter shows `tsc`. The counter of another CPU may be a little behind the
    /// boot CPU's.
    #[inline]
    pub const fn monotonic_ns(&self, tsc: u64) -> u64 {
        ((tsc.saturating_sub(self.tsc_base) as u128 * self.multiplier as u128) >> SHIFT) as u64
    }

    /// Nanoseconds since the Unix epoch when the counter shows `tsc`.
    #[inline]
    pub const fn realtime_ns(&self, tsc: u64) -> u64 {
        self.monotonic_ns(tsc).wrapping_add(self.realtime_offset_ns)
    }
}

/// How a program finds the number of its CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum CpuNumber {
    /// Only the kernel knows.
    SystemCall = 0,
    /// `RDTSCP` tells IA32_TSC_AUX.
    Rdtscp = 1,
    /// `RDPID` tells it, and quicker.
    Rdpid = 2,
}

/// Contents of the page. All zeros tell the application to ask the kernel for everything.
#[derive(Debug, Default)]
#[repr(C)]
pub struct ClockPage {
    /// Even: the values belong together. 0: there are none yet.
    sequence: AtomicU32,
    cpu_number: AtomicU32,
    tsc_base: AtomicU64,
    multiplier: AtomicU64,
    realtime_offset_ns: AtomicU64,
}

impl ClockPage {
    /// Changes the values; `meanwhile` runs while readers wait for the new ones. The caller keeps other
    /// writers out, and interrupts too: a reader on this CPU would wait for ever.
    pub fn write(&self, clocks: &Clocks, meanwhile: impl FnOnce()) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        // No new value is seen by one who did not see the odd number.
        fence(Ordering::Release);
        self.tsc_base.store(clocks.tsc_base, Ordering::Relaxed);
        self.multiplier.store(clocks.multiplier, Ordering::Relaxed);
        self.realtime_offset_ns.store(clocks.realtime_offset_ns, Ordering::Relaxed);
        meanwhile();
        // Never 0 again, which would mean "no values yet".
        let next = sequence.wrapping_add(2);
        self.sequence.store(if next == 0 { 2 } else { next }, Ordering::Release);
    }

    /// Computes something from values that belong together; `None` before the first [`write`](Self::write).
    /// `compute` may run more than once.
    #[inline]
    pub fn read<R>(&self, compute: impl Fn(&Clocks) -> R) -> Option<R> {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            let clocks = Clocks {
                tsc_base: self.tsc_base.load(Ordering::Relaxed),
                multiplier: self.multiplier.load(Ordering::Relaxed),
                realtime_offset_ns: self.realtime_offset_ns.load(Ordering::Relaxed),
            };
            let result = compute(&clocks);
            // The values were read before the counter is read again.
            fence(Ordering::Acquire);
            if before & 1 == 0 && self.sequence.load(Ordering::Relaxed) == before {
                return Some(result);
            }
            core::hint::spin_loop();
        }
    }

    /// Tells the application how to find the number of its CPU, once every CPU has it in IA32_TSC_AUX.
    pub fn set_cpu_number(&self, how: CpuNumber) {
        self.cpu_number.store(how as u32, Ordering::Relaxed);
    }

    /// How to find the number of the CPU.
    #[inline]
    pub fn cpu_number(&self) -> CpuNumber {
        match self.cpu_number.load(Ordering::Relaxed) {
            1 => CpuNumber::Rdtscp,
            2 => CpuNumber::Rdpid,
            _ => CpuNumber::SystemCall,
        }
    }
}
