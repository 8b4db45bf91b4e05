//! Clocks and sleeping.

use alloc::boxed::Box;

use ksync::WaitError;
use linux_abi::{
    Errno,
    time::{Clock, TimerFlags, Timespec, Timeval, Tms},
};

use super::Result;
use crate::{
    arch::clock,
    refuse_once, sched, signal,
    task::{self, PID},
    user::UserPtr,
};

/// What the clock shows, in nanoseconds.
fn read_clock(clock: Clock) -> core::result::Result<u64, Errno> {
    Ok(match clock {
        Clock::Realtime | Clock::RealtimeCoarse | Clock::Tai | Clock::RealtimeAlarm => clock::realtime_ns(),
        Clock::Monotonic
        | Clock::MonotonicRaw
        | Clock::MonotonicCoarse
        | Clock::Boottime
        | Clock::BoottimeAlarm => clock::now_ns(),
        Clock::ProcessCpu | Clock::CpuOfProcess(0 | PID, _) => process_cpu_ns(),
        Clock::ThreadCpu => sched::cpu_time_ns(task::current()),
        Clock::CpuOfThread(tid, _) => {
            sched::cpu_time_ns(&*task::thread_or_current(tid as i32).map_err(|_| Errno::EINVAL)?)
        }
        Clock::CpuOfProcess(..) => return Err(Errno::EINVAL),
    })
}

/// Processor time of all threads, ended ones too.
pub fn process_cpu_ns() -> u64 {
    task::ended_cpu_ns() + task::threads().iter().map(|thread| sched::cpu_time_ns(thread)).sum::<u64>()
}

/// `clock_gettime(2)`.
pub fn sys_clock_gettime(clock: i32, into: UserPtr<Timespec>) -> Result {
    into.write(Timespec::from_ns(read_clock(Clock::from_raw(clock)?)?))?;
    Ok(0)
}

/// `clock_getres(2)`: the vDSO's answers.
pub fn sys_clock_getres(clock: i32, into: UserPtr<Timespec>) -> Result {
    let clock = Clock::from_raw(clock)?;
    read_clock(clock)?;
    let resolution_ns = match clock {
        Clock::RealtimeCoarse | Clock::MonotonicCoarse => vdso_image::COARSE_RESOLUTION_NS as u64,
        _ => 1,
    };
    into.write_if_some(Timespec::from_ns(resolution_ns))?;
    Ok(0)
}

/// `clock_settime(2)`.
pub fn sys_clock_settime(clock: i32, value: UserPtr<Timespec>) -> Result {
    let clock = Clock::from_raw(clock)?;
    let ns = value.read()?.to_ns()?;
    match clock {
        Clock::Realtime => {
            clock::set_realtime_ns(ns);
            ipc::clock::realtime_was_set();
            Ok(0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `gettimeofday(2)`.
pub fn sys_gettimeofday(now: UserPtr<Timeval>, zone: UserPtr<[i32; 2]>) -> Result {
    now.write_if_some(Timeval::from_ns(clock::realtime_ns()))?;
    zone.write_if_some([0, 0])?;
    Ok(0)
}

/// `time(2)`.
pub fn sys_time(into: UserPtr<i64>) -> Result {
    let seconds = clock::realtime_ns() / 1_000_000_000;
    into.write_if_some(seconds as i64)?;
    Ok(seconds as usize)
}

/// `times(2)`: in ticks of 10 ms. All time is counted as the application's.
pub fn sys_times(into: UserPtr<Tms>) -> Result {
    const TICK_NS: u64 = 10_000_000;
    if let Some(into) = into.non_null() {
        into.write(Tms { utime_ticks: (process_cpu_ns() / TICK_NS) as i64, ..Default::default() })?;
    }
    Ok((clock::now_ns() / TICK_NS) as usize)
}

/// `nanosleep(2)`.
pub fn sys_nanosleep(duration: UserPtr<Timespec>, remaining: UserPtr<Timespec>) -> Result {
    let ns = duration.read()?.to_ns()?;
    sleep_relative(ns, remaining)
}

/// `clock_nanosleep(2)`.
pub fn sys_clock_nanosleep(
    clock: i32,
    flags: u32,
    duration: UserPtr<Timespec>,
    remaining: UserPtr<Timespec>,
) -> Result {
    let clock = Clock::from_raw(clock)?;
    // Linux ignores other flags.
    let absolute = TimerFlags::from_bits_truncate(flags).contains(TimerFlags::ABSTIME);
    match clock {
        Clock::Realtime | Clock::Tai | Clock::Monotonic | Clock::Boottime => {}
        // Linux has no sleep on these either; it is the C library that answers EINVAL for the thread's own.
        Clock::ThreadCpu | Clock::MonotonicRaw | Clock::RealtimeCoarse | Clock::MonotonicCoarse => {
            return Err(Errno::EOPNOTSUPP);
        }
        _ => {
            refuse_once!("sleeping on {clock:?} is not offered: EOPNOTSUPP");
            return Err(Errno::EOPNOTSUPP);
        }
    }
    let ns = duration.read()?.to_ns()?;
    if !absolute {
        return sleep_relative(ns, remaining);
    }
    let deadline_ns = match clock {
        Clock::Realtime | Clock::Tai => ns.saturating_sub(clock::realtime_offset_ns()),
        _ => ns,
    };
    match sleep_until(deadline_ns) {
        Ok(()) => Ok(0),
        Err(_) => Err(Errno::ERESTARTNOHAND),
    }
}

fn sleep_relative(ns: u64, remaining: UserPtr<Timespec>) -> Result {
    sleep_rest(clock::now_ns().saturating_add(ns), remaining)
}

/// Sleeps to the deadline; if a signal ends it, says how much is left and lets `restart_syscall(2)` sleep the
/// rest.
fn sleep_rest(deadline_ns: u64, remaining: UserPtr<Timespec>) -> Result {
    match sleep_until(deadline_ns) {
        Ok(()) => Ok(0),
        Err(_) => {
            let left_ns = deadline_ns.saturating_sub(clock::now_ns());
            if left_ns == 0 {
                return Ok(0);
            }
            remaining.write_if_some(Timespec::from_ns(left_ns))?;
            *task::current().restart.lock() = Some(Box::new(move || sleep_rest(deadline_ns, remaining)));
            Err(Errno::ERESTART_RESTARTBLOCK)
        }
    }
}

fn sleep_until(deadline_ns: u64) -> core::result::Result<(), WaitError> {
    match signal::wait_undisturbed(Some(deadline_ns), || None::<()>) {
        Err(WaitError::Interrupted) => Err(WaitError::Interrupted),
        _ => Ok(()),
    }
}

/// `restart_syscall(2)`: goes on with a call that a signal without a handler interrupted.
pub fn sys_restart_syscall() -> Result {
    let restart = task::current().restart.lock().take();
    match restart {
        Some(restart) => restart(),
        None => Err(Errno::EINTR),
    }
}
