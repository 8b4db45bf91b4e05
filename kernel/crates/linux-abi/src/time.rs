//! Times and clocks (`clock_gettime(2)`, `timerfd_create(2)`, `setitimer(2)`; uapi `linux/time.h`).
//!
//! Inside the kernel a time is a `u64` of nanoseconds. Coming in, a structure is checked as Linux checks
//! it (`timespec64_valid`) and saturates at [`MAX_NS`], like its `ktime_t`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Errno;

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: u64 = 1_000_000_000;

/// The longest time, about 292 years: Linux's `KTIME_MAX`. A later one means "never".
pub const MAX_NS: u64 = i64::MAX as u64;

/// In `tv_nsec` for `utimensat(2)`: the present time.
pub const UTIME_NOW: i64 = (1 << 30) - 1;

/// In `tv_nsec` for `utimensat(2)`: leave the time as it is.
pub const UTIME_OMIT: i64 = (1 << 30) - 2;

/// `struct timespec` (`struct __kernel_timespec`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timespec {
    /// Seconds.
    pub sec: i64,
    /// Nanoseconds: 0 to 999,999,999.
    pub nsec: i64,
}

assert_layout!(Timespec, size = 16, sec @ 0, nsec @ 8);

impl Timespec {
    /// The time of this many nanoseconds.
    pub const fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / NSEC_PER_SEC) as i64, nsec: (ns % NSEC_PER_SEC) as i64 }
    }

    /// The nanoseconds, [`MAX_NS`] at most. `EINVAL` if the time is negative or `nsec` out of its range.
    pub const fn to_ns(self) -> Result<u64, Errno> {
        if self.sec < 0 || self.nsec < 0 || self.nsec >= NSEC_PER_SEC as i64 {
            return Err(Errno::EINVAL);
        }
        let ns = (self.sec as u64).saturating_mul(NSEC_PER_SEC).saturating_add(self.nsec as u64);
        Ok(if ns > MAX_NS { MAX_NS } else { ns })
    }
}

/// `struct timeval`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timeval {
    /// Seconds.
    pub sec: i64,
    /// Microseconds: 0 to 999,999.
    pub usec: i64,
}

assert_layout!(Timeval, size = 16, sec @ 0, usec @ 8);

impl Timeval {
    /// The time of this many nanoseconds; the rest of a microsecond is dropped.
    pub const fn from_ns(ns: u64) -> Self {
        Self { sec: (ns / NSEC_PER_SEC) as i64, usec: (ns % NSEC_PER_SEC / 1000) as i64 }
    }

    /// The nanoseconds, [`MAX_NS`] at most. `EINVAL` if the time is negative or `usec` out of its range.
    pub const fn to_ns(self) -> Result<u64, Errno> {
        if self.usec < 0 || self.usec >= 1_000_000 {
            return Err(Errno::EINVAL);
        }
        Timespec { sec: self.sec, nsec: self.usec * 1000 }.to_ns()
    }
}

/// `struct itimerspec`: a timer's period and its next expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerspec {
    /// The period; zero for a timer that expires once.
    pub interval: Timespec,
    /// The next expiry; zero disarms.
    pub value: Timespec,
}

assert_layout!(Itimerspec, size = 32, interval @ 0, value @ 16);

/// `struct itimerval`, as `setitimer(2)` takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Itimerval {
    /// The period; zero for a timer that expires once.
    pub interval: Timeval,
    /// The next expiry; zero disarms.
    pub value: Timeval,
}

assert_layout!(Itimerval, size = 32, interval @ 0, value @ 16);

/// `struct timezone`; always zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Timezone {
    /// Minutes west of Greenwich.
    pub minuteswest: i32,
    /// Kind of daylight saving.
    pub dsttime: i32,
}

/// `struct tms` of `times(2)`, in ticks of 1/100 s ([`USER_HZ`](crate::auxv::USER_HZ)).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Tms {
    /// In the application.
    pub utime_ticks: i64,
    /// In the kernel.
    pub stime_ticks: i64,
    /// In the application, of children waited for.
    pub cutime_ticks: i64,
    /// In the kernel, of children waited for.
    pub cstime_ticks: i64,
}

assert_layout!(Tms, size = 32);

