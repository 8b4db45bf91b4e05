//! The clocks that a timer can have.

use ksync::platform;
use linux_abi::{Errno, time::Clock};

use crate::clock::Base;

/// Whose processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuTime {
    /// Of all threads together.
    Process,
    /// Of the thread with this id.
    Thread(u32),
}

/// The clocks of processor time.
pub trait Clocks: Send + Sync {
    /// Nanoseconds of processor time used so far; `None` if there is no such thread (any more). Callable from
    /// interrupts.
    fn cpu_ns(&self, whose: CpuTime) -> Option<u64>;

    /// How many processors there are: how fast the processor time of a process can advance.
    fn cpu_count(&self) -> usize;

    /// The id of the process.
    fn process_id(&self) -> u32;
}

/// How long to wait at least before processor time is looked at again: Linux looks once in a tick.
const LOOK_AGAIN_NS: u64 = 1_000_000;

/// The clock of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerClock {
    /// Real time.
    Real(Base),
    /// Processor time.
    Cpu(CpuTime),
}

impl TimerClock {
    /// `CLOCK_MONOTONIC`.
    pub const MONOTONIC: Self = Self::Real(Base::Monotonic);

    /// The clock with this id, if it can have timers.
    pub fn new(clock: Clock, caller: u32, clocks: &dyn Clocks) -> Result<Self, Errno> {
        let cpu = match clock {
            Clock::Monotonic | Clock::Boottime => return Ok(Self::Real(Base::Monotonic)),
            Clock::Realtime | Clock::Tai => return Ok(Self::Real(Base::Realtime)),
            Clock::RealtimeAlarm | Clock::BoottimeAlarm => return Err(Errno::EPERM),
            Clock::MonotonicRaw | Clock::RealtimeCoarse | Clock::MonotonicCoarse => {
                return Err(Errno::EOPNOTSUPP);
            }
            Clock::ProcessCpu => CpuTime::Process,
            Clock::CpuOfProcess(pid, _) if pid == 0 || pid == clocks.process_id() => CpuTime::Process,
            Clock::CpuOfProcess(..) => return Err(Errno::EINVAL),
            Clock::ThreadCpu | Clock::CpuOfThread(0, _) => CpuTime::Thread(caller),
            Clock::CpuOfThread(tid, _) => CpuTime::Thread(tid),
        };
        clocks.cpu_ns(cpu).map(|_| Self::Cpu(cpu)).ok_or(Errno::EINVAL)
    }

    /// The clock on which intervals of this one are counted.
    pub const fn for_intervals(self) -> Self {
        match self {
            Self::Real(_) => Self::MONOTONIC,
            cpu => cpu,
        }
    }

    /// Whether it is one that can be set.
    pub fn can_be_set(self) -> bool {
        self == Self::Real(Base::Realtime)
    }

    /// The time on it. That of a thread that has ended stands still at 0, so its timers never expire.
    pub fn now_ns(self, clocks: &dyn Clocks) -> u64 {
        match self {
            Self::Real(base) => base.now_ns(),
            Self::Cpu(whose) => clocks.cpu_ns(whose).unwrap_or(0),
        }
    }

    /// When, on the monotonic clock, this one can show `time_ns` at the earliest. For processor time, which
    /// nobody watches, that is when all processors spend theirs on it; who is told too early looks again.
    pub fn to_monotonic_ns(self, time_ns: u64, clocks: &dyn Clocks) -> u64 {
        match self {
            Self::Real(base) => base.to_monotonic_ns(time_ns),
            Self::Cpu(whose) => {
                let Some(used_ns) = clocks.cpu_ns(whose) else { return linux_abi::time::MAX_NS };
                let left_ns = time_ns.saturating_sub(used_ns);
                let processors = match whose {
                    CpuTime::Process => clocks.cpu_count().max(1) as u64,
                    CpuTime::Thread(_) => 1,
                };
                let wait_ns = (left_ns / processors).max(LOOK_AGAIN_NS.min(left_ns));
                platform::now_ns().saturating_add(wait_ns)
            }
        }
    }
}