/// A clock, from a `clockid_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// `CLOCK_REALTIME`.
    Realtime,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_PROCESS_CPUTIME_ID`.
    ProcessCpu,
    /// `CLOCK_THREAD_CPUTIME_ID`.
    ThreadCpu,
    /// `CLOCK_MONOTONIC_RAW`.
    MonotonicRaw,
    /// `CLOCK_REALTIME_COARSE`.
    RealtimeCoarse,
    /// `CLOCK_MONOTONIC_COARSE`.
    MonotonicCoarse,
    /// `CLOCK_BOOTTIME`.
    Boottime,
    /// `CLOCK_REALTIME_ALARM`.
    RealtimeAlarm,
    /// `CLOCK_BOOTTIME_ALARM`.
    BoottimeAlarm,
    /// `CLOCK_TAI`.
    Tai,
    /// CPU time of the process with this pid, 0 being the caller's (`clock_getcpuclockid(3)`).
    CpuOfProcess(u32, CpuClock),
    /// CPU time of the thread with this tid, 0 being the caller (`pthread_getcpuclockid(3)`).
    CpuOfThread(u32, CpuClock),
}

/// Which CPU time a dynamic clock counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuClock {
    /// `CPUCLOCK_PROF`: ticks in application and kernel.
    Prof,
    /// `CPUCLOCK_VIRT`: ticks in the application.
    Virt,
    /// `CPUCLOCK_SCHED`: exact time on a CPU. The kind that glibc asks for.
    Sched,
}

impl Clock {
    /// The clock with this id. `EINVAL` if there is none, also for a clock given by a descriptor (`CLOCKFD`),
    /// of which this system has none.
    pub const fn from_raw(id: i32) -> Result<Self, Errno> {
        Ok(match id {
            0 => Self::Realtime,
            1 => Self::Monotonic,
            2 => Self::ProcessCpu,
            3 => Self::ThreadCpu,
            4 => Self::MonotonicRaw,
            5 => Self::RealtimeCoarse,
            6 => Self::MonotonicCoarse,
            7 => Self::Boottime,
            8 => Self::RealtimeAlarm,
            9 => Self::BoottimeAlarm,
            11 => Self::Tai,
            // `linux/posix-timers.h`: the complement of the pid above bit 2, "per thread" in bit 2, the kind
            // below.
            i32::MIN..0 => {
                let pid = !(id >> 3) as u32;
                let kind = match id & 3 {
                    0 => CpuClock::Prof,
                    1 => CpuClock::Virt,
                    2 => CpuClock::Sched,
                    _ => return Err(Errno::EINVAL),
                };
                if id & 4 != 0 { Self::CpuOfThread(pid, kind) } else { Self::CpuOfProcess(pid, kind) }
            }
            _ => return Err(Errno::EINVAL),
        })
    }
}

abi_flags! {
    /// Flags of `clock_nanosleep(2)`, `timer_settime(2)` and `timerfd_settime(2)`.
    pub struct TimerFlags: u32 {
        /// The time is a point on the clock, not an interval.
        const ABSTIME = 1;
        /// `timerfd_settime` only: a read fails with `ECANCELED` when the clock is set.
        const CANCEL_ON_SET = 2;
    }
}

abi_enum! {
    /// The first argument of `setitimer(2)`.
    pub enum IntervalTimer: u32 {
        /// Real time, `SIGALRM`.
        Real = 0, "ITIMER_REAL";
        /// CPU time in the application, `SIGVTALRM`.
        Virtual = 1, "ITIMER_VIRTUAL";
        /// CPU time in application and kernel, `SIGPROF`.
        Prof = 2, "ITIMER_PROF";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timespec_is_checked_and_saturates() {
        assert_eq!(Timespec { sec: 1, nsec: 5 }.to_ns(), Ok(1_000_000_005));
        assert_eq!(Timespec { sec: -1, nsec: 5 }.to_ns(), Err(Errno::EINVAL));
        assert_eq!(Timespec { sec: 0, nsec: 1_000_000_000 }.to_ns(), Err(Errno::EINVAL));
        assert_eq!(Timespec { sec: 0, nsec: -1 }.to_ns(), Err(Errno::EINVAL));
        assert_eq!(Timespec { sec: i64::MAX, nsec: 0 }.to_ns(), Ok(MAX_NS));
        assert_eq!(Timespec::from_ns(MAX_NS).to_ns(), Ok(MAX_NS));
        assert_eq!(Timespec::from_ns(1_999_999_999), Timespec { sec: 1, nsec: 999_999_999 });
    }

    #[test]
    fn a_timeval_is_checked() {
        assert_eq!(Timeval { sec: 2, usec: 3 }.to_ns(), Ok(2_000_003_000));
        assert_eq!(Timeval { sec: 0, usec: 1_000_000 }.to_ns(), Err(Errno::EINVAL));
        assert_eq!(Timeval { sec: 0, usec: i64::MAX }.to_ns(), Err(Errno::EINVAL));
        assert_eq!(Timeval::from_ns(1_500), Timeval { sec: 0, usec: 1 });
    }

    #[test]
    fn dynamic_clocks_are_those_of_glibc() {
        // pthread_getcpuclockid of thread 1234: CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED.
        assert_eq!(Clock::from_raw((!1234 << 3) | 6), Ok(Clock::CpuOfThread(1234, CpuClock::Sched)));
        assert_eq!(Clock::from_raw((!0 << 3) | 2), Ok(Clock::CpuOfProcess(0, CpuClock::Sched)));
        assert_eq!(Clock::from_raw((!5 << 3) | 3), Err(Errno::EINVAL));
        // Seen in a JVM's trace: clock_getres(0xfffc48d6).
        assert!(matches!(
            Clock::from_raw(0xfffc_48d6_u32 as i32),
            Ok(Clock::CpuOfThread(_, CpuClock::Sched))
        ));
        assert_eq!(Clock::from_raw(libc::CLOCK_TAI), Ok(Clock::Tai));
        assert_eq!(Clock::from_raw(10), Err(Errno::EINVAL));
        assert_eq!(Clock::from_raw(12), Err(Errno::EINVAL));
    }
}
